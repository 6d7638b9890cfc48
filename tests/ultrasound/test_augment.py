"""Augmentation on simulated studies: what a transform says it keeps it keeps, the rest its samples carry or refuse."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation

from residency.config import Train
from residency.types import Box, Outline, Quantity, Sample
from residency.ultrasound.augment import TRANSFORMS, augment, augment_draws, augment_study
from residency.ultrasound.augment.carry import carry_sample
from residency.ultrasound.augment.grey import DISPLAY_DB, FAINTEST, GAIN_DB
from residency.ultrasound.augment.move import ROTATION_DEG, SHIFT_SHARE, ZOOM_RATIO, Move
from residency.ultrasound.augment.sector import find_sector
from residency.ultrasound.augment.study import GRADED_SHARE, MEAN_DB
from residency.ultrasound.phantom import Drawing, draw_image, find_site, write_phantom
from tests.documents import ROOT

NAMES = [transform.name for transform in TRANSFORMS]
MOVING = [transform.name for transform in TRANSFORMS if "geometry" not in transform.keeps]
STILL = [name for name in NAMES if name not in MOVING]
SHOWN = (("trans-thalamic", "meridian"), ("abdomen", "delta"), ("femur", "summit"), ("cervix", "lowland"))
DISC = (118.0, 150.0)


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return [draw_image(category, 3, find_site(site), 224) for category, site in SHOWN]


@pytest.fixture(scope="module")
def bright() -> Image.Image:
    """A phantom's sector with a white disc at DISC, nothing else as light, and no marks beside it."""
    drawing = draw_image("trans-cerebellum", 2, find_site("delta"), 256)
    whole = np.where(sector_of(drawing), 40 + drawing.image // 4, 0).astype(np.uint8)
    picture = Image.fromarray(whole)
    x, y = DISC
    ImageDraw.Draw(picture).ellipse((x - 6, y - 6, x + 5, y + 5), fill=255)
    return picture


def sector_of(drawing: Drawing) -> np.ndarray:
    """Return the true sector's mask, from the simulator's geometry."""
    fan = drawing.fan
    row, column = np.mgrid[: fan.height, : fan.width]
    places = np.stack([column.ravel() + 0.5, row.ravel() + 0.5], 1) * fan.spacing_mm + [fan.left_mm, fan.top_mm]
    return fan.shows(places).reshape(fan.height, fan.width)


def ask(suffix: str = "trans-thalamic view", prefix: str = "Name the plane.", **fields: object) -> Sample:
    return Sample.model_validate(
        {"id": "a", "image": "a.png", "prefix": prefix, "suffix": suffix, "group": "g", **fields}
    )


def find_disc(picture: Image.Image) -> np.ndarray:
    grey = np.asarray(picture.convert("L"), float)
    weight = np.maximum(grey - 0.8 * grey.max(), 0)
    row, column = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * (column + 0.5)).sum(), (weight * (row + 0.5)).sum()]) / weight.sum()


def level_db(picture: Image.Image, mask: np.ndarray) -> float:
    return float(np.asarray(picture.convert("L"), float)[mask].mean()) / 255 * DISPLAY_DB


@pytest.mark.parametrize("name", NAMES)
def test_only_the_sector_changes_and_only_what_is_declared(drawings: list[Drawing], name: str) -> None:
    keeps = next(transform.keeps for transform in TRANSFORMS if transform.name == name)
    changed = 0
    for seed, drawing in enumerate(drawings):
        picture = Image.fromarray(drawing.image)
        sample = ask("fetal head to left", spacing_mm=drawing.spacing_mm, answer="fetal head to left")
        after, carried = augment(picture, sample, np.random.default_rng(seed), only=[name], spacing_told=True)
        assert after.size == picture.size and after.mode == "RGB"
        assert np.array_equal(np.asarray(picture), drawing.image)
        difference = np.abs(np.asarray(after.convert("L"), int) - drawing.image)
        changed += difference.max() > 3
        assert difference[~binary_dilation(sector_of(drawing), iterations=4)].max(initial=0) == 0
        if "sides" in keeps:
            assert carried.suffix == carried.answer == "fetal head to left"
        if "spacing" in keeps:
            assert carried.spacing_mm == sample.spacing_mm
        if "geometry" in keeps:
            assert carried == sample
    assert changed >= len(drawings) - 1


