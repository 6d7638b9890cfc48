"""Faults that others fell into (docs/faults.md): the installed command, the trainer and the preflight against each."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from residency.config import Lora, Recipe, Tune
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.errors import UserError
from residency.losses import IGNORED, caption_loss
from residency.material import gather_material
from residency.models.adapt import apply_plan, attach_adapter, plan_tuning
from residency.models.family import Batch
from residency.models.registry import Opened, open_model, open_run
from residency.preflight import run_preflight
from residency.recipe import known_keys, load_recipe
from residency.trainer import RunTrainer
from residency.types import Fold, Sample, Splits
from tests.contract.tiny import BUILDERS
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.contract.tiny_chat import CHAT_BUILDERS
from tests.curves import read_metrics
from tests.discs import QUESTIONNAIRE, build_bench, cut_groups, disc_samples
from tests.documents import ROOT
from tests.run_command import call_residency, run_residency

ALL_BUILDERS = BUILDERS | CAUSAL_BUILDERS | CHAT_BUILDERS
FEW = ("llava", "nano", "smolvlm")
"""One family of each kind: a decoder alone, an encoder and a decoder, a chat template."""
SOON = {"train.epochs": 2, "train.batch_size": 8}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bench(tmp_path_factory.mktemp("faults"), images=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build a family's tiny model once; return its folder."""
    folder = tmp_path_factory.mktemp("models")

    def build(name: str) -> Path:
        if not (folder / name).is_dir():
            ALL_BUILDERS[name](folder / name)
            hold_less(folder / name / "config.json")
        return folder / name

    return build


def hold_less(path: Path) -> None:
    """Let a decoder with rotary positions hold 512 tokens, so that a text that is too long is not long to read."""
    config = json.loads(path.read_text())
    if config["text_config"].get("max_position_embeddings", 0) > 1024:
        config["text_config"]["max_position_embeddings"] = 512
        path.write_text(json.dumps(config))


def copied(folder: Path, samples: tuple[Sample, ...], splits: Splits | None = None) -> Path:
    write_dataset(Dataset(folder / "data", samples, QUESTIONNAIRE, splits or cut_groups(samples)))
    return folder / "data"


def set_trainer(bench: Path, model: Path, out: Path, **named: Any) -> RunTrainer:
    """Return the trainer that `residency train` would run."""
    values = yaml.safe_load((bench / "recipe.yaml").read_text()) | {"model": str(model), "out": str(out)}
    values["tune"] = {"lora": {"rank": 4}, "train": ["projector"]} | named.pop("tune", {})
    values["train"] |= {"epochs": 1, "batch_size": 8} | named
    recipe = Recipe.model_validate(values)
    opened = open_model(str(model), tune=recipe.tune)
    apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, recipe.tune), recipe.tune, seed=0)
    return RunTrainer(opened, recipe, out, gather_material(recipe, load_dataset(recipe.data), 0))


# Truncation that cut image tokens, or the answer


@pytest.mark.parametrize("name", sorted(ALL_BUILDERS))
def test_a_text_that_is_too_long_is_an_error_with_the_length_needed(
    name: str, models: Callable[[str], Path], tmp_path: Path, bench: Path
) -> None:
    opened = open_model(str(models(name)))
    samples = disc_samples(tmp_path / "images", 12)
    limit = longest(opened)
    long = samples[2].model_copy(update={"suffix": "left side " * limit, "answer": "left side"})
    asked = samples[3].model_copy(update={"prefix": "Which side is bright? " * limit})
    data = copied(tmp_path, (*samples[:2], long, asked, *samples[4:]))
    code, _, told = run_residency(
        "train", bench / "recipe.yaml", f"model={models(name)}", f"data={data}", f"out={tmp_path}"
    )
    assert code == 1
    assert "check failed: lengths: 2 problem(s)" in told
    for sample in (long, asked):
        (needed,) = re.findall(rf"{re.escape(sample.id)} (?:is|are) (\d+) tokens long.*the model holds {limit}", told)
        assert int(needed) == count_tokens(opened, sample)
        with pytest.raises(UserError, match=f"{needed} tokens long"):
            opened.family.encode(opened.loaded, [sample], with_answers=True)
    assert not (tmp_path / "discs" / "adapter").exists()


