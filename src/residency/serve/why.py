"""A case's answers in, why each was given out: a heat map over the picture and the deletion test, kept beside the case.

They are made on the model thread, a question at a time, when no picture waits; one that comes meanwhile goes first.
"""

import asyncio
from functools import partial
from math import exp
from typing import Annotated

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from residency.explain.deletion import delete_marked
from residency.explain.heat import map_answers, weigh_answers
from residency.explain.picture import Picture
from residency.files import is_there, read_json, write_json
from residency.serve import interpret
from residency.serve.access import CaseId, Has, Reader, refusals
from residency.serve.pictures import Refused
from residency.serve.service import Service
from residency.serve.store import Store
from residency.serve.told import AnswerTold, Interpretation
from residency.types import Record

FOLDER = "why"
SHARE, DRAWS, SEED = 0.1, 8, 0
"""As `residency explain`: the share of the sector that is deleted, random regions held against it, and the seed."""
router = APIRouter()


class WhySent(BaseModel):
    """The questions whose answers are to be explained."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"questions": ["q2"]}]})
    questions: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(min_length=1, max_length=50)]


class Why(Record):
    """Why an answer was given. `heat` (rows, columns) covers the whole picture, 0 to 1.

    `likelihood` is that of the answer's text (0 to 1); `without_marked` the same when the `share` of the sector where
    the map is highest is deleted, `without_random` (geometric mean of `draws`) when regions alike elsewhere are. The
    last two are null where the map is empty: no place speaks for the answer.
    """

    question: str
    heat: tuple[tuple[float, ...], ...]
    likelihood: float
    without_marked: float | None = None
    without_random: float | None = None
    share: float = SHARE
    draws: int = DRAWS


class Whys(Record):
    """Why answers of one case were given."""

    answers: tuple[Why, ...] = ()


@router.post("/v1/cases/{case}/why", responses=refusals(404, 408, 413, 422, 429, 503))
async def explain(case: CaseId, sent: WhySent, service: Has, person: Reader) -> Whys:
    """Tell why answers of a case were given: heat maps by covering each place, and the deletion test of each."""
    found = service.store.find_case(case)
    if found is None:
        raise Refused(404, "there is no such case")
    told = {answer.question: answer for answer in found.answers}
    asked = list(dict.fromkeys(sent.questions))
    if strange := [question for question in asked if question not in told]:
        raise Refused(422, f"the case has no answer to {len(strange)} of the questions")
    _require_explainable(service, found)
    kept = {why.question: why for why in read_kept(service.store, case).answers}
    for question in asked:
        if question not in kept:
            errand = service.worker.run_later(partial(_explain, service, found, told[question]))
            try:
                async with asyncio.timeout(service.answer_seconds):
                    kept[question] = await asyncio.wrap_future(errand)
            except TimeoutError:
                raise Refused(503, f"not found out within {service.answer_seconds:g} s; ask again later") from None
    return Whys(answers=tuple(kept[question] for question in asked))


def read_kept(store: Store, case: str) -> Whys:
    """Return what was found out about a case before."""
    path = store.folder / FOLDER / f"{case}.json"
    return read_json(path, Whys) if is_there(path) else Whys()


def _require_explainable(service: Service, case: Interpretation) -> None:
    """Make sure that the model gave these answers, and to the whole picture and one question at a time.

    Raises:
        Refused: it did not (422).
    """
    reader = service.interpreter
    if case.model != reader.name:
        raise Refused(422, "another model than the one that is served gave these answers")
    if reader.ask == "together" or reader.settings.tiles:
        way = "all questions at once" if reader.ask == "together" else "by tiles"
        raise Refused(422, f"this run answers {way}; why is told of answers to one question about a whole picture")
    if not service.store.image_path(case.image_sha256).is_file():
        raise Refused(404, "the case's picture is gone")


def _explain(service: Service, case: Interpretation, told: AnswerTold) -> Why:
    """Find out why an answer was given, and keep it; called on the model thread alone, so the file has one writer."""
    kept = read_kept(service.store, case.case)
    if known := [why for why in kept.answers if why.question == told.question]:
        return known[0]
    reader = service.interpreter
    path = service.store.image_path(case.image_sha256)
    picture = Picture.read(path)
    group = service.store.find_group(case.case)
    asked = interpret.Picture(picture.image, str(path), group, spacing_mm=case.spacing_mm)
    sample = reader.pose(asked, 0, reader.questionnaire.question(told.question))
    prepared = reader.prepare([sample], {sample.image: picture.image})
    samples = [one.model_copy(update={"suffix": told.text}) for one in prepared]
    heat = map_answers(reader.opened, samples, picture, SEED, service.worker.give_way)[0]
    weight = float(weigh_answers(reader.opened, samples, [picture.image])[0, 0])
    why = Why(
        question=told.question,
        heat=tuple(tuple(round(float(value), 3) for value in row) for row in heat),
        likelihood=exp(weight),
    )
    if heat.any():
        rng = np.random.default_rng(SEED + 1)  # not the speckle that the map was made with
        lost = delete_marked(reader.opened, samples, [heat], picture, share=SHARE, draws=DRAWS, rng=rng)[0]
        left = {"without_marked": exp(weight - lost.marked), "without_random": exp(weight - lost.random)}
        why = why.model_copy(update=left)
    whys = Whys(answers=(*kept.answers, why))
    write_json(service.store.folder / FOLDER / f"{case.case}.json", whys.model_dump(mode="json"))
    return why
