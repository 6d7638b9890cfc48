"""Build nano from nothing: texts in, a tokenizer, a processor and a freshly initialized model out."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BartConfig, CLIPImageProcessor, Florence2Config, Florence2Processor, PreTrainedTokenizerFast

from residency.models.florence2 import count_image_tokens
from residency.models.nano.family import NanoForConditionalGeneration
from residency.models.nano.tower import CHANNELS

IMAGE_SIZE = 192
VOCABULARY = 4000
CONTROL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>")
TASKS = ("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>", "<OD>", "<VQA>")
LOCATIONS = tuple(f"<loc_{bin}>" for bin in range(1000))
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE (every language round-trips) whose digits stay single, location tokens included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*CONTROL, *TASKS, *LOCATIONS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, side: int = IMAGE_SIZE) -> Florence2Processor:
    """Return the processor: images squeezed to `side` x `side` px, normalized as ImageNet is."""
    images = CLIPImageProcessor(
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    )
    images.image_seq_length = count_image_tokens(side)
    return Florence2Processor(image_processor=images, tokenizer=tokenizer)


def build_config(tokenizer: PreTrainedTokenizerFast, width: int = 256, layers: int = 2) -> Florence2Config:
    """Return nano's shape: the Florence-2 configuration with a small BART; ids as in BART (pad 1, end 2)."""
    text = BartConfig(
        vocab_size=len(tokenizer),
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 32,
        decoder_attention_heads=width // 32,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_position_embeddings=512,
        dropout=0.1,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        scale_embedding=False,
    )
    vision = {
        "embed_dim": [8, 8, 8, CHANNELS],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        "num_groups": [1, 1, 1, 1],
        "projection_dim": width,
        "max_position_embeddings": 16,
    }
    return Florence2Config(
        text_config=text.to_dict(),
        vision_config=vision,
        image_token_id=tokenizer.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def build_nano(texts: Iterable[str], out: Path, seed: int, side: int = IMAGE_SIZE) -> None:
    """Write a nano with random weights to a folder that `residency` loads as a model."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(texts)
    model = NanoForConditionalGeneration(build_config(tokenizer))
    model.model.vision_tower.initialize()
    model.save_pretrained(out)
    build_processor(tokenizer, side).save_pretrained(out)
