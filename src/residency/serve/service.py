"""An upload in, an interpretation that is kept out: decoding, the queue, the answers as they come, the case on disk."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from starlette.concurrency import run_in_threadpool

from residency.serve.decoding import Decoder
from residency.serve.forms import Upload
from residency.serve.interpret import Interpreter, Picture
from residency.serve.logs import Meters
from residency.serve.pictures import Refused, pack_picture
from residency.serve.store import Store, tell_now
from residency.serve.told import AnswerTold, Interpretation
from residency.serve.worker import Worker


@dataclass(frozen=True)
class Service:
    """What the routes share. `answer_seconds` is how long a request waits for its answers at most."""

    interpreter: Interpreter
    worker: Worker
    store: Store
    decoder: Decoder
    meters: Meters
    answer_seconds: float = 60.0

    async def interpret(self, upload: Upload) -> AsyncIterator[AnswerTold | Interpretation]:
        """Yield each answer as it is known, and at last the case, which is then on disk.

        Raises:
            Refused: the picture cannot be used (413, 415, 422), or no answer came in time (503).
            Busy: the queue is full.
        """
        self.worker.reserve()
        try:
            picture, sha256 = await run_in_threadpool(self._take, upload)
        except BaseException:
            self.worker.release()
            raise
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[AnswerTold | None]()
        done = self.worker.submit(picture, lambda told: _pass_on(loop, heard, told))
        done.add_done_callback(lambda _: _pass_on(loop, heard, None))
        answers: dict[str, AnswerTold] = {}
        try:
            async with asyncio.timeout(self.answer_seconds):
                while (told := await heard.get()) is not None:
                    if told.question not in answers:
                        answers[told.question] = told
                        yield told
        except TimeoutError:
            raise Refused(503, f"no answers within {self.answer_seconds:g} s; send the picture again later") from None
        finally:
            done.cancel()
        seconds = done.result()
        case = self._conclude(picture, sha256, answers, seconds)
        await run_in_threadpool(self.store.keep_case, case, picture.group)
        self._count(case)
        yield case

    def _take(self, upload: Upload) -> tuple[Picture, str]:
        """Decode an upload and keep its copy; a picture without a group is one of its own."""
        decoded = self.decoder.decode(upload.data)
        data, sha256 = pack_picture(decoded.image)
        group = self.store.hide_group(self._name_group(upload, decoded.group) or sha256)
        spacing_mm = upload.spacing_mm or decoded.spacing_mm
        path = self.store.keep_image(data, sha256)
        picture = Picture(decoded.image, str(path), group, spacing_mm, decoded.origin)
        if fault := self.interpreter.find_fault(picture):
            raise Refused(422, f"this model cannot be asked about the picture: {fault}")
        return picture, sha256

    def _name_group(self, upload: Upload, own: str | None) -> str | None:
        """Return what an upload's group is called, as the training samples call it if it is one of theirs: that of a
        training picture, whatever is said of it, or of a patient's number that the dataset hides."""
        if learned := self.interpreter.find_group(hashlib.sha256(upload.data).hexdigest()):
            return learned
        if not upload.group:
            return own
        hidden = self.decoder.veil.name("P", upload.group.upper())
        return hidden if hidden in self.interpreter.groups.values() else upload.group

    def _conclude(
        self, picture: Picture, sha256: str, answers: dict[str, AnswerTold], seconds: float
    ) -> Interpretation:
        width, height = picture.image.size
        return Interpretation(
            case=secrets.token_hex(8),
            created=tell_now(),
            image_sha256=sha256,
            width=width,
            height=height,
            spacing_mm=picture.spacing_mm,
            origin=picture.origin,
            model=self.interpreter.name,
            questionnaire=self.interpreter.questionnaire.name,
            answers=tuple(answers[q.id] for q in self.interpreter.questions),
            seconds=round(seconds, 4),
        )

    def _count(self, case: Interpretation) -> None:
        self.meters.model.observe(case.seconds)
        for told in case.answers:
            self.meters.answers.labels(told.question, str(told.sure).lower()).inc()


def _pass_on(
    loop: asyncio.AbstractEventLoop, heard: "asyncio.Queue[AnswerTold | None]", told: AnswerTold | None
) -> None:
    """Hand an answer from the model thread to a request's loop, which may have ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(partial(heard.put_nowait, told))
