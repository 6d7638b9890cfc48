"""What families with a decoder alone share: samples in, one sequence of image, prompt and answer; logits out.

In `Batch.prompt_BS` an image's places hold negative codes: -1 is the model's learned line break, -2 - k the image's
region k. So a prompt says by itself which regions it reads, and one that lost some cannot go unnoticed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from residency.config import Part
from residency.errors import UserError
from residency.losses import IGNORED
from residency.models.answers import read_generated
from residency.models.decoder import FIRST_REGION, Decoder, embed_rows, project_states
from residency.models.family import Answered, Batch, Images, Loaded, ModelSpec, Output, Prefix, read_images
from residency.models.packed import Packed, pack_sequences, pad_rows
from residency.models.sampling import Sampling
from residency.models.weights import load_weights
from residency.types import Problem, Sample


class Causal(ABC):
    """A tower, a projector and a decoder that reads image and words in one sequence.

    `share`: samples of one image are laid out in one row that holds their common beginning once; logits and answers
    are the same without it, only slower.
    """

    name: str
    model_class: Any
    processor_class: Any
    parts: Mapping[Part, str] = {
        "vision": "model.vision_tower",
        "projector": "model.multi_modal_projector",
        "language": "model.language_model",
    }
    lora_targets: Mapping[Part, tuple[str, ...]]
    image_prefix: Prefix = "separate"
    several_images = False
    looks: tuple[Part, ...] = ("vision",)
    decoder = Decoder()
    writes_begin = False
    """The prompt's words hold the tokenizer's begin token where it belongs, or want none."""
    tiled = False
    """How many regions an image has depends on its size."""

    def __init__(self, share: bool = True) -> None:
        self.share = share

    @abstractmethod
    def place_regions(self, loaded: Loaded, size: tuple[int, int] | None) -> list[int]:
        """Return the codes of an image's places in the prompt; `size` is its (width, height) in px where `tiled`."""

    @abstractmethod
    def word_prompt(self, loaded: Loaded, sample: Sample) -> str:
        """Return the prompt as the family was trained to read it, with one image token."""

    @abstractmethod
    def answer_ids(self, loaded: Loaded, text: str) -> list[int]:
        """Return an answer's tokens, the end token last."""

    @abstractmethod
    def count_trunk(self, prompt: Sequence[int]) -> int:
        """Return how many of a prompt's tokens are its trunk: what prompts about one image may share."""

    def read_answer(self, text: str) -> str:
        """Return what the model said in the samples' notation."""
        return text

    def load(self, spec: ModelSpec) -> Loaded:
        """Read weights (safetensors) and processor.

        Raises:
            UserError: processor and model do not belong together, or the image side does not fit the tower.
        """
        model = load_weights(self.model_class, spec, self.parts)
        loaded = Loaded(spec, model, self.processor_class.from_pretrained(spec.source))
        told, own = loaded.processor.image_token_id, model.config.image_token_id
        if told != own:
            raise UserError(
                f"processor and model of {spec.source} do not belong together",
                found=f"the image's token is {told} to the processor, {own} to the model",
                do="fetch both again",
            )
        if spec.image_size is not None:
            self.set_side(loaded, spec.image_size)
        return loaded

    def set_side(self, loaded: Loaded, side: int) -> None:
        """Make the processor squeeze images to `side` x `side` px.

        Raises:
            UserError: the side is no multiple of the tower's patches.
        """
        patch = loaded.core.config.vision_config.patch_size
        if side % patch:
            raise UserError(f"image_size: {side} does not fit the tower", allowed=f"multiples of {patch}")
        processor = loaded.processor.image_processor
        processor.size = {"height": side, "width": side}
        if getattr(processor, "do_center_crop", False):
            processor.crop_size = {"height": side, "width": side}

    def prepare_pixels(self, loaded: Loaded, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Return images as the tower reads them (M, C, H, W)."""
        pixels: torch.Tensor = loaded.processor.image_processor(list(pictures), return_tensors="pt")["pixel_values"]
        return pixels

    def encode(
        self, loaded: Loaded, samples: Sequence[Sample], *, with_answers: bool, images: Images | None = None
    ) -> Batch:
        """Encode prompts with their images' places, and answers with their end token.

        Raises:
            UserError: a prompt, with its answer, is longer than the model holds; nothing is ever cut.
        """
        pictures, image_of = read_images(samples, images)
        places = [self.place_regions(loaded, picture.size) for picture in pictures]
        prompts = self._prompt_ids(loaded, samples, [places[m] for m in image_of])
        answers = [self.answer_ids(loaded, sample.suffix or "") if with_answers else [] for sample in samples]
        length, limit = max(map(_count, prompts, answers)), _limit(loaded)
        if length > limit:
            raise UserError(f"image, prompt and answer are {length} tokens long", allowed=str(limit), do="shorten them")
        return Batch(
            pixels_MCHW=self.prepare_pixels(loaded, pictures),
            image_of_B=torch.tensor(image_of),
            prompt_BS=pad_rows(prompts, 0),
            prompt_mask_BS=pad_rows([[1] * len(prompt) for prompt in prompts], 0),
            labels_BT=pad_rows(answers, IGNORED) if with_answers else None,
        )

    def find_overlong(self, loaded: Loaded, samples: Sequence[Sample]) -> list[Problem]:
        """Return a problem for each sample whose image, prompt and answer the model cannot hold together."""
        places = [self.place_regions(loaded, _size_of(sample) if self.tiled else None) for sample in samples]
        prompts = self._prompt_ids(loaded, samples, places)
        answers = [self.answer_ids(loaded, sample.suffix or "") for sample in samples]
        limit = _limit(loaded)
        return [
            Problem(
                kind="too-long",
                message=f"{sample.id} is {_count(prompt, answer)} tokens long (image {len(codes)}, the prompt's words "
                f"{len(prompt) - len(codes)}, answer {len(answer)}), the model holds {limit}",
                source=sample.source,
            )
            for sample, codes, prompt, answer in zip(samples, places, prompts, answers, strict=True)
            if _count(prompt, answer) > limit
        ]

    def see(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's projected regions (M, N, D)."""
        regions_MND: torch.Tensor = loaded.core.model.multi_modal_projector(loaded.look(self, pixels_MCHW))
        return regions_MND

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's states (M, N, C) that the projector reads."""
        config = loaded.core.config.vision_config
        fitted = pixels_MCHW.shape[-1] == config.image_size or config.model_type == "dinov2"  # it fits by itself
        more = {"output_hidden_states": True} | ({} if fitted else {"interpolate_pos_encoding": True})
        return self.choose_states(loaded, loaded.core.model.vision_tower(pixels_MCHW.to(loaded.spec.dtype), **more))

    def choose_states(self, loaded: Loaded, seen: Any) -> torch.Tensor:
        """Return those of a tower's states that the projector reads: the last layer's."""
        states_MNC: torch.Tensor = seen.last_hidden_state
        return states_MNC

    def forward(self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor) -> Output:
        """Return states at the labels' positions (teacher forcing)."""
        if batch.labels_BT is None:
            raise ValueError("forward needs a batch encoded with answers")
        prompts = _unpad(batch.prompt_BS, batch.prompt_mask_BS == 1)
        answers = _unpad(batch.labels_BT, batch.labels_BT != IGNORED)
        packed = self._pack(loaded, batch, prompts, answers)
        hidden_GLD = self._read(loaded, packed, batch, regions_MND)
        T = batch.labels_BT.shape[1]
        ends = torch.tensor([len(prompt) - 1 for prompt in prompts], device=loaded.device)
        step_BT = (ends.unsqueeze(1) + torch.arange(T, device=loaded.device)).clamp(max=packed.column_BP.shape[1] - 1)
        column_BT = packed.column_BP.gather(1, step_BT)
        states_BTD = hidden_GLD[packed.row_B.unsqueeze(1), column_BT]
        return Output(states_BTD, regions_MND.mean(1)[batch.image_of_B], partial(project_states, loaded.core))

    def embed_text(self, loaded: Loaded, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the decoder's states (B, T, D) over the texts and their masked mean (B, D)."""
        tokenizer = loaded.processor.tokenizer
        begin = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
        ids = [[*begin, *row] for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
        packed = pack_sequences(ids, [self.count_trunk(row) for row in ids], range(len(ids)), loaded.device)
        embeds_BTD = loaded.core.get_input_embeddings()(packed.ids_GL)
        words_BTD = self.decoder.read(loaded.core, embeds_BTD, packed.places, packed.places)
        weights_BT1 = (packed.places.branch_GL >= 0).unsqueeze(-1).to(words_BTD.dtype)
        return words_BTD, (words_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).clamp(min=1)

    def score(
        self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor, candidates: Sequence[Sequence[str]]
    ) -> list[torch.Tensor]:
        """Return each sample's log-likelihoods (K,): image and prompts are read once, candidates are twigs on them."""
        prompts = _unpad(batch.prompt_BS, batch.prompt_mask_BS == 1)
        packed = self._pack(loaded, batch, prompts, [[0]] * len(prompts))
        cache = DynamicCache()
        hidden_GLD = self._read(loaded, packed, batch, regions_MND, cache)
        ids = {text: self.answer_ids(loaded, text) for text in {text for texts in candidates for text in texts}}
        offered = [[ids[text] for text in texts] for texts in candidates]
        return self.decoder.weigh(loaded.core, packed, hidden_GLD, list(map(len, prompts)), cache, offered)

    def generate(
        self,
        loaded: Loaded,
        batch: Batch,
        regions_MND: torch.Tensor,
        *,
        max_new_tokens: int,
        sampling: Sampling | None = None,
    ) -> list[Answered]:
        """Answer; all questions about an image, and all answers to them, go on side by side in its row."""
        prompts = _unpad(batch.prompt_BS, batch.prompt_mask_BS == 1)
        packed = self._pack(loaded, batch, prompts, [[0]] * len(prompts))
        cache = DynamicCache()
        hidden_GLD = self._read(loaded, packed, batch, regions_MND, cache)
        lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=loaded.device)
        held = min(max_new_tokens, max(1, _limit(loaded) - int(lengths_B.max())))
        token_BT, log_BT = self.decoder.go_on(
            loaded.core, packed, hidden_GLD, lengths_B, cache, self._end_ids(loaded), held, sampling=sampling
        )
        return self._tell(loaded, token_BT, log_BT)

    def _tell(self, loaded: Loaded, token_BT: torch.Tensor, log_BT: torch.Tensor) -> list[Answered]:
        """Return texts and mean likelihoods; the end token counts in the likelihood, not in the text."""
        tokenizer, ends = loaded.processor.tokenizer, self._end_ids(loaded).tolist()
        silent = (tokenizer.bos_token_id, tokenizer.pad_token_id)
        return read_generated(tokenizer, token_BT, log_BT, ends, silent, self.read_answer)

    def _pack(self, loaded: Loaded, batch: Batch, prompts: list[list[int]], answers: list[list[int]]) -> Packed:
        """Lay prompts and answers, their last tokens left off, out in rows; samples of one image share its row."""
        shared = self.share and loaded.spec.speed.share_image
        owners = batch.image_of_B.tolist() if shared else range(len(prompts))
        sequences = [[*prompt, *answer[:-1]] for prompt, answer in zip(prompts, answers, strict=True)]
        return pack_sequences(sequences, list(map(self.count_trunk, prompts)), owners, batch.prompt_BS.device)

    def _read(
        self, loaded: Loaded, packed: Packed, batch: Batch, regions_MND: torch.Tensor, cache: Any = None
    ) -> torch.Tensor:
        """Return the decoder's states (G, L, D) over rows of words and regions."""
        wanted, given = FIRST_REGION - int(batch.prompt_BS.min()) + 1, regions_MND.shape[1]
        if wanted > given or (wanted < given and not self.tiled):
            raise ValueError(f"the prompt has places for {wanted} regions, the tower gave {given}")
        regions_GND = regions_MND[batch.image_of_B[packed.first_G]]
        embeds_GLD = embed_rows(loaded.core, packed.ids_GL, regions_GND)
        return self.decoder.read(loaded.core, embeds_GLD, packed.places, packed.places, cache)

    def _prompt_ids(
        self, loaded: Loaded, samples: Sequence[Sample], places: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """Return prompts' tokens with the image's places in the place of its token."""
        tokenizer, image = loaded.processor.tokenizer, loaded.core.config.image_token_id
        rows = []
        for sample in samples:
            text = self.word_prompt(loaded, sample)
            begun = self.writes_begin or text.startswith(tokenizer.bos_token or "\0")
            row = tokenizer(text, add_special_tokens=not begun, truncation=False)["input_ids"]
            rows.append(row)
            if row.count(image) != 1:
                raise UserError(
                    f"the prompt of {sample.id} has {row.count(image)} places for the image",
                    found=sample.prefix,
                    do=f"take {tokenizer.decode([image])} out of it",
                )
        return [
            [*loaded.soft_ids, *row[: row.index(image)], *codes, *row[row.index(image) + 1 :]]
            for row, codes in zip(rows, places, strict=True)
        ]

    def _end_ids(self, loaded: Loaded) -> torch.Tensor:
        """Return the tokens that end an answer: the tokenizer's, and those of the checkpoint's generation settings."""
        named = loaded.core.generation_config.eos_token_id
        more = [] if named is None else [named] if isinstance(named, int) else list(named)
        return torch.tensor(sorted({loaded.processor.tokenizer.eos_token_id, *more}), device=loaded.device)


def _count(prompt: Sequence[int], answer: Sequence[int]) -> int:
    return len(prompt) + len(answer)


def _limit(loaded: Loaded) -> int:
    return int(loaded.core.config.text_config.max_position_embeddings)


def _size_of(sample: Sample) -> tuple[int, int]:
    with Image.open(Path(sample.image)) as file:
        return file.size


def _unpad(table: torch.Tensor, kept: torch.Tensor) -> list[list[int]]:
    return [row[keep].tolist() for row, keep in zip(table.cpu(), kept.cpu(), strict=True)]
