"""Generated tokens and their log-likelihoods in; answers out: text, likelihood, and how sure each place in it is."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from residency.data.told import read_told
from residency.losses import IGNORED
from residency.models.family import Answered


def read_generated(
    tokenizer: Any,
    token_BT: torch.Tensor,
    log_BT: torch.Tensor,
    ends: Collection[int],
    silent: Collection[int] = (),
    read: Callable[[str], str] = str,
) -> list[Answered]:
    """Return what was said in B rows of tokens, -100 behind an `ends` token; `read` turns places to the samples' words.

    The end token counts in the likelihood, not in the text; nor do `silent` tokens stand there.
    """
    made_BT = token_BT != IGNORED
    means_B = ((log_BT * made_BT).sum(1) / made_BT.sum(1).clamp(min=1)).exp()
    control = {IGNORED, *ends, *silent}
    answers = []
    for tokens, logs, mean in zip(token_BT.tolist(), log_BT.tolist(), means_B.tolist(), strict=True):
        said = [(token, log) for token, log in zip(tokens, logs, strict=True) if token not in control]
        words = [token for token, _ in said]
        text = tokenizer.decode(words, skip_special_tokens=False).strip()
        whole = any(token in ends for token in tokens)
        answers.append(Answered(read(text), mean, whole, score_places(tokenizer, words, [log for _, log in said])))
    return answers


def score_places(tokenizer: Any, tokens: Sequence[int], logs: Sequence[float]) -> tuple[float, ...]:
    """Return the mean log-likelihood in nats of each run of location tokens with its label, in the order told."""
    runs = read_told(_decode(tokenizer, tokens))
    if not runs:
        return ()
    ends = [len(_decode(tokenizer, tokens[: n + 1])) for n in range(len(tokens))]
    scores = []
    for run in runs:
        inside = [
            log
            for start, end, log in zip([0, *ends], ends, logs, strict=False)
            if max(start, run.start) < min(end, run.end)
        ]
        scores.append(round(sum(inside) / len(inside), 4))
    return tuple(scores)


def _decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the tokens' text with every blank, so that what is said first is what the whole begins with."""
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
