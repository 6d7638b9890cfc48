"""Two models' predictions of the same samples in, how many answers agree and which do not out."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from residency.config import Recipe
from residency.data.dataset import Dataset
from residency.data.take import learned_samples
from residency.data.together import as_asked
from residency.errors import CheckFailed, UserError
from residency.material import require_ready, select_samples
from residency.models.registry import Opened
from residency.neighbours import open_tell
from residency.predict import Asked, answer_samples, candidates_of
from residency.types import Prediction, Problem, Questionnaire, Record, Sample, Source


class Disagreement(Record):
    """A sample that the run answered one way and the exported model another."""

    id: str
    run: str
    exported: str


class Agreement(Record):
    """How many answers agree, letter by letter, held how; `largest_nats` is how far a candidate's likelihood moved."""

    held: str
    compared: int
    agreed: int
    largest_nats: float | None = None
    disagreements: tuple[Disagreement, ...] = Field(default=())

    @property
    def share(self) -> float:
        """The share of answers that agree, in [0, 1]."""
        return self.agreed / self.compared

    def sentence(self) -> str:
        """Return the finding in words."""
        moved = "" if self.largest_nats is None else f", no likelihood moved by more than {self.largest_nats:.2g} nats"
        return f"{self.held}: {self.agreed} of {self.compared} answers are the run's own{moved}"


class Comparison:
    """The samples that a run and its export both answer: validation's, or training's where nothing is validated."""

    def __init__(self, recipe: Recipe, dataset: Dataset, most: int) -> None:
        fold = recipe.fold if isinstance(recipe.fold, int) else 0
        training = select_samples(recipe, dataset, learned_samples(dataset, recipe, fold))
        validation = select_samples(recipe, dataset, dataset.split("val", fold))
        self.split = "validation" if validation else "training"
        self.samples = draw_images(validation or training, most, recipe.train.seed)
        if not self.samples:
            raise UserError(f"{dataset.folder} has no annotated sample of fold {fold} to compare answers on")
        require_ready(recipe, self.samples)
        self.recipe, self.fold, self.training = recipe, fold, training
        self.questionnaire: Questionnaire | None = dataset.questionnaire
        self.candidates = candidates_of(dataset.questionnaire, training)

    def tell_neighbours(self, run: Path, opened: Opened) -> None:
        """Tell the samples of similar cases, as the run is told of them; both models are then asked the same.

        Raises:
            UserError: the cases cannot be looked up.
        """
        self.samples = list(open_tell(self.recipe, self.training, self.fold, run, opened)(self.samples, None))

    def example(self) -> tuple[Sample, int]:
        """Return a prompt as the model was trained to read it, and how many tokens its answer may take."""
        asked = as_asked(self.samples, self.recipe.ask, self.questionnaire)[0]
        together = [one for one in self.samples if one.image == asked.image] if self.recipe.ask == "together" else [1]
        return asked, self.recipe.predict.max_new_tokens * len(together)

    def answer(self, opened: Opened) -> dict[str, Prediction]:
        """Return a model's predictions by sample id, made as the run makes them."""
        asked = Asked(self.recipe.name, "own", "val", self.fold)
        answers = answer_samples(
            opened,
            self.samples,
            self.questionnaire,
            self.candidates,
            asked,
            self.recipe.predict,
            ask=self.recipe.ask,
        )
        return {answer.id: answer for answer in answers}


def draw_images(samples: Sequence[Sample], most: int, seed: int) -> list[Sample]:
    """Return at most `most` samples, all of an image or none (but of one image some): a seeded draw of images."""
    images = sorted({sample.image for sample in samples})
    order = np.random.default_rng(seed).permutation(len(images))
    drawn: list[Sample] = []
    for index in order:
        more = [sample for sample in samples if sample.image == images[int(index)]]
        if drawn and len(drawn) + len(more) > most:
            break
        drawn += more
    return drawn[:most]


def compare_answers(own: dict[str, Prediction], exported: dict[str, Prediction], held: str) -> Agreement:
    """Return how the answers agree; both hold the same ids."""
    differ = tuple(
        Disagreement(id=id, run=own[id].prediction, exported=exported[id].prediction)
        for id in own
        if own[id].prediction != exported[id].prediction
    )
    moved = [
        abs(value - exported[id].candidates[name])
        for id in own
        for name, value in own[id].candidates.items()
        if math.isfinite(value) and name in exported[id].candidates
    ]
    return Agreement(
        held=held,
        compared=len(own),
        agreed=len(own) - len(differ),
        largest_nats=max(moved, default=None),
        disagreements=differ,
    )


def require_agreement(found: Sequence[Agreement], floor: float, run: str) -> None:
    """Make sure that each way of holding the weights answers as the run does.

    Raises:
        CheckFailed: `answers-agree`, with every answer that differs.
    """
    low = [agreement for agreement in found if agreement.share < floor]
    problems = [
        Problem(
            kind="disagreement",
            message=f"at {agreement.held} `{one.exported}`, the run itself `{one.run}`",
            source=Source(file=one.id),
        )
        for agreement in low
        for one in agreement.disagreements
    ]
    if problems:
        told = "; ".join(agreement.sentence() for agreement in low)
        share = math.floor(100 * min(agreement.share for agreement in low)) / 100
        do = (
            f"{told}: below the floor of {floor:g}. Nothing was written. More bits may help (--dtype fp32); "
            f"or accept it, and the card says so: residency export {run} --floor {share:g}"
        )
        raise CheckFailed("answers-agree", problems, do=do)
