"""A sheet's probe in; what each threshold would cut, and how the probed model fares if it keeps to what is left, out.

Nothing is trained. Each drawn answer is judged with the claims cut that its fellows, not itself, show to be unknown
(leave one out): so a threshold is not praised for what it was chosen by. What training on the cut reports makes of it
is measured by `benchmarks/knowada.py`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from residency.data.dataset import hash_dataset
from residency.evaluate.bootstrap import estimate
from residency.evaluate.claims.claim import Claim, claim_answer, claim_truth
from residency.evaluate.claims.measure import METRICS
from residency.evaluate.claims.rules import judge_by_rules
from residency.evaluate.metric import mean_tally
from residency.files import new_folder, write_json, write_text
from residency.knowledge.adapt import open_sheet, require_new
from residency.knowledge.cut import cut_sample
from residency.knowledge.trials import Trial, find_unknown, is_unknown, read_probe
from residency.knowledge.verdict import key_claim, list_claims
from residency.tables import tell_markdown
from residency.types import Questionnaire, Record, Sample, Score

THRESHOLDS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
HEADS = ("threshold", "cut", "claims", "words", "said", *(metric.name for metric in METRICS))


class Swept(Record):
    """A threshold (None: nothing is cut): claims and words of a report that is learned from, claims that the model
    says of an image, and the four scores of these."""

    threshold: float | None
    cut: float
    claims: float
    words: float
    said: float
    scores: tuple[Score, ...]


class Sweep(Record):
    """sweep.json: one line a threshold, over the images that were probed."""

    model: str
    images: int
    groups: int
    rows: tuple[Swept, ...]


def sweep_thresholds(
    data: Path, probe_folder: Path, out: Path, thresholds: Sequence[float] = THRESHOLDS, draws: int = 2000
) -> Sweep:
    """Write sweep.json and sweep.md to a new folder.

    Raises:
        UserError: `out` exists, there is no probe of this dataset, or the dataset has no questionnaire.
    """
    dataset, questionnaire = open_sheet(data)
    probe, trials = read_probe(probe_folder, hash_dataset(data))
    require_new(out)
    of_image: dict[str, list[tuple[Sample, Trial]]] = {}
    samples = {sample.id: sample for sample in dataset.samples}
    for trial in trials:
        of_image.setdefault(trial.image, []).append((samples[trial.sample], trial))
    rows = [
        _sweep(questionnaire, list(of_image.values()), threshold, draws)
        for threshold in (None, *sorted(thresholds, reverse=True))
    ]
    swept = Sweep(model=probe.asked.model, images=probe.images, groups=probe.groups, rows=tuple(rows))
    with new_folder(out, replace_old=False) as folder:
        write_json(folder / "sweep.json", swept.model_dump(mode="json"))
        write_text(folder / "sweep.md", tell_sweep(swept))
    return swept


def tell_sweep(swept: Sweep) -> str:
    """Return the table as Markdown."""
    return "\n".join(tell_markdown(HEADS, show_rows(swept))) + "\n"


def show_rows(swept: Sweep) -> list[tuple[str, ...]]:
    """Return a line of cells for each threshold."""
    shown = []
    for row in swept.rows:
        scores = (
            "-" if s.value is None else f"{s.value:.3f}" + ("" if s.low is None else f" [{s.low:.3f}, {s.high:.3f}]")
            for s in row.scores
        )
        name = "nothing cut" if row.threshold is None else f"{row.threshold:g}"
        shown.append((name, f"{row.cut:.0%}", f"{row.claims:.1f}", f"{row.words:.1f}", f"{row.said:.1f}", *scores))
    return shown


def _sweep(
    questionnaire: Questionnaire,
    images: Sequence[Sequence[tuple[Sample, Trial]]],
    threshold: float | None,
    draws: int,
) -> Swept:
    unknown = find_unknown([trial for asked in images for _, trial in asked], threshold) if threshold else {}
    whole = [[sample for sample, _ in asked] for asked in images]
    left = [[cut_sample(s, unknown.get(s.id, frozenset()), questionnaire) for s in asked] for asked in whole]
    before, after = (sum(len(list_claims(s, questionnaire)) for asked in some for s in asked) for some in (whole, left))
    marks = [_judge_image(asked, threshold, questionnaire) for asked in images]
    groups = [asked[0][0].group for asked in images]
    scores = []
    for place, metric in enumerate(METRICS):
        value = estimate(mean_tally(metric, np.array([mark[place] for mark in marks])), groups, draws)
        scores.append(value.score("drawn", "claims", metric.name))
    return Swept(
        threshold=threshold,
        cut=1 - after / before if before else 0.0,
        claims=after / len(images),
        words=sum(len((s.suffix or "").split()) for asked in left for s in asked) / len(images),
        said=float(np.mean([mark[4] for mark in marks])),
        scores=tuple(scores),
    )


def _judge_image(
    asked: Sequence[tuple[Sample, Trial]], threshold: float | None, questionnaire: Questionnaire
) -> tuple[float, ...]:
    """Return the four shares and the number of claims, each the mean over an image's drawn answers (NaN: none)."""
    true = list(dict.fromkeys(claim for sample, _ in asked for claim in claim_truth(sample, questionnaire)))
    found = []
    for number in range(len(asked[0][1].answers)):
        said = [claim for sample, trial in asked for claim in _keep(sample, trial, number, threshold, questionnaire)]
        said = list(dict.fromkeys(said))
        forward = list(judge_by_rules(true, said))
        backward = list(judge_by_rules(said, true)) if said else ["neutral"] * len(true)
        shares = [
            labels.count(label) / len(labels) if labels else float("nan")  # type: ignore[arg-type]
            for label in ("entailed", "contradicted")
            for labels in (forward, backward)
        ]
        found.append((*shares, len(said)))
    told_5N = np.array(found).T
    return tuple(float(np.nanmean(row_N)) if not np.isnan(row_N).all() else float("nan") for row_N in told_5N)


def _keep(
    sample: Sample, trial: Trial, number: int, threshold: float | None, questionnaire: Questionnaire
) -> list[Claim]:
    """Return what one drawn answer claims, but for what the other answers show to be unknown."""
    asked = sample.model_copy(update={"prefix": questionnaire.question(trial.question).wording})
    said = claim_answer(asked, trial.answers[number], questionnaire)
    if threshold is None:
        return said
    lost = {
        key
        for key, verdicts in trial.verdicts.items()
        if is_unknown([*verdicts[:number], *verdicts[number + 1 :]], threshold)
    }
    if trial.question in lost:
        return []
    return [claim for claim in said if key_claim(claim) not in lost]
