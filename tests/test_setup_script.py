"""tools/setup.sh, with interpreters, pip and disks that are shell scripts of a few lines."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHELL = shutil.which("dash") or shutil.which("sh") or "/bin/sh"
COMMANDS = (
    *("awk", "cat", "chmod", "cksum", "cp", "cut", "dirname", "du", "grep"),
    *("mkdir", "rm", "sed", "tail", "touch"),
)

# A virtual environment of it is a copy of itself, and its pip writes down what it was asked.
PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {no_venv} ;;
    *"pip.__version__"*) exit {old_pip} ;;
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo venv >>"$LOG" ;;
    "-m pip"*)
        echo "$*" >>"$LOG" && {pip} && touch .venv/bin/storecast && chmod +x .venv/bin/storecast
        ;;
    *"import lightgbm"*) {lightgbm} ;;
    *) exit 9 ;;
esac
"""
OFFLINE = """{ echo "Retrying after connection broken by 'NewConnectionError'"; exit 1; }"""


class Machine:
    """A folder to set up, and a PATH with nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "a clone"
        self.bin = folder / "stubs"
        self.log = folder / "log"
        (self.home / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.sh", self.home / "tools")
        (self.home / "pyproject.toml").write_text("[project]\n")
        (self.home / "constraints.txt").write_text("numpy==2.4.6\n")
        self.bin.mkdir()
        for command in COMMANDS:
            found = shutil.which(command)
            if found:
                (self.bin / command).symlink_to(found)
        self.platform("Linux", "x86_64")
        self.command("getconf", "echo glibc 2.36")
        self.command("apt-get", "exit 1")
        self.disk(kilobytes=9_000_000)

    def command(self, name: str, body: str) -> Path:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def platform(self, system: str, machine: str) -> None:
        self.command("uname", f'case $1 in -s) echo "{system}" ;; -m) echo "{machine}" ;; esac')

    def disk(self, kilobytes: int) -> None:
        self.command("df", f'echo "Filesystem"; echo "/dev/a 9 9 {kilobytes} 9% /mnt/a disk"')

    def python(
        self,
        name: str,
        version: str,
        *,
        venv: bool = True,
        old_pip: bool = False,
        pip: str = "true",
        lightgbm: str = "true",
    ) -> Path:
        return self.command(
            name,
            PYTHON.format(
                version=version,
                no_venv=int(not venv),
                old_pip=int(old_pip),
                pip=pip,
                lightgbm=lightgbm,
            ),
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "LOG": str(self.log), **variables}
        return subprocess.run(
            [SHELL, str(self.home / "tools" / "setup.sh"), *arguments],
            cwd=self.bin,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def refusal(self, *arguments: str, **variables: str) -> str:
        """What it says when it stops: one sentence."""
        done = self.run(*arguments, **variables)
        assert done.returncode != 0, done.stdout
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("setup: ")
        return done.stderr

    def asked(self) -> list[str]:
        """What was made and installed since the last look."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def set_up(self, *arguments: str, **variables: str) -> list[str]:
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return self.asked()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestChoosingAnInterpreter:
    def test_the_newest_that_runs_is_taken(self, machine: Machine) -> None:
        machine.python("python3.11", "3.11.7")
        machine.python("python3.13", "3.13.0")
        machine.python("python3", "3.12.1")
        assert "Python 3.13.0 (python3.13)" in machine.run("--check").stdout

    def test_a_plain_name_can_be_the_newest(self, machine: Machine) -> None:
        machine.python("python3.11", "3.11.7")
        machine.python("python3", "3.14.2")
        assert "Python 3.14.2 (python3)" in machine.run("--check").stdout

    def test_a_shim_that_does_not_run_is_passed_over(self, machine: Machine) -> None:
        machine.command("python3.13", "echo python3.13: command not found >&2; exit 127")
        machine.python("python3.12", "unfit")
        machine.python("python3", "3.11.7")
        assert "Python 3.11.7 (python3)" in machine.run("--check").stdout

    @pytest.mark.parametrize("version", ["3.10.14", "3.15.0", "2.7.18", "3.1.1"])
    def test_unsupported_versions_are_passed_over(self, machine: Machine, version: str) -> None:
        machine.python("python3", version)
        assert "install CPython 3.11 to 3.14" in machine.refusal("--check")

    def test_one_that_can_make_environments_goes_before_a_newer(self, machine: Machine) -> None:
        machine.python("python3.13", "3.13.0", venv=False)
        machine.python("python3.11", "3.11.7")
        assert "Python 3.11.7" in machine.run("--check").stdout

    def test_python_overrides(self, machine: Machine) -> None:
        machine.python("python3.13", "3.13.0")
        mine = machine.python("my python", "3.11.2")
        assert f"Python 3.11.2 ({mine})" in machine.run("--check", PYTHON=str(mine)).stdout

    def test_an_override_that_cannot_serve_is_refused(self, machine: Machine) -> None:
        machine.python("python3.13", "3.13.0")
        old = machine.python("old", "3.9.1")
        assert "Python 3.9.1" in machine.refusal("--check", PYTHON=str(old))
        assert "does not run" in machine.refusal("--check", PYTHON="/nowhere/python3")
        assert "another build" in machine.refusal(
            "--check", PYTHON=str(machine.python("threads", "unfit"))
        )


