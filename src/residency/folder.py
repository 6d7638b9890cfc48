"""Run folders: a recipe in, each fold's folder out; a folder belongs to one recipe and one state of its dataset."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from residency.config import Recipe
from residency.data.dataset import hash_dataset, load_dataset
from residency.errors import UserError
from residency.files import write_text
from residency.processes import is_first
from residency.recipe import dump_recipe

LOCK = ".lock"


def run_folders(recipe: Recipe) -> list[tuple[int, Path]]:
    """Return each fold that a recipe asks for with its run folder; a plain split is a fold without one of its own.

    Raises:
        UserError: the dataset cannot be read, or has no such fold.
    """
    folder = recipe.out / recipe.name
    dataset = load_dataset(recipe.data)
    count = len(dataset.require_splits().folds)
    if recipe.fold == "all":
        if count < 2:
            raise UserError(
                f"fold=all, but {recipe.data} has one split",
                do="make folds: residency ingest ... --folds 5; or leave fold=all out",
            )
        return [(fold, folder / f"fold-{fold}") for fold in range(count)]
    dataset.require_fold(recipe.fold)
    return [(recipe.fold, folder / f"fold-{recipe.fold}" if count > 1 else folder)]


def check_folder(recipe: Recipe, run: Path, fold: int) -> None:
    """Make sure that what was begun in the folder was begun with this recipe, on this dataset as it is now.

    Raises:
        UserError: it holds a run of another recipe, or of a dataset that has changed since.
    """
    if not (is_trained(run) or last_checkpoint(run)):
        return
    config = run / "config.yaml"
    if not config.is_file() or config.read_text(encoding="utf-8") != _text_of(recipe, fold):
        raise UserError(
            f"{run} holds a run of another recipe",
            found=f"{config} says otherwise" if config.is_file() else "no config.yaml in it",
            do=f"choose another name (name=...), or remove the folder {run}",
        )
    check_data(recipe.data, run)


def check_data(data: Path, run: Path) -> None:
    """Make sure that the dataset is the one that the run was begun on.

    Raises:
        UserError: it has changed since, or there is no record of it.
    """
    now, then = hash_dataset(data), _hashes_then(run)
    if changed := [name for name in {**now, **then} if now.get(name) != then.get(name)]:
        raise UserError(
            f"{run} was begun on {data} as it was before; the dataset has changed since",
            found=[str(data / name) for name in changed],
            do=f"train another run (name=...), or remove the folder {run}; --data answers another dataset",
        )


def is_own_data(data: Path, run: Path) -> bool:
    """Tell whether a dataset is, wherever it lies now, the one that the run was begun on."""
    return hash_dataset(data) == _hashes_then(run)


def claim_folder(recipe: Recipe, run: Path, fold: int) -> Recipe:
    """Write the recipe of one fold, resolved in full, to the folder's config.yaml; returns it."""
    if is_first():
        write_text(run / "config.yaml", _text_of(recipe, fold))
    return recipe.model_copy(update={"fold": fold})


def is_trained(run: Path) -> bool:
    """Tell whether the folder holds an adapter, which is there only when training has ended."""
    return (run / "adapter").is_dir()


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest checkpoint that was written whole (its state file, written last, can be read)."""
    found = sorted((run / "checkpoints").glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
    for folder in found:
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return folder
    return None


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other commands off a folder that this one writes to; the processes of one launcher hold it together.

    The system lets go of it when the process ends, however it ends. A folder made for this that stays empty goes.

    Raises:
        UserError: another command is at work on it.
    """
    if not is_first():
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"another command is at work on {folder}",
            found=f"it holds {folder / LOCK}",
            do="wait for its end, or stop it; then give the same command again, or choose another name (name=...)",
            exit_code=1,
        ) from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # unlinked while held, so that who waits for it finds out and makes its own
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        for place in made:
            with suppress(OSError):  # it holds something
                place.rmdir()


@contextmanager
def saving(place: Path) -> Iterator[None]:
    """Say in words what the writers of weights raise when they cannot write.

    Raises:
        UserError: the disk is full, or gives no permission.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{place} cannot be written",
            found=str(error).strip().splitlines()[0][:200],
            do="free some space; the same command goes on from the last whole checkpoint",
            exit_code=1,
        ) from error


def _text_of(recipe: Recipe, fold: int) -> str:
    return dump_recipe(recipe.model_copy(update={"fold": fold}))


def _hashes_then(run: Path) -> dict[str, str]:
    """Return the dataset's hashes that the preflight kept."""
    try:
        kept = json.loads((run / "preflight.json").read_text(encoding="utf-8"))["data_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{run} has no record of the dataset it was begun on",
            found=f"{run / 'preflight.json'} is missing or damaged",
            do=f"choose another name (name=...), or remove the folder {run}",
        ) from None
    return {str(name): str(digest) for name, digest in dict(kept).items()}
