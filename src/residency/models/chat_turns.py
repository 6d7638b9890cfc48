"""Samples with solved examples in, the turns that a chat model is told, and which picture stands where, out."""

from residency.models.chat_reader import Turns
from residency.models.family import Batch, Loaded, ModelSpec
from residency.models.llava import expand_task
from residency.models.prompts import render_prompt, word_whole
from residency.types import Sample

NO_SHOT = -1
"""In `Batch.shots_BE`: the sample has fewer examples."""


def turns_of(loaded: Loaded, sample: Sample) -> Turns:
    """Return what is said before a sample's answer, task tokens of a dataset (`<VQA>` ...) put into words.

    Solved examples are turns of their own with their pictures, or stand as text before the question.
    """
    spec = loaded.spec
    if spec.shots_as_text:
        return Turns(word_whole(ModelSpec("", spec.prompt), sample, expand_task), (), spec.system)
    solved = ((expand_task(render_prompt(spec.prompt, shot)), shot.suffix or "") for shot in sample.shots)
    return Turns(expand_task(render_prompt(spec.prompt, sample)), tuple(solved), spec.system)


def images_by_sample(batch: Batch) -> list[tuple[int, ...]]:
    """Return the images of each sample's prompt in order: those of its solved examples, then its own."""
    own: list[tuple[int, ...]] = [(image,) for image in batch.image_of_B.tolist()]
    if batch.shots_BE is None:
        return own
    shown = [tuple(image for image in row if image != NO_SHOT) for row in batch.shots_BE.tolist()]
    return [shots + image for shots, image in zip(shown, own, strict=True)]


def list_images(batch: Batch) -> list[int]:
    """Return the images of all prompts of a batch, one prompt behind another."""
    return [image for images in images_by_sample(batch) for image in images]
