"""Store ids come out exactly as they went in, through all six stations.

Source (SQLite) → Delta → panel → Darts → MLflow pyfunc → forecasts, and the exported files.
"""

from __future__ import annotations

import csv
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import openpyxl
import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

import storecast
from storecast import registry, runs
from storecast.core.window import cut
from storecast.export import export
from storecast.history import load_history
from storecast.project import Project

# MLflow and SQLAlchemy warn about themselves
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

FIRST = date(2021, 1, 4)
DAYS = 90
HARD = (
    "001", "1", "01", "1.0", "1e5", "100000", "NULL", "null", "nan", "NaN", "None", "<NA>",
    "inf", "-1", "12345678901234567890", "12345678901234567891", "16777217",
    "9007199254740993", "São João", "Sao Joao", "é", "e\u0301", "ação/nº 5", "loja", "LOJA",
    "Loja", "true", "2021-01-04", "a,b", 'say "hi"', "it's", "=1+1", "日本", "🏪", " lead",
    "trail ", "{a}", "%s", "a\\b",
)  # fmt: skip

# whatever a text column holds but control characters, surrogates and nothing at all
ANY_ID = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=12
).filter(lambda text: text.strip(" ") != "")


@settings(
    max_examples=1,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(st.sets(ANY_ID, min_size=20, max_size=20))
@example(set(HARD))
def test_an_id_comes_out_as_it_went_in(ids: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill_source(root / "shop.db", sorted(ids))
        write_configuration(root)
        project = storecast.load(root)
        storecast.ingest(project)

        assert seen(project, "sales") == ids  # Delta
        assert seen(project, "stores") == ids
        with runs.begin(project, "test") as run:
            window = cut(load_history(run, project), FIRST + timedelta(days=DAYS - 1), 7)
        assert set(window.past.rows["store_id"]) == ids  # panel
        assert set(window.past.stores["store_id"]) == ids

        storecast.validate(project)  # Darts, in worker processes
        assert seen(project, "backtest_forecasts") == ids
        deployed = storecast.deploy(project, model="lightgbm")  # MLflow
        assert deployed.stores == len(ids)
        assert packed_stores(project) == ids

        result = storecast.forecast(project)  # tables
        assert result.origins == {"champion": 7 * len(ids)}
        for name in ("forecasts", "forecasts_latest", "forecast_ledger"):
            assert seen(project, name) == ids
        check_that_none_changed_places(project, ids)
        check_the_exports(project, root, ids)


def fill_source(file: Path, ids: Iterable[str]) -> None:
    """Daily sales whose level tells a store from every other."""
    noise = np.random.default_rng(11)
    with closing(sqlite3.connect(file)) as database:
        database.execute(
            "CREATE TABLE sales (id INTEGER PRIMARY KEY, store TEXT, day TEXT, amount)"
        )
        database.execute("CREATE TABLE stores (store TEXT, code TEXT)")
        for number, store in enumerate(ids):
            database.execute("INSERT INTO stores VALUES (?, ?)", (store, store))
            for i in range(DAYS):
                day = FIRST + timedelta(days=i)
                amount = round(level(number) * (1 + noise.normal(0, 0.01)), 2)
                database.execute(
                    "INSERT INTO sales (store, day, amount) VALUES (?, ?, ?)",
                    (store, day.isoformat(), amount),
                )
        database.commit()


def level(number: int) -> float:
    return 1000.0 * 1.2**number


def write_configuration(root: Path) -> None:
    configuration = {
        "project": "ids",
        "source": {
            "type": "sqlite",
            "path": "shop.db",
            "sales": {
                "from": "sales",
                "primary_key": ["id"],
                "columns": {"store_id": "store", "date": "day", "sales": "amount"},
            },
            "stores": {
                "from": "stores",
                "columns": {"store_id": "store"},
                "attributes": ["code"],
            },
        },
        "training": {"from": FIRST.isoformat()},
        "forecast": {"horizon": 7, "quantiles": [0.1, 0.5, 0.9]},
        "validation": {"windows": 2, "warmup": 1, "step": 7},
        "models": [
            "seasonal_naive",
            {"name": "lightgbm", "lags": [1, 2, 7], "n_estimators": 30},
        ],
    }
    (root / "storecast.yaml").write_text(yaml.safe_dump(configuration), "utf-8")


def seen(project: Project, name: str) -> set[str]:
    return set(pl.DataFrame(runs.read_table(project, name))["store_id"])


def packed_stores(project: Project) -> set[str]:
    import mlflow.pyfunc

    from storecast.tracking import Tracking

    champion = registry.of(project).version()
    with Tracking.of(project).active():
        model = mlflow.pyfunc.load_model(f"models:/{champion.name}@{registry.CHAMPION}")
    return set(model.unwrap_python_model().forecaster.stores)


def check_that_none_changed_places(project: Project, ids: set[str]) -> None:
    """Each store is forecast at its own level, a fifth from the next one's."""
    rows = pl.DataFrame(runs.read_table(project, "forecasts_latest"))
    means = dict(rows.group_by("store_id").agg(pl.col("forecast").mean()).iter_rows())
    for number, store in enumerate(sorted(ids)):
        assert means[store] == pytest.approx(level(number), rel=0.08), store


def check_the_exports(project: Project, root: Path, ids: set[str]) -> None:
    table = runs.read_table(project, "forecasts_latest")
    for ending in ("csv", "parquet", "xlsx"):
        export(table, root / f"out.{ending}")
    with (root / "out.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert {row["store_id"] for row in csv.DictReader(stream)} == ids
    assert set(pl.read_parquet(root / "out.parquet")["store_id"]) == ids
    book = openpyxl.load_workbook(root / "out.xlsx")
    header, *rows = book.worksheets[0].iter_rows(values_only=True)
    book.close()
    assert {row[header.index("store_id")] for row in rows} == ids
