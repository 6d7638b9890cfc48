"""A messy simulated sheet in, a table out: of each kind of planted defect, how many ingest restored, listed or missed.

    python benchmarks/messy_restore.py            # 300 patients
    python benchmarks/messy_restore.py --quick    # 40 patients

A defect counts as restored where its cell's answer equals the truth, sub-answers and all. Cells of rows that were
left out for another cell's sake are set aside. A clean cell counts as changed where its answer is not the truth.
"""

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from residency.data.dataset import load_dataset
from residency.data.ingest import ingest
from residency.types import Answer, Quantity, Sample
from residency.ultrasound.phantom.sheet import write_phantom

KINDS = Counter[str]
AT_LEAST, AT_MOST = 0.98, 0.001


@dataclass
class Tally:
    """What became of the planted defects by kind, and of the clean cells; `missed` and `guessed` name cells."""

    found: KINDS = field(default_factory=Counter)
    restored: KINDS = field(default_factory=Counter)
    listed: KINDS = field(default_factory=Counter)
    aside: KINDS = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    clean: int = 0
    changed: list[str] = field(default_factory=list)
    lost: frozenset[str] = frozenset()
    """Kinds that nobody could restore."""

    @property
    def share(self) -> float:
        """The share of restorable defects that were restored, those set aside left out."""
        kinds = self.found.keys() - self.lost
        total = sum(self.found[kind] - self.aside[kind] for kind in kinds)
        return sum(self.restored[kind] for kind in kinds) / total


def measure_restoring(source: Path, out: Path) -> Tally:
    """Ingest the messy sheet, bad rows left out, and compare every cell with the truth."""
    summary = ingest(source / "answers.xlsx", source / "images", "fetal8", out, "column:Patient", skip_bad=True)
    truths = [json.loads(line) for line in (source / "truth.jsonl").read_text().splitlines()]
    defects: defaultdict[str, list[str]] = defaultdict(list)
    lost = set()
    for line in (source / "defects.jsonl").read_text().splitlines():
        defect = json.loads(line)
        defects[defect["cell"]].append(defect["kind"])
        if not defect.get("restorable", False):
            lost.add(defect["kind"])
    samples: dict[str, Sample] = {}
    for sample in load_dataset(out).samples:
        if sample.source and sample.source.cell:
            samples[sample.source.cell] = sample
    listed = {problem.source.cell for problem in summary.problems if problem.source}
    tally = Tally(lost=frozenset(lost))
    for number, truth in enumerate(truths, 2):
        row = {
            cell: sample for cell, sample in samples.items() if cell.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == str(number)
        }
        for index in range(8):
            cell = f"{chr(ord('G') + index)}{number}"
            right = cell in row and _is_true(row[cell], truth, f"q{index + 1}")
            _count(tally, cell, defects.get(cell, []), cell in row, right, cell in listed, bool(row))
        image = f"A{number}"
        if image in defects:
            right = any(sample.image.endswith(truth["image"]) for sample in row.values())
            _count(tally, image, defects[image], bool(row), right, image in listed, bool(row))
    return tally


def _count(tally: Tally, cell: str, kinds: list[str], kept: bool, right: bool, listed: bool, row: bool) -> None:
    aside = not row and not listed
    if not kinds:
        if not aside:
            tally.clean += 1
            if not right:
                tally.changed.append(cell)
        return
    lost = any(kind in tally.lost for kind in kinds)
    for kind in kinds:
        tally.found[kind] += 1
        tally.listed[kind] += listed
        tally.restored[kind] += right and not lost
        tally.aside[kind] += aside
    if lost and kept:
        tally.guessed.append(cell)
    if lost and not listed and not aside:
        tally.unlisted.append(cell)
    if not lost and not right and not aside:
        tally.missed.append(cell)


def _is_true(sample: Sample, truth: dict[str, dict[str, object]], id: str) -> bool:
    parts = {key: value for key, value in truth["parts"].items() if key.startswith(f"{id}.")}
    if not _same(sample.answer, truth["answers"][id]) or parts.keys() != sample.parts.keys():
        return False
    return all(_same(sample.parts[key], value) for key, value in parts.items())


def _same(answer: Answer | None, truth: object) -> bool:
    if isinstance(answer, Quantity) and isinstance(truth, dict):
        # Sheets state lengths to three digits.
        return answer.unit == truth["unit"] and abs(answer.value - truth["value"]) <= 0.006 * abs(truth["value"])
    return (list(answer) if isinstance(answer, tuple) else answer) == truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 patients instead of 300")
    parser.add_argument("--source", type=Path, help="a folder that `residency phantom --messy` wrote")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or Path(folder, "phantom")
        if not options.source:
            write_phantom(source, 40 if options.quick else 300, options.seed, messy=True, size=96)
        tally = measure_restoring(source, Path(folder, "dataset"))
    print(f"{'kind':<14}{'found':>7}{'restored':>10}{'listed':>8}{'aside':>7}")
    for kind, count in sorted(tally.found.items()):
        print(f"{kind:<14}{count:>7}{tally.restored[kind]:>10}{tally.listed[kind]:>8}{tally.aside[kind]:>7}")
    print(f"restorable defects restored: {tally.share:.4f} (at least {AT_LEAST}); missed {tally.missed[:20]}")
    share = len(tally.changed) / tally.clean
    print(f"clean cells changed: {share:.5f} of {tally.clean} (at most {AT_MOST}); {tally.changed[:20]}")
    print(f"beyond restoring: guessed {tally.guessed}, not listed {tally.unlisted}")


if __name__ == "__main__":
    main()
