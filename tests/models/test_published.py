"""Every model with a short name in its published layout: the prompt as its card shows it, the weights by their names.

Where the texts come from: PaliGemma: its card asks `caption es`; PaliGemmaProcessor puts `<bos>` before and a line
break behind it (its docstring), and the card of paligemma-3b-mix-224 says `answer en QUESTION`. LLaVA-1.5: its card
prints `USER: <image>\\nWhat are these? ASSISTANT:`. Florence-2: its card's tasks (`<OD>`, `<CAPTION>`), expanded by
transformers' own Florence2Processor. Chat models: see test_chat.py. MedGemma's card asks `Describe this X-ray` behind
a system line and before the image; here it stands as Gemma 3's template writes an image and a question.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText,
    Florence2Processor,
    LlavaProcessor,
    PaliGemmaProcessor,
)

from residency.errors import UserError
from residency.models.chat_reader import Turns, load_reader
from residency.models.family import Loaded, ModelSpec
from residency.models.florence2 import Florence2
from residency.models.llava import Llava
from residency.models.names import KNOWN
from residency.models.paligemma import PaliGemma
from residency.models.registry import FAMILIES, open_model
from residency.types import Sample
from tests.contract.tiny import BUILDERS
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.contract.tiny_chat import CHAT_BUILDERS, write_gemma3, write_qwen3, write_qwen25, write_smolvlm
from tests.models.layouts import write_florence, write_llava, write_paligemma
from tests.models.published_keys import PUBLISHED_KEYS
from tests.models.shapes import published_config

DOG, DESCRIBE = "What kind of dog is this?", "Can you describe this image?"
ASKED = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>" + DOG + "<|im_end|>\n<|im_start|>assistant\n"
HELPFUL = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
SMOL = f"<|im_start|>User:<image>{DESCRIBE}<end_of_utterance>\nAssistant:"
GEMMA = "<bos><start_of_turn>user\n<start_of_image>{}<end_of_turn>\n<start_of_turn>model\n"
CAUSAL: dict[str, tuple[Callable[[Path], None], PaliGemma | Llava, type, str, str]] = {
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
CHAT: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "qwen2.5-vl-3b": ("qwen2_5_vl", lambda out: write_qwen25(out, 28 * 28 * 16384), DOG, HELPFUL + ASKED),
    "qwen3-vl-2b": ("qwen3_vl", lambda out: write_qwen3(out, 16777216), DOG, ASKED),
    "smolvlm-256m": ("idefics3", lambda out: write_smolvlm(out, "Idefics3", 2048, 512), DESCRIBE, SMOL),
    "gemma-3-4b": (
        "gemma3", lambda out: write_gemma3(out, 896, 256), "Where is the cat standing?",
        GEMMA.format("Where is the cat standing?"),
    ),
    "medgemma-4b": (
        "gemma3", lambda out: write_gemma3(out, 896, 256), "Describe this X-ray", GEMMA.format("Describe this X-ray"),
    ),
}  # fmt: skip
FLORENCE = {
    "<OD>": "Locate the objects with category name in the image.",
    "<CAPTION>": "What does the image describe?",
    "<CAPTION_TO_PHRASE_GROUNDING> A green car.": "Locate the phrases in the caption: A green car.",
}
SAME = {
    "florence-2-large": "florence-2-base",
    "florence-2-base-ft": "florence-2-base",
    "florence-2-large-ft": "florence-2-base",
    "paligemma2-3b-pt-224": "paligemma-3b-pt-224",
    "paligemma2-3b-mix-224": "paligemma-3b-mix-224",
    "llava-1.5-13b": "llava-1.5-7b",
    "qwen2.5-vl-7b": "qwen2.5-vl-3b",
    "qwen3-vl-4b": "qwen3-vl-2b",
    "smolvlm-500m": "smolvlm-256m",
}
"""Names whose files have the same layout and prompt as another's."""


def test_every_short_name_has_a_published_layout_here() -> None:
    shown = {SAME.get(name, name) for name in KNOWN}
    assert shown == {"nano", "florence-2-base", *CAUSAL, *CHAT}


@pytest.mark.parametrize("name", CAUSAL)
def test_the_prompt_is_the_published_one_to_the_letter(name: str, tmp_path: Path) -> None:
    write, family, processor_class, question, text = CAUSAL[name]
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


