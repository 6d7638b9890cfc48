"""Images in, one vector each out: what a model's own tower sees of them, or any vision encoder of transformers."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoImageProcessor, AutoModel

from residency.errors import UserError
from residency.files import sha256_file
from residency.models.chat_reader import accepted_by
from residency.models.family import ADDED, Images, Loaded, part_within, read_images
from residency.models.registry import Opened, open_model, open_run
from residency.models.teacher import UNREADABLE
from residency.progress import track
from residency.types import Sample

Vectors = dict[str, NDArray[np.float32]]
"""By `Sample.image`, (D,)."""
BATCH = 8


class Embed(Protocol):
    """Turns images into vectors."""

    def __call__(self, samples: Sequence[Sample], images: Images | None = None) -> Vectors:
        """Return the vectors of the samples' images; `images` replaces files, by `Sample.image`."""


@dataclass(frozen=True)
class ImageEncoder:
    """What turns images into vectors: its name, the SHA-256 of what it computes with, and the function."""

    name: str
    sha256: str
    embed: Embed


def open_image_encoder(name: str) -> ImageEncoder:
    """Open a run (its tower as tuned), a model (its own tower), or a plain vision encoder (DINOv2, ViT, CLIP ...).

    Raises:
        UserError: there is no such model, or it sees no images.
    """
    if (Path(name) / "config.yaml").is_file():
        return tower_encoder(open_run(Path(name))[1], name, tuned=Path(name) / "adapter")
    try:
        return tower_encoder(open_model(name), name)
    except UserError as error:
        if not error.what.startswith("no family covers"):
            raise
    return _plain_encoder(name)


def tower_encoder(opened: Opened, name: str, tuned: Path | None = None) -> ImageEncoder:
    """Return an opened model's tower as an encoder: as the base has it, or as the adapter in `tuned` has changed it."""
    digest = hash_base(opened)
    if tuned:
        digest += f"+{sha256_file(tuned / 'adapter_model.safetensors')}"

    def embed(samples: Sequence[Sample], images: Images | None = None) -> Vectors:
        model = opened.loaded.model
        untuned = tuned is None and hasattr(model, "disable_adapter")
        with model.disable_adapter() if untuned else nullcontext():
            return tower_features(opened, samples, images)

    return ImageEncoder(name, digest, embed)


@torch.inference_mode()
def tower_features(opened: Opened, samples: Sequence[Sample], images: Images | None = None) -> Vectors:
    """Return, by image, the mean of the regions that the tower and its projector give, (D,)."""
    model, features = opened.loaded.model, Vectors()
    trains = model.training
    model.eval()
    one_each = {sample.image: sample for sample in samples}
    for image, sample in track(sorted(one_each.items()), "features of the tower"):
        batch = opened.family.encode(opened.loaded, [sample], with_answers=False, images=images)
        batch = batch.to(opened.loaded.device)
        features[image] = opened.family.see(opened.loaded, batch.pixels_MCHW)[0].mean(0).float().cpu().numpy()
    model.train(trains)
    return features


def hash_base(opened: Opened) -> str:
    """Return the SHA-256 of a base model's tower and projector, whatever adapter it wears, and of the image's side."""
    digest = hashlib.sha256(str(dict(opened.loaded.processor.image_processor.size)).encode())
    for name, weight in sorted(_base_weights(opened.loaded).items()):
        if part_within(opened.family.parts, name) in ("vision", "projector"):
            _add_weight(digest, name, weight)
    return digest.hexdigest()


def _base_weights(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {
        name.replace(".base_layer", "").replace(".original_module", ""): weight
        for name, weight in loaded.core.state_dict().items()
        if not any(added in name for added in ADDED)
    }


def _add_weight(digest: Any, name: str, weight: torch.Tensor) -> None:
    digest.update(name.encode())
    digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def _plain_encoder(name: str) -> ImageEncoder:
    """Open an encoder of transformers whose pooled output, or mean over positions, is the vector."""
    try:
        model: Any = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
        processor = AutoImageProcessor.from_pretrained(name)
    except UNREADABLE as error:
        raise UserError(f"the encoder {name} cannot be read", found=str(error).strip().splitlines()[0]) from error
    model = getattr(model, "vision_model", model).eval()
    if "pixel_values" not in accepted_by(model.forward):
        raise UserError(f"{name} sees no images", found=model.config.model_type, allowed="a model or a vision encoder")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    digest = hashlib.sha256(processor.to_json_string().encode())
    for key, weight in sorted(model.state_dict().items()):
        _add_weight(digest, key, weight)

    @torch.inference_mode()
    def embed(samples: Sequence[Sample], images: Images | None = None) -> Vectors:
        features, one_each = Vectors(), sorted({sample.image: sample for sample in samples}.items())
        for first in track(range(0, len(one_each), BATCH), f"features of {name}"):
            some = dict(one_each[first : first + BATCH])
            pictures, _ = read_images(some.values(), images)
            pixels = processor(pictures, return_tensors="pt")["pixel_values"].to(device)
            seen = model(pixel_values=pixels)
            pooled = getattr(seen, "pooler_output", None)
            if pooled is None:
                states = seen.last_hidden_state
                pooled = states.flatten(2).mean(2) if states.ndim == 4 else states.mean(1)
            features |= dict(zip(some, pooled.flatten(1).float().cpu().numpy(), strict=True))
        return features

    return ImageEncoder(name, digest.hexdigest(), embed)
