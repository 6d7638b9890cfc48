"""What a route raised in, one form of JSON out: a status, a reason in words, the request's id; never what was sent."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from residency.errors import UserError
from residency.serve.guard import tell_error
from residency.serve.logs import Logs
from residency.serve.pictures import Refused
from residency.serve.worker import Busy


def tell_failures(app: FastAPI, logs: Logs) -> None:
    """Give every failure one form; none repeats what was sent."""

    def answer(request: Request, status: int, reason: str, **headers: str) -> Response:
        body = tell_error(status, reason, request.state.request_id)
        return JSONResponse(body, status, {name.replace("_", "-"): value for name, value in headers.items()})

    async def refuse(request: Request, error: Refused) -> Response:
        return answer(request, error.status, error.reason, **({"Retry_After": "5"} if error.status == 503 else {}))

    async def wait(request: Request, error: Busy) -> Response:
        return answer(request, 429, str(error), Retry_After=str(error.retry_after))

    async def explain(request: Request, error: RequestValidationError) -> Response:
        faults = (f"{'.'.join(map(str, fault['loc']))[:80]}: {fault['msg'][:120]}" for fault in error.errors()[:10])
        return answer(request, 422, "; ".join(faults))

    async def name(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, str(error.detail), **(error.headers or {}))

    async def keep_not(request: Request, error: Exception) -> Response:
        logs.write_error(error, request=request.state.request_id)
        return answer(request, 507, "what should be kept cannot be written: is the disk full, the database there?")

    handlers: dict[Any, Callable[..., Awaitable[Response]]] = {
        Refused: refuse, Busy: wait, RequestValidationError: explain, HTTPException: name,
        UserError: keep_not, OperationalError: keep_not,
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
