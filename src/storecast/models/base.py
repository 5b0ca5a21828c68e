"""What a model is: fit on a past, predict a future, come back from plain files.

Shapes in this room: N stores, H steps. A *quantile frame* has one row for each row of the
future, in its order: ``store_id, date, step, forecast, forecast_mean`` and, once calibrated, one
column a quantile level.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import polars as pl

from storecast.core.features import FEATURE_VERSION
from storecast.core.schema import quantile_column
from storecast.errors import Code, ModelError

if TYPE_CHECKING:
    from storecast.core.panel import SeriesRules
    from storecast.core.window import Future, Past

ENTRY_POINTS = "storecast.models"
KEY = ("store_id", "date", "step")
POINTS = ("forecast", "forecast_mean")


@dataclass(frozen=True)
class Recipe:
    """All that decides what a model becomes, given a history and a cutoff.

    ``parameters`` are JSON-able; ``mask`` holds spans of days, both ends inclusive.
    ``tune`` is by how many trials its parameters are still to be tuned, 0 where they stand.
    ``accelerator`` (auto, cpu, gpu) says where torch computes, ``home`` which folder relative
    paths among the parameters are of: they are no part of what a model is, nor of the digest, nor
    of the JSON.
    """

    name: str
    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    feature_version: int = FEATURE_VERSION
    training_from: date = date(1900, 1, 1)
    mask: tuple[tuple[date, date], ...] = ()
    tune: int = 0
    accelerator: str = field(default="auto", compare=False)
    home: str = field(default="", compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the name: what is deployed is found again by it."""
        plain = {k: v for k, v in self._plain().items() if k != "name"}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The recipe as JSON; ``from_json`` gives an equal one back."""
        return json.dumps(self._plain(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild from ``to_json``."""
        plain = json.loads(text)
        return cls(
            name=plain["name"],
            kind=plain["kind"],
            parameters=plain["parameters"],
            feature_version=plain["feature_version"],
            training_from=date.fromisoformat(plain["training_from"]),
            mask=tuple(
                (date.fromisoformat(first), date.fromisoformat(last))
                for first, last in plain["mask"]
            ),
            tune=plain.get("tune", 0),
        )

    def _plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "feature_version": self.feature_version,
            "training_from": self.training_from.isoformat(),
            "mask": [[first.isoformat(), last.isoformat()] for first, last in self.mask],
            **({"tune": self.tune} if self.tune else {}),
        }


class Configured(Protocol):
    """A model as the configuration names it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters."""

    @property
    def trials(self) -> int:
        """By how many trials it is to be tuned."""


def recipes_of(
    models: Sequence[Configured],
    rules: SeriesRules,
    accelerator: str = "auto",
    home: str | Path = "",
) -> list[Recipe]:
    """The recipes of the configured models, as the series' rules make them.

    That of an ensemble holds its members' recipes. ``home`` is the project folder.

    Raises:
        ModelError: MODEL_UNKNOWN, MODEL_FAILED where an ensemble has not the members it names.
    """
    from storecast.models import ensemble

    recipes = [
        Recipe(
            name=model.name,
            kind=model.kind,
            parameters=model.parameters,
            training_from=rules.training_from,
            mask=rules.mask,
            tune=model.trials,
            accelerator=accelerator,
            home=str(home),
        )
        for model in models
    ]
    by_name = {recipe.name: recipe for recipe in recipes}
    for place, model in enumerate(models):
        if model.kind == ensemble.KIND:
            names = ensemble.member_names(model, models)
            recipes[place] = ensemble.with_members(recipes[place], [by_name[n] for n in names])
    return recipes


