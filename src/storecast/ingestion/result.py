"""What an ingestion did, for people and for the JSON envelope."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from storecast.core.written import short
from storecast.ingestion import through
from storecast.ingestion.gaps import Gap
from storecast.ports import Through


@dataclass(frozen=True)
class IngestResult:
    """What an ingestion did.

    The counts are of the sales relation, at its own grain; ``feeds`` has those of the others.
    rows_read = inserted + updated + unchanged + rejected + deduplicated. ``mode`` is full or
    incremental; ``why_full`` says why everything was read, ``since`` from which day of the
    watermark on rows were. Regions are stores and months whose rows and sums were compared with
    the source's, and those that were read again; ``regions_standing`` are those that differ as they
    did when an earlier run had read them, and were not. ``rows_held`` are unchanged ones for which
    the tables have a newer version, ``rows_held_before`` such rows of earlier runs in the regions
    that stand; ``watermark_ahead`` is the newest watermark of a day to come, of
    these or of the rows read.
    """

    run_id: str
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_rejected: int
    rows_deduplicated: int
    rows_deleted: int
    through: date
    through_origin: str
    stores: int
    periods: int
    first_date: date
    last_date: date
    mode: str = "full"
    why_full: str = ""
    since: date | None = None
    regions_compared: int = 0
    regions_read_again: int = 0
    regions_standing: int = 0
    rows_held: int = 0
    rows_held_before: int = 0
    watermark_ahead: datetime | None = None
    rejected: dict[str, int] = field(default_factory=dict)
    feeds: dict[str, dict[str, int]] = field(default_factory=dict)
    stores_without_row: int = 0
    stores_without_row_examples: tuple[str, ...] = ()
    covariates_without_row: dict[str, Gap] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON envelope."""
        plain = asdict(self)
        for name in ("through", "first_date", "last_date"):
            plain[name] = plain[name].isoformat()
        for name in ("since", "watermark_ahead"):
            plain[name] = plain[name].isoformat() if plain[name] is not None else None
        return plain

    def sentences(self) -> list[str]:
        """For people, the headline first."""
        changes = (
            f"{self.rows_inserted:,} new, {self.rows_updated:,} changed, "
            f"{self.rows_deleted:,} deleted, {self.rows_unchanged:,} unchanged"
        )
        lines = [
            f"{self.rows_read:,} rows read: {changes}",
            f"{self.stores:,} {'store' if self.stores == 1 else 'stores'}, "
            f"{self.first_date} to {self.last_date}; "
            f"complete through {self.through} ({self.through_origin})",
        ]
        doubt = through.doubt(
            Through(self.through, self.through_origin), self.first_date, self.last_date
        )
        if doubt is not None:
            lines.append(f"{doubt}; check source.sales.through")
        lines.append(self._extent())
        if self.rows_deduplicated:
            lines.append(f"{self.rows_deduplicated:,} rows were copies or older versions")
        lines += self._held()
        if self.rejected:
            causes = ", ".join(f"{code} {count:,}" for code, count in self.rejected.items())
            lines.append(f"rejected: {causes} (storecast tables show rejected_rows)")
        if self.stores_without_row:
            shown = ", ".join(map(short, self.stores_without_row_examples))
            several = self.stores_without_row > 1
            lines.append(
                f"{self.stores_without_row:,} {'stores' if several else 'store'} with sales "
                f"{'have' if several else 'has'} no store row: {shown}"
            )
        lines += [s for gap in self.covariates_without_row.values() for s in gap.sentences()]
        return lines

    def _held(self) -> list[str]:
        lines = []
        if self.rows_held:
            one = self.rows_held == 1
            lines.append(
                f"{self.rows_held:,} {'row was' if one else 'rows were'} held back: the tables "
                f"have a newer version of {'it' if one else 'them'} (storecast ingest --full takes "
                "what the source has)"
            )
        if self.regions_standing:
            lines.append(self._standing())
        if self.watermark_ahead is not None:
            lines.append(
                f"a watermark lies in the future, {self.watermark_ahead:%Y-%m-%d %H:%M:%S}: until "
                "then no correction of its row is newer; correct it in the source, then storecast "
                "ingest --full"
            )
        return lines

    def _standing(self) -> str:
        one = self.regions_standing == 1
        why = "rows are there that count for the source alone, such as copies or older versions"
        if self.rows_held_before:
            rows = "row is" if self.rows_held_before == 1 else "rows are"
            why = (
                f"{self.rows_held_before:,} {rows} still held back there (storecast ingest --full "
                "takes what the source has)"
            )
        return (
            f"{self.regions_standing:,} {'store and month' if one else 'stores and months'} "
            f"{'differs' if one else 'differ'} from the source as when last read, and "
            f"{'was' if one else 'were'} not read again: {why}"
        )

    def _extent(self) -> str:
        if self.since is None:
            return f"everything was read: {self.why_full}"
        text = f"read were the rows with a watermark from {self.since} on, or without one"
        if self.regions_compared:
            text += (
                f"; {self.regions_compared:,} stores and months compared with the source, "
                f"{self.regions_read_again:,} of them read again"
            )
        return text
