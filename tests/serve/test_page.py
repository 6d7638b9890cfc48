"""The installed server's page in a real browser: from dropped pictures to a corrected sheet that ingest takes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from residency.data.dataset import load_dataset
from residency.files import write_text
from residency.questionnaire import dump_questionnaire
from residency.types import Question
from tests.made_run import make_dataset
from tests.run_command import run_residency
from tests.serve.browser import LACKING, Browser, browsing
from tests.serve.server import Server, draw_study, serving

CONTROL, ENTER = "\ue009", "\ue007"
EDITED = "low image quality (shadowing)"
PLACES = (
    Question(id="q9", type="text", wording="<OD>", headings=("Places",)),
    Question(id="q10", type="text", wording="Outline: the fetal abdomen."),
    Question(id="q11", type="number", unit="mm", wording="Locate fetal abdomen in the image.", headings=("Girth",)),
)
"""What nano has learned to answer by boxes and by an outline; a box is no number, so of the last it cannot be sure."""
SMALL = """
const fields = "input:not([type=checkbox], [type=radio], [type=file])";
const rows = `button, select, summary, nav a, .check, .drop, #stars label, ${fields}`;
return [...document.querySelectorAll(rows)]
  .filter((one) => one.checkVisibility())
  .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect()])
  .filter(([_, box]) => Math.min(box.height, box.width) < 43.5)
  .map(([html, box]) => `${html} ${box.width} x ${box.height}`)
