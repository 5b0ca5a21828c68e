"""A store's attributes as codes, and what every model does not know of new stores.

The codes are learnt inside the window. Code 0 is a value that was not there at the fit, or none;
a few stores are taught under it, so that a model has seen what it means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from storecast.core.identifiers import UNKNOWN, StoreCodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.window import Past

    Floats = NDArray[np.float64]

MOST_CATEGORIES: Final = 32
"""Values above which an attribute is left out; so is one with fewer than two stores a value."""
HIDDEN: Final = 0.05
"""The share of the stores that are taught as unknown."""


def categories(past: Past) -> dict[str, StoreCodes]:
    """Attributes worth showing to a model, each with the codes of its values."""
    result = {}
    for name in past.rules.attributes:
        codes = StoreCodes.learn(past.stores.get_column(name))
        if 2 <= len(codes.values) <= min(MOST_CATEGORIES, past.stores.height // 2):
            result[name] = codes
    return result


def coded(past: Past, known: Mapping[str, StoreCodes]) -> Floats:
    """N × A codes: 0 is a value not seen at the fit, or none."""
    columns = [
        codes.encode(past.stores.get_column(name)).astype(np.float64)
        for name, codes in known.items()
    ]
    return np.column_stack(columns) if columns else np.zeros((past.stores.height, 0))


def hidden(stores: Sequence[str], seed: int = 0) -> NDArray[np.bool_]:
    """Which of N stores are taught as unknown: ``HIDDEN`` of them, one at least.

    By a digest of the id, so that it is chance, the same every time, and hardly another choice
    where a store comes or goes. None of a single store.
    """
    result = np.zeros(len(stores), dtype=np.bool_)
    if len(stores) > 1:
        drawn = [hashlib.sha256(f"{seed} {store}".encode()).digest() for store in stores]
        count = max(round(HIDDEN * len(stores)), 1)
        result[sorted(range(len(stores)), key=drawn.__getitem__)[:count]] = True
    return result


def taught(codes: Floats, stores: Sequence[str], seed: int = 0) -> Floats:
    """N × A codes for a fit: those of the hidden stores are 0."""
    return np.where(hidden(stores, seed)[:, None], float(UNKNOWN), codes)
