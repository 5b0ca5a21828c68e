"""``storecast doctor``: what a newcomer gets wrong, each with the way to mend it.

Reads the configuration, the source, the tables and the registry, and writes to none of them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from storecast.backtest.significance import windows_needed
from storecast.config import Config
from storecast.configfile import FILE_NAME, load_config
from storecast.errors import ConfigurationError, ModelError
from storecast.setup import source_checks
from storecast.setup.findings import Diagnosis, Finding, failed, from_error, guarded, ok, warning

if TYPE_CHECKING:
    from storecast.project import Project

_MB = 1_000_000
_LITTLE_SPACE, _NO_SPACE = 2_000 * _MB, 200 * _MB
_CONSTRAINTS = 'pip install -c constraints.txt "storecast"'


def check(root: Path, overrides: Sequence[str] = ()) -> Diagnosis:
    """Look at everything that a run needs; never raises.

    Args:
        root: the project folder, or its ``storecast.yaml``.
        overrides: ``key.path=value`` texts, as ``--set`` takes them.

    Returns:
        The findings; healthy where none failed, warnings or not.
    """
    file = root if root.is_file() else root / FILE_NAME
    found = guarded("versions", _versions)
    found += guarded("libraries", _libraries)
    found += guarded("disk space", lambda: _disk(file.parent))
    read, config = _configuration(file, overrides)
    found += read
    if config is not None:
        found += _of_the_project(file, overrides, config)
    return Diagnosis(found, healthy=all(f.status != "failed" for f in found))


def _of_the_project(file: Path, overrides: Sequence[str], config: Config) -> list[Finding]:
    found = guarded("calendar", lambda: _calendar(config))
    found += guarded("models", lambda: _models(config))
    found += guarded("gate", lambda: _gate(config))
    found += guarded("project folder", lambda: _writable(file.parent))
    project: list[Project] = []

    def assemble() -> Iterable[Finding]:
        from storecast.project import load

        project.append(load(file, overrides))
        return []

    found += guarded("platform", assemble)
    if not project:
        return found
    found += guarded("source", lambda: source_checks.of(project[0]))
    found += guarded("tables", lambda: _tables(project[0]))
    found += guarded("tables", lambda: _followed(project[0]))
    found += guarded("registry", lambda: _registry(project[0]))
    return found


def _gate(config: Config) -> Iterator[Finding]:
    gate, wanted = config.gated(), config.validation
    windows, needed = gate.windows or 0, windows_needed(gate.alpha)
    if windows >= needed:
        yield ok("gate", f"the last {windows} windows are kept for the gate of deploy")
        return
    kept = (
        f"the gate keeps {windows} window{'' if windows == 1 else 's'}"
        if windows
        else ("no window is left for the gate")
    )
    yield warning(
        "gate",
        f"{kept}: no other recipe could ever show that it is better than the champion, which "
        f"takes {needed} at level {gate.alpha:g}",
        f"set validation.windows to at least {wanted.warmup + 2 * needed}, a smaller "
        "validation.step if the history is short, or gate.windows",
    )


# ------------------------------------------------------------------------ the machine


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        yield failed(
            "python", f"Python {python} is not supported", "use CPython 3.11, 3.12, 3.13 or 3.14"
        )
    rules: dict[str, tuple[Callable[[tuple[int, ...]], bool], str]] = {
        "pandas": (lambda v: (2, 2) <= v < (3,), "pandas 2.2 or later, but not 3"),
        "deltalake": (
            lambda v: v >= (1, 5) and v[:3] != (1, 6, 0),
            "deltalake 1.5 or later, but not 1.6.0, whose MERGE is faulty",
        ),
        "mlflow": (lambda v: (3, 11) <= v < (3, 18), "MLflow from 3.11 to 3.17"),
    }
    wrong = 0
    for name, (right, expected) in rules.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            wrong += 1
            yield failed("versions", f"{name} is not installed", _CONSTRAINTS)
            continue
        if not right(_numbers(installed)):
            wrong += 1
            step = f"install {expected}; {_CONSTRAINTS} does"
            yield failed("versions", f"{name} {installed} does not work with storecast", step)
    if not wrong:
        named = ", ".join(f"{name} {version(name)}" for name in rules)
        yield ok("versions", f"Python {python}, {named}")


def _numbers(text: str) -> tuple[int, ...]:
    parts: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def _libraries() -> Iterator[Finding]:
    try:
        import_module("lightgbm")
    except OSError as fault:
        step = (
            "brew install libomp"
            if sys.platform == "darwin"
            else "apt-get install libgomp1, or leave lightgbm out of `models`"
        )
        yield failed("libraries", f"LightGBM's OpenMP library is missing: {str(fault)[:200]}", step)
    except ImportError as fault:
        yield failed("libraries", f"LightGBM cannot be imported: {str(fault)[:200]}", _CONSTRAINTS)
    else:
        yield ok("libraries", "LightGBM can be imported")


def _disk(folder: Path) -> Iterator[Finding]:
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    sentence = f"{free // _MB:,} MB are free at {existing}"
    step = "free some space, or move the project folder to another disk: it can be moved"
    if free < _NO_SPACE:
        yield failed("disk space", sentence, step)
    elif free < _LITTLE_SPACE:
        yield warning("disk space", sentence, step)
    else:
        yield ok("disk space", sentence)


# ------------------------------------------------------------------ the configuration


def _configuration(file: Path, overrides: Sequence[str]) -> tuple[list[Finding], Config | None]:
    read: list[Config] = []

    def parse() -> Iterator[Finding]:
        try:
            config = load_config(file, overrides)
        except ConfigurationError as fault:
            step = fault.next_step or "docs/configuration.md lists every key"
            lines = fault.message.splitlines()
            if len(lines) == 1:
                yield from_error("configuration", fault)
            else:
                for line in lines:
                    yield failed("configuration", f"{fault.code.value}: {line}", step)
            return
        read.append(config)
        names = ", ".join(m.name for m in config.models)
        yield ok(
            "configuration",
            f"{file.name} is valid: {config.series.frequency}, horizon "
            f"{config.forecast.horizon}, models {names}",
        )

    found = guarded("configuration", parse)
    return found, read[0] if read else None


def _calendar(config: Config) -> Iterator[Finding]:
    config.rules()  # refuses a country or subdivision without holidays, with those there are
    country, subdivision = config.calendar.country, config.calendar.subdivision
    if country is not None:
        yield ok("calendar", f"holidays of {country}{f', {subdivision}' if subdivision else ''}")


def _models(config: Config) -> Iterator[Finding]:
    from storecast.models.base import create, recipes_of

    wanting = False
    for recipe in recipes_of(config.models, config.rules(), config.accelerator):
        try:
            create(recipe)
        except ModelError as fault:
            wanting = True
            yield from_error("models", fault)
    if not wanting:
        yield ok("models", "all that the models need is installed")


def _writable(root: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as fault:
        yield failed(
            "project folder",
            f"nothing can be written to {root}: {fault.strerror}",
            "change the owner or the permissions, or move the project folder",
        )
        return
    for name in ("lakehouse", "mlartifacts", "mlflow.db", "reports"):
        if (root / name).exists() and not os.access(root / name, os.W_OK):
            yield failed(
                "project folder",
                f"{name} cannot be written to",
                "change its owner or permissions: all of the folder belongs to who runs storecast",
            )
    yield ok("project folder", f"{root.resolve()} can be written to")


# ------------------------------------------------------------ the tables and the registry


def _tables(project: Project) -> Iterator[Finding]:
    from storecast import runs

    existing = project.tables.names()
    if not existing:
        yield warning("tables", "there are no tables yet", "storecast ingest, or storecast run")
        return
    named = runs.told_versions(project)
    gone = [name for name in named if name not in existing]
    if gone:
        yield failed(
            "tables",
            f"the ledger names tables that are not there: {', '.join(gone)}",
            "bring them back from a copy; or `storecast run`, which makes them anew",
        )
    behind, ahead = [], []
    for name in existing:
        newest, counted = project.tables.version(name), named.get(name, 0)
        if newest is None or name == "runs":
            continue
        if newest > counted:
            ahead.append(name)
        elif newest < counted:
            behind.append(name)
    if behind:
        yield failed(
            "tables",
            f"older than the version that a completed run names: {', '.join(behind)}",
            "bring the folder lakehouse/ back from one copy, whole",
        )
    if ahead:
        yield warning(
            "tables",
            f"versions that no completed run names: {', '.join(ahead)}; a run was broken off",
            "nothing is lost: the next run starts from the named versions",
        )
    if not (gone or behind or ahead):
        yield ok("tables", f"{len(existing)} tables, each at the version that a run names")


def _followed(project: Project) -> list[Finding]:
    """Whether the tables can follow the configuration, by the question that an ingestion asks."""
    from storecast import runs
    from storecast.ingestion.evolution import refuse_changes
    from storecast.ingestion.step import FEATURE_TABLES

    tables, told = project.tables, runs.told_versions(project)
    named = runs.named_versions(project)
    # Tables of ours that no completed run names are dropped before an ingestion looks at them.
    counted = [
        name
        for name in FEATURE_TABLES
        if name in named or (tables.version(name) is not None and not tables.made(name))
    ]
    refuse_changes(project, named, told.keys() - named, counted)
    return []


def _registry(project: Project) -> Iterator[Finding]:
    settings = project.config.mlflow
    remote = settings.tracking_uri or settings.registry_uri
    if remote is None and not (project.root / "mlflow.db").exists():
        yield warning(
            "registry",
            "nothing was validated or deployed yet: there is no MLflow store",
            "storecast validate, then storecast deploy; or storecast run",
        )
        return
    from storecast import registry

    champion = registry.of(project).champion()
    if champion is None:
        yield warning(
            "registry", "MLflow answers, but no version is Champion yet", "storecast deploy"
        )
    else:
        yield ok("registry", f"version {champion.number} of {champion.name} is Champion")
