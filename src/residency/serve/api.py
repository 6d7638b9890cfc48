"""The server's routes: requests that the guard let in, JSON out. Version 1 lives under /v1; its records change only by
additions."""

import json
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BeforeValidator, Field

from residency import NOT_FOR_DIAGNOSIS, __version__
from residency.evaluate.abstain import Abstention
from residency.serve import draft, similar, why
from residency.serve.access import Admin, CaseId, Has, Reader, Reviewer, refusals
from residency.serve.failures import tell_failures
from residency.serve.forms import read_upload
from residency.serve.guard import Guard, Rules, tell_error
from residency.serve.logs import Logs
from residency.serve.people import Role
from residency.serve.pictures import Refused
from residency.serve.reviews import Reviewed, ReviewSent, keep_review, list_reviewed
from residency.serve.service import Service
from residency.serve.sheet import gather_rows, make_sheet
from residency.serve.summary import Summary, summarize
from residency.serve.told import Interpretation
from residency.types import Questionnaire, Record

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "PNG, JPEG, TIFF, DICOM."},
                        "group": {"type": "string", "maxLength": 200, "description": "Patient or study; kept hashed."},
                        "spacing_mm": {"type": "string", "description": "mm a pixel: one number, or row and column."},
                    },
                },
            }
        },
    }
}


XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class About(Record):
    """What answers here, and who asks."""

    model: str
    version: str
    tuned: bool
    questionnaire: Questionnaire
    asked: tuple[str, ...]
    promises: dict[str, Abstention]
    role: Role
    name: str
    named: bool
    note: str = NOT_FOR_DIAGNOSIS


class Health(Record):
    """Whether the server can answer."""

    status: str
    model: str
    queue: int
    places: int


class Cases(Record):
    """Cases, the newest first, without their answers."""

    cases: tuple[Interpretation, ...]


class CaseWhole(Record):
    """A case with its answers and all that was said of it."""

    case: Interpretation
    reviews: tuple[Reviewed, ...] = ()


class Reviews(Record):
    """Kept reviews, oldest first."""

    reviews: Annotated[tuple[Reviewed, ...], Field(description="One for each answer, and one for the whole.")]


Moment = Annotated[datetime, BeforeValidator(datetime.fromisoformat)]
"""A time as text: pydantic alone would take a bare number for seconds since 1970."""
router = APIRouter()


