"""The first trimester's sagittal views: standard NT and non-standard NT; +u is to the head, +v to the front."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose
from residency.ultrasound.phantom.growth import crl_at, nuchal_limit, nuchal_median
from residency.ultrasound.phantom.plan import Plan, Subject, hand_of, lie_across
from residency.ultrasound.phantom.shapes import Ellipse, Grid, Merged, Tube, bend


@dataclass(frozen=True)
class Fetus:
    """A fetus of 11 to 13 weeks from the side.

    `crl` and `nuchal` are mm; `mid` tells a mid-sagittal cut (nasal bone, NT and spine in line) from a para-sagittal
    one; `zoomed` shows head and upper thorax alone; `tilt` bends the head forward (radians).
    """

    crl: float
    nuchal: float
    mid: bool
    zoomed: bool
    tilt: float
    weeks: float

    @property
    def head(self) -> Ellipse:
        """The head: about a third of the length."""
        c = self.crl
        return Ellipse(0.30 * c, 0.03 * c - 0.08 * c * self.tilt, 0.185 * c, 0.175 * c, 0.4 - self.tilt)

    @property
    def body(self) -> Merged:
        """Head, neck and trunk in one."""
        c = self.crl
        trunk = Ellipse(-0.19 * c, -0.01 * c, 0.31 * c, 0.155 * c, 0.05, ((2, 0.03, 1.0),))
        neck = Ellipse(0.1 * c, 0.0, 0.15 * c, 0.105 * c)
        chin = Ellipse(0.18 * c, 0.15 * c, 0.06 * c, 0.05 * c, 0.5)
        return Merged((self.head, neck, trunk, chin), 0.06 * c)

    def paint(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint limbs, skin with NT, trunk, spine and head."""
        c, body = self.crl, self.body
        for _ in range(int(rng.integers(1, 5))):
            self._limb(canvas, pose, rng)
        if self.mid:
            self._translucency(canvas, pose, rng)
        flesh = rng.uniform(-7, -1)
        canvas.fill(pose, body, flesh, soft=0.6, texture=(2.5, 2.5))
        canvas.edge(pose, body, rng.uniform(6, 14), width=0.4, floor=0.2)
        belly = Ellipse(-0.2 * c, 0.0, 0.24 * c, 0.11 * c)
        canvas.fill(pose, belly, flesh - rng.uniform(0, 4), soft=2.0, texture=(2.5, 3.0))
        if rng.random() < 0.6:
            canvas.pool(pose, Ellipse(-0.2 * c, 0.03 * c, 0.03 * c, 0.022 * c), -34.0)
        heart = Ellipse(0.0, 0.05 * c, 0.04 * c, 0.035 * c)
        canvas.pool(pose, heart, -20.0, mix=0.7)
        self._head(canvas, pose, flesh, rng)
        self._spine(canvas, pose, rng)
        canvas.name("fetal head", pose, self.head)
        canvas.name("neck", pose, Ellipse(0.1 * c, 0.0, 0.05 * c, 0.09 * c))
        if not self.zoomed:
            canvas.name("abdominal wall", pose, belly)

    def _translucency(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        """Paint the fluid band behind neck and back, its outer skin line and inner fascia line."""
        t, back = self.nuchal, self.back
        swell = np.sin(np.linspace(0.35, np.pi - 0.35, len(back)))
        thick = t * swell / swell.max()
        band = Tube(
            tuple((u, v - k / 2) for (u, v), k in zip(back, thick, strict=True)), tuple(float(k) / 2 for k in thick)
        )
        skin = Tube(tuple((u, v - k - 0.2) for (u, v), k in zip(back, thick, strict=True)), (0.3,) * len(back))
        canvas.pool(pose, band, -40.0, soft=0.3)
        canvas.strand(pose, skin, rng.uniform(12, 20), width=0.4, floor=0.35)
        canvas.strand(pose, Tube(back, (0.3,) * len(back)), rng.uniform(8, 16), width=0.35, floor=0.3)
        canvas.name("nuchal translucency", pose, band)
        if rng.random() < 0.5:
            amnion = bend(
                [(u, v - t - rng.uniform(2, 6)) for u, v in ((0.45 * self.crl, -0.2 * self.crl), *back)], 0.3, 9
            )
            canvas.strand(pose, amnion, rng.uniform(2, 9), width=0.35)

    @cached_property
    def back(self) -> tuple[tuple[float, float], ...]:
        """The body's surface behind neck and upper back, from the occiput down, as (u, v)."""
        c = self.crl
        u, v = np.meshgrid(np.linspace(0.24, -0.14, 11) * c, np.linspace(0.0, -0.3, 90) * c, indexing="ij")
        outside = self.body.distance(u.astype(np.float32), v.astype(np.float32)) > 0
        first = np.argmax(outside, 1)
        return tuple((float(a), float(b)) for a, b in zip(u[:, 0], v[np.arange(11), first], strict=True))

    def _head(self, canvas: Canvas, pose: Pose, flesh: float, rng: Generator) -> None:
        c, head = self.crl, self.head
        canvas.fill(pose, head.grown(-0.02 * c), flesh - rng.uniform(8, 16), soft=1.0, texture=(1.5, 2.5), loss=0.7)
        plexus = Ellipse(0.34 * c, 0.01 * c, 0.08 * c, 0.05 * c, head.angle)
        canvas.fill(pose, plexus, flesh + rng.uniform(-3, 4), soft=1.5, texture=(1.0, 2.0))
        axis = head.angle

        def vault(u: Grid, v: Grid) -> Grid:
            # Bone covers brow, vault and occiput, not the face's lower half.
            phase = np.arctan2(v - np.float32(head.v), u - np.float32(head.u)) - np.float32(axis)
            return np.where(np.abs((phase - 1.9 + np.pi) % (2 * np.pi) - np.pi) < 0.55, np.float32(0.1), np.float32(1))

        canvas.edge(
            pose, head.grown(-0.5), rng.uniform(14, 24), width=0.5, floor=0.12, block=1.0, graze=1.0, where=vault
        )
        brow = bend(((0.43 * c, 0.14 * c), (0.37 * c, 0.19 * c), (0.30 * c, 0.2 * c)), 0.5)
        canvas.strand(pose, brow, rng.uniform(10, 18), width=0.5)
        canvas.name("frontal bone", pose, brow)
        if self.mid:
            nose = Ellipse(0.25 * c, 0.215 * c, 0.03 * c, 0.022 * c)
            canvas.fill(pose, nose, flesh, soft=0.5)
            canvas.edge(pose, nose, rng.uniform(8, 14), width=0.35, floor=0.25)
            bone = bend(((0.285 * c, 0.185 * c), (0.255 * c, 0.205 * c)), 0.4, 4)
            canvas.strand(pose, bone, rng.uniform(16, 24), width=0.5, floor=0.4)
            canvas.name("nasal bone", pose, bone)
            canvas.name("facial profile", pose, Ellipse(0.24 * c, 0.18 * c, 0.1 * c, 0.05 * c))
            palate = bend(((0.2 * c, 0.1 * c), (0.22 * c, 0.18 * c)), 0.5, 4)
            canvas.strand(pose, palate, rng.uniform(12, 20), width=0.6, block=1.0)
            jaw = bend(((0.16 * c, 0.13 * c), (0.165 * c, 0.18 * c)), 0.5, 4)
            canvas.strand(pose, jaw, rng.uniform(12, 20), width=0.6, block=1.0)
            canvas.name("mandible", pose, jaw)
        elif rng.random() < 0.6:
            eye = Ellipse(0.28 * c, 0.13 * c, 0.035 * c, 0.032 * c)
            canvas.pool(pose, eye, -30.0)
            canvas.edge(pose, eye, rng.uniform(8, 16), width=0.5, floor=0.3)
            canvas.name("orbit", pose, eye)

    def _spine(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        c = self.crl
        reach = -0.42 if self.mid else rng.uniform(-0.3, -0.1)
        path = bend(((0.17 * c, -0.05 * c), (0.05 * c, -0.08 * c), (-0.2 * c, -0.115 * c), (reach * c, -0.06 * c)), 1.0)
        points = bend(path.points, 1.0, 26).points
        db = rng.uniform(8, 18) - (0 if self.mid else 5)
        for u, v in points[:: 1 if self.mid else 2]:
            canvas.fill(pose, Ellipse(u, v, 0.011 * c, 0.016 * c), db, soft=0.5, mix=0.8, block=0.35)
        if self.mid or rng.random() < 0.5:
            canvas.name("fetal spine", pose, path)

    def _limb(self, canvas: Canvas, pose: Pose, rng: Generator) -> None:
        c = self.crl
        u, v = rng.choice([0.02, -0.42]) * c, rng.uniform(0.12, 0.2) * c
        joint = (u + rng.uniform(-0.1, 0.1) * c, v + rng.uniform(0.06, 0.14) * c)
        tip = (joint[0] + rng.uniform(-0.1, 0.14) * c, joint[1] + rng.uniform(-0.02, 0.08) * c)
        flesh = bend(((u, v), joint, tip), 0.032 * c, 7)
        canvas.fill(pose, flesh, rng.uniform(-9, -3), soft=0.5, texture=(0.5, 2.0))
        canvas.edge(pose, flesh, rng.uniform(2, 10), width=0.35)
        canvas.strand(pose, bend(((u, v), joint, tip), 0.5, 7), rng.uniform(8, 16), width=0.5, block=0.4)
        canvas.name("limbs", pose, flesh)


def plan_nuchal(standard: bool, subject: Subject, off_plane: float, rng: Generator) -> Plan:
    """Return the plan of a standard NT view (mid-sagittal, NT clear) or a non-standard one."""
    crl = crl_at(subject.weeks) * subject.growth
    limit = nuchal_limit(crl)
    nuchal = {
        "abnormal NT thickening, mild": rng.uniform(limit + 0.15, 3.4),
        "abnormal NT thickening, marked": rng.uniform(3.6, 6.5),
    }.get(subject.finding or "", float(np.clip(rng.normal(nuchal_median(crl), 0.3), 0.7, limit - 0.1)))
    zoomed = bool(rng.random() < 0.65) if standard else bool(rng.random() < 0.4)
    whole = not standard and not zoomed and rng.random() < 0.45
    mid = standard or whole
    # A mid-sagittal CRL view is non-standard for NT: the neck is bent, the band too thin and small to measure.
    tilt = rng.normal(0.05, 0.08) if standard else rng.choice([-1, 1]) * rng.uniform(0.25, 0.5)
    shown = nuchal if standard else min(0.5 * nuchal, 0.9)
    fetus = Fetus(crl, shown, mid, zoomed, float(tilt), subject.weeks)
    measures = {"CRL": crl} | ({"NT": nuchal} if standard else {})
    names = ["NT thickness" if standard else "NT not measurable"]
    if not zoomed and mid:
        names.append("CRL")
    nape = fetus.back[5]
    plane = "mid-sagittal view of head and neck" if zoomed else "mid-sagittal view of CRL"
    return Plan(
        half_u=(0.33 if zoomed else 0.54) * crl,
        half_v=0.26 * crl,
        turn=lie_across(rng, 0.3, 0.1),
        mirrored=bool(rng.random() < 0.5),
        paint=fetus.paint,
        orient=lambda pose: f"sagittal, skull to {hand_of(pose.heading(1, 0))}",
        plane=plane if mid else "para-sagittal",
        measurable=tuple(names),
        measures=measures,
        spans={"NT": ((nape[0], nape[1]), (nape[0], nape[1] - nuchal)), "CRL": ((-0.5 * crl, 0.0), (0.5 * crl, 0.05))},
        normal_finding="normal for gestational age",
        middle=((0.17 if zoomed else 0.0) * crl, 0.02 * crl),
    )
