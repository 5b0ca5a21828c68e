"""Metrics against fev, an independent implementation, on random data, zeros and NaN included.

fev takes one window at a time. It pools RMSSE over stores and steps before the root, where ours
is a mean of roots: ours is fev's of each store, meaned. MASE and SQL are means over all known
store-steps there and means over stores here: equal where every store has as many known steps, and
store by store always. A store with less than a season of differences has a scale in fev, and none
here.
"""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from fev.metrics import get_metric
from hypothesis import given, settings
from hypothesis import strategies as st

from storecast.core.calendar import Frequency
from storecast.core.metrics import scale, score
from storecast.core.panel import SeriesRules
from storecast.core.schema import quantile_column

CUTOFF = dt.date(2022, 1, 31)
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
SCALED = ("MASE", "SQL")
ALL = (*SCALED, "RMSSE", "WAPE", "WQL")


class Case:
    """N stores with pasts of their own lengths, H steps and Q quantiles; NaN is unknown."""

    def __init__(self, seed: int, *, holes: bool) -> None:
        chance = np.random.default_rng(seed)
        self.season = int(chance.integers(1, 5))
        n, h = int(chance.integers(1, 7)), int(chance.integers(1, 6))
        lengths = chance.integers(2 * self.season, 6 * self.season + 4, n)
        size = 10.0 ** chance.integers(-2, 6, n)
        self.past = [self._values(chance, k, s, holes) for k, s in zip(lengths, size, strict=True)]
        # the first difference is known to differ, so that each scale is there, and above zero
        for values in self.past:
            values[: self.season + 1] = 0.0
            values[self.season] = 1.0
        self.true = np.stack([self._values(chance, h, s, holes) for s in size])
        self.true[:, 0] = np.nan_to_num(self.true[:, 0], nan=3.0)
        self.point = chance.gamma(2, size[:, None], (n, h))
        spread = np.sort(chance.normal(0, 1, (n, h, len(LEVELS))), axis=2)
        self.quantiles = self.point[:, :, None] + size[:, None, None] * spread

    @staticmethod
    def _values(chance, length, size, holes):
        values = chance.gamma(1, size, length) - size * 0.2
        values[chance.random(length) < 0.3] = 0.0
        if holes:
            values[chance.random(length) < 0.2] = np.nan
        return values

    def fev(self, name, stores=slice(None)):
        past = self.past[stores]
        return get_metric(name).compute(
            y_true=self.true[stores][:, :, None],
            y_pred=self.point[stores][:, :, None],
            y_past=np.concatenate(past)[:, None],
            y_past_lengths=np.array([len(values) for values in past]),
            q_pred=self.quantiles[stores][:, :, None, :],
            seasonality=self.season,
            quantile_levels=list(LEVELS),
        )

    def scales(self):
        rows = [(f"{i:02}", t, y) for i, ys in enumerate(self.past) for t, y in enumerate(ys)]
        return scale(
            pl.DataFrame(rows, schema=["store_id", "period", "sales"], orient="row"), self.season
        )

    def frame(self):
        names = [quantile_column(q) for q in LEVELS]
        rows = [
            (f"{i:02}", CUTOFF, step + 1, self.true[i, step], self.point[i, step],
             *self.quantiles[i, step])
            for i, step in np.ndindex(self.true.shape)
        ]  # fmt: skip
        columns = ["store_id", "cutoff", "step", "sales", "forecast", *names]
        made = pl.DataFrame(rows, schema=columns, orient="row")
        return made.join(self.scales(), on="store_id")


RULES = SeriesRules(
    frequency=Frequency("D"), season=7, missing="zero", training_from=CUTOFF, quantiles=LEVELS
)


def close(value):
    """To 1e-9; where fev divides by a sum of zero, ours is null."""
    return pytest.approx(value, rel=1e-9, abs=1e-12) if math.isfinite(value) else None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_each_store_alone_has_fevs_metrics(seed, holes):
    case = Case(seed, holes=holes)
    made = score(case.frame(), RULES, by=["store_id"])
    scales = case.scales()
    for i, row in enumerate(made.iter_rows(named=True)):
        if scales["scale"][i] is None:
            assert row["mase"] is None
            continue
        for name in ALL:
            assert row[name.lower()] == close(case.fev(name, slice(i, i + 1))), name


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_the_whole_has_fevs_pooled_metrics(seed, holes):
    case = Case(seed, holes=holes)
    row = score(case.frame(), RULES).row(0, named=True)
    assert row["wape"] == close(case.fev("WAPE"))
    assert row["wql"] == close(case.fev("WQL"))
    if holes:
        return
    for name in SCALED:
        assert row[name.lower()] == close(case.fev(name))
    roots = [case.fev("RMSSE", slice(i, i + 1)) for i in range(len(case.past))]
    assert row["rmsse"] == close(sum(roots) / len(roots))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_each_step_has_fevs_metrics(seed, holes):
    case = Case(seed, holes=holes)
    made = score(case.frame(), RULES, by=["step"])
    for step in range(case.true.shape[1]):
        one = Case(seed, holes=holes)
        one.true, one.point = case.true[:, [step]], case.point[:, [step]]
        one.quantiles = case.quantiles[:, [step]]
        row = made.row(step, named=True)
        known = ~np.isnan(one.true[:, 0])
        if not known.any() or not np.abs(one.true[known]).sum():
            continue
        assert row["wape"] == close(one.fev("WAPE"))
        assert row["wql"] == close(one.fev("WQL"))
        if case.scales()["scale"].null_count() == 0:
            # one step a store: a mean over stores is a mean over store-steps
            assert row["mase"] == close(one.fev("MASE"))
            assert row["sql"] == close(one.fev("SQL"))


@pytest.mark.filterwarnings("ignore")
def test_a_scale_of_zero_is_left_out_there_and_here():
    case = Case(3, holes=False)
    while len(case.past) < 3:
        case = Case(len(case.past) + 17, holes=False)
    case.past[1][:] = 5.0
    row = score(case.frame(), RULES).row(0, named=True)
    assert row["n_unscaled"] == 1
    assert math.isfinite(case.fev("MASE"))
    assert row["mase"] == close(case.fev("MASE"))
    assert row["sql"] == close(case.fev("SQL"))


def test_a_short_store_has_a_scale_in_fev_and_none_here():
    case = Case(5, holes=False)
    case.past[0] = np.arange(2.0 * case.season - 1) if case.season > 1 else np.array([1.0])
    assert case.scales()["scale"][0] is None
