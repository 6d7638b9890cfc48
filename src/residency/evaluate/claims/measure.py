"""Predictions and a judge in; descriptiveness and contradiction, precision and recall, with intervals out (DNLI).

Each predicted claim is judged against the whole reference of its image, each reference claim against the whole
prediction, so that a recall cannot exceed 1. Counts are made here, claim by claim, never taken from a judge's summary.
A failed judgement is left out and counted; a prediction without claims has recall 0 and no precision, and is counted.
"""

from collections.abc import Callable, Sequence

import numpy as np

from residency.errors import UserError
from residency.evaluate.bootstrap import estimate
from residency.evaluate.claims.claim import Claim, Judge, Judged, Label, claim_prediction, claim_truth
from residency.evaluate.metric import Metric, mean_tally
from residency.evaluate.read import Evidence
from residency.evaluate.records import Hashes, Warned
from residency.types import Prediction, Record, Sample, Score

METRICS = (
    Metric("descriptiveness precision", bounded=False),
    Metric("descriptiveness recall", bounded=False),
    Metric("contradiction precision", higher_is_better=False, bounded=False),
    Metric("contradiction recall", higher_is_better=False, bounded=False),
)
MODES = ("own", "base", "blind")
Tick = Callable[[Sequence[tuple[str, str]]], Sequence[tuple[str, str]]]


class ClaimTable(Record):
    """How one way of answering fares: images, claims said and true, failed judgements, images without a claim."""

    of: str
    images: int
    groups: int
    said: int
    true: int
    failed: int
    silent: int
    labels: dict[str, int]
    scores: tuple[Score, ...]


class ClaimReport(Record):
    """All that was judged of a run or file; the claims themselves lie in `claims.jsonl` beside it."""

    run: str
    split: str
    judge: str
    draws: int
    seed: int
    hashes: Hashes
    warnings: tuple[Warned, ...]
    tables: tuple[ClaimTable, ...]


def judge_evidence(
    evidence: Evidence, judge: Judge, name: str, draws: int = 2000, seed: int = 0, modes: Sequence[str] = MODES
) -> tuple[ClaimReport, list[Judged]]:
    """Judge the claims of every mode that was run, image by image, and score them.

    Raises:
        UserError: none of the modes was run, or no sample has a true answer.
    """
    ran = [mode for mode in modes if mode in evidence.predictions]
    by_image: dict[str, list[Sample]] = {}
    for sample in evidence.samples:
        if claim_truth(sample, evidence.dataset.questionnaire):
            by_image.setdefault(sample.image, []).append(sample)
    if not ran or not by_image:
        raise UserError(
            "there is nothing to judge",
            found=f"{len(by_image)} images with true answers, answers of {', '.join(evidence.predictions) or 'none'}",
            do="name a run that was predicted, or a predictions file with its dataset (--data)",
        )
    judged: list[Judged] = []
    tables = []
    for mode in ran:
        made = {prediction.id: prediction for prediction in evidence.predictions[mode]}
        found = [_judge_image(evidence, mode, image, asked, made, judge) for image, asked in sorted(by_image.items())]
        judged += [one for image in found for one in image]
        tables.append(_tabulate(mode, found, sorted(by_image.items()), draws, seed))
    return ClaimReport(
        run=evidence.name,
        split=evidence.split,
        judge=name,
        draws=draws,
        seed=seed,
        hashes=evidence.hashes,
        warnings=tuple(_warn(tables)),
        tables=tuple(tables),
    ), judged


def _judge_image(
    evidence: Evidence, mode: str, image: str, asked: Sequence[Sample], made: dict[str, Prediction], judge: Judge
) -> list[Judged]:
    """Return the labels of an image's predicted and reference claims."""
    known = evidence.dataset.questionnaire
    true = _unique(claim for sample in asked for claim in claim_truth(sample, known))
    said = _unique(claim for s in asked if s.id in made for claim in claim_prediction(s, made[s.id], known))
    forward = judge(true, said) if said else []
    backward: Sequence[Label | None] = judge(said, true) if said else ["neutral"] * len(true)
    group = asked[0].group
    return [
        Judged(of=mode, image=image, group=group, from_reference=turned, claim=claim.text, label=label)
        for turned, claims, labels in ((False, said, forward), (True, true, backward))
        for claim, label in zip(claims, labels, strict=True)
    ]


def _unique(claims: object) -> list[Claim]:
    return list(dict.fromkeys(claims))  # type: ignore[call-overload]


def _tabulate(
    mode: str, found: Sequence[Sequence[Judged]], images: Sequence[tuple[str, list[Sample]]], draws: int, seed: int
) -> ClaimTable:
    groups = [asked[0].group for _, asked in images]
    said = [[one.label for one in image if not one.from_reference] for image in found]
    true = [[one.label for one in image if one.from_reference] for image in found]
    shares = (
        [_share(labels, "entailed") for labels in said],
        [_share(labels, "entailed") for labels in true],
        [_share(labels, "contradicted") for labels in said],
        [_share(labels, "contradicted") for labels in true],
    )
    scores = []
    for metric, marks in zip(METRICS, shares, strict=True):
        tally = mean_tally(metric, np.array(marks, dtype=np.float64))
        value = estimate(tally, groups, draws, seed)
        scores.append(value.score(mode, "claims", metric.name, unscored=int((~tally.scored_N).sum())))
    every = [label for labels in (*said, *true) for label in labels]
    forward = [label for labels in said for label in labels if label]
    return ClaimTable(
        of=mode,
        images=len(found),
        groups=len(set(groups)),
        said=sum(map(len, said)),
        true=sum(map(len, true)),
        failed=sum(label is None for label in every),
        silent=sum(not labels for labels in said),
        labels={name: forward.count(name) for name in ("entailed", "contradicted", "neutral")},  # type: ignore[arg-type]
        scores=tuple(scores),
    )


def _share(labels: Sequence[Label | None], wanted: Label) -> float:
    """Return the share of one label among those judged (NaN: none was)."""
    judged = [label for label in labels if label is not None]
    return judged.count(wanted) / len(judged) if judged else float("nan")


def _warn(tables: Sequence[ClaimTable]) -> list[Warned]:
    warned = []
    for table in tables:
        if table.failed:
            message = f"{table.of}: {table.failed} of {table.said + table.true} judgements failed; they are left out."
            warned.append(Warned(kind="judge-failed", message=message))
        if table.silent:
            message = f"{table.of}: {table.silent} of {table.images} images got no claim: recall 0, no precision."
            warned.append(Warned(kind="no-claims", message=message))
    return warned
