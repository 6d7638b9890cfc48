"""Ten sampled answers to eight questions on one image cost at most 12 times one answer to one question (nano)."""

import sys

from tests.documents import ROOT


def test_eighty_answers_share_what_they_can() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import probe_cost  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    _, _, ratio = probe_cost.measure("nano", 10, 3)
    assert ratio <= 12
