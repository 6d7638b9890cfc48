"""SLAKE in, questions about radiology images in English and Chinese with their answers out (Liu et al. 2021).

train.json, validate.json and test.json are the published splits; each image is `imgs/xmlabN/source.jpg`. Yes/no answers
become a choice in their language, all others text. The masks and boxes beside the images are not read.
"""

from pathlib import Path

from residency.data.lines import EACH_ASKS, Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.reports import split_of_name
from residency.data.sheet import cell_text
from residency.data.sources.records import lacks, list_json, read_values
from residency.types import Option, Problem, Question, Questionnaire, Source

HOLDS = "SLAKE: train.json, validate.json, test.json and imgs/xmlabN/source.jpg (English and Chinese)"
_OWN = ("img_name", "question", "answer", "q_lang")
_KEPT = ("qid", "img_id", "q_lang", "modality", "answer_type", "base_type", "content_type")
_CLOSED = {
    "en": (Option(name="yes"), Option(name="no")),
    "zh": (Option(name="是", synonyms=("是的", "对")), Option(name="否", synonyms=("不是", "不是的", "不"))),
}
_QUESTIONS = tuple(
    question
    for language, options in _CLOSED.items()
    for question in (
        Question(id=f"closed-{language}", type="choice", wording=EACH_ASKS, options=options),
        Question(id=f"open-{language}", type="text", wording=EACH_ASKS),
    )
)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    files = []
    for path in list_json(sheet, images):
        records = read_values(path)
        if isinstance(records, list) and any(isinstance(r, dict) and {*_OWN} <= r.keys() for r in records[:20]):
            files.append(path)
    inner = images / "imgs"
    root = inner if inner.is_dir() else images
    return Place(tuple(files), root, only=r"^source\.") if files else None


def read(place: Place) -> Reading:
    """Read every record; one without image, question or answer, or in another language, is a problem."""
    reading = Reading(
        taken=("`question` -> prompt", "`answer` -> answer", "`location` -> category", "the file's name -> split"),
        whole=True,
    )
    for path in place.files:
        split = split_of_name(path.stem)
        for number, record in enumerate(read_values(path), 1):
            id = record.get("qid", "?") if isinstance(record, dict) else "?"
            source = Source(file=str(path), cell=f"record {number} (qid {id})")
            if problem := lacks(record, _OWN, source) or _find_language(record, source):
                reading.problems.append(problem)
                continue
            values = {
                "image": record["img_name"],
                "prefix": str(record["question"]),
                "suffix": plain_text(cell_text(record["answer"])),
                "category": record.get("location"),
                **{key: cell_text(record.get(key)).strip() for key in _KEPT},
            }
            reading.lines.append(Line(source, values, split, _question(record["q_lang"], str(values["suffix"]))))
    asked = {line.question for line in reading.lines}
    questions = tuple(question for question in _QUESTIONS if question.id in asked)
    if questions:
        language = "zh" if all(id and id.endswith("zh") for id in asked) else "en"
        title = "Questions about radiology images, each in its own words"
        reading.questionnaire = Questionnaire(name="slake", title=title, language=language, questions=questions)
    return reading


def _find_language(record: dict[str, object], source: Source) -> Problem | None:
    if record["q_lang"] in _CLOSED:
        return None
    message = f"`q_lang` is `{record['q_lang']}`, neither en nor zh"
    return Problem(kind="bad-line", message=message, source=source)


def _question(language: str, answer: str) -> str:
    """Return the id of the question that an answer belongs to: closed where it is a yes or a no."""
    words = {word for option in _CLOSED[language] for word in (option.name, *option.synonyms)}
    return f"closed-{language}" if answer.casefold().strip(" .。") in words else f"open-{language}"
