"""Growth: gestational age in weeks in, mean biometry in mm out, by inverting the published dating formulas."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

RANGES = ((15, 20), (20, 25), (25, 30), (30, 35), (35, 39))


def weeks_from_hc(hc_mm: float) -> float:
    """Gestational age in weeks from head circumference (Hadlock et al., Radiology 1984;152:497-501)."""
    cm = hc_mm / 10
    return 8.96 + 0.540 * cm + 0.0003 * cm**3


def weeks_from_bpd(bpd_mm: float) -> float:
    """Gestational age in weeks from biparietal diameter (Hadlock et al., Radiology 1984;152:497-501)."""
    cm = bpd_mm / 10
    return 9.54 + 1.482 * cm + 0.1676 * cm**2


def weeks_from_ac(ac_mm: float) -> float:
    """Gestational age in weeks from abdominal circumference (Hadlock et al., Radiology 1984;152:497-501)."""
    cm = ac_mm / 10
    return 8.14 + 0.753 * cm + 0.0036 * cm**2


def weeks_from_fl(fl_mm: float) -> float:
    """Gestational age in weeks from femur length (Hadlock et al., Radiology 1984;152:497-501)."""
    cm = fl_mm / 10
    return 10.35 + 2.460 * cm + 0.170 * cm**2


def days_from_crl(crl_mm: float) -> float:
    """Gestational age in days from crown-rump length (Robinson and Fleming, BJOG 1975;82:702-710)."""
    return float(8.052 * np.sqrt(1.037 * crl_mm) + 23.73)


FORMULAS = {"HC": weeks_from_hc, "BPD": weeks_from_bpd, "AC": weeks_from_ac, "FL": weeks_from_fl}


def size_at(measure: str, weeks: float) -> float:
    """Return the mean HC, BPD, AC or FL in mm at an age of 12 to 42 weeks."""
    sizes, ages = _table(measure)
    return float(np.interp(weeks, ages, sizes))


def crl_at(weeks: float) -> float:
    """Return the mean crown-rump length in mm at an age of 6 to 14 weeks (Robinson and Fleming, inverted)."""
    return float(((weeks * 7 - 23.73) / 8.052) ** 2 / 1.037)


def nuchal_median(crl_mm: float) -> float:
    """Return the median nuchal translucency in mm: 1.2 at CRL 45 mm, 1.9 at 84 mm (Snijders, Lancet 1998)."""
    return 1.2 + 0.7 * (min(max(crl_mm, 45.0), 84.0) - 45) / 39


def nuchal_limit(crl_mm: float) -> float:
    """Return the 95th centile of nuchal translucency in mm: 2.1 at CRL 45 mm, 2.7 at 84 mm (Snijders, Lancet 1998)."""
    return 2.1 + 0.6 * (min(max(crl_mm, 45.0), 84.0) - 45) / 39


def cerebellum_at(weeks: float) -> float:
    """Return the transverse cerebellar diameter in mm: the weeks up to 24, faster later (Goldstein, AJOG 1987)."""
    return weeks + 0.75 * max(0.0, weeks - 24)


def thorax_at(weeks: float) -> float:
    """Return the thoracic circumference in mm: 0.89 of the abdomen's (Chitkara et al., AJOG 1987)."""
    return 0.89 * size_at("AC", weeks)


def aorta_at(weeks: float) -> float:
    """Return an abdominal aortic diameter in mm that looks right, 2.5 at 20 weeks to 5.7 at 38; not from a chart."""
    return 2.5 + (weeks - 20) * 3.2 / 18


def ellipse_axes(circumference_mm: float, ratio: float) -> tuple[float, float]:
    """Return the semi-axes a, b = ratio * a of an ellipse with this circumference (Ramanujan's approximation)."""
    unit = circumference(1.0, ratio)
    return circumference_mm / unit, ratio * circumference_mm / unit


def circumference(a: float, b: float) -> float:
    """Return the circumference of an ellipse with semi-axes a, b (Ramanujan 1914)."""
    return float(np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b))))


def age_range(weeks: float) -> str:
    """Return fetal8's range of completed weeks: 8-13, 14, 15-20 (15w0d to 19w6d) ... 35-38, 39 and more."""
    if weeks < 14:
        return "8-13 weeks"
    if weeks < 15:
        return "14 weeks"
    for low, high in RANGES:
        if low <= weeks < high:
            return f"{low}-{38 if high == 39 else high} weeks"
    return "39 weeks and more"


@cache
def _table(measure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sizes = np.linspace(2, 420, 1200)
    return sizes, np.array([FORMULAS[measure](size) for size in sizes])
