"""Figures of a validation, as MLflow's artifacts show them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pictures(scores: pl.DataFrame, metric: str, models: Sequence[str]) -> dict[str, Figure]:
    """The chosen metric by cutoff and by step, a line a model, by file name.

    Args:
        scores: model, scope, member and the metric.
        metric: its name.
        models: the best first, in the order of the legend.
    """
    made = {}
    for scope, title in (("cutoff", "cutoff"), ("step", "periods ahead")):
        rows = scores.filter((pl.col("scope") == scope) & pl.col(metric).is_not_null())
        if rows.height:
            name = f"figures/{metric}_by_{scope}.png"
            made[name] = _lines(rows, scope, title, metric, models)
    return made


def _lines(
    rows: pl.DataFrame, scope: str, title: str, metric: str, models: Sequence[str]
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for model in models:
        told = rows.filter(pl.col("model") == model)
        points = sorted(
            (date.fromisoformat(member) if scope == "cutoff" else int(member), value)
            for member, value in told.select("member", metric).iter_rows()
        )
        if points:
            at, values = zip(*points, strict=True)
            axes.plot(at, values, marker="o", markersize=3.5, linewidth=1.5, label=model)
    axes.set_xlabel(title)
    axes.set_ylabel(metric.upper())
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid(axis="y", linewidth=0.5, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if scope == "cutoff":
        figure.autofmt_xdate()
    return figure
