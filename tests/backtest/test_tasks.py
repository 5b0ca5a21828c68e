"""The backtest: honest fills, cold starts, and nothing past a cutoff seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storecast.adapters.local.compute import LocalCompute
from storecast.backtest.tasks import (
    Outcome,
    backtest,
    calibrated,
    calibration_errors,
    read_history,
    write_history,
)
from storecast.core.panel import History
from storecast.errors import Code, ModelError
from storecast.models import base
from storecast.models.calibration import Conformal

from .backtest_chains import (
    FAST,
    THROUGH,
    Broken,
    Forgetful,
    Here,
    Leaving,
    Point,
    history_of,
    recipe,
    rich_history,
)

FORECAST = ["forecast", "forecast_mean"]


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed packages that offer models."""
    points = [Point(Broken), Point(Forgetful), Point(Leaving)]
    monkeypatch.setattr(base, "entry_points", lambda group: points)


def run(history: History, *recipes: base.Recipe, back: int = 4) -> list[Outcome]:
    cutoff = THROUGH - timedelta(weeks=back)
    return list(backtest(history, recipes, [cutoff], 4, Here()))  # type: ignore[arg-type]


CHAIN = {
    "a": (39, [1.0] * 40),
    "b": (39, [2.0] * 40),
    "c": (39, [3.0] * 40),
    "new": (1, [50.0, 60.0]),
}


@pytest.mark.usefixtures("strangers")
def test_a_model_that_fails_is_filled_by_the_baseline_and_says_why() -> None:
    failed, naive = run(history_of(CHAIN), recipe("broken"), recipe("seasonal_naive"))
    assert failed.failure == "ZeroDivisionError: no sense"
    assert naive.failure is None
    assert set(failed.frame["origin"]) == {"filled"}
    assert failed.frame[FORECAST].equals(naive.frame[FORECAST])
    assert set(naive.frame.filter(pl.col("segment") == "headline")["origin"]) == {"model"}


@pytest.mark.usefixtures("strangers")
def test_a_model_that_leaves_by_sys_exit_failed_as_any_other() -> None:
    told, naive = run(history_of(CHAIN), recipe("leaving"), recipe("seasonal_naive"))
    assert told.failure == "SystemExit: 3"
    assert told.frame[FORECAST].equals(naive.frame[FORECAST])


@pytest.mark.usefixtures("strangers")
def test_what_stops_the_command_is_no_failure_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leaving, "fault", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(history_of(CHAIN), recipe("leaving"))


@pytest.mark.usefixtures("strangers")
def test_only_the_stores_that_a_model_leaves_out_are_filled() -> None:
    (told,) = run(history_of(CHAIN), recipe("forgetful"))
    seen = told.frame.filter(pl.col("segment") == "headline")
    origins = {s: set(o) for s, o in seen.group_by("store_id").agg("origin").iter_rows()}
    assert origins == {"a": {"model"}, "b": {"filled"}, "c": {"filled"}}
    forecasts = {s: set(o) for s, o in seen.group_by("store_id").agg("forecast").iter_rows()}
    assert forecasts == {"a": {7.0}, "b": {2.0}, "c": {3.0}}
    assert told.failure is not None


@pytest.mark.usefixtures("strangers")
def test_a_baseline_that_fails_is_an_error() -> None:
    cutoff = THROUGH - timedelta(weeks=4)
    recipes = [recipe("broken")]
    with pytest.raises(ModelError, match="fails as well") as caught:
        list(backtest(history_of(CHAIN), recipes, [cutoff], 4, Here(), baseline=recipes[0]))  # type: ignore[arg-type]
    assert caught.value.code is Code.MODEL_FAILED


def test_an_unknown_parameter_stops_before_anything_runs() -> None:
    with pytest.raises(ModelError, match="'leaves'"):
        run(history_of(CHAIN), recipe("lightgbm", leaves=3))


def test_a_store_first_seen_later_gets_the_median_of_the_others() -> None:
    history = history_of(CHAIN)
    (told,) = run(history, recipe("seasonal_naive"))
    cold = told.frame.filter(pl.col("segment") == "cold_start")
    assert cold["store_id"].to_list() == ["new", "new"]
    assert cold["forecast"].null_count() == 2
    errors = told.frame.select("store_id", "step", sales="sales", forecast=pl.col("sales") - 1.0)
    conformal = Conformal.learn(errors.with_columns(scale=pl.lit(1.0)), history.rules)
    whole = calibrated(told.frame, conformal, history.rules)
    assert whole.select("store_id", "step").equals(told.frame.select("store_id", "step"))
    made = whole.filter(pl.col("segment") == "cold_start")
    # 2 is the median of 1, 2, 3; each store is off by its own size
    assert made.select(*FORECAST, "q10", "q90").rows() == [(2.0, 4.0, 4.0, 4.0)] * 2


def test_a_store_that_never_sold_gets_what_the_artefact_would_say() -> None:
    """The median of the open ones, though it has been open for long; zero on a closed day."""
    history = history_of(CHAIN)
    opened = pl.DataFrame({"store_id": ["idle"], "opened_on": [THROUGH - timedelta(weeks=39)]})
    (told,) = run(replace(history, stores=opened), recipe("seasonal_naive"))
    idle = told.frame.filter(pl.col("store_id") == "idle")
    assert idle["segment"].unique().to_list() == ["cold_start"]
    assert idle["forecast"].null_count() == 4
    one, two = pl.col("step") == 1, pl.col("step") == 2
    shut = one & pl.col("store_id").is_in(["a", "idle"]) | two & (pl.col("store_id") == "a")
    frame = told.frame.with_columns(closed=shut)
    made = calibrated(frame, Conformal.learn(frame.head(0), history.rules), history.rules)
    made = made.filter(pl.col("store_id") == "idle")
    assert made["forecast"].to_list() == [0.0, 2.5, 2.0, 2.0]
    assert made["q90"].to_list()[0] == 0.0
    assert set(made["origin"]) == {"filled"}


