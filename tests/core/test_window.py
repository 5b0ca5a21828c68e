"""Windows: the slow reading of the definitions, no leak, and the cutoffs."""

import calendar as standard
import datetime as dt
import math
import random
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from storecast.core.calendar import CODES, CalendarRules, Event, Frequency, calendar_features
from storecast.core.panel import History, Known, SeriesRules
from storecast.core.window import Window, actuals, cut, cutoffs, unsold
from storecast.errors import Code, ContractError, InputError

D = dt.date
DAY = dt.timedelta(days=1)
IDS = ("001", "1", "e\u0301", "\u00e9")
BEGIN = {"D": D(2019, 12, 20), "W": D(2019, 11, 5), "M": D(2018, 6, 1)}
SPAN = 24
EVENTS = CalendarRules(events=(Event("fair", ((D(2019, 12, 28), D(2020, 1, 10)),)),))


def random_history(seed: int) -> History:
    """A small history full of what goes wrong: gaps, closings, late openings, masks, versions."""
    chance = random.Random(seed)
    frequency = Frequency(chance.choice(["D", "W-SUN", "W-WED", "MS", "ME"]))
    base = frequency.ordinal(BEGIN[frequency.kind])
    periods = range(base, base + SPAN)
    start = frequency.first_day(base)
    through = frequency.last_day(base + SPAN - 1) + chance.randint(0, 3) * DAY

    def day():
        return start + chance.randint(-20, (through - start).days + 20) * DAY

    def maybe():
        return day() if chance.random() < 0.5 else None

    def number():
        return chance.choice([0.0, 5.0, -2.5, 7.25, 1e6, math.nan, None])

    def rows(names, some=IDS, share=0.5):
        return [
            (i, frequency.label(n), *(number() for _ in names))
            for i in some if chance.random() < 0.9
            for n in chance.sample(periods, chance.randint(0, int(SPAN * share)))
        ]  # fmt: skip

    def table(names, made):
        kinds = {"store_id": pl.String, "date": pl.Date, "known_at": pl.Date,
                 "valid_from": pl.Date, "opened_on": pl.Date, "closed_on": pl.Date,
                 "kind": pl.String}  # fmt: skip
        schema = {n: kinds.get(n, pl.Float64) for n in names}
        return pl.DataFrame(made, schema=schema, orient="row")

    rules = SeriesRules(
        frequency=frequency,
        season=2,
        missing=chance.choice(["zero", "unknown"]),
        training_from=start + chance.randint(-9, 40) * DAY,
        mask=tuple(tuple(sorted((day(), day()))) for _ in range(chance.choice([0, 0, 1, 2]))),
        closed_when={"open_flag": 0.0},
        known={
            "open_flag": Known(None), "promo": Known(chance.randint(0, 4)), "price": Known(None)
        },
        realised=("clients",),
        attributes=("kind",),
        timeless=chance.random() < 0.5,
        calendar=EVENTS,
        horizon=4,
    )  # fmt: skip
    stores = [(i, maybe(), maybe(), chance.choice(["a", None])) for i in (*IDS, "empty")]
    versions = {(i, day()): chance.choice(["v", "w"]) for i in IDS for _ in range(2)}
    recorded = {(i, d, day()): (v,) for k in range(2)
                for i, d, v in rows(["price"], (*IDS[:2], ""), 0.4)}  # fmt: skip
    return History(
        sales=table(["store_id", "date", "sales", "clients"], rows(["sales", "clients"], share=1)),
        stores=table(
            ["store_id", "opened_on", "closed_on", "kind"],
            chance.sample(stores, chance.randint(0, 5)),
        ),
        store_versions=None
        if rules.timeless
        else table(["store_id", "valid_from", "kind"], [(*k, v) for k, v in versions.items()]),
        covariates=table(["store_id", "date", "promo"], rows(["promo"])),
        covariates_by_date=table(
            ["date", "open_flag"], [row[1:] for row in rows(["open_flag"], [""], 1)]
        ),
        covariate_versions=table(
            ["store_id", "date", "known_at", "price"], [(*k, *v) for k, v in recorded.items()]
        ),
        through=through,
        rules=rules,
    )


