"""Who may do what, from where; and what happens when too many come at once, or the server is told to end."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.run_command import run_residency
from tests.serve.server import Server, serving


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with a token for each role, one picture at a time, three places."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = {}
    for role in ("reader", "reviewer", "admin"):
        done = run_residency("token", f"the {role}", "--role", role, "--tokens", folder / "tokens.yaml", "--json")
        tokens[role] = json.loads(done.out)["token"]
    with serving(folder, "--tokens", folder / "tokens.yaml", "--places", 3, "--batch", 1) as server:
        yield server, tokens


def as_role(guarded: tuple[Server, dict[str, str]], role: str, **headers: str) -> httpx.Client:
    server, tokens = guarded
    bearer = {"Authorization": f"Bearer {tokens[role]}"} if role else {}
    return httpx.Client(base_url=server.address, headers=bearer | headers, timeout=60, trust_env=False)


def test_each_role_may_do_its_own(guarded: tuple[Server, dict[str, str]], pictures: list[Path]) -> None:
    found = {}
    for role in ("", "reader", "reviewer", "admin"):
        with as_role(guarded, role) as client:
            upload = client.post("/v1/interpret", files={"file": ("a.png", pictures[0].read_bytes())})
            case = upload.json().get("case", "0" * 16)
            review = client.post("/v1/reviews", json={"case": case, "rating": 4, "author": "somebody else"})
            asked = ("/v1/cases", f"/v1/cases/{case}/draft", "/v1/reviews/sheet", "/metrics")
            others = [client.get(path).status_code for path in asked]
            found[role] = [upload.status_code, review.status_code, *others]
            if review.status_code == 201:
                assert {one["author"] for one in review.json()["reviews"]} == {f"the {role}"}
    assert found == {
        "": [401] * 6,
        "reader": [200, 403, 200, 200, 403, 403],
        "reviewer": [200, 201, 200, 200, 403, 403],
        "admin": [200, 201, 200, 200, 200, 200],
    }


def test_the_tokens_file_holds_no_token(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    path = server.store.parent / "tokens.yaml"
    assert not any(token in path.read_text() for token in tokens.values())
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(token in server.told.read_text() for token in tokens.values())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example", "X-Residency": "1"}, 403),
        ({"Origin": "null", "X-Residency": "1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "X-Residency": "1"}, 403),
        ({"Sec-Fetch-Site": "same-site", "X-Residency": "1"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "X-Residency": "1"}, 404),
        ({"Host": "rebound.example"}, 400),
        ({"Host": ""}, 400),
    ],
)
def test_other_sites_pages_cannot_write(
    guarded: tuple[Server, dict[str, str]], headers: dict[str, str], status: int
) -> None:
    with as_role(guarded, "admin", **headers) as client:
        assert client.post("/v1/reviews", json={"case": "0" * 16, "rating": 1}).status_code == status


def test_answers_carry_the_headers_that_shut_a_page_in(guarded: tuple[Server, dict[str, str]]) -> None:
    with as_role(guarded, "reader") as client:
        for path in ("/", "/v1/cases", "/nowhere", "/v1/reviews/sheet"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in headers and "server" not in headers


def test_a_full_queue_says_when_to_come_again(guarded: tuple[Server, dict[str, str]], pictures: list[Path]) -> None:
    answers: list[httpx.Response] = []

    def press(number: int) -> None:
        with as_role(guarded, "reader") as client:
            data = pictures[number % len(pictures)].read_bytes()
            answers.append(client.post("/v1/interpret", files={"file": ("a.png", data)}))

    threads = [threading.Thread(target=press, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "queue is full" in answer.json()["error"]["reason"]
    with as_role(guarded, "reader") as client:
        assert client.get("/health").json()["queue"] == 0


def test_answers_are_streamed_as_they_come(guarded: tuple[Server, dict[str, str]], pictures: list[Path]) -> None:
    with as_role(guarded, "reader") as client:
        files = {"file": ("a.png", pictures[2].read_bytes())}
        with client.stream("POST", "/v1/interpret?stream=1", files=files) as answer:
            lines = [json.loads(line) for line in answer.iter_lines()]
        assert [line["event"] for line in lines] == ["answer"] * 8 + ["case"]
        assert {line["answer"]["question"] for line in lines[:4]} == {"q2", "q3", "q6", "q7"}
        whole = lines[-1]["case"]
        kept = client.get(f"/v1/cases/{whole['case']}").json()["case"]
        assert kept == whole
        alone = client.post("/v1/interpret", files=files).json()
        assert [a["answer"] for a in alone["answers"]] == [a["answer"] for a in whole["answers"]]


def test_logs_are_json_and_meters_count(guarded: tuple[Server, dict[str, str]]) -> None:
    server, _ = guarded
    with as_role(guarded, "admin") as client:
        request = client.get("/v1/cases").headers["x-request-id"]
        text = client.get("/metrics").text
    lines = [line for line in server.told.read_text().splitlines() if line.startswith("{")]
    logs = [json.loads(line) for line in lines]
    assert next(log for log in logs if log.get("request") == request)["route"] == "/v1/cases"
    assert not [log for log in logs if log["event"] == "error"]
    for name in (
        "residency_requests_total",
        "residency_model_seconds_sum",
        "residency_answers_total",
        "residency_queue",
    ):
        assert name in text


def test_a_server_that_is_told_to_end_answers_what_waits(tmp_path: Path, pictures: list[Path]) -> None:
    with serving(tmp_path) as server:
        answers: list[int] = []

        def press() -> None:
            with httpx.Client(base_url=server.address, timeout=60, trust_env=False) as client:
                data = pictures[0].read_bytes()
                answers.append(client.post("/v1/interpret", files={"file": ("a.png", data)}).status_code)

        threads = [threading.Thread(target=press) for _ in range(4)]
        for thread in threads:
            thread.start()
        while server.client.get("/health").json()["queue"] < 4 and not answers:
            pass
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait(30) in (0, -signal.SIGTERM)
        assert answers == [200] * 4
        assert server.logs()[-1]["event"] == "end"
