"""Configuration: whole, every fault at once, nothing ignored, no secret shown."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from storecast.backtest.judgement import Limits
from storecast.config import Config
from storecast.configfile import load_config, parse_config
from storecast.errors import Code, ConfigurationError, NotServedError
from storecast.models.base import Recipe, recipes_of

MINIMAL: dict[str, Any] = {
    "project": "lojas",
    "source": {
        "type": "sqlite",
        "path": "vendas.db",
        "sales": {
            "from": "VENDAS",
            "primary_key": ["ID_VENDA"],
            "columns": {"store_id": "CODIGO_LOJA", "date": "DATA_VENDA", "sales": "VALOR"},
        },
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(MINIMAL)
    *parents, last = path.split(".")
    place = raw
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return raw


def refused(raw: dict[str, Any]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(raw)
    return caught.value


def test_the_least_configuration_has_the_served_defaults() -> None:
    config = parse_config(MINIMAL)
    names = ["seasonal_naive", "local_level", "ets", "theta", "lightgbm"]
    assert [m.name for m in config.models] == names
    assert config.inference.fallback == (
        "previous_champion", "last_forecast", "seasonal_naive", "empty",
    )  # fmt: skip
    assert config.model_name() == "main.storecast.lojas"
    assert config.layout().transaction_key == ("id_venda",)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("platform", "databricks"),
        ("platform", "spark"),
        ("warehouse", "/tmp/w"),
    ],
)
def test_what_a_later_version_serves_is_refused_by_name(path: str, value: Any) -> None:
    error = refused(changed(path, value))
    assert isinstance(error, NotServedError)
    assert error.code is Code.NOT_SERVED
    assert path.split(".")[0] in error.message


@pytest.mark.parametrize(
    ("validation", "gate", "windows"),
    [
        ({}, None, 6),
        ({"windows": 30}, {}, 6),
        ({"windows": 12}, {"alpha": 0.05}, 4),
        ({"windows": 4, "warmup": 2}, None, 1),
        ({"windows": 3, "warmup": 2}, None, 0),
        ({"windows": 12}, {"windows": 5}, 5),
    ],
)
def test_the_gate_keeps_six_windows_or_half_of_the_scored_ones(
    validation: dict[str, Any], gate: dict[str, Any] | None, windows: int
) -> None:
    config = parse_config(changed("validation", validation) | {"gate": gate})
    assert config.gated().windows == windows
    assert config.gated().limits.alpha == (gate or {}).get("alpha", 0.1)
    assert config.gated().limits.max_bias == Limits().max_bias


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"windows": 3}, "it takes 4 windows"),
        ({"windows": 4, "alpha": 0.01}, "it takes 7 windows"),
        ({"windows": 12}, "set validation.windows to at least 16"),
        ({"windows": 0}, "greater than or equal to 1"),
        ({"coverage": [0.9, 0.6]}, "must ascend"),
        ({"alpha": 0}, "greater than 0"),
        ({"window": 6}, "windows"),
    ],
)
def test_a_gate_that_could_not_judge_is_refused(gate: dict[str, Any], said: str) -> None:
    assert said in refused(changed("gate", gate)).message


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "ets", "tune": {"trials": 5}}, "has no space"),
        ({"name": "tide", "darts": "DLinearModel", "tune": {"trials": 5}}, "has no space"),
        ({"name": "ensemble", "tune": {"trials": 5}}, "has no space"),
        ({"name": "lightgbm", "tune": {"trials": 1}}, "trials"),
        ({"name": "lightgbm", "tune": {}}, "trials"),
        (
            {
                "name": "lightgbm", "n_estimators": 9, "learning_rate": 0.1, "num_leaves": 9,
                "min_child_samples": 9, "colsample_bytree": 0.5, "tune": {"trials": 5},
            },
            "is given",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused(model: Any, said: str) -> None:
    assert said in refused(changed("models", ["seasonal_naive", "local_level", model])).message


def test_a_tuning_is_part_of_the_configuration_and_of_the_recipe() -> None:
    models = ["seasonal_naive", {"name": "lightgbm", "num_leaves": 9, "tune": {"trials": 5}}]
    config = parse_config(changed("models", models))
    assert config.models[1].parameters == {"num_leaves": 9}
    recipe = recipes_of(config.models, config.rules())[1]
    assert recipe.tune == 5
    assert Recipe.from_json(recipe.to_json()) == recipe
    plain = parse_config(
        changed("models", ["seasonal_naive", {"name": "lightgbm", "num_leaves": 9}])
    )
    assert plain.hash() != config.hash()
    assert recipes_of(plain.models, plain.rules())[1].digest != recipe.digest


def test_without_warm_up_one_window_is_enough_and_nothing_is_tuned() -> None:
    raw = changed("validation", {"windows": 1, "warmup": 0})
    assert parse_config(raw).validation.warmup == 0
    raw["models"] = ["seasonal_naive", {"name": "lightgbm", "tune": {"trials": 5}}]
    assert "lightgbm is to be tuned on the warm-up windows" in refused(raw).message


def test_every_fault_is_told_at_once_with_its_path_and_the_nearest_name() -> None:
    raw = changed("forecast.horizn", 8)
    raw["series"] = {"frequency": "W-XYZ"}
    raw["souce"] = {}
    error = refused(raw)
    assert error.code is Code.CONFIG_INVALID
    assert "forecast.horizn: unknown key; did you mean 'horizon'?" in error.message
    assert "souce: unknown key; did you mean 'source'?" in error.message
    assert "series.frequency" in error.message


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("validation", {"windows": 3, "warmup": 3}, "warmup"),
        ("validation", {"windows": 0, "warmup": 0}, "validation.windows"),
        ("validation.baseline", "local", "baseline"),
        ("forecast.quantiles", [0.9, 0.1], "ascend"),
        ("series.mask", [["2021-01-01", "2020-01-01"]], "ends before"),
        ("series.closed_when", {"ABERTA": 0}, "closed_when"),
        ("models", ["seasonal_naive", "lightgmb"], "did you mean 'lightgbm'"),
        ("source.password", "x", "takes `path`"),
        ("source.stores", {"columns": {"store_id": "S"}}, "either `from`"),
        ("training", {"from": "2022-01-01", "until": "2021-01-01"}, "until"),
        ("calendar", {"subdivision": "SP"}, "without country"),
        ("calendar", {"country": "XX"}, "no country 'XX'"),
        ("calendar", {"country": "BR", "subdivision": "UF"}, "no subdivision 'UF'"),
        ("calendar", {"country": "BR", "categories": ["foo"]}, "'foo'"),
        ("models", ["seasonal_naive", {"name": "local_level", "foo": 3}], "no parameter 'foo'"),
        ("models", ["seasonal_naive", {"name": "lightgbm", "n_estimators": "many"}], "'many'"),
        ("models", ["seasonal_naive", {"name": "lightgbm", "lags": [0]}], "'lags'"),
        ("models", ["seasonal_naive", {"name": "t", "darts": "TideModel"}], "TiDEModel"),
        ("models", ["seasonal_naive", {"name": "t", "kind": "darts"}], "not a model of Darts"),
        ("models", ["seasonal_naive", {"name": "t", "kind": "tft", "darts": "X"}], "`kind`"),
        ("models", ["seasonal_naive", {"name": "tft", "hidden": 3}], "no parameter 'hidden'"),
        ("accelerator", "tpu", "accelerator"),
        ("models", [], "models"),
        ("forecast.quantiles", [0.1, 0.1000001], "quantiles"),
        ("series", 3, "series: should be a mapping"),
        ("source.sales.columns", {"store_id": "a", "sales": "c"}, "source.sales.columns.date: "),
        ("validation.step", "weekly", "validation.step: "),
        ("source.sales.date_format", "%d/%b/%Y", "source.sales.date_format: '%d/%b/%Y' has %b"),
        ("source.sales.date_format", "%d/%m", "does not say a day"),
        ("source.sales.watermark_format", "%c", "source.sales.watermark_format: '%c' has %c"),
    ],
)
def test_what_contradicts_itself_is_refused(path: str, value: Any, says: str) -> None:
    error = refused(changed(path, value))
    assert error.code is Code.CONFIG_INVALID
    assert says in error.message


def test_a_darts_model_is_named_by_its_class_and_the_accelerator_is_told() -> None:
    tide = {"name": "tide", "darts": "TiDEModel", "hidden_size": 8}
    config = parse_config({**changed("models", ["seasonal_naive", tide]), "accelerator": "cpu"})
    assert (config.models[1].name, config.models[1].kind) == ("tide", "darts")
    assert config.models[1].parameters == {"darts": "TiDEModel", "hidden_size": 8}
    assert config.accelerator == "cpu"
    assert parse_config(MINIMAL).accelerator == "auto"


def test_two_columns_that_become_one_are_an_error() -> None:
    raw = changed("source.stores", {
        "from": "LOJAS", "columns": {"store_id": "S"}, "attributes": ["Região", "regiao"],
    })  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        parse_config(raw).layout()
    assert caught.value.code is Code.COLUMN_NAMES_COLLIDE


def test_a_missing_variable_is_named_and_a_set_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "storecast.yaml"
    file.write_text(yaml.safe_dump(changed("source.path", "${SALES_DB}")))
    monkeypatch.delenv("SALES_DB", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert caught.value.code is Code.CONFIG_VARIABLE_MISSING
    assert "SALES_DB" in caught.value.message
    monkeypatch.setenv("SALES_DB", "a.db")
    assert load_config(file).source.path == "a.db"


def test_a_secret_is_in_no_repr_dump_hash_or_error() -> None:
    raw = changed("source.password", "hunter2-x")
    error = refused(raw)
    assert "hunter2-x" not in str(error.as_dict())


def test_yaml_traps(tmp_path: Path) -> None:
    file = tmp_path / "storecast.yaml"
    file.write_text(yaml.safe_dump(changed("calendar.country", "BR")) + "project: again\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert "written twice" in caught.value.message
    file.write_text(yaml.safe_dump(MINIMAL) + "calendar: {country: NO}\n")
    assert load_config(file).calendar.country == "NO"


def test_set_overrides_a_key(tmp_path: Path) -> None:
    file = tmp_path / "storecast.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    config = load_config(file, ["forecast.horizon=8", "training.from=2021-01-01"])
    assert config.forecast.horizon == 8
    assert config.training.from_ == date(2021, 1, 1)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file, ["forecast.horizon"])
    assert caught.value.code is Code.USAGE


def test_a_covariate_of_one_name_in_two_tables_names_both() -> None:
    table = {"columns": {"store_id": "L", "date": "D"}, "known": {"promo": {"ahead": 14}}}
    raw = changed("source.covariates", [{"from": "ONE", **table}, {"from": "TWO", **table}])
    with pytest.raises(ConfigurationError) as caught:
        parse_config(raw).layout()
    error = caught.value
    assert error.code is Code.COLUMN_NAMES_COLLIDE
    assert "'promo' of source.covariates[1] (TWO) becomes 'promo'" in error.message
    assert "the name of 'promo' of source.covariates[0] (ONE) too" in error.message
    assert error.where == "source.covariates[1] (TWO): promo"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%d/%m/%Y", "%d/%m/%Y"),
        ("@home", "@home"),
        ("a: b: c", "a: b: c"),
        ("*star", "*star"),
        ("2021-13-45", "2021-13-45"),
        ("bell\x07", "bell\x07"),
    ],
)
def test_a_set_value_that_is_no_yaml_is_the_text_that_it_is(
    tmp_path: Path, text: str, value: str
) -> None:
    file = tmp_path / "storecast.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    assert load_config(file, [f"source.sales.from={text}"]).source.sales.from_ == value


@pytest.mark.parametrize("value", ["[a", "{a: 1", '"a', "'a", "{[a]: b}", "{a: 1, a: 2}", " [a"])
def test_a_set_value_that_begins_as_yaml_and_is_none(tmp_path: Path, value: str) -> None:
    file = tmp_path / "storecast.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(ConfigurationError) as caught:
        load_config(file, [f"source.sales.from={value}"])
    assert caught.value.code is Code.CONFIG_INVALID
    assert "--set source.sales.from" in caught.value.message
    assert caught.value.found is None, "it may be a password"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("line", ["training: {from: 2021-13-45}", "? [a]\n: b", "project: [a"])
def test_a_file_that_yaml_cannot_read(tmp_path: Path, line: str) -> None:
    file = tmp_path / "storecast.yaml"
    file.write_text(f"{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert caught.value.code is Code.CONFIG_INVALID


def test_the_configuration_is_frozen() -> None:
    config = parse_config(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.project = "x"  # type: ignore[misc]


def test_the_hash_follows_the_content() -> None:
    one, same = parse_config(MINIMAL), parse_config(copy.deepcopy(MINIMAL))
    other = parse_config(changed("models", [{"name": "lightgbm", "lags": 3}, "seasonal_naive"]))
    assert one.hash() == same.hash() != other.hash()


def test_accents_in_names_are_normalised_in_our_tables() -> None:
    raw = changed("source.covariates", [{
        "from": "C", "columns": {"store_id": "L", "date": "D"},
        "known": {"Promoção": {"ahead": 14}}, "realised": ["Nº clientes"],
    }])  # fmt: skip
    rules = parse_config(raw).rules()
    assert rules.known["promocao"].ahead == 14
    assert rules.realised == ("no_clientes",)


def test_the_json_schema_names_every_section() -> None:
    from storecast.configfile import json_schema

    assert set(json_schema()["properties"]) == {
        f.alias or n for n, f in Config.model_fields.items()
    }


def test_a_fault_names_keys_of_the_file_and_nothing_of_the_library() -> None:
    raw = changed("validation.step", 0)
    raw["source"]["sales"]["through"] = 3.5
    raw["series"] = {"mask": [["2021-01-01"]]}
    message = refused(raw).message
    for word in ("LoadLog", "constrained", "tuple", "instance", "function"):
        assert word not in message, message


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("forecaster", "main.storecast.forecaster"),
        ("ml.forecaster", "main.ml.forecaster"),
        ("prod.ml.lojas-br", "prod.ml.lojas-br"),
    ],
)
def test_a_model_s_name_has_three_levels_on_every_platform(given: str, name: str) -> None:
    assert parse_config({**MINIMAL, "mlflow": {"model_name": given}}).model_name() == name


@pytest.mark.parametrize("given", ["a.b.c.d", "a..c", "", "a b", "a/b", "models:/a", ".a"])
def test_a_model_s_name_that_no_registry_takes_is_refused(given: str) -> None:
    error = refused({**MINIMAL, "mlflow": {"model_name": given}})
    assert (error.code, "mlflow.model_name" in error.message) == (Code.CONFIG_INVALID, True)


@pytest.mark.parametrize("value", ["-1d", "1h", "one"])
def test_a_duration_that_is_none_says_how_one_is_written(value: str) -> None:
    raw = changed("source.sales.overlap", value)
    raw["source"]["sales"]["watermark"] = "MUDADO"
    assert f"write whole days, as 1d; there is '{value}'" in refused(raw).message
