"""The `residency` command: arguments in, its exit code out; stopped at any time, it says so in one line.

What it needs is imported within `main`, so that a command that is stopped while it imports ends in words, too.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn

GOES_ON = (
    "demo", "train", "variants", "prompts", "sweep", "pretrain", "predict", "probe", "verify", "serve",
)  # fmt: skip
"""The commands that go on where they were stopped; what the others write appears whole or not at all."""
STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""


def main() -> None:
    """Run the command; a user's error is told in words, with exit code 1 (a check), 2 (the call), 130 (Ctrl-C)."""
    with _noting_stop() as pressed:
        try:
            from residency.commands.every import run_command

            run_command()
        except BaseException as ended:
            code = ended.code if isinstance(ended, SystemExit) else 1
            if code == STOPPED or (pressed and code):
                _end_stopped(sys.argv[1:])
            if isinstance(ended, Exception):
                from residency.tell import tell_error

                tell_error(ended)
            raise


@contextmanager
def _noting_stop() -> Iterator[list[int]]:
    """Note that Ctrl-C was pressed, for some libraries make another error of it, which no longer tells."""
    pressed: list[int] = []

    def note(signum: int, frame: FrameType | None) -> NoReturn:
        pressed.append(signum)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield pressed  # whoever started us has an answer of their own
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if pressed else signal.default_int_handler)


def _end_stopped(arguments: list[str]) -> NoReturn:
    from residency.processes import is_first

    goes = "goes on" if arguments[:1] and arguments[0] in GOES_ON else "starts anew"
    if is_first():
        sys.stderr.write(f"stopped; what is written stays, and the same command {goes}\n")
    raise SystemExit(STOPPED) from None
