"""A model and annotated samples in; several drawn answers to each question, each judged against its reference, out.

The first half of KnowAda (arXiv 2411.09018): what a model answers wrongly again and again, it cannot know. The ten
answers to all questions about an image share one encoding of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zlib import crc32

import torch

from residency.config import Recipe
from residency.data.dataset import Dataset, hash_dataset, load_dataset
from residency.errors import UserError
from residency.files import read_json, write_json
from residency.folder import holding
from residency.knowledge.stream import stream_lines
from residency.knowledge.trials import THRESHOLD, Asked, Probe, Trial, tabulate_trials
from residency.knowledge.verdict import judge_answers, list_claims
from residency.material import require_ready, select_samples
from residency.models.registry import Opened, open_model, open_run
from residency.models.sampling import Sampling
from residency.predict import slice_images
from residency.types import Questionnaire, Sample, SplitName

Judge = Callable[[Sample, Sequence[str]], Trial]
"""A question and what was answered to it in, the trial out."""
IMAGES_AT_ONCE = 4
Part = SplitName | Literal["learned"]
LEARNED: Literal["learned"] = "learned"
"""What a run learns from and is chosen by: the training and the validation split."""


@dataclass(frozen=True)
class Wanted:
    """What a probe asks: a part of the data, by `prompt` (None: as usual, or as a run does), `count` answers each."""

    split: Part = LEARNED
    fold: int = 0
    prompt: str | None = None
    count: int = 10
    temperature: float = 0.4
    seed: int = 0
    max_new_tokens: int = 96

    def of(self, model: str, data: Path, recipe: Recipe, judge: str) -> Asked:
        """Return it as noted beside the answers: of whom, about what, and judged by whom."""
        return Asked(
            model=model, data=str(data), data_sha256=hash_dataset(data), split=self.split, fold=self.fold,
            prompt=recipe.prompt, judge=judge, count=self.count, temperature=self.temperature, seed=self.seed,
            max_new_tokens=self.max_new_tokens,
        )  # fmt: skip


def probe_sheet(model: str, data: Path, out: Path, wanted: Wanted) -> Probe:
    """Probe a model with the questions of an answer sheet; rules judge. `model` may be a run, probed as it was tuned.

    Raises:
        UserError: no such model or dataset, nothing to ask, or `out` holds another probe.
    """
    dataset = load_dataset(data)
    if dataset.questionnaire is None:
        do = "free text is probed with the help of a language model: --with URL or a folder"
        raise UserError(f"{data} has no questionnaire", found="free text", do=do)
    opened, recipe = open_named(model, data, wanted.prompt)
    known = {question.id for question in dataset.questionnaire.questions}
    samples = [s for s in asked_samples(dataset, recipe, wanted) if s.question in known]
    samples = [sample for sample in samples if list_claims(sample, dataset.questionnaire)]
    if not samples:
        raise UserError(f"{data} has no answers to standard questions to ask ({wanted.split})", do="choose --split")

    def judge(sample: Sample, texts: Sequence[str]) -> Trial:
        assert dataset.questionnaire
        return judge_trial(sample, texts, dataset.questionnaire)

    return run_probe(opened, samples, wanted.of(model, data, recipe, "rules"), judge, out)


def run_probe(
    opened: Opened,
    samples: Sequence[Sample],
    asked: Asked,
    judge: Judge,
    out: Path,
    texts: dict[str, int] | None = None,
) -> Probe:
    """Ask, judge, and write probe.jsonl and probe.json into a folder; a stopped probe goes on where it was.

    Raises:
        UserError: the folder holds another probe.
    """
    with holding(out):
        begin_probe(out, asked)
        trials = stream_lines(
            out / "probe.jsonl", Trial, samples, lambda waiting: _try(opened, waiting, asked, judge), "probing"
        )
        probe = Probe(
            asked=asked,
            threshold=THRESHOLD,
            images=len({trial.image for trial in trials}),
            groups=len({trial.group for trial in trials}),
            questions=tabulate_trials(trials),
            texts=texts or {},
        )
        write_json(out / "probe.json", probe.model_dump(mode="json"))
    return probe


def begin_probe(out: Path, asked: Asked) -> None:
    """Note in the folder what is asked of whom.

    Raises:
        UserError: it holds another probe.
    """
    begun = out / "asked.json"
    if begun.is_file() and read_json(begun, Asked) != asked:
        what = f"{out} holds another probe (model, data or settings differ)"
        raise UserError(what, found=str(begun), do="choose another --out, or remove the folder")
    write_json(begun, asked.model_dump(mode="json"))


def _try(opened: Opened, samples: Sequence[Sample], asked: Asked, judge: Judge) -> Iterator[Trial]:
    for sample, texts in draw_answers(opened, samples, asked):
        yield judge(sample, texts)


def open_named(model: str, data: Path, prompt: str | None) -> tuple[Opened, Recipe]:
    """Return a run as it was tuned, or a base model, and the recipe by which it is asked.

    Raises:
        UserError: no such model, or both a run and a prompt of one's own.
    """
    if not (Path(model) / "config.yaml").is_file():
        recipe = Recipe(name="probe", data=data, model=model, prompt=prompt or Recipe.model_fields["prompt"].default)
        return open_model(model, prompt=recipe.prompt), recipe
    if prompt is not None:
        raise UserError("a run is asked by its own prompt", found=f"--prompt {prompt!r}", do="leave --prompt out")
    recipe, opened = open_run(Path(model))
    return opened, recipe


def asked_samples(dataset: Dataset, recipe: Recipe, wanted: Wanted) -> list[Sample]:
    """Return the annotated samples of a part (of a dataset without splits: all), ready to be asked, absolute paths.

    Raises:
        UserError: no such fold. CheckFailed: images or prompts that are not as they should be.
    """
    annotated = [sample for sample in dataset.samples if sample.suffix is not None]
    if dataset.splits:
        names: tuple[SplitName, ...] = ("train", "val") if wanted.split == LEARNED else (wanted.split,)
        annotated = [sample for name in names for sample in dataset.split(name, wanted.fold)]
    samples = select_samples(recipe, dataset, annotated)
    require_ready(recipe, samples)
    return samples


@torch.inference_mode()
def draw_answers(opened: Opened, samples: Sequence[Sample], asked: Asked) -> Iterator[tuple[Sample, list[str]]]:
    """Yield each sample with `asked.count` answers; all answers to all questions about an image share its encoding.

    What is drawn follows from the seed and the sample's id alone.
    """
    family, loaded = opened.family, opened.loaded
    loaded.model.eval()
    for rows in slice_images(samples, IMAGES_AT_ONCE):
        batch = family.encode(loaded, rows, with_answers=False).to(loaded.device)
        regions_MND = family.see(loaded, batch.pixels_MCHW)
        seeds = tuple(crc32(f"{asked.seed} {sample.id}".encode()) for sample in rows)
        drawn = Sampling(asked.count, asked.temperature, seeds)
        said = family.generate(loaded, batch, regions_MND, max_new_tokens=asked.max_new_tokens, sampling=drawn)
        for row, sample in enumerate(rows):
            yield sample, [one.text for one in said[row * asked.count : (row + 1) * asked.count]]


def judge_trial(sample: Sample, texts: Sequence[str], questionnaire: Questionnaire) -> Trial:
    """Judge what was answered to a sheet's question by rules."""
    verdicts = judge_answers(sample, texts, questionnaire)
    return Trial(
        id=sample.id, sample=sample.id, image=sample.image, group=sample.group, question=sample.question or "",
        asked=sample.prefix, reference=sample.suffix or "", answers=tuple(texts),
        verdicts={key: tuple(found) for key, found in verdicts.items()},
    )  # fmt: skip
