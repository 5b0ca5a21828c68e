"""Changes of the configuration: new nullable columns are followed, all else is refused.

Everything is looked at before anything is read, and told at once; what is new is added with the
first commit, so that a run that stops leaves the tables as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
    changes = [*_of_the_frequency(project), *_of_tables(project, run, tables)]
    for name in _there(project, tables):
        changes += _of_columns(project.specs[name], project.tables.spec_of(name))
    if changes:
        raise _refused(changes)
    for name in _there(project, tables):
        spec, names = project.specs[name], project.tables.spec_of(name).names
        # Without the new columns it changes nothing, and refuses another key.
        project.tables.create(
            replace(spec, columns=tuple(c for c in spec.columns if c.name in names))
        )


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


def _of_tables(project: Project, run: runs.Run, tables: Sequence[str]) -> Iterator[str]:
    for name in tables:
        if run.has(name) and name not in project.specs:
            yield f"table {name} would go, for nothing asks for it any more ({_asker(name)})"
    finer = "transactions" in project.specs and not run.has("transactions")
    if finer and run.has("sales") and "transactions" not in run.gone:
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