@router.get("/health", responses=refusals(503))
async def health(service: Has, response: Response) -> Health:
    """Tell whether the model answers (503 where it does not)."""
    response.status_code = 200 if service.worker.alive else 503
    status = "ok" if service.worker.alive else "the model thread has ended"
    return Health(
        status=status, model=service.interpreter.name, queue=service.worker.held, places=service.worker.places
    )


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **refusals()}, response_class=Response)
def metrics(service: Has, person: Admin) -> Response:
    """Tell the meters in Prometheus's format."""
    service.meters.queued.set(service.worker.held)
    return Response(generate_latest(service.meters.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/model", responses=refusals())
def model(service: Has, person: Reader) -> About:
    """Tell what answers, its questionnaire (for editing), what it promises, and the role of who asks."""
    reader = service.interpreter
    return About(
        model=reader.name, version=__version__, tuned=bool(reader.asked), questionnaire=reader.questionnaire,
        asked=tuple(q.id for q in reader.questions), promises=dict(reader.promises),
        role=person.role, name=person.name, named=person.named,
    )  # fmt: skip


@router.post(
    "/v1/interpret",
    response_model=Interpretation,
    responses={200: {"content": {"application/x-ndjson": {}}}, **refusals(408, 413, 415, 422, 429, 503)},
    openapi_extra=UPLOAD,
)
async def interpret(request: Request, service: Has, person: Reader, stream: bool = False) -> Response:
    """Answer every question about one picture. `stream=1`: a line of JSON for each answer as it is known."""
    told = service.interpret(await read_upload(request))
    first = await anext(told)
    if stream:
        return StreamingResponse(_tell_lines(first, told, request), media_type="application/x-ndjson")
    last = [first, *[one async for one in told]][-1]
    return Response(last.model_dump_json(), media_type="application/json")


async def _tell_lines(first: Record, told: AsyncIterator[Record], request: Request) -> AsyncIterator[bytes]:
    """Yield a line for each answer, one for the case; a refusal that comes after the head is a line, too."""
    yield _tell_line(first)
    try:
        async for one in told:
            yield _tell_line(one)
    except Refused as refused:
        line = {"event": "error", **tell_error(refused.status, refused.reason, request.state.request_id)}
        yield json.dumps(line).encode() + b"\n"


def _tell_line(one: Record) -> bytes:
    event = "case" if isinstance(one, Interpretation) else "answer"
    return json.dumps({"event": event, event: one.model_dump(mode="json")}, ensure_ascii=False).encode() + b"\n"


@router.get("/v1/cases", responses=refusals(422))
def list_cases(
    service: Has,
    person: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[Moment | None, Query(description="Only those made before this time (UTC).")] = None,
) -> Cases:
    """List cases, the newest first."""
    return Cases(cases=tuple(service.store.list_cases(limit, before)))


@router.get("/v1/cases/{case}", responses=refusals(404, 422))
def show_case(case: CaseId, service: Has, person: Reader) -> CaseWhole:
    """Tell a case with its answers and reviews."""
    found = service.store.find_case(case)
    if found is None:
        raise Refused(404, "there is no such case")
    return CaseWhole(case=found, reviews=tuple(list_reviewed(service.store.list_reviews(case))))


@router.get(
    "/v1/cases/{case}/image",
    responses={200: {"content": {"image/png": {}}}, **refusals(404, 422)},
    response_class=Response,
)
def show_image(case: CaseId, service: Has, person: Reader) -> Response:
    """Return a case's picture, as the model saw it."""
    found = service.store.find_case(case)
    path = service.store.image_path(found.image_sha256) if found else None
    if path is None or not path.is_file():
        raise Refused(404, "there is no such case")
    return Response(path.read_bytes(), media_type="image/png")


@router.post("/v1/reviews", status_code=201, responses=refusals(404, 408, 413, 422, 429))
def review(sent: ReviewSent, service: Has, person: Reviewer) -> Reviews:
    """Keep a review; the answer comes when it is on disk."""
    author = person.name if person.named else sent.author or "unnamed"
    kept = keep_review(service.store, service.interpreter.questionnaire, sent, author)
    for one in kept:
        service.meters.reviews.labels(one.verdict or "rating").inc()
    return Reviews(reviews=kept)


@router.get("/v1/reviews", responses=refusals(422))
def show_reviews(
    service: Has,
    person: Reader,
    case: Annotated[str | None, Query(pattern=r"^[0-9a-f]{16}$")] = None,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
) -> Reviews:
    """List the last reviews, of one case or of all, oldest first."""
    return Reviews(reviews=tuple(list_reviewed(service.store.list_reviews(case, limit))))


@router.get("/v1/reviews/summary", responses=refusals())
def sum_up(service: Has, person: Reader) -> Summary:
    """Tell what the reviews say so far: agreement, ratings, latency, drift of answers."""
    return summarize(service.store, service.interpreter.questionnaire)


@router.get("/v1/reviews/sheet", responses={200: {"content": {XLSX: {}}}, **refusals(404)}, response_class=Response)
def give_sheet(service: Has, person: Admin) -> Response:
    """Return the reviews as an answer sheet that `residency ingest` takes."""
    rows = gather_rows(service.store)
    if not rows:
        raise Refused(404, "there is no case yet")
    disposition = {"Content-Disposition": 'attachment; filename="answers.xlsx"'}
    return Response(make_sheet(rows, service.interpreter.questionnaire), media_type=XLSX, headers=disposition)


@router.get("/", include_in_schema=False)
@router.get("/page/{name}", include_in_schema=False)
def page(name: str = "index.html") -> Response:
    """Return one of the page's own files; a name is looked up in a list, never joined to a path."""
    for entry in (files("residency.serve") / "page").iterdir():
        if entry.name == name and entry.is_file():
            kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
            return Response(entry.read_bytes(), media_type=kind)
    raise Refused(404, "there is no such file")


def create_app(service: Service, rules: Rules, logs: Logs) -> FastAPI:
    """Return the app: routes behind the guard, the model thread beside them from start to end."""

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        service.worker.batches = lambda pictures, _: service.meters.batches.observe(pictures)
        service.worker.start()
        logs.write("start", model_questions=len(service.interpreter.questions))
        yield
        service.worker.close()
        service.decoder.close()
        logs.write("end")

    app = FastAPI(
        title="Residency", version="1", description=NOT_FOR_DIAGNOSIS, lifespan=living, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.service = service
    app.include_router(router)
    app.include_router(why.router)
    app.include_router(draft.router)
    app.include_router(similar.router)
    tell_failures(app, logs)
    app.add_middleware(Guard, rules=rules, logs=logs, meters=service.meters)
    return app
