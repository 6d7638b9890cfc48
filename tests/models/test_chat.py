"""The chat family against plain transformers, and prompts from the published file layouts against public examples."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.smolvlm import processing_smolvlm

from residency.config import Speed
from residency.errors import UserError
from residency.models.chat import Chat
from residency.models.chat_reader import ChatReader, Turns, load_reader
from residency.models.family import Loaded
from residency.models.registry import Opened, open_model
from tests.contract.tiny import draw_discs
from tests.contract.tiny_chat import CHAT_BUILDERS, write_gemma3, write_qwen3, write_qwen25, write_smolvlm

TOWER = ("pixel_values", "image_grid_thw", "pixel_attention_mask")
DOG, DESCRIBE = "What kind of dog is this?", "Can you describe this image?"

# Where the texts come from. Qwen: EXPECTED_DECODED_TEXT of transformers' tests/models/qwen2_5_vl and qwen3_vl
# (`system\nYou are a helpful assistant.\nuser\nWhat kind of dog is this?\nassistant\n`; Qwen3-VL without the system
# line), with the control tokens of Qwen2-VL's model card. SmolVLM: the message of its model card, rendered by the
# template that transformers keeps in processing_smolvlm.py. Gemma 3: the docstring of Gemma3ForConditionalGeneration,
# with the control tokens of ai.google.dev/gemma/docs/core/prompt-structure. MedGemma's card asks with a system line and
# the text before the image; here the image comes first and there is no system line. Florence-2's, PaliGemma's and
# LLaVA's prompts are their families' tests.
PUBLISHED: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "qwen2.5-vl-3b": (
        "qwen2_5_vl",
        lambda out: write_qwen25(out, 28 * 28 * 16384),
        DOG,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|>"
        f"<|vision_end|>{DOG}<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen3-vl-2b": (
        "qwen3_vl",
        lambda out: write_qwen3(out, 16777216),
        DOG,
        f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{DOG}<|im_end|>\n<|im_start|>assistant\n",
    ),
    "smolvlm-256m": (
        "idefics3",
        lambda out: write_smolvlm(out, "Idefics3", 2048, 512),
        DESCRIBE,
        f"<|im_start|>User:<image>{DESCRIBE}<end_of_utterance>\nAssistant:",
    ),
    "gemma-3-4b": (
        "gemma3",
        lambda out: write_gemma3(out, 896, 256),
        "Where is the cat standing?",
        "<bos><start_of_turn>user\n<start_of_image>Where is the cat standing?<end_of_turn>\n<start_of_turn>model\n",
    ),
}
PLACES = {"qwen2.5-vl-3b": 28 * 28, "qwen3-vl-2b": 28 * 28, "smolvlm-256m": 17 * 1024, "gemma-3-4b": 256}
"""How many tokens stand for a picture: patches of 8 px merged by two in the tiny layouts; 16 tiles and the whole."""


def read_published(name: str, out: Path, side: int | None = None) -> ChatReader:
    model_type, write, _, _ = PUBLISHED[name]
    write(out)
    (out / "config.json").write_text(json.dumps({"model_type": model_type}))
    return load_reader(str(out), side, TOWER)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_prompt_is_the_published_one_to_the_letter(name: str, tmp_path: Path) -> None:
    reader = read_published(name, tmp_path)
    _, _, question, text = PUBLISHED[name]
    assert reader.render(Turns(question)) == text
    ids = reader.prompt_ids(Turns(question))
    told = reader.tokenizer.decode(ids)
    assert told == text.replace(reader.processor.image_token, reader.places)
    assert (
        told.count("image_pad|>" if "qwen" in name else "<image>" if "smol" in name else "<image_soft") == PLACES[name]
    )


@pytest.mark.parametrize("name", ["smolvlm-256m", "gemma-3-4b"])
def test_token_ids_are_those_of_transformers_own_processor(name: str, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    reader = read_published(name, tmp_path, 1024 if "smol" in name else None)
    question = PUBLISHED[name][2]
    asked = {"role": "user", "content": [{"type": "image", "image": _grey(1024)}, {"type": "text", "text": question}]}
    plain = AutoProcessor.from_pretrained(str(tmp_path))
    if "smol" in name:
        plain.image_processor.size = {"longest_edge": 1024}
    whole = plain.apply_chat_template(
        [asked], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert whole["input_ids"][0].tolist() == reader.prompt_ids(Turns(question))
    assert torch.allclose(whole["pixel_values"], reader.read_pictures([_grey(1024)])[0], atol=1e-6)


@pytest.mark.parametrize("name", CHAT_BUILDERS)
def test_logits_are_those_of_plain_transformers(name: str, tmp_path: Path) -> None:
    """One sample of a padded batch, its regions seen before, against the whole model on the processor's own output."""
    opened = _tiny(name, tmp_path)
    samples = draw_discs(tmp_path / "images", images=2)
    samples[1] = samples[1].model_copy(update={"prefix": "How large is the disc, and where? " * 3})
    with torch.no_grad():
        batch = opened.family.encode(opened.loaded, samples, with_answers=True)
        regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
        ours = opened.family.forward(opened.loaded, batch, regions).logits_BTV[:, 0]
        for row, sample in enumerate(samples):
            reader, picture = opened.loaded.processor, Image.open(sample.image)
            text = reader.render(Turns(sample.prefix))
            inputs = reader.processor(
                images=[picture], text=[text], return_tensors="pt", add_special_tokens=not text.startswith("<bos>")
            )
            assert torch.allclose(opened.loaded.model(**inputs).logits[0, -1], ours[row], atol=2e-5)


