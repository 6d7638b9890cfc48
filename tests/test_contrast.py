"""The contrastive loss: each level against numpy, what must not matter, what it may move, and a run cut off by it."""

import json
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from residency.config import Contrastive, Lora, Recipe, Train, Tune
from residency.contrast import Contrast, ContrastiveHeads, Views, find_contrast_faults, match_facts
from residency.data.facts import Facts
from residency.errors import CheckFailed
from residency.folder import last_checkpoint
from residency.losses import class_loss, match_loss, region_scores
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.registry import Opened, open_model
from residency.recipe import load_recipe
from residency.train import train_run
from residency.types import Sample
from tests.contract.tiny import BUILDERS, draw_discs
from tests.curves import read_curve, read_metrics, wait_for_step
from tests.discs import build_bench
from tests.test_train import command, environment

D, DIM = 6, 4


def make_sample(image: str, question: str, answer: str, category: str | None = None) -> Sample:
    return Sample(
        id=f"{image}-{question}-{answer}",
        image=image,
        prefix=f"{question}?",
        suffix=answer,
        group=image,
        category=category,
        question=question,
        answer=answer,
    )


SHEET = [
    make_sample("a", "plane", "femur", "femur"),
    make_sample("a", "quality", "good", "femur"),
    make_sample("b", "plane", "femur", "femur"),
    make_sample("b", "quality", "poor", "femur"),
    make_sample("c", "plane", "thorax", "thorax"),
    make_sample("c", "quality", "good", "thorax"),
    make_sample("d", "plane", "thorax", "thorax"),
]


def make_views(facts: Facts, samples: list[Sample], seed: int = 0) -> Views:
    """Random states in the place of a model's, beside the true facts."""
    opened = SimpleNamespace(loaded=SimpleNamespace(core=torch.nn.Linear(1, 1), device=torch.device("cpu")))
    opened.loaded.core.get_input_embeddings = lambda: torch.nn.Embedding(1, D)
    contrast = Contrast(Contrastive(image=False, region=False), opened, SHEET, seed=0)  # type: ignore[arg-type]
    images = len({sample.image for sample in samples})
    rng = torch.Generator().manual_seed(seed)
    image_of = list(dict.fromkeys(sample.image for sample in samples))
    regions, pooled = torch.randn(images, 5, D, generator=rng), torch.randn(images, D, generator=rng)
    views = contrast.view(samples, regions, pooled[[image_of.index(sample.image) for sample in samples]])
    return Views(
        **vars(views)
        | {
            "answers_KD": torch.randn(views.member_MK.shape[1], D, generator=rng),
            "reports_MD": torch.randn(images, D, generator=rng),
        }
    )


def nce(scores: np.ndarray, positive: np.ndarray, known: np.ndarray) -> list[float]:
    """Anchor by anchor, minus the log of the positives' share."""
    found = []
    for row, right, there in zip(scores.tolist(), positive.tolist(), known.tolist(), strict=True):
        if any(right):
            every = sum(np.exp(s) for s, k in zip(row, there, strict=True) if k)
            found.append(float(-np.log(sum(np.exp(s) for s, p in zip(row, right, strict=True) if p) / every)))
    return found


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def project(heads: ContrastiveHeads, name: str, states: torch.Tensor) -> np.ndarray:
    layer = heads.projections[name]
    return states.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


# --- the functions


def test_match_loss_is_the_share_of_the_positives() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.3
    known = positive | (rng.random((5, 7)) < 0.6)
    positive[3], known[3, 0] = False, True
    summed = match_loss(*map(torch.from_numpy, (scores, positive, known)))
    expected = nce(scores, positive, known)
    assert int(summed.count) == len(expected) < 5
    assert float(summed.total) == pytest.approx(sum(expected), rel=1e-5)


def test_match_loss_with_one_positive_is_clip() -> None:
    scores, every = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(4, 4, dtype=torch.bool)
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(4))
    assert float(match_loss(scores, torch.eye(4, dtype=torch.bool), every).mean()) == pytest.approx(float(expected))


def test_what_is_all_positive_is_not_pushed_anywhere() -> None:
    scores = torch.randn(3, 4, requires_grad=True)
    every = torch.ones(3, 4, dtype=torch.bool)
    summed = match_loss(scores, every, every)
    summed.total.backward()
    assert float(summed.total.detach()) == pytest.approx(0, abs=1e-6)
    assert float(scores.grad.abs().max()) < 1e-6
    other = match_loss(scores, torch.eye(3, 4, dtype=torch.bool), every)
    assert float(other.total.detach()) > 0.1


