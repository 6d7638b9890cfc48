"""A DICOM header in; the few attributes that may stay, names in place of identifiers, and what was removed out.

By allow-list (`allowed.py`): an attribute that is not named there does not survive, whatever it is.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from residency.dicom.allowed import EMPTIED, HASHED, INSIDE, KEPT, PIXELS
from residency.dicom.header import guarded
from residency.dicom.veil import Veil

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

Action = Literal["removed", "hashed", "emptied", "kept"]
_NAMES = ("PatientID", "OtherPatientIDs", "AccessionNumber", "InstitutionName", "StationName", "DeviceSerialNumber")
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_AGE = re.compile(r"(\d{3})([DWMY])")
_OLDEST = 89
"""Ages above it are rare enough to identify a person (HIPAA, 45 CFR 164.514)."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One attribute that did not stay as it was: its tag, public name, type and what was done; never its value."""

    tag: str
    name: str
    vr: str
    action: Action
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what a file is about, under names; `patient` is None where the file names nobody.

    `attributes` are machine, site (a name), age and sex, as far as the file has them.
    """

    patient: str | None
    study: str
    series: str
    instance: str
    image: str
    attributes: dict[str, str]


def name_group(patient: str | None, study: str) -> str:
    """Return the group that pictures of a file belong to: its patient's name, else the end of its study's UID."""
    return patient or f"S-{study[-12:]}"


def read_identity(header: "Dataset", veil: Veil, digest: str) -> Identity:
    """Return the names of a file's patient, study and picture; `digest` is the SHA-256 of its bytes.

    Raises:
        Refused: damaged.
    """
    with guarded("its identifiers"):
        person = [_plain(header, "PatientID"), *filter(None, [_plain(header, "IssuerOfPatientID")])]
        by_name = _plain(header, "PatientName"), _plain(header, "PatientBirthDate")
        patient = veil.name("P", *person) if person[0] else veil.name("P", *by_name) if all(by_name) else None
        uids = {keyword: str(header.get(keyword) or digest) for keyword in HASHED[2:]}
        machine = " ".join(
            filter(None, (_kept_text(header, "Manufacturer"), _kept_text(header, "ManufacturerModelName")))
        )
        site = _plain(header, "InstitutionName")
        attributes = {
            "machine": machine,
            "site": veil.name("site", site) if site else "",
            "age": _age(header) or "",
            "sex": str(header.get("PatientSex") or "") if header.get("PatientSex") in ("F", "M", "O") else "",
        }
        return Identity(
            patient=patient,
            study=veil.uid(uids["StudyInstanceUID"]),
            series=veil.uid(uids["SeriesInstanceUID"]),
            instance=veil.uid(uids["SOPInstanceUID"]),
            image=veil.name("I", uids["SOPInstanceUID"], digest),
            attributes={key: value for key, value in attributes.items() if value},
        )


def strip_header(header: "Dataset", identity: Identity) -> "tuple[Dataset, list[Removal]]":
    """Return a new header of what may stay, without pixels, and a row for every attribute that went or was changed.

    Raises:
        Refused: damaged.
    """
    from pydicom.dataset import Dataset

    with guarded("de-identifying it"):
        words = _identifying_words(header)
        kept, removed = Dataset(), []
        for element in _elements(header):
            keyword = element.keyword
            if keyword in PIXELS:
                continue
            if keyword in HASHED:
                removed.append(_removal(element, "hashed"))
            elif keyword in EMPTIED:
                removed.append(_removal(element, "emptied"))
            elif keyword == "SequenceOfUltrasoundRegions":
                kept.SequenceOfUltrasoundRegions = [_region(item, removed) for item in element.value]
            elif keyword in KEPT and (value := _allowed(element, words)) is not None:
                kept.add_new(element.tag, element.VR, value)
            else:
                removed.append(_removal(element, "removed"))
        _name(kept, identity)
    return kept, removed


def _name(kept: "Dataset", identity: Identity) -> None:
    """Write the names in place of identifiers, and what was done as PS3.15 E.1 asks."""
    kept.PatientID = identity.patient or "unknown"
    kept.PatientName = f"{kept.PatientID}^"
    kept.StudyInstanceUID, kept.SeriesInstanceUID = identity.study, identity.series
    kept.SOPInstanceUID = identity.instance
    for keyword in EMPTIED:
        setattr(kept, keyword, "")
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "residency: allow-list, hashed identifiers"
    kept.LongitudinalTemporalInformationModified = "REMOVED"


def _region(item: "Dataset", removed: list[Removal]) -> "Dataset":
    from pydicom.dataset import Dataset

    kept = Dataset()
    for element in _elements(item):
        if element.keyword in INSIDE and isinstance(element.value, int | float):
            kept.add_new(element.tag, element.VR, element.value)
        else:
            removed.append(_removal(element, "removed", "in an ultrasound region"))
    return kept


def _elements(header: "Dataset") -> "Iterator[DataElement]":
    """Yield every element of the header itself; lengths of groups say nothing."""
    yield from (element for element in header if element.tag.element != 0)


def _removal(element: "DataElement", action: Action, detail: str = "") -> Removal:
    name = element.keyword or ("private" if element.tag.is_private else "unknown")
    if 0x6000 <= element.tag.group <= 0x60FF:
        name = "overlay"
    if element.VR == "SQ":
        detail = f"{len(element.value)} item(s)"
    return Removal(f"({element.tag.group:04x},{element.tag.element:04x})", name, str(element.VR), action, detail)


def _allowed(element: "DataElement", words: frozenset[str]) -> object:
    """Return the value of an attribute that may stay, None where the value itself may not."""
    from pydicom.uid import UID_dictionary

    value = element.value
    if element.VR == "UI":
        return value if str(value) in UID_dictionary else None
    if element.VR not in ("CS", "LO", "SH", "AS"):
        return value if _is_number(value) else None
    if element.keyword == "PatientAge":
        found = _AGE.fullmatch(str(value))
        return value if found and not (found[2] == "Y" and int(found[1]) > _OLDEST) else None
    if element.VR == "CS":
        parts = [value] if isinstance(value, str) else list(value or [])
        return value if all(_CODE.fullmatch(part) and not _names(part, words) for part in parts) else None
    return value if value and not _names(str(value), words) else None


def _is_number(value: object) -> bool:
    """Tell whether a value is a number or several; a damaged number may be any text."""
    if isinstance(value, bytes):
        return False
    parts = [value] if isinstance(value, str | int | float) else list(value) if isinstance(value, Iterable) else []
    try:
        return bool(parts) and all(math.isfinite(float(part)) for part in parts)
    except (TypeError, ValueError):
        return False


def _names(text: str, words: frozenset[str]) -> bool:
    folded = text.casefold()
    return any(word in folded for word in words)


def _identifying_words(header: "Dataset") -> frozenset[str]:
    """Return what must not turn up in a value that stays: parts of names, and identifiers, from 4 letters on."""
    words: set[str] = set()
    for element in _elements(header):
        if element.VR == "PN":
            words.update(re.split(r"[\^=\s\\,]+", str(element.value).casefold()))
        elif element.keyword in _NAMES:
            words.add(str(element.value).casefold().strip())
    return frozenset(word for word in words if len(word) >= 4)


def _plain(header: "Dataset", keyword: str) -> str:
    return " ".join(str(header.get(keyword) or "").upper().split())


def _kept_text(header: "Dataset", keyword: str) -> str:
    value = _allowed(header[keyword], _identifying_words(header)) if keyword in header else None
    return " ".join(str(value).split()) if value else ""


def _age(header: "Dataset") -> str | None:
    """Return the age in years as the file states it (`031Y` is 31), other units as written; None above 89."""
    found = _AGE.fullmatch(str(header.get("PatientAge") or ""))
    if not found or (found[2] == "Y" and int(found[1]) > _OLDEST):
        return None
    return str(int(found[1])) if found[2] == "Y" else found[0]
