"""Score with the champion: from the last complete period into the forecast tables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import registry, runs
from storecast.artifact import flat
from storecast.artifact.checking import not_ahead
from storecast.artifact.future import completed
from storecast.core.schema import DAYS
from storecast.core.window import Window, cut
from storecast.errors import Code, InputError, StorecastError
from storecast.history import load_history
from storecast.inference import coverage
from storecast.inference.fallback import CHAMPION, EMPTY, LAST, NAIVE, PREVIOUS, Task, answered
from storecast.inference.reading import read

if TYPE_CHECKING:
    from storecast.core.panel import History, SeriesRules
    from storecast.inference.fallback import Answer
    from storecast.project import Project
    from storecast.registry import ModelVersion
    from storecast.runs import Run

_RANKS = {CHAMPION: 0, PREVIOUS: 1, LAST: 2, NAIVE: 3}


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
        origins: rows by origin: champion, previous_champion, last_forecast, seasonal_naive.
        cold_start: stores forecast by the cold-start rule.
        model_name, model_version: the champion; the version is ``unknown`` where the registry
            does not tell it.
        trained_through: last day that the training knew, of the version that forecast.
        fell_back: the links of the fallback chain that answered, where the champion did not;
            ``empty`` where none did.
        failure: what the champion died of, with its code.
        failures: the same of every link that was asked.
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
    failures: dict[str, str]
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
                f"NO FORECAST WAS MADE: the champion failed ({self.failure}), and so did every "
                "fallback before `empty`; earlier forecasts stay in forecasts_latest"
            )
        elif self.fell_back is not None:
            shares = ", ".join(f"{name} {n:,} rows" for name, n in self.origins.items())
            told.append(f"THE CHAMPION FAILED ({self.failure}); instead: {shares}")
        told += [f"{n} failed: {why}" for n, why in self.failures.items() if n != CHAMPION]
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
                f"the model was trained on sales up to {self.trained_through}, later than this "
                "cutoff: this is no test of its accuracy"
            )
        return told


@dataclass(frozen=True)
class _Told:
    """What is to be forecast, from the tables or from a file."""

    history: History
    window: Window
    rows: pl.DataFrame


def forecast(
    project: Project,
    *,
    as_of: date | None = None,
    input: str | Path | None = None,  # noqa: A002 - as the command's option
    strict: bool = False,
) -> ForecastResult:
    """Forecast from the last complete period with the champion.

    Args:
        project: what ``storecast.load`` gave.
        as_of: the cutoff is the end of the last complete period at or before this day; None:
            of all that was ingested, or of the last period with sales in ``input``.
        input: a CSV or parquet file of flat rows to score instead of the tables. Of columns and
            future rows that it does not have, the tables tell what they know.
        strict: whether a forecast from a fallback is an error.

    Raises:
        RegistryError: NO_CHAMPION, REGISTRY_UNREACHABLE where no forecast was ever made here;
            later, either is one more reason to fall back.
        InputError: CUTOFF_INVALID where ``as_of`` is before the first complete period;
            INPUT_FILE_UNREADABLE, INPUT_COLUMN_MISSING, INPUT_INVALID for the file.
        StorecastError: NOTHING_INGESTED; FORECAST_FELL_BACK (``strict``); FORECAST_FAILED where
            no fallback is left.
    """
    with runs.begin(project, "forecast") as run:
        champion = _champion(run, project)
        if input is None:
            told = _from_tables(run, project, as_of)
        else:
            told = _from_file(run, project, Path(input), as_of)
        run.progress("forecasting", 0, 1)
        task = Task(
            project, champion, told.history, told.window, told.rows, _read(run, "forecasts_latest")
        )
        answer = answered(task, project.config.inference.fallback)
        if strict and answer.failure is not None:
            raise _fell_back(answer)
        result = _recorded(run, task, answer)
        run.progress("forecasting", 1, 1)
        run.details.update(
            forecast_id=result.forecast_id,
            cutoff=result.cutoff.isoformat(),
            model_name=result.model_name,
            model_version=result.model_version,
            origin=result.fell_back or CHAMPION,
            failure=result.failure,
            failures=result.failures,
            **({} if input is None else {"input": str(input)}),
        )
    return result


def _champion(run: Run, project: Project) -> ModelVersion | StorecastError:
    """The version that serves, or why it cannot be told.

    Raises:
        RegistryError: NO_CHAMPION, REGISTRY_UNREACHABLE where no forecast was ever made.
    """
    try:
        return registry.of(project).version()
    except StorecastError as fault:
        if not run.has("forecasts"):
            raise
        return fault


def _recorded(run: Run, task: Task, answer: Answer) -> ForecastResult:
    """Write the tables; what was written."""
    window = task.window
    identity = _identity(task, answer)
    table, unchanged = _as_before(run, identity, _rows(answer, identity, task, run))
    ledger = coverage.ledger(
        coverage.everyone(task.history),
        answer.rows,
        horizon=window.horizon,
        cutoff=window.cutoff,
        failure=answer.failure,
    )
    hindsight = [o for o, day in answer.trained_through.items() if day > window.cutoff]
    _write(run, task, table, ledger.with_columns(forecast_id=pl.lit(identity)), hindsight)
    links = ", ".join(answer.origins) or EMPTY
    return ForecastResult(
        run_id=run.run_id,
        forecast_id=identity,
        cutoff=window.cutoff,
        first=_day(table["date"].min()),
        last=_day(table["date"].max()),
        stores=table["store_id"].n_unique(),
        rows=table.height,
        total=float(table["forecast_mean"].sum()),
        origins=answer.origins,
        cold_start=answer.rows.filter(pl.col("basis") == "cold_start")["store_id"].n_unique(),
        model_name=task.project.config.model_name(),
        model_version=task.version,
        trained_through=max(answer.trained_through.values(), default=None),
        fell_back=links if answer.failure is not None else None,
        failure=answer.failure,
        failures=answer.failures,
        unchanged=unchanged,
        ledger=dict(coverage.balances(ledger)),
    )


# ------------------------------------------------------------------- what is known


def _from_tables(run: Run, project: Project, as_of: date | None) -> _Told:
    history = _history(run, project)
    window = cut(history, _cutoff(history, as_of), project.config.forecast.horizon)
    return _Told(history, window, flat.flatten(history, window))


def _from_file(run: Run, project: Project, file: Path, as_of: date | None) -> _Told:
    """As the file tells it; of what it does not have, the tables tell what they know."""
    rules = project.config.rules()
    given = read(file, rules)
    if as_of is None:
        not_ahead(given, rules)
    tables = _history(run, project) if runs.newest(project, "ingest") is not None else None
    history = flat.history(given, rules, _cutoff_of(given, rules, as_of), tables)
    window = cut(history, history.through, project.config.forecast.horizon)
    window, _ = completed(window, given, tables)
    return _Told(history, window, flat.flatten(history, window))


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


def _cutoff_of(given: pl.DataFrame, rules: SeriesRules, as_of: date | None) -> date | None:
    """The end of the last complete period by ``as_of``; None: of the last period with sales."""
    frequency = rules.frequency
    last = given.filter(pl.col("sales").is_not_null())["date"].max()
    if as_of is None or not isinstance(last, date):
        return None
    as_of = min(as_of, DAYS[1])  # there is no day after the last that a date can be
    return frequency.last_day(min(frequency.complete(as_of), frequency.ordinal(last)))


def _fell_back(answer: Answer) -> StorecastError:
    links = ", ".join(answer.origins) or EMPTY
    return StorecastError(
        Code.FORECAST_FELL_BACK,
        f"the champion failed ({answer.failure}); the forecast would have been {links}",
        expected="a forecast of the champion (--strict)",
        found=f"a forecast of {links}",
        next_step="mend the champion (storecast models rollback; storecast deploy), or drop "
        "--strict",
    )


# ------------------------------------------------------------------ tables


def _identity(task: Task, answer: Answer) -> str:
    made = answer.rows.select("origin", "model_version", "cutoff").unique()
    parts = {
        "cutoff": task.window.cutoff.isoformat(),
        "model": task.project.config.model_name(),
        "version": task.version,
        "input": hashlib.sha256(task.rows.write_csv().encode()).hexdigest(),
        "configuration": task.project.config.hash(),
        "made": sorted("/".join(map(str, row)) for row in made.iter_rows()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _rows(answer: Answer, identity: str, task: Task, run: Run) -> pl.DataFrame:
    return answer.rows.drop("basis").with_columns(
        forecast_id=pl.lit(identity),
        model_name=pl.lit(task.project.config.model_name()),
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
    run: Run, task: Task, table: pl.DataFrame, ledger: pl.DataFrame, hindsight: list[str]
) -> None:
    """Commit forecasts, forecasts_latest and forecast_ledger, each only where it changes.

    What a model says in ``hindsight``, trained on what came after the cutoff, is kept and never
    offered as the latest.
    """
    plan = {
        "forecasts": (table, _read(run, "forecasts")),
        "forecasts_latest": (
            _newer(table.filter(~pl.col("origin").is_in(hindsight)), task.latest),
            task.latest,
        ),
        "forecast_ledger": (
            ledger.with_columns(run_id=pl.lit(run.run_id)),
            _read(run, "forecast_ledger"),
        ),
    }
    for name, (rows, before) in plan.items():
        spec = task.project.specs[name]
        new = _changed(rows, before).sort(spec.primary_key)
        run.commit(spec, new.select(spec.names).to_arrow().cast(spec.arrow))


def _newer(table: pl.DataFrame, latest: pl.DataFrame | None) -> pl.DataFrame:
    """The rows that may replace those of ``latest``.

    A row of an older cutoff never replaces a newer one, nor one of a later link of the chain
    that of an earlier link at the same cutoff.
    """
    if latest is None:
        return table

    def rank(name: str) -> pl.Expr:
        return pl.col(name).replace_strict(_RANKS, default=len(_RANKS), return_dtype=pl.Int64)

    there = latest.select(
        "store_id", "date", there_cutoff=pl.col("cutoff"), there_origin=pl.col("origin")
    )
    newer = pl.col("cutoff") > pl.col("there_cutoff")
    same = pl.col("cutoff") == pl.col("there_cutoff")
    return (
        table.join(there, on=["store_id", "date"], how="left")
        .filter(
            pl.col("there_cutoff").is_null()
            | newer
            | (same & (rank("origin") <= rank("there_origin")))
        )
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
