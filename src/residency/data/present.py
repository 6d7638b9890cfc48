"""Samples with absolute image paths in; every image that is missing, changed since ingest, or unreadable out."""

from collections.abc import Iterable
from pathlib import Path

from residency.data.images import read_image
from residency.files import sha256_file
from residency.progress import track
from residency.types import Problem, Sample, Source


def find_absent(samples: Iterable[Sample]) -> list[Problem]:
    """Return a problem for each image that is not there as the dataset knew it.

    An image whose SHA-256 was kept was decoded when it was ingested, so equal bytes prove it; another is decoded now.
    """
    kept = {sample.image: sample.sha256 for sample in samples}
    found = (_look_at(Path(image), digest) for image, digest in track(sorted(kept.items()), "checking images"))
    return [problem for problem in found if problem]


def _look_at(image: Path, digest: str | None) -> Problem | None:
    place = Source(file=str(image))
    if not image.exists():
        return Problem(kind="missing-image", message="the image is gone", source=place)
    if digest is None:
        read = read_image(str(image), image)
        return read if isinstance(read, Problem) else None
    try:
        same = sha256_file(image) == digest
    except OSError as error:
        return Problem(kind="unreadable-image", message=f"cannot be opened: {error.strerror}", source=place)
    message = "its bytes are not those that were ingested"
    return None if same else Problem(kind="changed-image", message=message, source=place)
