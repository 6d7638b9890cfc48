"""Few real images in, what nano and its rivals learn from them out: a table with intervals, and a file of all answers.

    python benchmarks/fewshot.py [--only a,b] [--rows tuned,probe ...] [--phantoms FOLDER] [--quick]
    python benchmarks/fewshot.py --table

(a) planes of fetal_planes by 1, 2, 5 and 9 patients; (b) head circumference by 25, 50 and 100 images; (c) lung
ultrasound and (d) VQA-RAD's yes-or-no questions in 5 folds; and, only if named, (s): (a) on phantoms of a site that
training never draws, where settings are chosen. Each cell is written when it is finished, and the same command goes on
where it was stopped. Nothing is validated on: every row trains for a number of steps that was set beforehand.
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from fewshot_bench import Bench
from fewshot_cells import Plan, Results, list_cells, run_cells
from fewshot_data import EXPERIMENTS
from fewshot_ingest import ROOT
from fewshot_nano import ABLATIONS
from fewshot_rows import TITLES, settings_of
from fewshot_table import write_tables

SHARED = ROOT.parent / "shared" / "data"


def read_call(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="a,b,c,d", help=f"experiments, of {','.join(EXPERIMENTS)}")
    parser.add_argument("--rows", help=f"of: {', '.join(TITLES)}; ablations, or: {', '.join(ABLATIONS)}")
    parser.add_argument("--draws", type=int, default=0, help="at most so many draws of each size")
    parser.add_argument("--steps", type=int, default=0, help="nano's optimizer steps (to be chosen on s alone)")
    parser.add_argument("--phantoms", type=Path, nargs="*", help="folders of `residency phantom` (else drawn anew)")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--work", type=Path, default=ROOT / "scratch" / "fewshot")
    parser.add_argument("--results", type=Path, help="a file of cells (default: results.jsonl in --work)")
    parser.add_argument("--jobs", type=int, default=2, help="processes that share the draws")
    parser.add_argument("--threads", type=int, default=1, help="of each process; jobs x threads: at most the cores")
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one draw, one epoch: every row is touched once")
    parser.add_argument("--table", action="store_true", help="print the tables of the results file, run nothing")
    call = parser.parse_args(arguments)
    call.only, call.rows = call.only.split(","), call.rows.split(",") if call.rows else None
    if unknown := [name for name in call.only if name not in EXPERIMENTS]:
        parser.error(f"no experiment {unknown}")
    if unknown := [name for name in call.rows or () if name not in {*TITLES, *ABLATIONS, "ablations"}]:
        parser.error(f"no row {unknown}")
    name = "quick.jsonl" if call.quick else "results.jsonl"
    call.results = call.results or call.work / name
    return call


def main(arguments: Sequence[str] | None = None) -> None:
    call = read_call(arguments)
    results = Results(call.results)
    if not call.table:
        torch.set_num_threads(call.threads)
        transformers.logging.set_verbosity_error()
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
        bench = Bench(call.work.resolve(), tuple(call.phantoms or ()), call.quick, _tell, call.steps, call.job or 0)
        plan = Plan(call.shared, call.only, call.rows, call.draws, 0, call.jobs)
        if call.jobs > 1 and call.job is None:
            _share_out(bench, plan, arguments)
        else:
            run_cells(bench, results, replace(plan, job=call.job or 0))
    if call.job is not None:
        return
    print(write_tables(results.read()), end="")


def _share_out(bench: Bench, plan: Plan, arguments: Sequence[str] | None) -> None:
    """Prepare what all processes read, and let each take its share of the draws."""
    cells = list(list_cells(bench, replace(plan, job=0, jobs=1)))
    for draw, row in {row: (draw, row) for draw, row in cells}.values():
        settings_of(bench, draw, row)  # makes the untrained models
    if any(row == "lite-phantoms" for _, row in cells):
        _tell(f"EfficientNet-Lite0 after phantoms: {bench.phantom_weights}")
    command = [sys.executable, __file__, *(sys.argv[1:] if arguments is None else arguments)]
    processes = [subprocess.Popen([*command, "--job", str(job)]) for job in range(plan.jobs)]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit("a process failed; the same command goes on")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
