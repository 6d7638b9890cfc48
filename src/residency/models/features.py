"""What a tower sees of an image, kept: pixels in, its features out, computed once for all epochs (on disk, where it is
frozen) or once for a picture's neighbours and its answers (in memory).

A file is named by the hash of the pixels as the tower reads them (so of the image, its side and its preparation), of
the weights before the projector, and of the precision: what is found is what would be computed.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from residency.config import Train
from residency.errors import UserError
from residency.files import written_whole
from residency.models.family import ADDED, Family, Loaded, part_of
from residency.models.registry import Opened

NAME = "features"


class FeatureCache:
    """Features of images in a folder, one safetensors file an image."""

    def __init__(self, family: Family, loaded: Loaded, folder: Path) -> None:
        self.family, self.folder = family, folder
        self.tower = _hash_tower(family, loaded)

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's features of M images; those that are not there yet are computed, and kept."""
        paths = [self._path_of(pixels) for pixels in pixels_MCHW.cpu()]
        lacking = {path: m for m, path in enumerate(paths) if not path.is_file()}
        if lacking:
            tower = loaded.core.get_submodule(self.family.parts["vision"])
            trains = tower.training
            tower.eval()  # no dropped paths: what is kept serves every epoch
            with torch.no_grad():
                seen = self.family.look(loaded, pixels_MCHW[list(lacking.values())])
            tower.train(trains)
            for path, features in zip(lacking, seen.cpu(), strict=True):
                with written_whole(path) as file:
                    file.write(save({NAME: features.contiguous()}))
        return torch.stack([load_file(path)[NAME] for path in paths]).to(loaded.device)

    def _path_of(self, pixels: torch.Tensor) -> Path:
        kind = f"{self.tower} {tuple(pixels.shape)} {torch.is_autocast_enabled(pixels.device.type)}".encode()
        digest = hashlib.sha256(kind + pixels.contiguous().numpy().tobytes()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.safetensors"


class Seen:
    """Features in memory of the pictures at hand."""

    def __init__(self, opened: Opened) -> None:
        self.family = opened.family
        names = [name for name, _ in opened.loaded.model.named_parameters() if any(added in name for added in ADDED)]
        self.adapted = any(part_of(self.family, name) in self.family.looks for name in names)
        self.features: dict[tuple[bytes, bool], torch.Tensor] = {}

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's features of M images; an adapted tower and the same without its adapter are two."""
        bare = self.adapted and loaded.model._adapters_disabled
        keys = [(pixels.cpu().numpy().tobytes(), bare) for pixels in pixels_MCHW]
        if lacking := {key: m for m, key in enumerate(keys) if key not in self.features}:
            seen = self.family.look(loaded, pixels_MCHW[list(lacking.values())])
            self.features |= zip(lacking, seen, strict=True)
        return torch.stack([self.features[key] for key in keys])


@contextmanager
def look_once(opened: Opened) -> Iterator[None]:
    """Within it the tower sees a picture once, however often it is asked about: all it saw stays in memory."""
    before, opened.loaded.kept = opened.loaded.kept, Seen(opened)
    try:
        yield
    finally:
        opened.loaded.kept = before


def keep_features(opened: Opened, train: Train, folder: Path) -> FeatureCache | None:
    """Return where a frozen tower's features are kept, or None where they change or the recipe wants none kept.

    Raises:
        UserError: the recipe wants them kept, but they change from epoch to epoch.
    """
    moving = _find_moving(opened.family, opened.loaded)
    moving += [] if train.augment == "none" else [f"augment: {train.augment} changes every picture"]
    if moving and train.cache_features is True:
        raise UserError(
            "train.cache_features: true, but what the tower sees cannot be kept",
            found="; ".join(moving),
            do="take cache_features out, or freeze what trains before the tower's end and set train.augment: none",
        )
    return FeatureCache(opened.family, opened.loaded, folder) if train.cache_features and not moving else None


def remove_features(folder: Path) -> None:
    """Delete kept features; a run that is done reads them no more."""
    if folder.is_dir():
        shutil.rmtree(folder)


def _find_moving(family: Family, loaded: Loaded) -> list[str]:
    """Return what keeps a tower's features from being kept: parts before the cache that train, or a tower's nature."""
    if not family.looks:
        return [f"{family.name} sees images of several sizes"]
    trained = {part_of(family, name) for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    return [f"{part} trains" for part in family.looks if part in trained]


def _hash_tower(family: Family, loaded: Loaded) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(loaded.model.state_dict().items()):
        if part_of(family, name) in family.looks:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
