"""Pictures in, the same without the text that is burned into them out; checked again, or refused.

Text is found by OCR (extra `ocr`: RapidOCR with the PP-OCR models that its package holds, on onnxruntime; no network).
The whole picture is read, and at twice the size in tiles, where small letters are found. All text is masked, not names
alone: what a name is cannot be told for sure, and a caliper's caption would tell a model the answer.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np
from PIL import Image

from residency.dicom.header import Refused
from residency.errors import MissingExtra

Box = tuple[int, int, int, int]
Burned = Literal["mask", "refuse", "keep"]
"""What is done about burned-in text: masked, the file refused, or (a risk accepted by name) left in."""
_TILE, _LAP = 1000, 120
"""Side of a tile and what it shares with the next, in pixels: RapidOCR shrinks what is larger than 2,000."""
_SMALL = 368
"""RapidOCR enlarges a picture to 736 pixels itself: one of half of that is read at twice the size either way."""
_ROUNDS = 5
_SURE, _BOX = 0.3, 0.4
"""Least likelihood of a line's letters and of its box. RapidOCR's own are 0.5, but a mask too many does less harm."""
_LARGE = 0.1
"""One or two letters taller than this share of the picture are none: a skull is read as a 6, and names nobody."""
_LEAST_PAD, _PAD = 3, 0.25
"""A mask goes beyond its line by this many pixels, or this share of its height; to the sides by the height itself."""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text in a picture: its letters, and its box (x0, y0, x1, y1) in pixels, margins included."""

    letters: str
    box: Box


@dataclass(frozen=True)
class Cleared:
    """Pictures whose text is masked, and the lines that were found, in the order of finding."""

    frames: list[np.ndarray]
    texts: tuple[Text, ...]


class TextReader:
    """Finds text in pictures; made once, since its models load in a second. Safe to share between threads."""

    def __init__(self, threads: int = 1) -> None:
        try:
            # Its own fetching of models is of no use offline, and never wanted.
            os.environ.setdefault("RAPIDOCR_DISABLE_DOWNLOAD", "1")
            import onnxruntime  # noqa: F401
            from rapidocr import RapidOCR
        except ImportError:
            raise MissingExtra("RapidOCR, which finds burned-in text,", "ocr") from None
        inference = "EngineConfig.onnxruntime"
        self._engine: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": _SURE,
                "Det.box_thresh": _BOX,
                f"{inference}.intra_op_num_threads": threads,
                f"{inference}.inter_op_num_threads": 1,
            }
        )
        self._lock = Lock()

    def find(self, frame: np.ndarray) -> list[Text]:
        """Return the lines of text in a picture (rows, columns[, 3]) of 8 bits."""
        # What the whole picture shows is not read again in the tiles.
        left = frame.copy()
        texts: list[Text] = []
        for box, scale in _pieces(frame):
            new = list(self._read(left, box, scale))
            _blank([left], new)
            texts += new
        return texts

    def _read(self, frame: np.ndarray, box: Box, scale: int) -> Iterator[Text]:
        left, top, right, bottom = box
        piece = frame[top:bottom, left:right]
        colour = Image.fromarray(piece[:, :, ::-1] if piece.ndim == 3 else np.repeat(piece[:, :, None], 3, axis=2))
        if scale > 1:
            colour = colour.resize((scale * colour.width, scale * colour.height), Image.Resampling.LANCZOS)
        with self._lock:
            found = self._engine(np.asarray(colour), use_cls=False)
        if found.boxes is None:
            return
        place, (height, width) = np.array([left, top]), frame.shape[:2]
        for corners_42, letters in zip(found.boxes, found.txts, strict=True):
            low, high = np.asarray(corners_42).min(0) / scale, np.asarray(corners_42).max(0) / scale
            if sum(map(str.isalnum, letters)) <= 2 and high[1] - low[1] > _LARGE * min(height, width):
                continue
            line = float(high[1] - low[1])
            # A detector often misses a line's first or last letter.
            pad = np.maximum(_LEAST_PAD, (line, _PAD * line))
            x0, y0 = (np.floor(low - pad) + place).clip(0).astype(int).tolist()
            x1, y1 = (np.ceil(high + pad) + place).clip(0, (width, height)).astype(int).tolist()
            yield Text(letters, (x0, y0, x1, y1))


def clear_text(frames: Sequence[np.ndarray], reader: TextReader, burned: Burned = "mask") -> Cleared:
    """Return one clip's frames without text: masked in black on every frame where any of those examined has a line.

    Examined are the first and the last frame and the brightest value of each pixel over all frames, in which what
    stands on a dark ground for a single frame is seen too. This is repeated until nothing is found.

    Raises:
        Refused: `burned-in-text`: there is text and `burned` says to refuse, or some is left after five rounds.
    """
    clean = [frame.copy() for frame in frames]
    found: list[Text] = []
    for _ in range(_ROUNDS):
        new: list[Text] = []
        for place in _examined(len(clean)):
            texts = reader.find(clean[place] if place is not None else _brightest(clean))
            if texts and burned == "refuse":
                raise Refused("burned-in-text", f"{len(texts)} line(s) of text are burned into the picture")
            _blank(clean, texts)
            new += texts
        if not new:
            return Cleared(clean, tuple(found))
        found += new
    raise Refused("burned-in-text", f"text is left in the picture after {_ROUNDS} rounds of masking")


def _blank(frames: Sequence[np.ndarray], texts: Sequence[Text]) -> None:
    for text in texts:
        x0, y0, x1, y1 = text.box
        for frame in frames:
            frame[y0:y1, x0:x1] = 0


def _examined(count: int) -> list[int | None]:
    """Return the places of the frames that are read; None stands for the brightest values of all."""
    return [0] if count == 1 else [0, count - 1, None]


def _brightest(frames: Sequence[np.ndarray]) -> np.ndarray:
    brightest = frames[0].copy()
    for frame in frames[1:]:
        np.maximum(brightest, frame, out=brightest)
    return brightest


def _pieces(frame: np.ndarray) -> Iterator[tuple[Box, int]]:
    """Yield what is read and at what size: the whole, then tiles at twice the size; of a small picture these alone."""
    height, width = frame.shape[:2]
    if max(height, width) > _SMALL:
        yield (0, 0, width, height), 1
    for top in range(0, max(1, height - _LAP), _TILE - _LAP):
        for left in range(0, max(1, width - _LAP), _TILE - _LAP):
            yield (left, top, min(left + _TILE, width), min(top + _TILE, height)), 2