histories = lambda: st.integers(0, 2**32).map(random_history)  # noqa: E731


def blank(value):
    return None if value is None or math.isnan(value) else value


def lookup(frame, keys):
    return {tuple(r[k] for k in keys): r for r in frame.iter_rows(named=True)}


def slow(history: History, c: D, horizon: int):
    """The section 'Time' of the specification, one store and period after the other."""
    rules, f = history.rules, history.rules.frequency
    sales = lookup(history.sales, ["store_id", "date"])
    told = lookup(history.stores, ["store_id"])
    promo = lookup(history.covariates, ["store_id", "date"])
    flag = lookup(history.covariates_by_date, ["date"])
    last = f.ordinal(c)
    trained = [n for n in range(last - 400, last + 1) if f.first_day(n) >= rules.training_from]
    labels = {n: f.label(n) for n in range(last - 400, last + 1 + horizon)}
    sold_at = {i: [n for n in trained if (i, labels[n]) in sales] for i in IDS}
    chain = min((n for some in sold_at.values() for n in some), default=None)

    def price(i, n):
        for who in (i, ""):
            some = [
                (r["known_at"], r["price"])
                for r in history.covariate_versions.iter_rows(named=True)
                if (r["store_id"], r["date"]) == (who, labels[n])
                and r["known_at"] <= c and blank(r["price"]) is not None
            ]  # fmt: skip
            if some:
                return max(some)[1]
        return None

    def known(i, n):
        ahead = rules.known["promo"].ahead
        return (
            blank(flag.get((labels[n],), {}).get("open_flag")),
            blank(promo.get((i, labels[n]), {}).get("promo")) if n <= last + ahead else None,
            price(i, n),
        )

    def calendar(n):
        span = [f.first_day(n) + k * DAY for k in range((f.last_day(n) - f.first_day(n)).days + 1)]
        fair = sum(D(2019, 12, 28) <= d <= D(2020, 1, 10) for d in span)
        return (len(span), sum(d.weekday() > 4 for d in span), fair) if f.kind == "M" else (fair,)

    past, stores, future = [], [], []
    for i in sorted({*IDS, "empty"}):
        row = told.get((i,), {})
        opened, closed = row.get("opened_on"), row.get("closed_on")
        opened = opened if opened and opened <= c else None
        closed = closed if closed and closed <= c else None
        if opened and closed and closed < opened:
            closed = None
        begin = f.ordinal(opened) if opened else min(sold_at.get(i, []), default=None)
        if begin is None:
            continue
        end = f.ordinal(closed) if closed else last
        life = [n for n in trained if begin <= n <= end and (chain is None or n >= chain)]
        if not life:
            continue
        values = []
        for n in life:
            given = sales.get((i, labels[n]))
            value = blank(given["sales"]) if given else 0.0 if rules.missing == "zero" else None
            hidden = any(a <= f.last_day(n) and f.first_day(n) <= b for a, b in rules.mask)
            values.append((n, None if hidden else value, hidden))
            clients = blank(given["clients"]) if given else None
            past.append((i, labels[n], n, values[-1][1], clients, *known(i, n), *calendar(n)))
        kind = row.get("kind")
        if not rules.timeless:
            valid = [
                (r["valid_from"], r["kind"])
                for r in history.store_versions.iter_rows(named=True)
                if r["store_id"] == i and r["valid_from"] <= c
            ]
            kind = max(valid)[1] if valid else None
        silent = 0
        for _, value, hidden in reversed(values):
            if value:
                break
            silent += not hidden
        stores.append((i, opened, closed, kind, silent >= {"D": 91, "W": 13, "M": 3}[f.kind]))
        if not closed:
            future += [
                (i, labels[last + s], last + s, s, known(i, last + s)[0] == 0.0,
                 *known(i, last + s), *calendar(last + s))
                for s in range(1, horizon + 1)
            ]  # fmt: skip
    return past, stores, future


def calendar_names(history):
    month = ["days", "weekend_days"] if history.rules.frequency.kind == "M" else []
    return [*month, "event_fair"]


def as_rows(frame: pl.DataFrame):
    return [tuple(blank(v) if isinstance(v, float) else v for v in row) for row in frame.rows()]


