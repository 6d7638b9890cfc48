"""Learned towers in, cells of what each told of held-out phantoms and of real images out.

Phantoms are named by a tower's own head. Real images are those of `benchmarks/fewshot.py`: experiment (a) with 1, 2, 5
and 9 patients and (b) with 100 images, its draws, and its linear probe on the frozen map, its mean for planes and the
whole of it for lengths.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

from fewshot_bench import Bench
from fewshot_cells import Cell, Mark, Results, list_draws, mark_answers, peak_memory
from fewshot_data import EXPERIMENTS, Draw, prepare
from fewshot_lite import read_grey
from fewshot_rivals import probe_frozen
from residency.models.nano.build import IMAGE_SIZE
from residency.pretrain.studies import Studies, read_studies
from residency.pretrain.vary import grey_levels, normalize
from residency.questionnaire import load_questionnaire
from residency.types import Answer
from residency.ultrasound.phantom import write_phantom
from towers_learn import Learned

ASKED = {"a": (1, 2, 5, 9), "b": (100,)}
"""The experiments of real images, and their sizes."""
TOLD = {"category": "category=", "plane": "q3=", "structures": "q1="}
"""What is asked of phantoms, and how its canonical names begin."""
HELD_OUT = {"patients": 200, "seed": 555}
AT_ONCE = 32


@dataclass(frozen=True)
class Exam:
    """What all towers are measured on, and where their cells go; `vocabulary`: the names that they learned."""

    work: Path
    shared: Path
    folder: Path
    vocabulary: Sequence[str]
    settings: str
    quick: bool
    results: Results

    @cached_property
    def held_out(self) -> Studies:
        """The held-out phantoms."""
        return read_studies([self.folder], load_questionnaire("fetal8"), IMAGE_SIZE)

    @cached_property
    def draws(self) -> list[Draw]:
        """The draws of real images; a quick exam's are the first of each experiment's smallest size, cut."""
        found: list[Draw] = []
        for name, sizes in ASKED.items():
            dataset = prepare(EXPERIMENTS[name], self.shared, self.work)
            found += list_draws(EXPERIMENTS[name], dataset, sizes, self.quick)
        return found


def draw_held_out(folder: Path, quick: bool) -> Path:
    """Simulate the held-out patients, unless they are there."""
    if not (folder / "truth.jsonl").is_file():
        write_phantom(folder, 4 if quick else HELD_OUT["patients"], HELD_OUT["seed"], workers=1)
    return folder


def examine_tower(name: str, learned: Learned, exam: Exam) -> None:
    """Make and write each of a tower's cells that is not there yet."""
    done = {(*cell.place, cell.settings) for cell in exam.results.read()}
    if any((what, 0, 0, name, exam.settings) not in done for what in TOLD):
        exam.results.add(list(_tell_phantoms(name, learned, exam)))
    bench = Bench(exam.work, (), exam.quick, print)
    for draw in exam.draws:
        place = draw.experiment.name, draw.size, draw.number
        if (*place, name, exam.settings) in done:
            continue
        _see_images(bench, name, learned.tower, draw)
        made = probe_frozen(name, "probe")(bench, draw)
        exam.results.add([_cell(place, name, exam, made.seconds, mark_answers(draw, made))])


@torch.inference_mode()
def _tell_phantoms(name: str, learned: Learned, exam: Exam) -> Iterator[Cell]:
    """Yield what the head says of held-out phantoms: the likeliest category and plane, structures above one half."""
    began, studies = perf_counter(), exam.held_out
    logits = [
        learned.naming.names(see_map(learned.tower, studies.pixels_NHW[first : first + AT_ONCE]).mean((2, 3)))
        for first in range(0, len(studies.scenes), AT_ONCE)
    ]
    logits_NK = torch.cat(logits).numpy()
    seconds = perf_counter() - began
    for what, start in TOLD.items():
        columns = [column for column, known in enumerate(exam.vocabulary) if known.startswith(start)]
        names = [exam.vocabulary[column].removeprefix(start) for column in columns]
        marks: list[Mark] = []
        for row, scene in enumerate(studies.scenes):
            answer, logits_K = _truth_of(scene.truth, what), logits_NK[row, columns]
            held = tuple(known for known, logit in zip(names, logits_K, strict=True) if logit > 0)
            said = held if what == "structures" else names[int(logits_K.argmax())]
            marks.append((str(scene.truth["image"]), studies.patients[row].rpartition(":")[2], answer, said))
        yield _cell((what, 0, 0), name, exam, seconds, marks)


def _truth_of(truth: Mapping[str, object], what: str) -> Answer:
    if what == "category":
        return str(truth["category"])
    answers = truth["answers"]
    assert isinstance(answers, dict)
    return str(answers["q3"]) if what == "plane" else tuple(answers["q1"])


def _see_images(bench: Bench, name: str, tower: nn.Module, draw: Draw) -> None:
    """Give the bench what the tower sees of a draw's images, each squeezed to 192 px, unless it holds it."""
    for image in {sample.image for sample in (*draw.train, *draw.test)}:
        if (name, image) in bench.features:
            continue
        began = perf_counter()
        seen = see_map(tower, np.stack([read_grey(image, IMAGE_SIZE)]))[0]
        features: np.ndarray = (seen.flatten() if draw.experiment.measures else seen.mean((1, 2))).numpy()
        bench.features[name, image] = features, perf_counter() - began


@torch.inference_mode()
def see_map(tower: nn.Module, grey_NHW: np.ndarray) -> torch.Tensor:
    """Return the tower's map (N, channels, 6, 6) of grey pictures."""
    pixels = normalize(grey_levels(grey_NHW)).contiguous(memory_format=torch.channels_last)
    map_NCHW: torch.Tensor = tower(pixels).last_hidden_state
    return map_NCHW.contiguous()


def _cell(place: tuple[str, int, int], name: str, exam: Exam, seconds: float, marks: Sequence[Mark]) -> Cell:
    return Cell(
        experiment=place[0],
        size=place[1],
        draw=place[2],
        row=name,
        settings=exam.settings,
        seconds=round(seconds, 2),
        memory_mb=peak_memory(),
        marks=tuple(marks),
    )
