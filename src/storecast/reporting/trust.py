"""What the walk-forward validation says of the models, and of each shop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from storecast.backtest.significance import against
from storecast.core.schema import quantile_column
from storecast.reporting.content import Score, Segment, Setting, Tested, Trust
from storecast.reporting.stretches import lines

TESTED_EMBEDDED = 450_000
"""Values of test forecasts that a report holds, intervals included."""

MOST_SEGMENTS = 40
"""Segments of one attribute that a report shows, the largest first."""

_COUNTED = ("headline", "closed_in_window")
_SHORTEST = 120
_OF_EVERY_CHAIN = ("headline", "cold_start", "closed_in_window")


def trust(setting: Setting, scores: pl.DataFrame, backtest: pl.DataFrame | None) -> Trust | None:
    """What to make of the newest validation; None where it scored nothing."""
    chosen = setting.validation_id
    if chosen is None or chosen not in scores["validation_id"]:
        chosen = scores["validation_id"][-1]
    scores = scores.filter(pl.col("validation_id") == chosen)
    by_cutoff = _by_cutoff(setting, scores)
    board = _board(setting, scores.filter(pl.col("scope") == "overall"), by_cutoff)
    if not board:
        return None
    named = {score.model: score for score in board}
    model = named.get(setting.model or "", board[0])
    errors = _total_errors(backtest, chosen, model.model)
    segments, left_out = _segments(setting, scores)
    return Trust(
        validation_id=chosen,
        metric=setting.metric,
        leaderboard=board,
        model=model,
        baseline=named.get(setting.baseline),
        cutoffs=tuple(sorted({date.fromisoformat(c) for row in by_cutoff.values() for c in row})),
        by_cutoff={score.model: by_cutoff.get(score.model, {}) for score in board},
        by_step=_by_step(setting, scores),
        segments=segments,
        segments_left_out=left_out,
        total_error=sum(errors) / len(errors) if errors else None,
        total_worst=max(errors) if errors else None,
        total_windows=len(errors),
    )


def _by_cutoff(setting: Setting, scores: pl.DataFrame) -> dict[str, dict[str, float | None]]:
    rows = scores.filter(pl.col("scope") == "cutoff").select("model", "member", setting.metric)
    found: dict[str, dict[str, float | None]] = {}
    for model, member, value in rows.iter_rows():
        found.setdefault(model, {})[member[:10]] = _number(value)
    return found


def _board(
    setting: Setting, overall: pl.DataFrame, by_cutoff: Mapping[str, Mapping[str, float | None]]
) -> tuple[Score, ...]:
    """As ``validate`` orders it: the best first, what leaks and what is undefined last."""
    rows = {row["model"]: row for row in overall.iter_rows(named=True)}
    bar = _number(rows[setting.baseline][setting.metric]) if setting.baseline in rows else None
    real = against({model: by_cutoff.get(model, {}) for model in rows}, setting.baseline)
    scores = []
    for model, row in rows.items():
        loss = _number(row[setting.metric])
        defined = [v for v in by_cutoff.get(model, {}).values() if v is not None]
        difference = real.get(model)
        measured = {m: _number(row.get(m)) for m in ("wape", "mase", "rmsse", "bias", "coverage")}
        scores.append(
            Score(
                model=model,
                loss=loss,
                **measured,
                n_scored=row["n_scored"] or 0,
                n_filled=row["n_filled"] or 0,
                spread=(min(defined), max(defined)) if defined else None,
                gain=1 - loss / bar if loss is not None and bar else None,
                p_value=difference.p_value if difference else None,
                verdict=difference.verdict if difference else None,
            )
        )
    return tuple(sorted(scores, key=lambda score: _place(setting, score)))


def _place(setting: Setting, score: Score) -> tuple[bool, bool, float, bool, str]:
    return (
        score.model in setting.leaking,
        score.loss is None,
        score.loss or 0.0,
        score.model != setting.baseline,
        score.model,
    )


def _by_step(setting: Setting, scores: pl.DataFrame) -> dict[str, tuple[float | None, ...]]:
    """Of each model a value a step; empty where no step was scored."""
    rows = scores.filter(pl.col("scope") == "step").select(
        "model", pl.col("member").cast(pl.Int64).alias("step"), setting.metric
    )
    last: int = rows["step"].max() or 0  # type: ignore[assignment]
    by_model: dict[str, dict[int, float | None]] = {}
    for model, step, value in rows.iter_rows():
        by_model.setdefault(model, {})[step] = _number(value)
    return {
        model: tuple(values.get(step) for step in range(1, last + 1))
        for model, values in by_model.items()
    }


def _segments(setting: Setting, scores: pl.DataFrame) -> tuple[tuple[Segment, ...], int]:
    """The segments, the largest of an attribute first, and how many are left out.

    None where the chain has no part but the whole.
    """
    rows = scores.filter(pl.col("scope") == "segment")
    losses: dict[str, dict[str, float | None]] = {}
    sizes: dict[str, int] = {}
    for model, member, value, n in rows.select(
        "model", "member", setting.metric, "n_scored"
    ).iter_rows():
        losses.setdefault(member, {})[model] = _number(value)
        sizes[member] = max(n or 0, sizes.get(member, 0))
    if set(losses) <= {"headline"}:
        return (), 0
    found = [
        Segment(*_named(member), n_scored=sizes[member], losses=of) for member, of in losses.items()
    ]
    found.sort(key=lambda s: (s.attribute or "", _rank(s), -s.n_scored, s.member))
    shown, counts = [], dict.fromkeys({s.attribute for s in found}, 0)
    for segment in found:
        counts[segment.attribute] += 1
        if counts[segment.attribute] <= MOST_SEGMENTS:
            shown.append(segment)
    return tuple(shown), len(found) - len(shown)


def _named(member: str) -> tuple[str | None, str]:
    """``region=north``, or one of those that every chain has."""
    if member in _OF_EVERY_CHAIN:
        return None, member
    attribute, _, value = member.partition("=")
    return attribute, value


def _rank(segment: Segment) -> int:
    return _OF_EVERY_CHAIN.index(segment.member) if segment.attribute is None else 0


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


def store_losses(scores: pl.DataFrame, found: Trust) -> dict[str, float | None]:
    """The chosen model's WAPE at each store."""
    rows = scores.filter(
        pl.col("validation_id") == found.validation_id,
        pl.col("model") == found.model.model,
        pl.col("scope") == "store",
    )
    return {member: _number(value) for member, value in rows.select("member", "wape").iter_rows()}


