"""From training on few and on more images to a learning curve, calibration, claims and a comparison: one real path."""

import json
from pathlib import Path

import pytest
import yaml

from residency.data.dataset import load_dataset
from residency.data.take import take_images
from tests.discs import build_bench
from tests.run_command import run_residency

COUNTS = (2, 6, 12)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_bench(tmp_path_factory.mktemp("evidence"), images=24)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"out": str(folder / "runs")}
    recipe["train"] |= {"epochs": 2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_runs_on_more_and_more_images_are_compared_and_extrapolated(bench: Path) -> None:
    runs = []
    for count in COUNTS:
        assert run_residency("train", bench / "recipe.yaml", f"name=n{count}", f"train.images={count}")[0] == 0
        runs.append(bench / "runs" / f"n{count}")
    code, out, err = run_residency("curve", *runs, "--target", "0.99", "--out", bench / "curve", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [point["images"] for point in found["points"]] == list(COUNTS)
    assert run_residency("compare", runs[-1], runs[0], "--out", bench / "comparison")[0] == 0
    pair = json.loads((bench / "comparison" / "comparison.json").read_text())["pairs"][0]
    assert pair["won"] + pair["tied"] + pair["lost"] == 2
    code, out, _ = run_residency("evaluate", runs[0], "--json")
    counts = {one["split"]: one["images"] for one in json.loads(out)["counts"]}
    assert code == 0 and counts["train"] == COUNTS[0]  # the report says what was learned from

    assert run_residency("predict", runs[-1], "--split", "val", "--as", "own")[0] == 0
    code, out, _ = run_residency("evaluate", runs[-1], "--json")
    confidence = json.loads(out)["confidence"]
    assert code == 0 and confidence["temperature_chosen"] and confidence["validation_answers"] > 0
    assert confidence["raw"]["ece"] is None  # fewer than 200 answers
    code, out, _ = run_residency("abstain", runs[-1], "--risk", "0.05")
    assert code == 0 and "5% needs 59 without an error" in out
    assert run_residency("judge", runs[-1])[0] == 0 and run_residency("report", runs[-1])[0] == 0
    page = (runs[-1] / "report.html").read_text()
    assert "contradiction precision" in page and "cannot be promised" in page and "not told below 200 answers" in page


def test_a_larger_number_of_images_holds_a_smaller_and_groups_stay_whole(bench: Path) -> None:
    samples = load_dataset(bench / "data").split("train")
    taken = {count: {s.id for s in take_images(samples, count, 3)} for count in (1, 4, 9)}
    assert taken[1] < taken[4] < taken[9]
    place = {image: number for number, image in enumerate(sorted({s.image for s in samples}))}
    twins = [s.model_copy(update={"group": f"pair {place[s.image] // 2}"}) for s in samples]
    for count in (1, 5, 8):
        kept = take_images(twins, count, 0)
        groups = {sample.group for sample in kept}
        assert {s.id for s in kept} == {s.id for s in twins if s.group in groups}
        assert len({s.image for s in kept}) <= max(count, 2)
