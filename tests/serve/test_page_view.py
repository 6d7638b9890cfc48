"""The page in a real browser: a picture zoomed and toned, drafts saved, what is not sure, and the drift of answers."""

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from residency.serve.store import open_store
from tests.discs import build_bench
from tests.run_command import call_residency
from tests.serve.browser import LACKING, Browser, browsing
from tests.serve.server import Server, running

pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not here: {', '.join(LACKING)} (apt-get, pip install)")
PICTURE = "const r = document.getElementById('shown').getBoundingClientRect(); return [r.x, r.y, r.width]"
WIDE = (1440, 900)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A tiny run on discs; of the side it is sure from 0.9999 on, of the size whatever its confidence."""
    folder = build_bench(tmp_path_factory.mktemp("ward"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"out": str(folder / "runs")}
    recipe["train"] |= {"epochs": 2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run = folder / "runs" / "discs"
    assert call_residency("train", folder / "recipe.yaml") == 0
    assert call_residency("predict", run, "--split", "val", "--as", "own") == 0
    for question, threshold in (("side", 0.9999), ("size", 0.0)):
        assert call_residency("abstain", run, "--risk", "0.5", "--question", question) == 0
        promised = run / "scores" / f"abstention.{question}.json"
        told = json.loads(promised.read_text())
        promised.write_text(json.dumps(told | {"threshold": threshold, "reason": "promised"}))
    with running(folder, ["serve", "--model", str(run), "--threads", "1"], run / "reviews") as server:
        yield server


@pytest.fixture(scope="module")
def page(ward: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(ward.address, tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


def read_disc(page: Browser, ward: Server, number: int = 0) -> None:
    page.rest(*WIDE)
    page.open()
    page.choose_files(ward.store.parents[2] / "images" / f"{number}.png")
    page.wait(lambda: page.all("#queue li.ready") and page.run("return document.getElementById('shown').naturalWidth"))
    page.wait(lambda: "pixels" in page.text("#facts"))


def turn_wheel(page: Browser, x: float, y: float, by: float) -> None:
    turned: dict[str, Any] = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": by}
    page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", turned)


def test_the_wheel_zooms_about_where_the_pointer_is(page: Browser, ward: Server) -> None:
    read_disc(page, ward)
    before = page.run(PICTURE)
    x, y = round(before[0] + before[2] / 4), round(before[1] + before[2] / 3)
    share = (x - before[0]) / before[2], (y - before[1]) / before[2]
    turn_wheel(page, x, y, -400)
    page.wait(lambda: page.run(PICTURE)[2] > before[2])
    near = page.run(PICTURE)
    assert near[2] == pytest.approx(before[2] * np.e, rel=0.01)
    assert [x - near[0], y - near[1]] == pytest.approx([near[2] * part for part in share], abs=1)
    turn_wheel(page, x, y, 400)
    page.wait(lambda: page.run(PICTURE)[2] < near[2])
    assert page.run(PICTURE) == pytest.approx(before, abs=1)
    assert page.run("return scrollY") == 0


def grey_levels(page: Browser) -> tuple[float, float]:
    """Return the mean and the spread of what is on the stage, 0 to 255."""
    with Image.open(io.BytesIO(page.one("#shown").screenshot_as_png)) as picture:
        pixels = np.asarray(picture.convert("L"), dtype=np.float64)
    return float(pixels.mean()), float(pixels.std())


def drag(page: Browser, slider: str, share: float) -> None:
    """Press on a slider where this share of it lies to the left."""
    x, y, wide, high = page.run(
        "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.x, r.y, r.width, r.height]",
        slider,
    )
    at = {"x": x + share * wide, "y": y + high / 2, "button": "left", "buttons": 1, "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **at})


def test_sliders_change_brightness_and_contrast_and_reset_takes_it_back(page: Browser, ward: Server) -> None:
    read_disc(page, ward)
    mean, spread = grey_levels(page)
    drag(page, "#contrast", 0.05)
    flat = grey_levels(page)
    assert flat[1] < 0.7 * spread
    page.one("#plain").click()
    assert grey_levels(page) == pytest.approx((mean, spread))
    drag(page, "#brightness", 0.6)
    assert grey_levels(page)[0] > 1.2 * mean
    page.one("#plain").click()
    assert grey_levels(page) == pytest.approx((mean, spread))
    assert [page.one(f"#{name}").get_attribute("value") for name in ("brightness", "contrast")] == ["100", "100"]
    assert page.complaints() == []


def test_an_answer_below_its_threshold_is_shown_as_not_sure(page: Browser, ward: Server) -> None:
    read_disc(page, ward, 1)
    case = ward.client.get("/v1/cases").json()["cases"][0]["case"]
    side, size = ward.client.get(f"/v1/cases/{case}").json()["case"]["answers"]
    assert (side["sure"], side["threshold"], size["sure"]) == (False, 0.9999, True)
    unsure, sure = (page.text(f".card[data-question={question}]") for question in ("side", "size"))
    assert f"Not sure {side['text']}" in unsure and "sure from >99%" in unsure
    assert "Not sure" not in sure and size["text"] in sure
    weights = [
        page.run(
            "return getComputedStyle(document.querySelector(arguments[0])).fontWeight", f"[data-question={q}] .said"
        )
        for q in ("side", "size")
    ]
    assert weights == ["400", "600"]
    page.one("#language").click()
    assert "不确定" in page.text(".card[data-question=side]") and "99% 起为确定" in page.text(
        ".card[data-question=side]"
    )
    page.one("#language").click()


def test_drafts_are_saved_as_reviewed_and_say_what_is_not_in_them(page: Browser, ward: Server) -> None:
    read_disc(page, ward, 2)
    case = ward.client.get("/v1/cases").json()["cases"][0]["case"]
    page.one("#author").clear()
    page.one("#author").send_keys("Dr. Li\t")
    page.one(".card[data-question=size] [data-act=accept]").click()
    page.one("#drafts summary").click()
    page.one("#fhir").click()
    page.wait(lambda: "What is not saved yet is not in it." in page.text("#drafted"))
    page.wait((page.downloads / f"{case}.fhir.json").is_file)
    bare = json.loads((page.downloads / f"{case}.fhir.json").read_text())["entry"][0]["resource"]
    assert bare["status"] == "preliminary" and "not reviewed" in bare["conclusion"]
    (page.downloads / f"{case}.fhir.json").unlink()
    page.one("#save").click()
    page.wait(lambda: "Saved: 1 answers" in page.text("#saved"))
    page.one("#fhir").click()
    page.wait(lambda: page.text("#drafted") == f"Downloaded: {case}.fhir.json")
    page.wait((page.downloads / f"{case}.fhir.json").is_file)
    told = json.loads((page.downloads / f"{case}.fhir.json").read_text())["entry"]
    assert "1 of 2 answers reviewed by Dr. Li" in told[0]["resource"]["conclusion"]
    notes = [one["resource"]["note"][0]["text"] for one in told if one["resource"]["resourceType"] == "Observation"]
    assert any("The model is not sure." in note for note in notes)
    page.one("#sr").click()
    page.wait((page.downloads / f"{case}.sr.zip").is_file)
    names = zipfile.ZipFile(page.downloads / f"{case}.sr.zip").namelist()
    assert sorted(Path(name).suffixes for name in names) == [[".dcm"], [".sr", ".dcm"]]
    page.one("#language").click()
    assert (
        page.text("#drafts summary") == "报告草稿"
        and page.one("#sr").get_attribute("aria-label") == "报告草稿：DICOM SR"
    )
    page.one("#language").click()
    every = [{"question": question, "verdict": "reject"} for question in ("side", "size")]
    assert ward.review(case, author="Dr. Li", answers=every).status_code == 201
    page.one("#fhir").click()
    page.wait(lambda: "No draft: every answer of this case was rejected" in page.text("#drafted"))
    assert all("422" in line for line in page.complaints())


def keep_earlier(folder: Path, count: int) -> None:
    """Keep cases of three weeks before in the running server's store, all of them told `left side`."""
    store = open_store(folder)
    known = store.find_case(store.list_cases()[0].case)
    assert known
    for number in range(count):
        answers = [
            told.model_copy(update={"answer": "left side"}) if told.question == "side" else told
            for told in known.answers
        ]
        change = {"case": f"{number:016x}", "created": known.created - timedelta(weeks=3), "answers": tuple(answers)}
        store.keep_case(known.model_copy(update=change), f"p{number}")


