"""PaliGemma's and LLaVA-1.5's prompts from the published file layouts against the model cards' examples.

Florence-2 is left out: the files of florence-community were not at hand, and its card shows no expanded prompt.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import LlavaProcessor, PaliGemmaProcessor

from residency.models.family import Loaded, ModelSpec
from residency.models.llava import Llava
from residency.models.paligemma import PaliGemma
from residency.types import Sample
from tests.models.layouts import write_llava, write_paligemma

# PaliGemma's card asks `caption es`; PaliGemmaProcessor puts `<bos>` before and a line break behind it (its
# docstring), and the card of paligemma-3b-mix-224 says `answer en QUESTION`. LLaVA-1.5's card prints
# `USER: <image>\nWhat are these? ASSISTANT:` for its first example.
PUBLISHED: dict[str, tuple[Callable[[Path], None], PaliGemma | Llava, type, str, str]] = {
    "paligemma-3b-pt-224": (
        write_paligemma, PaliGemma(), PaliGemmaProcessor, "caption es", "<image><bos>caption es\n",
    ),
    "paligemma-3b-mix-224": (
        write_paligemma, PaliGemma(), PaliGemmaProcessor, "What is it?", "<image><bos>answer en What is it?\n",
    ),
    "llava-1.5-7b": (
        write_llava, Llava(), LlavaProcessor, "What are these?", "USER: <image>\nWhat are these? ASSISTANT:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_prompt_is_the_published_one_to_the_letter(name: str, tmp_path: Path) -> None:
    write, family, processor_class, question, text = PUBLISHED[name]
    write(tmp_path)
    processor = processor_class.from_pretrained(tmp_path)  # type: ignore[attr-defined]
    loaded = Loaded(ModelSpec(str(tmp_path)), None, processor)
    sample = Sample(id="1", image="none.png", prefix=question, group="p")
    assert family.word_prompt(loaded, sample) == text
    begin, end = (processor.tokenizer.bos_token_id, processor.tokenizer.eos_token_id)
    ids = family.answer_ids(loaded, "a disc")
    assert ids[-1] == end
    assert begin not in ids
    assert processor.tokenizer.decode(ids[:-1]).strip() == "a disc"
