"""Every command of docs/sources.md is given as it stands, on small folders laid out as it says."""

import json
from pathlib import Path

import pytest

from residency.data.dataset import load_dataset
from residency.data.sources.formats import FORMATS
from residency.recipe import load_recipe
from tests.data.layouts import write_layouts
from tests.documents import ROOT, commands_of
from tests.run_command import run_residency

PAGE = ROOT / "docs" / "sources.md"


def answers_of(folder: Path) -> set[tuple[str, str, str]]:
    """Return image, prompt and answer of every sample, sets in the alphabet's order."""
    return {
        (s.image.rpartition("/")[2], s.prefix, str(sorted(s.answer) if isinstance(s.answer, tuple) else s.answer))
        for s in load_dataset(folder).samples
        if s.suffix
    }


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layouts(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in commands_of(PAGE):
        given = [str(ROOT / word) if word.startswith("recipes/") else word for word in command[1:]]
        done = run_residency(*given)
        assert done.code == 0, (command, done.err)
        if command[1] == "ingest":
            assert load_dataset(tmp_path / command[command.index("--out") + 1]).samples[0].suffix
    first, again = (load_dataset(tmp_path / name) for name in ("data-studio", "data-again"))
    assert (
        first.questionnaire and again.questionnaire and first.questionnaire.questions == again.questionnaire.questions
    )
    assert [(s.prefix, s.answer) for s in first.samples] == [(s.prefix, s.answer) for s in again.samples]


@pytest.mark.parametrize("layout", ["blood_cells", "fetal_head"])
def test_boxes_and_outlines_go_to_label_studio_and_back(layout: str, tmp_path: Path) -> None:
    write_layouts(tmp_path)
    known = ("--group-by", "image", "--out")
    label = ("--label", "255: head") if layout == "fetal_head" else ()
    assert run_residency("ingest", "--images", tmp_path / layout, *label, *known, tmp_path / "first").code == 0
    done = run_residency("label-studio", tmp_path / "first", "--out", tmp_path / "tasks.json")
    assert done.code == 0 and "tasks: 4" in done.out, done.err
    assert "<Label value=" in (tmp_path / "tasks.xml").read_text()
    images = next((tmp_path / layout).glob("*mage*"))
    asked = ("--sheet", tmp_path / "tasks.json", "--images", images)
    done = run_residency("ingest", *asked, *known, tmp_path / "again")
    assert done.code == 0, done.err
    first, again = (load_dataset(tmp_path / name).samples for name in ("first", "again"))
    assert [(s.prefix, s.suffix) for s in first] == [(s.prefix, s.suffix) for s in again]


def test_a_models_answers_become_predictions_to_correct(made_run: Path, tmp_path: Path) -> None:
    dataset = load_recipe(made_run / "config.yaml").data
    file = made_run / "predictions" / "test.own.jsonl"
    done = run_residency("label-studio", dataset, "--out", tmp_path / "tasks.json", "--predictions", file, "--json")
    assert done.code == 0, done.err
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert len([task for task in tasks if "predictions" in task]) == 40
    (made,) = next(task for task in tasks if "predictions" in task)["predictions"]
    assert {result["type"] for result in made["result"]} == {"choices", "textarea"}
    asked = ("--sheet", tmp_path / "tasks.json", "--images", json.loads(done.out)["root"], "--group-by", "image",
             "--questionnaire", dataset / "questionnaire.yaml", "--out", tmp_path / "again")  # fmt: skip
    done = run_residency("ingest", *asked, "--skip-bad")  # the made-up numbers are not all plausible
    assert done.code == 0, done.err
    first, again = (answers_of(folder) for folder in (dataset, tmp_path / "again"))
    assert len(again) > 100 and again <= first
    (tmp_path / "other.jsonl").write_text(file.read_text(encoding="utf-8").replace('"id":"', '"id":"x', 1))
    done = run_residency(
        "label-studio", dataset, "--out", tmp_path / "t.json", "--predictions", tmp_path / "other.jsonl"
    )
    assert done.code == 2 and "answers other samples" in done.err


def test_the_page_tells_of_every_format() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert not [name for name in FORMATS if f"| `{name}` |" not in text]
