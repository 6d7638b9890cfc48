"""Growth formulas against published table values, their inverses, and fetal8's age ranges."""

import numpy as np
import pytest

from residency.questionnaire import load_questionnaire
from residency.ultrasound.phantom import growth


@pytest.mark.parametrize(
    ("formula", "size_mm", "weeks"),
    [
        # Hadlock 1984: predicted ages at the tables' round sizes.
        (growth.weeks_from_hc, 175, 20.0),
        (growth.weeks_from_hc, 320, 36.1),
        (growth.weeks_from_bpd, 50, 21.1),
        (growth.weeks_from_ac, 150, 20.2),
        (growth.weeks_from_fl, 33, 20.3),
    ],
)
def test_hadlock_dates_round_sizes(formula, size_mm, weeks):
    assert formula(size_mm) == pytest.approx(weeks, abs=0.1)


def test_robinson_dates_a_crl_of_61_mm_at_12_weeks_4_days():
    assert round(growth.days_from_crl(61)) == 88


@pytest.mark.parametrize("measure", ["HC", "BPD", "AC", "FL"])
def test_sizes_are_the_inverse_of_dating(measure):
    for weeks in np.arange(14, 40, 2.5):
        assert growth.FORMULAS[measure](growth.size_at(measure, weeks)) == pytest.approx(weeks, abs=0.02)


def test_crl_is_the_inverse_of_dating():
    assert growth.days_from_crl(growth.crl_at(12.0)) == pytest.approx(84)


def test_ellipse_circumference_equals_the_polygon():
    phase = np.linspace(0, 2 * np.pi, 20_001)
    length = np.hypot(np.diff(50 * np.cos(phase)), np.diff(39 * np.sin(phase))).sum()
    assert growth.circumference(50, 39) == pytest.approx(length, rel=1e-5)
    assert growth.circumference(*growth.ellipse_axes(300, 0.8)) == pytest.approx(300)


@pytest.mark.parametrize(
    ("weeks", "name"),
    [
        (13 + 6 / 7, "8-13 weeks"),
        (14.0, "14 weeks"),
        (15.0, "15-20 weeks"),
        (19 + 6 / 7, "15-20 weeks"),
        (20.0, "20-25 weeks"),
        (35.0, "35-38 weeks"),
        (38 + 6 / 7, "35-38 weeks"),
        (39.0, "39 weeks and more"),
    ],
)
def test_ranges_are_completed_weeks_that_do_not_overlap(weeks, name):
    assert growth.age_range(weeks) == name
    assert name in load_questionnaire("fetal8").question("q5").names
