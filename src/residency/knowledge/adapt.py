"""A dataset and a probe of it in; a new dataset whose training answers say only what the model can know out.

The second half of KnowAda (arXiv 2411.09018). Of an answer sheet the target is the composed report, all answers in
one text, from which the claims are cut that the probe found unknown; asked singly, an answer that is cut becomes the
statement that the image does not tell. What was not probed (the test split) stays whole.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os.path import relpath
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np

from residency.data.dataset import Dataset, hash_dataset, load_dataset, write_dataset
from residency.data.together import REPORT, compose_samples
from residency.errors import UserError
from residency.files import is_there, new_folder, sha256_file, write_json, write_lines
from residency.knowledge.cut import cut_sample, draw_random, find_lost
from residency.knowledge.trials import Known, Trial, find_unknown, read_probe, tabulate_trials
from residency.knowledge.verdict import list_claims
from residency.questionnaire import ABSTENTION
from residency.types import Questionnaire, Record, Sample

Form = Literal["report", "each"]
What = Literal["unknown", "random", "nothing"]
Because = Literal["unknown", "random", "another"]
FACTS = "knowledge.json"


class Cut(Record):
    """A line of cuts.jsonl: one claim that was taken out of a training answer. `wrong` of `judged` drawn answers were
    wrong about it. `because`: it is unknown, was drawn at random, or cannot be said without another that was cut."""

    sample: str
    image: str
    group: str
    question: str
    key: str
    claim: str
    because: Because
    wrong: int
    judged: int


class Adapted(Record):
    """knowledge.json: where the dataset came from, what was cut, and what the model was judged unable to know.

    Claims and words are those of the probed split's answers, before and after; `emptied` texts had nothing left.
    `not_shortened`, of free text: samples whose text stayed its own because the rewriter failed.
    """

    parent: str
    parent_sha256: dict[str, str]
    probe: str
    probe_sha256: str
    model: str
    what: What
    form: Form | Literal["free"]
    threshold: float
    texts: int
    emptied: int
    claims_before: int
    claims_after: int
    words_before: int
    words_after: int
    cut_by_question: dict[str, int]
    questions: tuple[Known, ...]
    rewriter: str = "rules"
    not_shortened: tuple[str, ...] = ()


def adapt_sheet(
    data: Path,
    probe_folder: Path,
    out: Path,
    *,
    threshold: float,
    what: What = "unknown",
    form: Form = "report",
    seed: int = 0,
) -> Adapted:
    """Write the adapted dataset to a new folder.

    Raises:
        UserError: `out` exists, there is no probe of this dataset, or the dataset has no questionnaire.
    """
    dataset, questionnaire = open_sheet(data)
    probe, trials = read_probe(probe_folder, hash_dataset(data))
    require_new(out)
    of_sample = {trial.sample: trial for trial in trials}
    probed = [sample for sample in dataset.samples if sample.id in of_sample]
    keys = choose_keys(probed, trials, questionnaire, threshold, what, seed)
    shortened = {s.id: cut_sample(s, keys.get(s.id, frozenset()), questionnaire) for s in probed}
    cuts = [cut for s in probed for cut in _tell_cuts(s, keys.get(s.id, frozenset()), questionnaire, of_sample, what)]
    if form == "report":
        made = _compose([shortened.get(sample.id, sample) for sample in dataset.samples], questionnaire)
    else:
        made = [_abstain(sample, shortened.get(sample.id, sample)) for sample in dataset.samples]
    adapted = Adapted(
        parent=relpath(data, out), parent_sha256=hash_dataset(data), probe=relpath(probe_folder, out),
        probe_sha256=sha256_file(probe_folder / "probe.jsonl"), model=probe.asked.model, what=what, form=form,
        threshold=threshold, texts=_count_texts(probed, form),
        emptied=_count_texts(probed, form) - _count_texts(shortened.values(), form),
        claims_before=sum(len(list_claims(sample, questionnaire)) for sample in probed),
        claims_after=sum(len(list_claims(sample, questionnaire)) for sample in shortened.values()),
        words_before=_count_words(probed), words_after=_count_words(shortened.values()),
        cut_by_question=dict(sorted(Counter(cut.question for cut in cuts).items())),
        questions=tabulate_trials(trials, threshold),
    )  # fmt: skip
    write_adapted(replace(dataset, samples=tuple(made)), out, cuts, adapted)
    return adapted


def open_sheet(data: Path) -> tuple[Dataset, Questionnaire]:
    """Return a dataset with its questionnaire.

    Raises:
        UserError: it has none.
    """
    dataset = load_dataset(data)
    if dataset.questionnaire is None:
        do = "free text is rewritten with the help of a language model: --with URL or a folder"
        raise UserError(f"{data} has no questionnaire", found="free text", do=do)
    return dataset, dataset.questionnaire


def require_new(out: Path) -> None:
    """Make sure that nothing is overwritten.

    Raises:
        UserError: the folder is there.
    """
    if is_there(out):
        raise UserError(f"{out} is there already", do="choose another --out, or remove it")


def choose_keys(
    probed: Sequence[Sample],
    trials: Sequence[Trial],
    questionnaire: Questionnaire,
    threshold: float,
    what: What,
    seed: int,
) -> dict[str, frozenset[str]]:
    """Return the keys of the claims to cut by sample: the unknown ones, as many at random in each report, or none."""
    if what == "nothing":
        return {}
    unknown = find_unknown(trials, threshold)
    if what == "unknown":
        return unknown
    by_report: dict[tuple[str, str | None], list[Sample]] = {}
    for sample in probed:
        by_report.setdefault((sample.image, sample.annotator), []).append(sample)
    keys: dict[str, frozenset[str]] = {}
    for (image, annotator), told in by_report.items():
        count = sum(len(find_lost(s, unknown.get(s.id, ()), questionnaire)) for s in told)
        rng = np.random.default_rng([seed, crc32(f"{image} {annotator}".encode())])
        keys |= draw_random(told, count, questionnaire, rng)
    return keys


def write_adapted(dataset: Dataset, out: Path, cuts: Sequence[Cut], adapted: Adapted) -> None:
    """Write a dataset folder that names its parent and every cut; it reads its images where the parent has them."""
    with new_folder(out, replace_old=False) as folder:
        moved = (
            sample.model_copy(update={"image": relpath(dataset.image_path(sample).resolve(), out.resolve())})
            for sample in dataset.samples
        )
        write_dataset(replace(dataset, folder=folder, samples=tuple(moved)))
        write_lines(folder / "cuts.jsonl", cuts)
        write_json(folder / FACTS, adapted.model_dump(mode="json"))


def _compose(samples: Sequence[Sample], questionnaire: Questionnaire) -> list[Sample]:
    """Return a report for each image and annotator of the standard questions' answers; other samples as they are."""
    known = {question.id for question in questionnaire.questions}
    asked = [sample for sample in samples if sample.question in known]
    others = [sample for sample in samples if sample.question not in known and sample.suffix is not None]
    reports, count = [], Counter[str]()
    for sheet in compose_samples(asked, questionnaire, with_answers=True):
        count[sheet.sample.image] += 1
        id = f"{sheet.sample.image}:report" + (f"-{count[sheet.sample.image]}" if count[sheet.sample.image] > 1 else "")
        reports.append(sheet.sample.model_copy(update={"id": id, "prefix": REPORT}))
    return [*reports, *others]


