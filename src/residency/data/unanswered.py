"""A dataset and a fold in, the images without any answer that the fold may learn from out, and how many it may not.

Ingest keeps such images as samples without a suffix. None that belongs to validation or test may be used: not by its
group, nor as a copy or near-duplicate of an image there, nor, unless that risk is accepted, with its group unknown.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from residency.data.audit import Audit
from residency.data.dataset import Dataset
from residency.data.duplicates import find_twins, join_groups
from residency.data.frame import check_grouping, pattern_group
from residency.data.images import quiet_readers, read_images
from residency.errors import UserError
from residency.files import is_there, read_json
from residency.types import Sample


@dataclass(frozen=True)
class Unanswered:
    """Usable images as bare samples, absolute paths, in order of path; and why how many others were left out."""

    images: tuple[Sample, ...]
    left_out: Mapping[str, int]


def find_unanswered(dataset: Dataset, fold: int, *, accept_unknown: bool = False) -> Unanswered:
    """Return the images without answers that belong to a fold's training split, one bare sample each.

    `accept_unknown` takes those whose group nobody knows (no row names them, the pattern does not match) too.

    Raises:
        UserError: the dataset has no splits, or no such fold.
    """
    training = set(dataset.require_fold(fold).train)
    answered = {sample.image for sample in dataset.samples if sample.suffix is not None}
    bare = {sample.image: sample for sample in dataset.samples if sample.image not in answered}
    unknown = set() if accept_unknown else _unknown_images(dataset, list(bare.values()))
    held = {sample.image: sample for sample in dataset.samples if sample.group not in training}
    left_out: Counter[str] = Counter()
    usable = []
    for image, sample in sorted(bare.items()):
        reason = "of val or test" if image in held else "of an unknown group" if image in unknown else None
        left_out.update([reason] if reason else [])
        usable += [] if reason else [sample]
    kept = _without_copies(dataset, usable, list(held.values()), left_out)
    absolute = (sample.model_copy(update={"image": str(dataset.image_path(sample).resolve())}) for sample in kept)
    return Unanswered(tuple(absolute), dict(left_out))


def require_unanswered(dataset: Dataset, fold: int, *, accept_unknown: bool = False) -> Unanswered:
    """Return what `find_unanswered` does, which is something.

    Raises:
        UserError: there is no such image; says what to do.
    """
    found = find_unanswered(dataset, fold, accept_unknown=accept_unknown)
    if found.images:
        return found
    do = "put images into the image folder that no answer speaks of, and ingest again; or leave train.self_training out"
    if found.left_out.get("of an unknown group"):
        do = (
            "give these images rows with the patient and no answers, or group by a pattern in their names "
            "(--group-by pattern:REGEX), and ingest again; or accept the risk by name: accept: [unknown-group]"
        )
    raise UserError(
        f"train.self_training learns from images without answers, and {dataset.folder} has none to train on"
        f" in fold {fold}",
        found=", ".join(f"{count} {reason}" for reason, count in found.left_out.items()) or "every image is answered",
        do=do,
    )


def _unknown_images(dataset: Dataset, bare: Sequence[Sample]) -> set[str]:
    """Return the images whose group ingest could not know: no row or line names them, and no pattern, and no twin."""
    if not is_there(dataset.folder / "audit.json"):
        return set()
    group_by = read_json(dataset.folder / "audit.json", Audit).history.group_by
    kind, argument = check_grouping(group_by) if group_by else ("image", "")
    if kind == "image":
        return set()
    known = {sample.group for sample in dataset.samples if _is_known(sample, kind, argument)}
    return {sample.image for sample in bare if sample.group not in known}


def _is_known(sample: Sample, kind: str, argument: str) -> bool:
    """Tell whether a sample's own row, or its image's name, says its group; the id of a bare sample is that name."""
    if sample.source is not None:
        return True
    return kind == "dicom" or (kind == "pattern" and pattern_group(argument, sample.id) is not None)


def _without_copies(
    dataset: Dataset, usable: Sequence[Sample], held: Sequence[Sample], left_out: Counter[str]
) -> list[Sample]:
    """Leave out what cannot be read any more, and what a chain of (nearly) equal pictures ties to a held image."""
    if not usable:
        return []
    paths = {sample.image: dataset.image_path(sample) for sample in (*usable, *held)}
    with quiet_readers():
        images, _ = read_images(paths)
    digests = {image.name: image.sha256 for image in images}
    tied = join_groups({name: name for name in digests}, find_twins(images))
    held_ties = {tied[sample.image] for sample in held if sample.image in digests}
    kept = []
    for sample in usable:
        if digests.get(sample.image) != (sample.sha256 or digests.get(sample.image, "")):
            left_out["changed or not readable"] += 1
        elif tied[sample.image] in held_ties:
            left_out["like an image of val or test"] += 1
        else:
            kept.append(sample)
    return kept
