"""What stage 2 looks at before it asks about orders, and what it looks for afterwards; against the emulator."""

import json
from datetime import timedelta

import pytest
from tests.emulated import emulating
from tests.kraken import SYMBOL, Client
from tests.trading import approved

from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import moment
from peak_trade.model.errors import InputError, SafetyRefused, Unavailable
from peak_trade.venue.kraken.checking import KrakenCheck
from peak_trade.venue.kraken.market import DEPTH, KrakenMarket
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.port import Accepted, Rejected


class Ours:
    """A machine's clock beside the exchange's, which is told in whole seconds and may be another one."""

    def __init__(self, client, ahead_ms=0):
        self.client, self.ahead = client, timedelta(milliseconds=ahead_ms)

    def now(self):
        return self.client.clock.now() + self.ahead

    def elapsed_s(self):
        return self.client.clock.elapsed_s()


@pytest.fixture(scope="module")
def exchange():
    with emulating() as found:
        yield found


@pytest.fixture
def client(exchange, tmp_path):
    found = Client(exchange, tmp_path)
    yield found
    found.calm()
    found.close()


def market_of(client, timeframe="1m"):
    return KrakenMarket(PublicMarket(client.parts, client.exchange.url, 0.0), Timeframe.parse(timeframe))


def check_of(client, ahead_ms=0, speed=1.0, max_skew_ms=1_000.0):
    return KrakenCheck(client.looking, market_of(client), Ours(client, ahead_ms), speed=speed, max_skew_ms=max_skew_ms)


def answering(client, endpoint, change):
    """Let an answer's result be changed on its way."""

    def act(sent, body):
        if sent.endpoint.partition("?")[0] != endpoint:
            return body
        found = json.loads(body)
        change(found["result"])
        return json.dumps(found).encode()

    client.wire.answers = act


def test_an_ordinary_key_and_clock(client):
    """Nothing is refused, and nothing but questions was asked."""
    client.run(check_of(client).prepare())

    assert [sent.endpoint for sent in client.wire.sent][-3:] == ["GetApiKeyInfo", "AssetPairs", "Time"]


@pytest.mark.parametrize("right", ["withdraw-funds", "Withdraw", "add-withdraw-address"])
def test_a_key_that_may_withdraw(client, right):
    """It is refused, however the right is written, and named."""
    answering(client, "GetApiKeyInfo", lambda found: found["permissions"].append(right))

    with pytest.raises(SafetyRefused, match=f"can't withdraw.*{right}"):
        client.run(check_of(client).prepare())


@pytest.mark.parametrize("told", [[], None])
def test_a_key_whose_rights_are_not_told(client, told):
    """What is not known is not taken for harmless."""

    def change(found):
        found["permissions"] = told
        if told is None:
            del found["permissions"]

    answering(client, "GetApiKeyInfo", change)

    with pytest.raises(Unavailable):
        client.run(check_of(client).prepare())


SECOND_NS = 1_795_000_000_000_000_000


# The exchange tells whole seconds: a time of 10 is any moment up to 11, and that much is never held against a clock.
@pytest.mark.parametrize(
    ("ahead_ms", "words"),
    [
        *((0, None), (2_000, None), (2_001, "1001 ms ahead"), (3_600_000, "ahead")),
        *((-1_000, None), (-1_001, "1001 ms behind"), (-3_600_000, "behind")),
    ],
)
def test_a_clock_that_differs(client, monkeypatch, ahead_ms, words):
    """By more than is allowed beyond the second that is not told; at the limit it does not."""
    check = check_of(client, ahead_ms)
    monkeypatch.setattr(Ours, "now", lambda self: moment(SECOND_NS) + self.ahead)

    async def told():
        return SECOND_NS

    monkeypatch.setattr(check._market, "now_ns", told)
    if words is None:
        client.run(check.prepare())
    else:
        with pytest.raises(SafetyRefused, match=words):
            client.run(check.prepare())


def test_an_emulators_faster_clock_is_not_compared(client):
    """It can't be the same as ours; deadlines follow it."""
    client.run(check_of(client, 3_600_000, speed=60.0).prepare())


