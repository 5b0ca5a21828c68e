"""From the tables to the report's content: frames in, values out, nothing read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from storecast.core.schema import quantile_column
from storecast.errors import Code, StorecastError
from storecast.reporting.content import (
    Comparison,
    Content,
    Line,
    Outlook,
    RunLine,
    Score,
    Setting,
    Shop,
    ShopForecast,
    Tables,
    Trust,
)

VALUES_EMBEDDED = 300_000
"""History values that a report holds before it shortens the history of each shop."""

_SHORTEST = 120
_NAMES = ("name", "nome", "store_name", "nome_loja", "nome_da_loja", "loja", "description",
          "descricao")  # fmt: skip
_COUNTED = ("headline", "closed_in_window")


def assemble(setting: Setting, tables: Tables) -> Content:
    """Put the report together.

    Raises:
        StorecastError: NOTHING_TO_REPORT where there is neither a forecast nor a validation.
    """
    forecasts = _newest(_filled(tables.forecasts))
    scores = _filled(tables.scores)
    if forecasts is None and scores is None:
        raise StorecastError(
            Code.NOTHING_TO_REPORT,
            "there is neither a validation nor a forecast to report",
            where=setting.project,
            expected="a completed `storecast validate` or `storecast forecast`",
            found="none",
            next_step="storecast run",
        )
    trust = _trust(setting, scores, _filled(tables.backtest)) if scores is not None else None
    panel = _filled(tables.panel)
    histories = _lines(setting, panel, "sales") if panel is not None else {}
    outer = _outer(setting, forecasts)
    made = _shop_forecasts(setting, forecasts, outer) if forecasts is not None else {}
    kept = max(_SHORTEST, 3 * setting.season, VALUES_EMBEDDED // max(1, len(histories)))
    total, partial = _total(setting, panel)
    return Content(
        setting=setting,
        outlook=_outlook(setting, forecasts, made, histories) if forecasts is not None else None,
        trust=trust,
        total=total,
        total_is_partial=partial,
        shops=_shops(setting, tables, histories, made, trust, kept),
        kept=kept if any(len(h.values) > kept for h in histories.values()) else None,
        runs=_runs(_filled(tables.runs), forecasts),
        interval=outer,
    )


def _filled(frame: pl.DataFrame | None) -> pl.DataFrame | None:
    return frame if frame is not None and frame.height else None


def _newest(forecasts: pl.DataFrame | None) -> pl.DataFrame | None:
    """Of the rows still valid, those of the newest forecast alone.

    ``forecasts_latest`` keeps the periods that older forecasts foresaw and the newest does not.
    """
    if forecasts is None:
        return None
    newest = forecasts.filter(pl.col("cutoff") == pl.col("cutoff").max())
    last = newest.sort("created_at", "forecast_id")["forecast_id"][-1]
    return newest.filter(pl.col("forecast_id") == last).sort("store_id", "date")


def _lines(setting: Setting, frame: pl.DataFrame, column: str) -> dict[str, Line]:
    """A line for each store; periods without a row are None."""
    rows = (
        frame.select(
            "store_id",
            setting.frequency.ordinals(pl.col("date")).cast(pl.Int64).alias("at"),
            pl.col(column).cast(pl.Float64).alias("value"),
        )
        .sort("store_id", "at")
        .group_by("store_id", maintain_order=True)
        .agg("at", "value")
    )
    return {
        store_id: _line(at, values)
        for store_id, at, values in zip(*(rows[c].to_list() for c in rows.columns), strict=True)
    }


def _line(at: Sequence[int], values: Sequence[float | None]) -> Line:
    if at[-1] - at[0] + 1 == len(at):
        return Line(at[0], tuple(values))
    by_ordinal = dict(zip(at, values, strict=True))
    return Line(at[0], tuple(by_ordinal.get(o) for o in range(at[0], at[-1] + 1)))


def _outer(setting: Setting, forecasts: pl.DataFrame | None) -> tuple[float, float] | None:
    """The outermost quantiles that lie on both sides of the median."""
    low, high = min(setting.quantiles), max(setting.quantiles)
    if not low < 0.5 < high:
        return None
    names = {quantile_column(low), quantile_column(high)}
    if forecasts is not None and not names <= set(forecasts.columns):
        return None
    return low, high


def _shop_forecasts(
    setting: Setting, forecasts: pl.DataFrame, outer: tuple[float, float] | None
) -> dict[str, ShopForecast]:
    point = _lines(setting, forecasts, "forecast")
    mean = _lines(setting, forecasts, "forecast_mean")
    low = _lines(setting, forecasts, quantile_column(outer[0])) if outer else {}
    high = _lines(setting, forecasts, quantile_column(outer[1])) if outer else {}
    origins = dict(forecasts.group_by("store_id").agg(_worst_origin()).iter_rows())
    return {s: ShopForecast(point[s], mean[s], low.get(s), high.get(s), origins[s]) for s in point}


def _worst_origin() -> pl.Expr:
    """A shop of which one period fell back has fallen back."""
    origin = pl.col("origin")
    return pl.coalesce(origin.filter(origin != "champion").first(), origin.first())


def _outlook(
    setting: Setting,
    forecasts: pl.DataFrame,
    made: Mapping[str, ShopForecast],
    histories: Mapping[str, Line],
) -> Outlook:
    total = (
        forecasts.with_columns(
            setting.frequency.ordinals(pl.col("date")).cast(pl.Int64).alias("at")
        )
        .group_by("at")
        .agg(pl.col("forecast_mean").sum())
        .sort("at")
    )
    mean = _line(total["at"].to_list(), total["forecast_mean"].to_list())
    span = range(mean.start - setting.year, mean.end - setting.year)
    then = {s: [h.at(o) for o in span] for s, h in histories.items()}
    both = [
        s
        for s in made
        if s in then and None not in then[s] and len(made[s].mean.values) == len(span)
    ]
    newest = max((h.end for h in histories.values()), default=span.stop)
    oldest = min((h.start for h in histories.values()), default=span.stop)
    unknown = any(h.at(o) is None for h in histories.values() for o in span if h.start <= o < h.end)
    comparable = oldest <= span.start and span.stop <= newest and not unknown
    expected = sum(f.expected for f in made.values())
    first = forecasts.row(0, named=True)
    origins: dict[str, int] = {}
    for shop in made.values():
        origins[shop.origin] = origins.get(shop.origin, 0) + 1
    champion = forecasts.filter(pl.col("origin") == "champion")
    if champion.height:
        first = champion.row(0, named=True)
    return Outlook(
        cutoff=first["cutoff"],
        first_day=setting.frequency.first_day(mean.start),
        last_day=setting.frequency.last_day(mean.end - 1),
        horizon=len(mean.values),
        shops=len(made),
        expected=expected,
        year_before=Comparison(sum(v or 0.0 for line in then.values() for v in line), expected)
        if comparable
        else None,
        same_shops=Comparison(
            sum(v or 0.0 for s in both for v in then[s]), sum(made[s].expected for s in both)
        )
        if comparable and both
        else None,
        n_same_shops=len(both),
        model_name=first["model_name"],
        model_version=str(first["model_version"]),
        forecast_id=first["forecast_id"],
        created_at=first["created_at"],
        origins=origins,
        mean=mean,
    )


def _trust(setting: Setting, scores: pl.DataFrame, backtest: pl.DataFrame | None) -> Trust | None:
    chosen = setting.validation_id
    if chosen is None or chosen not in scores["validation_id"]:
        chosen = scores["validation_id"][-1]
    scores = scores.filter(pl.col("validation_id") == chosen)
    overall = scores.filter(pl.col("scope") == "overall").sort(
        pl.col(setting.metric).fill_nan(None), "model", nulls_last=True
    )
    if not overall.height:
        return None
    board = tuple(_score(row) for row in overall.iter_rows(named=True))
    named = {score.model: score for score in board}
    model = named.get(setting.model or "", board[0])
    cutoffs = scores.filter(pl.col("scope") == "cutoff")
    days = sorted({date.fromisoformat(m[:10]) for m in cutoffs["member"]})
    by_cutoff: dict[str, dict[str, float | None]] = {score.model: {} for score in board}
    for row in cutoffs.select("model", "member", "wape").iter_rows():
        by_cutoff.setdefault(row[0], {})[row[1][:10]] = _number(row[2])
    errors = _total_errors(backtest, chosen, model.model)
    return Trust(
        validation_id=chosen,
        leaderboard=board,
        model=model,
        baseline=named.get(setting.baseline),
        cutoffs=tuple(days),
        by_cutoff=by_cutoff,
        total_error=sum(errors) / len(errors) if errors else None,
        total_worst=max(errors) if errors else None,
        total_windows=len(errors),
    )


def _score(row: Mapping[str, Any]) -> Score:
    measured = {m: _number(row.get(m)) for m in ("wape", "mase", "rmsse", "bias", "coverage")}
    return Score(
        model=row["model"], n_scored=row["n_scored"] or 0, n_filled=row["n_filled"] or 0, **measured
    )


def _number(value: Any) -> float | None:
    return float(value) if value is not None and value == value else None


def _of_model(backtest: pl.DataFrame, validation_id: str, model: str) -> pl.DataFrame:
    return backtest.filter(
        pl.col("validation_id") == validation_id,
        pl.col("model") == model,
        pl.col("segment").is_in(_COUNTED),
    )


def _total_errors(backtest: pl.DataFrame | None, validation_id: str, model: str) -> list[float]:
    if backtest is None:
        return []
    return (
        _of_model(backtest, validation_id, model)
        .drop_nulls("sales")
        .group_by("cutoff")
        .agg(pl.col("sales", "forecast_mean").sum())
        .filter(pl.col("sales") > 0)
        .select((pl.col("forecast_mean") - pl.col("sales")).abs() / pl.col("sales"))
        .to_series()
        .to_list()
    )


def _backtest_lines(
    setting: Setting, backtest: pl.DataFrame | None, trust: Trust | None
) -> dict[str, Line]:
    """For each store and period the forecast that was made last before it."""
    if backtest is None or trust is None:
        return {}
    rows = _of_model(backtest, trust.validation_id, trust.model.model)
    rows = rows.sort("step").unique(["store_id", "date"], keep="first", maintain_order=True)
    return _lines(setting, rows, "forecast") if rows.height else {}


def _total(setting: Setting, panel: pl.DataFrame | None) -> tuple[Line | None, bool]:
    if panel is None:
        return None, False
    rows = (
        panel.with_columns(setting.frequency.ordinals(pl.col("date")).cast(pl.Int64).alias("at"))
        .group_by("at")
        .agg(
            pl.when(pl.col("sales").count() > 0).then(pl.col("sales").cast(pl.Float64).sum()),
            pl.col("sales").is_null().any().alias("hole"),
        )
        .sort("at")
    )
    partial = bool(rows.filter(pl.col("hole") & pl.col("sales").is_not_null()).height)
    return _line(rows["at"].to_list(), rows["sales"].to_list()), partial


def _shops(
    setting: Setting,
    tables: Tables,
    histories: Mapping[str, Line],
    made: Mapping[str, ShopForecast],
    trust: Trust | None,
    kept: int,
) -> tuple[Shop, ...]:
    """Every shop with a history or a forecast, the largest forecast first."""
    names = _store_names(_filled(tables.stores))
    wapes: dict[str, float | None] = {}
    scores = _filled(tables.scores)
    if trust is not None and scores is not None:
        rows = scores.filter(
            pl.col("validation_id") == trust.validation_id,
            pl.col("model") == trust.model.model,
            pl.col("scope") == "store",
        )
        wapes = {m: _number(w) for m, w in rows.select("member", "wape").iter_rows()}
    tried = _backtest_lines(setting, _filled(tables.backtest), trust)
    newest = _newest(_filled(tables.forecasts))
    reasons = _reasons(
        _filled(tables.ledger), newest["forecast_id"][0] if newest is not None else ""
    )
    shops = [
        Shop(
            store_id=s,
            name=names.get(s),
            history=histories[s].tail(kept) if s in histories else None,
            forecast=made.get(s),
            backtest=tried[s].tail(kept) if s in tried else None,
            wape=wapes.get(s),
            why_not=reasons.get(s),
        )
        for s in sorted({*histories, *made})
    ]
    return tuple(sorted(shops, key=lambda shop: (-_size(shop, setting), shop.store_id)))


def _size(shop: Shop, setting: Setting) -> float:
    if shop.forecast is not None:
        return shop.forecast.expected
    recent = shop.history.tail(setting.year).values if shop.history else ()
    return -1.0 / (1.0 + sum(v for v in recent if v is not None and v > 0))


def _store_names(stores: pl.DataFrame | None) -> dict[str, str]:
    if stores is None:
        return {}
    column = next((n for n in _NAMES if n in stores.columns), None)
    if column is None:
        return {}
    rows = stores.select("store_id", column).drop_nulls()
    return {s: n.strip() for s, n in rows.iter_rows() if n.strip() and n.strip() != s}


def _reasons(ledger: pl.DataFrame | None, forecast_id: str) -> dict[str, str]:
    if ledger is None:
        return {}
    rows = ledger.filter(
        pl.col("forecast_id") == forecast_id, pl.col("status") != "forecast"
    ).select("store_id", "reason")
    rows = rows.drop_nulls()
    return dict(rows.iter_rows())


def _runs(runs: pl.DataFrame | None, forecasts: pl.DataFrame | None) -> tuple[RunLine, ...]:
    """The newest completed run of each command, in the order in which they ended.

    Of the forecasts it is the run whose rows are shown: a later one may have looked back.
    """
    if runs is None:
        return ()
    if forecasts is not None:
        shown = forecasts["run_id"].unique().to_list()
        runs = runs.filter((pl.col("command") != "forecast") | pl.col("run_id").is_in(shown))
    rows = (
        runs.filter(pl.col("status") == "done", pl.col("command") != "report")
        .sort("ended_at")
        .unique("command", keep="last", maintain_order=True)
    )
    return tuple(
        RunLine(r["run_id"], r["command"], r["ended_at"], r["status"])
        for r in rows.iter_rows(named=True)
    )
