"""Windows that the models are tried on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from storecast.core.window import Window, cut

from .small_chains import THROUGH, history_of, rules_of


@pytest.fixture
def window() -> Callable[..., Window]:
    """A window at the end of the values given."""

    def make(
        values: Mapping[str, list[float | None]], *, code: str = "W-SUN", **more: Any
    ) -> Window:
        parts = {k: more.pop(k) for k in ("stores", "covariates") if k in more}
        rules = rules_of(code, **more)
        history = history_of(values, rules, **parts)
        last = rules.frequency.last_day(rules.frequency.complete(THROUGH))
        return cut(history, last, rules.horizon)

    return make
