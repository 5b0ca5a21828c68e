"""The command line's own promises: exit codes, one envelope, nothing unserved ignored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from storecast import cli


def storecast(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storecast.cli", *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        path = (*prefix, name)
        found += commands(command, path) if isinstance(command, click.Group) else [path]
    return found


def test_every_command_of_the_surface_exists() -> None:
    assert set(commands(cli.cli)) == {
        ("init",), ("doctor",), ("ingest",), ("validate",), ("deploy",), ("forecast",),
        ("monitor",), ("report",), ("run",),
        ("models", "list"), ("models", "show"), ("models", "promote"), ("models", "rollback"),
        ("tables", "list"), ("tables", "show"), ("tables", "history"), ("tables", "export"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["monitor"], "monitor"),
    ],
)
def test_what_is_not_served_says_so_by_name(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([*arguments, "--json"])
    envelope = json.loads(capsys.readouterr().out)
    assert left.value.code == 2
    assert envelope["error"]["code"] == "NOT_SERVED"
    assert named in envelope["error"]["message"]


def test_how_far_the_leak_audit_goes_is_one_of_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def code(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            cli.main(["validate", *arguments, "--project", str(tmp_path), "--json"])
        envelope = json.loads(capsys.readouterr().out)
        assert left.value.code == 2
        return str(envelope["error"]["code"])

    assert code("--audit-leakage=half") == "USAGE"
    for right in ("--audit-leakage", "--audit-leakage=full", "--audit-leakage=off"):
        assert code(right) == "CONFIG_NOT_FOUND"


def test_a_wrong_command_is_usage_and_suggests(tmp_path: Path) -> None:
    answer = storecast("forcast", cwd=tmp_path)
    assert answer.returncode == 2
    assert "forecast" in answer.stderr
    assert answer.stdout == ""


def test_json_holds_on_a_wrong_option_too(tmp_path: Path) -> None:
    answer = storecast("ingest", "--fulll", "--json", cwd=tmp_path)
    envelope = json.loads(answer.stdout)
    assert answer.returncode == 2
    assert set(envelope) == {"command", "run_id", "status", "exit_code", "error"}
    assert (envelope["command"], envelope["error"]["code"]) == ("ingest", "USAGE")


def test_no_project_is_one_clear_message_and_no_traceback(tmp_path: Path) -> None:
    answer = storecast("run", cwd=tmp_path)
    assert answer.returncode == 2
    assert "CONFIG_NOT_FOUND" in answer.stderr
    assert "storecast init" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" in storecast("run", "--debug", cwd=tmp_path).stderr


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_is_130_and_the_next_run_ends_as_if_undisturbed(
    tmp_path: Path, how: signal.Signals
) -> None:
    assert storecast("init", "demo", "--demo", "iowa", cwd=tmp_path).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "storecast.cli", "ingest", "--project", "demo"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # whoever runs the tests may ignore a hang-up, and it would be inherited
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    assert "reading" in process.stderr.readline()
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (out, "INTERRUPTED" in err, "Traceback" in err) == ("", True, False)
    again = json.loads(storecast("ingest", "--project", "demo", "--json", cwd=tmp_path).stdout)
    result = again["result"]
    assert again["status"] == "done"
    assert result["rows_inserted"] == result["rows_read"] - result["rows_rejected"]


def test_a_hang_up_that_nohup_ignores_ends_nothing() -> None:
    code = (
        "import os, signal\nfrom storecast.console import Settings, answered\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "exit(answered('x', Settings(), lambda: (os.kill(os.getpid(), signal.SIGHUP), 0)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
    ended = subprocess.run(
        [sys.executable, "-c", code.replace("SIG_IGN", "SIG_DFL")],
        check=False, timeout=120, capture_output=True,
    )  # fmt: skip
    assert ended.returncode == 130


def test_a_reader_that_goes_does_not_stop_the_work(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    answer = subprocess.run(
        [sys.executable, "-m", "storecast.cli", "doctor", "--json"],
        cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
    )  # fmt: skip
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (3, "")


def test_what_cannot_be_printed_at_the_end_is_a_failure_and_what_nobody_reads_is_none() -> None:
    code = "import sys\nfrom storecast.cli import _leave\nsys.stdout.write('x')\n_leave(0)"
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY) if Path("/dev/full").exists() else None
    for stream, expected in ((writing, 0), (full, 1)):
        if stream is not None:
            ended = subprocess.run(
                [sys.executable, "-c", code],
                stdout=stream, check=False, timeout=120, env=buffered,
            )  # fmt: skip
            os.close(stream)
            assert ended.returncode == expected
