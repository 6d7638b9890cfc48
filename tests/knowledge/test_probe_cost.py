"""Ten sampled answers to eight questions on one image cost at most 12 times one answer to one question (nano)."""

from tests.benchmarks import import_benchmark


def test_eighty_answers_share_what_they_can() -> None:
    _, _, ratio = import_benchmark("probe_cost").measure("nano", 10, 3)
    assert ratio <= 12