def test_errors_are_of_what_the_model_itself_said_and_of_periods_that_are_over() -> None:
    history = rich_history()
    (told,) = run(history, recipe("seasonal_naive"), back=8)
    until = history.rules.frequency.ordinal(THROUGH - timedelta(weeks=6))
    errors = calibration_errors([told.frame], until)
    assert set(errors["step"]) == {1, 2}
    assert "late" not in errors["store_id"]
    assert calibration_errors([], until).is_empty()


def test_a_history_comes_back_equal_from_its_files(tmp_path: Path) -> None:
    history = rich_history()
    write_history(history, tmp_path)
    back = read_history(tmp_path)
    assert back.rules == history.rules
    assert back.through == history.through
    for name in ("sales", "stores", "covariate_versions"):
        assert getattr(back, name).equals(getattr(history, name)), name
    assert back.covariates is None


@pytest.mark.slow
def test_worker_processes_give_the_same_to_the_bit() -> None:
    history = rich_history()
    recipes = [recipe("lightgbm", **FAST), recipe("local_level")]
    cutoffs = [THROUGH - timedelta(weeks=8), THROUGH - timedelta(weeks=4)]
    made = [
        {
            (o.recipe.name, o.cutoff): o.frame
            for o in backtest(history, recipes, cutoffs, 4, compute)  # type: ignore[arg-type]
        }
        for compute in (Here(), LocalCompute(2))
    ]
    assert made[0].keys() == made[1].keys()
    assert all(frame.equals(made[1][key]) for key, frame in made[0].items())


# ------------------------------------------------------------------------- no leak

MODELS = [recipe("seasonal_naive"), recipe("local_level"), recipe("lightgbm", **FAST)]
CUTOFF = THROUGH - timedelta(weeks=6)


def calibrated_forecasts(history: History) -> pl.DataFrame:
    """What every model says at CUTOFF, calibrated by the window before."""
    cutoffs = [CUTOFF - timedelta(weeks=2), CUTOFF]
    outcomes = {
        (o.recipe.name, o.cutoff): o.frame
        for o in backtest(history, MODELS, cutoffs, 4, Here())  # type: ignore[arg-type]
    }
    until = history.rules.frequency.ordinal(CUTOFF)
    made = []
    for model in MODELS:
        errors = calibration_errors([outcomes[model.name, cutoffs[0]]], until)
        assert errors.height
        conformal = Conformal.learn(errors, history.rules)
        frame = calibrated(outcomes[model.name, CUTOFF], conformal, history.rules)
        made.append(frame.with_columns(model=pl.lit(model.name)))
    return (
        pl.concat(made)
        .filter(pl.col("segment") != "cold_start")
        .select("model", "store_id", "step", *FORECAST, "q10", "q50", "q90", "closed", "size")
        .sort("model", "store_id", "step")
    )


def altered(history: History, after: date, factor: float, delete: bool) -> History:
    """Everything that was told after a day, changed or taken away; born stores included."""
    later = pl.col("date") > after

    def change(frame: pl.DataFrame, when: pl.Expr, columns: list[str]) -> pl.DataFrame:
        if delete:
            return frame.filter(~when)
        return frame.with_columns(
            pl.when(when).then(pl.col(c) * factor + 1).otherwise(c).alias(c) for c in columns
        )

    assert history.stores is not None
    assert history.covariate_versions is not None
    closings = pl.when(pl.col("closed_on") > after)
    changed = change(history.sales, later, ["sales", "visits"])
    extra = changed.head(0) if delete else pl.DataFrame(
        {"store_id": ["born"], "date": [THROUGH], "sales": [1e6], "visits": [1.0]}
    )  # fmt: skip
    told = pl.col("known_at") > after
    beyond = pl.col("date") > after + timedelta(weeks=2)
    versions = change(history.covariate_versions, told, ["promo", "price"])
    return replace(
        history,
        sales=pl.concat([changed, extra]),
        stores=history.stores.with_columns(
            closed_on=closings.then(None if delete else pl.lit(after + timedelta(days=9)))
            .otherwise("closed_on")
        ),
        # `price` is known two periods ahead
        covariate_versions=versions.with_columns(
            price=pl.when(beyond).then(None if delete else pl.col("price") * factor + 1)
            .otherwise("price")
        ),
    )  # fmt: skip


@given(st.integers(0, 3), st.floats(-3, 30), st.booleans())
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_told_after_the_cutoff_changes_any_forecast(
    seed: int, factor: float, delete: bool
) -> None:
    history = rich_history(seed)
    told = calibrated_forecasts(history)
    assert told.height
    assert calibrated_forecasts(altered(history, CUTOFF, factor, delete)).equals(told)


def test_the_control_what_was_told_before_the_cutoff_changes_every_model() -> None:
    history = rich_history()
    told = calibrated_forecasts(history)
    other = calibrated_forecasts(altered(history, CUTOFF - timedelta(weeks=5), 2.0, False))
    same = (
        told.join(other, on=["model", "store_id", "step"])
        .filter((pl.col("forecast") - pl.col("forecast_right")).abs() > 1e-6)
    )  # fmt: skip
    assert set(same["model"]) == {m.name for m in MODELS}
