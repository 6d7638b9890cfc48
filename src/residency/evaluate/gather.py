"""Samples and predictions in, a table an answer out: who was asked, what is true, what each mode answered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

from residency.evaluate.assertion import read_assertion
from residency.evaluate.metric import Answers, Truths
from residency.evaluate.places import Kind, Marked, kind_of, told_places, true_places
from residency.questionnaire import is_abstention
from residency.types import Answer, AnswerSpec, Prediction, Quantity, Questionnaire, Sample

PLAIN_QUESTION = "answer"
_TASK = re.compile(r"<[A-Za-z_]+>")


@dataclass(frozen=True)
class Placed:
    """What is marked in each of N pictures, and what each mode or floor told there (None: no location token)."""

    kind: Kind
    true: tuple[Marked, ...]
    told: dict[str, tuple[Marked | None, ...]]

    def of_label(self, label: str) -> "Placed":
        """Return what has this label."""
        told = {mode: tuple(one and one.of_label(label) for one in made) for mode, made in self.told.items()}
        return Placed(self.kind, tuple(one.of_label(label) for one in self.true), told)


@dataclass(frozen=True)
class Answered:
    """One answer (a question's, or a sub-answer's: `is_part`) over the N samples that have a truth for it.

    `answers` holds a list of N for each mode or floor; `missing` counts samples that a mode did not predict, `unclear`
    closed questions whose verbose answer asserts several options or none for sure. `placed` holds what a question that
    asks for boxes or outlines marks, beside its text; `abstained` counts answers that say that the image does not tell.
    """

    spec: AnswerSpec
    is_part: bool
    samples: tuple[Sample, ...]
    truths: Truths
    answers: dict[str, Answers]
    missing: dict[str, int]
    unclear: dict[str, int] = field(default_factory=dict)
    placed: Placed | None = None
    abstained: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What is answered with: the answer's type, or boxes, or outlines."""
        return self.placed.kind if self.placed else self.spec.type

    @property
    def labels(self) -> list[str]:
        """The labels of the places that are marked, in alphabetical order."""
        return sorted({label for one in self.placed.true for label in one.labels}) if self.placed else []

    @property
    def groups(self) -> list[str]:
        """Each sample's group."""
        return [sample.group for sample in self.samples]

    def unparsed(self, mode: str) -> int:
        """Return how many predictions of a mode hold no answer."""
        return sum(answer is None for answer in self.answers[mode]) - self.missing[mode]

    def subset(self, keep: Sequence[bool]) -> "Answered":
        """Return the samples that are kept, with their truths and answers."""
        return Answered(
            self.spec,
            self.is_part,
            tuple(sample for sample, kept in zip(self.samples, keep, strict=True) if kept),
            [truth for truth, kept in zip(self.truths, keep, strict=True) if kept],
            {
                mode: [answer for answer, kept in zip(answers, keep, strict=True) if kept]
                for mode, answers in self.answers.items()
            },
            dict.fromkeys(self.missing, 0),
            placed=self.placed and _keep(self.placed, keep),
        )

    def of_label(self, label: str) -> "Answered":
        """Return the places of one label; of outlines, asked for label by label, the samples that ask for it."""
        assert self.placed
        own = replace(self, placed=self.placed.of_label(label))
        if self.placed.kind == "boxes":
            return own
        return own.subset([label in one.labels for one in self.placed.true])


def gather_answers(
    samples: Sequence[Sample],
    predictions: Mapping[str, Sequence[Prediction]],
    questionnaire: Questionnaire | None,
    folder: Path = Path(),
) -> list[Answered]:
    """Return a table for each question in the questionnaire's order, each followed by its sub-answers.

    Samples without an answer are left out; so are sub-answers that no sample holds. `folder` is what the samples'
    images lie in, whose sizes boxes and outlines are scored in.

    Raises:
        UserError: an image whose boxes or outlines are to be scored cannot be read.
    """
    by_question: dict[str, list[Sample]] = {}
    for sample in samples:
        if true_answer(sample) is not None:
            by_question.setdefault(question_id(sample), []).append(sample)
    order = [question.id for question in questionnaire.questions] if questionnaire else []
    known = {mode: {prediction.id: prediction for prediction in made} for mode, made in predictions.items()}
    tables = []
    for question in sorted(by_question, key=lambda id: (order.index(id) if id in order else len(order), id)):
        asked = by_question[question]
        spec, parts = specs_of(question, asked, questionnaire)
        tables.append(_place(_gather(spec, False, asked, known), known, folder))
        tables += [_gather(part, True, holders, known) for part in parts if (holders := holders_of(part, asked))]
    return tables


