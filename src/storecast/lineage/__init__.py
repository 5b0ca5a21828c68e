"""Where a model version and a forecast come from: recorded at the deployment, traced back after."""

from storecast.lineage.championship import changes, recorded_champion
from storecast.lineage.recording import code_version, of_deployment, operator

__all__ = ["changes", "code_version", "of_deployment", "operator", "recorded_champion"]
