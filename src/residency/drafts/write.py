"""A file of predictions and its dataset in, a folder of drafts out: FHIR bundles, or DICOM SR with its captures."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from PIL import Image

from residency.data.dataset import Dataset, load_dataset
from residency.dicom.folder import list_folder
from residency.dicom.pictures import RECORDS, SourceImage
from residency.drafts.case import Case, Person, gather_cases
from residency.drafts.fhir import tell_fhir
from residency.drafts.sr import tell_sr
from residency.errors import UserError
from residency.files import is_there, new_folder, read_lines, sha256_file, write_json
from residency.progress import track
from residency.types import Prediction

Kind = Literal["fhir", "sr"]


@dataclass(frozen=True)
class DraftSummary:
    """What was written: `drafts` reports of `answers` answers; `captures` of pictures that are from no DICOM file."""

    out: Path
    drafts: int
    answers: int
    unread: int
    captures: int
    identified: bool
    written: tuple[Path, ...]


def write_drafts(
    predictions: Path, data: Path, kind: Kind, out: Path, sources: Path | None = None, issued: datetime | None = None
) -> DraftSummary:
    """Write a draft for each study, or each plain picture, of a file of predictions.

    `sources` is the folder of the original DICOM files: drafts then carry their patient and UIDs in place of hashed
    names, so that the hospital's archive finds them. `issued` is when (None: now).

    Raises:
        UserError: no predictions of this dataset's samples; `out` is in use; `sources` lacks a file or has none.
        MissingExtra: highdicom is not installed.
    """
    dataset = load_dataset(data)
    made = read_lines(predictions, Prediction)
    known = {sample.id for sample in dataset.samples}
    if strange := [one.id for one in made if one.id not in known][:3]:
        raise UserError(f"{predictions} answers other samples than {data} holds", found=strange)
    if not made:
        raise UserError(f"{predictions} holds no predictions", do="residency predict writes them")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists already", do="choose another --out")
    images = _read_sources(dataset)
    persons: dict[str, Person] = {}
    if sources and not images:
        found, do = f"no {RECORDS} in it", "leave --sources out: a dataset of plain pictures names no patient"
        raise UserError(f"{data} was made from no DICOM files", found=found, do=do)
    if sources:
        images, persons = _identify(images, sources)
    cases = gather_cases(made, dataset.samples, dataset.questionnaire, images)
    named = [replace(case, person=persons.get(case.pictures[0].image)) for case in cases]
    with new_folder(out, replace_old=False) as folder:
        captures = _write(named, dataset, kind, folder, issued or datetime.now(UTC))
        written = sorted(path.name for path in folder.iterdir())
    return DraftSummary(
        out=out,
        drafts=len(cases),
        answers=len(made),
        unread=sum(one.parsed is None for one in made),
        captures=captures,
        identified=bool(sources),
        written=tuple(out / name for name in written),
    )


def _write(cases: list[Case], dataset: Dataset, kind: Kind, folder: Path, issued: datetime) -> int:
    """Write the drafts; return how many captures lie beside them."""
    captures = 0
    for case in track(cases, "writing drafts"):
        if kind == "fhir":
            write_json(folder / f"{case.name}.fhir.json", tell_fhir(case, issued))
            continue
        plain = {}
        for picture in case.pictures:
            if picture.source is None:
                with Image.open(dataset.folder / picture.image) as image:
                    plain[picture.image] = image.copy()
        files = tell_sr(case, plain)
        captures += len(files) - 1
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return captures


def _read_sources(dataset: Dataset) -> dict[str, SourceImage]:
    """Return what the DICOM files said, by the samples' image; nothing where a dataset came from none."""
    path = dataset.folder / RECORDS
    records = read_lines(path, SourceImage) if is_there(path) else []
    return {f"images/{record.image}": record for record in records}


def _identify(images: dict[str, SourceImage], sources: Path) -> tuple[dict[str, SourceImage], dict[str, Person]]:
    """Return the records under the originals' UIDs, found by the hash of the files' bytes, and whom each is about.

    Raises:
        UserError: a file that the dataset was made from is not there, or is damaged.
    """
    from residency.dicom.header import guarded, read_bytes, read_header

    wanted = {record.sha256 for record in images.values()}
    paths = {sha256_file(path): path for path in list_folder(sources).files.values()}
    if lost := wanted - {*paths}:
        raise UserError(
            f"{sources} lacks {len(lost)} of the {len(wanted)} files that the dataset was made from",
            do="name the folder that was ingested, or leave --sources out for drafts under hashed names",
        )
    uids: dict[str, dict[str, str]] = {}
    persons: dict[str, Person] = {}
    for digest in wanted:
        header = read_header(read_bytes(paths[digest]))
        with guarded("its identifiers"):
            told = (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID"), ("instance", "SOPInstanceUID"))
            uids[digest] = {key: str(header[keyword].value) for key, keyword in told if header.get(keyword)}
            persons[digest] = Person({keyword: str(header.get(keyword) or "") for keyword in Person.KEYWORDS})
    told_images = {image: record.model_copy(update=uids[record.sha256]) for image, record in images.items()}
    return told_images, {image: persons[record.sha256] for image, record in images.items()}
