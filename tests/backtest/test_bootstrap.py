"""The two-way bootstrap: against plain loops, and whether its intervals hold."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from storecast.backtest.bootstrap import draws, interval
from storecast.backtest.losses import Parts


def parts_of(shape: tuple[int, int], seed: int = 1) -> Parts:
    random = np.random.default_rng(seed)
    return Parts(random.gamma(2, 1, shape), random.gamma(5, 1, shape))


def test_a_replicate_counts_each_cell_as_often_as_its_store_times_its_cutoff() -> None:
    parts, drawn = parts_of((5, 4)), draws(5, 4, 50)
    for stores, cutoffs, mean in zip(drawn.stores, drawn.cutoffs, drawn.means(parts), strict=True):
        rows = np.repeat(np.arange(5), stores.astype(int))
        columns = np.repeat(np.arange(4), cutoffs.astype(int))
        losses = [parts.above[rows, c].sum() / parts.below[rows, c].sum() for c in columns]
        assert mean == pytest.approx(np.mean(losses))
    assert drawn.stores.sum(axis=1).tolist() == [4.0] * 50
    assert drawn.cutoffs.sum(axis=1).tolist() == [3.0] * 50


def test_what_is_undefined_does_not_count() -> None:
    parts = parts_of((5, 4))
    parts.below[:, 2] = 0
    means = draws(5, 4, 500).means(parts)
    only = draws(5, 4, 500).cutoffs[:, 2] == 3
    assert np.isnan(means).tolist() == only.tolist()
    assert interval(np.full(3, np.nan), 0.8) is None


def test_the_same_draws_each_time() -> None:
    again = draws(7, 5, 30)
    draws.cache_clear()
    assert (again.stores == draws(7, 5, 30).stores).all()


def test_what_stores_or_cutoffs_have_in_common_widens_it() -> None:
    random = np.random.default_rng(3)
    cells = 1 + 0.1 * random.normal(size=(50, 6))
    for common in (random.normal(size=(50, 1)), random.normal(size=(1, 6))):
        plain, wide = (
            np.ptp(interval(draws(50, 6).means(Parts(a, np.ones((50, 6)))), 0.8) or (0, 0))
            for a in (cells, cells + 0.5 * common)
        )
        assert wide > 4 * plain


def test_its_spread_is_that_of_the_mean() -> None:
    """Of cutoffs that differ and of stores that differ: not too small by one of few."""
    random = np.random.default_rng(4)
    for shape, common in (((30, 4), (1, 4)), ((5, 30), (5, 1))):
        chains = [np.ones(shape) + 0.1 * random.normal(size=common) for _ in range(300)]
        true = np.std([chain.mean() for chain in chains])
        told = [draws(*shape, 300).means(Parts(c, np.ones(shape))).var() for c in chains]
        assert np.sqrt(np.mean(told)) == pytest.approx(true, rel=0.15)


def test_thousands_of_replicates_of_a_thousand_stores_take_less_than_a_second() -> None:
    draws.cache_clear()
    parts = parts_of((1000, 12))
    began = perf_counter()
    draws(1000, 12).means(parts)
    assert perf_counter() - began < 1
