"""What an ingestion leaves, written without a source: for the stages that come after it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from storecast import runs
from storecast.project import Project

FIRST = date(2021, 1, 4)


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "project": "chain",
        "catalog": "demo",
        "schema": "chain",
        "source": {
            "type": "sqlite",
            "path": "none.db",
            "sales": {
                "from": "sales",
                "primary_key": ["store", "day"],
                "columns": {"store_id": "store", "date": "day", "sales": "amount"},
            },
            "stores": {
                "from": "stores",
                "columns": {"store_id": "store", "opened_on": "opened", "closed_on": "closed"},
                "attributes": ["city"],
            },
        },
        "training": {"from": FIRST.isoformat()},
        "forecast": {"horizon": 7, "quantiles": [0.1, 0.5, 0.9]},
        "validation": {"windows": 7, "step": 7, "warmup": 2},
        "models": ["seasonal_naive", "local_level"],
        **changes,
    }


def chain_sales(stores: tuple[str, ...], days: int, noise: float = 12.0) -> pl.DataFrame:
    """A weekly season under noise: the local level beats the naive."""
    draw = np.random.default_rng(3)
    rows = [
        (store, day, round(100.0 * (n + 1) + 20 * day.weekday() + draw.normal(0, noise), 2))
        for n, store in enumerate(stores)
        for day in (FIRST + timedelta(days=i) for i in range(days))
    ]
    return pl.DataFrame(rows, schema=["store_id", "date", "sales"], orient="row")


def fill(
    project: Project,
    sales: pl.DataFrame,
    closed: dict[str, date] | None = None,
    through: date | None = None,
) -> None:
    """What an ingestion leaves: sales and stores, and a row in the ledger."""
    with runs.begin(project, "ingest") as run:
        written = {"ingested_at": pl.lit(datetime.now(UTC)), "run_id": pl.lit(run.run_id)}
        ids = sales["store_id"].unique().sort()
        stores = pl.DataFrame({"store_id": ids}).with_columns(
            opened_on=pl.lit(None, pl.Date),
            closed_on=pl.Series([(closed or {}).get(i) for i in ids], dtype=pl.Date),
            city=pl.lit("Olinda"),
        )
        for name, frame in (("sales", sales), ("stores", stores)):
            spec = project.specs[name]
            table = frame.with_columns(**written).select(spec.names).to_arrow()
            run.commit(spec, table.cast(spec.arrow))
        newest = sales["date"].max()
        assert isinstance(newest, date)
        run.through = through or newest
