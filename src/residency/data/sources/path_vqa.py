"""Path-VQA in, questions about pathology images with their answers out (He et al. 2020, arXiv 2003.10286).

As the hub publishes it (flaviagiammarino/path-vqa, Hugging Face's image layout): parquet files named by split, each row
an `image` {bytes, path}, a `question`, an `answer`. The pictures are unpacked into the dataset, each once, under the
hash of its bytes. Yes/no answers become a choice, all others text.
"""

from pathlib import Path

from residency.data.lines import IN_WORDS, YES_OR_NO, Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.reports import split_of_name
from residency.data.sources.packed import columns_of, unpack_rows, unpacked_rows
from residency.types import Problem, Questionnaire, Source

HOLDS = "Path-VQA, as on the hub: data/train-*.parquet with image, question and answer (needs residency[parquet])"
_COLUMNS = ("image", "question", "answer")
_QUESTIONS = Questionnaire(
    name="path-vqa",
    title="Questions about pathology images, each in its own words",
    questions=(YES_OR_NO, IN_WORDS),
)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout.

    Raises:
        MissingExtra: pyarrow, which reads parquet, is not installed.
        UserError: a parquet file that is damaged.
    """
    if sheet is not None or not images.is_dir():
        return None
    files = [*sorted(images.glob("*.parquet")), *sorted((images / "data").glob("*.parquet"))]
    files = [path for path in files if split_of_name(path.stem)]
    if not files or not {*_COLUMNS} <= {*columns_of(files[0])}:
        return None
    return Place(tuple(files), images)


def unpack(place: Place, folder: Path, limit: int | None, seed: int) -> Place:
    """Write the pictures to `folder`/images, and a line a row beside; of `limit` rows, drawn by the seed.

    Raises:
        UserError: a parquet file that is damaged, or lacks a column.
    """
    return unpack_rows(place, folder, limit, seed, _COLUMNS[0], _COLUMNS[1:])


def read(place: Place) -> Reading:
    """Read the lines that were unpacked; one without a picture, question or answer is a problem."""
    reading = Reading(
        questionnaire=_QUESTIONS,
        taken=("`question` -> prompt", "`answer` -> answer", "the file's name -> split"),
        whole=True,
    )
    for row in unpacked_rows(place):
        source = Source(file=row["file"], cell=f"row {row['row']}")
        told = {key: plain_text(str(row[key])) if row[key] is not None else "" for key in _COLUMNS}
        if lacking := [key for key in _COLUMNS if not told[key]]:
            message = f"no {' and no '.join(lacking)} that can be read"
            reading.problems.append(Problem(kind="bad-line", message=message, source=source))
            continue
        values = {"image": told["image"], "prefix": told["question"], "suffix": told["answer"]}
        closed = told["answer"].casefold().strip(" .") in ("yes", "no")
        split = split_of_name(Path(row["file"]).stem)
        reading.lines.append(Line(source, values, split, "closed" if closed else "open"))
    return reading
