"""Answers about a few images: a model and samples in, what it says to each out, with candidates and confidence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from residency.asking import Predict
from residency.data.normalize import parse_answer
from residency.data.together import compose_samples, parse_together
from residency.models.family import Answered, Batch, Images
from residency.models.registry import Opened
from residency.types import Answer, Question, Questionnaire, Sample


@dataclass(frozen=True)
class Candidates:
    """The wordings offered for one question and the canonical answer that each stands for, both in one order."""

    texts: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Query:
    """A sample that is asked about: its standard question, if it has one, and what the answer is chosen from (None: it
    is generated)."""

    sample: Sample
    question: Question | None = None
    offer: Candidates | None = None


@dataclass(frozen=True)
class Said:
    """What was said to a sample: the sample as it was asked, and the fields of its prediction."""

    asked: Sample
    fields: Mapping[str, Any]


def answer_each(opened: Opened, queries: Sequence[Query], settings: Predict, images: Images | None) -> list[Said]:
    """Answer every query on its own: those with candidates by likelihood over them, the others greedily.

    The tower sees an image once for all its questions; so does what reads its regions, unless `speed.at_once` is off.
    """
    made = dict(answer_in_turn(opened, queries, settings, images))
    return [made[row] for row in range(len(queries))]


def answer_in_turn(
    opened: Opened, queries: Sequence[Query], settings: Predict, images: Images | None
) -> Iterator[tuple[int, Said]]:
    """Yield each query's place and what `answer_each` says to it as soon as it is known: the chosen answers first."""
    family, loaded = opened.family, opened.loaded
    samples = [query.sample for query in queries]
    batch = family.encode(loaded, samples, with_answers=False, images=images).to(loaded.device)
    regions_MND = family.see(loaded, batch.pixels_MCHW)
    parts: dict[str, list[int]] = {}
    for row, sample in enumerate(samples):
        parts.setdefault("" if loaded.spec.speed.at_once else sample.question or "", []).append(row)
    for rows in parts.values():
        offers = {row: offer for row in rows if (offer := queries[row].offer)}
        chosen = _score_rows(opened, batch, regions_MND, queries, offers)
        yield from ((row, Said(samples[row], fields)) for row, fields in chosen.items())
        if free := [row for row in rows if row not in offers]:
            said = family.generate(loaded, batch.take(free), regions_MND, max_new_tokens=settings.max_new_tokens)
            for row, answer in zip(free, said, strict=True):
                yield row, Said(samples[row], _generated(queries[row].question, answer))


def answer_together(
    opened: Opened,
    samples: Sequence[Sample],
    questionnaire: Questionnaire | None,
    settings: Predict,
    images: Images | None,
) -> list[Said]:
    """Ask all questions about an image at once, in one generated answer; a part that is not there whole is unparsed.

    `settings.max_new_tokens` is what a single answer may take. The confidence is that of the whole text.
    """
    family, loaded = opened.family, opened.loaded
    questions = {question.id: question for question in questionnaire.questions} if questionnaire else {}
    sheets = compose_samples(samples, questionnaire, with_answers=False)
    batch = family.encode(loaded, [sheet.sample for sheet in sheets], with_answers=False, images=images)
    batch = batch.to(loaded.device)
    regions_MND = family.see(loaded, batch.pixels_MCHW)
    most = settings.max_new_tokens * max(len(set(sheet.keys)) for sheet in sheets)
    made: dict[str, Said] = {}
    for sheet, said in zip(sheets, family.generate(loaded, batch, regions_MND, max_new_tokens=most), strict=True):
        parts = parse_together(said.text, sheet.keys, whole=said.whole)
        for sample, key in zip(sheet.members, sheet.keys, strict=True):
            answered = Answered(parts[key] or "", said.likelihood)
            made[sample.id] = Said(sheet.sample, _generated(questions.get(sample.question or ""), answered))
    return [made[sample.id] for sample in samples]


def _score_rows(
    opened: Opened,
    batch: Batch,
    regions_MND: torch.Tensor,
    queries: Sequence[Query],
    offers: Mapping[int, Candidates],
) -> dict[int, dict[str, Any]]:
    """Choose the answers of the rows that have candidates, by row."""
    if not offers:
        return {}
    texts = [offer.texts for offer in offers.values()]
    scores = opened.family.score(opened.loaded, batch.take(list(offers)), regions_MND, texts)
    made = {}
    for (row, offer), scores_K in zip(offers.items(), scores, strict=True):
        question = queries[row].question
        assert question is not None
        made[row] = _choose(scores_K.cpu(), question, offer)
    return made


def _choose(scores_K: torch.Tensor, question: Question, offered: Candidates) -> dict[str, Any]:
    """Choose the canonical answer whose wordings are likeliest together, said in its likeliest wording."""
    different = list(dict.fromkeys(offered.answers))
    pooled = [scores_K[[a == answer for a in offered.answers]].logsumexp(0) for answer in different]
    best = different[int(torch.stack(pooled).argmax())]
    wordings = [k for k, answer in enumerate(offered.answers) if answer == best]
    text = offered.texts[max(wordings, key=lambda k: float(scores_K[k]))]
    names = [answer if isinstance(answer, str) else ", ".join(map(str, answer)) for answer in different]
    return {
        "prediction": text,
        "parsed": best,
        "parts": parse_answer(question, text).parts,
        "candidates": {name: round(float(score), 4) for name, score in zip(names, pooled, strict=True)},
        "confidence": float(torch.stack(pooled).softmax(0).max()),
    }


def _generated(question: Question | None, answered: Answered) -> dict[str, Any]:
    """Parse a generated answer; without a question the text itself is the answer."""
    told = {"prediction": answered.text, "confidence": answered.likelihood, "box_scores": answered.box_scores}
    if question is None:
        return told | {"parsed": answered.text or None}
    parsed = parse_answer(question, answered.text)
    return told | {"parsed": parsed.answer, "parts": parsed.parts}
