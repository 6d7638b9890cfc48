"""A model's name in, a folder with weights of that shape and samples to feed it out, the same for all who are timed.

`dino-smol` has real weights, `nano` the shipped ones, `florence-2-base` random ones in Florence-2-base's shape (236M
parameters, 577 image tokens at 768 px). The `tiny-` shapes are what a quick run takes in their places.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    BartConfig,
    CLIPImageProcessor,
    Dinov2Config,
    Florence2Config,
    Florence2ForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

import dino_smol
from residency.models.nano.build import build_processor, build_tokenizer
from residency.questionnaire import load_questionnaire
from residency.types import Sample
from residency.ultrasound.phantom import CATEGORIES, HELD_OUT_SITE, draw_image

BASE: dict[str, Any] = {
    "side": 768,
    "vocabulary": 51290,
    "positions": 4096,
    "text": {"d_model": 768, "layers": 6, "heads": 12, "ffn": 3072},
    "vision": {
        "embed_dim": [128, 256, 512, 1024],
        "depths": [1, 1, 9, 1],
        "num_heads": [4, 8, 16, 32],
        "num_groups": [4, 8, 16, 32],
        "window_size": 12,
        "projection_dim": 768,
    },
}
TINY: dict[str, Any] = {
    "side": 64,
    "vocabulary": None,
    "positions": 1024,
    "text": {"d_model": 64, "layers": 1, "heads": 2, "ffn": 128},
    "vision": {
        "embed_dim": [16, 16, 32, 32],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "num_groups": [1, 1, 2, 2],
        "window_size": 2,
        "projection_dim": 64,
    },
}
ANSWERS = {
    "q1": "fetal skull, thalami, cavum septum pellucidum",
    "q2": "cephalic presentation with occiput to left",
    "q3": "trans-thalamic view",
    "q4": "BPD, HC",
    "q5": "15-20 weeks",
    "q6": "good image quality",
    "q7": "normal",
    "q8": "follow up with antenatal care",
}
"""What a sheet's answers are like, by question of fetal8; time does not depend on whether they are true."""


def make_model(name: str, folder: Path) -> str:
    """Return what `open_model` takes for a shape; it is built in the folder, unless it is there."""
    out = folder / name
    if name == "nano":
        return name
    if name == "dino-smol":
        return str(dino_smol.build(dino_smol.CACHE))
    if not (out / "config.json").is_file():
        {"florence-2-base": _build_base, "tiny-florence": _build_tiny, "tiny-llava": _build_tiny_llava}[name](out)
    return str(out)


def make_samples(folder: Path, images: int) -> list[Sample]:
    """Return the eight standard questions about each of so many simulated square images, with answers."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number in range(images):
        path = folder / f"{number}.png"
        if not path.is_file():
            drawing = np.asarray(draw_image(CATEGORIES[number % len(CATEGORIES)], [2611, number], HELD_OUT_SITE).image)
            Image.fromarray(drawing).convert("RGB").resize((512, 512)).save(path)
        samples += [
            Sample(
                id=f"{number}:{q.id}",
                image=str(path),
                prefix=q.wording,
                suffix=ANSWERS[q.id],
                question=q.id,
                answer=ANSWERS[q.id],
                group=f"p{number}",
            )
            for q in load_questionnaire("fetal8").questions
        ]
    return samples


def _build_base(out: Path) -> None:
    _build_florence(out, BASE)


def _build_tiny(out: Path) -> None:
    _build_florence(out, TINY)


def _build_florence(out: Path, shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    tokenizer, text = _tokenizer(), shape["text"]
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "pad_token_id", "eos_token_id")}
    bart = BartConfig(
        vocab_size=shape["vocabulary"] or len(tokenizer),
        d_model=text["d_model"],
        encoder_layers=text["layers"],
        decoder_layers=text["layers"],
        encoder_attention_heads=text["heads"],
        decoder_attention_heads=text["heads"],
        encoder_ffn_dim=text["ffn"],
        decoder_ffn_dim=text["ffn"],
        max_position_embeddings=shape["positions"],
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        scale_embedding=False,
        **ids,
    )
    config = Florence2Config(
        text_config=bart.to_dict(), vision_config=shape["vision"], image_token_id=tokenizer.image_token_id, **ids
    )
    Florence2ForConditionalGeneration(config).save_pretrained(out)
    build_processor(tokenizer, shape["side"]).save_pretrained(out)


def _build_tiny_llava(out: Path) -> None:
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    images = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    processor = LlavaProcessor(
        images, tokenizer, 14, "default", chat_template=dino_smol.TEMPLATE, num_additional_image_tokens=1
    )
    vision = Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14, use_mask_token=False
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    config = LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    LlavaForConditionalGeneration(config).save_pretrained(out)
    processor.save_pretrained(out)


def _tokenizer() -> PreTrainedTokenizerFast:
    questions = [question.wording for question in load_questionnaire("fetal8").questions]
    return build_tokenizer(_repeat([*questions, *ANSWERS.values()]))


def _repeat(texts: Sequence[str]) -> list[str]:
    return [text for text in texts for _ in range(5)]
