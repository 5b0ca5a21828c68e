"""A lineage in words, one fact a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from storecast.lineage.tracing import Lineage

_WIDTH = 14
_FORECASTS = 5
_SHORT = 12
_SHARES = ("wape", "bias", "coverage", "wql")


def lines(lineage: Lineage) -> list[str]:
    """For a terminal: sections with a label before each line."""
    told = [_head(lineage)]
    for title, section in (
        ("forecast", _forecast(lineage)),
        ("recipe", _recipe(lineage)),
        ("validation", _validation(lineage)),
        ("gate", _gate(lineage)),
        ("deployment", _deployment(lineage)),
        ("data", _data(lineage)),
        ("code", _code(lineage)),
        ("champion", _championship(lineage)),
        ("forecasts", _forecasts(lineage)),
        ("configuration", _configuration(lineage.configuration)),
    ):
        for number, line in enumerate(section):
            told.append(f"{title if number == 0 else '':<{_WIDTH}}{line}")
    return told


def _head(lineage: Lineage) -> str:
    aliases = f"  [{', '.join(lineage.aliases)}]" if lineage.aliases else ""
    return f"{lineage.name} version {lineage.version}{aliases}"


def _recipe(lineage: Lineage) -> Iterator[str]:
    recipe = lineage.recipe
    if recipe is None:
        yield f"{lineage.model or '?'} ({lineage.kind or '?'}); its artefact cannot be read:"
        yield str(lineage.damage)
        return
    kind = "" if recipe["kind"] == recipe["name"] else f" ({recipe['kind']})"
    yield f"{recipe['name']}{kind}, features of version {recipe['feature_version']}"
    if recipe["parameters"]:
        yield f"parameters {_json(recipe['parameters'])}"
    span = lineage.training
    yield f"trained on {_counted(span['stores'])} stores, {span['from']} to {span['until']}"
    for first, last in recipe["mask"]:
        yield f"without {first} to {last} (series.mask)"
    yield f"digest {recipe['digest'][:_SHORT]}"


def _validation(lineage: Lineage) -> Iterator[str]:
    told = lineage.validation
    by_run = f" of run {told['run_id']}" if told["run_id"] else ""
    yield f"{told['validation_id'] or 'none'}{by_run}"
    if not told["validated"]:
        yield "NOT VALIDATED as it was deployed"
    if told["scores"]:
        yield _scores(told["scores"])
    if told["baseline_scores"] and told["baseline"] != lineage.model:
        yield f"{told['baseline']}: {_scores(told['baseline_scores'])}"
    yield f"leak audit: {told['audit'] or 'unknown'}"


def _scores(scores: dict[str, float]) -> str:
    return "  ".join(
        f"{name} {value:.1%}" if name in _SHARES else f"{name} {value:.3f}"
        for name, value in scores.items()
    )


def _gate(lineage: Lineage) -> Iterator[str]:
    if not lineage.gate:
        yield "not asked"
    for name, value in lineage.gate.items():
        label = name.removeprefix("gate").strip("_")
        yield f"{label}: {value}" if label else value


def _deployment(lineage: Lineage) -> Iterator[str]:
    told = lineage.deployment
    yield f"{told['at'] or lineage.created_at} by {told['by'] or 'unknown'}"
    yield f"run {told['run_id'] or 'unknown'}"
    if "forced_by" in told:
        yield (
            f"FORCED by {told['forced_by']} on {told.get('forced_at')}: "
            f"{told.get('forced_reason')} (over: {told.get('forced_over', 'unknown')})"
        )


def _data(lineage: Lineage) -> Iterator[str]:
    yield _versions(lineage.data["tables"])
    if lineage.data["ingest_run_id"]:
        yield f"ingested by run {lineage.data['ingest_run_id']}"
    yield f"fingerprint {_short(lineage.data['fingerprint'])}"


def _code(lineage: Lineage) -> Iterator[str]:
    told = lineage.code
    commit = f", commit {told['code_commit']}" if told["code_commit"] else ""
    yield f"storecast {told['package_version'] or 'unknown'}{commit}"
    yield f"digest {_short(told['code_digest'])}"


def _configuration(told: dict[str, Any]) -> Iterator[str]:
    yield f"hash {_short(told['hash'])}"
    if told["values"] is None:
        yield "its values are not in the ledger"
        return
    # As in storecast.yaml, without what is empty
    yield from yaml.safe_dump(
        _given(told["values"]), default_flow_style=None, allow_unicode=True, width=100
    ).splitlines()


def _given(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    inner = {name: _given(value) for name, value in values.items()}
    return {name: value for name, value in inner.items() if value not in (None, {}, [])}


def _championship(lineage: Lineage) -> Iterator[str]:
    if not lineage.championship:
        yield "never"
    for change in lineage.championship:
        became = change["to"] == lineage.version
        other = change["from"] if became else change["to"]
        what = f"in the place of version {other}" if became else f"gave way to version {other}"
        what = "as the first" if became and other is None else what
        by = f" by {change['by']}" if change["by"] else ""
        why = f": {change['reason']}" if change["reason"] else ""
        forced = " (forced)" if change["forced"] else ""
        yield f"{change['at']} {what}, {change['command']}{by}{forced}{why}"


def _forecasts(lineage: Lineage) -> Iterator[str]:
    if not lineage.forecasts:
        yield "none yet"
    for made in lineage.forecasts[:_FORECASTS]:
        yield _made(made)
    more = len(lineage.forecasts) - _FORECASTS
    if more > 0:
        yield f"and {more:,} earlier"


def _forecast(lineage: Lineage) -> Iterator[str]:
    made = lineage.forecast
    if made is None:
        return
    yield _made(made)
    yield f"origin {', '.join(made['origins'])}, run {made['run_id']}"
    if made["also_of"]:
        yield f"further rows of it are of version {', '.join(made['also_of'])}"
    if "tables" in made:
        yield f"read {_versions(made['tables'])}"
        same = made["configuration"]["hash"] == lineage.configuration["hash"]
        other = "as deployed" if same else f"hash {_short(made['configuration']['hash'])}"
        yield f"storecast {made['package_version']}, configuration {other}"


def _made(made: dict[str, Any]) -> str:
    return (
        f"{made['forecast_id']} from {made['cutoff']}: {made['rows']:,} rows of "
        f"{made['stores']:,} stores, {made['total']:,.0f} in total, made {made['created_at']}"
    )


def _versions(tables: dict[str, int]) -> str:
    told = ", ".join(f"{name} version {version}" for name, version in sorted(tables.items()))
    return told or "no table versions were recorded"


def _counted(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _short(digest: str | None) -> str:
    return digest[:_SHORT] if digest else "unknown"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
