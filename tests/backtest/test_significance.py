"""Exact tests over cutoffs: against enumeration, against scipy, and at their level."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from storecast.backtest.significance import LEVEL, adjusted, against, fewest, sign_flip

Differences = st.lists(st.floats(-10, 10, allow_nan=False, width=16), min_size=1, max_size=10)


def _enumerated(values: list[float], alternative: str) -> float:
    sums = [sum(s * abs(v) for s, v in zip(p, values, strict=True))
            for p in product((-1, 1), repeat=len(values))]  # fmt: skip
    seen = sum(values)
    out = [s <= seen + 1e-9 if alternative == "less" else abs(s) >= abs(seen) - 1e-9 for s in sums]
    return float(np.mean(out))


@pytest.mark.parametrize("alternative", ["less", "two-sided"])
@given(values=Differences)
def test_it_is_the_share_of_the_sign_patterns(alternative: str, values: list[float]) -> None:
    assert sign_flip(values, alternative) == pytest.approx(_enumerated(values, alternative))


@pytest.mark.parametrize("alternative", ["less", "two-sided"])
def test_it_is_scipys_permutation_test(alternative: str) -> None:
    values = np.random.default_rng(1).normal(-0.4, 1, 12)
    peer = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", alternative=alternative, n_resamples=np.inf
    )
    assert sign_flip(values, alternative) == pytest.approx(peer.pvalue, abs=1e-12)


def test_few_cutoffs_cannot_prove_much() -> None:
    assert sign_flip([-1, -1, -1]) == 0.25
    assert sign_flip([-1, -1, -1], "less") == 0.125


def test_no_difference_is_none_and_equal_models_are_equal() -> None:
    assert sign_flip([]) is None
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0


def test_many_cutoffs_are_still_exact_and_quick() -> None:
    values = [-1.0] * 30 + [1.0] * 10
    wanted = stats.binom.cdf(10, 40, 0.5)
    assert sign_flip(values, "less") == pytest.approx(wanted)
    assert sign_flip([1.0] * 5 + values, "less") == pytest.approx(wanted), "the newest count"


def test_equal_models_are_called_different_as_rarely_as_the_level_says() -> None:
    draws = np.random.default_rng(2).standard_t(2, (2000, 8))
    called = np.mean([sign_flip(row) <= 0.1 for row in draws])  # type: ignore[operator]
    assert 0.07 < called < 0.12


def test_several_comparisons_are_judged_together() -> None:
    assert adjusted({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert adjusted({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert adjusted({}) == {}


CUTOFFS = [f"2022-0{i}-28" for i in range(1, 8)]


def test_a_model_better_at_each_cutoff_is_real_and_one_that_wavers_is_not() -> None:
    base = [0.3, 0.4, 0.5, 0.3, 0.4, 0.5, 0.4]
    losses = {
        "base": base,
        "good": [v - 0.01 * (i + 1) for i, v in enumerate(base)],
        "bad": [v + 0.1 for v in base],
        "wavers": [v + (-1) ** i * 0.1 * (i + 1) for i, v in enumerate(base)],
    }
    found = against({m: dict(zip(CUTOFFS, v, strict=True)) for m, v in losses.items()}, "base")
    assert {m: d.verdict for m, d in found.items()} == {
        "good": "better", "bad": "worse", "wavers": "not_told_apart",
    }  # fmt: skip
    # two of 2⁷ patterns are as far out; Holm: three models, then two
    assert found["good"].p_value == found["bad"].p_value == pytest.approx(3 * 2 / 128)
    assert found["wavers"].p_value > LEVEL


def test_only_cutoffs_at_which_both_are_defined_count() -> None:
    base = dict.fromkeys(CUTOFFS, 0.5)
    half = {c: None if i % 2 else 0.4 for i, c in enumerate(CUTOFFS)}
    found = against({"base": base, "half": half, "never": {}, "none": {CUTOFFS[0]: None}}, "base")
    assert set(found) == {"half"}
    assert found["half"].p_value == pytest.approx(2 / 2**4)
    assert against({"half": half}, "base") == {}


def test_fewer_cutoffs_than_this_tell_nothing_apart() -> None:
    for models in (1, 2, 5):
        n = fewest(models)
        assert models * float(sign_flip([-1.0] * n) or 0) <= LEVEL
        assert models * float(sign_flip([-1.0] * (n - 1)) or 0) > LEVEL
