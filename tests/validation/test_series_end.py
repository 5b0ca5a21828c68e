"""Benchmarks: each series' own end is its cutoff, from a folder with one parquet file."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fev.metrics import get_metric

import storecast
from storecast import runs
from storecast.core.calendar import Frequency
from storecast.errors import Code, ConfigurationError, Refusal
from storecast.validation import recording

MONTHLY = """
project: benchmark
source:
  type: files
  path: data
  sales:
    from: sales.parquet
    primary_key: [store_id, date]
    columns: {store_id: store_id, date: date, sales: sales}
  covariates:
  - from: sales.parquet
    columns: {store_id: store_id, date: date}
    known: [price]
series: {frequency: MS, non_negative: false, missing: unknown}
forecast: {horizon: HORIZON, quantiles: [0.5]}
validation: {windows: WINDOWS, step: HORIZON, warmup: 1, metric: mase, align: series_end}
models: [seasonal_naive]
"""
Series = dict[str, tuple[date, list[float]]]


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow replaced, since its store takes seconds to make."""
    monkeypatch.setattr(recording, "record_validation", lambda *_, **__: "parent")
    monkeypatch.setattr(recording, "finish", lambda *_: None)


@pytest.fixture
def ingested(tmp_path: Path) -> Callable[..., Any]:
    """A project whose folder holds one parquet file, ingested through the files source."""

    def make(series: Series, horizon: int, windows: int = 2, *overrides: str) -> Any:
        frequency = Frequency("MS")
        rows = [
            (store, frequency.label(frequency.ordinal(first) + i), value, 1.0)
            for store, (first, values) in series.items()
            for i, value in enumerate(values)
        ]
        frame = pl.DataFrame(rows, schema=["store_id", "date", "sales", "price"], orient="row")
        (tmp_path / "data").mkdir()
        frame.write_parquet(tmp_path / "data" / "sales.parquet")
        text = MONTHLY.replace("HORIZON", str(horizon)).replace("WINDOWS", str(windows))
        (tmp_path / "storecast.yaml").write_text(text)
        project = storecast.load(tmp_path, overrides)
        storecast.ingest(project)
        return project

    return make


def table(project: Any, name: str) -> pl.DataFrame:
    return pl.DataFrame(runs.read_table(project, name))


def test_a_small_example_by_hand(ingested: Callable[..., Any]) -> None:
    # season 2 in place of 12; two steps; b ends a year and a half before a
    series = {
        "a": (date(2020, 1, 1), [10.0, 20.0, 14.0, 26.0, 13.0, 30.0, 16.0, 27.0]),
        "b": (date(2018, 7, 1), [1.0, 5.0, 2.0, 4.0, 6.0, 8.0]),
    }
    project = ingested(series, 2, 2, "series.season=2")
    result = storecast.validate(project)
    told = table(project, "backtest_forecasts").filter(pl.col("segment") != "warmup")
    # a forecasts 13, 30 for 16, 27; b forecasts 2, 4 for 6, 8
    assert told.sort("store_id", "date").select(
        "store_id", "cutoff", "date", "forecast"
    ).rows() == [
        ("a", date(2020, 6, 30), date(2020, 7, 1), 13.0),
        ("a", date(2020, 6, 30), date(2020, 8, 1), 30.0),
        ("b", date(2018, 10, 31), date(2018, 11, 1), 2.0),
        ("b", date(2018, 10, 31), date(2018, 12, 1), 4.0),
    ]
    (line,) = result.leaderboard
    # scales: a (4 + 6 + 1 + 4) / 4 = 3.75, b (1 + 1) / 2 = 1
    assert line.mase == pytest.approx((3 / 3.75 + 4 / 1) / 2)
    assert line.mase == pytest.approx(2.4, abs=5e-5)
    assert line.wape == pytest.approx((3 + 3 + 4 + 4) / (16 + 27 + 6 + 8))
    # squares: a (16 + 36 + 1 + 16) / 4, b (1 + 1) / 2
    assert line.rmsse == pytest.approx((math.sqrt(9 / 17.25) + 4) / 2)
    assert line.n_scored == 4


