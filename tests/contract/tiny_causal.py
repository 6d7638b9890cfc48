"""Tiny PaliGemma and LLaVA models: the real architectures, tokenizer classes and processors, built from nothing."""

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    GemmaTokenizer,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipImageProcessor,
)

from tests.contract.tiny import TEXTS, save_spread

SIDE, PATCH, WIDTH = 28, 14, 64
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
GEMMA_CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
LLAMA_CONTROL = ["<unk>", "<s>", "</s>"]
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
GRID = ([28, 56], [56, 28])
TEMPLATE = (
    "{% for m in messages %}[INST] {% for c in m['content'] if c['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %} [/INST]{% endfor %}"
)
"""LLaVA-NeXT's on Mistral, in short."""


def build_tiny_paligemma(out: Path, text_model: str = "gemma", **text: Any) -> None:
    torch.manual_seed(0)
    vocabulary, merges = train_pieces(GEMMA_CONTROL)
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges)
    images = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = (SIDE // PATCH) ** 2
    processor = PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer)
    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        text_config={"model_type": text_model, "vocab_size": len(processor.tokenizer)} | TEXT | text,
        image_token_index=processor.image_token_id,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    save_spread(PaliGemmaForConditionalGeneration(config), out)
    processor.save_pretrained(out)


def build_tiny_paligemma2(out: Path) -> None:
    """Gemma 2: capped logits, and a layer with a window shorter than the prompts."""
    build_tiny_paligemma(out, "gemma2", sliding_window=8, query_pre_attn_scalar=32)


def build_tiny_llava(out: Path, **text: Any) -> None:
    torch.manual_seed(0)
    tokenizer = build_llama_tokenizer()
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(images, tokenizer, PATCH, "default", num_additional_image_tokens=1)
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer)} | TEXT | text,
        image_token_index=processor.image_token_id,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    save_spread(LlavaForConditionalGeneration(config), out)
    processor.save_pretrained(out)


def build_tiny_llava_next(out: Path, grid: Sequence[Sequence[int]] = GRID) -> None:
    """LLaVA-NeXT on Mistral, with its own chat template."""
    torch.manual_seed(0)
    tokenizer = build_llama_tokenizer()
    images = LlavaNextImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=list(grid)
    )
    processor = LlavaNextProcessor(
        images, tokenizer, PATCH, "default", num_additional_image_tokens=1, chat_template=TEMPLATE
    )
    config = LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "mistral", "vocab_size": len(tokenizer), "sliding_window": None, **TEXT},
        image_token_index=processor.image_token_id,
        image_grid_pinpoints=list(grid),
    )
    save_spread(LlavaNextForConditionalGeneration(config), out)
    processor.save_pretrained(out)


def build_llama_tokenizer() -> LlamaTokenizer:
    vocabulary, merges = train_pieces(LLAMA_CONTROL)
    return LlamaTokenizer(
        vocab=vocabulary,
        merges=merges,
        pad_token="<pad>",
        add_bos_token=True,
        add_eos_token=False,
        extra_special_tokens={"image_token": "<image>"},
    )


def train_pieces(control: list[str], size: int = 480) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary as sentencepiece lays it out (control, bytes, pieces with a `▁`) and its merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*control, *BYTES],
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation, "▁", "\n"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {text}" for text in TEXTS] * 5, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


CAUSAL_BUILDERS = {
    "llava": build_tiny_llava,
    "llava_next": build_tiny_llava_next,
    "paligemma": build_tiny_paligemma,
    "paligemma2": build_tiny_paligemma2,
}
