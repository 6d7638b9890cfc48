"""What a user would run instead, on the same weights and samples: a model and samples in, seconds and losses out.

- `answer`: a loop over `generate` of transformers, a question at a time.
- `train_tutorial`: the loop of the Florence-2 fine-tuning tutorial (Hugging Face blog, 2024), written anew. Where that
  one counts padding as answer, this one does not, so that its loss can be compared with ours.
- `train_trl`: TRL's SFTTrainer, on prompts and completions, in the order of our batches.
"""

from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import get_cosine_schedule_with_warmup

from residency.config import Recipe
from residency.losses import IGNORED
from residency.models.registry import Opened
from residency.types import Sample


@torch.inference_mode()
def answer(opened: Opened, samples: Sequence[Sample], repeats: int, new_tokens: int) -> dict[str, Any]:
    """Time a loop over `generate`, the image read, preprocessed and seen for every question."""
    model, processor, seconds, texts = opened.loaded.model.eval(), _processor(opened), [], list[str]()
    for _ in range(repeats + 1):
        began, texts = perf_counter(), []
        for sample in samples:
            inputs = processor(images=_open(sample), text=_prompt(opened, sample), return_tensors="pt")
            ids = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False, num_beams=1)
            texts.append(opened.family.read_answer(processor.tokenizer.decode(ids[0, -new_tokens:]).strip()))
        seconds.append(perf_counter() - began)
    return {"seconds": seconds[1:], "answers": texts}


def train_tutorial(
    opened: Opened, batches: Sequence[Sequence[Sample]], recipe: Recipe, trained: Sequence[str]
) -> dict[str, Any]:
    """Time the tutorial's steps: frozen tower, every question with its own copy of the image."""
    model, processor, settings = opened.loaded.model.train(), _processor(opened), recipe.train
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{module}.") or name == module for module in trained)
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    steps = len(batches)
    schedule = get_cosine_schedule_with_warmup(optimizer, -int(-steps * settings.warmup // 1), steps)
    ends, losses = [], []
    for batch in batches:
        inputs = processor(
            images=[_open(sample) for sample in batch],
            text=[_prompt(opened, sample) for sample in batch],
            return_tensors="pt",
            padding=True,
        )
        answers = [sample.suffix or "" for sample in batch]
        told = processor.tokenizer(answers, return_tensors="pt", padding=True, return_token_type_ids=False)
        labels = told["input_ids"].masked_fill(told["attention_mask"] == 0, IGNORED)
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(free, settings.clip_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        ends.append(perf_counter())
    return {"seconds": [end - begin for begin, end in pairwise(ends)], "losses": losses}


def train_trl(
    opened: Opened, batches: Sequence[Sequence[Sample]], recipe: Recipe, out: Path, clock: Any
) -> dict[str, Any]:
    """Time the steps of TRL's SFTTrainer; its settings are ours where ours are not its own."""
    import datasets
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):  # type: ignore[misc]
        """Takes the samples as they come."""

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    end, samples, settings = opened.loaded.processor.tokenizer.eos_token, list(chain(*batches)), recipe.train
    rows = datasets.Dataset.from_dict(
        {
            "images": [[sample.image] for sample in samples],
            "prompt": [_prompt(opened, sample) for sample in samples],
            "completion": [f"{sample.suffix}{end}" for sample in samples],
        }
    ).cast_column("images", datasets.List(datasets.Image()))
    arguments = SFTConfig(
        output_dir=str(out),
        num_train_epochs=1,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip_norm,
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=settings.seed,
    )
    trainer = InOrder(
        model=opened.loaded.model,
        args=arguments,
        train_dataset=rows,
        processing_class=opened.loaded.processor,
        callbacks=[clock],
    )
    trainer.train()
    return {"seconds": clock.seconds(), "losses": [log["loss"] for log in trainer.state.log_history if "loss" in log]}


def _prompt(opened: Opened, sample: Sample) -> str:
    """Return a prompt's text: the family's own for LLaVA, the bare question for Florence-2."""
    word = getattr(opened.family, "word_prompt", None)
    return str(word(opened.loaded, sample)) if word else sample.prefix


def _processor(opened: Opened) -> Any:
    """Return the processor; the tokenizer that we build writes no begin and end tokens, as Florence-2's does."""
    processor = opened.loaded.processor
    tokenizer = processor.tokenizer
    if not hasattr(opened.family, "word_prompt"):
        ends = [(tokenizer.bos_token, tokenizer.bos_token_id), (tokenizer.eos_token, tokenizer.eos_token_id)]
        single = f"{tokenizer.bos_token} $A {tokenizer.eos_token}"
        tokenizer._tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=ends)
    return processor


def _open(sample: Sample) -> Image.Image:
    with Image.open(sample.image) as file:
        return file.convert("RGB")
