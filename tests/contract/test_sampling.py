"""Answers drawn at random, on tiny models of the real architectures: from their seed alone, greedy where it is cold."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from residency.models.family import Answered
from residency.models.registry import Opened, open_model
from residency.models.sampling import Sampling, draw_tokens
from residency.models.seq2seq import CrossDecoder
from residency.types import Sample
from tests.contract.test_family import ALL_BUILDERS
from tests.contract.tiny import draw_discs

TOKENS = 6


class Case:
    def __init__(self, name: str, folder: Path) -> None:
        ALL_BUILDERS[name](folder / "model")
        self.opened: Opened = open_model(str(folder / "model"))
        self.opened.loaded.model.eval()
        self.samples = draw_discs(folder / "images")[:4]

    @torch.no_grad()
    def say(self, samples: list[Sample], sampling: Sampling | None = None) -> list[Answered]:
        family, loaded = self.opened.family, self.opened.loaded
        batch = family.encode(loaded, samples, with_answers=False)
        regions = family.see(loaded, batch.pixels_MCHW)
        return family.generate(loaded, batch, regions, max_new_tokens=TOKENS, sampling=sampling)


@pytest.fixture(scope="module", params=sorted(ALL_BUILDERS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def texts(answers: list[Answered]) -> list[str]:
    return [answer.text for answer in answers]


def test_cold_answers_are_the_greedy_ones(case: Case) -> None:
    greedy = case.say(case.samples)
    for temperature in (0.0, 1e-6):
        drawn = case.say(case.samples, Sampling(3, temperature, (1, 2, 3, 4)))
        assert texts(drawn) == [answer.text for answer in greedy for _ in range(3)]
        likelihoods = [answer.likelihood for answer in greedy for _ in range(3)]
        assert [answer.likelihood for answer in drawn] == pytest.approx(likelihoods, abs=1e-4)


def test_answers_follow_from_their_own_seed_whatever_stands_beside_them(case: Case) -> None:
    sampling = Sampling(5, 1.0, (7, 8, 9, 7))
    drawn = case.say(case.samples, sampling)
    assert texts(drawn) == texts(case.say(case.samples, sampling))
    for row, sample in enumerate(case.samples):
        alone = case.say([sample], Sampling(5, 1.0, sampling.seeds[row : row + 1]))
        assert texts(alone) == texts(drawn)[5 * row : 5 * row + 5]
    assert texts(drawn) != texts(case.say(case.samples, replace(sampling, seeds=(17, 18, 19, 17))))
    assert len(set(texts(drawn)[:5])) > 1


def test_a_row_that_would_grow_too_long_is_told_in_several_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BART has 128 positions here: 30 answers of 6 tokens do not fit into one row."""
    case = Case("florence2", tmp_path)
    read: list[int] = []
    begin = CrossDecoder.read

    def watch(self: CrossDecoder, core: object, *rest: object) -> torch.Tensor:
        read.append(rest[-1].get_seq_length())  # type: ignore[attr-defined]
        return begin(self, core, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(CrossDecoder, "read", watch)
    many = case.say(case.samples[:2], Sampling(30, 1.0, (1, 2)))
    assert read.count(1) == 2  # how often the start token alone had been read: 21 answers, then 9
    assert len(many) == 60
    one_by_one = [
        text for seed, sample in ((1, case.samples[0]), (2, case.samples[1]))
        for text in texts(case.say([sample], Sampling(30, 1.0, (seed,))))
    ]  # fmt: skip
    assert texts(many) == one_by_one


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, -30.0]])
    uniform = torch.linspace(0, 1 - 1e-9, 20_001, dtype=torch.float64)
    for temperature in (0.4, 1.0):
        drawn = draw_tokens(logits.expand(len(uniform), -1), temperature, uniform)
        shares = torch.bincount(drawn, minlength=4) / len(uniform)
        assert torch.allclose(shares, (logits[0] / temperature).softmax(0), atol=1e-3)


@pytest.mark.parametrize(("count", "temperature"), [(0, 1.0), (1, -0.1), (1, float("nan"))])
def test_a_sampling_that_makes_no_sense_is_refused(count: int, temperature: float) -> None:
    with pytest.raises(ValueError, match="no such sampling"):
        Sampling(count, temperature, (0,))
