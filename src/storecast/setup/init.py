"""Writes a project: a demo with its source database, or one for a file of the user's.

``storecast.yaml`` is written last and whole, so that a folder either is a project or is not:
after a kill the same command simply runs again.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

import polars as pl
import yaml

from storecast.demos.iowa import deliveries as iowa
from storecast.errors import Code, ConfigurationError
from storecast.setup import guess

CONFIGURATION = "storecast.yaml"
DEMOS = ("iowa",)
_DATABASE = "iowa.db"


@dataclass(frozen=True)
class InitResult:
    """A project that now exists.

    Attributes:
        directory: the project folder.
        configuration: its ``storecast.yaml``.
        source: the database or file that the sales are read from.
        created: False where the project was there already and was left as it is.
        notes: what was guessed or converted, in sentences; empty for a demo.
    """

    directory: Path
    configuration: Path
    source: Path
    created: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdvanceResult:
    """What the deliveries brought to the demo's source.

    Attributes:
        delivered: how many deliveries were made.
        complete_through: the last day through which the source is complete now.
        lines_added: rows that were not there before, late ones included.
        lines_corrected: rows that say something else now.
        lines_cancelled: rows that are gone.
        remaining: deliveries that are still to come.
    """

    delivered: int
    complete_through: date
    lines_added: int
    lines_corrected: int
    lines_cancelled: int
    remaining: int


def init_demo(directory: Path, name: str, *, keep: bool = False) -> InitResult:
    """Writes the demo ``name`` into ``directory``.

    Args:
        directory: the project folder; made if it is not there.
        name: one of :data:`DEMOS`.
        keep: go on with a project of this demo that is there already, untouched; only a
            missing database is built.

    Raises:
        ConfigurationError: there is no such demo (``DEMO_UNKNOWN``), or the folder holds a
            project or database already (``PROJECT_EXISTS``).
    """
    if name not in DEMOS:
        raise ConfigurationError(
            Code.DEMO_UNKNOWN,
            f"there is no demo {name!r}",
            where="--demo",
            expected=", ".join(DEMOS),
            found=name,
            next_step=f"storecast init --demo {DEMOS[0]}",
        )
    configuration, database = directory / CONFIGURATION, directory / _DATABASE
    exists = configuration.exists()
    if exists and not (keep and _reads_from(configuration, _DATABASE)):
        raise _project_exists(configuration)
    _make_folder(directory)
    if not database.exists():
        iowa.build(database)
    else:
        iowa.delivered(database)  # fails where the file is not the demo's
    if not exists:
        template = files("storecast.demos.iowa") / CONFIGURATION
        _write(configuration, template.read_text(encoding="utf-8"))
    return InitResult(directory, configuration, database, created=not exists)


def advance_demo(directory: Path, deliveries: int) -> AdvanceResult:
    """Delivers the next ``deliveries`` weeks to the demo in ``directory``: all of them or none.

    Raises:
        ConfigurationError: the folder holds no demo (``DEMO_UNKNOWN``), or fewer deliveries
            are left (``DEMO_EXHAUSTED``).
    """
    database = directory / _DATABASE
    if not database.is_file():
        raise ConfigurationError(
            Code.DEMO_UNKNOWN,
            "the folder holds no demo that could be advanced",
            where=str(directory),
            expected=f"the demo's database {_DATABASE}",
            next_step=f"storecast init {directory} --demo {DEMOS[0]}",
        )
    made = iowa.advance(database, deliveries)
    return AdvanceResult(
        delivered=made.deliveries,
        complete_through=made.complete_through,
        lines_added=made.lines_added,
        lines_corrected=made.lines_corrected,
        lines_cancelled=made.lines_cancelled,
        remaining=made.remaining,
    )


def remaining_deliveries(directory: Path) -> int:
    """How many deliveries the demo in ``directory`` still has; 0 where there is no demo."""
    database = directory / _DATABASE
    return iowa.remaining(database) if database.is_file() else 0


def init_from(directory: Path, file: Path) -> InitResult:
    """Writes a project for a CSV or parquet file of sales.

    The file is copied to ``source/``, as it is where the pipeline can read it so; otherwise
    delimiter, dates and decimal signs are made plain in the copy, and the notes say so.
    Identifiers are never read as numbers.

    Raises:
        ConfigurationError: the folder holds a project already, the file cannot be read, or a
            column cannot be recognised; the message names the columns that there are.
    """
    configuration = directory / CONFIGURATION
    if configuration.exists():
        raise _project_exists(configuration)
    table, is_plain = _read(file)
    if table.is_empty():
        raise ConfigurationError(
            Code.SOURCE_EMPTY,
            "the file has no rows",
            where=str(file),
            next_step="give a file with a row for each sale, or each store and day",
        )
    found = guess.columns(table, str(file))
    days = guess.dates(table[found.date], str(file))
    if days.null_count() == len(days):
        raise ConfigurationError(
            Code.NULL_DATE, "the date column is empty", where=f"{file}, column {found.date}"
        )
    span = guess.span(days, str(file))

    notes: list[str] = []
    if not is_plain:
        notes.append("its fields are separated by commas")
    if not guess.is_plain_date(table[found.date]):
        written = days.dt.strftime("%Y-%m-%d").fill_null(table[found.date].cast(pl.String))
        if not written.equals(table[found.date]):
            table = table.with_columns(written.alias(found.date))
            notes.append("its dates are written YYYY-MM-DD")
    amounts = guess.plain_numbers(table[found.sales], str(file))
    if not amounts.equals(table[found.sales]):
        table = table.with_columns(amounts.alias(found.sales))
        notes.append("its amounts have a decimal point and no thousands sign")

    _make_folder(directory / "source")
    source = _copy(file, table, directory / "source", as_it_is=not notes)
    _write(configuration, _configuration(file, source.name, found, span, notes))
    return InitResult(
        directory,
        configuration,
        source,
        created=True,
        notes=(
            f"store: {found.store}, date: {found.date}, sales: {found.sales}, "
            f"key: {', '.join(found.primary_key)}",
            f"frequency {span.frequency}: {span.periods} periods, {span.first} to {span.last}",
            *notes,
            *_unread(table[found.date], days),
        ),
    )


def _unread(values: pl.Series, days: pl.Series) -> list[str]:
    left = values.filter(days.is_null() & values.is_not_null()).cast(pl.String)
    if left.is_empty():
        return []
    one = len(left) == 1
    return [
        f"{len(left):,} {'date' if one else 'dates'} cannot be read, such as {left.first()!r}: "
        f"storecast ingest rejects {'that row' if one else 'those rows'}"
    ]


def _read(file: Path) -> tuple[pl.DataFrame, bool]:
    """The table, a CSV as text throughout, and whether the pipeline can read the file as it is."""
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ConfigurationError(
            Code.USAGE,
            "the file has to be a CSV or a parquet file",
            where=str(file),
            expected=".csv or .parquet",
            found=suffix or "no ending",
            next_step="export the sales as CSV",
        )
    try:
        if suffix == ".parquet":
            return pl.read_parquet(file), True
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
        separator = max(",;\t", key=re.sub(r'"[^"]*"', "", header).count)
        # Without inference every column is text: store 001 stays 001.
        table = pl.read_csv(file, separator=separator, infer_schema_length=0)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(
            Code.SOURCE_EMPTY
            if isinstance(error, pl.exceptions.NoDataError)
            else Code.SOURCE_UNREACHABLE,
            f"the file cannot be read: {error}",
            where=str(file),
            expected="a CSV file in UTF-8 with a line of column names, or a parquet file",
            next_step="check the path; save a CSV as UTF-8",
        ) from error
    return table, separator == ","


def _copy(file: Path, table: pl.DataFrame, folder: Path, *, as_it_is: bool) -> Path:
    """Copies the file under a plain name and never over another file."""
    suffix = file.suffix.lower()
    unfinished = folder / f".unfinished{suffix}"
    if as_it_is:
        shutil.copyfile(file, unfinished)
    elif suffix == ".csv":
        table.write_csv(unfinished)
    else:
        table.write_parquet(unfinished)
    number = 1
    while True:
        target = folder / (f"sales{suffix}" if number == 1 else f"sales_{number}{suffix}")
        if not target.exists() or target.read_bytes() == unfinished.read_bytes():
            unfinished.replace(target)
            return target
        number += 1


def _configuration(
    file: Path, name: str, found: guess.Columns, span: guess.Span, notes: list[str]
) -> str:
    word = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_") or "sales"
    project = word if word[0].isalpha() else f"sales_{word}"
    key = ", ".join(_scalar(column) for column in found.primary_key)
    columns = ", ".join(
        f"{role}: {_scalar(column)}"
        for role, column in (
            ("store_id", found.store),
            ("date", found.date),
            ("sales", found.sales),
        )
    )
    changed = f"\n# In the copy, {', '.join(notes)}; the rest is as it was." if notes else ""
    if span.frequency == "MS":
        through = f"{guess.last_day(span)}   # the last month in the file, taken as complete"
    else:
        through = "null              # complete to the newest date in the file"
    local = (
        "locale: pt-BR\ncurrency: BRL\n" if found.portuguese else "locale: en\n# currency: USD\n"
    )
    calendar = "calendar: {country: BR}" if found.portuguese else "# calendar: {country: US}"
    return f"""\
