"""A closer look through the installed commands: heads of phantoms outlined, and outlined again in crops around that."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from residency.answering import Query, answer_each
from residency.asking import Predict
from residency.closer import read_single
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.places import tell_places
from residency.data.tiles import frame_marks
from residency.files import read_lines
from residency.models.registry import Opened, open_run
from residency.predict import Asked, answer_samples
from residency.types import Fold, Prediction, Question, Questionnaire, Sample, Splits
from residency.ultrasound.outline import tell_points
from residency.ultrasound.phantom import HELD_OUT_SITE, draw_image
from tests.run_command import run_residency

RECIPE = Path(__file__).parent.parent / "recipes" / "fetal-head-outline-nano.yaml"
FEW = ("tune.train=[projector]", "train.part_learning_rates={}", "train.augment=none")
SKULL, ASKED, TIMES = "fetal skull", "Outline: the fetal head.", (1.2, 1.5)


def write_heads(folder: Path, count: int = 10) -> None:
    """Simulated heads with their skulls outlined, one a patient; patient 6 validates, the next are examined, each in a
    picture of another size."""
    (folder / "images").mkdir(parents=True)
    samples = []
    for number in range(count):
        drawing = draw_image("trans-thalamic", [7, number], HELD_OUT_SITE)
        pixels_HW = np.pad(drawing.image, ((0, 40 * max(0, number - 7)), (0, 0)))
        outlines = tuple(outline for outline in drawing.outlines if outline.label == SKULL)
        image = f"images/{number}.png"
        Image.fromarray(pixels_HW).save(folder / image)
        text = tell_places([], outlines, pixels_HW.shape[1::-1], labelled=False)
        told = {"id": f"{number}", "image": image, "group": f"P{number}", "outlines": outlines}
        samples.append(Sample(**told, prefix=ASKED, question="head", suffix=text, answer=text))
    questionnaire = Questionnaire(name="heads", questions=(Question(id="head", type="text", wording=ASKED),))
    fold = Fold(
        train=tuple(f"P{number}" for number in range(6)),
        val=("P6",),
        test=tuple(f"P{number}" for number in range(7, count)),
    )
    splits = Splits(seed=0, method="made", folds=(fold,))
    write_dataset(Dataset(folder, tuple(samples), questionnaire, splits))


def look_by_hand(folder: Path, opened: Opened, sample: Sample, first: str) -> str:
    """Write each crop to a file, ask about it alone, and take the median of what is told."""
    with Image.open(sample.image) as file:
        picture = file.convert("RGB")
    told = read_single(first)
    assert told is not None
    points = []
    for times in TIMES:
        region = frame_marks(told.points_P2 * picture.size, picture.size, times)
        picture.crop(region.corners).save(folder / f"{times}.png")
        asked = sample.model_copy(update={"image": str(folder / f"{times}.png")})
        with torch.inference_mode():
            (said,) = answer_each(opened, [Query(asked)], Predict(), None)
        near = read_single(said.fields["prediction"])
        assert near is not None
        points.append((near.points_P2 * region.size + (region.x0, region.y0)) / picture.size)
    return tell_points(np.median(points, 0))


def read_test(folder: Path) -> list[Sample]:
    dataset = load_dataset(folder)
    return [one.model_copy(update={"image": str(dataset.image_path(one))}) for one in dataset.split("test")]


def count_seen(opened: Opened) -> list[int]:
    """Return a list that grows by how many images the tower sees each time."""
    seen: list[int] = []
    tower = opened.loaded.core.get_submodule(opened.family.parts["vision"])
    tower.register_forward_hook(lambda module, inputs, output: seen.append(len(output.last_hidden_state)))
    return seen


def test_an_outline_is_told_again_in_crops_around_it(tmp_path: Path) -> None:
    write_heads(tmp_path / "heads")
    cut = run_residency("tile", tmp_path / "heads", "--out", tmp_path / "crops", "--around", 2)
    assert cut.code == 0, cut.err
    keys = [f"data={tmp_path / 'crops'}", f"out={tmp_path / 'runs'}", "name=heads", "train.epochs=1", *FEW]
    trained = run_residency("train", RECIPE, *keys)
    assert trained.code == 0, trained.err
    asked = ["--data", tmp_path / "heads", "--as", "own"]
    for name, keys in {"plain": ["predict.closer=[]"], "closer": [f"predict.closer={list(TIMES)}"]}.items():
        done = run_residency("predict", tmp_path / "runs/heads", *keys, *asked, "--out", tmp_path / name)
        assert done.code == 0, done.err
    plain, closer = (
        {line.id: line.prediction for line in read_lines(next((tmp_path / name).rglob("test.own.jsonl")), Prediction)}
        for name in ("plain", "closer")
    )
    opened, samples = open_run(tmp_path / "runs/heads")[1], read_test(tmp_path / "heads")
    seen = count_seen(opened)
    for batch, sizes in {4: [3, 4, 2], 1: [1, 1, 1] * 3}.items():
        settings = Predict(closer=TIMES, batch_images=batch)
        made = list(answer_samples(opened, samples, None, {}, Asked("heads", "own", "test"), settings))
        assert {line.id: line.prediction for line in made} == closer
        assert seen == sizes  # pictures, then crops of all of them together
        seen.clear()
    assert closer == {one.id: look_by_hand(tmp_path, opened, one, plain[one.id]) for one in samples}
    assert len(closer) == len({*closer.values(), *plain.values()}) / 2 == 3
    single = run_residency("predict", tmp_path / "runs/heads", "predict.closer=1.2", *asked)
    assert single.code == 2
    assert "`predict.closer`: a list is wanted, such as [1.2], found 1.2" in single.err
    told = run_residency("train", RECIPE, "prompt={prefix} {field_mm}")
    assert told.code == 2
    assert "predict.closer" in told.err


def test_only_a_single_place_is_looked_at_again() -> None:
    square = tell_points(np.array([[0.1, 0.2], [0.3, 0.4]]))
    assert read_single(f"cyst{square}") is not None
    assert read_single(f"cyst{square}femur{square}") is None
    assert read_single("<loc_1><loc_2><loc_3>") is None
    assert read_single("no cyst") is None
