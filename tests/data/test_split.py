from collections import Counter

import numpy as np
import pytest

from residency.data.split import deal_groups, make_splits
from residency.errors import UserError
from residency.types import Sample


def make_samples(groups: int, images: int = 4, categories: int = 4, bare: int = 0) -> list[Sample]:
    samples = []
    for group in range(groups + bare):
        for image in range(images):
            name = f"g{group}i{image}"
            suffix = "a" if group < groups else None
            category = f"c{image % categories}"
            samples.append(
                Sample(id=name, image=name, prefix="?", suffix=suffix, group=f"g{group:03d}", category=category)
            )
    return samples


@pytest.mark.parametrize("groups", [3, 4, 5, 10, 37, 200])
def test_a_plain_split_keeps_groups_whole_and_shares(groups: int) -> None:
    (fold,) = make_splits(make_samples(groups)).folds
    parts = (fold.train, fold.val, fold.test)
    assert all(parts)
    assert sorted(group for part in parts for group in part) == [f"g{n:03d}" for n in range(groups)]
    if groups >= 37:
        for part, share in zip(parts, (0.6, 0.15, 0.25), strict=True):
            assert abs(len(part) / groups - share) < 0.05


@pytest.mark.parametrize(("groups", "folds"), [(10, 5), (10, 2), (5, 5), (7, 3), (50, 10)])
def test_folds_test_each_group_once_and_train_on_each(groups: int, folds: int) -> None:
    made = make_splits(make_samples(groups), folds=folds).folds
    assert len(made) == folds
    assert Counter(group for fold in made for group in fold.test) == {f"g{n:03d}": 1 for n in range(groups)}
    if folds > 2:
        assert {group for fold in made for group in fold.train} == {f"g{n:03d}" for n in range(groups)}
    for fold in made:
        assert fold.val
        assert fold.train
        assert len({*fold.train, *fold.val, *fold.test}) == groups == len(fold.train + fold.val + fold.test)


def test_categories_are_spread() -> None:
    """Every group holds one category; each split must get its share of each."""
    samples = [
        Sample(id=f"{g}", image=f"{g}", prefix="?", suffix="a", group=f"g{g}", category=f"c{g % 5}") for g in range(100)
    ]
    (fold,) = make_splits(samples).folds
    held = Counter(int(group[1:]) % 5 for group in fold.test)
    assert set(held.values()) <= {4, 5, 6}
    assert set(Counter(int(group[1:]) % 5 for group in fold.val).values()) <= {2, 3, 4}


def test_groups_without_answers_belong_to_train() -> None:
    for folds in (1, 4):
        for fold in make_splits(make_samples(8, bare=30), folds=folds).folds:
            assert {f"g{n:03d}" for n in range(8, 38)} <= set(fold.train)
            assert fold.test


def test_seeds_differ_and_repeat() -> None:
    samples = make_samples(20)
    assert make_splits(samples, seed=3) == make_splits(samples[::-1], seed=3)
    assert make_splits(samples, seed=3).folds != make_splits(samples, seed=4).folds


@pytest.mark.parametrize(("groups", "folds"), [(0, 1), (2, 1), (4, 5), (3, 2), (1, 3)])
def test_too_few_groups_are_an_error(groups: int, folds: int) -> None:
    with pytest.raises(UserError, match="cannot be divided") as error:
        make_splits(make_samples(groups), folds=folds)
    assert error.value.exit_code == 1


@pytest.mark.parametrize("ratios", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (-0.1, 0.6, 0.5)])
def test_ratios_that_are_none_are_refused(ratios: tuple[float, float, float]) -> None:
    with pytest.raises(UserError, match="cannot be made"):
        make_splits(make_samples(10), ratios=ratios)


def test_a_split_without_val_is_allowed() -> None:
    (fold,) = make_splits(make_samples(10), ratios=(0.7, 0.0, 0.3)).folds
    assert fold.val == ()


def test_large_groups_are_dealt_first() -> None:
    strata = {"big": {"c|annotated": 60}, **{f"g{n}": {"c|annotated": 4} for n in range(10)}}
    train, test = deal_groups(strata, (0.6, 0.4), np.random.default_rng(0))
    assert train == ("big",)
    assert len(test) == 10
