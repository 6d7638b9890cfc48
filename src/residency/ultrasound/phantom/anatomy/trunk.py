"""Axial planes of the trunk: abdomen and thorax; -v is the spine's side, +v the front, +u the fetus' left."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.growth import circumference, ellipse_axes, size_at, thorax_at
from residency.ultrasound.phantom.plan import Plan, Subject, hand_of, side_of
from residency.ultrasound.phantom.shapes import Ellipse, bend


def paint_wall(canvas: Canvas, pose: Pose, skin: Ellipse, flesh_db: float, wall_mm: float, rng: Generator) -> Ellipse:
    """Paint skin and body wall of an axial cut; return the inner edge of the wall."""
    canvas.fill(pose, skin, flesh_db + rng.uniform(-3, 3), soft=0.8, texture=(1.0, 1.5))
    canvas.edge(pose, skin, rng.uniform(8, 18), width=0.6, floor=rng.uniform(0.08, 0.3), graze=rng.uniform(0.2, 2.0))
    inner = skin.grown(-wall_mm)
    canvas.fill(pose, inner, flesh_db, soft=0.8, texture=(3.0, 3.0), streaks=rng.uniform(0, 6))
    canvas.edge(pose, inner, rng.uniform(3, 11), width=0.5)
    return inner


def paint_vertebra(canvas: Canvas, pose: Pose, v: float, size: float, rng: Generator) -> None:
    """Paint a vertebra's three ossification centres about (0, v) with their shadows; `size` mm from body to arch."""
    block, db = rng.uniform(1.0, 3.5), rng.uniform(14, 24)
    canvas.bone(pose, Ellipse(0, v + 0.35 * size, 0.3 * size, 0.22 * size), db, block=block)
    for side in (-1, 1):
        arch = bend(
            ((side * 0.5 * size, v), (side * 0.42 * size, v - 0.25 * size), (side * 0.12 * size, v - 0.55 * size)),
            0.13 * size,
            4,
        )
        canvas.bone(pose, arch, db, block=block)
    canvas.pool(pose, Ellipse(0, v - 0.12 * size, 0.2 * size, 0.17 * size), -24.0, mix=0.7)


def paint_ribs(canvas: Canvas, pose: Pose, wall: Ellipse, count: int, span: float, rng: Generator) -> None:
    """Paint `count` pieces of rib along each flank, `span` radians long, with shadows."""
    block, db = rng.uniform(0.6, 2.5), rng.uniform(12, 22)
    for side in (-1, 1):
        for phase in np.linspace(-0.9, 0.6, count) + rng.normal(0, 0.06, count):
            angles = phase + np.linspace(-span / 2, span / 2, 4)
            points = [(wall.u + side * wall.a * np.cos(t), wall.v + wall.b * np.sin(t)) for t in angles]
            rib = bend(points, 0.018 * wall.a + 0.4, 5)
            canvas.bone(pose, rib, db, block=block, width=0.6)


def paint_vessel(canvas: Canvas, pose: Pose, u: float, v: float, radius: float, rng: Generator) -> Ellipse:
    """Paint a vessel cut across: a dark disc with a thin bright wall; return it."""
    disc = Ellipse(u, v, radius, radius)
    canvas.pool(pose, disc, -36.0, soft=0.4)
    canvas.edge(pose, disc, rng.uniform(3, 12), width=0.4, floor=0.2)
    return disc


