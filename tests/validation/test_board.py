"""The leaderboard in a terminal: the tables' figures, at any width."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import click
import pytest

from storecast import cli, console
from storecast.backtest.audit import Leak, Verdict
from storecast.validation.board import board
from storecast.validation.leaderboard import Line
from storecast.validation.leakage import Audit
from storecast.validation.result import ValidationResult

BASE = "seasonal_naive"
LONG = "ensemble_by_segment_of_everything_that_runs"


def line(model: str, wape: float, gain: float | None, real: Any = None, **more: Any) -> Line:
    values: dict[str, Any] = {
        "mase": 1.5, "rmsse": 1.25, "bias": -0.012, "sql": 1.0, "wql": 0.2, "coverage": 0.786,
        "n_scored": 5688, "n_filled": 0, "spread": (wape - 0.03, wape + 0.05),
    }  # fmt: skip
    p_value, verdict = {"better": (0.008, "better"), "worse": (0.04, "worse"),
                        "noise": (0.4, "not_told_apart"), None: (None, None)}[real]  # fmt: skip
    return Line(model, wape, gain=gain, p_value=p_value, verdict=verdict, **{**values, **more})


def result(cutoffs: int = 9, **changes: Any) -> ValidationResult:
    leak = Verdict(
        "leaking", ("2022-03-03",), 50, ("sales",), (Leak("sales", "altered", 3, "007"),)
    )
    values: dict[str, Any] = {
        "run_id": "r", "validation_id": "v", "best": "trees", "baseline": BASE, "metric": "wape",
        "leaderboard": (
            line("trees", 0.397, 0.28, "better"),
            line("chronos", 0.399, 0.275, "better", pretrained=True),
            line(LONG, 0.41, 0.2, "better", n_filled=23),
            line("ets", 0.52, 0.03, "noise", n_filled=569),
            line(BASE, 0.553, 0.0),
            line("theta", 0.71, -0.28, "worse", coverage=None),
            line("leaky", 0.1, 0.8, "better"),
        ),
        "cutoffs": tuple(date(2022, m, 3) for m in range(1, cutoffs + 1)),
        "warmup": (date(2021, 12, 3),), "horizon": 8,
        "failures": {"ets": "at 2 cutoffs, the last 2022-03-03: ValueError: no"},
        "perfect_foresight": (), "timeless": (), "reused": False,
        "audit": Audit("fast", {"leaky": leak}), "align": "calendar",
    }  # fmt: skip
    return ValidationResult(**{**values, **changes})


@pytest.mark.parametrize("width", [72, 78, 100, 158, 300])
def test_the_board_fits_and_loses_no_name_and_no_verdict(width: int) -> None:
    told = [text for text, _ in board(result(), width)]
    assert max(map(len, told)) <= width
    for name in ("trees", "chronos (pretrained)", LONG, "leaky"):
        assert sum(name in text.split("  ") for text in told) == 1
    figures = [text.split() for text in told if "%" in text]
    verdicts = {"better", "worse", "noise", "baseline", "LEAK"}
    assert [next(iter(verdicts & set(cells))) for cells in figures] == [
        "better", "better", "better", "noise", "baseline", "worse", "LEAK",
    ]  # fmt: skip
    assert told[-1].split()[:2] == ["–", "leaky"]
    # every figure ends under its title
    ends = [len(told[0][: told[0].index(title)]) + len(title) for title in ("WAPE", "gain")]
    for text in told[1:]:
        if "%" in text:
            assert all(text[end - 1] != " " and text[end : end + 1] == " " for end in ends)


def test_the_figures_are_those_of_the_lines() -> None:
    told = [text for text, _ in board(result(), 300)]
    assert told[0].split() == [
        "model", "WAPE", "min–max", "gain", "verdict", "p", "bias", "inside", "MASE", "RMSSE",
        "filled",
    ]  # fmt: skip
    assert told[4].split() == [
        "4", "ets", "0.520", "0.490–0.570", "+3.0%", "noise", "0.400", "-1.2%", "79%", "1.500",
        "1.250", "10%",
    ]  # fmt: skip
    assert "<1%" in told[3]
    assert told[5].split()[4:7] == ["–", "baseline", "–"]
    unfilled = result(leaderboard=result().leaderboard[:2])
    assert "filled" not in board(unfilled, 300)[0][0]


def test_plain_sentences_say_what_is_real_and_by_which_test() -> None:
    told = result().remarks()
    assert told[0] == (
        f"better, worse: a real difference from {BASE}; noise: it may be chance (exact sign-flip "
        "test over 9 cutoffs, Holm over 6 models, at 10%)"
    )
    assert "ets failed: 569 of its 5,688 scored forecasts are those of seasonal_naive; at 2" in (
        " ".join(told)
    )
    assert any(t.startswith("pretrained: chronos may have learnt") for t in told)
    assert (
        result()
        .headline()
        .startswith(
            f"trees is best, 28% below {BASE} by WAPE, a real difference (p = 0.008); 9 forecasts"
        )
    )
    few = result(3).remarks()[0]
    assert few.startswith(
        "3 cutoffs cannot tell a real difference from noise: it takes 7, beside 1"
    )
    lucky = result(leaderboard=(line("trees", 0.5, 0.1, "noise"), line(BASE, 0.553, 0.0)))
    assert "10% below seasonal_naive by WAPE, which may be chance (p = 0.400)" in lucky.headline()


def test_it_says_which_windows_the_gate_of_a_deployment_keeps() -> None:
    assert "no window is left for the gate" in " ".join(result().remarks())
    some = result(kept=result().cutoffs[-4:])
    said = " ".join(some.remarks())
    assert f"deploy chooses by the 5 before: the last 4 cutoffs, from {some.kept[0]} on" in said
    assert some.as_dict()["kept"] == [day.isoformat() for day in some.cutoffs[-4:]]
    assert "gate" not in " ".join(result(align="series_end").remarks())


def test_the_json_has_them_too() -> None:
    plain = json.loads(json.dumps(result().as_dict()))
    first, _, _, _, base, *_ = plain["leaderboard"]
    assert (first["p_value"], first["verdict"], plain["level"]) == (0.008, "better", 0.1)
    assert (base["p_value"], base["verdict"]) == (None, None)
    assert plain["leaderboard"][1]["pretrained"] is True
    assert plain["leaderboard"][3]["n_filled"] == 569
    sentences = "\n".join(plain["sentences"])
    assert "trees: WAPE 0.397 (0.367 to 0.447)" in sentences
    assert "really better than seasonal_naive" in sentences


def test_colours_are_for_terminals_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli._say_validation(console.Settings(), result())
    plain = capsys.readouterr().out
    assert click.unstyle(plain) == plain
    assert "  4  ets" in plain
    monkeypatch.setattr(console, "_coloured", lambda: True)
    quiet = console.Settings()
    quiet.json = True
    cli._say_validation(quiet, result())
    assert capsys.readouterr().out == ""
