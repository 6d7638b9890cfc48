"""Predictions and a second, larger model in; each claim checked against its image, disagreements ranked, out.

Agreement is no truth: it says where to look first. Where references are there too, it is told how often a claim that
the second model confirmed was right, and how often one that it disputed was wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from residency.errors import UserError
from residency.evaluate.bootstrap import estimate
from residency.evaluate.claims.claim import Label, claim_prediction, claim_truth
from residency.evaluate.claims.rules import judge_by_rules
from residency.evaluate.confidence import measure_reliability
from residency.evaluate.metric import Metric, mean_tally
from residency.evaluate.read import Evidence
from residency.evaluate.records import Reliability
from residency.files import is_there, read_json, sha256_text, write_json, write_lines, write_text
from residency.folder import holding
from residency.knowledge.stream import stream_lines
from residency.knowledge.verifier import Seen, Verifier
from residency.tables import plain_cell, tell_csv
from residency.types import Prediction, Record, Sample, Score

AGREEMENT = Metric("agreement")
_SETTLING = ("entailed", "contradicted")
HEADS = ("rank", "image", "question", "claim", "said", "confidence", "second model", "sure", "reviewer")


class Checked(Record):
    """A claim, what the second model makes of it (None: it failed) and how sure it is, and what the reference says."""

    claim: str
    seen: Seen | None
    sure: float | None
    reference: Label | None


class Verified(Record):
    """A line of verified.jsonl: a prediction's claims."""

    id: str
    image: str
    group: str
    question: str
    said: str
    confidence: float | None
    claims: tuple[Checked, ...]


class Begun(Record):
    """What a verification was begun with; it goes on only with the same."""

    predictions_sha256: str
    mode: str
    verifier: str


class Verification(Record):
    """verified.json: how far two models agree, claim by claim.

    `agreement` is the share of yes among yes and no; `calibration` says how well the first model's confidence foretells
    it (None: no confidences). Of claims that the reference settles: how many of those confirmed were right, and of
    those disputed wrong, each as (hits, all).
    """

    verifier: str
    place: str
    predictions: int
    images: int
    groups: int
    claims: int
    failed: int
    unsure: int
    disputed: int
    agreement: Score
    calibration: Reliability | None
    confirmed_right: tuple[int, int]
    disputed_wrong: tuple[int, int]
    proposed: int = 0


def verify_evidence(
    evidence: Evidence, verifier: Verifier, out: Path, *, mode: str, propose: bool, say: Callable[[str], None]
) -> Verification:
    """Check the claims of one mode's predictions; write verified.jsonl, disagreements.csv, and proposed.jsonl if asked.

    The predictions themselves are never touched. A stopped verification goes on.

    Raises:
        UserError: the mode was not run, nothing was claimed, or `out` holds another verification.
    """
    made = {one.id: one for one in evidence.predictions.get(mode, ())}
    asked = [s for s in evidence.samples if s.id in made]
    known = evidence.dataset.questionnaire
    claims = {sample.id: claim_prediction(sample, made[sample.id], known) for sample in asked}
    asked = [sample for sample in asked if claims[sample.id]]
    if not asked:
        found = f"answers of {', '.join(evidence.predictions) or 'none'}"
        raise UserError("there is no claim to verify", found=found, do="name a run that was predicted, and its --as")
    more = "; and the disputed questions" if propose else ""
    images, count = len({sample.image for sample in asked}), sum(len(claims[sample.id]) for sample in asked)
    say(f"to {verifier.place}: {images} images and {count} claims about them{more}")
    with holding(out):
        _begin(out, Begun(predictions_sha256=_hash(made.values()), mode=mode, verifier=verifier.name))

        def check(waiting: Sequence[Sample]) -> Iterator[Verified]:
            for sample in waiting:
                yield _check(evidence, verifier, sample, made[sample.id])

        lines = stream_lines(out / "verified.jsonl", Verified, asked, check, "verifying")
        write_text(out / "disagreements.csv", tell_disagreements(lines))
        proposed: list[Prediction] = []
        if propose:
            proposed = _propose(evidence, verifier, out, asked, lines)
        verification = tabulate(lines, verifier, len(proposed))
        write_json(out / "verified.json", verification.model_dump(mode="json"))
    if verification.disputed in (0, verification.agreement.n):
        say(f"warning: {verifier.name} says the same of every claim, so it tells nothing about any")
    return verification


