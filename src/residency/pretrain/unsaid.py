"""Tokens that pretraining never said: texts and a model in, embeddings by which tuning can tell them apart out.

Each step pushes every token that is not said away from what the model says, all of them alike, until they stand in one
place ("representation degeneration", Gao et al., ICLR 2019, arXiv 1907.12009). Tuning keeps the embeddings, which the
language model reads and speaks by; words spelled with such tokens, a new organ's or another language's, could not be
learned.
"""

from collections.abc import Iterable

import torch
from torch.nn import functional

from residency.models.family import Loaded
from residency.models.locations import find_locations

COLLAPSED = 0.9
"""Tokens never said whose embedding has at least this cosine to their mean stand in one place."""


def spread_unsaid(loaded: Loaded, texts: Iterable[str], seed: int) -> int:
    """Move collapsed tokens that no text holds apart, as far from their mean as said ones are from theirs.

    Their mean stays, so that the model says them as rarely as before. Each pretraining pushes it farther from nought;
    where it lies farther than said ones reach, so far do they reach too, else they would be alike by their mean alone.
    Location tokens are left as they are. Returns how many tokens moved.
    """
    tokenizer = loaded.processor.tokenizer
    embedding_VD = loaded.model.get_output_embeddings().weight.data
    is_said = torch.zeros(len(embedding_VD), dtype=torch.bool)
    for text in texts:
        is_said[tokenizer(text)["input_ids"]] = True
    is_free = ~is_said
    is_free[[*tokenizer.all_special_ids, *find_locations(tokenizer)]] = False
    unsaid_UD, said_SD = embedding_VD[is_free].float(), embedding_VD[is_said].float()
    mean_D = unsaid_UD.mean(0)
    collapsed_U = functional.cosine_similarity(unsaid_UD, mean_D[None]) >= COLLAPSED
    reach = torch.maximum((said_SD - said_SD.mean(0)).norm(dim=1).mean(), mean_D.norm())
    away_UD = torch.randn(unsaid_UD.shape, generator=torch.Generator().manual_seed(seed))
    spread_UD = mean_D + reach * functional.normalize(away_UD.to(unsaid_UD), dim=1)
    embedding_VD[is_free] = torch.where(collapsed_U[:, None], spread_UD, unsaid_UD).to(embedding_VD.dtype)
    return int(collapsed_U.sum())
