"""What a probe writes and what is read from it: answers drawn to each question, and a verdict on each claim by them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from residency.errors import UserError
from residency.files import read_json, read_lines
from residency.knowledge.verdict import VERDICTS, Verdict
from residency.types import Record

THRESHOLD = 0.8
"""The share of judged answers that are wrong from which a claim is unknown (KnowAda, arXiv 2411.09018: 8 of 10)."""
FEWEST = 0.5
"""The share of the answers that must have been judged for a claim to be called unknown at all."""


class Trial(Record):
    """A line of probe.jsonl: a question about an image, what was answered, and verdicts on each claim of the truth.

    `sample` is the dataset's; `question` its question's id, or of free text the name that groups its questions.
    `verdicts` holds one for each answer, by the claim's key; None where the judgement failed.
    """

    id: str
    sample: str
    image: str
    group: str
    question: str
    asked: str
    reference: str
    answers: tuple[str, ...]
    verdicts: dict[str, tuple[Verdict | None, ...]]


class Asked(Record):
    """What a probe was begun with: a probe goes on only with the same."""

    model: str
    data: str
    data_sha256: dict[str, str]
    split: str
    fold: int
    prompt: str
    judge: str
    count: int
    temperature: float
    seed: int
    max_new_tokens: int


class Known(Record):
    """How a question fared: images asked about, claims of the truth, verdicts on them, and claims that are unknown.

    `undecided` claims had too few judged answers to say; they are kept. `examples` are commonest unknown keys.
    """

    question: str
    trials: int
    claims: int
    verdicts: dict[str, int]
    failed: int
    unknown: int
    undecided: int
    examples: tuple[str, ...] = ()


class Probe(Record):
    """probe.json: what was asked, and what the model was judged unable to know, by question, at `threshold`.

    `texts`, of free text: how many there were, without a question, questions, and claims that got none.
    """

    asked: Asked
    threshold: float
    images: int
    groups: int
    questions: tuple[Known, ...]
    texts: dict[str, int] = Field(default_factory=dict)


def is_unknown(verdicts: Sequence[Verdict | None], threshold: float = THRESHOLD) -> bool | None:
    """Tell whether a claim is unknown: wrong in at least `threshold` of its judged answers (None: too few were)."""
    judged = [verdict for verdict in verdicts if verdict is not None]
    if not judged or len(judged) < FEWEST * len(verdicts):
        return None
    return judged.count("wrong") / len(judged) >= threshold - 1e-9


def find_unknown(trials: Iterable[Trial], threshold: float = THRESHOLD) -> dict[str, frozenset[str]]:
    """Return the keys of the unknown claims of each sample that has some."""
    found: dict[str, set[str]] = {}
    for trial in trials:
        keys = {key for key, verdicts in trial.verdicts.items() if is_unknown(verdicts, threshold)}
        if keys:
            found.setdefault(trial.sample, set()).update(keys)
    return {sample: frozenset(keys) for sample, keys in found.items()}


def tabulate_trials(trials: Sequence[Trial], threshold: float = THRESHOLD) -> tuple[Known, ...]:
    """Return how each question fared, in the order in which they first come."""
    of_question: dict[str, list[Trial]] = {}
    for trial in trials:
        of_question.setdefault(trial.question, []).append(trial)
    return tuple(_tabulate(question, asked, threshold) for question, asked in of_question.items())


def _tabulate(question: str, trials: Sequence[Trial], threshold: float) -> Known:
    judged = [(key, verdicts) for trial in trials for key, verdicts in trial.verdicts.items()]
    every = [verdict for _, verdicts in judged for verdict in verdicts]
    decided = [(key, is_unknown(verdicts, threshold)) for key, verdicts in judged]
    unknown: dict[str, int] = {}
    for key, lost in decided:
        if lost:
            unknown[key] = unknown.get(key, 0) + 1
    common = sorted(unknown, key=lambda key: (-unknown[key], key))[:5]
    return Known(
        question=question,
        trials=len(trials),
        claims=len(judged),
        verdicts={verdict: every.count(verdict) for verdict in VERDICTS},
        failed=every.count(None),
        unknown=sum(unknown.values()),
        undecided=sum(lost is None for _, lost in decided),
        examples=tuple(f"{key} ({unknown[key]})" for key in common),
    )


def read_probe(folder: Path, hashes: Mapping[str, str]) -> tuple[Probe, list[Trial]]:
    """Return a finished probe of the dataset with these hashes.

    Raises:
        UserError: the folder holds no finished probe, or one of another state of the dataset.
    """
    if not (folder / "probe.json").is_file() or not (folder / "probe.jsonl").is_file():
        do = "residency probe MODEL --data DATASET --out PROBE; the same command goes on with one that was stopped"
        raise UserError(f"{folder} holds no finished probe", do=do)
    probe = read_json(folder / "probe.json", Probe)
    if probe.asked.data_sha256 != dict(hashes):
        raise UserError(
            f"{folder} is a probe of another dataset, or of another state of it",
            found=probe.asked.data,
            do="probe this one: residency probe MODEL --data DATASET --out PROBE",
        )
    return probe, read_lines(folder / "probe.jsonl", Trial)