def _begin(out: Path, begun: Begun) -> None:
    if is_there(out / "begun.json") and read_json(out / "begun.json", Begun) != begun:
        do = "choose another --out, or remove the folder"
        raise UserError(f"{out} holds another verification (predictions or model differ)", do=do)
    write_json(out / "begun.json", begun.model_dump(mode="json"))


def _hash(made: Iterable[Prediction]) -> str:
    return sha256_text("\n".join(sorted(one.line() for one in made)))


def _check(evidence: Evidence, verifier: Verifier, sample: Sample, made: Prediction) -> Verified:
    known = evidence.dataset.questionnaire
    claims, true = claim_prediction(sample, made, known), claim_truth(sample, known)
    labels = judge_by_rules(true, claims) if true else [None] * len(claims)
    looks = verifier.check(evidence.dataset.image_path(sample), [claim.text for claim in claims])
    return Verified(
        id=sample.id, image=sample.image, group=sample.group, question=sample.question or "", said=made.prediction,
        confidence=made.confidence,
        claims=tuple(
            Checked(claim=claim.text, seen=look.seen, sure=look.sure, reference=label)
            for claim, look, label in zip(claims, looks, labels, strict=True)
        ),
    )  # fmt: skip


def tell_disagreements(lines: Sequence[Verified]) -> str:
    """Return the disputed claims as CSV, those first that both models are surest of; a column is left for a person."""
    rows = [(_weight(line, one), line, one) for line in lines for one in line.claims if one.seen == "no"]
    rows.sort(key=lambda row: (-row[0], row[1].id, row[2].claim))
    table: list[tuple[object, ...]] = [HEADS]
    for rank, (_, line, one) in enumerate(rows, 1):
        sure = ["" if value is None else f"{value:.3f}" for value in (line.confidence, one.sure)]
        words = (plain_cell(text) for text in (line.image, line.question, one.claim, line.said))
        table.append((rank, *words, sure[0], one.seen, sure[1], ""))
    return tell_csv(table)


def _weight(line: Verified, one: Checked) -> float:
    """Return how sure both models are of what they contradict each other in; one that does not say counts as half."""
    return (0.5 if line.confidence is None else line.confidence) * (0.5 if one.sure is None else one.sure)


def _propose(
    evidence: Evidence, verifier: Verifier, out: Path, asked: Sequence[Sample], lines: Sequence[Verified]
) -> list[Prediction]:
    """Write the second model's own answers to the disputed questions beside the predictions, in their format."""
    disputed = {line.id for line in lines if any(one.seen == "no" for one in line.claims)}
    proposed = [
        verifier.answer(
            sample.model_copy(update={"image": str(evidence.dataset.image_path(sample))}),
            evidence.dataset.questionnaire,
        )
        for sample in asked
        if sample.id in disputed
    ]
    write_lines(out / "proposed.jsonl", proposed)
    return proposed


def tabulate(lines: Sequence[Verified], verifier: Verifier, proposed: int) -> Verification:
    """Return agreement, its calibration by the first model's confidence, and how it stands to the references."""
    every = [(line, one) for line in lines for one in line.claims]
    settled = [(line, one) for line, one in every if one.seen in ("yes", "no")]
    agree_N = np.array([one.seen == "yes" for _, one in settled], dtype=np.float64)
    groups = [line.group for line, _ in settled]
    value = estimate(mean_tally(AGREEMENT, agree_N), groups)
    sure = [row for row, (line, _) in enumerate(settled) if line.confidence is not None]
    told_N = np.array([settled[row][0].confidence for row in sure], dtype=np.float64)
    right = [one.reference == "entailed" for _, one in settled if one.seen == "yes" and one.reference in _SETTLING]
    wrong = [one.reference == "contradicted" for _, one in settled if one.seen == "no" and one.reference in _SETTLING]
    return Verification(
        verifier=verifier.name, place=verifier.place, predictions=len(lines),
        images=len({line.image for line in lines}), groups=len({line.group for line in lines}), claims=len(every),
        failed=sum(one.seen is None for _, one in every), unsure=sum(one.seen == "unsure" for _, one in every),
        disputed=sum(one.seen == "no" for _, one in every), proposed=proposed,
        agreement=value.score("verifier", "claims", AGREEMENT.name),
        calibration=measure_reliability(agree_N[sure], told_N, tuple(groups[row] for row in sure), 2000, 0)
        if sure
        else None,
        confirmed_right=(sum(right), len(right)), disputed_wrong=(sum(wrong), len(wrong)),
    )  # fmt: skip
