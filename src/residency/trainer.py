"""The training loop: a model, a recipe and samples in; steps, validations, the best adapter and checkpoints out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from transformers import Trainer

from residency.answering import Candidates
from residency.arguments import training_arguments
from residency.config import Recipe
from residency.contrast import Contrast
from residency.data.batches import Draws, ImageBatches, ProcessShare
from residency.data.together import as_asked
from residency.distill import Distillation
from residency.evaluate.measure import validation_score
from residency.folder import saving
from residency.losses import IGNORED, Summed, caption_loss, spread_loss
from residency.material import Material
from residency.models.family import Batch, Output, part_of
from residency.models.locations import find_locations
from residency.models.registry import Opened
from residency.predict import Asked, answer_samples, candidates_of, slice_images
from residency.processes import (
    forward_through,
    gather_lists,
    is_first,
    own_images,
    process_count,
    process_rank,
    wait_for_all,
)
from residency.types import Sample
from residency.ultrasound.augment import augment_draws
from residency.watch import Interrupt, KeepBest


class RunTrainer(Trainer):
    """transformers' Trainer over a family: token-weighted loss, images shared by questions, validation by answers."""

    optimizer: Any
    control: Any

    def __init__(self, opened: Opened, recipe: Recipe, run: Path, material: Material) -> None:
        self.opened, self.recipe, self.run_folder, self.material = opened, recipe, run, material
        self.candidates: dict[str, Candidates] = candidates_of(material.questionnaire, material.train)
        self.interrupt = Interrupt()
        # Facts of the contrastive loss are those of the picture as it was: no flip may change them.
        self.witnesses: dict[str, list[Sample]] = {}
        for sample in (*material.train, *material.pseudo) if recipe.train.contrastive else ():
            self.witnesses.setdefault(sample.image, []).append(sample)
        contrastive, drawn = recipe.train.contrastive, (*material.train, *material.pseudo)
        self.contrast = Contrast(contrastive, opened, drawn, recipe.train.seed) if contrastive else None
        distill, folder = recipe.train.distill, recipe.out / "teacher"
        self.distill = Distillation(distill, opened, drawn, recipe.train.seed, folder) if distill else None
        opened.loaded.kept = self.distill or opened.loaded.kept
        self.beside = [part for part in (self.contrast, self.distill) if part]
        self.latest: dict[str, torch.Tensor] = {}
        self.locations = find_locations(opened.loaded.processor.tokenizer) if recipe.train.location_spread else range(0)
        super().__init__(
            model=opened.loaded.model,
            args=training_arguments(recipe, run, validates=bool(material.val)),
            train_dataset=Draws(material.train),
            eval_dataset=Draws(material.val) if material.val else None,
            callbacks=[
                KeepBest(run / "metrics.jsonl", self.save_adapter, recipe.train.patience, self.interrupt),
            ],
        )
        self.remove_callback(transformers.trainer_callback.PrinterCallback)
        self.remove_callback(transformers.trainer_callback.ProgressCallback)
        if process_count() > 1:  # else all would drop the same places of different samples
            torch.manual_seed(recipe.train.seed + process_rank())
        self.model_accepts_loss_kwargs = True  # the loss below divides by the whole accumulated batch's tokens
        self._loss_shifts_labels = False  # ours stand at their logits; a decoder's first label is not to be left out

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return class-balanced batches of shared images, augmented by each draw's own seed."""
        settings = self.recipe.train
        batches = ImageBatches(
            self.material.train,
            batch_size=settings.batch_size,
            questions_per_image=settings.questions_per_image,
            balance=settings.balance,
            seed=settings.seed,
            whole=self.recipe.ask == "together",
            by_length=self.recipe.speed.by_length,
            pseudo=self.material.pseudo,
            share=settings.self_training.share if settings.self_training else 0.0,
        )
        loader: DataLoader[Any] = DataLoader(
            cast(TorchDataset[Any], Draws((*self.material.train, *self.material.pseudo))),
            batch_sampler=cast(Any, ProcessShare(batches, process_rank(), process_count())),
            collate_fn=self._encode_draws,
        )
        # Each process's loader yields its own share already, so nothing is left for accelerate to share out.
        return prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make AdamW with a learning rate for each part; biases and norms do not decay."""
        if self.optimizer is None:
            settings, family = self.recipe.train, self.opened.family
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, parameter in self.opened.loaded.model.named_parameters():
                if not parameter.requires_grad:
                    continue
                part = part_of(family, name)
                rate = (
                    settings.part_learning_rates.get(part, settings.learning_rate) if part else settings.learning_rate
                )
                decay = settings.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((rate, decay), []).append(parameter)
            sets = [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]
            sets += [{"params": list(part.heads.parameters()), "lr": settings.learning_rate} for part in self.beside]
            self.optimizer = torch.optim.AdamW(sets, weight_decay=settings.weight_decay)
        return self.optimizer

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """Take a step; Trainer clears the gradients of its model alone, so those of the heads are cleared here."""
        for part in self.beside:
            part.heads.zero_grad()
        return super().training_step(*arguments, **named)

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> Any:
        """Compute in the recipe's precision; accelerate sees to it in `forward` alone, which is not called here."""
        return self.accelerator.autocast()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the caption loss over the whole accumulated batch's tokens; contrastive and teacher's beside it."""
        samples = inputs.pop("samples")
        batch = Batch(**{name: value for name, value in inputs.items() if name != "labels"}, labels_BT=inputs["labels"])
        family, loaded, seen = self.opened.family, self.opened.loaded, dict[str, Any]()

        def caption() -> torch.Tensor:
            seen["regions_MND"] = family.see(loaded, batch.pixels_MCHW)
            seen["output"] = family.forward(loaded, batch, seen["regions_MND"])
            seen["summed"] = summed = self._judge(seen["output"], inputs["labels"])
            # Gradients and losses are averaged over the processes, so each counts for as many.
            return process_count() * summed.total / (summed.count if num_items_in_batch is None else num_items_in_batch)

        loss = forward_through(model, loaded.model, caption, inputs["labels"])
        regions_MND, output, summed = seen["regions_MND"], seen["output"], seen["summed"]
        if self.contrast:
            levels = self.contrast.losses(samples, regions_MND, output.image_BD)
            loss = loss + self.contrast.settings.weight * sum(level.mean() for level in levels.values()) / len(levels)
            self.latest = {name: part.mean().detach() for name, part in {"caption": summed, **levels}.items()}
        if self.distill:
            apart = self.distill.loss(samples).mean()
            loss = loss + self.distill.settings.weight * apart / self.args.gradient_accumulation_steps
            self.latest |= {"caption": summed.mean().detach(), "distill": apart.detach()}
        return (loss, output) if return_outputs else loss

    def _judge(self, output: Output, labels_BT: torch.Tensor) -> Summed:
        if self.recipe.speed.labels_only:
            logits_BTV, labels_BT = output.at_labels(labels_BT)
        else:
            logits_BTV = output.logits_BTV
        if not (spread := self.recipe.train.location_spread):
            return caption_loss(logits_BTV, labels_BT)
        return spread_loss(logits_BTV, labels_BT, self.locations, spread)

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Log each part of the training loss by name, too."""
        parts = {f"loss_{name}": float(mean) for name, mean in self.latest.items()} if "loss" in logs else {}
        super().log(logs | parts, *arguments)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validate by loss and by generated answers, scored as the test will be."""
        loss, score, by_question = self._validate()
        metrics = {"eval_loss": loss} | ({} if score is None else {"eval_score": score})
        self.log(metrics | {f"eval_score_{id}": value for id, value in by_question.items()})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _validate(self) -> tuple[float, float | None, dict[str, float]]:
        opened, settings = self.opened, self.recipe.predict
        opened.loaded.model.eval()
        own = own_images(self.material.val)
        total = count = 0.0
        for rows in slice_images(own, settings.batch_images):
            batch = opened.family.encode(opened.loaded, self._compose(rows), with_answers=True).to(opened.loaded.device)
            assert batch.labels_BT is not None
            output = opened.family.forward(opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW))
            summed = caption_loss(*output.at_labels(batch.labels_BT))
            total, count = total + float(summed.total), count + float(summed.count)
        asked = Asked(self.recipe.name, "own", "val", int(self.recipe.fold))
        answers = answer_samples(
            opened, own, self.material.questionnaire, self.candidates, asked, settings, ask=self.recipe.ask
        )
        every = gather_lists(list(answers))
        total, count = (sum(gather_lists([summed])) for summed in (total, count))
        score, by_question = validation_score(self.material.val, every, self.material.questionnaire)
        opened.loaded.model.train()
        return total / count, score, by_question

    def save_adapter(self) -> None:
        """Keep the adapter as it is now as the best so far."""
        if is_first():
            with saving(self.run_folder / "best"):
                self.opened.loaded.model.save_pretrained(str(self.run_folder / "best"))

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        with saving(self.run_folder / "checkpoints"):
            super()._save_checkpoint(*arguments, **named)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        wait_for_all()  # the state file, whose presence says that the checkpoint is whole, is written after this

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        for part in self.beside:
            part.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        for part in self.beside if checkpoint else ():
            part.load(Path(str(checkpoint)))

    def _encode_draws(self, draws: Sequence[tuple[Sample, int]]) -> dict[str, Any]:
        if not draws:  # a process without an image in this batch goes through the motions; its tokens do not count
            idle = self._encode_draws([(self.material.train[0], 0)])
            return idle | {"labels": torch.full_like(idle["labels"], IGNORED)}
        told = any(f"{{{name}}}" in self.recipe.prompt for name in ("spacing_mm", "field_mm"))
        size: dict[str, int] = dict(self.opened.loaded.processor.image_processor.size)
        images, samples = augment_draws(
            draws, self.recipe.train.augment, side=size.get("height"), spacing_told=told, witnesses=self.witnesses
        )
        composed = self._compose(samples)
        batch = self.opened.family.encode(self.opened.loaded, composed, with_answers=True, images=images)
        tensors = batch.tensors()
        return tensors | {"labels": tensors.pop("labels_BT"), "samples": [sample for sample, _ in draws]}

    def _compose(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return samples as they are learned from: each, or all those about an image in one."""
        return as_asked(samples, self.recipe.ask, self.material.questionnaire)
