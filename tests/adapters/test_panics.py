"""Standard error while delta-rs writes: its panics only where nothing else tells the fault."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from storecast.adapters.local import panics
from storecast.adapters.local.panics import kept_aside

PANIC = """
thread 'tokio-rt-worker' (21773) panicked at /home/x/object_store-0.13.2/src/buffered.rs:369:41:
Already shut down
stack backtrace:
   0: rust_begin_unwind
             at /rustc/library/std/src/panicking.rs:5
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""
SHORT = """
thread '<unnamed>' panicked at src/lib.rs:1:1:
called `Option::unwrap()` on a `None` value
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""


def _breaks(printed: bytes) -> None:
    with kept_aside():
        os.write(2, printed)
        raise OSError("no space")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panics, "_LATE", 0.0)


@pytest.mark.parametrize("printed", [PANIC, SHORT, PANIC + PANIC, SHORT + PANIC])
def test_panics_beside_a_fault_become_its_note(
    capfd: pytest.CaptureFixture[str], printed: str
) -> None:
    with pytest.raises(OSError, match="no space") as caught:
        _breaks(f"before\n{printed}after\n".encode())
    assert capfd.readouterr().err == "before\nafter\n"
    assert caught.value.__notes__ == [printed.strip()]
    with kept_aside():
        os.write(2, b"again\n")
    assert capfd.readouterr().err == "again\n"


def test_a_panic_that_nothing_explains_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with kept_aside():
        os.write(2, PANIC.encode())
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == PANIC


def test_a_fault_without_a_panic_has_no_note(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="no space") as caught:
        _breaks(b"\xff a thread panicked\n")
    assert not hasattr(caught.value, "__notes__")
    assert "a thread panicked" in capfd.readouterr().err


def test_within_itself_and_with_nothing_left_open(capfd: pytest.CaptureFixture[str]) -> None:
    lowest = os.dup(2)
    os.close(lowest)
    with kept_aside(), kept_aside():
        os.write(2, b"once\n")
    after = os.dup(2)
    os.close(after)
    assert (capfd.readouterr().err, after) == ("once\n", lowest)


def test_without_standard_error() -> None:
    code = (
        "import os; os.close(2)\n"
        "from storecast.adapters.local.panics import kept_aside\n"
        "for _ in range(2):\n    with kept_aside():\n        print('written')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert ended.stdout == b"written\nwritten\n"
