"""One image: deterministic, its answers in the vocabulary and in agreement with the picture and the measures."""

from dataclasses import replace

import numpy as np
import pytest

from residency.errors import UserError
from residency.questionnaire import load_questionnaire
from residency.ultrasound.phantom import CATEGORIES, HELD_OUT_SITE, SITES, TRAINING_SITES, draw_image
from residency.ultrasound.phantom.plan import Subject
from residency.ultrasound.phantom.study import ages_of

FETAL8 = load_questionnaire("fetal8")
CLEAN = replace(TRAINING_SITES[0], poor=0.0, abnormal=0.0)


@pytest.fixture(scope="module")
def drawn():
    return {
        (category, site.name, seed): draw_image(category, seed, site, 128)
        for category in CATEGORIES
        for site in SITES.values()
        for seed in (0, 1)
    }


def test_categories_are_the_questionnaire_s():
    assert set(CATEGORIES) == {option.name for option in FETAL8.categories}
    assert HELD_OUT_SITE not in TRAINING_SITES and len(TRAINING_SITES) >= 4


def test_answers_are_canonical(drawn):
    for drawing in drawn.values():
        for question in FETAL8.questions:
            answer = drawing.answers.whole[question.id]
            names = answer if isinstance(answer, tuple) else (answer,)
            assert set(names) <= set(question.names), (question.id, answer)
            assert list(names) == sorted(names, key=question.names.index)
            specs = {spec.id: spec for spec in question.parts}
            for id, value in drawing.answers.parts.items():
                if not id.startswith(f"{question.id}."):
                    continue
                if specs[id].options:
                    assert set(value if isinstance(value, tuple) else (value,)) <= set(specs[id].names)
                else:
                    assert specs[id].unit == value.unit
                    assert specs[id].minimum <= value.value <= specs[id].maximum


def test_pictures_are_pictures(drawn):
    for key, drawing in drawn.items():
        assert drawing.image.dtype == np.uint8 and max(drawing.image.shape) == 128, key
        height, width = drawing.image.shape
        for box in drawing.boxes:
            assert 0 <= box.xyxy[0] < box.xyxy[2] <= width and 0 <= box.xyxy[1] < box.xyxy[3] <= height
        named = {box.label for box in drawing.boxes}
        assert set(drawing.answers.whole["q1"]) <= named
    assert np.median([drawing.image.std() for drawing in drawn.values()]) > 15


def test_equal_seeds_draw_equal_images(drawn):
    again = draw_image("thorax", 1, SITES["delta"], 128)
    first = drawn["thorax", "delta", 1]
    assert np.array_equal(again.image, first.image) and again.answers == first.answers and again.boxes == first.boxes
    assert not np.array_equal(first.image, drawn["thorax", "delta", 0].image)


def _middle(drawing, label):
    (box,) = [box for box in drawing.boxes if box.label == label][:1]
    return np.array([box.xyxy[0] + box.xyxy[2], box.xyxy[1] + box.xyxy[3]]) / 2


def test_the_spine_lies_where_the_answer_says():
    checked = 0
    for seed in range(12):
        drawing = draw_image("abdomen", seed, CLEAN, 96)
        names = drawing.answers.whole["q1"]
        spine = "vertebrae" if "vertebrae" in names else "lumbar vertebrae"
        if spine in names and "abdominal wall" in names:
            dx, dy = _middle(drawing, spine) - _middle(drawing, "abdominal wall")
            side = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("bottom" if dy > 0 else "top")
            if abs(abs(dx) - abs(dy)) > 4:
                assert drawing.answers.whole["q2"].endswith(f"vertebral column to {side}")
                checked += 1
    assert checked >= 5


def test_the_occiput_lies_where_the_answer_says():
    for seed in range(8):
        drawing = draw_image("trans-cerebellum", seed, CLEAN, 96, Subject(22.0))
        if "cerebellum" in drawing.answers.whole["q1"] and "occiput" in drawing.answers.whole["q2"]:
            skull = next(outline for outline in drawing.outlines if outline.label == "fetal skull")
            right = _middle(drawing, "vermis")[0] > np.mean([x for x, _ in skull.points])
            assert drawing.answers.whole["q2"].endswith("right" if right else "left")


def test_outlines_measure_what_the_truth_says():
    drawing = draw_image("trans-thalamic", 3, CLEAN, 256, Subject(24.0))
    skull = np.array(next(outline.points for outline in drawing.outlines if outline.label == "fetal skull"))
    length = np.hypot(*np.diff(np.concatenate([skull, skull[:1]]), axis=0).T).sum() * drawing.spacing_mm[0]
    assert length == pytest.approx(drawing.measures["HC"], rel=0.02)
    femur = draw_image("femur", 3, replace(CLEAN, measured=1.0), 256, Subject(24.0))
    shaft = np.array(next(o.points for o in femur.outlines if o.label == "diaphysis of femur"))
    reach = max(np.hypot(*(a - b)) for a in shaft for b in shaft) * femur.spacing_mm[0]
    assert reach == pytest.approx(femur.measures["FL"], rel=0.06)
    assert femur.answers.parts["q4.femur length"].value == pytest.approx(femur.measures["FL"], rel=0.06)


def test_findings_are_told_only_where_they_show():
    ill = Subject(12.5, 1.0, "abnormal NT thickening, marked")
    told = draw_image("standard NT", 1, CLEAN, 128, ill)
    assert told.answers.whole["q7"] == "abnormal" and told.measures["NT"] >= 3.5
    assert told.answers.parts["q7.finding"] == ill.finding
    other = draw_image("non-standard NT", 1, CLEAN, 128, ill)
    assert other.answers.whole["q7"] == "normal"
    assert other.answers.whole["q8"] == "remeasure NT in mid-sagittal plane"
    wide = draw_image("trans-ventricular", 1, CLEAN, 128, Subject(25.0, 1.0, "abnormal dilated lateral ventricle"))
    assert wide.measures["atrium"] >= 10


def test_normal_measures_stay_normal():
    for seed in range(10):
        assert draw_image("standard NT", seed, CLEAN, 64).measures["NT"] < 2.7
        assert draw_image("trans-ventricular", seed, CLEAN, 64).measures["atrium"] < 10
        assert draw_image("cervix", seed, CLEAN, 64).measures["cervical length"] >= 25


def test_quality_says_what_was_done():
    spoiled = replace(CLEAN, poor=1.0)
    answers = draw_image("femur", 0, spoiled, 64).answers
    assert answers.whole["q6"] == "low image quality"
    assert answers.parts["q6.factors"] == ("shadowing", "low gain", "motion", "off-plane")
    assert "q6.factors" not in draw_image("femur", 0, CLEAN, 64).answers.parts


def test_planes_are_imaged_at_their_ages(drawn):
    for (category, _, _), drawing in drawn.items():
        low, high = ages_of(category)
        assert low - 0.1 <= drawing.subject.weeks <= high + 0.1


def test_machine_text_tells_an_answer_in_about_one_of_twenty():
    tells = [draw_image("cervix", seed, CLEAN, 64).tells for seed in range(120)]
    assert 0 < sum(tells) < 20


def test_an_unknown_category_is_an_error():
    with pytest.raises(UserError, match="no category"):
        draw_image("knee", 0, CLEAN)
