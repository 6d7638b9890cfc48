"""Lengthwise views along the spine: the aorta (coronal, sagittal) and the cervical region; +u is to the head."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.growth import aorta_at, ellipse_axes, size_at
from residency.ultrasound.phantom.plan import Plan, Subject, hand_of, lie_across
from residency.ultrasound.phantom.shapes import Ellipse, Grid, Merged, bend


def paint_column(
    canvas: Canvas, pose: Pose, points: list[tuple[float, float]], pitch: float, height: float, rng: Generator
) -> None:
    """Paint vertebral bodies along points and arches `height` mm behind them (towards -v), `pitch` mm apart."""
    curve = np.asarray(bend(points, 1.0, 60).points)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    block, db = rng.uniform(0.5, 1.6), rng.uniform(12, 20)
    for place in np.arange(0, along[-1], pitch):
        u, v = np.interp(place, along, curve[:, 0]), np.interp(place, along, curve[:, 1])
        body = Ellipse(float(u), float(v), 0.34 * pitch, 0.3 * pitch)
        canvas.fill(pose, body, db, soft=0.6, mix=0.9, block=block)
        canvas.fill(
            pose, Ellipse(float(u), float(v) - height, 0.3 * pitch, 0.2 * pitch), db, soft=0.6, mix=0.9, block=block
        )


@dataclass(frozen=True)
class Vessel:
    """An aorta of `diameter` mm in a trunk `deep` mm across; coronal shows its fork and the kidneys."""

    diameter: float
    deep: float
    coronal: bool
    weeks: float
    off: float

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint trunk, organs, spine (sagittal) or kidneys (coronal), and the vessel."""
        d, half = self.deep, self.deep / 2
        flesh = rng.uniform(-8, -1)
        trunk = bend(((-1.1 * d, 0.0), (0.0, 0.04 * d), (1.1 * d, 0.0)), (half * 0.9, half, half * 0.85), 7)
        canvas.fill(pose, trunk, flesh, soft=0.8, texture=(2.5, 2.5))
        canvas.edge(pose, trunk, rng.uniform(7, 15), width=0.6, floor=0.2)
        lung = Ellipse(0.75 * d, 0.05 * d, 0.35 * d, 0.4 * d)
        canvas.fill(pose, lung, flesh + rng.uniform(1, 5), soft=2.5, texture=(0.5, 2.0))
        vault = bend(((0.42 * d, -0.42 * d), (0.5 * d, 0.0), (0.4 * d, 0.42 * d)), 0.3, 7)
        canvas.strand(pose, vault, rng.uniform(2, 10), width=0.6)
        canvas.name("diaphragm", pose, bend(((0.42 * d, -0.42 * d), (0.5 * d, 0.0), (0.4 * d, 0.42 * d)), 0.8, 7))
        if self.coronal:
            self._kidneys(canvas, pose, flesh, rng)
        else:
            height = 0.16 * d
            paint_column(
                canvas,
                pose,
                [(-1.0 * d, -0.2 * d), (0.0, -0.17 * d), (1.0 * d, -0.22 * d)],
                0.085 * d + 1.2,
                height,
                rng,
            )
            canvas.name("vertebrae", pose, bend(((-0.9 * d, -0.25 * d), (0.9 * d, -0.27 * d)), 0.1 * d))
            liver = Ellipse(0.15 * d, 0.25 * d, 0.3 * d, 0.18 * d)
            canvas.fill(pose, liver, flesh + rng.uniform(-2, 2), soft=2.0)
            canvas.name("liver", pose, liver)
        self._vessel(canvas, pose, rng)

    def _vessel(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        d, r = self.deep, self.diameter / 2
        v = 0.0 if self.coronal else -0.06 * d
        main = bend(((-0.5 * d, v), (0.2 * d, v + rng.normal(0, 0.015) * d), (0.95 * d, v + 0.02 * d)), r, 9)
        tubes = [main]
        if self.coronal:
            tubes += [
                bend(((-0.48 * d, v), (-0.68 * d, s * 0.07 * d), (-0.95 * d, s * 0.2 * d)), r * 0.72, 7)
                for s in (-1, 1)
            ]
            tubes += [bend(((0.0, v), (-0.05 * d, s * 0.2 * d)), r * 0.4, 5) for s in (-1, 1)]
        else:
            tubes += [bend(((u * d, v), ((u - 0.12) * d, v + 0.2 * d)), r * 0.4, 5) for u in (0.12, 0.26)]
        whole = Merged(tuple(tubes), 0.6)
        db = rng.uniform(5, 14) * (1 - 0.4 * self.off)
        canvas.edge(pose, whole, db, width=0.5, floor=0.25)
        canvas.pool(pose, whole, -36 + 14 * self.off, soft=0.4)
        canvas.name("aorta", pose, main)

    def _kidneys(self, canvas: Canvas, pose: Pose, flesh: float, rng: Generator) -> None:
        d = self.deep
        for side in (-1, 1):
            kidney = Ellipse(-0.08 * d, side * 0.27 * d, 0.24 * d, 0.12 * d, side * 0.15)
            canvas.fill(pose, kidney, flesh - rng.uniform(2, 6), soft=0.8, texture=(0.5, 2.0))
            canvas.edge(pose, kidney, rng.uniform(4, 10), width=0.5, floor=0.25)
            canvas.pool(pose, Ellipse(-0.08 * d, side * 0.25 * d, 0.09 * d, 0.02 * d), -26.0)
            canvas.name("kidney", pose, kidney)


def plan_aorta(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of the descending aorta lengthwise, coronal or sagittal."""
    diameter = aorta_at(subject.weeks) * subject.growth * rng.normal(1, 0.06)
    deep = size_at("AC", subject.weeks) * subject.growth / np.pi
    coronal = bool(rng.random() < 0.5)
    vessel = Vessel(float(diameter), float(deep), coronal, subject.weeks, off_plane)
    plane = "coronal view of aorta" if coronal else "sagittal view of aorta"
    v = 0.0 if coronal else -0.06 * deep
    return Plan(
        half_u=deep * rng.uniform(0.75, 1.0),
        half_v=0.5 * deep,
        turn=lie_across(rng, 0.3, 0.1),
        mirrored=bool(rng.random() < 0.5),
        paint=vessel.paint,
        orient=lambda pose: plane,
        plane=plane,
        measurable=("aortic transverse diameter",),
        measures={"aorta": float(diameter)},
        spans={"aorta": ((0.2 * deep, v - diameter / 2), (0.2 * deep, v + diameter / 2))},
    )


@dataclass(frozen=True)
class Nape:
    """Head and neck from the side after the first trimester: skull semi-axes a, b and nuchal fold in mm."""

    a: float
    b: float
    fold: float
    mid: bool
    weeks: float

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint trunk, neck, head, cervical spine, face."""
        a, b = self.a, self.b
        head = Ellipse(0.62 * a, 0.1 * b, 0.9 * a, b, 0.5, ((3, 0.02, 1.0),))
        trunk = Ellipse(-1.45 * a, 0.05 * b, 0.95 * a, 0.85 * b, 0.0)
        neck = Ellipse(-0.4 * a, -0.02 * b, 0.6 * a, 0.56 * b)
        chin = Ellipse(-0.12 * a, 0.78 * b, 0.26 * a, 0.24 * b)
        flesh = rng.uniform(-8, -2)
        body = Merged((head, neck, trunk, chin), 0.3 * a)
        canvas.fill(pose, body, flesh, soft=0.8, texture=(2.0, 2.5))
        canvas.edge(pose, body, rng.uniform(8, 16), width=0.5, floor=0.2)
        brain = head.grown(-self.fold * 0.8)
        canvas.fill(pose, brain, flesh - rng.uniform(6, 13), soft=1.2, texture=(2.0, 3.0), loss=0.7)

        def vault(u: Grid, v: Grid) -> Grid:
            phase = np.arctan2(v - np.float32(head.v), u - np.float32(head.u)) - np.float32(0.5)
            return np.where(np.abs((phase - 2.0 + np.pi) % (2 * np.pi) - np.pi) < 0.75, np.float32(0.08), np.float32(1))

        canvas.edge(
            pose, brain, rng.uniform(18, 27), width=0.9, power=1.6, floor=0.1, block=1.2, graze=2.0, where=vault
        )
        canvas.name("fetal skull", pose, head)
        spine = [(0.05 * a, -0.3 * b), (-0.4 * a, -0.22 * b), (-0.9 * a, -0.42 * b), (-2.0 * a, -0.5 * b)]
        paint_column(canvas, pose, spine, 0.075 * a + 1.4, 0.17 * a, rng)
        canvas.name("vertebrae", pose, bend(spine, 0.12 * a))
        canvas.name("neck", pose, Ellipse(-0.4 * a, 0.0, 0.3 * a, 0.5 * b))
        fold = bend(((0.2 * a, -0.66 * b), (-0.25 * a, -0.58 * b), (-0.7 * a, -0.72 * b)), self.fold / 2, 7)
        canvas.fill(pose, fold, flesh - 8, soft=0.6)
        canvas.name("nuchal fold", pose, fold)
        throat = bend(((-0.05 * a, 0.42 * b), (-0.5 * a, 0.22 * b), (-1.0 * a, 0.15 * b)), 0.035 * a, 7)
        canvas.pool(pose, throat, -32.0)
        canvas.edge(pose, throat, rng.uniform(2, 9), width=0.5)
        if self.mid:
            self._face(canvas, pose, flesh, rng)

    def _face(self, canvas: Canvas, pose: Pose, flesh: float, rng: Generator) -> None:
        a, b = self.a, self.b
        nose = Ellipse(0.42 * a, 1.12 * b, 0.13 * a, 0.1 * b)
        canvas.fill(pose, nose, flesh, soft=0.6)
        canvas.edge(pose, nose, rng.uniform(8, 15), width=0.5, floor=0.25)
        bone = bend(((0.62 * a, 1.0 * b), (0.48 * a, 1.1 * b)), 0.4, 4)
        canvas.strand(pose, bone, rng.uniform(16, 24), width=0.7, floor=0.4)
        canvas.name("nasal bone", pose, bone)
        lip = Ellipse(0.2 * a, 1.0 * b, 0.1 * a, 0.1 * b)
        canvas.fill(pose, lip, flesh, soft=0.6)
        canvas.edge(pose, lip, rng.uniform(6, 12), width=0.5)
        canvas.name("upper lip", pose, lip)
        jaw = bend(((0.0, 0.6 * b), (-0.1 * a, 0.85 * b)), 0.05 * a, 5)
        canvas.bone(pose, jaw, rng.uniform(14, 22), block=1.2)
        canvas.name("mandible", pose, jaw)
        palate = bend(((0.2 * a, 0.5 * b), (0.28 * a, 0.9 * b)), 0.03 * a, 5)
        canvas.bone(pose, palate, rng.uniform(14, 22), block=1.2)
        canvas.name("facial profile", pose, Ellipse(0.25 * a, 0.9 * b, 0.4 * a, 0.2 * b))


def plan_cervical(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of the cervical region from the side, with the profile where the cut is mid-sagittal."""
    a, b = ellipse_axes(size_at("HC", subject.weeks) * subject.growth, 0.82)
    mid = bool(rng.random() < 0.6) and off_plane < 0.5
    nape = Nape(a, b, 0.9 + 0.13 * subject.weeks, mid, subject.weeks)
    return Plan(
        half_u=1.35 * a,
        half_v=1.1 * b,
        turn=lie_across(rng, 0.35, 0.1),
        mirrored=bool(rng.random() < 0.5),
        paint=nape.paint,
        orient=lambda pose: f"fetal head to {hand_of(pose.heading(1, 0))}",
        plane="sagittal profile" if mid else "para-sagittal",
        measurable=(),
        measures={"nuchal fold": nape.fold},
        middle=(-0.1 * a, 0.2 * b),
    )
