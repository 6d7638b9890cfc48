"""What surrounds the fetus: maternal layers, uterine wall, placenta, fluid, cord and limbs, painted on a canvas."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import FLUID_DB, Canvas, Pose
from residency.ultrasound.phantom.shapes import Ellipse, Grid, bend

STILL = Pose(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Cavity:
    """The uterine cavity: where the fetus lies (x, y, mm), its half width and half height, mm."""

    x: float
    y: float
    half_width: float
    half_height: float


def paint_mother(canvas: Canvas, thickness_mm: float, rng: Generator) -> None:
    """Paint skin, fat, muscle and fascia down to `thickness_mm` below the probe, following its curve."""
    depth, angle = canvas.fan.depths, canvas.fan.angles
    shares = np.sort(rng.uniform(0.1, 0.95, rng.integers(2, 5)))
    levels = rng.permutation(np.array([-9.0, -3.0, 1.0, -6.0, 3.0]))
    canvas.echo_db += np.float32(rng.uniform(2, 7)) * canvas.coarse + np.float32(rng.uniform(0.5, 2.5)) * canvas.fine
    canvas.echo_db += np.float32(rng.uniform(1, 9)) * np.maximum(canvas.streaks - np.float32(0.3), 0)
    canvas.echo_db -= np.float32(rng.uniform(0, 6))
    previous = np.zeros_like(angle)
    for share, level in zip([*shares, 1.0], levels, strict=False):
        wave = rng.uniform(0.2, 1.6) * np.sin(angle * rng.uniform(2, 9) + rng.uniform(0, 6.3))
        border = np.asarray(share * thickness_mm + wave + rng.normal(0, 2.0) * angle, np.float32)
        inside = (depth >= previous) & (depth < border)
        canvas.echo_db += np.where(inside, np.float32(level + 6 * (share < 0.25)), 0)
        _shine_layer(canvas, depth - border, rng.uniform(6, 20), rng.uniform(0.3, 0.9))
        previous = border
    for _ in range(int(rng.integers(1, 7))):
        _paint_septum(canvas, thickness_mm, rng)
    for _ in range(int(rng.integers(0, 3))):
        _paint_bowel(canvas, rng)
    # Ring-down of the transducer's face.
    canvas.glint += np.exp(-((depth / np.float32(rng.uniform(0.8, 2.5))) ** 2)) * np.float32(10 ** rng.uniform(0.1, 1))


def paint_cavity(
    canvas: Canvas, cavity: Cavity, *, fluid_mm: float, weeks: float, hematoma: bool, rng: Generator
) -> None:
    """Paint wall, placenta and fluid about the fetus; `fluid_mm` is the fluid's usual width beside it."""
    wobble = ((2, rng.uniform(0, 0.08), rng.uniform(0, 6)), (3, rng.uniform(0, 0.06), rng.uniform(0, 6)))
    sac = Ellipse(
        cavity.x + rng.normal(0, 0.3 * fluid_mm),
        cavity.y + rng.normal(0, 0.25 * fluid_mm),
        cavity.half_width + fluid_mm * rng.uniform(0.6, 2.2),
        cavity.half_height + fluid_mm * rng.uniform(0.1, 1.1),
        rng.normal(0, 0.25),
        wobble,
    )
    wall = sac.grown(rng.uniform(4, 10))
    canvas.fill(STILL, wall, rng.uniform(-5, 4), soft=3.0, texture=(3.0, 1.5), streaks=rng.uniform(0, 6))
    canvas.edge(STILL, wall, rng.uniform(4, 14), width=0.9)
    placenta = bool(rng.random() < 0.6)
    if placenta:
        side = rng.choice([-1.0, 1.0]) * np.pi / 2 + rng.normal(0, 0.5)
        thick = rng.uniform(0.6, 1.4) * (10 + 0.6 * weeks)
        paint_placenta(canvas, sac, float(side), float(thick), rng)
    if hematoma:
        _paint_hematoma(canvas, sac, rng)
    particles = rng.uniform(0, 8) if weeks > 28 else 0.0
    canvas.pool(STILL, sac, FLUID_DB + rng.uniform(0, 8) + particles, soft=1.5)
    canvas.edge(STILL, sac, rng.uniform(6, 16), width=0.6, floor=0.12)
    if placenta:
        bed = rng.uniform(0.0, 0.35) * (cavity.half_height + fluid_mm)
        inner = Ellipse(
            sac.u + float(np.cos(side)) * (sac.a - bed),
            sac.v + float(np.sin(side)) * (sac.b - bed),
            sac.a * rng.uniform(0.4, 0.8),
            bed + 6,
            float(side) - np.pi / 2,
            ((3, 0.06, rng.uniform(0, 6)),),
        )
        canvas.fill(STILL, inner, rng.uniform(-3, 5), soft=1.0, texture=(2.0, 2.5))
        canvas.edge(STILL, inner, rng.uniform(6, 14), width=0.5)
        canvas.name("placenta", STILL, inner)
    if fluid_mm > 2:
        canvas.name("amniotic fluid", STILL, sac)


