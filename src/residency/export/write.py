"""A run in, a folder out that transformers loads by itself: the adapter merged, checked before it takes its name."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import PeftConfig
from transformers import GenerationConfig
from transformers.utils import cached_file

from residency.config import Recipe, Tune, Weights
from residency.data.dataset import load_dataset
from residency.errors import UserError
from residency.export.agree import Agreement, Comparison, compare_answers, require_agreement
from residency.export.card import Facts, render_card
from residency.export.usage import has_video, tell_usage
from residency.files import is_there, new_folder, write_json, write_text
from residency.folder import check_data, saving
from residency.models.adapt import attach_adapter
from residency.models.llava import Llava, LlavaNext
from residency.models.names import SHORT_NAMES
from residency.models.nano.family import ExportedConfig, Nano
from residency.models.registry import Opened, open_base, open_run
from residency.types import Prediction, Record

DTYPES: dict[str, Weights] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
SHARD = "4GB"
VIDEO = ("preprocessor_config.json", "video_preprocessor_config.json")


class Exported(Record):
    """What an export wrote, and whether it answers as the run did."""

    folder: str
    architecture: str
    dtype: str
    megabytes: float
    compared_on: str
    agreements: tuple[Agreement, ...]
    files: tuple[str, ...]


def export_run(
    run: Path,
    out: Path | None,
    say: Callable[[str], None],
    *,
    dtype: Weights | Literal["auto"] = "auto",
    floor: float = 0.9,
    most: int = 256,
    replace_old: bool = False,
) -> Exported:
    """Merge a run's adapter into its base and write the model to `out` (left out: RUN/export), whole or not at all.

    `dtype` auto: the base checkpoint's own; 16 bits for a run on 4 bits. What is written is read again and asked up to
    `most` validation samples; below a share of `floor` answers that are the run's own, nothing stays.

    Raises:
        UserError: no such run, an adapter that cannot be merged, or a folder that is there already.
        CheckFailed: `answers-agree`.
    """
    folder = out or run / "export"
    if is_there(folder) and not replace_old:
        raise UserError(f"{folder} exists already", do="choose another --out, or put it in its place with --replace")
    if not is_there(run / "config.yaml") and (folds := sorted(run.glob("fold-*"))):
        raise UserError(f"{run} holds folds, each a model of its own", allowed=folds, do="name one of them")
    recipe, opened = open_run(run)
    _check_mergeable(run, recipe)
    check_data(recipe.data, run)
    compared = Comparison(recipe, load_dataset(recipe.data), most)
    compared.tell_neighbours(run, opened)
    say(f"answering {len(compared.samples)} {compared.split} samples as the run does")
    own = compared.answer(opened)
    example, tokens = compared.example()
    kept = _choose_dtype(opened, recipe.tune) if dtype == "auto" else dtype
    if recipe.tune.quantize:
        say(f"merging the adapter into the base at {kept}")
        opened = _release(opened, recipe, recipe.tune.model_copy(update={"quantize": None, "weights": kept}))
        attach_adapter(opened.loaded, run / "adapter")
    with new_folder(folder, replace_old) as made:
        merged = merge_adapter(opened, kept)
        say(f"writing {kept} weights")
        with saving(folder):
            write_model(merged, made, tokens)
        usage = tell_usage(merged, example, str(folder))
        facts = _gather_facts(run, recipe, merged, kept, compared, floor)
        del opened, merged
        agreements = _ask_again(made, recipe, kept, compared, own, say)
        require_agreement(agreements, floor, str(run))
        facts = facts.model_copy(update={"agreements": agreements})
        write_json(made / "residency.json", facts.model_dump(mode="json"))
        write_text(made / "README.md", render_card(recipe, facts, usage))
        files = sorted(made.iterdir())
        for path in files:
            path.chmod(0o644)  # weights are written for their owner alone
        size = sum(path.stat().st_size for path in files) / 1e6
    return Exported(
        folder=str(folder),
        architecture=facts.architecture,
        dtype=facts.dtype,
        megabytes=round(size, 2),
        compared_on=facts.compared_on,
        agreements=facts.agreements,
        files=tuple(path.name for path in files),
    )


def _ask_again(
    made: Path,
    recipe: Recipe,
    kept: Weights,
    compared: Comparison,
    own: dict[str, Prediction],
    say: Callable[[str], None],
) -> tuple[Agreement, ...]:
    """Read what was written again, plain and at 4 bits where the run was tuned so, and hold its answers against the
    run's own."""
    plain = recipe.tune.model_copy(update={"quantize": None, "weights": kept})
    agreements = []
    for tune in [plain, recipe.tune] if recipe.tune.quantize else [plain]:
        say(f"reading it again at {tune.quantize or kept}, and asking the same")
        answers = compared.answer(_reopen(made, recipe, tune))
        agreements.append(compare_answers(own, answers, _tell_held(tune, again=bool(tune.quantize))))
    return tuple(agreements)


