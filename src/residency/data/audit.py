"""A dataset folder in, its audit out: leaks between splits, twins, coverage, balance, and what was done to the answers.

Written as `audit.json` for programs and `audit.html` for people; any leak fails the audit.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from residency.data.coverage import Suggestion, count_answers, count_coverage, one_each, suggest_images
from residency.data.dataset import Dataset, load_dataset
from residency.data.duplicates import Twin, find_twins
from residency.data.images import ImageFile, quiet_readers, read_images
from residency.data.wording import LAYERS, Layer
from residency.errors import CheckFailed
from residency.files import read_json, write_text
from residency.types import SPLITS, Problem, Record, Sample, Source

FEW_GROUPS = 15
LOPSIDED = 0.9


class History(Record):
    """What ingest did, kept with the dataset: sources and their SHA-256, columns, what was left out, flagged, changed.

    `restored` counts changed cells by the deepest layer each took; `wordings` maps question, canonical text and
    wording to how often it was written. Every changed cell stands in `normalization.jsonl`.
    """

    sources: dict[str, str] = Field(default_factory=dict)
    group_by: str = ""
    layers: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cells: int = 0
    skipped_rows: int = 0
    problems: tuple[Problem, ...] = ()
    flags: tuple[Problem, ...] = ()
    restored: dict[Layer, int] = Field(default_factory=dict)
    wordings: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict)


class TwinPair(Record):
    """Two images of the dataset that show the same picture: `same` bytes, or nearly; `difference` 0 is equal."""

    first: str
    second: str
    same: bool
    difference: float
    groups: tuple[str, str]


class Defect(Record):
    """One kind of defect: how often found, how often restored, how often listed for a person."""

    kind: str
    found: int
    restored: int = 0
    listed: int = 0


class Audit(Record):
    """All that is known about a dataset's soundness; `leaks` is empty where the splits are sound."""

    images: int
    annotated_images: int
    samples: int
    groups: int
    annotated_groups: int
    folds: tuple[dict[str, dict[str, int]], ...] = ()
    """For each fold and split: groups, images, annotated images, samples."""
    leaks: tuple[Problem, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    coverage: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Category -> question -> annotated images; the question `images` counts all."""
    balance: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Question -> canonical answer -> samples (a set's members each count)."""
    twins: tuple[TwinPair, ...] = ()
    defects: tuple[Defect, ...] = ()
    annotate_next: tuple[Suggestion, ...] = ()
    warnings: tuple[str, ...] = ()
    history: History = History()
    purpose: str = "Research use only. Not for diagnosis."


def audit_dataset(folder: Path) -> Audit:
    """Examine a dataset folder anew, from its images up, and write `audit.json` and `audit.html` into it.

    Raises:
        UserError: the folder is no dataset.
        CheckFailed: `no-leak`: a patient, group, study, file or near-duplicate in two splits; the page is written.
    """
    dataset = load_dataset(folder)
    history = History()
    if (folder / "audit.json").is_file():
        history = read_json(folder / "audit.json", Audit).history
    paths = {sample.image: dataset.image_path(sample) for sample in dataset.samples}
    with quiet_readers():
        images, unreadable = read_images(paths)
    audit = build_audit(dataset, images, find_twins(images), unreadable, history)
    write_audit(dataset, audit, folder.resolve().name)
    if audit.leaks:
        raise CheckFailed("no-leak", audit.leaks, do="draw the splits anew: residency ingest groups such images first")
    return audit


def build_audit(
    dataset: Dataset,
    images: Sequence[ImageFile],
    twins: Sequence[Twin],
    unreadable: Sequence[Problem],
    history: History,
) -> Audit:
    """Return the audit of a dataset whose images were read; an image's name here is its path as samples hold it."""
    samples = dataset.samples
    group_of = {sample.image: sample.group for sample in samples}
    answered = [sample for sample in samples if sample.suffix is not None]
    pairs = tuple(
        TwinPair(
            first=twin.first,
            second=twin.second,
            same=twin.same,
            difference=twin.difference,
            groups=(group_of[twin.first], group_of[twin.second]),
        )
        for twin in twins
    )
    balance = count_answers(samples)
    return Audit(
        images=len(group_of),
        annotated_images=len({sample.image for sample in answered}),
        samples=len(answered),
        groups=len(set(group_of.values())),
        annotated_groups=len({sample.group for sample in answered}),
        folds=tuple(_fold_sizes(dataset, answered)),
        leaks=tuple(find_leaks(dataset, pairs)),
        unreadable=(*unreadable, *_changed_files(samples, images)),
        coverage=count_coverage(samples),
        balance=balance,
        twins=pairs,
        defects=count_defects(history),
        annotate_next=tuple(suggest_images(samples)),
        warnings=tuple(_warnings(dataset, answered, history, balance)),
        history=history,
    )


def write_audit(dataset: Dataset, audit: Audit, name: str) -> None:
    """Write `audit.json` and `audit.html` into the dataset's folder; `name` is what the page calls it."""
    from residency.data.page import render_page

    write_text(dataset.folder / "audit.json", audit.model_dump_json(indent=1) + "\n")
    write_text(dataset.folder / "audit.html", render_page(dataset, audit, name))


def find_leaks(dataset: Dataset, twins: Iterable[TwinPair]) -> list[Problem]:
    """Return everything that stands in two splits of a fold: group, patient, study, file, near-duplicate, image."""
    leaks: list[Problem] = []
    held = {(sample.group, sample.image): sample for sample in dataset.samples}
    for number, fold in enumerate(dataset.splits.folds if dataset.splits else ()):
        where = f" (fold {number})" if dataset.splits and len(dataset.splits.folds) > 1 else ""
        splits_of: defaultdict[str, set[str]] = defaultdict(set)
        for name in SPLITS:
            for group in getattr(fold, name):
                splits_of[group].add(name)
        places: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for sample in held.values():
            for kind, value_of in _KEYS.items():
                places[kind, value_of(sample) or ""] |= splits_of[sample.group]
        for twin in twins:
            if twin.groups[0] != twin.groups[1]:
                pair = f"{twin.first}` and `{twin.second}"
                places["near-duplicate", pair] = splits_of[twin.groups[0]] | splits_of[twin.groups[1]]
        for kind, value in sorted(place for place, splits in places.items() if place[1] and len(splits) > 1):
            message = f"{kind} `{value}` in {' and '.join(sorted(places[kind, value]))}{where}"
            leaks.append(Problem(kind=f"leak-{kind}", message=message))
    return leaks


_KEYS: dict[str, Callable[[Sample], str | None]] = {
    "group": lambda sample: sample.group,
    "patient": lambda sample: sample.attributes.get("patient", "").casefold(),
    "study": lambda sample: sample.attributes.get("study", "").casefold(),
    "image": lambda sample: sample.image,
    "file": lambda sample: sample.sha256,
}


_LAYER_KINDS: dict[Layer, str] = {
    "space": "white space, capitals, punctuation",
    "spelling": "misspelling",
    "vocabulary": "synonym, word order, unit",
}


def count_defects(history: History) -> tuple[Defect, ...]:
    """Return the table of defects: changed cells by the deepest layer it took, problems by kind."""
    listed = Counter(problem.kind for problem in history.problems)
    changed = [
        Defect(kind=_LAYER_KINDS[layer], found=history.restored.get(layer, 0), restored=history.restored.get(layer, 0))
        for layer in LAYERS
    ]
    return (*changed, *(Defect(kind=kind, found=count, listed=count) for kind, count in sorted(listed.items())))


def _fold_sizes(dataset: Dataset, answered: Sequence[Sample]) -> Iterable[dict[str, dict[str, int]]]:
    answers = Counter(sample.group for sample in answered)
    images = Counter(sample.group for sample in one_each(dataset.samples))
    annotated = Counter(sample.group for sample in one_each(answered))
    for fold in dataset.splits.folds if dataset.splits else ():
        yield {
            name: {
                "groups": len(groups),
                "images": sum(images[group] for group in groups),
                "annotated": sum(annotated[group] for group in groups),
                "samples": sum(answers[group] for group in groups),
            }
            for name, groups in ((name, getattr(fold, name)) for name in SPLITS)
        }


def _changed_files(samples: Sequence[Sample], images: Sequence[ImageFile]) -> list[Problem]:
    """Return a problem for each image whose bytes are no longer those that were ingested."""
    found = {image.name: image.sha256 for image in images}
    message = "the file changed since it was ingested"
    return [
        Problem(kind="changed-image", message=message, source=Source(file=sample.image))
        for sample in one_each(samples)
        if sample.sha256 and found.get(sample.image, sample.sha256) != sample.sha256
    ]


def _warnings(
    dataset: Dataset, answered: Sequence[Sample], history: History, balance: Mapping[str, Mapping[str, int]]
) -> Iterable[str]:
    groups = len({sample.group for sample in answered})
    if history.group_by == "image":
        yield "Grouped by image: images of one patient may stand in train and in test. This risk was accepted by name."
    if dataset.splits is None:
        yield "The dataset has no splits."
    if groups < FEW_GROUPS:
        yield f"Only {groups} annotated groups: intervals will be wide, and exact ones will stand beside them."
    totals = Counter(sample.question for sample in answered if isinstance(sample.answer, str))
    for id, counts in balance.items():
        answer, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        total = totals[id]
        if total >= 20 and most > LOPSIDED * total and len(counts) > 1:
            yield f"{id}: {most} of {total} answers are `{answer}`, so accuracy says little: read balanced accuracy."
    if dataset.questionnaire:
        given = {sample.question for sample in answered}
        missing = [question.id for question in dataset.questionnaire.questions if question.id not in given]
        if missing and given != {None}:
            yield f"No answers at all to {', '.join(missing)}."
