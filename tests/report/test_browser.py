"""The pages as a browser shows them: headless Chromium draws them, and nothing is asked of another host."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residency.evaluate.examine import evaluate_run
from residency.report.page import write_report
from tests.made_run import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1200,2400",
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
def test_the_report_is_drawn_and_needs_no_other_host(tmp_path: Path) -> None:
    run = make_run(tmp_path / "made")
    evaluate_run(run)
    page = write_report(run)
    assert "http://" not in page.read_text(encoding="utf-8").replace("http://www.w3.org", "")
    shot, profile = tmp_path / "page.png", tmp_path / "profile"
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    grey = np.asarray(Image.open(shot).convert("L"))
    assert grey[:20].mean() < 80  # the dark bar that says what the page is not for
    assert 200 < grey.mean() < 254  # text on white, not a blank page
    assert (grey[200:] < 100).any(axis=1).mean() > 0.2  # words down the page
