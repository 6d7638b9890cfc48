"""Heads outlined instead of numbers told: a draw in, circumferences computed from nano's location tokens out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fewshot_bench import Bench, Made
from fewshot_data import Draw
from fewshot_nano import train_part
from residency.config import Recipe
from residency.exam import predict_run
from residency.files import read_lines
from residency.models.prompts import span_image
from residency.pretrain.nano import Pretraining
from residency.pretrain.tasks import OUTLINED
from residency.types import Prediction, Quantity, Sample
from residency.ultrasound.outline import measure_circumference, read_points, tell_outline

PROMPT = OUTLINED["fetal skull"]
SPREAD = Pretraining().location_spread
"""Location targets are spread as in pretraining."""


def outline_heads(bench: Bench, draw: Draw, recipe: Recipe) -> Made:
    """Tune on the training images' annotated outlines; an answer that is no outline measures nothing."""
    outlined = replace(draw, train=tuple(map(_ask_outline, draw.train)), test=tuple(map(_ask_outline, draw.test)))
    spread = recipe.train.model_copy(update={"location_spread": SPREAD})
    recipe = recipe.model_copy(update={"prompt": "{prefix}", "train": spread})
    run, seconds = train_part(bench, outlined, recipe)
    predict_run(run, modes=("own",), floors=False)
    told = {line.id: line.prediction for line in read_lines(run / "predictions" / "test.own.jsonl", Prediction)}
    lengths = {s.id: _measure(s, told[s.id]) for s in draw.test if s.id in told}
    return Made({id: None if mm is None else Quantity(value=mm, unit="mm") for id, mm in lengths.items()}, seconds)


def _ask_outline(sample: Sample) -> Sample:
    return sample.model_copy(
        update={"prefix": PROMPT, "suffix": tell_outline(_read_outline(sample)), "question": None, "answer": None}
    )


def _read_outline(sample: Sample) -> np.ndarray:
    """Return the annotated ellipse as points in shares of the sides, in order about their centre."""
    image = Path(sample.image)
    with Image.open(image.parents[1] / "annotation" / f"{image.stem}_Annotation.png") as file:
        drawn_HW = np.asarray(file.convert("L")) > 127
    rows, columns = np.nonzero(drawn_HW)
    points_P2 = np.stack([(columns + 0.5) / drawn_HW.shape[1], (rows + 0.5) / drawn_HW.shape[0]], 1)
    around = points_P2 - points_P2.mean(0)
    return points_P2[np.argsort(np.arctan2(around[:, 1], around[:, 0]))]


def _measure(sample: Sample, told: str) -> float | None:
    assert sample.spacing_mm is not None
    return measure_circumference(read_points(told), span_image(sample.image, sample.spacing_mm))