def longest(opened: Opened) -> int:
    return int(opened.loaded.core.config.get_text_config().max_position_embeddings)


def count_tokens(opened: Opened, sample: Sample) -> int:
    """Count by a model that says it holds anything: what stands in the sequence that would be too long."""
    config = opened.loaded.core.config.get_text_config()
    held, config.max_position_embeddings = config.max_position_embeddings, 10**6
    try:
        batch = opened.family.encode(opened.loaded, [sample], with_answers=True)
    finally:
        config.max_position_embeddings = held
    assert batch.labels_BT is not None
    prompt, answer = int(batch.prompt_mask_BS.sum()), int((batch.labels_BT != IGNORED).sum())
    if opened.family.name in ("florence2", "nano"):  # prompt and answer lie in two sequences
        return max(prompt, answer)
    return prompt + answer


@pytest.mark.parametrize("name", sorted(ALL_BUILDERS))
def test_a_tokenizer_that_cuts_by_itself_cuts_nothing_here(
    name: str, models: Callable[[str], Path], bench: Path
) -> None:
    opened = open_model(str(models(name)))
    samples = gather_material(load_recipe(bench / "recipe.yaml"), load_dataset(bench / "data"), 0).train[:2]
    whole = opened.family.encode(opened.loaded, samples, with_answers=True)
    tokenizer = opened.loaded.processor.tokenizer
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.model_max_length = 4
    again = opened.family.encode(opened.loaded, samples, with_answers=True)
    assert torch.equal(again.prompt_BS, whole.prompt_BS)
    assert again.labels_BT is not None
    assert torch.equal(again.labels_BT, whole.labels_BT)


@pytest.mark.parametrize("name", ["florence2", "nano"])
def test_a_processor_that_leaves_room_for_other_regions_is_refused(name: str, tmp_path: Path) -> None:
    """Fewer places than regions would cut the question; more would read image tokens as words."""
    ALL_BUILDERS[name](tmp_path)
    path = tmp_path / "processor_config.json"
    written = path.read_text()
    assert '"image_seq_length": 5' in written
    path.write_text(written.replace('"image_seq_length": 5', '"image_seq_length": 9'))
    with pytest.raises(UserError, match="gives 5 regions, the processor leaves room for 9"):
        open_model(str(tmp_path))


# Keys that nobody reads


def test_every_misspelled_key_is_refused(bench: Path) -> None:
    for key in known_keys():
        with pytest.raises(UserError) as told:
            load_recipe(bench / "recipe.yaml", [f"{key}_=1"])
        assert f"unknown key `{key}_`" in str(told.value), key


def test_a_misspelled_quantization_is_refused_with_the_nearest_key(bench: Path, tmp_path: Path) -> None:
    for wrong, right in (("tune.quantise=nf4", "tune.quantize"), ("tune.load_in_4bit=true", "unknown key")):
        code, _, told = run_residency("train", bench / "recipe.yaml", wrong, f"out={tmp_path}")
        assert code == 2
        assert right in told


# A freeze that froze nothing; a collator that dropped the question


@pytest.mark.parametrize("name", FEW)
def test_a_training_moves_what_is_planned_alone_and_its_batches_hold_their_questions(
    name: str, models: Callable[[str], Path], bench: Path, tmp_path: Path
) -> None:
    """The real trainer, in training mode (running statistics move there), with weight decay."""
    trainer = set_trainer(bench, models(name), tmp_path, weight_decay=0.1, learning_rate=5e-3)
    model, tokenizer = trainer.opened.loaded.model, trainer.opened.loaded.processor.tokenizer
    for inputs in trainer.get_train_dataloader():
        for row, sample in enumerate(inputs["samples"]):
            prompt = inputs["prompt_BS"][row][inputs["prompt_mask_BS"][row] == 1]
            answer = inputs["labels"][row][inputs["labels"][row] != IGNORED]
            assert sample.prefix in tokenizer.decode(prompt[prompt >= 0])
            assert sample.suffix in tokenizer.decode(answer)
            assert answer.tolist().count(tokenizer.eos_token_id) == 1  # which may be the padding, too
    before, trains = copy.deepcopy(model.state_dict()), {key for key, _ in model.named_parameters()}
    trainer.train()
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    planned = {key for key in before if ".lora_" in key or ".modules_to_save." in key}
    assert moved
    assert not moved - planned
    assert not {key for key in (planned - moved) & trains if not key.endswith("k_proj.bias")}