@pytest.mark.slow
def test_it_is_marked_and_not_deployed(ingested: Callable[..., Any]) -> None:
    values = [float(5 + i % 7) for i in range(36)]
    series = {"a": (date(2020, 1, 1), values), "b": (date(2019, 1, 1), values)}
    project = ingested(series, 3)
    result = storecast.validate(project)
    assert result.align == "series_end"
    assert any("series_end" in sentence for sentence in result.sentences())
    assert not any("leak audit" in sentence for sentence in result.sentences())
    details = runs.newest(project, "validate")["details"]  # type: ignore[index]
    assert details["align"] == "series_end"
    for force in (False, True):
        with pytest.raises(Refusal) as refused:
            storecast.deploy(project, force=force)
        assert refused.value.code is Code.BENCHMARK_ALIGNMENT
    calendar = storecast.load(project.root, ["validation.align=calendar"])
    assert storecast.validate(calendar).validation_id != result.validation_id


def retail(seed: int = 7) -> Series:
    """Monthly retail: trend, season and noise; lengths and ends of their own, as in aus_retail."""
    chance = np.random.default_rng(seed)
    series: Series = {}
    for i in range(20):
        length = int(chance.integers(60, 200))
        t = np.arange(length)
        level = 10 ** chance.uniform(0.5, 3)
        year = 1 + 0.2 * np.sin(2 * np.pi * t / 12 + i) + 0.3 * (t % 12 == 11)
        values = level * (1 + 0.004 * t) * year * chance.lognormal(0, 0.05, length)
        first = date(1982 + int(chance.integers(0, 20)), 1 + int(chance.integers(0, 12)), 1)
        series[f"T{i:02}"] = (first, [float(v) for v in values.round(1)])
    return series


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("horizon", "windows"), [(12, 1), (8, 3)])
def test_seasonal_naive_and_metrics_are_fevs(
    ingested: Callable[..., Any], horizon: int, windows: int
) -> None:
    series = retail()
    project = ingested(series, horizon, windows + 1)
    result = storecast.validate(project)
    (line,) = result.leaderboard
    assert line.n_scored == windows * horizon * len(series)
    assert line.n_filled == 0

    found: dict[str, list[float]] = {name: [] for name in ("MASE", "WAPE")}
    roots = []
    for back in range(windows):
        cut = [len(values) - horizon * (back + 1) for _, values in series.values()]
        past = [np.array(v[:n]) for (_, v), n in zip(series.values(), cut, strict=True)]
        true = np.array(
            [v[n : n + horizon] for (_, v), n in zip(series.values(), cut, strict=True)]
        )
        naive = np.array([np.resize(values[-12:], horizon) for values in past])

        def score(
            name: str,
            some: slice = slice(None),
            past: list[Any] = past,
            true: Any = true,
            naive: Any = naive,
        ) -> float:
            return float(
                get_metric(name).compute(
                    y_true=true[some][:, :, None], y_pred=naive[some][:, :, None],
                    y_past=np.concatenate(past[some])[:, None],
                    y_past_lengths=np.array([len(values) for values in past[some]]),
                    q_pred=naive[some][:, :, None, None], seasonality=12, quantile_levels=[0.5],
                )
            )  # fmt: skip

        for name in ("MASE", "WAPE"):
            found[name].append(score(name))
        roots.append(np.mean([score("RMSSE", slice(i, i + 1)) for i in range(len(series))]))
    assert line.mase == pytest.approx(np.mean(found["MASE"]), rel=1e-9)
    assert line.wape == pytest.approx(np.mean(found["WAPE"]), rel=1e-9)
    assert line.rmsse == pytest.approx(np.mean(roots), rel=1e-9)


@pytest.mark.parametrize("change", ["validation.step=MS", "series.mask=[[2020-01-01, 2020-02-01]]"])
def test_what_does_not_go_with_it_is_refused(ingested: Callable[..., Any], change: str) -> None:
    project = ingested({"a": (date(2020, 1, 1), [5.0] * 40)}, 3)
    with pytest.raises(ConfigurationError) as caught:
        storecast.load(project.root, [change])
    assert "series_end" in caught.value.message


