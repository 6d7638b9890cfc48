"""A folder of simulated studies: number of patients and seed in; images, answers.xlsx and truth.jsonl out."""

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from numpy.random import Generator
from PIL import Image

from residency.errors import UserError
from residency.files import new_folder, write_text, written_whole
from residency.processes import deaf_children
from residency.progress import track
from residency.questionnaire import load_questionnaire
from residency.types import Quantity, Record
from residency.ultrasound.phantom.answers import SHOWN_IN
from residency.ultrasound.phantom.mess import SHEET, Cell, plant_defects
from residency.ultrasound.phantom.plan import Subject
from residency.ultrasound.phantom.sites import SITES, TRAINING_SITES, Site, find_site, pick_share
from residency.ultrasound.phantom.study import CATEGORIES, Drawing, ages_of, draw_image
from residency.ultrasound.phantom.wording import word_answers

COLUMNS = ("Image", "Patient", "Category", "Annotator", "Spacing mm", "Machine")


@dataclass(frozen=True)
class Order:
    """One image to draw: its name, patient, category, site, annotator, seed and the patient's state."""

    name: str
    patient: str
    category: str
    site: str
    annotator: str
    seed: tuple[int, ...]
    subject: Subject

    @property
    def path(self) -> str:
        """The image's path in the folder."""
        return f"images/{self.category}/{self.name}"


class PhantomSummary(Record):
    """What was written: the folder, its sheet and truth, how many images by category, how many annotated."""

    folder: str
    sheet: str
    truth: str
    patients: int
    images: int
    annotated: int
    categories: dict[str, int]
    defects: int = 0


def write_phantom(
    out: Path,
    patients: int,
    seed: int,
    site: str | None = None,
    messy: bool = False,
    size: int = 256,
    workers: int = 2,
    annotate: Mapping[str, int] | None = None,
) -> PhantomSummary:
    """Write simulated studies to `out`; equal arguments but `workers` write equal files.

    Args:
        out: a folder that does not exist or is empty; it appears whole, or not at all.
        patients: how many, each with one to six images.
        seed: of everything.
        site: one simulated hospital; None mixes the training sites.
        messy: plant the defects of real sheets and list them in defects.jsonl.
        size: of the images' longer side in pixels.
        workers: processes that draw.
        annotate: how many images of each category carry answers, the others none; None answers all.

    Raises:
        UserError: `out` is not empty, an unknown site or category, too few images to annotate, or a drawing process
            ended (a script that calls this needs `if __name__ == "__main__":`, for each process imports it).
    """
    _check_call(out, patients, size, site, annotate)
    orders = order_images(patients, seed, site)
    answered = _choose_annotated(orders, annotate, seed)
    with new_folder(out, replace_old=False) as folder:
        truths, texts = [], []
        for order, (truth, words) in zip(orders, _draw_all(orders, folder, size, workers), strict=True):
            truths.append(truth | {"annotated": order.name in answered})
            texts.append(words if order.name in answered else dict.fromkeys(words, ""))
        rows = [_row(order, truth, words) for order, truth, words in zip(orders, truths, texts, strict=True)]
        defects = 0
        if messy:
            planted = plant_defects(rows, headings(), np.random.default_rng([seed, 77]))
            rows, defects = planted.rows, len(planted.defects)
            write_text(folder / "defects.jsonl", "".join(defect.line() + "\n" for defect in planted.defects))
        write_text(folder / "truth.jsonl", "".join(json.dumps(truth, ensure_ascii=False) + "\n" for truth in truths))
        _write_sheet(folder / "answers.xlsx", rows)
    counts = {name: sum(order.category == name for order in orders) for name in CATEGORIES}
    return PhantomSummary(
        folder=str(out),
        sheet=str(out / "answers.xlsx"),
        truth=str(out / "truth.jsonl"),
        patients=patients,
        images=len(orders),
        annotated=len(answered),
        categories={name: count for name, count in counts.items() if count},
        defects=defects,
    )


def headings() -> list[str]:
    """Return the sheet's headings: the columns, then `Q1:` ... `Q8:` with each question's wording."""
    questions = load_questionnaire("fetal8").questions
    return [*COLUMNS, *(f"{question.id.upper()}:\n{question.wording}" for question in questions)]


def order_images(patients: int, seed: int, site: str | None = None) -> list[Order]:
    """Return what is to be drawn for so many patients: each has one age, one site, and several images."""
    orders = []
    for number in range(patients):
        rng = np.random.default_rng([seed, number])
        home = find_site(site) if site else TRAINING_SITES[int(rng.integers(len(TRAINING_SITES)))]
        patient = f"{home.name[:2].upper()}{seed % 100:02d}{number:05d}"
        subject = _draw_patient(home, rng)
        possible = [name for name in CATEGORIES if ages_of(name)[0] <= subject.weeks <= ages_of(name)[1]]
        weights = np.array([home.weights.get(name, 1.0) for name in possible])
        count = 1 + int(rng.binomial(5, 0.45))
        annotator = str(rng.choice(home.annotators))
        drawn = [str(name) for name in rng.choice(possible, count, p=weights / weights.sum())]
        shown = [name for name in SHOWN_IN.get(subject.finding or "", ()) if name in possible]
        if shown and not set(shown) & set(drawn):
            drawn[0] = shown[0]
        for k, category in enumerate(drawn):
            orders.append(
                Order(f"{patient}_{k + 1}.png", patient, category, home.name, annotator, (seed, number, k), subject)
            )
    return orders


