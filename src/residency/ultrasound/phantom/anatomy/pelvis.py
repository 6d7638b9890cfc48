"""The maternal pelvis: the cervix lengthwise, and the pubic symphysis with the fetal head in labour."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.growth import ellipse_axes, size_at
from residency.ultrasound.phantom.plan import Plan, Subject
from residency.ultrasound.phantom.shapes import Ellipse, bend


@dataclass(frozen=True)
class Cervix:
    """A closed cervix: +u to the internal os, `length` mm between the ora, `bow` mm bent, `wide` mm across."""

    length: float
    bow: float
    wide: float
    head: bool
    weeks: float

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint bladder, stroma, canal, ora, fluid and head above the internal os."""
        half, wide, flesh = self.length / 2, self.wide, rng.uniform(-7, 0)
        sac = Ellipse(
            half + 0.75 * self.length, 0.1 * self.length, 0.78 * self.length, 0.75 * self.length, rng.normal(0, 0.2)
        )
        canvas.pool(pose, sac, -38.0, soft=1.2)
        if self.head:
            skull = Ellipse(
                half + 1.25 * self.length, rng.uniform(-0.2, 0.2) * self.length, 1.05 * self.length, 0.85 * self.length
            )
            canvas.fill(pose, skull, -16.0, soft=0.8, texture=(2.0, 2.0))
            canvas.edge(pose, skull, rng.uniform(16, 26), width=1.0, block=1.5, graze=2.0)
            canvas.name("fetal head", pose, skull)
        lips = bend(
            ((-half - 4, self.bow * 0.2), (0.0, self.bow), (half + 1, 0.0)), (wide * 0.46, wide * 0.5, wide * 0.6), 9
        )
        canvas.fill(pose, lips, flesh, soft=1.5, texture=(1.5, 2.5))
        canvas.edge(pose, lips, rng.uniform(5, 12), width=0.7)
        path = ((-half, self.bow * 0.2), (0.0, self.bow), (half, 0.0))
        gland = bend(path, (2.6, 3.2, 2.8), 9)
        canvas.fill(pose, gland, flesh - rng.uniform(5, 10), soft=1.2)
        canal = bend(path, 0.7, 9)
        canvas.strand(pose, canal, rng.uniform(8, 17), width=rng.uniform(0.4, 0.8), floor=0.3)
        funnel = Ellipse(half + 0.6, 0.0, 1.6, 1.4)
        canvas.pool(pose, funnel, -34.0)
        outer = Ellipse(-half, self.bow * 0.2, 1.8, 1.8)
        canvas.fill(pose, outer, flesh + 8, soft=1.0)
        bladder = Ellipse(0.35 * half, -wide * rng.uniform(0.95, 1.2), 0.9 * half, 0.28 * wide, 0.15)
        if rng.random() < 0.7:
            canvas.pool(pose, bladder, -40.0, soft=0.6)
            canvas.edge(pose, bladder, rng.uniform(6, 13), width=0.6)
        canvas.name("internal os", pose, funnel)
        canvas.name("endocervical canal", pose, canal)
        canvas.name("external os", pose, outer)
        canvas.name("amniotic fluid", pose, sac)


