"""A kept case with its reviews in; a preliminary report out: a FHIR bundle, or a DICOM SR with its capture in a ZIP.

An answer that somebody reviewed stands as the last reviewer left it, under that name; a rejected one is left out.
"""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zipfile import ZipFile

from fastapi import APIRouter, Query, Response
from PIL import Image

from residency.drafts.case import Case, Finding, Picture, clean_answer, clean_words
from residency.drafts.fhir import tell_fhir
from residency.drafts.sr import tell_sr
from residency.errors import MissingExtra
from residency.serve.access import CaseId, Has, Reader, refusals
from residency.serve.pictures import Refused
from residency.serve.reviews import Reviewed, list_reviewed
from residency.serve.told import AnswerTold, Interpretation

FHIR, ZIP = "application/fhir+json", "application/zip"
EXAMPLE: dict[str, Any] = {
    "resourceType": "Bundle",
    "type": "collection",
    "entry": [
        {
            "fullUrl": "urn:uuid:2f3c8a52-6a1e-8d0b-9c55-0f6b2c1d7e41",
            "resource": {
                "resourceType": "DiagnosticReport",
                "status": "preliminary",
                "conclusion": "Draft by a computer program, 7 of 8 answers reviewed by Dr. Li. ... Answered by nano.",
            },
        }
    ],
}
TOLD: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            FHIR: {"schema": {"type": "object"}, "example": EXAMPLE},
            ZIP: {"schema": {"type": "string", "format": "binary", "description": "NAME.sr.dcm, NAME-1.dcm"}},
        }
    },
    **refusals(404, 422, 501),
}
router = APIRouter()


@router.get("/v1/cases/{case}/draft", responses=TOLD, response_class=Response)
def draft_case(
    case: CaseId,
    service: Has,
    person: Reader,
    form: Annotated[Literal["fhir", "sr"], Query(description="A FHIR R4 bundle, or a ZIP of DICOM files.")] = "fhir",
) -> Response:
    """Write a case's answers, as reviewed, as a draft of a report: preliminary, not for diagnosis."""
    found = service.store.find_case(case)
    if found is None:
        raise Refused(404, "there is no such case")
    reviews = list_reviewed(service.store.list_reviews(case))
    drafted = gather_draft(found, reviews, service.store.find_group(case))
    if form == "fhir":
        bundle = json.dumps(tell_fhir(drafted, datetime.now(UTC)), indent=2, ensure_ascii=False)
        return _attach(bundle.encode(), FHIR, f"{case}.fhir.json")
    with Image.open(service.store.image_path(found.image_sha256)) as picture:
        picture.load()
    try:
        files = tell_sr(drafted, {drafted.pictures[0].image: picture})
    except MissingExtra as error:
        raise Refused(501, f"this server writes no DICOM: {error.what} ({error.do})") from None
    packed = io.BytesIO()
    with ZipFile(packed, "w") as folder:
        for name, data in files.items():
            folder.writestr(name, data)
    return _attach(packed.getvalue(), ZIP, f"{case}.sr.zip")


def gather_draft(case: Interpretation, reviews: Sequence[Reviewed], patient: str) -> Case:
    """Return a case as what a draft is made of; `reviews` are oldest first, `patient` is a name that tells nothing.

    Raises:
        Refused: every answer was rejected (422).
    """
    last = {review.question: review for review in reviews if review.question}
    findings = [_finding(case, told, last.get(told.question)) for told in case.answers]
    kept = tuple(finding for finding in findings if finding)
    if not kept:
        raise Refused(422, "every answer of this case was rejected, so there is nothing to draft")
    return Case(
        model=clean_words(case.model),
        questionnaire=case.questionnaire,
        patient=patient,
        pictures=(Picture(f"{case.image_sha256}.png", kept),),
        edition=f"{case.case} {reviews[-1].id if reviews else 0}",
    )


def _finding(case: Interpretation, told: AnswerTold, review: Reviewed | None) -> Finding | None:
    if review and review.verdict == "reject":
        return None
    answer, parts, text = (review.answer, review.parts, review.text) if review else (told.answer, told.parts, told.text)
    return Finding(
        sample=f"{case.case}-{told.question}",
        question=told.question,
        wording=clean_words(told.wording),
        answer=None if answer is None else clean_answer(answer),
        text=clean_words(text or ""),
        parts={id: clean_answer(value) for id, value in parts.items()},
        confidence=None if review and review.verdict == "edit" else told.confidence,
        reviewer=clean_words(review.author) if review else "",
        sure=told.sure,
    )


def _attach(data: bytes, kind: str, name: str) -> Response:
    return Response(data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
