"""A case in, a FHIR R4 bundle out: a preliminary DiagnosticReport with an Observation for each answer.

A plain dictionary, ready for JSON; it validates as R4 and R4B. The subject is a hashed name where the case
has no person.
"""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from residency import __version__
from residency.drafts.case import NOTHING, Case, Finding, Picture, clean_words, ucum_code
from residency.types import Answer, Quantity

Resource = dict[str, Any]
_LOCAL = "urn:residency"
_UCUM = "http://unitsofmeasure.org"
_UNREAD = {
    "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "code": "error",
    "display": "Error",
}
_XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def tell_fhir(case: Case, issued: datetime) -> Resource:
    """Return the bundle: report, observations, device, subject, pictures, and the imaging study where there is one.

    `issued` is when the draft is made, with its time zone.
    """
    device, patient = _device(case), _patient(case)
    study = [_study(case)] if all(picture.source for picture in case.pictures) else []
    media = [_media(case, picture) for picture in case.pictures]
    observations = [
        _observation(case, picture, finding, media[number]["id"])
        for number, picture in enumerate(case.pictures)
        for finding in picture.findings
    ]
    report = _report(case, issued, observations, media, study)
    resources = [report, *observations, device, patient, *media, *study]
    return {
        "resourceType": "Bundle",
        "id": case.uuid("bundle"),
        "type": "collection",
        "timestamp": issued.isoformat(timespec="seconds"),
        "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources],
    }


def _report(
    case: Case, issued: datetime, observations: Sequence[Resource], media: Sequence[Resource], study: Sequence[Resource]
) -> Resource:
    lines = [f"{finding.name}: {_words(finding)}" for picture in case.pictures for finding in picture.findings]
    told = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return {
        "resourceType": "DiagnosticReport",
        "id": case.uuid("report"),
        "text": {"status": "generated", "div": f"<div {_XHTML}><p>{escape(case.notice)}</p><ul>{told}</ul></div>"},
        "identifier": [{"system": f"{_LOCAL}:draft", "value": case.uid("report")}],
        "status": "preliminary",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}],
            "text": f"Draft answers to {case.questionnaire}",
        },
        "subject": _to("Patient", case.uuid("patient")),
        "issued": issued.isoformat(timespec="seconds"),
        "result": [_to("Observation", one["id"]) for one in observations],
        "media": [{"link": _to("Media", one["id"])} for one in media],
        **({"imagingStudy": [_to("ImagingStudy", one["id"]) for one in study]} if study else {}),
        "conclusion": f"{case.notice} Answered by {case.model}.",
    }


def _observation(case: Case, picture: Picture, finding: Finding, media: str) -> Resource:
    """Return one answer; its sub-answers and the model's confidence are components."""
    components = [_component(case, id, id.partition(".")[2] or id, value) for id, value in finding.parts.items()]
    if finding.confidence is not None:
        value = {"value": round(finding.confidence, 4), "unit": "1", "system": _UCUM, "code": "1"}
        code = {
            "coding": [{"system": f"{_LOCAL}:model", "code": "confidence"}],
            "text": "confidence of the model, 0 to 1",
        }
        components.append({"code": code, "valueQuantity": value})
    told = {"dataAbsentReason": {"coding": [_UNREAD]}} if finding.answer is None else _value(finding.answer)
    notes = [finding.notice]
    if finding.answer is None:
        notes.append(f"The model's text is no answer: {finding.text}")
    return {
        "resourceType": "Observation",
        "id": case.uuid("observation", picture.image, finding.sample),
        "identifier": [{"system": f"{_LOCAL}:sample", "value": finding.sample}],
        "status": "preliminary",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]}
        ],
        "code": _code(case, finding.question, finding.name),
        "subject": _to("Patient", case.uuid("patient")),
        "device": _to("Device", case.uuid("device")),
        "derivedFrom": [_to("Media", media)],
        **told,
        "note": [{"text": note} for note in notes],
        **({"component": components} if components else {}),
    }


def _component(case: Case, id: str, name: str, value: Answer) -> Resource:
    return {"code": _code(case, id, name), **_value(value)}


def _value(answer: Answer) -> Resource:
    if isinstance(answer, Quantity):
        code = ucum_code(answer.unit)
        coded = {"system": _UCUM, "code": code} if code else {}
        return {"valueQuantity": {"value": answer.value, "unit": answer.unit, **coded}}
    words = "; ".join(answer) if isinstance(answer, tuple) else answer
    return {"valueString": words.strip() or "none"}


def _device(case: Case) -> Resource:
    return {
        "resourceType": "Device",
        "id": case.uuid("device"),
        "deviceName": [{"name": case.model, "type": "model-name"}],
        "manufacturer": "residency",
        "version": [{"value": __version__}],
        "note": [{"text": case.notice}],
    }


def _patient(case: Case) -> Resource:
    identifier: Resource = {"system": f"{_LOCAL}:group", "value": case.patient}
    if case.person and (known := clean_words(case.person.attributes.get("PatientID", ""))) != NOTHING:
        identifier = {"type": {"text": "PatientID of the DICOM files"}, "value": known}
    return {"resourceType": "Patient", "id": case.uuid("patient"), "identifier": [identifier]}


def _media(case: Case, picture: Picture) -> Resource:
    source = picture.source
    named = [{"system": "urn:dicom:uid", "value": f"urn:oid:{source.instance}"}] if source else []
    return {
        "resourceType": "Media",
        "id": case.uuid("media", picture.image),
        "identifier": [*named, {"system": f"{_LOCAL}:image", "value": picture.image}],
        "status": "completed",
        "subject": _to("Patient", case.uuid("patient")),
        **({"frames": source.frames, "width": source.columns, "height": source.rows} if source else {}),
        "content": {"contentType": "image/png", "title": picture.image},
    }


def _study(case: Case) -> Resource:
    """Return the study of the DICOM files under the UIDs that their records hold."""
    series: dict[str, dict[str, Resource]] = {}
    modality = "US"
    for picture in case.pictures:
        if source := picture.source:
            modality = source.modality or modality
            kind = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{source.sop_class}"}
            series.setdefault(source.series, {})[source.instance] = {"uid": source.instance, "sopClass": kind}
    coded = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality}
    first = case.pictures[0].source
    return {
        "resourceType": "ImagingStudy",
        "id": case.uuid("study"),
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{first.study}"}] if first else [],
        "status": "available",
        "subject": _to("Patient", case.uuid("patient")),
        "series": [
            {"uid": uid, "modality": coded, "instance": list(instances.values())} for uid, instances in series.items()
        ],
    }


def _code(case: Case, id: str, name: str) -> Resource:
    code = "_".join(id.split())
    return {"coding": [{"system": f"{_LOCAL}:{case.questionnaire}", "code": code, "display": name}], "text": name}


def _words(finding: Finding) -> str:
    sure = "" if finding.confidence is None else f" (confidence {finding.confidence:.2f})"
    return (finding.text if finding.answer is not None else f"no answer ({finding.text})") + sure


def _to(kind: str, id: str) -> Resource:
    return {"reference": f"urn:uuid:{id}", "type": kind}
