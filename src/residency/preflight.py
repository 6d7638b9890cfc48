"""What is proved about a run before its first step: model, samples and recipe in, named checks with evidence out."""

import copy
import resource
import sys
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

import numpy as np
import torch
from pydantic import Field

from residency.asking import Ask
from residency.config import Recipe
from residency.contrast import find_contrast_faults
from residency.data.dataset import hash_dataset
from residency.data.together import as_asked
from residency.errors import CheckFailed
from residency.leak import find_prompt_leak
from residency.losses import IGNORED, caption_loss
from residency.material import Material
from residency.models.adapt import count_parameters
from residency.models.family import PARTS, Batch, part_of
from residency.models.prompts import render_prompt
from residency.models.registry import Opened
from residency.types import Problem, Questionnaire, Record, Sample

OVERFIT_SAMPLES, OVERFIT_STEPS, OVERFIT_RATES = 8, 12, (1e-3, 1e-4)


class Check(Record):
    """One thing proved, or not: its name, whether it holds, and what was seen."""

    name: str
    passed: bool
    detail: str


class Preflight(Record):
    """All checks, decoded examples of what is learned, parameters by part, and memory in MB."""

    checks: tuple[Check, ...]
    labels: tuple[dict[str, str], ...]
    parameters: dict[str, Any]
    prompt_leak: dict[str, Any]
    prompt_columns: tuple[str, ...]
    memory_mb: float
    data_sha256: dict[str, str] = Field(default_factory=dict)
    """The dataset's files as they were when the run began."""


def run_preflight(
    opened: Opened,
    recipe: Recipe,
    train: Sequence[Sample],
    val: Sequence[Sample],
    questionnaire: Questionnaire | None = None,
) -> Preflight:
    """Prove what can be proved about a run; the model is left as it was found."""
    learned = as_asked(train, recipe.ask, questionnaire)
    few = [learned[i] for i in np.random.default_rng(recipe.train.seed).permutation(len(learned))[:OVERFIT_SAMPLES]]
    batch = opened.family.encode(opened.loaded, few, with_answers=True).to(opened.loaded.device)
    labels, masked = _decode_labels(opened, few, batch)
    parameters = _parameters(opened)
    leak, leaks = find_prompt_leak(recipe.prompt, train, val)
    accepted = "prompt-leak" in recipe.accept
    checks = (
        masked,
        _check_trainable(parameters),
        _check_reach(opened, learned),
        *_check_overfit(opened, batch),
        Check(
            name="prompt-leak",
            passed=not leaks or accepted,
            detail=(
                "; ".join(leaks) + ("  (accepted by the recipe)" if accepted else "")
                if leaks
                else "the words of the prompt alone do not beat the majority answer on validation"
            ),
        ),
        *([_check_contrastive(opened, recipe, train, batch)] if recipe.train.contrastive else []),
    )
    return Preflight(
        checks=checks,
        labels=labels,
        parameters=parameters,
        prompt_leak=leak,
        prompt_columns=prompt_columns(recipe.prompt),
        memory_mb=_memory_mb(opened.loaded.device),
        data_sha256=hash_dataset(recipe.data),
    )


def require_lengths(opened: Opened, material: Material, ask: Ask = "each") -> None:
    """Make sure that the model can hold every prompt, and every answer it learns from, as they are asked.

    Raises:
        CheckFailed: with every sample that is too long.
    """
    learned, asked = (
        as_asked(samples, ask, material.questionnaire) for samples in ((*material.train, *material.val), material.test)
    )
    bare = [sample.model_copy(update={"suffix": None}) for sample in asked]
    overlong = opened.family.find_overlong(opened.loaded, [*learned, *bare])
    if overlong:
        raise CheckFailed(
            "lengths", overlong, do="shorten these texts and ingest again, or choose a model that holds more"
        )


def require_passed(preflight: Preflight) -> None:
    """Stop a run whose preflight did not hold.

    Raises:
        CheckFailed: naming every check that failed.
    """
    failed = [check for check in preflight.checks if not check.passed]
    if failed:
        raise CheckFailed(
            "preflight",
            [Problem(kind=check.name, message=check.detail) for check in failed],
            do="mend the recipe, or, for prompt-leak alone, accept it by name: accept: [prompt-leak]",
        )


def prompt_columns(template: str) -> tuple[str, ...]:
    """Return what a prompt template names beyond the question itself."""
    names = {name for _, name, _, _ in Formatter().parse(template) if name}
    return tuple(sorted(names - {"prefix"}))


def _decode_labels(opened: Opened, samples: Sequence[Sample], batch: Batch) -> tuple[tuple[dict[str, str], ...], Check]:
    """Decode what the loss counts, and compare it with the answers."""
    assert batch.labels_BT is not None
    tokenizer = opened.loaded.processor.tokenizer
    template = opened.loaded.spec.prompt
    rows, wrong = [], []
    for sample, labels_T in zip(samples, batch.labels_BT, strict=True):
        counted = labels_T[labels_T != IGNORED]
        text = tokenizer.decode(counted, skip_special_tokens=False)
        rows.append({"prompt": render_prompt(template, sample), "learned": text})
        plain = tokenizer.decode([t for t in counted.tolist() if t not in tokenizer.all_special_ids])
        stripped = opened.family.read_answer(plain.strip())
        expected_ids = tokenizer(sample.suffix or "", add_special_tokens=False)["input_ids"]
        expected = tokenizer.decode([t for t in expected_ids if t not in tokenizer.all_special_ids]).strip()
        ends = (counted == tokenizer.eos_token_id).nonzero().flatten().tolist()  # padding may be that token, too
        if stripped != expected or ends != [len(counted) - 1]:
            wrong.append(sample.id)
    detail = f"not the answer in {wrong}" if wrong else f"the answer and its end token, in {len(rows)} of {len(rows)}"
    return tuple(rows), Check(name="labels", passed=not wrong, detail=detail)