@pytest.mark.parametrize("name", STILL)
def test_grey_changes_move_nothing_and_stay_below_a_grade(drawings: list[Drawing], name: str) -> None:
    for drawing in drawings[:3]:
        mask = sector_of(drawing)
        for seed in range(4):
            after, _ = augment(Image.fromarray(drawing.image), ask(), np.random.default_rng(seed), only=[name])
            grey = np.asarray(after.convert("L"), float)
            before = drawing.image.astype(float)
            shifted = [np.corrcoef(np.roll(grey, step, axis)[mask], before[mask])[0, 1] for step, axis in STEPS]
            assert np.corrcoef(grey[mask], before[mask])[0, 1] > max(shifted)
            assert np.corrcoef(grey[mask], before[mask])[0, 1] > 0.9
            assert abs(level_db(after, mask) - level_db(Image.fromarray(drawing.image), mask)) <= MEAN_DB + 0.5


STEPS = [(step, axis) for step in (-2, 2) for axis in (0, 1)]


def test_all_grey_changes_together_are_limited_more_where_quality_is_graded(drawings: list[Drawing]) -> None:
    quality = ask("good image quality", "Image Quality: Assess the quality of the ultrasound image.")
    for sample, limit in ((ask(), MEAN_DB), (quality, GRADED_SHARE * MEAN_DB)):
        found = []
        for drawing in drawings[:3]:
            mask = find_sector(drawing.image.astype(np.float32) / 255).mask_HW
            picture = Image.fromarray(drawing.image)
            for seed in range(6):
                after, _ = augment(picture, sample, np.random.default_rng(seed), only=STILL)
                found.append(abs(level_db(after, mask) - level_db(picture, mask)))
        assert limit / 2 < max(found) <= limit + 0.1


@pytest.mark.parametrize("name", ["gain", "time gain", "attenuation", "shadow", "dynamic range"])
def test_nothing_faint_is_lost_and_black_stays_black(drawings: list[Drawing], name: str) -> None:
    for seed in range(6):
        image = drawings[0].image
        after, _ = augment(Image.fromarray(image), ask(), np.random.default_rng(seed), only=[name])
        grey = np.asarray(after.convert("L"), float)
        assert (grey >= FAINTEST * image - 1.5).all()
        assert grey[image == 0].max() == 0


def test_a_gain_is_as_strong_as_it_says() -> None:
    flat = Image.new("L", (128, 128), 128)
    steps = [
        level_db(augment(flat, ask(), np.random.default_rng(seed), only=["gain"])[0], np.ones((128, 128), bool))
        - 128 / 255 * DISPLAY_DB
        for seed in range(40)
    ]
    assert -GAIN_DB - 0.1 <= min(steps) < -0.7 * GAIN_DB and 0.7 * GAIN_DB < max(steps) <= GAIN_DB + 0.1


def test_shadows_and_speckle_follow_the_beams(drawings: list[Drawing]) -> None:
    flat = np.where(sector_of(drawings[2]), 140, 0).astype(np.uint8)
    sector = find_sector(flat.astype(np.float32) / 255)
    for seed in range(4):
        after, _ = augment(Image.fromarray(flat), ask(), np.random.default_rng(seed), only=["shadow"])
        lost = np.where(sector.mask_HW, flat - np.asarray(after.convert("L"), float), 0)
        deep, middle = (lost > 8) & (sector.depth_HW > 0.75), (lost > 8) & (abs(sector.depth_HW - 0.5) < 0.12)
        assert deep.any() and middle.any()
        # A wedge: the same beams in the middle as below.
        assert abs(sector.across_HW[deep].mean() - sector.across_HW[middle].mean()) < 0.12
    noisy = np.asarray(augment(drawings_noise(flat), ask(), np.random.default_rng(0), only=["speckle"])[0].convert("L"))
    noise = (noisy.astype(float) - np.asarray(drawings_noise(flat), float))[80:140, 80:140]
    fine = noise - noise.mean()
    assert (fine[:, 1:] * fine[:, :-1]).mean() / (fine**2).mean() > 0.25  # white noise has 0


