"""A case in, a DICOM Comprehensive SR out (TID 1500, Measurement Report, PS3.16), and captures of plain pictures.

Made with highdicom. Marked as partial, preliminary and unverified; the observer is a device.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from residency import __version__
from residency.dicom.copies import CAPTURE, describe_pixels, write_file
from residency.dicom.header import prepare_pydicom
from residency.drafts.case import Case, Finding, Person, Picture, clean_words, ucum_code
from residency.errors import MissingExtra
from residency.types import Answer, Quantity

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SCHEME = "99RESIDENCY"
"""A private coding scheme (PS3.16 8.2: names that begin with 99)."""
_MEANING, _VALUE = 64, 16
"""The longest code meaning and code value (VR LO and SH)."""


def tell_sr(case: Case, images: Mapping[str, Image.Image] | None = None) -> dict[str, bytes]:
    """Return DICOM files by name: the report `NAME.sr.dcm`, and a capture for each picture that is from no DICOM file.

    `images` are the pictures by the sample's image, needed for those without a source.

    Raises:
        MissingExtra: highdicom is not installed.
    """
    prepare_pydicom()
    try:
        from highdicom.sr import ComprehensiveSR
    except ImportError:
        raise MissingExtra("highdicom", "dicom") from None
    files: dict[str, bytes] = {}
    evidence = []
    for number, picture in enumerate(case.pictures, 1):
        if picture.source is None:
            capture = _capture(case, picture, (images or {})[picture.image], number)
            files[f"{case.name}-{number}.dcm"] = write_file(capture)
            evidence.append(capture)
        else:
            evidence.append(_reference(case, picture))
    unique = {header.SOPInstanceUID: header for header in evidence}
    report = ComprehensiveSR(
        evidence=list(unique.values()),
        content=_content(case, [header.SOPInstanceUID for header in evidence], unique),
        series_instance_uid=case.uid("series"),
        series_number=900,
        sop_instance_uid=case.uid("report"),
        instance_number=1,
        manufacturer="residency",
        is_complete=False,
        is_final=False,
        is_verified=False,
        series_description=_line(f"DRAFT, not for diagnosis, by {case.model}"),
    )
    report.CompletionFlagDescription = _line(case.notice)
    report.SoftwareVersions = __version__
    report.CodingSchemeIdentificationSequence = [_scheme()]
    files[f"{case.name}.sr.dcm"] = write_file(report)
    return files


def _content(case: Case, instances: list[str], headers: "Mapping[str, Dataset]") -> Any:
    from highdicom.sr import (
        CodedConcept,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=case.uid("device"), name=case.model, manufacturer_name="residency", model_name=f"residency {__version__}"
    )
    observer = ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[
            _group(case, picture, headers[instance]) for picture, instance in zip(case.pictures, instances, strict=True)
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _group(case: Case, picture: Picture, header: "Dataset") -> Any:
    """Return one picture's answers: numbers as measurements, what can be named as codes, all of it in words."""
    from highdicom.sr import (
        AlgorithmIdentification,
        CodedConcept,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        RelationshipTypeValues,
        SourceImageForMeasurementGroup,
        TextContentItem,
        TrackingIdentifier,
    )

    frames = [picture.source.frame] if picture.source and picture.source.frames > 1 else None
    told = [item for finding in picture.findings for item in _items(finding)]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(case.uid("tracking", picture.image), _line(picture.image)),
        algorithm_id=AlgorithmIdentification(case.model, __version__),
        measurements=[
            Measurement(_concept(id, name), value.value, _unit(value.unit))
            for id, name, value in told
            if isinstance(value, Quantity)
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(_concept(id, name), _concept(value, value))
            for id, name, value in told
            if isinstance(value, str)
        ],
        source_images=[SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID, frames)],
    )
    comment = CodedConcept("121106", "DCM", "Comment")
    for words in (case.notice, *map(_words, picture.findings)):
        item = TextContentItem(name=comment, value=words, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)
    return group