def _parameters(opened: Opened) -> dict[str, Any]:
    by_part = count_parameters(opened.family, opened.loaded.model)
    return {
        "trainable": sum(counts["trainable"] for counts in by_part.values()),
        "total": sum(counts["total"] for counts in by_part.values()),
        "by_part": by_part,
    }


def _check_trainable(parameters: dict[str, Any]) -> Check:
    shares = [
        f"{part} {parameters['by_part'][part]['trainable']:,} of {parameters['by_part'][part]['total']:,}"
        for part in PARTS
    ]
    return Check(name="trainable", passed=parameters["trainable"] > 0, detail="; ".join(shares))


@torch.no_grad()
def _check_reach(opened: Opened, samples: Sequence[Sample]) -> Check:
    """Ask whether the logits change with the image alone and with the prompt alone."""
    first = samples[0]
    image = next((s.image for s in samples if s.image != first.image), None)
    prefix = next((s.prefix for s in samples if s.prefix != first.prefix), first.prefix + " Answer.")
    if image is None:
        return Check(name="reach", passed=False, detail="all samples show one image")
    variants = [first, first.model_copy(update={"image": image}), first.model_copy(update={"prefix": prefix})]
    opened.loaded.model.eval()
    batch = opened.family.encode(opened.loaded, variants, with_answers=True).to(opened.loaded.device)
    logits = opened.family.forward(opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW)).logits_BTV
    by_image, by_prompt = (float((logits[0] - logits[k]).abs().max()) for k in (1, 2))
    return Check(
        name="reach",
        passed=min(by_image, by_prompt) > 1e-4,
        detail=f"logits move by {by_image:.3g} with another image and by {by_prompt:.3g} with another question",
    )


def _check_overfit(opened: Opened, batch: Batch) -> tuple[Check, Check]:
    """Train on one batch for a few steps: does the loss fall, does what is frozen stay? Every weight is put back.

    A pretrained model tuned in full may jump out of its valley at the first rate; then a smaller one is tried.
    """
    model = opened.loaded.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = copy.deepcopy([parameter.data for parameter in trained])
    sums = _sum_tensors(model)
    model.eval()  # no dropout: the fall is the optimizer's, not the noise's
    for rate in OVERFIT_RATES:
        losses = _fit_batch(opened, batch, torch.optim.AdamW(trained, lr=rate, weight_decay=0.0))
        moved = _check_moved(opened, sums)
        for parameter, data in zip(trained, before, strict=True):
            parameter.data.copy_(data)
            parameter.grad = None
        low = min(losses[1:])
        if fell := low < losses[0] or losses[0] < 1e-3:
            break
    detail = f"loss on one batch {losses[0]:.3f} -> {low:.3f} nats a token in {OVERFIT_STEPS} steps"
    return Check(name="overfit", passed=fell, detail=detail), moved


def _fit_batch(opened: Opened, batch: Batch, optimizer: torch.optim.Optimizer) -> list[float]:
    """Take a few steps on one batch; returns the loss before each."""
    losses = []
    assert batch.labels_BT is not None
    for _ in range(OVERFIT_STEPS):
        regions_MND = opened.family.see(opened.loaded, batch.pixels_MCHW)
        summed = caption_loss(opened.family.forward(opened.loaded, batch, regions_MND).logits_BTV, batch.labels_BT)
        loss = summed.total / summed.count
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return losses


def _check_moved(opened: Opened, before: Mapping[str, float]) -> Check:
    """Compare weights, not flags: what is frozen has stayed, and of each part that trains something has moved."""
    model = opened.loaded.model
    moved = {name for name, total in _sum_tensors(model).items() if total != before[name]}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    faults = [f"frozen, but it moved: {name}" for name in sorted(moved - trained)]
    faults += [] if trained & moved else ["nothing that trains has moved"]
    counts = []
    for part in PARTS:
        within = {name for name in trained if part_of(opened.family, name) == part}
        counts += [f"{part} {len(within & moved)} of {len(within)}"] if within else []
        faults += [f"{part} trains, but none of its weights moved"] if within and not within & moved else []
    told = f"{len(moved)} of {len(before)} tensors moved, none unplanned: {', '.join(counts) or 'none within a part'}"
    return Check(name="moved", passed=not faults, detail="; ".join(faults[:5]) or told)


@torch.no_grad()
def _sum_tensors(model: torch.nn.Module) -> dict[str, float]:
    """Return the sum of every parameter and buffer (running statistics move, too), by name: a print of its content."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: float(tensor.sum(dtype=torch.float64)) for name, tensor in tensors.items()}


def _check_contrastive(opened: Opened, recipe: Recipe, train: Sequence[Sample], batch: Batch) -> Check:
    faults = find_contrast_faults(opened, recipe.train, train, batch)
    held = "negatives are the whole batch, each level has something to compare, weights that train lie before it"
    return Check(name="contrastive", passed=not faults, detail="; ".join(faults) or held)


def _memory_mb(device: torch.device) -> float:
    """Return the peak memory so far: forward, backward and optimizer have all run once by then."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
