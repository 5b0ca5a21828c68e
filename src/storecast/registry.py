"""The registered models: versions and aliases. MLflow is the port; case is settled here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from storecast.errors import Code, ModelError, RegistryError
from storecast.tracking import Tracking, reaching

if TYPE_CHECKING:
    from storecast.project import Project

CHAMPION = "Champion"


def normalised(alias: str) -> str:
    """The form in which aliases are compared: Unity Catalog lower-cases, MLflow's stores do not."""
    return alias.casefold()


@dataclass(frozen=True)
class ModelVersion:
    """One registered version.

    ``number`` is a text, as the tables have it. ``tags`` hold what it was made from: model,
    recipe, validation_id, cutoff, fingerprint, digest, …
    """

    name: str
    number: str
    created_at: datetime
    mlflow_run_id: str | None
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "version": self.number,
            "created_at": self.created_at.isoformat(timespec="seconds"),
            "aliases": list(self.aliases),
            "mlflow_run_id": self.mlflow_run_id,
            "tags": dict(self.tags),
        }


class Registry:
    """The versions of one registered model."""

    def __init__(self, tracking: Tracking, name: str) -> None:
        self._tracking = tracking
        self._client = tracking.client()
        self.name = name

    def all(self) -> list[ModelVersion]:
        """Every version, newest first.

        Raises:
            RegistryError: REGISTRY_UNREACHABLE.
        """
        aliases = self._aliases()
        with reaching(self._tracking.registry):
            quoted = self.name.replace("'", "''")
            found = self._client.search_model_versions(f"name='{quoted}'", max_results=1000)
            versions = [_version(v, aliases) for v in found]
        return sorted(versions, key=lambda v: int(v.number), reverse=True)

    def versions(self) -> list[dict[str, Any]]:
        """Every version, newest first, as plain values."""
        return [v.as_dict() for v in self.all()]

    def version(self, number: str | None = None) -> ModelVersion:
        """A version by its number or by an alias; None: the champion.

        Raises:
            ModelError: MODEL_UNKNOWN.
            RegistryError: NO_CHAMPION, REGISTRY_UNREACHABLE.
        """
        wanted = CHAMPION if number is None else str(number)
        versions = self.all()
        for v in versions:
            if v.number == wanted or normalised(wanted) in map(normalised, v.aliases):
                return v
        if normalised(wanted) == normalised(CHAMPION):
            raise no_champion(self.name)
        raise ModelError(
            Code.MODEL_UNKNOWN,
            f"{self.name} has no version {wanted}",
            where=self.name,
            expected=f"one of {', '.join(v.number for v in versions) or 'none'}",
            found=wanted,
            next_step="storecast models list",
        )

    def show(self, number: str | None = None) -> dict[str, Any]:
        """What a version is and where it comes from, as plain values; raises as ``version``."""
        shown = self.version(number).as_dict()
        return {**{k: v for k, v in shown.items() if k != "tags"}, **shown["tags"]}

    def champion(self) -> ModelVersion | None:
        """The version that carries the alias Champion, if one does."""
        champions = [v for v in self.all() if normalised(CHAMPION) in map(normalised, v.aliases)]
        return champions[0] if champions else None

    def register(self, source: str, mlflow_run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Make a logged model a version.

        Args:
            source: MLflow's address of the logged model.
            mlflow_run_id: the MLflow run that logged it.
            tags: what it was made from.

        Raises:
            RegistryError: REGISTRY_UNREACHABLE.
        """
        from mlflow.exceptions import MlflowException

        # active: MLflow looks the logged model up at its global addresses
        with self._tracking.active() as client:
            try:
                client.get_registered_model(self.name)
            except MlflowException as fault:
                if not _is_missing(fault):
                    raise
                client.create_registered_model(self.name)
            made = client.create_model_version(
                self.name, source, run_id=mlflow_run_id, tags=dict(tags)
            )
        return _version(made, {})

    def point(self, alias: str, number: str) -> None:
        """Move ``alias`` to a version and read it back.

        Raises:
            RegistryError: ALIAS_NOT_SET, REGISTRY_UNREACHABLE.
        """
        with reaching(self._tracking.registry):
            self._client.set_registered_model_alias(self.name, alias, number)
        found = self._aliases().get(normalised(alias))
        if found is None or found[1] != number:
            raise RegistryError(
                Code.ALIAS_NOT_SET,
                f"the registry did not keep the alias {alias}",
                where=self.name,
                expected=f"{alias} on version {number}",
                found=f"{alias} on version {found[1]}" if found else f"no alias {alias}",
                next_step="check who may set aliases on the model (on Unity Catalog its owner)",
            )

    def _aliases(self) -> dict[str, tuple[str, str]]:
        """Normalised alias to (alias as the registry has it, version number)."""
        from mlflow.exceptions import MlflowException

        with reaching(self._tracking.registry):
            try:
                model = self._client.get_registered_model(self.name)
            except MlflowException as fault:
                if _is_missing(fault):
                    return {}
                raise
        return {normalised(a): (a, str(v)) for a, v in dict(model.aliases).items()}


def of(project: Project) -> Registry:
    """The registry of a project's model.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    return Registry(Tracking.of(project), project.config.model_name())


def no_champion(name: str) -> RegistryError:
    """NO_CHAMPION for a registered model's name."""
    return RegistryError(
        Code.NO_CHAMPION,
        f"no version of {name} carries the alias {CHAMPION}",
        where=name,
        expected="a deployed model",
        found="none",
        next_step="storecast validate, then storecast deploy",
    )


def _version(found: Any, aliases: Mapping[str, tuple[str, str]]) -> ModelVersion:
    number = str(found.version)
    return ModelVersion(
        name=found.name,
        number=number,
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        mlflow_run_id=found.run_id or None,
        aliases=tuple(sorted(alias for alias, at in aliases.values() if at == number)),
        tags=dict(found.tags),
    )


def _is_missing(fault: Any) -> bool:
    return getattr(fault, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
