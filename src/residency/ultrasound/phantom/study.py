"""One image of one patient: category, seed and site in, picture with its whole truth out; pure and deterministic."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from residency.errors import UserError
from residency.types import Box, Outline, Quantity
from residency.ultrasound.phantom.anatomy.femur import plan_femur
from residency.ultrasound.phantom.anatomy.head import plan_head
from residency.ultrasound.phantom.anatomy.nuchal import plan_nuchal
from residency.ultrasound.phantom.anatomy.pelvis import plan_cervix, plan_symphysis
from residency.ultrasound.phantom.anatomy.spine import plan_aorta, plan_cervical
from residency.ultrasound.phantom.anatomy.trunk import plan_abdomen, plan_thorax
from residency.ultrasound.phantom.answers import SHOWN_IN, Answers, Seen, answer_all, read_calipers
from residency.ultrasound.phantom.canvas import Canvas, Pose, Structure
from residency.ultrasound.phantom.fan import RADIAL, Fan, set_fan
from residency.ultrasound.phantom.overlay import Marks, burn_in
from residency.ultrasound.phantom.physics import Degradation, Settings, form_image, polish
from residency.ultrasound.phantom.plan import Plan, Subject
from residency.ultrasound.phantom.shapes import Grid
from residency.ultrasound.phantom.sites import Look, Site, pick_share
from residency.ultrasound.phantom.uterus import Cavity, paint_cavity, paint_clutter, paint_mother

Planner = Callable[[Subject, float, Generator], Plan]
PLANNERS: Mapping[str, Planner] = {
    "aorta": plan_aorta,
    "cervical region": plan_cervical,
    "abdomen": plan_abdomen,
    "femur": plan_femur,
    "standard NT": lambda subject, off, rng: plan_nuchal(True, subject, off, rng),
    "non-standard NT": lambda subject, off, rng: plan_nuchal(False, subject, off, rng),
    "cervix": plan_cervix,
    "thorax": plan_thorax,
    "pubic symphysis with fetal head": plan_symphysis,
    "trans-cerebellum": lambda subject, off, rng: plan_head("trans-cerebellum", subject, off, rng),
    "trans-thalamic": lambda subject, off, rng: plan_head("trans-thalamic", subject, off, rng),
    "trans-ventricular": lambda subject, off, rng: plan_head("trans-ventricular", subject, off, rng),
}
CATEGORIES = tuple(PLANNERS)
AGES: Mapping[str, tuple[float, float]] = {
    "standard NT": (11.0, 13.95),
    "non-standard NT": (11.0, 13.95),
    "cervix": (16.0, 36.0),
    "pubic symphysis with fetal head": (36.0, 41.5),
    "trans-cerebellum": (16.0, 34.0),
    "aorta": (18.0, 38.0),
    "cervical region": (15.0, 34.0),
}
ANY_AGE = (14.0, 40.0)
CIRCUMFERENCES = {"HC": "fetal skull", "AC": "abdominal wall"}
NEEDED = {"amniotic fluid": 0.2, "placenta": 0.3}
"""The share of a structure that must be seen for it to be named, where it is not half."""


@dataclass(frozen=True)
class Drawing:
    """One simulated image, (H, W) uint8, and all that is true of it.

    `spacing_mm` is (row, column); `measures` true sizes in mm (degrees for an angle); `boxes` and `outlines` pixels;
    `answers` canonical; `machine` its settings as text; `tells` marks machine text that states an answer.
    """

    image: NDArray[np.uint8]
    category: str
    spacing_mm: tuple[float, float]
    measures: Mapping[str, float]
    boxes: tuple[Box, ...]
    outlines: tuple[Outline, ...]
    answers: Answers
    subject: Subject
    fan: Fan
    machine: Mapping[str, str] = field(default_factory=dict)
    tells: bool = False


def ages_of(category: str) -> tuple[float, float]:
    """Return the gestational ages in weeks at which a category is imaged."""
    return AGES.get(category, ANY_AGE)


def draw_subject(category: str, site: Site, rng: Generator) -> Subject:
    """Return a patient in whom this category is imaged; abnormal at the site's share where the category can show it."""
    weeks = round(float(rng.uniform(*ages_of(category))) * 7) / 7
    shown = [finding for finding, where in SHOWN_IN.items() if category in where]
    ill = bool(shown) and pick_share(rng, site.abnormal)
    finding = str(rng.choice(shown)) if ill else None
    return Subject(weeks, float(np.clip(rng.normal(1, 0.025), 0.93, 1.07)), finding)


