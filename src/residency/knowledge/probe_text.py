"""A model, free texts and a language model in; questions written from the texts, answers drawn, and verdicts out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from residency.data.dataset import Dataset, load_dataset
from residency.errors import UserError
from residency.folder import holding
from residency.judges.server import Speaker
from residency.knowledge.freetext import Written, judge_words, write_questions
from residency.knowledge.probe import Wanted, asked_samples, begin_probe, open_named, run_probe
from residency.knowledge.stream import stream_lines
from residency.knowledge.trials import Probe, Trial
from residency.types import Sample

TEXTS_AT_ONCE = 4


def probe_text(
    model: str, data: Path, out: Path, speaker: Speaker, wanted: Wanted, say: Callable[[str], None]
) -> Probe:
    """Probe a model with questions that a language model writes from a dataset's free texts, and judges.

    Raises:
        UserError: no such model or dataset, no free text, no question could be written, or `out` holds another probe.
    """
    dataset = load_dataset(data)
    opened, recipe = open_named(model, data, wanted.prompt)
    samples = [sample for sample in asked_samples(dataset, recipe, wanted) if is_free(dataset, sample)]
    if not samples:
        raise UserError(f"{data} has no free text to ask of ({wanted.split})", do="choose --split, or leave --with out")
    asked = wanted.of(model, data, recipe, speaker.name)
    say(f"to {speaker.place}: {len(samples)} texts, questions about them and a model's answers; no image")
    with holding(out):
        begin_probe(out, asked)
        written = stream_lines(
            out / "questions.jsonl", Written, samples, lambda waiting: _write(speaker, waiting), "writing questions"
        )
        by_id = {sample.id: sample for sample in samples}
        questions = {sample.id: sample for one in written for sample in ask_written(by_id[one.id], one)}
        if not questions:
            found = f"{len(samples)} texts, {sum(one.failed for one in written)} claims without a question"
            raise UserError(f"{speaker.name} wrote no question", found=found, do="take a larger language model")
        texts = {
            "texts": len(samples),
            "without questions": sum(not one.questions for one in written),
            "questions": len(questions),
            "claims without a question": sum(one.failed for one in written),
        }

        def judge(sample: Sample, answers: Sequence[str]) -> Trial:
            return judge_question(speaker, sample, answers)

        return run_probe(opened, list(questions.values()), asked, judge, out, texts)


def is_free(dataset: Dataset, sample: Sample) -> bool:
    """Tell whether a sample's answer is free text: a caption or report, or a question that is typed as text."""
    known = {question.id: question for question in dataset.questionnaire.questions} if dataset.questionnaire else {}
    question = known.get(sample.question or "")
    return question is None or (question.type == "text" and not question.options)


def ask_written(sample: Sample, written: Written) -> list[Sample]:
    """Return the questions that were written about a sample, numbered behind its id, as samples of their own."""
    return [
        sample.model_copy(
            update={"id": f"{sample.id}#{number}", "prefix": question, "suffix": answer, "answer": None, "parts": {}}
        )
        for number, (question, answer) in enumerate(written.questions, 1)
    ]


def judge_question(speaker: Speaker, sample: Sample, answers: Sequence[str]) -> Trial:
    """Have a language model judge what was answered to a written question."""
    assert sample.suffix is not None
    whole, _, number = sample.id.rpartition("#")
    verdicts = judge_words(speaker, sample.prefix, sample.suffix, answers)
    return Trial(
        id=sample.id, sample=whole, image=sample.image, group=sample.group, question=sample.question or "text",
        asked=sample.prefix, reference=sample.suffix, answers=tuple(answers), verdicts={f"#{number}": tuple(verdicts)},
    )  # fmt: skip


def _write(speaker: Speaker, samples: Sequence[Sample]) -> Iterator[Written]:
    for first in range(0, len(samples), TEXTS_AT_ONCE):
        told = [(sample.id, sample.suffix or "") for sample in samples[first : first + TEXTS_AT_ONCE]]
        yield from write_questions(speaker, told)
