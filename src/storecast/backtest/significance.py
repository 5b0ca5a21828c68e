"""Which differences between two models are real: exact tests over the cutoffs of a backtest.

Cutoffs are few and their errors far from normal, so nothing is assumed but this: if two models
are equally good, the difference of their losses at a cutoff is as likely to have one sign as the
other. Each cutoff gives one difference, from the part of its window up to the next cutoff, so that
no day counts twice. See Fisher, The Design of Experiments (1935), § 21; Ernst, Permutation methods:
a basis for exact inference, Statistical Science 19 (2004), 676–685; Holm, A simple sequentially
rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979), 65–70.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

MOST = 40
"""Differences above which their signs can no longer be enumerated: the newest ones count."""

LEVEL = 0.1
"""The chance, at most, that a validation calls any difference real that is none."""

Verdict = Literal["better", "worse", "not_told_apart"]

_TIES = 1e-9
"""Sums closer than this part of the greatest are one: they differ by rounding only."""


def sign_flip(
    differences: Sequence[float], alternative: Literal["less", "two-sided"] = "two-sided"
) -> float | None:
    """The exact p-value of the mean difference under all flips of its terms' signs.

    Args:
        differences: one a cutoff, in their order, shape (n,); of more than ``MOST`` the last count.
        alternative: ``less`` asks whether the mean is below zero, ``two-sided`` whether it is
            not zero.

    Returns:
        the share of the 2ⁿ sign patterns whose mean is as far out as the one seen, the one seen
        among them: at least 2⁻ⁿ, or 2¹⁻ⁿ where both sides count. None without a difference.
    """
    given = np.asarray(differences, dtype=np.float64)[-MOST:]
    if not given.size:
        return None
    size = np.abs(given)
    seen = float(given.sum())
    tie = _TIES * float(size.sum())
    half = given.size // 2
    ones, others = _flipped(size[:half]), np.sort(_flipped(size[half:]))
    below = _at_most(ones, others, seen + tie)
    if alternative == "two-sided":
        # The patterns are symmetric: as many lie above as below.
        below = 2 * _at_most(ones, others, -abs(seen) + tie)
    return float(min(1.0, below / 2.0**given.size))


def _flipped(size: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sums under each of the 2ⁿ sign patterns."""
    sums = np.zeros(1)
    for value in size:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _at_most(ones: npt.NDArray[np.float64], others: npt.NDArray[np.float64], bound: float) -> float:
    """How many pairs, one of each, have a sum of at most ``bound``; ``others`` is sorted."""
    return float(np.searchsorted(others, bound - ones, side="right").sum())


def adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's p-values: of several comparisons, none is called real by chance alone.

    The chance that any one of equally good models gets a value at or below a level is at most
    that level, whatever their dependence.
    """
    result, highest = {}, 0.0
    ordered = sorted(p_values.items(), key=lambda item: (item[1], item[0]))
    for place, (name, value) in enumerate(ordered):
        highest = max(highest, min(1.0, value * (len(ordered) - place)))
        result[name] = highest
    return result


@dataclass(frozen=True)
class Difference:
    """How a model stands to the baseline: Holm's two-sided p-value, and what follows from it."""

    p_value: float
    verdict: Verdict


def against(
    losses: Mapping[str, Mapping[str, float | None]], baseline: str
) -> dict[str, Difference]:
    """Which models are really better or worse than the baseline.

    Args:
        losses: of each model its loss by cutoff, from the part of the window up to the next
            cutoff; None where it is undefined. A cutoff counts where both losses are defined.
        baseline: one of the models.

    Returns:
        each other model's difference, real where its p-value is at most ``LEVEL``; without the
        models that share no cutoff with the baseline.
    """
    bar = losses.get(baseline, {})
    differences = {
        model: _differences(values, bar) for model, values in losses.items() if model != baseline
    }
    found = {model: sign_flip(values) for model, values in differences.items()}
    holm = adjusted({model: p for model, p in found.items() if p is not None})
    return {m: Difference(p, _verdict(p, sum(differences[m][-MOST:]))) for m, p in holm.items()}


def _differences(
    values: Mapping[str, float | None], bar: Mapping[str, float | None]
) -> list[float]:
    pairs = [(values[cutoff], bar.get(cutoff)) for cutoff in sorted(values)]
    return [mine - its for mine, its in pairs if mine is not None and its is not None]


def _verdict(p_value: float, difference: float) -> Verdict:
    if p_value > LEVEL:
        return "not_told_apart"
    return "better" if difference < 0 else "worse"


def fewest(models: int) -> int:
    """Cutoffs below which not even a model better at each of them can be told apart.

    Args:
        models: how many are compared with the baseline.
    """
    cutoffs = 1
    while models * 2.0 ** (1 - cutoffs) > LEVEL:
        cutoffs += 1
    return cutoffs


def windows_needed(alpha: float) -> int:
    """Cutoffs below which not even a model better at each of them is so at the level ``alpha``.

    Of one comparison, one-sided, as the promotion gate makes it.
    """
    cutoffs = 1
    while 2.0**-cutoffs > alpha:
        cutoffs += 1
    return cutoffs
