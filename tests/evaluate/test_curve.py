"""Learning curves, through the installed command on planted runs and on curves whose law is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from residency.config import Recipe
from residency.data.dataset import Dataset, write_dataset
from residency.evaluate.curve import fit_power, images_for, predict_error
from residency.files import write_lines, write_text
from residency.recipe import dump_recipe
from residency.types import Fold, Prediction, Questionnaire, Sample, Splits
from tests.evaluate.planted import NAMES, QUESTION
from tests.run_command import run_residency

SIZES = (20, 40, 80, 160, 320)
FLOOR, SCALE, POWER = 0.08, 2.0, 0.5


def plant_runs(folder: Path, groups: int = 200) -> list[Path]:
    """Write runs trained on nested sets of images, whose error is 0.08 + 2 n^-0.5, on the same test patients."""
    rng = np.random.default_rng(0)

    def make(name: str, group: str) -> Sample:
        answer = str(rng.choice(NAMES))
        return Sample(
            id=name, image=f"images/{name}.png", prefix=QUESTION.wording, suffix=answer, answer=answer, question="q1",
            group=group,
        )  # fmt: skip

    train = [make(f"t{n:03d}", f"train{n:03d}") for n in range(max(SIZES))]
    test = [make(f"e{n:04d}", f"test{n // 4:03d}") for n in range(4 * groups)]
    runs = []
    for size in SIZES:
        fold = Fold(train=tuple(s.group for s in train[:size]), val=(), test=tuple(sorted({s.group for s in test})))
        data = folder / f"data{size}"
        splits = Splits(seed=0, method="planted", folds=(fold,))
        write_dataset(Dataset(data, (*train, *test), Questionnaire(name="planes", questions=(QUESTION,)), splits))
        run = folder / "runs" / f"n{size}"
        write_text(run / "config.yaml", dump_recipe(Recipe(name=f"n{size}", data=data, out=folder / "runs")))
        error = FLOOR + SCALE * size**-POWER
        said = [str(s.answer) if rng.random() > error else NAMES[NAMES.index(str(s.answer)) - 1] for s in test]
        made = [
            Prediction(id=s.id, model=run.name, mode="own", split="test", prompt_sha256="0", prediction=one, parsed=one)
            for s, one in zip(test, said, strict=True)
        ]
        write_lines(run / "predictions" / "test.own.jsonl", made)
        runs.append(run)
    return runs


def test_the_curve_is_drawn_and_a_target_has_its_images_with_uncertainty(tmp_path: Path) -> None:
    runs = plant_runs(tmp_path)
    asked = ("curve", *runs, "--target", "0.85", "--out", tmp_path / "out")
    code, out, _ = run_residency(*asked)
    assert code == 0 and "A mean credit of 0.85 needs" in out
    found = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert [point["images"] for point in found["points"]] == list(SIZES)
    true = (SCALE / (0.15 - FLOOR)) ** (1 / POWER)  # 816 images
    assert found["low"] < true and (found["high"] is None or true < found["high"])
    assert found["images"] > max(SIZES) and found["more"] == found["images"] - max(SIZES)
    for ahead in found["ahead"]:
        real = 1 - FLOOR - SCALE * ahead["images"] ** -POWER
        assert ahead["low"] < ahead["high"] and ahead["low"] - 0.01 < real < ahead["high"] + 0.01
    widths = [ahead["high"] - ahead["low"] for ahead in found["ahead"]]
    middle = min(range(len(widths)), key=lambda place: abs(found["ahead"][place]["images"] - 160))
    assert widths[-1] > widths[middle]  # beyond what was measured it knows less
    assert "<svg" in (tmp_path / "out" / "curve.html").read_text()
    code, out, _ = run_residency(*asked[:-3], "0.99", "--out", tmp_path / "out")
    assert code == 0 and "is out of reach of this curve" in out


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    runs = plant_runs(tmp_path, groups=8)
    code, _, err = run_residency("curve", runs[0], runs[1])
    assert code == 2 and "three sizes" in err and "n20: 20 images" in err
    assert run_residency("curve", *runs, "--target", "80")[0] == 2


def test_a_known_law_is_found_again() -> None:
    images = np.array(SIZES, dtype=float)
    errors = FLOOR + SCALE * images**-POWER
    fit = fit_power(images, errors[None])
    assert fit[0] == pytest.approx([FLOOR, SCALE, POWER], rel=1e-6)
    assert predict_error(fit, np.array([1000.0]))[0, 0] == pytest.approx(FLOOR + SCALE * 1000**-POWER)
    assert images_for(fit, 0.15)[0] == pytest.approx((SCALE / (0.15 - FLOOR)) ** 2)
    assert np.isinf(images_for(fit, FLOOR)[0])
    flat = fit_power(images, np.full((1, len(SIZES)), 0.3))
    assert flat[0, 1] == pytest.approx(0, abs=1e-9) and np.isinf(images_for(flat, 0.2)[0])
