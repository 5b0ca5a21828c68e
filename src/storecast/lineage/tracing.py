"""From a forecast to the run, the version, the data, the code and the configuration behind it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast import registry, runs
from storecast.artifact.load import recipe_of
from storecast.core.schema import METRICS
from storecast.errors import Code, InputError, ModelError, StorecastError
from storecast.lineage.championship import changes
from storecast.registry.artefacts import packed

if TYPE_CHECKING:
    from storecast.project import Project
    from storecast.registry import ModelVersion

_FORECASTS = ("forecast_id", "model_name", "model_version", "cutoff", "origin", "created_at",
              "run_id", "store_id", "forecast_mean")  # fmt: skip


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from, and what came of it. Dates are ISO texts, absences None.

    Attributes:
        name, version, aliases, created_at, mlflow_run_id: as the registry has them.
        model, kind: its name in the configuration, and what it is.
        recipe: name, kind, parameters, feature_version, training_from, mask, digest; None where
            the artefact is damaged or out of reach, and ``damage`` says how.
        training: first and last day, stores.
        validation: validation_id, run_id, validated, audit, and a score by metric for the model
            and the baseline.
        gate: what the gate said, by its tags.
        deployment: run_id, by, at, and forced_… where somebody overrode an objection.
        data: fingerprint; Delta version of each table that it was trained on; ingest_run_id.
        code: package_version, code_digest, code_commit.
        configuration: hash, and the values that it stands for, secrets masked.
        championship: each time that it became the champion or ceased to be it.
        forecasts: those made by it, newest first.
        forecast: the one that was asked for, with its run.
        tags: all of the version's.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    created_at: str
    mlflow_run_id: str | None
    model: str | None
    kind: str | None
    recipe: dict[str, Any] | None
    damage: str | None
    training: dict[str, Any]
    validation: dict[str, Any]
    gate: dict[str, str]
    deployment: dict[str, Any]
    data: dict[str, Any]
    code: dict[str, Any]
    configuration: dict[str, Any]
    championship: list[dict[str, Any]]
    forecasts: list[dict[str, Any]]
    forecast: dict[str, Any] | None
    tags: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"aliases": list(self.aliases)}


def trace(
    project: Project, version: str | None = None, *, forecast_id: str | None = None
) -> Lineage:
    """Everything behind a version, or behind a forecast.

    Args:
        project: what ``storecast.load`` gave.
        version: its number, or an alias; None: the champion, or the forecast's.
        forecast_id: of ``forecasts``, or the beginning of one that no other has.

    Raises:
        InputError: FORECAST_UNKNOWN.
        ModelError: MODEL_UNKNOWN.
        RegistryError: NO_CHAMPION, REGISTRY_UNREACHABLE.
    """
    made = _forecasts(project)
    asked = None if forecast_id is None else _asked(made, forecast_id, version)
    wanted = asked["model_version"] if asked is not None and version is None else version
    versions = registry.of(project)
    try:
        found = versions.version(wanted)
    except ModelError as fault:
        if asked is None:
            raise
        raise _of_no_version(asked) from fault
    return _lineage(project, found, made, asked)


def _of_no_version(asked: dict[str, Any]) -> ModelError:
    return ModelError(
        Code.MODEL_UNKNOWN,
        f"the forecast is of no version that the registry has: it came from "
        f"{', '.join(asked['origins'])} while no champion could be asked",
        where=f"forecast {asked['forecast_id']}, run {asked['run_id']}",
        expected="a forecast of a registered version",
        found=f"version {asked['model_version']}",
        next_step="storecast tables show runs: the run says what it read, and with which code",
    )


def _lineage(
    project: Project,
    version: ModelVersion,
    made: list[dict[str, Any]],
    asked: dict[str, Any] | None,
) -> Lineage:
    tags = dict(version.tags)
    recipe, damage = _recipe(project, version)
    return Lineage(
        name=version.name,
        version=version.number,
        aliases=version.aliases,
        created_at=version.created_at.isoformat(timespec="seconds"),
        mlflow_run_id=version.mlflow_run_id,
        model=tags.get("model"),
        kind=tags.get("kind"),
        recipe=recipe,
        damage=damage,
        training={
            "from": recipe["training_from"] if recipe else None,
            "until": tags.get("cutoff"),
            "stores": int(tags["stores"]) if "stores" in tags else None,
        },
        validation=_validation(project, tags),
        gate={name: value for name, value in tags.items() if name.startswith("gate")},
        deployment=_deployment(project, tags),
        data={
            "fingerprint": tags.get("fingerprint"),
            "tables": json.loads(tags.get("data_versions", "{}")),
            "ingest_run_id": tags.get("ingest_run_id"),
        },
        code={n: tags.get(n) for n in ("package_version", "code_digest", "code_commit")},
        configuration=_configuration(project, tags.get("config_hash")),
        championship=[
            c for c in changes(project, version.name) if version.number in (c["from"], c["to"])
        ],
        forecasts=[f for f in made if f["model_version"] == version.number],
        forecast=None if asked is None else _with_its_run(project, asked),
        tags=tags,
    )


# ------------------------------------------------------------------ version


def _recipe(project: Project, version: ModelVersion) -> tuple[dict[str, Any] | None, str | None]:
    """The packed recipe, or what is wrong with the artefact."""
    try:
        with packed(project, version) as folder:
            recipe = recipe_of(folder)
    except StorecastError as fault:
        return None, f"{fault.code.value}: {fault.message}"
    return {**json.loads(recipe.to_json()), "digest": recipe.digest}, None


def _validation(project: Project, tags: dict[str, str]) -> dict[str, Any]:
    wanted = tags.get("validation_id")
    run = next(
        (
            row
            for row in reversed(runs.ledger(project))
            if row["command"] == "validate"
            and row["status"] in runs.COMPLETED
            and row["details"].get("validation_id") == wanted
        ),
        None,
    )
    baseline = project.config.validation.baseline
    return {
        "validation_id": wanted,
        "run_id": run["run_id"] if run is not None else None,
        "validated": tags.get("validated") == "true",
        "audit": tags.get("audit"),
        "scores": _scores(project, wanted, tags.get("model")),
        "baseline": baseline,
        "baseline_scores": _scores(project, wanted, baseline),
    }


def _scores(project: Project, validation_id: str | None, model: str | None) -> dict[str, float]:
    version = runs.named_versions(project).get("backtest_scores")
    if version is None or validation_id is None or model is None:
        return {}
    table = project.tables.scan("backtest_scores", version=version, where="scope = 'overall'")
    found = pl.DataFrame(table.read_all()).filter(
        (pl.col("validation_id") == validation_id) & (pl.col("model") == model)
    )
    scores = found.row(0, named=True) if found.height else {}
    return {name: scores[name] for name in METRICS if scores.get(name) is not None}


def _deployment(project: Project, tags: dict[str, str]) -> dict[str, Any]:
    run_id = tags.get("run_id")
    row = _run(project, run_id)
    return {
        "run_id": run_id,
        "status": row["status"] if row is not None else None,
        "by": tags.get("deployed_by"),
        "at": tags.get("deployed_at"),
        **{name: value for name, value in tags.items() if name.startswith("forced")},
    }


def _configuration(project: Project, config_hash: str | None) -> dict[str, Any]:
    values = None if config_hash is None else runs.configuration(project, config_hash)
    return {"hash": config_hash, "values": values}


def _run(project: Project, run_id: str | None) -> dict[str, Any] | None:
    return next((row for row in runs.ledger(project) if row["run_id"] == run_id), None)


# ---------------------------------------------------------------- forecasts


def _forecasts(project: Project) -> list[dict[str, Any]]:
    """Each forecast of the tables in a row for each version that it is of, newest first."""
    version = runs.named_versions(project).get("forecasts")
    if version is None:
        return []
    rows = pl.DataFrame(
        project.tables.scan("forecasts", version=version, columns=_FORECASTS).read_all()
    )
    made = rows.group_by("forecast_id", "model_version").agg(
        pl.col("model_name", "cutoff", "run_id").first(),
        origins=pl.col("origin").unique().sort(),
        stores=pl.col("store_id").n_unique(),
        rows=pl.len(),
        total=pl.col("forecast_mean").sum(),
        created_at=pl.col("created_at").min(),
    )
    newest = made.sort(
        "created_at", "forecast_id", "rows", "model_version", descending=[True, True, True, False]
    )
    return [_plain(row) for row in newest.iter_rows(named=True)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    cutoff, created = row["cutoff"].isoformat(), row["created_at"].isoformat(timespec="seconds")
    return {**row, "cutoff": cutoff, "created_at": created}


def _asked(made: list[dict[str, Any]], forecast_id: str, version: str | None) -> dict[str, Any]:
    """The forecast, of the version that most of its rows are of, or of the one asked for."""
    parts = [f for f in made if f["forecast_id"].startswith(forecast_id)]
    found = list(dict.fromkeys(f["forecast_id"] for f in parts))
    if len(found) == 1:
        of_it = [f for f in parts if version in (None, f["model_version"])] or parts
        return {**of_it[0], "also_of": [f["model_version"] for f in parts if f is not of_it[0]]}
    raise InputError(
        Code.FORECAST_UNKNOWN,
        f"no forecast has the id {forecast_id!r}"
        if not found
        else f"{len(found)} forecasts have an id that begins with {forecast_id!r}",
        where="forecasts",
        expected="a forecast_id of the table forecasts, or its beginning",
        found=", ".join(list(dict.fromkeys(f["forecast_id"] for f in made))[:5])
        or "no forecast at all",
        next_step="storecast tables show forecasts",
    )


def _with_its_run(project: Project, asked: dict[str, Any]) -> dict[str, Any]:
    row = _run(project, asked["run_id"])
    if row is None:
        return asked
    return {
        **asked,
        "started_at": row["started_at"].isoformat(timespec="seconds"),
        "tables": row["tables_read"],
        "package_version": row["package_version"],
        "configuration": _configuration(project, row["config_hash"]),
    }
