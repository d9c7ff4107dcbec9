"""Parameters: what is read from forms and JSON, and what is not."""

from decimal import Decimal
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.emulator.orders import Offset, Rejection
from peak_trade.emulator.parameters import Parameters, deadline_of, decimal_of, moment_of, offset_of

S = 1_000_000_000
NOW = 1_700_000_000 * S


def test_forms_and_json_are_told_apart():
    """By content type, or by a brace where a client forgot it."""
    for body, kind in (
        (b"a=1&b=&c=x%2By", "form"),
        (b'{"a": 1, "b": "", "c": "x+y"}', "application/json"),
        (b'{"a":"1","b":"","c":"x+y"}', ""),
    ):
        found = Parameters.read(body, kind)
        assert [found.text(name, "none") for name in "abcd"] == ["1", "", "x+y", "none"]


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.text("ab1=&;#/.-", max_size=40))
def test_forms_are_read_as_the_standard_library_does(text):
    """Whatever is left out, doubled or empty, where nothing is escaped too."""
    assert Parameters.read(text.encode(), "form").values == dict(parse_qsl(text, keep_blank_values=True))


@pytest.mark.parametrize("count", [200, 201])
def test_fields_are_counted(count):
    """Two hundred are read, one more is refused."""
    body = "&".join(f"a{number}=1" for number in range(count)).encode()
    if count <= 200:
        assert len(Parameters.read(body, "form").values) == count
    else:
        with pytest.raises(Rejection):
            Parameters.read(body, "form")


@pytest.mark.parametrize("body", [b"[1]", b"null", b"{", b"\xff", b"&".join([b"a=1"] * 300)])
def test_other_bodies_are_refused(body):
    """No object, no text, too many fields."""
    with pytest.raises(Rejection, match="EGeneral:Invalid arguments"):
        Parameters.read(body, "application/json" if body[:1] in b"[n{" else "form")


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        ("true", True),
        ("True", True),
        ("1", True),
        (True, True),
        ("false", False),
        ("False", False),
        ("", False),
        (0, False),
        (None, False),
    ],
)
def test_flags(value, flag):
    """`validate=False` is no, as the SDK sends it."""
    assert Parameters({"validate": value}).flag("validate") is flag


@pytest.mark.parametrize("text", ["1", "0", "0.1", ".5", "1.", "1e-5", "99999999999999"])
def test_numbers(text):
    """Plain and with a small exponent."""
    assert decimal_of("price", text) == Decimal(text)


@pytest.mark.parametrize(
    "text", ["NaN", "inf", "-1", "1e15", "1e999999999", "1_0", "٣", " 1", "0x1", "", "1,5", "+1", "9" * 30]
)
def test_what_is_no_number(text):
    """Everything that only Python takes for one, and what is too large."""
    with pytest.raises(Rejection, match="EGeneral:Invalid arguments:price"):
        decimal_of("price", text)


@pytest.mark.parametrize(("text", "whole"), [("5", 5), ("-3", -3), ("5.0", 5), ("", 7), (6, 6)])
def test_whole_numbers(text, whole):
    """With a default where there is none."""
    assert Parameters({"count": text}).whole("count", 7, -5, 10) == whole


@pytest.mark.parametrize("text", ["5.5", "11", "-6", "1e99", "x", "NaN"])
def test_what_is_no_whole_number(text):
    """Fractions and what is out of bounds."""
    with pytest.raises(Rejection, match="EGeneral:Invalid arguments:count"):
        Parameters({"count": text}).whole("count", 7, -5, 10)


@pytest.mark.parametrize(
    ("text", "upwards", "offset"),
    [("+5", False, Offset(Decimal(5), False)), ("-2%", True, Offset(Decimal(-2), True)),
     ("#1", True, Offset(Decimal(1), False)),
     ("#1%", False, Offset(Decimal(-1), True)), ("5", True, None), ("", True, None)],
)  # fmt: skip
def test_relative_prices(text, upwards, offset):
    """The sign is the text's; of `#` it is the order's."""
    assert offset_of("price", text, upwards=upwards) == offset


def test_moments():
    """None, in so many seconds, or in unix seconds; not after the year 9999."""
    assert [moment_of("expiretm", text, NOW) for text in ("", "0", "+5", "1700000001.5")] == [
        0,
        0,
        NOW + 5 * S,
        NOW + 3 * S // 2,
    ]
    with pytest.raises(Rejection):
        moment_of("expiretm", "253402300800", NOW)


@pytest.mark.parametrize("text", ["2023-11-14T22:14:20.000001Z", "2023-11-14T22:13:25", "soon", "9999-12-31T23:59:59Z"])
def test_deadlines_that_are_none(text):
    """More than a minute away, without a zone, or no time at all."""
    with pytest.raises(Rejection, match="EGeneral:Invalid arguments:deadline"):
        deadline_of(text, NOW)


def test_deadlines():
    """Up to a minute away; a past one is read too: it has elapsed."""
    assert deadline_of("2023-11-14T22:14:20Z", NOW) == NOW + 60 * S
    assert deadline_of("2023-11-14T23:13:19.5+01:00", NOW) == NOW - S // 2
    assert deadline_of("", NOW) == 0
