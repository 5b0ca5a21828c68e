"""Errors: every code documented and stable, every field kept, every message bounded."""

from __future__ import annotations

import pickle
import re

import pytest

from storecast import errors
from storecast.errors import Code, StorecastError


def subclasses(cls: type[StorecastError]) -> list[type[StorecastError]]:
    return [cls, *(s for child in cls.__subclasses__() for s in subclasses(child))]


@pytest.mark.parametrize("code", list(Code))
def test_a_code_is_upper_snake_equals_its_name_and_is_documented(code: Code) -> None:
    assert code.value == code.name
    assert re.fullmatch(r"[A-Z][A-Z_]+", code.value)
    assert code.description.endswith(".")


@pytest.mark.parametrize("cls", subclasses(StorecastError))
def test_an_error_comes_back_whole_from_a_worker_process(cls: type[StorecastError]) -> None:
    sent = cls(Code.NULL_KEY, "m", where="w", expected="e", found="f", next_step="n")
    came = pickle.loads(pickle.dumps(sent))
    assert type(came) is cls
    assert came.as_dict() == sent.as_dict()
    assert came.exit_code == sent.exit_code


def test_the_docstring_draws_every_class_with_its_exit_code() -> None:
    for cls in subclasses(StorecastError):
        line = next(x for x in str(errors.__doc__).splitlines() if cls.__name__ in x)
        assert re.search(rf"\b{cls.exit_code}\b", line), line


def test_a_message_is_bounded() -> None:
    error = StorecastError(Code.INTERNAL, "x" * 10_000, found="y" * 10_000)
    assert len(str(error)) < 700
    assert len(error.as_dict()["found"]) <= 600
