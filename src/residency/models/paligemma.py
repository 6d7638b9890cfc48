"""The PaliGemma families (Beyer 2024, arXiv 2407.07726; PaliGemma 2, arXiv 2412.03555): image and prompt in, text out.

A prefix-LM: image and prompt all see each other, the answer sees them and what it has said. PaliGemma 1 and 2, pt, mix
and ft checkpoints are one architecture (Gemma or Gemma 2 behind SigLIP) and one prompt format.
"""

import re
from collections.abc import Mapping, Sequence

from transformers import PaliGemmaForConditionalGeneration, PaliGemmaProcessor

from residency.config import Part
from residency.errors import UserError
from residency.models.causal import Causal
from residency.models.decoder import FIRST_REGION, Decoder
from residency.models.family import Loaded
from residency.models.prompts import word_whole
from residency.types import Sample

SPOKEN = re.compile(r"^(?:(?:answer|question|caption|cap|describe) [a-z]{2,3}\b|(?:detect|segment) \S|ocr$)")
"""Prompts that are PaliGemma's own already."""
TASK = re.compile(r"^\s*(<[A-Za-z_]+>)\s*(.*)$", re.DOTALL)
TASK_WORDS = {
    "<VQA>": "answer en {}",
    "<CAPTION>": "caption en {}",
    "<DETAILED_CAPTION>": "describe en {}",
    "<MORE_DETAILED_CAPTION>": "describe en {}",
    "<OD>": "detect {}",
}
BINS, OWN_BINS = 1000, 1024
"""Samples tell places as Florence-2 does, `<loc_x><loc_y>` of 1000 bins; PaliGemma as `<locYYYY><locXXXX>` of 1024."""
RUN, OWN_RUN = re.compile(r"(?:<loc_\d{1,3}>)+"), re.compile(r"(?:<loc\d{4}>)+")


class PaliGemma(Causal):
    """`PaliGemmaForConditionalGeneration` of transformers: SigLIP, one linear layer, Gemma or Gemma 2."""

    name = "paligemma"
    model_class = PaliGemmaForConditionalGeneration
    processor_class = PaliGemmaProcessor
    decoder = Decoder(first_position=1, whole_trunk=True)
    writes_begin = True
    lora_targets: Mapping[Part, tuple[str, ...]] = {
        "vision": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        "projector": ("linear",),
        "language": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    }

    def set_side(self, loaded: Loaded, side: int) -> None:
        """Make the processor squeeze images to `side` x `side` px, and count their tokens anew.

        Raises:
            UserError: the side is no multiple of the tower's patches.
        """
        super().set_side(loaded, side)
        tokens = (side // loaded.core.config.vision_config.patch_size) ** 2
        loaded.processor.image_seq_length = loaded.processor.image_processor.image_seq_length = tokens

    def place_regions(self, loaded: Loaded, size: tuple[int, int] | None) -> list[int]:
        """Return one code a patch; the picture is squeezed to a square."""
        return [FIRST_REGION - region for region in range(loaded.processor.image_seq_length)]

    def word_prompt(self, loaded: Loaded, sample: Sample) -> str:
        """Return `<image><bos>TASK\\n`; a line break ends the prompt, so those within are blanks.

        Raises:
            UserError: objects are to be found, but not which.
        """
        processor = loaded.processor
        task = " ".join(word_whole(loaded.spec, sample, word_task, tell_places).split())
        return f"{processor.image_token}{processor.tokenizer.bos_token}{task}\n"

    def answer_ids(self, loaded: Loaded, text: str) -> list[int]:
        """Return an answer's tokens, places in PaliGemma's notation, and the end token."""
        tokenizer = loaded.processor.tokenizer
        return [*tokenizer(tell_places(text), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def read_answer(self, text: str) -> str:
        """Return what the model said, places in the samples' notation."""
        return read_places(text)

    def count_trunk(self, prompt: Sequence[int]) -> int:
        """Return the whole prompt's length: the image sees the question, so only equal prompts share."""
        return len(prompt)


def word_task(prompt: str) -> str:
    """Return a prompt in PaliGemma's words: a task token's, `answer en QUESTION` for any other, its own as it is.

    Raises:
        UserError: `<OD>` without names; PaliGemma finds what is named.
    """
    if SPOKEN.match(prompt):
        return prompt
    match = TASK.match(prompt)
    if match is None or match[1].upper() not in TASK_WORDS:
        return f"answer en {_turn_runs(prompt)}"
    if match[1].upper() == "<OD>" and not match[2].strip():
        raise UserError(
            "PaliGemma finds only what is named", found=prompt, do='prompt: "detect femur ; cyst" (or "<OD> femur")'
        )
    return TASK_WORDS[match[1].upper()].format(_turn_runs(match[2])).strip()


def tell_places(text: str) -> str:
    """Return `label<loc_x0><loc_y0><loc_x1><loc_y1>...` as `<locY0><locX0><locY1><locX1> label ; ...`.

    Outlines likewise, point by point (PaliGemma's `<seg>` tokens need a decoder that transformers lacks). Text without
    places stays as it is.
    """
    if not RUN.search(text):
        return text
    names, runs = RUN.split(text), RUN.findall(text)
    told = [f"{_turn_runs(run)} {name.strip()}".strip() for name, run in zip(names, runs, strict=False)]
    return " ; ".join([*told, *filter(None, [names[-1].strip()])])


def read_places(text: str) -> str:
    """Return PaliGemma's places in the samples' notation, the label before them: the inverse of `tell_places`."""
    if not OWN_RUN.search(text):
        return text
    told = []
    for piece in text.split(";"):
        run = OWN_RUN.search(piece)
        name = OWN_RUN.sub("", piece, count=1).strip()
        told.append(name + (_turn_own(run[0]) if run else ""))
    return "".join(told)


def _turn_runs(text: str) -> str:
    """Return text whose places are PaliGemma's, y before x; an odd last number, which tells no place, is dropped."""

    def turn(run: re.Match[str]) -> str:
        bins = [int((int(bin) + 0.5) * OWN_BINS / BINS) for bin in re.findall(r"\d+", run[0])]
        return "".join(f"<loc{y:04}><loc{x:04}>" for x, y in zip(bins[::2], bins[1::2], strict=False))

    return RUN.sub(turn, text)


def _turn_own(run: str) -> str:
    bins = [min(int((int(bin) + 0.5) * BINS / OWN_BINS), BINS - 1) for bin in re.findall(r"\d{4}", run)]
    return "".join(f"<loc_{x}><loc_{y}>" for y, x in zip(bins[::2], bins[1::2], strict=False))
