"""Tiny random-weight chat models in the file layout of the published checkpoints: same files and keys, few words.

The chat templates are written anew; they render what the published ones do for the turns that are used here (a
system line, a user's image and text in either order, an assistant's text). Token ids are not the published ones.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText

TEXTS = ["Which side is bright?", "How large is the disc?", "left side", "right side", "small disc", "large disc"]
WORDS = [*TEXTS, "a much longer answer", "Describe this image.", "system user assistant model User Assistant"] * 5

QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"]
QWEN_TOKENS += ["<|image_pad|>", "<|video_pad|>"]
SMOL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"]
SMOL_TOKENS += ["<end_of_utterance>", "<global-img>"]
SMOL_TOKENS += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
GEMMA_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
GEMMA_TOKENS += ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

QWEN_TEMPLATE = """
{%- macro said(content) -%}
{%- if content is string %}{{ content }}{% else %}
{%- for item in content %}
{%- if item.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ item.text }}{% endif %}
{%- endfor %}{% endif %}
{%- endmacro -%}
{%- for message in messages -%}
SYSTEM<|im_start|>{{ message.role + '\\n' + said(message.content) }}<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>{{ 'assistant\\n' }}{% endif -%}
"""
HELPFUL = (
    "{%- if loop.first and message.role != 'system' %}<|im_start|>"
    "{{ 'system\\nYou are a helpful assistant.' }}<|im_end|>{{ '\\n' }}{% endif -%}"
)
SMOL_TEMPLATE = """<|im_start|>
{%- for message in messages %}{{ message.role | capitalize + ':' }}
{%- if message.content[0].type != 'image' %}{{ ' ' }}{% endif %}
{%- for item in message.content %}{% if item.type == 'image' %}<image>{% else %}{{ item.text }}{% endif %}{% endfor -%}
<end_of_utterance>{{ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}Assistant:{% endif -%}
"""
GEMMA_TEMPLATE = """{{ bos_token }}
{%- set system = messages[0].content[0].text + '\\n\\n' if messages[0].role == 'system' else '' %}
{%- for message in messages if message.role != 'system' %}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' + (system if loop.first else '') }}
{%- for item in message.content %}
{%- if item.type == 'image' %}<start_of_image>{% else %}{{ item.text | trim }}{% endif %}
{%- endfor -%}
<end_of_turn>{{ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif -%}
"""


def build_tiny_qwen25(out: Path) -> None:
    ids = write_qwen25(out)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    vision |= {"patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1]}
    text = _text(ids, num_hidden_layers=2, rope_parameters=_sections())
    build_tiny(out, "qwen2_5_vl", ids, vision, text, image="<|image_pad|>")


def build_tiny_qwen3(out: Path) -> None:
    ids = write_qwen3(out)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    vision |= {"patch_size": 8, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    text = _text(ids, head_dim=32, num_hidden_layers=2, rope_parameters=_sections(mrope_interleaved=True))
    build_tiny(out, "qwen3_vl", ids, vision, text, image="<|image_pad|>")


def build_tiny_idefics3(out: Path) -> None:
    """What SmolVLM-256M and 500M are; SmolVLM2 has a class of its own."""
    build_tiny_smolvlm(out, "Idefics3")


def build_tiny_smolvlm(out: Path, kind: str = "SmolVLM") -> None:
    ids = write_smolvlm(out, kind)
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8}
    text = {"model_type": "llama"} | _text(ids)
    build_tiny(out, kind.lower(), ids, vision, text, image="<image>", scale_factor=2)


def build_tiny_gemma3(out: Path) -> None:
    ids = write_gemma3(out)
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 64, "patch_size": 16, "vision_use_head": False}
    text = _text(ids, head_dim=32, num_hidden_layers=2, query_pre_attn_scalar=32, sliding_window=16)
    text |= {"layer_types": ["sliding_attention", "full_attention"]}
    build_tiny(out, "gemma3", ids, vision, text, image="<image_soft_token>", mm_tokens_per_image=4)


CHAT_BUILDERS: dict[str, Callable[[Path], None]] = {
    "qwen2.5-vl": build_tiny_qwen25,
    "qwen3-vl": build_tiny_qwen3,
    "smolvlm": build_tiny_smolvlm,
    "idefics3": build_tiny_idefics3,
    "gemma3": build_tiny_gemma3,
}


def build_tiny(
    out: Path,
    model_type: str,
    ids: dict[str, int],
    vision: dict[str, Any],
    text: dict[str, Any],
    image: str,
    **named: Any,
) -> None:
    """Write random weights, large enough that a few steps move every one of them."""
    torch.manual_seed(0)
    marks = {"image_token_id": image, "image_token_index": image, "video_token_id": "<|video_pad|>"}
    marks |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    named |= {key: ids[token] for key, token in marks.items() if token in ids}
    config = AutoConfig.for_model(model_type, vision_config=vision, text_config=text, tie_word_embeddings=True, **named)
    model = AutoModelForImageTextToText.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    model.tie_weights()
    model.save_pretrained(out)


def write_qwen25(out: Path, high: int = 64 * 64) -> dict[str, int]:
    """Qwen2.5-VL-Instruct: chat_template.json, preprocessor_config.json, Qwen2Tokenizer."""
    write_json(out / "chat_template.json", {"chat_template": QWEN_TEMPLATE.replace("SYSTEM", HELPFUL)})
    write_json(out / "preprocessor_config.json", _qwen_images("Qwen2_5_VLProcessor", min_pixels=3136, max_pixels=high))
    return _write_qwen_words(out)


def write_qwen3(out: Path, high: int = 64 * 64) -> dict[str, int]:
    """Qwen3-VL-Instruct: the same files; sizes as `size`, no system line, video_preprocessor_config.json besides."""
    write_json(out / "chat_template.json", {"chat_template": QWEN_TEMPLATE.replace("SYSTEM", "")})
    size = {"longest_edge": high, "shortest_edge": 3136}
    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    write_json(out / "preprocessor_config.json", _qwen_images("Qwen3VLProcessor", size=size) | mean)
    video = _qwen_images("Qwen3VLProcessor", size=size) | mean | {"video_processor_type": "Qwen3VLVideoProcessor"}
    write_json(out / "video_preprocessor_config.json", video)
    return _write_qwen_words(out)


def write_smolvlm(out: Path, kind: str, longest: int = 64, tile: int = 32) -> dict[str, int]:
    """SmolVLM-Instruct (`kind` Idefics3) and SmolVLM2 (`kind` SmolVLM): processor_config.json, GPT2Tokenizer."""
    write_json(out / "chat_template.json", {"chat_template": SMOL_TEMPLATE})
    write_json(
        out / "processor_config.json", {"image_seq_len": (tile // 16) ** 2, "processor_class": f"{kind}Processor"}
    )
    images = {"do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True}
    images |= {"do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images |= {"image_processor_type": f"{kind}ImageProcessor", "max_image_size": {"longest_edge": tile}}
    images |= {"processor_class": f"{kind}Processor", "resample": 1, "rescale_factor": 1 / 255}
    write_json(out / "preprocessor_config.json", images | {"size": {"longest_edge": longest}})
    settings = {"tokenizer_class": "GPT2Tokenizer", "processor_class": f"{kind}Processor", "padding_side": "right"}
    settings |= {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>"}
    extra = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    settings |= {"unk_token": "<|endoftext|>", "additional_special_tokens": extra}
    if kind == "SmolVLM":
        settings |= {"fake_image_token": extra[0], "image_token": extra[1], "end_of_utterance_token": extra[2]}
        settings |= {"global_image_token": "<global-img>"}
    return write_words(out, _byte_level(), SMOL_TOKENS, settings)


def write_gemma3(out: Path, side: int = 64, places: int = 4) -> dict[str, int]:
    """Gemma 3 and MedGemma (-it): chat_template.json, processor_config.json, GemmaTokenizer."""
    write_json(out / "chat_template.json", {"chat_template": GEMMA_TEMPLATE})
    write_json(out / "processor_config.json", {"image_seq_length": places, "processor_class": "Gemma3Processor"})
    images = {"do_convert_rgb": None, "do_normalize": True, "do_pan_and_scan": None, "do_rescale": True}
    images |= {"do_resize": True, "image_mean": [0.5] * 3, "image_processor_type": "Gemma3ImageProcessor"}
    images |= {"image_seq_length": places, "image_std": [0.5] * 3, "pan_and_scan_max_num_crops": None}
    images |= {"pan_and_scan_min_crop_size": None, "pan_and_scan_min_ratio_to_activate": None, "resample": 2}
    images |= {"processor_class": "Gemma3Processor", "rescale_factor": 1 / 255}
    write_json(out / "preprocessor_config.json", images | {"size": {"height": side, "width": side}})
    settings = {"tokenizer_class": "GemmaTokenizer", "processor_class": "Gemma3Processor", "add_bos_token": True}
    settings |= {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings |= {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    extra = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    write_json(
        out / "generation_config.json", {"do_sample": True, "eos_token_id": [1, GEMMA_TOKENS.index("<end_of_turn>")]}
    )
    return write_words(out, build_pieces(), GEMMA_TOKENS, settings | {"extra_special_tokens": extra}, BYTES)


def _write_qwen_words(out: Path) -> dict[str, int]:
    settings = {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "bos_token": None}
    settings |= {
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "split_special_tokens": False,
    }
    settings |= {"additional_special_tokens": QWEN_TOKENS[1:], "errors": "replace", "model_max_length": 131072}
    drawn = {"do_sample": True, "temperature": 0.01, "repetition_penalty": 1.05, "eos_token_id": [2, 0]}
    write_json(out / "generation_config.json", drawn)
    return write_words(out, _byte_level(), QWEN_TOKENS, settings)


def _qwen_images(processor: str, **named: Any) -> dict[str, Any]:
    images = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": processor, "patch_size": 8}
    images |= {"temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.48, 0.46, 0.41]}
    return images | {"image_std": [0.27, 0.26, 0.28]} | named


def build_pieces() -> Tokenizer:
    """SentencePiece's way: blanks are marks, unknown letters bytes."""
    words = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    words.normalizer = normalizers.Replace(" ", "▁")
    words.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return words


def _byte_level() -> Tokenizer:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return words


def write_words(
    out: Path, words: Tokenizer, marks: Sequence[str], settings: dict[str, Any], bytes_: Sequence[str] = ()
) -> dict[str, int]:
    """Write tokenizer.json and tokenizer_config.json; return the ids of the special tokens."""
    trainer = trainers.BpeTrainer(
        vocab_size=len(marks) + len(bytes_) + 400,
        special_tokens=[*marks, *bytes_],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(WORDS, trainer)
    words.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    words.save(str(out / "tokenizer.json"))
    added = {str(words.token_to_id(mark)): {"content": mark, "special": True, "normalized": False} for mark in marks}
    added = {id: entry | {"lstrip": False, "rstrip": False, "single_word": False} for id, entry in added.items()}
    write_json(out / "tokenizer_config.json", settings | {"added_tokens_decoder": added})
    return {mark: words.token_to_id(mark) for mark in marks} | {"": words.get_vocab_size()}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _text(ids: dict[str, int], **named: Any) -> dict[str, Any]:
    sizes = {"vocab_size": ids[""], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}
    return sizes | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True} | named


def _sections(**named: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6], **named}