@pytest.mark.parametrize("name", CHAT_BUILDERS)
def test_candidates_behind_one_prompt_score_as_each_alone(name: str, tmp_path: Path) -> None:
    opened = _tiny(name, tmp_path)
    assert isinstance(opened.family, Chat)
    assert opened.family.shares
    samples = draw_discs(tmp_path / "images", images=2)
    samples[0] = samples[0].model_copy(update={"prefix": "Which side is bright, left or right?"})
    with torch.no_grad():
        batch = opened.family.encode(opened.loaded, samples, with_answers=False)
        regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
        texts = ["left side", "right", "", "a much longer answer"] * 5  # 20 x 4 rows: more than one part
        offered = [texts] * (len(samples) - 1) + [texts[:2]]
        behind = opened.family.score(opened.loaded, batch, regions, offered)
        opened.family.shares = False
        apart = opened.family.score(opened.loaded, batch, regions, offered)
    assert torch.allclose(torch.cat(behind), torch.cat(apart), atol=1e-4)


@pytest.mark.parametrize("name", CHAT_BUILDERS)
@torch.no_grad()
def test_an_images_questions_behind_one_reading_are_answered_as_each_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _tiny(name, tmp_path)
    assert isinstance(opened.family, Chat)
    assert opened.family.image_prefix == ("separate" if name == "gemma3" else "answering")
    samples = draw_discs(tmp_path / "images", images=2)
    samples[1] = samples[1].model_copy(update={"prefix": "How large is the disc, and where? " * 3})
    offered = [["left side", "right"], ["small disc", "a much longer answer", ""]] * 2
    begun: list[int] = []
    begin = Chat._begin

    def count(family: Chat, loaded: Loaded, ids_BS: torch.Tensor, *rest: torch.Tensor) -> object:
        begun.append(len(ids_BS))
        return begin(family, loaded, ids_BS, *rest)

    monkeypatch.setattr(Chat, "_begin", count)
    told = []
    for share in (True, False):
        opened.loaded.spec = replace(opened.loaded.spec, speed=Speed(share_image=share))
        batch = opened.family.encode(opened.loaded, samples, with_answers=False)
        regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
        answers = opened.family.generate(opened.loaded, batch, regions, max_new_tokens=10)
        told.append((answers, opened.family.score(opened.loaded, batch, regions, offered)))
    assert begun == ([4] * 4 if name == "gemma3" else [2, 2, 4, 4])  # two images, four questions
    assert [answer.text for answer in told[0][0]] == [answer.text for answer in told[1][0]]
    likely = torch.tensor([[answer.likelihood for answer in answers] for answers, _ in told])
    assert torch.allclose(likely[0], likely[1], atol=1e-5)
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(told[0][1], told[1][1], strict=True))