def test_an_exchange_that_is_silent(client):
    """It is said, after a few tries, and nothing is taken for granted."""
    client.fault("rest.service_unavailable", count=20, match={"endpoint": "GetApiKeyInfo"})

    with pytest.raises(Unavailable, match="GetApiKeyInfo"):
        client.run(check_of(client).prepare())


def submit(client, check, **changes):
    return client.run(check.submit(approved(client.intent(**changes))))


def test_orders_are_validated(client):
    """A good one and one that never fits; the exchange has no order of either."""
    check = check_of(client)
    client.run(check.prepare())

    assert submit(client, check) == Accepted("a")
    assert isinstance(submit(client, check, client_id="b", quantity="0.000000001"), Rejected)
    assert client.orders == []
    assert client.run(check.left_open(["a", "b"])) == []


def test_an_order_that_is_open_all_the_same(client):
    """One with a name that was sent to be validated is ours; an order of somebody else with the same account is not."""
    check = check_of(client)
    client.submit(client.intent(client_id="theirs"))
    submit(client, check, client_id="ours")
    assert client.run(check.left_open(["ours"])) == []

    client.submit(client.intent(client_id="ours"))

    ours = client.orders[1]
    assert not client.run(check.left_open([]))
    assert ours.state.working
    assert client.run(check.left_open(["ours"])) == [f"{ours.id} (cancelled)"]
    assert not ours.state.working
    assert client.orders[0].state.working
    client.fault("rest.service_unavailable", count=20, match={"endpoint": "OpenOrders"})
    with pytest.raises(Unavailable):
        client.run(check.left_open(["ours"]))


# ---- the market ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeframe", ["2m", "45s", "3h", "1mo"])
def test_a_length_that_kraken_does_not_have(client, timeframe):
    """It says which there are."""
    with pytest.raises(InputError):
        market_of(client, timeframe)


def test_a_pair_as_an_instrument(client):
    """With the steps that the exchange lists."""
    found, told = client.run(market_of(client).instrument("btc/eur")), client.pairs[SYMBOL]

    assert found.symbol == SYMBOL
    assert (found.tick_size, found.lot_step) == (told.tick_size, told.lot_step)
    assert (found.min_quantity, found.min_notional) == (told.ordermin, told.costmin)


def test_a_pair_that_is_not_there(client):
    """Or that takes no orders now."""
    with pytest.raises(InputError, match="NIX/EUR"):
        client.run(market_of(client).instrument("NIX/EUR"))
    answering(client, "AssetPairs", lambda found: [pair.update(status="cancel_only") for pair in found.values()])
    with pytest.raises(InputError, match=r"online.*cancel_only"):
        client.run(market_of(client).instrument(SYMBOL))


def test_candles(client):
    """Oldest first, each after the moment that was named, all over but the last."""
    market = market_of(client)

    whole = client.run(market.candles(SYMBOL, -1))
    opened = [candle.bar.opened_ns for candle in whole]
    later = client.run(market.candles(SYMBOL, opened[-4]))

    assert len(whole) > 100
    assert opened == sorted(set(opened))
    assert [candle.over for candle in whole] == [True] * (len(whole) - 1) + [False]
    assert [candle.bar.opened_ns for candle in later][:3] == opened[-3:]
    assert all(candle.bar.low <= candle.bar.open <= candle.bar.high for candle in whole)
    assert all(candle.bar.step_ns == 60 * 10**9 and candle.bar.symbol == SYMBOL for candle in whole)


def test_the_book(client):
    """Both sides, best first, and no deeper than was asked for."""
    found = client.run(market_of(client).book(SYMBOL))

    assert found.bids[0].price < found.asks[0].price
    assert [level.price for level in found.bids] == sorted((level.price for level in found.bids), reverse=True)
    assert [level.price for level in found.asks] == sorted(level.price for level in found.asks)
    assert 0 < len(found.bids) <= DEPTH
    assert all(level.quantity > 0 for level in (*found.bids, *found.asks))


def test_a_market_that_is_silent(client):
    """Nothing is made up."""
    emulator = client.exchange.opened.emulator
    told = {"name": "rest.service_unavailable", "count": 20, "match": {"endpoint": "Depth"}}
    client.exchange.inside(lambda: emulator.faults.add(told, emulator.now()))

    with pytest.raises(Unavailable):
        client.run(market_of(client).book(SYMBOL))
