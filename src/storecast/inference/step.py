"""Score with the champion: from the last complete period into the forecast tables."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import registry, runs
from storecast.artifact import flat
from storecast.artifact.unified import output_schema
from storecast.core.window import Window, cut
from storecast.errors import Code, InputError, ModelError, StorecastError
from storecast.history import load_history
from storecast.inference import coverage
from storecast.inference.fallback import EMPTY, fall_back
from storecast.tracking import Tracking

if TYPE_CHECKING:
    from storecast.core.panel import History
    from storecast.project import Project
    from storecast.registry import ModelVersion
    from storecast.runs import Run

log = logging.getLogger(__name__)

CHAMPION = "champion"


@dataclass(frozen=True)
class ForecastResult:
    """What a scoring made.

    Attributes:
        run_id: of the run.
        forecast_id: follows from cutoff, model version, input and configuration.
        cutoff: last day that the forecast knows.
        first, last: labels of the first and last period forecast; None where there is none.
        stores, rows: how many.
        total: sum of forecast_mean.
        origins: rows by origin: champion, seasonal_naive.
        cold_start: stores forecast by the cold-start rule.
        model_name, model_version: the champion.
        trained_through: last day that the champion's training knew.
        fell_back: the link of the fallback chain that answered, where the champion did not.
        failure: what the champion died of, with its code.
        unchanged: whether the tables had this very forecast before.
        ledger: sums of expected, forecast, fallback and excluded periods.
    """

    run_id: str
    forecast_id: str
    cutoff: date
    first: date | None
    last: date | None
    stores: int
    rows: int
    total: float
    origins: dict[str, int]
    cold_start: int
    model_name: str
    model_version: str
    trained_through: date | None
    fell_back: str | None
    failure: str | None
    unchanged: bool
    ledger: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, dates as ISO texts."""
        return {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in asdict(self).items()
        } | {"sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """For people."""
        told = []
        if self.fell_back == EMPTY:
            told.append(
                f"NO FORECAST WAS MADE: the champion failed ({self.failure}) and the fallback is "
                "`empty`; earlier forecasts stay in forecasts_latest"
            )
        elif self.fell_back is not None:
            told.append(
                f"THE CHAMPION FAILED ({self.failure}); the fallback {self.fell_back} forecast "
                "instead"
            )
        if self.rows:
            again = "; the tables had it already" if self.unchanged else ""
            told.append(
                f"{self.stores:,} {'store' if self.stores == 1 else 'stores'}, "
                f"{self.first} to {self.last}, from what was known on "
                f"{self.cutoff}: {self.total:,.0f} expected in total{again}"
            )
        if self.ledger["excluded"] and self.fell_back != EMPTY:
            told.append(
                f"{self.ledger['excluded']:,} store-periods left out; forecast_ledger says why"
            )
        if self.cold_start:
            told.append(
                f"{self.cold_start:,} stores without a sale yet have the cold-start forecast"
            )
        if self.trained_through is not None and self.trained_through > self.cutoff:
            told.append(
                f"the champion was trained on sales up to {self.trained_through}, later than this "
                "cutoff: this is no test of its accuracy"
            )
        return told


def forecast(
    project: Project, *, as_of: date | None = None, strict: bool = False
) -> ForecastResult:
    """Forecast from the last complete period with the champion.

    Args:
        project: what ``storecast.load`` gave.
        as_of: the cutoff is the end of the last complete period at or before this day; None:
            of all that was ingested.
        strict: whether a forecast from a fallback is an error.

    Raises:
        RegistryError: NO_CHAMPION, REGISTRY_UNREACHABLE.
        InputError: CUTOFF_INVALID where ``as_of`` is before the first complete period.
        StorecastError: NOTHING_INGESTED; FORECAST_FELL_BACK (``strict``); FORECAST_FAILED where
            no fallback is left.
    """
    with runs.begin(project, "forecast") as run:
        champion = registry.of(project).version()
        history = _history(run, project)
        window = cut(history, _cutoff(history, as_of), project.config.forecast.horizon)
        rows = flat.flatten(history, window)
        run.progress("forecasting", 0, 1)
        failure, trained, origin = None, None, CHAMPION
        try:
            made, trained = _by_champion(project, champion, rows, window)
        except StorecastError as fault:
            failure = f"{fault.code.value}: {fault.message}"
            log.error("the champion failed: %s", failure)  # noqa: TRY400 - the sentence is enough
            attempt = fall_back(project.config.inference.fallback, history, window, fault)
            made, origin = attempt.rows, attempt.origin
            if strict:
                raise _fell_back(origin, failure) from fault
        identity = _identity(project, champion, rows, window.cutoff, origin)
        table = _rows(made, identity, champion, origin, run)
        table, unchanged = _as_before(run, identity, table)
        ledger = coverage.ledger(
            coverage.everyone(history),
            made,
            horizon=window.horizon,
            cutoff=window.cutoff,
            failure=failure,
            fell_back=failure is not None,
        )
        counts = coverage.balances(ledger)
        _write(
            project,
            run,
            identity,
            table,
            ledger,
            hindsight=trained is not None and trained > window.cutoff,
        )
        run.progress("forecasting", 1, 1)
        result = ForecastResult(
            run_id=run.run_id,
            forecast_id=identity,
            cutoff=window.cutoff,
            first=_day(table["date"].min()),
            last=_day(table["date"].max()),
            stores=table["store_id"].n_unique(),
            rows=table.height,
            total=float(table["forecast_mean"].sum()),
            origins={origin: table.height} if table.height else {},
            cold_start=made.filter(pl.col("basis") == "cold_start")["store_id"].n_unique(),
            model_name=champion.name,
            model_version=champion.number,
            trained_through=trained,
            fell_back=origin if failure is not None else None,
            failure=failure,
            unchanged=unchanged,
            ledger=dict(counts),
        )
        run.details.update(
            forecast_id=identity,
            cutoff=window.cutoff.isoformat(),
            model_name=champion.name,
            model_version=champion.number,
            origin=origin,
            failure=failure,
        )
    return result


def _history(run: Run, project: Project) -> History:
    """What the tables say, to the end: ``training.until`` bounds the training alone."""
    history = load_history(run, project)
    ingestion = runs.newest(project, "ingest")
    return history if ingestion is None else replace(history, through=ingestion["through"])


def _day(value: Any) -> date | None:
    return value if isinstance(value, date) else None


def _cutoff(history: History, as_of: date | None) -> date:
    frequency = history.rules.frequency
    through = history.through if as_of is None else min(as_of, history.through)
    newest = frequency.complete(through)
    first = history.sales["date"].min()
    if not isinstance(first, date) or newest < frequency.ordinal(first):
        raise InputError(
            Code.CUTOFF_INVALID,
            "there are no sales of a complete period by then",
            where="--as-of" if as_of else "sales",
            expected=f"a day from the end of the first period on ({first!s})",
            found=str(as_of or history.through),
        )
    return frequency.last_day(newest)


# ---------------------------------------------------------------- champion


def _by_champion(
    project: Project, champion: ModelVersion, rows: pl.DataFrame, window: Window
) -> tuple[pl.DataFrame, date]:
    """The champion's rows, and the last day of its training.

    Raises:
        StorecastError: whatever happens: what has no code of its own is FORECAST_FAILED.
    """
    import mlflow.pyfunc

    from storecast.artifact.pyfunc import NO_BAR, as_pandas

    os.environ.setdefault(NO_BAR, "false")
    try:
        with Tracking.of(project).active():
            model = mlflow.pyfunc.load_model(f"models:/{champion.name}@{registry.CHAMPION}")
        inner = model.unwrap_python_model()
        _is_the_packed_one(champion, inner.digest)
        answer = model.predict(
            as_pandas(rows),
            params={
                "cutoff": window.cutoff.isoformat(),
                "horizon": window.horizon,
                "on_error": "raise",
            },
        )
        made = _accepted(pl.from_pandas(answer), window)
    except StorecastError:
        raise
    except Exception as fault:
        raise ModelError(
            Code.FORECAST_FAILED,
            f"version {champion.number} failed: {_said(fault)}",
            where=champion.name,
        ) from fault
    return made, inner.forecaster.cutoff


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:300]}"


def _is_the_packed_one(champion: ModelVersion, digest: str) -> None:
    packed = champion.tags.get("digest")
    if packed is not None and packed != digest:
        raise ModelError(
            Code.ARTIFACT_TAMPERED,
            "the artefact is not the one that was registered",
            where=f"{champion.name} version {champion.number}",
            expected=f"digest {packed}",
            found=f"digest {digest}",
            next_step="storecast deploy again",
        )


def _accepted(made: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What the champion answered, once it is one row for each row of the window's future."""
    schema = output_schema(window.past.rules)
    missing = [name for name in schema if name not in made.columns]
    if missing:
        raise ModelError(
            Code.MODEL_OUTPUT_INVALID,
            "the champion's forecast lacks a column",
            expected=", ".join(schema),
            found=f"no {', '.join(missing)}",
            next_step="the configuration changed since the deployment: validate and deploy again",
        )
    made = made.select(pl.col(n).cast(t) for n, t in schema.items())
    wanted = window.future.rows.select("store_id", "date")
    absent = wanted.join(made, on=["store_id", "date"], how="anti")
    if absent.height or made.height != wanted.height:
        stores = ", ".join(map(repr, absent["store_id"].unique().sort().to_list()[:5]))
        raise ModelError(
            Code.MODEL_OUTPUT_INVALID,
            f"the champion's forecast does not cover the open stores: {stores or 'extra rows'}",
            expected=f"{wanted.height} rows",
            found=f"{made.height} rows",
        )
    return made


def _fell_back(origin: str, failure: str) -> StorecastError:
    return StorecastError(
        Code.FORECAST_FELL_BACK,
        f"the champion failed ({failure}); the fallback would have been {origin}",
        expected="a forecast of the champion (--strict)",
        found=f"a forecast of {origin}",
        next_step="mend the champion (storecast models show; storecast deploy), or drop --strict",
    )


# ------------------------------------------------------------------ tables


def _identity(
    project: Project, champion: ModelVersion, rows: pl.DataFrame, cutoff: date, origin: str
) -> str:
    parts = {
        "cutoff": cutoff.isoformat(),
        "model": champion.name,
        "version": champion.number,
        "input": hashlib.sha256(rows.write_csv().encode()).hexdigest(),
        "configuration": project.config.hash(),
        "origin": origin,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _rows(
    made: pl.DataFrame, identity: str, champion: ModelVersion, origin: str, run: Run
) -> pl.DataFrame:
    return made.drop("basis").with_columns(
        forecast_id=pl.lit(identity),
        model_name=pl.lit(champion.name),
        model_version=pl.lit(champion.number),
        origin=pl.lit(origin),
        created_at=pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC")),
        run_id=pl.lit(run.run_id),
    )


def _as_before(run: Run, identity: str, table: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """The rows as an earlier run wrote them, where it wrote these very ones; else as they are."""
    told = _read(run, "forecasts")
    if told is None:
        return table, False
    before = told.filter(pl.col("forecast_id") == identity)
    values = [c for c in table.columns if c not in ("created_at", "run_id")]
    order = ["store_id", "date"]
    same = before.height > 0 and before.select(values).sort(order).equals(
        table.select(values).sort(order)
    )
    return (before, True) if same else (table, False)


def _write(
    project: Project,
    run: Run,
    identity: str,
    table: pl.DataFrame,
    ledger: pl.DataFrame,
    *,
    hindsight: bool,
) -> None:
    """Commit forecasts, forecasts_latest and forecast_ledger, each only where it changes.

    What a model says with ``hindsight``, trained on what came after the cutoff, is kept and
    never offered as the latest.
    """
    specs = project.specs
    ledger = ledger.with_columns(forecast_id=pl.lit(identity), run_id=pl.lit(run.run_id))
    plan = {
        "forecasts": table,
        "forecasts_latest": _newer(
            table.clear() if hindsight else table, _read(run, "forecasts_latest")
        ),
        "forecast_ledger": ledger,
    }
    for name, rows in plan.items():
        spec = specs[name]
        new = _changed(rows, _read(run, name)).sort(spec.primary_key)
        run.commit(spec, new.select(spec.names).to_arrow().cast(spec.arrow))


def _newer(table: pl.DataFrame, latest: pl.DataFrame | None) -> pl.DataFrame:
    """The rows that may replace those of ``latest``.

    A row of an older cutoff never replaces a newer one, nor a fallback's a champion's of the
    same cutoff.
    """
    if latest is None:
        return table
    there = latest.select(
        "store_id", "date", there_cutoff=pl.col("cutoff"), there_origin=pl.col("origin")
    )
    newer = pl.col("cutoff") > pl.col("there_cutoff")
    same = pl.col("cutoff") == pl.col("there_cutoff")
    not_worse = (pl.col("origin") == CHAMPION) | (pl.col("there_origin") != CHAMPION)
    return (
        table.join(there, on=["store_id", "date"], how="left")
        .filter(pl.col("there_cutoff").is_null() | newer | (same & not_worse))
        .drop("there_cutoff", "there_origin")
    )


def _changed(rows: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """The rows that the table does not have yet, whoever wrote them."""
    if before is None:
        return rows
    values = [c for c in rows.columns if c not in ("created_at", "run_id")]
    known = before.select(pl.col(c).cast(rows.schema[c]) for c in values)
    return rows.join(known, on=values, how="anti", nulls_equal=True)


def _read(run: Run, name: str) -> pl.DataFrame | None:
    """A table as completed runs left it; None before its first row."""
    return pl.DataFrame(run.read(name)) if run.has(name) else None