def test_no_anchor_gives_zero_that_can_be_trained_on() -> None:
    scores, none = torch.randn(2, 2, requires_grad=True), torch.zeros(2, 2, dtype=torch.bool)
    for loss in (match_loss, class_loss):
        mean = loss(scores, none, none).mean()
        mean.backward()
        assert float(mean.detach()) == 0
    assert not scores.grad.any()


def test_class_loss_is_supcon() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(6, 6)), np.array([0, 0, 1, 1, 1, 2])
    compared = ~np.eye(6, dtype=bool)
    positive = (labels[:, None] == labels) & compared
    expected = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        alike = [j for j in others if labels[j] == labels[i]]
        norm = np.log(sum(np.exp(scores[i, j]) for j in others))
        expected += float(np.mean([norm - scores[i, j] for j in alike])) if alike else 0.0
    summed = class_loss(*map(torch.from_numpy, (scores, positive, compared)))
    assert int(summed.count) == 5
    assert float(summed.total) == pytest.approx(expected, rel=1e-5)


def test_class_loss_of_equal_states_is_the_log_of_their_number() -> None:
    compared = ~torch.eye(5, dtype=torch.bool)
    assert float(class_loss(torch.ones(5, 5), compared, compared).mean()) == pytest.approx(np.log(4))


def region_reference(answers: np.ndarray, regions: np.ndarray, member: np.ndarray) -> np.ndarray:
    scores = np.zeros((len(member), len(regions)))
    for t, m in np.ndindex(*scores.shape):
        pooled = []
        for answer in answers[member[t]]:
            weights = np.exp(regions[m] @ answer / (1 / 4))
            context = (weights / weights.sum()) @ regions[m]
            pooled.append(np.exp(5 * context @ answer / np.linalg.norm(context) / np.linalg.norm(answer)))
        scores[t, m] = 10 * np.log(np.mean(pooled)) / 5
    return scores


def test_region_scores_are_glorias_and_know_no_order() -> None:
    rng = np.random.default_rng(2)
    answers, regions = unit(rng.normal(size=(3, DIM))), unit(rng.normal(size=(2, 5, DIM)))
    member = np.array([[True, True, False], [False, True, True]])
    scores = region_scores(*map(torch.from_numpy, (answers, regions, member)))
    assert np.allclose(scores, region_reference(answers, regions, member), rtol=1e-5)
    mixed = region_scores(*map(torch.from_numpy, (answers[[2, 0, 1]], regions[:, ::-1].copy(), member[:, [2, 0, 1]])))
    assert np.allclose(scores, mixed, rtol=1e-6)


def test_what_a_text_says_is_true_false_or_unknown_of_an_image() -> None:
    facts = Facts(SHEET)
    seen = torch.from_numpy(facts.pad([facts.of_image[image] for image in "abcd"]))
    numbers = {sample.id: facts.fact_of(sample) for sample in SHEET}
    told = torch.from_numpy(
        facts.pad([[numbers["a-plane-femur"]], [numbers["c-plane-thorax"], numbers["c-quality-good"]], []])
    )
    right, known = match_facts(told, seen, torch.from_numpy(facts.question_of))
    assert right.tolist() == [[True, True, False, False], [False, False, True, False], [False] * 4]
    assert known.tolist() == [[True] * 4, [True, True, True, False], [False] * 4]  # d's quality was not asked


# --- facts


def test_equal_answers_are_one_fact_and_other_questions_another() -> None:
    first = make_sample("a", "q1", "x").model_copy(update={"answer": ("liver", "stomach")})
    turned = make_sample("b", "q1", "y").model_copy(update={"answer": ("stomach", "liver")})
    plain = make_sample("b", "q2", "Yes  SIR").model_copy(update={"answer": None})
    again = make_sample("a", "q2", "yes sir").model_copy(update={"answer": None})
    facts = Facts([first, turned, plain, again, make_sample("a", "q2", "no"), make_sample("a", "q3", "no")])
    assert facts.fact_of(first) == facts.fact_of(turned) != facts.fact_of(plain) == facts.fact_of(again)
    assert len(facts.of_image["a"]) == 4  # two annotators answered q2: both hold
    assert facts.words_of(make_sample("a", "q3", "no")) == "q3? no"  # else the same words would be right and wrong
    assert facts.words_of(first) == "x"


def test_a_report_holds_each_answer_once_in_the_questions_order() -> None:
    facts = Facts(SHEET)
    assert facts.report_of([SHEET[1], SHEET[0], SHEET[1]]) == "femur; good"


