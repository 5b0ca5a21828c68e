"""The row rules, value by value."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storecast.errors import Code, ContractError
from storecast.ingestion.contract import Feed, Field, Kind, check, rejected
from storecast.ports import HOLDS_FLOATS, WITHOUT_END, WRITTEN_ISO, Relation


def _checked(
    kind: Kind, array: pa.Array, *, fixed_width: bool = False, date_format: str | None = None
) -> list[Any]:
    """Of each value what it became, or the code that rejected it."""
    feed = Feed(
        "sales",
        "sales",
        Relation("lines"),
        (Field("n", "n", Kind.KEY), Field("value", "c", kind, fixed_width, date_format)),
        ("n",),
    )
    batch = pa.record_batch({"n": pa.array([str(i) for i in range(len(array))]), "c": array})
    result = check(batch, feed)
    assert result.accepted.schema == feed.schema
    assert result.raw["n"].equals(result.accepted["n"])
    found = dict(
        zip(result.accepted["n"].to_pylist(), result.accepted["value"].to_pylist(), strict=True)
    )
    for raw, code in zip(
        result.rejected["raw_row"].to_pylist(),
        result.rejected["reason_code"].to_pylist(),
        strict=True,
    ):
        assert json.loads(raw)["n"] not in found
        found[json.loads(raw)["n"]] = code
    return [found[str(i)] for i in range(len(array))]


AMOUNTS = {
    "12.5": "12.5",
    "-3": "-3",
    "+7": "7",
    "5.": "5",
    ".25": "0.25",
    "1e2": "100",
    "1.0e-05": "0",
    "0.00005": "0",
    "0.00015": "0.0002",
    "99999999999999.9999": "99999999999999.9999",
    "0012": "12",
    None: Code.NULL_SALES,
    "": Code.NULL_SALES,
    "12,50": Code.SALES_NOT_NUMBER,
    "1 000": Code.SALES_NOT_NUMBER,
    "1_000": Code.SALES_NOT_NUMBER,
    "0x10": Code.SALES_NOT_NUMBER,
    "R$ 5": Code.SALES_NOT_NUMBER,
    "١٢": Code.SALES_NOT_NUMBER,
    "-": Code.SALES_NOT_NUMBER,
    "nan": Code.SALES_NOT_FINITE,
    "-Inf": Code.SALES_NOT_FINITE,
    "Infinity": Code.SALES_NOT_FINITE,
    "100000000000000": Code.SALES_TOO_LARGE,
    "99999999999999.99995": Code.SALES_TOO_LARGE,
    "1e400": Code.SALES_TOO_LARGE,
}


def test_written_amounts() -> None:
    found = _checked(Kind.AMOUNT, pa.array(list(AMOUNTS), pa.string()))
    expected = [v if isinstance(v, Code) else Decimal(v) for v in AMOUNTS.values()]
    assert found == expected


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([0.1, 2.00005, -1e13, math.nan, math.inf, 1e14, None]),
         ["0.1", "2", "-1e13", Code.SALES_NOT_FINITE, Code.SALES_NOT_FINITE,
          Code.SALES_TOO_LARGE, Code.NULL_SALES]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([1, -2], pa.int8()), ["1", "-2"]),
        (pa.array([2**64 - 1], pa.uint64()), [Code.SALES_TOO_LARGE]),
        (pa.array([Decimal("1.23455"), Decimal("1.23445")], pa.decimal128(38, 5)),
         ["1.2346", "1.2344"]),
        (pa.array([Decimal(10) ** 30], pa.decimal256(60, 2)), [Code.SALES_TOO_LARGE]),
        (pa.array(["1.5", "1.5"]).dictionary_encode(), ["1.5", "1.5"]),
        (pa.array([None, None], pa.null()), [Code.NULL_SALES] * 2),
    ],
)  # fmt: skip
def test_amounts_of_every_type(array: pa.Array, expected: list[Any]) -> None:
    found = _checked(Kind.AMOUNT, array)
    assert found == [v if isinstance(v, Code) else Decimal(v) for v in expected]


@given(st.lists(st.decimals(-(10**15), 10**15, allow_nan=False), min_size=1, max_size=20))
def test_amounts_are_rounded_half_to_even_and_nothing_else(values: list[Decimal]) -> None:
    for found, value in zip(_checked(Kind.AMOUNT, pa.array(map(str, values))), values, strict=True):
        rounded = value.quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
        assert found == (rounded if abs(rounded) < 10**14 else Code.SALES_TOO_LARGE)


@given(st.lists(st.floats(-1e13, 1e13), min_size=1, max_size=20))
def test_a_float_is_what_its_shortest_text_says(values: list[float]) -> None:
    expected = [Decimal(repr(v)).quantize(Decimal("0.0001"), ROUND_HALF_EVEN) for v in values]
    assert _checked(Kind.AMOUNT, pa.array(values, pa.float64())) == expected


DATES = {
    "2020-02-29": date(2020, 2, 29),
    "2020-02-29 23:59": date(2020, 2, 29),
    "2020-02-29T23:59:59.1234567": date(2020, 2, 29),
    "2020-02-29T23:59:59-03:00": date(2020, 2, 29),
    "2020-02-29T00:00:00Z": date(2020, 2, 29),
    "2020-02-29 00:00:00,5 +0530": date(2020, 2, 29),
    "2020-02-29 23:59-03": date(2020, 2, 29),
    "1900-01-01": date(1900, 1, 1),
    "2200-12-31": date(2200, 12, 31),
    None: Code.NULL_DATE,
    "": Code.NULL_DATE,
    "2021-02-29": Code.DATE_NOT_ISO,
    "29/02/2020": Code.DATE_NOT_ISO,
    "20200229": Code.DATE_NOT_ISO,
    "2020-W09-6": Code.DATE_NOT_ISO,
    "2020-2-9": Code.DATE_NOT_ISO,
    "2020-02-29x": Code.DATE_NOT_ISO,
    "2020-02-29T": Code.DATE_NOT_ISO,
    "2020-02-29T24:00": Code.DATE_NOT_ISO,
    "2020-02-29 99:99": Code.DATE_NOT_ISO,
    "2020-02-29T10": Code.DATE_NOT_ISO,
    "2020-02-29 10:00:00+99:00": Code.DATE_NOT_ISO,
    "2020-02-29\t10:00": Code.DATE_NOT_ISO,
    " 2020-02-29": Code.DATE_NOT_ISO,
    "2020-060": Code.DATE_NOT_ISO,
    "2020-02": Code.DATE_NOT_ISO,
    "43890": Code.DATE_NOT_ISO,
    "２０２０-02-29": Code.DATE_NOT_ISO,
    "1753-01-01": Code.DATE_OUT_OF_RANGE,
    "9999-12-31": Code.DATE_OUT_OF_RANGE,
}


def test_dates() -> None:
    assert _checked(Kind.DATE, pa.array(list(DATES), pa.string())) == list(DATES.values())
    short = {t: v for t, v in DATES.items() if t is None or len(t) <= 10}
    assert _checked(Kind.DATE, pa.array(list(short), pa.string())) == list(short.values())


def test_dates_of_other_types() -> None:
    late = datetime(2020, 2, 29, 23, 30)
    day = date(2020, 2, 29)
    assert _checked(Kind.DATE, pa.array([day, None])) == [day, Code.NULL_DATE]
    assert _checked(Kind.DATE, pa.array([late], pa.timestamp("ns"))) == [day]
    # The date on the wall of the time zone, not of Greenwich.
    there = pa.array([datetime(2020, 3, 1, 1, tzinfo=UTC)], pa.timestamp("us", "America/Sao_Paulo"))
    assert _checked(Kind.DATE, there) == [day]
    early = pa.array([datetime(1753, 1, 1, 12)], pa.timestamp("us"))
    assert _checked(Kind.DATE, early) == [Code.DATE_OUT_OF_RANGE]
    assert _checked(Kind.OPTIONAL_DATE, pa.array(["", None, "x"])) == [
        None,
        None,
        Code.DATE_NOT_ISO,
    ]
    assert _checked(Kind.VERSION, pa.array([None, "x", "2020-02-29"])) == [
        Code.NULL_KEY, Code.TIMESTAMP_INVALID, day,
    ]  # fmt: skip


def test_with_a_format_that_format_alone_is_read() -> None:
    day, wrong = date(2003, 11, 24), Code.DATE_NOT_IN_FORMAT
    texts = {
        "24/11/2003": day,
        "2003-11-24": wrong,
        "11/24/2003": wrong,
        "31/02/2003": wrong,
        "24/11/2003 10:00": wrong,
        "01/01/1753": Code.DATE_OUT_OF_RANGE,
        "": Code.NULL_DATE,
        None: Code.NULL_DATE,
    }
    read = _checked(Kind.DATE, pa.array(list(texts), pa.string()), date_format="%d/%m/%Y")
    assert read == list(texts.values())
    # 2003-11-24 and 2003-24-11 cannot be told apart by looking.
    iso = pa.array(["2003-24-11", "2003-11-24", "2003-01-02"])
    assert _checked(Kind.DATE, iso, date_format="%Y-%d-%m") == [day, wrong, date(2003, 2, 1)]
    for kind, nothing in ((Kind.OPTIONAL_DATE, None), (Kind.VERSION, Code.NULL_KEY)):
        found = _checked(kind, pa.array(["24/11/2003", "x", None]), date_format="%d/%m/%Y")
        assert found == [day, wrong, nothing]
    offset = pa.array(["24/11/2003 23:30-03:00"])
    assert _checked(Kind.DATE, offset, date_format="%d/%m/%Y %H:%M%z") == [day]
    assert _checked(Kind.DATE, pa.array([20031124]), date_format="%Y%m%d") == [day]


def test_typed_dates_have_no_format() -> None:
    day, noon = date(2003, 11, 24), datetime(2003, 11, 24, 12)
    assert _checked(Kind.DATE, pa.array([day]), date_format="%d/%m/%Y") == [day]
    assert _checked(Kind.DATE, pa.array([noon]), date_format="%d/%m/%Y") == [day]
    found = _checked(Kind.TIMESTAMP, pa.array([noon]), date_format="%d/%m/%Y")
    assert found == [noon.replace(tzinfo=UTC)]


def test_a_typed_date_that_the_source_writes_as_text_has_no_format_either() -> None:
    fields = (Field("date", "d", Kind.DATE, date_format="%d/%m/%Y"),)
    feed = Feed("sales", "sales", Relation("lines"), fields, ("date",))
    marked = pa.schema([pa.field("d", pa.string(), metadata={WRITTEN_ISO: b"1"})])
    text = pa.array(["2003-11-24T23:30:00-03:00"])
    accepted = check(pa.RecordBatch.from_arrays([text], schema=marked), feed).accepted
    assert accepted["date"].to_pylist() == [date(2003, 11, 24)]
    assert check(pa.record_batch({"d": text}), feed).accepted.num_rows == 0


def test_instants_in_a_format() -> None:
    noon, wrong = datetime(2003, 11, 24, 12, tzinfo=UTC), Code.TIMESTAMP_INVALID
    texts = {"24/11/2003 12:00:00": noon, "": None, None: None, "2003-11-24 12:00:00": wrong,
             "24/11/2003": wrong}  # fmt: skip
    column = pa.array(list(texts), pa.string())
    found = _checked(Kind.TIMESTAMP, column, date_format="%d/%m/%Y %H:%M:%S")
    assert found == list(texts.values())
    there = pa.array(["24/11/2003 09:00-0300", "01/01/0001 00:00+2300"])
    found = _checked(Kind.TIMESTAMP, there, date_format="%d/%m/%Y %H:%M%z")
    assert found == [noon, wrong]


def test_timestamps() -> None:
    noon = datetime(2020, 1, 2, 12, tzinfo=UTC)
    texts = {
        "2020-01-02 12:00:00": noon,
        "2020-01-02T12:00:00.000000": noon,
        "2020-01-02T09:00:00-03:00": noon,
        "2020-01-02 12:00:00Z": noon,
        "2020-01-02T12:00:00.123456789": noon.replace(microsecond=123456),
        "2020-01-02": datetime(2020, 1, 2, tzinfo=UTC),
        "": None,
        None: None,
        "yesterday": Code.TIMESTAMP_INVALID,
        "2020-02-30 12:00:00": Code.TIMESTAMP_INVALID,
        "1577966400": Code.TIMESTAMP_INVALID,
        "2020-01-02T12": Code.TIMESTAMP_INVALID,
        "2020-01-02 24:00:00": Code.TIMESTAMP_INVALID,
        "2020-01-02 12:00:60": Code.TIMESTAMP_INVALID,
        "2020-01-02 09:00:00,0 -0300": noon,
        "0001-01-01 00:00:00+10:00": Code.TIMESTAMP_INVALID,
    }
    assert _checked(Kind.TIMESTAMP, pa.array(list(texts), pa.string())) == list(texts.values())
    fine = pa.array([noon], pa.timestamp("ns", "America/Sao_Paulo"))
    assert _checked(Kind.TIMESTAMP, fine) == [noon]
    assert _checked(Kind.TIMESTAMP, pa.array([noon.replace(tzinfo=None)])) == [noon]


def test_numbers() -> None:
    texts = {"1": 1.0, "+.5e1": 5.0, "-2.25": -2.25, "": None, None: None}
    bad = ["1,5", "nan", "inf", "1e400", "true", "1e28"]
    found = _checked(Kind.NUMBER, pa.array([*texts, *bad], pa.string()))
    assert found == [*texts.values(), *[Code.NUMBER_INVALID] * len(bad)]
    floats = pa.array([1.5, math.nan, -math.inf, None])
    invalid = Code.NUMBER_INVALID
    assert _checked(Kind.NUMBER, floats) == [1.5, invalid, invalid, None]
    assert _checked(Kind.NUMBER, pa.array([True, False, None])) == [1.0, 0.0, None]


def test_identifiers_and_keys() -> None:
    ids = ["001", "1", "1e5", "NULL", "nan", "12345678901234567890", "São", "a", "A", " x"]
    for kind in (Kind.IDENTIFIER, Kind.KEY, Kind.TEXT):
        assert _checked(kind, pa.array(ids)) == ids
    assert _checked(Kind.IDENTIFIER, pa.array([7, 2**63 - 1, None])) == [
        "7", "9223372036854775807", Code.NULL_KEY,
    ]  # fmt: skip
    odd = pa.array(["", " ", "a\nb", None])
    invalid = Code.IDENTIFIER_INVALID
    assert _checked(Kind.IDENTIFIER, odd) == [Code.NULL_KEY, Code.NULL_KEY, invalid, Code.NULL_KEY]
    assert _checked(Kind.IDENTIFIER, pa.array(["a  ", " a"]), fixed_width=True) == ["a", " a"]
    assert _checked(Kind.KEY, pa.array([b"\x01\xff"])) == ["01ff"]
    assert _checked(Kind.KEY, pa.array(["", None])) == [Code.NULL_KEY] * 2


@pytest.mark.parametrize(
    ("kind", "array", "code"),
    [
        (Kind.IDENTIFIER, pa.array([1.0]), Code.IDENTIFIER_IS_FLOAT),
        (Kind.IDENTIFIER, pa.array([True]), Code.COLUMN_TYPE_INVALID),
        (Kind.IDENTIFIER, pa.array([["a"]]), Code.COLUMN_TYPE_INVALID),
        (Kind.IDENTIFIER, pa.array([{"a": 1}]), Code.COLUMN_TYPE_INVALID),
        (
            Kind.IDENTIFIER,
            pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            Code.COLUMN_TYPE_INVALID,
        ),
        (Kind.DATE, pa.array([20200101]), Code.COLUMN_TYPE_INVALID),
        (Kind.AMOUNT, pa.array([True]), Code.COLUMN_TYPE_INVALID),
        (Kind.AMOUNT, pa.array([date(2020, 1, 1)]), Code.COLUMN_TYPE_INVALID),
        (Kind.TIMESTAMP, pa.array([1.5]), Code.COLUMN_TYPE_INVALID),
        (Kind.NUMBER, pa.array([date(2020, 1, 1)]), Code.COLUMN_TYPE_INVALID),
        (Kind.TEXT, pa.array([[1]]), Code.COLUMN_TYPE_INVALID),
    ],
)
def test_a_type_that_cannot_hold_it(kind: Kind, array: pa.Array, code: Code) -> None:
    with pytest.raises(ContractError) as caught:
        _checked(kind, array)
    assert caught.value.code is code
    assert caught.value.where == "source.sales: c"


def test_a_text_column_that_holds_floats_is_no_identifier() -> None:
    feed = Feed(
        "sales",
        "sales",
        Relation("lines"),
        (Field("store_id", "c", Kind.IDENTIFIER),),
        ("store_id",),
    )
    marked = pa.schema([pa.field("c", pa.string(), metadata={HOLDS_FLOATS: b"1"})])
    with pytest.raises(ContractError) as caught:
        check(pa.record_batch([pa.array(["1.0"])], schema=marked), feed)
    assert caught.value.code is Code.IDENTIFIER_IS_FLOAT


def test_the_first_rule_broken_names_the_reason_and_the_row_is_kept_as_it_came() -> None:
    feed = Feed(
        "sales",
        "transactions",
        Relation("lines"),
        (
            Field("id", "ID", Kind.KEY),
            Field("date", "DIA", Kind.DATE),
            Field("sales", "VALOR", Kind.AMOUNT),
        ),
        ("id",),
    )
    batch = pa.record_batch({"ID": ["1", None], "DIA": ["x", "2020-01-01"], "VALOR": ["é", "2"]})
    refused = check(batch, feed).rejected.to_pylist()
    assert [r["reason_code"] for r in refused] == ["DATE_NOT_ISO", "NULL_KEY"]
    assert refused[0]["raw_row"] == '{"ID": "1", "DIA": "x", "VALOR": "é"}'
    assert refused[0]["reason"] == (
        "lines.DIA, row ID = 1: The date is not written YYYY-MM-DD. Write it YYYY-MM-DD, in the "
        "source or in a `query:`; or name the way in which all dates are written there by "
        "`date_format:`."
    )
    assert refused[1]["reason"].startswith("lines.ID, row ID = null: A part of the key is null")
    assert {r["table_name"] for r in refused} == {"transactions"}


def test_the_reason_says_the_format_and_names_the_row_by_its_whole_key() -> None:
    fields = (
        Field("store_id", "LOJA", Kind.IDENTIFIER),
        Field("date", "DIA", Kind.DATE, date_format="%d/%m/%Y"),
        Field("watermark", "W", Kind.TIMESTAMP, date_format="%d/%m/%Y %H:%M"),
    )
    feed = Feed("sales", "sales", Relation("lines"), fields, ("store_id", "date"))
    good = "24/11/2003"
    batch = pa.record_batch({"LOJA": ["x" * 50, "\n"], "DIA": ["y", good], "W": ["", "z"]})
    first, second = check(batch, feed).rejected["reason"].to_pylist()
    assert first == (
        f"lines.DIA, row LOJA = {'x' * 39}…, DIA = y: The date is not written %d/%m/%Y, such as "
        "24/11/2003. Write it so in the source; a column has one format."
    )
    assert second.startswith("lines.LOJA, row LOJA = \\n, DIA = 24/11/2003: A store identifier has")
    batch = pa.record_batch({"LOJA": ["x"], "DIA": [good], "W": ["z"]})
    (reason,) = check(batch, feed).rejected["reason"].to_pylist()
    assert reason.endswith("Write it %d/%m/%Y %H:%M, such as 24/11/2003 18:05.")


@pytest.mark.parametrize(
    ("name", "watermark", "remedy"),
    [
        ("sales", False, "Name a watermark column, or remove the wrong rows."),
        ("sales", True, "Give the row that holds a later watermark, or remove the wrong ones."),
        ("stores", False, "Remove the wrong rows, in the source or by a `query:`."),
    ],
)
def test_a_conflict_s_remedy_is_one_that_there_is(name: str, watermark: bool, remedy: str) -> None:
    fields = [Field("id", "ID", Kind.KEY), *([Field("watermark", "W", Kind.TIMESTAMP)] * watermark)]
    feed = Feed(name, "t", Relation("lines"), tuple(fields), ("id",))
    rows = pa.record_batch({"ID": ["1"], "W": [None]})
    (reason,) = rejected(rows, feed, [(Code.CONFLICTING_DUPLICATE, None)])["reason"].to_pylist()
    assert reason.startswith("lines, row ID = 1: Rows of one key differ")
    assert reason.endswith(remedy)


@pytest.mark.parametrize("kind", [Kind.DATE, Kind.OPTIONAL_DATE, Kind.VERSION, Kind.TIMESTAMP])
@pytest.mark.parametrize(
    "array",
    [
        pa.array([2**63 - 1, -(2**63) + 1], pa.int64()).cast(pa.timestamp("us")),
        pa.array([2**63 - 1, -(2**63) + 1], pa.int64()).cast(pa.timestamp("us", "UTC")),
        pa.array([2**31 - 1, -(2**31) + 9], pa.int32()).cast(pa.date32()),
    ],
)
def test_a_day_that_is_in_no_calendar(kind: Kind, array: pa.Array) -> None:
    """Such as PostgreSQL's infinity, which Python cannot hold: rejected, and shown as it came."""
    code = Code.TIMESTAMP_INVALID if kind is Kind.TIMESTAMP else Code.DATE_OUT_OF_RANGE
    assert _checked(kind, array) == [code, code]


