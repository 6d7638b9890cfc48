"""A comparison's pairs in, a forest plot out: each question's difference with its interval, a panel for each unit."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from residency.evaluate.contest import Pair, Versus
from residency.report.plots import INK, MARK, SOFT, plot_svg

COLOURS = {"win": "#1d6b3a", "tie": SOFT, "loss": "#9b2226"}
ROW = 0.27
LONGEST = 46


def draw_forest(pair: Pair) -> Markup | None:
    """Return the forest plot of A minus B, positive where A is better (None: nothing has a difference)."""
    rows = [row for row in (*pair.questions, pair.overall) if row and row.gain is not None]
    panels: dict[str, list[Versus]] = {}
    for row in rows:
        panels.setdefault(row.unit, []).append(row)
    if not rows:
        return None
    heights = [len(panel) + 2.2 for panel in panels.values()]

    def draw(figure: Any) -> None:
        every = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (unit, panel) in zip(every[:, 0], panels.items(), strict=True):
            _draw_panel(axes, panel, f"difference in {unit or 'score'}")
        every[0, 0].set_title(f"← {pair.b} better", fontsize=9, color=INK, loc="left")
        every[0, 0].set_title(f"{pair.a} better →", fontsize=9, color=INK, loc="right")

    return plot_svg(8.6, ROW * sum(heights) + 0.5, f"forest {pair.a} {pair.b}", draw)


def _draw_panel(axes: Any, rows: Sequence[Versus], label: str) -> None:
    axes.axvline(0, color="#9aa7b3", linewidth=1)
    for place, row in enumerate(rows):
        colour, total = COLOURS[row.outcome], row.question == "overall"
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.4 if total else 1.6)
        axes.plot([row.gain], [place], marker="D" if total else "o", color=MARK if total else colour, markersize=6)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    reach = max(abs(end) for row in rows for end in (row.low, row.high, row.gain) if end is not None) or 1
    axes.set_xlim(-1.08 * reach, 1.08 * reach)


def _name(row: Versus) -> str:
    name = row.heading if row.question == "overall" else f"{row.question} {row.heading}"
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
