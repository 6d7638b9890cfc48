"""What was gathered in, settled out: repeated answers, images without a row, images that are twins, a given split."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from residency.data.duplicates import Twin, find_twins, join_groups
from residency.data.frame import Frame, Gathered, check_grouping, folder_category, pattern_group
from residency.data.images import ImageFile
from residency.data.split import keep_split
from residency.data.wording import Lexicon
from residency.errors import CheckFailed
from residency.types import Problem, Sample, Source, SplitName, Splits

_MEND = "draw new splits that keep groups whole (--resplit), or keep them by name (--accept published-leak)"


def settle_repeats(gathered: Gathered, free: Collection[str] = ()) -> None:
    """Keep one of equal answers to a question; two that differ, by one annotator, are a problem of both their rows.

    Questions in `free` (captions in lines) may have several answers. An image is of one group.
    """
    kept: dict[tuple[str | None, ...], Sample] = {}
    group_of: dict[str, Sample] = {}
    wrong = set()
    for sample in gathered.samples:
        several = sample.suffix if sample.question in free else None
        first = kept.setdefault((sample.image, sample.prefix, sample.question, sample.annotator, several), sample)
        owner = group_of.setdefault(sample.image, sample)
        name = sample.image.rpartition("/")[2]
        if owner.group != sample.group:
            message = f"{name} is of `{sample.group}` here, of `{owner.group}` in {owner.source}"
            gathered.problems.append(Problem(kind="conflicting-group", message=message, source=sample.source))
            wrong.add(sample.image)
        elif first.suffix != sample.suffix:
            message = f"{name}: `{sample.suffix}` here, `{first.suffix}` in {first.source}, by the same annotator"
            gathered.problems.append(Problem(kind="conflicting-answers", message=message, source=sample.source))
            wrong.add(sample.image)
        elif first is not sample:
            message = f"{name} {sample.question or ''} stands as in {first.source}"
            gathered.flags.append(Problem(kind="repeated-row", message=message, source=sample.source))
    gathered.bad_rows += len(wrong)
    answered = {sample.image for sample in kept.values() if sample.suffix is not None}
    gathered.samples[:] = [
        sample
        for sample in kept.values()
        if sample.image not in wrong and (sample.suffix is not None or sample.image not in answered)
    ]
    gathered.flags += _shared_images(gathered.samples)


def _shared_images(samples: Sequence[Sample]) -> list[Problem]:
    """Flag questions about one image that several annotators answered; all their answers are kept."""
    annotators: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for sample in samples:
        if sample.question and sample.suffix is not None:
            annotators[sample.image, sample.question].add(sample.annotator or "someone")
    return [
        Problem(
            kind="two-annotators",
            message=f"{image.rpartition('/')[2]} {question} was answered by {', '.join(sorted(names))}: all are kept",
        )
        for (image, question), names in annotators.items()
        if len(names) > 1
    ]


def add_unannotated(gathered: Gathered, frame: Frame, *, expected: bool = False) -> None:
    """Add the images of which no row speaks, as samples without an answer, and flag those that cannot be read.

    Where each image is `expected` to have a row, one without is flagged.
    """
    kind, argument = check_grouping(frame.group_by)
    categories = Lexicon(frame.questionnaire.categories)
    alone = 0
    for image in frame.index.paths:
        if image in gathered.seen:
            continue
        own = None if kind == "image" else frame.own_group(image)
        group = pattern_group(argument, image) if kind == "pattern" else own
        alone += group is None and kind != "image"
        if expected:
            message = "no row uses this image"
            gathered.flags.append(Problem(kind="unused-image", message=message, source=Source(file=image)))
        gathered.samples.append(
            Sample(
                id=image,
                image=frame.image_path(image),
                prefix="",
                group=group or image,
                category=folder_category(image, categories),
                spacing_mm=frame.own_spacing(image),
                attributes=frame.attributes_of(image, {}),
            )
        )
    if alone:
        message = f"{alone} image(s) that no row names have no known group: each stands alone, and in train"
        gathered.flags.append(Problem(kind="unknown-group", message=message))
    gathered.flags += [p for p in frame.index.problems if p.source and p.source.file not in gathered.seen]


def join_twins(gathered: Gathered, images: Sequence[ImageFile]) -> tuple[list[Twin], list[Sample]]:
    """Return the twins among the samples' images, and the samples with twins in one group and their files' SHA-256."""
    group_of = {sample.image: sample.group for sample in gathered.samples}
    twins = find_twins([image for image in images if image.name in group_of])
    names = join_groups(group_of, twins)
    joined = {name for group, name in names.items() if group != name}
    for name in sorted(joined):
        message = f"groups that share a picture are one: {name}"
        gathered.flags.append(Problem(kind="joined-groups", message=message))
    digests = {image.name: image.sha256 for image in images}
    return twins, [
        sample.model_copy(update={"group": names[sample.group], "sha256": digests[sample.image]})
        for sample in gathered.samples
    ]


def find_overlap(gathered: Gathered) -> list[Problem]:
    """Return a flag for each pair of the published splits that share images, with how many of the later one's."""
    flags = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        held = [image for image, splits in gathered.split_of.items() if second in splits]
        both = [image for image in held if first in gathered.split_of[image]]
        if both:
            message = f"{len(both)} of the {len(held)} images of the published {second} split also occur in {first}"
            flags.append(Problem(kind="published-leak", message=f"{message} ({', '.join(sorted(both)[:3])} ...)"))
    return flags


def tear_groups(samples: Sequence[Sample], gathered: Gathered, frame: Frame) -> tuple[list[Sample], Splits]:
    """Return the published split though it leaks: groups that stand in several splits are torn into one for each."""
    of_image = {frame.image_path(name): next(iter(splits)) for name, splits in gathered.split_of.items()}
    known = {
        sample.id: gathered.split_at.get(str(sample.source)) or of_image.get(sample.image, "train")
        for sample in samples
    }
    places: defaultdict[str, set[SplitName]] = defaultdict(set)
    for sample in samples:
        places[sample.group].add(known[sample.id])
    torn, split_of = [], {}
    for sample in samples:
        split = known[sample.id]
        group = f"{sample.group} ({split})" if len(places[sample.group]) > 1 else sample.group
        split_of[group] = split
        torn.append(sample.model_copy(update={"group": group}))
    return torn, keep_split(split_of)


def given_splits(samples: Sequence[Sample], gathered: Gathered, frame: Frame) -> Splits:
    """Return the split that came with the data.

    Raises:
        CheckFailed: `split-leak`: a group stands in two of its splits, by itself or through a near-duplicate.
    """
    given = {frame.image_path(name): splits for name, splits in gathered.split_of.items()}
    places: defaultdict[str, set[SplitName]] = defaultdict(set)
    images: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        places[sample.group] |= given.get(sample.image, set())
        images[sample.group].add(sample.image.rpartition("/")[2])
    leaks = []
    for group, splits in sorted(places.items()):
        if len(splits) > 1:
            some = ", ".join(sorted(images[group])[:4])
            message = f"group `{group}` stands in {' and '.join(sorted(splits))} ({some})"
            leaks.append(Problem(kind="leak-group", message=message))
    if leaks:
        found = [f"{flag.message}: " for flag in find_overlap(gathered)]
        raise CheckFailed("split-leak", leaks, do=f"{''.join(found)}{_MEND}")
    return keep_split({group: next(iter(splits), "train") for group, splits in places.items()})
