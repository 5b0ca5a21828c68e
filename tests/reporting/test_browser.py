"""The report in a real browser: the chooser works, nothing complains, nothing is asked for."""

from dataclasses import replace

import polars as pl
import pytest

from storecast.reporting.assembly import assemble
from storecast.reporting.page import page as html

from .chain import EVIL, setting, tables

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(browser, tmp_path):
    contexts = []

    def show(tables, width=1280, **changes):
        file = tmp_path / "report.html"
        file.write_text(html(assemble(setting(**changes), tables)), "utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append((context, seen := {"console": [], "requests": [], "url": file.as_uri()}))
        page = context.new_page()
        page.on("console", lambda message: seen["console"].append(message.text))
        page.on("pageerror", lambda fault: seen["console"].append(str(fault)))
        page.on("dialog", lambda dialog: (seen["console"].append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: seen["requests"].append(request.url))
        page.goto(file.as_uri())
        return page

    yield show
    for context, seen in contexts:
        context.close()
        assert seen["console"] == []
        assert [url for url in seen["requests"] if url not in (seen["url"], "data:,")] == []


def picture(page):
    return page.eval_on_selector("#shop-chart canvas", "canvas => canvas.toDataURL()")


def filled(rows, count):
    """An opened table is filled at its `toggle`, which comes a little later than the click."""
    rows.nth(count - 1).wait_for(state="attached")
    return rows.count() == count


def choose(page, text):
    before = picture(page)
    page.fill("#shop-search", text)
    page.press("#shop-search", "Enter")
    assert picture(page) != before
    return page.get_attribute("#shop", "data-shop")


@pytest.mark.parametrize(
    ("locale", "total", "forecast"),
    [
        ("en", "Expected total", "Forecast (median)"),
        ("pt-BR", "Total esperado", "Previsão (mediana)"),
    ],
)
def test_a_shop_is_chosen_by_name_and_by_id(opened, locale, total, forecast):
    page = opened(tables(), locale=locale)
    assert page.get_attribute("#shop", "data-shop") == "001"
    assert choose(page, "1") == "1"
    assert choose(page, "sao joao") == "001"
    assert choose(page, "1e5") == "1e5"
    assert choose(page, "001") == "001"
    assert choose(page, "ames 2006") == "2006"
    assert total in page.inner_text("#shop-facts")
    assert forecast in page.inner_text("#shop-chart .u-legend")
    assert page.input_value("#shop-search") == "HY-VEE FOOD STORE / Ames 2006 · 2006"


def test_the_chooser_needs_no_mouse(opened):
    page = opened(tables())
    page.focus("#shop-search")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = page.get_attribute("#shop-search", "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.get_attribute("#shop", "data-shop") == "1"
    page.keyboard.type("nothing like it")
    assert "No shop matches" in page.inner_text("#shop-list")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.input_value("#shop-search") == "Loja Central · 1"
    page.click("#shop-next")
    assert page.get_attribute("#shop", "data-shop") == "1e5"
    page.click("#shop-previous")
    page.click("#shop-search")
    page.click("#shop-list li:first-child")
    assert page.get_attribute("#shop", "data-shop") == "001"


def test_a_hostile_name_is_a_name(opened):
    page = opened(tables())
    assert choose(page, "EVIL") == "EVIL"
    assert page.inner_text("#shop-name").split() == EVIL.split()
    assert page.locator("img").count() == 0


def test_the_table_and_the_ranges(opened):
    page = opened(tables())
    page.click("#shop-table summary")
    assert filled(page.locator("#shop-table tbody tr"), 8)
    assert "Nov 6, 2022" in page.inner_text("#shop-table tbody tr:first-child")
    before = picture(page)
    page.click("#shop-ranges button:last-child")
    page.wait_for_function(
        "before => document.querySelector('#shop-chart canvas').toDataURL() !== before", arg=before
    )
    page.hover("#total-chart .u-over")
    page.locator("#total-chart .u-legend", has_text="R$").wait_for()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(opened, width):
    page = opened(tables(), width=width, locale="pt-BR")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("missing", ["forecasts", "scores", "panel"])
def test_a_part_alone_is_shown(opened, missing):
    page = opened(tables(leave_out=missing))
    assert page.locator("h1").count() == 1
    charts = {"forecasts": 4, "scores": 2, "panel": 4}[missing]
    assert page.locator(".u-wrap").count() == charts


def test_a_large_chain_opens_at_once(opened):
    page = opened(tables(79, 560))
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert ready < 5000  # ms; a fraction of a second on a laptop


def test_the_test_forecasts_follow_the_chooser(opened):
    page = opened(made := tables())
    shown = lambda: page.eval_on_selector("#tests-chart canvas", "c => c.toDataURL()")  # noqa: E731
    before = shown()
    assert "Loja" not in (page.get_attribute("#tests-chart", "aria-label") or "")
    choose(page, "1")
    assert shown() != before
    assert "Loja Central" in page.get_attribute("#tests-chart", "aria-label")
    assert "90% quantile" in page.inner_text("#tests-chart .u-legend")
    page.focus("#tests-table summary")
    page.keyboard.press("Enter")
    rows = page.locator("#tests-table tbody tr")
    assert filled(rows, 12)
    told = made.backtest.filter(pl.col("store_id") == "1").sort("date", "step")
    told = told.unique("date", keep="first", maintain_order=True)
    for i in (0, 3, 4, 11):
        cells = rows.nth(i).locator("td").all_inner_texts()
        row = told.row(i, named=True)
        assert cells[0] == f"{row['cutoff']:%b} {row['cutoff'].day}, {row['cutoff'].year}"
        figures = [float(c.replace("R$", "").replace(",", "")) for c in cells[1:]]
        wanted = [row[c] for c in ("sales", "forecast", "q10", "q90")]
        assert figures == pytest.approx(wanted, abs=1)


def test_a_shop_without_test_forecasts_says_so(opened):
    made = tables()
    without = made.backtest.filter(pl.col("store_id") != "1")
    page = opened(replace(made, backtest=without))
    assert not page.is_visible("#tests-none")
    choose(page, "1")
    assert page.is_visible("#tests-none")
    assert not page.is_visible("#tests-chart")
    assert not page.is_visible("#tests-table")
    choose(page, "001")
    assert page.is_visible("#tests-chart canvas")


@pytest.mark.parametrize(("locale", "shown"), [("en", "21.3%"), ("pt-BR", "21,3%")])
def test_the_error_by_step_is_a_line_a_model(opened, locale, shown):
    page = opened(tables(), locale=locale)
    legend = page.inner_text("#steps-chart .u-legend")
    assert all(m in legend for m in ("lightgbm", "local_level", "seasonal_naive"))
    assert "lightgbm, local_level, seasonal_naive" in page.get_attribute(
        "#steps-chart", "aria-label"
    )
    page.hover("#steps-chart .u-over")
    page.locator("#steps-chart .u-legend", has_text="%").wait_for()
    page.click("#steps-table summary")
    assert filled(page.locator("#steps-table tbody tr"), 8)
    assert page.locator("#segments tbody tr").count() == 4
    assert shown in page.inner_text("#segments tbody tr:nth-child(3)")
