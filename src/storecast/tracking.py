"""MLflow's stores: where they stand, and how they are reached.

On the laptop it is an SQLite file in the project folder, artifacts beside it. MLflow is imported
where it is used, its global addresses are set inside ``Tracking.active()`` alone and given back.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storecast.errors import Code, RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from storecast.project import Project

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
HOME_TAG = "storecast.home"
"""Experiment tag: the folder, as a URI, that absolute artifact locations were written for."""

_KIND, _TRAINING = "mlflow.experimentKind", "custom_model_development"
"""By which MLflow's pages show models and their runs, and not what concerns language models."""
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_NOISY = ("mlflow", "alembic")


@dataclass(frozen=True)
class Tracking:
    """Where MLflow's stores stand.

    Attributes:
        tracking_uri: the tracking store; None: ``mlflow.db`` in ``root``.
        registry_uri: the registry; None: the tracking store.
        experiment: the experiment's name.
        root: the project folder, absolute.
    """

    tracking_uri: str | None
    registry_uri: str | None
    experiment: str
    root: Path

    @classmethod
    def of(cls, project: Project) -> Tracking:
        """As the project's configuration has it; the experiment's default is its name."""
        settings = project.config.mlflow
        return cls(
            tracking_uri=settings.tracking_uri,
            registry_uri=settings.registry_uri,
            experiment=settings.experiment or project.config.project,
            root=project.root,
        )

    @property
    def uri(self) -> str:
        """The tracking store's address."""
        return self.tracking_uri or f"sqlite:///{self._database}"

    @property
    def registry(self) -> str:
        """The registry's address."""
        return self.registry_uri or self.uri

    def client(self) -> MlflowClient:
        """A client of both stores, set up for this folder.

        Raises:
            RegistryError: REGISTRY_UNREACHABLE.
        """
        with reaching(self.uri), _quiet():
            from mlflow import MlflowClient

            self.relocate()
            return MlflowClient(self.uri, self.registry)

    @contextmanager
    def active(self) -> Iterator[MlflowClient]:
        """Set MLflow's global addresses to these stores, and give them back at the end.

        Raises:
            RegistryError: REGISTRY_UNREACHABLE, also where the body's MLflow calls fail.
        """
        with reaching(self.uri), _quiet():
            import mlflow

            client = self.client()
            was_set = mlflow.is_tracking_uri_set()  # type: ignore[no-untyped-call]
            before = mlflow.get_tracking_uri() if was_set else None
            registry_before = os.environ.get("MLFLOW_REGISTRY_URI")
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.registry)
            try:
                yield client
            finally:
                # None takes an address away; MLflow's types do not know of it
                mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
                mlflow.set_registry_uri(registry_before)  # type: ignore[arg-type]
                if registry_before is None:
                    os.environ.pop("MLFLOW_REGISTRY_URI", None)

    def experiment_id(self, client: MlflowClient) -> str:
        """The experiment's id; made if missing, its artifacts in the project folder."""
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            if _KIND not in found.tags:
                client.set_experiment_tag(found.experiment_id, _KIND, _TRAINING)
            return str(found.experiment_id)
        place, tags = None, {_KIND: _TRAINING}
        if self.tracking_uri is None:
            place, tags[HOME_TAG] = (self.root / ARTIFACTS).as_uri(), self.root.as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=place, tags=tags))

    def relocate(self) -> int:
        """Follow a project folder that was moved: rewrite the absolute locations in MLflow's store.

        One transaction. Only the store in the project folder is touched, and of it only what lay
        under the folder's earlier place. Returns the number of rewritten values.
        """
        if self.tracking_uri is not None or not self._database.is_file():
            return 0
        with closing(sqlite3.connect(self._database, timeout=30)) as connection:
            homes = self._earlier_homes(connection)
            if not homes:
                return 0
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            try:
                changed = sum(self._move(connection, home) for home in homes)
                connection.execute(
                    "UPDATE experiment_tags SET value = ? WHERE key = ?",
                    (self.root.as_uri(), HOME_TAG),
                )
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        return changed

    def _earlier_homes(self, connection: sqlite3.Connection) -> list[str]:
        if not _columns(connection, "experiment_tags"):
            return []
        rows = connection.execute(
            "SELECT DISTINCT value FROM experiment_tags WHERE key = ? AND value <> ?",
            (HOME_TAG, self.root.as_uri()),
        )
        return [str(value) for (value,) in rows.fetchall()]

    def _move(self, connection: sqlite3.Connection, home: str) -> int:
        """Rewrite one earlier home, as URI and as plain path, in every column that holds it."""
        from urllib.parse import unquote, urlsplit

        pairs = (
            (f"{home}/{ARTIFACTS}", f"{self.root.as_uri()}/{ARTIFACTS}"),
            (f"{unquote(urlsplit(home).path)}/{ARTIFACTS}", str(self.root / ARTIFACTS)),
        )
        changed = 0
        for table, column in _LOCATIONS:
            if column not in _columns(connection, table):
                continue
            for old, new in pairs:
                # names come from _LOCATIONS; substr, since LIKE has wildcards and folds case
                cursor = connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE substr({column}, 1, ?) IN (?, ?) ",
                    (new, len(old) + 1, len(old) + 1, old, f"{old}/"),
                )
                changed += cursor.rowcount
        return changed

    @property
    def _database(self) -> Path:
        return self.root / DATABASE


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Translate what MLflow and its database raise: REGISTRY_UNREACHABLE, REGISTRY_DENIED."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as fault:
        lines = str(fault).splitlines() or [type(fault).__name__]
        if getattr(fault, "error_code", None) == "PERMISSION_DENIED":
            raise RegistryError(
                Code.REGISTRY_DENIED,
                f"MLflow refused it to this user: {_without_secrets(lines[0])}",
                where=_without_secrets(place),
                next_step="ask the model's owner: on Unity Catalog nobody else may set an alias",
            ) from fault
        raise RegistryError(
            Code.REGISTRY_UNREACHABLE,
            f"MLflow could not be read or written: {_without_secrets(lines[0])}",
            where=_without_secrets(place),
            next_step="check mlflow.tracking_uri, the free disk space and the folder's permissions",
        ) from fault


def _without_secrets(text: str) -> str:
    """The text without user and password in any address."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's and Alembic's talk about migrations off the terminal."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