# A storecast project, guessed from {_comment(file.name)}. Please check what is marked.
#
#   storecast doctor    checks this file and the source
#   storecast run       ingest, validate, deploy, forecast, report

project: {project}
{local}platform: local
catalog: local
schema: {project}

# The file was copied to source/, so that this folder can be moved.{changed}
source:
  type: files
  path: source
  sales:
    from: {name}
    # CHECK: what makes a row of the file the same row again.
    primary_key: [{key}]
    # CHECK: which column is the store, the day and the amount.
    columns: {{{columns}}}
    through: {through}

# CHECK: {span.periods} periods from {span.first} to {span.last}, {_in_words(span.frequency)}.
series:
  frequency: {span.frequency}
  missing: zero        # an absent period of an open store sold nothing; or: unknown

training: {{from: {span.first}, until: null}}

# Holidays, for the models that use them.
{calendar}

forecast: {{horizon: {span.horizon}}}

# As many forecasts made in the past as this history has room for, at most twelve.
validation: {{windows: {span.windows}, step: {span.step}, warmup: {span.warmup}, \
metric: wape, baseline: seasonal_naive}}

models: [seasonal_naive, local_level, lightgbm]
"""


def _in_words(frequency: str) -> str:
    match frequency.split("-"):
        case ["D"]:
            return "daily"
        case ["W", day]:
            return f"weeks named by their last day, {day}"
        case ["MS"]:
            return "months named by their first day"
        case _:
            return "months named by their last day"


def _scalar(text: str) -> str:
    """A column's name as YAML has it, quoted where it would read as something else."""
    if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) and yaml.safe_load(text) == text:
        return text
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _reads_from(configuration: Path, path: str) -> bool:
    """Whether a project reads the demo's database; a broken configuration is not ours to judge."""
    try:
        written = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    source = written.get("source") if isinstance(written, dict) else None
    return isinstance(source, dict) and source.get("path") == path


def _project_exists(configuration: Path) -> ConfigurationError:
    return ConfigurationError(
        Code.PROJECT_EXISTS,
        "the folder already holds a project; it was left as it is",
        where=str(configuration),
        next_step="name another folder, or go on with this one: storecast run",
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            Code.USAGE,
            f"the project folder cannot be made: {error.strerror}",
            where=str(folder),
            next_step="name a folder that you may write to",
        ) from error


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
