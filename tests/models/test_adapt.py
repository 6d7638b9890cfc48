"""Tuning methods by parts: what a plan chooses and refuses, and what each method computes, on tiny real models."""

import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from residency.config import Lora, Recipe, SoftPrompt, Train, Tune
from residency.errors import MissingExtra, UserError
from residency.losses import caption_loss
from residency.material import Material
from residency.models.adapt import apply_plan, attach_adapter, count_parameters, plan_tuning
from residency.models.family import ModelSpec
from residency.models.llava import Llava
from residency.models.patterns import trained_modules
from residency.models.registry import Opened, open_model
from residency.recipe import load_recipe
from residency.train import RunTrainer
from tests.contract.tiny import BUILDERS, draw_discs
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.contract.tiny_chat import CHAT_BUILDERS

SOFT = Tune(lora=None, train=(), soft_prompt=SoftPrompt(tokens=3))
FOUR_BITS = Tune(lora=Lora(rank=4), train=("projector",), quantize="nf4")


def write_recipe(folder: Path, tune: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"name: tried\ndata: data\n{tune}")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, build in {**BUILDERS, **CAUSAL_BUILDERS, **CHAT_BUILDERS}.items():
        if name in ("nano", "llava", "paligemma", "qwen2.5-vl"):
            build(folder / name)
    return folder


def open_tuned(folder: Path, name: str, tune: Tune) -> Opened:
    opened = open_model(str(folder / name), tune=tune)
    apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, tune), tune, seed=0)
    opened.loaded.model.eval()
    return opened


def logits_of(opened: Opened, samples: list) -> torch.Tensor:
    batch = opened.family.encode(opened.loaded, samples, with_answers=True)
    return opened.family.forward(opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW)).logits_BTV


@pytest.mark.parametrize(
    ("name", "entry", "found"),
    [
        ("llava", "language.layers.-1:", ["layers.1"]),
        ("llava", "language.layers.-1", ["layers.1"]),
        ("llava", "language.layers.:1", ["layers.0"]),
        ("llava", "language.layers", ["layers.0", "layers.1"]),
        ("llava", "language.layers.:2.mlp.*_proj",
         [f"layers.{n}.mlp.{name}_proj" for n in (0, 1) for name in ("gate", "up", "down")]),
        ("nano", "language.*coder.layers.-1", ["encoder.layers.0", "decoder.layers.0"]),
        ("nano", "language.encoder.layers.0.fc1", ["encoder.layers.0.fc1"]),
    ],
)  # fmt: skip
def test_patterns_and_slices_choose_modules(folder: Path, name: str, entry: str, found: list[str]) -> None:
    opened = open_model(str(folder / name))
    prefix = opened.family.parts["language"]
    assert trained_modules(opened.family.parts, opened.loaded.model, entry) == [f"{prefix}.{one}" for one in found]


def test_a_slice_survives_yaml(tmp_path: Path) -> None:
    """`[layers.-2:, projector]` is a mapping without a value to YAML."""
    path = write_recipe(tmp_path, "tune: {lora: null, train: [language.decoder.layers.-2:, projector]}\n")
    assert load_recipe(path).tune.train == ("language.decoder.layers.-2:", "projector")


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        (Tune(lora=None, train=("language.layers.5:",)), "matches no module"),
        (Tune(lora=None, train=("language.layer.0",)), r"model\.language_model\.layers\.0"),
        (Tune(soft_prompt=SoftPrompt()), "lora: null, train: \\[\\]"),
        (Tune(lora=None, train=("language.embed_tokens",)), "come loose"),
        (Tune(lora=None, train=("language.layers.-1",), quantize="nf4"), "4 bits cannot be trained in full"),
        (Tune(lora=None, train=()), "nothing would train"),
    ],
)
def test_what_cannot_be_is_said_before_training(folder: Path, tune: Tune, told: str) -> None:
    opened = open_model(str(folder / "paligemma"), tune=tune)
    with pytest.raises(UserError, match=told):
        plan_tuning(opened.family, opened.loaded.model, tune)


def test_prefix_tuning_is_named_as_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prefix tuning .* tune\.soft_prompt"):
        load_recipe(write_recipe(tmp_path, "tune: {prefix_tuning: {tokens: 4}}\n"))


def test_a_part_without_linear_layers_cannot_be_quantized(folder: Path) -> None:
    with pytest.raises(UserError, match="without linear layers") as error:
        open_model(str(folder / "nano"), tune=Tune(quantize="nf4", quantize_parts=("vision",)))
    assert error.value.allowed == ["language", "projector"]


