"""A sheet (or lines, or a report folder) and images in, a checked dataset folder on disk out, or nothing at all."""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from residency.data.audit import Audit, History, build_audit, write_audit
from residency.data.counted import ask_of_boxes
from residency.data.dataset import Dataset, write_dataset
from residency.data.decode import FROM_FILE, decoded, index_decoded, is_dicom_folder
from residency.data.frame import Frame, Gathered, check_grouping
from residency.data.images import quiet_readers, reading_ahead
from residency.data.index import ImageIndex, index_images
from residency.data.jsonl import read_samples
from residency.data.material import Material, Origin, beside_boxes, find_origin, read_material
from residency.data.rows import read_tables
from residency.data.settle import add_unannotated, find_overlap, given_splits, join_twins, settle_repeats, tear_groups
from residency.data.split import RATIOS, keep_split, make_splits
from residency.data.unpack import unpacked
from residency.data.wording import LAYERS, Layer
from residency.dicom.folder import Settings
from residency.dicom.pictures import RECORDS, TABLE, Decoded, tell_table
from residency.dicom.veil import draw_veil
from residency.errors import CheckFailed, UserError
from residency.files import new_folder, sha256_file, write_lines, write_text
from residency.types import Problem, Source

IMAGES = "images"
"""The dataset's own folder of pictures that were unpacked."""


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest found and wrote; `columns` says what each column was taken for, `problems` what was left out.

    `found` counts problems and flags by kind. `refused` are DICOM files that are not used, by path, and why.
    """

    out: Path
    samples: int
    annotated: int
    images: int
    annotated_images: int
    groups: int
    changes: int
    skipped_rows: int
    columns: tuple[str, ...]
    found: dict[str, int]
    flags: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    refused: tuple[str, ...]
    written: tuple[Path, ...]
    next_command: str


def ingest(
    sheet: Path | None,
    images: Path,
    questionnaire: str | None,
    out: Path,
    group_by: str | None,
    *,
    folds: int = 1,
    ratios: tuple[float, float, float] = RATIOS,
    seed: int = 0,
    skip_bad: bool = False,
    layers: Sequence[Layer] = LAYERS,
    resplit: bool = False,
    replace_old: bool = False,
    keep_leak: bool = False,
    format: str = "auto",
    questions: Sequence[str] = (),
    labels: Sequence[str] = (),
    limit: int | None = None,
    boxes: Path | None = None,
    dicom: Settings | None = None,
    asks: Sequence[str] = (),
) -> IngestSummary:
    """Compile a user's files into a dataset folder; the sources are only read, and checked to be unchanged after.

    Args:
        sheet: Excel, CSV, TSV, or JSON lines; None where `images` is a report folder.
        images: the folder that holds the images, at any depth.
        questionnaire: a shipped name or a YAML file; None makes a draft of a sheet, or takes lines as they are.
        out: the dataset's folder; it appears whole, or not at all.
        group_by: `column:NAME`, `pattern:REGEX`, `image` or `dicom`; None is `dicom` where images are DICOM files.
        folds: 1 for train, val and test, else k folds.
        ratios: of train, val and test.
        seed: of the splits.
        skip_bad: leave bad rows out and record them, instead of failing.
        layers: of normalization: space, spelling, vocabulary.
        resplit: draw new splits though the data came with its own.
        replace_old: put the new dataset in the place of an older one.
        keep_leak: keep a published split though its images stand in several; the audit lists each.
        format: a published layout by name (`data/sources/formats.py`), or `auto` to find it out.
        questions: what is asked of a table of labels: `COLUMN: WORDS`.
        labels: what a level of masks means: `LEVEL: LABEL`.
        limit: so many rows of a layout that holds its pictures within, drawn by the seed.
        boxes: a file or folder of boxes that lie beside a sheet, grouped as the sheet is.
        dicom: how DICOM files are read; None masks burned-in text and draws a secret for names that is kept nowhere.
        asks: what is asked of an image with boxes besides, or in place of, its boxes (counted.py).

    Raises:
        UserError: a file or an argument that cannot be used.
        CheckFailed: `ingest` (bad rows, all of them), `split-leak`, or `sources-unchanged`; nothing was written.
    """
    grouped = group_by or (FROM_FILE if images.is_dir() and is_dicom_folder(images) else "")
    check_grouping(grouped)
    _check_out(out, images, replace_old)
    origin = beside_boxes(find_origin(sheet, images, format, questions, labels), boxes)
    before = {path: sha256_file(path) for path in origin.files}
    settings = dicom or Settings(draw_veil())
    with (
        unpacked(origin, out, limit, seed) as origin,
        decoded(origin, out, settings) as (origin, dicoms, strays),
        quiet_readers(),
        paused_collector(),
        reading_ahead((index := _index(images, origin, dicoms).without(strays)).paths) as finish,
    ):
        if strays:
            check_grouping(group_by or "")  # plain pictures after all
        material = read_material(origin, images, questionnaire, out)
        within = IMAGES if origin.place.unpacked else None
        frame = Frame(index, material.questionnaire, grouped, out, tuple(layers), within=within)
        if dicoms:
            frame = replace(frame, told=dicoms.images, veil=settings.veil)
        # Rows are read while the images are, each image taken for readable; lines tell boxes by an image's size.
        early = None if material.lines else _gather(material, frame)
        read, unreadable = finish()
        frame = frame.with_images(read, unreadable)
        gathered = _gather(material, frame) if early is None or unreadable else early
        problems = [*gathered.problems, *(flag for flag in gathered.flags if flag in strays)]
        if problems and not skip_bad:
            raise CheckFailed("ingest", problems, do="mend these, or leave them out with --skip-bad")
        asked = material.questionnaire
        if asks:
            gathered.samples, asked = ask_of_boxes(gathered.samples, asked, asks)
        named = [replace(image, name=frame.image_path(image.name)) for image in read]
        gathered.flags += dicoms.notes if dicoms else []
        twins, samples = join_twins(gathered, named)
        gathered.flags += find_overlap(gathered)
        if gathered.split_of and not resplit and keep_leak:
            samples, splits = tear_groups(samples, gathered, frame)
        elif gathered.split_of and not resplit:
            splits = given_splits(samples, gathered, frame)
        elif not material.tables and not material.lines:
            splits = keep_split({sample.group: "train" for sample in samples})
        else:
            splits = make_splits(samples, folds=folds, ratios=ratios, seed=seed)
        _check_unchanged(before, frame, dicoms.changed() if dicoms else [])
        dataset = Dataset(out, tuple(samples), asked, splits)
        audit = build_audit(dataset, named, twins, frame.index.problems, _history(before, frame, gathered))
        return _write(dataset, gathered, audit, replace_old, origin.place.images if within else None, dicoms)


def _write(
    dataset: Dataset,
    gathered: Gathered,
    audit: Audit,
    replace_old: bool,
    pictures: Path | None,
    dicoms: Decoded | None,
) -> IngestSummary:
    """Write the dataset's folder whole, unpacked pictures moved into it, and return what it holds."""
    out = dataset.folder
    with new_folder(out, replace_old) as folder:
        if pictures:
            pictures.rename(folder / IMAGES)
        made = replace(dataset, folder=folder)
        write_dataset(made)
        write_lines(folder / "normalization.jsonl", gathered.changes)
        write_audit(made, audit, out.name)
        if dicoms:
            write_lines(folder / RECORDS, dicoms.images.values())
            write_text(folder / TABLE, tell_table(dicoms.table))
        names = sorted(path.name for path in folder.iterdir())
    return IngestSummary(
        out=out,
        samples=len(dataset.samples),
        annotated=audit.samples,
        images=audit.images,
        annotated_images=audit.annotated_images,
        groups=audit.groups,
        changes=len(gathered.changes),
        skipped_rows=gathered.bad_rows,
        columns=tuple(gathered.columns),
        found=dict(Counter(problem.kind for problem in (*gathered.problems, *gathered.flags))),
        flags=tuple(gathered.flags),
        problems=tuple(gathered.problems),
        warnings=audit.warnings,
        refused=tuple(map(str, dicoms.refused)) if dicoms else (),
        written=tuple(out / name for name in names),
        next_command=f"residency train RECIPE data={out}"
        if audit.samples
        else f"residency serve --model RUN --data {out}",
    )


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause Python's search for reference cycles: with 40,000 records made at once it takes two thirds of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # What was made goes to the oldest generation unsearched, or the first search would find all of it young.
            gc.freeze()
            gc.enable()
            gc.unfreeze()


