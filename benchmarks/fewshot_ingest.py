"""A folder of ../shared/data in, a dataset that the product ingested out; large radiographs are kept smaller."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from residency.data.ingest import ingest
from residency.files import write_text
from residency.questionnaire import dump_questionnaire, load_questionnaire
from residency.types import Option, Question, Questionnaire
from residency.ultrasound.phantom import HELD_OUT_SITE, draw_image

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
SIDE = 512
"""Longest side in pixels that large radiographs are kept at; the largest network here sees 224."""
PLANES = {
    "abdomen": ("fetal abdomen", "Transverse trans-abdominal plane", "AC"),
    "brain": ("fetal head", "Axial plane of head", "BPD and HC"),
    "femur": ("diaphysis of femur", "Longitudinal view of femur", "Femur length"),
    "thorax": ("fetal thorax, four chambers of heart", "Transverse 4-chamber heart view", "Cardiac chamber dimensions"),
}
"""The rule by which fetal_planes answers q1, q3 and q4 from a plane's label."""
CATEGORIES = {
    "abdomen": ("abdomen",),
    "brain": ("trans-thalamic", "trans-cerebellum", "trans-ventricular"),
    "femur": ("femur",),
    "thorax": ("thorax",),
}
"""The simulator's categories that show each plane."""


def _ingest_planes(source: Path, out: Path) -> None:
    ingest(source / "answers.xlsx", source / "images", "fetal8", out, "column:Patient")


def _ingest_heads(source: Path, out: Path) -> None:
    questionnaire = str(RECIPES / "head-circumference.questionnaire.yaml")
    sheet = source / "head_circumference.csv"
    ingest(sheet, source / "image", questionnaire, out, r"pattern:^(\d+)_", skip_bad=True)


def _ingest_lungs(source: Path, out: Path) -> None:
    entries = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    labels = sorted({entry["Label"] for entry in entries})
    rows = [[e["image"], e["Patient ID / Name"] or e["source"], e["Label"], e["Label"]] for e in entries]
    sheet = _write_sheet(out.with_name("labels.csv"), ["Image", "Patient", "Category", "Label"], rows)
    wording = "Lung ultrasound: Name what the lung shows."
    questionnaire = _write_question(out.with_name("lungs.yaml"), "label", wording, labels)
    ingest(sheet, source, questionnaire, out, "column:Patient")


def _ingest_radiographs(source: Path, out: Path) -> None:
    _ingest_closed(source, out, ("yes", "no"))


def _ingest_closed(source: Path, out: Path, kept: Sequence[str] | None = None) -> None:
    """Keep VQA-RAD's closed questions (`kept`: those with one of these answers); the question is each line's own.

    Answers are taken as they stand, in small letters: with `kept` one is chosen, else text is said.
    """
    entries = json.loads((source / "VQA_RAD Dataset Public.json").read_text(encoding="utf-8"))
    closed = [
        e for e in entries if e["answer_type"].strip() == "CLOSED" and (kept is None or _plain(e["answer"]) in kept)
    ]
    images = out.with_name("images")
    for name in sorted({entry["image_name"] for entry in closed}):
        _shrink(source / "images" / name, images / name)
    lines = [
        {"image": entry["image_name"], "prefix": entry["question"].strip(), "suffix": _plain(entry["answer"])}
        for entry in closed
    ]
    sheet = out.with_name("closed.jsonl")
    write_text(sheet, "".join(json.dumps(line) + "\n" for line in lines))
    questionnaire = _write_question(out.with_name("closed.yaml"), "free", "As each line asks.", kept)
    ingest(sheet, images, questionnaire, out, "image", skip_bad=True)


def _ingest_phantoms(source: Path, out: Path) -> None:
    """Draw 25 patients of the held-out site, one picture a plane; the first 10 are there to learn from."""
    images, rows = out.with_name("images"), []
    images.mkdir(parents=True, exist_ok=True)
    for patient in range(25):
        for number, (plane, (structures, view, measure)) in enumerate(PLANES.items()):
            category = CATEGORIES[plane][patient % len(CATEGORIES[plane])]
            name = f"P{patient:02d}_{plane}.png"
            drawing = draw_image(category, (2611, patient, number), HELD_OUT_SITE)
            Image.fromarray(drawing.image).save(images / name)
            rows.append([name, f"P{patient:02d}", structures, view, measure])
    wordings = [load_questionnaire("fetal8").question(id).wording for id in ("q1", "q3", "q4")]
    sheet = _write_sheet(out.with_name("planes.csv"), ["Image", "Patient", *wordings], rows)
    ingest(sheet, images, "fetal8", out, "column:Patient")


INGESTS: dict[str, Callable[[Path, Path], None]] = {
    "a": _ingest_planes,
    "b": _ingest_heads,
    "c": _ingest_lungs,
    "d": _ingest_radiographs,
    "closed": _ingest_closed,
    "s": _ingest_phantoms,
}


def _write_sheet(path: Path, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([headings, *rows])
    return path


def _write_question(path: Path, id: str, wording: str, names: Sequence[str] | None) -> str:
    """Write a questionnaire of one question: a choice among names, or text."""
    options = tuple(Option(name=name) for name in names or ())
    question = Question(id=id, type="text" if names is None else "choice", wording=wording, options=options)
    write_text(path, dump_questionnaire(Questionnaire(name=path.stem, questions=(question,))))
    return str(path)


def _shrink(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as file:
        picture = file.convert("L")
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(target, quality=95)


def _plain(answer: object) -> str:
    return str(answer).strip().lower()
