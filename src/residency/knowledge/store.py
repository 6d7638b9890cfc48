"""One LanceDB table: entries in (annotated cases and text passages side by side), those nearest to a query out.

LanceDB runs within this process and keeps the table in a folder; nothing is sent anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from residency.errors import MissingExtra, UserError
from residency.types import Sample

TABLE, FOLDER = "entries", "lance"
Kind = Literal["case", "passage"]
EXACT_UP_TO = 20_000
"""Rows that are compared one by one; beyond, the nearest lists of an inverted index are read (IVF)."""
LISTS_READ = 32
FUSED = 60
"""The constant of reciprocal-rank fusion (Cormack 2009, SIGIR)."""


@dataclass(frozen=True)
class Entry:
    """A row: a case (a sample with its image's vector) or a passage (`text` alone). `words` embeds the text."""

    id: str
    kind: Kind
    text: str
    sample: Sample | None = None
    image_vector: NDArray[np.float32] | None = None
    word_vector: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Found:
    """An entry that was found; `distance` is one minus the cosine (None: found by words alone)."""

    id: str
    kind: Kind
    text: str
    sample: Sample | None
    distance: float | None


def write_table(folder: Path, entries: Sequence[Entry], image_size: int, word_size: int = 0) -> None:
    """Write entries, with their search indexes, into a folder.

    Raises:
        MissingExtra: LanceDB is not installed.
    """
    cases, passages = ([entry for entry in entries if entry.kind == kind] for kind in ("case", "passage"))
    table = _connect(folder).create_table(TABLE, _arrow(cases, image_size, word_size))
    if passages:  # apart, for a column of vectors is either full or empty where it is added
        table.add(_arrow(passages, image_size, word_size))
    _index_table(table, len(entries))


class Table:
    """An index's table, opened to be searched."""

    def __init__(self, folder: Path, *, by_words: bool) -> None:
        """Open it.

        Raises:
            MissingExtra: LanceDB is not installed.
            UserError: the table is damaged.
        """
        self.by_words = by_words
        try:
            self.table = _connect(folder).open_table(TABLE)
            self.rows = int(self.table.count_rows())
        except (ValueError, OSError, RuntimeError) as error:
            found = str(error).splitlines()[0]
            raise UserError(f"{folder} is damaged", found=found, do="make the index anew: residency index") from error

    def near_image(
        self, vector: NDArray[np.float32], k: int, *, without: str = "", question: str | None = None
    ) -> list[Found]:
        """Return the k cases nearest to an image's vector (cosine), none of the group `without`.

        `question`: only answers to it. Both filters apply before the search.
        """
        return self._near(vector, "image_vector", _where("case", without, question), k)

    def near_text(
        self,
        query: str | NDArray[np.float32],
        k: int,
        kind: Kind | None = None,
        *,
        without: str = "",
        question: str | None = None,
    ) -> list[Found]:
        """Return the k entries, of both kinds or of one, whose text is nearest to words (BM25) or their vector."""
        where = _where(kind, without, question)
        if not isinstance(query, str):
            return self._near(query, "word_vector", where, k)
        from lancedb.query import MatchQuery

        # MatchQuery takes the words as they are; a plain string would be parsed as a query's syntax.
        if not query.strip():
            return []
        search = self.table.search(MatchQuery(query, "text"), query_type="fts").where(where, prefilter=True).limit(k)
        return [_found(row, None) for row in search.select([*_SHOWN, "_score"]).to_list()]

    def _near(self, vector: NDArray[np.float32], column: str, where: str, k: int) -> list[Found]:
        def search() -> Any:
            asked = self.table.search(vector, vector_column_name=column).distance_type("cosine")
            return asked.where(where, prefilter=True).limit(k).select([*_SHOWN, "_distance"])

        rows = search().nprobes(LISTS_READ).to_list()
        if len(rows) < k and self.rows > EXACT_UP_TO:  # the filter left too little in the lists that were read
            rows = search().bypass_vector_index().to_list()
        return [_found(row, float(row["_distance"])) for row in rows]


def fuse_ranks(lists: Sequence[Sequence[Found]]) -> list[Found]:
    """Return what any list holds, best first, by the sum of 1 / (60 + rank) (reciprocal-rank fusion)."""
    held: dict[str, Found] = {}
    weight: dict[str, float] = {}
    for found in lists:
        for rank, one in enumerate(found, 1):
            if one.id not in held or held[one.id].distance is None:
                held[one.id] = one
            weight[one.id] = weight.get(one.id, 0.0) + 1 / (FUSED + rank)
    return sorted(held.values(), key=lambda one: (-weight[one.id], one.id))


_SHOWN = ("id", "kind", "text", "sample")


def _connect(folder: Path) -> Any:
    try:
        import lancedb
    except ImportError:
        raise MissingExtra("LanceDB", "rag") from None
    return lancedb.connect(str(folder / FOLDER))


def _arrow(entries: Sequence[Entry], image_size: int, word_size: int) -> Any:
    import pyarrow as pa

    def vectors(of: str, size: int) -> Any:
        rows = [getattr(entry, of) for entry in entries]
        if any(row is None for row in rows):
            return pa.nulls(len(rows), pa.list_(pa.float32(), size))
        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows, dtype=np.float32)), size)

    samples = [entry.sample for entry in entries]
    columns = {
        "id": pa.array([entry.id for entry in entries]),
        "kind": pa.array([entry.kind for entry in entries]),
        "held_by": pa.array([sample.group if sample else "" for sample in samples]),
        "question": pa.array([(sample.question or "") if sample else "" for sample in samples]),
        "text": pa.array([entry.text for entry in entries]),
        "sample": pa.array([sample.line() if sample else "" for sample in samples]),
        "image_vector": vectors("image_vector", image_size),
    } | ({"word_vector": vectors("word_vector", word_size)} if word_size else {})
    return pa.table(columns)


def _index_table(table: Any, rows: int) -> None:
    from lancedb.index import FTS, Bitmap, BTree, IvfFlat

    # ICU finds words in any language: Chinese has no spaces between them.
    words = FTS(base_tokenizer="icu", stem=True, remove_stop_words=False, ascii_folding=True)
    table.create_index("text", config=words)
    for column, kind in (("kind", Bitmap()), ("question", Bitmap()), ("held_by", BTree())):
        table.create_index(column, config=kind)
    if rows > EXACT_UP_TO:
        lists = round(rows**0.5 / 2)
        table.create_index("image_vector", config=IvfFlat(distance_type="cosine", num_partitions=lists))


def _where(kind: Kind | None, without: str, question: str | None) -> str:
    parts = [f"kind = '{kind}'" if kind else "kind IN ('case', 'passage')"]
    parts += [f"held_by <> {_quoted(without)}"] if without else []
    parts += [f"question = {_quoted(question)}"] if question else []
    return " AND ".join(parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _found(row: dict[str, Any], distance: float | None) -> Found:
    sample = Sample.model_validate_json(row["sample"]) if row["sample"] else None
    return Found(row["id"], row["kind"], row["text"], sample, distance)
