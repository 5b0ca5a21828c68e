"""``report`` on tables that runs committed."""

import json

import polars as pl
import pytest

import storecast
from storecast import runs
from storecast.errors import Code, StorecastError
from storecast.reporting.step import report

from .chain import CUTOFF, tables

CONFIGURATION = """
project: lojas
locale: pt-BR
currency: BRL
source:
  type: sqlite
  path: lojas.db
  sales:
    from: vendas
    primary_key: [loja, dia]
    columns: {store_id: loja, date: dia, sales: valor}
  stores:
    from: lojas
    columns: {store_id: loja}
    attributes: [Nome]
series: {frequency: W-SUN}
training: {from: 2012-01-02}
forecast: {horizon: 8, quantiles: [0.1, 0.5, 0.9]}
validation: {windows: 6, step: 4, warmup: 3}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "storecast.yaml").write_text(CONFIGURATION)
    return storecast.load(tmp_path / "storecast.yaml")


def commit(run, name, frame):
    spec = run.project.specs[name]
    missing = [c.name for c in spec.columns if c.name not in frame.columns]
    filled = frame.with_columns(
        pl.lit(
            run.started_at if c.endswith("_at") else run.run_id if c == "run_id" else None
        ).alias(c)
        for c in missing
    )
    run.commit(spec, filled.select(spec.names).to_arrow().cast(spec.arrow))


def ingest(project, made):
    with runs.begin(project, "ingest") as run:
        run.through = CUTOFF
        commit(run, "sales", made.panel.with_columns(pl.col("sales").cast(pl.Decimal(18, 4))))
        stores = made.stores.rename({"name": "nome"}).drop("city")
        days = [pl.lit(None, pl.Date).alias(c) for c in ("opened_on", "closed_on")]
        commit(run, "stores", stores.with_columns(days))


def validate(project, made):
    with runs.begin(project, "validate") as run:
        run.details["validation_id"] = "v-1"
        commit(run, "backtest_scores", made.scores)
        commit(run, "backtest_forecasts", made.backtest)


def forecast(project, made):
    for version, model in (("3", "lightgbm"), ("4", "local_level")):
        with runs.begin(project, "deploy") as run:
            run.details.update(model=model, model_version=version)
    with runs.begin(project, "forecast") as run:
        run.details.update(model_version="3", forecast_id="f-1", failure=None)
        commit(run, "forecasts_latest", made.forecasts)


def test_nothing_to_report(project):
    with pytest.raises(StorecastError) as fault:
        report(project)
    assert fault.value.code is Code.NOTHING_TO_REPORT
    assert not project.reports.exists()


def test_the_whole(project):
    made = tables()
    ingest(project, made)
    with pytest.raises(StorecastError):
        report(project)
    validate(project, made)
    half = report(project)
    assert "Ainda não há previsão" in " ".join(half.sentences())
    forecast(project, made)
    result = report(project)
    text = result.path.read_text("utf-8")
    assert result.path == project.root / "reports" / "report.html"
    assert [p.name for p in project.reports.iterdir()] == ["report.html"]
    assert str(result.path) in result.sentences()[0]
    assert any("lightgbm (lojas), versão 3" in s for s in result.sentences())
    assert "Mercado São João" in text
    json.dumps(result.as_dict())
    newest = runs.newest(project, "report")
    assert set(newest["tables_read"]) >= {"sales", "stores", "forecasts_latest", "backtest_scores"}
