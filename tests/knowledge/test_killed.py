"""An index is whole or absent, whenever its building is killed; what was begun is cleared away by the next."""

import json
import os
import subprocess
import sys
from pathlib import Path

from residency.knowledge.index import open_index
from tests.knowledge.kill_build import COUNT, KILLS, build


def test_a_killed_build_leaves_a_whole_index_or_none(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.knowledge.kill_build", tmp_path],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    left = json.loads(done.stdout)
    assert len(left) == KILLS
    assert all(names in ([], ["index.json", "lance"]) for names in left), left
    assert [] in left
    build(tmp_path / "index")
    assert open_index(tmp_path / "index").table.rows == COUNT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "index"]