def paint_placenta(canvas: Canvas, sac: Ellipse, side: float, thick_mm: float, rng: Generator) -> None:
    """Paint a disc of placenta outside the sac on the side at this angle."""
    disc = Ellipse(
        sac.u + float(np.cos(side)) * sac.a,
        sac.v + float(np.sin(side)) * sac.b,
        sac.a * rng.uniform(0.6, 1.0),
        thick_mm,
        side - np.pi / 2,
        ((2, 0.08, rng.uniform(0, 6)), (5, 0.03, rng.uniform(0, 6))),
    )
    canvas.fill(STILL, disc, rng.uniform(-2, 5), soft=2.0, texture=(1.5, 2.5))


def paint_clutter(canvas: Canvas, cavity: Cavity, weeks: float, count: int, rng: Generator) -> None:
    """Paint limbs and cord loops beside the fetus, before it is painted."""
    for _ in range(count):
        angle = rng.uniform(0, 2 * np.pi)
        x = cavity.x + np.cos(angle) * cavity.half_width * rng.uniform(1.0, 1.5)
        y = cavity.y + np.sin(angle) * cavity.half_height * rng.uniform(1.0, 1.4)
        pose = Pose(float(x), float(y), rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.5:
            _paint_limb(canvas, pose, weeks, rng)
        else:
            _paint_cord(canvas, pose, weeks, rng)


def _paint_limb(canvas: Canvas, pose: Pose, weeks: float, rng: Generator) -> None:
    length, thick = 1.3 * weeks * rng.uniform(0.5, 1.0), 0.22 * weeks * rng.uniform(0.7, 1.3)
    ends = ((-length / 2, 0.0), (0.0, rng.normal(0, 1.5)), (length / 2, rng.normal(0, 2)))
    flesh = bend(ends, (thick, thick * 1.1, thick * 0.8))
    canvas.fill(pose, flesh, rng.uniform(-12, -3), soft=0.8, texture=(1.0, 2.0))
    canvas.edge(pose, flesh, rng.uniform(3, 12), width=0.5)
    canvas.bone(pose, bend(ends, thick * 0.28), rng.uniform(10, 22), block=rng.uniform(0.8, 3.0))
    canvas.name("limbs", pose, flesh)


def _paint_cord(canvas: Canvas, pose: Pose, weeks: float, rng: Generator) -> None:
    radius = 0.12 * weeks * rng.uniform(0.8, 1.4)
    points = [(0.0, 0.0)]
    heading = rng.uniform(0, 6.3)
    for _ in range(4):
        heading += rng.normal(0, 0.8)
        points.append((points[-1][0] + 5 * radius * np.cos(heading), points[-1][1] + 5 * radius * np.sin(heading)))
    cord = bend(points, radius, 9)
    canvas.fill(pose, cord, rng.uniform(-14, -6), soft=0.6)
    canvas.edge(pose, cord, rng.uniform(2, 10), width=0.4, floor=0.2)
    canvas.pool(pose, bend(points, radius * 0.4, 9), -30.0)


def _paint_septum(canvas: Canvas, thickness_mm: float, rng: Generator) -> None:
    depth = rng.uniform(0.1, 1.0) * thickness_mm
    half = rng.uniform(4, 25)
    x = rng.uniform(-30, 30)
    line = bend(((x - half, depth + rng.normal(0, 1.5)), (x, depth), (x + half, depth + rng.normal(0, 2))), 0.3, 5)
    canvas.strand(STILL, line, rng.uniform(4, 16), width=rng.uniform(0.3, 0.7))


def _paint_bowel(canvas: Canvas, rng: Generator) -> None:
    """Paint a bright curved face with a dirty shadow behind, deep beside the uterus: bowel gas or sacrum."""
    fan = canvas.fan
    depth, angle = rng.uniform(0.55, 1.0) * fan.depth_mm, rng.uniform(-1, 1) * fan.half_angle
    x, y = (fan.radius_mm + depth) * np.sin(angle), (fan.radius_mm + depth) * np.cos(angle) - fan.radius_mm
    half = rng.uniform(6, 22)
    face = bend(((-half, rng.uniform(0, 8)), (0.0, 0.0), (half, rng.uniform(0, 8))), 0.4, 7)
    pose = Pose(float(x), float(y), float(-angle + rng.normal(0, 0.3)))
    canvas.strand(pose, face, rng.uniform(10, 22), width=rng.uniform(0.8, 2.0), block=rng.uniform(0.3, 1.5))


def _paint_hematoma(canvas: Canvas, sac: Ellipse, rng: Generator) -> None:
    """Paint dark blood between wall and sac; the sac, painted next, leaves a crescent of it."""
    side = float(rng.choice([-1.0, 1.0]) * np.pi / 2 + rng.normal(0, 0.6))
    thick = rng.uniform(5, 10)
    edge_u, edge_v = sac.u + np.cos(side) * sac.a, sac.v + np.sin(side) * sac.b
    blood = Ellipse(float(edge_u), float(edge_v), 0.55 * sac.a, thick, side - np.pi / 2, ((3, 0.06, 1.0),))
    canvas.pool(STILL, blood, rng.uniform(-32, -22), soft=1.0)
    canvas.edge(STILL, blood, rng.uniform(6, 14), width=0.6)
    canvas.name("hematoma", STILL, blood)


def _shine_layer(canvas: Canvas, distance: Grid, db: float, width: float) -> None:
    near = np.exp(-((distance / np.float32(width)) ** 2))
    rough = np.float32(10) ** (np.float32(3.0) * canvas.coarse / 20)
    np.maximum(canvas.glint, np.float32(10 ** (db / 20)) * near * rough, out=canvas.glint)