def _check_out(out: Path, images: Path, replace_old: bool) -> None:
    if out.resolve().is_relative_to(images.resolve()):
        raise UserError(f"{out} lies within the images' folder", do="choose a folder elsewhere with --out")
    is_dataset = (out / "samples.jsonl").is_file()
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir()) and not (replace_old and is_dataset)):
        do = "choose another --out" + (", or put it in its place with --replace" if is_dataset else "")
        raise UserError(f"{out} exists already", do=do)


def _index(folder: Path, origin: Origin, dicoms: Decoded | None) -> ImageIndex:
    place = origin.place
    return index_decoded(folder, place.images, dicoms) if dicoms else index_images(place.images, place.only)


def _gather(material: Material, frame: Frame) -> Gathered:
    gathered = read_tables(material.tables, frame) if material.tables else Gathered()
    gathered.flags[:0] = material.flags
    gathered.problems[:0] = material.problems
    gathered.bad_rows += len(material.problems)
    gathered.columns += material.taken
    read_samples(material.lines, frame, gathered)
    for image in frame.index.paths if material.splits else ():
        if split := material.splits.get(image.rpartition("/")[2]):
            gathered.split_of[image] = {split}
    free = [
        question.id for question in frame.questionnaire.questions if question.type == "text" and not question.options
    ]
    settle_repeats(gathered, free if material.lines else ())
    add_unannotated(gathered, frame, expected=material.whole)
    return gathered


def _check_unchanged(before: Mapping[Path, str], frame: Frame, moved_files: Sequence[Path]) -> None:
    """Hash sheets anew, and images whose size or time of change is another than when they were read."""
    changed = [*moved_files, *(path for path, digest in before.items() if sha256_file(path) != digest)]
    for name, image in frame.images.items():
        path = frame.index.paths[name]
        status = path.stat()
        moved = (status.st_size, status.st_mtime_ns) != image.stamp
        if moved and sha256_file(path) != image.sha256:
            changed.append(path)
    if changed:
        message = "the file changed while it was read"
        problems = [Problem(kind="changed", message=message, source=Source(file=str(path))) for path in changed]
        raise CheckFailed("sources-unchanged", problems, do="close the programs that write to them, and ingest again")


def _history(before: Mapping[Path, str], frame: Frame, gathered: Gathered) -> History:
    restored = Counter(change.deepest for change in gathered.changes)
    return History(
        sources={str(path): digest for path, digest in before.items()},
        group_by=frame.group_by,
        layers=frame.layers,
        columns=tuple(gathered.columns),
        cells=gathered.cells,
        skipped_rows=gathered.bad_rows,
        problems=tuple(gathered.problems),
        flags=tuple(gathered.flags),
        restored=dict(restored),
        wordings={
            id: {answer: dict(counts) for answer, counts in answers.items()}
            for id, answers in gathered.wordings.items()
        },
    )
