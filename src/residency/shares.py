"""Answer samples with several processes: each writes its share beside a file that the first then makes of them all."""

from collections.abc import Sequence
from pathlib import Path

from residency.asking import Ask
from residency.files import read_lines, write_lines
from residency.predict import PredictionSource, slice_images, write_predictions
from residency.processes import gather_lists, is_first, own_images, process_count, process_rank, wait_for_all
from residency.types import Prediction, Sample


def write_shares(path: Path, samples: Sequence[Sample], make: PredictionSource, what: str, ask: Ask = "each") -> int:
    """Stream predictions to `path` as `write_predictions` does, the images shared out among the processes.

    A share is kept as `path.share-N-of-M` until all are whole, so a stopped pass of as many processes goes on.
    Returns how many predictions all processes made.
    """
    if process_count() == 1:
        return write_predictions(path, samples, make, what, ask)
    waiting = not (path.is_file() and {line.id for line in read_lines(path, Prediction)} >= _ids(samples))
    wait_for_all()  # all have looked before the first writes
    made = write_predictions(_share(path, process_rank()), own_images(samples), make, what, ask) if waiting else 0
    wait_for_all()
    if is_first():
        if waiting:
            _join_shares(path, samples)
        for share in path.parent.glob(f"{path.name}.share-*"):
            share.unlink()
    wait_for_all()
    return sum(gather_lists([made]))


def _join_shares(path: Path, samples: Sequence[Sample]) -> None:
    """Write all shares' predictions in the order of one process."""
    shares = [_share(path, rank) for rank in range(process_count())]
    by_id = {line.id: line for share in shares for line in read_lines(share, Prediction)}
    (ordered,) = slice_images(samples, len(samples))
    write_lines(path, [by_id[sample.id] for sample in ordered])


def _share(path: Path, rank: int) -> Path:
    return path.with_name(f"{path.name}.share-{rank + 1}-of-{process_count()}")


def _ids(samples: Sequence[Sample]) -> set[str]:
    return {sample.id for sample in samples}