def drawings_noise(flat: np.ndarray) -> Image.Image:
    """Return a flat sector with texture three pixels wide."""
    rng = np.random.default_rng(1)
    texture = np.asarray(
        Image.fromarray(rng.normal(0, 1, (90, 90)).astype(np.float32)).resize(
            flat.shape[::-1], Image.Resampling.BICUBIC
        )
    )
    return Image.fromarray(np.where(flat > 0, flat + 12 * texture, 0).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_in_the_picture_moves_in_the_sample(bright: Image.Image, name: str) -> None:
    width, height = bright.size
    x, y = DISC
    ring = [(x + 8 * np.cos(t), y + 8 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 9)[:-1]]
    places = "".join(f"<loc_{int(px / width * 1000)}><loc_{int(py / height * 1000)}>" for px, py in ring)
    sample = ask(f"disc{places}", outlines=(Outline(label="disc", points=tuple(ring)),), spacing_mm=(0.3, 0.3))
    assert np.abs(find_disc(bright) - DISC).max() < 0.3
    furthest = 0.0
    for seed in range(6):
        after, carried = augment(bright, sample, np.random.default_rng(seed), only=[name], spacing_told=True)
        found = find_disc(after)
        furthest = max(furthest, float(np.hypot(*(found - DISC))))
        assert np.abs(found - np.mean(carried.outlines[0].points, 0)).max() < 0.6
        tokens = np.array([int(part.rstrip(">")) for part in (carried.suffix or "").split("<loc_")[1:]])
        assert np.abs((tokens.reshape(-1, 2).mean(0) + 0.5) / 1000 * bright.size - found).max() < 0.8
    assert furthest > 1.5


def test_movements_are_as_strong_as_they_say(bright: Image.Image) -> None:
    sector = find_sector(np.asarray(bright, np.float32) / 255)
    moves = {name: [] for name in MOVING}
    for transform in TRANSFORMS:
        for seed in range(60):
            if transform.movement and (step := transform.movement(sector, (0.2, 0.3), np.random.default_rng(seed))):
                moves[transform.name].append(step)
    turns = [np.rad2deg(np.arctan2(step.matrix[1, 0] * 0.2, step.matrix[0, 0] * 0.3)) for step in moves["rotation"]]
    assert 0.8 * ROTATION_DEG < max(np.abs(turns)) <= ROTATION_DEG + 1e-6
    # In mm, not in pixels, which are not square here, it is a rotation.
    scale = np.diag([0.3, 0.2])
    inner = scale @ moves["rotation"][0].matrix[:2, :2] @ np.linalg.inv(scale)
    assert np.allclose(inner @ inner.T, np.eye(2))
    assert np.allclose(moves["rotation"][0].carry(np.array([sector.apex])), [sector.apex])
    zooms = [step.zoom for step in moves["zoom"]]
    assert 1 / ZOOM_RATIO <= min(zooms) < 0.93 and 1.07 < max(zooms) <= ZOOM_RATIO
    shifts = np.array([step.matrix[:2, 2] for step in moves["shift"]]) / bright.size
    assert 0.8 * SHIFT_SHARE < np.abs(shifts).max() <= SHIFT_SHARE
    assert (shifts[:, 1] <= 0).all()


MIRROR = Move(np.array([[-1.0, 0, 256], [0, 1, 0], [0, 0, 1]]), flipped=True)
LARGER = Move(np.array([[1.1, 0, -12.8], [0, 1.1, -12.8], [0, 0, 1]]), zoom=1.1)
TURN = Move(np.array([[0.998, -0.05, 0], [0.05, 0.998, 0], [0, 0, 1]]), turned=True)


@pytest.fixture(scope="module")
def whole():
    return find_sector(np.full((256, 256), 0.5, np.float32))


@pytest.mark.parametrize(
    ("suffix", "mirrored"),
    [
        ("Fetal head to left", "Fetal head to right"),
        ("axial thorax, cardiac apex to the RIGHT", "axial thorax, cardiac apex to the LEFT"),
        ("bright upright view", "bright upright view"),
        ("left ventricle dilated", None),
        ("head to left, left kidney", None),
        ("rechts", None),
        ("胎头在左", None),
        ("dextrocardia", None),
    ],
)
def test_a_flip_changes_sides_over_or_is_refused(whole, suffix: str, mirrored: str | None) -> None:
    carried = carry_sample(ask(suffix, answer=suffix), MIRROR, whole, spacing_told=False)
    assert (carried and carried.suffix) == mirrored
    assert (carried and carried.answer) == mirrored


def test_a_side_in_question_set_label_or_place_is_heeded(whole) -> None:
    def flip(sample: Sample) -> Sample | None:
        return carry_sample(sample, MIRROR, whole, spacing_told=False)

    assert flip(ask("yes", "Is the head to left?")) is None
    assert flip(ask("a, b to left", answer=("a", "b to left"))) is None
    assert flip(ask("x", boxes=(Box(label="left kidney", xyxy=(1, 1, 9, 9)),))) is None
    parts = flip(ask("x", parts={"q.side": "apex to left"}))
    assert parts is not None and parts.parts == {"q.side": "apex to right"}
    boxed = flip(ask("head<loc_100><loc_200><loc_300><loc_400>"))
    assert boxed is not None and boxed.suffix == "head<loc_699><loc_200><loc_899><loc_400>"
    for places in ("<loc_1><loc_2><loc_3><loc_4>" * 2, "<loc0001><loc0002><loc0003><loc0004>", "[10, 20, 30, 40]"):
        assert flip(ask(f"head{places}")) is None


def test_a_rotation_turns_outlines_and_refuses_boxes(whole) -> None:
    box = Box(label="head", xyxy=(100, 100, 150, 150))
    assert carry_sample(ask(boxes=(box,)), TURN, whole, spacing_told=False) is None
    assert carry_sample(ask("a<loc_400><loc_400><loc_600><loc_600>"), TURN, whole, spacing_told=False) is None
    outlined = ask("a<loc_400><loc_400><loc_600><loc_400><loc_500><loc_600>")
    assert carry_sample(outlined, TURN, whole, spacing_told=False) is not None


def test_what_would_leave_the_sector_refuses_the_movement(whole) -> None:
    edge, inside = ((2.0, 100.0, 14.0, 120.0), (100.0, 100.0, 120.0, 120.0))
    assert carry_sample(ask(boxes=(Box(label="a", xyxy=edge),)), LARGER, whole, spacing_told=True) is None
    carried = carry_sample(ask(boxes=(Box(label="a", xyxy=inside),)), LARGER, whole, spacing_told=True)
    assert carried is not None and np.allclose(carried.boxes[0].xyxy, np.array(inside) * 1.1 - 12.8)


def test_a_zoom_carries_the_spacing_wherever_it_stands(whole) -> None:
    sample = ask(
        "302 mm",
        "Head circumference? Pixel spacing 0.2310 mm.",
        answer=Quantity(value=302, unit="mm"),
        spacing_mm=(0.231, 0.231),
        columns={"pixel size(mm)": "0.231", "age": "31"},
    )
    carried = carry_sample(sample, LARGER, whole, spacing_told=False)
    assert carried is not None and carried.spacing_mm == pytest.approx((0.21, 0.21))
    assert carried.prefix.endswith("Pixel spacing 0.2100 mm.")
    assert carried.columns == {"pixel size(mm)": "0.210", "age": "31"}
    assert (carried.suffix, carried.answer) == (sample.suffix, sample.answer)


def test_a_zoom_is_refused_where_a_size_could_become_false(whole, drawings: list[Drawing]) -> None:
    sized = ask("32.4 mm", spacing_mm=(0.2, 0.2))
    assert carry_sample(sized, LARGER, whole, spacing_told=False) is None
    assert carry_sample(sized, LARGER, whole, spacing_told=True) is not None
    assert carry_sample(ask("20-25 weeks"), LARGER, whole, spacing_told=True) is None
    assert carry_sample(ask("femur", "Depth 120 mm. Plane?"), LARGER, whole, spacing_told=True) is None
    ruled = find_sector(drawings[0].image.astype(np.float32) / 255)
    assert ruled.marked
    assert carry_sample(sized, LARGER, ruled, spacing_told=True) is None


def test_one_change_serves_all_samples_of_a_picture(bright: Image.Image) -> None:
    free, sided = ask("fetal head to left"), ask("left ventricle")
    after, both = augment_study(bright, [free, sided], np.random.default_rng(0), only=["flip"])
    assert both == [free, sided] and np.abs(find_disc(after) - DISC).max() < 0.3
    _, (alone,) = augment_study(bright, [free], np.random.default_rng(0), only=["flip"])
    assert alone.suffix == "fetal head to right"
    _, (witnessed,) = augment_study(bright, [ask()], np.random.default_rng(0), only=["flip"], witnesses=[free])
    again, _ = augment_study(bright, [ask()], np.random.default_rng(0), only=["flip"], witnesses=[free])
    assert witnessed == ask() and np.abs(find_disc(again) - DISC).max() < 0.3


def test_equal_seeds_give_equal_pictures_and_others_differ(drawings: list[Drawing]) -> None:
    picture = Image.fromarray(drawings[1].image)
    first, again, other = (augment(picture, ask(), np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_text_and_coloured_marks_stay(drawings: list[Drawing]) -> None:
    colours = np.stack([drawings[1].image] * 3, 2)
    colours[100:103, 90:110] = (255, 220, 0)
    after, _ = augment(Image.fromarray(colours), ask(), np.random.default_rng(0), only=NAMES)
    assert np.array_equal(np.asarray(after)[100:103, 90:110], colours[100:103, 90:110])
    written = Image.fromarray(np.where(sector_of(drawings[2]), 30, 0).astype(np.uint8))
    ImageDraw.Draw(written).text((80, 100), "HC 301 mm", fill=220)
    letters = np.asarray(written) > 180
    assert letters.sum() > 40
    moved, _ = augment(written, ask(), np.random.default_rng(0), only=["shift", "gain", "rotation"])
    assert (np.abs(np.asarray(moved.convert("L"), int) - np.asarray(written))[letters] < 3).mean() > 0.9


def test_odd_pictures_come_through() -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (90, 61, 3), dtype=np.uint8))
    for picture in (photo, photo.convert("RGBA"), Image.new("L", (9, 7)), Image.new("L", (300, 40), 255)):
        for seed in range(3):
            after, _ = augment(picture, ask(), np.random.default_rng(seed))
            assert after.size == picture.size and after.mode == "RGB"


def test_the_sector_is_found_in_a_written_study(tmp_path: Path) -> None:
    write_phantom(tmp_path / "studies", patients=3, seed=4, site="harbour", size=192, workers=1)
    paths = sorted((tmp_path / "studies" / "images").rglob("*.png"))
    for path in paths:
        with Image.open(path) as file:
            levels = np.asarray(file.convert("L"), np.float32) / 255
        sector = find_sector(levels)
        held = levels[sector.mask_HW].sum() / levels.sum()
        assert held > 0.9, path


def test_the_sector_overlaps_the_true_one(drawings: list[Drawing]) -> None:
    overlaps = []
    for drawing in drawings:
        found, true = find_sector(drawing.image.astype(np.float32) / 255).mask_HW, sector_of(drawing)
        overlaps.append((found & true).sum() / (found | true).sum())
    assert np.mean(overlaps) > 0.93


def test_a_batch_changes_each_picture_once_in_its_own_pixels(tmp_path: Path, bright: Image.Image) -> None:
    large = bright.resize((512, 512 * bright.height // bright.width), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.png")
    path, (x, y) = str(tmp_path / "a.png"), DISC
    boxed = ask(boxes=(Box(label="disc", xyxy=(2 * x - 16, 2 * y - 16, 2 * x + 16, 2 * y + 16)),)).model_copy(
        update={"image": path}
    )
    draws = [(boxed, 7), (ask().model_copy(update={"image": path}), 9)]
    pictures, samples = augment_draws(draws, "ultrasound", side=128, spacing_told=False, witnesses={})
    assert min(pictures[path].size) == 128
    (x0, y0, x1, y1), ratio = samples[0].boxes[0].xyxy, pictures[path].width / 512
    assert np.abs(np.array([x0 + x1, y0 + y1]) / 2 * ratio - find_disc(pictures[path])).max() < 1
    assert augment_draws(draws, "none", side=128, spacing_told=False, witnesses={})[0] == {}
    grey, same = augment_draws(draws, "grey", side=None, spacing_told=False, witnesses={})
    assert grey[path].size == large.size and same == [sample for sample, _ in draws]


def test_a_recipe_may_still_say_true_or_false() -> None:
    said = [Train.model_validate({"augment": value}).augment for value in (True, False, "ultrasound", "none")]
    assert said == ["grey", "none", "ultrasound", "none"] and Train().augment == "grey"


def test_a_picture_takes_milliseconds(drawings: list[Drawing]) -> None:
    picture = Image.fromarray(draw_image("femur", 1, find_site("delta"), 256).image)
    seconds = []
    for seed in range(12):
        start = time.process_time()
        augment(picture, ask(), np.random.default_rng(seed))
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.04  # 10 ms were measured beside other work


def test_the_document_tells_what_the_code_declares() -> None:
    text = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    declared = [
        [item.name, f"{100 * item.odds:g}%", item.strength, ", ".join(item.keeps), item.source] for item in TRANSFORMS
    ]
    assert rows[1:] == declared
