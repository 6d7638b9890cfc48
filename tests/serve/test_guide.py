"""The commands of docs/serve.md in their order, typed as they stand there: from the first start to the next round."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from residency.data.dataset import load_dataset
from tests.documents import ROOT, commands_of
from tests.run_command import run_residency
from tests.serve.server import running


def make_certificate(folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made for the test")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ward"]
    command += ["-keyout", str(folder / "ward.key"), "-out", str(folder / "ward.pem")]
    subprocess.run(command, check=True, capture_output=True)


def do(command: list[str]) -> str:
    done = run_residency(*command[1:])
    assert done.code == 0, done.err
    return done.out


def test_the_guide_s_commands_do_what_it_says(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_certificate(tmp_path)
    plain, token, others, show, sheet, studio, queue, folder_queue = commands_of(ROOT / "docs" / "serve.md")[:8]
    with running(tmp_path, plain[1:], tmp_path / "clinic") as server:
        for number, picture in enumerate(pictures[:5]):
            case = server.interpret(picture, group=f"patient {number}")
            if number < 4:
                answers = [{"question": "q6", "verdict": "edit", "text": "medium image quality"}]
                assert server.review(case["case"], author="Dr. Li", rating=4, answers=answers).status_code == 201
    given = do([*token, "--json"])
    with running(tmp_path, others[1:], tmp_path / "clinic") as server:
        assert server.address.startswith("https://")
        assert server.client.get("/v1/cases").status_code == 401
        server.client.headers["Authorization"] = f"Bearer {json.loads(given)['token']}"
        assert len(server.client.get("/v1/cases").json()["cases"]) == 5
    told = do(sheet)
    assert "answers: 4" in told
    do(told.split("next: ")[1].split())
    for command, said in (
        (show, "4 of 5 cases reviewed by 1 reviewer(s)"), (studio, "tasks.json"), (queue, "images: 1"),
        (folder_queue, "images: 5"),
    ):  # fmt: skip
        assert said in do(command)
    suffixes = {sample.suffix for sample in load_dataset(tmp_path / "corrected").samples}
    assert suffixes == {"medium image quality", None}
    assert len(list(csv.DictReader((tmp_path / "queue.csv").open()))) == 1
    assert (tmp_path / "next.xlsx").is_file() and (tmp_path / "tasks.json").is_file()