@dataclass(frozen=True)
class Abdomen:
    """An abdomen's skin semi-axes a, b in mm; `upper` shows stomach and umbilical vein, else kidneys."""

    a: float
    b: float
    upper: bool
    weeks: float
    off: float

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint wall, ribs, spine, vessels and organs."""
        a, b, flesh = self.a, self.b, rng.uniform(-8, 0)
        skin = Ellipse(0, 0, a, b, 0, ((2, 0.01, rng.uniform(0, 6)), (3, 0.012, rng.uniform(0, 6))))
        wall = paint_wall(canvas, pose, skin, flesh, 0.06 * a + rng.uniform(0.8, 2.0), rng)
        canvas.name("abdominal wall", pose, skin)
        for _ in range(int(rng.integers(2, 7))):
            u, v = rng.uniform(-0.6, 0.2) * a, rng.uniform(-0.2, 0.6) * b
            canvas.pool(
                pose, bend(((u, v), (u + rng.normal(0, 0.2) * a, v + rng.normal(0, 0.15) * b)), 0.018 * a, 4), -22.0
            )
        if self.upper:
            self._upper(canvas, pose, flesh, rng)
        else:
            self._middle(canvas, pose, flesh, rng)
        size = 0.2 * a + 3
        paint_ribs(canvas, pose, wall, int(rng.integers(1, 4)), rng.uniform(0.2, 0.5), rng)
        paint_vertebra(canvas, pose, -0.68 * b, size, rng)
        aorta = paint_vessel(canvas, pose, 0.07 * a, -0.68 * b + 0.85 * size, 0.05 * a, rng)
        canvas.name("aorta", pose, aorta)
        canvas.name("vertebrae" if self.upper else "lumbar vertebrae", pose, Ellipse(0, -0.68 * b, size / 2, size / 2))

    def _upper(self, canvas: Canvas, pose: Pose, flesh: float, rng: Generator) -> None:
        a, b = self.a, self.b
        canvas.name("liver", pose, Ellipse(-0.35 * a, 0.15 * b, 0.4 * a, 0.5 * b))
        canvas.fill(
            pose,
            Ellipse(-0.3 * a, 0.15 * b, 0.5 * a, 0.6 * b),
            flesh + rng.uniform(-3, 1),
            soft=4.0,
            texture=(1.0, 2.0),
        )
        spleen = Ellipse(0.68 * a, -0.35 * b, 0.16 * a, 0.24 * b, 0.4)
        canvas.fill(pose, spleen, flesh + rng.uniform(-1, 3), soft=1.0)
        cava = paint_vessel(canvas, pose, -0.2 * a, -0.26 * b, 0.045 * a, rng)
        canvas.name("inferior vena cava", pose, cava)
        if self.off < 0.8:
            stomach = Ellipse(
                rng.uniform(0.38, 0.52) * a,
                rng.uniform(-0.15, 0.1) * b,
                rng.uniform(0.14, 0.26) * a,
                rng.uniform(0.1, 0.19) * a,
                rng.uniform(-0.8, 0.8),
                ((2, 0.1, 1.0),),
            )
            canvas.pool(pose, stomach, -38 + rng.uniform(0, 6))
            canvas.edge(pose, stomach, rng.uniform(4, 12), width=0.5)
            canvas.name("stomach", pose, stomach)
        if self.off < 0.6:
            tip = rng.uniform(0.45, 0.62)
            vein = bend(
                ((0.02 * a, tip * b), (-0.02 * a, 0.28 * b), (-0.16 * a, 0.1 * b), (-0.3 * a, 0.08 * b)), 0.045 * a, 7
            )
            canvas.pool(pose, vein, -34.0)
            canvas.edge(pose, vein, rng.uniform(4, 13), width=0.5)
            canvas.name("umbilical vein", pose, vein)
        if rng.random() < 0.3:
            bladder = bend(((-0.25 * a, 0.45 * b), (-0.42 * a, 0.15 * b)), (0.05 * a, 0.09 * a), 5)
            canvas.pool(pose, bladder, -38.0)
            canvas.edge(pose, bladder, rng.uniform(3, 10), width=0.4)
            canvas.name("gallbladder", pose, bladder)
        if rng.random() < 0.4:
            gland = Ellipse(0.3 * a, -0.5 * b, 0.16 * a, 0.07 * a, 0.6)
            canvas.fill(pose, gland, flesh - 7, soft=0.6)
            canvas.strand(pose, bend(((0.2 * a, -0.56 * b), (0.4 * a, -0.44 * b)), 0.3), 6.0, width=0.5)
            canvas.name("suprarenal gland", pose, gland)

    def _middle(self, canvas: Canvas, pose: Pose, flesh: float, rng: Generator) -> None:
        a, b = self.a, self.b
        for side in (-1, 1):
            kidney = Ellipse(side * 0.42 * a, -0.42 * b, 0.22 * a, 0.19 * b, side * -0.4)
            canvas.fill(pose, kidney, flesh - rng.uniform(3, 7), soft=0.7, texture=(0.5, 2.0))
            canvas.edge(pose, kidney, rng.uniform(4, 11), width=0.6, floor=0.25)
            canvas.pool(pose, Ellipse(side * 0.38 * a, -0.4 * b, 0.07 * a, 0.035 * a, side * -0.4), -30.0)
            canvas.name("kidney", pose, kidney)
        for _ in range(int(rng.integers(4, 10))):
            loop = Ellipse(rng.normal(0, 0.3) * a, rng.uniform(-0.1, 0.6) * b, 0.08 * a, 0.05 * a, rng.uniform(0, 3))
            canvas.fill(pose, loop, flesh + rng.uniform(-6, 6), soft=1.0)
            canvas.edge(pose, loop, rng.uniform(0, 8), width=0.5)
        if rng.random() < 0.5:
            canvas.name("liver", pose, Ellipse(-0.6 * a, 0.2 * b, 0.2 * a, 0.3 * b))


@dataclass(frozen=True)
class Thorax:
    """A thorax' skin semi-axes a, b in mm at the four-chamber plane; `axis` the heart's angle to the midline."""

    a: float
    b: float
    axis: float
    defect: bool
    weeks: float
    off: float

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint wall, lungs, heart, ribs, spine and great vessels."""
        a, b, flesh = self.a, self.b, rng.uniform(-6, 2)
        skin = Ellipse(0, 0, a, b, 0, ((2, 0.015, rng.uniform(0, 6)), (3, 0.012, rng.uniform(0, 6))))
        wall = paint_wall(canvas, pose, skin, flesh, 0.09 * a + 1, rng)
        canvas.name("thorax", pose, skin)
        for side in (-1, 1):
            lung = Ellipse(side * 0.48 * a, -0.05 * b, 0.38 * a, 0.66 * b, side * 0.1)
            canvas.fill(pose, lung, flesh + rng.uniform(1, 7), soft=2.5, texture=(1.0, 2.0))
            canvas.name("lungs", pose, lung)
        size = 0.2 * a + 2.5
        self._heart(canvas, pose, flesh, rng)
        aorta = paint_vessel(canvas, pose, 0.14 * a, -0.62 * b + 0.75 * size, 0.065 * a, rng)
        canvas.name("aorta", pose, aorta)
        paint_ribs(canvas, pose, wall, int(rng.integers(1, 4)), rng.uniform(0.4, 1.2), rng)
        paint_vertebra(canvas, pose, -0.62 * b, size, rng)
        canvas.name("vertebrae", pose, Ellipse(0, -0.62 * b, size / 2, size / 2))
        canvas.name("rib cage", pose, wall)

    @property
    def apex(self) -> tuple[float, float]:
        """The direction of the cardiac apex: front and left."""
        return float(np.sin(self.axis)), float(np.cos(self.axis))

    def _heart(self, canvas: Canvas, pose: Pose, flesh: float, rng: Generator) -> None:
        a, (du, dv) = self.a, self.apex
        centre = (0.12 * a, 0.12 * self.b)
        scale = 0.54 * a
        heart = Pose(*self._at(pose, *centre), self._angle(pose, du, dv), pose.mirrored)
        clear, muscle = 1 - 0.6 * self.off, flesh - rng.uniform(1, 8)
        sac = Ellipse(0, 0, scale, 0.78 * scale, 0, ((3, 0.06, np.pi),))
        canvas.fill(heart, sac, muscle, soft=0.8, texture=(0.5, 2.0), loss=0.6)
        canvas.edge(heart, sac, rng.uniform(4, 13), width=0.6, floor=0.15)
        blood = -36 + 20 * self.off + rng.uniform(0, 8)
        rooms = ((0.3, 0.3, 0.46, 0.23), (0.27, -0.3, 0.42, 0.24), (-0.5, 0.31, 0.3, 0.27), (-0.5, -0.32, 0.3, 0.29))
        for u, v, long, wide in rooms:
            room = Ellipse(u * scale, v * scale, long * scale, wide * scale, -0.15 * np.sign(u * v), ((3, 0.06, 2.0),))
            canvas.pool(heart, room, blood, soft=0.6)
            canvas.edge(heart, room, rng.uniform(1, 9) * clear, width=0.5, floor=0.2)
        ink = rng.uniform(8, 16) * clear
        gap = 0.18 if self.defect else 0.0
        septum = bend(
            ((0.85 * scale, 0.0), (0.45 * scale, 0.01 * scale), ((-0.08 + 1.6 * gap) * scale, 0.0)), 0.06 * scale
        )
        canvas.fill(heart, septum, muscle + 4, soft=0.4)
        canvas.strand(heart, septum, ink - 3, width=0.5)
        if self.defect:
            hole = Ellipse(0.04 * scale, 0.0, gap * scale * 0.75, 0.14 * scale)
            canvas.pool(heart, hole, blood, soft=0.4)
            canvas.name("septal defect", heart, hole)
        canvas.strand(heart, bend(((-0.08 * scale, 0.0), (-0.25 * scale, 0.0)), 0.3), ink, width=0.5)
        canvas.strand(heart, bend(((-0.5 * scale, 0.0), (-0.75 * scale, 0.0)), 0.3), ink - 3, width=0.5)
        for side in (-1, 1):
            leaf = bend(
                (
                    (-0.1 * scale, side * 0.04 * scale),
                    (rng.uniform(-0.1, 0.1) * scale, side * 0.28 * scale),
                    (-0.14 * scale, side * 0.55 * scale),
                ),
                0.3,
            )
            canvas.strand(heart, leaf, ink, width=0.5)
        band = bend(((0.5 * scale, -0.05 * scale), (0.58 * scale, -0.35 * scale)), 0.05 * scale, 4)
        canvas.fill(heart, band, muscle + 3, soft=0.4)
        if self.off < 0.6:
            canvas.name("four chambers of heart", heart, sac)

    def _at(self, pose: Pose, u: float, v: float) -> tuple[float, float]:
        x, y = pose.to_probe(np.array([[u, v]]))[0]
        return float(x), float(y)

    def _angle(self, pose: Pose, du: float, dv: float) -> float:
        x, y = pose.heading(du, dv)
        return float(np.arctan2(y, x))


