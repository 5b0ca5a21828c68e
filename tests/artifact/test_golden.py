"""Each released artefact gives the numbers that it gave, or is refused by name."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from storecast.artifact.load import load, opened
from storecast.artifact.save import FORMAT, save
from storecast.core.features import FEATURE_VERSION, READABLE
from storecast.errors import Code, ModelError

from .golden.make import HERE, HORIZON, STORES, asked, recipes

GOLDEN = sorted(place.parent.relative_to(HERE) for place in HERE.glob("*/*/artifact"))
TOLERANCE = {"nbeats": 1e-4, "tft": 1e-4}
"""Relative, 1e-9 for the rest.

A booster adds the same 64-bit numbers in the same order everywhere; what its features take from
the machine are sines and cosines, exact to the last digit or two, and 1e-9 is far below a leaf's
next value. A network multiplies 32-bit matrices in the order that suits the processor: 1e-7 a
product, and some thousand of them.
"""


def needs(name: str) -> str | None:
    library = {"nbeats": "torch", "tft": "torch", "xgboost": "xgboost"}.get(name)
    return library if library and importlib.util.find_spec(library) is None else None


@pytest.mark.parametrize("place", GOLDEN, ids=str)
def test_it_gives_the_numbers_that_it_gave(place: Path) -> None:
    features, name = int(place.parts[0].removeprefix("features-")), place.name
    artifact, given = HERE / place / "artifact", pd.read_parquet(HERE / place / "given.parquet")
    if features not in READABLE:
        with pytest.raises(ModelError) as refused:
            asked(artifact, given)
        assert refused.value.code is Code.FEATURE_VERSION_UNKNOWN
        assert f"features of version {features}" in str(refused.value)
        return
    if (library := needs(name)) is not None:
        pytest.skip(f"needs {library}")
    made, expected = asked(artifact, given), pd.read_parquet(HERE / place / "expected.parquet")
    assert len(expected) == len(STORES) * HORIZON
    same_numbers(made, expected, TOLERANCE.get(name, 1e-9))
    packed = asked(artifact, given.iloc[:0])
    same_numbers(packed, expected, TOLERANCE.get(name, 1e-9))


def same_numbers(made: pd.DataFrame, expected: pd.DataFrame, relative: float) -> None:
    assert list(made.columns) == list(expected.columns)
    for column in expected.columns:
        if expected[column].dtype.kind == "f":
            largest = expected[column].abs().max()
            np.testing.assert_allclose(
                made[column], expected[column], rtol=relative, atol=relative * largest
            )
        else:
            assert made[column].tolist() == expected[column].tolist()


def test_there_is_one_of_each_kind_for_each_version_that_is_read() -> None:
    for version in READABLE:
        there = {place.name for place in GOLDEN if place.parts[0] == f"features-{version}"}
        assert there == set(recipes())
    assert READABLE[-1] == FEATURE_VERSION


def test_there_is_one_of_each_version_that_is_refused() -> None:
    for version in set(range(1, FEATURE_VERSION)) - set(READABLE):
        assert any(place.parts[0] == f"features-{version}" for place in GOLDEN), version


def test_they_are_small_and_of_this_format() -> None:
    for place in GOLDEN:
        size = sum(f.stat().st_size for f in (HERE / place).rglob("*") if f.is_file())
        assert size < 200_000, place
        assert opened(HERE / place / "artifact").manifest["format"] == FORMAT


def test_an_older_version_whose_code_is_kept_would_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the machinery does on the day on which a feature changes and its older code stays."""
    from storecast.artifact import load as module

    artifact = HERE / f"features-{FEATURE_VERSION}" / "local_level" / "artifact"
    monkeypatch.setattr(module, "READABLE", (FEATURE_VERSION, FEATURE_VERSION + 1))
    older = load(artifact)
    newer = replace(older, recipe=replace(older.recipe, feature_version=FEATURE_VERSION + 1))
    save(newer, tmp_path / "newer", code=False)
    assert load(tmp_path / "newer").recipe.feature_version == FEATURE_VERSION + 1
    assert load(artifact).recipe.feature_version == FEATURE_VERSION


def test_a_golden_number_that_is_off_is_seen(tmp_path: Path) -> None:
    place = HERE / f"features-{FEATURE_VERSION}" / "lightgbm"
    shutil.copytree(place, tmp_path / "a")
    expected = pd.read_parquet(place / "expected.parquet")
    off = expected.assign(forecast=expected["forecast"] * (1 + 1e-8))
    with pytest.raises(AssertionError):
        same_numbers(asked(place / "artifact", pd.read_parquet(place / "given.parquet")), off, 1e-9)
