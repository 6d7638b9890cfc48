"""Predictions, their samples, the questionnaire and what DICOM files said in; one case a study, with findings, out."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from residency import NOT_FOR_DIAGNOSIS
from residency.dicom.pictures import SourceImage
from residency.types import Answer, Prediction, Question, Questionnaire, Sample

DRAFT = f"Draft by a computer program, not reviewed. {NOT_FOR_DIAGNOSIS}"
_NAMESPACE = "residency draft"
NOTHING = "(nothing)"


@dataclass(frozen=True)
class Finding:
    """What a model answered to one question about one picture; `answer` is None where its text is no answer.

    `parts` are sub-answers by id (`q5.weeks`); `confidence` is in [0, 1], None where the model gave none. `reviewer` is
    the person who accepted the answer or gave it, empty where nobody did; `sure`: whether the model is.
    """

    sample: str
    question: str
    wording: str
    answer: Answer | None
    text: str
    parts: Mapping[str, Answer] = field(default_factory=dict)
    confidence: float | None = None
    reviewer: str = ""
    sure: bool = True

    @property
    def notice(self) -> str:
        """What must stand beside the answer: that nobody, or who, has reviewed it."""
        if self.reviewer:
            return f"Draft, this answer reviewed by {self.reviewer}. {NOT_FOR_DIAGNOSIS}"
        return DRAFT if self.sure else f"The model is not sure. {DRAFT}"

    @property
    def name(self) -> str:
        """The question's short name: its wording up to the colon."""
        return self.wording.partition(":")[0].strip() or self.question


@dataclass(frozen=True)
class Picture:
    """One picture with its findings; `source` is what its DICOM file said, None where it came from none."""

    image: str
    findings: tuple[Finding, ...]
    source: SourceImage | None = None


@dataclass(frozen=True)
class Person:
    """Whom and which examination the original DICOM files name, by the attributes' keywords (`PatientID` ...)."""

    attributes: Mapping[str, str]

    KEYWORDS = (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
        "StudyID", "ReferringPhysicianName",
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One study by one model: what one draft is about. Every draft of the same case has the same `uid`s.

    `patient` is a name that tells nothing; `person` is there only where a user brought the original files. `edition`
    tells a draft from an earlier one of the same case, whose answers were others.
    """

    model: str
    questionnaire: str
    patient: str
    pictures: tuple[Picture, ...]
    person: Person | None = None
    edition: str = ""

    @property
    def notice(self) -> str:
        """What must stand on the draft: that nobody has reviewed it, or who how much of it."""
        findings = [finding for picture in self.pictures for finding in picture.findings]
        reviewers = sorted({finding.reviewer for finding in findings if finding.reviewer})
        if not reviewers:
            return DRAFT
        told = f"{sum(bool(finding.reviewer) for finding in findings)} of {len(findings)} answers reviewed"
        return f"Draft by a computer program, {told} by {', '.join(reviewers)}. {NOT_FOR_DIAGNOSIS}"

    @property
    def name(self) -> str:
        """A file name's stem: the patient, and 8 digits that tell studies apart."""
        safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in self.patient)[:40]
        return f"{safe}-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}"

    @property
    def key(self) -> str:
        """What makes this case this one."""
        edition = (self.edition,) if self.edition else ()
        return "\0".join((self.model, self.patient, *(picture.image for picture in self.pictures), *edition))

    def uid(self, *what: str) -> str:
        """Return a DICOM UID of 128 bits that belongs to this case alone."""
        return f"2.25.{self._number(what)}"

    def uuid(self, *what: str) -> str:
        """Return a UUID that belongs to this case alone."""
        from uuid import UUID

        return str(UUID(int=self._number(what)))

    def _number(self, what: Sequence[str]) -> int:
        digest = hashlib.sha256("\0".join((_NAMESPACE, self.key, *what)).encode("utf-8", "replace")).digest()
        # The bits of a random UUID (RFC 9562, version 8, variant 10).
        return (int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62)) | (0x8 << 76) | (0x2 << 62)


def gather_cases(
    predictions: Iterable[Prediction],
    samples: Iterable[Sample],
    questionnaire: Questionnaire | None,
    sources: Mapping[str, SourceImage] | None = None,
) -> list[Case]:
    """Return a case for each study (by its DICOM files), or for each picture that came from none.

    `sources` are by the sample's image. Predictions of unknown samples are left out.
    """
    known = {sample.id: sample for sample in samples}
    asked = {question.id: question for question in questionnaire.questions} if questionnaire else {}
    found: dict[tuple[str, str, str], dict[str, list[Finding]]] = {}
    for prediction in predictions:
        if (sample := known.get(prediction.id)) is None:
            continue
        source = (sources or {}).get(sample.image)
        study = source.study if source else sample.image
        pictures = found.setdefault((clean_words(prediction.model), clean_words(sample.group), study), {})
        finding = _finding(prediction, sample, asked.get(sample.question or ""))
        pictures.setdefault(sample.image, []).append(finding)
    return [
        Case(
            model,
            questionnaire.name if questionnaire else "free",
            patient,
            tuple(Picture(image, tuple(told), (sources or {}).get(image)) for image, told in pictures.items()),
        )
        for (model, patient, _), pictures in found.items()
    ]


def _finding(prediction: Prediction, sample: Sample, question: Question | None) -> Finding:
    return Finding(
        sample=sample.id,
        question=sample.question or "question",
        wording=question.wording if question else clean_words(sample.prefix),
        answer=clean_answer(prediction.parsed) if prediction.parsed is not None else None,
        text=clean_words(prediction.prediction),
        parts={id: clean_answer(value) for id, value in prediction.parts.items()},
        confidence=prediction.confidence,
    )


def clean_words(text: str) -> str:
    """Return text without control characters, which neither FHIR nor DICOM takes; `(nothing)` where none is left."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split()) or NOTHING


def clean_answer(answer: Answer) -> Answer:
    """Return an answer whose words are clean."""
    if isinstance(answer, tuple):
        return tuple(clean_words(member) for member in answer if member.strip())
    return clean_words(answer) if isinstance(answer, str) else answer


def ucum_code(unit: str) -> str | None:
    """Return the UCUM code of a unit, None where none is known."""
    return _UCUM.get(unit.strip().casefold())


_UCUM = {
    "mm": "mm", "cm": "cm", "m": "m", "mm2": "mm2", "cm2": "cm2", "mm3": "mm3", "cm3": "cm3", "ml": "mL", "l": "L",
    "g": "g", "kg": "kg", "weeks": "wk", "week": "wk", "wk": "wk", "days": "d", "day": "d", "d": "d", "months": "mo",
    "years": "a", "year": "a", "degrees": "deg", "degree": "deg", "deg": "deg", "°": "deg", "%": "%", "percent": "%",
    "bpm": "/min", "/min": "/min", "cm/s": "cm/s", "m/s": "m/s", "db": "dB", "hz": "Hz", "khz": "kHz", "mhz": "MHz",
    "mmhg": "mm[Hg]", "s": "s", "ms": "ms",
}  # fmt: skip
