"""How transformers' Trainer is to run: a recipe in, its TrainingArguments out."""

import os
from pathlib import Path

import torch
from transformers import TrainingArguments

from residency.config import Recipe, Train
from residency.errors import UserError
from residency.processes import process_count

SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""What accelerate launch sets where it is to shard: accelerate does so on GPUs alone, so none of it could be tested."""


def training_arguments(recipe: Recipe, run: Path, *, validates: bool) -> TrainingArguments:
    """Return what a recipe asks of the Trainer; `batch_size` is shared out among the processes by our own batches."""
    settings = recipe.train
    arguments = TrainingArguments(
        output_dir=str(run / "checkpoints"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip_norm,
        eval_strategy="epoch" if validates else "no",
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        seed=settings.seed,
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        bf16=_precision(recipe) == "bf16",
        fp16=_precision(recipe) == "fp16",
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if process_count() > 1 and not torch.cuda.is_available() else None,
    )
    # One process drives one GPU: DataParallel, which is the Trainer's way with several, would bypass our loss.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def require_shareable(train: Train) -> None:
    """Make sure that the processes of the launcher, where there are several, can share this training.

    Raises:
        UserError: it has a part that only one process can do, or the launcher would shard the model among them.
    """
    if found := [f"{key}={os.environ[key]}" for key in SHARDING if os.environ.get(key, "").lower() in ("true", "1")]:
        raise UserError(
            "the model is held whole by every process; its weights are not sharded",
            found=", ".join(found),
            do="launch without --use_fsdp and --use_deepspeed; where memory is short, tune with LoRA on 4-bit weights "
            "(tune.quantize: nf4), or take a smaller train.batch_size and a larger train.accumulate",
        )
    alone = {"contrastive": train.contrastive, "self_training": train.self_training, "distill": train.distill}
    if process_count() > 1 and (held := [f"train.{key}" for key, value in alone.items() if value is not None]):
        raise UserError(
            f"{process_count()} processes cannot share this training",
            found=f"{', '.join(held)}, which works in one process alone",
            do="leave it out (null), or give the command without torchrun or accelerate launch",
        )


def _precision(recipe: Recipe) -> str:
    """Resolve `auto`: bf16 where a GPU has it, else fp16 on a GPU, else fp32."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
