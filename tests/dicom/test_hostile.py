"""The hostile corpus through the command: every file refused with a reason, none crashes it, memory stays bounded."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="DICOM is read with residency[dicom]")
from pydicom.data import get_testdata_file

from residency.dicom.apart import Apart
from residency.dicom.header import LIMITS, Refused
from residency.dicom.veil import Veil
from residency.errors import MissingExtra
from tests.dicom.files import PLANTED, file_bytes, made_header, speckle, with_pixels, write_dicom
from tests.dicom.hostile import make_hostile
from tests.run_command import run_residency

MEMORY = 1_800
"""MiB that the command and the process that decodes may take together at their peak: the bomb inflates to 512 first."""
_PEAK = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
sys.stdout.write(done.stdout); sys.stderr.write(done.stderr)
sys.stderr.write(f"peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB")
sys.exit(done.returncode)
"""


def test_every_hostile_file_is_refused_and_the_good_one_is_read(tmp_path: Path) -> None:
    paths = make_hostile(tmp_path / "files", seed=0)
    assert len(paths) >= 100
    write_dicom(tmp_path / "files" / "good.dcm", with_pixels(made_header(), speckle(5)))
    os.mkfifo(tmp_path / "files" / "pipe.dcm")
    (tmp_path / "files" / "link.dcm").symlink_to("/etc/hostname")
    (tmp_path / "files" / "folder.dcm").mkdir()
    command = [sys.executable, "-m", "residency", "deidentify", str(tmp_path / "files"), "--out", str(tmp_path / "out")]
    code = [sys.executable, "-c", _PEAK, *command, "--burned", "keep", "--json"]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pictures"] == 1
    refused = {line.partition(": ")[0]: line for line in told["refused"]}
    assert {*refused} == {path.name for path in paths}
    assert all(re.search(r"\[[a-z-]+\]$", line) for line in refused.values())
    assert "[bomb]" in refused["deflated-bomb-700-mb.dcm"]
    assert not [line for line in refused.values() if "[crashed]" in line or "[too-slow]" in line]
    assert "Traceback" not in done.stderr
    assert not [word for word in PLANTED if word in done.stdout + done.stderr]
    peak = re.search(r"peak (\d+) MiB", done.stderr)
    assert peak and int(peak[1]) < MEMORY


def test_a_file_that_kills_its_decoder_costs_itself_alone(tmp_path: Path) -> None:
    """One changed byte in pydicom's own JPEG-lossless file makes GDCM 3.2.6 end its process (found by fuzzing)."""
    data = bytearray(Path(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False)).read_bytes())
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "whole.dcm").write_bytes(data)
    data[1358] = 157
    (tmp_path / "files" / "deadly.dcm").write_bytes(data)
    done = run_residency("deidentify", tmp_path / "files", "--out", tmp_path / "out", "--burned", "keep")
    assert done.code == 0, done.err
    assert "pictures: 1" in done.out and re.search(r"deadly\.dcm: .* \[(crashed|damaged)\]", done.out)


def test_a_folder_of_nothing_usable_is_an_error_that_names_each_file(tmp_path: Path) -> None:
    paths = make_hostile(tmp_path / "files", seed=1)
    for path in paths[3:]:
        path.unlink()
    for verb in (
        ["deidentify", tmp_path / "files"],
        ["ingest", "--images", tmp_path / "files", "--questionnaire", "fetal8"],
    ):
        done = run_residency(*verb, "--out", tmp_path / "out", "--burned", "keep")
        assert done.code == 1
        assert all(path.name in done.err for path in paths[:3])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]


def test_another_seed_gives_other_bytes_that_are_refused_too(tmp_path: Path) -> None:
    paths = make_hostile(tmp_path / "files", seed=7)
    first = make_hostile(tmp_path / "again", seed=0)
    assert sum(a.read_bytes() != b.read_bytes() for a, b in zip(paths, first, strict=True)) > 10
    with Apart() as apart:
        for path in paths[:-1]:  # the last, which takes seconds, is the same
            with pytest.raises(Refused):
                apart.read_raw(path, LIMITS, Veil(bytes(32)))


def test_an_error_of_the_process_apart_is_the_same_here() -> None:
    missing = pickle.loads(pickle.dumps(MissingExtra("what decodes JPEG", "dicom")))
    assert str(missing) == str(MissingExtra("what decodes JPEG", "dicom")) and "residency[dicom]" in missing.do
    refused = pickle.loads(pickle.dumps(Refused("bomb", "is too large")))
    assert (refused.kind, str(refused), refused.exit_code) == ("bomb", "is too large", 1)


def test_a_decoder_that_is_slow_or_dies_is_ended_and_the_next_file_is_read() -> None:
    data = file_bytes(with_pixels(made_header(), speckle(5)))
    with Apart(seconds=5) as apart:
        apart.read_raw(data, LIMITS, Veil(bytes(32)))
        running = apart._running
        assert running
        running[0].send_signal(signal.SIGSTOP)
        apart.seconds = 0.2
        with pytest.raises(Refused, match=r"takes more than 0\.2 s"):
            apart.read_raw(data, LIMITS, Veil(bytes(32)))
        apart.seconds = 30
        apart.read_raw(data, LIMITS, Veil(bytes(32)))
        running = apart._running
        assert running
        running[0].kill()
        running[0].wait()
        with pytest.raises(Refused, match="crashed"):
            apart.read_raw(data, LIMITS, Veil(bytes(32)))
        assert apart.read_raw(data, LIMITS, Veil(bytes(32))).arrays[0].shape == (64, 64)
