"""Killed (SIGKILL) in the middle of uploads and reviews: what was acknowledged is there when it starts again."""

import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from residency.questionnaire import load_questionnaire
from residency.serve.store import open_store
from tests.serve.server import Server, serving

WRITERS = 3


def press(server: Server, pictures: list[Path], acknowledged: list[dict[str, Any]], writer: int) -> None:
    """Upload and review until the server is gone; note each review that was acknowledged."""
    with httpx.Client(base_url=server.address, timeout=30, trust_env=False) as client:
        try:
            for turn in range(10_000):
                data = pictures[(writer + turn) % len(pictures)].read_bytes()
                case = client.post("/v1/interpret", files={"file": ("x.png", data)}).json()["case"]
                for rating in (1, 2, 3, 4, 5):
                    answers = [{"question": "q3", "verdict": "accept"}]
                    sent = {"case": case, "rating": rating, "author": f"writer {writer}", "answers": answers}
                    answer = client.post("/v1/reviews", json=sent)
                    if answer.status_code == 201:
                        acknowledged += answer.json()["reviews"]
        except httpx.HTTPError:
            return


def kill_times(kills: int, folder: Path, pictures: list[Path], seed: int) -> tuple[int, int]:
    """Kill a server so many times at random moments; return how many reviews were acknowledged and are there."""
    rng = np.random.default_rng(seed)
    acknowledged: list[dict[str, Any]] = []
    for _ in range(kills):
        with serving(folder) as server:
            threads = [
                threading.Thread(target=press, args=(server, pictures, acknowledged, writer))
                for writer in range(WRITERS)
            ]
            for thread in threads:
                thread.start()
            threads[0].join(float(rng.uniform(0.5, 3)))
            server.process.kill()
            for thread in threads:
                thread.join(60)
    store = open_store(folder / "store", load_questionnaire("fetal8"))
    kept = {row.id: row for row in store.list_reviews()}
    there = sum(
        one["id"] in kept and (kept[one["id"]].case_id, kept[one["id"]].rating) == (one["case"], one["rating"])
        for one in acknowledged
    )
    cases, answers, reviews = store.list_rows()
    of_case = {case.id: sum(answer.case_id == case.id for answer in answers) for case in cases}
    assert set(of_case.values()) == {8}, "a case without all its answers"
    assert {review.case_id for review in reviews} <= set(of_case)
    assert all(store.image_path(case.image_sha256).is_file() for case in cases)
    ratings = [(r.case_id, r.created, r.author) for r in reviews if r.question is None]
    verdicts = [(r.case_id, r.created, r.author) for r in reviews if r.question is not None]
    assert ratings == verdicts, "half a review"
    return len(acknowledged), there


def test_no_acknowledged_review_is_lost_when_killed(tmp_path: Path, pictures: list[Path]) -> None:
    acknowledged, there = kill_times(3, tmp_path, pictures, seed=1)
    assert acknowledged > 0
    assert there == acknowledged


@pytest.mark.slow
def test_no_acknowledged_review_is_lost_when_killed_50_times(
    tmp_path: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    acknowledged, there = kill_times(50, tmp_path, pictures, seed=2)
    with capsys.disabled():
        print(f"\nkilled 50 times: {acknowledged} acknowledged reviews, {there} of them there")
    assert there == acknowledged > 50
