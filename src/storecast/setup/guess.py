"""What a file of sales says of itself: which column is what, how often, how far back.

Names are tried before content, in English and Portuguese. What cannot be told from the file
is asked of the user by a clear error; what is guessed stands in the commented configuration.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from storecast.errors import Code, ConfigurationError

_NAMES = {
    "store": (
        "store_id store store_nbr store_number store_code loja id_loja codigo_loja cod_loja "
        "shop_id shop filial cod_filial codigo_filial unidade branch outlet pdv "
        "estabelecimento unique_id series_id location"
    ),
    "date": (
        "date data data_venda dt_venda sale_date sales_date invoice_date order_date dt day dia "
        "ds timestamp datetime period periodo week semana month mes competencia"
    ),
    "sales": (
        "sales vendas venda sale valor valor_venda vl_venda amount revenue receita faturamento "
        "turnover net_sales value total y quantity quantidade qtd units"
    ),
    "key": (
        "id id_venda venda_id sale_id sales_id transaction_id invoice_id order_id line_id row_id "
        "transaction invoice cupom id_cupom nota nota_fiscal pedido id_pedido"
    ),
}
_PORTUGUESE = set(
    """
    loja filial unidade estabelecimento data dia periodo semana mes competencia
    vendas venda valor receita faturamento quantidade qtd codigo cod
    """.split()  # noqa: SIM905 - reads as the vocabulary that it is
)
_SAMPLE = 20_000
_MOSTLY = 0.9

_DAY_OR_MONTH_FIRST = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})$"
_PLAIN_DATE = r"^\d{4}-\d{2}-\d{2}$"
_PLAIN_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_COMMA_DECIMAL = r"^[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+$"
_COMMA_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
_DOT_THOUSANDS = r"^[+-]?\d{1,3}(\.\d{3})+$"
_CURRENCY = r"(R\$|US\$|\$|€|£)|\s"


@dataclass(frozen=True)
class Columns:
    """The columns of a file of sales, by its own names.

    Attributes:
        store: the store's identifier.
        date: the day of the sale.
        sales: the amount or quantity.
        primary_key: what tells one row from every other.
        portuguese: whether the names are Portuguese.
    """

    store: str
    date: str
    sales: str
    primary_key: tuple[str, ...]
    portuguese: bool


@dataclass(frozen=True)
class Span:
    """How often there are sales, over how long, and the validation that this allows.

    Attributes:
        frequency: D, W-MON … W-SUN, MS or ME.
        first: the first day with a sale.
        last: the last day with a sale.
        periods: how many periods lie between them, both included.
        horizon: periods to forecast.
        step: the step between windows, as the configuration writes it.
        windows: how many windows fit, the warm-up included.
        warmup: how many of them teach the intervals only.
    """

    frequency: str
    first: date
    last: date
    periods: int
    horizon: int
    step: str
    windows: int
    warmup: int


def columns(table: pl.DataFrame, where: str) -> Columns:
    """Finds store, date, sales and primary key.

    Raises:
        ConfigurationError: one of them cannot be told (``SOURCE_COLUMN_NOT_FOUND``), no key
            tells the rows apart (``TABLE_KEY_VIOLATION``), or the store is a floating-point
            number (``IDENTIFIER_IS_FLOAT``).
    """
    sample = table.gather_every(max(1, table.height // _SAMPLE)).head(_SAMPLE)
    looks_date = [name for name in sample.columns if _looks_like_dates(sample[name])]
    day = _named("date", looks_date) or _only(looks_date)
    looks_number = [
        name
        for name in sample.columns
        if name != day and name not in looks_date and _looks_like_numbers(sample[name])
    ]
    free = [name for name in sample.columns if name != day]
    store = _named("store", free)
    sales = _named("sales", [name for name in looks_number if name != store])
    if sales is None:
        sales = _only([name for name in looks_number if name not in (store, _named("key", free))])
    if store is None:
        # By content: what repeats, and is no measurement.
        store = _only(
            [
                name
                for name in free
                if name != sales
                and not sample[name].dtype.is_float()
                and 0 < sample[name].n_unique() <= max(1, sample.height // 2)
                and name not in looks_date
            ]
        )
    missing = [
        role for role, found in (("store", store), ("date", day), ("sales", sales)) if found is None
    ]
    if store is None or day is None or sales is None:
        raise ConfigurationError(
            Code.SOURCE_COLUMN_NOT_FOUND,
            f"no column could be recognised as the {' and the '.join(missing)}",
            where=where,
            expected="columns named for example store_id, date and sales (loja, data, valor)",
            found=", ".join(table.columns),
            next_step="rename the columns in the file, or write storecast.yaml by hand",
        )
    if table[store].dtype.is_float():
        raise ConfigurationError(
            Code.IDENTIFIER_IS_FLOAT,
            f"the store column {store!r} holds floating-point numbers",
            where=where,
            expected="text or whole numbers",
            found=str(table[store].dtype),
            next_step="write the file again with the store as text, so that 001 stays 001",
        )
    tokens = {token for name in (store, day, sales) for token in _normalised(name).split("_")}
    key = _primary_key(table, store, day, sales, where)
    return Columns(store, day, sales, key, portuguese=bool(tokens & _PORTUGUESE))


def dates(values: pl.Series, where: str) -> pl.Series:
    """The dates of a column, null where there is none that can be read.

    Where day and month cannot be told apart, and few dates are written so, these are not read.

    Raises:
        ConfigurationError: day and month cannot be told apart, and more dates are written so.
    """
    if values.dtype == pl.Date:
        return values
    if values.dtype.is_temporal():
        return values.cast(pl.Date)
    text = _date_text(values)
    written_so = text.filter(text.str.contains(_DAY_OR_MONTH_FIRST))
    order = _order(written_so)
    if order is None and len(written_so) > (1 - _MOSTLY) * len(text.filter(text != "")):
        raise ConfigurationError(
            Code.DATE_NOT_ISO,
            "day and month cannot be told apart: of the dates written so none has a day after "
            "the 12th",
            where=f"{where}, column {values.name}",
            expected="YYYY-MM-DD",
            found=str(written_so.first()),
            next_step="write the dates as YYYY-MM-DD",
        )
    parsed = text.str.to_date("%Y-%m-%d", strict=False)
    slashed = text.str.replace(_DAY_OR_MONTH_FIRST, "$1/$2/$3")
    for candidate in (
        *([slashed.str.to_date(order, strict=False)] if order is not None else []),
        text.str.to_date("%Y/%m/%d", strict=False),
        text.str.to_date("%Y%m%d", strict=False),
        (text.str.extract(r"^(\d{4}-\d{2})$") + "-01").str.to_date("%Y-%m-%d", strict=False),
    ):
        parsed = parsed.fill_null(candidate)
    return parsed.rename(values.name)


def _order(written_so: pl.Series) -> str | None:
    """How dates such as 31/12/2023 are read: by what is after the 12th; None where nothing is."""
    parts = written_so.str.extract_groups(_DAY_OR_MONTH_FIRST).struct.unnest().cast(pl.Int32)
    if (parts.to_series(0) > 12).any():
        return "%d/%m/%Y"
    return "%m/%d/%Y" if (parts.to_series(1) > 12).any() else None


def is_plain_date(values: pl.Series) -> bool:
    """Whether a column needs no conversion: it is typed, or text as YYYY-MM-DD."""
    if values.dtype.is_temporal():
        return True
    return values.dtype == pl.String and bool(values.drop_nulls().str.contains(_PLAIN_DATE).all())


def plain_numbers(values: pl.Series, where: str) -> pl.Series:
    """Amounts written with a decimal comma, thousands or a currency sign, as plain text.

    What is no number is left as it is, for the quarantine to name.

    Raises:
        ConfigurationError: a comma may be a decimal or a thousands sign.
    """
    if values.dtype != pl.String or values.drop_nulls().str.contains(_PLAIN_NUMBER).all():
        return values
    bare = values.str.replace_all(_CURRENCY, "")
    commas = bare.filter(bare.str.contains(",", literal=True))
    if commas.is_empty():
        plain = bare
    else:
        decimal = commas.str.contains(_COMMA_DECIMAL)
        thousands = commas.str.contains(_COMMA_THOUSANDS)
        # "1,234" is both; "12,5" or "1.234,5" is only one, and decides for the column.
        only_decimal = bool((decimal & ~thousands).any())
        only_thousands = bool((thousands & ~decimal).any())
        if only_decimal == only_thousands:
            raise ConfigurationError(
                Code.SALES_NOT_NUMBER,
                "it cannot be told whether the comma marks decimals or thousands",
                where=f"{where}, column {values.name}",
                expected="1234.56",
                found=str(commas.first()),
                next_step="write the amounts with a decimal point and without thousands signs",
            )
        if only_thousands:
            plain = bare.str.replace_all(",", "", literal=True)
        else:
            grouped = bare.str.contains(_COMMA_DECIMAL) | bare.str.contains(_DOT_THOUSANDS)
            swapped = bare.str.replace_all(".", "", literal=True).str.replace(
                ",", ".", literal=True
            )
            plain = swapped.zip_with(grouped, bare)
    return plain.zip_with(plain.str.contains(_PLAIN_NUMBER).fill_null(value=False), values)


def span(days: pl.Series, where: str) -> Span:
    """Frequency and length of the history, and the windows that it has room for.

    Raises:
        ConfigurationError: fewer than eight periods (``HISTORY_TOO_SHORT``).
    """
    seen = days.drop_nulls().unique().sort()
    ordered: list[date] = seen.to_list()
    first, last = ordered[0], ordered[-1]
    frequency = _frequency(ordered)
    months = (last.year - first.year) * 12 + last.month - first.month
    match frequency[0]:
        case "D":
            periods, season, most, step, step_periods = (last - first).days + 1, 7, 31, "MS", 31
        case "W":
            periods, season, most, step, step_periods = (last - first).days // 7 + 1, 52, 8, "4", 4
        case _:
            periods, season, most, step, step_periods = months + 1, 12, 6, "1", 1
    if periods < 8:
        raise ConfigurationError(
            Code.HISTORY_TOO_SHORT,
            "there is too little history to forecast from",
            where=where,
            expected="at least 8 days, weeks or months",
            found=f"{periods} ({first} to {last}, frequency {frequency})",
            next_step="export a longer history",
        )
    horizon = max(1, min(most, periods // 4))
    if frequency == "D" and periods < 6 * step_periods:
        step, step_periods = str(horizon), horizon

    def fitting(learning: int) -> int:
        return min(12, (periods - horizon - learning) // step_periods + 1)

    # Two seasons and half of the history to learn from, if that leaves enough to score.
    windows = fitting(max(2 * season, periods // 2))
    if windows < 6:
        windows = max(2, fitting(max(horizon, min(season + 1, periods // 2))))
    warmup = 3 if windows >= 6 else 1
    return Span(frequency, first, last, periods, horizon, step, windows, warmup)


def last_day(span_of_file: Span) -> date:
    """The last day of the last period, where the file names a month by its first day."""
    last = span_of_file.last
    if span_of_file.frequency != "MS":
        return last
    return (last.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _frequency(days: list[date]) -> str:
    if len(days) > 1:
        if all(day.day == 1 for day in days):
            return "MS"
        if all((day + timedelta(days=1)).day == 1 for day in days):
            return "ME"
        if len({day.weekday() for day in days}) == 1:
            return f"W-{days[0]:%a}".upper()
    return "D"


def _primary_key(
    table: pl.DataFrame, store: str, day: str, sales: str, where: str
) -> tuple[str, ...]:
    others = [
        name
        for name in table.columns
        if name not in (store, day, sales) and not table[name].dtype.is_float()
    ]
    named = _named("key", others)
    candidates: list[tuple[str, ...]] = [(store, day)]
    if named is not None:
        candidates.insert(0, (named,))
    candidates += [(name,) for name in others]
    # Shop, day and product is a grain that many exports have.
    candidates += [(store, day, name) for name in others]
    for key in candidates:
        parts = table.select(key)
        if not any(parts.null_count().row(0)) and not parts.is_duplicated().any():
            return key
    repeated = table.filter(table.select(store, day).is_duplicated()).row(0, named=True)
    raise ConfigurationError(
        Code.TABLE_KEY_VIOLATION,
        "no column, and no store and date, tells each row from every other",
        where=where,
        expected="a column that numbers the rows, or one row for each store and date",
        found=f"more than one row for store {repeated[store]}, date {repeated[day]}",
        next_step="add a column that numbers the rows, such as the invoice line",
    )


def _normalised(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    ascii_only = unicodedata.normalize("NFKD", spaced).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only.lower()).strip("_")


def _named(role: str, names: list[str]) -> str | None:
    """The column whose name fits best: a whole name before a part of one, earlier before later."""
    known = _NAMES[role].split()
    single = [word for word in known if "_" not in word and len(word) > 1]
    best: tuple[int, str] | None = None
    for name in names:
        plain = _normalised(name)
        parts = plain.split("_")
        if plain in known:
            rank = known.index(plain)
        elif role != "key" and (hits := [single.index(part) for part in parts if part in single]):
            rank = 100 + min(hits)
        else:
            continue
        if best is None or rank < best[0]:
            best = (rank, name)
    return best[1] if best else None


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _date_text(values: pl.Series) -> pl.Series:
    text = values.cast(pl.String).str.strip_chars()
    return text.str.replace(r"[ T]\d{1,2}:\d{2}.*$", "")


def _looks_like_dates(values: pl.Series) -> bool:
    if values.dtype.is_temporal():
        return values.dtype not in (pl.Time, pl.Duration)
    if values.dtype != pl.String and not values.dtype.is_integer():
        return False
    text = _date_text(values).drop_nulls()
    text = text.filter(text != "")
    shapes = (
        r"^(19|20|21)\d{2}([-/])\d{1,2}[-/]\d{1,2}$|^(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])$"
        r"|^(19|20|21)\d{2}-(0[1-9]|1[0-2])$"
    )
    fits = text.str.contains(shapes) | text.str.contains(_DAY_OR_MONTH_FIRST)
    return not text.is_empty() and fits.sum() >= _MOSTLY * len(text)


def _looks_like_numbers(values: pl.Series) -> bool:
    if values.dtype.is_numeric():
        return True
    if values.dtype != pl.String:
        return False
    bare = values.str.replace_all(_CURRENCY, "").drop_nulls()
    bare = bare.filter(bare != "")
    fits = pl.select(
        pl.any_horizontal(
            *(
                pl.lit(bare).str.contains(shape)
                for shape in (_PLAIN_NUMBER, _COMMA_DECIMAL, _COMMA_THOUSANDS)
            )
        )
    ).to_series()
    return not bare.is_empty() and fits.sum() >= _MOSTLY * len(bare)
