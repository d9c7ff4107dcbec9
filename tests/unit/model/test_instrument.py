"""Symbols and trading steps."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.model.errors import InputError
from peak_trade.model.instrument import KNOWN, Instrument, parse_symbol


@pytest.mark.parametrize(
    ("text", "symbol"),
    [("BTC/EUR", "BTC/EUR"), ("xbt-eur", "BTC/EUR"), (" XDG/USD ", "DOGE/USD"), ("eth/xbt", "ETH/BTC")],
)
def test_symbols_get_their_common_name(text, symbol):
    """Case, separator and Kraken's own asset names do not matter."""
    assert parse_symbol(text) == symbol


@pytest.mark.parametrize("text", ["", "BTC", "BTC/", "/EUR", "A/B/C", "BTC/€UR", "B/EUR", "../../etc", "BTC/EUR\n/X"])
def test_other_texts_are_refused(text):
    """What is not two short names with a separator is an error that shows the right form."""
    with pytest.raises(InputError, match="BTC/EUR"):
        parse_symbol(text)


@given(st.text(max_size=30))
def test_any_text_parses_or_is_refused(text):
    """No text gets past the parser in a form that the parser itself would change."""
    try:
        symbol = parse_symbol(text)
    except InputError:
        return

    assert parse_symbol(symbol) == symbol


@pytest.mark.parametrize(("name", "value"), [("tick_size", 0), ("lot_step", -1), ("min_quantity", -1), ("min_notional", -1)])
def test_steps_must_be_positive(name, value):
    """A step of zero or a negative minimum can't be built."""
    with pytest.raises(InputError, match=name):
        Instrument(symbol="BTC/EUR", **{name: Decimal(value)})


def test_an_alias_is_no_symbol():
    """An instrument can only be made under its common name."""
    with pytest.raises(InputError, match="BTC/EUR"):
        Instrument(symbol="XBT/EUR")


@pytest.mark.parametrize(
    ("symbol", "seconds", "periods"),
    [("BTC/EUR", 3_600, 8_760), ("BTC/EUR", 86_400, 365), ("SPX/USD", 86_400, 252), ("SPX/USD", 3_600, 252 * 6.5)],
)
def test_periods_per_year(symbol, seconds, periods):
    """Crypto trades every hour of 365 days, shares 6.5 hours of 252."""
    assert KNOWN[symbol].periods_per_year(seconds) == periods


def test_a_week_is_seven_days():
    """Longer bars than a day divide the trading days of a year."""
    assert KNOWN["BTC/EUR"].periods_per_year(604_800) == pytest.approx(365 / 7)
