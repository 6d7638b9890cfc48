"""A model and decoded pictures in, what it says to every question about each of them out, answer by answer.

Training, evaluation and the server encode alike: this calls what `residency predict` calls.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from residency.answering import Candidates, Said, answer_in_turn, answer_together
from residency.asking import Ask, Predict
from residency.data.dataset import Dataset, load_dataset
from residency.data.shots import show_shots
from residency.data.take import learned_samples
from residency.errors import UserError
from residency.evaluate.abstain import Abstention
from residency.evaluate.confidence import Sure
from residency.files import read_json
from residency.material import select_samples
from residency.models.features import look_once
from residency.models.prompts import render_prompt
from residency.models.registry import Opened, open_model, open_run, read_run
from residency.neighbours import Tell, open_tell
from residency.predict import candidates_of, make_query
from residency.questionnaire import load_questionnaire
from residency.serve.decoding import Origin
from residency.serve.told import AnswerTold, name_neighbours, read_places, tell_words
from residency.types import Mode, Question, Questionnaire, Sample
from residency.views import answer_rows

MOST_SHOWN = 8
ALL = "all closed and free answers"
SHIPPED = "fetal8"


@dataclass(frozen=True)
class Picture:
    """A decoded upload: its pixels, where its copy is kept, the group, and (row, column) mm a pixel if known."""

    image: Image.Image
    path: str
    group: str
    spacing_mm: tuple[float, float] | None = None
    origin: Origin = field(default_factory=Origin)


@dataclass
class Interpreter:
    """A model in memory with its questions; `thresholds` is the confidence below which it is not sure, by question.

    `training` is what its candidates came from (empty for an untuned model without a dataset).
    """

    name: str
    opened: Opened
    questionnaire: Questionnaire
    mode: Mode
    settings: Predict = field(default_factory=Predict)
    ask: Ask = "each"
    training: tuple[Sample, ...] = ()
    asked: tuple[str, ...] = ()
    promises: Mapping[str, Abstention] = field(default_factory=dict)
    prepare: Tell = lambda samples, images: samples
    """Tells in the prompts what the recipe wants there besides: solved examples, neighbours."""
    tells_neighbours: bool = False
    """Whether `prepare` looks at the pictures, too."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """What the training samples call a group, by the name that pictures of it come with (`know_groups`)."""

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The questions that are put to each picture."""
        return tuple(q for q in self.questionnaire.questions if not self.asked or q.id in self.asked)

    @cached_property
    def candidates(self) -> dict[str, Candidates]:
        """What closed answers are chosen from."""
        return candidates_of(self.questionnaire, self.training)

    def read(self, pictures: Sequence[Picture], hear: Callable[[int, AnswerTold], None]) -> None:
        """Answer every question about the pictures; `hear` is called with a picture's place and each answer.

        The tower sees a picture once, for its neighbours and its answers (twice where training changed it and the base
        model's tower finds the neighbours). Closed questions are answered first.
        """
        asked = [(place, question) for place in range(len(pictures)) for question in self.questions]
        posed = [self.pose(pictures[place], place, question) for place, question in asked]
        images = {sample.image: pictures[place].image for sample, (place, _) in zip(posed, asked, strict=True)}
        self.opened.loaded.model.eval()
        looks_twice = self.tells_neighbours and not self.settings.tiles  # tiles are too many to be kept
        with torch.inference_mode(), look_once(self.opened) if looks_twice else nullcontext():
            samples = self.prepare(posed, images)
            for row, said in self._answer(samples, [question for _, question in asked], images):
                place, question = asked[row]
                hear(place, self._tell(question, said, pictures[place].image.size))

    def know_groups(self, hide: Callable[[str], str]) -> None:
        """Know the training groups again under the names that `hide` gives them, so that none is told of itself."""
        self.groups = {hide(group): group for group in {sample.group for sample in self.training}}

    def find_group(self, sha256: str) -> str | None:
        """Return the group of a training picture by its file's SHA-256; None for any other picture."""
        return self._group_of.get(sha256)

    @cached_property
    def _group_of(self) -> dict[str, str]:
        return {sample.sha256: sample.group for sample in self.training if sample.sha256}

    def find_fault(self, picture: Picture) -> str | None:
        """Return why the model cannot be asked about a picture (its prompt wants what is not known), or None."""
        try:
            render_prompt(self.opened.loaded.spec.prompt, self.pose(picture, 0, self.questions[0]))
        except UserError as error:
            return str(error.found)
        return None

    def pose(self, picture: Picture, place: int, question: Question) -> Sample:
        """Return a question about a picture as a sample, `place` telling it from the others of its batch."""
        return Sample(
            id=f"{place}:{question.id}",
            image=picture.path,
            prefix=question.wording,
            group=self.groups.get(picture.group, picture.group),
            question=question.id,
            spacing_mm=picture.spacing_mm,
        )

    def _answer(
        self, samples: Sequence[Sample], questions: Sequence[Question], images: Mapping[str, Image.Image]
    ) -> Iterator[tuple[int, Said]]:
        if self.ask == "together" and self.mode != "base":
            said = answer_together(self.opened, samples, self.questionnaire, self.settings, images)
            return iter(enumerate(said))
        both = zip(samples, questions, strict=True)
        queries = [make_query(sample, question, self.candidates, self.mode) for sample, question in both]
        if self.settings.tiles or self.settings.closer:
            return iter(enumerate(answer_rows(self.opened, queries, self.settings, images)))
        return answer_in_turn(self.opened, queries, self.settings, images)

    def _tell(self, question: Question, said: Said, size: tuple[int, int]) -> AnswerTold:
        fields = said.fields
        promise = self.promises.get(question.id) or self.promises.get(ALL)
        scores_K = np.array(list(fields.get("candidates", {}).values()), dtype=np.float64)
        sure, shares_K = _soften(fields["confidence"], scores_K, promise)
        shown = sorted(zip(fields.get("candidates", {}), shares_K.tolist(), strict=True), key=lambda pair: -pair[1])
        threshold = promise.threshold if promise else None
        boxes, outlines = read_places(fields["prediction"], size)
        return AnswerTold(
            question=question.id,
            wording=question.wording,
            type=question.type,
            answer=fields["parsed"],
            parts=fields.get("parts", {}),
            text=fields["prediction"],
            confidence=round(sure, 4),
            confidence_words=tell_words(sure),
            sure=fields["parsed"] is not None and (threshold is None or sure >= threshold),
            threshold=threshold,
            candidates={name: round(share, 4) for name, share in shown[:MOST_SHOWN]},
            boxes=boxes,
            outlines=outlines,
            neighbours=name_neighbours(said.asked.context),
        )


