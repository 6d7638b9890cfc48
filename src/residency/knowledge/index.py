"""A dataset's training split and the user's documents in, an index folder of similar cases and passages out; and back.

The folder is whole or absent: it is made under another name, and takes its own when all is in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import Field

from residency.data.dataset import Dataset, hash_dataset
from residency.errors import UserError
from residency.files import is_there, new_folder, read_json, sha256_file, write_json
from residency.knowledge.passages import list_documents, read_passages
from residency.knowledge.store import Entry, Table, write_table
from residency.models.embed import ImageEncoder
from residency.models.sentences import TextEncoder, open_text_encoder
from residency.types import Record, Sample

CARD = "index.json"
BM25 = "bm25"


class IndexCard(Record):
    """What an index holds and was made from; `images` is how many the recipe learned from (None: all)."""

    dataset: str
    dataset_sha256: dict[str, str]
    fold: int = 0
    images: int | None = None
    encoder: str
    encoder_sha256: str
    dimension: int
    words: str = BM25
    words_sha256: str = ""
    cases: int
    pictures: int
    groups: int
    passages: int = 0
    documents: dict[str, str] = Field(default_factory=dict)
    """Path -> SHA-256."""

    def command(self, folder: Path) -> str:
        """Return the command that makes the index anew."""
        words = "" if self.words == BM25 else f" --words {self.words}"
        texts = "".join(f" --text {path}" for path in self.documents)
        fold = f" --fold {self.fold}" if self.fold else ""
        return f"residency index {self.dataset} --model {self.encoder}{words}{texts}{fold} --out {folder}"


@dataclass(frozen=True)
class Index:
    """An index that is open for searching."""

    folder: Path
    card: IndexCard
    table: Table


def build_index(
    out: Path,
    dataset: Dataset,
    samples: Sequence[Sample],
    encoder: ImageEncoder,
    *,
    fold: int = 0,
    images: int | None = None,
    documents: Sequence[Path] = (),
    words: str = BM25,
) -> IndexCard:
    """Write an index of annotated samples (absolute image paths; the training split's alone) and of documents.

    Raises:
        UserError: no samples, another command is at work on `out`, or it cannot be written.
        CheckFailed: documents that cannot be read.
        MissingExtra: LanceDB is not installed.
    """
    if not samples:
        raise UserError(f"{dataset.folder} has no annotated sample in its training split", do="annotate some, ingest")
    passages = read_passages(list(documents))
    reader = None if words == BM25 else open_text_encoder(words)
    vectors = encoder.embed(samples)
    entries = [*case_entries(samples, vectors), *(Entry(id=one.id, kind="passage", text=one.text) for one in passages)]
    entries = list(_with_words(entries, reader))
    dimension = len(next(iter(vectors.values())))
    card = IndexCard(
        dataset=str(dataset.folder),
        dataset_sha256=hash_dataset(dataset.folder),
        fold=fold,
        images=images,
        encoder=encoder.name,
        encoder_sha256=encoder.sha256,
        dimension=dimension,
        words=words,
        words_sha256=reader.sha256 if reader else "",
        cases=len(samples),
        pictures=len(vectors),
        groups=len({sample.group for sample in samples}),
        passages=len(passages),
        documents={str(path): sha256_file(path) for path in list_documents(list(documents))},
    )
    word_size = len(entries[0].word_vector) if entries[0].word_vector is not None else 0
    write_index(out, card, entries, word_size)
    return card


def write_index(out: Path, card: IndexCard, entries: Sequence[Entry], word_size: int = 0) -> None:
    """Write the folder; killed on the way, it is not there, and what was begun is removed by the next that builds it.

    Raises:
        UserError: `out` is something else, or another command is building it.
    """
    if is_there(out) and not is_there(out / CARD):
        raise UserError(f"{out} is there, and is no index", do="choose another --out")
    with _building(out), new_folder(out, replace_old=True) as folder:
        write_table(folder, entries, card.dimension, word_size)
        write_json(folder / CARD, card.model_dump(mode="json"))


def open_index(folder: Path) -> Index:
    """Open an index.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not is_there(folder / CARD):
        raise UserError(
            f"{folder} is no index",
            found=f"no {CARD} in it" if is_there(folder) else "nothing there",
            do=f"residency index DATASET --model MODEL --out {folder}",
        )
    card = read_json(folder / CARD, IndexCard)
    return Index(folder, card, Table(folder, by_words=card.words == BM25))


def require_fresh(index: Index, data: Path, fold: int, images: int | None, encoder_sha256: str | None) -> None:
    """Make sure that an index is of this dataset's training split as it is now, and of this encoder.

    Raises:
        UserError: it is stale, or holds another fold's or more than this recipe's training samples: all that differs.
    """
    card, now = index.card, hash_dataset(data)
    names = sorted({*now, *card.dataset_sha256})
    faults = [f"{data / name} has changed since" for name in names if now.get(name) != card.dataset_sha256.get(name)]
    if card.fold != fold:
        faults.append(f"it holds the training split of fold {card.fold}, not of fold {fold}")
    if card.images != images:
        held, wanted = (f"{number} images" if number else "all images" for number in (card.images, images))
        faults.append(f"it holds {held}, the recipe learns from {wanted}")
    if encoder_sha256 is not None and card.encoder_sha256 != encoder_sha256:
        faults.append(f"the encoder {card.encoder} has changed since")
    for path, digest in card.documents.items():
        if not Path(path).is_file() or sha256_file(Path(path)) != digest:
            faults.append(f"the document {path} has changed since")
    if faults:
        anew = card.model_copy(update={"dataset": str(data), "fold": fold})
        do = f"make it anew: {anew.command(index.folder)}"
        if card.images != images:
            do += "; or take retrieval.index out of the recipe, so that the run makes its own"
        raise UserError(f"the index {index.folder} is stale", found="; ".join(faults), do=do, exit_code=1)


def case_entries(samples: Sequence[Sample], vectors: Mapping[str, NDArray[np.float32]]) -> Iterator[Entry]:
    """Yield a row for each annotated sample, with its image's vector; the text is its question and answer."""
    for sample in samples:
        yield Entry(
            id=sample.id,
            kind="case",
            text=f"{sample.prefix} {sample.suffix or ''}".strip(),
            sample=sample.model_copy(update={"context": None}),
            image_vector=vectors[sample.image],
        )


def _with_words(entries: Sequence[Entry], reader: TextEncoder | None) -> Iterator[Entry]:
    if reader is None:
        yield from entries
        return
    for entry, vector in zip(entries, reader.embed([entry.text for entry in entries]), strict=True):
        yield Entry(**(vars(entry) | {"word_vector": vector}))


@contextmanager
def _building(out: Path) -> Iterator[None]:
    """Keep other builders away, and clear away what one that was killed has left."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.parent / f".{out.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another command is building {out}", do="wait for its end", exit_code=1) from None
    try:
        for left in out.parent.glob(f".{out.name}.*"):
            if left.is_dir():
                rmtree(left)
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