def merge_adapter(opened: Opened, dtype: Weights) -> Opened:
    """Return the plain model with the adapter in its weights, in the numbers that it is written in.

    Raises:
        UserError: weights that these numbers cannot hold.
    """
    loaded = opened.loaded
    loaded.model = loaded.model.merge_and_unload().eval().to(getattr(torch, _long(dtype)))
    if lost := [name for name, weight in loaded.model.named_parameters() if not weight.isfinite().all()]:
        raise UserError(f"weights are too large for {dtype}", found=lost[:3], do="--dtype bf16, or fp32", exit_code=1)
    return opened


def write_model(opened: Opened, folder: Path, tokens: int) -> None:
    """Write weights, settings, tokenizer and processor as transformers reads them."""
    family, loaded = opened.family, opened.loaded
    loaded.model.generation_config = greedy_settings(opened, tokens)
    loaded.model.save_pretrained(str(folder), max_shard_size=SHARD)
    loaded.processor.save_pretrained(str(folder))
    if isinstance(family, Nano):
        _edit_json(folder / "config.json", lambda config: config | {"model_type": ExportedConfig.model_type})
    if isinstance(family, Llava) and not isinstance(family, LlavaNext):
        _edit_json(folder / "processor_config.json", _pad_squares)
    if has_video(getattr(loaded.processor, "processor", None)):
        for name in VIDEO:
            if (base := _base_file(loaded.spec.source, name)) and not (folder / name).exists():
                (folder / name).write_bytes(base.read_bytes())


def greedy_settings(opened: Opened, tokens: int) -> GenerationConfig:
    """Return the checkpoint's own settings of generation, made greedy: as the run was examined."""
    own, tokenizer = opened.loaded.core.generation_config, opened.loaded.processor.tokenizer
    ends = [own.eos_token_id] if isinstance(own.eos_token_id, int) else list(own.eos_token_id or ())
    kept = {
        name: value
        for name in ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")
        if (value := getattr(own, name, None)) is not None
    }
    return GenerationConfig(
        **kept,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted({*ends, tokenizer.eos_token_id}),
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        max_new_tokens=tokens,
        do_sample=False,
        num_beams=1,
    )


def _check_mergeable(run: Path, recipe: Recipe) -> None:
    if recipe.shots.count:
        do = f"keep the run: residency predict {run} shows them"
        raise UserError(f"{run} shows solved examples before each question, which no weights hold", do=do)
    config = PeftConfig.from_pretrained(str(run / "adapter"))
    if config.is_prompt_learning:
        raise UserError(
            f"{run} tuned a soft prompt, which is no weight of the model: nothing can be merged",
            do=f"keep the run: residency predict {run} answers with it; or tune with LoRA and export that",
        )


def _choose_dtype(opened: Opened, tune: Tune) -> Weights:
    """Return the numbers that the base checkpoint is kept in; 16 bits for a run on 4."""
    path = _base_file(opened.loaded.spec.source, "config.json")
    config = json.loads(path.read_text(encoding="utf-8")) if path else {}
    own = DTYPES.get(str(config.get("dtype") or config.get("torch_dtype")), "fp32")
    return "bf16" if tune.quantize and own == "fp32" else own


def _release(opened: Opened, recipe: Recipe, tune: Tune) -> Opened:
    """Let go of a model, then load its base held otherwise."""
    opened.loaded.model = None
    gc.collect()
    return open_base(recipe, tune=tune)


def _reopen(folder: Path, recipe: Recipe, tune: Tune) -> Opened:
    gc.collect()
    return open_base(recipe, str(folder), tune)


def _gather_facts(
    run: Path, recipe: Recipe, merged: Opened, dtype: Weights, compared: Comparison, floor: float
) -> Facts:
    model = merged.loaded.model
    groups = len({sample.group for sample in compared.samples})
    return Facts(
        run=str(run),
        base=recipe.model,
        family=merged.family.name,
        architecture=type(model).__name__,
        dtype=_long(dtype),
        parameters=sum(weight.numel() for weight in model.parameters()),
        trained_at=_tell_held(recipe.tune, again=False),
        compared_on=f"{len(compared.samples)} {compared.split} samples of {groups} groups",
        agreements=(),
        floor=floor,
        neighbours=max(len(sample.context.neighbours) if sample.context else 0 for sample in compared.samples),
    )


def _tell_held(tune: Tune, *, again: bool) -> str:
    parts = f"{tune.quantize} ({', '.join(tune.quantize_parts)})" if tune.quantize else _long(tune.weights)
    return f"{parts}, quantized again" if again else parts


def _long(dtype: Weights) -> str:
    return next(name for name, short in DTYPES.items() if short == dtype)


def _pad_squares(config: dict[str, Any]) -> dict[str, Any]:
    """Let LLaVA's processor pad pictures to squares, as ours did in training, before it cuts them to one."""
    images = {"do_center_crop": False} | config["image_processor"]
    return config | {"image_processor": images | {"image_processor_type": "LlavaImageProcessor", "do_pad": True}}


def _edit_json(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    write_json(path, change(json.loads(path.read_text(encoding="utf-8"))))


def _base_file(source: str, name: str) -> Path | None:
    """Return a file of the base checkpoint, from its folder or the hub's cache; None where it has none."""
    source = SHORT_NAMES.get(source, source)
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return Path(cast(str, found)) if found else None
