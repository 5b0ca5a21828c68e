"""From the tables to the report's content: frames in, values out, nothing read or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from storecast.core.schema import quantile_column
from storecast.errors import Code, StorecastError
from storecast.reporting.content import (
    Comparison,
    Content,
    Line,
    Outlook,
    RunLine,
    Setting,
    Shop,
    ShopForecast,
    Tables,
    Tested,
    Trust,
)
from storecast.reporting.stretches import line, lines
from storecast.reporting.trust import bounds, store_losses, tested, trust
from storecast.runs import COMPLETED

VALUES_EMBEDDED = 300_000
"""History values that a report holds before it shortens the history of each shop."""

_SHORTEST = 120
_NAMES = ("name", "nome", "store_name", "nome_loja", "nome_da_loja", "loja", "description",
          "descricao")  # fmt: skip


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
    found = trust(setting, scores, _filled(tables.backtest)) if scores is not None else None
    panel = _filled(tables.panel)
    histories = lines(setting, panel, "sales") if panel is not None else {}
    outer = _outer(setting, forecasts)
    made = _shop_forecasts(setting, forecasts, outer) if forecasts is not None else {}
    kept = max(_SHORTEST, 3 * setting.season, VALUES_EMBEDDED // max(1, len(histories)))
    total, partial = _total(setting, panel)
    tests = tested(setting, _filled(tables.backtest), found, outer)
    tested_kept, tested_shops = bounds(tests)
    shops = _shops(setting, tables, histories, made, found, kept)
    return Content(
        setting=setting,
        outlook=_outlook(setting, forecasts, made, histories) if forecasts is not None else None,
        trust=found,
        total=total,
        total_is_partial=partial,
        shops=_with_tests(shops, tests, tested_kept, tested_shops),
        kept=kept if any(len(h.values) > kept for h in histories.values()) else None,
        runs=_runs(_filled(tables.runs), forecasts),
        interval=outer,
        tested_kept=tested_kept,
        tested_shops=tested_shops,
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
    point = lines(setting, forecasts, "forecast")
    mean = lines(setting, forecasts, "forecast_mean")
    low = lines(setting, forecasts, quantile_column(outer[0])) if outer else {}
    high = lines(setting, forecasts, quantile_column(outer[1])) if outer else {}
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
    mean = line(total["at"].to_list(), total["forecast_mean"].to_list())
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
    return line(rows["at"].to_list(), rows["sales"].to_list()), partial


def _shops(
    setting: Setting,
    tables: Tables,
    histories: Mapping[str, Line],
    made: Mapping[str, ShopForecast],
    found: Trust | None,
    kept: int,
) -> tuple[Shop, ...]:
    """Every shop with a history or a forecast, the largest forecast first."""
    names = _store_names(_filled(tables.stores))
    scores = _filled(tables.scores)
    wapes = store_losses(scores, found) if found is not None and scores is not None else {}
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
            tested=None,
            wape=wapes.get(s),
            why_not=reasons.get(s),
        )
        for s in sorted({*histories, *made})
    ]
    return tuple(sorted(shops, key=lambda shop: (-_size(shop, setting), shop.store_id)))


def _with_tests(
    shops: tuple[Shop, ...],
    tests: Mapping[str, Tested],
    kept: int | None,
    most: int | None,
) -> tuple[Shop, ...]:
    """The shops with their test forecasts: all, or the first ``most`` of those that have any."""
    chosen = [shop.store_id for shop in shops if shop.store_id in tests][:most]
    shown = {s: tests[s].tail(kept) if kept else tests[s] for s in chosen}
    return tuple(replace(shop, tested=shown.get(shop.store_id)) for shop in shops)


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
        runs.filter(pl.col("status").is_in(COMPLETED), pl.col("command") != "report")
        .sort("ended_at")
        .unique("command", keep="last", maintain_order=True)
    )
    return tuple(
        RunLine(r["run_id"], r["command"], r["ended_at"], r["status"])
        for r in rows.iter_rows(named=True)
    )
