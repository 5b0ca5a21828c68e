"""Where a model version and a forecast come from: recorded at the deployment, traced back after."""

from storecast.lineage.recording import code_version, of_deployment, operator

__all__ = ["code_version", "of_deployment", "operator"]
