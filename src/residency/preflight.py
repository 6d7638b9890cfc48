"""What is proved about a run before its first step: model, samples and recipe in, named checks with evidence out."""

import copy
import re
import resource
import sys
from collections.abc import Sequence
from string import Formatter
from typing import Any

import numpy as np
import torch
from pydantic import Field

from residency.config import Recipe
from residency.contrast import find_contrast_faults
from residency.data.dataset import hash_dataset
from residency.errors import CheckFailed
from residency.losses import IGNORED, caption_loss
from residency.material import Material
from residency.models.adapt import count_parameters
from residency.models.family import PARTS, Batch, render_prompt
from residency.models.registry import Opened
from residency.types import Answer, Problem, Quantity, Record, Sample

OVERFIT_SAMPLES, OVERFIT_STEPS, OVERFIT_RATE = 8, 12, 1e-3
LEAK_MARGIN = 0.05


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


def run_preflight(opened: Opened, recipe: Recipe, train: Sequence[Sample], val: Sequence[Sample]) -> Preflight:
    """Prove what can be proved about a run; the model is left as it was found."""
    few = [train[i] for i in np.random.default_rng(recipe.train.seed).permutation(len(train))[:OVERFIT_SAMPLES]]
    batch = opened.family.encode(opened.loaded, few, with_answers=True).to(opened.loaded.device)
    labels, masked = _decode_labels(opened, few, batch)
    parameters = _parameters(opened)
    leak, leaks = find_prompt_leak(recipe.prompt, train, val)
    accepted = "prompt-leak" in recipe.accept
    checks = (
        masked,
        _check_trainable(parameters),
        _check_reach(opened, train),
        _check_overfit(opened, batch),
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


def require_lengths(opened: Opened, material: Material) -> None:
    """Make sure that the model can hold every prompt, and every answer it learns from.

    Raises:
        CheckFailed: with every sample that is too long.
    """
    asked = [sample.model_copy(update={"suffix": None}) for sample in material.test]
    overlong = opened.family.find_overlong(opened.loaded, [*material.train, *material.val, *asked])
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


def find_prompt_leak(
    template: str, train: Sequence[Sample], val: Sequence[Sample]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Ask of each question whether a bag of words over the prompt alone beats the majority answer on validation.

    Accuracy for answers in words; for numbers, one minus the error relative to always answering the median. Returns
    the two figures by question, and a sentence for each question where the words win by more than `LEAK_MARGIN`.
    """
    figures: dict[str, dict[str, float]] = {}
    leaks = []
    for id in dict.fromkeys(sample.question or "" for sample in train):
        seen = [sample for sample in train if (sample.question or "") == id]
        held = [sample for sample in val if (sample.question or "") == id]
        prompts = [render_prompt(template, sample) for sample in seen]
        if len(held) == 0 or len(set(prompts)) < 2:
            continue
        majority, words = _leak_figures(prompts, seen, [render_prompt(template, sample) for sample in held], held)
        figures[id or "all"] = {"majority": majority, "words": words}
        if words > majority + LEAK_MARGIN:
            leaks.append(f"{id or 'all'}: the prompt's words alone reach {words:.2f}, the majority {majority:.2f}")
    return figures, leaks


def _leak_figures(
    prompts: Sequence[str], seen: Sequence[Sample], held_prompts: Sequence[str], held: Sequence[Sample]
) -> tuple[float, float]:
    """Return what the majority and what the prompt's words reach on the held samples."""
    if all(isinstance(sample.answer, Quantity) for sample in (*seen, *held)):
        return 0.0, _reduced_error(prompts, seen, held_prompts, held)
    labels, truths = [_label(sample) for sample in seen], [_label(sample) for sample in held]
    majority = max(sorted(set(labels)), key=labels.count)
    share = float(np.mean([truth == majority for truth in truths]))
    if len(set(labels)) < 2:
        return share, share
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    bag = CountVectorizer(token_pattern=r"(?u)\S+", binary=True)
    words = LogisticRegression(max_iter=500).fit(bag.fit_transform(prompts), labels)
    guesses = words.predict(bag.transform(held_prompts))
    return share, float(np.mean([guess == truth for guess, truth in zip(guesses, truths, strict=True)]))


def _reduced_error(
    prompts: Sequence[str], seen: Sequence[Sample], held_prompts: Sequence[str], held: Sequence[Sample]
) -> float:
    """Return by what share ridge on a prompt's first number lowers the error of always answering the median."""
    from sklearn.linear_model import Ridge

    known, truth = (np.array([_number(sample.answer) for sample in samples]) for samples in (seen, held))
    floor = np.abs(truth - np.median(known)).mean()
    if not floor:
        return 0.0
    guessed = Ridge().fit(_first_numbers(prompts), known).predict(_first_numbers(held_prompts))
    return float(1 - np.abs(truth - guessed).mean() / floor)


def _first_numbers(texts: Sequence[str]) -> np.ndarray:
    """Return the first number x of each text as [x, x^2, 1/x]: shape (N, 3)."""
    found = [re.search(r"\d+(?:\.\d+)?", text) for text in texts]
    values = np.array([[float(match[0]) if match else 0.0] for match in found])
    return np.hstack([values, values**2, 1 / (values + 1e-6)])


def _number(answer: Answer | None) -> float:
    assert isinstance(answer, Quantity)
    return answer.value


def _label(sample: Sample) -> str:
    return " | ".join(sample.answer) if isinstance(sample.answer, tuple) else str(sample.answer or sample.suffix)


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
        if stripped != expected or int(counted[-1]) != tokenizer.eos_token_id:
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


def _check_overfit(opened: Opened, batch: Batch) -> Check:
    """Train on one batch for a few steps, see whether the loss falls, and put every weight back."""
    model = opened.loaded.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = copy.deepcopy([parameter.data for parameter in trained])
    optimizer = torch.optim.AdamW(trained, lr=OVERFIT_RATE, weight_decay=0.0)
    model.eval()  # no dropout: the fall is the optimizer's, not the noise's
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
    for parameter, data in zip(trained, before, strict=True):
        parameter.data.copy_(data)
        parameter.grad = None
    low = min(losses[1:])
    detail = f"loss on one batch {losses[0]:.3f} -> {low:.3f} nats a token in {OVERFIT_STEPS} steps"
    return Check(name="overfit", passed=low < losses[0] or losses[0] < 1e-3, detail=detail)


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
