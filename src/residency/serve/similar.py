"""A case in, the annotated cases most like it out: the training split's, near by what the model's own tower sees.

The tower looks at the annotated pictures once, after the server's start, a few at a time when no picture waits; their
vectors are few enough for plain numpy (cosine), so that no index is needed to serve a run.
"""

import base64
import io
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, FastAPI, Query, Request
from numpy.typing import NDArray
from PIL import Image

from residency.models.embed import tower_features
from residency.serve.access import CaseId, Has, Reader, refusals
from residency.serve.pictures import Refused
from residency.serve.service import Service
from residency.types import Answer, Record, Sample

AT_ONCE = 4
LONGEST = 320


class Labelled(Record):
    """What was annotated of a picture."""

    question: str
    text: str
    answer: Answer | None = None


class SimilarCase(Record):
    """An annotated picture: its likeness (cosine, -1 to 1), a small JPEG of it as a data: address, and its answers."""

    likeness: float
    thumbnail: str
    category: str | None = None
    answers: tuple[Labelled, ...]


class SimilarCases(Record):
    """The annotated cases most like one, the likest first, of so many annotated pictures."""

    cases: tuple[SimilarCase, ...]
    pictures: int


class Atlas:
    """The annotated pictures of a server's training split with their vectors, filled on the model thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        ordered = sorted(service.interpreter.training, key=lambda sample: sample.image)
        self.samples = {image: tuple(own) for image, own in groupby(ordered, lambda sample: sample.image)}
        self.vectors: dict[str, NDArray[np.float32]] = {}
        self.fault = "" if self.samples else "no annotated cases are known here: serve a run, or name --data"

    def begin(self) -> None:
        """Look at the pictures not seen yet, a few at a time, each after what waits."""
        left = [image for image in self.samples if image not in self.vectors][:AT_ONCE]
        if left and not self.fault:
            looked = self.service.worker.run_later(partial(self._look, left), always=True)
            looked.add_done_callback(self._go_on)

    def near(self, path: Path, k: int, without: str) -> list[tuple[str, float]]:
        """Return the k pictures most like a picture, one a group and none of the group `without`, and how like.

        Raises:
            Refused: there are no annotated pictures (404), or not all seen yet, or the model is busy (503).
            Busy: too much waits.
        """
        if self.fault:
            raise Refused(404, self.fault)
        if len(self.vectors) < len(self.samples):
            raise Refused(503, f"looking at the annotated cases: {len(self.vectors)} of {len(self.samples)} are done")
        probe = Sample(id="case", image=str(path), prefix="", group="")
        vector = self.service.worker.run_later(partial(self._see, [probe])).result(self.service.answer_seconds)[
            str(path)
        ]
        likeness = {image: float(_unit(other) @ _unit(vector)) for image, other in self.vectors.items()}
        best: dict[str, tuple[str, float]] = {}
        for image, share in sorted(likeness.items(), key=lambda pair: -pair[1]):
            group = self.samples[image][0].group
            if self.service.store.hide_group(group) != without:
                best.setdefault(group, (image, share))
            if len(best) == k:
                break
        return list(best.values())

    def _look(self, images: Sequence[str]) -> None:
        self.vectors |= self._see([self.samples[image][0] for image in images])

    def _see(self, samples: Sequence[Sample]) -> dict[str, NDArray[np.float32]]:
        return tower_features(self.service.interpreter.opened, samples)

    def _go_on(self, done: "Future[Any]") -> None:
        if not done.cancelled() and done.exception() is not None:
            self.fault = "the annotated cases' pictures cannot be read"
        self.begin()


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


@asynccontextmanager
async def _look_around(app: FastAPI) -> AsyncIterator[None]:
    app.state.atlas = Atlas(app.state.service)
    app.state.atlas.begin()
    yield


router = APIRouter(lifespan=_look_around)


@router.get("/v1/cases/{case}/similar", responses=refusals(404, 422, 429, 503))
def find_similar(
    case: CaseId, request: Request, service: Has, person: Reader, k: Annotated[int, Query(ge=1, le=12)] = 3
) -> SimilarCases:
    """Tell the annotated cases most like a case, with their answers; none of its own group, no group twice."""
    atlas: Atlas = request.app.state.atlas
    found = service.store.find_case(case)
    path = service.store.image_path(found.image_sha256) if found else None
    if path is None or not path.is_file():
        raise Refused(404, "there is no such case")
    near = atlas.near(path, k, service.store.find_group(case))
    return SimilarCases(
        cases=tuple(_tell(atlas.samples[image], share) for image, share in near), pictures=len(atlas.samples)
    )


def _tell(samples: Sequence[Sample], likeness: float) -> SimilarCase:
    said = tuple(
        Labelled(question=s.question, text=s.suffix, answer=s.answer) for s in samples if s.question and s.suffix
    )
    thumbnail = _shrink(Path(samples[0].image))
    return SimilarCase(likeness=round(likeness, 4), thumbnail=thumbnail, category=samples[0].category, answers=said)


def _shrink(path: Path) -> str:
    file = io.BytesIO()
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((LONGEST, LONGEST))
        small.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
