"""Where a model version and a forecast come from: recorded at the deployment, traced back after."""

from storecast.lineage.championship import changes, recorded_champion, rolled_back
from storecast.lineage.recording import (
    LONGEST,
    NO_REASON,
    code_version,
    cut,
    forced_tags,
    of_deployment,
    operator,
)

__all__ = [
    "LONGEST",
    "NO_REASON",
    "changes",
    "code_version",
    "cut",
    "forced_tags",
    "of_deployment",
    "operator",
    "recorded_champion",
    "rolled_back",
]
