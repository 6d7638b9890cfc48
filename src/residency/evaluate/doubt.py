"""An examination's parts in, what a reader must know before trusting its scores out."""

from collections import Counter
from collections.abc import Iterator, Sequence

from residency.evaluate.bootstrap import FEW_GROUPS
from residency.evaluate.gather import Answered, true_answer
from residency.evaluate.read import OTHERS, OUTSIDE, Evidence
from residency.evaluate.records import Looking, Subgroups, Verdict, Warned
from residency.types import SPLITS

IMBALANCED = 0.9
UNPARSED = 0.05
ALPHA = 0.05
FLOORS = ("probe", "textprobe", "knn", "words", "detector")
MEANS = {
    "majority": "the most frequent training answer",
    "base": "the model before fine-tuning",
    "blind": "the same model without the image",
    "shuffled": "the same model with another patient's image",
    "mute": "the same model asked another question",
    "probe": "a linear probe on the frozen tower",
    "textprobe": "a linear probe that leans on the answers' texts",
    "knn": "nearest neighbours on the frozen tower",
    "words": "the words of the question alone",
    "detector": "a classic detector that learned from the same split",
}


HIDDEN = {"blind": "sees no image", "shuffled": "sees another patient's image"}


def find_doubts(
    evidence: Evidence,
    answers: Sequence[Answered],
    verdicts: Sequence[Verdict],
    looking: Sequence[Looking] = (),
    by_question: Sequence[Subgroups] = (),
) -> Iterator[Warned]:
    """Yield the warnings, the gravest first."""
    yield from _leaks(evidence)
    yield from _unseeing(looking)
    yield from _prompts(evidence)
    yield from _unvalidated(evidence)
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
    yield from _silence(answers)
    yield from _unequal(by_question)
    for other in ("base", "majority", *FLOORS):
        if worse := [v.question for v in verdicts if v.against == other and v.outcome == "worse"]:
            yield Warned(
                kind=f"worse-than-{other}",
                message=f"On {_listed(worse)} the tuned model is worse than {MEANS[other]} ({other}).",
            )


def _leaks(evidence: Evidence) -> Iterator[Warned]:
    splits = evidence.dataset.splits
    if splits is None or evidence.split not in SPLITS:
        return
    group_of = {sample.id: sample.group for sample in evidence.dataset.samples}
    split_of = [fold.split_of() for fold in splits.folds]
    made = evidence.predictions.get("own", [])
    leaked = sorted({g for m in made if split_of[m.fold].get(g := group_of[m.id]) != evidence.split})
    if leaked:
        yield Warned(
            kind="leak",
            message=f"{len(leaked)} examined groups were also trained or tuned on ({_listed(leaked[:5])}): "
            "the scores below are not to be believed.",
        )


def _unseeing(looking: Sequence[Looking]) -> Iterator[Warned]:
    """Yield that the model does not look: first of all, for then its scores say nothing about images."""
    blind = [one for one in looking if one.outcome in ("does not look", "not shown to look")]
    if not blind:
        return
    told = "; ".join(f"{one.other:.2f} when it {HIDDEN[one.against]}{_spread(one)}" for one in blind)
    sure = any(one.outcome == "does not look" for one in blind)
    what = "The model does not look at the image" if sure else "The model is not shown to look at the image"
    yield Warned(
        kind="does-not-look" if sure else "not-shown-to-look",
        message=f"{what}: over all answers it scores {blind[0].own:.2f} with it, and {told}. "
        "What it scores, it scores from the questions and the commonest answers.",
    )


def _spread(one: Looking) -> str:
    return f" (gain {one.gain:+.2f} [{one.low:+.2f}, {one.high:+.2f}])" if one.low is not None else ""


def _unvalidated(evidence: Evidence) -> Iterator[Warned]:
    splits = evidence.dataset.splits
    if splits and "own" in evidence.predictions and any(not splits.folds[fold].val for fold in evidence.folds):
        yield Warned(
            kind="no-validation",
            message="No patients were set aside to validate by: training ran for all its epochs and the last weights "
            "were kept, good or bad.",
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
    absent = [mode for mode in OTHERS if mode not in (*evidence.predictions, *OUTSIDE)]
    for kind, modes in (
        ("not-run", [mode for mode in absent if mode not in FLOORS]),
        ("floor-not-run", [mode for mode in absent if mode in FLOORS]),
    ):
        if modes:
            yield Warned(kind=kind, message="Not run: " + "; ".join(f"{mode} ({MEANS[mode]})" for mode in modes) + ".")
    for mode in evidence.predictions:
        whole = [answered for answered in answers if not answered.is_part]
        missing = sum(answered.missing.get(mode, len(answered.samples)) for answered in whole)
        if missing and mode not in ("majority", *FLOORS):
            yield Warned(
                kind="missing-predictions",
                message=f"{missing} of {sum(len(answered.samples) for answered in whole)} answers were not predicted "
                f"({mode}); they count as not answered. Run predict again: it goes on where it stopped.",
            )
    unknown = sum(true_answer(sample) is None for sample in evidence.samples)
    if unknown:
        yield Warned(
            kind="no-truth", message=f"{unknown} samples have a text but no canonical answer; they are not scored."
        )


def _blindness(verdicts: Sequence[Verdict]) -> Iterator[Warned]:
    for mode, what in HIDDEN.items():
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
            message=f"every examined answer is “{name}”, so the other answers were not examined at all.",
        )
    elif share >= IMBALANCED:
        yield Warned(
            kind="imbalance",
            question=answered.spec.id,
            message=f"{share:.0%} of the examined answers are “{name}”: accuracy says nothing here, "
            f"and {len(answered.truths) - count} cases stand for all the rest.",
        )


def _unequal(by_question: Sequence[Subgroups]) -> Iterator[Warned]:
    """Yield the gaps between subgroups that stay below 0.05 after Holm's adjustment."""
    for one in by_question:
        gap = one.gap
        if gap and gap.adjusted is not None and gap.adjusted < ALPHA:
            yield Warned(
                kind="subgroup-gap",
                question=one.question,
                message=f"the model does worse where {one.attribute} is {gap.worst} than where it is {gap.best}: "
                f"{one.metric} differs by {gap.gap:.2f} (p {gap.adjusted:.3f} adjusted for all questions and "
                "attributes).",
            )


def _silence(answers: Sequence[Answered]) -> Iterator[Warned]:
    asked = [answered for answered in answers if "own" in answered.answers]
    silent = [
        f"{answered.spec.id} {answered.unparsed('own')} of {len(answered.truths)}"
        for answered in asked
        if answered.unparsed("own") > UNPARSED * len(answered.truths)
    ]
    if silent:
        yield Warned(
            kind="unparsed",
            message=f"Answers not given by the tuned model, or unreadable: {_listed(silent)}. A missing number is left "
            "out of the error, a missing rank counts as the largest error, all else counts as wrong.",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
