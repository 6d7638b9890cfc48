"""Tiny random-weight models of the real architectures, tokenizer and processor included, and samples to feed them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, PreTrainedModel

from residency.models.nano.build import build_config, build_processor, build_tokenizer
from residency.models.nano.family import NanoForConditionalGeneration
from residency.types import Sample

TEXTS = ["Which side is bright?", "How large is the disc?", "left side", "right side", "small disc", "large disc"]
SIDE = 64


def build_tiny_nano(out: Path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(TEXTS * 5, vocabulary=1400)
    model = NanoForConditionalGeneration(build_config(tokenizer, width=64, layers=1))
    save_spread(model, out)
    build_processor(tokenizer, SIDE).save_pretrained(out)


def build_tiny_florence2(out: Path, positions: int = 128) -> None:
    """DaViT and BART as Florence-2 has them, every dimension small."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(TEXTS * 5, vocabulary=1400)
    text = BartConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=positions,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        scale_embedding=False,
    )
    vision = {
        "embed_dim": [16, 16, 32, 32],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "num_groups": [1, 1, 2, 2],
        "window_size": 2,
        "projection_dim": 64,
        "drop_path_rate": 0.0,
    }
    config = Florence2Config(
        text_config=text.to_dict(),
        vision_config=vision,
        image_token_id=tokenizer.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    save_spread(Florence2ForConditionalGeneration(config), out)
    build_processor(tokenizer, SIDE).save_pretrained(out)


def save_spread(model: PreTrainedModel, out: Path) -> None:
    """Save with weights large enough that a few steps move every one of them (transformers draws them near zero)."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    model.save_pretrained(out)


BUILDERS = {"florence2": build_tiny_florence2, "nano": build_tiny_nano}


def draw_discs(folder: Path, images: int = 4, seed: int = 0) -> list[Sample]:
    """Discs at the left or right, small or large; two questions an image, one patient an image."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    samples = []
    for number in range(images):
        left, large = bool(number % 2), bool((number // 2) % 2)
        center = SIDE // 4 if left else 3 * SIDE // 4
        disc = (x - center) ** 2 + (y - SIDE / 2) ** 2 < (14 if large else 6) ** 2
        picture = (rng.integers(0, 40, (SIDE, SIDE)) + 200 * disc).astype(np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(picture).convert("RGB").save(path)
        answers = {
            "Which side is bright?": "left side" if left else "right side",
            "How large is the disc?": "large disc" if large else "small disc",
        }
        for prefix, answer in answers.items():
            samples.append(
                Sample(
                    id=f"{number}-{prefix[:3]}",
                    image=str(path),
                    prefix=prefix,
                    suffix=answer,
                    group=f"p{number}",
                    category="large" if large else "small",
                )
            )
    return samples
