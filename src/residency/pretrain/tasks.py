"""What is asked of nano about a simulated image: a scene and a view in, prompts with their answers out."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from residency.models.family import tell_field
from residency.pretrain.studies import Scene
from residency.pretrain.vary import View
from residency.ultrasound.outline import tell_outline, tell_points

CAPTION, DETAILED_CAPTION, DETECTION = "<CAPTION>", "<DETAILED_CAPTION>", "<OD>"
MEASURED = {
    "HC": "Head Circumference: Measure the circumference of the fetal head.",
    "AC": "Abdominal Circumference: Measure the circumference of the fetal abdomen.",
    "TC": "Thoracic Circumference: Measure the circumference of the fetal thorax.",
    "FL": "Femur Length: Measure the diaphysis of the femur.",
    "CRL": "Crown-Rump Length: Measure the fetus from crown to rump.",
    "BPD": "Biparietal Diameter: Measure the fetal head across the parietal bones.",
    "NT": "Nuchal Translucency: Measure its thickness.",
}
OUTLINED = {
    "fetal skull": "Outline: the fetal head.",
    "abdominal wall": "Outline: the fetal abdomen.",
    "rib cage": "Outline: the fetal thorax.",
    "diaphysis of femur": "Outline: the femur.",
}
SIZED = ("Biometric Measurements", "Gestational Age")
"""Questions whose answer tells sizes; every second time the prompt states the field."""
SMALLEST = 0.3
"""Smallest part of a structure's box that must lie in the picture for it to be detected there."""


def short_tasks(scene: Scene, view: View, rng: np.random.Generator) -> dict[str, str]:
    """Return the eight questions, a caption, one measurement and one outline, as far as the scene has them."""
    tasks = dict(_ask_questions(scene, view, rng)) | {CAPTION: ", ".join(scene.closed)}
    if known := [name for name in MEASURED if name in scene.measures]:
        name = known[rng.integers(len(known))]
        tasks[f"{MEASURED[name]} {state_field(view.field_mm)}"] = f"{scene.measures[name]:.3g} mm"
    if known := [label for label, _ in scene.outlines if label in OUTLINED]:
        label = known[rng.integers(len(known))]
        tasks[OUTLINED[label]] = tell_outline(view.carry(dict(scene.outlines)[label]))
    return tasks


def long_tasks(scene: Scene, view: View) -> dict[str, str]:
    """Return every structure's box, and all the answers in one caption."""
    tasks = {DETECTION: tell_boxes(scene, view), DETAILED_CAPTION: ". ".join(scene.answers.values())}
    return {prompt: text for prompt, text in tasks.items() if text}


def state_field(field_mm: tuple[float, float]) -> str:
    """Return the words in which a prompt states what the picture spans, as a recipe says `Field {field_mm} mm.`."""
    return f"Field {tell_field(*field_mm)} mm."


def tell_boxes(scene: Scene, view: View) -> str:
    """Return the structures' boxes as Florence-2 says them, by name; those of one name stand in their tokens' order."""
    told = []
    for label, points_P2 in scene.outlines:
        moved_P2 = view.carry(points_P2)
        low, high = moved_P2.min(0), moved_P2.max(0)
        shown = np.prod(high.clip(0, 1) - low.clip(0, 1)) / max(1e-9, float(np.prod(high - low)))
        if shown >= SMALLEST:
            told.append((label, tell_points(np.array([low, high]))))
    return "".join(label + where for label, where in sorted(told))


def cover_cells(scene: Scene, view: View, structures: Sequence[str], cells: int, fine: int = 8) -> np.ndarray:
    """Return the share of each cell that each structure covers: (structures, cells, cells), float32 in [0, 1]."""
    row_of = {label: row for row, label in enumerate(structures)}
    covered = np.zeros((len(structures), cells, cells), np.float32)
    for label, points_P2 in scene.outlines:
        picture = Image.new("1", (cells * fine,) * 2)
        moved_P2 = view.carry(points_P2) * (cells * fine)
        ImageDraw.Draw(picture).polygon([(x, y) for x, y in moved_P2], fill=1)
        share = np.asarray(picture, np.float32).reshape(cells, fine, cells, fine).mean((1, 3))
        covered[row_of[label]] = np.maximum(covered[row_of[label]], share)
    return covered


def _ask_questions(scene: Scene, view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    for wording, answer in scene.answers.items():
        states_field = wording.startswith(SIZED) and rng.random() < 0.5
        yield f"{wording} {state_field(view.field_mm)}" if states_field else wording, answer
