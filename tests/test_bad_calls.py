"""Bad calls of the command line: each ends with an exit code and words that help, never a traceback, nothing half made.

The real `main` runs in this process, so that torch is imported once.
"""

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from residency.data.dataset import Dataset, hash_dataset, load_dataset, write_dataset
from residency.errors import UserError
from residency.files import write_json, write_lines
from residency.folder import check_folder, claim_folder, run_folders
from residency.recipe import load_recipe
from residency.types import Fold, Prediction, Splits
from tests.discs import QUESTIONNAIRE, build_bench, cut_groups, disc_samples
from tests.run_command import run_residency

NOBODY = 65534


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bench(tmp_path_factory.mktemp("bad"), images=12)


def helps(told: str, *words: str) -> None:
    """A message says what failed and what was found or is allowed, and what to do; and it holds these words."""
    assert "error: " in told
    assert "\n  " in told
    for word in words:
        assert word in told, f"{word!r} is not in: {told}"


def copied(bench: Path, folder: Path, **changes: object) -> Path:
    """Return a copy of the bench's dataset with its own images; `changes` replace fields of the dataset."""
    samples = disc_samples(folder / "images", 12)
    fields = {"samples": samples, "questionnaire": QUESTIONNAIRE, "splits": cut_groups(samples)} | changes
    write_dataset(Dataset(folder / "data", **fields))  # type: ignore[arg-type]
    return folder / "data"


BAD_OVERRIDES = {
    "an unknown model": (["model=nonsense"], 2, ["no model nonsense", "florence-2-base", "do:"]),
    "a model's folder that is not there": (["model=/nowhere/model"], 2, ["no such folder", "do:"]),
    "a checkpoint with remote code": (["model=microsoft/Florence-2-base"], 2, ["florence-community/Florence-2-base"]),
    "a wrong key": (["train.epoch=3"], 2, ["train.epoch", "train.epochs"]),
    "a wrong value": (["train.epochs=many"], 2, ["train.epochs", "many"]),
    "one number for a list": (["predict.closer=1.2"], 2, ["`predict.closer`", "a list", "such as [1.2]", "found 1.2"]),
    "a name for a list": (["questions=side,size"], 2, ["`questions`", "such as [side,size]", "found 'side,size'"]),
    "nothing for a list": (["predict.closer=null"], 2, ["`predict.closer`", "such as []", "found None"]),
    "no key=value": (["epochs"], 2, ["epochs", "train.epochs=3"]),
    "no dataset": (["data=/nowhere"], 2, ["/nowhere is not a dataset", "nothing there", "residency ingest"]),
    "no such fold": (["fold=3"], 2, ["no fold 3", "allowed: 0"]),
    "all folds of one split": (["fold=all"], 2, ["one split", "--folds"]),
    "a question that is not there": (["questions=[side, colour]"], 2, ["colour", "side, size", "do:"]),
    "a prompt with an unknown field": (["prompt={prefix} {weeks}"], 2, ["{weeks}", "weeks", "{category}, {prefix}"]),
    "a prompt with an unknown column": (["prompt={prefix} {columns[Age]}"], 2, ["Age", "{prefix}"]),
    "a prompt with a hole": (["prompt={prefix} {spacing_mm} mm"], 2, ["spacing_mm", "{prefix}"]),
    "a prompt that is no template": (["prompt={prefix} {"], 2, ["cannot be filled", "'{'"]),
    "a prompt with an empty field": (["prompt={prefix} {}"], 2, ["cannot be filled"]),
    "a module that is not there": (["tune.train=[visoin]"], 2, ["visoin", "vision"]),
    "a LoRA target that is not there": (
        ["tune.train=[projector]", "tune.lora={targets: [o_proj]}"],
        2,
        ["o_proj", "out_proj"],
    ),
    "nothing to train": (["tune.train=[]"], 2, ["nothing would train", "do:"]),
}


@pytest.mark.parametrize("case", BAD_OVERRIDES)
def test_train_is_called_wrongly(case: str, bench: Path, tmp_path: Path) -> None:
    overrides, expected, words = BAD_OVERRIDES[case]
    code, _, told = run_residency("train", bench / "recipe.yaml", f"out={tmp_path / 'runs'}", *overrides)
    assert code == expected
    helps(told, *words)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: Universit\xe4t\n".encode("latin-1"))
    (tmp_path / "foreign.yaml").write_text(yaml.safe_dump({"train_json": "a.jsonl", "model_name": "x", "lr": 1}))
    asking = {"name": "x", "data": "d", "predict": {"closer": 1.2, "tiles": {"side": "wide"}}}
    (tmp_path / "asking.yaml").write_text(yaml.safe_dump(asking))
    for name, words in (
        ("missing.yaml", ["missing.yaml", "No such file"]),
        ("asking.yaml", ["`predict.closer`: a list is wanted, such as [1.2], found 1.2", "`predict.tiles.side`"]),
        ("latin.yaml", ["latin.yaml", "UTF-8"]),
        ("foreign.yaml", ["another Florence-2 script", "train_json", "learning_rate: 1"]),
        (".", ["directory"]),
    ):
        code, _, told = run_residency("train", tmp_path / name)
        assert code == 2
        helps(told, *words)


