"""VQA-RAD's public JSON in, questions about radiology images with their answers out (Lau et al. 2018).

`phrase_type` that begins with `test` marks the published test split. Yes/no answers become a choice, all others text.
"""

from pathlib import Path

from residency.data.lines import IN_WORDS, YES_OR_NO, Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.sheet import cell_text
from residency.data.sources.records import lacks, list_json, read_values
from residency.types import Problem, Questionnaire, Source

HOLDS = "VQA-RAD: `VQA_RAD Dataset Public.json` and images/"
_OWN = ("qid", "phrase_type", "image_name", "question", "answer")
_KEPT = ("qid", "qid_linked_id", "image_case_url", "phrase_type", "question_type", "answer_type")
_QUESTIONS = Questionnaire(
    name="vqa-rad",
    title="Questions about radiology images, each in its own words",
    questions=(YES_OR_NO, IN_WORDS),
)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    for path in list_json(sheet, images):
        records = read_values(path)
        if isinstance(records, list) and any(isinstance(r, dict) and {*_OWN} <= r.keys() for r in records[:20]):
            inner = images / "images"
            return Place((path,), inner if sheet is None and inner.is_dir() else images)
    return None


def read(place: Place) -> Reading:
    """Read every record; one without image, question or answer is a problem, oddities are flags."""
    (path,) = place.files
    reading = Reading(
        questionnaire=_QUESTIONS,
        taken=("`question` -> prompt", "`answer` -> answer", "`image_organ` -> category", "`phrase_type` -> split"),
        whole=True,
    )
    for number, record in enumerate(read_values(path), 1):
        id = record.get("qid", "?") if isinstance(record, dict) else "?"
        source = Source(file=str(path), cell=f"record {number} (qid {id})")
        if problem := lacks(record, ("image_name", "question", "answer"), source):
            reading.problems.append(problem)
            continue
        answer = plain_text(cell_text(record["answer"]))
        reading.flags += [
            Problem(kind=kind, message=message, source=source) for kind, message in _find_oddities(record)
        ]
        test = str(record.get("phrase_type")).startswith("test")
        values = {
            "image": record["image_name"],
            "prefix": str(record["question"]),
            "suffix": answer,
            "category": record.get("image_organ"),
            **{key: cell_text(record.get(key)).strip() for key in _KEPT},
        }
        question = "closed" if answer.casefold().strip(" .") in ("yes", "no") else "open"
        reading.lines.append(Line(source, values, "test" if test else "train", question))
    return reading


def _find_oddities(record: dict[str, object]) -> list[tuple[str, str]]:
    """Return the kind and the message of each oddity that is read all the same."""
    found = []
    answer = record["answer"]
    if not isinstance(answer, str):
        found.append(
            ("number-answer", f"the answer {answer} is no text but {type(answer).__name__}: read as `{answer}`")
        )
    elif "\t" in answer:
        found.append(("tab-answer", f"the answer holds tabs: read as `{plain_text(answer)}`"))
    kind = record.get("answer_type")
    if isinstance(kind, str) and kind != kind.strip():
        found.append(("stray-space", f"answer_type is `{kind}`: read as `{kind.strip()}`"))
    return found
