"""A second, larger model in, by address or path; what it says of claims and questions about an image out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from residency.answering import Candidates
from residency.config import Recipe
from residency.data.normalize import parse_answer
from residency.judges.server import Server, Words, one_word, open_server
from residency.knowledge.probe import open_named
from residency.models.registry import Opened
from residency.predict import Asked, answer_samples, offer_candidates
from residency.types import Prediction, Question, Questionnaire, Sample

Seen = Literal["yes", "no", "unsure"]
_CHECK = (
    "You look at a medical image and a claim about it. Say one word. yes: the image shows that it is so. no: the image "
    "shows that it is not so. unsure: the image does not tell."
)
_ANSWER = "You answer a question about a medical image, shortly and in the given words where words are given."
_SEEN: dict[str, Seen] = {"yes": "yes", "no": "no", "unsure": "unsure"}
MOST_WORDS, MOST_TOKENS = 16, 96


@dataclass(frozen=True)
class Look:
    """What was made of a claim (None: nothing that can be used), and how sure the model is of it, in [0, 1]."""

    seen: Seen | None
    sure: float | None = None


class Verifier(Protocol):
    """A model that looks at images; `place` is where images and words go."""

    @property
    def name(self) -> str:
        """Its full name."""

    @property
    def place(self) -> str:
        """Where what it is shown goes."""

    def check(self, image: Path, claims: Sequence[str]) -> list[Look]:
        """Return what it makes of claims about an image."""

    def answer(self, sample: Sample, questionnaire: Questionnaire | None) -> Prediction:
        """Return its own answer to a sample's question."""


@dataclass(frozen=True)
class Remote:
    """A model behind an OpenAI-compatible address, which is shown images."""

    server: Server

    @property
    def name(self) -> str:
        """The address and the model."""
        return self.server.name

    @property
    def place(self) -> str:
        """The address."""
        return self.server.place

    def check(self, image: Path, claims: Sequence[str]) -> list[Look]:
        """Return one word to each claim; another word, or none, is a failure. A server does not say how sure it is."""
        said = self.server.say([Words(_CHECK, f"Claim: {claim}", image) for claim in claims], MOST_WORDS)
        return [Look(_SEEN.get(one_word(one))) for one in said]

    def answer(self, sample: Sample, questionnaire: Questionnaire | None) -> Prediction:
        """Ask the question with its vocabulary; what is not understood, or did not come, is unparsed."""
        question = find_question(sample, questionnaire)
        names = f"\nAnswer with one of: {'; '.join(question.names)}" if question and question.names else ""
        words = Words(_ANSWER, f"{sample.prefix}{names}", Path(sample.image))
        said = self.server.say([words], MOST_TOKENS)[0] or ""
        parsed = parse_answer(question, said) if question else None
        answer = parsed.answer if parsed else said or None
        return Prediction(
            id=sample.id, model=self.name, mode="base", split="all", prompt_sha256="", prediction=said,
            parsed=answer, parts=parsed.parts if parsed else {},
        )  # fmt: skip


@dataclass(frozen=True)
class Local:
    """A model of ours in this process."""

    opened: Opened
    recipe: Recipe

    @property
    def name(self) -> str:
        """What the user called it."""
        return self.recipe.model if self.recipe.name == "probe" else str(self.recipe.out / self.recipe.name)

    @property
    def place(self) -> str:
        """Nothing leaves."""
        return "this process"

    @torch.inference_mode()
    def check(self, image: Path, claims: Sequence[str]) -> list[Look]:
        """Choose yes or no to each claim by likelihood."""
        family, loaded = self.opened.family, self.opened.loaded
        loaded.model.eval()
        samples = [
            Sample(id=str(n), image=str(image), group="", prefix=f"Does the image show this? {claim} Answer yes or no.")
            for n, claim in enumerate(claims)
        ]
        batch = family.encode(loaded, samples, with_answers=False).to(loaded.device)
        regions_MND = family.see(loaded, batch.pixels_MCHW)
        scores = family.score(loaded, batch, regions_MND, [("yes", "no")] * len(samples))
        shares = [scores_K.softmax(0).tolist() for scores_K in scores]
        return [Look("yes", yes) if yes >= no else Look("no", no) for yes, no in shares]

    def answer(self, sample: Sample, questionnaire: Questionnaire | None) -> Prediction:
        """Choose among the question's vocabulary where it has one; else generate."""
        question = find_question(sample, questionnaire)
        offered = offer_candidates(question, []) if question else None
        candidates: dict[str, Candidates] = {question.id: offered} if question and offered else {}
        asked = Asked(self.name, "base", "all")
        (made,) = answer_samples(self.opened, [sample], questionnaire, candidates, asked, self.recipe.predict)
        return made


def find_question(sample: Sample, questionnaire: Questionnaire | None) -> Question | None:
    """Return the standard question that a sample asks."""
    known = {question.id: question for question in questionnaire.questions} if questionnaire else {}
    return known.get(sample.question or "")


def open_verifier(asked: str, data: Path, *, remote: bool = False) -> Verifier:
    """Return the model at an address, in a folder, a run's, or of a short name.

    Raises:
        UserError: no such model, or a server that does not answer or is not ours.
    """
    if asked.startswith(("http://", "https://")):
        return Remote(open_server(asked, remote=remote))
    opened, recipe = open_named(asked, data, None)
    return Local(opened, recipe)
