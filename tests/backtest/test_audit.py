"""The leak audit: honest roads pass, leaky ones are caught and the kind is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storecast.adapters.local.compute import LocalCompute
from storecast.backtest import tasks
from storecast.backtest.alteration import HOWS, KINDS, altered, doubled
from storecast.backtest.audit import (
    ATTRIBUTES_OF_TODAY,
    Finding,
    Leak,
    Verdict,
    audit,
    few_stores,
)
from storecast.backtest.hindsight import by_chance, suspects
from storecast.backtest.road import Road
from storecast.core.calendar import Frequency
from storecast.core.panel import History, lives
from storecast.core.window import cut
from storecast.errors import InputError
from storecast.models import base
from tests.core.test_window import SPAN, assert_same, cutoff_of, histories

from . import leaky
from .backtest_chains import FAST, THROUGH, Broken, Here, Point, history_of, recipe, rich_history

CUTOFF = THROUGH - timedelta(weeks=6)
MODELS = (recipe("seasonal_naive"), recipe("local_level"), recipe("lightgbm", **FAST))


def examples(most: int) -> settings:
    return settings(
        max_examples=most,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )


def road_of(*recipes: base.Recipe, cutoff: date = CUTOFF, back: tuple[int, ...] = (2,)) -> Road:
    earlier = tuple(cutoff - timedelta(weeks=w) for w in back)
    return Road(recipes or MODELS, recipe("seasonal_naive"), (*earlier, cutoff), 4)


def with_versions(history: History) -> History:
    """Attributes in versions, one of them from after the cutoff."""
    assert history.stores is not None
    first = history.stores.with_columns(valid_from=pl.lit(date(2020, 1, 1)))
    later = first.head(2).with_columns(
        valid_from=pl.lit(CUTOFF + timedelta(days=3)), region=pl.lit("x")
    )
    return replace(
        history,
        store_versions=pl.concat([first, later]),
        rules=replace(history.rules, timeless=False),
    )


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1
    return findings[0]


# ----------------------------------------------------------------- the honest ones


def test_the_real_road_passes_and_every_kind_was_tried() -> None:
    findings = audit(road_of(), with_versions(rich_history()), CUTOFF)
    assert [f.model for f in findings] == ["lightgbm", "local_level", "seasonal_naive"]
    for finding in findings:
        assert finding.status == "passed"
        assert set(finding.kinds) == set(KINDS)
        assert finding.stores == 5


@pytest.mark.slow
@examples(40)
@given(histories(), st.integers(1, SPAN - 2), st.sampled_from(HOWS))
def test_what_is_altered_never_reaches_a_window(history: History, back: int, how: Any) -> None:
    cutoff = cutoff_of(history, back)
    try:
        window = cut(history, cutoff, history.rules.horizon)
    except InputError:
        return
    for kinds in (*([k] for k in KINDS), KINDS):
        other = altered(history, cutoff, kinds, how)
        assert other.through == history.through
        assert_same(window, cut(other, cutoff, history.rules.horizon))


@pytest.mark.parametrize("how", HOWS)
def test_the_day_of_the_cutoff_itself_belongs_to_the_past(how: Any) -> None:
    history = with_versions(rich_history())
    assert history.stores is not None
    assert history.store_versions is not None
    assert history.covariate_versions is not None
    today = pl.lit(CUTOFF)
    on_the_day = replace(
        history,
        stores=history.stores.with_columns(opened_on=today - timedelta(weeks=9), closed_on=today),
        store_versions=history.store_versions.with_columns(
            valid_from=pl.when(pl.col("valid_from") > CUTOFF).then(today).otherwise("valid_from")
        ),
        covariate_versions=history.covariate_versions.with_columns(
            known_at=pl.when(pl.col("date") == CUTOFF).then(today).otherwise("known_at")
        ).unique(["store_id", "date", "known_at"], keep="first", maintain_order=True),
    )
    other = altered(on_the_day, CUTOFF, KINDS, how)
    assert_same(cut(on_the_day, CUTOFF, 4), cut(other, CUTOFF, 4))
    # opened and closed by then: nothing of it is later
    assert other.stores is not None
    assert on_the_day.stores is not None
    same = pl.col("store_id").is_in(on_the_day.stores["store_id"].implode())
    dates = ["store_id", "opened_on", "closed_on"]
    seen = lives(on_the_day, on_the_day.rules.frequency.ordinal(CUTOFF))["store_id"].implode()
    kept = other.stores.filter(same & pl.col("store_id").is_in(seen)).select(dates)
    assert kept.equals(on_the_day.stores.filter(pl.col("store_id").is_in(seen)).select(dates))


@examples(10)
@given(histories(), st.integers(6, SPAN - 8), st.sampled_from(HOWS))
def test_no_forecast_changes_with_anything_past_the_cutoff(
    history: History, back: int, how: Any
) -> None:
    frequency = history.rules.frequency
    cutoff = cutoff_of(history, back)
    before = frequency.last_day(frequency.ordinal(cutoff) - 2)
    tiny = recipe("lightgbm", n_estimators=4, lags=[1, 2], min_child_samples=2)
    models = (recipe("seasonal_naive"), recipe("local_level"), tiny)
    road = Road(models, models[0], (before, cutoff), history.rules.horizon)
    try:
        cut(history, before, history.rules.horizon)
    except InputError:
        return
    assert road(altered(history, cutoff, KINDS, how)).equals(road(history))


# ------------------------------------------------------------------- the leaky ones


@pytest.mark.parametrize("name", leaky.ROADS)
def test_a_leaky_model_is_caught_and_its_honest_twin_is_not(name: str) -> None:
    history = rich_history()
    caught = only(audit(leaky.ROADS[name](CUTOFF, True), history, CUTOFF))
    assert caught.status == "leaking", name
    honest = only(audit(leaky.ROADS[name](CUTOFF, False), history, CUTOFF))
    assert honest.status == "passed", honest


def test_labels_at_a_months_start_are_caught() -> None:
    chain = history_of({"a": (0, [])}, frequency=Frequency("MS"))
    months = [date(2020 + n // 12, n % 12 + 1, 1) for n in range(33)]
    sales = pl.DataFrame(
        [(s, m, float(9 * k + i)) for k, s in enumerate("ab") for i, m in enumerate(months)],
        schema=chain.sales.schema,
        orient="row",
    )
    history = replace(chain, sales=sales)
    cutoff = date(2022, 5, 31)
    caught = only(audit(leaky.labels_at_the_start(cutoff, True), history, cutoff))
    assert {leak.kind for leak in caught.leaks} == {"sales"}
    honest = only(audit(leaky.labels_at_the_start(cutoff, False), history, cutoff))
    assert honest.status == "passed"


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_that_leaks_is_named(kind: str) -> None:
    finding = only(audit(leaky.knows_later(CUTOFF, kind), with_versions(rich_history()), CUTOFF))
    assert finding.status == "leaking"
    assert kind in {leak.kind for leak in finding.leaks}
    # with a row of sales its realised covariates go, and with its only rows a store
    whole_rows = {"realised_covariates", "stores_born_later"}
    others = {"sales"} if kind in whole_rows else {"stores_born_later"}
    assert {leak.kind for leak in finding.leaks} <= {kind, *others}
    assert Verdict.over([finding]).failed


@pytest.mark.slow
def test_a_cut_that_is_off_by_one_is_caught_with_the_models_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(history: History, cutoff: date, horizon: int) -> Any:
        window = cut(history, cutoff, horizon)
        peeked = cut(history, cutoff + timedelta(weeks=1), horizon)
        rows = peeked.past.rows.with_columns(pl.col("period") - 1)
        kept = rows.filter(pl.col("store_id").is_in(window.past.stores["store_id"].implode()))
        return replace(window, past=replace(window.past, rows=kept))

    monkeypatch.setattr(tasks, "cut", late)
    findings = audit(road_of(), rich_history(), CUTOFF)
    assert {f.model: f.status for f in findings} == dict.fromkeys(
        ("lightgbm", "local_level", "seasonal_naive"), "leaking"
    )


def test_who_ignores_the_past_or_brings_his_own_is_not_proven() -> None:
    history = rich_history()
    for road in (leaky.blind(CUTOFF), leaky.closes_over(history, CUTOFF)):
        finding = only(audit(road, history, CUTOFF))
        assert (finding.moved, finding.status) == (False, "unmoved")


def test_who_says_something_else_each_time_is_told_from_who_leaks() -> None:
    finding = only(audit(leaky.restless(CUTOFF), rich_history(), CUTOFF))
    assert finding.status == "unrepeatable"


def test_what_the_season_does_not_move_the_whole_past_may() -> None:
    # a median of 26 weeks that are all the same does not see four of them doubled
    flat = history_of({s: (59, [5.0] * 60) for s in "ab"})
    season = only(audit(road_of(recipe("local_level", season="none", window=26)), flat, CUTOFF))
    assert season.status == "passed"


def test_where_nothing_was_sold_nothing_is_proven() -> None:
    silent = history_of({"a": (59, [0.0] * 54 + [3.0] * 6)})
    finding = only(audit(road_of(recipe("seasonal_naive")), silent, CUTOFF))
    assert (finding.moved, finding.status) == (None, "unproven")


def test_a_model_without_a_forecast_of_its_own_is_not_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "entry_points", lambda group: [Point(Broken)])
    finding = only(audit(road_of(recipe("broken")), rich_history(), CUTOFF))
    assert (finding.own, finding.status) == (False, "unproven")


def test_the_control_passes_over_the_mask() -> None:
    mask = ((CUTOFF - timedelta(weeks=5), CUTOFF),)
    history = history_of({"a": (59, [float(i) for i in range(60)])}, mask=mask)
    moved = history.sales.filter(doubled(history, CUTOFF).sales["sales"] != history.sales["sales"])
    # a season of four, before the six weeks that nobody sees
    assert moved["date"].to_list() == [CUTOFF - timedelta(weeks=w) for w in (9, 8, 7, 6)]


# --------------------------------------------------------------- today's attributes


def closing_chain(**attributes: list[str | None]) -> History:
    """Twenty stores; s16 closed long ago, the later ones end after EARLY, the last in silence."""
    draw = {f"s{i:02}": (59, [float(20 + (7 * i + j) % 11) for j in range(60)]) for i in range(20)}
    draw["s19"] = (59, [float(30 + j % 5) for j in range(43)] + [0.0] * 17)
    closed = [None] * 16 + [date(2022, 3, 6), date(2022, 10, 9), date(2022, 10, 16), None]
    stores = pl.DataFrame(
        {"store_id": [*draw], "closed_on": pl.Series(closed, dtype=pl.Date), **attributes},
        schema_overrides=dict.fromkeys(attributes, pl.String),
    )
    return history_of(draw, stores, attributes=tuple(attributes))


EARLY = THROUGH - timedelta(weeks=20)
STATUS: list[str | None] = ["open"] * 16 + ["closed"] * 4
REASON: list[str | None] = [None] * 16 + ["lease", "loss", "loss", "fire"]
REGION: list[str | None] = ["n", "s"] * 10
LEFT: list[str | None] = ["n"] * 17 + ["s"] * 3


def test_an_attribute_that_tells_the_ended_from_the_others_is_suspect() -> None:
    history = closing_chain(status=STATUS, reason=REASON, region=REGION, left=LEFT)
    assert suspects(history, EARLY) == ("status", "reason")
    # all have ended by then: it tells a model nothing
    assert suspects(history, date(2022, 10, 16)) == ()
    one = history_of(
        {s: (59, [5.0] * 60) for s in "abcde"},
        pl.DataFrame({
            "store_id": list("abcde"), "closed_on": [None] * 4 + [THROUGH], "status": list("ooooc"),
        }),
        attributes=("status",),
    )  # fmt: skip
    assert suspects(one, EARLY) == ()


def test_the_chance_is_that_of_the_hypergeometric_distribution() -> None:
    from scipy.stats import hypergeom

    for total, ends, n, both in ((12, 4, 4, 4), (79, 5, 9, 3), (40, 10, 12, 0)):
        expected = hypergeom.sf(both - 1, total, ends, n)
        assert by_chance(total, ends, n, both) == pytest.approx(expected)


def test_todays_status_as_an_attribute_is_caught_in_the_model_that_uses_it() -> None:
    trees = recipe(
        "lightgbm", n_estimators=30, lags=[1, 2], min_child_samples=2, colsample_bytree=1.0
    )
    models = (recipe("seasonal_naive"), trees)
    road = road_of(*models, cutoff=EARLY)
    leaking = {f.model: f for f in audit(road, closing_chain(status=STATUS), EARLY)}
    assert {leak.kind for leak in leaking["lightgbm"].leaks} == {ATTRIBUTES_OF_TODAY}
    assert leaking["seasonal_naive"].status == "passed"
    honest = {f.model: f.status for f in audit(road, closing_chain(region=REGION), EARLY)}
    assert honest == {"lightgbm": "passed", "seasonal_naive": "passed"}


# ------------------------------------------------------------------ which, and what it says


def test_few_stores_are_chosen_by_rule_and_those_near_the_cutoff_are_among_them() -> None:
    values = {f"s{i:03}": (59, [float(i + 1)] * 60) for i in range(60)}
    values |= {"born": (3, [1.0] * 4), "old": (70, [2.0] * 71)}
    closed = {"s010": CUTOFF + timedelta(days=3), "s020": CUTOFF - timedelta(days=30)}
    stores = pl.DataFrame(
        {
            "store_id": [*values],
            "closed_on": pl.Series([closed.get(s) for s in values], dtype=pl.Date),
        }
    )
    history = history_of(values, stores)
    chosen = few_stores(history, CUTOFF, 16)
    ids = set(chosen.sales["store_id"])
    assert len(ids) == 16
    assert {"s010", "s020", "born"} <= ids
    assert chosen.stores is not None
    assert set(chosen.stores["store_id"]) == ids
    shuffled = replace(history, sales=history.sales.sample(fraction=1, shuffle=True, seed=1))
    assert set(few_stores(shuffled, CUTOFF, 16).sales["store_id"]) == ids
    assert few_stores(history, CUTOFF, 62) is history
    assert lives(chosen, history.rules.frequency.ordinal(CUTOFF)).height == 15


def test_a_verdict_is_the_worst_finding_and_survives_json() -> None:
    leak = Leak("sales", "altered", 3, "s1")
    good = Finding("m", CUTOFF, 5, ("sales",), (), True, True, True)
    bad = replace(good, cutoff=THROUGH, leaks=(leak,))
    verdict = Verdict.over([good, bad], "key")
    assert (verdict.status, verdict.failed, verdict.passed) == ("leaking", True, False)
    assert "s1" in verdict.sentence()
    assert Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) == verdict
    assert Verdict.over([good]).passed
    unmoved = Verdict.over([good, replace(good, moved=False)])
    assert (unmoved.status, unmoved.failed) == ("unmoved", True)
    unproven = Verdict.over([replace(good, own=False), good])
    assert (unproven.failed, unproven.passed) == (False, False)


@pytest.mark.slow
def test_in_processes_it_is_the_same() -> None:
    found = [
        audit(road_of(), rich_history(), CUTOFF, each=True, compute=compute)
        for compute in (LocalCompute(2), Here())  # type: ignore[list-item]
    ]
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_model_that_ends_its_process_is_found_out_and_nothing_else_ends() -> None:
    (finding,) = audit(
        leaky.dying, rich_history(), CUTOFF, compute=LocalCompute(), light=True, foreign=["own"]
    )
    assert (finding.model, finding.status) == ("own", "died")
    verdict = Verdict.over([finding])
    assert (verdict.passed, verdict.failed) == (False, False)
    assert "died" in verdict.sentence()


def test_a_foreign_model_that_lives_is_audited_as_any_other() -> None:
    naive = [recipe("seasonal_naive")]
    found = [
        audit(road_of(*naive), rich_history(), CUTOFF, compute=Here(), foreign=foreign)  # type: ignore[arg-type]
        for foreign in ([], ["seasonal_naive"])
    ]
    assert found[0] == found[1]
    assert only(found[0]).status == "passed"