def plan_cervix(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of a closed cervix of at least 25 mm (shorter ones are not in fetal8's vocabulary)."""
    length = float(np.clip(rng.normal(36, 6), 26, 52))
    head = bool(rng.random() < 0.45)
    cervix = Cervix(length, float(rng.normal(0, 0.07) * length), float(rng.uniform(20, 30)), head, subject.weeks)
    turn = float(rng.normal(0, 0.35) + (np.pi if rng.random() < 0.5 else 0))
    return Plan(
        half_u=0.85 * length,
        half_v=0.5 * length,
        turn=turn,
        mirrored=bool(np.cos(turn) < 0),
        paint=cervix.paint,
        orient=lambda pose: "cephalic presentation" if head else "fetus not seen",
        plane="longitudinal view of cervix",
        measurable=("cervical length",),
        measures={"cervical length": length},
        spans={"cervical length": ((-length / 2, cervix.bow * 0.2), (length / 2, 0.0))},
        normal_finding="normal closed cervix",
        probe="endocavity" if rng.random() < 0.6 else "convex",
        afloat=False,
        middle=(0.25 * length, 0.0),
    )


@dataclass(frozen=True)
class Passage:
    """A symphysis `length` mm long along -u from its lower end (the origin), and the head that the tangent meets."""

    length: float
    skull: Ellipse

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint symphysis with capsule, soft tissue and head with skull."""
        flesh = rng.uniform(-8, -2)
        head = self.skull
        canvas.fill(pose, head.grown(4), flesh, soft=1.5, texture=(1.0, 2.0))
        canvas.fill(pose, head, -15 + rng.uniform(-4, 3), soft=1.0, texture=(2.0, 2.5), loss=0.8)
        canvas.edge(
            pose, head, rng.uniform(20, 30), width=1.4, power=1.8, floor=0.12, block=rng.uniform(1.0, 3.0), graze=2.0
        )
        half = self.length / 2
        bone = Ellipse(-half, 0.0, half, 0.19 * self.length, 0.0, ((2, 0.04, 0.5),))
        canvas.fill(pose, bone, flesh - rng.uniform(3, 9), soft=0.8, texture=(1.0, 2.0), block=rng.uniform(0.3, 1.0))
        canvas.edge(pose, bone, rng.uniform(10, 20), width=0.9, floor=0.3)
        canvas.name("symphysis pubis", pose, bone)
        canvas.name("fetal head", pose, head)
        canvas.name("fetal skull", pose, head)
        urethra = bend(((4.0, 4.0), (-0.2 * self.length, 0.6 * self.length)), 2.0, 5)
        canvas.fill(pose, urethra, flesh - 7, soft=1.5)


def tangent_angle(skull: Ellipse) -> tuple[float, tuple[float, float]]:
    """Return the angle of progression in degrees and the point of tangency.

    The angle lies between the symphysis' long axis (from the origin along -u) and the tangent from the origin to
    the leading edge of the skull (Barbera et al., Ultrasound Obstet Gynecol 2009).
    """
    edge = skull.outline(720)
    phase = np.unwrap(np.arctan2(edge[:, 1], edge[:, 0]))
    # Seen from the symphysis (-u), the head lies on the +v side; the tangent farthest from -u bounds it.
    sweep = np.pi - (phase - 2 * np.pi * np.round(np.mean(phase) / (2 * np.pi)))
    best = int(np.argmax(sweep))
    return float(np.degrees(sweep[best])), (float(edge[best, 0]), float(edge[best, 1]))


def plan_symphysis(subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of a transperineal view with an angle of progression of 75 to 165 degrees."""
    a, b = ellipse_axes(size_at("HC", subject.weeks) * subject.growth, 0.8)
    length = float(rng.uniform(32, 42))
    wanted = float(np.clip(rng.normal(112, 20), 75, 165))
    tilt = rng.normal(0, 0.3)
    low, high = -2.4 * a, 1.6 * a
    for _ in range(30):
        middle = (low + high) / 2
        angle, _ = tangent_angle(Ellipse(middle, b + 14, a, b, tilt))
        low, high = (middle, high) if angle < wanted else (low, middle)
    skull = Ellipse((low + high) / 2, b + 14, a, b, tilt)
    angle, touch = tangent_angle(skull)
    passage = Passage(length, skull)
    left = bool(rng.random() < 0.75)
    turn = float(rng.normal(0.35, 0.3))
    return Plan(
        half_u=max(a, length) * 0.95,
        half_v=0.75 * b + 16,
        turn=turn if left else float(np.pi - turn),
        mirrored=not left,
        paint=passage.paint,
        orient=lambda pose: "cephalic presentation",
        plane="sagittal profile",
        measurable=("angle of progression",),
        measures={"angle of progression": angle},
        spans={"angle of progression": ((0.0, 0.0), touch)},
        afloat=False,
        middle=(-0.1 * length, 0.5 * b),
    )
