"""Triggers of exits on the tick of their pair: the next one towards the market, and nothing else is touched."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exchange import Rig
from tests.trading import an_intent, dec

from peak_trade.venue.kraken import reading
from peak_trade.venue.kraken.fitting import misfit, on_tick

SYMBOL = "BTC/USD"
TOLD = msgspec.Raw(msgspec.json.encode(Rig().read("AssetPairs").answer["result"]))
PAIRS = reading.by_symbol(reading.shaped(TOLD, reading.Pairs, "AssetPairs"))


@pytest.mark.parametrize(
    ("kind", "quantity", "price", "found"),
    [
        ("stop", -1, "100.01", "100.1"),
        ("stop", 1, "100.09", "100.0"),
        ("take_profit", -1, "100.09", "100.0"),
        ("take_profit", 1, "100.01", "100.1"),
        ("stop", -1, "100.1", "100.1"),
        ("limit", -1, "100.01", "100.01"),
    ],
)
def test_a_trigger_is_taken_towards_the_market(kind, quantity, price, found):
    wish = an_intent(quantity, symbol=SYMBOL, kind=kind, price=dec(price))

    assert on_tick(wish, PAIRS).price == dec(found)


@given(price=st.decimals("0.2", "1000000", places=9), long=st.booleans(), stops=st.booleans())
def test_what_it_comes_to_fits(price, long, stops):
    """Whatever an exit was computed as, its price is one that the pair has, and less than a tick away."""
    wish = an_intent(-1 if long else 1, symbol=SYMBOL, kind="stop" if stops else "take_profit", price=price)
    found = on_tick(wish, PAIRS)

    refused = misfit(found, PAIRS)
    assert refused is None or refused.code != "off_step"
    assert abs(found.price - price) < PAIRS[SYMBOL].tick_size
    assert (found.price >= price) is (long is stops) or found.price == price


def test_without_a_trigger_or_a_pair_nothing_is_changed():
    at_market, unknown = an_intent(1, symbol=SYMBOL), an_intent(1, symbol="FOO/BAR", kind="stop", price=Decimal("1.23456"))

    assert on_tick(at_market, PAIRS) is at_market
    assert on_tick(unknown, PAIRS) is unknown
