"""What a clinician would answer: a plan and what is visible of it in, canonical answers and sub-answers out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from residency.questionnaire import load_questionnaire
from residency.types import Quantity
from residency.ultrasound.phantom.growth import age_range
from residency.ultrasound.phantom.physics import Degradation
from residency.ultrasound.phantom.plan import Subject

MEASURED = {
    "BPD": "BPD",
    "HC": "HC",
    "AC": "AC",
    "FL": "femur length",
    "NT": "NT thickness",
    "CRL": "CRL",
    "cervical length": "cervical length",
    "aorta": "aortic transverse diameter",
    "angle of progression": "angle of progression",
}
SHOWN_IN = {
    "abnormal NT thickening, mild": ("standard NT",),
    "abnormal NT thickening, marked": ("standard NT",),
    "abnormal dilated lateral ventricle": ("trans-ventricular",),
    "abnormal VSD": ("thorax",),
    "subchorionic hematoma": ("standard NT", "non-standard NT"),
}
PartValue = Quantity | str | tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """Canonical answers `q1` to `q8` (a set is a tuple in the vocabulary's order) and sub-answers by id."""

    whole: Mapping[str, str | tuple[str, ...]]
    parts: Mapping[str, PartValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What the picture shows: the visible structures, the orientation, the plane, and whether a finding shows."""

    structures: frozenset[str]
    orientation: str
    plane: str
    measurable: tuple[str, ...]
    finding: str | None
    normal_finding: str | None


def in_order(question: str, names: Sequence[str] | frozenset[str]) -> tuple[str, ...]:
    """Return the names of a set answer in the vocabulary's order; names outside the vocabulary are left out."""
    return tuple(name for name in load_questionnaire("fetal8").question(question).names if name in names)


def answer_all(
    category: str,
    subject: Subject,
    seen: Seen,
    spoiled: Degradation,
    measures: Mapping[str, Quantity],
    *,
    dated: bool,
) -> Answers:
    """Return the eight answers; `measures` are the caliper readings to state, `dated` states the exact age."""
    normality = "abnormal" if seen.finding else "normal"
    parts: dict[str, PartValue] = {f"q4.{name}": value for name, value in measures.items() if name in seen.measurable}
    if dated:
        parts["q5.weeks"] = Quantity(value=round(subject.weeks * 7) / 7, unit="weeks")
    if spoiled.factors:
        parts["q6.factors"] = spoiled.factors
    finding = seen.finding or seen.normal_finding
    if finding:
        parts["q7.finding"] = finding
    return Answers(
        {
            "q1": in_order("q1", seen.structures),
            "q2": seen.orientation,
            "q3": seen.plane,
            "q4": in_order("q4", seen.measurable),
            "q5": age_range(round(subject.weeks * 7) / 7),
            "q6": spoiled.grade,
            "q7": normality,
            "q8": recommend(category, subject.weeks, seen, spoiled.grade),
        },
        parts,
    )


def recommend(category: str, weeks: float, seen: Seen, grade: str) -> str:
    """Return the recommendation that follows from the other answers, by rule."""
    if seen.finding == "abnormal NT thickening, mild":
        return "monitoring with biochemistry"
    if seen.finding:
        return "complete anomaly scan and follow up"
    if category == "pubic symphysis with fetal head":
        return "clinical assessment for delivery mode"
    if category == "non-standard NT" or "NT not measurable" in seen.measurable:
        return "remeasure NT in mid-sagittal plane"
    if category == "standard NT":
        return "anatomy scan at 18-22 weeks"
    if grade == "low image quality":
        return "follow up after 1 month"
    return "prenatal routine monitoring" if weeks < 28 else "follow up with antenatal care"


def read_calipers(true_mm: Mapping[str, float], decimals: int, rng: Generator) -> dict[str, Quantity]:
    """Return what an observer reads: the true measures with 1.5% error, rounded; angles in degrees.

    The error is of the order of published intra-observer differences in fetal biometry (Sarris et al., Ultrasound
    Obstet Gynecol 2012;39:266-273). NT is read to 0.1 mm.
    """
    readings = {}
    for key, name in MEASURED.items():
        if key in true_mm:
            value = true_mm[key] * float(rng.normal(1, 0.015))
            fine = 1 if key in ("NT", "aorta") else decimals
            unit = "degrees" if key == "angle of progression" else "mm"
            readings[name] = Quantity(value=round(value, fine), unit=unit)
    return readings