def cutoff_of(history: History, back: int) -> D:
    f = history.rules.frequency
    return f.last_day(f.complete(history.through) - back)


few = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@few
@given(histories(), st.integers(0, SPAN - 2))
def test_a_window_is_what_the_specification_says(history, back):
    c = cutoff_of(history, back)
    past, stores, future = slow(history, c, 5)
    if not stores:
        with pytest.raises(InputError, match="no store had been seen"):
            cut(history, c, 5)
        return
    window = cut(history, c, 5)
    assert window.past.rows.columns == [
        "store_id", "date", "period", "sales", "clients", "open_flag", "promo", "price",
        *calendar_names(history),
    ]  # fmt: skip
    assert as_rows(window.past.rows) == past
    assert as_rows(window.past.stores) == stores
    assert as_rows(window.future.rows) == future
    expected = ("open_flag", "promo") if history.rules.known["promo"].ahead else ("open_flag",)
    assert window.perfect_foresight == expected


def later_changed(history: History, c: D, horizon: int) -> History:
    """The same past; all that a model must not see is altered, and half of it gone."""
    f = history.rules.frequency
    cutoff = f.complete(c)
    period = f.ordinals("date")
    shift = lambda name: pl.when(period > cutoff).then(pl.col(name).fill_null(0) + 1e9)  # noqa: E731
    sales = history.sales.filter((period <= cutoff) | (period % 2 == 0)).with_columns(
        shift(n).otherwise(n).alias(n) for n in ("sales", "clients")
    )
    new = pl.DataFrame(
        {"store_id": ["new", "new"], "date": [f.label(cutoff + 1), f.label(cutoff + 2)],
         "sales": [1.0, 2.0], "clients": [1.0, None]}
    )  # fmt: skip
    dates = [
        pl.when(pl.col(n) > c).then(pl.lit(c) + 1 * DAY + DAY * k).otherwise(n).alias(n)
        for k, n in enumerate(("opened_on", "closed_on"))
    ]
    versions = history.store_versions
    if versions is not None:
        versions = pl.concat(
            [
                versions.filter(pl.col("valid_from") <= c),
                pl.DataFrame({"store_id": IDS, "valid_from": [c + DAY] * 4, "kind": ["later"] * 4}),
            ]
        )
    ahead = history.rules.known["promo"].ahead
    return replace(
        history,
        sales=pl.concat([sales, new]),
        stores=history.stores.with_columns(dates),
        store_versions=versions,
        covariates=history.covariates.filter(period <= cutoff + ahead),
        covariates_by_date=history.covariates_by_date.filter(period <= cutoff + horizon),
        covariate_versions=pl.concat(
            [
                history.covariate_versions.filter(pl.col("known_at") <= c),
                history.covariate_versions.with_columns(
                    known_at=pl.lit(c) + DAY, price=pl.lit(-1.0)
                ),
            ]
        ),
        through=f.last_day(cutoff + 2),
    )


def assert_same(one: Window, other: Window):
    assert_frame_equal(one.past.rows, other.past.rows, check_exact=True)
    assert_frame_equal(one.past.stores, other.past.stores, check_exact=True)
    assert_frame_equal(one.future.rows, other.future.rows, check_exact=True)


@few
@given(histories(), st.integers(1, SPAN - 2))
def test_nothing_after_the_cutoff_reaches_a_window(history, back):
    c = cutoff_of(history, back)
    if not slow(history, c, 4)[1]:
        return
    changed = later_changed(history, c, 4)
    assert_same(cut(history, c, 4), cut(changed, c, 4))


@few
@given(histories(), st.integers(1, SPAN - 2), st.data())
def test_a_change_of_the_past_reaches_the_window(history, back, data):
    c = cutoff_of(history, back)
    if not slow(history, c, 4)[1]:
        return
    window = cut(history, c, 4)
    seen = window.past.rows.filter(pl.col("sales").is_not_null()).join(
        history.sales.select("store_id", "date"), on=["store_id", "date"], how="semi"
    )
    if seen.is_empty():
        return
    key = seen.row(data.draw(st.integers(0, seen.height - 1)), named=True)
    one = (pl.col("store_id") == key["store_id"]) & (pl.col("date") == key["date"])
    sales = history.sales.with_columns(
        sales=pl.when(one).then(key["sales"] + 1).otherwise("sales"), clients=pl.lit(3.5)
    )
    changed = cut(replace(history, sales=sales), c, 4)
    difference = changed.past.rows["sales"] - window.past.rows["sales"]
    assert difference.fill_null(0).sum() == pytest.approx(1)
    assert changed.past.rows["clients"].drop_nulls().to_list() != []