def test_without_bitsandbytes_the_install_line_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match=r"pip install 'residency\[qlora\]'"):
        open_model(str(folder / "llava"), tune=FOUR_BITS)


def test_layers_inside_torch_attention_are_not_adapted(folder: Path) -> None:
    """torch's attention reads its output layer's weight without calling the layer, so an adapter would do nothing."""
    opened = open_model(str(folder / "paligemma"))
    opened.loaded.model.model.vision_tower.head = nn.MultiheadAttention(64, 2)
    plan = plan_tuning(opened.family, opened.loaded.model, Tune(lora=Lora(parts=("vision",)), train=()))
    assert len(plan.adapted) == 2 * 6
    assert not [name for name in plan.adapted if ".head." in name]


@torch.no_grad()
def test_a_soft_prompt_is_read_as_peft_reads_it(folder: Path, tmp_path: Path) -> None:
    """The same adapter, in plain PEFT over plain transformers: its vectors stand before the whole sequence."""
    opened = open_tuned(folder, "llava", SOFT)
    samples = draw_discs(tmp_path / "images", 2)
    ours = logits_of(opened, samples)
    opened.loaded.model.save_pretrained(str(tmp_path / "adapter"))
    plain = PeftModel.from_pretrained(open_model(str(folder / "llava")).loaded.model, str(tmp_path / "adapter")).eval()
    batch = opened.family.encode(opened.loaded, samples, with_answers=True)
    for row, sample in enumerate(samples):
        ids = batch.prompt_BS[row][batch.prompt_mask_BS[row] == 1][3:]
        answer = batch.labels_BT[row][batch.labels_BT[row] >= 0]
        whole = torch.cat([ids.where(ids >= 0, opened.loaded.core.config.image_token_id), answer]).unsqueeze(0)
        words_1LD = plain.base_model.get_input_embeddings()(whole)
        image = batch.image_of_B[row]
        theirs = plain.base_model(
            inputs_embeds=_with_image(plain, whole, words_1LD, batch.pixels_MCHW[image : image + 1])
        ).logits[0, -len(answer) - 1 : -1]
        assert torch.allclose(ours[row, : len(answer)], theirs, atol=1e-4), sample.id
    with opened.loaded.model.disable_adapter():
        assert opened.loaded.soft_ids == []
        assert torch.allclose(
            logits_of(opened, samples), logits_of(open_model(str(folder / "llava")), samples), atol=1e-5
        )


