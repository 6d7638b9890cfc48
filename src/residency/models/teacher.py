"""A larger vision model: a checkpoint and pictures in, what it sees on a grid out, computed once and kept on disk."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn
from transformers import AutoImageProcessor, AutoModel

from residency.errors import UserError
from residency.files import written_whole
from residency.models.chat_reader import accepted_by
from residency.models.family import Loaded

NAME = "features"
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError)


class Teacher:
    """A frozen encoder of transformers (DINOv2, ViT, CLIP, SigLIP, ResNet ...) whose features lie in a folder."""

    def __init__(self, source: str, device: torch.device, folder: Path) -> None:
        """Load it.

        Raises:
            UserError: it cannot be read, or is no vision model.
        """
        try:
            model = AutoModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
            self.processor = AutoImageProcessor.from_pretrained(source)
        except UNREADABLE as error:
            raise UserError(
                f"train.distill.teacher: {source} cannot be read",
                found=str(error).strip().splitlines()[0],
                do="name a vision model's folder: config.json, safetensors weights, preprocessor_config.json",
            ) from error
        self.model: Any = getattr(model, "vision_model", model).eval().requires_grad_(False).to(device)
        if "pixel_values" not in accepted_by(self.model.forward):
            raise UserError(f"train.distill.teacher: {source} is no vision model", found=model.config.model_type)
        self.folder, self.digest = folder, _hash_weights(self.model)

    def keep(self, pixels_1CHW: torch.Tensor, grid: tuple[int, int], student: Loaded) -> Path:
        """Return the file with what it sees of one picture, as the student's tower reads it; made if it is not there.

        The features (C, h, w) are averaged onto the student's grid, so that region stands by region.
        """
        kind = f"{self.digest} {grid} {tuple(pixels_1CHW.shape)}".encode()
        digest = hashlib.sha256(kind + pixels_1CHW.float().cpu().contiguous().numpy().tobytes()).hexdigest()
        path = self.folder / digest[:2] / f"{digest}.safetensors"
        if not path.is_file():
            with torch.no_grad():
                seen = nn.functional.interpolate(self._look(pixels_1CHW, student), grid, mode="area")[0]
            with written_whole(path) as file:
                file.write(save({NAME: seen.cpu().contiguous()}))
        return path

    def _look(self, pixels_MCHW: torch.Tensor, student: Loaded) -> torch.Tensor:
        """Return its map (M, C, h, w) of pictures in the student's normalization."""
        side = _side_of(self.processor)
        shown = nn.functional.interpolate(pixels_MCHW.float(), (side, side), mode="bicubic", antialias=True)
        mean, std = (_colours(student.processor.image_processor, name, shown) for name in ("image_mean", "image_std"))
        own_mean, own_std = (_colours(self.processor, name, shown) for name in ("image_mean", "image_std"))
        given: dict[str, Any] = {"pixel_values": (shown * std + mean - own_mean) / own_std}
        config = self.model.config
        if "interpolate_pos_encoding" in accepted_by(self.model.forward) and side != config.image_size:
            given["interpolate_pos_encoding"] = True
        states: torch.Tensor = self.model(**given).last_hidden_state
        if states.ndim == 4:
            return states
        cells = side // config.patch_size
        return _fold(states, cells)


def load_features(paths: list[Path], device: torch.device) -> torch.Tensor:
    """Return kept features (M, C, h, w)."""
    return torch.stack([load_file(path)[NAME] for path in paths]).to(device)


def map_features(features: torch.Tensor) -> torch.Tensor:
    """Return a tower's features as a map (M, C, h, w); of tokens (M, N, C), those of a square of patches.

    Raises:
        UserError: they are no square.
    """
    if features.ndim == 4:
        return features
    cells = int(features.shape[1] ** 0.5)
    if features.ndim != 3 or features.shape[1] - cells * cells > 1:
        raise UserError("train.distill: the tower's regions are no square map", found=tuple(features.shape))
    return _fold(features, cells)


def _fold(states_MNC: torch.Tensor, cells: int) -> torch.Tensor:
    """Return the patches' states as a map (M, C, h, w); class and register tokens, which lead, are left out."""
    patches_MCN = states_MNC[:, -cells * cells :].transpose(1, 2)
    return patches_MCN.reshape(*patches_MCN.shape[:2], cells, cells)


def _side_of(processor: Any) -> int:
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    return int(size["height"] if "height" in size else size["shortest_edge"])


def _colours(processor: Any, name: str, like: torch.Tensor) -> torch.Tensor:
    plain = [0.0] * 3 if name == "image_mean" else [1.0] * 3
    values = getattr(processor, name) if getattr(processor, "do_normalize", True) else plain
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, 3, 1, 1)


def _hash_weights(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
