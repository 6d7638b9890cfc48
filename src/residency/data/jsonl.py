"""Lines of {"image", "prefix", "suffix"} in, samples out; further keys are kept as columns, `<OD>` boxes are read.

A task token names its question (`<DETAILED_CAPTION>`: detailed_caption); other prefixes are matched to the
questionnaire's wordings, or become questions of their own where there is no questionnaire.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from residency.data.columns import match_question
from residency.data.frame import Frame, Gathered, check_grouping, folder_category, pattern_group
from residency.data.lines import EACH_ASKS, Line
from residency.data.normalize import answer_reader
from residency.data.places import Places, settle_marks
from residency.data.quantity import plain_text
from residency.data.sheet import cell_text, decode_text, read_source
from residency.data.told import boxes_of, read_told
from residency.data.wording import Lexicon, split_words
from residency.types import Answer, Box, Problem, Question, Questionnaire, Sample, Source, SplitName

_TOKEN = re.compile(r"\s*<([A-Za-z][A-Za-z_]*)>")
_OWN_QUESTIONS = 40
"""Up to this many different prefixes each become a question; more share one."""
_FREE = "free"
_ATTRIBUTES = ("patient", "study", "machine", "site", "age", "sex")


def read_jsonl(path: Path, split: SplitName | None = None) -> tuple[list[Line], list[Problem]]:
    """Read a file of JSON lines; a line that is no object with an image and a prefix is a problem.

    Raises:
        UserError: the file cannot be opened.
    """
    lines, problems = [], []
    for number, text in enumerate(decode_text(read_source(path)).split("\n"), 1):
        if not text.strip():
            continue
        place = Source(file=str(path), cell=f"line {number}")
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.append(Problem(kind="bad-line", message=f"no JSON: {error}", source=place))
            continue
        missing = [key for key in ("image", "prefix") if not isinstance(values, dict) or not values.get(key)]
        if missing:
            problems.append(Problem(kind="bad-line", message=f"no {' and no '.join(missing)}", source=place))
        else:
            lines.append(Line(place, values, split))
    return lines, problems


def questions_of(lines: Sequence[Line], given: Questionnaire | None) -> Questionnaire:
    """Return the questionnaire that the lines' prefixes make up, added to the given one: tokens, then free prefixes."""
    known = {question.id for question in given.questions} if given else set()
    made: dict[str, Question] = {}
    prefixes = Counter(line.text("prefix") for line in lines)
    free = [prefix for prefix in prefixes if not _TOKEN.match(prefix)]
    for prefix in prefixes:
        token = _TOKEN.match(prefix)
        if token:
            id, wording = token[1].lower(), f"<{token[1].upper()}>"
        elif given:
            continue
        elif len(free) <= _OWN_QUESTIONS:
            id, wording = "-".join(split_words(prefix))[:48] or _FREE, prefix
        else:
            id, wording = _FREE, EACH_ASKS
        if id not in known:
            made.setdefault(id, Question(id=id, type="text", wording=wording))
    if given:
        return given.model_copy(update={"questions": (*given.questions, *made.values())})
    return Questionnaire(name="lines", questions=tuple(made.values()))


def read_samples(lines: Sequence[Line], frame: Frame, gathered: Gathered) -> None:
    """Add the lines' samples to what is gathered; a bad line adds its problems alone."""
    counts: Counter[str] = Counter()
    told = {sample.image: sample for sample in gathered.samples}
    categories = Lexicon(frame.questionnaire.categories)
    for line in lines:
        problems: list[Problem] = []
        image = _image(line, frame, gathered, problems)
        question = _question(line, frame.questionnaire, problems)
        if image is None or question is None:
            gathered.problems += problems
            gathered.bad_rows += 1
            continue
        known = told.get(frame.image_path(image))
        group = known.group if known else _group(line, frame, image, problems)
        category = _category(line, image, frame, categories, problems) or (known.category if known else None)
        places = _places(line, frame, image, gathered, problems)
        answer, parts, suffix = _answer(line, question, frame, places, gathered, problems)
        if problems or group is None:
            gathered.problems += [p if p.source else p.model_copy(update={"source": line.source}) for p in problems]
            gathered.bad_rows += 1
            continue
        stem = f"{image}:{question.id}"
        counts[stem] += 1
        if line.split:
            gathered.split_of.setdefault(image, set()).add(line.split)
            gathered.split_at[str(line.source)] = line.split
        gathered.samples.append(
            Sample(
                id=stem if counts[stem] == 1 else f"{stem}:{counts[stem]}",
                image=frame.image_path(image),
                prefix=line.text("prefix"),
                suffix=suffix,
                group=group,
                category=category,
                question=question.id,
                answer=answer,
                parts=parts,
                boxes=places.boxes or (_boxes(suffix or "", frame.images[image].size) if question.id == "od" else ()),
                outlines=places.outlines,
                spacing_mm=line.spacing_mm or frame.own_spacing(image),
                annotator=line.text("annotator") or None,
                attributes=frame.attributes_of(image, {key: line.text(key) for key in _ATTRIBUTES}),
                columns={
                    key: line.text(key)
                    for key in line.values
                    if key not in ("image", "prefix", "suffix", "category", "annotator", *_ATTRIBUTES)
                    and line.text(key)
                },
                source=line.source,
            )
        )