@few
@given(histories(), st.integers(0, SPAN - 2))
def test_actuals_are_what_the_complete_panel_says(history, back):
    c = cutoff_of(history, back)
    if not slow(history, c, 5)[1]:
        return
    window, f = cut(history, c, 5), history.rules.frequency
    last, newest = f.complete(c), f.complete(history.through)
    truth = slow(history, f.last_day(newest), 1)[0]
    by_key = {(row[0], row[2]): row[3] for row in truth}
    ends = {r[0]: f.ordinal(r[2]) if r[2] else newest
            for r in slow(history, f.last_day(newest), 1)[1]}  # fmt: skip
    made = actuals(history, window)
    forecast = set(window.future.rows["store_id"])
    sold = {row["store_id"] for row in history.sales.drop_nulls("sales").iter_rows(named=True)
            if f.ordinal(row["date"]) <= last}  # fmt: skip
    keys = []
    for row in made.iter_rows(named=True):
        n, i = row["period"], row["store_id"]
        keys.append((i, n))
        assert (row["date"], row["step"]) == (f.label(n), n - last)
        assert last < n <= min(last + 5, newest)
        if i in ends and n > ends[i]:
            assert (row["sales"], row["open"]) == (0.0, False)
        if i not in forecast or i not in sold:
            assert row["segment"] == "cold_start"
        elif i in ends and n > ends[i]:
            assert row["segment"] == "closed_in_window"
        else:
            assert row["segment"] == "headline"
        if (i, n) in by_key:
            assert row["sales"] == by_key[i, n]
    assert keys == sorted(set(keys))
    expected = {(i, n) for i in forecast for n in range(last + 1, min(last + 5, newest) + 1)}
    begun = {i: min(n for j, n in by_key if j == i) for i, _ in by_key}
    expected |= {
        (i, n) for i, b in begun.items() if i not in forecast and b > last
        for n in range(b, min(last + 5, newest) + 1)
    }  # fmt: skip
    assert set(keys) == expected


@few
@given(histories())
def test_the_panel_is_the_past_at_the_last_complete_period(history):
    c = cutoff_of(history, 0)
    past, stores, _ = slow(history, c, 1)
    assert as_rows(history.panel().select("store_id", "date", "period", "sales")) == [
        row[:4] for row in past
    ]
    if stores:
        flags = cut(history, c, 1).past.rows["open_flag"]
        assert history.panel()["open"].to_list() == [v != 0 for v in flags.to_list()]


@given(histories())
@settings(few, max_examples=10)
def test_rows_in_another_order_make_the_same_window(history):
    c = cutoff_of(history, 3)
    if not slow(history, c, 4)[1]:
        return
    turned = replace(
        history, sales=history.sales.reverse(), stores=history.stores.reverse(),
        covariate_versions=history.covariate_versions.reverse(),
    )  # fmt: skip
    assert_same(cut(history, c, 4), cut(turned, c, 4))


# ------------------------------------------------------------------ examples

RULES = SeriesRules(
    frequency=Frequency("D"), season=7, missing="zero", training_from=D(2020, 1, 1), horizon=3
)


def daily(**columns) -> History:
    stores = columns.pop("stores", None)
    made = pl.DataFrame(columns)
    return History(sales=made, stores=stores, through=D(2020, 3, 31), rules=RULES)


