"""An adapted dataset's facts in, what the model was judged unable to know out: a sentence, and a row a question."""

from residency.knowledge.adapt import Adapted
from residency.types import Record


class Unable(Record):
    """What the page tells: how the answers that were learned came about, and how each question fared."""

    told: str
    rows: tuple[tuple[str, ...], ...]


def show_unable(adapted: Adapted) -> Unable:
    """Return the facts of an adapted dataset in words and cells."""
    gone = adapted.claims_before - adapted.claims_after
    share = gone / adapted.claims_before if adapted.claims_before else 0.0
    how = {
        "unknown": f"what {adapted.model}, untuned, answered wrongly in at least {adapted.threshold:.0%} of its drawn "
        "answers was taken out of what this model learned from",
        "random": "as many claims as are unknown were taken, at random, out of what this model learned from: a control",
        "nothing": "nothing was taken out of what this model learned from",
    }[adapted.what]
    failed = f" {len(adapted.not_shortened)} texts could not be shortened." if adapted.not_shortened else ""
    told = (
        f"Learned from {adapted.parent}: {how} ({gone} of {adapted.claims_before} claims, {share:.0%}; words "
        f"{adapted.words_before} to {adapted.words_after}).{failed} Every cut stands in cuts.jsonl."
    )
    rows = []
    for one in sorted(adapted.questions, key=lambda one: -one.unknown / max(1, one.claims)):
        judged = max(1, sum(one.verdicts.values()))
        rows.append(
            (
                one.question,
                str(one.claims),
                f"{one.unknown} ({one.unknown / max(1, one.claims):.0%})",
                f"{one.verdicts.get('wrong', 0) / judged:.2f}",
                str(one.undecided),
                str(one.failed),
                ", ".join(one.examples),
            )
        )
    return Unable(told=told, rows=tuple(rows))
