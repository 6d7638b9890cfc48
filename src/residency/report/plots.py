"""A drawing function in, one inline SVG out, in the page's own type and colours."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

INK, SOFT, MARK = "#1b2733", "#5b6b7b", "#0b5c8a"

STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.labelcolor": INK,
}


def plot_svg(width: float, height: float, name: str, draw: Callable[[Any], None]) -> Markup:
    """Return what `draw` puts on a figure of this size (inches) as SVG; `name` keeps its ids apart from others'."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # Text stays text in the SVG: the browser has the letters (Chinese) that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing", category=UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    return Markup(re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL))
