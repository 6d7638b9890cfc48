"""Label Studio's JSON export in: choices and texts as questions, rectangles as `<OD>`, polygons as `Outline: LABEL.`

Places are percent of the picture's sides. A control's name is the question's; cancelled annotations are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from residency.data.lines import Line, Place, Reading
from residency.data.places import Mark
from residency.data.quantity import plain_text
from residency.data.sources.boxes import DETECTION, OUTLINE, detection_line, image_root, outline_lines
from residency.data.sources.records import lacks, list_json, read_values
from residency.data.wording import split_words
from residency.types import Option, Problem, Question, Questionnaire, Source

HOLDS = "Label Studio: its JSON export (tasks with data and annotations) and images/"
_PICTURES = ("image", "img", "ocr", "picture")
_TEXTS = ("textarea", "choices")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    files = []
    for path in list_json(sheet, images):
        tasks = read_values(path)
        if isinstance(tasks, list) and any(
            isinstance(t, dict) and {"data", "annotations"} <= t.keys() for t in tasks[:20]
        ):
            files.append(path)
    return Place(tuple(files), images if sheet else image_root(images)) if files else None


def read(place: Place) -> Reading:
    """Read every task's annotations; one without an image, and results that hold no place or answer, are problems."""
    reading = Reading(taken=("choices, texts -> their names", "rectangles -> <OD>", "polygons -> Outline: LABEL."))
    controls: dict[str, list[tuple[str, list[str]]]] = {}
    for path in place.files:
        for number, task in enumerate(read_values(path), 1):
            source = Source(file=str(path), cell=f"task {number}")
            problem = lacks(task, ("data",), source)
            image = None if problem else _find_image(task["data"])
            if image is None:
                missing = Problem(kind="bad-line", message="the task names no image", source=source)
                reading.problems.append(problem or missing)
                continue
            for annotation in task.get("annotations") or []:
                if not annotation.get("was_cancelled"):
                    reading.lines += _read_annotation(image, annotation, source, controls, reading)
    asked = {line.question for line in reading.lines}
    given = {question.id: question for question in place.questionnaire.questions} if place.questionnaire else {}
    reading.lines = [_reword(line, given) for line in reading.lines]
    questions = [given.get(name) or _ask(name, answers) for name, answers in controls.items()]
    questions += [question for question in (DETECTION, OUTLINE) if question.id in asked]
    if questions:
        reading.questionnaire = Questionnaire(name="label-studio", questions=tuple(questions))
        if place.questionnaire:
            reading.questionnaire = place.questionnaire.model_copy(update={"questions": tuple(questions)})
    return reading


def _find_image(data: Mapping[str, Any]) -> str | None:
    """Return the image's file name: uploads carry eight letters and a dash before it, links a whole address."""
    told = next((str(data[key]) for key in _PICTURES if data.get(key)), None)
    if told is None:
        return None
    if local := told.partition("?d=")[2]:
        return local
    name = told.rpartition("/")[2]
    head, dash, tail = name.partition("-")
    upload = "upload" in told and dash and len(head) == 8
    return tail if upload else name


def _ask(name: str, answers: Sequence[tuple[str, list[str]]]) -> Question:
    """Return the question that a control asks: text, or the choices made, a set where several were made at once."""
    options = sorted({text for kind, texts in answers if kind == "choices" for text in texts})
    if len(options) < 2 or any(kind != "choices" for kind, _ in answers):
        return Question(id=_id(name), type="text", wording=name)
    several = any(len(texts) > 1 for _, texts in answers)
    named = tuple(Option(name=option) for option in options)
    return Question(id=_id(name), type="set" if several else "choice", wording=name, options=named)


def _reword(line: Line, given: Mapping[str, Question]) -> Line:
    """Return the line asked in the words of the questionnaire's question that its control is called by."""
    question = given.get(line.text("prefix"))
    return replace(line, values={**line.values, "prefix": question.wording}, question=question.id) if question else line


def _id(name: str) -> str:
    return "-".join(split_words(name)) or "question"


def _read_annotation(
    image: str,
    annotation: Mapping[str, Any],
    source: Source,
    controls: dict[str, list[tuple[str, list[str]]]],
    reading: Reading,
) -> Iterator[Line]:
    """Yield an annotation's lines: one a control for words, one for all rectangles, one a polygon's label."""
    boxes: list[Mark] = []
    outlines: list[Mark] = []
    words: dict[str, tuple[str, list[str]]] = {}
    by = annotation.get("completed_by")
    annotator = str(by.get("email") or by.get("id")) if isinstance(by, dict) else str(by or "")
    for number, result in enumerate(annotation.get("result") or [], 1):
        where = source.model_copy(update={"cell": f"{source.cell} result {number}"})
        value, kind = result.get("value") or {}, str(result.get("type", ""))
        told = value.get(kind) or value.get("text") if kind in _TEXTS else None
        if told:
            texts = [told] if isinstance(told, str) else told
            words.setdefault(str(result.get("from_name", kind)), (kind, []))[1].extend(
                plain_text(str(t)) for t in texts
            )
        elif kind == "rectanglelabels" and (mark := _read_box(value, where)):
            boxes.append(mark)
        elif kind == "polygonlabels" and (mark := _read_polygon(value, where)):
            outlines.append(mark)
        else:
            message = f"a result of kind `{kind}` is not read, turned, or lacks its label or numbers"
            reading.problems.append(Problem(kind="bad-line", message=message, source=where))
    values = {"image": image, "annotator": annotator}
    for name, (kind, texts) in words.items():
        controls.setdefault(name, []).append((kind, texts))
        yield Line(source, {**values, "prefix": name, "suffix": ", ".join(texts)}, None, _id(name))
    lines = [detection_line(image, boxes, source, None, None)] if boxes else []
    for line in (*lines, *outline_lines(image, outlines, None, None)):
        yield replace(line, values={**line.values, "annotator": annotator})


def _read_box(value: Mapping[str, Any], place: Source) -> Mark | None:
    label = next(iter(value.get("rectanglelabels") or []), None)
    sides = [value.get(key) for key in ("x", "y", "width", "height")]
    if label is None or not all(isinstance(side, int | float) for side in sides) or value.get("rotation"):
        return None
    x, y, across, down = (float(side or 0) / 100 for side in sides)
    return Mark(str(label), ((x, y), (x + across, y + down)), place, shares=True)


def _read_polygon(value: Mapping[str, Any], place: Source) -> Mark | None:
    label, points = next(iter(value.get("polygonlabels") or []), None), value.get("points")
    if label is None or not isinstance(points, list) or len(points) < 3:
        return None
    return Mark(str(label), tuple((float(x) / 100, float(y) / 100) for x, y in points), place, shares=True)
