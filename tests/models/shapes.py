"""Shapes of published checkpoints, as their config.json give them: nothing in, a config by short name out.

The sums of parameters that follow from them are those of the published weight indexes (total_size), as far as they are
remembered: PaliGemma 11,693,865,920 bytes at 32 bits; LLaVA-1.5-7B 14,126,854,144, Qwen2.5-VL-3B 7,509,245,952 and 7B
16,584,333,312, Gemma 3 4B 8,600,158,944 at 16 bits.
"""

from typing import Any

from transformers import AutoConfig, Florence2Config

SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "vision_use_head": False,
}
CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
    "projection_dim": 768,
}


def published_config(name: str) -> Any:
    """Return the config of a checkpoint by its short name (not nano's, which ships with the package)."""
    shapes: dict[str, Any] = {
        "florence-2-base": _florence([128, 256, 512, 1024], 768, 6),
        "florence-2-large": _florence([256, 512, 1024, 2048], 1024, 12),
        "paligemma-3b-pt-224": _paligemma(2048, _text("gemma", 2048, 16384, 18, 8, 1, 257216, head_dim=256)),
        "paligemma2-3b-pt-224": _paligemma(2304, _text("gemma2", 2304, 9216, 26, 8, 4, 257216, head_dim=256)),
        "llava-1.5-7b": _llava(4096, 11008, 32),
        "llava-1.5-13b": _llava(5120, 13824, 40),
        "qwen2.5-vl-3b": _qwen25(_text("", 2048, 11008, 36, 16, 2, 151936), True),
        "qwen2.5-vl-7b": _qwen25(_text("", 3584, 18944, 28, 28, 4, 152064), False),
        "qwen3-vl-2b": _qwen3(_text("", 2048, 6144, 28, 16, 8, 151936, head_dim=128)),
        "qwen3-vl-4b": _qwen3(_text("", 2560, 9728, 36, 32, 8, 151936, head_dim=128)),
        "smolvlm-256m": _smolvlm(_text("llama", 576, 1536, 30, 9, 3, 49280)),
        "smolvlm-500m": _smolvlm(_text("llama", 960, 2560, 32, 15, 5, 49280)),
        "gemma-3-4b": {
            "model_type": "gemma3",
            "vision_config": SO400M | {"image_size": 896},
            "text_config": _text("", 2560, 10240, 34, 8, 4, 262208, head_dim=256),
            "tie_word_embeddings": True,
        },
    }
    shape = shapes[name]
    return shape if isinstance(shape, Florence2Config) else AutoConfig.for_model(shape.pop("model_type"), **shape)


def _text(
    kind: str, width: int, inner: int, layers: int, heads: int, groups: int, words: int, **named: int
) -> dict[str, Any]:
    text: dict[str, Any] = {"model_type": kind} if kind else {}
    text |= {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": words}
    return text | {"num_attention_heads": heads, "num_key_value_heads": groups} | named


def _florence(widths: list[int], width: int, layers: int) -> Florence2Config:
    heads = [each // 32 for each in widths]
    text = {"vocab_size": 51289, "d_model": width, "encoder_layers": layers, "decoder_layers": layers}
    text |= {"encoder_attention_heads": width // 64, "decoder_attention_heads": width // 64}
    text |= {"encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, "max_position_embeddings": 1024}
    text |= {"model_type": "bart", "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    vision = {"embed_dim": widths, "depths": [1, 1, 9, 1], "num_heads": heads, "num_groups": heads}
    return Florence2Config(text_config=text, vision_config=vision | {"window_size": 12, "projection_dim": width})


def _paligemma(width: int, text: dict[str, Any]) -> dict[str, Any]:
    vision = SO400M | {"image_size": 224, "projection_dim": width}
    return {"model_type": "paligemma", "vision_config": vision, "text_config": text, "projection_dim": width}


def _llava(width: int, inner: int, layers: int) -> dict[str, Any]:
    text = _text("llama", width, inner, layers, width // 128, width // 128, 32064)
    return {"model_type": "llava", "vision_config": CLIP_L, "text_config": text, "tie_word_embeddings": False}


def _qwen25(text: dict[str, Any], tied: bool) -> dict[str, Any]:
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14}
    vision |= {"out_hidden_size": text["hidden_size"]}
    text = text | {"tie_word_embeddings": tied}
    return {"model_type": "qwen2_5_vl", "vision_config": vision, "text_config": text, "tie_word_embeddings": tied}


def _qwen3(text: dict[str, Any]) -> dict[str, Any]:
    vision = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16}
    vision |= {"out_hidden_size": text["hidden_size"], "deepstack_visual_indexes": [5, 11, 17]}
    text = text | {"tie_word_embeddings": True}
    return {"model_type": "qwen3_vl", "vision_config": vision, "text_config": text, "tie_word_embeddings": True}


def _smolvlm(text: dict[str, Any]) -> dict[str, Any]:
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision |= {"patch_size": 16, "image_size": 512}
    text = text | {"tie_word_embeddings": False}
    return {"model_type": "idefics3", "vision_config": vision, "text_config": text, "scale_factor": 4}
