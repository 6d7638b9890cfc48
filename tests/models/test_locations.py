"""Location tokens are found where a tokenizer has them, and asked for in vain elsewhere."""

from pathlib import Path

import pytest

from residency.errors import UserError
from residency.models.locations import find_locations
from residency.models.registry import open_model
from tests.contract.tiny_causal import CAUSAL_BUILDERS


def test_places_lie_side_by_side() -> None:
    tokenizer = open_model("nano").loaded.processor.tokenizer
    locations = find_locations(tokenizer)
    assert [tokenizer.decode([locations[bin]]) for bin in (0, 17, 999)] == ["<loc_0>", "<loc_17>", "<loc_999>"]


def test_paligemma_has_1024_and_llava_none(tmp_path: Path) -> None:
    for name in ("paligemma", "llava"):
        CAUSAL_BUILDERS[name](tmp_path / name)
    assert len(find_locations(open_model(str(tmp_path / "paligemma")).loaded.processor.tokenizer)) == 1024
    with pytest.raises(UserError, match="no location tokens"):
        find_locations(open_model(str(tmp_path / "llava")).loaded.processor.tokenizer)
