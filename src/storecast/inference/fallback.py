"""Who forecasts: the champion, and where it cannot, the links of the fallback chain in order.

A link takes what it covers, and what is left goes to the next one. The champion, the previous
champion and the seasonal naive cover everything or fail. The last forecast covers the stores of
which it has at least half of the new horizon: a store of which it has less would be a patchwork,
and goes to the next link whole. Each row says where it comes from (``origin``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from storecast import registry
from storecast.artifact.unified import output_schema
from storecast.errors import Code, ModelError, RegistryError, StorecastError
from storecast.inference.naive import naive
from storecast.inference.scoring import said, score
from storecast.models.base import POINTS, quantile_columns

if TYPE_CHECKING:
    from storecast.core.panel import History
    from storecast.core.window import Window
    from storecast.project import Project
    from storecast.registry import ModelVersion

log = logging.getLogger(__name__)

CHAMPION, PREVIOUS, LAST, NAIVE, EMPTY = (
    "champion", "previous_champion", "last_forecast", "seasonal_naive", "empty",
)  # fmt: skip
BY_MODEL = (CHAMPION, PREVIOUS, LAST)
"""Origins whose rows a registered version made."""
ENOUGH = 0.5
"""The share of a store's new horizon that the last forecast must cover."""
UNKNOWN = "unknown"
"""The version of rows that none made, where the champion is not known either."""
_KEYS = ["store_id", "date"]


@dataclass(frozen=True)
class Task:
    """What is to be forecast, and with what.

    Attributes:
        project: whose.
        champion: the version that serves, or why it cannot be told.
        history: what the tables, or a file, say.
        window: cut from it.
        rows: the same as flat rows.
        latest: ``forecasts_latest`` as earlier runs left it; None: no forecast was made yet.
    """

    project: Project
    champion: ModelVersion | StorecastError
    history: History
    window: Window
    rows: pl.DataFrame
    latest: pl.DataFrame | None

    @property
    def version(self) -> str:
        """The champion's number, where it is known."""
        return UNKNOWN if isinstance(self.champion, StorecastError) else self.champion.number


@dataclass
class Answer:
    """What came of it.

    Attributes:
        rows: of ``output_schema``, with ``origin`` and ``model_version``; sorted.
        failures: each link that was asked and failed, with its reason.
        trained_through: last day that the training of a version knew, by origin.
    """

    rows: pl.DataFrame
    failures: dict[str, str] = field(default_factory=dict)
    trained_through: dict[str, date] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """What the champion died of."""
        return self.failures.get(CHAMPION)

    @property
    def origins(self) -> dict[str, int]:
        """Rows by origin."""
        counted = self.rows.group_by("origin", maintain_order=True).len()
        return dict(sorted(counted.iter_rows()))


Link = Callable[[Task, Answer], pl.DataFrame]


def answered(task: Task, chain: tuple[str, ...]) -> Answer:
    """Ask the champion, then each link of ``chain`` for what is left.

    Raises:
        StorecastError: FORECAST_FAILED where the chain does not end in ``empty`` and something
            is left that no link covers.
    """
    shape = {**output_schema(task.window.past.rules), **dict.fromkeys(_MARKS, pl.String())}
    answer = Answer(pl.DataFrame(schema=shape))
    left = task.window.future.rows.select(_KEYS)
    for name in (CHAMPION, *chain):
        if name == EMPTY or (left.is_empty() and name != CHAMPION):
            left = left.clear()
            break
        try:
            rows = LINKS[name](task, answer)
        except Exception as fault:  # noqa: BLE001 - the next link is the answer to any failure
            answer.failures[name] = said(fault)
            log.error("%s did not forecast: %s", name, said(fault))  # noqa: TRY400
            continue
        rows = rows.with_columns(origin=pl.lit(name)).join(left, on=_KEYS, how="semi")
        answer.rows = pl.concat([answer.rows, rows.select(*shape)])
        left = left.join(rows, on=_KEYS, how="anti")
    if left.height:
        raise _nobody_left(answer.failures, chain, left)
    answer.rows = answer.rows.sort(_KEYS)
    return answer


_MARKS = ("origin", "model_version")


def _nobody_left(
    failures: Mapping[str, str], chain: tuple[str, ...], left: pl.DataFrame
) -> StorecastError:
    return StorecastError(
        Code.FORECAST_FAILED,
        f"nothing forecasts {left.height} store-periods: "
        + "; ".join(f"{name}: {why}" for name, why in failures.items()),
        where="inference.fallback",
        expected="a fallback that forecasts, or empty",
        found=", ".join(chain) or "no fallback",
        next_step="storecast models rollback, storecast deploy again, or add `empty` to "
        "inference.fallback",
    )


# ------------------------------------------------------------------- links


def _champion(task: Task, answer: Answer) -> pl.DataFrame:
    if isinstance(task.champion, StorecastError):
        raise task.champion
    return _by_version(task, answer, CHAMPION, task.champion)


def _previous(task: Task, answer: Answer) -> pl.DataFrame:
    version = registry.of(task.project).previous()
    if version is None:
        raise RegistryError(
            Code.NO_PREVIOUS_CHAMPION,
            "no other version was the champion before",
            where=task.project.config.model_name(),
        )
    return _by_version(task, answer, PREVIOUS, version)


def _by_version(task: Task, answer: Answer, origin: str, version: ModelVersion) -> pl.DataFrame:
    scored = score(task.project, version, task.rows, task.window)
    answer.trained_through[origin] = scored.trained_through
    return scored.rows.with_columns(model_version=pl.lit(version.number))


def _last(task: Task, answer: Answer) -> pl.DataFrame:  # noqa: ARG001 - a link's contract
    """The newest earlier forecast of a version, of the stores that it covers enough of.

    Its rows keep the cutoff, step and version that they were made with; what is known by now to
    be closed is zero.
    """
    if task.latest is None:
        raise ModelError(Code.FORECAST_FAILED, "there is no earlier forecast")
    window, rules = task.window, task.window.past.rules
    numbers = [*POINTS, *quantile_columns(rules)]
    asked = window.future.rows.select(*_KEYS, "closed")
    found = (
        task.latest.filter((pl.col("cutoff") <= window.cutoff) & pl.col("origin").is_in(BY_MODEL))
        .select(*_KEYS, "cutoff", "step", *numbers, "model_version")
        .drop_nulls()
        .join(asked, on=_KEYS, how="inner")
    )
    enough = found.filter(pl.len().over("store_id") >= ENOUGH * window.horizon)
    if enough.is_empty():
        raise ModelError(
            Code.FORECAST_FAILED,
            f"the earlier forecasts cover of no store {ENOUGH:.0%} of the horizon",
        )
    shut = pl.col("closed")
    return enough.with_columns(
        *(pl.when(shut).then(0.0).otherwise(name).alias(name) for name in numbers),
        basis=pl.when(shut).then(pl.lit("closed")).otherwise(pl.lit("model")),
    )


def _naive(task: Task, answer: Answer) -> pl.DataFrame:  # noqa: ARG001 - a link's contract
    made = naive(task.history, task.window)
    return made.with_columns(model_version=pl.lit(task.version))


LINKS: Mapping[str, Link] = {
    CHAMPION: _champion,
    PREVIOUS: _previous,
    LAST: _last,
    NAIVE: _naive,
}
