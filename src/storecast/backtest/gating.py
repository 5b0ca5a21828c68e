"""The promotion gate's three questions: of a first model, of the same recipe anew, of another.

Pure functions over frames of scored windows. ``docs/gate.md`` says what they ask and how often
they are wrong, measured by ``benchmarks/gate.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from storecast.backtest import distances
from storecast.backtest.bootstrap import draws, interval
from storecast.backtest.judgement import Bound, Check, Judgement, Limits, Road, outcome_of
from storecast.backtest.losses import Parts, Scored, scored_alike
from storecast.backtest.significance import MOST, sign_flip, windows_needed
from storecast.core.metrics import nominal_coverage

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

SMALLEST: Final = 20
"""Stores that a segment must have to be looked at by itself."""

MOST_FILLED: Final = 0.1
"""The share of its rows that the baseline may have filled for a model."""


def first(
    candidate: pl.DataFrame,
    naive: pl.DataFrame,
    rules: SeriesRules,
    limits: Limits,
    *,
    metric: str = "wape",
) -> Judgement:
    """A first deployment: the candidate's mean loss must be below the naive's, or it is refused.

    Where the candidate is the naive itself there is nothing to ask: do not call this.

    Args:
        candidate: scored windows, as ``challenge`` takes them.
        naive: the same rows, forecast by the baseline.
        rules: of the series.
        limits: of the gate.
        metric: of the validation; lower is better.

    Raises:
        ModelError: GATE_ROWS_DIFFER, MODEL_OUTPUT_INVALID, NO_VARIATION.
    """
    naives, own = scored_alike([naive, candidate], rules, metric)
    return _judgement("first", metric, naives, own, (_baseline(naives, own, metric, limits),))


def refresh(
    recipe: pl.DataFrame,
    baseline: pl.DataFrame | None,
    new: pl.DataFrame,
    serving: pl.DataFrame | None,
    history: pl.DataFrame,
    rules: SeriesRules,
    limits: Limits,
    *,
    metric: str = "wape",
) -> Judgement:
    """The champion's recipe on newer data: it is not compared with itself.

    Args:
        recipe: the recipe's newest scored windows, as ``challenge`` takes them.
        baseline: the same rows by the baseline; None where the recipe is the baseline.
        new: store_id, date, forecast, forecast_mean of the new artefact, for the periods after
            its cutoff.
        serving: the same of the serving artefact, given the same history; it may lack stores.
            None: it cannot be asked (that check is left out).
        history: store_id, date, sales up to the new artefact's cutoff (null is unknown), at
            least a year and a horizon where there is as much.
        rules: of the series.
        limits: of the gate.
        metric: of the validation; lower is better.

    Raises:
        ModelError: GATE_ROWS_DIFFER, MODEL_OUTPUT_INVALID, NO_VARIATION.
    """
    frames = [recipe] if baseline is None else [baseline, recipe]
    other, own = (scored := scored_alike(frames, rules, metric))[0], scored[-1]
    checks = [] if baseline is None else [_baseline(other, own, metric, limits)]
    checks += [_bias(own, limits), *_coverage(own, rules, limits), _filled(own)]
    if serving is not None:
        checks += distances.from_serving(new, serving, limits.max_shift)
    checks.append(distances.from_history(new, history, rules.frequency, limits.max_level))
    return _judgement("refresh", metric, other, own, tuple(checks))


def challenge(
    champion: pl.DataFrame,
    challenger: pl.DataFrame,
    rules: SeriesRules,
    limits: Limits,
    *,
    metric: str = "wape",
) -> Judgement:
    """Another recipe: it must gain ``min_gain`` on the champion's at level ``alpha``.

    Args:
        champion: scored windows, one row a cutoff, store and period: store_id, date, cutoff,
            step, sales, forecast, the quantile columns, the segment attributes of ``rules``,
            ``compared`` (the part up to the next cutoff), and, where there are: segment (rows
            outside the headline do not count), open, origin, scale, scale_sq. What
            ``backtest.road.walk_forward`` gives, with ``backtest.comparison.compared``.
        challenger: the same rows, forecast by the other recipe.
        rules: of the series.
        limits: of the gate.
        metric: of the validation; lower is better.

    Raises:
        ModelError: GATE_ROWS_DIFFER, MODEL_OUTPUT_INVALID, NO_VARIATION.
    """
    one, other = scored_alike([champion, challenger], rules, metric)
    return challenged(one, other, rules, limits, metric=metric)


def challenged(
    champion: Scored, challenger: Scored, rules: SeriesRules, limits: Limits, *, metric: str
) -> Judgement:
    """``challenge`` of windows that are taken apart already."""
    checks = (
        _gain(champion, challenger, limits, metric),
        *_segments(champion, challenger, limits, metric),
        _bias(challenger, limits, champion),
        *_coverage(challenger, rules, limits, champion),
        _filled(challenger, champion),
    )
    low, high = checks[0].low, checks[0].high
    return replace(
        _judgement("challenge", metric, champion, challenger, checks),
        interval=None if low is None or high is None else (low, high),
        p_value=gain_p_value(champion, challenger, limits.min_gain),
    )


# ------------------------------------------------------------------------- the gain


def gain_p_value(champion: Scored, challenger: Scored, min_gain: float) -> float | None:
    """The exact one-sided p-value of a gain above ``min_gain``; None where nothing is defined.

    By the cutoffs' differences challenger − (1 − min_gain) · champion, of which the mean is
    below zero if and only if the gain is above ``min_gain``.
    """
    return sign_flip(_differences(champion, challenger, min_gain), "less")


def _differences(champion: Scored, challenger: Scored, min_gain: float) -> list[float]:
    difference = challenger.loss.by_cutoff() - (1 - min_gain) * champion.loss.by_cutoff()
    return [float(value) for value in difference if np.isfinite(value)][-MOST:]


def _gain_of(champion: Parts, challenger: Parts) -> float | None:
    bar = _mean(champion)
    mine = _mean(challenger)
    return 1 - mine / bar if bar and mine is not None else None


def _mean(parts: Parts) -> float | None:
    values = parts.by_cutoff()
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _interval(champion: Parts, challenger: Parts, level: float) -> tuple[float, float] | None:
    drawn = draws(*champion.above.shape)
    bar = drawn.means(champion)
    ratio = np.divide(
        drawn.means(challenger), bar, out=np.full_like(bar, np.nan), where=np.nan_to_num(bar) > 0
    )
    return interval(1 - ratio, level)


def gained(p_value: float, spread: tuple[float, float], limits: Limits) -> bool | None:
    """Whether a gain above ``min_gain`` is shown; None: it cannot be told.

    It is where the sign-flip test says so of these stores' cutoffs and the interval of both, stores
    and cutoffs, lies above it as well: what is the luck of a few stores stays with them through
    every cutoff, which no test over cutoffs alone can see.
    """
    if p_value <= limits.alpha and spread[0] > limits.min_gain:
        return True
    return False if spread[1] <= limits.min_gain else None


def _gain(champion: Scored, challenger: Scored, limits: Limits, metric: str) -> Check:
    value = _gain_of(champion.loss, challenger.loss)
    spread = _interval(champion.loss, challenger.loss, 1 - 2 * limits.alpha)
    p_value = gain_p_value(champion, challenger, limits.min_gain)
    bound: Bound = (limits.min_gain, None)
    if value is None or spread is None or p_value is None:
        told = f"the gain on the champion is undefined: {metric.upper()} is"
        return Check("gain", "overall", "all", None, None, None, bound, None, told)
    cutoffs = len(_differences(champion, challenger, limits.min_gain))
    passed = gained(p_value, spread, limits)
    told = (
        f"{metric.upper()} {_below(value)} the champion's (a gain of {_share(spread[0])} to "
        f"{_share(spread[1])} by the two-way bootstrap), p = {p_value:.3f} over {_n(cutoffs)}: "
        f"{_concluded(passed, p_value, cutoffs, limits)}"
    )
    return Check("gain", "overall", "all", value, *spread, bound, passed, told)


def _concluded(passed: bool | None, p_value: float, cutoffs: int, limits: Limits) -> str:
    asked = f"above {limits.min_gain:.1%}" if limits.min_gain else "above zero"
    if passed is not None:
        return f"{'a' if passed else 'no'} gain {asked} at level {limits.alpha:g}"
    needed = windows_needed(limits.alpha)
    if cutoffs < needed:
        return f"level {limits.alpha:g} takes at least {needed} windows (gate.windows)"
    lacking = f"not enough evidence of a gain {asked} at level {limits.alpha:g}"
    return lacking if p_value > limits.alpha else f"{lacking}: the interval reaches below it"


def _segments(champion: Scored, challenger: Scored, limits: Limits, metric: str) -> list[Check]:
    """Each segment of enough stores; their intervals hold together (Bonferroni)."""
    large = {
        name: inside
        for name, inside in champion.members.items()
        if int(inside.any(axis=1).sum()) >= SMALLEST
    }
    checks = []
    for name, inside in large.items():
        parts = champion.loss.among(inside), challenger.loss.among(inside)
        value = _gain_of(*parts)
        spread = _interval(*parts, 1 - 2 * limits.alpha / len(large))
        if value is None or spread is None:
            continue
        passed = spread[1] >= -limits.max_segment_loss
        beyond = "" if passed else ", all of it beyond the bound"
        told = (
            f"{name}: {metric.upper()} {_below(value)} the champion's "
            f"({_share(spread[0])} to {_share(spread[1])}{beyond}); "
            f"{limits.max_segment_loss:.0%} above is the bound"
        )
        bound = (-limits.max_segment_loss, None)
        checks.append(Check("segment", "segment", name, value, *spread, bound, passed, told))
    return checks


# --------------------------------------------------------------- bounds of the model itself


def _bias(own: Scored, limits: Limits, champion: Scored | None = None) -> Check:
    value = _mean(own.bias)
    told = None if champion is None else _mean(champion.bias)
    most = max(limits.max_bias, abs(told) if told is not None else 0.0)
    spread = _own_interval(own.bias, limits)
    why = "" if most == limits.max_bias else ", the champion's own"
    sentence = (
        "its bias is undefined"
        if value is None
        else f"it forecasts {_signed(value)} of sales; up to {most:.1%} is in bounds{why}"
    )
    passed = None if value is None else abs(value) <= most
    return Check("bias", "overall", "all", value, *spread, (-most, most), passed, sentence)


def coverage_bounds(nominal: float) -> tuple[float, float]:
    """Outside the central interval may lie from a quarter to twice of what it says."""
    outside = 1 - nominal
    return max(0.0, 1 - 2 * outside), 1 - outside / 4


def _coverage(
    own: Scored, rules: SeriesRules, limits: Limits, champion: Scored | None = None
) -> list[Check]:
    """Empty where the quantiles have no central interval."""
    nominal = nominal_coverage(rules.quantiles)
    value = _mean(own.coverage)
    if nominal is None or value is None:
        return []
    low, high = limits.coverage or coverage_bounds(nominal)
    told = None if champion is None else _mean(champion.coverage)
    bound = (low, high) if told is None else (min(low, told), max(high, told))
    why = "" if bound == (low, high) else " (the champion's own)"
    spread = _own_interval(own.coverage, limits)
    sentence = (
        f"{value:.1%} of periods lay within the interval that says {nominal:.0%}; "
        f"{bound[0]:.1%} to {bound[1]:.1%} is in bounds{why}"
    )
    passed = bound[0] <= value <= bound[1]
    return [Check("coverage", "overall", "all", value, *spread, bound, passed, sentence)]


def _filled(own: Scored, champion: Scored | None = None) -> Check:
    value = float(own.filled.above.sum() / own.filled.below.sum())
    most = MOST_FILLED
    if champion is not None:
        most = max(most, float(champion.filled.above.sum() / champion.filled.below.sum()))
    sentence = f"the baseline filled {value:.1%} of its forecasts; {most:.0%} is the bound"
    return Check(
        "filled", "overall", "all", value, None, None, (None, most), value <= most, sentence
    )


def _own_interval(parts: Parts, limits: Limits) -> tuple[float | None, float | None]:
    found = interval(draws(*parts.above.shape).means(parts), 1 - 2 * limits.alpha)
    return found or (None, None)


def _baseline(baseline: Scored, own: Scored, metric: str, limits: Limits) -> Check:
    value = _gain_of(baseline.loss, own.loss)
    spread = _interval(baseline.loss, own.loss, 1 - 2 * limits.alpha)
    low, high = spread or (None, None)
    passed = None if value is None else value > 0
    sentence = (
        f"the gain on the baseline is undefined: {metric.upper()} is"
        if value is None
        else f"{metric.upper()} {_below(value)} the baseline's over "
        f"{_n(own.shape[1])}; below it is asked for"
    )
    bound: Bound = (0.0, None)
    return Check("baseline", "overall", "all", value, low, high, bound, passed, sentence)


# --------------------------------------------------------------------------- in words


def _judgement(
    road: Road, metric: str, other: Scored, own: Scored, checks: tuple[Check, ...]
) -> Judgement:
    alone = other is own
    return Judgement(
        road=road,
        outcome=outcome_of(checks),
        checks=checks,
        metric=metric,
        loss=_mean(own.loss),
        other_loss=None if alone else _mean(other.loss),
        gain=None if alone else _gain_of(other.loss, own.loss),
        cutoffs=own.shape[1],
        stores=own.shape[0],
    )


def _below(gain: float) -> str:
    return f"{abs(gain):.1%} {'below' if gain >= 0 else 'above'}"


def _signed(share: float) -> str:
    return f"{abs(share):.1%} too {'much' if share >= 0 else 'little'}"


def _share(gain: float) -> str:
    return f"{gain:+.1%}"


def _n(cutoffs: int) -> str:
    return f"{cutoffs} window{'s' if cutoffs != 1 else ''}"
