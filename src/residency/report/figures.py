"""Values already computed in, inline SVG out: dot-and-interval strips and learning curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from residency.report.plots import MARK, SOFT, plot_svg

STRIP_WIDTH, STRIP_HEIGHT, EDGE = 230, 18, 6
MOST_POINTS = 400


@dataclass(frozen=True)
class Scale:
    """The values at the left and right end of a strip."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies, in px."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return EDGE + min(max(share, 0.0), 1.0) * (STRIP_WIDTH - 2 * EDGE)


def draw_strip(
    scale: Scale,
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    strong: bool = False,
    beside: float | None = None,
) -> Markup:
    """Return a dot on a line with its interval; `beside` draws a dotted mark at a value to compare with."""
    middle = STRIP_HEIGHT / 2
    colour = MARK if strong else SOFT
    parts = [_line(EDGE, middle, STRIP_WIDTH - EDGE, middle, "#dfe5ea", 1)]
    if beside is not None:
        parts.append(_line(scale.place(beside), 1, scale.place(beside), STRIP_HEIGHT - 1, "#7d8b98", 1.5, "2 2"))
    if low is not None and high is not None:
        parts.append(_line(scale.place(low), middle, scale.place(high), middle, colour, 3 if strong else 2))
    if value is not None:
        parts.append(
            f'<circle cx="{scale.place(value):.1f}" cy="{middle}" r="{4.5 if strong else 3.5}" fill="{colour}"/>'
        )
    body = "".join(parts)
    return Markup(  # numbers alone are put in
        f'<svg class="strip" viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}" width="{STRIP_WIDTH}" '
        f'height="{STRIP_HEIGHT}" aria-hidden="true">{body}</svg>'
    )


def draw_curves(folds: Sequence[Sequence[dict[str, Any]]]) -> Markup | None:
    """Return the learning curves of a run's folds (lines of metrics.jsonl), or None where nothing was logged."""
    if not any("loss" in line or "val_loss" in line or "val_score" in line for fold in folds for line in fold):
        return None

    def draw(figure: Any) -> None:
        losses, scores = figure.subplots(1, 2)
        for number, fold in enumerate(folds):
            first = number == 0
            _plot(losses, fold, "loss", SOFT, "training loss" if first else None)
            _plot(losses, fold, "val_loss", MARK, "validation loss" if first else None, marker="o")
            _plot(scores, fold, "val_score", MARK, None, marker="o")
        losses.set(xlabel="epoch", title="Loss", ylim=(0, None))
        losses.legend(frameon=False)
        for axes in (losses, scores):
            axes.xaxis.get_major_locator().set_params(integer=True)
        scores.set(xlabel="epoch", title="Validation score of generated answers", ylim=(0, 1))

    return plot_svg(8.6, 2.7, "curves", draw)


def _plot(axes: Any, lines: Sequence[dict[str, Any]], key: str, colour: str, label: str | None, **style: Any) -> None:
    points = [(line.get("epoch", line.get("step")), line[key]) for line in lines if line.get(key) is not None]
    points = points[:: max(1, len(points) // MOST_POINTS)]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.4, markersize=3.5, **style)


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, width: float, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-linecap="round"{dashed}/>'
    )
