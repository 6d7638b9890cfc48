"""A work folder and phantoms in, what all rows share out: the shipped nano, its untrained twins, EfficientNet-Lite0."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from fewshot_data import Draw
from fewshot_lite import Course, Lite, start_lite, train_on_phantoms
from residency.files import sha256_file, sha256_text
from residency.models.registry import Opened, open_model
from residency.types import Answer


@dataclass(frozen=True)
class Made:
    """What a row answered, by sample id (None: no answer could be read), and how long it trained."""

    answers: dict[str, Answer | None]
    seconds: float


@dataclass
class Bench:
    """What all rows share: the folder they work in, the phantoms, and whether everything is cut to a minimum."""

    work: Path
    phantoms: tuple[Path, ...]
    quick: bool
    say: Callable[[str], None]
    steps: int = 0
    """Optimizer steps of nano in the place of the experiments' own (0: those)."""
    job: int = 0
    """Which of several processes at work in the folder this is."""
    features: dict[tuple[str, str], tuple[np.ndarray, float]] = field(default_factory=dict)
    """By kind and image path: the frozen features, and the seconds they took."""
    pictures: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)

    def steps_of(self, draw: Draw, own: int = 0) -> int:
        """Return nano's optimizer steps on a draw; `own`: of a row with a number of its own."""
        return self.steps or own or draw.experiment.steps

    @cached_property
    def nano(self) -> Opened:
        """The shipped nano."""
        opened = open_model("nano")
        opened.loaded.model.eval()
        return opened

    @cached_property
    def lite(self) -> Lite:
        """EfficientNet-Lite0 with ImageNet's weights, frozen."""
        return start_lite(1, 0, 0).eval()

    @cached_property
    def nano_hash(self) -> str:
        """The SHA-256 of the shipped nano's weights."""
        files = sorted(Path(self.nano.loaded.spec.source).glob("*.safetensors"))
        return sha256_text("".join(sha256_file(file) for file in files))

    @cached_property
    def phantom_weights(self) -> Path:
        """EfficientNet-Lite0 after naming the planes of phantoms, with the trial's settings."""
        course = Course(2, 1e-3, 4) if self.quick else Course(400, 1e-3, 32)
        return train_on_phantoms(self.phantoms, self.work, course, 16 if self.quick else 8000, self.say)

    def model(self, name: str) -> str:
        """Return the folder of nano with random weights, its tower's too or from ImageNet; `nano` is the shipped."""
        if name == "nano":
            return name
        folder = self.work / f"{name}-{self.nano_hash[:12]}"
        if not folder.is_dir():
            core, part = self.nano.loaded.core, folder.with_suffix(".part")
            torch.manual_seed(0)
            fresh = type(core)(core.config)
            fresh.model.vision_tower.initialize()
            if name == "imagenet":
                fresh.model.vision_tower.load_state_dict(start_lite(1, 0, 0).tower.state_dict())
            fresh.save_pretrained(part)
            self.nano.loaded.processor.save_pretrained(part)
            part.replace(folder)
        return str(folder)