def test_a_store_known_closed_stays_for_training_and_is_not_forecast():
    stores = pl.DataFrame({"store_id": ["a"], "opened_on": [None], "closed_on": [D(2020, 1, 3)]})
    history = daily(
        store_id=["a", "a", "b"], date=[D(2020, 1, 1), D(2020, 1, 4), D(2020, 1, 1)],
        sales=[1, 2, 3], stores=stores,
    )  # fmt: skip
    before, at = cut(history, D(2020, 1, 2), 3), cut(history, D(2020, 1, 3), 3)
    assert set(before.future.rows["store_id"]) == {"a", "b"}
    assert set(at.future.rows["store_id"]) == {"b"}
    assert at.past.rows.filter(pl.col("store_id") == "a")["sales"].to_list() == [1, 0, 0]
    found = actuals(history, before).filter(pl.col("store_id") == "a")
    assert found["segment"].to_list() == ["headline", *["closed_in_window"] * 2]
    assert found["sales"].to_list() == [0, 0, 0]


def test_a_store_that_is_open_and_never_sold_is_a_cold_start_however_long():
    stores = pl.DataFrame({
        "store_id": ["long", "new", "shut", "zero"], "opened_on": [D(2019, 1, 1)] * 4,
        "closed_on": [None, None, D(2020, 3, 1), None],
    })  # fmt: skip
    history = daily(
        store_id=["a", "zero", "new"], date=[D(2020, 1, 1), D(2020, 1, 1), D(2020, 3, 11)],
        sales=[1.0, 0.0, 5.0], stores=stores,
    )  # fmt: skip
    window = cut(history, D(2020, 3, 10), 3)
    assert unsold(history, window) == ["long", "new"]
    found = actuals(history, window)
    cold = found.filter(pl.col("segment") == "cold_start")
    assert set(cold["store_id"]) == {"long", "new"}
    assert set(found.filter(pl.col("segment") == "headline")["store_id"]) == {"a", "zero"}


def test_a_store_without_a_row_in_stores_is_kept_with_null_attributes():
    history = daily(store_id=["007"], date=[D(2020, 1, 1)], sales=[1.0])
    rules = replace(RULES, attributes=("uf",))
    window = cut(replace(history, rules=rules), D(2020, 1, 5), 2)
    assert window.past.stores.row(0) == ("007", None, None, None, False)
    assert window.future.rows["store_id"].to_list() == ["007", "007"]


def test_each_store_has_the_holidays_of_its_subdivision():
    rules = replace(
        RULES, attributes=("uf",), training_from=D(2020, 7, 1), horizon=9,
        calendar=CalendarRules("BR", subdivision_attribute="uf"),
    )  # fmt: skip
    day = D(2020, 7, 5)
    history = History(
        sales=pl.DataFrame({"store_id": ["a", "b", "c"], "date": [day] * 3, "sales": [1.0] * 3}),
        stores=pl.DataFrame({"store_id": ["a", "b"], "uf": ["SP", "RJ"]}),
        through=day,
        rules=rules,
    )
    rows = cut(history, day, 9).future.rows.filter(pl.col("date") == D(2020, 7, 9))
    assert rows["holiday_days"].to_list() == [1, 0, 0]
    alone = calendar_features(rules.calendar, rules.frequency, 18452, 18452, "SP")
    assert alone["holiday_days"].to_list() == [1]


def test_silence_of_a_quarter_is_dormant_and_the_mask_does_not_count():
    history = replace(
        daily(store_id=["a", "b"], date=[D(2020, 1, 1)] * 2, sales=[1.0, 1.0]),
        through=D(2020, 9, 1),
    )
    dormant = lambda h, c: cut(h, c, 1).past.stores["dormant"].to_list()  # noqa: E731
    assert dormant(history, D(2020, 1, 1) + 90 * DAY) == [False, False]
    assert dormant(history, D(2020, 1, 1) + 91 * DAY) == [True, True]
    masked = replace(history, rules=replace(RULES, mask=((D(2020, 2, 1), D(2020, 2, 2)),)))
    assert dormant(masked, D(2020, 1, 1) + 92 * DAY) == [False, False]
    assert dormant(masked, D(2020, 1, 1) + 93 * DAY) == [True, True]


@pytest.mark.parametrize(
    ("code", "cutoff"),
    [
        ("D", D(2020, 4, 1)),
        ("W-SUN", D(2020, 3, 24)),
        ("MS", D(2020, 3, 1)),
        ("ME", D(2020, 4, 30)),
    ],
)
def test_a_cutoff_that_ends_no_complete_period_is_refused(code, cutoff):
    history = daily(store_id=["a"], date=[D(2020, 1, 1)], sales=[1.0])
    with pytest.raises(InputError) as wrong:
        cut(replace(history, rules=replace(RULES, frequency=Frequency(code))), cutoff, 1)
    assert wrong.value.code == Code.CUTOFF_INVALID


