"""What is asked of nano about a simulated image: a scene and a view in, prompts with their answers out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from residency.models.prompts import tell_field
from residency.pretrain.studies import Scene, Studies
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
"""Questions whose answer tells sizes; every second time the prompt states the field, and then the age tells weeks."""
LOCATED = 8
"""At most so many structures are asked for by name, one a prompt."""
SMALLEST = 0.3
"""Smallest part of a structure's box that must lie in the picture for it to be detected there."""


def short_tasks(scene: Scene, view: View, rng: np.random.Generator) -> dict[str, str]:
    """Return the eight questions, a caption, a measurement, structures' boxes and an outline, as far as there are."""
    tasks = dict(_ask_questions(scene, view, rng)) | {CAPTION: ", ".join(scene.closed)}
    if known := [name for name in MEASURED if name in scene.measures]:
        name = known[rng.integers(len(known))]
        tasks[f"{MEASURED[name]} {state_field(view.field_mm)}"] = f"{scene.measures[name]:.3g} mm"
    if known := [label for label, _ in scene.outlines if label in OUTLINED]:
        label = known[rng.integers(len(known))]
        tasks[OUTLINED[label]] = tell_outline(view.carry(dict(scene.outlines)[label]))
    boxes = find_boxes(scene, view)
    for label in rng.permutation(sorted(boxes))[:LOCATED]:
        tasks[ask_place(str(label))] = tell_boxes({str(label): boxes[label]})
    return tasks


def long_tasks(scene: Scene, view: View) -> dict[str, str]:
    """Return every structure's box, and all the answers in one caption."""
    tasks = {DETECTION: tell_boxes(find_boxes(scene, view)), DETAILED_CAPTION: ". ".join(scene.answers.values())}
    return {prompt: text for prompt, text in tasks.items() if text}


def state_field(field_mm: tuple[float, float]) -> str:
    """Return the words in which a prompt states what the picture spans, as a recipe says `Field {field_mm} mm.`."""
    return f"Field {tell_field(*field_mm)} mm."


def ask_place(label: str) -> str:
    """Return the prompt for one structure's boxes, in the words of Florence-2's open vocabulary detection."""
    return f"Locate {label} in the image."


def find_boxes(scene: Scene, view: View) -> dict[str, list[np.ndarray]]:
    """Return each structure's boxes (low and high corner, 2 x 2, shares of the sides) as far as they are shown."""
    boxes: dict[str, list[np.ndarray]] = {}
    for label, points_P2 in scene.outlines:
        moved_P2 = view.carry(points_P2)
        low, high = moved_P2.min(0), moved_P2.max(0)
        shown = np.prod(high.clip(0, 1) - low.clip(0, 1)) / max(1e-9, float(np.prod(high - low)))
        if shown >= SMALLEST:
            boxes.setdefault(label, []).append(np.array([low, high]))
    return boxes


def tell_boxes(boxes: Mapping[str, Sequence[np.ndarray]]) -> str:
    """Return boxes as Florence-2 says them, by name; those of one name from left to right."""
    ordered = ((label, box) for label in sorted(boxes) for box in sorted(boxes[label], key=lambda box: list(box.flat)))
    return "".join(label + tell_points(box) for label, box in ordered)


@dataclass(frozen=True)
class Cells:
    """What a map's cells show: `covered_LHW`, the share of each that a structure covers, and `boxes_L4HW`, the box of
    the instance that covers it most (left, top, right, bottom in shares of the sides); float32 in [0, 1]."""

    covered_LHW: np.ndarray
    boxes_L4HW: np.ndarray


def mark_cells(scene: Scene, view: View, structures: Sequence[str], cells: int, fine: int = 8) -> Cells:
    """Return which structures lie in each of `cells` x `cells` cells, and how far they reach."""
    row_of = {label: row for row, label in enumerate(structures)}
    covered = np.zeros((len(structures), cells, cells), np.float32)
    boxes = np.zeros((len(structures), 4, cells, cells), np.float32)
    for label, points_P2 in scene.outlines:
        picture = Image.new("1", (cells * fine,) * 2)
        moved_P2 = view.carry(points_P2)
        ImageDraw.Draw(picture).polygon([(x, y) for x, y in moved_P2 * (cells * fine)], fill=1)
        share = np.asarray(picture, np.float32).reshape(cells, fine, cells, fine).mean((1, 3))
        row = row_of[label]
        reached = np.concatenate([moved_P2.min(0), moved_P2.max(0)]).clip(0, 1)
        boxes[row] = np.where(share > covered[row], reached[:, None, None], boxes[row])
        covered[row] = np.maximum(covered[row], share)
    return Cells(covered, boxes)


def mark_images(studies: Studies, rows: np.ndarray, views: Sequence[View], cells: int) -> list[Cells]:
    """Return what the cells of each image's map show."""
    return [
        mark_cells(studies.scenes[row], view, studies.structures, cells) for row, view in zip(rows, views, strict=True)
    ]


def _ask_questions(scene: Scene, view: View, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    for wording, answer in scene.answers.items():
        if wording.startswith(SIZED) and rng.random() < 0.5:
            yield f"{wording} {state_field(view.field_mm)}", scene.sized.get(wording, answer)
        else:
            yield wording, answer
