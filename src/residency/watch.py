"""What watches a training: its log in; metrics.jsonl, the best adapter, a progress bar and a graceful end out."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.progress import Progress
from transformers import TrainerCallback, TrainerControl, TrainerState

from residency.files import write_text
from residency.folder import saving
from residency.processes import any_of_all, is_first


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    asked: bool = False


@contextmanager
def heeding_interrupt(interrupt: Interrupt) -> Iterator[None]:
    """Let Ctrl-C end the training after the step in hand, with a checkpoint; a second one ends it at once."""

    def stop(signum: int, frame: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def best_validation(state: TrainerState) -> dict[str, Any] | None:
    """Return the log's entry with the best validation score, the earliest of equals; None where none was scored."""
    return max(_scored(state), key=lambda entry: entry["eval_score"], default=None)


class KeepBest(TrainerCallback):
    """Writes metrics.jsonl, keeps the adapter of the best validation score, stops when it grows no more or is asked to.

    All it knows it reads from the trainer's log, which checkpoints carry; so a resumed run decides alike.
    """

    def __init__(self, metrics: Path, save_adapter: Callable[[], None], patience: int, interrupt: Interrupt) -> None:
        self.metrics, self.save_adapter, self.patience, self.interrupt = metrics, save_adapter, patience, interrupt
        self.stopping = False

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Begin metrics.jsonl with what the checkpoint remembers: lines after it, of a run cut off, go."""
        if is_first():
            write_text(self.metrics, "".join(_metric_line(entry) for entry in state.log_history))

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Add the newest line."""
        if is_first():
            with saving(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
                file.write(_metric_line(state.log_history[-1]))

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keep the adapter if it is the best so far, save a checkpoint, and stop when patience is at its end."""
        scored, best = _scored(state), best_validation(state)
        if best is not None:
            if best is scored[-1]:
                self.save_adapter()
            if len(scored) - 1 - scored.index(best) >= self.patience:
                control.should_training_stop = True
        control.should_save = True

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After Ctrl-C, which need not have reached every process, end all with this step and save it."""
        self.stopping = any_of_all(self.interrupt.asked)
        if self.stopping:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Do not validate an epoch that was cut off: a run that goes on would have one validation too many."""
        if self.stopping and state.epoch != int(state.epoch or 0):
            control.should_evaluate = False


class ShowProgress(TrainerCallback):
    """A bar over the steps where a terminal looks on, and a line for each validation."""

    def __init__(self, say: Callable[[str], None], bar: Progress) -> None:
        self.say, self.bar = say, bar

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Set the bar where the run begins, or goes on."""
        self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=state.global_step)

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any, **_: Any) -> None:
        """Tell an epoch's validation."""
        score = f", score {metrics['eval_score']:.3f}" if "eval_score" in metrics else ""
        self.say(f"  epoch {state.epoch:.0f}: validation loss {metrics['eval_loss']:.3f}{score}")


def _scored(state: TrainerState) -> list[dict[str, Any]]:
    return [entry for entry in state.log_history if "eval_score" in entry]


def _metric_line(entry: dict[str, Any]) -> str:
    return json.dumps({key.replace("eval_", "val_"): value for key, value in entry.items()}) + "\n"
