"""Human labels and a judge in; their agreement out: kappa with its interval, and each label's own."""

import csv
import io
from collections.abc import Sequence
from math import isnan, isqrt
from pathlib import Path
from typing import get_args

import numpy as np

from residency.errors import CheckFailed, UserError
from residency.evaluate.bootstrap import Estimate, estimate
from residency.evaluate.claims.claim import LABELS, Claim, Judge, Label
from residency.evaluate.metric import Floats, Metric, Tally, divide, mean_tally
from residency.files import read_lines, read_text, sha256_file
from residency.types import Problem, Record, Source

KAPPA = Metric("Cohen's kappa", bounded=False)
AGREEMENT = Metric("agreement")
_WORDS: dict[str, Label] = {
    "entailed": "entailed", "entailment": "entailed", "contradicted": "contradicted", "contradiction": "contradicted",
    "neutral": "neutral",
}  # fmt: skip


class Labelled(Record):
    """One claim that a person judged against a premise; `group` (a patient, a report) may be left out."""

    premise: str
    claim: str
    label: str
    group: str = ""


class Figure(Record):
    """A value with its 95% interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Validation(Record):
    """How well a judge agrees with people. `counts`: a row a human label, a column a judge's, the last one failed."""

    judge: str
    file: str
    sha256: str
    pairs: int
    groups: int
    failed: int
    kappa: Figure
    agreement: Figure
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    note: str = ""


def validate_judge(judge: Judge, name: str, file: Path, draws: int = 2000, seed: int = 0) -> Validation:
    """Judge a file's pairs and compare with its labels; failed judgements are left out and counted.

    The file is JSON lines or a CSV with premise, claim, label (entailed, contradicted, neutral) and perhaps group.

    Raises:
        UserError: no such file, or it is empty.
        CheckFailed: lines that are no such pair, all listed.
    """
    pairs = read_labelled(file)
    human = [_WORDS[pair.label.casefold().strip()] for pair in pairs]
    found = [judge([Claim(text=pair.premise)], [Claim(text=pair.claim)])[0] for pair in pairs]
    groups = [pair.group or str(number) for number, pair in enumerate(pairs)]
    rows_ND = np.zeros((len(pairs), 9))
    scored_N = np.array([label is not None for label in found])
    for row, (one, other) in enumerate(zip(human, found, strict=True)):
        if other is not None:
            rows_ND[row, 3 * LABELS.index(one) + LABELS.index(other)] = 1
    agree_N = np.array([np.nan if b is None else float(a == b) for a, b in zip(human, found, strict=True)])
    kappa = estimate(Tally(KAPPA, rows_ND, cohen_kappa, scored_N), groups, draws, seed)
    counts = [[0] * 4 for _ in LABELS]
    for one, other in zip(human, found, strict=True):
        counts[LABELS.index(one)][3 if other is None else LABELS.index(other)] += 1
    return Validation(
        judge=name,
        file=str(file),
        sha256=sha256_file(file),
        pairs=len(pairs),
        groups=len(set(groups)),
        failed=int((~scored_N).sum()),
        kappa=_figure(kappa),
        agreement=_figure(estimate(mean_tally(AGREEMENT, agree_N), groups, draws, seed)),
        labels=get_args(Label),
        counts=tuple(map(tuple, counts)),
        note="one label alone: kappa is not defined" if len(set(human)) == 1 else kappa.note,
    )


def cohen_kappa(sums_RD: Floats) -> Floats:
    """Return Cohen's kappa (1960) of summed confusion counts [R, K * K], a row a human label (NaN: one label alone)."""
    labels = isqrt(sums_RD.shape[1])
    counts_RHJ = sums_RD.reshape(-1, labels, labels)
    total_R = counts_RHJ.sum(axis=(1, 2))
    seen_R = divide(np.trace(counts_RHJ, axis1=1, axis2=2), total_R)
    chance_R = divide((counts_RHJ.sum(axis=2) * counts_RHJ.sum(axis=1)).sum(axis=1), total_R**2)
    return divide(seen_R - chance_R, 1 - chance_R)


def read_labelled(file: Path) -> list[Labelled]:
    """Read a file of labelled pairs, JSON lines or CSV.

    Raises:
        UserError: it cannot be read, or is empty.
        CheckFailed: lines that are no such pair, all listed.
    """
    if file.suffix.lower() == ".csv":
        lines = list(csv.DictReader(io.StringIO(read_text(file).removeprefix("\ufeff"))))
        kept = [{key: line.get(key) or "" for key in Labelled.model_fields} for line in lines]
        pairs = [Labelled.model_validate(line) for line in kept]
    else:
        pairs = read_lines(file, Labelled)
    problems = [
        Problem(kind="bad-pair", message=message, source=Source(file=str(file), cell=f"pair {number}"))
        for number, pair in enumerate(pairs, 1)
        for message in _faults(pair)
    ]
    if problems:
        raise CheckFailed("labelled-pairs", problems, do="each needs premise, claim, and one of: " + ", ".join(LABELS))
    if not pairs:
        raise UserError(f"{file} holds no labelled pairs", do="a line each: premise, claim, label")
    return pairs


def _faults(pair: Labelled) -> Sequence[str]:
    empty = [f"{key} is empty" for key in ("premise", "claim") if not getattr(pair, key).strip()]
    known = pair.label.casefold().strip() in _WORDS
    return empty if known else [*empty, f"`{pair.label}` is no label"]


def _figure(found: Estimate) -> Figure:
    undefined = found.value is None or isnan(found.value)
    return Figure(value=None if undefined else found.value, low=found.low, high=found.high)