def test_a_model_that_is_damaged(bench: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(bench / "model", tmp_path / name))

    (broken("config") / "config.json").write_text("{")
    (broken("silent") / "config.json").write_text("{}")
    foreign = broken("foreign") / "config.json"
    foreign.write_text(foreign.read_text().replace("NanoForConditionalGeneration", "GPT2LMHeadModel"))
    weights = broken("weights") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    pickled = broken("pickled") / "model.safetensors"
    pickled.rename(pickled.with_name("pytorch_model.bin"))
    (broken("tokenizer") / "tokenizer.json").write_text("{}")
    for name, words in (
        ("config", ["does not say what it is"]),
        ("silent", ["does not say what it is"]),
        ("foreign", ["no family covers", "GPT2LMHeadModel", "florence2"]),
        ("weights", ["cannot be loaded"]),
        ("pickled", ["cannot be loaded", "safetensors"]),
        ("tokenizer", ["cannot be loaded"]),
    ):
        code, _, told = run_residency(
            "train", bench / "recipe.yaml", f"model={tmp_path / name}", f"out={tmp_path / 'runs'}"
        )
        assert code == 2, name
        helps(told, *words)
    assert not (tmp_path / "runs").exists()


def test_a_dataset_that_is_damaged(bench: Path, tmp_path: Path) -> None:
    def broken(name: str, file: str, text: bytes) -> Path:
        folder = Path(shutil.copytree(bench / "data", tmp_path / name))
        (folder / file).write_bytes(text)
        return folder

    for folder, expected, words in (
        (broken("lines", "samples.jsonl", b'{"id": 1}\nno\n'), 1, ["line 1", "line 2"]),
        (broken("bytes", "samples.jsonl", b"\xff\xfe\x00"), 2, ["samples.jsonl", "UTF-8"]),
        (broken("splits", "splits.json", b"{}"), 1, ["splits.json is damaged", "do:"]),
        (broken("questions", "questionnaire.yaml", b"name: ["), 2, ["questionnaire.yaml", "not YAML"]),
    ):
        code, _, told = run_residency("train", bench / "recipe.yaml", f"data={folder}", f"out={tmp_path / 'runs'}")
        assert code == expected
        helps(told, *words)
    (tmp_path / "lines" / "audit.json").write_text("{")
    shutil.copy(bench / "data" / "samples.jsonl", tmp_path / "lines" / "samples.jsonl")
    code, _, told = run_residency("audit", tmp_path / "lines")
    assert code == 1
    helps(told, "audit.json is damaged")


def test_a_dataset_without_splits_or_with_an_empty_one(bench: Path, tmp_path: Path) -> None:
    plain = copied(bench, tmp_path / "plain", splits=None)
    code, _, told = run_residency("train", bench / "recipe.yaml", f"data={plain}", f"out={tmp_path / 'runs'}")
    assert code == 2
    helps(told, "no splits.json", "residency ingest")
    fold = Fold(train=(), val=("p0", "p1"), test=())
    empty = copied(bench, tmp_path / "empty", splits=Splits(seed=0, method="by hand", folds=(fold,)))
    code, _, told = run_residency("train", bench / "recipe.yaml", f"data={empty}", f"out={tmp_path / 'runs'}")
    assert code == 2
    helps(told, "no annotated sample in its split: train, test", "train 0, val 4, test 0", "do:")
    assert not (tmp_path / "runs").exists()


def test_a_column_that_some_rows_lack_is_listed_by_row(bench: Path, tmp_path: Path) -> None:
    samples = [
        sample.model_copy(update={} if sample.group in ("p2", "p9") else {"columns": {"Age": "31"}})
        for sample in disc_samples(tmp_path / "images", 12)
    ]
    data = copied(bench, tmp_path / "some", samples=tuple(samples))
    prompt = "prompt={prefix} Age {columns[Age]}."
    code, _, told = run_residency("train", bench / "recipe.yaml", f"data={data}", f"out={tmp_path / 'runs'}", prompt)
    assert code == 1
    helps(told, "check failed: prompts: 4 problem(s)", "2-Whi", "2-How", "9-Whi", "9-How", "do:")


