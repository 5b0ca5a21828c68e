"""What stands below a regression of Darts, as plain bytes and back; never a pickle.

LightGBM's text, XGBoost's universal binary JSON, and for scikit-learn skops with none but the types
that skops itself trusts: a tree of scikit-learn's is none of them, since whoever reads one follows
its indices without a look.
"""

from __future__ import annotations

from typing import Any, Final

from storecast.errors import Code, ModelError
from storecast.models.trees import LIBRARIES

_NATIVE: Final = {"LGBMRegressor": "lightgbm", "XGBRegressor": "xgboost"}


def to_bytes(model: str, estimator: Any) -> tuple[str, bytes]:
    """A file name, of which the suffix says the form, and the bytes of a fitted estimator.

    Args:
        model: the name of the model that it is for.
        estimator: as Darts has it.

    Raises:
        ModelError: MODEL_FAILED where there is no form for it.
    """
    kind = type(estimator).__name__
    if kind == "LGBMRegressor":
        return "regression.txt", str(estimator.booster_.model_to_string()).encode()
    if kind == "XGBRegressor":
        return "regression.ubj", bytes(estimator.get_booster().save_raw("ubj"))
    if not type(estimator).__module__.startswith("sklearn."):
        raise _unpacked(model, kind, "an estimator of scikit-learn, LightGBM or XGBoost")
    import skops.io

    content: bytes = skops.io.dumps(estimator)
    strange = skops.io.get_untrusted_types(data=content)
    if strange:
        raise _unpacked(model, kind, f"types that skops trusts; it has {', '.join(strange)}")
    return "regression.skops", content


def put_back(estimator: Any, name: str, content: bytes) -> Any:
    """The estimator of ``to_bytes``: the one kept, or ``estimator`` with what the kept one learnt.

    Raises:
        ModelError: ARTIFACT_FILE_REFUSED where a file names types that skops does not trust.
    """
    kind = _NATIVE.get(type(estimator).__name__)
    if kind is not None:
        estimator._Booster = LIBRARIES[kind].read(content).booster  # type: ignore[attr-defined]
        return estimator
    import skops.io

    strange = skops.io.get_untrusted_types(data=content)
    if strange:
        raise ModelError(
            Code.ARTIFACT_FILE_REFUSED,
            f"{name} of the artefact names types that skops does not trust",
            where=name,
            expected="types of scikit-learn and NumPy that skops trusts",
            found=", ".join(strange),
            next_step="validate and deploy again",
        )
    return skops.io.loads(content, trusted=[])


def _unpacked(model: str, kind: str, expected: str) -> ModelError:
    return ModelError(
        Code.MODEL_FAILED,
        f"the model {model!r} cannot be packed: its {kind} has no form but a pickle",
        where=f"models: {model}",
        expected=expected,
        found=kind,
        next_step="deploy another model with `storecast deploy --model NAME`",
    )
