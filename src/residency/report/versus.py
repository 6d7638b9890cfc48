"""A comparison in; `comparison.json`, `.md` and a self-contained `.html` with forest plots out."""

from pathlib import Path

from residency import NOT_FOR_DIAGNOSIS
from residency.evaluate.contest import Comparison, Pair, Versus
from residency.files import write_json, write_text
from residency.report.forest import draw_forest
from residency.report.view import format_value
from residency.tables import tell_markdown

HEADS = ("question", "score", "n (groups)", "A", "B", "A better by [plain 95% CI]", "p", "Holm", "verdict", "power")
WORDS = {"win": "A wins", "tie": "tie", "loss": "B wins"}


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write the three files into a folder and return the page's path."""
    write_json(out / "comparison.json", comparison.model_dump(mode="json"))
    write_text(out / "comparison.md", render_markdown(comparison))
    write_text(out / "comparison.html", render_html(comparison))
    return out / "comparison.html"


def render_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown tables with its methods and hashes."""
    lines = [f"# {name_contest(comparison)}", "", f"**{NOT_FOR_DIAGNOSIS}**", ""]
    lines += [f"- {warned.message}" for warned in comparison.warnings]
    for pair in comparison.pairs:
        lines += ["", f"## {pair.a} (A) against {pair.b} (B)", "", pair.sentence(), ""]
        lines += tell_markdown(HEADS, show_rows(pair))
    lines += ["", "## Methods", "", tell_methods(comparison), "", "## Hashes", ""]
    for one in comparison.contestants:
        lines.append(
            f"- {one.name} ({one.source}, {one.mode}): data `{one.hashes.samples[:16]}`, "
            f"splits `{(one.hashes.splits or 'none')[:16]}`, prompts `{one.hashes.prompts[:16]}`, predictions "
            + ", ".join(f"`{found[:16]}`" for found in one.hashes.predictions.values())
            + f", code `{one.hashes.code[:16]}`, metric version {one.hashes.metric_version}"
        )
    return "\n".join(lines) + "\n"


def render_html(comparison: Comparison) -> str:
    """Return the page as HTML; nothing outside it is referred to, and all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("residency.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    shown = [(pair, draw_forest(pair), show_rows(pair)) for pair in comparison.pairs]
    return environment.get_template("versus.html.j2").render(
        comparison=comparison, title=name_contest(comparison), pairs=shown, heads=HEADS,
        methods=tell_methods(comparison), not_for_diagnosis=NOT_FOR_DIAGNOSIS,
    )  # fmt: skip


def name_contest(comparison: Comparison) -> str:
    """Return the title: the first contestant against all others."""
    first, *others = (one.name for one in comparison.contestants)
    return f"{first} against {', '.join(others)}"


def show_rows(pair: Pair) -> list[tuple[str, ...]]:
    """Return a pair's table, a row a question and the overall one, as texts in the order of `HEADS`."""
    return [_show(row) for row in (*pair.questions, *([pair.overall] if pair.overall else []))]


def tell_methods(comparison: Comparison) -> str:
    """Return how the comparison was made, in words that a paper may use."""
    own = [one.asked.sentence() for one in comparison.contestants if one.asked]
    prompts = (
        f" Prompts were searched for each model by itself, on validation items alone: {'; '.join(own)}." if own else ""
    )
    return (
        f"Models were compared on the same {comparison.items} answers of {comparison.groups} groups (patients). "
        "Differences in each question's primary score are paired; 95% intervals come from "
        f"{comparison.draws:,} bootstrap resamples of whole groups (seed {comparison.seed}), with percentile ends "
        "widened for few groups (Hesterberg 2015), and are plain, that is, not adjusted for the number of questions. "
        "By question a win or loss is a two-sided p below 0.05 after Holm's adjustment over questions; overall, the "
        "mean credit over all answers but numbers, p is not adjusted; all else is a tie. Power: how many more such "
        "groups would show the difference found with probability 0.8, were it the true one; by question at a level of "
        f"0.05 divided by the number of questions.{prompts}"
    )


def _show(row: Versus) -> tuple[str, ...]:
    gain = format_value(row.gain, row.unit, sign=True)
    if row.low is not None and row.high is not None:
        gain += f" [{format_value(row.low, row.unit, sign=True)}, {format_value(row.high, row.unit, sign=True)}]"
    return (
        row.heading if row.question == "overall" else f"{row.question} {row.heading}".strip(),
        row.metric,
        f"{row.n} ({row.groups})",
        format_value(row.a, row.unit),
        format_value(row.b, row.unit),
        gain,
        _p(row.p),
        _p(row.adjusted) if row.question != "overall" else "not adjusted",
        WORDS[row.outcome],
        _power(row),
    )


def _power(row: Versus) -> str:
    if row.note:
        return row.note
    if row.outcome != "tie":
        return "decided"
    if row.more_groups is None:
        return "no difference to decide"
    return f"{row.more_groups:,} more groups"


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
