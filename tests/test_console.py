"""What people read on a terminal, narrow or wide."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from storecast.console import Settings, _Display, answered, duration, rejected

REASON = (
    "vendas.dia, row id = x1: The date is not written YYYY-MM-DD. Write it YYYY-MM-DD, in the "
    "source or in a `query:`; or name the way in which all dates are written there by "
    "`date_format:`."
)
ROW = {"id": "x1", "loja": "001 ", "dia": "13/01/2021", "valor": None, "obs": "a\x1b[2J\u202eb"}


def _frame(**changes: Any) -> pl.DataFrame:
    row = {
        "table_name": "transactions", "row_hash": "0f" * 32, "occurrence": 1,
        "reason_code": "DATE_NOT_ISO", "reason": REASON,
        "raw_row": json.dumps(ROW, ensure_ascii=False),
        "first_run_id": "20260101T000000000000-00000001",
        "last_run_id": "20260101T000000000000-00000001", **changes,
    }  # fmt: skip
    return pl.DataFrame([row])


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_rejected_row_is_read_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = rejected(_frame())
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "DATE_NOT_ISO, meant for transactions"
    flat = " ".join(text.split())
    assert REASON in flat
    assert r'→ id: "x1" loja: "001 " dia: "13/01/2021" valor: null obs: "a\u001b[2J\u202eb"' in flat
    assert flat.endswith("first rejected by run 20260101T000000000000-00000001")
    assert "0f0f" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_copy_says_which_it_is_and_a_row_that_stays_since_when(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = rejected(_frame(occurrence=2, last_run_id="later"))
    assert text.startswith("DATE_NOT_ISO, meant for transactions, copy 2\n")
    assert text.endswith("first rejected by run 20260101T000000000000-00000001, last by later")


def test_rows_of_one_code_stand_together() -> None:
    rows = [_frame(reason_code=c, reason=f"{c} {n}") for n in (2, 1) for c in ("B", "A")]
    codes = [b.splitlines()[1].strip() for b in rejected(pl.concat(rows)).split("\n\n")]
    assert codes == ["A 1", "A 2", "B 1", "B 2"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min")],
)
def test_a_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_progress_in_lines_says_how_much_is_done_and_what_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _Display(terminal=False) as display:
        display.show("backtest", 0, 20)
        display.show("backtest", 1, 20, 300.0)
        display.show("backtest", 2, 20, 240.0)
        display.show("backtest", 20, 20, 0.0)
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["backtest 0/20", "backtest 2/20, about 4 min left", "backtest 20/20"]


def test_nothing_is_printed_into_a_progress_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    settings = Settings()
    with _Display(terminal=True) as display:
        settings.clear = display.clear
        display.show("counting", 1, 2)
        assert display._progress.live.is_started
        settings.say("done")
        assert not display._progress.live.is_started
        display.show("counting on", 1, 2)
        assert display._progress.live.is_started
        settings.show([("a line", "best")])
        assert not display._progress.live.is_started
    assert capsys.readouterr().out.splitlines() == ["done", "a line"]


def test_a_program_that_is_ended_from_within_still_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings()
    settings.json = True

    def body() -> Any:
        raise SystemExit(3)

    assert answered("validate", settings, body) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["error"]["code"]) == ("failed", "INTERNAL")
    assert "SystemExit: 3" in told["error"]["message"]
