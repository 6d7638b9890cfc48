"""JSON of conversations about images (LLaVA, Vision-FLAN) in, each question with its answer as a line out."""

from pathlib import Path

from residency.data.lines import Place, Reading
from residency.data.reports import split_of_name
from residency.data.sources.boxes import image_root
from residency.data.sources.hub import asked_line, read_pairs, settle_reading
from residency.data.sources.records import lacks, list_json, read_values
from residency.types import Problem, Source

HOLDS = "conversations: JSON records of image and conversations (LLaVA, Vision-FLAN) and images/"
_OWN = ("image", "conversations")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    files = []
    for path in list_json(sheet, images):
        records = read_values(path)
        if isinstance(records, list) and any(isinstance(r, dict) and {*_OWN} <= r.keys() for r in records[:20]):
            files.append(path)
    return Place(tuple(files), images if sheet else image_root(images)) if files else None


def read(place: Place) -> Reading:
    """Read every record; one without image, or whose turns are no questions with answers, is a problem."""
    reading = Reading(whole=True)
    for path in place.files:
        for number, record in enumerate(read_values(path), 1):
            source = Source(file=str(path), cell=f"record {number}")
            if problem := lacks(record, _OWN, source):
                reading.problems.append(problem)
                continue
            turns = record["conversations"]
            sound = isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns)
            pairs = list(read_pairs({"conversations": turns})) if sound else []
            if not pairs or not all(map(all, pairs)):
                message = "its conversation holds no question with its answer"
                reading.problems.append(Problem(kind="bad-line", message=message, source=source))
                continue
            split = split_of_name(path.stem)
            reading.lines += [asked_line(record["image"], asked, told, source, split) for asked, told in pairs]
    settle_reading(reading, "conversations")
    return reading
