"""Trackers by name: a recipe's `track` in, what writes a run's curves for TensorBoard, MLflow or Weights & Biases out.

All is off by default, and all stays in the run's folder unless the user's own environment says otherwise: W&B works
offline (WANDB_MODE=online sends), MLflow writes a file (MLFLOW_TRACKING_URI names a server), and neither reports on
itself. Names are those of metrics.jsonl.
"""

import os
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from transformers import TrainerCallback, TrainerControl, TrainerState

from residency.config import Recipe, TrackerName
from residency.errors import MissingExtra
from residency.recipe import dump_recipe

NEEDS: Mapping[TrackerName, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}
"""The packages that a tracker needs; its extra has its name."""


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Make sure that the trackers are installed.

    Raises:
        MissingExtra: one is not.
    """
    for name in names:
        for package in NEEDS[name]:
            if find_spec(package) is None:
                raise MissingExtra(package, name)


class Tracker(Protocol):
    """Where curves are written."""

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """An event file in RUN/tensorboard; points from `first_step` on, of a run cut off, are taken back."""

    def __init__(self, recipe: Recipe, run: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        make: Any = SummaryWriter
        self.writer = make(str(run / "tensorboard"), purge_step=first_step if first_step > 1 else None)
        self.writer.add_text("recipe", f"```\n{dump_recipe(recipe)}\n```")

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


class Mlflow:
    """A run in RUN/mlflow.db, or on the server that MLFLOW_TRACKING_URI names. A run that goes on is the same one."""

    def __init__(self, recipe: Recipe, run: Path, first_step: int) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when mlflow is imported
        from mlflow.tracking import MlflowClient

        store = f"sqlite:///{(run / 'mlflow.db').resolve()}"
        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", store))
        known = self.client.get_experiment_by_name(recipe.name)
        own = (run / "mlflow").resolve().as_uri() if "MLFLOW_TRACKING_URI" not in os.environ else None
        experiment = known.experiment_id if known else self.client.create_experiment(recipe.name, own)
        begun = self.client.search_runs([experiment], max_results=1) if own else []
        self.run_id = (begun[0] if begun else self.client.create_run(experiment, run_name=recipe.name)).info.run_id
        self.client.update_run(self.run_id, status="RUNNING")
        self.client.log_text(self.run_id, dump_recipe(recipe), "recipe.yaml")

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        """Say that the run has ended."""
        self.client.set_terminated(self.run_id)


class Wandb:
    """An offline run in RUN/wandb, for `wandb sync`; WANDB_MODE=online sends at once. A run that goes on is another,
    in the same group."""

    def __init__(self, recipe: Recipe, run: Path, first_step: int) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        quiet = wandb.Settings(console="off", disable_git=True, disable_code=True, silent=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "residency"),
            name=recipe.name,
            group=recipe.name,
            dir=str(run),
            mode=cast(Any, os.environ.get("WANDB_MODE", "offline")),
            config=recipe.model_dump(mode="json"),
            reinit="create_new",
            settings=quiet,
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Write what is left."""
        self.run.finish()


TRACKERS: Mapping[TrackerName, type[TensorBoard | Mlflow | Wandb]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
    "wandb": Wandb,
}


class TrackCurves(TrainerCallback):
    """Hands the trainer's log to each tracker that the recipe names; in several processes, the first one's alone."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self.recipe, self.run = recipe, run
        self.trackers: list[Tracker] = []

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the trackers."""
        if state.is_world_process_zero:
            self.trackers = [TRACKERS[name](self.recipe, self.run, state.global_step + 1) for name in self.recipe.track]

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the newest line's numbers."""
        entry = state.log_history[-1]
        values = {name.replace("eval_", "val_"): float(value) for name, value in entry.items() if name != "step"}
        for tracker in self.trackers:
            tracker.write(values, entry["step"])

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close them."""
        for tracker in self.trackers:
            tracker.close()
        self.trackers = []
