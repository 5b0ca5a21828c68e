"""Champion, Challenger, PreviousChampion: moved in one place, for every registry.

MLflow's SQL store keeps an alias as it is written, Unity Catalog in lower case. Nothing else in
the package compares aliases.

Each write is one transaction of the registry and is read back. The order of the writes leaves
Champion on a version at every moment, so that a command that is killed between two of them
harms nobody, and its rerun ends where it would have ended undisturbed:

- ``promote``: PreviousChampion onto the champion, Champion onto the new version, Challenger off it.
- ``rollback``: Champion onto PreviousChampion, which stays: one write. Both aliases are then on
  one version, and there is nothing to go back to until the next promotion. A second rollback is
  refused, so that a command that is started again after a failure never brings back the version
  that was rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storecast.errors import Code, Refusal, RegistryError
from storecast.tracking import Tracking, reaching

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "Champion"
CHALLENGER = "Challenger"
PREVIOUS_CHAMPION = "PreviousChampion"


def normalised(alias: str) -> str:
    """The form in which aliases are compared: Unity Catalog lower-cases, MLflow's stores do not."""
    return alias.casefold()


_NAMES = {normalised(a): a for a in (CHAMPION, CHALLENGER, PREVIOUS_CHAMPION)}


@dataclass(frozen=True)
class Move:
    """What a promotion or a rollback did to Champion.

    Attributes:
        before: the version that was the champion; None: none was.
        after: the version that is.
    """

    before: str | None
    after: str

    @property
    def moved(self) -> bool:
        """Whether another version is the champion now."""
        return self.before != self.after


class Aliases:
    """The aliases of one registered model."""

    def __init__(self, tracking: Tracking, client: MlflowClient, name: str) -> None:
        self._tracking = tracking
        self._client = client
        self._name = name

    def all(self) -> dict[str, str]:
        """Alias, spelt as in this package where it is one of ours, to version number.

        Empty where nothing is registered yet.

        Raises:
            RegistryError: REGISTRY_UNREACHABLE.
        """
        from mlflow.exceptions import MlflowException

        with reaching(self._tracking.registry):
            try:
                model = self._client.get_registered_model(self._name)
            except MlflowException as fault:
                if is_missing(fault):
                    return {}
                raise
        kept: dict[str, Any] = dict(model.aliases)
        return {_NAMES.get(normalised(alias), alias): str(at) for alias, at in kept.items()}

    def at(self, alias: str) -> str | None:
        """The version that carries an alias, whatever its case."""
        kept = {normalised(a): number for a, number in self.all().items()}
        return kept.get(normalised(alias))

    def point(self, alias: str, number: str) -> None:
        """Move an alias to a version and read it back.

        Raises:
            RegistryError: ALIAS_NOT_SET, REGISTRY_UNREACHABLE.
        """
        with reaching(self._tracking.registry):
            self._client.set_registered_model_alias(self._name, alias, number)
        self._read_back(alias, number)

    def drop(self, alias: str) -> None:
        """Take an alias away and read back that it is gone. Raises as ``point``."""
        with reaching(self._tracking.registry):
            self._client.delete_registered_model_alias(self._name, alias)
        self._read_back(alias, None)

    def promote(self, number: str) -> Move:
        """Make a version the champion, and the champion the previous one. Raises as ``point``."""
        champion = self.at(CHAMPION)
        if champion != number:
            if champion is not None:
                self.point(PREVIOUS_CHAMPION, champion)
            self.point(CHAMPION, number)
        if self.at(CHALLENGER) == number:
            self.drop(CHALLENGER)
        return Move(champion, number)

    def rollback(self) -> Move:
        """Give Champion back to the version that had it before.

        Raises:
            Refusal: NO_PREVIOUS_CHAMPION.
            RegistryError: as ``point``.
        """
        kept = self.all()
        champion, previous = kept.get(CHAMPION), kept.get(PREVIOUS_CHAMPION)
        if previous is None or previous == champion:
            raise no_previous(self._name, champion, previous)
        self.point(CHAMPION, previous)
        return Move(champion, previous)

    def _read_back(self, alias: str, wanted: str | None) -> None:
        found = self.at(alias)
        if found == wanted:
            return
        raise RegistryError(
            Code.ALIAS_NOT_SET,
            f"the registry did not keep the alias {alias}",
            where=self._name,
            expected=f"{alias} on version {wanted}" if wanted else f"no alias {alias}",
            found=f"{alias} on version {found}" if found else f"no alias {alias}",
            next_step="check who may set aliases on the model (on Unity Catalog its owner)",
        )


def no_previous(name: str, champion: str | None, previous: str | None) -> Refusal:
    """NO_PREVIOUS_CHAMPION, with what the aliases say."""
    return Refusal(
        Code.NO_PREVIOUS_CHAMPION,
        "there is no champion to go back to: "
        + (
            f"version {champion} is the champion and the previous one alike, after a rollback or "
            "a promotion that did not come to its end"
            if previous is not None
            else "no version was the champion before"
        ),
        where=name,
        expected=f"{PREVIOUS_CHAMPION} on another version than {CHAMPION}",
        found=f"{PREVIOUS_CHAMPION} on version {previous}" if previous else "no such alias",
        next_step="storecast models list, then storecast models promote VERSION",
    )


def is_missing(fault: object) -> bool:
    """Whether MLflow says that there is no such thing."""
    return getattr(fault, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
