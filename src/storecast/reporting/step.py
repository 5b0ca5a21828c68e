"""``storecast report``: reads the tables, writes one HTML file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import runs
from storecast.backtest.audit import Verdict
from storecast.backtest.spans import verdicts
from storecast.core.alignment import SERIES_END
from storecast.history import load_history
from storecast.reporting.assembly import assemble
from storecast.reporting.content import Content, Setting, Tables
from storecast.reporting.page import page
from storecast.reporting.wording import Words, words

if TYPE_CHECKING:
    from storecast.project import Project
    from storecast.runs import Run

FILE_NAME = "report.html"


@dataclass(frozen=True)
class ReportResult:
    """Where the report lies, and what it says.

    Attributes:
        path: the file, absolute.
        prose: the report's sentences, in the project's language.
        shops: how many shops it shows.
        bytes: the size of the file.
    """

    path: Path
    prose: tuple[str, ...]
    shops: int
    bytes: int

    def sentences(self) -> list[str]:
        """What a terminal shows: where the report lies, then what it says."""
        return [str(self.path), *self.prose]

    def as_dict(self) -> dict[str, Any]:
        """The ``result`` of the JSON envelope."""
        return {
            "path": str(self.path),
            "sentences": list(self.prose),
            "shops": self.shops,
            "bytes": self.bytes,
        }


def report(project: Project) -> ReportResult:
    """Write ``reports/report.html`` from the newest forecast and the newest validation.

    Either of them is enough. The file replaces the last one in one step.

    Raises:
        StorecastError: NOTHING_TO_REPORT where there is neither.
    """
    with runs.begin(project, "report") as run:
        run.progress("reading tables", 0, 2)
        found = assemble(_setting(project, run), _tables(run))
        prose = words(found)
        run.progress("writing the report", 1, 2)
        path = project.reports / FILE_NAME
        size = _write(path, found, prose)
        run.progress("writing the report", 2, 2)
        run.details.update(path=f"{project.reports.name}/{FILE_NAME}", bytes=size)
    return ReportResult(path, prose.sentences, len(found.shops), size)


def _write(path: Path, found: Content, prose: Words) -> int:
    text = page(found, prose).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(text)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(text)


def _setting(project: Project, run: Run) -> Setting:
    config, rules = project.config, project.config.rules()
    ingested, validated, forecast = (
        runs.newest(project, command) for command in ("ingest", "validate", "forecast")
    )
    return Setting(
        project=config.project,
        locale=config.locale,
        currency=config.currency,
        frequency=rules.frequency,
        season=rules.season,
        quantiles=rules.quantiles,
        point=rules.point,
        metric=config.validation.metric,
        baseline=config.validation.baseline,
        generated_at=run.started_at.astimezone(UTC),
        package_version=_package_version(),
        through=ingested["through"] if ingested else None,
        model=_model(project),
        validation_id=_detail(validated, "validation_id"),
        failure=_detail(forecast, "failure"),
        forecast_id=_detail(forecast, "forecast_id"),
        perfect_foresight=tuple(_details(validated).get("perfect_foresight") or ()),
        timeless=tuple(_details(validated).get("timeless") or ()),
        leaking=_audited(validated, lambda verdict: verdict.failed),
        proven=_audited(validated, lambda verdict: verdict.passed),
        pretrained=tuple(_details(validated).get("pretrained") or ()),
        by_series_end=_details(validated).get("align") == SERIES_END,
        spans=verdicts(_details(validated)),
    )


def _model(project: Project) -> str | None:
    """The recipe behind the newest forecast: what was packed as the version that made it."""
    version = _detail(runs.newest(project, "forecast"), "model_version")
    deployed = [
        row
        for row in runs.ledger(project)
        if row["command"] == "deploy" and row["status"] in runs.COMPLETED
    ]
    same = [row for row in deployed if _detail(row, "model_version") == version]
    rows = same or deployed
    return _detail(rows[-1], "model") if rows else None


def _audited(
    validated: Mapping[str, Any] | None, holds: Callable[[Verdict], bool]
) -> tuple[str, ...]:
    verdicts = (_details(validated).get("audit") or {}).get("verdicts", {})
    return tuple(name for name, plain in verdicts.items() if holds(Verdict.from_dict(plain)))


def _details(row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return row["details"] if row else {}


def _detail(row: Mapping[str, Any] | None, name: str) -> str | None:
    value = _details(row).get(name)
    return None if value is None else str(value)


def _package_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("storecast")
    except PackageNotFoundError:
        return "0+unknown"


def _tables(run: Run) -> Tables:
    return Tables(
        panel=_panel(run),
        stores=_read(run, "stores"),
        forecasts=_read(run, "forecasts_latest"),
        ledger=_read(run, "forecast_ledger"),
        scores=_read(run, "backtest_scores"),
        backtest=_read(run, "backtest_forecasts", _newest_validation(run.project)),
        runs=_ledger(run),
    )


def _panel(run: Run) -> pl.DataFrame | None:
    """What happened to the last complete period, beyond ``training.until`` too."""
    ingested = runs.newest(run.project, "ingest")
    if ingested is None or ingested["through"] is None or not run.has("sales"):
        return None
    return replace(load_history(run, run.project), through=ingested["through"]).panel()


def _newest_validation(project: Project) -> str | None:
    """The rows of the newest validation, since older ones can be many times as many."""
    identifier = _detail(runs.newest(project, "validate"), "validation_id")
    return None if identifier is None else f"validation_id = '{identifier}'"


def _read(run: Run, table: str, where: str | None = None) -> pl.DataFrame | None:
    if not run.has(table):
        return None
    frame = pl.from_arrow(run.read(table, where=where))
    return frame if isinstance(frame, pl.DataFrame) else None


def _ledger(run: Run) -> pl.DataFrame:
    """The runs so far; this one is not in the ledger yet."""
    columns = ("run_id", "command", "status", "ended_at")
    rows = [{name: row[name] for name in columns} for row in runs.ledger(run.project)]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "run_id": pl.String,
        "command": pl.String,
        "status": pl.String,
        "ended_at": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(rows, schema=schema)
