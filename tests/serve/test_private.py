"""Privacy by construction: the whole flow without a route, on a disk that can be written in the given folder alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.documents import ROOT
from tests.serve.offline_flow import PLANTED

SEALED = "mount --bind {w} {w} && mount -o remount,bind,ro / && ip link set lo up && exec {python} -m {module} {w}"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder that the flow was given, and what it saw."""
    folder = tmp_path_factory.mktemp("flow")
    if subprocess.run(["unshare", "-rnm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not permitted here (unshare -rnm)")
    for name in ("home", "temporary"):
        (folder / name).mkdir()
    places = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    inside = SEALED.format(w=folder, python=sys.executable, module="tests.serve.offline_flow")
    command = ["unshare", "-rnm", "sh", "-c", inside]
    environment = {**os.environ, **places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return folder, seen


def test_it_works_without_a_route_and_writes_nowhere_else(flow: tuple[Path, dict[str, Any]]) -> None:
    folder, seen = flow
    assert seen["route"] is False
    assert seen["export"] == 0 and len(seen["cases"]) == 2
    assert {path.name for path in (folder / "store").iterdir()} >= {"images", "reviews.sqlite", "salt"}
    assert not [path for path in (folder / "temporary").rglob("*") if path.is_file()]


def test_nothing_of_a_planted_identifier_is_kept_or_logged(flow: tuple[Path, dict[str, Any]]) -> None:
    folder, seen = flow
    words = [word.encode() for word in (PLANTED, "Quimby", "Zelda", "19700101")]
    given = {f"{PLANTED}.png", f"{PLANTED}.dcm"}
    for path in folder.rglob("*"):
        if not path.is_file() or path.name in given:
            continue
        data = path.read_bytes()
        if path.suffix == ".xlsx":
            with ZipFile(path) as book:
                data = b"".join(book.read(name) for name in book.namelist())
        assert not [word for word in words if word in data], path
        assert not [word for word in words if word in path.name.encode()]
    assert PLANTED not in json.dumps(seen["cases"])
    assert "Quimby" not in json.dumps(seen["cases"])
    dicom = seen["cases"][1]["origin"]
    assert dicom["kind"] == "dicom"
    assert {"PatientName", "PatientID", "StudyDescription"} <= {one["what"] for one in dicom["removed"]}


def test_another_address_asks_for_a_token(flow: tuple[Path, dict[str, Any]]) -> None:
    _, seen = flow
    closed = dict.fromkeys(("nothing", "wrong", "basic", "metrics", "upload"), 401)
    assert seen["doors"] == closed | {"page": 200, "health": 200, "right": 200, "host": 400}
    assert seen["refused"] == 415
    assert seen["authors"] is True
