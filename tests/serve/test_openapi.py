"""The API keeps what its OpenAPI description says, for requests that schemathesis draws from it."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serve.server import Server

ASKED = (
    ("POST", "/v1/interpret"), ("GET", "/v1/cases"), ("GET", "/v1/cases/{case}"), ("GET", "/v1/cases/{case}/image"),
    ("GET", "/v1/cases/{case}/draft"),
    ("POST", "/v1/reviews"), ("GET", "/v1/reviews"),
)  # fmt: skip
PLAIN = ("/health", "/metrics", "/v1/model", "/v1/reviews/summary", "/v1/reviews/sheet")
"""What takes no argument, so that nothing about it can be wrong."""
TRIED = [(*asked, mode) for asked in ASKED for mode in schemathesis.GenerationMode]
TRIED += [("GET", path, schemathesis.GenerationMode.POSITIVE) for path in PLAIN]
RULES = settings(
    max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def described(server: Server) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.address}/openapi.json")


@pytest.mark.parametrize(("method", "path", "mode"), TRIED)
def test_it_answers_as_described(
    described: schemathesis.BaseSchema, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    """Requests that fit the description, and those that do not: right statuses, kinds, bodies; never a 5xx."""
    operation = described[path][method]
    # No description can say which bytes are a picture.
    unjudged = [positive_data_acceptance] if path == "/v1/interpret" else []
    seen = 0

    @RULES
    @given(case=operation.as_strategy(generation_mode=mode))
    def answer(case: schemathesis.Case) -> None:
        nonlocal seen
        seen += 1
        case.call_and_validate(excluded_checks=unjudged)

    answer()
    assert seen


def test_the_description_has_examples_and_all_of_it_is_tried(server: Server) -> None:
    told = httpx.get(f"{server.address}/openapi.json", trust_env=False).json()
    assert {(verb.upper(), path) for path, verbs in told["paths"].items() for verb in verbs} >= {
        (method, path) for method, path, _ in TRIED
    }
    drafted = told["paths"]["/v1/cases/{case}/draft"]["get"]["responses"]["200"]["content"]
    assert drafted["application/fhir+json"]["example"]["entry"][0]["resource"]["status"] == "preliminary"
    assert told["components"]["schemas"]["ReviewSent"]["examples"]
    assert told["components"]["schemas"]["Interpretation"]["examples"]


def test_a_time_is_no_bare_number(server: Server) -> None:
    for wrong in ("5.0e-47", "0", "yesterday"):
        assert server.client.get("/v1/cases", params={"before": wrong}).status_code == 422
    assert server.client.get("/v1/cases", params={"before": "2026-11-22T08:42:22Z"}).status_code == 200
