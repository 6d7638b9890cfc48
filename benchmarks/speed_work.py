"""One measurement in a process of its own: a model, a task and who does it in; seconds, losses, answers, memory out.

Called by speed.py. Everything that two sides share is made here once: weights, samples in one order, what is trained,
optimizer and learning rates; dropout is off, so that losses can be compared. Prints one line of JSON.
"""

import argparse
import json
import resource
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import transformers
from transformers import TrainerCallback

import speed_rivals
from residency.asking import Ask, Predict
from residency.config import Lora, Recipe, Train, Tune
from residency.data.batches import ImageBatches
from residency.losses import IGNORED
from residency.material import Material
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.registry import Opened, open_model
from residency.predict import Asked, answer_samples
from residency.train import RunTrainer
from residency.types import Sample
from speed_models import make_model, make_samples

QUESTIONS, NEW_TOKENS = 8, 16
RECIPE: dict[str, Any] = {
    "epochs": 1,
    "batch_size": QUESTIONS,
    "questions_per_image": QUESTIONS,
    "balance": "none",
    "augment": "none",
    "precision": "fp32",
    "save_steps": 100_000,
}


class Clock(TrainerCallback):
    """Takes the time when a step ends; between two of them lies a step whole, its data included."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.ends.append(perf_counter())

    def seconds(self) -> list[float]:
        """Return each step's seconds but the first's, which warms up."""
        return [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]


def recipe_of(model: str, causal: bool, out: Path, ask: Ask) -> Recipe:
    """Return how a model is trained: a decoder alone by LoRA, Florence-2 whole but its tower, as in the tutorial."""
    tune = Tune(lora=Lora(dropout=0.0)) if causal else Tune(lora=None, train=("projector", "language"))
    rate = 1e-4 if causal else 1e-5
    return Recipe(
        name="speed", data=out, out=out, model=model, ask=ask, tune=tune, train=Train(learning_rate=rate, **RECIPE)
    )


def open_still(model: str) -> Opened:
    """Open a model whose dropout is off."""
    opened = open_model(model)
    for module in opened.loaded.core.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "activation_dropout", "attention_dropout", "drop_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return opened


def forbid_end(opened: Opened) -> None:
    """Let no answer end, so that all are equally long."""
    core = opened.loaded.core
    named = core.generation_config.eos_token_id
    more = named if isinstance(named, list) else [] if named is None else [named]
    ends = torch.tensor(sorted({opened.loaded.processor.tokenizer.eos_token_id, *more}))

    def mute(module: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, ends, torch.finfo(logits.dtype).min)

    core.generation_config.forced_eos_token_id = None
    core.lm_head.register_forward_hook(mute)


def in_order(samples: list[Sample]) -> list[list[Sample]]:
    """Return the samples batch by batch, as our trainer draws them."""
    drawn = ImageBatches(samples, batch_size=QUESTIONS, questions_per_image=QUESTIONS, balance="none", seed=0)
    return [[samples[draw.row] for draw in batch] for batch in drawn]


def answer_ours(opened: Opened, samples: list[Sample], repeats: int, ask: Ask) -> dict[str, Any]:
    """Time eight questions about one image and, with `ask: each`, the mean of the eight asked alone."""
    settings, said = Predict(max_new_tokens=NEW_TOKENS), Asked("speed", "own", "all")

    def answer(part: list[Sample], how: Ask) -> list[str]:
        return [line.prediction for line in answer_samples(opened, part, None, {}, said, settings, ask=how)]

    alone, whole, texts = [], [], []
    for _ in range(repeats + 1):
        began = perf_counter()
        texts = answer(samples, ask)
        whole.append(perf_counter() - began)
        if ask == "each":
            began = perf_counter()
            for sample in samples:
                answer([sample], "each")
            alone.append((perf_counter() - began) / len(samples))
    return {"seconds": whole[1:], "alone": alone[1:], "answers": texts}


def train_ours(opened: Opened, samples: list[Sample], recipe: Recipe, out: Path) -> dict[str, Any]:
    """Time the steps of our trainer, an image's eight questions each."""
    apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, recipe.tune), recipe.tune, 0)
    trainer, clock = RunTrainer(opened, recipe, out, Material(tuple(samples), (), (), None)), Clock()
    trainer.add_callback(clock)
    trainer.train()
    return {"seconds": clock.seconds(), "losses": [log["loss"] for log in trainer.state.log_history if "loss" in log]}


def measure(call: argparse.Namespace) -> dict[str, Any]:
    """Do what is asked and return what came of it."""
    model, causal = make_model(call.model, call.folder / "models"), call.model in ("dino-smol", "tiny-llava")
    training = call.task == "train"
    samples = make_samples(call.folder / "images", call.repeats + 1 if training else 1)
    ask: Ask = "together" if call.who == "together" else "each"
    opened, out = open_still(model), call.folder / "runs" / f"{call.model}-{call.who}"
    recipe = recipe_of(model, causal, out, ask)
    if not training:
        forbid_end(opened)
        if call.who == "transformers":
            return speed_rivals.answer(opened, samples, call.repeats, NEW_TOKENS)
        return answer_ours(opened, samples, call.repeats, ask)
    labels = opened.family.encode(opened.loaded, samples[:QUESTIONS], with_answers=True).labels_BT
    tokens = {"tokens": int((labels != IGNORED).sum())}
    if call.who in ("ours", "together"):
        return train_ours(opened, samples, recipe, out) | tokens
    plan = plan_tuning(opened.family, opened.loaded.model, recipe.tune)
    if call.who == "tutorial":
        return speed_rivals.train_tutorial(opened, in_order(samples), recipe, plan.trained) | tokens
    apply_plan(opened.loaded, plan, recipe.tune, 0)
    return speed_rivals.train_trl(opened, in_order(samples), recipe, out, Clock()) | tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("task", choices=("answer", "train"))
    parser.add_argument("who", choices=("ours", "together", "transformers", "tutorial", "trl"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    call = parser.parse_args()
    torch.set_num_threads(call.threads)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    found = measure(call)
    found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
