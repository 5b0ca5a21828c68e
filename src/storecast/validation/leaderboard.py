"""Scores of a validation, and the leaderboard that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.backtest.comparison import HEADLINE
from storecast.backtest.significance import Difference, Verdict, against
from storecast.core import metrics
from storecast.core.schema import METRICS

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules

WARMUP = "warmup"


@dataclass(frozen=True)
class Line:
    """One model of the leaderboard; a metric is None where it is undefined.

    ``spread`` is the lowest and highest value of the chosen metric over the cutoffs, ``gain`` the
    share of the baseline's value by which the model's is lower (negative: higher). ``p_value`` is
    of the difference from the baseline, adjusted for all models (``backtest.significance``), and
    ``verdict`` what follows: better, worse or not_told_apart; both None for the baseline itself.
    ``audit`` is the leak audit's verdict in one word; None where it was not audited.
    ``pretrained`` says that the model may have learnt from the test's data elsewhere.
    """

    model: str
    wape: float | None
    mase: float | None
    rmsse: float | None
    bias: float | None
    sql: float | None
    wql: float | None
    coverage: float | None
    n_scored: int
    n_filled: int
    spread: tuple[float, float] | None
    gain: float | None
    p_value: float | None = None
    verdict: Verdict | None = None
    audit: str | None = None
    pretrained: bool = False

    @property
    def filled(self) -> float:
        """The share of its forecasts that are the baseline's."""
        return self.n_filled / self.n_scored if self.n_scored else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def scored(frame: pl.DataFrame, rules: SeriesRules, warmup: Sequence[date]) -> pl.DataFrame:
    """Every score of a validation.

    Overall, by cutoff, by store and by segment a window counts up to the next cutoff; by step,
    to the end of its horizon. All but the segments are of the headline stores. A member of
    ``cutoff_segment`` is the cutoff, a space, and the segment as its scope has it.

    Args:
        frame: model, cutoff, compared, segment, the columns of ``metrics.score``, the segment
            attributes.
        rules: of the series.
        warmup: cutoffs that are scored for no model.

    Returns:
        model, scope, member, the metrics, n_scored, n_filled.
    """
    rows = frame.filter(~pl.col("cutoff").is_in(list(warmup)))
    part = rows.filter("compared")
    headline = pl.col("segment").is_in(HEADLINE)
    by_segment = [(part, pl.col("segment"))]
    for attribute in rules.segments:
        known = part.filter(headline & pl.col(attribute).is_not_null())
        by_segment.append((known, pl.format(attribute + "={}", pl.col(attribute))))
    scopes: list[tuple[str, pl.DataFrame, pl.Expr]] = [
        ("overall", part.filter(headline), pl.lit("all")),
        ("cutoff", part.filter(headline), pl.col("cutoff").cast(pl.String)),
        ("store", part.filter(headline), pl.col("store_id")),
        ("step", rows.filter(headline), pl.col("step").cast(pl.String)),
    ]
    for given, member in by_segment:
        scopes.append(("segment", given, member))
        scopes.append(("cutoff_segment", given, pl.format("{} {}", pl.col("cutoff"), member)))
    wanted = ("model", "scope", "member", *METRICS, "n_scored", "n_filled")
    return pl.concat(
        metrics.score(given.with_columns(member=member), rules, by=["model", "member"])
        .with_columns(scope=pl.lit(scope))
        .select(wanted)
        for scope, given, member in scopes
        if given.height
    )


def leaderboard(scores: pl.DataFrame, metric: str, baseline: str) -> list[Line]:
    """One line a model, the best first; undefined ones last, the baseline before its equals."""
    overall = scores.filter(pl.col("scope") == "overall")
    cutoffs = scores.filter(pl.col("scope") == "cutoff")
    by_model = {row["model"]: row for row in overall.iter_rows(named=True)}
    bar = by_model[baseline][metric] if baseline in by_model else None
    losses: dict[str, dict[str, float | None]] = {model: {} for model in by_model}
    for model, cutoff, value in cutoffs.select("model", "member", metric).iter_rows():
        losses[model][cutoff] = value
    real = against(losses, baseline)
    lines = [
        _line(row, losses[model], metric, bar, real.get(model)) for model, row in by_model.items()
    ]
    return sorted(
        lines,
        key=lambda line: (
            getattr(line, metric) is None,
            getattr(line, metric) or 0.0,
            line.model != baseline,
            line.model,
        ),
    )


def _line(
    row: Mapping[str, Any],
    losses: Mapping[str, float | None],
    metric: str,
    bar: float | None,
    real: Difference | None,
) -> Line:
    value = row[metric]
    defined = [loss for loss in losses.values() if loss is not None]
    return Line(
        model=row["model"],
        **{name: row[name] for name in METRICS},
        n_scored=row["n_scored"],
        n_filled=row["n_filled"],
        spread=(float(min(defined)), float(max(defined))) if defined else None,
        gain=1 - value / bar if value is not None and bar else None,
        p_value=real.p_value if real else None,
        verdict=real.verdict if real else None,
    )