class TestWhatIsMissing:
    def test_no_interpreter(self, machine: Machine) -> None:
        assert "apt-get install python3 python3-venv" in machine.refusal()

    def test_no_venv_module(self, machine: Machine) -> None:
        machine.python("python3", "3.11.2", venv=False)
        assert "apt-get install python3.11-venv" in machine.refusal()
        assert "apt-get install python3.11-venv" in machine.refusal(PYTHON="python3")

    def test_too_little_disk(self, machine: Machine) -> None:
        machine.python("python3", "3.11.2")
        machine.disk(kilobytes=1_200_000)
        assert "1200 MB free" in machine.refusal()
        assert machine.asked() == []

    def test_no_network(self, machine: Machine) -> None:
        machine.python("python3", "3.11.2", pip=OFFLINE)
        assert "no network" in machine.refusal()

    def test_no_openmp(self, machine: Machine) -> None:
        broken = "{ echo 'OSError: libgomp.so.1: cannot open shared object file'; exit 1; }"
        machine.python("python3", "3.11.2", lightgbm=broken)
        assert "apt-get install libgomp1" in machine.refusal()
        assert len(machine.asked()) == 2
        # What was installed is kept until the library is there.
        machine.refusal()
        shutil.copy(machine.python("python3", "3.11.2"), machine.home / ".venv/bin/python")
        assert machine.set_up() == []

    def test_no_openmp_on_macos(self, machine: Machine) -> None:
        machine.platform("Darwin", "arm64")
        broken = "{ echo 'Library not loaded: @rpath/libomp.dylib'; exit 1; }"
        machine.python("python3", "3.12.2", lightgbm=broken)
        assert "brew install libomp" in machine.refusal()

    @pytest.mark.parametrize(
        ("system", "processor"),
        [("Darwin", "x86_64"), ("Linux", "i686"), ("MINGW64_NT-10.0", "x86_64")],
    )
    def test_unsupported_platform(self, machine: Machine, system: str, processor: str) -> None:
        machine.python("python3", "3.11.2")
        machine.platform(system, processor)
        assert f"this is {system} on {processor}" in machine.refusal()

    @pytest.mark.parametrize("body", ["echo glibc 2.17", "echo glibc 2.9", "exit 1"])
    def test_unsupported_c_library(self, machine: Machine, body: str) -> None:
        machine.python("python3", "3.11.2")
        machine.command("getconf", body)
        assert "glibc 2.28 or newer" in machine.refusal()

    def test_a_failure_of_another_kind_names_its_cause(self, machine: Machine) -> None:
        machine.python("python3", "3.11.2", pip="{ echo 'ERROR: Cannot install a and b'; exit 1; }")
        said = machine.refusal()
        assert "ERROR: Cannot install a and b" in said
        assert ".venv/setup.log" in said

    def test_an_unknown_option(self, machine: Machine) -> None:
        assert "--devel" in machine.refusal("--devel")