# The preflight, on families that have each fault


class Faulty:
    """A family with some of its methods replaced."""

    def __init__(self, family: Any, **replaced: Any) -> None:
        self._family, self._replaced = family, replaced

    def __getattr__(self, name: str) -> Any:
        if name in self._replaced:
            return lambda *given, **named: self._replaced[name](self._family, *given, **named)
        return getattr(self._family, name)


def pad_labels(family: Any, loaded: Any, samples: Any, **named: Any) -> Batch:
    batch = family.encode(loaded, samples, **named)
    if batch.labels_BT is None:
        return batch
    ended = torch.nn.functional.pad(batch.labels_BT, (0, 3), value=IGNORED)
    return replace(batch, labels_BT=ended.masked_fill(ended == IGNORED, loaded.processor.tokenizer.eos_token_id))


def learn_prompt(family: Any, loaded: Any, samples: Any, **named: Any) -> Batch:
    batch = family.encode(loaded, samples, **named)
    words = batch.prompt_BS[:, -4:].clamp(min=0)
    return replace(batch, labels_BT=torch.cat([words, batch.labels_BT], 1))


def cut_ends(family: Any, loaded: Any, samples: Any, **named: Any) -> Batch:
    batch = family.encode(loaded, samples, **named)
    end = loaded.processor.tokenizer.eos_token_id
    return replace(batch, labels_BT=batch.labels_BT.masked_fill(batch.labels_BT == end, IGNORED))


def drop_question(family: Any, loaded: Any, samples: Any, **named: Any) -> Batch:
    return family.encode(loaded, [sample.model_copy(update={"prefix": "Answer."}) for sample in samples], **named)


def drop_image(family: Any, loaded: Any, pixels: torch.Tensor) -> torch.Tensor:
    return family.see(loaded, torch.ones_like(pixels))


def cut_gradient(family: Any, loaded: Any, pixels: torch.Tensor) -> torch.Tensor:
    return family.see(loaded, pixels).detach()


def move_frozen(family: Any, loaded: Any, batch: Batch, regions: torch.Tensor) -> Any:
    frozen = next(parameter for parameter in loaded.model.parameters() if not parameter.requires_grad)
    frozen.data += 1e-3
    return family.forward(loaded, batch, regions)


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "padding is learned": ("labels", {"encode": pad_labels}),
    "the prompt is learned": ("labels", {"encode": learn_prompt}),
    "the end is not learned": ("labels", {"encode": cut_ends}),
    "the question is dropped": ("reach", {"encode": drop_question}),
    "the image is dropped": ("reach", {"see": drop_image}),
    "what is frozen moves": ("moved", {"forward": move_frozen}),
    "what trains gets no gradient": ("moved", {"see": cut_gradient}),
}


@pytest.mark.parametrize("name", FEW)
def test_the_preflight_names_each_fault(name: str, models: Callable[[str], Path], bench: Path, tmp_path: Path) -> None:
    trainer = set_trainer(bench, models(name), tmp_path)
    opened, recipe, material = trainer.opened, trainer.recipe, trainer.material
    sound = run_preflight(opened, recipe, material.train, material.val)
    assert [check.name for check in sound.checks if not check.passed] == []
    for fault, (check_name, methods) in BROKEN.items():
        broken = replace(opened, family=Faulty(opened.family, **methods))  # type: ignore[arg-type]
        told = run_preflight(broken, recipe, material.train, material.val)
        assert check_name in [check.name for check in told.checks if not check.passed], fault


