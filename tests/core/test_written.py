"""Formats of dates: read to the character, against ``strptime`` where that does not guess."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storecast.core.written import DateFormat

THREE_WEST = timezone(-timedelta(hours=3))


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%d/%m/%Y", "24/11/2003", datetime(2003, 11, 24)),
        ("%d/%m/%Y", "4/1/2003", datetime(2003, 1, 4)),
        ("%m/%d/%Y", "01/04/2003", datetime(2003, 1, 4)),
        ("%Y-%d-%m", "2003-24-11", datetime(2003, 11, 24)),
        ("%d.%m.%y", "24.11.68", datetime(2068, 11, 24)),
        ("%d.%m.%y", "24.11.69", datetime(1969, 11, 24)),
        ("%Y%m%d", "20031124", datetime(2003, 11, 24)),
        ("%Y%j", "2004366", datetime(2004, 12, 31)),
        ("%d/%m/%Y %H:%M", "24/11/2003 7:05", datetime(2003, 11, 24, 7, 5)),
        ("%Y-%m-%d %H:%M:%S.%f", "2003-11-24 07:05:09.1234567",
         datetime(2003, 11, 24, 7, 5, 9, 123456)),
        ("%d/%m/%Y %H:%M%z", "24/11/2003 23:00-03:00",
         datetime(2003, 11, 24, 23, tzinfo=THREE_WEST)),
        ("%d/%m/%Y %H:%M%z", "24/11/2003 23:00Z", datetime(2003, 11, 24, 23, tzinfo=UTC)),
        ("100%% em %d/%m/%Y.", "100% em 24/11/2003.", datetime(2003, 11, 24)),
    ],
)  # fmt: skip
def test_what_is_read(form: str, text: str, expected: datetime) -> None:
    read = DateFormat.of(form).read(text)
    assert read == expected
    assert read.tzinfo == expected.tzinfo


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d/%m/%Y", "2003-11-24"),
        ("%d/%m/%Y", "24/11/03"),
        ("%d/%m/%Y", "24/11/2003 "),
        ("%d/%m/%Y", " 4/11/2003"),
        ("%d/%m/%Y", "24/11/2003\n"),
        ("%d/%m/%Y", "11/24/2003"),
        ("%d/%m/%Y", "29/02/2003"),
        ("%d/%m/%Y", "00/01/2003"),
        ("%d/%m/%Y", "01/01/0000"),
        ("%d/%m/%Y", "٢٤/11/2003"),
        ("%d/%m/%Y", "２４/11/2003"),
        ("%d.%m.%Y", "24/11/2003"),
        # The 1st of November or the 11th of January: strptime takes one of them.
        ("%d%m%Y", "1112003"),
        ("%Y%m%d", "2003111"),
        ("%Y%j", "2003366"),
        ("%Y%j", "2003000"),
        ("%d/%m/%Y %H:%M", "24/11/2003 24:00"),
        ("%d/%m/%Y %H:%M:%S", "24/11/2003 23:59:60"),
        ("%d/%m/%Y %H:%M%z", "24/11/2003 23:00+25:00"),
        ("%d/%m/%Y %H:%M%z", "24/11/2003 23:00+10:61"),
    ],
)
def test_what_is_not(form: str, text: str) -> None:
    assert DateFormat.of(form).read(text) is None


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("%d/%b/%Y", "%b, which reads differently from machine to machine"),
        ("%A %d/%m/%Y", "%A"),
        ("%I:%M %p %d/%m/%Y", "%p"),
        ("%c", "%c"),
        ("%x %X", "%x, %X"),
        ("%d/%m/%Q", "%Q; there are %d, %m"),
        ("%d/%m/%", "there are"),
        ("%d/%m/%-Y", "%-"),
        ("%d/%m", "does not say a day"),
        ("%Y-%m", "does not say a day"),
        ("%H:%M", "does not say a day"),
        ("%Y-%m-%d %y", "does not say a day"),
        ("%d/%m/%Y %d", "twice"),
        ("%d/%m/%Y %M", "does not say a time"),
        ("dd/mm/yyyy", "does not say a day"),
    ],
)
def test_formats_that_are_refused(form: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        DateFormat.of(form)


FORMS = ("%d/%m/%Y", "%m-%d-%y", "%Y%m%d", "%j.%Y", "%Y/%m/%d %H.%M", "%d.%m.%Y %H:%M:%S.%f",
         "%Y%m%d%H%M%S")  # fmt: skip


@given(
    st.sampled_from(FORMS), st.datetimes(datetime(1969, 1, 1), datetime(2068, 12, 31))
)  # fmt: skip
def test_what_strftime_writes_is_read_as_strptime_reads_it(form: str, moment: datetime) -> None:
    text = moment.strftime(form)
    assert DateFormat.of(form).read(text) == datetime.strptime(text, form)


@given(st.sampled_from(FORMS))
def test_the_example_is_one(form: str) -> None:
    read = DateFormat.of(form).read(DateFormat.of(form).example)
    assert read is not None
    assert (read.year, read.month, read.day) == (2003, 11, 24)