def _draw_patient(site: Site, rng: Generator) -> Subject:
    """Return a patient: first trimester, near labour, or between, abnormal at the site's share."""
    draw = rng.random()
    low, high = (11.0, 13.95) if draw < site.first_trimester else (36.0, 41.0)
    if site.first_trimester <= draw < 1 - site.late:
        low, high = (15.0, 38.9)
    weeks = round(float(rng.uniform(low, high)) * 7) / 7
    finding = None
    if pick_share(rng, site.abnormal):
        early = ["abnormal NT thickening, mild", "abnormal NT thickening, marked", "subchorionic hematoma"]
        late = ["abnormal dilated lateral ventricle", "abnormal VSD"]
        finding = str(rng.choice(early if weeks < 14 else late))
    return Subject(weeks, float(np.clip(rng.normal(1, 0.025), 0.93, 1.07)), finding)


def _check_call(out: Path, patients: int, size: int, site: str | None, annotate: Mapping[str, int] | None) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty", do="choose a new folder; phantoms never overwrite")
    if patients < 1:
        raise UserError("too few patients", found=patients, allowed="1 or more")
    if not 64 <= size <= 1024:
        raise UserError("no such image size", found=size, allowed="64 to 1024 px")
    if site is not None:
        find_site(site)
    unknown = [name for name in annotate or {} if name not in CATEGORIES]
    if unknown:
        raise UserError("unknown categories to annotate", found=unknown, allowed=CATEGORIES)


def _choose_annotated(orders: list[Order], annotate: Mapping[str, int] | None, seed: int) -> set[str]:
    if annotate is None:
        return {order.name for order in orders}
    rng = np.random.default_rng([seed, 78])
    chosen: set[str] = set()
    for category, wanted in annotate.items():
        names = [order.name for order in orders if order.category == category]
        if len(names) < wanted:
            found = f"{len(names)} images of {category}, {wanted} to be annotated"
            raise UserError("too few images to annotate", found=found, do="ask for more patients", exit_code=2)
        chosen |= {str(name) for name in rng.choice(names, wanted, replace=False)}
    return chosen


def _draw_all(
    orders: list[Order], out: Path, size: int, workers: int
) -> Iterator[tuple[dict[str, object], dict[str, str]]]:
    for category in sorted({order.category for order in orders}):
        (out / "images" / category).mkdir(parents=True, exist_ok=True)
    draw = partial(_draw_one, out=out, size=size)
    if workers <= 1 or len(orders) < 8:
        yield from track(map(draw, orders), "drawing", len(orders))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with deaf_children():
            drawn = pool.map(draw, orders, chunksize=8)
        try:
            yield from track(drawn, "drawing", len(orders))
        except BrokenProcessPool:
            do = 'call it below `if __name__ == "__main__":`, and see that memory is free'
            raise UserError("a drawing process has ended", do=do) from None


def _draw_one(order: Order, out: Path, size: int) -> tuple[dict[str, object], dict[str, str]]:
    """Draw and save one image; return its truth and the text of its answers."""
    site = SITES[order.site]
    drawing = draw_image(order.category, order.seed, site, size, order.subject)
    buffer = BytesIO()
    Image.fromarray(drawing.image).save(buffer, "PNG", compress_level=1)
    (out / order.path).write_bytes(buffer.getvalue())
    return tell_truth(order, drawing), word_answers(drawing.answers, site.style)


def tell_truth(order: Order, drawing: Drawing) -> dict[str, object]:
    """Return the image's line of truth.jsonl."""
    fan, answers = drawing.fan, drawing.answers
    return {
        "image": order.path,
        "patient": order.patient,
        "category": order.category,
        "site": order.site,
        "annotator": order.annotator,
        "spacing_mm": [round(value, 5) for value in drawing.spacing_mm],
        "weeks": round(drawing.subject.weeks, 4),
        "measures": dict(drawing.measures),
        "boxes": [box.model_dump() for box in drawing.boxes],
        "outlines": [outline.model_dump() for outline in drawing.outlines],
        "answers": {id: list(value) if isinstance(value, tuple) else value for id, value in answers.whole.items()},
        "parts": {id: _plain(value) for id, value in answers.parts.items()},
        "machine": dict(drawing.machine),
        "fan": {
            "radius_mm": round(fan.radius_mm, 2),
            "depth_mm": round(fan.depth_mm, 2),
            "half_angle": round(fan.half_angle, 4),
            "origin_mm": [round(fan.left_mm, 3), round(fan.top_mm, 3)],
        },
        "text_states_answer": drawing.tells,
    }


def _plain(value: Quantity | str | tuple[str, ...]) -> object:
    if isinstance(value, Quantity):
        return {"value": round(value.value, 4), "unit": value.unit}
    return list(value) if isinstance(value, tuple) else value


def _row(order: Order, truth: Mapping[str, object], words: Mapping[str, str]) -> list[Cell]:
    spacing, machine = truth["spacing_mm"], truth["machine"]
    assert isinstance(spacing, list) and isinstance(machine, dict)
    head: list[Cell] = [order.name, order.patient, order.category, order.annotator, spacing[0], machine["machine"]]
    return head + [text or None for text in words.values()]


def _write_sheet(path: Path, rows: list[list[Cell]]) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    page = book.create_sheet(SHEET)
    for row in [headings(), *rows]:
        page.append(row)
    buffer = BytesIO()
    book.save(buffer)
    with written_whole(path) as file:
        file.write(_without_dates(buffer.getvalue()))


def _without_dates(workbook: bytes) -> bytes:
    """Return the workbook with its time stamps set to a fixed day, so that equal calls write equal bytes."""
    buffer = BytesIO()
    with ZipFile(BytesIO(workbook)) as old, ZipFile(buffer, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2026-01-01T00:00:00Z", old.read(name))
            new.writestr(ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, ZIP_DEFLATED)
    return buffer.getvalue()
