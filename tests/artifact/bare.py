"""A bare machine: an environment with some distributions, what they need, and nothing else.

What is installed here is linked, not downloaded: an environment of its own is a second's work, and
holds exactly the closure that ``pip install -r requirements.txt`` would bring. There is no
storecast in it, nor any other package of this environment.
"""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement


def environment(place: Path, requirements: Iterable[str]) -> Path:
    """Make it in ``place``; returns its interpreter."""
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    inside = closure(requirements)
    names = {_name(dist) for dist in inside}
    others = {top for dist in distributions() if _name(dist) not in names for top in _tops(dist)}
    for dist in inside:
        for top in _tops(dist) - others:
            _link(dist, top, site)
        for file in dist.files or []:
            if file.parts[0] in others and file.suffix != ".pyc" and ".." not in file.parts:
                _link(dist, file.as_posix(), site)
    python = place / "bin" / "python"
    for command in (
        p for dist in inside for p in dist.entry_points.select(group="console_scripts")
    ):
        script = python.with_name(command.name)
        if not script.exists():
            call = f"from {command.module} import {command.attr} as main\nmain()\n"
            script.write_text(f"#!{python}\n{call}", "utf-8")
            script.chmod(0o755)
    return python


def closure(requirements: Iterable[str]) -> list[Distribution]:
    """The distributions that are required, directly or not, in the versions that are required."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        try:
            dist = distribution(wanted.name)
        except PackageNotFoundError as missing:
            raise AssertionError(f"{wanted} is not installed here") from missing
        public = dist.version.partition("+")[0]
        assert wanted.specifier.contains(public, prereleases=True), f"{wanted}, not {dist.version}"
        found[_name(dist)] = dist
        for inner in ("", *wanted.extras):
            if (_name(dist), inner) not in seen:
                seen.add((_name(dist), inner))
                waiting += [(Requirement(text), inner) for text in dist.requires or []]
    return list(found.values())


def run(
    python: Path, script: str, *arguments: object, path: Sequence[Path] = (), tracking: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script there, with nothing of this process's environment."""
    told = {
        "PATH": os.defpath,
        "HOME": str(python.parent),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_TRACKING_URI": tracking,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
    }
    return subprocess.run(
        [str(python), "-c", script, *map(str, arguments)],
        env=told,
        cwd=python.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _name(dist: Distribution) -> str:
    return dist.name.lower().replace("_", "-").replace(".", "-")


def _tops(dist: Distribution) -> set[str]:
    """What a distribution has in site-packages, its scripts and loose caches excepted."""
    tops = {file.parts[0] for file in dist.files or []}
    return {top for top in tops if top not in ("..", "__pycache__") and not top.endswith(".pth")}


def _link(dist: Distribution, name: str, site: Path) -> None:
    link, file = site / name, Path(str(dist.locate_file(name)))
    if file.exists() and not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
