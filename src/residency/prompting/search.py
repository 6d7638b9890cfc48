"""A model and a dataset in; each way of asking tried on the validation split alone, and the best of them, out.

After Jeong 2024 (arXiv 2411.04118): a model's prompt is searched for itself, without examples and with three. No sample
of the test split is read (material.py, `sealed`), so none can sway the choice.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from residency.config import Recipe
from residency.data.dataset import hash_dataset, load_dataset
from residency.data.shots import show_shots
from residency.engines import Pass, answer_pass
from residency.errors import UserError
from residency.evaluate.contest import ASKED, AskedAs
from residency.evaluate.figure import Figure, estimate_figure
from residency.files import is_there, read_json, read_lines, sha256_text, write_json
from residency.folder import holding
from residency.material import Material, gather_material
from residency.models.registry import Opened, ask_as, open_base, open_run
from residency.predict import Asked, candidates_of, write_predictions
from residency.prompting.phrasings import Phrasing, read_choices
from residency.types import Prediction, Record, Sample

FILE = "prompts.json"
NOTE = "the best of several scores flatters; how good the model is so asked, only the test split tells"


class Tried(Record):
    """A way of asking, how well it did on validation, and the seconds that an answer took; or why it cannot be asked
    so (a prompt that is longer than the model reads)."""

    asked: Phrasing
    shown: Literal["", "images", "text"]
    figure: Figure
    seconds: float = 0.0
    file: str = ""
    error: str = ""


class Best(Record):
    """The best way of asking with so many examples (None: with any number), and its lines of a recipe."""

    shots: int | None
    asked: Phrasing
    figure: Figure
    recipe: str


class PromptSearch(Record):
    """All that was tried, the best first, on how much; `left` ways wait where the search was interrupted."""

    model: str
    mode: Literal["own", "base"]
    family: str
    data: str
    data_sha256: dict[str, str]
    fold: int
    samples: int
    images: int
    groups: int
    limit: int | None
    note: str = NOTE
    tried: tuple[Tried, ...] = ()
    best: tuple[Best, ...] = ()
    left: int

    def pick(self, shots: int | None = None) -> Best:
        """Return the best way of asking with so many examples, or with any number.

        Raises:
            UserError: none such was tried.
        """
        for best in self.best:
            if best.shots == shots:
                return best
        tried = sorted({one.asked.shots.count for one in self.tried})
        raise UserError("no such way of asking was tried", found=f"{shots} examples", allowed=tried)


def search_prompts(
    name: str,
    data: Path | None,
    out: Path,
    say: Callable[[str], None],
    *,
    choices: Path | None = None,
    limit: int | None = None,
    fold: int | None = None,
) -> PromptSearch:
    """Try every way of asking a model, or a run's tuned model, on validation items; go on where it was stopped.

    `limit` takes so many validation images, whole groups. `out/prompts.json` is written after each way. `fold` is that
    of the recipe (a base model's: 0) unless it is named.

    Raises:
        UserError: no such model, dataset or file of choices; nothing to validate by; `out` holds another search.
    """
    opened, recipe, mode = _open(name, data)
    recipe = recipe if fold is None else recipe.model_copy(update={"fold": fold})
    ways = read_choices(opened.family.name, choices).combine()
    ways = [way for way in ways if recipe.ask == "each" or not way.shots.count]
    if not ways:
        raise UserError(f"{name} is asked together, which goes without examples", do="shots: [0] among the choices")
    dataset, fold = load_dataset(recipe.data), recipe.fold if isinstance(recipe.fold, int) else 0
    recipe = recipe.model_copy(update={"fold": fold})
    material = gather_material(recipe, dataset, fold, sealed=True)
    asked = _limit_images(material, limit, recipe.evaluate.seed)
    search = PromptSearch(
        model=name,
        mode=mode,
        family=opened.family.name,
        data=str(recipe.data),
        data_sha256=hash_dataset(recipe.data),
        fold=fold,
        samples=len(asked),
        images=len({sample.image for sample in asked}),
        groups=len({sample.group for sample in asked}),
        limit=limit,
        left=len(ways),
    )
    if not asked:
        found, do = f"fold {fold}: no annotated sample in val", "ingest again with a share for it"
        raise UserError(f"{recipe.data} has nothing to choose a prompt by", found=found, do=do)
    with holding(out):
        _require_same(search, out / FILE)
        for number, way in enumerate(ways, 1):
            say(f"{number} of {len(ways)}: {_name(way)}")
            tried = _try(opened, way.apply(recipe), way, mode, material, asked, out)
            unscored = tried.error or "nothing could be scored"
            say(f"  {unscored if tried.figure.value is None else f'{tried.figure.value:.3f}'}")
            search = _add(search, tried, len(ways) - number)
            write_json(out / FILE, search.model_dump(mode="json"))
    if search.tried[0].figure.value is None:
        faults = [f"{_name(one.asked)}: {one.error or 'nothing could be scored'}" for one in search.tried]
        raise UserError("no way of asking could be scored:\n  " + "\n  ".join(faults), exit_code=1)
    return search


def read_search(path: Path) -> PromptSearch:
    """Read what `residency prompts` wrote: its file, or the folder that holds it.

    Raises:
        UserError: there is none, or it was not finished.
    """
    file = path / FILE if path.is_dir() else path
    if not is_there(file):
        raise UserError(f"{path} holds no prompt search", do="residency prompts MODEL --data DATASET --out FOLDER")
    search = read_json(file, PromptSearch)
    if search.left:
        raise UserError(f"{file} is not finished", found=f"{search.left} ways left", do="give the same command again")
    return search


def take_best(path: Path, model: str, shots: int | None, out: Path) -> tuple[Phrasing, Path]:
    """Return the best way of asking that was found for this model, and the dataset it was found on.

    `out/asked.json` tells who compares answers how they were asked for (contest.py).

    Raises:
        UserError: no finished search, one for another model, or none with so many examples.
    """
    search = read_search(path)
    if search.model != model and Path(search.model).resolve() != Path(model).resolve():
        do = f"search this model's own prompt: residency prompts {model}"
        raise UserError(f"{path} is the search for another model", found=search.model, do=do)
    best = search.pick(shots)
    told = AskedAs(
        model=search.model,
        prompt=best.asked.prompt,
        system=best.asked.system,
        shots=best.asked.shots.count,
        tried=len(search.tried) if shots is None else sum(one.asked.shots.count == shots for one in search.tried),
        samples=search.samples,
        groups=search.groups,
    )
    write_json(out / ASKED, told.model_dump(mode="json"))
    return best.asked, Path(search.data)


def _open(name: str, data: Path | None) -> tuple[Opened, Recipe, Literal["own", "base"]]:
    if (Path(name) / "config.yaml").is_file():
        recipe, opened = open_run(Path(name))
        return opened, recipe.model_copy(update={"data": data} if data else {}), "own"
    if folds := sorted(Path(name).glob("fold-*/config.yaml")):
        allowed = [str(config.parent) for config in folds]
        raise UserError(f"{name} holds folds, each a model of its own", allowed=allowed, do="name one of them")
    if data is None:
        raise UserError(f"{name} is not a run, so it has no dataset", do="name one: --data DATASET")
    recipe = Recipe(name="base", data=data, model=name)
    return open_base(recipe), recipe, "base"


def _limit_images(material: Material, limit: int | None, seed: int) -> list[Sample]:
    """Return the validation samples, of at most so many images in an order drawn by the seed; groups stay whole."""
    images: dict[str, set[str]] = {}
    for sample in material.val:
        images.setdefault(sample.group, set()).add(sample.image)
    groups, kept, count = sorted(images), set[str](), 0
    for place in np.random.default_rng(seed).permutation(len(groups)):
        group = groups[int(place)]
        if limit is not None and kept and count + len(images[group]) > limit:
            continue
        kept.add(group)
        count += len(images[group])
    return [sample for sample in material.val if sample.group in kept]


def _require_same(search: PromptSearch, file: Path) -> None:
    """Make sure that what was begun in the folder is this search; other ways of asking may join it."""
    if not file.is_file():
        return
    begun, own = read_json(file, PromptSearch).model_dump(), search.model_dump()
    keys = ("model", "mode", "data_sha256", "fold", "samples", "limit")
    if differ := [key for key in keys if begun[key] != own[key]]:
        raise UserError(f"{file} is another search", found=f"another {', '.join(differ)}", do="choose another --out")


def _try(
    opened: Opened,
    recipe: Recipe,
    way: Phrasing,
    mode: Literal["own", "base"],
    material: Material,
    asked: list[Sample],
    out: Path,
) -> Tried:
    """Answer the validation samples asked in one way, those that are answered already not again; score them."""
    ask_as(opened.loaded, recipe)
    samples = show_shots(asked, material.train, recipe.shots)
    label = Asked(recipe.name if mode == "own" else recipe.model, mode, "val", int(recipe.fold))
    candidates = candidates_of(material.questionnaire, material.train)
    whole = Pass(material.questionnaire, candidates, label, recipe.predict, None, recipe.ask)
    pictured = opened.family.several_images and recipe.shots.shown == "images"
    shown: Literal["", "images", "text"] = "" if not way.shots.count else "images" if pictured else "text"
    file = out / "val" / f"{sha256_text(way.model_dump_json())[:12]}.jsonl"
    try:
        write_predictions(file, samples, partial(answer_pass, opened, whole), _name(way), recipe.ask)
    except UserError as error:
        if error.exit_code == 1:  # a full disk is no fault of the words
            raise
        nothing = estimate_figure([], [], material.questionnaire)
        return Tried(asked=way, shown=shown, figure=nothing, error=str(error))
    made = read_lines(file, Prediction)
    return Tried(
        asked=way,
        shown=shown,
        figure=estimate_figure(asked, made, material.questionnaire, recipe.evaluate.draws, recipe.evaluate.seed),
        seconds=round(float(np.mean([one.seconds for one in made])), 5),
        file=str(file.relative_to(out)),
    )


def _add(search: PromptSearch, tried: Tried, left: int) -> PromptSearch:
    """Return the search with one more way, ranked; of equals the one tried first, which is the plainer."""
    ranked = sorted((*search.tried, tried), key=lambda one: -(one.figure.value if one.figure.value is not None else -1))
    counts: list[int | None] = [None, *sorted({one.asked.shots.count for one in ranked})]
    best = []
    for count in counts:
        first = next(one for one in ranked if count is None or one.asked.shots.count == count)
        best.append(Best(shots=count, asked=first.asked, figure=first.figure, recipe=first.asked.told()))
    return search.model_copy(update={"tried": tuple(ranked), "best": tuple(best), "left": left})


def _name(way: Phrasing) -> str:
    parts = [repr(way.system)] if way.system else []
    parts.append(repr(way.prompt))
    if way.shots.count:
        order = ", reversed" if way.shots.order == "reversed" else ""
        parts.append(f"{way.shots.count} examples (seed {way.shots.seed}{order})")
    return " + ".join(parts)
