"""A sheet (or lines, or a report folder) and images in, a checked dataset folder on disk out, or nothing at all."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from residency.data.dataset import Dataset, write_dataset
from residency.data.duplicates import Twin, find_twins, join_groups
from residency.data.frame import Frame, Gathered, check_grouping, folder_category, pattern_group
from residency.data.images import index_images
from residency.data.rows import read_tables
from residency.data.sheet import read_sheet
from residency.data.split import RATIOS, make_splits
from residency.data.wording import LAYERS, Layer, Lexicon
from residency.errors import CheckFailed, UserError
from residency.files import sha256_file
from residency.questionnaire import load_questionnaire
from residency.types import Problem, Sample, Source


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest found and wrote; `columns` says what each column was taken for."""

    out: Path
    samples: int
    annotated: int
    images: int
    annotated_images: int
    groups: int
    changes: int
    skipped_rows: int
    columns: tuple[str, ...]
    flags: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    written: tuple[Path, ...]
    next_command: str


def ingest(
    sheet: Path | None,
    images: Path,
    questionnaire: str | None,
    out: Path,
    group_by: str,
    *,
    folds: int = 1,
    ratios: tuple[float, float, float] = RATIOS,
    seed: int = 0,
    skip_bad: bool = False,
    layers: Sequence[Layer] = LAYERS,
    replace: bool = False,
) -> IngestSummary:
    """Compile a user's files into a dataset folder; the sources are only read, and checked to be unchanged after.

    Args:
        sheet: Excel, CSV or TSV.
        images: the folder that holds the images, at any depth.
        questionnaire: a shipped name or a YAML file.
        out: the dataset's folder; it appears whole, or not at all.
        group_by: `column:NAME`, `pattern:REGEX` or `image`.
        folds: 1 for train, val and test, else k folds.
        ratios: of train, val and test.
        seed: of the splits.
        skip_bad: leave bad rows out and record them, instead of failing.
        layers: of normalization: space, spelling, vocabulary.
        replace: put the new dataset in the place of an older one.

    Raises:
        UserError: a file or an argument that cannot be used.
        CheckFailed: `ingest`: bad rows, all of them; nothing was written.
    """
    check_grouping(group_by)
    _check_out(out, images, replace)
    assert sheet is not None and questionnaire is not None
    asked = load_questionnaire(questionnaire)
    before = sha256_file(sheet)
    tables, flags = read_sheet(sheet)
    index = index_images(images)
    frame = Frame(index, asked, group_by, out, tuple(layers))
    gathered = read_tables(tables, frame)
    gathered.flags[:0] = flags
    _settle_repeats(gathered)
    _add_unannotated(gathered, frame)
    if gathered.problems and not skip_bad:
        raise CheckFailed("ingest", gathered.problems, do="mend these cells, or leave their rows out with --skip-bad")
    twins = find_twins(list(index.images.values()))
    samples = _regroup(gathered, twins, frame)
    splits = make_splits(samples, folds=folds, ratios=ratios, seed=seed)
    dataset = Dataset(out, tuple(samples), asked, splits)
    if sha256_file(sheet) != before:
        raise CheckFailed("sources-unchanged", [Problem(kind="changed", message="the sheet changed while it was read",
                                                        source=Source(file=str(sheet)))])  # fmt: skip
    with new_folder(out, replace) as folder:
        write_dataset(Dataset(folder, dataset.samples, dataset.questionnaire, dataset.splits))
        names = sorted(path.name for path in folder.iterdir())
    return _summary(dataset, gathered, tuple(out / name for name in names))


