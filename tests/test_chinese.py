"""Answer sheets in Chinese (tongues, herbal drugs) through the installed commands: ingest, train, evaluate, report."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residency.data.dataset import load_dataset
from tests.chinese import draw_herbs, draw_tongues
from tests.contract.tiny import build_tiny_nano
from tests.documents import ROOT
from tests.run_command import run_residency

RECIPE = ROOT / "recipes" / "chinese-nano.yaml"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def ingest(kind: str, sheet: Path, group: str, out: Path, *more: str) -> tuple[int, str]:
    questions = ROOT / "recipes" / f"{kind}.questionnaire.yaml"
    done = run_residency("ingest", "--sheet", sheet, "--images", sheet.parent / "images", "--questionnaire", questions,
                         "--group-by", f"column:{group}", "--out", out, "--json", *more)  # fmt: skip
    return done.code, done.out if done.code == 0 else done.err


def test_a_sheet_of_tongues_is_read_in_its_own_language(tmp_path: Path) -> None:
    bad = [
        ("舌000.png", "患者00", "李医师", "蓝舌", "无齿痕", "白苔", "薄", "润"),
        ("失.png", "患者99", "李医师", "红"),
    ]
    sheet = draw_tongues(tmp_path / "tongues", patients=14, bad=bad)
    code, told = ingest("tongue", sheet, "患者", tmp_path / "out")
    assert code == 1 and "3 problem(s)" in told
    for message in ("D30: `蓝舌` maps to no answer", "E30: `无齿痕`", "A31: no image `失.png`"):
        assert message in told
    code, told = ingest("tongue", sheet, "患者", tmp_path / "out", "--skip-bad")
    assert code == 0 and json.loads(told)["skipped_rows"] == 2
    dataset = load_dataset(tmp_path / "out")
    answers = {(s.image.rpartition("/")[2], s.question): s.answer for s in dataset.samples}
    assert {answers[f"舌{n:03d}.png", "colour"] for n in (0, 4, 8)} == {"淡红舌"}
    assert {answer for (_, question), answer in answers.items() if question == "shape"} == {
        ("胖大舌", "齿痕舌"),
        ("瘦薄舌",),
    }
    assert dataset.samples[0].group == "患者00" and dataset.samples[0].annotator == "王医师"
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "舌色" in page and "蓝舌" in page


def test_a_sheet_of_herbal_drugs_is_read_in_its_own_language(tmp_path: Path) -> None:
    code, told = ingest("herbs", draw_herbs(tmp_path / "herbs", 18), "批号", tmp_path / "out")
    assert code == 0, told
    found = {(s.question, s.suffix) for s in load_dataset(tmp_path / "out").samples}
    assert {
        ("name", "枸杞子"),
        ("part", "果实"),
        ("defects", "霉变, 碎屑"),
        ("defects", "无瑕疵"),
        ("quality", "优"),
    } <= found


@pytest.mark.parametrize("kind", ["tongue", "herbs"])
def test_chinese_answers_are_trained_examined_and_reported(kind: str, tmp_path: Path) -> None:
    sheet = draw_tongues(tmp_path / "s", 12, 1) if kind == "tongue" else draw_herbs(tmp_path / "s", 12)
    code, told = ingest(kind, sheet, "患者" if kind == "tongue" else "批号", tmp_path / "data")
    assert code == 0, told
    build_tiny_nano(tmp_path / "model")
    asked = (f"data={tmp_path / 'data'}", f"model={tmp_path / 'model'}", f"out={tmp_path / 'runs'}", "train.epochs=1",
             "evaluate.draws=100")  # fmt: skip
    done = run_residency("train", RECIPE, *asked)
    assert done.code == 0, done.err
    run = tmp_path / "runs" / "chinese-nano"
    lines = [json.loads(line) for line in (run / "predictions" / "test.own.jsonl").read_text().splitlines()]
    first = load_dataset(tmp_path / "data").questionnaire.questions[0]  # type: ignore[union-attr]
    assert next(set(line["candidates"]) for line in lines if f":{first.id}" in line["id"]) == set(first.names)
    assert run_residency("evaluate", run).code == 0
    done = run_residency("report", run)
    assert done.code == 0 and "Glyph" not in done.err, done.err
    page = (run / "report.html").read_text(encoding="utf-8")
    assert first.wording.partition("：")[0] in page and any(name in page for name in first.names)
    if CHROMIUM:
        assert _inks(run / "report.html", tmp_path) > 3


def _inks(page: Path, folder: Path) -> int:
    """Return how many different shapes a browser draws for five Chinese characters in the report's own font list."""
    css = page.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    text = "".join(
        f"<p style='position:absolute;margin:0;top:{40 * n}px;left:0'>{c}</p>" for n, c in enumerate("舌苔药质润")
    )
    (folder / "probe.html").write_text(f"<meta charset=utf-8><style>{css}</style><body>{text}", encoding="utf-8")
    picture = folder / "probe.png"
    subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=300,300", "--hide-scrollbars",
         f"--screenshot={picture}", (folder / "probe.html").as_uri()], check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    with Image.open(picture) as drawn:
        rows = np.asarray(drawn.convert("L"))[:200, :40] < 128
    return len({rows[40 * n : 40 * n + 40].tobytes() for n in range(5)})
