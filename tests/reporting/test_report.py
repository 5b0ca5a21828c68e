"""What the report says, and that it says it for half a project too."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from storecast.backtest.spans import SpanVerdict
from storecast.core.calendar import Frequency
from storecast.errors import Code, StorecastError
from storecast.reporting import trust, wording
from storecast.reporting.assembly import assemble
from storecast.reporting.content import Tables
from storecast.reporting.figures import embedded, pictures
from storecast.reporting.page import page
from storecast.reporting.wording import Wording, words

from .chain import CUTOFF, EVIL, HORIZON, MADE, WEEKS, forecast_rows, setting, tables

GRAINS = ("D", "MS", "ME", *(f"W-{d}" for d in ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")))


def said(tables, **changes):
    return words(assemble(setting(**changes), tables))


def test_the_total_is_the_sum_of_the_means():
    found = assemble(setting(), made := tables())
    assert found.outlook.expected == pytest.approx(made.forecasts["forecast_mean"].sum())
    assert sum(found.outlook.mean.values) == pytest.approx(found.outlook.expected)
    assert (found.outlook.first_day, found.outlook.last_day) == (
        CUTOFF + timedelta(days=1),
        CUTOFF + timedelta(weeks=HORIZON),
    )


def test_a_year_before_is_the_same_weeks():
    found = assemble(setting(), made := tables())
    weeks = [CUTOFF + timedelta(weeks=i + 1 - 52) for i in range(HORIZON)]
    then = made.panel.filter(pl.col("date").is_in(weeks))["sales"].sum()
    assert found.outlook.year_before.then == pytest.approx(then)
    assert found.outlook.year_before.change == pytest.approx(found.outlook.expected / then - 1)


def test_a_year_before_is_not_guessed():
    made = tables()
    hole = (pl.col("store_id") == "1") & (pl.col("date") == CUTOFF - timedelta(weeks=50))
    unknown = made.panel.with_columns(pl.when(~hole).then("sales").alias("sales"))
    found = assemble(setting(), replace(made, panel=unknown))
    assert found.outlook.year_before is None
    assert found.total_is_partial
    assert assemble(setting(), tables(weeks=30)).outlook.year_before is None


def test_shops_that_came_later_are_compared_apart():
    made = tables()
    young = (pl.col("store_id") != "1") | (pl.col("date") > CUTOFF - timedelta(weeks=20))
    found = assemble(setting(), replace(made, panel=made.panel.filter(young)))
    assert found.outlook.n_same_shops == 11
    assert found.outlook.same_shops.now < found.outlook.year_before.now
    assert any("11 shops that were there in both" in s for s in words(found).outlook)


def test_only_the_newest_forecast_counts():
    made = tables()
    old = forecast_rows(
        "001", [CUTOFF - timedelta(weeks=1), CUTOFF], [1e9, 1e9],
        cutoff=CUTOFF - timedelta(weeks=2), forecast_id="f-0", created_at=MADE + timedelta(days=9),
    )  # fmt: skip
    both = replace(made, forecasts=pl.concat([old, made.forecasts]))
    assert assemble(setting(), both).outlook == assemble(setting(), made).outlook


def test_a_fallback_is_said_aloud():
    made = tables()
    fallen = pl.when(pl.col("store_id").is_in(["1", "001"])).then(pl.lit("seasonal_naive"))
    forecasts = made.forecasts.with_columns(fallen.otherwise("origin").alias("origin"))
    notices = said(replace(made, forecasts=forecasts)).notices
    assert notices == (
        "The champion did not forecast 2 of 12 shops; a fallback did (seasonal naive: 2).",
    )


def test_a_run_without_a_forecast_is_said_aloud():
    failed = {"failure": "MODEL_FAILED: out of order", "forecast_id": "f-2"}
    (notice,) = said(tables(), **failed).notices
    assert "made no forecast: MODEL_FAILED: out of order" in notice


def test_a_shop_left_out_says_why():
    made = tables()
    ledger = pl.DataFrame(
        {"forecast_id": ["f-0", "f-1"], "store_id": ["1", "1"], "status": "excluded",
         "reason": ["long ago", "closed on 2022-10-01"]}
    )  # fmt: skip
    without = made.forecasts.filter(pl.col("store_id") != "1")
    found = assemble(setting(), replace(made, forecasts=without, ledger=ledger))
    (shop,) = [shop for shop in found.shops if shop.store_id == "1"]
    assert (shop.forecast, shop.why_not) == (None, "closed on 2022-10-01")
    assert found.shops[-1] is shop
    assert "1 shop with past sales has no forecast (closed, or left out)." in words(found).outlook


def test_a_champion_that_beats_nobody_is_said_aloud():
    made = tables()
    only = replace(made, scores=made.scores.filter(pl.col("model") == "seasonal_naive"))
    assert any(
        "No model beat the baseline" in n for n in said(only, model="seasonal_naive").notices
    )
    assert said(made).notices == ()


def test_attributes_without_versions_are_said_to_be_of_today():
    (notice,) = said(tables(), timeless=("region", "kind")).notices
    assert "region" in notice
    assert "kind" in notice
    assert "as it is now" in notice


def test_a_leak_and_a_benchmark_are_said_aloud():
    (leak,) = said(tables(), leaking=("trees", "nets")).notices
    assert "trees" in leak
    assert "nets" in leak
    (benchmark,) = said(tables(), by_series_end=True).notices
    assert "own end" in benchmark
    assert "próprio fim" in said(tables(), locale="pt-BR", by_series_end=True).notices[0]


def test_a_forced_model_is_not_given_anothers_accuracy():
    notices = said(tables(), model="stranger").notices
    assert any("stranger" in n and "did not test" in n for n in notices)


def test_an_old_forecast_is_said_to_be_old():
    newer = said(tables(), through=CUTOFF + timedelta(days=7))
    assert any("older than the sales" in n for n in newer.notices)
    assert said(tables(), through=CUTOFF + timedelta(days=6)).notices == ()


def test_the_totals_error_is_measured_on_the_total():
    made = tables()
    trust = assemble(setting(), made).trust
    errors = [
        abs(part["forecast_mean"].sum() - part["sales"].sum()) / part["sales"].sum()
        for part in made.backtest.partition_by("cutoff")
    ]
    assert trust.total_error == pytest.approx(sum(errors) / 3)
    assert trust.total_worst == pytest.approx(max(errors))
    assert trust.total_windows == 3


def test_the_test_forecast_shown_is_the_last_one_before():
    made = tables()
    shown = {shop.store_id: shop.tested for shop in assemble(setting(), made).shops}["001"]
    rows = made.backtest.filter(pl.col("store_id") == "001").sort("date", "step")
    newest = rows.unique("date", keep="first", maintain_order=True)
    assert list(shown.point.values) == newest["forecast"].to_list()
    assert list(shown.low.values) == newest["q10"].to_list()
    assert list(shown.high.values) == newest["q90"].to_list()
    assert newest["step"].max() == 4


def test_nothing_at_all():
    with pytest.raises(StorecastError) as fault:
        assemble(setting(), Tables())
    assert fault.value.code is Code.NOTHING_TO_REPORT


def test_validation_alone_and_forecast_alone():
    assert any("no forecast yet" in n for n in said(tables(leave_out="forecasts")).notices)
    assert any("no validation yet" in n for n in said(tables(leave_out="scores")).notices)
    for missing in ("forecasts", "scores", "panel", "stores", "backtest", "runs"):
        assert "<h1>" in page(assemble(setting(), tables(leave_out=missing)))


def test_identifiers_are_exact_and_names_are_optional():
    shops = {shop.store_id: shop.name for shop in assemble(setting(), tables()).shops}
    assert {"001", "1", "1e5"} <= set(shops)
    assert (shops["001"], shops["1e5"], shops["EVIL"]) == ("Mercado São João", None, EVIL.strip())


def test_nothing_breaks_out_of_the_script():
    text = page(assemble(setting(project=EVIL), tables()))
    assert "<script>alert" not in text
    assert "<img" not in text
    assert text.count("<script") == 2
    inside = re.search(r'id="pictures">(.*?)</script>', text, re.S)[1]
    assert not set("<>&\u2028\u2029") & set(inside)
    assert EVIL.strip() in {shop.get("n") for shop in json.loads(inside)["shops"]}
    assert json.loads(embedded({"a": EVIL})) == {"a": EVIL}


def test_the_policy_names_what_is_there():
    text = page(assemble(setting(), tables()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "http" not in re.sub(r"https://github.com/leeoniya/uPlot", "", policy)
    assert not re.search(r'(src|href)="(?!data:,")', text)


def test_two_thousand_shops_stay_a_file():
    made = tables(12, 560)
    one = made.panel.filter(pl.col("store_id") == "001").drop("store_id")
    ids = pl.DataFrame({"store_id": [f"{i:05d}" for i in range(2000)]})
    found = assemble(setting(), replace(made, panel=ids.join(one, how="cross"), stores=None))
    assert found.kept == 156
    assert all(len(shop.history.values) <= 156 for shop in found.shops if shop.history)
    assert len(found.total.values) == 560
    text = page(found)
    assert "the last 156" in text
    assert len(text.encode()) < 6_000_000


def test_the_full_history_of_a_small_chain_is_kept():
    assert assemble(setting(), tables(79, 560)).kept is None


def test_periods_keep_their_days():
    found = pictures(assemble(setting(), tables()))
    first = date(1970, 1, 1) + timedelta(days=found["days"][0])
    assert first == CUTOFF - timedelta(weeks=WEEKS - 1)
    assert len(found["days"]) == WEEKS + HORIZON


@pytest.mark.parametrize("locale", ["en", "pt-BR"])
@pytest.mark.parametrize("code", GRAINS)
def test_every_grain_has_its_words(code, locale):
    made = tables()
    frequency = Frequency(code)
    labels = frequency.labels(pl.int_range(600, 600 + WEEKS, eager=True)).to_list()
    ahead = [frequency.label(600 + WEEKS + i) for i in range(HORIZON)]
    days = dict(zip(made.panel["date"].unique().sort(), labels, strict=True))
    days |= dict(zip(made.forecasts["date"].unique().sort(), ahead, strict=True))
    moved = replace(
        made,
        panel=made.panel.with_columns(pl.col("date").replace_strict(days)),
        forecasts=made.forecasts.with_columns(
            pl.col("date").replace_strict(days), pl.lit(labels[-1]).alias("cutoff")
        ),
        backtest=None,
    )
    changes = {
        "frequency": frequency,
        "locale": locale,
        "season": frequency.season,
        "through": None,
    }
    found = assemble(setting(**changes), moved)
    assert "<h1>" in page(found)
    assert found.outlook.horizon == HORIZON
    assert found.outlook.first_day == frequency.first_day(600 + WEEKS)


def test_the_languages_say_the_same_things():
    def keys(texts):
        return {(k, *keys(v)) if isinstance(v, dict) else k for k, v in texts.items()}

    def holes(texts):
        return {k: set(re.findall(r"{\w+}", v)) for k, v in texts.items() if isinstance(v, str)}

    en, pt = wording._texts("en"), wording._texts("pt-BR")
    assert keys(en | {"currencies": 0}) == keys(pt | {"currencies": 0})
    assert holes(en) == holes(pt)


@pytest.mark.parametrize(
    ("locale", "currency", "shown"),
    [
        ("en", "USD", "$1,234,568"),
        ("pt-BR", "BRL", "R$\u00a01.234.568"),
        ("en", "CHF", "CHF\u00a01,234,568"),
        ("pt-BR", None, "1.234.568"),
    ],
)
def test_amounts_are_written_as_the_reader_does(locale, currency, shown):
    say = Wording(locale, currency)
    assert say.money(1234567.89) == shown
    assert say.money(-12.5).startswith("−")
    assert say.percent(0.1234) == ("12.3%" if locale == "en" else "12,3%")
    assert say.percent(None) == "–"


def test_without_a_currency_the_source_has_one():
    assert "in the source's currency" in said(tables(), currency=None).subject


def test_sentences_start_with_what_is_forecast():
    prose = said(tables(), locale="pt-BR")
    assert prose.sentences[0].startswith("Vendas líquidas de 12 lojas em 8 semanas")
    assert any("conteve 78,3%" in s for s in prose.trust)


# ------------------------------------------------------------- the models compared


def judged(cutoffs=8):
    """Scores in which lightgbm is better at each cutoff and local_level at most of them."""
    made = tables()
    rows = []
    for model, wape, by_cutoff in (
        ("lightgbm", 0.2, lambda i: 0.2 + i / 100),
        ("local_level", 0.29, lambda i: 0.5 if i == 0 else 0.26),
        ("seasonal_naive", 0.3, lambda i: 0.3 + i / 100),
    ):
        overall = made.scores.filter(pl.col("model") == model, pl.col("scope") == "overall")
        rows.append(overall.with_columns(wape=pl.lit(wape)))
        for i in range(cutoffs):
            day = (CUTOFF - timedelta(weeks=4 * (cutoffs - i))).isoformat()
            rows.append(overall.with_columns(
                scope=pl.lit("cutoff"), member=pl.lit(day), wape=pl.lit(by_cutoff(i))))  # fmt: skip
    others = made.scores.filter(~pl.col("scope").is_in(["overall", "cutoff"]))
    return replace(made, scores=pl.concat([*rows, others]))


def cells(text, table):
    body = re.search(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', text, re.S)[1]
    found = []
    for row in re.findall(r"<tr.*?</tr>", body, re.S):
        inside = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        found.append(
            [
                " ".join(re.sub(r"<[^>]+>", " ", cell.replace("<wbr>", "")).split())
                for cell in inside
            ]
        )
    return found


@pytest.mark.parametrize(
    ("locale", "better", "same"),
    [("en", "really better", "not told apart"), ("pt-BR", "melhor de fato", "indistinto")],
)
def test_what_is_really_better_is_told_from_what_may_be_chance(locale, better, same):
    found = assemble(setting(locale=locale), made := judged())
    verdicts = {score.model: score.verdict for score in found.trust.leaderboard}
    assert verdicts == {
        "lightgbm": "better", "local_level": "not_told_apart", "seasonal_naive": None,
    }  # fmt: skip
    # two of 2⁸ patterns are as far out, and two models are compared
    assert found.trust.model.p_value == pytest.approx(2 * 2 / 256)
    rows = {row[0].split()[0]: row for row in cells(page(found), "leaderboard")}
    assert rows["lightgbm"][4].startswith(better)
    assert rows["local_level"][4].startswith(same)
    assert rows["seasonal_naive"][3:5] == ["–", "–"]
    point = "." if locale == "en" else ","
    assert rows["lightgbm"][1:4] == [
        t.replace(".", point) for t in ("20.0%", "20.0%–27.0%", "+33.3%")
    ]
    assert (f"p = 0{point}016") in " ".join(words(found).trust)
    few = page(assemble(setting(locale=locale), judged(3)))
    assert ("too few to tell" in few) == (locale == "en")
    assert made.scores.height


def test_the_reports_leaderboard_is_that_of_the_tables():
    found = assemble(setting(), made := judged())
    overall = made.scores.filter(pl.col("scope") == "overall").sort("wape")
    rows = cells(page(found), "leaderboard")
    assert [row[0].split()[0] for row in rows] == overall["model"].to_list()
    for row, told in zip(rows, overall.iter_rows(named=True), strict=True):
        assert row[1] == f"{told['wape']:.1%}"
        assert row[5:] == [
            f"{told['mase']:.3f}", f"{told['rmsse']:.3f}", "+1.2%", "78.3%", "0",
        ]  # fmt: skip


def test_models_scored_on_as_much_are_told_so_once():
    made = judged()
    assert "Each was scored on 1,000 periods of shops." in page(assemble(setting(), made))
    fewer = pl.when(pl.col("model") == "local_level").then(990).otherwise("n_scored")
    uneven = replace(made, scores=made.scores.with_columns(n_scored=fewer))
    text = page(assemble(setting(), uneven))
    assert "Each was scored" not in text
    assert [row[-2] for row in cells(text, "leaderboard")] == ["1,000", "990", "1,000"]


def test_another_metric_orders_and_is_shown_as_a_number():
    found = assemble(setting(metric="mase"), tables())
    assert found.trust.model.loss == found.trust.model.mase
    text = page(found)
    assert cells(text, "leaderboard")[0][1] == f"{found.trust.model.mase:.3f}"
    assert "MASE by step ahead" in text
    assert pictures(found)["steps"]["share"] is False


def test_what_leaks_is_filled_or_pretrained_is_marked():
    made = judged()
    filled = pl.when(pl.col("model") == "local_level").then(123).otherwise(pl.col("n_filled"))
    made = replace(made, scores=made.scores.with_columns(n_filled=filled))
    marks = {"leaking": ("lightgbm",), "pretrained": ("local_level",), "model": None}
    found = assemble(setting(**marks), made)
    rows = cells(page(found), "leaderboard")
    assert [row[0] for row in rows] == [
        "local_level best pretrained", "seasonal_naive baseline", "lightgbm leak",
    ]  # fmt: skip
    assert rows[2][4] == "–"
    assert rows[0][-1] == "12.3%"
    prose = " ".join(words(found).trust)
    assert "12.3% of the test forecasts of local_level are those of seasonal_naive" in prose
    assert "local_level is pretrained" in prose


def test_how_the_model_did_from_another_first_day_of_training_is_told():
    days = date(2021, 1, 1), date(2018, 1, 1)
    spans = tuple(
        SpanVerdict(model, *days, "wape", 0.4, 0.35, p, verdict, 6)
        for model, p, verdict in (
            ("lightgbm", 0.03125, "worse"),
            ("lightgbm", 0.5, "not_told_apart"),
            ("other", 0.5, "better"),
        )
    )
    told = [s for s in said(tables(), spans=spans).trust if "Trained from" in s]
    assert told == [
        "Trained from 1 Jan 2018 instead of 1 Jan 2021, lightgbm has a WAPE of 35.0% instead of "
        "40.0% in the same tests: a real difference (p = 0.031).",
        "Trained from 1 Jan 2018 instead of 1 Jan 2021, lightgbm has a WAPE of 35.0% instead of "
        "40.0% in the same tests: it may be chance (p = 0.500).",
    ]
    assert not any("Trained from" in s for s in said(tables()).trust)


def test_the_audit_of_the_model_in_use_is_told():
    assert any("Leak audit: passed" in s for s in said(tables(), proven=("lightgbm",)).trust)
    assert any("Leak audit: not made" in s for s in said(tables()).trust)
    assert not any("Leak audit" in s for s in said(tables(), leaking=("lightgbm",)).trust)


def test_the_accuracy_by_step_and_by_part_is_that_of_the_tables():
    found = assemble(setting(), made := tables())
    steps = made.scores.filter(pl.col("scope") == "step", pl.col("model") == "lightgbm")
    drawn = pictures(found)["steps"]["models"]
    assert [m["name"] for m in drawn] == [s.model for s in found.trust.leaderboard]
    assert drawn[0]["values"] == pytest.approx(
        steps.sort(pl.col("member").cast(pl.Int64))["wape"].to_list()
    )
    assert [m["baseline"] for m in drawn] == [False, False, True]
    rows = cells(page(found), "segments")
    assert [row[0] for row in rows] == [
        "Shops known at the time", "Shops that opened later", "region: south", "region: north",
    ]  # fmt: skip
    assert rows[2] == ["region: south", "21.3%", "23.4%", "31.7%", "700"]
    whole = made.scores.filter((pl.col("scope") != "segment") | (pl.col("member") == "headline"))
    assert 'id="segments"' not in page(assemble(setting(), replace(made, scores=whole)))


def test_of_many_parts_the_largest_are_shown():
    made = tables()
    base = made.scores.filter(pl.col("member") == "region=south")
    many = [
        base.with_columns(member=pl.lit(f"city={i}"), n_scored=pl.lit(i, pl.Int64))
        for i in range(1, 61)
    ]
    found = assemble(setting(), replace(made, scores=pl.concat([made.scores, *many]))).trust
    cities = [s.member for s in found.segments if s.attribute == "city"]
    assert cities == [str(i) for i in range(60, 20, -1)]
    assert found.segments_left_out == 20


def test_the_test_forecasts_of_a_large_chain_are_bounded(monkeypatch):
    found = assemble(setting(), tables())
    assert (found.tested_kept, found.tested_shops) == (None, None)
    monkeypatch.setattr(trust, "TESTED_EMBEDDED", 3 * 5 * 12)
    monkeypatch.setattr(trust, "_SHORTEST", 6)
    cut = assemble(setting(), tables())
    assert (cut.tested_kept, cut.tested_shops) == (6, 10)
    assert [shop.tested is None for shop in cut.shops] == [False] * 10 + [True] * 2
    assert len(cut.shops[0].tested.low.values) == 6
    assert cut.shops[0].tested.point.values == found.shops[0].tested.point.values[-6:]
    assert "held for the 10 largest shops" in page(cut)


def test_a_run_with_findings_stands_in_the_footer():
    made = tables()
    ended = pl.when(pl.col("command") == "validate").then(pl.lit("unhealthy"))
    runs = made.runs.with_columns(status=ended.otherwise("status"))
    found = assemble(setting(), replace(made, runs=runs))
    assert [run.command for run in found.runs] == ["ingest", "validate", "deploy", "forecast"]
    assert "with findings" in page(found)
    assert "with findings" not in page(assemble(setting(), made))
