"""An examination in; an answer in plain words to `can it answer these questions for new images?` out."""

from residency.evaluate.bootstrap import FEW_GROUPS
from residency.evaluate.records import Examination

UNSEEING = ("does-not-look", "not-shown-to-look")


def answer_plainly(examination: Examination) -> list[str]:
    """Return one paragraph as sentences. A question counts as shown where majority and blind are both beaten."""
    headings = {question.id: question.heading for question in examination.questions if not question.is_part}
    better = {(verdict.question, verdict.against) for verdict in examination.verdicts if verdict.outcome == "better"}
    shown = [id for id in headings if {(id, "majority"), (id, "blind")} <= better]
    rest = [id for id in headings if id not in shown]
    if any(warned.kind == "leak" for warned in examination.warnings):
        return ["This cannot be said: patients that were examined were also trained on, so the scores mean nothing."]
    if {"majority", "blind"} & set(examination.not_run):
        return [
            "This cannot be said yet: the comparison with the most frequent answer and with the model that sees no "
            "image was not run. The scores below stand alone."
        ]
    unseeing = [warned.message for warned in examination.warnings if warned.kind in UNSEEING]
    images = max((count.images for count in examination.counts if count.split.startswith(examination.split)), default=0)
    groups = max((score.groups for score in examination.scores), default=0)
    sentences = [
        *unseeing,
        f"Examined on {images} images of {groups} groups (patients) that were kept out of training, the tuned model "
        f"does better than the most frequent answer, and better than itself without the image, on "
        f"{len(shown) or 'none'} of {len(headings)} questions"
        + (f": {_listed([headings[id] for id in shown])}." if shown else "."),
    ]
    if rest:
        sentences.append(f"Nothing shows yet that it can answer {_listed([headings[id] for id in rest])}.")
    sentences.append(_against_base(examination))
    if groups < FEW_GROUPS:
        sentences.append(f"With {groups} groups this is a first indication, not a proof.")
    sentences.append(
        "Whether these scores are good enough for a purpose is for a clinician to judge, on their own images."
    )
    return [sentence for sentence in sentences if sentence]


def _against_base(examination: Examination) -> str:
    tallied = examination.tallied
    if "base" not in tallied.better:
        return "The model before fine-tuning was not run."
    below = tallied.worse["base"]
    worse = "on none is it worse" if not below else f"on {below} it is worse"
    better = tallied.better["base"] or "none"
    return f"It is better than the base model, before fine-tuning, on {better} of {tallied.questions}; {worse}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
