"""What the tables say at the versions that completed runs name, as the core reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from storecast import runs
from storecast.core.panel import History
from storecast.errors import Code, ContractError

if TYPE_CHECKING:
    from storecast.project import Project

_BOOKKEEPING = ("ingested_at", "run_id")
_OPTIONAL = ("stores", "store_versions", "covariates", "covariates_by_date", "covariate_versions")


def load_history(run: runs.Run, project: Project) -> History:
    """Read the history that the newest completed ingestion left.

    The versions read are recorded in ``run``. ``through`` is that ingestion's, and no later
    than ``training.until``.

    Raises:
        ContractError: NOTHING_INGESTED.
    """
    ingestion = runs.newest(project, "ingest")
    if ingestion is None or ingestion["through"] is None or not run.has("sales"):
        raise ContractError(
            Code.NOTHING_INGESTED,
            "no ingestion has completed in this project yet",
            where=str(project.root),
            next_step="storecast ingest",
        )
    until = project.config.training.until
    through = ingestion["through"]
    present = {
        name: _frame(run, name) for name in _OPTIONAL if name in project.specs and run.has(name)
    }
    return History(
        sales=_frame(run, "sales").with_columns(pl.col("sales").cast(pl.Float64)),
        **present,
        through=through if until is None else min(through, until),
        rules=project.config.rules(),
    )


def _frame(run: runs.Run, name: str) -> pl.DataFrame:
    frame: pl.DataFrame = pl.DataFrame(run.read(name))
    return frame.drop(_BOOKKEEPING, strict=False)
