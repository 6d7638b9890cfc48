"""The simulated hospitals: a name in, its machines' looks, its answer wording and its mix of patients out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.random import Generator

from residency.errors import UserError
from residency.ultrasound.phantom.physics import Settings

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """The range that each of a machine's settings is drawn from, and how its screen is laid out.

    `radius_mm` and `opening_deg` are the probe's; `aspect` is the image's width by height; `whole` is the share of
    images that show the whole sector, else the part fills the share `fill` of the height or width; `text` is where
    machine text stands (`left`, `right`, `top`, `bottom`, `none`), `ticks` the side of the depth scale (`left`,
    `right`, `top`, `none`).
    """

    machine: str
    radius_mm: Range = (35, 65)
    opening_deg: Range = (55, 80)
    aspect: Range = (1.0, 1.4)
    fill: Range = (0.4, 0.95)
    whole: float = 0.5
    axial_mm: Range = (0.18, 0.48)
    lateral_mm: Range = (0.4, 1.25)
    widening: Range = (1.3, 2.8)
    loss_db: Range = (0.07, 0.2)
    compensation: Range = (0.7, 1.15)
    floor_db: Range = (-62, -36)
    haze: Range = (0.002, 0.045)
    echoes: Range = (0.0, 0.14)
    range_db: Range = (44, 72)
    gain_db: Range = (-9, 2)
    gamma: Range = (0.9, 1.8)
    reject: Range = (0.0, 0.2)
    compounding: Range = (0.0, 1.0)
    smoothing: Range = (0.0, 0.9)
    sharpening: Range = (0.0, 0.9)
    text: str = "right"
    ticks: str = "left"

    def draw_settings(self, rng: Generator) -> Settings:
        """Return one image's settings."""
        names = [entry.name for entry in fields(Settings) if entry.name != "focus"]
        drawn = {name: float(rng.uniform(*getattr(self, name))) for name in names}
        return Settings(focus=float(rng.uniform(0.3, 0.75)), **drawn)