# Adapters in the tower that come back, or not


@pytest.mark.parametrize("name", sorted(ALL_BUILDERS.keys() - {"nano"}))  # nano's tower is all convolutions
def test_an_adapter_in_the_tower_comes_back_or_is_refused(
    name: str, models: Callable[[str], Path], bench: Path, tmp_path: Path
) -> None:
    """PEFT only warns of weights that find no place, and goes on without them."""
    base, opened = open_model(str(models(name))), open_model(str(models(name)))
    tune = Tune(lora=Lora(rank=4, parts=("vision",)), train=())
    apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, tune), tune, seed=0)
    for parameter in (p for key, p in opened.loaded.model.named_parameters() if ".lora_B." in key):
        torch.nn.init.normal_(parameter, std=0.1)
    opened.loaded.model.save_pretrained(str(tmp_path))
    again = open_model(str(models(name)))
    attach_adapter(again.loaded, tmp_path)
    samples = gather_material(load_recipe(bench / "recipe.yaml"), load_dataset(bench / "data"), 0).train[:2]
    seen = []
    for one in (base, opened, again):
        one.loaded.model.eval()
        batch = one.family.encode(one.loaded, samples, with_answers=False)
        with torch.no_grad():
            seen.append(one.family.see(one.loaded, batch.pixels_MCHW))
    assert not torch.allclose(seen[1], seen[0], atol=1e-2)
    assert torch.allclose(seen[2], seen[1], atol=1e-5)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    elsewhere = {re.sub(r"\.layers?\.|\.blocks\.", ".places.", key): tensor for key, tensor in weights.items()}
    assert elsewhere.keys() != weights.keys()
    for changed in (elsewhere, dict(list(weights.items())[1:])):
        save_file(changed, tmp_path / "adapter_model.safetensors")
        with pytest.raises(ValueError, match="have no place or are missing"):
            attach_adapter(open_model(str(models(name))).loaded, tmp_path)


# Figures by batch; the best epoch; the test split; accumulation