def _image(line: Line, frame: Frame, gathered: Gathered, problems: list[Problem]) -> str | None:
    found = frame.index.find(line.text("image"))
    if isinstance(found, Problem):
        if found.source:
            gathered.seen.add(found.source.file)
        problems.append(found.model_copy(update={"source": line.source}))
        return None
    gathered.seen.add(found)
    return found


def _question(line: Line, questionnaire: Questionnaire, problems: list[Problem]) -> Question | None:
    prefix = line.text("prefix")
    ids = {question.id: question for question in questionnaire.questions}
    if line.question:
        return ids[line.question]
    token = _TOKEN.match(prefix)
    found = ids.get(token[1].lower()) if token else match_question(prefix, questionnaire.questions)
    found = found or ids.get(_FREE)
    if found is None:
        message = f"`{prefix[:60]}` is no question of {questionnaire.name}"
        problems.append(
            Problem(kind="unknown-question", message=message, source=line.source, candidates=tuple(ids)[:3])
        )
    return found


def _group(line: Line, frame: Frame, image: str, problems: list[Problem]) -> str | None:
    kind, argument = check_grouping(frame.group_by)
    if kind == "image":
        return image
    if kind == "dicom":
        group, message = frame.own_group(image), "no group: the image is no DICOM file"
    elif kind == "pattern":
        group, message = pattern_group(argument, image), f"the pattern {argument} finds no group in `{image}`"
    else:
        keys = {split_words(key): key for key in line.values}
        written = line.text(keys.get(split_words(argument), argument))
        group = frame.hide("P", written) if written else None
        message = f"no group: the line has no `{argument}`"
    if group is None:
        problems.append(Problem(kind="no-group", message=message, source=line.source))
    return group


def _category(line: Line, image: str, frame: Frame, categories: Lexicon, problems: list[Problem]) -> str | None:
    written = line.text("category")
    if not written or not categories.names:
        return written or folder_category(image, categories)
    found = categories.find(written, frame.layers)
    if found is None:
        message = f"`{written}` is no category of {frame.questionnaire.name}"
        near = categories.near(written)
        problems.append(Problem(kind="unknown-category", message=message, source=line.source, candidates=near))
    return found.name if found else None


def _places(line: Line, frame: Frame, image: str, gathered: Gathered, problems: list[Problem]) -> Places:
    """Return the line's marks as valid boxes and outlines; each invalid one is a problem, and left out by itself."""
    if line.marks is None:
        return Places()
    size = frame.images[image].size
    if line.size and line.size != size:
        message = f"the picture has {size[0]} x {size[1]} pixels, its annotation says {line.size[0]} x {line.size[1]}"
        problems.append(Problem(kind="other-size", message=message, source=line.source))
        return Places()
    places = settle_marks(line.marks, size, labelled=line.labelled)
    gathered.flags += places.flags
    if not places.text and not places.problems:
        message = "nothing is marked in the picture: it stays without an answer"
        gathered.flags.append(Problem(kind="nothing-marked", message=message, source=line.source))
    gathered.problems += places.problems
    gathered.bad_rows += len(places.problems)
    return places


def _answer(
    line: Line, question: Question, frame: Frame, places: Places, gathered: Gathered, problems: list[Problem]
) -> tuple[Answer | None, dict[str, Answer], str | None]:
    """Return the canonical answer, its parts and the text to train on; a closed question's text is normalized."""
    written = line.values.get("suffix", places.text)
    if written is None or (isinstance(written, str) and not written.strip()):
        return None, {}, None
    if isinstance(written, dict | list):
        problems.append(Problem(kind="bad-line", message="the suffix is no text", source=line.source))
        return None, {}, None
    gathered.cells += 1
    text = cell_text(written) if isinstance(written, str | int | float) else ""
    if question.type == "text" and not question.options:
        clean = plain_text(text) if "space" in frame.layers and question.id != "od" else text
        gathered.note(line.source, question.id, text, clean, ())
        return clean, {}, clean
    reader = answer_reader(question)
    parsed, after = reader.settle(text, frame.layers)
    if parsed.problems or parsed.answer is None:
        problems += parsed.problems
        return None, {}, None
    gathered.note(line.source, question.id, text, after, parsed.layers)
    return parsed.answer, parsed.parts, after


def _boxes(suffix: str, size: tuple[int, int]) -> tuple[Box, ...]:
    """Read the boxes that a text tells in location tokens, in pixels of a picture of (width, height)."""
    return tuple(box for told in read_told(suffix) for box in boxes_of(told, size))
