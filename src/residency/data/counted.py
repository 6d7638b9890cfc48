"""Samples that ask for an image's boxes in; samples that ask for them by name, count them and describe them, out."""

from collections.abc import Sequence

from residency.data.lines import EACH_ASKS
from residency.errors import UserError
from residency.questionnaire import render_value
from residency.types import Quantity, Question, Questionnaire, Sample

ASKS = ("boxes", "count", "description")
"""What may be asked of an image with boxes: where things are (named in the prompt), how many, and what there is."""
BOXES = "od"
DESCRIPTION = Question(id="description", type="text", wording="<DETAILED_CAPTION>", headings=("In words",))


def ask_of_boxes(
    samples: Sequence[Sample], questionnaire: Questionnaire, asks: Sequence[str]
) -> tuple[list[Sample], Questionnaire]:
    """Return what is asked of each image with valid boxes, in place of the samples that ask for boxes alone.

    `boxes`: `<OD> LABEL ; LABEL`, every label of the dataset named, as PaliGemma wants them; `count`: a number for each
    label, 0 where none is marked; `description`: a sentence that says the same in words. Samples of other questions
    stay, and so do images in which nothing is marked, unanswered.

    Raises:
        UserError: an unknown ask, or no sample with boxes.
    """
    if unknown := [ask for ask in asks if ask not in ASKS]:
        raise UserError("--ask names nothing that boxes answer", found=unknown, allowed=ASKS)
    labels = sorted({box.label for sample in samples if sample.question == BOXES for box in sample.boxes})
    if not labels:
        raise UserError("--ask asks about boxes", found="no sample has any", do="leave --ask out")
    counts = {label: count_question(label) for label in labels}
    made: list[Sample] = []
    for sample in samples:
        made += [sample] if sample.question != BOXES else _ask(sample, counts, asks)
    questions = [question for question in questionnaire.questions if question.id != BOXES]
    if "boxes" in asks:
        named = {"wording": EACH_ASKS, "headings": ("Boxes",)}
        questions.append(questionnaire.question(BOXES).model_copy(update=named))
    questions += counts.values() if "count" in asks else []
    questions += [DESCRIPTION] if "description" in asks else []
    return made, questionnaire.model_copy(update={"questions": tuple(questions)})


def count_question(label: str) -> Question:
    """Return the question how many things of a label an image shows; the label is the number's unit."""
    id = "count-" + "-".join(label.casefold().split())
    wording = f"How many {label} are in the image?"
    return Question(id=id, type="number", unit=label, minimum=0, wording=wording, headings=(f"Number of {label}",))


def describe_counts(counts: dict[str, int]) -> str:
    """Return `There are 17 RBC, 1 WBC and no Platelets.`: every label is told, so that leaving one out can be seen."""
    told = [f"{count} {label}" if count else f"no {label}" for label, count in counts.items()]
    listed = " and ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else told[0]
    return f"There {'is' if next(iter(counts.values())) == 1 else 'are'} {listed}."


def _ask(sample: Sample, counts: dict[str, Question], asks: Sequence[str]) -> list[Sample]:
    marked = [box.label for box in sample.boxes]
    held = {label: marked.count(label) for label in counts}
    made = []
    if "boxes" in asks:
        made.append(sample.model_copy(update={"prefix": f"<OD> {' ; '.join(counts)}"}))
    if "count" in asks and marked:
        for label, question in counts.items():
            number = Quantity(value=held[label], unit=label)
            made.append(_derived(sample, question, number, render_value(number)))
    if "description" in asks and marked:
        text = describe_counts(held)
        made.append(_derived(sample, DESCRIPTION, text, text))
    return made


def _derived(sample: Sample, question: Question, answer: Quantity | str, suffix: str) -> Sample:
    return sample.model_copy(
        update={
            "id": f"{sample.id.rpartition(':')[0]}:{question.id}",
            "prefix": question.wording,
            "question": question.id,
            "answer": answer,
            "suffix": suffix,
            "boxes": (),
            "outlines": (),
        }
    )
