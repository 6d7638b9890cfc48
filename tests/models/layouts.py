"""Florence-2's, PaliGemma's and LLaVA-1.5's processors in the published file layout: same files and keys, few words.

The template is written anew; it renders what LLaVA-1.5's does for a user's image and text.
"""

from pathlib import Path

from tests.contract.tiny_chat import BYTES, _byte_level, build_pieces, write_json, write_words

BART_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>", *(f"<loc_{place}>" for place in range(1000))]
GEMMA_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
LLAMA_TOKENS = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
LLAVA_TEMPLATE = """
{%- for message in messages %}{{ message.role | upper + ': ' }}
{%- for item in message.content if item.type == 'image' %}{{ '<image>\\n' }}{% endfor %}
{%- for item in message.content if item.type == 'text' %}{{ item.text + ' ' }}{% endfor %}
{%- endfor %}
{%- if add_generation_prompt %}ASSISTANT:{% endif -%}
"""
SQUARE = {
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "rescale_factor": 1 / 255,
}


def write_florence(out: Path) -> None:
    """Florence-2 of florence-community, as transformers' conversion script saves it: CLIP's squares of 768 px."""
    images = SQUARE | {"do_center_crop": False, "crop_size": {"height": 768, "width": 768}, "resample": 3}
    images |= {"image_processor_type": "CLIPImageProcessor", "processor_class": "Florence2Processor"}
    images |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "image_seq_length": 577}
    write_json(out / "preprocessor_config.json", images | {"size": {"height": 768, "width": 768}})
    write_json(
        out / "processor_config.json", {"num_additional_image_tokens": 0, "processor_class": "Florence2Processor"}
    )
    settings = {"tokenizer_class": "BartTokenizer", "processor_class": "Florence2Processor", "add_prefix_space": False}
    settings |= {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "model_max_length": 1024}
    settings |= {"image_token": "<image>", "extra_special_tokens": {"image_token": "<image>"}}
    write_words(out, _byte_level(), BART_TOKENS, settings)


def write_paligemma(out: Path) -> None:
    """PaliGemma 1 and 2 at 224 px: preprocessor_config.json alone says what the processor is."""
    images = SQUARE | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_seq_length": 256, "resample": 3}
    images |= {"image_processor_type": "SiglipImageProcessor", "processor_class": "PaliGemmaProcessor"}
    write_json(out / "preprocessor_config.json", images | {"size": {"height": 224, "width": 224}})
    settings = {"tokenizer_class": "GemmaTokenizer", "processor_class": "PaliGemmaProcessor", "add_bos_token": True}
    settings |= {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings |= {"additional_special_tokens": ["<image>"]}
    marks = ["<image>", *(f"<loc{place:04d}>" for place in range(1024)), *(f"<seg{code:03d}>" for code in range(128))]
    write_words(out, build_pieces(), [*GEMMA_TOKENS, *marks], settings, BYTES)


def write_llava(out: Path) -> None:
    """LLaVA-1.5 of llava-hf: chat_template.json, processor_config.json, CLIP's crops of 336 px, LlamaTokenizer."""
    write_json(out / "chat_template.json", {"chat_template": LLAVA_TEMPLATE})
    named = {"image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 14}
    named |= {"processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default"}
    write_json(out / "processor_config.json", named)
    images = SQUARE | {"do_center_crop": True, "crop_size": {"height": 336, "width": 336}, "resample": 3}
    images |= {"image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor"}
    images |= {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    write_json(out / "preprocessor_config.json", images | {"size": {"shortest_edge": 336}})
    settings = {"tokenizer_class": "LlamaTokenizer", "processor_class": "LlavaProcessor", "add_bos_token": True}
    settings |= {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "legacy": False}
    settings |= {"image_token": "<image>", "extra_special_tokens": {"image_token": "<image>"}}
    write_words(out, build_pieces(), LLAMA_TOKENS, settings, BYTES)
