"""The versions of a registered model: what each was made from, and which one serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from storecast.errors import Code, ModelError, RegistryError
from storecast.registry.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS_CHAMPION,
    Aliases,
    Move,
    is_missing,
    normalised,
)
from storecast.tracking import Tracking, reaching

if TYPE_CHECKING:
    from storecast.project import Project


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
    """The versions of one registered model.

    Every method raises RegistryError REGISTRY_UNREACHABLE where MLflow fails.
    """

    def __init__(self, tracking: Tracking, name: str) -> None:
        self._tracking = tracking
        self._client = tracking.client()
        self.name = name
        self.aliases = Aliases(tracking, self._client, name)

    # ------------------------------------------------------------------ looking

    def all(self) -> list[ModelVersion]:
        """Every version, newest first."""
        aliases = self.aliases.all()
        return [self._got(number, aliases) for number in self._numbers()]

    def versions(self) -> list[dict[str, Any]]:
        """Every version, newest first, as plain values."""
        return [v.as_dict() for v in self.all()]

    def version(self, number: str | None = None) -> ModelVersion:
        """A version by its number or by an alias; None: the champion.

        Raises:
            ModelError: MODEL_UNKNOWN.
            RegistryError: NO_CHAMPION.
        """
        wanted = CHAMPION if number is None else str(number)
        numbers, aliases = self._numbers(), self.aliases.all()
        by_alias = {normalised(alias): at for alias, at in aliases.items()}
        found = by_alias.get(normalised(wanted), wanted)
        if found in numbers:
            return self._got(found, aliases)
        if normalised(wanted) == normalised(CHAMPION):
            raise no_champion(self.name)
        raise ModelError(
            Code.MODEL_UNKNOWN,
            f"{self.name} has no version {wanted}",
            where=self.name,
            expected=f"one of {', '.join(numbers) or 'none'}",
            found=wanted,
            next_step="storecast models list",
        )

    def champion(self) -> ModelVersion | None:
        """The version that carries the alias Champion, if one does."""
        aliases = self.aliases.all()
        number = aliases.get(CHAMPION)
        return None if number is None else self._got(number, aliases)

    def previous(self) -> ModelVersion | None:
        """The version that a rollback would go back to.

        None where no version was the champion before, and where PreviousChampion is on the
        champion: after a rollback, or after a promotion that was killed half-way.
        """
        aliases = self.aliases.all()
        number = aliases.get(PREVIOUS_CHAMPION)
        if number is None or number == aliases.get(CHAMPION):
            return None
        return self._got(number, aliases)

    def challenger(self) -> ModelVersion | None:
        """The version that carries the alias Challenger, if one does."""
        aliases = self.aliases.all()
        number = aliases.get(CHALLENGER)
        return None if number is None else self._got(number, aliases)

    # ------------------------------------------------------------------ writing

    def register(self, source: str, mlflow_run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Make a logged model a version.

        Args:
            source: MLflow's address of the logged model.
            mlflow_run_id: the MLflow run that logged it.
            tags: what it was made from.
        """
        from mlflow.exceptions import MlflowException

        # active: MLflow looks the logged model up at its global addresses
        with self._tracking.active() as client:
            try:
                client.get_registered_model(self.name)
            except MlflowException as fault:
                if not is_missing(fault):
                    raise
                client.create_registered_model(self.name)
            made = client.create_model_version(
                self.name, source, run_id=mlflow_run_id, tags=dict(tags)
            )
        return _version(made, self.name, {})

    def tag(self, number: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or give them other values.

        Args:
            number: the version.
            tags: names of letters, digits and underscores, which every registry takes.
        """
        with reaching(self._tracking.registry):
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, number, key, value)

    def promote(self, number: str) -> Move:
        """Make a version the champion, and the champion the previous one.

        PreviousChampion is set first, then Champion, each read back; a Challenger that becomes
        the champion is none any more. Promoting the champion changes nothing.

        Raises:
            RegistryError: ALIAS_NOT_SET.
        """
        return self.aliases.promote(number)

    def challenge(self, number: str) -> None:
        """Give a version the alias Challenger.

        Raises:
            RegistryError: ALIAS_NOT_SET.
        """
        self.aliases.point(CHALLENGER, number)

    def rollback(self) -> Move:
        """Give Champion back to the version that had it before.

        Raises:
            Refusal: NO_PREVIOUS_CHAMPION.
            RegistryError: ALIAS_NOT_SET.
        """
        return self.aliases.rollback()

    # ------------------------------------------------------------------ inside

    def _numbers(self) -> list[str]:
        """Of every version, newest first."""
        quoted = self.name.replace("'", "''")
        numbers: list[int] = []
        token: str | None = None
        with reaching(self._tracking.registry):
            while True:
                page = self._client.search_model_versions(f"name='{quoted}'", page_token=token)
                numbers += [int(found.version) for found in page]
                token = page.token
                if not token:
                    break
        return [str(number) for number in sorted(numbers, reverse=True)]

    def _got(self, number: str, aliases: Mapping[str, str]) -> ModelVersion:
        """One version with its tags, which Unity Catalog's search leaves out."""
        with reaching(self._tracking.registry):
            found = self._client.get_model_version(self.name, number)
            return _version(found, self.name, aliases)


def of(project: Project) -> Registry:
    """The registry of a project's model.

    Raises:
        RegistryError: REGISTRY_UNREACHABLE.
    """
    return Registry(Tracking.of(project), project.config.model_name())


def table(versions: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Versions, as ``Registry.versions`` gives them, side by side for people."""
    return pl.DataFrame(
        [
            {
                "version": v["version"],
                "aliases": ", ".join(v["aliases"]),
                "model": v["tags"].get("model", ""),
                "cutoff": v["tags"].get("cutoff", ""),
                "gate": v["tags"].get("gate", ""),
                "audit": v["tags"].get("audit", ""),
                "deployed_at": v["tags"].get("deployed_at", v["created_at"]),
                "deployed_by": v["tags"].get("deployed_by", ""),
            }
            for v in versions
        ]
    )


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


def _version(found: Any, name: str, aliases: Mapping[str, str]) -> ModelVersion:
    """``name`` as the configuration spells it: Unity Catalog answers in lower case."""
    number = str(found.version)
    return ModelVersion(
        name=name,
        number=number,
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        mlflow_run_id=found.run_id or None,
        aliases=tuple(sorted(alias for alias, at in aliases.items() if at == number)),
        tags=dict(found.tags),
    )