@dataclass(frozen=True)
class Style:
    """How a site's annotators word answers.

    `names` maps canonical names to the site's wording; `separator` joins sets; `length` writes a measure from
    `{name}`, `{mm}` and `{cm}` (`comma` for a decimal comma); `age` an exact age from `{w}` and `{d}`; `extra` a
    sub-answer after its answer, from `{answer}` and `{extra}`; `decimals` of mm.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    separator: str = ", "
    length: str = "{name} {mm} mm"
    comma: bool = False
    age: str = "{w}w+{d}d"
    extra: str = "{answer} ({extra})"
    capital: bool = False
    decimals: int = 0


@dataclass(frozen=True)
class Site:
    """One hospital: machines, wording, and shares.

    `first_trimester` is the share of patients at 11 to 13 weeks, `late` the share in labour or near it; `abnormal`
    the share of patients with a finding, `poor` the chance of each degradation, `measured` the share of studies
    with numbers, `dated` the share with exact weeks, `weights` each category's weight where it is possible.
    """

    name: str
    looks: tuple[Look, ...]
    style: Style
    annotators: tuple[str, ...]
    first_trimester: float = 0.25
    late: float = 0.1
    abnormal: float = 0.18
    poor: float = 0.16
    measured: float = 0.5
    dated: float = 0.4
    weights: Mapping[str, float] = field(default_factory=dict)


MERIDIAN = Site(
    name="meridian",
    looks=(
        Look("Meridian S4", smoothing=(0.4, 0.95), range_db=(52, 70), whole=0.3, text="right", ticks="left"),
        Look(
            "Meridian V8",
            smoothing=(0.5, 1.0),
            sharpening=(0.3, 1.1),
            axial_mm=(0.16, 0.32),
            lateral_mm=(0.35, 0.8),
            whole=0.1,
        ),
    ),
    style=Style(),
    annotators=("MA", "MB"),
)
LOWLAND = Site(
    name="lowland",
    looks=(
        Look("Osprey 20", smoothing=(0.0, 0.3), floor_db=(-46, -30), haze=(0.01, 0.09), gamma=(0.7, 1.2), text="left"),
        Look("Osprey 60p", lateral_mm=(0.8, 1.8), axial_mm=(0.3, 0.7), echoes=(0.05, 0.25), ticks="right"),
    ),
    style=Style(
        names={
            "normal": "within normal",
            "BPD": "biparietal diameter",
            "HC": "head circumference",
            "femur length": "FL",
            "thalami": "thalamus",
            "good image quality": "good quality",
            "medium image quality": "moderate image quality",
            "low image quality": "poor image quality",
            "shadowing": "acoustic shadowing",
            "vertebrae": "vertebral column",
        },
        separator="; ",
        length="{name} = {cm} cm",
        comma=True,
        age="{w} weeks {d} days",
        decimals=0,
    ),
    annotators=("LK",),
    first_trimester=0.15,
    poor=0.24,
    abnormal=0.14,
    measured=0.35,
)
SUMMIT = Site(
    name="summit",
    looks=(
        Look(
            "Cirrus P10", radius_mm=(45, 70), opening_deg=(60, 90), aspect=(1.2, 1.5), gamma=(1.0, 2.1), ticks="right"
        ),
        Look("Cirrus Q", opening_deg=(48, 65), range_db=(38, 52), gain_db=(-12, 0), text="top"),
        Look("Cirrus L", radius_mm=(300, 900), opening_deg=(5, 13), whole=0.7, text="none"),
    ),
    style=Style(
        names={
            "lateral ventricle": "lateral ventricles",
            "four chambers of heart": "4 chambers of heart",
            "rib cage": "ribs",
            "kidney": "kidneys",
            "normal for gestational age": "normal for the age",
            "good image quality": "good",
            "medium image quality": "medium",
            "low image quality": "low",
            "motion": "motion artifact",
            "CRL": "crown rump length",
        },
        age="{w}+{d}",
        capital=True,
        decimals=1,
        length="{name}: {mm} mm",
    ),
    annotators=("SA", "SB", "SC"),
    first_trimester=0.35,
    measured=0.7,
    dated=0.6,
)
DELTA = Site(
    name="delta",
    looks=(
        Look("Heron 3", aspect=(1.0, 1.2), smoothing=(0.2, 0.6), haze=(0.0, 0.03), range_db=(55, 80), gamma=(0.7, 1.3)),
        Look("Heron 5", aspect=(1.25, 1.6), lateral_mm=(0.8, 1.8), widening=(2.0, 4.0), text="none", ticks="none"),
    ),
    style=Style(
        names={
            "cavum septum pellucidum": "CSP",
            "falx cerebri": "falx",
            "stomach": "stomach bubble",
            "inferior vena cava": "IVC",
            "fetal spine": "spine",
            "symphysis pubis": "pubic symphysis",
            "normal closed cervix": "closed normal cervix",
            "low gain": "low gain setting",
            "NT thickness": "nuchal translucency thickness",
            "AC": "abdominal circumference",
        },
        separator=", ",
        extra="{answer}, {extra}",
        length="{name} {mm}mm",
        age="{w} weeks + {d} days",
        capital=True,
    ),
    annotators=("DX", "DY"),
    abnormal=0.22,
    late=0.15,
)
HARBOUR = Site(
    name="harbour",
    looks=(
        Look(
            "Tern E1",
            radius_mm=(52, 60),
            opening_deg=(66, 74),
            aspect=(1.28, 1.34),
            fill=(0.55, 0.85),
            whole=0.25,
            axial_mm=(0.22, 0.36),
            lateral_mm=(0.5, 0.9),
            range_db=(48, 62),
            gamma=(1.2, 1.5),
            smoothing=(0.15, 0.45),
            text="bottom",
            ticks="top",
        ),
    ),
    style=Style(
        names={
            "four chambers of heart": "heart chambers",
            "inferior vena cava": "inferior caval vein",
            "stomach": "gastric bubble",
            "normal": "no abnormality seen",
            "normal for gestational age": "appropriate for gestational age",
            "femur length": "femoral length",
            "AC": "abdominal girth",
            "diaphysis of femur": "femur shaft",
            "skin and subcutaneous tissue": "skin and subcutaneous tissues",
            "good image quality": "clear image",
            "medium image quality": "fair image quality",
            "low image quality": "unsatisfactory image quality",
            "motion": "motion blur",
        },
        separator=", ",
        length="{name} of {mm} mm",
        age="{w} weeks {d} days",
        extra="{answer}; {extra}",
    ),
    annotators=("H1", "H2"),
    first_trimester=0.34,
    late=0.06,
    # A referral hospital: many findings.
    abnormal=0.3,
    poor=0.2,
    measured=0.4,
    weights={"abdomen": 3.5, "femur": 3.5, "thorax": 3.5},
)
TRAINING_SITES = (MERIDIAN, LOWLAND, SUMMIT, DELTA)
HELD_OUT_SITE = HARBOUR
SITES = {site.name: site for site in (*TRAINING_SITES, HELD_OUT_SITE)}


def find_site(name: str) -> Site:
    """Return a site by name.

    Raises:
        UserError: there is no such site.
    """
    if name not in SITES:
        raise UserError(f"no simulated site {name}", found=name, allowed=list(SITES))
    return SITES[name]


def say_name(style: Style, name: str) -> str:
    """Return a canonical name in the site's wording."""
    return style.names.get(name, name)


def pick_share(rng: Generator, share: float) -> bool:
    """Return True with this probability."""
    return bool(rng.random() < np.float64(share))