def _with_image(plain: PeftModel, ids_1L: torch.Tensor, words_1LD: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    regions = plain.base_model.get_image_features(pixels).pooler_output[0]
    places = (ids_1L == plain.base_model.config.image_token_id).unsqueeze(-1).expand_as(words_1LD)
    return torch.cat([plain.get_prompt(1), words_1LD.masked_scatter(places, regions)], 1)


@torch.no_grad()
def test_rows_that_share_an_image_share_its_soft_prompt(folder: Path, tmp_path: Path) -> None:
    opened = open_tuned(folder, "llava", SOFT)
    samples = draw_discs(tmp_path, 2)
    apart = Opened("", Llava(share=False), opened.loaded)
    assert torch.allclose(logits_of(opened, samples), logits_of(apart, samples), atol=1e-4)


@pytest.mark.parametrize("name", ["nano", "llava", "paligemma", "qwen2.5-vl"])
def test_only_the_soft_prompt_learns_and_it_moves_the_answers(folder: Path, name: str, tmp_path: Path) -> None:
    opened, samples = open_tuned(folder, name, SOFT), draw_discs(tmp_path, 1)
    trainable = [name for name, parameter in opened.loaded.model.named_parameters() if parameter.requires_grad]
    assert trainable == ["prompt_encoder.default.embedding.weight"]
    counts = count_parameters(opened.family, opened.loaded.model)
    assert {part: count["trainable"] for part, count in counts.items()} == {
        "vision": 0,
        "projector": 0,
        "language": 3 * 64,
    }
    before = logits_of(opened, samples)
    learned = opened.loaded.model.prompt_encoder["default"].embedding.weight
    before.float().logsumexp(-1).sum().backward()
    assert learned.grad.abs().sum(1).min() > 0
    with torch.no_grad():
        learned.normal_()
    assert not torch.allclose(logits_of(opened, samples), before, atol=1e-3)


def test_gradients_pass_four_bit_weights_after_an_answer(folder: Path, tmp_path: Path) -> None:
    """On CPUs with AVX512-BF16 bitsandbytes packs weights at the first answer, and no gradient came back through."""
    opened, samples = open_tuned(folder, "llava", FOUR_BITS), draw_discs(tmp_path, 1)
    with torch.no_grad():
        logits_of(opened, samples)
    batch = opened.family.encode(opened.loaded, samples, with_answers=True)
    regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
    caption_loss(opened.family.forward(opened.loaded, batch, regions).logits_BTV, batch.labels_BT).total.backward()
    grads = {
        name: p.grad for name, p in opened.loaded.model.named_parameters() if p.requires_grad and ".lora_A." not in name
    }
    assert all(grad is not None and bool(grad.abs().max() > 0) for grad in grads.values())
    linear = opened.loaded.model.get_submodule(
        "base_model.model.model.language_model.layers.0.mlp.down_proj.base_layer"
    )
    assert linear.weight.quant_state.quant_type == "nf4"
    assert linear.weight.quant_state.nested  # the scales are quantized, too
    bare = open_model(str(folder / "llava"))
    counted = count_parameters(bare.family, bare.loaded.model)["language"]["total"]
    assert count_parameters(opened.family, opened.loaded.model)["language"]["total"] == counted


@pytest.mark.parametrize("weights", ["bf16", "fp16"])
def test_full_copies_keep_32_bits_within_16(folder: Path, weights: str, tmp_path: Path) -> None:
    tune = Tune(lora=None, train=("vision", "projector", "language.layers.-1"), weights=weights)
    opened, samples = open_tuned(folder, "llava", tune), draw_discs(tmp_path / "images", 1)
    held = {p.dtype for p in opened.loaded.model.parameters() if not p.requires_grad}
    trained = {name: p for name, p in opened.loaded.model.named_parameters() if p.requires_grad}
    assert held == {ModelSpec("", weights=weights).dtype}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.mul_(1 + 1e-5)  # less than 16 bits can tell
        told = logits_of(opened, samples)
        exact = logits_of(open_model(str(folder / "llava")), samples)
    assert torch.allclose(told.float(), exact, atol=0.3)
    opened.loaded.model.save_pretrained(str(tmp_path / "adapter"))
    again = open_model(str(folder / "llava"), tune=tune)
    attach_adapter(again.loaded, tmp_path / "adapter")
    kept = dict(again.loaded.model.named_parameters())
    assert all(torch.equal(kept[name], parameter) for name, parameter in trained.items())
    with torch.no_grad():
        assert torch.equal(logits_of(again, samples), told)


@pytest.mark.parametrize(
    ("tune", "parts"),
    [
        (Tune(lora=Lora(dora=True, parts=("vision", "language"))), {"vision", "projector", "language"}),
        (SOFT, {"language"}),
    ],
)  # fmt: skip
def test_each_part_has_its_own_learning_rate(folder: Path, tune: Tune, parts: set[str], tmp_path: Path) -> None:
    rates = {"vision": 1e-5, "projector": 1e-4, "language": 0.3}
    settings = Train(part_learning_rates=rates, precision="bf16", epochs=1)
    recipe = Recipe(name="rates", data=tmp_path, model=str(folder / "llava"), tune=tune, train=settings)
    opened, samples = open_tuned(folder, "llava", tune), tuple(draw_discs(tmp_path / "images", 2))
    trainer = RunTrainer(opened, recipe, tmp_path, Material(samples, samples, samples, None))
    groups = trainer.create_optimizer().param_groups
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    named = {name: p for name, p in opened.loaded.model.named_parameters() if p.requires_grad}
    told = {"vision_tower": "vision", "multi_modal_projector": "projector"}
    for name, parameter in named.items():
        part = next((part for word, part in told.items() if word in name), "language")
        assert rate_of[id(parameter)] == rates[part], name
    assert {rates[part] for part in parts} == set(rate_of.values())
    assert len(rate_of) == len(named)


def test_the_precision_of_the_recipe_is_computed_in(folder: Path, tmp_path: Path) -> None:
    tune, samples = Tune(), tuple(draw_discs(tmp_path / "images", 2))
    opened, losses = open_tuned(folder, "llava", tune), []
    for precision in ("fp32", "bf16"):
        recipe = Recipe(name="bf16", data=tmp_path, model="llava", train=Train(precision=precision, augment="none"))
        trainer = RunTrainer(opened, recipe, tmp_path, Material(samples, samples, samples, None))
        trainer.model.eval()
        inputs = trainer._encode_draws([(sample, 0) for sample in samples])
        with trainer.compute_loss_context_manager():
            losses.append(float(trainer.compute_loss(trainer.model, inputs)))
            assert trainer.model.lm_head(torch.zeros(1, 64)).dtype == ModelSpec("", weights=precision).dtype
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
