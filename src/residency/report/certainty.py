"""An examination's differences, confidence and subgroups in; their figures out. It draws numbers, it computes none."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from residency.evaluate.records import Confidence, Examination, Reliability, Subgroups, Verdict
from residency.report.plots import MARK, SOFT, plot_svg

AGAINST = {"base": MARK, "blind": "#c58a00", "majority": SOFT}
ROW, LONGEST = 0.36, 40
SURE = 0.05


def draw_differences(examination: Examination) -> Markup | None:
    """Return the forest plot of the tuned model's gains over base, blind and majority (None: none was run)."""
    units = {question.id: question.unit for question in examination.questions}
    names = {question.id: f"{question.id} {question.heading}" for question in examination.questions}
    panels: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in examination.verdicts:
        if verdict.against in AGAINST and verdict.gain is not None:
            panels.setdefault(units[verdict.question], {}).setdefault(verdict.question, []).append(verdict)
    if not panels:
        return None
    heights = [len(rows) + 1.6 for rows in panels.values()]

    def draw(figure: Any) -> None:
        every = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (unit, rows) in zip(every[:, 0], panels.items(), strict=True):
            _draw_gains(axes, rows, names, f"gain of the tuned model in {unit or 'score'} (to the right: better)")
        figure.legend(*_first_of_each(every[:, 0]), frameon=False, ncols=3, loc="outside upper right")

    return plot_svg(8.6, ROW * sum(heights) + 0.6, "differences", draw)


def draw_reliability(confidence: Confidence) -> Markup:
    """Return the reliability diagram and the risk-coverage curve, side by side."""
    both: list[tuple[str, str, Reliability]] = [("as it is", SOFT, confidence.raw)]
    if confidence.scaled:
        both.append(("at the temperature that validation chose", MARK, confidence.scaled))

    def draw(figure: Any) -> None:
        calibration, risk = figure.subplots(1, 2)
        calibration.plot([0, 1], [0, 1], color="#c9d1d8", linewidth=1)
        for label, colour, found in both:
            calibration.plot(
                [b.confidence for b in found.bins], [b.right for b in found.bins], color=colour, linewidth=1
            )
            calibration.scatter(
                [b.confidence for b in found.bins], [b.right for b in found.bins], color=colour, label=label,
                s=[12 + 120 * b.answers / confidence.answers for b in found.bins],
            )  # fmt: skip
            risk.plot(*zip(*found.curve, strict=True), color=colour, linewidth=1.4)
        calibration.set(xlabel="confidence", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02), title="Reliability")
        calibration.legend(frameon=False, fontsize=8, loc="upper left")
        risk.set(
            xlabel="share of answers given", ylabel="share wrong among them", xlim=(0, 1), title="Risk and coverage"
        )
        risk.set_ylim(0, max(0.05, 1.1 * max(wrong for _, _, found in both for _, wrong in found.curve)))

    return plot_svg(8.6, 3.3, "reliability", draw)


def draw_subgroups(subgroups: Sequence[Subgroups]) -> Markup | None:
    """Return each subgroup's mean credit with its interval, an attribute a panel (None: there are none)."""
    if not subgroups:
        return None
    heights = [len(one.rows) + 0.9 for one in subgroups]

    def draw(figure: Any) -> None:
        every = figure.subplots(len(subgroups), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})
        for axes, one in zip(every[:, 0], subgroups, strict=True):
            for place, row in enumerate(one.rows):
                if row.low is not None and row.high is not None:
                    axes.plot([row.low, row.high], [place, place], color=MARK, linewidth=1.8)
                if row.score is not None:
                    axes.plot([row.score], [place], "o", color=MARK, markersize=5)
            axes.set_yticks(range(len(one.rows)), [_short(f"{row.value} (n {row.n})") for row in one.rows])
            axes.set_ylim(len(one.rows) - 0.5, -0.5)
            axes.set_title(one.attribute, loc="left", fontsize=9)
            axes.set_xlim(0, 1)
            axes.tick_params(axis="y", length=0)
        every[-1, 0].set_xlabel("mean credit, with 95% interval")

    return plot_svg(8.6, ROW * sum(heights) + 0.5, "subgroups", draw)


def draw_question_gaps(examination: Examination) -> Markup | None:
    """Return each question's largest gap with its interval, a panel for each attribute and unit (None: no gap)."""
    names = {question.id: f"{question.id} {question.heading}" for question in examination.questions}
    panels: dict[tuple[str, str], list[Subgroups]] = {}
    for one in examination.question_subgroups:
        if one.gap:
            panels.setdefault((one.attribute, one.unit), []).append(one)
    if not panels:
        return None
    heights = [len(rows) + 1.5 for rows in panels.values()]

    def draw(figure: Any) -> None:
        every = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, ((attribute, unit), rows) in zip(every[:, 0], panels.items(), strict=True):
            axes.axvline(0, color="#9aa7b3", linewidth=1)
            for place, one in enumerate(rows):
                assert one.gap
                sure = one.gap.adjusted is not None and one.gap.adjusted < SURE
                colour = MARK if sure else SOFT
                if one.gap.low is not None and one.gap.high is not None:
                    axes.plot([one.gap.low, one.gap.high], [place, place], color=colour, linewidth=1.8)
                axes.plot([one.gap.gap], [place], "o", color=colour, markersize=5)
            labels = [f"{names[one.question]}: {one.gap.worst} below {one.gap.best}" for one in rows if one.gap]
            axes.set_yticks(range(len(rows)), [_short(label) for label in labels])
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
            axes.set_title(attribute, loc="left", fontsize=9)
            axes.set_xlabel(f"largest gap in {unit or 'the primary score'}, with its interval")

    return plot_svg(8.6, ROW * sum(heights) + 0.5, "gaps", draw)


def _draw_gains(axes: Any, rows: dict[str, list[Verdict]], names: dict[str, str], label: str) -> None:
    axes.axvline(0, color="#9aa7b3", linewidth=1)
    for place, verdicts in enumerate(rows.values()):
        for verdict in verdicts:
            height = place + 0.24 * (list(AGAINST).index(verdict.against) - 1)
            colour = AGAINST[verdict.against]
            if verdict.low is not None and verdict.high is not None:
                axes.plot([verdict.low, verdict.high], [height, height], color=colour, linewidth=1.6)
            axes.plot([verdict.gain], [height], "o", color=colour, markersize=4, label=f"over {verdict.against}")
    axes.set_yticks(range(len(rows)), [_short(names[id]) for id in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label)


def _first_of_each(every: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Return one handle of each label of several axes."""
    found: dict[str, Any] = {}
    for axes in every:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
