"""compare_from: other first days of training beside the configured one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

import storecast
from storecast import runs
from storecast.adapters.local.compute import LocalCompute
from storecast.backtest import spans
from storecast.backtest.spans import (
    check_days,
    same_rows_losses,
    verdict,
    verdicts,
    worth_comparing,
)
from storecast.errors import ConfigurationError, ContractError
from storecast.models.base import Recipe
from storecast.validation import recording

from ..backtest.gate_windows import RULES, windows

Make = Callable[..., Any]
TREES = "models=[seasonal_naive, local_level, {name: lightgbm, n_estimators: 20, lags: [1, 2, 4]}]"
YOUNGER = "validation.compare_from=[null, 2022-05-02]"


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """MLflow replaced, since its store takes seconds to make; what was to be recorded."""
    told: list[Any] = []

    def kept(_: Any, record: Any) -> str:
        told.append(record)
        return "parent"

    monkeypatch.setattr(recording, "record_validation", kept)
    monkeypatch.setattr(recording, "finish", lambda *_: None)
    return told


def drifted() -> dict[str, tuple[int, list[float]]]:
    """Weeks that follow the one before; and, in the older half, the one four before, negatively."""
    chance = np.random.default_rng(1)
    chain = {}
    for store in (f"{n:03d}" for n in range(6)):
        values = [*chance.gamma(9, 10, 4)]
        for week in range(4, 100):
            last = values[-1] if week > 60 else 200 - values[-1]
            values.append(float(max(1.0, 0.8 * last + 20 + chance.normal(0, 8))))
        chain[store] = (99, [round(v, 4) for v in values])
    return chain


def here(project: Any) -> Any:
    return dataclasses.replace(project, compute=LocalCompute(1))


def details(project: Any) -> dict[str, Any]:
    row = runs.newest(project, "validate")
    assert row is not None
    told: dict[str, Any] = row["details"]
    return told


def test_a_shorter_span_that_forgets_what_has_changed_is_better(
    project: Make, logged: list[Any]
) -> None:
    made = here(project(drifted(), TREES, YOUNGER, "validation.windows=8", "gate.windows=1",
                        "gate.alpha=0.5"))  # fmt: skip
    result = storecast.validate(made, audit="off")
    (trees,) = [span for span in result.spans if span.model == "lightgbm"]
    assert (trees.configured, trees.other) == (date(1900, 1, 1), date(2022, 5, 2))
    assert trees.loss > trees.other_loss
    assert (trees.warns, trees.shorter) == (True, False)
    assert "warning: lightgbm is better on the shorter span" in trees.sentence()
    told = details(made)
    # the windows that the gate keeps take no part
    counted = [d.isoformat() for d in result.cutoffs if d not in result.kept]
    assert result.kept
    assert list(told["spans"]["losses"]["lightgbm"]["2022-05-02"]) == counted
    assert trees.cutoffs == len(counted)
    assert trees.sentence() in [*verdict(told, "lightgbm")]
    assert verdict(told, "nobody") == []
    (model,) = [m for m in logged[0].models if m.name == "lightgbm"]
    assert model.metrics["from/2022-05-02/wape"] == trees.other_loss
    assert len(json.loads(logged[0].texts["spans.json"])) == 3
    plain = result.as_dict()["spans"]
    assert json.loads(json.dumps(plain))[0]["configured"] == "1900-01-01"
    if result.best == "lightgbm":
        assert trees.sentence() in result.sentences()
    again = storecast.validate(made, audit="off")
    assert (again.reused, again.spans) == (True, result.spans)


@pytest.mark.parametrize("metric", ["wape", "wql"])
def test_it_is_what_a_validation_from_that_day_would_have_found(project: Make, metric: str) -> None:
    """The other span's losses are those of a project whose training begins there."""
    chain = drifted()
    ordered = f"validation.metric={metric}"
    made = here(project(chain, TREES, YOUNGER, ordered))
    storecast.validate(made, audit="off")
    losses = details(made)["spans"]["losses"]
    there = here(project(chain, TREES, "training.from=2022-05-02", ordered))
    storecast.validate(there, audit="off")
    with runs.begin(there, "report") as run:
        scores = pl.DataFrame(run.read("backtest_scores"))
    scores = scores.filter(pl.col("validation_id") == details(there)["validation_id"])
    for name in ("lightgbm", "local_level"):
        rows = scores.filter((scores["model"] == name) & (scores["scope"] == "cutoff"))
        wanted = dict(rows.select("member", metric).iter_rows())
        found = losses[name]["2022-05-02"]
        assert found == pytest.approx({day: wanted[day] for day in found})
        assert found != losses[name]["1900-01-01"] or name != "lightgbm"


