"""Location tokens: a tokenizer in, the ids of its places in a picture out."""

from typing import Any

from residency.errors import UserError

ENDS = (("<loc_0>", "<loc_999>"), ("<loc0000>", "<loc1023>"))
"""How Florence-2 (and nano) and PaliGemma call the first and the last place."""


def find_locations(tokenizer: Any) -> range:
    """Return the ids of the location tokens in the order of their places: 1000 in Florence-2, 1024 in PaliGemma.

    Raises:
        UserError: the vocabulary has none.
    """
    ids = tokenizer.get_vocab()
    for first, last in ENDS:
        if first in ids and last in ids:
            return range(ids[first], ids[last] + 1)
    raise UserError(
        "the model has no location tokens", found="train.location_spread in the recipe", do="take the key out"
    )
