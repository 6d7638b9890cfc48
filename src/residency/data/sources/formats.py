"""What a user calls their data, or nothing, in; the one layout that it has out, or an error that lists all layouts."""

from pathlib import Path
from types import ModuleType

from residency.data.lines import Place
from residency.data.sources import (
    coco,
    conversations,
    hub,
    label_studio,
    labels,
    listed,
    masks,
    mimic_cxr,
    notes,
    path_vqa,
    slake,
    voc,
    vqa_rad,
    yolo,
)
from residency.errors import UserError

FORMATS: dict[str, ModuleType] = {
    "vqa-rad": vqa_rad,
    "path-vqa": path_vqa,
    "slake": slake,
    "huggingface": hub,
    "conversations": conversations,
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
    "boxes": listed,
    "labels": labels,
    "masks": masks,
    "mimic-cxr": mimic_cxr,
    "notes": notes,
    "label-studio": label_studio,
}
"""Each has HOLDS (what the layout is, in words), `find(sheet, images)` and `read(place)`; where pictures lie
within the files, also `unpack(place, folder, limit, seed)`; `find_named` where a name lets more through."""
SHEETS = (".xlsx", ".xlsm", ".csv", ".tsv", ".txt", ".jsonl")


def find_format(name: str, sheet: Path | None, images: Path) -> tuple[str, Place] | None:
    """Return the layout and where its files lie; None where `auto` finds a plain sheet, lines or a report folder.

    Raises:
        UserError: an unknown name, files that are not of the layout named, or several layouts that fit.
    """
    if name == "sheet":
        return None
    if name not in ("auto", *FORMATS):
        raise UserError(f"no format {name}", allowed=["auto", "sheet", *FORMATS], do=f"these are:\n{list_formats()}")
    if name != "auto":
        module = FORMATS[name]
        place = getattr(module, "find_named", module.find)(sheet, images)
        if place is None:
            where = f"{sheet} and {images}" if sheet else str(images)
            raise UserError(f"{where} hold nothing laid out as {name}", allowed=FORMATS[name].HOLDS)
        return name, place
    found = {name: place for name, module in FORMATS.items() if (place := module.find(sheet, images))}
    if len(found) > 1:
        raise UserError(
            f"{sheet or images} may be read in several ways",
            found=[*found],
            do="name one with --format (sheet: a plain answer sheet)",
        )
    return next(iter(found.items()), None)


def list_formats() -> str:
    """Return what each layout holds, a line each."""
    return "\n".join(f"    {name}: {module.HOLDS}" for name, module in FORMATS.items())