def _items(finding: Finding) -> Iterator[tuple[str, str, str | Quantity]]:
    """Yield (id, name, value) of an answer and its sub-answers; a set yields each member."""
    if finding.answer is not None:
        yield from ((finding.question, finding.name, value) for value in _members(finding.answer))
    for id, answer in finding.parts.items():
        yield from ((id, id.partition(".")[2] or id, value) for value in _members(answer))


def _members(answer: Answer) -> tuple[str | Quantity, ...]:
    if isinstance(answer, tuple):
        return tuple(member for member in answer if member) or ("none",)
    return (answer,) if answer else ("none",)


def _words(finding: Finding) -> str:
    sure = "" if finding.confidence is None else f" (confidence {finding.confidence:.2f})"
    text = finding.text if finding.answer is not None else f"no answer; the model wrote: {finding.text}"
    reviewed = f" (reviewed by {finding.reviewer})" if finding.reviewer else "" if finding.sure else " (not sure)"
    return f"{finding.name}: {text}{sure}{reviewed}"


def _concept(id: str, meaning: str) -> Any:
    """Return a code of our scheme: the id where it fits, else 16 digits of its hash; the meaning as far as it fits."""
    from highdicom.sr import CodedConcept

    plain = id.replace(" ", "_")
    fits = len(plain) <= _VALUE and plain.isascii() and "\\" not in plain
    value = plain if fits else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:_VALUE]
    return CodedConcept(value, _SCHEME, _line(meaning))


def _line(text: str) -> str:
    """Return text that a Long String (VR LO) takes: 64 characters, which some readers count in bytes."""
    plain = clean_words(text).replace("\\", "/")
    data = plain.encode()
    return plain if len(data) <= _MEANING else data[: _MEANING - 3].decode(errors="ignore") + "..."


def _unit(unit: str) -> Any:
    from highdicom.sr import CodedConcept

    code = ucum_code(unit)
    return CodedConcept(code, "UCUM", _line(unit)) if code else _concept(unit or "1", unit or "no unit")


def _reference(case: Case, picture: Picture) -> "Dataset":
    """Return as much of a DICOM picture's header as a report that refers to it needs."""
    from pydicom.dataset import Dataset

    source = picture.source
    assert source is not None  # only pictures from DICOM files come here
    header = _about(Dataset(), case, source.study)
    header.SOPClassUID, header.SOPInstanceUID = source.sop_class, source.instance
    header.SeriesInstanceUID, header.Modality = source.series, source.modality or "US"
    header.Rows, header.Columns = source.rows, source.columns
    if source.frames > 1:
        header.NumberOfFrames = source.frames
    return header


def _capture(case: Case, picture: Picture, image: Image.Image, number: int) -> "Dataset":
    """Return a secondary capture of a plain picture, with no attribute but what it must have."""
    from pydicom.dataset import Dataset

    header = _about(Dataset(), case, case.uid("study"))
    header.SOPClassUID, header.SOPInstanceUID = CAPTURE, case.uid("capture", picture.image)
    header.SeriesInstanceUID, header.SeriesNumber = case.uid("captures"), 901
    header.InstanceNumber, header.Modality, header.ConversionType = number, "OT", "WSD"
    header.PatientOrientation, header.Laterality, header.Manufacturer = None, None, "residency"
    header.ImageType = ["DERIVED", "SECONDARY"]
    describe_pixels(header, np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))[None], clip=False)
    return header


def _scheme() -> "Dataset":
    from pydicom.dataset import Dataset

    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = _SCHEME, "residency questionnaires"
    scheme.CodingSchemeResponsibleOrganization = "residency"
    return scheme


def _about(header: "Dataset", case: Case, study: str) -> "Dataset":
    """Write whom and which study the file is about: a hashed name, or the person whose original files are at hand."""
    person = _line(case.patient)
    header.StudyInstanceUID = study
    header.PatientID, header.PatientName = person, f"{person.replace('^', ' ').replace('=', ' ')[:60]}^"
    for keyword in Person.KEYWORDS:
        if case.person:
            setattr(header, keyword, case.person.attributes.get(keyword, ""))
        elif not keyword.startswith(("PatientI", "PatientN")):
            setattr(header, keyword, "")
    return header