def specs_of(
    question: str, samples: Sequence[Sample], questionnaire: Questionnaire | None
) -> tuple[AnswerSpec, tuple[AnswerSpec, ...]]:
    """Return a question's answer type and its parts'; without a questionnaire they are read off the answers."""
    if questionnaire and question in {known.id for known in questionnaire.questions}:
        found = questionnaire.question(question)
        return found, found.parts
    answer = true_answer(samples[0])
    if isinstance(answer, Quantity):
        return AnswerSpec(id=question, type="number", unit=answer.unit), ()
    return AnswerSpec(id=question, type="set" if isinstance(answer, tuple) else "text"), ()


def question_id(sample: Sample) -> str:
    """Return the sample's question id; of a plain sample its task token (`<CAPTION>`), else `answer`."""
    task = _TASK.match(sample.prefix)
    return sample.question or (task.group() if task else PLAIN_QUESTION)


def true_answer(sample: Sample) -> Answer | None:
    """Return the sample's canonical answer, or its text where the sample is a plain one."""
    return sample.answer if sample.answer is not None or sample.question else sample.suffix


def holders_of(part: AnswerSpec, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that hold a truth for a sub-answer."""
    return [sample for sample in samples if part.id in sample.parts]


def _gather(
    spec: AnswerSpec, is_part: bool, samples: list[Sample], known: Mapping[str, Mapping[str, Prediction]]
) -> Answered:
    truths = [sample.parts[spec.id] if is_part else _truth(sample) for sample in samples]
    made = {mode: [by_id.get(sample.id) for sample in samples] for mode, by_id in known.items()}
    made = {mode: found for mode, found in made.items() if any(found)}
    answers: dict[str, Answers] = {}
    unclear = {}
    for mode, found in made.items():
        read = [_answer(spec, is_part, one, sample) for one, sample in zip(found, samples, strict=True)]
        answers[mode] = [answer for answer, _ in read]
        unclear[mode] = sum(doubt for _, doubt in read)
    missing = {mode: sum(prediction is None for prediction in found) for mode, found in made.items()}
    told = {
        mode: sum(one is not None and is_abstention(one.prediction) for one in found) for mode, found in made.items()
    }
    return Answered(spec, is_part, tuple(samples), truths, answers, missing, unclear, abstained=told)


def _place(answered: Answered, known: Mapping[str, Mapping[str, Prediction]], folder: Path) -> Answered:
    """Return a question with what it marks, where it asks for boxes or outlines; a text without any is unparsed."""
    kind = kind_of(answered.samples) if answered.spec.type == "text" else None
    if kind is None:
        return answered
    true = tuple(true_places(sample, folder) for sample in answered.samples)
    told = {}
    answers: dict[str, Answers] = {}
    for mode, read in answered.answers.items():
        made = [known[mode].get(sample.id) for sample in answered.samples]
        told[mode] = tuple(
            told_places(one, kind, truth) if one else None for one, truth in zip(made, true, strict=True)
        )
        answers[mode] = [text if one else None for text, one in zip(read, told[mode], strict=True)]
    return replace(answered, answers=answers, placed=Placed(kind, true, told))


def _keep(placed: Placed, keep: Sequence[bool]) -> Placed:
    told = {mode: tuple(compress(made, keep)) for mode, made in placed.told.items()}
    return Placed(placed.kind, tuple(compress(placed.true, keep)), told)


def _truth(sample: Sample) -> Answer:
    answer = true_answer(sample)
    if answer is None:
        raise ValueError(f"{sample.id} has no answer")
    return answer


def _answer(
    spec: AnswerSpec, is_part: bool, prediction: Prediction | None, sample: Sample
) -> tuple[Answer | None, bool]:
    """Return the answer, and whether it is unclear; closed answers that were not understood are read for what they
    assert."""
    if prediction is None or is_abstention(prediction.prediction):
        return None, False
    if is_part:
        if spec.id not in prediction.parts and spec.type == "set" and prediction.parsed is not None:
            return (), False  # an empty set is written as nothing at all
        return prediction.parts.get(spec.id), False
    text = prediction.prediction.strip() or None
    if prediction.parsed is None and spec.type == "text":
        return text, False
    if prediction.parsed is None and text and spec.type in ("choice", "ordinal"):
        read = read_assertion(spec, text, sample.prefix)
        return read.option, read.unclear
    return prediction.parsed, False
