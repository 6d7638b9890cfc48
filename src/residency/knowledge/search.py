"""A picture or words in, the nearest annotated cases and text passages of an index out, ranked together."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from residency.data.images import read_image
from residency.errors import UserError
from residency.knowledge.index import BM25, Index
from residency.knowledge.retrieve import POOL
from residency.knowledge.store import Kind, fuse_ranks
from residency.models.embed import open_image_encoder
from residency.models.sentences import open_text_encoder
from residency.types import Problem, Record, Sample


class Hit(Record):
    """One entry that was found: a case with its group and picture, or a passage; `distance` is of pictures (cosine)."""

    kind: Kind
    id: str
    text: str
    group: str = ""
    image: str = ""
    distance: float | None = None


def search_index(index: Index, image: Path | None = None, words: str = "", k: int = 5, without: str = "") -> list[Hit]:
    """Return the k entries nearest to a picture, to words, or to both (reciprocal-rank fusion), none of a group.

    Raises:
        UserError: neither picture nor words, the picture cannot be read, or the encoder has changed since.
    """
    lists = []
    if image:
        lists.append(index.table.near_image(_see(index, image), POOL, without=without))
    if words.strip():
        asked = words if index.card.words == BM25 else open_text_encoder(index.card.words).embed([words])[0]
        lists.append(index.table.near_text(asked, POOL, without=without))
    if not lists:
        raise UserError("there is nothing to search by", do="--image FILE, --words TEXT, or both")
    return [
        Hit(
            kind=one.kind,
            id=one.id,
            text=one.text,
            group=one.sample.group if one.sample else "",
            image=one.sample.image if one.sample else "",
            distance=None if one.distance is None or one.kind == "passage" else round(one.distance, 4),
        )
        for one in fuse_ranks(lists)[:k]
    ]


def _see(index: Index, image: Path) -> NDArray[np.float32]:
    if not image.is_file():
        raise UserError(f"no picture {image}", do="name an image file")
    if isinstance(seen := read_image(image.name, image), Problem):
        raise UserError(f"{image} is no picture that can be read", found=seen.message, do="name an image file")
    encoder = open_image_encoder(index.card.encoder)
    if encoder.sha256 != index.card.encoder_sha256:
        found, do = f"{encoder.name} has changed since", f"make it anew: {index.card.command(index.folder)}"
        raise UserError(f"the index {index.folder} is stale", found=found, do=do, exit_code=1)
    return encoder.embed([Sample(id="asked", image=str(image), prefix="", group="")])[str(image)]
