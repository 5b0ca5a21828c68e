"""The wheel that an artefact carries: valid, the same everywhere, importable from its own file."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import storecast
from storecast.artifact import wheel

PACKAGE = Path(storecast.__file__).parent


@pytest.fixture(scope="module")
def built() -> tuple[str, zipfile.ZipFile]:
    name, content = wheel.build()
    return name, zipfile.ZipFile(io.BytesIO(content))


def test_it_has_every_file_of_the_package_but_the_demos(
    built: tuple[str, zipfile.ZipFile],
) -> None:
    name, archive = built
    assert name == f"storecast-{storecast.__version__}-py3-none-any.whl"
    packed = {n for n in archive.namelist() if ".dist-info/" not in n}
    there = {f.relative_to(PACKAGE.parent) for f in PACKAGE.rglob("*") if f.is_file()}
    wanted = {f for f in there if "__pycache__" not in f.parts and f.suffix != ".pyc"}
    demos = {f for f in wanted if f.parts[1] == "demos"}
    assert demos
    assert packed == {f.as_posix() for f in wanted - demos}
    assert archive.read("storecast/errors.py") == (PACKAGE / "errors.py").read_bytes()


def test_record_and_metadata_are_those_of_a_wheel(built: tuple[str, zipfile.ZipFile]) -> None:
    _, archive = built
    described = f"storecast-{storecast.__version__}.dist-info"
    rows = list(csv.reader(io.StringIO(archive.read(f"{described}/RECORD").decode())))
    assert {row[0] for row in rows} == set(archive.namelist())
    assert rows[-1] == [f"{described}/RECORD", "", ""]
    for file, digest, size in rows[:-1]:
        told = archive.read(file)
        sha = base64.urlsafe_b64encode(hashlib.sha256(told).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={sha}", len(told))
    metadata = Parser().parsestr(archive.read(f"{described}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("storecast", storecast.__version__)
    assert any(r.startswith("polars") for r in metadata.get_all("Requires-Dist") or [])
    tags = Parser().parsestr(archive.read(f"{described}/WHEEL").decode())
    assert (tags["Root-Is-Purelib"], tags["Tag"]) == ("true", "py3-none-any")
    assert "storecast.cli:main" in archive.read(f"{described}/entry_points.txt").decode()


def test_the_same_code_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    """In a checkout, in site-packages, with other dates, and from the wheel itself."""
    name, content = wheel.build()
    assert wheel.build() == (name, content)
    (tmp_path / name).write_bytes(content)
    copied = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, copied / "storecast")
    (copied / "storecast" / "py.typed").touch()
    for place in (copied, tmp_path / name):
        assert digest_from(place) == hashlib.sha256(content).hexdigest()


def digest_from(place: Path) -> str:
    """That of the wheel that the storecast in ``place`` makes of itself, in its own process."""
    script = (
        "import hashlib, storecast\n"
        "from storecast.artifact import wheel\n"
        f"assert storecast.__file__.startswith({str(place)!r}), storecast.__file__\n"
        "print(hashlib.sha256(wheel.build()[1]).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_folder_without_metadata_still_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(wheel, "distribution", absent)
    _, content = wheel.build()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        told = archive.read(f"storecast-{storecast.__version__}.dist-info/METADATA").decode()
    assert told.splitlines()[1:] == ["Name: storecast", f"Version: {storecast.__version__}"]


@pytest.mark.slow
def test_pip_installs_it(tmp_path: Path) -> None:
    name, content = wheel.build()
    (tmp_path / name).write_bytes(content)
    subprocess.run(
        [sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, capture_output=True
    )
    python = tmp_path / "venv" / "bin" / "python"
    told = {**os.environ, "PYTHONPATH": ""}
    subprocess.run(
        [python, "-m", "pip", "install", "--no-index", "--no-deps", tmp_path / name],
        check=True,
        capture_output=True,
        env=told,
    )
    done = subprocess.run(
        [python, "-m", "pip", "show", "--files", "storecast"],
        check=True,
        capture_output=True,
        text=True,
        env=told,
    )
    assert f"Version: {storecast.__version__}" in done.stdout
    assert "storecast/artifact/unified.py" in done.stdout
    assert (tmp_path / "venv" / "bin" / "storecast").exists()