def open_interpreter(model: str, data: Path | None = None, questionnaire: str | None = None) -> Interpreter:
    """Load a run's model with its questions, or a base model with those of `data` or of a questionnaire.

    Raises:
        UserError: no such model, its dataset is not where it was (`data` says where it is), there are no questions, or
            a run's similar cases cannot be looked up.
    """
    if (Path(model) / "config.yaml").is_file():
        return _open_tuned(Path(model), data)
    dataset = load_dataset(data) if data else None
    known = _require_questionnaire(dataset) if dataset else load_questionnaire(questionnaire or SHIPPED)
    own = dataset.split("train") if dataset and dataset.splits else ()
    if dataset:
        own = [one.model_copy(update={"image": str(dataset.image_path(one).resolve())}) for one in own]
    return Interpreter(model, open_model(model), known, "own" if model == "nano" else "base", training=tuple(own))


def _open_tuned(run: Path, data: Path | None) -> Interpreter:
    recipe = read_run(run)
    if data:
        recipe = recipe.model_copy(update={"data": data})
    dataset = load_dataset(recipe.data)
    fold = recipe.fold if isinstance(recipe.fold, int) else 0
    training = select_samples(recipe, dataset, learned_samples(dataset, recipe, fold))
    asked = {sample.question for sample in training if sample.question}
    questionnaire = _require_questionnaire(dataset)
    opened = open_run(run)[1]
    tell = open_tell(recipe, training, fold, run, opened)
    return Interpreter(
        name=recipe.name,
        opened=opened,
        prepare=lambda samples, images: tell(show_shots(samples, training, recipe.shots), images),
        tells_neighbours=recipe.retrieval is not None,
        questionnaire=questionnaire,
        mode="own",
        settings=recipe.predict,
        ask=recipe.ask,
        training=tuple(training),
        asked=tuple(question.id for question in questionnaire.questions if question.id in asked),
        promises=_read_promises(run),
    )


def _read_promises(run: Path) -> dict[str, Abstention]:
    """Return what `residency abstain` promised, by question."""
    found = [read_json(path, Abstention) for path in sorted((run / "scores").glob("abstention*.json"))]
    return {promise.question: promise for promise in found}


def _require_questionnaire(dataset: Dataset) -> Questionnaire:
    if dataset.questionnaire is None:
        raise UserError(
            f"{dataset.folder} has no questionnaire",
            found="samples without standard questions",
            do="ingest it with --questionnaire; the server asks its questions",
        )
    return dataset.questionnaire


def _soften(confidence: float | None, scores_K: np.ndarray, promise: Abstention | None) -> tuple[float, np.ndarray]:
    """Return an answer's confidence and its candidates' shares at the temperatures that validation chose."""
    warmth = {True: promise.temperature_chosen, False: promise.temperature_generated} if promise else {}
    warmths = {True: 1.0, False: 1.0} | warmth
    alone = Sure(("",), np.zeros(1), np.array([confidence or 0.0]), ("",), (scores_K,), (-1,))
    exp_K = np.exp((scores_K - scores_K.max()) / warmths[True]) if len(scores_K) else scores_K
    shares_K = exp_K / exp_K.sum() if len(scores_K) else exp_K
    return float(alone.at(warmths)[0]), shares_K