def stranger(folder: Path, frequency: str, season: int, horizon: int) -> Series:
    """A folder with one parquet file, a configuration by hand, and what is in the file.

    Numbers for ids, times for days, returns, gaps, series that end at days of their own.
    """
    chance, calendar = np.random.default_rng(season), Frequency(frequency)
    series: Series = {}
    for i in range(12):
        length = horizon + int(chance.integers(3 * season, 5 * season))
        values = chance.gamma(2, 50, length) - 20
        # a gap in the middle: neither the first, nor the last known value of its place
        values[season : season + 3] = np.nan
        first = calendar.ordinal(date(2019, 3, 31)) + int(chance.integers(0, 30))
        series[str(7000 + i)] = (calendar.label(first), [float(v) for v in values.round(2)])
    rows = [
        (int(store), calendar.label(calendar.ordinal(first) + k), value, float(k % 3))
        for store, (first, values) in series.items()
        for k, value in enumerate(values)
    ]
    frame = pl.DataFrame(rows, schema=["store_id", "date", "sales", "price"], orient="row")
    (folder / "data").mkdir()
    whole = frame.with_columns(pl.col("date").cast(pl.Datetime("ns"))).sample(
        fraction=1.0, shuffle=True, seed=1
    )
    whole.write_parquet(folder / "data" / "sales.parquet")
    text = MONTHLY.replace("HORIZON", str(horizon)).replace("WINDOWS", "1")
    text = text.replace("frequency: MS", f"frequency: {frequency}, season: {season}")
    text = text.replace("warmup: 1", "warmup: 0").replace("[0.5]", "[0.1, 0.5, 0.9]")
    (folder / "storecast.yaml").write_text(text + "max_rejected: 1\n")
    return series


@pytest.mark.parametrize(
    ("frequency", "season", "horizon"),
    [("D", 7, 28), ("W-SUN", 52, 13), ("MS", 12, 18), ("ME", 12, 6)],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_one_window_without_warm_up_is_scored_as_by_fev(
    tmp_path: Path, frequency: str, season: int, horizon: int
) -> None:
    series = {
        store: np.array(values)
        for store, (_, values) in stranger(tmp_path, frequency, season, horizon).items()
    }
    project = storecast.load(tmp_path)
    storecast.ingest(project)
    result = storecast.validate(project)
    assert (len(result.cutoffs), result.warmup) == (1, ())
    assert any("no warm-up" in sentence for sentence in result.sentences())
    (line,) = result.leaderboard
    assert line.n_scored == horizon * len(series)
    past = [values[:-horizon] for values in series.values()]
    naive = np.array([np.resize(values[-season:], horizon) for values in past])
    told = table(project, "backtest_forecasts").sort("store_id", "date")
    assert told["forecast"].to_numpy().reshape(naive.shape) == pytest.approx(naive, rel=1e-12)
    # without an earlier window to learn from, every quantile is the forecast
    quantiles = np.repeat(naive[:, :, None, None], 3, axis=3)
    true = np.array([values[-horizon:] for values in series.values()])

    def fev(name: str, some: slice = slice(None)) -> float:
        return float(
            get_metric(name).compute(
                y_true=true[some][:, :, None], y_pred=naive[some][:, :, None],
                y_past=np.concatenate(past[some])[:, None],
                y_past_lengths=np.array([len(values) for values in past[some]]),
                q_pred=quantiles[some], seasonality=season, quantile_levels=[0.1, 0.5, 0.9],
            )
        )  # fmt: skip

    for name in ("WAPE", "MASE", "SQL", "WQL"):
        assert getattr(line, name.lower()) == pytest.approx(fev(name), rel=1e-9), name
    roots = [fev("RMSSE", slice(i, i + 1)) for i in range(len(series))]
    assert line.rmsse == pytest.approx(np.mean(roots), rel=1e-9)
