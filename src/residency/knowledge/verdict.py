"""A sheet's true answer and what a model said in; each claim of the truth judged correct, minor or wrong out, by rules.

A claim that no rule can judge, because the answer was not understood, is a failure (None): never wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from residency.evaluate.claims.atoms import split_claims
from residency.evaluate.claims.claim import Claim, claim_answer, claim_truth
from residency.evaluate.claims.rules import TOLERANCE, judge_by_rules
from residency.types import AnswerSpec, Quantity, Question, Questionnaire, Sample

Verdict = Literal["correct", "minor", "wrong"]
VERDICTS: tuple[Verdict, ...] = ("correct", "minor", "wrong")
NEARLY = 3 * TOLERANCE
"""A number that is off by more than `TOLERANCE`, but by no more than this, is a minor discrepancy."""


def list_claims(sample: Sample, questionnaire: Questionnaire) -> dict[str, Claim]:
    """Return what the sample's answer says, by key: `q5`, `q5.weeks`, a set's members apart (`q1:liver`).

    A free text is one claim, under its question's id. An empty sub-answer is not said, so it is none.
    """
    if sample.suffix is None or sample.question is None:
        return {}
    question = questionnaire.question(sample.question)
    if question.type == "text":
        return {question.id: Claim(text=sample.suffix)}
    sample = sample.model_copy(update={"prefix": question.wording})  # so that slots are the questions' ids
    silent = {id for id, value in sample.parts.items() if value == ()}
    return {key_claim(claim): claim for claim in claim_truth(sample, questionnaire) if claim.slot not in silent}


def key_claim(claim: Claim) -> str:
    """Return the key of a claim with a slot."""
    return f"{claim.slot}:{claim.value}" if claim.kind == "set" else claim.slot


def judge_answer(sample: Sample, text: str, questionnaire: Questionnaire) -> dict[str, Verdict | None]:
    """Return a verdict on each claim of the sample's true answer, judged by what was answered."""
    assert sample.question is not None
    question = questionnaire.question(sample.question)
    true = list_claims(sample, questionnaire)
    if question.type == "text":
        return {question.id: _judge_text(true[question.id].text, text)} if true else {}
    said = claim_answer(sample.model_copy(update={"prefix": question.wording}), text, questionnaire)
    by_slot: dict[str, list[Claim]] = {}
    for claim in said:
        by_slot.setdefault(claim.slot, []).append(claim)
    if question.id not in by_slot:  # nothing that was said answers the question
        return dict.fromkeys(true)
    specs = _specs(question)
    return {key: _judge_claim(specs[claim.slot], claim, by_slot.get(claim.slot, ())) for key, claim in true.items()}


def judge_answers(
    sample: Sample, texts: Sequence[str], questionnaire: Questionnaire
) -> dict[str, list[Verdict | None]]:
    """Return the verdicts of several answers to one question, by claim."""
    judged = [judge_answer(sample, text, questionnaire) for text in texts]
    return {key: [one[key] for one in judged] for key in list_claims(sample, questionnaire)}


def _judge_claim(spec: AnswerSpec, true: Claim, said: Sequence[Claim]) -> Verdict:
    """Judge one claim by what was said in its slot; what was not said is not known."""
    values = [claim.value for claim in said]
    if true.value in values:
        return "correct"
    if spec.type == "ordinal" and values and len(spec.names) > 2:  # of two, the other one is the opposite
        rank = {name: place for place, name in enumerate(spec.names)}
        return "minor" if abs(rank[str(values[0])] - rank[str(true.value)]) == 1 else "wrong"
    if isinstance(true.value, Quantity):
        wanted = true.value.value
        off = [abs(value.value - wanted) for value in values if isinstance(value, Quantity)]
        if off and min(off) <= NEARLY * abs(wanted):
            return "correct" if min(off) <= TOLERANCE * abs(wanted) else "minor"
    return "wrong"


def _judge_text(reference: str, text: str) -> Verdict | None:
    """Judge free text by its claims: what contradicts outweighs what agrees, and some of the truth is not all."""
    true = [Claim(text=claim) for claim in split_claims(reference)]
    said = [Claim(text=claim) for claim in split_claims(text)]
    if not said or not true:
        return None
    told = list(judge_by_rules(said, true)).count("entailed")
    against = list(judge_by_rules(true, said)).count("contradicted")
    if told == len(true) and not against:
        return "correct"
    return "minor" if told > against else "wrong"


def _specs(question: Question) -> Mapping[str, AnswerSpec]:
    return {spec.id: spec for spec in (question, *question.parts)}