"""
"""What can be touched and is smaller than 44 px either way."""


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """nano with a small annotated dataset; one picture may wait, so that a second is sent away once (429)."""
    folder = tmp_path_factory.mktemp("clinic")
    dataset = make_dataset(folder / "dataset", np.random.default_rng(0), groups=15, folds=1)
    assert dataset.questionnaire
    asked = dataset.questionnaire.model_copy(update={"questions": (*dataset.questionnaire.questions, *PLACES)})
    write_text(folder / "dataset" / "questionnaire.yaml", dump_questionnaire(asked))
    with serving(folder, "--data", folder / "dataset", "--places", 1, "--most-mb", 1, "--threads", 1) as running:
        yield running


needs_browser = pytest.mark.skipif(bool(LACKING), reason=f"not here: {', '.join(LACKING)} (apt-get, pip install)")


@pytest.fixture(scope="module")
def page(clinic: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(clinic.address, tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


def say_verdicts(page: Browser) -> dict[str, str]:
    """Return what is marked on each card."""
    return {card.get_attribute("data-question"): card.get_attribute("data-verdict") for card in page.all(".card")}


def correct(page: Browser) -> None:
    """Answer by answer, by keys: q6 is edited, q1 rejected, the others accepted; 4 stars; saved."""
    for _ in range(5):
        page.press("j")
    assert page.one(".card[aria-current]").get_attribute("data-question") == "q6"
    page.press("e")
    page.one(".edit input[value='low image quality']").click()
    page.one(".edit input[value='shadowing']").click()
    page.press(ENTER)
    page.wait(lambda: EDITED in page.text(".card[aria-current] .draft"))
    for key in "jajajajaj":
        page.press(key)
    assert "Not sure no answer in the questionnaire's words" in page.text(".card[aria-current] .said")
    page.press("a")
    assert page.one(".card[aria-current]").get_attribute("data-verdict") == ""
    page.press("e", "31.5", ENTER)
    page.wait(lambda: "31.5 mm" in page.text(".card[aria-current] .draft"))
    for key in "kkkkkkkkkkrjajajaja4":
        page.press(key)
    marked = {"q1": "reject", "q6": "edit", "q11": "edit"}
    assert say_verdicts(page) == {f"q{n}": "accept" for n in range(1, 12)} | marked
    page.press(CONTROL, ENTER)
    page.wait(lambda: "Saved: 11 answers, rating 4" in page.text("#saved"))
    assert len(page.all(".kept")) == 11


def accept_next(page: Browser, name: str) -> None:
    page.press("n")
    page.wait(lambda: name in page.text("#queue button[aria-current]"))
    page.one("#rest").click()
    page.one("#save").click()
    page.wait(lambda: "Saved: 10 answers" in page.text("#saved"))


@needs_browser
def test_from_upload_to_the_corrected_sheet(page: Browser, clinic: Server, tmp_path: Path) -> None:
    page.rest(1440, 900)
    page.open()
    page.choose_files(*(draw_study(tmp_path / f"study-{number}.png", number) for number in (2, 0, 1)))
    page.wait(lambda: len(page.all("#queue li.ready")) == 3)
    assert len(page.all(".card")) == 11
    assert "study-2.png" in page.text("#queue button[aria-current]")
    assert "Research software. Not for diagnosis." in page.text(".notice")
    page.one("#author").send_keys("Dr. Li\t")
    correct(page)
    accept_next(page, "study-0.png")
    accept_next(page, "study-1.png")

    page.open("/#reviews")
    page.wait(lambda: "3 of 3" in page.text("#charts"))
    assert len(page.all("#charts svg")) >= 9
    page.one("#sheetfile").click()
    sheet = page.downloads / "answers.xlsx"
    page.wait(sheet.is_file)
    done = run_residency(
        "ingest", "--sheet", sheet, "--images", clinic.store / "images", "--questionnaire",
        clinic.store / "questionnaire.yaml", "--group-by", "column:Patient", "--out", tmp_path / "corrected",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    require_same(clinic, tmp_path / "corrected")
    assert [one for one in page.complaints() if "429" not in one] == []
    assert page.hosts() == {clinic.address.partition("://")[2]}


def corrected_case(clinic: Server) -> str:
    """Return the case of which q6 was edited; which of two pictures sent at once is first, nobody knows."""
    reviews = clinic.client.get("/v1/reviews").json()["reviews"]
    return next(str(one["case"]) for one in reviews if one["question"] == "q6" and one["verdict"] == "edit")


def require_same(clinic: Server, corrected: Path) -> None:
    """Hold what ingest read against what the model said and the reviewer changed."""
    cases = clinic.client.get("/v1/cases").json()["cases"]
    whole = [clinic.client.get(f"/v1/cases/{case['case']}").json()["case"] for case in cases]
    meant = {(case["image_sha256"], told["question"]): told["answer"] for case in whole for told in case["answers"]}
    meant = {key: answer for key, answer in meant.items() if answer is not None}
    first = next(case["image_sha256"] for case in whole if case["case"] == corrected_case(clinic))
    del meant[first, "q1"]
    meant |= {(first, "q6"): "low image quality", (first, "q11"): {"value": 31.5, "unit": "mm"}}
    samples = [sample for sample in load_dataset(corrected).samples if sample.suffix]
    got = {(Path(one.image).stem, one.question): one.model_dump(mode="json")["answer"] for one in samples}
    assert got == meant
    assert {one.annotator for one in samples} == {"Dr. Li"}
    assert EDITED in {one.suffix for one in samples}


@needs_browser
def test_why_and_similar_cases_of_an_answer_kept_before(page: Browser, clinic: Server) -> None:
    page.rest(1440, 900)
    page.open("/#cases")
    page.wait(lambda: len(page.all("#past img[src^=blob]")) == 3)
    page.one(f"#past a[href='#case={corrected_case(clinic)}']").click()
    page.wait(lambda: len(page.all(".card .kept")) == 11)
    page.press("j")
    page.press("h")
    page.wait(lambda: page.all("#why .quiet"))
    said = page.text("#why")
    assert "the answer's likelihood" in said and said.count("%") >= 3
    assert page.run("return !document.getElementById('heat').hidden")
    page.press("s")
    page.wait(lambda: len(page.all("#similar .trio > li")) == 3)
    assert "Fetal Orientation" in page.text("#similar h2")
    assert "answer" in page.text("#similar .tag")
    page.press("h")
    assert page.run("return document.getElementById('heat').hidden && document.getElementById('why').hidden")
    page.press("0")
    before = page.run("return document.getElementById('sheet').style.transform")
    page.press("+")
    assert page.run("return document.getElementById('sheet').style.transform") != before
    page.press("0")
    assert page.run("return document.getElementById('sheet').style.transform") == before
    assert page.complaints() == []
    assert page.hosts() == {clinic.address.partition("://")[2]}


@needs_browser
def test_boxes_and_outlines_are_drawn_in_place_with_their_size(page: Browser, tmp_path: Path) -> None:
    page.rest(1440, 900)
    page.open()
    page.wait(lambda: page.one("#file").is_enabled())
    page.one(".about summary").click()
    page.one("#spacing").send_keys("0.4")
    page.choose_files(draw_study(tmp_path / "abdomen.png", 2))
    page.wait(lambda: page.all("#queue li.ready"))
    page.wait(lambda: page.all("#places rect") and page.all("#places polygon"))
    for _ in range(8):
        page.press("j")
    assert page.text(".card[aria-current] h2") == "Places"
    box, label = page.one("#places rect.strong"), page.text("#places rect.strong + text")
    assert label.endswith(f"× {float(box.get_attribute('height')) * 0.4:.3g} mm")
    inside = page.run(
        "const [one, all] = ['#places rect.strong', '#sheet'].map((css) => document.querySelector(css));"
        "const [mark, sheet] = [one.getBoundingClientRect(), all.getBoundingClientRect()];"
        "return mark.width > 5 && mark.left > sheet.left - 4 && mark.top > sheet.top - 4"
    )
    assert inside
    page.press("b")
    assert not page.all("#places rect")
    assert page.one("#boxes").get_attribute("aria-pressed") == "false"
    assert page.complaints() == []


@needs_browser
def test_a_dicom_file_is_shown_without_what_names_a_person(page: Browser, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'residency[dicom,ocr]'")
    pytest.importorskip("rapidocr", reason="pip install 'residency[dicom,ocr]'")
    from tests.dicom.files import PLANTED, made_header, speckle, with_pixels, with_regions, write_dicom

    header = with_regions(with_pixels(made_header(), speckle(1, side=128)))
    page.open()
    page.choose_files(write_dicom(tmp_path / "scan", header))
    page.wait(lambda: page.all("#queue li.ready"))
    page.wait(lambda: "DICOM, de-identified" in page.text("#facts"))
    assert "128 × 128 pixels · 0.2 × 0.3 mm" in page.text("#facts")
    assert page.wait(lambda: page.run("return document.getElementById('shown').naturalWidth")) == 128
    told = page.run("return document.documentElement.outerHTML")
    assert [name for name in PLANTED if name in told] == []
    assert page.complaints() == []


@needs_browser
def test_fingers_zoom_and_move_the_picture(page: Browser, tmp_path: Path) -> None:
    page.rest(768, 1024)
    page.open()
    page.choose_files(draw_study(tmp_path / "touched.png", 1))
    page.wait(lambda: page.all("#queue li.ready") and not page.one("#sheet").get_attribute("hidden"))
    x, y = page.run(
        "scrollTo(0, 0); const r = document.getElementById('stage').getBoundingClientRect(); return [r.x, r.y]"
    )
    where = "const r = document.getElementById('shown').getBoundingClientRect(); return [r.x, r.y, r.width]"
    before = page.run(where)
    page.touch([(x + 150, y + 150), (x + 200, y + 150)], [(x + 100, y + 150), (x + 250, y + 150)])
    wide = page.run(where)
    assert wide[2] == pytest.approx(3 * before[2], rel=0.02)
    page.touch([(x + 150, y + 150)], [(x + 190, y + 130)])
    assert page.run(where)[:2] == pytest.approx([wide[0] + 40, wide[1] - 20], abs=1)


@needs_browser
def test_what_goes_wrong_is_told_at_the_file_and_mended_where_it_can_be(page: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(1_200_000))
    page.open()
    page.wait(lambda: page.one("#file").is_enabled())
    page.drop("notes.txt", "no picture")
    page.choose_files(tmp_path / "large.png")
    page.wait(lambda: len(page.all("#queue li.failed")) == 2)
    assert "this is no PNG, JPEG, TIFF picture" in page.text("#queue li:first-child .state")
    assert "more than 1048576 bytes" in page.text("#queue li:last-child .state")
    page.driver.set_network_conditions(offline=True, latency=0, throughput=0)
    page.choose_files(draw_study(tmp_path / "late.png", 3))
    page.wait(lambda: "cannot be reached" in page.text("#queue li.later .state"))
    page.driver.delete_network_conditions()
    page.wait(lambda: page.all("#queue li.ready"))
    page.complaints()


@needs_browser
def test_chinese_on_a_tablet_and_large_type(page: Browser, tmp_path: Path) -> None:
    page.rest(768, 1024)
    page.open()
    page.choose_files(draw_study(tmp_path / "tablet.png", 4))
    page.wait(lambda: page.all("#queue li.ready"))
    page.one("#language").click()
    page.open()
    assert page.run("return document.documentElement.lang") == "zh-CN"
    assert page.text(".notice") == "研究软件。不得用于诊断。"
    page.choose_files(draw_study(tmp_path / "tablet.png", 4))
    page.wait(lambda: page.all("#queue li.ready"))
    assert "接受" in page.text(".acts") and "Fetal Orientation" in page.text("#answers")
    page.press("e")
    small = page.run(SMALL)
    assert small == [], small
    assert page.unnamed() == []
    for width, height in ((768, 1024), (640, 450)):  # a tablet; a 1280 x 900 screen at 200%
        page.rest(width, height)
        assert page.run("return document.documentElement.scrollWidth") <= width
        page.run("scrollTo(0, document.body.scrollHeight)")
        top, bottom = page.run(
            "const r = document.querySelector('.notice').getBoundingClientRect(); return [r.top, r.bottom]"
        )
        assert 0 <= top < bottom <= height
    page.rest(1440, 900)
    page.one("#language").click()
    assert page.complaints() == []


@needs_browser
def test_who_may_only_read_is_asked_for_a_token_and_cannot_review(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    told = run_residency("token", "Dr. Wu", "--role", "reader", "--tokens", tokens, "--json")
    token = json.loads(told.out)["token"]
    with (
        serving(tmp_path / "guarded", "--tokens", tokens, "--threads", 1) as server,
        browsing(server.address, tmp_path / "downloads") as page,
    ):
        page.open()
        page.wait(lambda: page.all("#asktoken[open]"))
        page.one("#token").send_keys("wrong", ENTER)
        page.wait(lambda: "does not know this token" in page.text("#tokensaid"))
        page.one("#token").send_keys(token, ENTER)
        page.choose_files(draw_study(tmp_path / "study.png", 5))
        page.wait(lambda: page.all("#queue li.ready"))
        assert page.all(".acts [data-act=why]") and not page.all(".acts [data-act=accept]")
        assert page.run("return document.getElementById('whole').hidden")
        page.wait(lambda: page.run("return document.getElementById('shown').naturalWidth") > 0)


def test_similar_cases_leave_the_own_group_out(clinic: Server) -> None:
    dataset = load_dataset(clinic.store.parent / "dataset")
    known = dataset.split("train")[0]
    picture = dataset.image_path(known)
    alone = clinic.interpret(picture)["case"]
    grouped = clinic.interpret(picture, group=known.group)["case"]
    near, without = (clinic.client.get(f"/v1/cases/{case}/similar?k=4").json()["cases"] for case in (alone, grouped))
    assert near[0]["likeness"] > 0.99 and near[0]["category"] == known.category
    assert {one["text"] for one in near[0]["answers"]} >= {known.suffix}
    assert near[0]["thumbnail"].startswith("data:image/jpeg;base64,")
    assert near[0] not in without and without[0]["likeness"] < near[0]["likeness"]
    assert len(without) == len(dataset.splits.folds[0].train) - 1 if dataset.splits else False
    assert clinic.client.get(f"/v1/cases/{'0' * 16}/similar").status_code == 404


def test_why_is_kept_beside_the_case_and_refused_where_it_cannot_be_told(clinic: Server, tmp_path: Path) -> None:
    case = clinic.interpret(draw_study(tmp_path / "study.png", 2))["case"]
    path = f"/v1/cases/{case}/why"
    first = clinic.client.post(path, json={"questions": ["q2", "q2"]})
    assert first.status_code == 200, first.text
    why = first.json()["answers"][0]
    assert np.array(why["heat"]).shape == (7, 7) and max(map(max, why["heat"])) == 1
    assert 0 <= why["without_marked"] < why["likelihood"] <= 1
    kept = clinic.store / "why" / f"{case}.json"
    assert json.loads(kept.read_text()) == first.json()
    before = kept.stat().st_mtime_ns
    assert clinic.client.post(path, json={"questions": ["q2"]}).json() == first.json()
    assert kept.stat().st_mtime_ns == before
    assert "1 of the questions" in clinic.client.post(path, json={"questions": ["q77"]}).json()["error"]["reason"]
    assert clinic.client.post(path, json={"questions": []}).status_code == 422
    assert clinic.client.post(f"/v1/cases/{'0' * 16}/why", json={"questions": ["q2"]}).status_code == 404
