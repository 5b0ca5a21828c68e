"""What a validation is going to do, and the id that follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

import storecast
from storecast.artifact.unified import fingerprint
from storecast.backtest import identity
from storecast.backtest.choosing import Split
from storecast.backtest.identity import package_digest, weights_of
from storecast.backtest.spans import Spans, check_days
from storecast.backtest.tuning import Tuned, TuningWindows
from storecast.core.window import cutoffs as cutoffs_of
from storecast.errors import Code, ConfigurationError, ModelError
from storecast.models.base import Recipe, forecaster_of, is_foreign, recipes_of
from storecast.models.ensemble import computed

if TYPE_CHECKING:
    from storecast.config import Config
    from storecast.core.panel import History
    from storecast.project import Project

_ROOMS = ("core", "models", "backtest", "validation")
"""Rooms whose code decides what a validation finds."""


@dataclass(frozen=True)
class Plan:
    """What a validation is going to do."""

    validation_id: str
    recipes: tuple[Recipe, ...]
    baseline: Recipe
    cutoffs: tuple[date, ...]
    warmup: int
    shifts: pl.DataFrame | None = None
    """By how many periods each store was moved (``align: series_end``)."""
    tuning: Mapping[str, Tuned] = field(default_factory=dict)
    """What was found for models that were to be tuned; ``recipes`` has it then."""
    spans: Spans | None = None
    """Other first days of training to compare (``compare_from``)."""

    @property
    def tuned_on(self) -> TuningWindows:
        """The windows before the first scored one."""
        return TuningWindows(self.fed, self.cutoffs[self.warmup])

    @property
    def fed(self) -> tuple[date, ...]:
        """Cutoffs that only feed the calibration."""
        return self.cutoffs[: self.warmup]


def planned(project: Project, history: History, models: Sequence[str] | None) -> Plan:
    """The plan of a validation of every configured model, or of ``models`` and the baseline.

    Raises:
        ContractError: HISTORY_TOO_SHORT.
        ConfigurationError: MODEL_UNKNOWN.
        ModelError: NO_VARIATION.
    """
    config = project.config
    recipes = _chosen(project, history, models)
    _refuse_silence(history)
    first_day = history.sales.get_column("date").min()
    wanted = config.validation
    cutoffs = cutoffs_of(
        history.rules,
        history.through,
        config.forecast.horizon,
        wanted.windows,
        wanted.step,
        first_day if isinstance(first_day, date) else history.through,
    )
    baseline = next(r for r in recipes if r.name == wanted.baseline)
    end = history.rules.frequency.last_day(history.rules.frequency.complete(history.through))
    spans = _spans(config, history, cutoffs)
    told: dict[str, Any] = {
        "data": fingerprint(history, end),
        "recipes": {recipe.name: recipe.digest for recipe in recipes},
        "cutoffs": [day.isoformat() for day in cutoffs],
        "step": wanted.step,
        "warmup": wanted.warmup,
        "baseline": wanted.baseline,
        "align": wanted.align,
        "version": storecast.__version__,
        "code": code_digest(),
    }
    if spans is not None:
        told["compare_from"] = [day.isoformat() for day in spans.days]
        told["compared_at"] = [day.isoformat() for day in spans.counted]
    if weights := [w for recipe in computed(recipes) for w in weights_of(recipe)]:
        told["weights"] = weights
    if packages := {
        r.name: package_digest(forecaster_of(r)) for r in computed(recipes) if is_foreign(r)
    }:
        told["packages"] = packages
    text = json.dumps(told, sort_keys=True)
    return Plan(
        validation_id=hashlib.sha256(text.encode()).hexdigest()[:32],
        recipes=tuple(recipes),
        baseline=baseline,
        cutoffs=tuple(cutoffs),
        warmup=wanted.warmup,
        spans=spans,
    )


def _spans(config: Config, history: History, cutoffs: Sequence[date]) -> Spans | None:
    """What ``compare_from`` asks for, at the windows that choose; None where it asks nothing."""
    days = config.other_starts()
    if not days:
        return None
    check_days(days, cutoffs[0], history.rules)
    warmup = config.validation.warmup
    counted = Split.of(cutoffs[warmup:], config.gated().windows or 0).choosing
    return Spans(
        days=days,
        cutoffs=(*cutoffs[:warmup], *counted),
        counted=counted,
        horizon=config.forecast.horizon,
        metric=config.validation.metric,
    )


def _chosen(project: Project, history: History, models: Sequence[str] | None) -> list[Recipe]:
    config = project.config
    configured = recipes_of(config.models, history.rules, config.accelerator, project.root)
    if models is None:
        return configured
    names = [recipe.name for recipe in configured]
    for name in models:
        if name not in names:
            raise ConfigurationError(
                Code.MODEL_UNKNOWN,
                f"there is no model {name!r}",
                where="--models",
                expected=", ".join(names),
                found=name,
                next_step="add it to `models` in storecast.yaml",
            )
    wanted = {*models, config.validation.baseline}
    # an ensemble is made of its members' windows, which are shown as well
    wanted |= {r.name for r in computed([r for r in configured if r.name in wanted])}
    return [recipe for recipe in configured if recipe.name in wanted]


def _refuse_silence(history: History) -> None:
    sales = history.sales.get_column("sales")
    if not (sales.is_not_null() & (sales != 0)).any():
        raise ModelError(
            Code.NO_VARIATION,
            "every sale is zero: there is nothing to learn and nothing to score",
            where="table sales",
            expected="sales other than zero",
            found=f"{sales.len()} rows of zero",
            next_step="check source.sales.columns.sales in storecast.yaml",
        )


def code_digest() -> str:
    """SHA-256 of the code that decides what a validation finds."""
    return identity.code_digest(_ROOMS)
