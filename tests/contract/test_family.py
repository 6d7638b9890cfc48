"""The contract every family keeps (design.md, "The family interface"), on tiny models of the real architectures."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from residency.config import Lora, Tune
from residency.data.told import read_told
from residency.errors import UserError
from residency.losses import IGNORED, caption_loss
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.family import Answered, Batch, part_of
from residency.models.registry import Opened, open_model
from residency.types import Sample
from tests.contract.tiny import BUILDERS, draw_discs
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.contract.tiny_chat import CHAT_BUILDERS

FULL = Tune(lora=None, train=("vision", "projector", "language"))
ALL_BUILDERS = BUILDERS | CAUSAL_BUILDERS | CHAT_BUILDERS
PROVABLY_STILL = ("k_proj.bias",)  # softmax is blind to a constant added to every key's product
UNREAD = {  # LLaVA reads the tower's last layer but one (vision_feature_layer -2); what comes after it tells nothing
    "llava": (".encoder.layers.1.", ".post_layernorm."),
    "llava_next": (".encoder.layers.1.", ".post_layernorm."),
}
MISNAMED = {"florence2": ("o_proj", "out_proj"), "nano": ("o_proj", "out_proj")}
"""A target that matches nothing, and what is suggested in its place."""


@dataclass
class Case:
    name: str
    folder: Path
    samples: list[Sample]

    def open(self, tune: Tune | None = None) -> Opened:
        opened = open_model(str(self.folder))
        if tune:
            apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, tune), tune, seed=0)
        opened.loaded.model.eval()
        return opened


@pytest.fixture(scope="module", params=sorted(ALL_BUILDERS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    ALL_BUILDERS[request.param](folder / "model")
    return Case(request.param, folder / "model", draw_discs(folder / "images"))


def encode(opened: Opened, samples: list[Sample], with_answers: bool = True) -> Batch:
    return opened.family.encode(opened.loaded, samples, with_answers=with_answers)


def logits_of(opened: Opened, batch: Batch) -> torch.Tensor:
    return opened.family.forward(opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW)).logits_BTV


def summed_loss(opened: Opened, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = encode(opened, samples)
    summed = caption_loss(logits_of(opened, batch), batch.labels_BT)
    return summed.total, summed.count


def fit(opened: Opened, samples: list[Sample], steps: int, rate: float = 3e-3) -> float:
    model = opened.loaded.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        total, count = summed_loss(opened, samples)
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss)


def answers_of(opened: Opened, samples: list[Sample]) -> list[str]:
    batch = encode(opened, samples, with_answers=False)
    with torch.no_grad():
        regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
        return [a.text for a in opened.family.generate(opened.loaded, batch, regions, max_new_tokens=12)]


def test_labels_hold_the_answer_and_its_end_and_nothing_else(case: Case) -> None:
    opened = case.open()
    tokenizer = opened.loaded.processor.tokenizer
    labels_BT = encode(opened, case.samples).labels_BT
    for sample, labels_T in zip(case.samples, labels_BT, strict=True):
        counted = labels_T[labels_T != IGNORED].tolist()
        begin = "<s>" if case.name in BUILDERS else ""  # a decoder alone goes on from the prompt
        told = tokenizer.decode(counted).lstrip()  # SmolVLM's template puts a blank before an answer
        assert told == f"{begin}{sample.suffix}{tokenizer.eos_token}"
        assert counted[-1] == tokenizer.eos_token_id


def test_the_prompt_is_the_same_with_and_without_answers(case: Case) -> None:
    opened = case.open()
    with_answers, without = encode(opened, case.samples), encode(opened, case.samples, with_answers=False)
    assert without.labels_BT is None
    assert torch.equal(with_answers.prompt_BS, without.prompt_BS)
    assert torch.equal(with_answers.prompt_mask_BS, without.prompt_mask_BS)
    assert torch.equal(with_answers.pixels_MCHW, without.pixels_MCHW)


def test_a_loss_does_not_depend_on_the_neighbours(case: Case) -> None:
    opened = case.open()
    opened.loaded.model.train()
    for module in opened.loaded.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    long = case.samples[1].model_copy(update={"prefix": "Which side is bright? " * 4, "suffix": "left side " * 6})
    alone, count = summed_loss(opened, case.samples[:1])
    both = encode(opened, [case.samples[0], long])
    beside = caption_loss(logits_of(opened, both)[:1], both.labels_BT[:1])
    assert beside.count == count
    assert torch.allclose(alone, beside.total, rtol=1e-4)


@pytest.mark.parametrize(
    "tune",
    [Tune(), FULL, Tune(lora=None, train=("projector",)), Tune(lora=Lora(parts=("language",)), train=("vision",))],
    ids=["lora", "full", "selective", "mixed"],
)
def test_only_what_was_planned_moves_and_all_of_it(case: Case, tune: Tune) -> None:
    opened = case.open(tune)
    plan = plan_tuning(opened.family, open_model(str(case.folder)).loaded.model, tune)
    before = {name: tensor.clone() for name, tensor in opened.loaded.model.state_dict().items()}
    fit(opened, case.samples, steps=2)
    moved = {name for name, tensor in opened.loaded.model.state_dict().items() if not torch.equal(tensor, before[name])}
    parameters = {name for name, _ in opened.loaded.model.named_parameters()}
    planned = {
        name
        for name in parameters
        if any(f".{module}.lora_" in name for module in plan.adapted)
        or any(f".{module}.modules_to_save." in name for module in plan.trained)
    }
    still = {
        name
        for name in planned - moved
        if not name.endswith(PROVABLY_STILL) and not any(unread in name for unread in UNREAD.get(case.name, ()))
    }
    assert planned
    assert not moved - planned
    assert not still


def test_a_pattern_that_matches_nothing_is_an_error_that_suggests(case: Case) -> None:
    opened = case.open()
    wrong, right = MISNAMED.get(case.name, ("out_proj", "o_proj"))
    with pytest.raises(UserError, match=right):
        plan_tuning(opened.family, opened.loaded.model, Tune(lora=Lora(targets=(wrong,))))
    with pytest.raises(UserError, match="projector"):
        plan_tuning(opened.family, opened.loaded.model, Tune(lora=None, train=("projectr",)))
    with pytest.raises(UserError, match="trained in full"):
        plan_tuning(opened.family, opened.loaded.model, Tune(train=("language",)))


def test_accumulating_four_by_one_equals_one_by_four(case: Case) -> None:
    gradients = []
    for parts in ([case.samples[:4]], [[sample] for sample in case.samples[:4]]):
        opened = case.open(Tune())
        counts = [summed_loss(opened, part)[1] for part in parts]
        for part in parts:
            (summed_loss(opened, part)[0] / sum(counts)).backward()
        gradients.append({n: p.grad for n, p in opened.loaded.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name


@pytest.mark.parametrize("tune", [Tune(), FULL], ids=["lora", "full"])
def test_saved_and_loaded_and_merged_answer_the_same(case: Case, tune: Tune, tmp_path: Path) -> None:
    opened = case.open(tune)
    fit(opened, case.samples, steps=3)
    batch = encode(opened, case.samples)
    with torch.no_grad():
        expected = logits_of(opened, batch)
        opened.loaded.model.save_pretrained(str(tmp_path))
        again = case.open()
        again.loaded.model = PeftModel.from_pretrained(again.loaded.model, str(tmp_path)).eval()
        assert torch.allclose(logits_of(again, batch), expected, atol=1e-5)
        again.loaded.model = again.loaded.model.merge_and_unload()
        assert torch.allclose(logits_of(again, batch), expected, atol=1e-4)


def test_disabled_adapter_is_the_base_model(case: Case) -> None:
    base = case.open()
    batch = encode(base, case.samples)
    with torch.no_grad():
        expected = logits_of(base, batch)
    opened = case.open(FULL)
    fit(opened, case.samples, steps=2)
    with torch.no_grad(), opened.loaded.model.disable_adapter():
        assert torch.allclose(logits_of(opened, batch), expected, atol=1e-5)


def test_question_and_image_reach_the_model_and_answers_are_learned(case: Case) -> None:
    opened = case.open(FULL)
    fit(opened, case.samples, steps=150, rate=1e-3)
    answers = answers_of(opened, case.samples)
    assert answers == [sample.suffix for sample in case.samples]  # two images, two questions: four answers
    assert len(set(answers)) == 4


def test_every_place_is_told_with_the_likelihood_of_its_own_tokens(case: Case) -> None:
    opened = case.open(FULL)
    sample = case.samples[0].model_copy(update={"suffix": "large disc<loc_102><loc_203><loc_304><loc_405>"})
    fit(opened, [sample], steps=30, rate=3e-3)
    batch = encode(opened, [sample])
    with torch.no_grad():
        regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
        asked = encode(opened, [sample], with_answers=False)
        said = opened.family.generate(opened.loaded, asked, regions, max_new_tokens=60)[0]
        log_TV = logits_of(opened, batch)[0].float().log_softmax(-1)
    assert [told.label for told in read_told(said.text)] == ["large disc"]
    labels_T = batch.labels_BT[0]
    log_T = log_TV.gather(1, labels_T.clamp(min=0).unsqueeze(1)).squeeze(1)
    begin = 1 if case.name in BUILDERS else 0
    own_T = log_T[labels_T != IGNORED][begin:-1]
    assert said.box_scores == (pytest.approx(float(own_T.mean()), abs=1e-3),), "begin and end count for nothing"


def test_candidates_are_scored_as_forward_scores_them(case: Case) -> None:
    """Each sample has its own candidates, as the questions of one image have, and some of them begin alike."""
    opened = case.open()
    texts = ["left side", "a much longer answer", "left side of a disc", "left side of a ring", ""]
    offered = [texts, texts[1:], ["large disc"], texts[::-1]]
    batch = encode(opened, case.samples[:4])
    with torch.no_grad():
        scores = opened.family.score(opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW), offered)
        assert [len(told) for told in scores] == [5, 4, 1, 5]
        for told, sample, own in zip(scores, case.samples[:4], offered, strict=True):
            for score, text in zip(told, own, strict=True):
                total, _ = summed_loss(opened, [sample.model_copy(update={"suffix": text})])
                assert score == pytest.approx(-float(total), abs=1e-3)


@torch.no_grad()
def test_all_questions_at_once_are_answered_as_each_alone(case: Case) -> None:
    """Greedy answers identical, scores within 1e-4 (fp32): whatever is shared, read once or padded changes nothing."""
    opened = case.open()
    longer = case.samples[0].model_copy(update={"prefix": "Which side is bright, and how large is the disc? " * 2})
    samples = [*case.samples[:4], longer]
    offered = [["left side", "right side"], ["small disc", "large disc", "a much longer answer"]] * 2 + [["left side"]]
    answers, scores = _answer(opened, samples, offered)
    for row, sample in enumerate(samples):
        alone, score = _answer(opened, [sample], [offered[row]])
        assert alone[0].text == answers[row].text
        assert alone[0].likelihood == pytest.approx(answers[row].likelihood, abs=1e-5)
        assert torch.allclose(score[0], scores[row], atol=1e-4)


def _answer(
    opened: Opened, samples: list[Sample], offered: list[list[str]]
) -> tuple[list[Answered], list[torch.Tensor]]:
    batch = encode(opened, samples, with_answers=False)
    regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
    generated = opened.family.generate(opened.loaded, batch, regions, max_new_tokens=8)
    return generated, opened.family.score(opened.loaded, batch, regions, offered)


def test_text_embeddings_ignore_padding_and_hold_no_image(case: Case) -> None:
    opened = case.open()
    with torch.no_grad():
        words, pooled = opened.family.embed_text(opened.loaded, ["left side", "right side of a long, long text"])
        _, alone = opened.family.embed_text(opened.loaded, ["left side"])
    assert words.shape[0] == 2
    assert torch.allclose(pooled[0], alone[0], atol=1e-5)


def test_every_trainable_parameter_belongs_to_a_part(case: Case) -> None:
    opened = case.open(FULL)
    for name, parameter in opened.loaded.model.named_parameters():
        if parameter.requires_grad:
            assert part_of(opened.family, name) in ("vision", "projector", "language"), name
