"""A DICOM file in, decoded in a process of its own, so that a hostile one costs that process and nothing else.

Decoders are C and C++: a damaged frame may make one crash, hang or ask for all memory there is.
"""

import sys
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import DEVNULL, Popen
from threading import Lock
from types import TracebackType

from residency.dicom.header import Limits, Refused, prepare_pydicom
from residency.dicom.read import Raw, read_raw
from residency.dicom.veil import Veil
from residency.errors import UserError

MEMORY = 4 * 2**30
"""Bytes of address space that decoding may take."""
SECONDS = 60.0
_START = 30.0
"""Seconds for the process to start and load pydicom."""


class Apart:
    """Decodes files one after another in a process that is started when needed, and anew after it had to be ended.

    Safe to share between threads, which then wait for each other. Use as a context manager, or call `close`.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self._lock = Lock()
        self._running: tuple[Popen[bytes], Connection] | None = None

    def __enter__(self) -> "Apart":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read_raw(self, source: Path | bytes, limits: Limits, veil: Veil, most: int | None = None) -> Raw:
        """Do as `read.read_raw` does.

        Raises:
            MissingExtra: pydicom or a decoder is not installed.
            Refused: the file is not used, and why; `too-slow` or `crashed` where its decoder was ended or ended itself.
        """
        with self._lock:
            pipe = self._pipe()
            try:
                pipe.send((source, limits, veil, most))
                if not pipe.poll(self.seconds):
                    self._end()
                    raise Refused("too-slow", f"decoding takes more than {self.seconds:g} s")
                answer = pipe.recv()
            except (EOFError, OSError):
                self._end()
                raise Refused("crashed", "its decoder crashed: the file is damaged, or made to do harm") from None
        if isinstance(answer, UserError):
            raise answer
        if not isinstance(answer, Raw):
            raise Refused("crashed", "its decoder failed: the file is damaged, or made to do harm")
        return answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _pipe(self) -> Connection:
        if self._running is None:
            # Here, too: a header that comes back would be checked, and its values told.
            prepare_pydicom()
            ours, theirs = Pipe()
            # A program of its own: what multiprocessing starts would run the caller's script again.
            code = f"from residency.dicom.apart import work; work({theirs.fileno()}, {self.memory})"
            command = [sys.executable, "-P", "-c", code]
            process = Popen(command, pass_fds=[theirs.fileno()], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
            theirs.close()
            self._running = process, ours
            if not ours.poll(_START) or ours.recv() != "ready":
                self._end()
                raise Refused("crashed", "the process that decodes does not start")
        return self._running[1]

    def _end(self) -> None:
        if self._running is not None:
            process, pipe = self._running
            self._running = None
            pipe.close()
            process.kill()
            process.wait()


def work(pipe_number: int, memory: int) -> None:
    """Decode what comes through the pipe of this number until it is closed, within so many bytes of memory.

    The caller has shut this process's mouth: decoders write what they find amiss, values of the file among it.
    """
    pipe = Connection(pipe_number)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(UserError):  # told anew by the first file
        prepare_pydicom()
    pipe.send("ready")
    while True:
        try:
            source, limits, veil, most = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: Raw | UserError = read_raw(source, limits, veil, most)
        except UserError as error:
            answer = error
        except MemoryError:
            answer = Refused("too-large", "decoding takes more memory than is allowed")
        pipe.send(answer)