@contextmanager
def new_folder(out: Path, replace: bool) -> Iterator[Path]:
    """Yield a hidden folder beside `out` that takes its name when the block ends without an error."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out} cannot be written", found=error.strerror, do="choose another --out") from None
    try:
        yield folder
        folder.chmod(0o755)
        if out.exists():
            if not replace and any(out.iterdir()):
                raise UserError(f"{out} exists", do="choose another --out, or --replace")
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
            out.rename(old / out.name)
            folder.rename(out)
            shutil.rmtree(old)
        else:
            folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_out(out: Path, images: Path, replace: bool) -> None:
    if out.resolve().is_relative_to(images.resolve()):
        raise UserError(f"{out} lies within the images' folder", do="choose a folder elsewhere with --out")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (replace and (out / "samples.jsonl").is_file())):
        do = "choose another --out" + (", or --replace" if (out / "samples.jsonl").is_file() else "")
        raise UserError(f"{out} exists already", do=do)


def _settle_repeats(gathered: Gathered) -> None:
    """Keep one of equal answers to the same question; two different ones by one annotator are a problem."""
    kept: dict[tuple[str, str | None, str | None], Sample] = {}
    by_question: defaultdict[tuple[str, str | None], set[str]] = defaultdict(set)
    for sample in gathered.samples:
        key = (sample.image, sample.question, sample.annotator)
        first = kept.setdefault(key, sample)
        if sample.question:
            by_question[sample.image, sample.question].add(sample.annotator or "")
        if first is sample:
            continue
        kind, where = "repeated-row", gathered.flags
        message = f"{sample.image.rpartition('/')[2]} {sample.question or ''} stands twice; see {first.source}"
        if (first.answer, first.parts, first.group) != (sample.answer, sample.parts, sample.group):
            kind, where = "conflicting-answers", gathered.problems
            message = f"`{sample.suffix}` here, `{first.suffix}` in {first.source}, for the same image and annotator"
        where.append(Problem(kind=kind, message=message, source=sample.source))
    answered = {sample.image for sample in kept.values() if sample.question}
    gathered.samples[:] = [s for s in kept.values() if s.question or s.image not in answered]
    for (image, question), annotators in by_question.items():
        if len(annotators) > 1:
            message = f"{question} of {image.rpartition('/')[2]} was answered by {', '.join(sorted(annotators))}"
            gathered.flags.append(Problem(kind="two-annotators", message=message))


def _add_unannotated(gathered: Gathered, frame: Frame) -> None:
    """Add the images of which no row speaks, as samples without an answer."""
    kind, argument = check_grouping(frame.group_by)
    categories = Lexicon(frame.questionnaire.categories)
    unknown = 0
    for image in frame.index.images.values():
        if image.name in gathered.seen:
            continue
        group = pattern_group(argument, image.name) if kind == "pattern" else None
        unknown += group is None and kind != "image"
        gathered.samples.append(
            Sample(
                id=image.name,
                image=frame.image_path(image),
                prefix="",
                group=group or image.name,
                category=folder_category(image, categories),
                sha256=image.sha256,
            )
        )
    if unknown:
        message = f"{unknown} image(s) not in the sheet have no known group: each stands alone, and only in train"
        gathered.flags.append(Problem(kind="unknown-group", message=message))
    for problem in frame.index.problems:
        if problem.source and problem.source.file not in gathered.seen:
            gathered.flags.append(problem)


def _regroup(gathered: Gathered, twins: Sequence[Twin], frame: Frame) -> list[Sample]:
    """Give samples whose images are twins one group."""
    path_of = {name: frame.image_path(image) for name, image in frame.index.images.items()}
    group_of = {sample.image: sample.group for sample in gathered.samples}
    moved = [Twin(path_of[t.first], path_of[t.second], t.same, t.difference) for t in twins]
    names = join_groups(group_of, moved)
    return [
        sample if names[sample.group] == sample.group else sample.model_copy(update={"group": names[sample.group]})
        for sample in gathered.samples
    ]


def _summary(dataset: Dataset, gathered: Gathered, written: tuple[Path, ...]) -> IngestSummary:
    annotated = [sample for sample in dataset.samples if sample.suffix is not None]
    return IngestSummary(
        out=dataset.folder,
        samples=len(dataset.samples),
        annotated=len(annotated),
        images=len({sample.image for sample in dataset.samples}),
        annotated_images=len({sample.image for sample in annotated}),
        groups=len({sample.group for sample in dataset.samples}),
        changes=len(gathered.changes),
        skipped_rows=gathered.bad_rows,
        columns=tuple(gathered.columns),
        flags=tuple(gathered.flags),
        problems=tuple(gathered.problems),
        written=written,
        next_command=f"residency audit {dataset.folder}",
    )