def test_still_pictures_of_smolvlm_are_written_as_its_own_processor_writes_them(tmp_path: Path) -> None:
    CHAT_BUILDERS["smolvlm"](tmp_path)
    reader = load_reader(str(tmp_path), None, TOWER)
    assert isinstance(reader.processor, Idefics3Processor)
    for rows, columns in ((0, 0), (2, 2), (1, 3)):
        own = processing_smolvlm.get_image_prompt_string(
            rows, columns, 4, "<fake_token_around_image>", "<image>", "<global-img>"
        )
        assert reader.processor.replace_image_token({"rows": [[rows]], "cols": [[columns]]}, 0) == own
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": DESCRIBE}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a disc"}]},
    ]
    kept = processing_smolvlm.DEFAULT_CHAT_TEMPLATE
    for asked in (True, False):
        named = {"add_generation_prompt": asked, "tokenize": False}
        published = reader.processor.apply_chat_template(turns, chat_template=kept, **named)
        assert reader.processor.apply_chat_template(turns, **named) == published
    reader.save_pretrained(str(tmp_path / "saved"))
    saved = json.loads((tmp_path / "saved" / "processor_config.json").read_text())
    assert saved["processor_class"] == "SmolVLMProcessor"


def test_an_image_side_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image_size: 896"):
        read_published("gemma-3-4b", tmp_path / "gemma", 448)
    with pytest.raises(UserError, match="image_size: 56 to 3584"):
        read_published("qwen2.5-vl-3b", tmp_path / "qwen", 4000)
    assert read_published("qwen2.5-vl-3b", tmp_path / "qwen", 224).places.count("<|image_pad|>") == 14 * 14
    assert read_published("smolvlm-256m", tmp_path / "smol", 512).places.count("<image>") == 1024  # the whole alone


def test_a_question_that_holds_the_pictures_token_is_refused(tmp_path: Path) -> None:
    reader = read_published("qwen3-vl-2b", tmp_path)
    with pytest.raises(UserError, match="allowed: 1"):
        reader.prompt_ids(Turns("What is <|image_pad|>?"))


# How the published files name weights, where transformers writes them otherwise today (Gemma 3's towers).
PUBLISHED_NAMES = {
    "qwen2.5-vl": ({}, ("visual.patch_embed.proj.weight", "model.layers.0.self_attn.q_proj.weight")),
    "qwen3-vl": ({}, ("model.visual.pos_embed.weight", "model.language_model.layers.0.self_attn.q_norm.weight")),
    "smolvlm": (
        {},
        ("model.connector.modality_projection.proj.weight", "model.text_model.layers.0.mlp.up_proj.weight"),
    ),
    "gemma3": (
        {"vision_tower.": "vision_tower.vision_model."},
        (
            "vision_tower.vision_model.embeddings.patch_embedding.weight",
            "language_model.model.layers.0.self_attn.q_norm.weight",
            "multi_modal_projector.mm_input_projection_weight",
        ),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_NAMES)
def test_weights_are_read_by_their_published_names_and_none_is_drawn_at_random(name: str, tmp_path: Path) -> None:
    expected = _tiny(name, tmp_path).loaded.model.state_dict()
    path = tmp_path / "model" / "model.safetensors"
    renamed, published = PUBLISHED_NAMES[name]
    weights = {_rename(key, renamed): tensor for key, tensor in load_file(path).items()}
    assert weights.keys() >= set(published)
    save_file(weights, path, metadata={"format": "pt"})
    read = open_model(str(tmp_path / "model")).loaded.model.state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], tensor) for key, tensor in expected.items())
    save_file({key: tensor for key, tensor in weights.items() if key != published[0]}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="not whole"):
        open_model(str(tmp_path / "model"))


def _rename(key: str, names: dict[str, str]) -> str:
    return next((key.replace(old, new, 1) for old, new in names.items() if key.startswith(old)), key)


def _tiny(name: str, folder: Path) -> Opened:
    CHAT_BUILDERS[name](folder / "model")
    opened = open_model(str(folder / "model"))
    opened.loaded.model.eval()
    return opened


def _grey(side: int) -> Image.Image:
    return Image.linear_gradient("L").resize((side, side)).convert("RGB")
