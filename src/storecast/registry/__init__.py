"""The registered models: versions and aliases. MLflow is the port."""

from storecast.registry.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS_CHAMPION,
    Aliases,
    Move,
    normalised,
)
from storecast.registry.versions import ModelVersion, Registry, no_champion, of, table

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS_CHAMPION",
    "Aliases",
    "ModelVersion",
    "Move",
    "Registry",
    "no_champion",
    "normalised",
    "of",
    "table",
]
