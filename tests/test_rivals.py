"""What a tuned model must beat, by the command: probes on its own tower and texts, and the words of the question."""

import json
from pathlib import Path

import yaml

from residency.data.dataset import load_dataset, write_dataset
from residency.types import Option, Question, Questionnaire
from tests.discs import build_bench
from tests.run_command import call_residency, run_residency

NAMES = ("left side", "right side", "small disc", "large disc")
MIXED = Questionnaire(
    name="mixed",
    questions=(
        Question(
            id="closed",
            type="choice",
            wording="As each line asks.",
            options=tuple(Option(name=name) for name in NAMES),
        ),
    ),
)


def test_floors_stand_in_the_table_and_the_report(tmp_path: Path) -> None:
    folder = build_bench(tmp_path, images=12)
    dataset = load_dataset(folder / "data")
    samples = tuple(sample.model_copy(update={"question": "closed"}) for sample in dataset.samples)
    write_dataset(type(dataset)(folder / "data", samples, MIXED, dataset.splits))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"out": str(folder / "runs")}
    recipe["train"] |= {"epochs": 1}
    recipe["accept"] = ["prompt-leak"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run = folder / "runs" / "discs"
    assert call_residency("train", folder / "recipe.yaml") == 0
    for floor in ("probe", "knn", "textprobe", "words"):
        assert (run / "predictions" / f"test.{floor}.jsonl").is_file()
    done = run_residency("evaluate", run)
    assert done.code == 0 and "textprobe" in done.out and "words" in done.out
    found = json.loads((run / "scores" / "scores.json").read_text())
    by_floor = {score["of"]: score for score in found["scores"] if score["metric"] == "accuracy"}
    assert by_floor["words"]["value"] <= 0.75 and by_floor["words"]["n"] == 6  # the words halve the choice, no more
    assert {"own-words", "own-textprobe"} <= {score["of"] for score in found["scores"]}
    assert call_residency("report", run) == 0
    page = (run / "report.html").read_text()
    assert "question words alone" in page and "text-informed probe" in page and "LP++" in page