class TestInstalling:
    def test_the_download_is_announced_before_it_begins(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7")
        assert "about 410 MB will be downloaded" in machine.run().stdout.splitlines()[0]
        assert "up to 1180 MB will be downloaded" in machine.run("--dev").stdout.splitlines()[0]

    def test_check_changes_nothing(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7")
        assert machine.set_up("--check") == []
        assert not (machine.home / ".venv").exists()

    def test_by_the_constraints(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7", old_pip=True)
        made, pip, torch, packages = machine.set_up("--dev")
        assert made == "venv"
        assert pip.endswith("--upgrade pip>=25.1")
        assert "--constraint constraints.txt" in torch
        assert torch.endswith("https://download.pytorch.org/whl/cpu torch"), "no gigabytes of CUDA"
        assert "--constraint constraints.txt" in packages
        assert packages.endswith("--group dev --editable .[all]")

    def test_macos_has_one_torch(self, machine: Machine) -> None:
        machine.platform("Darwin", "arm64")
        machine.python("python3", "3.12.2")
        _, torch, packages = machine.set_up("--neural")
        assert torch.endswith("constraints.txt torch")
        assert packages.endswith("--editable .[xgboost,neural]")

    def test_a_second_time_does_nothing(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7")
        assert len(machine.set_up("--dev")) == 3
        assert machine.set_up("--dev") == []
        assert machine.set_up("--neural") == []
        assert machine.set_up() == [], "what the tests need has all that the demo needs"

    @pytest.mark.parametrize(("more", "what"), [("--neural", "neural]"), ("--dev", "--group dev")])
    def test_what_is_added_is_kept(self, machine: Machine, more: str, what: str) -> None:
        machine.python("python3", "3.11.7")
        machine.set_up()
        _, added = machine.set_up(more)
        assert what in added
        (machine.home / "constraints.txt").write_text("numpy==2.4.7\n")
        _, renewed = machine.set_up()
        assert what in renewed

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
    def test_new_requirements_are_installed_in_place(self, machine: Machine, name: str) -> None:
        machine.python("python3", "3.11.7")
        machine.set_up()
        (machine.home / name).write_text("# something else\n")
        (packages,) = machine.set_up()
        assert packages.startswith("-m pip install")
        assert machine.set_up() == []

    def test_an_interrupted_one_is_made_anew(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7", pip="kill -9 $PPID")
        assert machine.run().returncode != 0
        machine.asked()
        machine.python("python3", "3.11.7")
        assert machine.set_up()[0] == "venv"
        assert machine.set_up() == []

    def test_one_whose_interpreter_is_gone_is_made_anew(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7")
        machine.set_up()
        (machine.home / ".venv/bin/python").unlink()
        assert machine.set_up()[0] == "venv"

    def test_one_that_was_moved_is_made_anew(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7")
        machine.set_up()
        machine.home = machine.home.rename(machine.home.with_name("elsewhere"))
        assert machine.set_up()[0] == "venv"

    def test_one_of_another_python_stays(self, machine: Machine) -> None:
        machine.python("python3.11", "3.11.7")
        machine.set_up()
        machine.python("python3.13", "3.13.0")
        assert machine.set_up() == []
        assert machine.set_up(PYTHON="python3.11") == []
        assert machine.set_up(PYTHON="python3.13")[0] == "venv"

    def test_one_made_by_hand_is_completed(self, machine: Machine) -> None:
        by_hand = machine.home / ".venv" / "bin"
        by_hand.mkdir(parents=True)
        (by_hand / "mine").touch()
        shutil.copy(machine.python("python3", "3.11.7"), by_hand / "python")
        (packages,) = machine.set_up()
        assert packages.startswith("-m pip install")
        assert (by_hand / "mine").exists()

    def test_losing_the_network_keeps_one_that_worked(self, machine: Machine) -> None:
        machine.python("python3", "3.11.7")
        machine.set_up()
        (machine.home / "constraints.txt").write_text("numpy==2.4.7\n")
        inside = machine.home / ".venv/bin/python"
        works = inside.read_text()
        inside.write_text(works.replace("&& true &&", f"&& {OFFLINE} &&"))
        assert "no network" in machine.refusal()
        machine.asked()
        inside.write_text(works)
        assert "venv" not in machine.set_up()


def test_the_script_is_executable_and_ci_too() -> None:
    assert os.access(ROOT / "tools" / "setup.sh", os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_constraints_name_no_index() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all(line.count("==") == 1 and "/" not in line for line in pins)