@pytest.fixture(scope="module")
def short(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is trained and examined, in batches of eight images."""
    out = tmp_path_factory.mktemp("short")
    trained(bench, out)
    return out / "discs"


def trained(bench: Path, out: Path, *overrides: str) -> Path:
    soon = [f"{key}={value}" for key, value in SOON.items()]
    assert call_residency("train", bench / "recipe.yaml", f"out={out}", *soon, *overrides) == 0
    return out / "discs"


def test_figures_do_not_depend_on_how_samples_are_batched(bench: Path, short: Path, tmp_path: Path) -> None:
    """A mean of batches' means weighs a short last batch, and a batch of short answers, too much."""
    one_by_one = trained(bench, tmp_path, "predict.batch_images=1")
    figures = [
        [value for line in read_metrics(run) for name, value in line.items() if name.startswith("val_")]
        for run in (short, one_by_one)
    ]
    assert len(figures[0]) >= 4
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    answers = [
        [json.loads(line)["prediction"] for line in (run / "predictions" / "test.own.jsonl").read_text().splitlines()]
        for run in (short, one_by_one)
    ]
    assert answers[0] == answers[1]


def test_the_test_split_steers_nothing(bench: Path, short: Path, tmp_path: Path) -> None:
    """With every answer of the test split turned round, the same epochs are trained and the same weights kept."""
    dataset = load_dataset(bench / "data")
    held = {sample.id for sample in dataset.split("test")}
    turned = {"left side": "right side", "right side": "left side"}
    turned |= {"small disc": "large disc", "large disc": "small disc"}
    samples = tuple(
        sample.model_copy(update={"suffix": turned[str(sample.suffix)], "answer": turned[str(sample.suffix)]})
        if sample.id in held
        else sample
        for sample in dataset.samples
    )
    assert held
    run = trained(bench, tmp_path, f"data={copied(tmp_path, samples, dataset.splits)}")
    timeless = [
        {k: v for k, v in line.items() if "runtime" not in k and "per_second" not in k} for line in read_metrics(run)
    ]
    kept = [
        {k: v for k, v in line.items() if "runtime" not in k and "per_second" not in k} for line in read_metrics(short)
    ]
    assert timeless == kept
    weights = "adapter/adapter_model.safetensors"
    assert (run / weights).read_bytes() == (short / weights).read_bytes()


def test_the_best_epoch_is_kept_and_no_number_of_epochs_is_guessed(bench: Path, tmp_path: Path) -> None:
    run = trained(bench, tmp_path, "train.epochs=30", "train.patience=2", "train.learning_rate=3e-3")
    scored = [line for line in read_metrics(run) if "val_score" in line]
    best = max(scored, key=lambda line: line["val_score"])
    assert len(scored) == scored.index(best) + 3 < 30
    recipe, opened = open_run(run)
    rows = gather_material(recipe, load_dataset(recipe.data), 0).val
    with torch.no_grad():
        batch = opened.family.encode(opened.loaded, rows, with_answers=True)
        seen = opened.family.see(opened.loaded, batch.pixels_MCHW)
        logits = opened.family.forward(opened.loaded, batch, seen).logits_BTV
    assert batch.labels_BT is not None
    loss = float(caption_loss(logits, batch.labels_BT).mean())
    assert loss == pytest.approx(best["val_loss"], abs=1e-4)
    assert loss != pytest.approx(scored[-1]["val_loss"], abs=1e-4)


def test_accumulated_batches_train_as_one(bench: Path, models: Callable[[str], Path], tmp_path: Path) -> None:
    """Losses weigh by token over the whole accumulated batch; a mean of means would not."""
    runs = []
    for size, steps in ((8, 1), (2, 4)):
        trainer = set_trainer(
            bench, models("llava"), tmp_path / str(size), batch_size=size, accumulate=steps, augment="none",
            tune={"lora": {"rank": 4, "dropout": 0.0}},
        )  # fmt: skip
        trainer.train()
        runs.append([line["loss"] for line in read_metrics(tmp_path / str(size)) if "loss" in line])
    assert len(runs[0]) > 1
    assert runs[0] == pytest.approx(runs[1], rel=1e-3)


# Images of the test split that stand in train, too


def test_nothing_that_is_trained_on_is_examined(bench: Path, tmp_path: Path) -> None:
    samples = disc_samples(tmp_path / "images", 12)
    fold = cut_groups(samples).folds[0]
    held = next(sample for sample in samples if sample.group == fold.test[0])
    seen = next(sample for sample in samples if sample.group == fold.train[0])
    copy_path = tmp_path / "images" / "copy.png"
    copy_path.write_bytes(Path(held.image).read_bytes())
    as_copy = seen.model_copy(update={"id": "copy", "image": str(copy_path), "sha256": None})
    same_image = seen.model_copy(update={"id": "same", "image": held.image, "sha256": held.sha256})
    both = Splits(seed=0, method="by hand", folds=(Fold(train=fold.train, val=fold.val, test=(*fold.test, *fold.val)),))
    patients = tuple(s.model_copy(update={"attributes": {"patient": "P1"}}) for s in samples)
    for number, (rows, splits, word) in enumerate(
        (
            ((*samples, as_copy), None, "file"),
            ((*samples, same_image), None, "image"),
            (samples, both, "group"),
            (patients, None, "patient"),
        )
    ):
        out = tmp_path / str(number)
        data = copied(out, rows, splits)
        code, _, told = run_residency("train", bench / "recipe.yaml", f"data={data}", f"out={out}")
        assert code == 1, word
        assert "check failed: apart" in told
        assert f"{word} `" in told
        assert "do:" in told
        assert not (out / "discs").exists()


def test_pictures_differ(bench: Path) -> None:
    """The bench itself holds no copy: else the test above could not fail."""
    pictures = [np.asarray(Image.open(path)) for path in sorted((bench / "images").glob("*.png"))]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 12


def test_every_test_named_in_the_page_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    lost = [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert not lost