def plan_abdomen(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of an axial cut of the abdomen, upper (stomach, umbilical vein) or middle (kidneys)."""
    upper = bool(rng.random() < 0.75)
    b, a = ellipse_axes(size_at("AC", subject.weeks) * subject.growth, 1 / rng.uniform(0.88, 1.0))
    body = Abdomen(a, b, upper, subject.weeks, off_plane)
    level = "upper" if upper else "mid"
    return Plan(
        half_u=a + 2,
        half_v=b + 2,
        turn=float(rng.uniform(-np.pi, np.pi)),
        mirrored=bool(rng.random() < 0.5),
        paint=body.paint,
        orient=lambda pose: f"axial {level} abdomen, vertebral column to {side_of(pose.heading(0, -1))}",
        plane="transverse trans-abdominal plane",
        measurable=("AC",),
        measures={"AC": circumference(a, b), "APAD": 2 * b, "TAD": 2 * a},
        spans={"AC": ((-a, 0.0), (a, 0.0)), "APAD": ((0.0, -b), (0.0, b))},
        normal_finding="normal for gestational age",
    )


def plan_thorax(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of the four-chamber view; a gap in the septum where the subject has a VSD."""
    b, a = ellipse_axes(thorax_at(subject.weeks) * subject.growth, 1 / rng.uniform(0.85, 1.0))
    axis = np.deg2rad(rng.normal(45, 8))
    body = Thorax(a, b, float(axis), subject.finding == "abnormal VSD", subject.weeks, off_plane)
    return Plan(
        half_u=a + 2,
        half_v=b + 2,
        turn=float(rng.uniform(-np.pi, np.pi)),
        mirrored=bool(rng.random() < 0.5),
        paint=body.paint,
        orient=lambda pose: f"axial thorax, cardiac apex to {hand_of(pose.heading(*body.apex))}",
        plane="transverse 4-chamber heart view",
        measurable=("cardiac chamber dimensions",),
        measures={"TC": circumference(a, b), "heart length": 0.88 * a},
        spans={"TC": ((-a, 0.0), (a, 0.0))},
    )
