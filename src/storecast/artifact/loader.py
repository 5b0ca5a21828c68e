"""What MLflow runs to load a model: packed beside the artefact as its code, no pickle."""

from mlflow.models import set_model

from storecast.artifact.pyfunc import StoreForecaster

set_model(StoreForecaster())
