"""Axial planes of the head: trans-thalamic, trans-cerebellar, trans-ventricular; +u is frontal, v across."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.growth import cerebellum_at, circumference, ellipse_axes, size_at
from residency.ultrasound.phantom.plan import Plan, Subject, lie_across
from residency.ultrasound.phantom.shapes import Ellipse, Grid, bend

PLANES = {
    "trans-thalamic": "trans-thalamic view",
    "trans-cerebellum": "trans-cerebellar view",
    "trans-ventricular": "trans-ventricular view",
}
MEASURABLE = {
    "trans-thalamic": ("BPD", "HC"),
    "trans-cerebellum": ("cerebellar and cisterna magna",),
    "trans-ventricular": ("BPD", "HC", "lateral ventricle dimensions"),
}


@dataclass(frozen=True)
class Head:
    """A head's outer skull semi-axes a, b and inner sizes, all in mm; `off` (0 to 1) how far off the plane."""

    kind: str
    a: float
    b: float
    bone: float
    atrium: float
    cerebellum: float
    cisterna: float
    weeks: float
    off: float

    @property
    def skull(self) -> Ellipse:
        """The outer edge of the skull."""
        return Ellipse(0, 0, self.a, self.b, 0, ((4, 0.008, 0.0),))

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint scalp, skull, brain and what the plane shows."""
        skull, near = self.skull, 0.25 * self.bone
        scalp = skull.grown(rng.uniform(1.5, 3.5))
        canvas.fill(pose, scalp, rng.uniform(-8, -2), soft=0.8)
        canvas.edge(pose, scalp, rng.uniform(0, 8), width=0.4)
        dark = rng.uniform(-22, -11)
        wisps = rng.uniform(3, 17)
        canvas.fill(pose, skull, dark, soft=0.6, texture=(3.0, 3.0), streaks=wisps, loss=rng.uniform(0.5, 0.9))
        core = Ellipse(rng.normal(0, 0.1) * self.a, 0.0, 0.55 * self.a, 0.45 * self.b)
        bright = dark + rng.uniform(1, 7)
        canvas.fill(pose, core, bright, soft=0.4 * self.b, texture=(2.0, 4.0), streaks=wisps, loss=0.7)
        self._paint_brain(canvas, pose, dark, rng)
        if self.off < 0.75:
            paint = {"trans-thalamic": self._thalami, "trans-cerebellum": self._cerebellum}
            paint.get(self.kind, self._ventricles)(canvas, pose, dark, rng)
        self._paint_skull(canvas, pose, near, rng)
        canvas.name("fetal skull", pose, skull)
        canvas.name("brain parenchyma", pose, skull.grown(-4 * self.bone))

    def _paint_skull(self, canvas: Canvas, pose: Pose, near: float, rng: Generator) -> None:
        gaps = rng.uniform(-np.pi, np.pi, 2)
        drop = rng.uniform(0.2, 0.9)

        def solid(u: Grid, v: Grid) -> Grid:
            # Sutures and fontanelles: short gaps in the bone.
            phase = np.arctan2(v / np.float32(self.b), u / np.float32(self.a))
            weight = np.ones_like(phase)
            for gap in gaps:
                away = np.abs((phase - np.float32(gap) + np.pi) % (2 * np.pi) - np.pi)
                weight = weight * (1 - np.float32(drop) * np.exp(-((away / 0.07) ** 2)))
            return weight

        canvas.edge(
            pose,
            self.skull.grown(-self.bone / 2),
            rng.uniform(17, 30),
            width=self.bone * rng.uniform(0.55, 0.9),
            power=rng.uniform(1.2, 3.0),
            floor=rng.uniform(0.03, 0.2),
            block=rng.uniform(0.5, 3.0),
            graze=rng.uniform(0.5, 6.0),
            where=solid,
        )
        canvas.edge(pose, self.skull.grown(-self.bone - near), rng.uniform(4, 12), width=0.4, floor=0.05)

    def _paint_brain(self, canvas: Canvas, pose: Pose, dark: float, rng: Generator) -> None:
        a, b, ink = self.a, self.b, rng.uniform(2, 15)
        fade = 1.0 - 0.5 * self.off
        cavum = self.kind != "trans-ventricular" or rng.random() < 0.6
        gap = (0.30, 0.52) if cavum else (0.4, 0.4)
        back = -0.30 if self.kind == "trans-cerebellum" else -0.92
        middle = (-0.20, 0.16) if self.kind != "trans-ventricular" else (0.0, 0.0)
        shift = rng.normal(0, 0.02) * b
        for low, high in ((gap[1], 0.93), (middle[1], gap[0]), (back, middle[0])):
            if high - low > 0.05:
                line = bend(((low * a, shift), ((low + high) / 2 * a, shift + rng.normal(0, 0.3)), (high * a, 0)), 0.3)
                canvas.strand(pose, line, ink * fade, width=rng.uniform(0.35, 0.8), floor=0.25)
        falx = bend(((0.55 * a, shift), (0.93 * a, 0.0)), 0.8)
        canvas.name("falx cerebri", pose, falx)
        canvas.name("interhemispheric fissure", pose, bend(((-0.9 * a, 0.0), (-0.55 * a, shift)), 0.8))
        if cavum and self.off < 0.5:
            box = Ellipse(0.41 * a, shift, 0.11 * a, rng.uniform(0.035, 0.055) * a, 0)
            canvas.pool(pose, box, dark - 14, soft=0.4)
            canvas.edge(pose, box, ink + 2, width=0.45, floor=0.1)
            canvas.name("cavum septum pellucidum", pose, box)
        for side in (-1, 1):
            self._paint_cortex(canvas, pose, side, dark, rng)
        # The half nearer to the probe drowns in the skull's reverberation.
        top = -1.0 if pose.heading(0, 1)[1] > 0 else 1.0
        veil = Ellipse(0, top * 0.6 * b, 0.85 * a, 0.36 * b)
        canvas.fill(
            pose, veil, dark + rng.uniform(-2, 8), soft=0.5 * b, mix=rng.uniform(0.2, 0.9), loss=0.7, cover=False
        )

    def _paint_cortex(self, canvas: Canvas, pose: Pose, side: int, dark: float, rng: Generator) -> None:
        a, b = self.a, self.b
        insula = bend(((-0.12 * a, side * 0.66 * b), (0.1 * a, side * 0.6 * b), (0.3 * a, side * 0.68 * b)), 0.4)
        canvas.strand(pose, insula, rng.uniform(0, 10), width=0.6)
        sulci = int(np.clip((self.weeks - 19) * 0.7 + rng.normal(0, 1.5), 0, 12))
        for _ in range(sulci):
            phase = rng.uniform(0.3, 2.8)
            start, depth = rng.uniform(0.86, 0.93), rng.uniform(0.08, 0.28)
            turn = rng.normal(0, 0.18)
            spots = [
                (
                    (start - depth * t) * a * np.cos(phase + turn * t),
                    side * (start - depth * t) * b * np.sin(phase + turn * t),
                )
                for t in (0.0, 0.5, 1.0)
            ]
            canvas.strand(pose, bend(spots, 0.3, 4), dark + rng.uniform(12, 26), width=0.45, floor=0.35)
        if self.weeks > 22:
            canvas.name("cerebral cortex", pose, Ellipse(0, side * 0.8 * b, 0.5 * a, 0.1 * b))

    def _thalami(self, canvas: Canvas, pose: Pose, dark: float, rng: Generator) -> None:
        a, b, clear = self.a, self.b, 1 - self.off
        for side in (-1, 1):
            body = Ellipse(-0.02 * a, side * 0.2 * b, 0.21 * a, 0.17 * b, side * 0.35, ((3, 0.05, 1.0),))
            canvas.fill(pose, body, dark - rng.uniform(2, 6) * clear, soft=0.8, texture=(0.5, 1.0))
            canvas.edge(pose, body, dark + rng.uniform(9, 16) * clear, width=0.6, floor=0.2)
            canvas.name("thalami", pose, body)
            wing = Ellipse(-0.34 * a, side * 0.3 * b, 0.16 * a, 0.1 * b, side * -0.5)
            canvas.fill(pose, wing, dark + rng.uniform(3, 9), soft=1.2, texture=(0, 2.0))
        slit = Ellipse(0, 0, 0.13 * a, 0.022 * a)
        canvas.pool(pose, slit, dark - 14, soft=0.4)
        canvas.edge(pose, slit, rng.uniform(0, 8) * clear, width=0.4)
        canvas.name("third ventricle", pose, slit)

    def _ventricles(self, canvas: Canvas, pose: Pose, dark: float, rng: Generator) -> None:
        a, b, wide = self.a, self.b, self.atrium
        for side in (-1, 1):
            offset = side * (0.30 * b + 0.25 * wide)
            horn = bend(
                ((-0.62 * a, offset * 1.35), (-0.4 * a, offset * 1.1), (-0.1 * a, offset * 0.75)),
                (wide * 0.5, wide * 0.5, wide * 0.24),
            )
            canvas.pool(pose, horn, dark - rng.uniform(10, 20), soft=0.5)
            canvas.edge(pose, horn, rng.uniform(4, 14), width=0.5, floor=0.12)
            canvas.name("lateral ventricle", pose, horn)
            sag = min(0.2 * (wide - 6), 1.5) * side
            plexus = Ellipse(-0.33 * a, offset + sag, 0.17 * a, min(0.38 * wide, 0.14 * b), side * -0.25)
            canvas.fill(pose, plexus, rng.uniform(-2, 6), soft=0.8, texture=(0.5, 2.0))
            canvas.name("choroid plexus", pose, plexus)
            front = bend(((0.3 * a, side * 0.12 * b), (0.5 * a, side * 0.3 * b)), (0.8, 0.14 * wide))
            canvas.pool(pose, front, dark - 10, soft=0.5)
            canvas.edge(pose, front, rng.uniform(0, 8), width=0.4)

    def _cerebellum(self, canvas: Canvas, pose: Pose, dark: float, rng: Generator) -> None:
        a, half = self.a, self.cerebellum / 2
        back = -(a - self.bone - self.cisterna)
        u = back + 0.52 * half
        tank = Ellipse(back - 0.1 * self.cisterna, 0, self.cisterna * 0.95, 0.85 * half)
        canvas.pool(pose, tank, dark - 16, soft=0.6)
        canvas.name("cisterna magna", pose, tank)
        for side in (-1, 1):
            lobe = Ellipse(u, side * 0.52 * half, 0.5 * half, 0.49 * half, 0, ((3, 0.04, 0.0),))
            canvas.fill(pose, lobe, dark + rng.uniform(1, 5), soft=0.6, texture=(0.5, 2.0))
            canvas.edge(pose, lobe, rng.uniform(3, 12), width=0.5, floor=0.3)
            for fold in (-0.2, 0.1):
                leaf = Ellipse(u, side * 0.52 * half, (0.35 + fold) * half, (0.3 + fold) * half)
                canvas.edge(pose, leaf, dark + 9, width=0.4, floor=0.4)
            canvas.name("cerebellum", pose, lobe)
            stalk = Ellipse(u + 0.8 * half, side * 0.3 * half, 0.35 * half, 0.2 * half, side * 0.6)
            canvas.fill(pose, stalk, dark - rng.uniform(2, 5), soft=0.6)
            canvas.edge(pose, stalk, dark + 9, width=0.5)
            canvas.name("cerebral peduncle", pose, stalk)
        vermis = Ellipse(u, 0, 0.4 * half, 0.14 * half)
        canvas.fill(pose, vermis, rng.uniform(-2, 4), soft=0.6)
        canvas.name("vermis", pose, vermis)


def plan_head(kind: str, subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of an axial head plane of this category; dilated ventricles where the subject has them."""
    ratio = float(np.clip(rng.normal(0.79, 0.03), 0.70, 0.88))
    a, b = ellipse_axes(size_at("HC", subject.weeks) * subject.growth, ratio)
    bone = 0.6 + 0.035 * subject.weeks * rng.uniform(0.7, 1.2)
    dilated = subject.finding == "abnormal dilated lateral ventricle"
    atrium = rng.uniform(10.5, 17) if dilated else float(np.clip(rng.normal(6.5, 1.1), 4.0, 9.3))
    cerebellum = cerebellum_at(subject.weeks) * subject.growth * rng.normal(1, 0.03)
    cisterna = float(np.clip(rng.normal(5.5, 1.5), 2.5, 9.5))
    head = Head(kind, a, b, bone, min(atrium, 0.55 * b), cerebellum, cisterna, subject.weeks, off_plane)
    lost = off_plane >= 0.5
    measures = {"HC": circumference(a, b), "BPD": 2 * b - bone, "OFD": 2 * a}
    spans = {"BPD": ((0.0, -b), (0.0, b - bone)), "OFD": ((-a, 0.0), (a, 0.0))}
    if kind == "trans-ventricular":
        measures["atrium"] = head.atrium
    if kind == "trans-cerebellum":
        measures |= {"cerebellum": cerebellum, "cisterna magna": cisterna}

    def orient(pose: Pose) -> str:
        x, y = pose.heading(-1, 0)
        if abs(x) < abs(y):
            return "cephalic presentation"
        return f"cephalic presentation with occiput to {'right' if x > 0 else 'left'}"

    return Plan(
        half_u=a + 3,
        half_v=b + 3,
        turn=lie_across(rng),
        mirrored=bool(rng.random() < 0.5),
        paint=head.paint,
        orient=orient,
        plane="axial plane of head" if lost else PLANES[kind],
        measurable=("HC",) if lost else MEASURABLE[kind],
        measures=measures,
        spans=spans,
        normal_finding="normal intracranial anatomy",
    )