def test_images_that_are_gone_or_changed_are_all_named_before_the_first_step(bench: Path, tmp_path: Path) -> None:
    data = copied(bench, tmp_path)
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / "images" / "11.png").unlink()  # of the test split
    (tmp_path / "images" / "5.png").write_bytes(b"no picture")
    code, _, told = run_residency("train", bench / "recipe.yaml", f"data={data}", f"out={tmp_path / 'runs'}")
    assert code == 1
    helps(told, "check failed: images: 3 problem(s)", "1.png", "11.png", "5.png", "[missing-image]", "[changed-image]")
    assert not (tmp_path / "runs").exists()


def test_a_plain_dataset_whose_image_cannot_be_decoded(bench: Path, tmp_path: Path) -> None:
    samples = [sample.model_copy(update={"sha256": None}) for sample in disc_samples(tmp_path / "images", 12)]
    data = copied(bench, tmp_path / "plain", samples=tuple(samples))
    (tmp_path / "images" / "3.png").write_bytes(b"no picture")
    (tmp_path / "images" / "4.png").unlink()
    with (tmp_path / "images" / "6.png").open("r+b") as file:
        file.truncate(200)
    code, _, told = run_residency("train", bench / "recipe.yaml", f"data={data}", f"out={tmp_path / 'runs'}")
    assert code == 1
    helps(told, "3 problem(s)", "3.png", "4.png", "6.png", "[unreadable-image]")


def test_a_folder_begun_with_another_recipe_or_another_dataset(bench: Path, tmp_path: Path) -> None:
    data = copied(bench, tmp_path)
    recipe = load_recipe(bench / "recipe.yaml", [f"data={data}", f"out={tmp_path / 'runs'}"])
    run = tmp_path / "runs" / "discs"
    claim_folder(recipe, run, 0)
    other = recipe.model_copy(update={"image_size": 96})
    check_folder(other, run, 0)  # nothing was trained in it: a mended recipe may take it
    (run / "adapter").mkdir()
    with pytest.raises(UserError, match="no record of the dataset"):
        check_folder(recipe, run, 0)
    write_json(run / "preflight.json", {"data_sha256": hash_dataset(data)})
    check_folder(recipe, run, 0)
    with pytest.raises(UserError, match="another recipe") as caught:
        check_folder(other, run, 0)
    assert "name=" in str(caught.value)
    dataset = load_dataset(data)
    write_lines(data / "samples.jsonl", dataset.samples[:-1])
    with pytest.raises(UserError, match="has changed since") as caught:
        check_folder(recipe, run, 0)
    assert "samples.jsonl" in str(caught.value)
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match="another recipe"):
        check_folder(recipe, run, 0)


def test_a_fold_of_a_dataset_of_folds_has_a_folder_of_its_own(bench: Path, tmp_path: Path) -> None:
    fold = cut_groups(disc_samples(tmp_path / "images", 12)).folds[0]
    data = copied(bench, tmp_path / "two", splits=Splits(seed=0, method="by hand", folds=(fold, fold)))
    recipe = load_recipe(bench / "recipe.yaml", [f"data={data}", f"out={tmp_path}"])
    assert run_folders(recipe) == [(0, tmp_path / "discs" / "fold-0")]
    both = run_folders(recipe.model_copy(update={"fold": "all"}))
    assert [path.name for _, path in both] == ["fold-0", "fold-1"]


def test_steps_out_of_order(bench: Path, tmp_path: Path) -> None:
    recipe = load_recipe(bench / "recipe.yaml", [f"out={tmp_path}"])
    run = tmp_path / "discs"
    code, _, told = run_residency("evaluate", run)
    assert code == 2
    helps(told, f"{run} is not a run", "residency train")
    claim_folder(recipe, run, 0)
    for verb, words in (
        ("predict", ["no adapter yet", "residency train"]),
        ("evaluate", ["no answers of the tuned model", "residency predict"]),
        ("report", ["evaluate"]),
    ):
        code, _, told = run_residency(verb, run)
        assert code == 2, verb
        helps(told, *words)
    (run / "scores").mkdir()
    (run / "scores" / "scores.json").write_text("{")
    code, _, told = run_residency("report", run)
    assert code == 1
    helps(told, "scores.json is damaged", "do:")


def test_predictions_that_do_not_fit(bench: Path, tmp_path: Path) -> None:
    made = Prediction(id="nobody", model="x", mode="own", split="test", prompt_sha256="0", prediction="left side")
    write_lines(tmp_path / "test.own.jsonl", [made])
    code, _, told = run_residency("evaluate", tmp_path / "test.own.jsonl")
    assert code == 2
    helps(told, "dataset", "--data")
    code, _, told = run_residency("evaluate", tmp_path / "test.own.jsonl", "--data", bench / "data")
    assert code == 1
    helps(told, "nobody", "no such sample")


