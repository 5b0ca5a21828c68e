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
from typing import Literal

import numpy as np
import numpy.typing as npt

MOST = 40
"""Differences above which their signs can no longer be enumerated: the newest ones count."""

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
