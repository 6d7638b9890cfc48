"""The LLaVA families (Liu 2023, arXiv 2310.03744; LLaVA-NeXT 2024): an image and a prompt in, text out.

LLaVA-1.5 sees one square of its image, LLaVA-NeXT the whole squeezed and tiles of it at full resolution (anyres).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
)
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.modeling_llava_next import unpad_image

from residency.config import Part
from residency.errors import UserError
from residency.models.causal import Causal
from residency.models.decoder import FIRST_REGION, LINE_BREAK
from residency.models.family import Loaded, Prefix
from residency.models.prompts import word_whole
from residency.types import Sample

FRAME = "USER: <image>\nQUESTION ASSISTANT:"
"""LLaVA-1.5's prompt, for checkpoints without a template of their own."""
QUESTION = "QUESTION"
TASK = re.compile(r"^\s*(<[A-Za-z_]+>)\s*(.*)$", re.DOTALL)
TASK_WORDS = {
    "<VQA>": "",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
}
"""The words that a task token of a dataset stands for, as in Florence-2."""


class Llava(Causal):
    """`LlavaForConditionalGeneration` of transformers: a ViT, a two-layer projector, a causal decoder."""

    name = "llava"
    image_prefix: Prefix = "shared"
    model_class = LlavaForConditionalGeneration
    processor_class = LlavaProcessor
    lora_targets: Mapping[Part, tuple[str, ...]] = {
        "vision": ("q_proj", "k_proj", "v_proj", "fc1", "fc2"),  # in CLIP, SigLIP and DINOv2 alike
        "projector": ("linear_1", "linear_2"),
        "language": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    }

    def place_regions(self, loaded: Loaded, size: tuple[int, int] | None) -> list[int]:
        """Return one code a patch of the square; towers' class tokens are dropped, unless the model keeps them."""
        cells = (_side_of(loaded) // loaded.core.config.vision_config.patch_size) ** 2
        kept = loaded.core.config.vision_feature_select_strategy == "full"
        extra = (loaded.processor.num_additional_image_tokens or 0) if kept else 0
        return [FIRST_REGION - region for region in range(cells + extra)]

    def prepare_pixels(self, loaded: Loaded, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Return the pictures, padded to squares (M, C, H, W).

        LLaVA-1.5 was trained so; the processor that ships with it would cut off what a square does not hold.
        """
        return super().prepare_pixels(loaded, [pad_square(picture, _mean_of(loaded)) for picture in pictures])

    def word_prompt(self, loaded: Loaded, sample: Sample) -> str:
        """Return the question in the checkpoint's own chat template, else in LLaVA-1.5's."""
        before, behind = _frame_of(loaded)
        return before + word_whole(loaded.spec, sample, expand_task) + behind

    def answer_ids(self, loaded: Loaded, text: str) -> list[int]:
        """Return an answer's tokens as they stand behind the prompt's last word, and the end token.

        Raises:
            UserError: the tokenizer joins the prompt's end with the answer.
        """
        tokenizer, behind = loaded.processor.tokenizer, _frame_of(loaded)[1]
        last = behind[behind.rstrip().rfind(" ") + 1 :]
        spaced = text and not last[-1:].isspace()
        ids, whole = tokenizer([last, f"{last} {text}" if spaced else last + text], add_special_tokens=False)[
            "input_ids"
        ]
        if whole[: len(ids)] != ids:
            raise UserError("the tokenizer joins the prompt's end with the answer", found=f"{last!r} and {text!r}")
        return [*whole[len(ids) :], tokenizer.eos_token_id]

    def count_trunk(self, prompt: Sequence[int]) -> int:
        """Return where the image ends: up to there all prompts about it are alike."""
        return max((place + 1 for place, token in enumerate(prompt) if token < 0), default=0)

    def choose_states(self, loaded: Loaded, seen: Any) -> torch.Tensor:
        """Return the states of the layers that the checkpoint names, without the class token where it wants none."""
        config, states = loaded.core.config, seen.hidden_states
        layers = config.vision_feature_layer
        chosen = states[layers] if isinstance(layers, int) else torch.cat([states[layer] for layer in layers], -1)
        return chosen[:, 1:] if config.vision_feature_select_strategy == "default" else chosen


class LlavaNext(Llava):
    """`LlavaNextForConditionalGeneration`: tiles at full resolution behind the squeezed whole.

    Pixels are (M, P, C, H, W), P the most tiles of a batch's images; tiles that an image lacks are 0.
    """

    name = "llava-next"
    model_class = LlavaNextForConditionalGeneration
    processor_class = LlavaNextProcessor
    tiled = True
    looks: tuple[Part, ...] = ()

    def set_side(self, loaded: Loaded, side: int) -> None:
        """Refuse another side.

        Raises:
            UserError: always; the tiles' grid belongs to the checkpoint.
        """
        raise UserError("image_size does not go with llava-next", do="leave it out; it reads tiles at full resolution")

    def prepare_pixels(self, loaded: Loaded, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Return the squeezed whole and the tiles of each picture (M, P, C, H, W)."""
        pixels: torch.Tensor = loaded.processor.image_processor(list(pictures), return_tensors="pt")["pixel_values"]
        return pixels

    def place_regions(self, loaded: Loaded, size: tuple[int, int] | None) -> list[int]:
        """Return the codes of the whole's regions, then of the tiles' row by row, a line break behind each row.

        Rows and columns that only hold padding are left out (spatial unpad).
        """
        assert size is not None
        config, (width, height) = loaded.core.config, size
        side = config.vision_config.image_size
        cells = side // config.vision_config.patch_size
        down, across = (
            length // side for length in select_best_resolution((height, width), config.image_grid_pinpoints)
        )
        whole = torch.arange(cells * cells)
        tiles = torch.arange(cells * cells, cells * cells * (1 + down * across)).view(down, across, cells, cells)
        grid = tiles.permute(0, 2, 1, 3).reshape(1, down * cells, across * cells)
        kept = unpad_image(grid, (height, width))[0]
        rows = [[FIRST_REGION - region for region in row] + [LINE_BREAK] for row in kept.tolist()]
        return [FIRST_REGION - region for region in whole.tolist()] + [code for row in rows for code in row]

    def see(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the regions (M, N, D) of all tiles in order; those of tiles that an image lacks are its mean."""
        there_MP = (pixels_MCHW != 0).flatten(2).any(-1)
        told_UND = loaded.core.model.multi_modal_projector(self.look(loaded, pixels_MCHW[there_MP]))
        (M, P), (_, N, D) = there_MP.shape, told_UND.shape
        regions_MPND = told_UND.new_zeros(M, P, N, D).index_put((there_MP,), told_UND)
        mean_MD = regions_MPND.sum((1, 2)) / (there_MP.sum(1, keepdim=True) * N)
        filled = torch.where(there_MP[..., None, None], regions_MPND, mean_MD[:, None, None])
        return filled.flatten(1, 2)


def pad_square(picture: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Return a picture in the middle of a square of its longer side."""
    side = max(picture.size)
    if picture.size == (side, side):
        return picture
    square = Image.new("RGB", (side, side), colour)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def expand_task(prompt: str) -> str:
    """Return a prompt whose task token, if it begins with one, is put into words; other text stays as it is."""
    match = TASK.match(prompt)
    if match is None or match[1].upper() not in TASK_WORDS:
        return prompt
    return f"{TASK_WORDS[match[1].upper()]} {match[2]}".strip()


def _frame_of(loaded: Loaded) -> tuple[str, str]:
    """Return what stands before and behind a question."""
    text = FRAME
    if loaded.processor.chat_template:
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
        text = loaded.processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    before, _, behind = text.rpartition(QUESTION)
    return before, behind


def _side_of(loaded: Loaded) -> int:
    processor = loaded.processor.image_processor
    if getattr(processor, "do_center_crop", False):
        return int(processor.crop_size["height"])
    size = processor.size
    return int(size["height"] if "height" in size else size["shortest_edge"])


def _mean_of(loaded: Loaded) -> tuple[int, int, int]:
    red, green, blue = (int(255 * share) for share in loaded.processor.image_processor.image_mean)
    return red, green, blue
