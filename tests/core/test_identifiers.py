"""Store ids come out as they went in."""

import decimal
import json

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storecast.core.identifiers import UNKNOWN, StoreCodes, accept
from storecast.errors import Code, ContractError

NASTY = (
    "001", "1", "01", "1e5", "100000", "1.0", "NULL", "null", "None", "nan", "NaN", "inf", "True",
    "0x1F", "12345678901234567890", "12345678901234567891", "São", "Sa\u0303o", "sao", "SAO",
    "Loja A", "loja a", " 7", "7", "ß", "ss", "\U0001f600", "-1", "+1", "1_0", "２",
)  # fmt: skip
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
ids = st.one_of(st.sampled_from(NASTY), texts)


@settings(deadline=None)
@given(st.lists(ids, max_size=40), st.lists(ids, max_size=20))
def test_codes_and_back_change_nothing(learnt, others):
    codes = StoreCodes.learn(learnt)
    encoded = codes.encode(learnt)
    assert codes.decode(encoded).to_list() == learnt
    assert len(set(encoded.tolist())) == len(set(learnt)) == len(codes) - 1
    assert UNKNOWN not in encoded.tolist()
    unseen = [i for i in others if i not in learnt]
    assert codes.encode(pl.Series("i", unseen, dtype=pl.String)).tolist() == [0] * len(unseen)
    again = StoreCodes.from_json(codes.to_json())
    assert again == codes
    assert again.encode(learnt).tolist() == encoded.tolist()


def test_no_nasty_pair_becomes_one():
    codes = StoreCodes.learn(pl.Series("store_id", NASTY))
    assert len(codes) == len(NASTY) + 1
    assert sorted(codes.encode(NASTY).tolist()) == list(range(1, len(NASTY) + 1))
    assert codes.values == tuple(sorted(NASTY))


def test_codes_pass_through_pandas_and_polars_as_text():
    codes = StoreCodes.learn(NASTY)
    back = codes.decode(codes.encode(NASTY))
    assert back.dtype == pl.String
    assert back.to_pandas().tolist() == list(NASTY)
    assert pl.from_pandas(back.to_pandas()).to_list() == list(NASTY)


def test_null_and_unknown_are_the_reserved_code():
    codes = StoreCodes.learn(["b", None, "a"])
    assert codes.encode(["a", None, "b", "c"]).tolist() == [1, 0, 2, 0]
    assert codes.decode([0, 2, 1]).to_list() == [None, "b", "a"]
    assert StoreCodes.learn([]).encode(["a", None]).tolist() == [0, 0]
    assert StoreCodes.learn([]).encode([]).tolist() == []


@pytest.mark.parametrize("wrong", [[-1], [3], [1, 99]])
def test_a_code_that_was_never_given_is_refused(wrong):
    with pytest.raises(IndexError):
        StoreCodes.learn(["a", "b"]).decode(wrong)


def test_the_state_is_plain_json():
    assert json.loads(StoreCodes.learn(["é"]).to_json()) == {"values": ["é"]}


@pytest.mark.parametrize("value", [1, 1.0, True, b"1"])
def test_what_is_not_text_has_no_code(value):
    with pytest.raises(ContractError) as wrong:
        StoreCodes.learn([value])
    assert wrong.value.code == Code.COLUMN_TYPE_INVALID


# ------------------------------------------------------------------ accept


@given(st.lists(st.one_of(st.none(), ids)), st.booleans(), st.sampled_from(["utf8", "large", "d"]))
def test_text_is_kept_to_the_character(some, fixed_width, kind):
    array = pa.array(some, pa.string())
    array = {"utf8": array, "large": array.cast(pa.large_string())}.get(
        kind, array.dictionary_encode()
    )
    values, reasons = accept(array, fixed_width)
    assert values.type == reasons.type == pa.string()
    for given_, value, reason in zip(some, values.to_pylist(), reasons.to_pylist(), strict=True):
        if given_ is None:
            assert (value, reason) == (None, "NULL_KEY")
            continue
        assert value == (given_.rstrip(" ") if fixed_width else given_)
        control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value)
        if not value.strip(" "):
            assert reason == "NULL_KEY"
        else:
            assert reason == ("IDENTIFIER_INVALID" if control else None)


def test_the_nasty_ones_are_accepted_unchanged():
    values, reasons = accept(pa.chunked_array([list(NASTY[:9]), list(NASTY[9:])]))
    assert values.to_pylist() == list(NASTY)
    assert reasons.null_count == len(NASTY)


def test_padding_is_trimmed_only_where_the_width_is_fixed_and_never_in_front():
    padded = pa.array(["001   ", " 01", "a\u00a0", "a\t"])
    assert accept(padded, fixed_width=True)[0].to_pylist() == ["001", " 01", "a\u00a0", "a\t"]
    assert accept(padded)[0].to_pylist() == padded.to_pylist()
    assert accept(padded)[1].to_pylist() == [None, None, None, "IDENTIFIER_INVALID"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_become_their_digits(numbers):
    assert accept(pa.array(numbers, pa.int64()))[0].to_pylist() == [str(n) for n in numbers]


@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1)))
def test_decimals_without_places_become_their_digits(numbers):
    array = pa.array([decimal.Decimal(n) for n in numbers], pa.decimal128(38, 0))
    assert accept(array)[0].to_pylist() == [str(n) for n in numbers]


def test_large_unsigned_integers_are_exact():
    array = pa.array([2**64 - 1, None], pa.uint64())
    values, reasons = accept(array)
    assert values.to_pylist() == ["18446744073709551615", None]
    assert reasons.to_pylist() == [None, "NULL_KEY"]


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (pa.array([1.0]), Code.IDENTIFIER_IS_FLOAT),
        (pa.array([1.0], pa.float32()), Code.IDENTIFIER_IS_FLOAT),
        (pa.array([1.5]).dictionary_encode(), Code.IDENTIFIER_IS_FLOAT),
        (pa.array([True]), Code.COLUMN_TYPE_INVALID),
        (pa.array([b"1"]), Code.COLUMN_TYPE_INVALID),
        (pa.array([decimal.Decimal("1.50")]), Code.COLUMN_TYPE_INVALID),
        (pa.array([0], pa.date32()), Code.COLUMN_TYPE_INVALID),
    ],
)
def test_other_types_are_refused(array, code):
    with pytest.raises(ContractError) as wrong:
        accept(array)
    assert wrong.value.code == code


def test_nothing_is_nothing():
    for empty in (pa.array([], pa.string()), pa.chunked_array([], pa.int64())):
        values, reasons = accept(empty)
        assert len(values) == len(reasons) == 0