def test_predict_is_called_wrongly(bench: Path, tmp_path: Path) -> None:
    code, _, told = run_residency("predict", tmp_path)
    assert code == 2
    helps(told, "not a run", "--data")
    code, _, told = run_residency("predict", bench / "model", "--data", bench / "data", "--as", "own")
    assert code == 2
    helps(told, "--as base")
    code, _, told = run_residency("predict", bench / "model", "--data", bench / "data", "--split", "exam")
    assert code == 2
    assert "train" in told
    assert "test" in told


def test_an_adapter_that_is_damaged(bench: Path, tmp_path: Path) -> None:
    run = tmp_path / "discs"
    claim_folder(load_recipe(bench / "recipe.yaml", [f"out={tmp_path}"]), run, 0)
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "target_modules": ["out_proj"]}')
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"no weights")
    code, _, told = run_residency("predict", run)
    assert code == 2
    helps(told, "adapter", "cannot be loaded", "do:")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone may enter (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def without_root() -> Iterator[None]:
    """Give up root's rights for a while; an ordinary user has none to give up."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_folders_and_files_without_permission(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir()
    sheet, images = make_sheet(open_folder)
    asked = ("--images", images, "--questionnaire", "fetal8", "--group-by", "column:Patient")
    code, _, _ = run_residency("ingest", "--sheet", sheet, *asked, "--out", open_folder / "first")
    assert code == 0  # what is imported late is imported now: Python's own folder may be root's
    shutil.rmtree(open_folder / "first")
    sheet.chmod(0)
    closed.chmod(0)
    for arguments, words in (
        (("ingest", "--sheet", sheet, *asked, "--out", open_folder / "d"), ["answers.csv", "Permission denied"]),
        (("train", closed / "recipe.yaml"), ["recipe.yaml", "Permission denied"]),
        (("audit", closed), ["closed", "Permission denied"]),
        (("report", closed), ["closed", "Permission denied"]),
        (("predict", closed), ["closed", "Permission denied"]),
        (("evaluate", closed), ["closed", "Permission denied"]),
        (("phantom", closed / "studies"), ["closed", "Permission denied"]),
    ):
        with without_root():
            code, _, told = run_residency(*arguments)
        assert code in (1, 2), arguments
        helps(told, *words)
    closed.chmod(0o755)
    sheet.chmod(0o644)
    with without_root():  # may read, may not write: nothing is left behind
        code, _, told = run_residency("ingest", "--sheet", sheet, *asked, "--out", open_folder / "d")
    if os.geteuid() == 0:
        assert code == 1
        helps(told, "d cannot be made", "Permission denied", "--out")
        assert sorted(path.name for path in open_folder.iterdir()) == ["answers.csv", "closed", "images"]


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond 2 kB, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB that is full but for a few."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    (place / "filling").write_bytes(b"0" * 50_000)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_no_space_left(full_disk: Path, bench: Path, tmp_path: Path) -> None:
    sheet, images = make_sheet(tmp_path)
    asked = ("--images", images, "--questionnaire", "fetal8", "--group-by", "column:Patient")
    code, _, told = run_residency("ingest", "--sheet", sheet, *asked, "--out", full_disk / "dataset")
    assert code == 1
    helps(told, "No space left", "do:")
    code, _, told = run_residency("train", bench / "recipe.yaml", f"out={full_disk}")
    assert code == 1
    helps(told, "No space left", "do:")
    assert [path.name for path in full_disk.iterdir() if path.name != "filling"] in ([], ["discs"])
    assert not list(full_disk.glob(".dataset*"))


def test_a_disk_that_fills_while_training_stops_in_words(full_disk: Path, bench: Path) -> None:
    (full_disk / "filling").unlink()
    code, _, told = run_residency("train", bench / "recipe.yaml", f"out={full_disk}")
    assert code == 1
    helps(told, "checkpoints cannot be written", "No space left", "last whole checkpoint")
    assert not (full_disk / "discs" / "adapter").exists()


def make_sheet(folder: Path) -> tuple[Path, Path]:
    images = folder / "images"
    images.mkdir()
    lines = ["Image,Patient,Q7"]
    rng = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(images / f"{number}.png")
        lines.append(f"{number}.png,{number},normal")
    (folder / "answers.csv").write_text("\n".join(lines))
    return folder / "answers.csv", images


def test_a_file_that_cannot_grow(bench: Path, tmp_path: Path, small_files: None) -> None:
    code, _, told = run_residency("train", bench / "recipe.yaml", f"out={tmp_path / 'runs'}")
    assert code == 1
    helps(told, "File too large", "do:")
    assert not (tmp_path / "runs" / "discs" / "adapter").exists()


def test_json_alone_goes_to_standard_output(bench: Path) -> None:
    assert json.loads(run_residency("audit", bench / "data", "--json").out)["samples"] == 24