def test_a_store_that_a_span_has_not_seen_counts_for_none() -> None:
    """It sold long ago and again in a window: from the later day on it is a cold start."""
    own = windows(error=0.3).filter("compared").with_columns(model=pl.lit("m"))
    store = pl.col("store_id") == "007"
    other = own.with_columns(
        forecast=pl.when(store).then(1e9).otherwise("forecast"),
        segment=pl.when(store).then(pl.lit("cold_start")).otherwise("segment"),
    )
    days = date(2020, 1, 1), date(2023, 1, 1)
    found = same_rows_losses(dict(zip(days, (own, other), strict=True)), RULES, "wape", ["m"])
    one, both = (found["m"][day.isoformat()] for day in days)
    assert one == pytest.approx(both)
    assert list(one.values()) == pytest.approx([0.3] * 6)


def test_scaled_errors_have_the_configured_spans_scale(project: Make) -> None:
    """The naive's forecasts are the same from either day, so its loss must be."""
    made = here(project(drifted(), YOUNGER, "validation.metric=mase"))
    storecast.validate(made, audit="off")
    one, other = details(made)["spans"]["losses"]["seasonal_naive"].values()
    assert one == pytest.approx(other)


def test_without_other_days_a_validation_is_what_it_was(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "backtest", lambda *_, **__: pytest.fail("another backtest"))
    plain = here(project(drifted()))
    one = storecast.validate(plain, audit="off")
    assert "spans" not in details(plain)
    assert one.spans == ()
    same = "validation.compare_from=[null, 1900-01-01]"
    assert storecast.validate(here(project(drifted(), same)), audit="off").reused


def test_other_days_are_another_validation(project: Make) -> None:
    ids = {
        storecast.validate(here(project(drifted(), *more)), audit="off").validation_id
        for more in ((), (YOUNGER,), ("validation.compare_from=[2022-05-09]",))
    }
    assert len(ids) == 3


def test_a_day_that_leaves_no_room_is_refused(project: Make) -> None:
    made = here(project(drifted(), "validation.compare_from=[2022-10-03]"))
    with pytest.raises(ContractError) as caught:
        storecast.validate(made, audit="off")
    assert caught.value.where == "validation.compare_from"
    assert caught.value.found == "2022-10-03"


def test_a_day_must_leave_a_horizon_before_the_first_cutoff(project: Make) -> None:
    rules = project(drifted()).config.rules()
    cutoff = date(2022, 9, 4)
    check_days([date(2022, 8, 8)], cutoff, rules)  # four whole weeks, the horizon
    with pytest.raises(ContractError, match="has 3 periods before"):
        check_days([date(2022, 8, 9)], cutoff, rules)


def test_it_does_not_go_with_series_end(project: Make) -> None:
    with pytest.raises(ConfigurationError):
        project(drifted(), YOUNGER, "validation.align=series_end")


def test_slow_models_are_compared_where_they_are_the_best_alone() -> None:
    fast, slow = Recipe("fast", "local_level", {}), Recipe("slow", "nbeats", {})
    assert worth_comparing([fast, slow], "fast") == (fast,)
    assert worth_comparing([fast, slow], "slow") == (fast, slow)


def losses_of(own: list[float | None], other: list[float | None], day: str) -> dict[str, Any]:
    days = [f"2024-0{i + 1}-01" for i in range(len(own))]
    both = {
        "2021-01-01": dict(zip(days, own, strict=True)),
        day: dict(zip(days, other, strict=True)),
    }
    return {"spans": {"configured": "2021-01-01", "metric": "wape", "losses": {"m": both}}}


@pytest.mark.parametrize(
    ("day", "own", "warns", "verdict_", "said"),
    [
        ("2018-01-01", 0.2, False, "better", "m is better on the shorter span"),
        ("2018-01-01", 0.4, True, "worse", "warning: m is better on the longer span"),
        ("2023-01-01", 0.2, False, "better", "m is better on the longer span"),
        ("2023-01-01", 0.4, True, "worse", "warning: m is better on the shorter span"),
    ],
)
def test_which_span_is_better_is_said(
    day: str, own: float, warns: bool, verdict_: str, said: str
) -> None:
    (found,) = verdicts(losses_of([own] * 5, [0.3] * 5, day))
    assert (found.warns, found.verdict, found.p_value) == (warns, verdict_, 2 / 2**5)
    assert found.sentence().startswith(said)
    assert "a real difference (p = 0.062 over 5 cutoffs)" in found.sentence()


def test_what_may_be_chance_or_is_equal_or_unknown_is_said_so() -> None:
    (chance,) = verdicts(losses_of([0.2, 0.4, None], [0.3, 0.2, 0.1], "2018-01-01"))
    assert (chance.verdict, chance.cutoffs) == ("not_told_apart", 2)
    assert "which may be chance" in chance.sentence()
    (same,) = verdicts(losses_of([0.2], [0.2], "2018-01-01"))
    assert "is as good with either" in same.sentence()
    assert not same.warns
    assert verdicts(losses_of([None], [0.2], "2018-01-01")) == ()
    assert verdicts({}) == ()
