"""The checks in the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from storecast.backtest.judgement import Check
from storecast.deployment.table import table

LONG = "it forecasts 21.4% too much of sales; up to 15.0% is in bounds, which is what was asked for"


def check(name: str, value: float | None, bound: Any, passed: bool | None, **more: Any) -> Check:
    told: dict[str, Any] = {"scope": "overall", "member": "all", "low": None, "high": None}
    return Check(name, value=value, bound=bound, passed=passed, sentence=LONG, **told | more)


CHECKS = (
    check("gain", 0.031, (0.0, None), None, low=-0.01, high=0.07),
    check("segment", -0.02, (-0.05, None), True, scope="segment", member="UF=PE"),
    check("bias", 0.214, (-0.15, 0.15), False, low=0.18, high=0.25),
    check("shifted_stores", 2.0, (None, 0.0), False),
    check("coverage", None, (None, None), True),
)


def test_each_check_has_a_line_and_what_did_not_pass_its_sentence() -> None:
    told = table(CHECKS, 120)
    assert [text.split("  ")[0] for text, tone in told if not tone] == ["segment", "coverage"]
    lines = [" ".join(text.split()) for text, _ in told]
    assert lines[0] == "check of found interval asked for verdict"
    assert lines[1] == "gain all 3.1% -1.0% to 7.0% above 0% not clear"
    assert lines[2] == f"→ {LONG}"
    assert lines[3] == "segment UF=PE -2.0% at least -5.0% passed"
    assert lines[4] == "bias all 21.4% 18.0% to 25.0% -15.0% to 15.0% REFUSED"
    assert lines[6] == "shifted stores all 2 at most 0 REFUSED"
    assert [tone for _, tone in told].count("leak") == 4


@pytest.mark.parametrize("width", [72, 80, 200])
def test_it_fits_the_terminal(width: int) -> None:
    told = [text for text, _ in table(CHECKS, width)]
    assert max(map(len, told)) <= width
    assert ("interval" in told[0]) == (width > 72)


def test_what_tells_nothing_is_left_out() -> None:
    (head, _), (line, _) = table((check("baseline", 0.2, (0.0, None), True),), 100)
    assert head.split() == ["check", "of", "found", "asked", "for", "verdict"]
    assert line.split() == ["baseline", "all", "20.0%", "above", "0%", "passed"]
    assert table((), 100) == []