def tested(
    setting: Setting,
    backtest: pl.DataFrame | None,
    found: Trust | None,
    interval: tuple[float, float] | None,
) -> dict[str, Tested]:
    """For each store and period the forecast of the chosen model that was made last before it.

    So each scored window is shown up to the next cutoff, the last one to its end.
    """
    if backtest is None or found is None:
        return {}
    rows = _of_model(backtest, found.validation_id, found.model.model)
    rows = rows.sort("step").unique(["store_id", "date"], keep="first", maintain_order=True)
    if not rows.height:
        return {}
    points = lines(setting, rows, "forecast")
    ends = [quantile_column(level) for level in interval] if interval else []
    if not ends or not set(ends) <= set(rows.columns):
        return {s: Tested(point, None, None) for s, point in points.items()}
    low, high = (lines(setting, rows, name) for name in ends)
    return {s: Tested(point, low[s], high[s]) for s, point in points.items()}


def bounds(found: Mapping[str, Tested]) -> tuple[int | None, int | None]:
    """How many periods of a shop's test forecasts, and of how many shops, a report can hold.

    Each None where all of it fits.
    """
    longest = max((len(t.point.values) for t in found.values()), default=0)
    kept = min(longest, max(_SHORTEST, TESTED_EMBEDDED // (3 * max(1, len(found)))))
    shops = TESTED_EMBEDDED // (3 * max(1, kept))
    return (kept if kept < longest else None), (shops if shops < len(found) else None)