def draw_image(
    category: str, seed: int | Sequence[int], site: Site, size: int = 256, subject: Subject | None = None
) -> Drawing:
    """Draw one image, its longer side `size` pixels.

    Raises:
        UserError: there is no such category.
    """
    if category not in PLANNERS:
        raise UserError(f"no category {category}", found=category, allowed=CATEGORIES)
    entropy = [seed] if isinstance(seed, int) else list(seed)
    rng = np.random.default_rng([*entropy, zlib.crc32(f"{category}/{site.name}".encode())])
    subject = subject or draw_subject(category, site, rng)
    spoiled = draw_degradation(site, rng)
    look = site.looks[int(rng.integers(len(site.looks)))]
    settings = look.draw_settings(rng)
    plan = PLANNERS[category](subject, spoiled.off_plane, rng)
    fan, pose = _frame(plan, look, size, rng)
    # Shallow views are scanned at a higher frequency, and so more finely.
    fineness = float(np.clip(fan.depth_mm / 110, 0.4, 1.2))
    settings = replace(settings, axial_mm=settings.axial_mm * fineness, lateral_mm=settings.lateral_mm * fineness)
    canvas = _paint(plan, subject, fan, pose, settings, rng)
    if spoiled.off_plane:
        canvas.blend_planes(spoiled.off_plane)
    if spoiled.shadowing:
        _cast_shadow(canvas, pose, spoiled.shadowing, rng)
    samples, shadow_db = form_image(canvas, settings, spoiled, rng)
    image = polish(fan.convert(samples), settings, spoiled, rng)
    visible = [
        thing for thing in canvas.structures if _share_visible(thing, canvas, shadow_db) >= NEEDED.get(thing.name, 0.5)
    ]
    seen = _look_at(plan, category, subject, pose, visible)
    readings = read_calipers(plan.measures, site.style.decimals, rng) if pick_share(rng, site.measured) else {}
    answers = answer_all(category, subject, seen, spoiled, readings, dated=pick_share(rng, site.dated))
    tells = pick_share(rng, 0.05)
    marks = _mark(plan, pose, canvas, readings, _telling(category, answers, rng) if tells else None, rng)
    pixels = burn_in((image * 255).astype(np.uint8), fan, look, marks, rng)
    boxes, outlines = _trace(visible, fan)
    return Drawing(
        pixels,
        category,
        (fan.spacing_mm, fan.spacing_mm),
        {name: round(float(value), 2) for name, value in plan.measures.items()},
        boxes,
        outlines,
        answers,
        subject,
        fan,
        {"machine": look.machine, "depth_mm": f"{fan.depth_mm:.0f}", "range_db": f"{settings.range_db:.0f}"},
        tells,
    )


def draw_degradation(site: Site, rng: Generator) -> Degradation:
    """Return what spoils an image: each factor absent, or of strength 0.4 to 1."""
    strengths = [float(rng.uniform(0.4, 1.0)) if pick_share(rng, site.poor) else 0.0 for _ in range(4)]
    return Degradation(*strengths)


def _frame(plan: Plan, look: Look, size: int, rng: Generator) -> tuple[Fan, Pose]:
    """Return a sector that holds the plan, and where in it the plan lies."""
    cos, sin = np.cos(plan.turn), np.sin(plan.turn)
    half_x = float(np.hypot(plan.half_u * cos, plan.half_v * sin))
    half_y = float(np.hypot(plan.half_u * sin, plan.half_v * cos))
    radius, opening = rng.uniform(*look.radius_mm), rng.uniform(*look.opening_deg)
    if plan.probe == "endocavity":
        radius, opening = rng.uniform(9, 13), rng.uniform(110, 150)
    half_angle = float(np.deg2rad(opening / 2))
    cover = rng.uniform(6, 32) if plan.probe == "convex" else rng.uniform(2, 8)
    y = cover + half_y * rng.uniform(0.95, 1.15) + 2
    # Where the sector is too narrow for the part, it must lie deeper; a linear array shows what it can.
    needed = half_x * rng.uniform(0.85, 1.1) / np.sin(half_angle) - radius if radius < 200 else 0.0
    y = float(np.clip(max(y, needed), 12, 130))
    depth = float(max(y + half_y * rng.uniform(1.02, 1.35) + rng.uniform(2, 35), 45))
    aspect, zoom = float(rng.uniform(*look.aspect)), 1.0
    if not pick_share(rng, look.whole):
        # The part fills a share of the height or, where it is wide, of the width.
        zoom = float(np.clip(rng.uniform(*look.fill) * depth / (2 * max(half_y, half_x / aspect)), 1.0, 3.0))
    x = float(rng.normal(0, 0.12) * half_x)
    fan = set_fan(float(radius), depth, half_angle, size, aspect, zoom, (x, y))
    # Plans whose middle is not their origin say how far along u the middle lies.
    pose = Pose(0.0, 0.0, plan.turn, plan.mirrored)
    dx, dy = pose.to_probe(np.array([plan.middle]))[0]
    return fan, Pose(x - float(dx), y - float(dy), plan.turn, plan.mirrored)


