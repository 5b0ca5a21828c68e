"""Projects with sales in their tables, as an ingestion leaves them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import storecast
from storecast import runs
from storecast.core.calendar import Frequency

THROUGH = date(2022, 10, 30)

CONFIG = """
project: chain
source:
  type: files
  path: .
  sales:
    from: sales.parquet
    primary_key: [store_id, date]
    columns: {store_id: store_id, date: date, sales: sales}
series: {frequency: W-SUN, season: 4}
forecast: {horizon: 4, quantiles: [0.1, 0.5, 0.9]}
validation: {windows: 5, step: 2, warmup: 2}
models: [seasonal_naive, local_level]
"""


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Any]:
    """A project whose stores have (periods before the end at which they start, values)."""

    def make(values: dict[str, tuple[int, list[float]]], *overrides: str) -> Any:
        (tmp_path / "storecast.yaml").write_text(CONFIG)
        made = storecast.load(tmp_path, overrides)
        frequency = Frequency("W-SUN")
        last = frequency.ordinal(THROUGH)
        rows = pl.DataFrame(
            [
                (store, frequency.label(last - back + i), value)
                for store, (back, told) in values.items()
                for i, value in enumerate(told)
            ],
            schema={"store_id": pl.String, "date": pl.Date, "sales": pl.Float64},
            orient="row",
        )
        spec = made.specs["sales"]
        with runs.begin(made, "ingest") as run:
            run.through = THROUGH
            whole = rows.with_columns(
                pl.col("sales").cast(pl.Decimal(18, 4)),
                ingested_at=pl.lit(run.started_at),
                run_id=pl.lit(run.run_id),
            )
            run.commit(spec, whole.select(spec.names).to_arrow().cast(spec.arrow))
        return made

    return make
