"""The limits of stage 2 against those of every session: the smaller one counts, each both ways."""

from decimal import Decimal

import pytest
from tests.trading import some_limits

from peak_trade.model.errors import InputError, SafetyRefused
from peak_trade.runs.sessions.plan import tightened
from peak_trade.settings import RunLimits, SymbolLimits
from peak_trade.settings import TestnetLimits as StageLimits

MANY = Decimal(10**6)


def stage(run=MANY, **pairs):
    """Return limits of stage 2; *pairs* by base currency: largest order and largest position."""
    found = {
        f"{base}/EUR": SymbolLimits(max_order_notional=order, max_exposure_notional=position)
        for base, (order, position) in pairs.items()
    }
    return StageLimits(run=RunLimits(max_order_notional=run), symbols=found)


def of(limits):
    return limits.max_order_notional, limits.max_symbol_exposure_notional, limits.max_total_exposure_notional


def usual(order=100, symbol=200, total=300):
    return some_limits(max_order_notional=order, max_symbol_exposure_notional=symbol, max_total_exposure_notional=total)


@pytest.mark.parametrize(
    ("testnet", "wanted"),
    [
        (stage(BTC=(MANY, MANY)), (100, 200, 300)),
        (stage(run=99, BTC=(MANY, MANY)), (99, 200, 300)),
        (stage(run=100, BTC=(100, 200)), (100, 200, 200)),
        (stage(run=101, BTC=(98, MANY)), (98, 200, 300)),
        (stage(BTC=(MANY, 199)), (100, 199, 199)),
        (stage(BTC=(MANY, 300)), (100, 200, 300)),
        (stage(BTC=(MANY, 301)), (100, 200, 300)),
    ],
)
def test_the_smaller_limit_counts(testnet, wanted):
    """Of an order: run, pair and session; of a position: pair and session; of all: the pairs' sum and the session's."""
    assert of(tightened(usual(), testnet, ["BTC/EUR"])) == wanted


def test_several_pairs():
    """The strictest pair holds for each order and position, the sum for all."""
    testnet = stage(BTC=(50, 100), ETH=(70, 150))

    assert of(tightened(usual(), testnet, ["BTC/EUR", "ETH/EUR"])) == (50, 100, 250)
    assert of(tightened(usual(total=249), testnet, ["BTC/EUR", "ETH/EUR"])) == (50, 100, 249)
    assert of(tightened(usual(), testnet, ["ETH/EUR"])) == (70, 150, 150)


def test_what_is_no_limit_of_stage_two_stays():
    """Nothing else changes."""
    before = usual()
    after = tightened(before, stage(BTC=(1, 1)), ["btc/eur"])

    assert after.symbols == before.symbols
    assert after.max_orders_per_minute == before.max_orders_per_minute


@pytest.mark.parametrize(("testnet", "there"), [(stage(), "there is none"), (stage(ETH=(1, 1)), "ETH/EUR")])
def test_a_pair_without_limits_is_not_traded(testnet, there):
    """It says which there are, and which section is missing."""
    with pytest.raises(SafetyRefused, match=there) as caught:
        tightened(usual(), testnet, ["BTC/EUR"])

    assert '[testnet_limits.symbols."BTC/EUR"]' in str(caught.value)


def test_no_symbol_is_no_way_round():
    """A name that is none is an error, and with no pair at all there are no limits to take."""
    with pytest.raises(InputError):
        tightened(usual(), stage(BTC=(1, 1)), ["not a pair"])
    with pytest.raises((SafetyRefused, InputError)):
        tightened(usual(), stage(BTC=(1, 1)), [None])