def test_location_tokens_are_not_compared() -> None:
    """Augmentation moves what they point at."""
    boxed = make_sample("a", "od", "liver<loc_1><loc_2><loc_3><loc_4>").model_copy(update={"answer": None})
    moved = make_sample("a", "od", "liver<loc_9><loc_2><loc_3><loc_4>").model_copy(update={"answer": None})
    facts = Facts([boxed])
    assert facts.words_of(moved) == "liver"
    assert facts.fact_of(moved) == facts.fact_of(boxed)


# --- the heads


def test_image_level_with_its_queue_is_symmetric_infonce() -> None:
    facts, settings = Facts(SHEET), Contrastive(region=False, classes=False, queue=3, dim=DIM, temperature=0.2)
    heads = ContrastiveHeads(settings, facts, D, seed=0)
    old, new = make_views(facts, SHEET[4:], seed=1), make_views(facts, SHEET[:4], seed=2)
    heads.remember(old)
    images = unit(project(heads, "image", torch.cat([new.pooled_MD, old.pooled_MD])))
    texts = unit(project(heads, "report", torch.cat([new.reports_MD, old.reports_MD])))
    scores = images @ texts.T / 0.2
    # rows: images a, b, c, d; columns: their reports. Reports tell all that is known; d's tells its plane alone.
    right = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    known = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1]], bool)
    expected = nce(scores[:2], right[:2], known[:2]) + nce(scores.T[:2], right.T[:2], known.T[:2])
    summed = heads(new)["image"]
    assert int(summed.count) == 4
    assert float(summed.total.detach()) == pytest.approx(sum(expected), rel=1e-4)


def test_region_level_is_symmetric_over_the_batch() -> None:
    facts = Facts(SHEET)
    heads = ContrastiveHeads(Contrastive(image=False, classes=False, dim=DIM), facts, D, seed=0)
    views = make_views(facts, SHEET[:6])
    answers, regions = project(heads, "answer", views.answers_KD), project(heads, "region", views.regions_MND)
    scores = region_reference(unit(answers), unit(regions), views.member_MK.numpy())
    right, known = np.eye(3, dtype=bool), np.ones((3, 3), bool)
    expected = nce(scores, right, known) + nce(scores.T, right, known)
    assert float(heads(views)["region"].total.detach()) == pytest.approx(sum(expected), rel=1e-4)


def test_class_level_compares_by_question_with_its_queue() -> None:
    facts, settings = Facts(SHEET), Contrastive(image=False, region=False, queue=2, dim=DIM, temperature=0.3)
    heads = ContrastiveHeads(settings, facts, D, seed=0)
    torch.nn.init.normal_(heads.mask_QE)
    old, new = make_views(facts, SHEET[4:], seed=1), make_views(facts, SHEET[:4], seed=2)
    heads.remember(old)
    states = project(heads, "classes", torch.cat([new.pooled_MD, old.pooled_MD]))
    sheets = [
        {"category": "femur", "plane": "femur", "quality": "good"},
        {"category": "femur", "plane": "femur", "quality": "poor"},
        {"category": "thorax", "plane": "thorax", "quality": "good"},
        {"category": "thorax", "plane": "thorax"},
    ]
    total, count = 0.0, 0
    for number, question in enumerate(("category", "plane", "quality")):
        masked = unit(states * heads.mask_QE[number].detach().numpy())
        for i in range(2):
            others = [j for j in range(4) if j != i and question in sheets[j]]
            alike = [j for j in others if sheets[j][question] == sheets[i][question]]
            scores = masked @ masked[i] / 0.3
            if alike:
                norm = np.log(np.exp(scores[others]).sum())
                total, count = total + float(norm - scores[alike].mean()), count + 1
    summed = heads(new)["classes"]
    assert int(summed.count) == count == 5
    assert float(summed.total.detach()) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("on", ["image", "region", "classes"])
def test_each_level_stands_alone(on: str) -> None:
    facts = Facts(SHEET)
    views = make_views(facts, SHEET[:6])
    settings = Contrastive(**{level: level == on for level in ("image", "region", "classes")}, dim=DIM)
    every = ContrastiveHeads(Contrastive(dim=DIM), facts, D, seed=0)
    alone = ContrastiveHeads(settings, facts, D, seed=0)
    alone.load_state_dict(every.state_dict(), strict=False)
    assert list(alone(views)) == [on]
    with torch.no_grad():
        assert float(alone(views)[on].total) == pytest.approx(float(every(views)[on].total))


