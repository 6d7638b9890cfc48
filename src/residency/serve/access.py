"""A request in, what routes share out: the service, who asks and whether they may, and how a refusal is described."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Path, Request

from residency.serve.people import Person, Role
from residency.serve.pictures import Refused
from residency.serve.service import Service
from residency.types import Record

CaseId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="As `case` in an interpretation.")]


class Failure(Record):
    """A refusal: its status and the reason in words."""

    status: int
    reason: str


class Refusal(Record):
    """The body of every answer that is no success."""

    error: Failure
    request: str


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route may refuse with, for its description."""
    told = {
        400: "Foreign host name, or a broken body.", 401: "No valid token.", 403: "Another site's page, or the role.",
        404: "No such case.", 408: "Too slow.", 413: "Too large.", 415: "Of another kind.",
        422: "Cannot be used; the reason says why.", 429: "The queue is full; Retry-After.",
        501: "An extra is not installed.", 503: "No answer in time.",
    }  # fmt: skip
    return {status: {"model": Refusal, "description": told[status]} for status in (400, 401, 403, *statuses)}


def require(role: Role) -> Callable[[Request], Person]:
    """Return what gives a route its person, who must have a role."""

    def find(request: Request) -> Person:
        person: Person = request.state.person
        if not person.may(role):
            raise Refused(403, f"this needs the role {role}")
        return person

    return find


def find_service(request: Request) -> Service:
    """Return what the routes share."""
    service: Service = request.app.state.service
    return service


Has = Annotated[Service, Depends(find_service)]
Reader = Annotated[Person, Depends(require("reader"))]
Reviewer = Annotated[Person, Depends(require("reviewer"))]
Admin = Annotated[Person, Depends(require("admin"))]