def _abstain(sample: Sample, shortened: Sample) -> Sample:
    """Return a sample, an answer that was cut replaced by the statement that the image does not tell."""
    if sample.suffix is None or shortened.suffix is not None:
        return shortened
    return shortened.model_copy(update={"suffix": ABSTENTION})


def _tell_cuts(
    sample: Sample, keys: frozenset[str], questionnaire: Questionnaire, of_sample: Mapping[str, Trial], what: What
) -> list[Cut]:
    cuts = []
    for key, claim in find_lost(sample, keys, questionnaire).items():
        judged = [verdict for verdict in of_sample[sample.id].verdicts.get(key, ()) if verdict is not None]
        because: Because = "another" if key not in keys else "random" if what == "random" else "unknown"
        cuts.append(
            Cut(
                sample=sample.id,
                image=sample.image,
                group=sample.group,
                question=sample.question or "",
                key=key,
                claim=claim.text,
                because=because,
                wrong=judged.count("wrong"),
                judged=len(judged),
            )
        )
    return cuts


def _count_texts(samples: Iterable[Sample], form: Form) -> int:
    told = [sample for sample in samples if sample.suffix is not None]
    return len({(sample.image, sample.annotator) for sample in told}) if form == "report" else len(told)


def _count_words(samples: Iterable[Sample]) -> int:
    return sum(len((sample.suffix or "").split()) for sample in samples)
