"""The interface that every model family fills in: samples in, batches, logits and answers out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from PIL import Image

from residency.config import Part, Speed, Weights
from residency.losses import IGNORED
from residency.models.sampling import Sampling
from residency.types import Problem, Sample

Prefix = Literal["shared", "answering", "separate"]
"""An image is read once for all its questions: in training and answering, in answering, or for each again."""
PARTS: tuple[Part, ...] = ("vision", "projector", "language")
Images = Mapping[str, Image.Image]
ADDED = ("lora_", ".modules_to_save.", "prompt_encoder.")
"""What the names of an adapter's weights hold."""


@dataclass(frozen=True)
class ModelSpec:
    """What to load: a folder or hub name, the prompt's template and what is said before it, the image side in pixels
    (None: the model's own), and whether solved examples are told as text even where pictures could be shown.

    `weights` are the numbers the weights are kept in; the linear layers of the `quantized` parts are kept at 4 bits.
    """

    source: str
    prompt: str = "{prefix}"
    image_size: int | None = None
    weights: Weights = "fp32"
    quantized: tuple[Part, ...] = ()
    system: str = ""
    shots_as_text: bool = False
    speed: Speed = field(default_factory=Speed)

    @property
    def dtype(self) -> torch.dtype:
        """What frozen weights are kept in, and what passes between modules."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.weights]


class Kept(Protocol):
    """Features of images that a tower has seen before."""

    def look(self, loaded: "Loaded", pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's features of M images."""


