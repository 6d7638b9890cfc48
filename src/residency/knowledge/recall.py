"""A recipe's retrieval in, a recall out: it looks up each sample's neighbours and words them into its prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from residency.asking import Retrieval
from residency.config import Recipe
from residency.data.dataset import load_dataset
from residency.errors import UserError
from residency.files import is_there
from residency.knowledge.index import BM25, CARD, Index, build_index, open_index, require_fresh
from residency.knowledge.retrieve import attach_neighbours
from residency.models.embed import ImageEncoder, Vectors, open_image_encoder, tower_encoder
from residency.models.family import Images
from residency.models.registry import Opened
from residency.models.sentences import TextEncoder, open_text_encoder
from residency.processes import is_first, wait_for_all
from residency.types import Sample

OWN = "index"
"""The folder, within a run's, of the index that it made itself."""


@dataclass
class Recall:
    """An open index with what turns images, and words, into its vectors; images' files are seen once."""

    index: Index
    settings: Retrieval
    encoder: ImageEncoder
    reader: TextEncoder | None
    vectors: Vectors = field(default_factory=dict)

    def tell(self, samples: Sequence[Sample], counts: Sequence[int], images: Images | None = None) -> list[Sample]:
        """Return samples whose prompts tell of so many neighbours each; `images` replaces all files, by their names.

        Only files' vectors are kept: what comes in memory may be another picture next time, and there is no end of it.
        """
        if not any(counts):
            return [sample.model_copy(update={"context": None}) for sample in samples]
        if images is not None:
            vectors = self.encoder.embed(samples, images)
            return attach_neighbours(self.index, samples, vectors, self.settings, counts, self.reader)
        if unseen := [sample for sample in samples if sample.image not in self.vectors]:
            self.vectors |= self.encoder.embed(unseen)
        return attach_neighbours(self.index, samples, self.vectors, self.settings, counts, self.reader)


def open_recall(recipe: Recipe, training: Sequence[Sample], fold: int, run: Path, opened: Opened | None) -> Recall:
    """Open the index that a recipe names, or make the run's own of its training samples; `opened` sees the images.

    Raises:
        UserError: the recipe has no retrieval, or the index is missing, damaged or stale.
        MissingExtra: LanceDB is not installed.
    """
    settings = recipe.retrieval
    if settings is None:
        raise UserError("the recipe has no `retrieval`", do="retrieval.k=3 gives it one")
    images = recipe.train.images
    if settings.index is None:
        encoder = _encoder_of(recipe.model, recipe, run, opened)
        if is_first() and not _is_own_fresh(run / OWN, recipe, fold, encoder.sha256):
            build_index(run / OWN, load_dataset(recipe.data), training, encoder, fold=fold, images=images)
        wait_for_all()
        index = open_index(run / OWN)
    else:
        index = open_index(settings.index)
        encoder = _encoder_of(index.card.encoder, recipe, run, opened)
        require_fresh(index, recipe.data, fold, images, encoder.sha256)
    if settings.passages and not index.card.passages:
        do = "residency index ... --text FILE, and name its folder in retrieval.index"
        raise UserError("retrieval.passages, but the index holds no text passages", found=str(index.folder), do=do)
    reader = None
    if index.card.words != BM25 and (settings.by != "image" or settings.passages):
        reader = open_text_encoder(index.card.words)
        if reader.sha256 != index.card.words_sha256:
            do = f"make it anew: {index.card.command(index.folder)}"
            raise UserError(f"the index {index.folder} is stale", found=f"{reader.name} has changed since", do=do)
    return Recall(index, settings, encoder, reader)


def _is_own_fresh(folder: Path, recipe: Recipe, fold: int, encoder_sha256: str) -> bool:
    if not is_there(folder / CARD):
        return False
    try:
        require_fresh(open_index(folder), recipe.data, fold, recipe.train.images, encoder_sha256)
    except UserError:
        return False
    return True


def _encoder_of(name: str, recipe: Recipe, run: Path, opened: Opened | None) -> ImageEncoder:
    """Return an index's encoder; the model that is open already is not opened a second time."""
    if opened and name == recipe.model:
        return tower_encoder(opened, name)
    if opened and Path(name).resolve() == run.resolve():
        return tower_encoder(opened, name, tuned=run / "adapter")
    return open_image_encoder(name)