def _paint(plan: Plan, subject: Subject, fan: Fan, pose: Pose, settings: Settings, rng: Generator) -> Canvas:
    canvas = Canvas(fan, settings.loss_db, rng)
    x, y = (float(value) for value in pose.to_probe(np.array([plan.middle]))[0])
    half_x = float(np.hypot(plan.half_u * np.cos(plan.turn), plan.half_v * np.sin(plan.turn)))
    half_y = float(np.hypot(plan.half_u * np.sin(plan.turn), plan.half_v * np.cos(plan.turn)))
    paint_mother(canvas, max(3.0, min(y - half_y, 45.0)) * rng.uniform(0.6, 0.95), rng)
    if plan.afloat:
        cavity = Cavity(x, y, half_x, half_y)
        plenty = rng.gamma(1.6, 0.55)
        fluid_mm = float(plenty * (6 + 10 * np.exp(-(((subject.weeks - 26) / 12) ** 2))))
        hematoma = subject.finding == "subchorionic hematoma"
        paint_cavity(canvas, cavity, fluid_mm=fluid_mm, weeks=subject.weeks, hematoma=hematoma, rng=rng)
        paint_clutter(canvas, cavity, subject.weeks, int(rng.integers(0, 5)), rng)
    canvas.layer = 1
    plan.paint(canvas, pose, rng)
    return canvas


def _cast_shadow(canvas: Canvas, pose: Pose, strength: float, rng: Generator) -> None:
    """Darken a band of beams over the body part, as gas, a scar or poor contact does."""
    middle = np.arctan2(pose.x, pose.y + canvas.fan.radius_mm) + rng.normal(0, 0.3) * canvas.fan.half_angle
    width = rng.uniform(0.1, 0.22) * canvas.fan.half_angle * (0.6 + strength)
    band = np.exp(-(((canvas.fan.angles - np.float32(middle)) / np.float32(width)) ** 4))
    start = int(rng.uniform(0.0, 0.12) * RADIAL)
    per_mm = (14 + 22 * strength) / (0.1 * canvas.fan.depth_mm)
    canvas.block_db[start : start + RADIAL // 10] += band * np.float32(per_mm)


def _share_visible(thing: Structure, canvas: Canvas, shadow_db: Grid) -> float:
    """Return the share of a structure that is in the picture: not cut off, covered, or lost in 18 dB of shadow."""
    edge = thing.shape.outline()
    middle = np.array([thing.shape.centre])
    points = thing.pose.to_probe(np.concatenate([edge * 0.9 + middle * 0.1, (edge + middle) / 2]))
    samples = canvas.fan.to_samples(points).round().astype(int)
    row = np.clip(samples[:, 0], 0, shadow_db.shape[0] - 1)
    column = np.clip(samples[:, 1], 0, shadow_db.shape[1] - 1)
    bare = (canvas.front[row, column] <= thing.layer) & (shadow_db[row, column] < 18)
    return float((canvas.fan.shows(points) & bare).mean())


def _look_at(plan: Plan, category: str, subject: Subject, pose: Pose, visible: list[Structure]) -> Seen:
    names = frozenset(thing.name for thing in visible)
    witness = {"subchorionic hematoma": "hematoma", "abnormal VSD": "septal defect"}
    finding = subject.finding if category in SHOWN_IN.get(subject.finding or "", ()) else None
    needed = witness.get(finding or "", {"standard NT": "nuchal translucency"}.get(category, "lateral ventricle"))
    if finding and needed not in names:
        finding = None
    return Seen(names, plan.orient(pose), plan.plane, plan.measurable, finding, plan.normal_finding)


def _mark(
    plan: Plan, pose: Pose, canvas: Canvas, readings: Mapping[str, Quantity], telling: str | None, rng: Generator
) -> Marks:
    """Return calipers where a measure was read, for some images, and dots along a circumference."""
    if not readings or not pick_share(rng, 0.35):
        return Marks(telling=telling)
    calipers = tuple(canvas.fan.to_pixels(pose.to_probe(np.array(span))) for span in plan.spans.values())
    ringed = {CIRCUMFERENCES[name] for name in readings if name in CIRCUMFERENCES}
    rings = [thing for thing in canvas.structures if thing.name in ringed]
    dotted = tuple(canvas.fan.to_pixels(thing.pose.to_probe(thing.shape.outline())) for thing in rings)
    return Marks(calipers, dotted if pick_share(rng, 0.5) else (), telling)


def _telling(category: str, answers: Answers, rng: Generator) -> str:
    """Return machine text that gives an answer away: the age, a measure's name or the plane."""
    labels = {"femur": "FL", "abdomen": "AC", "thorax": "4CH", "standard NT": "NT", "cervix": "CX"}
    label = labels.get(category, category.upper()[:14])
    return f"{label} GA {str(answers.whole['q5']).split()[0]}" if rng.random() < 0.5 else label


def _trace(visible: list[Structure], fan: Fan) -> tuple[tuple[Box, ...], tuple[Outline, ...]]:
    boxes, outlines = [], []
    limit = np.array([fan.width, fan.height], float)
    for thing in visible:
        points = fan.to_pixels(thing.pose.to_probe(thing.shape.outline()))
        clipped = np.clip(points, 0, limit)
        (x0, y0), (x1, y1) = clipped.min(0).round(1), clipped.max(0).round(1)
        if x1 - x0 >= 1 and y1 - y0 >= 1:
            boxes.append(Box(label=thing.name, xyxy=(float(x0), float(y0), float(x1), float(y1))))
            outline = tuple((round(float(x), 1), round(float(y), 1)) for x, y in points[::2])
            outlines.append(Outline(label=thing.name, points=outline))
    return tuple(boxes), tuple(outlines)