class Forecaster(Protocol):
    """The whole contract of a model. The horizon is the length of the future."""

    kind: ClassVar[str]
    stateless: ClassVar[bool]
    """True where nothing is learnt before the forecast: a statistical model, store by store."""

    def __init__(self, recipe: Recipe) -> None:
        """Take the recipe; raises ModelError where its parameters are not the kind's."""

    def fit(self, past: Past) -> None:
        """Learn from the past alone."""

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """Forecast every row of ``future``: a quantile frame, in its order."""

    def state(self) -> dict[str, bytes]:
        """What was learnt, as files by name; never a pickle."""

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild a fitted model whose forecasts are equal to the bit."""


def forecaster_class(kind: str) -> type[Forecaster]:
    """The class that serves a kind: our own, or one of an installed package.

    Raises:
        ModelError: MODEL_UNKNOWN.
    """
    from storecast.models.baselines import LocalLevel, SeasonalNaive
    from storecast.models.boosted import LightGBM, XGBoost
    from storecast.models.ensemble import Ensemble
    from storecast.models.neural import NBEATS, TFT
    from storecast.models.statistical import ETS, Theta

    own: dict[str, type[Forecaster]] = {
        SeasonalNaive.kind: SeasonalNaive,
        LocalLevel.kind: LocalLevel,
        LightGBM.kind: LightGBM,
        XGBoost.kind: XGBoost,
        ETS.kind: ETS,
        Theta.kind: Theta,
        NBEATS.kind: NBEATS,
        TFT.kind: TFT,
        Ensemble.kind: Ensemble,
    }
    if kind in own:
        return own[kind]
    offered = entry_points(group=ENTRY_POINTS)
    for point in offered:
        if point.name == kind:
            found: type[Forecaster] = point.load()
            return found
    raise ModelError(
        Code.MODEL_UNKNOWN,
        f"no model of kind {kind!r}",
        expected=", ".join([*own, *(p.name for p in offered)]),
        found=kind,
        next_step=f"a package adds a kind by the entry point {ENTRY_POINTS!r}",
    )


def forecaster_of(recipe: Recipe) -> type[Forecaster]:
    """The class that serves a recipe; for a Darts model, its parameters say which.

    Raises:
        ModelError: MODEL_UNKNOWN, EXTRA_MISSING.
    """
    from storecast.models import darts_classes

    if recipe.kind == darts_classes.KIND:
        return darts_classes.forecaster_of(recipe)
    return forecaster_class(recipe.kind)


def create(recipe: Recipe) -> Forecaster:
    """A fresh model of the recipe's kind (raises MODEL_UNKNOWN, EXTRA_MISSING)."""
    return forecaster_of(recipe)(recipe)


def restore(recipe: Recipe, files: Mapping[str, bytes]) -> Forecaster:
    """A fitted model from the files of its ``state()`` (raises MODEL_UNKNOWN, EXTRA_MISSING)."""
    return forecaster_of(recipe).from_state(recipe, files)


def is_foreign(recipe: Recipe) -> bool:
    """Whether code of another package makes the forecasts: the recipe's class, or a member's."""
    from storecast.models import ensemble

    if recipe.kind == ensemble.KIND:
        return any(is_foreign(member) for member in ensemble.members_of(recipe))
    return not forecaster_of(recipe).__module__.startswith("storecast.")


def is_pretrained(recipe: Recipe) -> bool:
    """Whether the model's own training data may hold what it is tested on."""
    from storecast.models import darts_classes, ensemble

    if recipe.kind == ensemble.KIND:
        return any(is_pretrained(member) for member in ensemble.members_of(recipe))
    return darts_classes.is_pretrained(recipe.kind, recipe.parameters)


