"""Who answers a pass over samples: this process, or the workers of a Ray cluster; samples in, predictions out.

A pass is the same to both, so that the answers are: each slice of images is answered whole, by one model.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from residency.answering import Candidates
from residency.asking import Ask, Predict
from residency.errors import MissingExtra, UserError
from residency.models.family import Images
from residency.models.registry import Opened, open_model, open_run
from residency.predict import Asked, answer_samples, slice_images
from residency.types import Prediction, Questionnaire, Sample

EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class Pass:
    """One way of answering: what is asked of whom, by what candidates; `images` replaces files (`Sample.image`)."""

    questionnaire: Questionnaire | None
    candidates: Mapping[str, Candidates]
    asked: Asked
    settings: Predict
    images: Images | None
    ask: Ask


Engine = Callable[[Pass, Sequence[Sample]], Iterable[Prediction]]


def answer_pass(opened: Opened, way: Pass, samples: Sequence[Sample]) -> Iterator[Prediction]:
    """Answer in this process; the base is the model with its adapter off."""
    model = opened.loaded.model
    untuned = way.asked.mode == "base" and hasattr(model, "disable_adapter")
    with model.disable_adapter() if untuned else nullcontext():
        yield from answer_samples(
            opened, samples, way.questionnaire, way.candidates, way.asked, way.settings, way.images, way.ask
        )


@contextmanager
def local_engine(opened: Opened) -> Iterator[Engine]:
    """Yield an engine that answers in this process."""
    yield partial(answer_pass, opened)


@contextmanager
def ray_engine(source: str, workers: int | None) -> Iterator[Engine]:
    """Yield an engine whose workers, on the cluster that RAY_ADDRESS names or else on this machine, each hold a model.

    `source` is a run's folder or a base model's name; every node must find it, and the images, under the same path.
    Left out, `workers` is one for each GPU, or for each CPU core where there is no GPU. Nothing is told to Ray's makers
    and no dashboard is started.

    Raises:
        MissingExtra: Ray is not installed.
        UserError: no such cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    own = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level="error", **own)
    except ConnectionError as error:
        where = f"the Ray cluster at {os.environ.get('RAY_ADDRESS')} does not answer"
        do = "start it (ray start --head), or unset RAY_ADDRESS to use this machine alone"
        raise UserError(where, found=str(error).splitlines()[0], do=do) from error
    try:
        yield partial(_answer_on_ray, source, workers)
    finally:
        ray.shutdown()


def _answer_on_ray(source: str, workers: int | None, way: Pass, samples: Sequence[Sample]) -> Iterator[Prediction]:
    """Stream predictions as the workers make them, in any order.

    A slice of images counts as answered only when all its predictions are here: what a killed worker had in hand is
    given to another, or to the same one started anew.
    """
    import ray
    from ray.exceptions import RayError

    slices = list(slice_images(samples, way.settings.batch_images))
    if not slices:
        return
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are told below, in one line
    rows = [{"samples": "\n".join(sample.line() for sample in one)} for one in slices]
    answered = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Worker,
        fn_constructor_args=(source, way),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers or gpus or cpus, len(rows))),
        num_cpus=0 if gpus else 0.01,
        num_gpus=1 if gpus else 0,
    )
    try:
        for row in answered.iter_rows():
            yield Prediction.model_validate_json(row["prediction"])
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        raise UserError(
            "a worker could not answer",
            found=str(cause.__cause__ or cause).strip().splitlines()[-1],
            do="see that every node finds the model and the images under the same path (a shared file system); "
            "the same command goes on where it stopped",
            exit_code=1,
        ) from error


class Worker:
    """A model in a Ray worker: slices of images in (their samples as JSON lines), predictions as JSON lines out."""

    def __init__(self, source: str, way: Pass) -> None:
        self.opened = open_run(Path(source))[1] if (Path(source) / "config.yaml").is_file() else open_model(source)
        self.way = way

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Answer the slices of a batch."""
        samples = [Sample.model_validate_json(line) for text in batch["samples"] for line in text.split("\n")]
        return {"prediction": [line.line() for line in answer_pass(self.opened, self.way, samples)]}
