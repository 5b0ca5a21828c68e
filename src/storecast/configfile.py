"""Reading ``storecast.yaml``: variables, ``--set``, and every fault told at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from storecast.config import NOT_SERVED, Config
from storecast.errors import Code, ConfigurationError, NotServedError

FILE_NAME = "storecast.yaml"


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read ``storecast.yaml``.

    Args:
        path: the file.
        overrides: ``key.path=value`` texts of ``--set``; the value is YAML.

    Raises:
        ConfigurationError: CONFIG_NOT_FOUND, CONFIG_INVALID (all faults at once),
            CONFIG_VARIABLE_MISSING.
        NotServedError: where nothing else is wrong but something is not served yet.
    """
    if not path.is_file():
        raise ConfigurationError(
            Code.CONFIG_NOT_FOUND,
            f"there is no {path.name} in {path.parent.resolve()}",
            where=str(path),
            next_step="storecast init --demo iowa, storecast init --from FILE, or --project DIR",
        )
    try:
        raw = yaml.load(path.read_text("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as fault:
        raise _invalid([("", _first_line(fault))], path) from fault
    if not isinstance(raw, dict):
        raise _invalid([("", "the file must be a mapping of keys to values")], path)
    for override in overrides:
        _override(raw, override)
    return parse_config(_with_variables(raw), path)


def parse_config(raw: Mapping[str, Any], path: Path | None = None) -> Config:
    """Validate a mapping; raises as ``load_config``."""
    where = path or Path(FILE_NAME)
    try:
        return Config.model_validate(raw)
    except ValidationError as fault:
        raise _translated(fault, where) from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, and keeps ``NO`` and ``on`` as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a key must be a text")
        if key.value in seen:
            line = key.start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: the key {key.value!r} is written twice")
        seen.add(key.value)
    return {str(k): v for k, v in loader.construct_mapping(node, deep=True).items()}


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _first_line(fault: Exception) -> str:
    mark = getattr(fault, "problem_mark", None)
    problem = getattr(fault, "problem", None) or str(fault).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


def _override(raw: dict[str, Any], text: str) -> None:
    key, found, value = text.partition("=")
    if not found or not key:
        raise ConfigurationError(
            Code.USAGE,
            f"--set {text!r} is not key.path=value",
            expected="--set forecast.horizon=8",
            next_step="storecast --help; docs/configuration.md lists every key",
        )
    *parents, last = key.split(".")
    place = raw
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigurationError(
                Code.USAGE,
                f"--set {key}: {parent!r} is not a section",
                where=key,
                next_step="storecast --help; docs/configuration.md lists every key",
            )
    place[last] = _set_value(key, value)


def _set_value(key: str, text: str) -> Any:
    """What ``--set`` sets: YAML, or the text itself where it is none (``%d/%m/%Y``)."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as fault:
        if not text.lstrip().startswith(("[", "{", '"', "'")):
            return text
        raise ConfigurationError(
            Code.CONFIG_INVALID,
            f"--set {key}: the value is not YAML: {_first_line(fault)}",
            where=f"--set {key}",
            expected="a plain text, a number, or a closed [list], {mapping} or quoted text",
            next_step="close it, and put the whole option in single quotes",
        ) from fault


_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def _with_variables(raw: Any, where: str = "") -> Any:
    if isinstance(raw, dict):
        return {k: _with_variables(v, f"{where}.{k}".lstrip(".")) for k, v in raw.items()}
    if isinstance(raw, list):
        return [_with_variables(v, f"{where}[{i}]") for i, v in enumerate(raw)]
    return _VARIABLE.sub(lambda m: _variable(m[1], where), raw) if isinstance(raw, str) else raw


def _variable(name: str, where: str) -> str:
    if name.startswith("secret:"):
        raise NotServedError.of("${secret:…} (Databricks secrets)", where)
    if name not in os.environ:
        raise ConfigurationError(
            Code.CONFIG_VARIABLE_MISSING,
            f"the environment variable {name} is not set",
            where=where,
            next_step=f"export {name}=…",
        )
    return os.environ[name]


def _translated(fault: ValidationError, path: Path) -> ConfigurationError:
    told: dict[str, list[str]] = {}
    for error in fault.errors(include_url=False, include_input=False):
        where, text = _fault(error)
        told.setdefault(where, []).append(text)
    # Each branch of a union has its own complaint of one value.
    faults = [(where, "; or: ".join(dict.fromkeys(texts))) for where, texts in told.items()]
    unserved = [(w, t.removeprefix(NOT_SERVED)) for w, t in faults if NOT_SERVED in t]
    wrong = [(w, t) for w, t in faults if NOT_SERVED not in t]
    if not wrong:
        return NotServedError(
            Code.NOT_SERVED,
            "; ".join(f"{w}: {t}" for w, t in unserved),
            where=f"{path.name}: {', '.join(w for w, _ in unserved)}",
            next_step="leave it out; CHANGELOG.md says which version brings it",
        )
    return _invalid([*wrong, *unserved], path)


def _invalid(faults: Sequence[tuple[str, str]], path: Path) -> ConfigurationError:
    return ConfigurationError(
        Code.CONFIG_INVALID,
        "\n".join(f"{where}: {text}" if where else text for where, text in faults),
        where=f"{path.name}: {', '.join(w for w, _ in faults if w)}" if faults[0][0] else str(path),
        next_step="mend the file; docs/configuration.md lists every key",
    )


_PATTERNS = {
    "series.frequency": "D, W-SUN … W-SAT, MS or ME",
    "validation.step": "MS, D, W-SUN … W-SAT, or a number of periods",
    "calendar.country": "a country's ISO 3166 code of two capitals, such as BR",
    "currency": "an ISO 4217 code of three capitals, such as BRL",
    "project": "a name of letters, digits, - and _ that begins with a letter",
    "catalog": "a name of letters, digits and _",
    "schema": "a name of letters, digits and _",
    "mlflow.model_name": "model, schema.model or catalog.schema.model, without spaces, / : or \\",
}


def _fault(error: Any) -> tuple[str, str]:
    path, section = _keys(error["loc"], unknown=error["type"] == "extra_forbidden")
    where = ""
    for part in path:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), section, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(section)}"
        return where, f"unknown key; {hint}"
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "model_type":
        text = "should be a mapping of keys to values"
    elif error["type"] == "string_pattern_mismatch" and where in _PATTERNS:
        text = f"should be {_PATTERNS[where]}"
    elif error["type"] == "tuple_type":
        text = "should be a list"
    return where or "(the whole)", text[0].lower() + text[1:] if text[:1] != "N" else text


def _keys(loc: Sequence[Any], *, unknown: bool) -> tuple[list[Any], list[str]]:
    """The parts of a location that stand in the file, and the keys that its section knows.

    Pydantic names the branch of a union in between, which no file holds.
    """
    model: type[BaseModel] | None = Config
    free = False
    path: list[Any] = []
    names = _names(Config)
    for number, part in enumerate(loc):
        field = None if model is None else _field(model, part)
        if field is not None:
            path.append(part)
            free = getattr(field.annotation, "__origin__", None) is dict
            inner = next(_models_in(field.annotation), None)
            names = _names(inner) if inner is not None else names
            model = inner
        elif isinstance(part, int) or free or (unknown and number == len(loc) - 1):
            path.append(part)
            free = False
    return path, names


def _field(model: type[BaseModel], part: Any) -> Any:
    return next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)


def _names(model: type[BaseModel]) -> list[str]:
    return [f.alias or n for n, f in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``storecast.yaml``, for editors."""
    return Config.model_json_schema(by_alias=True)
