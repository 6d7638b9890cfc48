"""De-identified readings in; PNG pictures, a record of each, and the table of what was removed out."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import Field

from residency.dicom.folder import NAMED, Settings, read_folder
from residency.dicom.header import Refused
from residency.dicom.read import Reading
from residency.tables import tell_csv
from residency.types import Problem, Record, Source

RECORDS, TABLE = "dicom.jsonl", "removed.csv"
_HEADINGS = ("image", "what", "tag", "type", "done", "detail")


class SourceImage(Record):
    """Where a picture came from, under names: the frame of which file (SHA-256 of its bytes), and its scale.

    UIDs are hashed, but for the SOP class. `masked` are the boxes (x0, y0, x1, y1) of burned-in text.
    """

    image: str
    sha256: str
    frame: int
    frames: int
    patient: str | None = None
    study: str
    series: str
    instance: str
    sop_class: str
    modality: str = ""
    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None = None
    spacing_unknown: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)
    masked: tuple[tuple[int, int, int, int], ...] = ()


@dataclass
class Decoded:
    """What a folder became: a record for each picture, by its file name; problems name a refused file by a hash.

    `called` are the names by which a sheet may call a picture; `refused` says the same of refused files as `problems`,
    with their paths, for the terminal alone; `notes` are worth knowing.
    `stamps` are (bytes, ns of the last change) of the sources when read.
    """

    images: dict[str, SourceImage] = field(default_factory=dict)
    called: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    stamps: dict[Path, tuple[int, int]] = field(default_factory=dict)
    table: list[tuple[str, ...]] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)

    def changed(self) -> list[Path]:
        """Return the sources that are no longer as they were read."""
        return [path for path, stamp in self.stamps.items() if _stamp(path) != stamp]


def write_pictures(files: Mapping[str, Path], folder: Path, settings: Settings) -> Decoded:
    """Write every frame of every file as a PNG into the folder.

    Raises:
        MissingExtra: pydicom, a decoder or RapidOCR is not installed.
    """
    decoded = Decoded()
    for name, path, reading in note_files(files, settings, decoded):
        for frame, (record, calls) in zip(reading.frames, _records(name, reading), strict=True):
            file = io.BytesIO()
            frame.picture.save(file, "PNG")
            (folder / record.image).write_bytes(file.getvalue())
            decoded.images[record.image] = record
            decoded.called[record.image] = calls
        decoded.stamps[path] = _stamp(path)
    return decoded


def note_files(files: Mapping[str, Path], settings: Settings, decoded: Decoded) -> Iterator[tuple[str, Path, Reading]]:
    """Yield the files that can be used, each once; note refused ones, copies, and what was removed."""
    seen: dict[str, str] = {}
    for name, path, found in read_folder(dict(files), settings):
        hidden = settings.veil.name("file", name)
        if isinstance(found, Refused):
            _note(decoded, name, hidden, found.kind, found.what)
        elif found.identity.image in seen:
            _note(decoded, name, hidden, "copy", "is a copy of another file, which is used")
        else:
            seen[found.identity.image] = name
            decoded.table += table_rows(found)
            decoded.patients |= {found.identity.patient} if found.identity.patient else set()
            yield name, path, found


def table_rows(reading: Reading) -> Iterator[tuple[str, ...]]:
    """Yield what was removed from a file, or changed: attributes, then masked text; never a value."""
    image = reading.identity.image
    for removal in reading.removed:
        yield image, removal.name, removal.tag, removal.vr, removal.action, removal.detail
    for box in boxes_of(reading):
        yield image, "burned-in text", "(7fe0,0010)", "", "masked", f"{box[0]} {box[1]} {box[2]} {box[3]}"


def boxes_of(reading: Reading) -> tuple[tuple[int, int, int, int], ...]:
    """Return the boxes of masked text, each once, from top to bottom; a box within another is left out."""
    boxes = sorted({text.box for text in reading.masked}, key=lambda box: (box[1], box[0], -box[3], -box[2]))
    return tuple(box for box in boxes if not any(_within(box, other) for other in boxes if other != box))


def tell_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return the table as CSV."""
    return tell_csv([_HEADINGS, *rows])


def _records(name: str, reading: Reading) -> Iterator[tuple[SourceImage, tuple[str, ...]]]:
    """Yield a record for each frame, and what a sheet may call it: `a.dcm` or `a`, of a clip `a.dcm#12` or `a#12`."""
    path = PurePosixPath(name)
    stems = dict.fromkeys((name, str(path.with_suffix("")) if path.suffix.lower() in NAMED else name))
    identity, header, digits = reading.identity, reading.header, len(str(reading.total))
    for frame in reading.frames:
        single = reading.total == 1
        width, height = frame.picture.size
        record = SourceImage(
            image=f"{identity.image}.png" if single else f"{identity.image}-{frame.number:0{digits}}.png",
            sha256=reading.sha256,
            frame=frame.number,
            frames=reading.total,
            patient=identity.patient,
            study=identity.study,
            series=identity.series,
            instance=identity.instance,
            sop_class=str(header.get("SOPClassUID", "")),
            modality=str(header.get("Modality", "")),
            rows=height,
            columns=width,
            spacing_mm=reading.scale.spacing_mm,
            spacing_unknown=reading.scale.why,
            attributes=identity.attributes,
            masked=boxes_of(reading),
        )
        # A clip's own name is every frame's: a sheet that gives it alone is told which there are.
        yield record, (*(stems if single else (f"{stem}#{frame.number}" for stem in stems)), *stems)


def _note(decoded: Decoded, name: str, hidden: str, kind: str, what: str) -> None:
    decoded.problems.append(Problem(kind=kind, message=what, source=Source(file=hidden)))
    decoded.refused.append(Problem(kind=kind, message=what, source=Source(file=name)))
    decoded.called[hidden] = (name,)


def _within(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
