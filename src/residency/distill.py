"""Distillation: a teacher's features of the training images in, a loss that draws the tower's features to them out.

A linear map turns the tower's regions into the teacher's space, where they are compared by cosine (feature
distillation: FitNets, Romero 2015, arXiv 1412.6550; by cosine as in AM-RADIO, Ranzinger 2024, arXiv 2312.06709). The
map is trained beside the model and left behind when it ships.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from residency.config import Distill, Train
from residency.errors import UserError
from residency.losses import Summed
from residency.models.family import Loaded, part_of
from residency.models.registry import Opened
from residency.models.teacher import Teacher, load_features, map_features
from residency.progress import track
from residency.types import Sample

STATE = "distill.safetensors"
STILL = ("grey", "none")
"""Augmentations that leave every structure where the teacher saw it."""


class Distillation:
    """One run's: the teacher's features by image, and the linear map.

    It stands as `Loaded.kept`, for it must see what the tower saw.
    """

    def __init__(self, settings: Distill, opened: Opened, samples: Sequence[Sample], seed: int, folder: Path) -> None:
        """Let the teacher see each training image once; what it has seen before is read.

        Raises:
            UserError: the teacher cannot be read, or the tower's regions are no map.
        """
        self.settings, self.family = settings, opened.family
        device = opened.loaded.device
        teacher = Teacher(settings.teacher, device, folder)
        self.path_of: dict[str, Path] = {}
        one_each = {sample.image: sample for sample in samples}
        width = 0
        for image, sample in track(sorted(one_each.items()), "features of the teacher"):
            pixels = opened.family.encode(opened.loaded, [sample], with_answers=False).pixels_MCHW.to(device)
            if not width:
                with torch.no_grad():
                    own = map_features(opened.family.look(opened.loaded, pixels))
                width, grid = own.shape[1], (own.shape[2], own.shape[3])
            self.path_of[image] = teacher.keep(pixels, grid, opened.loaded)
        wanted = load_features([next(iter(self.path_of.values()))], device).shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.heads = nn.Linear(width, wanted).to(device)
        self.seen: torch.Tensor | None = None

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's features, and remember them for the loss."""
        self.seen = self.family.look(loaded, pixels_MCHW)
        return self.seen

    def loss(self, samples: Sequence[Sample]) -> Summed:
        """Return one minus the cosine, summed over the regions of the samples' images in order of first use."""
        assert self.seen is not None
        own_MCHW, self.seen = map_features(self.seen), None
        images = dict.fromkeys(sample.image for sample in samples)
        wanted_MCHW = load_features([self.path_of[image] for image in images], own_MCHW.device)
        with torch.autocast(own_MCHW.device.type, enabled=False):
            told_RC = self.heads(own_MCHW.float().permute(0, 2, 3, 1).flatten(0, 2))
            wanted_RC = wanted_MCHW.permute(0, 2, 3, 1).flatten(0, 2)
            apart_R = 1 - nn.functional.cosine_similarity(told_RC, wanted_RC, dim=-1)
        return Summed(apart_R.sum(), torch.tensor(len(apart_R), device=apart_R.device))

    def save(self, folder: Path) -> None:
        """Write the linear map to a checkpoint."""
        save_file(self.heads.state_dict(), str(folder / STATE))

    def load(self, folder: Path) -> None:
        """Read the linear map from a checkpoint."""
        self.heads.load_state_dict(load_file(str(folder / STATE), device=str(self.heads.weight.device)))


def require_teachable(opened: Opened, train: Train) -> None:
    """Make sure that a teacher's features can be learned by what trains, and stay true of what is shown.

    Raises:
        UserError: the tower does not train, its features are no map, or augmentation moves what the teacher saw.
    """
    if train.distill is None:
        return
    trained = {part_of(opened.family, name) for name, p in opened.loaded.model.named_parameters() if p.requires_grad}
    faults = (
        [] if "vision" in trained else ["nothing of the tower trains: name vision in tune.train or tune.lora.parts"]
    )
    if opened.family.looks != ("vision",):
        faults.append(f"the tower of {opened.family.name} gives no map by itself")
    if train.augment not in STILL:
        faults.append(f"train.augment: {train.augment} moves what the teacher saw: take grey or none")
    if faults:
        raise UserError("train.distill cannot be", found="; ".join(faults), do="mend this, or set train.distill: null")
