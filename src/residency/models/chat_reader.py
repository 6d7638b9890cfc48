"""What a chat model reads: pictures and questions in, pixels of one size and token ids by the model's template out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from PIL import Image
from transformers import PROCESSOR_MAPPING, AutoConfig, Idefics3Processor

from residency.errors import UserError

ANY_SIZE = 448
"""Side in pixels for models that read pictures of any size; a recipe's `image_size` sets another."""
MARK = "0A1"
"""An answer to find the place of answers in a template by; no template holds it."""


@dataclass(frozen=True)
class Turns:
    """What is said before an answer: the question about the picture, solved ones about others, the system's words."""

    question: str
    solved: tuple[tuple[str, str], ...] = ()
    system: str = ""


class ChatReader:
    """A checkpoint's processor, for still pictures of one size, and its chat template.

    Every picture becomes a square of `side` pixels. So what an image processor says of a picture besides its pixels
    (`facts`: a grid, a mask) and the tokens that stand for it are the same for all, and are found once.
    """

    def __init__(self, processor: Any, side: int | None, accepted: Sequence[str]) -> None:
        self.processor, self.tokenizer, self.image_processor = processor, processor.tokenizer, processor.image_processor
        self.side, self.squeezed = choose_side(self.image_processor, side)
        read = self._process(Image.new("RGB", (self.side, self.side)))
        self.facts = {name: read[name] for name in accepted if name in read and name != "pixel_values"}
        self.places = str(processor.replace_image_token(read, 0))
        self.template = processor.chat_template or self.tokenizer.chat_template
        if not self.template:
            raise UserError(
                "the model has no chat template", do="take an instruction-tuned checkpoint (-it, -Instruct)"
            )
        self.lead, end = self._find_answer()
        self.tokenizer.eos_token = end or self.tokenizer.eos_token
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def save_pretrained(self, folder: str) -> None:
        """Write tokenizer, image processor and template as transformers reads them."""
        self.processor.save_pretrained(folder)

    def read_pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Return pixels (M, ...): the shape behind M is the image processor's, the same for every picture."""
        return torch.stack([self._process(picture)["pixel_values"] for picture in pictures])

    def repeat_facts(self, count: int) -> dict[str, torch.Tensor]:
        """Return what the image processor says of `count` pictures besides their pixels."""
        return {name: torch.cat([fact] * count) for name, fact in self.facts.items()}

    def render(self, turns: Turns) -> str:
        """Return the prompt as the template writes it, one token standing for each picture."""
        messages = [_said("system", turns.system)] if turns.system else []
        for question, answer in turns.solved:
            messages += [_user(question), _said("assistant", answer)]
        return self._render([*messages, _user(turns.question)], True)

    def prompt_ids(self, turns: Turns) -> list[int]:
        """Return the prompt's token ids, the pictures' places included.

        Raises:
            UserError: a question holds the picture's own token.
        """
        text, pictures = self.render(turns), len(turns.solved) + 1
        if text.count(self.processor.image_token) != pictures:
            raise UserError(
                f"the question `{turns.question}` cannot be asked",
                found=f"{text.count(self.processor.image_token)} places for a picture in its prompt",
                allowed=str(pictures),
                do=f"take {self.processor.image_token} out of the question",
            )
        begins = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        expanded = text.replace(self.processor.image_token, self.places)
        return list(self.tokenizer(expanded, add_special_tokens=not begins)["input_ids"])

    def answer_ids(self, answer: str) -> list[int]:
        """Return the token ids of an answer as it stands in the template, the end of its turn included."""
        ids = self.tokenizer(self.lead + answer, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

    def _process(self, picture: Image.Image) -> Mapping[str, Any]:
        if self.squeezed:
            picture = picture.resize((self.side, self.side), Image.Resampling.BICUBIC)
        settings = getattr(self.processor, "images_kwargs", {})
        read: Mapping[str, Any] = self.image_processor([picture.convert("RGB")], return_tensors="pt", **settings)
        return read

    def _render(self, messages: list[dict[str, Any]], asks: bool) -> str:
        return str(
            self.processor.apply_chat_template(
                messages, chat_template=self.template, add_generation_prompt=asks, tokenize=False
            )
        )

    def _find_answer(self) -> tuple[str, str | None]:
        """Return what the template puts before an answer (SmolVLM: a space), and the token that ends its turn."""
        asked = self.render(Turns("Q"))
        said = [_user("Q"), _said("assistant", MARK)]
        before, _, behind = self._render(said, False).partition(MARK)
        lead = before.removeprefix(asked) if before.startswith(asked) else ""
        ids = self.tokenizer(behind, add_special_tokens=False)["input_ids"]
        known = self.tokenizer.added_tokens_decoder
        return lead, str(known[ids[0]].content) if ids and ids[0] in known else None


def load_reader(source: str, side: int | None, accepted: Sequence[str]) -> ChatReader:
    """Read a checkpoint's processor without its video part, which alone wants torchvision (SmolVLM's: num2words).

    `accepted` names what the model's tower takes. transformers' own PIL image processors are used where torchvision
    is missing.

    Raises:
        UserError: no processor is known for the model, it has no chat template, or `side` does not fit it.
    """
    config = AutoConfig.from_pretrained(source)
    kind = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None:
        raise UserError(f"no processor is known for {source}", found=config.model_type)
    return ChatReader(without_video(kind).from_pretrained(source), side, accepted)


def without_video(kind: Any) -> Any:
    """Return a processor's class without the video part, under the same name, so that what it saves stays readable.

    SmolVLM's still pictures are written as Idefics3's, whose processor asks for no video package.
    """
    base = Idefics3Processor if kind.__name__ == "SmolVLMProcessor" else kind
    parts = [name for name in base.get_attributes() if name != "video_processor"]
    return type(kind.__name__, (base,), {"get_attributes": classmethod(lambda _: parts)})


def choose_side(image_processor: Any, asked: int | None) -> tuple[int, bool]:
    """Return the side in pixels of the squares that a model is shown, and whether pictures are squeezed beforehand.

    A model of one size squeezes pictures itself. One that cuts a picture into tiles is told the longest side. One
    that reads any size (bounded by area) is given `ANY_SIZE`.

    Raises:
        UserError: the model cannot read the side that was asked for.
    """
    size = {name: value for name, value in dict(image_processor.size).items() if value}
    if "height" in size:
        if asked not in (None, size["height"]):
            raise UserError(f"the model does not read pictures of {asked} px", allowed=f"image_size: {size['height']}")
        return int(size["height"]), False
    if set(size) == {"longest_edge"}:
        image_processor.size = {"longest_edge": asked or size["longest_edge"]}
        return int(asked or size["longest_edge"]), True
    if set(size) != {"shortest_edge", "longest_edge"}:
        return int(asked or size.get("shortest_edge", ANY_SIZE)), True
    low, high = math.ceil(math.sqrt(size["shortest_edge"])), math.isqrt(size["longest_edge"])
    if asked is not None and not low <= asked <= high:
        raise UserError(f"the model does not read pictures of {asked} px", allowed=f"image_size: {low} to {high}")
    return asked or min(max(ANY_SIZE, low), high), True


def accepted_by(function: Any) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    return tuple(signature(function).parameters)


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _user(question: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