@dataclass
class Loaded:
    """A model in memory with its processor. `model` is a transformers model, PEFT-wrapped once it is tuned. `kept`
    holds a frozen tower's features, where they are computed once (features.py)."""

    spec: ModelSpec
    model: Any
    processor: Any
    kept: "Kept | None" = None

    def look(self, family: "Family", pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's features, those that are kept without computing them again."""
        return self.kept.look(self, pixels_MCHW) if self.kept else family.look(self, pixels_MCHW)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @property
    def core(self) -> Any:
        """The transformers model itself, without PEFT's wrapper (adapters stay active in its modules)."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def soft_ids(self) -> list[int]:
        """Ids, none a word's, of the learned vectors that a prompt begins with; none where the adapter is off."""
        learned = getattr(self.model, "prompt_encoder", None)
        if learned is None or self.model._adapters_disabled:
            return []
        first = first_soft_id(self.core)
        return list(range(first, first + learned["default"].embedding.num_embeddings))


@dataclass(frozen=True)
class Batch:
    """Encoded samples: B samples over M different images.

    pixels_MCHW, image_of_B (which image a sample asks about), prompt_BS and its mask (image positions included),
    labels_BT: answer tokens with their end token, -100 elsewhere; None where answers were left out.
    shots_BE: which images a sample's solved examples are about, -1 where it has fewer; None: none are shown.
    """

    pixels_MCHW: torch.Tensor
    image_of_B: torch.Tensor
    prompt_BS: torch.Tensor
    prompt_mask_BS: torch.Tensor
    labels_BT: torch.Tensor | None = None
    shots_BE: torch.Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(**{name: value.to(device) for name, value in self.tensors().items()})

    def take(self, rows: Sequence[int]) -> "Batch":
        """Return some of the samples, over the same images."""
        index = torch.tensor(rows, device=self.prompt_BS.device)
        return Batch(
            pixels_MCHW=self.pixels_MCHW,
            image_of_B=self.image_of_B[index],
            prompt_BS=self.prompt_BS[index],
            prompt_mask_BS=self.prompt_mask_BS[index],
            labels_BT=None if self.labels_BT is None else self.labels_BT[index],
            shots_BE=None if self.shots_BE is None else self.shots_BE[index],
        )

    def tensors(self) -> dict[str, Any]:
        """Return the fields that hold something, by name."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in held.items() if value is not None}


@dataclass(frozen=True)
class Output:
    """states_BTD stand at the positions of labels_BT, `project` turns states into logits over the vocabulary; image_BD
    is each sample's pooled image embedding."""

    states_BTD: torch.Tensor
    image_BD: torch.Tensor
    project: Callable[[torch.Tensor], torch.Tensor]

    @property
    def logits_BTV(self) -> torch.Tensor:  # noqa: N802 (named by its shape, as tensors are)
        """The logits of every position, padding too."""
        return self.project(self.states_BTD)

    def at_labels(self, labels_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (1, N, V) and labels (1, N) where a label stands; nothing else meets the vocabulary."""
        counted_BT = labels_BT != IGNORED
        return self.project(self.states_BTD[counted_BT]).unsqueeze(0), labels_BT[counted_BT].unsqueeze(0)


@dataclass(frozen=True)
class Answered:
    """A generated answer's text, its mean token likelihood in [0, 1], and whether the model came to its end.

    `box_scores`: the mean log-likelihood of each run of location tokens with its label, in the order of the text.
    """

    text: str
    likelihood: float
    whole: bool = True
    box_scores: tuple[float, ...] = ()


class Family(Protocol):
    """Models that share an architecture. Everything else (loop, tuning, losses, evaluation) is written once."""

    name: str
    parts: Mapping[Part, str]
    """Each part's module prefix; a part may lie within another (Qwen-VL's projector in its tower)."""
    lora_targets: Mapping[Part, tuple[str, ...]]
    """Names of the linear modules that LoRA adapts, by part; empty where a part has none."""

    image_prefix: Prefix
    """Whether an image's questions share what reads its regions, as a test of equality with separate samples holds."""
    several_images: bool
    """A prompt may hold further pictures: solved examples are shown with theirs."""
    looks: tuple[Part, ...]
    """The parts that `look` goes through; none where an image's features depend on its neighbours."""

    def load(self, spec: ModelSpec) -> Loaded:
        """Read weights and processor from a folder or the hub; safetensors only, no remote code."""

    def encode(
        self, loaded: Loaded, samples: Sequence[Sample], *, with_answers: bool, images: Images | None = None
    ) -> Batch:
        """Turn samples into a batch: sole owner of prompts and labels. `images` replaces files, by `Sample.image`."""

    def find_overlong(self, loaded: Loaded, samples: Sequence[Sample]) -> list[Problem]:
        """Return a problem for each sample whose prompt or answer is longer than the model can hold."""

    def see(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the projected regions (M, N, D) of each image, shared by its questions."""

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's features (M, ...) of each image, before what turns them into regions."""

    def forward(self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor) -> Output:
        """Return logits aligned to the labels."""

    def embed_text(self, loaded: Loaded, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return word embeddings (B, T, D) and their masked mean (B, D), with no image in the sequence."""

    def score(
        self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor, candidates: Sequence[Sequence[str]]
    ) -> list[torch.Tensor]:
        """Return log-likelihoods (K,) in nats of the answers offered to each sample, end token included."""

    def generate(
        self,
        loaded: Loaded,
        batch: Batch,
        regions_MND: torch.Tensor,
        *,
        max_new_tokens: int,
        sampling: Sampling | None = None,
    ) -> list[Answered]:
        """Answer greedily, or as often as `sampling` asks: a sample's answers one behind another."""

    def read_answer(self, text: str) -> str:
        """Return what the model said in the notation of samples; families with tokens of their own for places turn
        them."""


def first_soft_id(core: Any) -> int:
    """Return the first id that stands for no word of a model and no image."""
    words = int(core.get_input_embeddings().num_embeddings)
    return max(words, int(core.config.image_token_id) + 1)


def read_images(samples: Iterable[Sample], images: Images | None) -> tuple[list[Image.Image], list[int]]:
    """Return the samples' different images in order of first use, and each sample's index among them.

    Raises:
        OSError: an image cannot be read; there is no stand-in for it.
    """
    index_of: dict[str, int] = {}
    pictures: list[Image.Image] = []
    for sample in samples:
        if sample.image in index_of:
            continue
        index_of[sample.image] = len(pictures)
        if images is not None and sample.image in images:
            pictures.append(images[sample.image])
        else:
            with Image.open(Path(sample.image)) as file:
                pictures.append(file.convert("RGB"))
    return pictures, [index_of[sample.image] for sample in samples]


def part_of(family: Family, parameter: str) -> Part | None:
    """Return the part of the model that a parameter belongs to; PEFT's own prefixes are passed over.

    Learned vectors before the prompt (`prompt_encoder`) belong to the language.
    """
    if parameter.startswith("prompt_encoder."):
        return "language"
    bare = parameter.removeprefix("base_model.")
    return part_within(family.parts, bare) or part_within(family.parts, bare.removeprefix("model."))


def part_within(parts: Mapping[Part, str], name: str) -> Part | None:
    """Return the innermost part that a module or parameter of the plain model lies in."""
    around = [part for part, prefix in parts.items() if name.startswith(prefix + ".") or name == prefix]
    return max(around, key=lambda part: len(parts[part]), default=None)