def test_the_queue_is_detached_newest_first_bounded_and_empty_at_first() -> None:
    facts = Facts(SHEET)
    heads = ContrastiveHeads(Contrastive(queue=5, dim=DIM), facts, D, seed=0)
    without = ContrastiveHeads(Contrastive(queue=0, dim=DIM), facts, D, seed=0)
    first, second = make_views(facts, SHEET, seed=1), make_views(facts, SHEET, seed=2)
    for level, summed in heads(first).items():
        assert float(summed.total.detach()) == pytest.approx(float(without(first)[level].total.detach())), level
    first.pooled_MD.requires_grad_()
    heads.remember(first)
    heads.remember(second)
    without.remember(second)
    assert not heads.image_queue.requires_grad
    assert heads.image_queue.shape == (5, DIM)
    newest = project(heads, "image", second.pooled_MD)
    assert np.allclose(heads.image_queue[:4], newest, atol=1e-6)
    assert heads.report_facts[4].tolist() == first.told_MW[0].tolist()
    sum(summed.total for summed in heads(second).values()).backward()
    assert first.pooled_MD.grad is None
    assert all(p.grad is not None for p in heads.parameters())


# --- with a model


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    folder = tmp_path_factory.mktemp(request.param)
    BUILDERS[request.param](folder / "model")
    return folder / "model", draw_discs(folder / "images")


def open_tuned(folder: Path, tune: Tune) -> Opened:
    opened = open_model(str(folder))
    apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, tune), tune, seed=0)
    opened.loaded.model.eval()
    return opened


def batch_losses(opened: Opened, contrast: Contrast, samples: list[Sample]) -> dict[str, torch.Tensor]:
    batch = opened.family.encode(opened.loaded, samples, with_answers=True)
    regions = opened.family.see(opened.loaded, batch.pixels_MCHW)
    pooled = opened.family.forward(opened.loaded, batch, regions).image_BD
    return {name: summed.mean() for name, summed in contrast.heads(contrast.view(samples, regions, pooled)).items()}