def test_a_store_and_period_twice_is_refused_by_name():
    history = daily(store_id=["a", "a"], date=[D(2020, 1, 1)] * 2, sales=[1.0, 2.0])
    with pytest.raises(InputError, match="2 times") as wrong:
        cut(history, D(2020, 1, 5), 1)
    assert "'a', 2020-01-01" in wrong.value.where


# ------------------------------------------------------------------ cutoffs

steps = st.one_of(st.integers(1, 40), st.sampled_from(["MS", "D", "W-MON", "W-SAT"]))


@settings(deadline=None)
@given(
    st.sampled_from(CODES), st.dates(D(2012, 1, 1), D(2026, 1, 1)), st.integers(1, 40),
    st.integers(1, 8), steps,
)  # fmt: skip
def test_cutoffs_are_the_latest_that_have_their_whole_horizon(code, through, horizon, count, step):
    frequency = Frequency(code)
    rules = replace(RULES, frequency=frequency, training_from=D(1950, 1, 1))
    made = cutoffs(rules, through, horizon, count, step, D(1950, 1, 1))
    ordinals = [frequency.ordinal(c) for c in made]
    assert len(made) == count
    assert ordinals == sorted(set(ordinals))
    newest = frequency.complete(through) - horizon
    assert [frequency.last_day(n) for n in ordinals] == made
    if isinstance(step, int) or step == "D":
        size = step if isinstance(step, int) else 1
        assert ordinals == [newest - size * k for k in reversed(range(count))]
        return
    allowed = []
    for n in range(newest, ordinals[0] - 1, -1):
        a, b = frequency.last_day(n), frequency.last_day(n + 1) - DAY
        span = [a + k * DAY for k in range((b - a).days + 1)]
        if step == "MS":
            hit = any(d.day == standard.monthrange(d.year, d.month)[1] for d in span)
        else:
            hit = any(d.strftime("%a").upper() == step[2:] for d in span)
        if hit:
            allowed.append(n)
    assert ordinals == list(reversed(allowed))


@pytest.mark.parametrize(
    ("code", "step", "expected"),
    [
        ("D", "MS", [D(2024, 1, 31), D(2024, 2, 29)]),
        ("W-SUN", "MS", [D(2024, 1, 28), D(2024, 2, 25)]),
        ("D", "W-MON", [D(2024, 3, 18), D(2024, 3, 25)]),
        ("MS", "MS", [D(2023, 11, 30), D(2023, 12, 31)]),
    ],
)
def test_cutoffs_by_the_calendar(code, step, expected):
    rules = replace(RULES, frequency=Frequency(code), training_from=D(2019, 1, 1))
    assert cutoffs(rules, D(2024, 3, 30), 2, 2, step, D(2020, 1, 1)) == expected


def test_a_history_that_is_too_short_says_how_short():
    args = (RULES, D(2020, 2, 10), 7)
    assert cutoffs(*args, 4, 7, D(2020, 1, 1))[0] == D(2020, 1, 13)
    assert cutoffs(*args, 4, 7, D(2020, 1, 7)) == cutoffs(*args, 4, 7, D(2020, 1, 1))
    with pytest.raises(ContractError, match="4 windows"):
        cutoffs(*args, 4, 7, D(2020, 1, 8))
    with pytest.raises(ContractError) as short:
        cutoffs(*args, 5, 7, D(2020, 1, 10))
    assert short.value.code == Code.HISTORY_TOO_SHORT
    assert short.value.exit_code == 1
    assert "5 windows of 7 periods" in short.value.message
    assert "32 complete periods" in short.value.message
    assert "at most 3" in short.value.next_step
    assert cutoffs(*args, 3, 7, D(2020, 1, 10)) != []
    with pytest.raises(ContractError, match="0 complete periods"):
        cutoffs(*args, 1, "MS", D(2021, 1, 1))
