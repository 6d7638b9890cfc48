"""Ctrl-C, pressed at every command: one line that tells whether it goes on, exit code 130, and then it does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
import yaml
from typer.main import get_command

from residency.cli import GOES_ON
from residency.commands.every import app
from tests.data.test_tiles import write_large
from tests.dicom.files import made_header, speckle, with_pixels, write_dicom
from tests.discs import build_bench
from tests.run_command import Done, run_residency

STAYS = "stopped; what is written stays, and the same command "


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, a variant to ask beside it, and large pictures with boxes."""
    folder = build_bench(tmp_path_factory.mktemp("stopped"), images=36)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe |= {"out": str(folder / "runs"), "variants": {"plain": str(folder / "model")}}
    recipe["train"] |= {"epochs": 1}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "choices.yaml").write_text(yaml.safe_dump({"prompts": ["{prefix}", "Question: {prefix}"], "shots": [0]}))
    assert run_residency("train", folder / "recipe.yaml").code == 0
    write_large(folder / "large", count=40)
    return folder


def stop_once(begun: Callable[[], bool], *arguments: object) -> Done:
    """Run a command, press Ctrl-C as soon as `begun` holds, and return what it told."""
    over = Event()

    def press() -> None:
        while not over.is_set():
            if begun():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.0005)

    thread = Thread(target=press)
    thread.start()
    try:
        return run_residency(*arguments)
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def holds_line(path: Path) -> bool:
    """Tell whether a file that is being written has a whole line."""
    try:
        return b"\n" in path.read_bytes()
    except FileNotFoundError:
        return False


def tries(bench: Path, out: Path) -> dict[str, tuple[Callable[[], bool], tuple[object, ...]]]:
    """Return each command with the sign, on disk, that it is at work."""
    run, data, model = bench / "runs" / "discs", bench / "data", bench / "model"
    variant = run / "variants" / "plain"
    few = ("--answers", 3, "--max-new-tokens", 8)
    own = ("predict", run, "predict.batch_images=1", "--split", "train", "--as", "own", "--out", out)
    return {
        "predict": (lambda: any(holds_line(part) for part in out.rglob("*.part")), own),
        "probe": (lambda: holds_line(out / "probe.jsonl.part"), ("probe", model, "--data", data, "--out", out, *few)),
        "prompts": (
            (out / "prompts.json").is_file,
            ("prompts", model, "--data", data, "--choices", bench / "choices.yaml", "--out", out),
        ),
        "verify": (lambda: holds_line(out / "verified.jsonl.part"), ("verify", run, "--with", model, "--out", out)),
        "variants": (lambda: any(holds_line(part) for part in variant.rglob("*.part")),
                     ("variants", bench / "recipe.yaml")),
        "explain": (
            lambda: any(out.glob("*.png")),
            ("explain", run, "--images", 2, "--questions", "side", "--draws", 1, "--out", out),
        ),
        "index": (lambda: any(out.parent.glob(".out.*")), ("index", data, "--model", model, "--out", out)),
        "tile": (
            lambda: any(out.parent.glob(".out.*/images/*.png")),
            ("tile", bench / "large", "--out", out, "--side", 64, "--empty", 20),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["predict", "probe", "prompts", "verify", "variants", "explain", "index", "tile"])
def test_a_command_is_stopped_and_given_again(verb: str, bench: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun, asked = tries(bench, out)[verb]
    done = stop_once(begun, *asked)
    goes_on = verb in GOES_ON
    assert (done.code, done.err.splitlines()[-1:]) == (130, [STAYS + ("goes on" if goes_on else "starts anew")])
    left = {path: path.read_bytes() for path in tmp_path.rglob("*.part")}
    if verb in ("index", "tile"):
        assert not out.exists() and not [path for path in tmp_path.iterdir() if path.is_dir()]
    done = run_residency(*asked)
    assert done.code == 0, done.err
    for path, lines in left.items():
        assert path.with_suffix("").read_bytes().startswith(lines.rpartition(b"\n")[0])


def test_every_command_that_goes_on_is_one() -> None:
    assert set(GOES_ON) < set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("imported", ["typer", "rich.console", "pydicom", "omegaconf"])
def test_a_command_that_still_imports_is_stopped_in_one_line(imported: str, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "1.dcm", with_pixels(made_header(), speckle(0)))
    asked = ("deidentify", tmp_path / "in", "--out", tmp_path / "out", "--salt", tmp_path / "salt")
    told = stop_at_import(imported, *asked)
    assert told == [STAYS + "starts anew"]
    assert not (tmp_path / "out").exists()


def test_a_queue_is_stopped_as_it_begins(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes nothing before its end, so that only what it imports tells that it is at work."""
    module = "residency.serve.rounds"
    monkeypatch.delitem(sys.modules, module, raising=False)
    asked = ("queue", bench / "large" / "images", "--model", bench / "runs" / "discs", "--out", tmp_path / "queue.csv")
    done = stop_once(lambda: module in sys.modules, *asked)
    assert (done.code, done.err.splitlines()[-1:]) == (130, [STAYS + "starts anew"])
    assert not (tmp_path / "queue.csv").exists()


def stop_at_import(module: str, *arguments: object) -> list[str]:
    """Press Ctrl-C when a module was imported; return the lines that the command told."""
    command = [sys.executable, "-X", "importtime", "-m", "residency", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    told, pressed = [], False
    for line in process.stderr:
        if not line.startswith("import time:"):
            told.append(line.rstrip("\n"))
        elif line.split("|")[-1].strip() == module and not pressed:
            process.send_signal(signal.SIGINT)
            pressed = True
    assert (process.wait(timeout=60), pressed) == (130, True), told
    return told


def test_the_processes_that_draw_say_nothing_of_their_own(tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches all of its processes: pressed as they start, and when pictures are there."""
    for sign in (".out.*/images", ".out.*/images/*/*.png"):
        command = [sys.executable, "-m", "residency", "phantom", tmp_path / "out", "--patients", "40"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        while process.poll() is None and not any(tmp_path.glob(sign)):
            time.sleep(0.005)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told.splitlines()) == (130, [STAYS + "starts anew"])
        assert list(tmp_path.iterdir()) == []
