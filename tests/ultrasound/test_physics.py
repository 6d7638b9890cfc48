"""The physics that pictures must show: geometry, shadow, enhancement, angle dependence, a beam that widens."""

import numpy as np
import pytest

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.fan import BEAMS, RADIAL, set_fan
from residency.ultrasound.phantom.physics import Degradation, Settings, blur_field, form_image
from residency.ultrasound.phantom.shapes import Ellipse, Merged, Tube, bend

FAN = set_fan(50, 120, 0.6, 200, 1.2)
PLAIN = Settings(haze=0, echoes=0, floor_db=-90, compounding=0, reject=0, gamma=1, range_db=70)
HERE = Pose(0, 0, 0)


def picture(canvas, settings=PLAIN):
    return form_image(canvas, settings, Degradation(), np.random.default_rng(1))[0]


def rows(low_mm, high_mm):
    return slice(int(low_mm / FAN.step_mm), int(high_mm / FAN.step_mm))


MIDDLE = slice(BEAMS // 2 - 8, BEAMS // 2 + 8)
SIDE = slice(BEAMS // 6 - 8, BEAMS // 6 + 8)


def test_a_sample_lands_on_its_pixel():
    samples = np.zeros((RADIAL, BEAMS), np.float32)
    samples[150:153, 40:43] = 1
    image = FAN.convert(samples)
    found = np.unravel_index(image.argmax(), image.shape)
    x, y = FAN.places
    wanted = FAN.to_pixels(np.array([[x[151, 41], y[151, 41]]]))[0]
    assert abs(found[1] - wanted[0]) <= 2 and abs(found[0] - wanted[1]) <= 2
    assert FAN.to_samples(np.array([[x[151, 41], y[151, 41]]]))[0] == pytest.approx([151, 41], abs=1e-3)


def test_bone_casts_a_shadow_and_fluid_brightens_what_lies_behind():
    canvas = Canvas(FAN, 0.12, np.random.default_rng(0))
    canvas.bone(HERE, Ellipse(0, 40, 12, 4), 20, block=3)
    image = picture(canvas)
    assert image[rows(60, 100), MIDDLE].mean() < image[rows(60, 100), SIDE].mean() - 0.2
    canvas = Canvas(FAN, 0.12, np.random.default_rng(0))
    canvas.pool(HERE, Ellipse(0, 40, 20, 20))
    image = picture(canvas)
    assert image[rows(35, 45), MIDDLE].mean() < image[rows(35, 45), SIDE].mean() - 0.3
    assert image[rows(65, 80), MIDDLE].mean() > image[rows(65, 80), SIDE].mean() + 0.02


def test_interfaces_shine_where_the_beam_meets_them_squarely():
    canvas = Canvas(FAN, 0.12, np.random.default_rng(0))
    canvas.edge(HERE, Ellipse(0, 60, 25, 25), 25)
    column = canvas.glint[:, BEAMS // 2]
    top = column[rows(30, 40)].max()
    # The circle's flank lies along the beam.
    near_row = slice(int(58 / FAN.step_mm), int(62 / FAN.step_mm))
    flank = canvas.glint[near_row].max()
    assert top > 3 * flank


def test_the_beam_widens_away_from_the_focus():
    canvas, settings = Canvas(FAN, 0.0, np.random.default_rng(0)), Settings(focus=0.3, widening=3)

    def width(depth_mm):
        field, row = np.zeros((RADIAL, BEAMS), np.float32), int(depth_mm / FAN.step_mm)
        field[row, BEAMS // 2] = 1
        spread = blur_field(field, canvas, settings)[row]
        return np.sqrt((spread / spread.sum() * (np.arange(BEAMS) - BEAMS // 2) ** 2).sum())

    assert width(110) > 2 * width(36)


def test_shapes_measure_distance_in_mm():
    u, v = np.meshgrid(np.linspace(-40, 40, 81, dtype=np.float32), np.linspace(-40, 40, 81, dtype=np.float32))
    circle = Ellipse(5, 0, 20, 20).distance(u, v)
    exact = np.hypot(u - 5, v) - 20
    near = np.abs(exact) < 3
    assert np.abs(circle - exact)[near].max() < 0.3
    tube = Tube(((-10, 0), (10, 0)), (4, 4))
    assert tube.distance(np.float32([[0]]), np.float32([[9]]))[0, 0] == pytest.approx(5)
    both = Merged((Ellipse(-10, 0, 12, 12), Ellipse(10, 0, 12, 12)), 2).distance(u, v)
    assert both[40, 40] < 0 < both[0, 0]
    assert len(bend(((0, 0), (5, 5), (10, 0)), 1, 9).points) == 9


def test_a_fill_takes_away_what_lay_there():
    canvas = Canvas(FAN, 0.12, np.random.default_rng(0))
    canvas.bone(HERE, Ellipse(0, 50, 5, 5), 20, block=3)
    canvas.fill(HERE, Ellipse(0, 50, 20, 20), -5)
    assert canvas.glint[rows(45, 55), MIDDLE].max() == 0 == canvas.block_db[rows(45, 55), MIDDLE].max()


def test_low_gain_is_darker_and_grades_follow_strength():
    canvas = Canvas(FAN, 0.12, np.random.default_rng(0))
    dark = form_image(canvas, PLAIN, Degradation(low_gain=0.8), np.random.default_rng(1))[0]
    assert dark.mean() < picture(canvas).mean() - 0.1
    assert Degradation().grade == "good image quality"
    assert Degradation(motion=0.5).grade == "medium image quality"
    assert Degradation(motion=0.5, shadowing=0.5).grade == "low image quality"
    assert Degradation(motion=0.5, shadowing=0.5).factors == ("shadowing", "motion")
