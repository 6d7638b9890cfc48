"""The femur lengthwise: a bright bowed shaft in the thigh, its shadow behind; +u is along the shaft."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.growth import size_at
from residency.ultrasound.phantom.plan import Plan, Subject, lie_across
from residency.ultrasound.phantom.shapes import Ellipse, Tube, bend


@dataclass(frozen=True)
class Thigh:
    """A shaft of `length` mm bowed by `bow` mm, in a thigh `thick` mm across."""

    length: float
    bow: float
    thick: float
    weeks: float
    off: float

    @property
    def shaft(self) -> Tube:
        """The diaphysis, thicker at its ends."""
        half, r = self.length / 2, 0.032 * self.length + 0.35
        spots = (
            (-half, 0.0),
            (-0.5 * half, self.bow * 0.75),
            (0.0, self.bow),
            (0.5 * half, self.bow * 0.75),
            (half, 0.0),
        )
        return bend(spots, (1.5 * r, 1.0 * r, 0.9 * r, 1.0 * r, 1.6 * r), 11)

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint thigh, muscle planes, shaft and its shadow, neighbouring bones."""
        half = self.length / 2
        flesh = rng.uniform(-9, -1)
        wide = self.thick / 2
        thigh = bend(
            ((-1.45 * half, -0.2 * wide), (0.0, 0.15 * wide), (1.5 * half, -0.1 * wide)),
            (wide * 1.3, wide * 1.05, wide * 0.7),
            7,
        )
        canvas.fill(pose, thigh, flesh + 3, soft=0.8, texture=(1.0, 2.0))
        canvas.edge(pose, thigh, rng.uniform(8, 16), width=0.5, floor=0.2)
        under = bend(
            ((-1.4 * half, -0.2 * wide), (0.0, 0.15 * wide), (1.4 * half, -0.1 * wide)),
            (wide, wide * 0.8, wide * 0.5),
            7,
        )
        canvas.fill(pose, under, flesh - rng.uniform(1, 5), soft=1.0, texture=(1.5, 2.5))
        for _ in range(int(rng.integers(3, 9))):
            v = rng.uniform(-0.8, 0.8) * wide
            u = rng.uniform(-1, 0.5) * half
            line = bend(
                ((u, v), (u + 0.3 * half, v + rng.normal(0, 0.4)), (u + rng.uniform(0.4, 1.2) * half, v)), 0.3, 4
            )
            canvas.strand(pose, line, flesh + rng.uniform(6, 14), width=0.4)
        self._bones(canvas, pose, rng)
        canvas.name("diaphysis of femur", pose, self.shaft)
        canvas.name("thigh muscles", pose, under)
        canvas.name("skin and subcutaneous tissue", pose, thigh)

    def _bones(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        half, shaft = self.length / 2, self.shaft
        db = rng.uniform(20, 30) - 9 * self.off
        canvas.fill(pose, shaft, db - rng.uniform(6, 13), soft=0.6, texture=(1.0, 2.5), block=rng.uniform(1.2, 5.0))
        canvas.edge(pose, shaft, db, width=rng.uniform(0.5, 0.9), power=1.5, floor=0.2)
        if self.weeks > 31:
            tip = Ellipse(half * 1.12, 0.0, 0.05 * self.length, 0.05 * self.length)
            canvas.fill(pose, tip, db - 12, soft=1.0, block=0.5)
        knee = Ellipse(half * 1.14, 0.0, 0.1 * self.length, 0.09 * self.length)
        canvas.fill(pose, knee, -16.0, soft=1.0, mix=0.6)
        hip = Ellipse(-half * 1.15, -0.06 * self.length, 0.1 * self.length, 0.1 * self.length)
        canvas.fill(pose, hip, -16.0, soft=1.0, mix=0.6)
        if rng.random() < 0.5:
            # The ischium or iliac wing beside the hip.
            wing = bend(((-1.45 * half, -0.2 * half), (-1.65 * half, -0.5 * half)), 0.05 * self.length, 4)
            canvas.bone(pose, wing, rng.uniform(12, 22), block=rng.uniform(1, 3))
        if rng.random() < 0.35:
            turn = rng.uniform(-1.2, 1.2)
            shin = bend(
                ((1.3 * half, 0.05 * half), (1.3 * half + 0.8 * half * np.cos(turn), 0.8 * half * np.sin(turn))),
                0.022 * self.length,
                5,
            )
            canvas.bone(pose, shin, rng.uniform(12, 20), block=rng.uniform(0.8, 2.5))


def plan_femur(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of a femur seen lengthwise, close to square to the beam."""
    length = size_at("FL", subject.weeks) * subject.growth
    thigh = Thigh(
        length,
        float(rng.uniform(-0.06, 0.06) * length),
        float(length * rng.uniform(0.42, 0.62)),
        subject.weeks,
        off_plane,
    )
    return Plan(
        half_u=0.5 * length * rng.uniform(1.25, 1.9),
        half_v=0.4 * length,
        turn=lie_across(rng, 0.33, 0.0),
        mirrored=bool(rng.random() < 0.5),
        paint=thigh.paint,
        orient=lambda pose: "longitudinal view of femur",
        plane="longitudinal view of femur",
        measurable=("femur length",),
        measures={"FL": length},
        spans={"FL": ((-length / 2, 0.0), (length / 2, 0.0))},
        normal_finding="normal for gestational age",
    )
