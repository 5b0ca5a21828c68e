# ruff: noqa: S608 - the names in these statements are our own normalised ones
"""What a run changes: the difference of each table, the counts of each feed, the commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storecast.core.schema import TableSpec
from storecast.ingestion import equations
from storecast.ingestion.bench import Workbench, listed, quoted
from storecast.ingestion.merge import Change, Unique, difference
from storecast.ingestion.staging import Staged
from storecast.runs import Run

_MUCH = 1_000_000
"""Changed rows above which a table is written anew."""


@dataclass
class Changes:
    """The changes of one run, all found before the first is committed.

    Attributes:
        tables: the change of each table, by the table's name.
        counts: what became of the rows read, by the feed's name.
    """

    bench: Workbench
    run: Run
    specs: Mapping[str, TableSpec]
    tables: dict[str, Change] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _contents: dict[str, str] = field(default_factory=dict, repr=False)

    def find(self, name: str, wanted: str) -> Change:
        """Compare the bench's table ``wanted`` with the table ``name``, whole.

        Raises:
            ContractError: ROWS_DO_NOT_BALANCE.
        """
        change = self.compare(name, wanted)
        self.accept(change, wanted)
        return change

    def compare(
        self,
        name: str,
        wanted: str,
        part: str | None = None,
        *,
        newer_holds: bool = False,
        columns: Sequence[str] | None = None,
    ) -> Change:
        """As ``find``, without the intention to commit.

        Args:
            name: the table.
            wanted: the bench's table with the rows as they shall be.
            part: the bench's table of the rows that are looked at; None is the whole table.
            newer_holds: a row of the table with a newer watermark stays.
            columns: what is compared beside the key; None is all.
        """
        target = part or (self.run.scan(name) if self.run.has(name) else None)
        return difference(
            self.bench, self.specs[name], wanted, target, newer_holds=newer_holds, columns=columns
        )

    def accept(self, change: Change, content: str | None = None) -> None:
        """Take a change that ``commit`` will make.

        Args:
            change: what becomes of its table.
            content: the bench's table of all rows that the table will have, where there is one.

        Raises:
            ContractError: ROWS_DO_NOT_BALANCE.
        """
        equations.rows_of_table(change)
        self.tables[change.spec.name] = change
        if content is not None:
            self._contents[change.spec.name] = content

    def count(self, staged: Staged, rows: Unique, change: Change | None) -> dict[str, int]:
        """Note what became of a feed's rows; ``change`` is None where no table has its grain."""
        counts = {
            "rows_read": staged.read,
            "rows_rejected": staged.rejected,
            "rows_deduplicated": rows.deduplicated,
        }
        if change is not None:
            counts |= {
                "rows_inserted": change.inserted,
                "rows_updated": change.updated,
                "rows_unchanged": change.unchanged,
                "rows_deleted": change.deleted,
            }
        self.counts[staged.feed.name] = counts
        return counts

    def commit(self) -> None:
        """Write each table that changes, in the order of the specs."""
        names = [name for name in self.specs if name in self.tables]
        for number, name in enumerate(names):
            self.run.progress("writing the tables", number, len(names))
            change = self.tables[name]
            if change.nothing and self.run.has(name):
                continue
            self._commit(change)
        self.run.progress("writing the tables", len(names), len(names))

    def _commit(self, change: Change) -> None:
        content = self._contents.get(change.spec.name)
        touched = change.inserted + change.updated + change.deleted
        if content is not None and change.before and touched > _MUCH:
            # A merge holds all that it changes in memory; a stream does not.
            self.run.replace(change.spec, self.bench.stream(self._rows(change, content)))
            return
        rows = self.bench.stream(self._rows(change))
        gone = None
        if change.deleted:
            rows = rows.read_all()
            gone = self.bench.rows(
                f"SELECT {listed(change.spec.primary_key)} FROM {change.name} "
                "WHERE row__change = 'deleted'"
            )
        self.run.commit(change.spec, rows, gone, append=change.before == 0)

    def _rows(self, change: Change, content: str | None = None) -> str:
        spec = change.spec
        stamps = {
            "ingested_at": f"CAST('{self.run.started_at.isoformat()}' AS TIMESTAMPTZ)",
            "run_id": f"'{self.run.run_id}'",
        }
        columns = ", ".join(f"{stamps[c]} AS {c}" if c in stamps else quoted(c) for c in spec.names)
        if content is not None or change.whole:
            return f"SELECT {columns} FROM {content or change.name}"
        return f"SELECT {columns} FROM {change.name} WHERE row__change IN ('inserted', 'updated')"
