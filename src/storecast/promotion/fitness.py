"""Why a registered version should not be the champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from storecast.artifact import flat
from storecast.artifact.unified import output_schema
from storecast.core.panel import SeriesRules
from storecast.errors import StorecastError
from storecast.registry.artefacts import packed

if TYPE_CHECKING:
    from storecast.project import Project
    from storecast.registry import ModelVersion

_NOT_PASSED = {
    "refused": "the gate refused it",
    "not_enough_evidence": "the gate had not enough evidence for it",
}


@dataclass(frozen=True)
class Objection:
    """One reason against a version: of which kind, and in words."""

    kind: Literal["gate", "audit", "artefact", "frequency", "horizon", "schema"]
    sentence: str


def objections(project: Project, version: ModelVersion) -> list[Objection]:
    """Everything that speaks against making ``version`` the champion of ``project``."""
    return [*judgements(version), *obstacles(project, version)]


def judgements(version: ModelVersion) -> list[Objection]:
    """What the gate and the leak audit said of it, where that was no."""
    found = []
    gate = version.tags.get("gate", "")
    if gate in _NOT_PASSED:
        found.append(Objection("gate", _NOT_PASSED[gate]))
    if version.tags.get("audit") == "failed":
        found.append(Objection("audit", "the leak audit failed it"))
    return found


def obstacles(project: Project, version: ModelVersion) -> list[Objection]:
    """What would keep it from forecasting: a damaged artefact, or one for other data."""
    try:
        with packed(project, version) as folder:
            rules = SeriesRules.from_json((folder / "rules.json").read_text("utf-8"))
    except (StorecastError, OSError) as fault:
        said = fault.message if isinstance(fault, StorecastError) else str(fault)
        return [Objection("artefact", f"its artefact is damaged or out of reach: {said}")]
    return list(_differences(rules, project.config.rules()))


def _differences(packed_for: SeriesRules, wanted: SeriesRules) -> list[Objection]:
    found = []
    if packed_for.frequency != wanted.frequency:
        found.append(
            Objection(
                "frequency",
                f"it forecasts periods of {packed_for.frequency.code}, "
                f"the configuration asks for {wanted.frequency.code}",
            )
        )
    if packed_for.horizon < wanted.horizon:
        found.append(
            Objection(
                "horizon",
                f"it forecasts {packed_for.horizon} periods ahead, "
                f"the configuration asks for {wanted.horizon}",
            )
        )
    found += _lacking("input", _inputs(packed_for), _inputs(wanted))
    found += _lacking("output", set(output_schema(packed_for)), set(output_schema(wanted)))
    return found


def _inputs(rules: SeriesRules) -> set[str]:
    return {column.name for column in flat.columns(rules)}


def _lacking(side: str, there: set[str], wanted: set[str]) -> list[Objection]:
    """Columns of one schema alone; a quantile that nobody asks for any more does no harm."""
    missing = sorted(wanted - there)
    surplus = sorted(there - wanted) if side == "input" else []
    told = [
        f"{word} {', '.join(names)}"
        for word, names in (("lacks", missing), ("has the former", surplus))
        if names
    ]
    return [Objection("schema", f"its {side} {' and '.join(told)}")] if told else []
