"""What an export holds in, its model card `README.md` out: what it is, how it is loaded, what it is not for."""

import json

from residency import NOT_FOR_DIAGNOSIS, __version__
from residency.config import Recipe
from residency.export.agree import Agreement
from residency.export.usage import Usage
from residency.models.names import KNOWN, SHORT_NAMES
from residency.types import Record


class Facts(Record):
    """What the card and `residency.json` say of an export."""

    run: str
    base: str
    family: str
    architecture: str
    dtype: str
    parameters: int
    trained_at: str
    compared_on: str
    agreements: tuple[Agreement, ...]
    floor: float
    neighbours: int = 0
    """How many entries of an index a prompt tells of, at most."""


def render_card(recipe: Recipe, facts: Facts, usage: Usage) -> str:
    """Return the card as Markdown with the metadata block that model hubs read."""
    known = next((model for model in KNOWN.values() if facts.base in (model.name, model.hub)), None)
    licence = f"The base model's licence holds for these weights, too: {known.licence}." if known else (
        "The base model's licence holds for these weights, too."
    )  # fmt: skip
    hub = SHORT_NAMES.get(facts.base, facts.base) if known and known.hub else facts.base
    notes = "\n".join(f"- {note}" for note in (*usage.notes, *_tell_neighbours(facts)))
    found = "\n".join(f"- {agreement.sentence()}" for agreement in facts.agreements)
    low = [one for one in facts.agreements if one.share < 1]
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
base_model: {json.dumps(hub)}
tags: [residency, medical-imaging, research-only]
---
# {recipe.name}

**{NOT_FOR_DIAGNOSIS}**

`{facts.base}` ({facts.architecture}, {facts.parameters / 1e6:.1f} million parameters), tuned with Residency \
{__version__} and merged: one model, {facts.dtype} weights, no adapter. How good it is, the report of the run \
`{facts.run}` says (`residency report`); its figures hold for images like those that it was examined on. \
{licence}

## Load it

```python
{usage.load.strip()}
```

## Ask it

Word for word as it was trained; another prompt is another model.

```python
{usage.ask.strip()}
```

`generation_config.json` asks for greedy answers, as it was examined.

{notes}

## Does it answer as the run did?

Compared on {facts.compared_on}, after it was written and read again; the run itself was trained {facts.trained_at}.

{found}
{"- Where answers differ, both stand in `residency.json`." if low else ""}
"""


def _tell_neighbours(facts: Facts) -> list[str]:
    if not facts.neighbours:
        return []
    return [
        f"The run's prompts tell of similar cases (up to {facts.neighbours} entries of an index), as the prompt above "
        "does. This folder holds no index and looks none up: whoever asks it finds them, and words them so. Asked "
        "without, it is not the model that was examined; `residency predict` and `residency serve` ask the run itself."
    ]
