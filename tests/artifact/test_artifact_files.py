"""save and load: plain files, each answered for by the manifest."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from storecast.artifact.load import check, load, recipe_of
from storecast.artifact.save import HOLIDAYS, MANIFEST, save, seal
from storecast.artifact.unified import UnifiedForecaster
from storecast.core import calendar
from storecast.core.free_days import FreeDays
from storecast.core.window import cut
from storecast.errors import Code, ModelError
from storecast.models.base import Recipe
from storecast.models.ensemble import with_members

from .chains import FIRST, history, recipe
from .golden.make import STORES, with_cities

CUTOFF = FIRST + timedelta(days=199)
TINY = {"max_steps": 4, "patience": 0, "input_chunk_length": 14}
TREES = {"n_estimators": 5}
MODELS: dict[str, Recipe] = {
    "seasonal_naive": recipe("seasonal_naive"),
    "local_level": recipe("local_level"),
    "theta": recipe("theta"),
    "lightgbm": recipe("lightgbm", **TREES),
    "lightgbm by Darts": recipe("lightgbm", **TREES, engine="darts"),
    "lightgbm, direct": recipe("lightgbm", **TREES, strategy="direct"),
    "xgboost": recipe("xgboost", **TREES),
    "xgboost by Darts": recipe("xgboost", **TREES, engine="darts"),
    "xgboost, direct": recipe("xgboost", **TREES, strategy="direct"),
    "nbeats": recipe("nbeats", **TINY, layer_widths=8),
    "tft": recipe("tft", **TINY, hidden_size=4, num_attention_heads=1),
    "a network by its class": recipe(
        "darts", darts="TiDEModel", **TINY, hidden_size=8, decoder_output_dim=4
    ),
    "a regression by its class": recipe("darts", darts="LinearRegressionModel"),
    "a local model by its class": recipe("darts", darts="NaiveSeasonal", K=7),
    "ensemble": with_members(
        recipe("ensemble"), [recipe("lightgbm", **TREES), recipe("local_level")]
    ),
}


def fitted(name: str) -> UnifiedForecaster:
    return UnifiedForecaster.fit(MODELS[name], with_cities(history(STORES)), CUTOFF, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("artefact") / "forecaster"
    save(fitted("lightgbm"), place)
    return place


@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_forecasts_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    forecaster = fitted(name)
    digest = save(forecaster, tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert loaded.forecast().equals(forecaster.forecast())
    assert loaded.forecast(history(("new", "x"))).equals(forecaster.forecast(history(("new", "x"))))
    assert (loaded.recipe, loaded.rules, loaded.stores) == (
        forecaster.recipe,
        forecaster.rules,
        forecaster.stores,
    )
    assert check(tmp_path / "a") == digest


def test_a_recipe_without_state_is_fitted_on_the_history_that_is_given(tmp_path: Path) -> None:
    forecaster = fitted("local_level")
    assert forecaster.model is None
    save(forecaster, tmp_path / "a")
    assert not (tmp_path / "a" / "model").exists()


def test_the_recipe_is_read_without_its_model(folder: Path) -> None:
    assert recipe_of(folder) == fitted("lightgbm").recipe


def every_file(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_a_changed_byte_in_any_file_is_refused(folder: Path) -> None:
    names = [n for n in every_file(folder) if n != MANIFEST]
    assert len(names) > 6
    for name in names:
        file = folder / name
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(ModelError) as refused:
            load(folder)
        file.write_bytes(before)
        assert refused.value.code is Code.ARTIFACT_TAMPERED
        assert name in str(refused.value)
    load(folder)


def test_a_missing_and_an_added_file_are_refused(folder: Path) -> None:
    added = folder / "model" / "added.bin"
    added.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"added\.bin"):
        check(folder)
    added.rename(folder.parent / "added.bin")
    rules = folder / "rules.json"
    text = rules.read_bytes()
    rules.unlink()
    with pytest.raises(ModelError, match=r"rules\.json"):
        check(folder)
    rules.write_bytes(text)


@pytest.mark.parametrize("broken", ["", "[]", '{"format": "x"}', '{"files": {}}', "\x80"])
def test_a_manifest_that_is_none_is_refused(broken: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(broken.encode("latin-1"))
    with pytest.raises(ModelError) as refused:
        load(tmp_path)
    assert refused.value.code is Code.ARTIFACT_TAMPERED


def test_a_newer_format_is_refused_by_its_number(folder: Path) -> None:
    file = folder / MANIFEST
    before = file.read_text("utf-8")
    file.write_text(json.dumps({**json.loads(before), "format": 2}), "utf-8")
    with pytest.raises(ModelError) as refused:
        load(folder)
    file.write_text(before, "utf-8")
    assert refused.value.code is Code.ARTIFACT_FORMAT_UNKNOWN
    assert refused.value.found is not None
    assert "format 2" in refused.value.found


@pytest.mark.parametrize("there", [True, False])
def test_the_holidays_of_the_training_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Whatever the package that is installed later says; an older artefact asks the package."""
    forecaster = fitted("lightgbm")
    before = cut(forecaster.tail, CUTOFF, 14).future.rows
    save(forecaster, tmp_path / "a")
    if not there:
        (tmp_path / "a" / HOLIDAYS).unlink()
        seal(tmp_path / "a", json.loads((tmp_path / "a" / MANIFEST).read_bytes()))
    assert cut(load(tmp_path / "a").tail, CUTOFF, 14).future.rows.equals(before)

    def every_day(*asked: Any) -> tuple[tuple[date, str], ...]:
        (year,) = asked[3]
        return tuple((date(year, 1, 1) + timedelta(days=i), "free") for i in range(365))

    monkeypatch.setattr(calendar, "_holidays", every_day)
    after = cut(load(tmp_path / "a").tail, CUTOFF, 14).future.rows
    assert after.equals(before) is there


def test_the_packed_holidays_reach_some_years_ahead(folder: Path) -> None:
    packed = FreeDays.from_json((folder / HOLIDAYS).read_text("utf-8"))
    assert packed.years == (FIRST.year, CUTOFF.year + 5)
    assert date(2026, 9, 7) in (packed.of(None, 2026) or ())


def test_a_model_without_state_is_refused_by_name(tmp_path: Path) -> None:
    from dataclasses import replace

    class Stateless:
        kind, stateless = "odd", False

    odd = replace(fitted("lightgbm"), model=Stateless())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="lightgbm"):
        save(odd, tmp_path / "a")


def test_a_model_of_other_features_is_refused_by_their_version(tmp_path: Path) -> None:
    from dataclasses import replace

    forecaster = fitted("local_level")
    older = replace(forecaster, recipe=replace(forecaster.recipe, feature_version=0))
    save(older, tmp_path / "a")
    with pytest.raises(ModelError) as refused:
        load(tmp_path / "a")
    assert refused.value.code is Code.FEATURE_VERSION_UNKNOWN
    assert "feature version 0" in str(refused.value.found)


def test_a_member_of_other_features_is_refused_by_its_name(tmp_path: Path) -> None:
    from dataclasses import replace

    members = [recipe("seasonal_naive"), replace(recipe("local_level"), feature_version=1)]
    made = with_members(recipe("ensemble"), members)
    save(UnifiedForecaster.fit(made, history(), CUTOFF, None), tmp_path / "a")
    with pytest.raises(ModelError, match="'local_level' was fitted on features of version 1"):
        load(tmp_path / "a")
