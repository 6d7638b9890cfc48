"""An opened model and an exam's samples in; what cheap answerers say to them, a file each, out.

A linear probe, nearest neighbours and a text-informed linear probe on what the un-tuned model sees and reads, and the
words of the prompt alone: what a tuned model must beat to be worth its cost.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from residency.evaluate.floors import Probe, predict_floor, predict_words
from residency.files import write_lines
from residency.models.embed import tower_features
from residency.models.prompts import render_prompt
from residency.models.registry import Opened
from residency.types import Floor, Questionnaire, Sample, SplitName

PROBES: tuple[Probe, ...] = ("probe", "knn", "textprobe")
FLOORS: tuple[Floor, ...] = (*PROBES, "words")
TEXTS = 64
"""Answers that are embedded at a time."""


@torch.inference_mode()
def answer_floors(
    opened: Opened,
    training: Sequence[Sample],
    asked: Sequence[Sample],
    questionnaire: Questionnaire | None,
    split: SplitName,
    fold: int,
    folder: Path,
) -> None:
    """Write the answers of each floor that is not there yet."""
    paths = {floor: folder / f"{split}.{floor}.jsonl" for floor in FLOORS}
    if waiting := [floor for floor in PROBES if not paths[floor].is_file()]:
        with opened.loaded.model.disable_adapter():
            features = tower_features(opened, (*training, *asked))
            for floor in waiting:
                made = predict_floor(
                    training,
                    asked,
                    features,
                    floor,
                    questionnaire,
                    split=split,
                    fold=fold,
                    embed=lambda texts: embed_answers(opened, texts),
                )
                write_lines(paths[floor], made)
    if not paths["words"].is_file():
        prompt = opened.loaded.spec.prompt
        prompts = {sample.id: render_prompt(prompt, sample) for sample in (*training, *asked)}
        write_lines(paths["words"], predict_words(training, asked, prompts, questionnaire, split, fold))


def embed_answers(opened: Opened, texts: Sequence[str]) -> np.ndarray:
    """Return the model's own embedding of each text (K, D), with no image in the sequence."""
    parts = [
        opened.family.embed_text(opened.loaded, list(texts[start : start + TEXTS]))[1].float().cpu().numpy()
        for start in range(0, len(texts), TEXTS)
    ]
    return np.concatenate(parts)
