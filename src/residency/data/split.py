"""Groups with what they hold in, train/val/test out: seeded, stratified, no group in two splits.

Groups are dealt one at a time, largest first, to the split that falls furthest short of its share in each stratum
(category, and annotated or not), as scikit-learn's StratifiedGroupKFold does, but with any shares.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from residency.errors import UserError
from residency.types import SPLITS, Fold, Sample, SplitName, Splits

RATIOS = (0.6, 0.15, 0.25)


def make_splits(
    samples: Sequence[Sample], *, folds: int = 1, ratios: tuple[float, float, float] = RATIOS, seed: int = 0
) -> Splits:
    """Divide the samples' groups.

    Groups without any annotated sample belong to train in every fold. With several folds each annotated group is
    tested once, and a fold's val is drawn from the groups that remain, in the proportion of the ratios.

    Args:
        samples: of the whole dataset.
        folds: 1 for a plain split, else k.
        ratios: of train, val and test; they sum to 1.
        seed: of the order in which equal groups are dealt.

    Raises:
        UserError: ratios that are none, or fewer groups than splits.
    """
    if folds < 1 or min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-6 or ratios[0] <= 0 or ratios[2] <= 0:
        raise UserError("these splits cannot be made", found=f"folds={folds}, ratios={ratios}",
                        allowed="folds >= 1; three ratios that sum to 1, train and test above 0")  # fmt: skip
    strata = group_strata(samples)
    bare = tuple(sorted({sample.group for sample in samples} - strata.keys()))
    parts = sum(ratio > 0 for ratio in ratios)
    needed = parts if folds == 1 else max(folds, 4 if folds == 2 else 3)
    if len(strata) < needed:
        raise UserError(
            f"{len(strata)} annotated group(s) cannot be divided into " + (f"{folds} folds" if folds > 1 else "splits"),
            allowed=f"at least {needed} groups",
            do="annotate images of more patients, or ask for fewer folds",
            exit_code=1,
        )
    rng = np.random.default_rng(seed)
    if folds == 1:
        train, val, test = deal_groups(strata, ratios, rng)
        made = [Fold(train=_join(train, bare), val=val, test=test)]
        return Splits(seed=seed, method="stratified groups", folds=tuple(made))
    tests = deal_groups(strata, (1 / folds,) * folds, rng)
    made = []
    for number, test in enumerate(tests):
        val = _next_val(tests, number, ratios[1] / (ratios[0] + ratios[1]), strata, rng)
        train = tuple(group for group in strata if group not in {*test, *val})
        made.append(Fold(train=_join(train, bare), val=val, test=test))
    return Splits(seed=seed, method=f"{folds} folds of stratified groups", folds=tuple(made))


def _next_val(
    tests: Sequence[tuple[str, ...]],
    number: int,
    share: float,
    strata: Mapping[str, Mapping[str, int]],
    rng: np.random.Generator,
) -> tuple[str, ...]:
    """Draw a fold's val from the test groups of the folds after it, so that no group is held back more than another."""
    rest = len(strata) - len(tests[number])
    wanted = max(1, round(share * rest)) if share else 0
    wanted = min(wanted, rest - 1)
    pool: list[str] = []
    for step in range(1, len(tests)):
        if len(pool) < wanted:
            pool += tests[(number + step) % len(tests)]
    if wanted in (0, len(pool)):
        return tuple(sorted(pool[:wanted]))
    held = {group: strata[group] for group in pool}
    return deal_groups(held, (wanted / len(pool), 1 - wanted / len(pool)), rng)[0]


def group_strata(samples: Sequence[Sample]) -> dict[str, Counter[str]]:
    """Return how many images of each stratum each annotated group holds; groups without annotation are left out."""
    annotated = {sample.image for sample in samples if sample.suffix is not None}
    strata: dict[str, Counter[str]] = {}
    for image, group, category in {(sample.image, sample.group, sample.category or "") for sample in samples}:
        kind = f"{category}|{'annotated' if image in annotated else 'bare'}"
        strata.setdefault(group, Counter())[kind] += 1
    return {
        group: counts for group, counts in sorted(strata.items()) if any(kind.endswith("|annotated") for kind in counts)
    }


def deal_groups(
    strata: Mapping[str, Mapping[str, int]], shares: Sequence[float], rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Deal groups to splits so that each holds its share of every stratum; none stays empty."""
    groups = sorted(strata)
    kinds = sorted({kind for counts in strata.values() for kind in counts})
    counts_GK = np.array([[strata[group].get(kind, 0) for kind in kinds] for group in groups], dtype=float)
    totals_K = counts_GK.sum(axis=0)
    weights_K = np.array([1.0 if kind.endswith("|annotated") else 0.25 for kind in kinds]) / totals_K
    shares_S = np.asarray(shares, dtype=float)
    held_SK = np.zeros((len(shares_S), len(kinds)))
    dealt: list[list[str]] = [[] for _ in shares_S]
    order = rng.permutation(len(groups))
    order = order[np.argsort(-counts_GK[order].sum(axis=1), kind="stable")]
    for place, index in enumerate(order):
        empty = [split for split in range(len(shares_S)) if shares_S[split] > 0 and not dealt[split]]
        allowed = empty if len(empty) >= len(order) - place else [s for s in range(len(shares_S)) if shares_S[s] > 0]
        need_SK = shares_S[:, None] * totals_K - held_SK
        gain_S = ((need_SK**2 - (need_SK - counts_GK[index]) ** 2) * weights_K).sum(axis=1)
        need_S = shares_S * (len(order)) - np.array([len(names) for names in dealt])
        best = max(allowed, key=lambda split: (round(float(gain_S[split]), 9), float(need_S[split])))
        dealt[best].append(groups[index])
        held_SK[best] += counts_GK[index]
    return [tuple(sorted(names)) for names in dealt]


def keep_split(split_of: Mapping[str, SplitName]) -> Splits:
    """Return the split that came with the data."""
    return Splits(
        seed=0,
        method="as given",
        folds=(Fold(**{name: tuple(sorted(g for g, s in split_of.items() if s == name)) for name in SPLITS}),),
    )


def _join(train: tuple[str, ...], bare: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(train + bare))
