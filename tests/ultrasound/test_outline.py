"""Outlines in words: told, read back, and measured in mm."""

import numpy as np
import pytest

from residency.ultrasound.outline import fit_ellipse, measure_circumference, read_points, tell_outline


def ellipse(a: float, b: float, turned: float, centre: tuple[float, float], count: int = 90) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    turn = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    return np.stack([a * np.cos(angle), b * np.sin(angle)], 1) @ turn.T + centre


def test_an_outline_is_told_clockwise_from_the_right() -> None:
    points_P2 = read_points(tell_outline(ellipse(0.2, 0.2, 0, (0.5, 0.4))))
    np.testing.assert_allclose(points_P2[0], [0.7, 0.4], atol=0.01)
    np.testing.assert_allclose(points_P2[3], [0.5, 0.6], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(points_P2 - [0.5, 0.4], axis=1), 0.2, atol=0.005)


@pytest.mark.parametrize("turned", [0, 0.4, 1.2, 2.8])
def test_a_told_head_measures_as_it_was(turned: float) -> None:
    field_mm = (180.0, 120.0)
    outline_mm = ellipse(55, 42, turned, (80, 62), 720)
    truth_mm = np.linalg.norm(outline_mm - np.roll(outline_mm, 1, 0), axis=1).sum()
    told = tell_outline(outline_mm / field_mm)
    assert measure_circumference(read_points(told), field_mm) == pytest.approx(truth_mm, rel=0.005)
    assert fit_ellipse(outline_mm) == pytest.approx((55, 42), rel=1e-6)


@pytest.mark.parametrize("text", ["", "no idea", "<loc_5>", "<loc_5><loc_5>" * 12, "<loc_1><loc_1><loc_2><loc_2>"])
def test_what_is_no_outline_measures_nothing(text: str) -> None:
    assert measure_circumference(read_points(text), (100.0, 100.0)) is None


def test_points_on_a_line_are_no_ellipse() -> None:
    line = np.stack([np.linspace(0, 1, 12), np.linspace(0, 1, 12)], 1)
    assert measure_circumference(line, (100.0, 100.0)) is None