def test_the_drift_of_answers_is_drawn_week_by_week(page: Browser, ward: Server) -> None:
    for number in range(4):
        ward.interpret(ward.store.parents[2] / "images" / f"{number}.png")
    keep_earlier(ward.store, 6)
    page.rest(*WIDE)
    page.open("/#reviews")
    page.wait(lambda: page.all("#charts .week"))
    for told in ward.client.get("/v1/reviews/summary").json()["questions"]:
        drift = told["drift"]
        assert len(drift["weeks"]) == 2 and min(drift["cases"].values()) == 6
        said = f"last week against before: distance {drift['distance']:.2f}, p = {drift['p']:g}"
        lines = [one for one in page.all("#charts .line") if said in one.text]
        (line,) = [one for one in lines if one.find_element("css selector", "h3").text == told["heading"]]
        rows = line.find_elements("css selector", ".week")
        assert [row.text for row in rows] == [f"{week} ({count})" for week, count in drift["cases"].items()]
        for row, shares in zip(rows, drift["weeks"].values(), strict=True):
            chart = row.find_element("css selector", "svg")
            parts = dict(part.rsplit(": ", 1) for part in chart.get_attribute("aria-label").split(", "))
            assert parts == {name: f"{100 * share:.0f}%" for name, share in shares.items()}
            drawn = [float(bar.get_attribute("width")) for bar in chart.find_elements("css selector", "rect")]
            assert sum(drawn) == pytest.approx(320, abs=0.1)
            assert sorted(drawn) == pytest.approx(sorted(320 * share for share in shares.values()))
        keys = [one.text for one in line.find_elements("css selector", ".legend li")]
        assert set(keys) == {name for shares in drift["weeks"].values() for name in shares}
    both = [{"question": question, "verdict": "accept"} for question in ("side", "size")]
    case = ward.client.get("/v1/cases").json()["cases"][0]["case"]
    for author in ("Dr. Li", "Dr. Wu"):
        assert ward.review(case, author=author, rating=4, answers=both).status_code == 201
    page.one("#language").click()
    page.wait(lambda: "kappa 无法定义" in page.text("#charts"))
    assert "患者太少" in page.text("#charts") and "上周与此前相比" in page.text("#charts")
    assert [words for words in ("kappa is not", "too few", "alike") if words in page.text("#charts")] == []
    page.one("#language").click()
    page.wait(lambda: "kappa is not defined" in page.text("#charts"))
    assert page.complaints() == []
