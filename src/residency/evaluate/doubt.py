"""An examination's parts in, what a reader must know before trusting its scores out."""

from collections import Counter
from collections.abc import Iterator, Sequence

from residency.evaluate.bootstrap import FEW_GROUPS
from residency.evaluate.gather import Answered, true_answer
from residency.evaluate.read import OTHERS, Evidence
from residency.evaluate.records import Verdict, Warned
from residency.types import SPLITS, Score

IMBALANCED = 0.9
UNPARSED = 0.05
MEANS = {
    "majority": "the most frequent training answer",
    "base": "the model before fine-tuning",
    "blind": "the same model without the image",
    "shuffled": "the same model with another patient's image",
    "mute": "the same model asked another question",
    "probe": "a linear probe on the frozen tower",
    "knn": "nearest neighbours on the frozen tower",
}


def find_doubts(
    evidence: Evidence, answers: Sequence[Answered], scores: Sequence[Score], verdicts: Sequence[Verdict]
) -> Iterator[Warned]:
    """Yield the warnings, the gravest first."""
    yield from _leaks(evidence)
    yield from _prompts(evidence)
    yield from _absences(evidence, answers)
    groups = {sample.group for sample in evidence.samples}
    if len(groups) < FEW_GROUPS:
        yield Warned(
            kind="too-few-groups",
            message=f"Only {len(groups)} groups (patients) were examined: intervals are rough and may be too narrow. "
            f"{FEW_GROUPS} or more are needed; an exact interval on groups stands beside each score.",
        )
    yield from _blindness(verdicts)
    for answered in answers:
        yield from _imbalance(answered)
        yield from _silence(answered)
    for other in ("base", "majority", "probe", "knn"):
        if worse := [v.question for v in verdicts if v.against == other and v.outcome == "worse"]:
            yield Warned(
                kind=f"worse-than-{other}",
                message=f"On {_listed(worse)} the tuned model is worse than {other} ({MEANS[other]}).",
            )


def _leaks(evidence: Evidence) -> Iterator[Warned]:
    splits = evidence.dataset.splits
    if splits is None or evidence.split not in SPLITS:
        return
    examined = {made.id: made.fold for made in evidence.predictions.get("own", [])}
    trained = {fold: splits.folds[fold].split_of() for fold in set(examined.values())}
    leaked = sorted(
        {s.group for s in evidence.samples if s.id in examined and trained[examined[s.id]][s.group] != evidence.split}
    )
    if leaked:
        yield Warned(
            kind="leak",
            message=f"{len(leaked)} examined groups were also trained or tuned on ({_listed(leaked[:5])}): "
            "the scores below are not to be believed.",
        )


def _prompts(evidence: Evidence) -> Iterator[Warned]:
    asked = {made.id: made.prompt_sha256 for made in evidence.predictions.get("own", [])}
    for mode in ("base", "blind", "shuffled"):
        differ = sum(
            asked.get(made.id, made.prompt_sha256) != made.prompt_sha256 for made in evidence.predictions.get(mode, [])
        )
        if differ:
            yield Warned(
                kind="prompts-differ",
                message=f"{differ} samples were asked in other words of {mode} than of the tuned model.",
            )


def _absences(evidence: Evidence, answers: Sequence[Answered]) -> Iterator[Warned]:
    if absent := [mode for mode in OTHERS if mode not in evidence.predictions]:
        named = "; ".join(f"{mode} ({MEANS[mode]})" for mode in absent)
        yield Warned(kind="not-run", message=f"Not run: {named}.")
    for answered in answers:
        for mode, missing in answered.missing.items():
            if missing and not answered.is_part and mode != "majority":
                yield Warned(
                    kind="missing-predictions",
                    question=answered.spec.id,
                    message=f"{missing} of {len(answered.samples)} samples have no prediction ({mode}); "
                    "they count as not answered. Run predict again: it goes on where it stopped.",
                )
    unknown = sum(true_answer(sample) is None for sample in evidence.samples)
    if unknown:
        yield Warned(
            kind="no-truth", message=f"{unknown} samples have a text but no canonical answer; they are not scored."
        )


def _blindness(verdicts: Sequence[Verdict]) -> Iterator[Warned]:
    for mode, what in (("blind", "sees no image"), ("shuffled", "sees another patient's image")):
        if same := [v.question for v in verdicts if v.against == mode and v.outcome in ("tie", "worse")]:
            yield Warned(
                kind=f"not-better-than-{mode}",
                message=f"On {_listed(same)} the model answers no better than when it {what}: "
                "nothing shows that it looks at the image there.",
            )
    if same := [v.question for v in verdicts if v.against == "mute" and v.outcome in ("tie", "worse")]:
        yield Warned(
            kind="not-better-than-mute",
            message=f"On {_listed(same)} the model answers no better than when asked another question.",
        )


def _imbalance(answered: Answered) -> Iterator[Warned]:
    if answered.spec.type not in ("choice", "ordinal"):
        return
    name, count = Counter(map(str, answered.truths)).most_common(1)[0]
    share = count / len(answered.truths)
    if count == len(answered.truths):
        yield Warned(
            kind="one-class",
            question=answered.spec.id,
            message=f"Every examined answer is `{name}`: the other answers were not examined at all.",
        )
    elif share >= IMBALANCED:
        yield Warned(
            kind="imbalance",
            question=answered.spec.id,
            message=f"{share:.0%} of the examined answers are `{name}`: accuracy says nothing here, "
            f"and {len(answered.truths) - count} cases stand for all the rest.",
        )


def _silence(answered: Answered) -> Iterator[Warned]:
    if "own" not in answered.answers:
        return
    unparsed = answered.unparsed("own")
    if unparsed > UNPARSED * len(answered.truths):
        treated = {"number": "left out of the error", "ordinal": "counted as the largest error"}
        yield Warned(
            kind="unparsed",
            question=answered.spec.id,
            message=f"{unparsed} of {len(answered.truths)} answers could not be read; "
            f"they are {treated.get(answered.spec.type, 'counted as wrong')}.",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