def parameters_of(
    name: str, parameters: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The defaults with a model's own parameters over them.

    A value has the kind of its default: a text, a whole number, a number; where the default is
    None (chosen by the series), a positive whole number or a list of such; where it is a tuple,
    one of its texts, of which the first is the default.

    Raises:
        ModelError: MODEL_FAILED where a parameter is not the model's, or of another kind.
    """
    unknown = sorted(set(parameters) - set(defaults))
    if unknown:
        raise ModelError(
            Code.MODEL_FAILED,
            f"model {name!r} has no parameter {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(sorted(defaults)) or 'none'}",
            where=f"models: {name}",
            expected=", ".join(sorted(defaults)) or "no parameter",
            found=", ".join(unknown),
        )
    for key, value in parameters.items():
        if not _fits(value, defaults[key]):
            raise ModelError(
                Code.MODEL_FAILED,
                f"parameter {key!r} of model {name!r} cannot be {value!r}",
                where=f"models: {name}.{key}",
                expected=_like(defaults[key]),
                found=repr(value),
            )
    usual = {key: d[0] if isinstance(d, tuple) else d for key, d in defaults.items()}
    return {**usual, **parameters}


def _like(default: Any) -> str:
    if isinstance(default, tuple):
        return " or ".join(map(repr, default))
    return f"a value like the default, {default!r}"


def _fits(value: Any, default: Any) -> bool:
    if value is None or isinstance(value, bool):
        return value is default is None or isinstance(default, bool)
    if default is None:
        several = value if isinstance(value, list) and value else [value]
        return all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in several)
    if isinstance(default, tuple):
        return value in default
    if isinstance(default, str):
        return isinstance(value, str)
    whole = isinstance(default, int)
    return isinstance(value, int if whole else int | float) and value >= 0


def check_parameters(name: str, kind: str, parameters: Mapping[str, Any]) -> None:
    """Raise as ``parameters_of`` where a model of that kind would not take the parameters.

    Of a Darts model only the class is looked at: its parameters are, before anything runs, when
    it is created, since that imports its libraries.
    """
    from storecast.models import darts_classes

    if kind == darts_classes.KIND:
        darts_classes.check_class(name, parameters.get("darts"))
        return
    # an ensemble has no ``defaults``: its members are checked where all models are known
    defaults = getattr(forecaster_class(kind), "defaults", None)
    if defaults is not None:
        parameters_of(name, parameters, defaults)


def quantile_columns(rules: SeriesRules) -> list[str]:
    """The names of the quantile columns, ascending."""
    return [quantile_column(level) for level in rules.quantiles]


def checked(forecast: pl.DataFrame, future: Future, rules: SeriesRules) -> pl.DataFrame:
    """The gatekeeper: exactly the rows of the future, every number finite.

    Quantile columns may be absent (a model before calibration); one of them calls for all.

    Raises:
        ModelError: MODEL_OUTPUT_INVALID, with the stores that it concerns.
    """
    quantiles = quantile_columns(rules)
    given = [c for c in quantiles if c in forecast.columns]
    wanted = [*KEY, *POINTS, *(quantiles if given else [])]
    missing = [c for c in wanted if c not in forecast.columns]
    if missing:
        own = f" (it has {', '.join(given)}: all of the quantiles, or none)" if given else ""
        named = f"lacks the column{'s'[: len(missing) - 1]} {', '.join(missing)}{own}"
        raise _invalid(named, expected=", ".join(wanted), found=f"no {', '.join(missing)}")
    rows = future.rows
    if forecast.height != rows.height:
        short = rows.join(forecast, on=list(KEY), how="anti")["store_id"].unique().sort().to_list()
        raise _invalid(
            "has the wrong number of rows", short, f"{rows.height} rows", f"{forecast.height}"
        )
    frame = forecast.select(wanted)
    strange = frame.select(
        pl.any_horizontal(
            pl.col(c).cast(rows.schema[c]).ne_missing(rows.get_column(c)) for c in KEY
        )
    ).to_series()
    if strange.any():
        stores = rows.filter(strange)["store_id"].unique().sort().to_list()
        raise _invalid("has other rows, or another order, than the future", stores)
    numbers = wanted[len(KEY) :]
    frame = frame.with_columns(pl.col(c).cast(rows.schema[c]) for c in KEY).with_columns(
        pl.col(numbers).cast(pl.Float64)
    )
    broken = (
        frame.select(
            ~pl.all_horizontal(pl.col(numbers).is_not_null() & pl.col(numbers).is_finite())
        )
        .to_series()
        .fill_null(True)
    )
    if broken.any():
        stores = frame.filter(broken)["store_id"].unique().sort().to_list()
        raise _invalid("has NaN, null or infinity", stores, "finite numbers")
    return frame


def finish(frame: pl.DataFrame, future: Future, rules: SeriesRules) -> pl.DataFrame:
    """The last word on every forecast: floored, closed days exactly zero, quantiles ascending."""
    quantiles = [c for c in quantile_columns(rules) if c in frame.columns]
    if quantiles:
        ascending = np.sort(frame.select(quantiles).to_numpy(), axis=1)
        frame = frame.with_columns(
            pl.Series(name, ascending[:, i]) for i, name in enumerate(quantiles)
        )
    numbers = [*POINTS, *quantiles]
    if rules.non_negative:
        # not clip: it keeps a negative zero
        frame = frame.with_columns(
            pl.when(pl.col(numbers) > 0).then(pl.col(numbers)).otherwise(0.0).name.keep()
        )
    closed = future.rows.get_column("closed")
    if closed.any():
        frame = frame.with_columns(
            pl.when(pl.lit(closed)).then(0.0).otherwise(pl.col(numbers)).name.keep()
        )
    return frame


def _invalid(
    what: str,
    stores: Sequence[str] = (),
    expected: str | None = None,
    found: str | None = None,
) -> ModelError:
    shown = ", ".join(map(repr, stores[:5])) + (
        f" and {len(stores) - 5} more" if stores[5:] else ""
    )
    return ModelError(
        Code.MODEL_OUTPUT_INVALID,
        f"the model's forecast {what}" + (f" for store {shown}" if stores else ""),
        where=shown or None,
        expected=expected,
        found=found,
    )
