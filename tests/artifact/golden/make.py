"""Writes the golden artefacts of the storecast that is running, and the numbers that they give.

    python -m tests.artifact.golden.make

Run it once for each new ``FEATURE_VERSION`` or ``FORMAT``, and never again once that one is
released: an artefact stays as it was written. ``features-<version>/<name>/`` has ``artifact/``,
``given.parquet`` (what is asked) and ``expected.parquet`` (what is answered). They carry no wheel,
which the tests of a bare machine look at: they are read by the storecast that is installed.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import polars as pl

from storecast.artifact import flat
from storecast.artifact.pyfunc import StoreForecaster, as_pandas
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster
from storecast.core.features import FEATURE_VERSION
from storecast.core.panel import History
from storecast.core.window import cut
from storecast.models.base import Recipe
from storecast.models.ensemble import with_members
from tests.artifact.chains import FIRST, history, recipe

HERE = Path(__file__).parent
DAYS, HORIZON = 120, 14
CUTOFF = FIRST + timedelta(days=DAYS - 1)
TINY = {"max_steps": 20, "patience": 0, "input_chunk_length": 14, "batch_size": 16}
CITIES = ("São Paulo", "Rio", "São Paulo", "Rio", "Rio")
STORES = ("001", "1", "Öç", "a", "A")


def recipes() -> dict[str, Recipe]:
    """One of each kind that has something to lose."""
    trees = {"n_estimators": 8, "num_leaves": 7}
    lightgbm = recipe("lightgbm", **trees)
    return {
        "seasonal_naive": recipe("seasonal_naive"),
        "local_level": recipe("local_level"),
        "lightgbm": lightgbm,
        "lightgbm_direct": recipe("lightgbm", **trees, strategy="direct"),
        "xgboost": recipe("xgboost", n_estimators=8, max_leaves=7),
        "nbeats": recipe("nbeats", **TINY, layer_widths=4),
        "tft": recipe(
            "tft", **TINY, hidden_size=2, num_attention_heads=1, hidden_continuous_size=2
        ),
        "ensemble": with_members(recipe("ensemble"), [recipe("local_level"), lightgbm]),
    }


def told() -> History:
    """A chain whose stores have an attribute with two values."""
    return with_cities(history(STORES, days=DAYS, future=HORIZON))


def with_cities(chain: History) -> History:
    """A chain of ``STORES``, in cities that a model can tell apart."""
    assert chain.stores is not None
    return replace(chain, stores=chain.stores.with_columns(city=pl.Series(CITIES)))


def asked(artifact: Path, given: pd.DataFrame) -> pd.DataFrame:
    """What the artefact answers, by the surface that is released: the pyfunc's."""
    model = StoreForecaster()
    model.load_context(SimpleNamespace(artifacts={"forecaster": str(artifact)}, model_config=None))
    return model.predict(None, given, {"cutoff": CUTOFF.isoformat(), "horizon": HORIZON})


def main() -> None:
    """Write every one."""
    chain = told()
    for name, made in recipes().items():
        place = HERE / f"features-{FEATURE_VERSION}" / name
        shutil.rmtree(place, ignore_errors=True)
        save(UnifiedForecaster.fit(made, chain, CUTOFF, None), place / "artifact", code=False)
        given = as_pandas(flat.flatten(chain, cut(chain, CUTOFF, HORIZON)))
        given.to_parquet(place / "given.parquet")
        asked(place / "artifact", given).to_parquet(place / "expected.parquet")


if __name__ == "__main__":
    main()
