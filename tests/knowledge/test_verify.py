"""A second model checks claims against images, through the command: a server on loopback, and a model of ours."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from residency.files import read_lines, sha256_file
from residency.knowledge.verify import Verified
from residency.types import Prediction
from tests.contract.tiny import build_tiny_nano
from tests.loopback import talking
from tests.made_run import make_run
from tests.run_command import run_residency


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made"), groups=24, modes={"own": 0.8})


def see(_: str, content: list[dict[str, Any]]) -> str | None:
    """Confirm all but what is said of age; know nothing of quality, fail at normality; answer any question alike."""
    words, picture = content[0]["text"], content[1]["image_url"]["url"]
    assert picture.startswith("data:image/png;base64,iVBOR")
    if not words.startswith("Claim: "):
        return "25-30 weeks"
    if "Normality" in words:
        return None
    return "No." if "Gestational" in words else "Perhaps" if "Quality" in words else "Yes"


def test_claims_are_checked_disputes_ranked_and_answers_proposed_beside(run: Path, tmp_path: Path) -> None:
    own = run / "predictions" / "test.own.jsonl"
    before = sha256_file(own)
    with talking(see) as server:
        asked = ("verify", run, "--with", f"{server.url}#talker", "--propose")
        done = run_residency(*asked)
        assert done.code == 0, done.err
        lines = read_lines(run / "verified" / "verified.jsonl", Verified)
        claims = [one for line in lines for one in line.claims]
        images = len({line.image for line in lines})
        said = f"to {server.url}: {images} images and {len(claims)} claims about them; and the disputed questions"
        assert done.err.splitlines()[0] == said
        asked_before = len(server.asked)
        assert run_residency(*asked).code == 0
        assert len(server.asked) == asked_before + sum(line.question == "q5" for line in lines)  # only proposals anew
    found = json.loads((run / "verified" / "verified.json").read_text())
    counts = {seen: sum(one.seen == seen for one in claims) for seen in ("yes", "no", None)}
    assert (found["disputed"], found["failed"], found["unsure"]) == (counts["no"], counts[None], 0)
    assert found["agreement"]["value"] == pytest.approx(counts["yes"] / (counts["yes"] + counts["no"]))
    assert found["agreement"]["n"] == counts["yes"] + counts["no"] < found["claims"]
    assert found["calibration"]["share_right"] == pytest.approx(found["agreement"]["value"])
    right = [one.reference == "entailed" for one in claims if one.seen == "yes" and one.reference != "neutral"]
    assert found["confirmed_right"] == [sum(right), len(right)]
    with (run / "verified" / "disagreements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == counts["no"]
    assert {row["question"] for row in rows} == {"q5"}
    told = [float(row["confidence"]) for row in rows]
    assert told == sorted(told, reverse=True)
    proposed = read_lines(run / "verified" / "proposed.jsonl", Prediction)
    assert {one.parsed for one in proposed} == {"25-30 weeks"}
    assert {one.id for one in proposed} == {line.id for line in lines if line.question == "q5"}
    assert sha256_file(own) == before


def test_a_model_of_ours_verifies_in_this_process(run: Path, tmp_path: Path) -> None:
    build_tiny_nano(tmp_path / "model")
    done = run_residency("verify", run, "--with", tmp_path / "model", "--out", tmp_path / "v", "--json")
    assert done.code == 0, done.err
    assert "to this process: " in done.err
    found = json.loads(done.out)
    lines = read_lines(tmp_path / "v" / "verified.jsonl", Verified)
    assert found["failed"] == found["unsure"] == 0
    assert ("says the same of every claim" in done.err) is (found["disputed"] in (0, found["claims"]))
    assert all(0.5 <= (one.sure or 0) <= 1 for line in lines for one in line.claims)
    other = run_residency("verify", run, "--with", "nano", "--out", tmp_path / "v")
    assert (other.code, "another verification" in other.err) == (2, True)
    elsewhere = run_residency("verify", run, "--with", "http://8.8.8.8/v1", "--out", tmp_path / "w")
    assert (elsewhere.code, "--remote" in elsewhere.err) == (2, True)
