"""A recipe that names variants in; the tuned model and each variant on the same samples, in one table, out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from residency.config import Recipe
from residency.errors import UserError
from residency.evaluate.bootstrap import estimate
from residency.evaluate.claims.measure import ClaimTable, judge_evidence
from residency.evaluate.claims.rules import judge_by_rules
from residency.evaluate.gather import Answered, gather_answers
from residency.evaluate.heading import name_question
from residency.evaluate.measure import tally_answered
from residency.evaluate.read import Evidence, read_run
from residency.exam import examine_fold, predict_untuned
from residency.files import read_lines, write_json, write_text
from residency.folder import run_folders
from residency.models.registry import find_family
from residency.tables import tell_markdown
from residency.types import AnswerType, Prediction, Record, Score
from residency.variants.ratings import Rated, Sheet, read_ratings, write_sheet

CLOSED: tuple[AnswerType, ...] = ("choice", "ordinal")
"""What a variant chooses among candidates; sets, texts and numbers it says itself, as its users would have it."""
NOTE = "seconds are of this machine; descriptions are judged claim by claim, by rules"


class Answerer(Record):
    """One model: its primary scores by question, its descriptions' claims, seconds an image, people's ratings."""

    name: str
    model: str
    tuned: bool
    scores: tuple[Score, ...]
    claims: ClaimTable | None
    seconds: float
    rated: Rated | None = None


class Variants(Record):
    """All answerers on the same test samples; `sheet` is where people rate their answers."""

    recipe: str
    data: str
    images: int
    groups: int
    questions: dict[str, str]
    answerers: tuple[Answerer, ...]
    sheet: str
    note: str = NOTE


def compare_variants(
    recipe: Recipe, say: Callable[[str], None], *, rate: int = 20, ratings: Sequence[Path] = ()
) -> Variants | None:
    """Tune the recipe's model, ask every variant the same as it is, score them all, and write what people may rate.

    What is trained or answered already is not made again. None: training was interrupted; the same command goes on.

    Raises:
        UserError: the recipe names no variant, or one by its own name; several folds; as training and answering do.
        CheckFailed: ratings that cannot be read, all of them.
    """
    if not recipe.variants or recipe.name in recipe.variants:
        do = "variants: {mix: google/paligemma-3b-mix-224}"
        raise UserError(f"{recipe.name} names no variant", found=list(recipe.variants) or "no `variants`", do=do)
    ((fold, run),) = _one_fold(recipe)
    for model in recipe.variants.values():
        find_family(model)  # a misspelt name is told before the training, not after
    say(f"{recipe.name}: {recipe.model}, tuned")
    if examine_fold(recipe, run, fold, say=say).predicted is None:
        return None
    files = {recipe.name: run / "predictions" / "test.own.jsonl"}
    for name, model in recipe.variants.items():
        say(f"{name}: {model}, as it is")
        folder = run / "variants" / name
        answered = predict_untuned(recipe.model_copy(update={"model": model}), folder, chosen=CLOSED)
        files[name] = Path(answered.files[0])
    evidence = read_run(run)
    made = {name: read_lines(file, Prediction) for name, file in files.items()}
    sheet = write_sheet(evidence, made, run / "variants", rate, recipe.train.seed)
    rated = read_ratings(sheet, [*([sheet.file] if sheet.file.is_file() else []), *ratings], recipe.evaluate.draws)
    found = score_variants(recipe, evidence, made, sheet, rated)
    write_json(run / "variants" / "variants.json", found.model_dump(mode="json"))
    write_text(run / "variants" / "variants.md", render_variants(found))
    return found


def score_variants(
    recipe: Recipe,
    evidence: Evidence,
    made: Mapping[str, Sequence[Prediction]],
    sheet: Sheet,
    rated: Mapping[str, Rated],
) -> Variants:
    """Return every answerer's primary scores with their intervals, claims and seconds an image."""
    draws, seed = recipe.evaluate.draws, recipe.evaluate.seed
    folder = evidence.dataset.folder
    answers = gather_answers(evidence.samples, made, evidence.dataset.questionnaire, folder)
    whole = [answered for answered in answers if not answered.is_part]
    texts = {id for one in whole if one.spec.type == "text" and not one.placed for id in (s.id for s in one.samples)}
    claims: dict[str, ClaimTable] = {}
    if texts:
        told = replace(
            evidence,
            samples=tuple(sample for sample in evidence.samples if sample.id in texts),
            predictions={name: list(lines) for name, lines in made.items()},
        )
        report, _ = judge_evidence(told, judge_by_rules, "rules", draws, seed, modes=list(made))
        claims = {table.of: table for table in report.tables}
    images = {sample.image for sample in evidence.samples}
    return Variants(
        recipe=recipe.name,
        data=str(recipe.data),
        images=len(images),
        groups=len({sample.group for sample in evidence.samples}),
        questions={one.spec.id: name_question(one.spec) for one in whole},
        answerers=tuple(
            Answerer(
                name=name,
                model=recipe.variants.get(name, recipe.model),
                tuned=name == recipe.name,
                scores=tuple(_score(one, name, draws, seed) for one in whole),
                claims=claims.get(name),
                seconds=round(sum(line.seconds for line in lines) / len(images), 4),
                rated=rated.get(name),
            )
            for name, lines in made.items()
        ),
        sheet=str(sheet.file),
    )


def show_variants(found: Variants) -> tuple[list[str], list[list[str]]]:
    """Return the table's headings, an answerer each, and a row a score."""
    every = found.answerers
    heads = ["", *(f"{one.name} ({'tuned' if one.tuned else 'as it is'})" for one in every)]
    rows = []
    for scores in zip(*(one.scores for one in every), strict=True):
        heading = found.questions[scores[0].question]
        rows.append([f"{scores[0].question} {heading}: {scores[0].metric}", *map(_show, scores)])
    tables = [one.claims for one in every if one.claims]
    for scores in zip(*(table.scores for table in tables), strict=True):
        rows.append([f"claims in words: {scores[0].metric}", *map(_show, scores)])
    rows.append(["seconds an image", *(f"{one.seconds:.2f}" for one in every)])
    rated = [one.rated for one in every]
    told = (f"{one.mean:.1f}{_between(one.low, one.high)}, n {one.ratings}" if one else "not yet" for one in rated)
    return heads, [*rows, ["rating, 1 to 5", *told]]


def render_variants(found: Variants) -> str:
    """Return the table as Markdown."""
    heads, rows = show_variants(found)
    lines = [f"# {found.recipe}: {found.images} images of {found.groups} groups", ""]
    return "\n".join([*lines, *tell_markdown(heads, rows), "", f"95% intervals by group; {found.note}.", ""])


def _one_fold(recipe: Recipe) -> list[tuple[int, Path]]:
    folders = run_folders(recipe)
    if len(folders) > 1:
        raise UserError("variants are compared within one fold", found="fold=all", do="choose one: fold=0")
    return folders


def _score(answered: Answered, of: str, draws: int, seed: int) -> Score:
    if of not in answered.answers:
        return Score(of=of, question=answered.spec.id, metric="not answered", value=None, n=0, groups=0)
    tally = tally_answered(answered, of)[0]
    found = estimate(tally, answered.groups, draws, seed)
    return found.score(of, answered.spec.id, tally.metric.name, unparsed=answered.unparsed(of))


def _show(score: Score) -> str:
    unread = f", {score.unparsed} unread" if score.unparsed else ""
    return (
        "not scored" + unread if score.value is None else f"{score.value:.2f}{_between(score.low, score.high)}{unread}"
    )


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
