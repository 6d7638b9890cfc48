"""A folder of DICOM files in, a new folder of de-identified pictures or DICOM files with the table of what went out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from residency.dicom.copies import tell_copy
from residency.dicom.folder import Settings, list_folder
from residency.dicom.pictures import RECORDS, TABLE, Decoded, note_files, tell_table, write_pictures
from residency.errors import CheckFailed, UserError
from residency.files import new_folder, write_lines, write_text
from residency.tables import tell_csv

Kind = Literal["png", "dicom"]


@dataclass(frozen=True)
class CopySummary:
    """What was written, and what was not: `masked` counts places of burned-in text, `removed` attributes that went."""

    out: Path
    files: int
    pictures: int
    removed: int
    masked: int
    patients: int
    refused: tuple[str, ...]
    written: tuple[Path, ...]


def copy_folder(folder: Path, out: Path, kind: Kind, settings: Settings, key: Path | None = None) -> CopySummary:
    """Write de-identified copies of a folder's DICOM files under new names; the folder itself is only read.

    `key` is a file that says which file became which picture. It identifies patients and lies outside of `out`.

    Raises:
        UserError: `out` is in use or within the folder, or `key` lies in `out`.
        CheckFailed: `dicom`: no file can be used, with the reason for each.
    """
    _check_places(folder, out, key)
    listed = list_folder(folder)
    if not listed.files:
        raise UserError(f"{folder} holds no DICOM files", found=f"{len(listed.others)} other file(s)")
    with new_folder(out, replace_old=False) as made:
        decoded, names = _write(listed.files, made, kind, settings)
        if not names:
            raise CheckFailed("dicom", decoded.refused)
        write_text(made / TABLE, tell_table(decoded.table))
        written = sorted(path.name for path in made.iterdir())
    if key:
        write_text(key, tell_csv([("file", "copy"), *names.items()]))
        key.chmod(0o600)
    done = [row[4] for row in decoded.table]
    return CopySummary(
        out=out,
        files=len({name.partition("#")[0] for name in names}),
        pictures=len(decoded.images) or len(names),
        removed=done.count("removed"),
        masked=done.count("masked"),
        patients=len(decoded.patients),
        refused=tuple(map(str, decoded.refused)),
        written=(*(out / name for name in written), *([key] if key else [])),
    )


def _write(files: dict[str, Path], folder: Path, kind: Kind, settings: Settings) -> tuple[Decoded, dict[str, str]]:
    """Write the copies; return what was noted, and each copy's name by what it was."""
    if kind == "png":
        (folder / "images").mkdir()
        decoded = write_pictures(files, folder / "images", settings)
        write_lines(folder / RECORDS, decoded.images.values())
        return decoded, {decoded.called[image][0]: image for image in decoded.images}
    decoded, names = Decoded(), {}
    for name, _, reading in note_files(files, settings, decoded):
        copy = f"{reading.identity.image}.dcm"
        (folder / copy).write_bytes(tell_copy(reading, settings.burned))
        names[name] = copy
    return decoded, names


def _check_places(folder: Path, out: Path, key: Path | None) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{out} lies within the folder that is read", do="choose a folder elsewhere with --out")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists already", do="choose another --out")
    if key and key.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{key} identifies patients and would lie among the copies", do="choose a place outside --out")