@pytest.mark.parametrize("on", ["image", "region", "classes"])
def test_its_gradient_reaches_what_trains(bench: tuple[Path, list[Sample]], on: str) -> None:
    """Tower and projector in full, LoRA in the language's encoder; the classes compare images alone."""
    folder, samples = bench
    opened = open_tuned(folder, Tune(lora=Lora(parts=("language",)), train=("vision", "projector")))
    settings = Contrastive(**{level: level == on for level in ("image", "region", "classes")})
    contrast = Contrast(settings, opened, samples, seed=0)
    batch_losses(opened, contrast, samples)[on].backward()
    reached = {name for name, p in opened.loaded.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("vision_tower" in name for name in reached)
    assert any("multi_modal_projector" in name for name in reached)
    assert any("encoder" in name and "lora_B" in name for name in reached) == (on != "classes")
    assert all(p.grad is not None for p in contrast.heads.projections.parameters())


def test_padding_order_and_repetition_do_not_matter(bench: tuple[Path, list[Sample]]) -> None:
    folder, samples = bench
    opened = open_tuned(folder, Tune(lora=None, train=("projector",)))
    contrast = Contrast(Contrastive(), opened, samples, seed=0)
    with torch.no_grad():
        expected = batch_losses(opened, contrast, samples)
        mixed = batch_losses(opened, contrast, [samples[i] for i in (5, 4, 0, 1, 7, 2, 6, 3, 3, 0)])
        alone = opened.family.embed_text(opened.loaded, ["left side"])[1]
        padded = opened.family.embed_text(opened.loaded, ["left side", "How large is the disc? small disc " * 4])[1]
    for level, loss in expected.items():
        assert float(mixed[level]) == pytest.approx(float(loss), rel=1e-4), level
    assert torch.allclose(alone[0], padded[0], atol=1e-5)


def test_identical_answers_are_not_pushed_apart(bench: tuple[Path, list[Sample]]) -> None:
    folder, samples = bench
    alike = [s.model_copy(update={"suffix": "left side", "category": "one"}) for s in samples if "side" in s.prefix]
    opened = open_tuned(folder, Tune(lora=None, train=("projector",)))
    contrast = Contrast(Contrastive(), opened, alike, seed=0)
    found = batch_losses(opened, contrast, alike)
    (found["image"] + found["region"]).backward()
    found = {level: loss.detach() for level, loss in found.items()}
    assert float(found["image"]) == pytest.approx(0, abs=1e-5)
    assert float(found["region"]) == pytest.approx(0, abs=1e-5)
    moved = [p.grad.abs().max() for p in opened.loaded.model.parameters() if p.grad is not None]
    assert float(max(moved, default=torch.tensor(0.0))) < 1e-5
    assert float(found["classes"]) >= np.log(3) - 1e-5  # three others, all alike: its least


# --- preflight


def faults_of(opened: Opened, samples: list[Sample], **settings: object) -> str:
    train = Train.model_validate({"contrastive": {}, "batch_size": 4, "questions_per_image": 2} | settings)
    batch = opened.family.encode(opened.loaded, samples[:2], with_answers=True)
    return "; ".join(find_contrast_faults(opened, train, samples, batch))


def test_preflight_refuses_what_would_be_wrong_or_idle(bench: tuple[Path, list[Sample]]) -> None:
    folder, samples = bench
    opened = open_tuned(folder, Tune(lora=None, train=("projector",)))
    assert faults_of(opened, samples) == ""
    assert "train.accumulate: 1 and train.batch_size: 12" in faults_of(opened, samples, accumulate=3)
    assert "shows one image" in faults_of(opened, samples, questions_per_image=3)
    alike = [s.model_copy(update={"suffix": "left side", "category": None}) for s in samples if "side" in s.prefix]
    assert "every image has the same answers" in faults_of(opened, alike)
    single = [s.model_copy(update={"suffix": f"{n} mm", "category": None}) for n, s in enumerate(samples)]
    assert "set train.contrastive.classes: false" in faults_of(opened, single)
    long = [samples[0].model_copy(update={"suffix": "left side " * 29 + str(n)}) for n in range(7)]
    assert "set train.contrastive.image: false" in faults_of(opened, [*samples, *long])


def test_preflight_refuses_a_loss_that_moves_nothing(bench: tuple[Path, list[Sample]]) -> None:
    folder, samples = bench
    opened = open_tuned(folder, Tune(lora=None, train=("language.decoder.layers.0.fc1",)))
    assert "moves no weight" in faults_of(opened, samples)


# --- whole runs


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bench(tmp_path_factory.mktemp("bench"), images=12)


def read_recipe(discs: Path, out: Path, *overrides: str) -> Recipe:
    fixed = (f"out={out}", "train.epochs=2", "train.save_steps=3", "train.contrastive={queue: 16}")
    return load_recipe(discs / "recipe.yaml", [*fixed, *overrides])


def run(recipe: Recipe, say: object = lambda _: None) -> Path:
    train_run(recipe, recipe.out / recipe.name, 0, say)  # type: ignore[arg-type]
    return recipe.out / recipe.name


def training_lines(folder: Path) -> list[dict[str, float]]:
    return [line for line in read_metrics(folder) if "loss" in line]


class Cut(Exception):
    """In the place of a power cut."""


def test_a_run_cut_off_goes_on_exactly_and_ships_no_heads(discs: Path, tmp_path: Path) -> None:
    def cut(told: str) -> None:
        if "epoch 1" in told:
            raise Cut  # in the validation after step 4, before its checkpoint

    whole = run(read_recipe(discs, tmp_path / "whole"))
    recipe = read_recipe(discs, tmp_path / "cut")
    with pytest.raises(Cut):
        run(recipe, cut)
    checkpoint = last_checkpoint(tmp_path / "cut" / "discs")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-3"
    assert (checkpoint / "contrastive.safetensors").is_file()
    resumed = run(recipe)
    assert training_lines(resumed) == training_lines(whole)
    named = {"loss_caption", "loss_image", "loss_region", "loss_classes"}
    assert all(named <= set(line) for line in training_lines(whole))
    assert any(line["loss_classes"] > 0 for line in training_lines(whole))
    with safe_open(whole / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert not [key for key in file.keys() if "projections" in key or "queue" in key]  # noqa: SIM118
    assert "contrastive" in {check["name"] for check in json.loads((whole / "preflight.json").read_text())["checks"]}


def test_accumulation_is_refused_before_anything_trains(discs: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="negatives must come from the whole batch"):
        run(read_recipe(discs, tmp_path, "train.accumulate=2"))
    assert not (tmp_path / "discs" / "checkpoints").exists()


def test_no_level_is_no_recipe(discs: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no level is on"):
        read_recipe(discs, tmp_path, "train.contrastive={image: false, region: false, classes: false}")
    assert Train().contrastive is None


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_losses(discs: Path, tmp_path: Path) -> None:
    on = ("train.contrastive={queue: 16}", "train.save_steps=3")
    whole = command(discs, tmp_path / "whole", *on)
    subprocess.run(whole, check=True, env=environment(), capture_output=True)
    arguments = command(discs, tmp_path / "killed", *on)
    for step in (4, 9):
        process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
        wait_for_step(tmp_path / "killed" / "discs", step, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(arguments, check=True, env=environment(), capture_output=True)
    killed, unbroken = (read_curve(tmp_path / name / "discs", "loss") for name in ("killed", "whole"))
    assert killed == unbroken
