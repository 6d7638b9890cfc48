"""A learning curve in; `curve.json` and a self-contained `curve.html` out."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from residency import NOT_FOR_DIAGNOSIS
from residency.evaluate.curve import LearningCurve
from residency.files import write_json, write_text
from residency.report.plots import MARK, SOFT, plot_svg


def write_curve(curve: LearningCurve, out: Path) -> Path:
    """Write both files into a folder and return the page's path."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("residency.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    write_json(out / "curve.json", curve.model_dump(mode="json"))
    page = environment.get_template("curve.html.j2").render(
        curve=curve, figure=draw_learning(curve), not_for_diagnosis=NOT_FOR_DIAGNOSIS
    )
    write_text(out / "curve.html", page)
    return out / "curve.html"


def draw_learning(curve: LearningCurve) -> Markup:
    """Return the runs' scores, the fitted curve with its 95% band, and the target."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        images = [one.images for one in curve.ahead]
        low = [one.low if one.low is not None else one.score for one in curve.ahead]
        high = [one.high if one.high is not None else one.score for one in curve.ahead]
        axes.fill_between(images, low, high, color=MARK, alpha=0.15, linewidth=0)
        axes.plot(images, [one.score for one in curve.ahead], color=MARK, label="fitted, with 95% interval")
        for point in curve.points:
            ends = [point.score if end is None else end for end in (point.low, point.high)]
            axes.plot([point.images] * 2, ends, color=SOFT, linewidth=1.2)
        axes.plot([p.images for p in curve.points], [p.score for p in curve.points], "o", color=SOFT, label="runs")
        if curve.target is not None:
            axes.axhline(curve.target, color="#c58a00", linewidth=1, linestyle="--", label=f"target {curve.target:g}")
        axes.axvline(max(p.images for p in curve.points), color="#dfe5ea", linewidth=1)
        axes.set(xscale="log", xlabel="annotated images in training", ylabel="mean credit", ylim=(0, 1))
        axes.legend(frameon=False, loc="lower right")

    return plot_svg(8.6, 3.6, "learning", draw)
