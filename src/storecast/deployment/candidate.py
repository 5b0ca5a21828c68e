"""What is put to the gate: a recipe fitted on the whole span, packed and registered once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from storecast import lineage
from storecast.artifact.save import save
from storecast.artifact.unified import UnifiedForecaster, fingerprint
from storecast.errors import StorecastError
from storecast.registry.artefacts import packed
from storecast.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from storecast.core.panel import History
    from storecast.deployment.choice import Choice, Validated
    from storecast.project import Project
    from storecast.registry import ModelVersion, Registry
    from storecast.runs import Run

LEVEL, DEPLOYMENT = "storecast.level", "deployment"
"""The tag by which the runs of deployments are told from those of validations in MLflow."""
_SAME = ("recipe", "validation_id", "cutoff", "fingerprint", "model")


@dataclass(frozen=True)
class Candidate:
    """What a deployment puts to the gate.

    Attributes:
        choice: the recipe, and why it was taken.
        cutoff: last day that the final fit knows.
        made_from: tags that say what it is made from; the same work has the same.
    """

    choice: Choice
    cutoff: date
    made_from: Mapping[str, str]

    @classmethod
    def of(cls, choice: Choice, validated: Validated, history: History) -> Candidate:
        """The candidate that a choice becomes on the whole of a history."""
        frequency, recipe = history.rules.frequency, choice.recipe
        cutoff = frequency.last_day(frequency.complete(history.through))
        made_from = {
            "model": recipe.name,
            "kind": recipe.kind,
            "recipe": recipe.digest,
            "configured": validated.configured.get(recipe.name, recipe.digest)
            if choice.validated
            else recipe.digest,
            "validation_id": validated.validation_id,
            "validated": str(choice.validated).lower(),
            "audit": audit_of(validated, choice) or "none",
            "cutoff": cutoff.isoformat(),
            "fingerprint": fingerprint(history, cutoff),
        }
        return cls(choice, cutoff, made_from)

    def is_(self, version: ModelVersion) -> bool:
        """Whether a version was made from the same."""
        return all(version.tags.get(name) == self.made_from[name] for name in _SAME)

    def refreshes(self, champion: ModelVersion) -> bool:
        """Whether the champion has the same recipe, as configured.

        What a recipe learns anew with newer windows (an ensemble's weights, tuned parameters) does
        not make it another one.
        """
        tags = champion.tags
        return tags.get("configured", tags.get("recipe")) == self.made_from["configured"]


def audit_of(validated: Validated, choice: Choice) -> str | None:
    """What the leak audit says of a choice, in one word; None: nothing."""
    verdict = validated.verdicts.get(choice.recipe.name) if choice.validated else None
    return None if verdict is None else verdict.status


def whole(project: Project, version: ModelVersion) -> bool:
    """Whether a version's artefact is there and the one that was registered."""
    try:
        with packed(project, version):
            return True
    except (StorecastError, OSError):
        return False


def registered(
    run: Run,
    project: Project,
    versions: Registry,
    candidate: Candidate,
    validated: Validated,
    history: History,
) -> ModelVersion:
    """The candidate's version: the one that an earlier command registered, or a new one.

    So a deployment that was stopped goes on with its version, and one that was refused does not
    pile up others.
    """
    for version in versions.all():
        if candidate.is_(version) and whole(project, version):
            return version
    recipe = candidate.choice.recipe
    text = f"final fit of {recipe.name}"
    run.progress(text, 0, 1)
    conformal = validated.conformals.get(recipe.name) if candidate.choice.validated else None
    forecaster = UnifiedForecaster.fit(recipe, history, candidate.cutoff, conformal)
    tags = dict(candidate.made_from)
    tags |= {"stores": str(len(forecaster.stores)), "run_id": run.run_id}
    tags |= lineage.of_deployment(run, project)
    made = _logged(project, versions, forecaster, tags, validated)
    run.progress(text, 1, 1)
    return made


def _logged(
    project: Project,
    versions: Registry,
    forecaster: UnifiedForecaster,
    tags: dict[str, str],
    validated: Validated,
) -> ModelVersion:
    """Pack, log and register, in this order."""
    import mlflow

    from storecast.artifact.packing import log_model
    from storecast.artifact.pyfunc import ARTIFACT

    tracking, recipe = Tracking.of(project), forecaster.recipe
    with tempfile.TemporaryDirectory(dir=project.scratch()) as scratch:
        folder = Path(scratch) / ARTIFACT
        tags = tags | {"digest": save(forecaster, folder)}
        with tracking.active() as client:
            experiment = tracking.experiment_id(client)
            _mend(client, experiment)
            begun = client.create_run(
                experiment,
                run_name=f"deploy {recipe.name} {forecaster.cutoff}",
                tags={f"storecast.{name}": value for name, value in tags.items()}
                | {LEVEL: DEPLOYMENT},
            ).info.run_id
            with mlflow.start_run(run_id=begun):
                mlflow.log_dict(json.loads(recipe.to_json()), "recipe.json")
                for name, value in _scores(validated, recipe.name).items():
                    mlflow.log_metric(name, value)
                info = log_model(folder, forecaster)
    return versions.register(info.model_uri, begun, tags)


def _mend(client: MlflowClient, experiment: str) -> None:
    """Mark what killed deployments left running. Nobody else is at work in this project."""
    for left in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if left.data.tags.get(LEVEL) == DEPLOYMENT:
            client.set_terminated(left.info.run_id, "KILLED")


def _scores(validated: Validated, model: str) -> dict[str, float]:
    from storecast.core.schema import METRICS

    scores = {name: validated.score(model, name) for name in METRICS}
    return {name: value for name, value in scores.items() if value is not None}