@pytest.mark.parametrize("of", [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "Asia/Tokyo")])
def test_a_day_that_python_has_none_of_is_shown_as_postgresql_writes_it(of: pa.DataType) -> None:
    written = ["-4712-01-03", "-0043-03-15", "0000-12-30", "10000-01-02", "29999-12-30"]
    days = pa.array(np.array(written, "M8[D]").astype("M8[us]")).cast(pa.timestamp("us")).cast(of)
    shown = ["4713-01-03 BC", "0044-03-15 BC", "0001-12-30 BC", "10000-01-02", "29999-12-30"]
    for marks, ends in (
        (None, (shown[0], shown[-1])),
        ({WITHOUT_END: b"1"}, ("-infinity", "infinity")),
    ):
        schema = pa.schema([pa.field("c", of, metadata=marks)])
        batch = pa.RecordBatch.from_arrays([days], schema=schema)
        feed = Feed("sales", "sales", Relation("lines"), (Field("c", "c", Kind.DATE),), ("c",))
        rows = [json.loads(r)["c"] for r in check(batch, feed).rejected["raw_row"].to_pylist()]
        for row, wanted in zip(rows, [ends[0], *shown[1:-1], ends[1]], strict=True):
            assert row[: len(wanted) - 3] == wanted[:-3]
            assert row.endswith(" BC") == wanted.endswith(" BC")
