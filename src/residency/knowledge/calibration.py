"""How many neighbours a run tells of, as validation chose it: the record that lies beside its predictions."""

from pydantic import Field

from residency.types import Record

NAME = "retrieval.json"


class Calibration(Record):
    """How many neighbours a run tells of, and the validation score that each number reached (docs/retrieval.md)."""

    k: int
    scores: dict[str, float] = Field(default_factory=dict)
    samples: int
    settings_sha256: str
    """Of the recipe's retrieval section and of the index."""
