"""The processes of one command, as torchrun and accelerate launch start them: environment in, whose turn it is out.

Every process reads the same files and comes to the same decisions; one of them, the first, tells and writes. What
torch is needed for is imported when there are several.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

from residency.types import Sample

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, for their shares of an exam differ."""
GRACE_SECONDS = 10.0


def process_rank() -> int:
    """Return this process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """Return how many processes share the work; 1 where no launcher was used."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Tell whether this is the process that tells and writes."""
    return process_rank() == 0


def own_images(samples: Sequence[Sample]) -> list[Sample]:
    """Return this process's part of samples that all processes know, by whole images: every n-th of them."""
    images = sorted({sample.image for sample in samples})
    own = set(images[process_rank() :: process_count()])
    return [sample for sample in samples if sample.image in own]


@contextmanager
def deaf_children() -> Iterator[None]:
    """Start processes in the block that never hear Ctrl-C: it reaches all of a terminal's, and the answer of the one
    that started them is enough. Pressed within the block, it is heard at its end."""
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started within the block, it would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def join_processes() -> None:
    """Meet the other processes (gloo, and NCCL between GPUs) and take this one's GPU; nothing to do where it is alone.

    Raises:
        RuntimeError: the others did not come.
    """
    import torch
    from torch import distributed

    if process_count() == 1 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    any_of_all(False)


def any_of_all(flag: bool) -> bool:
    """Tell every process whether the flag is up in any of them."""
    if process_count() == 1:
        return flag
    import torch
    from torch import distributed

    raised = torch.tensor(float(flag))
    distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
    return bool(raised)


def gather_lists(own: Sequence[T]) -> list[T]:
    """Return every process's items in all of them, one process's after the other's."""
    if process_count() == 1:
        return list(own)
    from torch import distributed

    every: list[list[T]] = [[] for _ in range(process_count())]
    distributed.all_gather_object(every, list(own))
    return [item for items in every for item in items]


def await_first() -> None:
    """Leave the first process time to tell what is wrong with all of them; the launcher then ends the others."""
    if not is_first():
        time.sleep(GRACE_SECONDS)


def forward_through(wrapped: Any, inner: Any, step: Callable[[], T], inputs: Any) -> T:
    """Run a step as the forward pass of the model that DDP or FSDP wrapped around `inner`.

    Only around that pass do they gather weights and arrange that gradients are summed, but a family calls parts of
    the model one by one. So for this call the inner model's `forward` is the step (Lightning's forward redirection).
    """
    if process_count() == 1:
        return step()
    before = inner.__dict__.get("forward")
    inner.forward = lambda *_, **__: step()
    try:
        return cast(T, wrapped(inputs))
    finally:
        if before is None:
            del inner.forward
        else:
            inner.forward = before