@pytest.mark.parametrize("name", CHAT)
def test_a_chat_prompt_is_the_published_one_to_the_letter(name: str, tmp_path: Path) -> None:
    model_type, write, question, text = CHAT[name]
    write(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    reader = load_reader(str(tmp_path), None, ("pixel_values", "image_grid_thw", "pixel_attention_mask"))
    assert reader.render(Turns(question)) == text
    told = reader.tokenizer.decode(reader.prompt_ids(Turns(question)))
    assert told == text.replace(reader.processor.image_token, reader.places)


@pytest.mark.parametrize("name", ["florence-2-base", "florence-2-large"])
def test_florences_prompt_is_the_published_one_to_the_letter(name: str, tmp_path: Path) -> None:
    write_florence(tmp_path)
    processor = Florence2Processor.from_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(published_config(name))
    loaded = Loaded(ModelSpec(str(tmp_path)), model, processor)
    path = tmp_path / "grey.png"
    Image.new("RGB", (40, 30), (90, 90, 90)).save(path)
    for task, words in FLORENCE.items():
        sample = Sample(id="1", image=str(path), prefix=task, suffix="a car<loc_10><loc_20><loc_30><loc_40>", group="p")
        batch = Florence2().encode(loaded, [sample], with_answers=True)
        assert batch.pixels_MCHW.shape == (1, 3, 768, 768)
        assert processor.tokenizer.decode(batch.prompt_BS[0]) == "<image>" * 577 + f"<s>{words}</s>"
        theirs = processor(text=task if " " not in task else words, images=Image.open(path), return_tensors="pt")
        assert batch.prompt_BS[0].tolist() == theirs["input_ids"][0].tolist()
        assert torch.equal(batch.pixels_MCHW, theirs["pixel_values"])
        assert batch.labels_BT is not None
        assert processor.tokenizer.decode(batch.labels_BT[0]) == f"<s>{sample.suffix}</s>"


BUILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "florence2": (BUILDERS["florence2"], ""),
    "llava": (CAUSAL_BUILDERS["llava"], "vision_tower."),
    "paligemma": (CAUSAL_BUILDERS["paligemma"], "vision_tower."),
    "paligemma2": (CAUSAL_BUILDERS["paligemma2"], "vision_tower."),
    "qwen2_5_vl": (CHAT_BUILDERS["qwen2.5-vl"], ""),
    "qwen3_vl": (CHAT_BUILDERS["qwen3-vl"], ""),
    "idefics3": (CHAT_BUILDERS["idefics3"], ""),
    "gemma3": (CHAT_BUILDERS["gemma3"], "vision_tower."),
}
"""The tiny model of each class, and the prefix behind which published files say `vision_model.`, too."""


@pytest.mark.parametrize("kind", BUILT)
def test_weights_have_the_published_names_and_are_read_by_them(kind: str, tmp_path: Path) -> None:
    build, tower = BUILT[kind]
    build(tmp_path)
    expected = open_model(str(tmp_path)).loaded.model.state_dict()
    path = tmp_path / "model.safetensors"
    weights = {
        key.replace(tower, f"{tower}vision_model.", 1) if tower and key.startswith(tower) else key: tensor
        for key, tensor in load_file(path).items()
    }
    assert {re.sub(r"\.\d+(?=\.)", ".N", key) for key in weights} == PUBLISHED_KEYS[kind]
    save_file(weights, path, metadata={"format": "pt"})
    read = open_model(str(tmp_path)).loaded.model.state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], tensor) for key, tensor in expected.items())
    lost = sorted(weights)[len(weights) // 2]
    save_file({key: tensor for key, tensor in weights.items() if key != lost}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="not whole"):
        open_model(str(tmp_path))


def test_every_family_with_a_short_name_is_checked_by_its_names() -> None:
    classes = {name for name, model in KNOWN.items() if model.family != "nano"}
    kinds = {"florence2": "florence2", "paligemma": "paligemma", "llava": "llava"}
    checked = {kinds.get(KNOWN[name].family) or CHAT[SAME.get(name, name)][0] for name in classes}
    assert checked <= PUBLISHED_KEYS.keys()
    assert {"Florence2ForConditionalGeneration", "LlavaForConditionalGeneration"} <= FAMILIES.keys()
