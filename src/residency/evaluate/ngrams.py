"""True and answered texts in, BLEU, chrF and ROUGE-L out, from counts that add up over samples.

BLEU (Papineni 2002) and chrF (Popović 2015) are corpus scores: counts are summed over samples first, so a resample of
patients is one sum. sacrebleu gives no such counts by a public way, hence these few lines; a test holds them equal to
sacrebleu 2.6 (smoothing `exp`, our tokens) and to rouge-score.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rapidfuzz.distance import LCSseq

from residency.evaluate.metric import Floats, Metric, Tally, divide

BLEU = Metric("BLEU-4", bounded=False)
CHRF = Metric("chrF", bounded=False)
WORDS, CHARACTERS, BETA = 4, 6, 2.0


def tally_bleu(pairs: Sequence[tuple[tuple[str, ...], tuple[str, ...]]]) -> Tally:
    """Return BLEU-4 in [0, 1] of (true, answered) tokens."""
    rows_ND = np.array([_bleu_row(true, given) for true, given in pairs], dtype=np.float64).reshape(len(pairs), -1)
    return Tally(BLEU, rows_ND, _bleu, np.ones(len(pairs), dtype=np.bool_))


def tally_chrf(pairs: Sequence[tuple[str, str]]) -> Tally:
    """Return chrF2 in [0, 1] of (true, answered) texts, spaces left out."""
    rows_ND = np.array([_chrf_row(true, given) for true, given in pairs], dtype=np.float64).reshape(len(pairs), -1)
    return Tally(CHRF, rows_ND, _chrf, np.ones(len(pairs), dtype=np.bool_))


def rouge_l(true: Sequence[str], given: Sequence[str]) -> float:
    """Return the F1 of the longest common subsequence of tokens, in [0, 1] (Lin 2004)."""
    if not true or not given:
        return float(not true and not given)
    return 2 * int(LCSseq.similarity(true, given)) / (len(true) + len(given))


@lru_cache(maxsize=65536)
def _bleu_row(true: tuple[str, ...], given: tuple[str, ...]) -> tuple[int, ...]:
    """Return [answered length, true length, hits of order 1..4, n-grams answered of order 1..4]."""
    hits, totals = [], []
    for order in range(1, WORDS + 1):
        said = _count(given, order)
        hits.append((said & _count(true, order)).total())
        totals.append(said.total())
    return (len(given), len(true), *hits, *totals)


@lru_cache(maxsize=65536)
def _chrf_row(true: str, given: str) -> tuple[int, ...]:
    """Return, for each order 1..6: n-grams answered (0 where the truth is too short), true ones, hits."""
    true, given = "".join(true.split()), "".join(given.split())
    row: list[int] = []
    for order in range(1, CHARACTERS + 1):
        real, said = _count(true, order), _count(given, order)
        row += [said.total() if real else 0, real.total(), (said & real).total()]
    return tuple(row)


def _count(items: Sequence[str], order: int) -> Counter[Sequence[str]]:
    return Counter(items[at : at + order] for at in range(len(items) - order + 1))


def _bleu(sums_RD: Floats) -> Floats:
    said_R, true_R = sums_RD[:, 0], sums_RD[:, 1]
    hits_RK, totals_RK = sums_RD[:, 2 : 2 + WORDS], sums_RD[:, 2 + WORDS :]
    halved_RK = 2.0 ** np.cumsum(hits_RK == 0, axis=1)  # an order without a hit counts as 1/2, the next as 1/4 ...
    shares_RK = divide(np.where(hits_RK > 0, hits_RK, 1 / halved_RK), totals_RK)
    with np.errstate(divide="ignore", over="ignore"):
        brevity_R = np.where(said_R < true_R, np.exp(1 - true_R / np.maximum(said_R, 1e-9)), 1.0)
    score_R = brevity_R * np.exp(np.log(np.where(np.isnan(shares_RK), 1e-300, shares_RK)).mean(axis=1))
    score_R = np.where((hits_RK.sum(axis=1) == 0) | np.isnan(shares_RK).any(axis=1), 0.0, score_R)
    return np.where(true_R > 0, score_R, np.nan)


def _chrf(sums_RD: Floats) -> Floats:
    said_RK, true_RK, hits_RK = sums_RD[:, 0::3], sums_RD[:, 1::3], sums_RD[:, 2::3]
    both_RK = (said_RK > 0) & (true_RK > 0)
    orders_R = both_RK.sum(axis=1).astype(np.float64)
    precision_R = divide(np.where(both_RK, np.nan_to_num(divide(hits_RK, said_RK)), 0.0).sum(axis=1), orders_R)
    recall_R = divide(np.where(both_RK, np.nan_to_num(divide(hits_RK, true_RK)), 0.0).sum(axis=1), orders_R)
    score_R = np.nan_to_num(divide((1 + BETA**2) * precision_R * recall_R, BETA**2 * precision_R + recall_R))
    return np.where(true_RK[:, 0] > 0, score_R, np.nan)
