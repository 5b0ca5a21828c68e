"""The code that docs/forecasting.md shows for Spark: a failure is an empty frame, no broken job."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storecast.artifact import flat
from storecast.artifact.pyfunc import as_pandas
from storecast.artifact.unified import UnifiedForecaster
from storecast.core.window import cut
from tests.artifact.chains import FIRST, history, recipe
from tests.artifact.logged import log

# MLflow and SQLAlchemy warn about themselves
pytestmark = [
    pytest.mark.filterwarnings("default"), pytest.mark.spark, pytest.mark.slow,
]  # fmt: skip

CUTOFF = FIRST + timedelta(days=199)
DOCS = Path(__file__).parents[2] / "docs" / "forecasting.md"


def documented() -> str:
    """The functions of the page, as a user copies them."""
    found = re.search(r"```python\n(# spark\n.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    forecaster = UnifiedForecaster.fit(recipe("lightgbm", n_estimators=5), history(), CUTOFF, None)
    return log(tmp_path_factory.mktemp("project"), forecaster)[0], forecaster.forecast()


@pytest.mark.parametrize("road", ["by_bucket", "by_partition"])
@pytest.mark.parametrize("fault", [None, "column", "horizon", "row", "artefact"])
def test_the_job_behind_gets_a_frame_of_the_schema(
    spark: Any, logged: tuple[Path, Any], road: str, fault: str | None
) -> None:
    import polars as pl
    from pyspark.sql import functions as sf

    place, expected = logged
    given: dict[str, Any] = {}
    exec(documented(), given)
    uri = "/nowhere" if fault == "artefact" else str(place)
    schema = given["schema_of"](str(place))
    params = {"horizon": 99} if fault == "horizon" else {}
    score = given["scorer"](uri, str(place), {"cutoff": CUTOFF.isoformat(), **params})
    frame = as_pandas(flat.flatten(history(), cut(history(), CUTOFF, 14)))
    if fault == "column":
        frame = frame.drop(columns="sales")
    if fault == "row":
        frame.loc[len(frame)] = frame.loc[0]
    rows = spark.createDataFrame(frame)
    if road == "by_bucket":
        bucketed = rows.groupBy((sf.hash("store_id") % 2).alias("bucket"))
        made = bucketed.applyInPandas(score, schema)
    else:
        parts = rows.repartition(2, "store_id")
        made = parts.mapInPandas(lambda batches: given["whole"](batches, score), schema)
    assert [f.name for f in made.schema] == expected.columns
    found = pl.from_pandas(made.toPandas())
    if fault is None:
        assert found.height == expected.height
        assert sorted(found["forecast"]) == pytest.approx(sorted(expected["forecast"]))
    elif fault == "row":
        assert found.height < expected.height  # the other bucket is forecast
    else:
        assert found.is_empty()
