"""Solved examples before a question: what each family reads of them, and that sharing a reading changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from residency.asking import Shots
from residency.config import Speed
from residency.data.shots import show_shots
from residency.models.family import Loaded
from residency.models.prompts import word_whole
from residency.models.registry import Opened, open_model
from residency.types import Sample
from tests.contract.tiny import build_tiny_nano, draw_discs
from tests.contract.tiny_causal import build_tiny_llava, build_tiny_paligemma
from tests.contract.tiny_chat import CHAT_BUILDERS

CANDIDATES = ["left side", "right side", "a much longer answer"]


def opened_with(folder: Path, kind: str, **named: object) -> Opened:
    CHAT_BUILDERS[kind](folder)
    opened = open_model(str(folder), **named)  # type: ignore[arg-type]
    opened.loaded.model.eval()
    return opened


def shown_discs(folder: Path) -> list[Sample]:
    """Two questions about each of two images, with one and with two examples."""
    samples = draw_discs(folder)
    first = show_shots(samples[:2], samples, Shots(count=2))
    return [*first, *show_shots(samples[2:4], samples, Shots(count=1))]


@torch.inference_mode()
def scores_of(opened: Opened, samples: list[Sample], **speed: bool) -> torch.Tensor:
    spec = replace(opened.loaded.spec, speed=Speed(**speed))
    loaded = Loaded(spec, opened.loaded.model, opened.loaded.processor)
    batch = opened.family.encode(loaded, samples, with_answers=False)
    regions = opened.family.see(loaded, batch.pixels_MCHW)
    return torch.stack(opened.family.score(loaded, batch, regions, [CANDIDATES] * len(samples)))


@pytest.mark.parametrize("kind", CHAT_BUILDERS)
def test_examples_are_turns_with_pictures_and_sharing_changes_nothing(tmp_path: Path, kind: str) -> None:
    opened = opened_with(tmp_path / "model", kind, system="You see discs.")
    samples = shown_discs(tmp_path / "images")
    together = scores_of(opened, samples)
    alone = torch.cat([scores_of(opened, [sample], share_image=False) for sample in samples])
    assert torch.allclose(together, alone, atol=2e-4)
    other = [
        sample.model_copy(
            update={"shots": tuple(shot.model_copy(update={"image": samples[2].image}) for shot in sample.shots)}
        )
        for sample in samples[:2]
    ]
    assert not torch.allclose(scores_of(opened, other), together[:2], atol=1e-4)  # the pictures are read
    batch = opened.family.encode(opened.loaded, samples, with_answers=True)
    output = opened.family.forward(opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW))
    assert output.image_BD.shape[0] == 4 and batch.shots_BE is not None and (batch.shots_BE == -1).sum() == 2
    said = opened.family.generate(
        opened.loaded, batch, opened.family.see(opened.loaded, batch.pixels_MCHW), max_new_tokens=3
    )
    assert len(said) == 4


def test_examples_as_text_are_read_without_their_pictures(tmp_path: Path) -> None:
    opened = opened_with(tmp_path / "model", "smolvlm", shots_as_text=True)
    samples = shown_discs(tmp_path / "images")
    batch = opened.family.encode(opened.loaded, samples, with_answers=False)
    assert batch.shots_BE is None
    bare = [sample.model_copy(update={"shots": ()}) for sample in samples]
    assert not torch.allclose(scores_of(opened, samples), scores_of(opened, bare), atol=1e-4)


def test_other_families_read_them_as_words_in_their_own_notation(tmp_path: Path) -> None:
    place = Sample(
        id="a", image="a.png", prefix="detect disc", suffix="disc<loc_0><loc_0><loc_500><loc_999>", group="p"
    )
    asked = place.model_copy(update={"id": "b", "image": "b.png", "group": "q", "shots": (place,)})
    told = {}
    for name, build in (("nano", build_tiny_nano), ("paligemma", build_tiny_paligemma), ("llava", build_tiny_llava)):
        build(tmp_path / name)
        opened = open_model(str(tmp_path / name), system="You see discs.")
        told[name] = opened
        assert word_whole(opened.loaded.spec, asked).splitlines() == [
            "You see discs.",
            "detect disc disc<loc_0><loc_0><loc_500><loc_999>",
            "detect disc",
        ]
    paligemma, llava = told["paligemma"], told["llava"]
    words = paligemma.family.word_prompt(paligemma.loaded, asked)  # type: ignore[attr-defined]
    assert "detect disc <loc0000><loc0000><loc1023><loc0512> disc detect disc\n" in words
    words = llava.family.word_prompt(llava.loaded, asked)  # type: ignore[attr-defined]
    assert words.startswith("USER: <image>\nYou see discs.\ndetect disc disc<loc_0>") and words.endswith("ASSISTANT:")
