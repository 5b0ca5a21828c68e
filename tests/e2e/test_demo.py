"""A user's first weeks: the demo from nothing to a report, a delivery, a move, a rerun."""

from __future__ import annotations

import csv
import itertools
import shutil
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import storecast as package
from storecast import runs

from .conftest import Storecast

pytestmark = pytest.mark.slow


def ran(storecast: Storecast, *arguments: str | Path) -> dict[str, Any]:
    answer = storecast(*arguments, "--json")
    assert answer.exit_code == 0, answer.out + answer.err
    assert answer.envelope["status"] == "done"
    return dict(answer.envelope["result"])


def frame(root: Path, name: str) -> pl.DataFrame:
    return pl.DataFrame(runs.read_table(package.load(root), name))


def small(root: Path) -> None:
    """Fewer windows and trees: the story is the same."""
    file = root / "storecast.yaml"
    text = file.read_text("utf-8")
    assert "windows: 12" in text
    text = text.replace("windows: 12", "windows: 5").replace("warmup: 3", "warmup: 2")
    file.write_text(text, "utf-8")


@pytest.mark.timeout(900)
def test_the_first_weeks_of_a_user(storecast: Storecast, tmp_path: Path) -> None:
    root = tmp_path / "demo"
    ran(storecast, "init", root, "--demo", "iowa")
    small(root)
    first = ran(storecast, "run", "--project", root)
    assert set(first["stages"]) == {"ingest", "validate", "deploy", "forecast", "report"}
    assert "monitor" in first["passed_over"]

    # Every row accounted for, every amount too.
    ingested = first["stages"]["ingest"]
    assert ingested["rows_read"] == sum(
        ingested[f"rows_{n}"]
        for n in ("inserted", "updated", "unchanged", "rejected", "deduplicated")
    )
    lines, weeks = frame(root, "transactions"), frame(root, "sales")
    assert lines.height == ingested["rows_inserted"] > 1_000_000
    assert lines["sales"].sum() == weeks["sales"].sum()
    assert weeks["date"].dt.weekday().unique().to_list() == [7]

    # Forecasts of eight whole weeks from the last complete one, of text ids.
    forecasts = frame(root, "forecasts_latest")
    cutoff = date(2022, 9, 4)
    assert forecasts["cutoff"].unique().to_list() == [cutoff]
    assert sorted(forecasts["date"].unique()) == [cutoff + timedelta(weeks=i) for i in range(1, 9)]
    assert forecasts["store_id"].dtype == pl.String
    assert set(forecasts["store_id"]) <= set(weeks["store_id"])
    assert forecasts["forecast"].is_finite().all()
    assert (forecasts["forecast"] >= 0).all()
    levels = forecasts.select(pl.col("^q[0-9]+$")).get_columns()
    assert len(levels) == 9
    assert all((high >= low).all() for low, high in itertools.pairwise(levels))
    ledger = frame(root, "forecast_ledger")
    assert (
        ledger["expected"] == ledger["forecast"] + ledger["fallback"] + ledger["excluded"]
    ).all()

    # The same work done twice has the same rows and adds nothing.
    before = runs.named_versions(package.load(root))
    again = ran(storecast, "run", "--project", root)
    read_again = again["stages"]["ingest"]
    assert 0 < read_again["rows_read"] == read_again["rows_unchanged"] < lines.height / 10
    after = runs.named_versions(package.load(root))
    assert {n: v for n, v in after.items() if n != "runs"} == {
        n: v for n, v in before.items() if n != "runs"
    }

    # A delivery: corrections and cancellations arrive, the table follows the source.
    delivered = ran(storecast, "init", root, "--advance", "1")
    assert delivered["lines_corrected"] > 0
    ingested = ran(storecast, "ingest", "--project", root)
    assert ingested["rows_inserted"] == delivered["lines_added"]
    assert ingested["rows_updated"] == delivered["lines_corrected"]
    assert ingested["rows_deleted"] == delivered["lines_cancelled"]
    later = ran(storecast, "forecast", "--project", root)
    assert later["cutoff"] == "2022-09-11"

    # Time travel: the week before is still there.
    old = runs.read_table(package.load(root), "sales", version=before["sales"])
    assert pl.DataFrame(old).equals(weeks)

    # Moved, the project still has its champion.
    moved = tmp_path / "somewhere else" / "demo"
    moved.parent.mkdir()
    shutil.move(root, moved)
    assert ran(storecast, "forecast", "--project", moved)["cutoff"] == "2022-09-11"
    assert ran(storecast, "models", "show", "--project", moved)
    target = tmp_path / "forecasts.csv"
    ran(storecast, "tables", "export", "forecasts_latest", "--to", target, "--project", moved)
    with target.open(newline="") as stream:
        exported = {row["store_id"] for row in csv.DictReader(stream)}
    assert exported == set(frame(moved, "forecasts_latest")["store_id"])

    # To the end: the table equals the shipped cut, and there is no more.
    last = ran(storecast, "init", moved, "--advance", "7")
    assert last["remaining"] == 0
    ran(storecast, "ingest", "--project", moved)
    shipped = pl.read_parquet(next(
        p for p in (Path(package.__file__).parent / "demos" / "iowa").glob("*lines*.parquet")
    ))  # fmt: skip
    stored = frame(moved, "transactions")
    assert stored.height == shipped.height
    assert stored["sales"].sum() == Decimal(str(shipped["sales"].sum()))
    no_more = storecast("init", moved, "--advance", "1", "--json")
    assert (no_more.exit_code, no_more.code) == (2, "DEMO_EXHAUSTED")


def test_a_file_of_the_users_own_all_the_way_to_a_forecast(
    storecast: Storecast, tmp_path: Path
) -> None:
    file = tmp_path / "vendas.csv"
    start = date(2023, 1, 1)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Código da loja", "Data", "Valor"])
        for store in ("001", "1", "1e5", "São João"):
            for i in range(500):
                day = start + timedelta(days=i)
                writer.writerow([store, day.isoformat(), 100 + 10 * day.weekday() + len(store)])
    root = tmp_path / "lojas"
    ran(storecast, "init", root, "--from", file)
    result = ran(storecast, "run", "--project", root)
    assert set(result["stages"]) == {"ingest", "validate", "deploy", "forecast", "report"}
    assert set(frame(root, "forecasts_latest")["store_id"]) == {"001", "1", "1e5", "São João"}
    assert Path(result["stages"]["report"]["path"]).is_file()
