"""Scores in; on each question, whether the tuned model is better than what it is compared with, out."""

from collections.abc import Sequence

from residency.evaluate.gather import Answered
from residency.evaluate.read import OTHERS
from residency.evaluate.records import Outcome, Tallied, Verdict
from residency.types import Score

FEWEST_GROUPS = 6
"""With fewer, even a difference of one sign in every group has p > 0.05 by the exact sign test: nothing is judged."""


def judge_gains(answers: Sequence[Answered], scores: Sequence[Score]) -> list[Verdict]:
    """Return a verdict a question (not a sub-answer) and comparison, on the primary metric over all samples."""
    gains = {(score.question, score.of): score for score in scores if score.subset == "all" and "-" in score.of}
    verdicts = []
    for answered in answers:
        if answered.is_part:
            continue
        for other in OTHERS:
            score = gains.get((answered.spec.id, f"own-{other}"))
            verdicts.append(
                Verdict(
                    question=answered.spec.id,
                    against=other,
                    metric=score.metric if score else "",
                    outcome=outcome_of(score),
                    gain=score.value if score else None,
                    low=score.low if score else None,
                    high=score.high if score else None,
                )
            )
    return verdicts


def outcome_of(gain: Score | None) -> Outcome:
    """Return `better` where the interval of a gain lies above 0, `worse` where below, else (or of few groups) `tie`."""
    if gain is None or gain.value is None:
        return "not run"
    if gain.low is None or gain.high is None or gain.groups < FEWEST_GROUPS:
        return "tie"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "tie"


def tally_verdicts(verdicts: Sequence[Verdict]) -> Tallied:
    """Count the verdicts over questions; a comparison that was not run has no count."""
    ran = [other for other in OTHERS if any(v.against == other and v.outcome != "not run" for v in verdicts)]

    def count(outcome: Outcome) -> dict[str, int]:
        return {other: sum(v.outcome == outcome for v in verdicts if v.against == other) for other in ran}

    better = {(v.question, v.against) for v in verdicts if v.outcome == "better"}
    questions = sorted({verdict.question for verdict in verdicts})
    return Tallied(
        questions=len(questions),
        better=count("better"),
        worse=count("worse"),
        lower={other: sum(v.gain is not None and v.gain < 0 for v in verdicts if v.against == other) for other in ran},
        better_than_majority_and_blind=sum({(id, "majority"), (id, "blind")} <= better for id in questions),
    )
