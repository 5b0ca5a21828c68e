"""A model registry with Unity Catalog's rules, over MLflow's SQLite store.

Unity Catalog itself cannot run here. What a registry of it refuses, lower-cases or leaves out
is imitated, so that the package's own road runs against it by ``mlflow.registry_uri``::

    uc-rules:////absolute/path/mlflow.db

- A name has three levels; names and aliases are kept, found and answered in lower case.
- A version needs a signature with inputs and outputs.
- An alias is letters, digits, _ and -, and neither ``latest`` nor ``v1``; the model's owner alone
  may set or delete one.
- There are no stages and no latest versions.
- A search filters by name alone, and answers without tags and aliases.
- A tag's key has none of ``. , - = / :``, its value at most 1,000 characters, and there are at most
  50 a version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.entities.model_registry.model_version_search import ModelVersionSearch
from mlflow.entities.model_registry.model_version_tag import ModelVersionTag
from mlflow.entities.model_registry.registered_model_search import RegisteredModelSearch
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._model_registry.utils import _get_store_registry

SCHEME = "uc-rules"
_OWNER = "imitated_owner"
_LEVEL = re.compile(r"[^\s./\\]+")
_PAGE = 2


class UcRulesStore(SqlAlchemyStore):
    """MLflow's SQL store, where Unity Catalog's rules hold."""

    principal = "owner"
    """Who asks; whoever creates a model owns it."""

    def __init__(self, store_uri: str) -> None:
        super().__init__("sqlite" + store_uri.removeprefix(SCHEME))

    # ------------------------------------------------------------------- names

    def create_registered_model(self, name: str, *args: Any, **more: Any) -> RegisteredModel:
        levels = name.split(".")
        if len(levels) != 3 or not all(_LEVEL.fullmatch(level) for level in levels):
            _refused(f"{name!r} is no three-level name")
        made = super().create_registered_model(name.lower(), *args, **more)
        super().set_registered_model_tag(made.name, ModelVersionTag(_OWNER, self.principal))
        return made

    def get_registered_model(self, name: str) -> RegisteredModel:
        return super().get_registered_model(name.lower())

    def get_model_version(self, name: str, version: Any) -> ModelVersion:
        return super().get_model_version(name.lower(), version)

    def get_model_version_download_uri(self, name: str, version: Any) -> str:
        return str(super().get_model_version_download_uri(name.lower(), version))

    # ---------------------------------------------------------------- versions

    def create_model_version(
        self, name: str, source: str, run_id: Any = None, tags: Any = None, *args: Any, **more: Any
    ) -> ModelVersion:
        import mlflow.artifacts

        place = mlflow.artifacts.download_artifacts(artifact_uri=source)
        signature = Model.load(place).signature
        if signature is None or signature.inputs is None or signature.outputs is None:
            _refused("a model needs a signature with inputs and outputs")
        _checked(tags or [])
        return super().create_model_version(name.lower(), source, run_id, tags, *args, **more)

    def set_model_version_tag(self, name: str, version: Any, tag: ModelVersionTag) -> None:
        there = [
            ModelVersionTag(k, v) for k, v in self.get_model_version(name, version).tags.items()
        ]
        _checked([*(t for t in there if t.key != tag.key), tag])
        super().set_model_version_tag(name.lower(), version, tag)

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: Any = None,  # pages are short, so that every caller turns them
        order_by: Any = None,
        page_token: str | None = None,
    ) -> PagedList[ModelVersionSearch]:
        if order_by or re.fullmatch(r"\s*name\s*=\s*'[^']*'\s*", filter_string or "") is None:
            _refused("versions are searched by their model's name alone, in no order")
        page = super().search_model_versions(
            str(filter_string).lower(), _PAGE, page_token=page_token
        )
        bare = [
            ModelVersionSearch(v.name, v.version, v.creation_timestamp, v.last_updated_timestamp)
            for v in page
        ]
        return PagedList(bare, page.token)

    def search_registered_models(
        self, filter_string: Any = None, max_results: Any = 100, order_by: Any = None,
        page_token: Any = None,
    ) -> PagedList[RegisteredModelSearch]:  # fmt: skip
        if filter_string or order_by:
            _refused("registered models can only be listed")
        page = super().search_registered_models(max_results=max_results, page_token=page_token)
        return PagedList([RegisteredModelSearch(m.name) for m in page], page.token)

    def transition_model_version_stage(self, *_: Any, **__: Any) -> NoReturn:
        _refused("there are no stages")

    def get_latest_versions(self, *_: Any, **__: Any) -> NoReturn:
        _refused("there are no latest versions")

    # ----------------------------------------------------------------- aliases

    def set_registered_model_alias(self, name: str, alias: str, version: Any) -> None:
        self._allowed(name)
        super().set_registered_model_alias(name.lower(), alias.lower(), version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._allowed(name)
        super().delete_registered_model_alias(name.lower(), alias.lower())

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        return super().get_model_version_by_alias(name.lower(), alias.lower())

    def _allowed(self, name: str) -> None:
        owner = self.get_registered_model(name).tags.get(_OWNER)
        if owner != self.principal:
            raise MlflowException(
                f"{self.principal} does not own {name} and may not set its aliases",
                PERMISSION_DENIED,
            )


def _checked(tags: list[ModelVersionTag]) -> None:
    if len(tags) > 50:
        _refused("a version has at most 50 tags")
    for tag in tags:
        bad_key = not tag.key or len(tag.key) > 255 or re.search(r"[.,\-=/:]", tag.key)
        if bad_key or tag.key != tag.key.strip():
            _refused(f"the tag's key {tag.key!r} is not allowed")
        if len(tag.value) > 1000 or tag.value != tag.value.strip():
            _refused(f"the value of the tag {tag.key!r} is too long, or begins or ends in a space")


def _refused(message: str) -> NoReturn:
    raise MlflowException(f"Unity Catalog's rules: {message}", INVALID_PARAMETER_VALUE)


@contextmanager
def stranger() -> Iterator[None]:
    """Somebody else asks: not the owner of any model."""
    UcRulesStore.principal = "stranger"
    try:
        yield
    finally:
        UcRulesStore.principal = "owner"


def served() -> None:
    """Let MLflow know the scheme, in this process."""
    _get_store_registry().register(SCHEME, UcRulesStore)
