"""Changes of the configuration: new nullable columns are followed, all else is refused.

Everything is looked at before anything is read, and told at once; what is new is added with the
first commit, so that a run that stops leaves the tables as they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from storecast import runs
from storecast.errors import Code, ConfigurationError

if TYPE_CHECKING:
    from storecast.core.schema import TableSpec
    from storecast.project import Project

_ASKED_FOR_BY = {
    "transactions": "source.sales.primary_key",
    "store_versions": "source.stores.valid_from",
    "covariates": "known covariates by store",
    "covariates_by_date": "known covariates by date",
    "covariate_versions": "known_at",
}
"""What of the configuration makes a table that not every project has."""


def refuse(project: Project, run: runs.Run, tables: Sequence[str]) -> None:
    """Refuse what the tables cannot follow, before anything is read; nothing is changed.

    Args:
        project: its configuration and its tables.
        run: knows what the tables were.
        tables: the tables to look at, in the order of their commitment.

    Raises:
        ConfigurationError: CONFIG_CHANGED, with every change that the tables cannot follow.
    """
    has = {name for name in (*tables, "transactions", "sales") if run.has(name)}
    refuse_changes(project, has, run.gone, tables)


def refuse_changes(
    project: Project, has: Collection[str], gone: Collection[str], tables: Sequence[str]
) -> None:
    """As ``refuse``, without a run: what ``storecast doctor`` asks.

    Args:
        project: its configuration and its tables.
        has: tables that a completed run names and that are there.
        gone: tables that one names and that somebody has removed.
        tables: the tables to look at.
    """
    changes = [*_of_the_frequency(project), *_of_tables(project, has, gone, tables)]
    for name in _there(project, tables):
        changes += _of_columns(project.specs[name], project.tables.spec_of(name))
        changes += _of_the_key(project.specs[name], project.tables.key_of(name))
    if changes:
        raise _refused(changes)


def extend(project: Project, run: runs.Run, tables: Sequence[str]) -> None:
    """Add the columns that the configuration has and the tables have not.

    They are null in the rows that are there, until the rows are read anew. ``run`` names the
    versions that this makes, even where it changes no row, or the next would take them back.
    """
    for name in _there(project, tables):
        before = project.tables.version(name)
        project.tables.create(project.specs[name])
        now = project.tables.version(name)
        if now is not None and now != before and run.has(name):
            run.tables_written[name] = now


def _there(project: Project, tables: Sequence[str]) -> list[str]:
    return [n for n in tables if n in project.specs and project.tables.version(n) is not None]


def _of_the_frequency(project: Project) -> Iterator[str]:
    before = runs.newest(project, "ingest")
    was: Any = before["details"].get("frequency") if before is not None else None
    now = project.config.series.frequency
    if was is not None and was != now:
        yield f"series.frequency was {was} and would be {now}"


def _of_tables(
    project: Project, has: Collection[str], gone: Collection[str], tables: Sequence[str]
) -> Iterator[str]:
    for name in tables:
        if name in has and name not in project.specs:
            yield f"table {name} would go, for nothing asks for it any more ({_asker(name)})"
    finer = "transactions" in project.specs and "transactions" not in has
    if finer and "sales" in has and "transactions" not in gone:
        yield "source.sales.primary_key was the store and the day, and would be finer"


def _asker(name: str) -> str:
    return _ASKED_FOR_BY.get(name, name)


def _of_columns(spec: TableSpec, there: Any) -> Iterator[str]:
    """``there`` is the Arrow schema of the existing table."""
    wanted = {column.name: column for column in spec.columns}
    for field in there:
        column = wanted.get(field.name)
        if column is None:
            yield f"column {spec.name}.{field.name} would go"
        elif column.type != field.type:
            yield f"column {spec.name}.{field.name} is {field.type} and would be {column.type}"
    for column in spec.columns:
        if column.name not in there.names and not column.nullable:
            yield f"column {spec.name}.{column.name} would be new and never null"


def _of_the_key(spec: TableSpec, there: tuple[str, ...]) -> Iterator[str]:
    """``there`` is the key of the existing table, empty where it says none."""
    if there and there != spec.primary_key:
        before, now = ", ".join(there), ", ".join(spec.primary_key)
        yield f"the key of {spec.name} is ({before}) and would be ({now})"


def _refused(changes: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        Code.CONFIG_CHANGED,
        f"the configuration would change the tables: {'; '.join(changes)}",
        where="storecast.yaml",
        expected="the keys, columns and frequency of the existing tables, or further columns",
        next_step="take the change back (a column that the source has renamed gets its old name "
        "by AS in a view or `query:`); or migrate: set another `schema:` and run `storecast "
        "ingest`, which reads everything anew, and leaves the old tables as they are",
    )
