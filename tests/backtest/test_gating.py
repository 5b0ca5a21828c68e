"""What the promotion gate says of a challenger, of a first model, and of a refreshed one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl
import pytest

from storecast.backtest.gating import (
    challenge,
    coverage_bounds,
    first,
    gain_p_value,
    refresh,
)
from storecast.backtest.judgement import Check, Judgement, Limits
from storecast.backtest.losses import scored_alike
from storecast.backtest.significance import sign_flip, windows_needed
from storecast.core import metrics
from storecast.errors import Code, ModelError

from .gate_windows import RULES, windows

WIDE = Limits(max_bias=1.0, coverage=(0.0, 1.0))
STRICT = Limits(max_bias=0.15, coverage=(0.0, 1.0))


def check(judgement: Judgement, name: str, member: str = "all") -> Check:
    (found,) = [c for c in judgement.checks if (c.name, c.member) == (name, member)]
    return found


# ---------------------------------------------------------------------- the losses


@pytest.mark.parametrize("metric", ["wape", "wql", "mase", "sql", "rmsse"])
def test_losses_are_those_of_the_validation(metric: str) -> None:
    frame = windows(error=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).with_columns(
        scale=pl.when(pl.col("store_id") == "003").then(0.0).otherwise("scale")
    )
    (own,) = scored_alike([frame], RULES, metric)
    wanted = metrics.score(frame.filter("compared"), RULES, by=["cutoff"])
    assert own.loss.by_cutoff() == pytest.approx(wanted[metric].to_numpy())
    assert own.bias.by_cutoff() == pytest.approx(wanted["bias"].to_numpy())
    assert own.coverage.by_cutoff() == pytest.approx(wanted["coverage"].to_numpy())


def test_only_the_headlines_part_up_to_the_next_cutoff_counts() -> None:
    frame = windows()
    beyond = ~pl.col("compared") | (pl.col("store_id") == "007")
    spoilt = frame.with_columns(
        forecast=pl.when(beyond).then(1e9).otherwise("forecast"),
        segment=pl.when(pl.col("store_id") == "007")
        .then(pl.lit("cold_start"))
        .otherwise("segment"),
    )
    (one,) = scored_alike([frame.filter(pl.col("store_id") != "007")], RULES, "wape")
    (other,) = scored_alike([spoilt], RULES, "wape")
    assert other.loss.by_cutoff().tolist() == one.loss.by_cutoff().tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.slice(1),
        lambda frame: pl.concat([frame, frame.head(1)]),
        lambda frame: frame.with_columns(sales=pl.col("sales") + 1),
        lambda frame: frame.with_columns(store_id=pl.col("store_id") + "x"),
    ],
)
def test_models_that_were_asked_for_other_rows_are_not_compared(change: object) -> None:
    frame = windows()
    with pytest.raises(ModelError) as caught:
        challenge(frame, change(windows(2)), RULES, WIDE)  # type: ignore[operator]
    assert caught.value.code == Code.GATE_ROWS_DIFFER


def test_the_order_of_the_rows_does_not_matter() -> None:
    champion, challenger = windows(), windows(2, error=0.25)
    shuffled = challenger.sample(fraction=1.0, shuffle=True, seed=1)
    assert challenge(champion, shuffled, RULES, WIDE) == challenge(
        champion, challenger, RULES, WIDE
    )


# --------------------------------------------------------------------- a challenge


def test_a_challenger_that_gains_at_each_cutoff_gets_through() -> None:
    judgement = challenge(windows(error=0.3), windows(2, error=0.27), RULES, WIDE)
    assert (judgement.outcome, judgement.p_value) == ("passed", 2**-6)
    assert judgement.gain == pytest.approx(0.1, abs=1e-9)
    low, high = judgement.interval or (1, 0)
    assert low <= 0.1 <= high
    assert judgement.reasons == ()
    json.dumps(judgement.as_dict())


def test_a_gain_below_the_one_that_is_asked_for_is_refused() -> None:
    judgement = challenge(
        windows(error=0.3), windows(2, error=0.27), RULES, Limits(min_gain=0.15, max_bias=1.0)
    )
    assert judgement.outcome == "refused"
    assert check(judgement, "gain").bound == (0.15, None)
    assert judgement.p_value == 1.0


def test_the_gain_is_tested_against_the_share_that_is_asked_for() -> None:
    a, b = [0.30, 0.31, 0.32, 0.33, 0.30, 0.31], [0.27, 0.28, 0.29, 0.305, 0.28, 0.27]
    champion, challenger = scored_alike([windows(error=a), windows(2, error=b)], RULES, "wape")
    for share in (0.0, 0.05, 0.09, 0.2):
        wanted = sign_flip([y - (1 - share) * x for x, y in zip(a, b, strict=True)], "less")
        assert gain_p_value(champion, challenger, share) == wanted


def test_a_worse_challenger_is_refused_and_says_why() -> None:
    judgement = challenge(windows(error=0.3), windows(2, error=0.36), RULES, WIDE)
    assert judgement.outcome == "refused"
    assert "20.0% above the champion's" in judgement.reasons[0]
    assert "no gain above zero" in judgement.reasons[0]


def test_the_same_forecasts_are_no_gain() -> None:
    judgement = challenge(windows(), windows(), RULES, WIDE)
    assert (judgement.outcome, judgement.gain, judgement.interval) == ("refused", 0.0, (0.0, 0.0))


def test_what_may_be_chance_is_not_enough_evidence() -> None:
    mixed = [0.2, 0.33, 0.27, 0.31, 0.33, 0.26]
    judgement = challenge(windows(error=0.3), windows(2, error=mixed), RULES, WIDE)
    assert judgement.outcome == "not_enough_evidence"
    found = check(judgement, "gain")
    assert found.passed is None
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert "not enough evidence" in judgement.reasons[0]


def test_what_hangs_on_one_store_is_not_enough_evidence() -> None:
    """It gains at each cutoff, by a single store alone."""
    luck = windows(2).with_columns(
        forecast=pl.when(pl.col("store_id") == "005").then("sales").otherwise("forecast")
    )
    judgement = challenge(windows(), luck, RULES, WIDE)
    assert (judgement.outcome, judgement.p_value) == ("not_enough_evidence", 2**-6)
    assert judgement.gain is not None
    assert judgement.gain > 0
    assert judgement.reasons[0].endswith("the interval reaches below it")


def test_too_few_windows_say_how_many_it_takes() -> None:
    judgement = challenge(
        windows(error=0.3, cutoffs=3), windows(2, error=0.2, cutoffs=3), RULES, WIDE
    )
    assert (judgement.outcome, judgement.p_value) == ("not_enough_evidence", 0.125)
    assert "takes at least 4 windows (gate.windows)" in judgement.reasons[0]


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.1, 4), (0.0625, 4), (0.05, 5)])
def test_how_many_windows_a_level_takes(alpha: float, needed: int) -> None:
    assert windows_needed(alpha) == needed
    assert sign_flip([-1.0] * needed, "less") <= alpha  # type: ignore[operator]
    assert sign_flip([-1.0] * (needed - 1) or [1.0], "less") > alpha  # type: ignore[operator]


# -------------------------------------------------------------------- its segments


def test_a_segment_refuses_where_its_whole_interval_is_beyond_the_bound() -> None:
    champion, challenger = windows(error=0.3), windows(2, error=0.1, north=0.33)
    judgement = challenge(champion, challenger, RULES, WIDE)
    assert judgement.outcome == "refused"
    north, south = (check(judgement, "segment", f"region={r}") for r in ("North", "South"))
    assert (north.value, south.value) == pytest.approx((-0.1, 2 / 3))
    assert (north.passed, south.passed) == (False, True)
    assert judgement.reasons == (north.sentence,)
    wider = Limits(max_bias=1.0, coverage=(0.0, 1.0), max_segment_loss=0.11)
    assert challenge(champion, challenger, RULES, wider).passed


def test_a_segment_that_may_be_within_the_bound_does_not_refuse() -> None:
    challenger = windows(2, error=0.1, north=[0.1, 0.7, 0.1, 0.1, 0.7, 0.4])
    judgement = challenge(windows(error=0.3), challenger, RULES, WIDE)
    found = check(judgement, "segment", "region=North")
    assert found.value is not None
    assert found.low is not None
    assert found.value < -0.05, "worse by more than the bound, on average"
    assert found.low < -0.05 < (found.high or 0)
    assert found.passed


def test_small_segments_are_not_looked_at() -> None:
    judgement = challenge(
        windows(error=0.3, stores=38), windows(2, error=0.1, north=0.6, stores=38), RULES, WIDE
    )
    assert [c.name for c in judgement.checks if c.name == "segment"] == []
    twenty = challenge(windows(stores=39), windows(2, stores=39), RULES, WIDE)
    assert [c.member for c in twenty.checks if c.name == "segment"] == ["region=North"]


def test_a_store_counts_in_the_segment_that_it_had_at_each_cutoff() -> None:
    last = pl.col("cutoff") == pl.col("cutoff").max()
    champion, challenger = (
        frame.with_columns(region=pl.when(last).then(pl.lit("West")).otherwise("region"))
        for frame in (windows(error=0.3), windows(2, error=[0.3] * 5 + [0.15]))
    )
    judgement = challenge(champion, challenger, RULES, WIDE)
    assert check(judgement, "segment", "region=West").value == pytest.approx(0.5)
    assert check(judgement, "segment", "region=North").value == pytest.approx(0.0)


# -------------------------------------------------------------- bounds of the model


@pytest.mark.parametrize("bias", [-0.2, 0.2])
def test_a_bias_out_of_bounds_refuses(bias: float) -> None:
    challenger = windows(2, error=0.0, bias=bias)
    judgement = challenge(windows(error=0.3), challenger, RULES, STRICT)
    found = check(judgement, "bias")
    assert (judgement.outcome, found.bound) == ("refused", (-0.15, 0.15))
    assert found.value == pytest.approx(bias)
    assert judgement.reasons == (found.sentence,)


def test_a_bias_no_worse_than_the_champions_does_not_refuse() -> None:
    champion, challenger = windows(error=0.0, bias=0.25), windows(2, error=0.0, bias=0.2)
    judgement = challenge(champion, challenger, RULES, STRICT)
    assert judgement.passed
    assert check(judgement, "bias").bound == pytest.approx((-0.25, 0.25))


def test_intervals_that_hold_too_little_or_too_much_refuse() -> None:
    champion = windows(error=0.3)
    right = challenge(champion, windows(2, error=0.2), RULES, Limits())
    found = check(right, "coverage")
    assert found.bound == pytest.approx((0.6, 0.95))
    assert found.value == pytest.approx(2 / 3), "the lower end lies above the sales in two of six"
    never = windows(2, error=0.2).with_columns(q90=pl.col("q10"))
    always = windows(2, error=0.2).with_columns(q10=pl.col("sales") * 0)
    assert right.passed
    for frame in (never, always):
        judgement = challenge(champion, frame, RULES, Limits())
        assert judgement.outcome == "refused"
        assert judgement.reasons == (check(judgement, "coverage").sentence,)


def test_bounds_of_the_coverage_follow_from_what_the_interval_says() -> None:
    assert coverage_bounds(0.8) == pytest.approx((0.6, 0.95))
    assert coverage_bounds(0.95) == pytest.approx((0.9, 0.9875))
    assert coverage_bounds(0.2) == pytest.approx((0.0, 0.8))


def test_a_challenger_that_the_baseline_filled_refuses() -> None:
    failed = windows(2, error=0.1).with_columns(
        origin=pl.when(pl.col("cutoff") == pl.col("cutoff").max())
        .then(pl.lit("filled"))
        .otherwise("origin")
    )
    judgement = challenge(windows(error=0.3), failed, RULES, WIDE)
    assert judgement.outcome == "refused"
    assert check(judgement, "filled").value == pytest.approx(1 / 6)


# ------------------------------------------------------------------ a first deployment


def test_a_first_model_must_beat_the_naives_mean() -> None:
    naive = windows(error=[0.3, 0.3, 0.3, 0.3, 0.3, 0.5])
    better, worse = windows(2, error=0.33), windows(2, error=1 / 3 + 1e-6)
    assert first(better, naive, RULES, Limits()).passed, "by the mean, not by most cutoffs"
    judgement = first(worse, naive, RULES, Limits())
    assert judgement.outcome == "refused"
    assert judgement.gain is not None
    assert judgement.gain < 0
    assert first(naive, naive, RULES, Limits()).outcome == "refused", "not below"


# ------------------------------------------------------------------------- a refresh


START = date(2025, 3, 1)


def ahead(
    level: float = 100.0, stores: int = 20, days: int = 28, of: Mapping[str, float] | None = None
) -> pl.DataFrame:
    """Forecasts of ``stores`` stores; ``of`` gives single ones another level."""
    return pl.DataFrame(
        [
            (f"s{s:02d}", START + timedelta(days=d), v, v)
            for s in range(stores)
            for d in range(days)
            for v in [(of or {}).get(f"s{s:02d}", level)]
        ],
        schema=["store_id", "date", "forecast", "forecast_mean"],
        orient="row",
    )


def sold(level: float = 100.0, year_ago: float = 100.0, stores: int = 20) -> pl.DataFrame:
    """The last 28 days, and those of a year before the forecast ones."""
    days = [(START - timedelta(days=d), level) for d in range(1, 29)]
    days += [(START + timedelta(days=d - 364), year_ago) for d in range(28)]
    return pl.DataFrame(
        [(f"s{s:02d}", day, value) for s in range(stores) for day, value in days],
        schema=["store_id", "date", "sales"],
        orient="row",
    )


def refreshed(
    new: pl.DataFrame | None = None,
    *,
    serving: pl.DataFrame | None = None,
    recipe: pl.DataFrame | None = None,
    baseline: pl.DataFrame | None = None,
    history: pl.DataFrame | None = None,
) -> Judgement:
    return refresh(
        windows(2, error=0.2) if recipe is None else recipe,
        windows(error=0.3) if baseline is None else baseline,
        ahead() if new is None else new,
        ahead() if serving is None else serving,
        sold() if history is None else history,
        RULES,
        Limits(),
    )


def test_the_same_recipe_on_newer_data_gets_through() -> None:
    judgement = refreshed()
    names = ["baseline", "bias", "coverage", "filled", "shift", "shifted_stores", "level"]
    assert [c.name for c in judgement.checks] == names
    assert judgement.passed
    assert judgement.p_value is None


def test_it_must_still_beat_the_baseline() -> None:
    judgement = refreshed(recipe=windows(2, error=0.31))
    assert judgement.outcome == "refused"
    assert judgement.reasons == (check(judgement, "baseline").sentence,)


def test_where_the_recipe_is_the_baseline_the_bounds_are_asked_alone() -> None:
    judgement = refresh(windows(error=0.2), None, ahead(), ahead(), sold(), RULES, Limits())
    assert judgement.passed
    assert (judgement.checks[0].name, judgement.gain) == ("bias", None)


def test_a_serving_model_that_cannot_be_asked_is_not_compared_with() -> None:
    judgement = refresh(windows(), windows(3, error=0.4), ahead(), None, sold(), RULES, Limits())
    assert "shift" not in [c.name for c in judgement.checks]
    assert judgement.passed


@pytest.mark.parametrize(("level", "passed"), [(124.0, True), (126.0, False), (74.0, False)])
def test_its_forecasts_stay_near_the_serving_ones(level: float, passed: bool) -> None:
    judgement = refreshed(ahead(level))
    assert check(judgement, "shift").value == pytest.approx(abs(level - 100) / 100)
    assert check(judgement, "shift").passed is passed


def test_shifts_up_and_down_do_not_cancel() -> None:
    half = {f"s{s:02d}": 140.0 if s % 2 else 60.0 for s in range(20)}
    assert check(refreshed(ahead(of=half)), "shift").value == pytest.approx(0.4)


def test_few_stores_may_be_shifted_far_many_may_not() -> None:
    two, three = ({f"s{s:02d}": 151.0 for s in range(n)} for n in (2, 3))
    assert refreshed(ahead(of=two)).passed
    judgement = refreshed(ahead(of=three))
    assert judgement.outcome == "refused"
    assert "3 of 20 stores" in judgement.reasons[0]
    assert "s00, s01, s02" in judgement.reasons[0]


def test_stores_that_only_one_of_them_forecasts_do_not_count() -> None:
    judgement = refreshed(ahead(stores=22, of={"s20": 9e9, "s21": 9e9}), history=sold(stores=20))
    assert judgement.passed


@pytest.mark.parametrize(
    ("last", "year_ago", "value", "passed"),
    [
        (100.0, 100.0, 1.0, True),
        (10.0, 100.0, 1.0, True),  # december after november
        (100.0, 1000.0, 1.0, True),  # a chain that shrinks
        (50.0, 200.0, 1.0, True),  # between both
        (60.0, 70.0, 100 / 70, True),
        (60.0, 65.0, 100 / 65, False),
        (160.0, 200.0, 100 / 160, False),
    ],
)
def test_its_level_stays_near_recent_ones(
    last: float, year_ago: float, value: float, passed: bool
) -> None:
    judgement = refreshed(history=sold(last, year_ago))
    assert check(judgement, "level").value == pytest.approx(value)
    assert check(judgement, "level").passed is passed


def test_without_a_year_the_last_periods_are_compared_alone() -> None:
    young = sold().filter(pl.col("date") > date(2025, 1, 1))
    assert refreshed(history=young).passed
    assert not refreshed(ahead(151.0), serving=ahead(151.0), history=young).passed


def test_without_any_level_nothing_can_be_told() -> None:
    unknown = sold().with_columns(sales=pl.lit(None, pl.Float64))
    assert refreshed(history=unknown).outcome == "not_enough_evidence"
    nothing = refreshed(ahead(0.0), serving=ahead(0.0))
    assert check(nothing, "shift").passed
    assert check(nothing, "level").value == 0.0
    assert nothing.outcome == "refused"
