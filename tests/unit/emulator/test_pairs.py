"""What is listed, under all of its names."""

from decimal import Decimal

import pytest

from peak_trade.emulator.pairs import ASSETS, FEES, PAIRS, asset_of, fees_at, pair_of


def test_there_are_enough_of_them():
    """At least 12 pairs of 8 assets."""
    assert len(PAIRS) >= 12
    assert len(ASSETS) >= 8


@pytest.mark.parametrize(
    ("symbol", "names"),
    [
        ("BTC/USD", ("XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD")),
        ("BTC/USDT", ("XBTUSDT", "XBT/USDT")),
        ("SOL/EUR", ("SOLEUR", "SOL/EUR")),
        ("LTC/EUR", ("XLTCZEUR", "LTCEUR")),
    ],
)
def test_names_lead_to_the_pair(symbol, names):
    """Id, altname, wsname, symbol; the long id only of two old assets."""
    assert {pair_of(name) for name in names} == {PAIRS[symbol]}
    assert PAIRS[symbol].id == names[0]


def test_no_name_means_two_things():
    """All names of all pairs and assets are different things'; unknown ones are nothing."""
    for what, find in ((PAIRS, pair_of), (ASSETS, asset_of)):
        names = [{one.id, one.altname, getattr(one, "symbol", one.altname)} for one in what.values()]
        assert sum(map(len, names)) == len(set().union(*names))
        assert find("NOPE") is None
        assert find("") is None


def test_bitcoin_is_as_recorded():
    """Steps and minimums of Kraken's reply of November 2025."""
    pair = PAIRS["BTC/USD"]

    assert (pair.tick, pair.lot_decimals, pair.cost_decimals) == (Decimal("0.1"), 8, 5)
    assert (pair.ordermin, pair.costmin) == (Decimal("0.00005"), Decimal("0.5"))


@pytest.mark.parametrize(("volume", "taker"), [("0", "0.40"), ("9999.99", "0.40"), ("10000", "0.35"), ("1e9", "0.10")])
def test_fees_fall_with_volume(volume, taker):
    """A tier begins at its volume; rates never rise."""
    assert fees_at(Decimal(volume)).taker == Decimal(taker)
    assert [tier.maker for tier in FEES] == sorted((tier.maker for tier in FEES), reverse=True)
