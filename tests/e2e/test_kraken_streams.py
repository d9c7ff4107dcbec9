"""Our streams against the emulated exchange over real sockets: what is told, and how a connection comes back."""

import asyncio
import contextlib
import itertools
import random
from decimal import Decimal

import pytest
from tests.emulated import emulating
from tests.kraken import SYMBOL, Client

from peak_trade.emulator.catalogue import fill_now
from peak_trade.model.order import OrderEvent
from peak_trade.venue.kraken import stream as s
from peak_trade.venue.kraken.executions import StreamEnd, StreamFill
from peak_trade.venue.kraken.market_stream import (
    BookNews,
    CandleNews,
    MarketStream,
    SystemNews,
    TradeNews,
    book_topic,
    candles_topic,
    trades_topic,
)
from peak_trade.venue.kraken.private_stream import PrivateStream
from peak_trade.venue.kraken.reading import OpenOrders
from peak_trade.venue.kraken.stream import LineState, StreamTimes, SubscriptionRefused, Topic


@pytest.fixture
def exchange():
    """An emulator of each test's own: faults of streams strike every connection."""
    with emulating() as found:
        yield found


@pytest.fixture
def client(exchange, tmp_path):
    found = Client(exchange, tmp_path)
    with contextlib.closing(found):
        yield found


class Following:
    """A stream at work in the background, with everything that it told."""

    def __init__(self, client):
        self.client, self.told, self.lines, self.reconciled = client, [], [], []
        self.parts = s.StreamParts(
            clock=client.clock,
            chance=random.Random(3),
            line=self.lines.append,
            sleep=client.sleep,
            times=StreamTimes(look_s=0.05),
        )

    def market(self, *topics):
        url = self.client.exchange.stream + "/v2"
        return self.followed(MarketStream(topics, self.client.pairs, self.told.append, self.parts, url))

    def private(self):
        url = self.client.exchange.stream + "/auth/v2"
        return self.followed(PrivateStream(self.client.gateway, self.told.append, self.reconcile, self.parts, url))

    async def reconcile(self, why):
        """Ask REST, as a session would."""
        await self.client.gateway.read("OpenOrders", OpenOrders)
        self.reconciled.append(why)

    @contextlib.contextmanager
    def followed(self, stream):
        self.stream = stream
        self.task = self.client.loop.create_task(stream.run())
        self.until(lambda: self.states(LineState.OPEN))
        yield self
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.client.run(self.task)

    def states(self, state):
        return [one for one in self.lines if one.state is state]

    def kinds(self, kind):
        return [one for one in self.told if isinstance(one, kind)]

    def until(self, met, seconds=15):
        async def wait():
            async with asyncio.timeout(seconds):
                while not met():
                    if self.task.done():
                        self.task.result()
                    await asyncio.sleep(0.01)

        self.client.run(wait())

    def fault(self, name, **told):
        emulator = self.client.exchange.opened.emulator
        self.client.exchange.inside(lambda: emulator.faults.add({"name": name, **told}, emulator.now()))

    def cleared(self):
        emulator = self.client.exchange.opened.emulator
        self.client.exchange.inside(lambda: emulator.faults.clear(emulator.now()))


@pytest.fixture
def following(client):
    return Following(client)


BOOK, CANDLES, TRADES = book_topic(SYMBOL), candles_topic(SYMBOL), trades_topic(SYMBOL)


# ---- the market ----------------------------------------------------------------------------------------------------------


def test_candles_books_and_trades(following, client):
    """All of them, exact; the book is valid after every message."""
    with following.market(BOOK, CANDLES, TRADES):
        following.until(lambda: len(following.kinds(TradeNews)) > 3 and len(following.kinds(BookNews)) > 5)

    assert following.kinds(SystemNews) == [SystemNews("online")]
    assert following.stream.books[SYMBOL].valid
    numbers = [one.number for one in following.kinds(TradeNews)]
    assert numbers == sorted(set(numbers))
    candle = following.kinds(CandleNews)[-1]
    assert candle.low <= min(candle.open, candle.close) <= candle.high
    assert candle.opened_ns % 60_000_000_000 == 0
    assert isinstance(candle.close, Decimal)
    assert not following.states(LineState.BROKEN)


def test_a_candle_closes_when_the_next_begins(following, client):
    """Once, in order, without a hole."""
    with following.market(CANDLES):
        for _ in range(3):
            client.exchange.advance(60)
            begun = client.exchange.clock() // 60_000_000_000 * 60_000_000_000
            following.until(lambda begun=begun: following.kinds(CandleNews)[-1].opened_ns >= begun)

    closed = [one.opened_ns for one in following.kinds(CandleNews) if one.closed]
    assert len(closed) >= 3
    assert {later - earlier for earlier, later in itertools.pairwise(closed)} == {60_000_000_000}


@pytest.mark.parametrize("mode", ["checksum", "drop"])
def test_a_broken_book_is_asked_for_anew(following, mode):
    """That pair only: the connection stays, and the book is right again."""
    with following.market(BOOK, TRADES):
        following.fault("ws.book_corrupt", count=1, args={"mode": mode})
        following.until(lambda: following.states(LineState.BROKEN))
        told = len(following.told)
        following.until(lambda: following.stream.books[SYMBOL].valid and len(following.kinds(BookNews)) > 3)
        following.until(lambda: len(following.told) > told + 3)

    assert following.states(LineState.LOST) == []
    assert len(following.states(LineState.BROKEN)) == 1


def test_a_lost_snapshot_is_noticed(following):
    """Updates of a book that nobody has are no book: it is asked for anew."""
    following.fault("ws.half_open", count=1)

    with following.market(BOOK):
        following.until(lambda: following.states(LineState.BROKEN))
        following.until(lambda: following.stream.books[SYMBOL].valid)

    assert following.states(LineState.BROKEN)[0].words == "there was no snapshot"
    assert following.states(LineState.LOST) == []


def test_a_book_that_stays_wrong_ends_the_line(following):
    """It is not asked for for ever on one connection; a new one may help."""
    with following.market(BOOK):
        following.fault("ws.book_corrupt", count=99)
        following.until(lambda: following.states(LineState.LOST))
        following.cleared()
        following.until(lambda: following.stream.books[SYMBOL].valid)

    assert "again and again" in following.states(LineState.LOST)[0].words
    assert len(following.states(LineState.BROKEN)) >= 4


@pytest.mark.parametrize("code", [1006, 1001, 1008, 1012])
def test_a_connection_that_ends_comes_back(following, code):
    """All topics again; the snapshot is the new state."""
    with following.market(BOOK, CANDLES):
        following.fault("ws.drop", count=1, args={"code": code})
        following.until(lambda: len(following.states(LineState.OPEN)) == 2)
        following.until(lambda: following.stream.books[SYMBOL].valid)

    assert len(following.states(LineState.LOST)) == 1


def test_a_storm_is_met_with_patience(following, client):
    """Pauses grow and differ, and it is never dialled as often as Kraken minds."""
    with following.market(BOOK):
        following.fault("ws.drop_storm", for_s=600.0)
        following.until(lambda: len(following.states(LineState.LOST)) > 12)
        pauses = [nap for nap in client.naps if nap > 0.3]
        following.cleared()
        following.until(lambda: len(following.states(LineState.OPEN)) >= 2)

    assert max(pauses) > 30
    assert max(pauses) <= 60
    assert len(set(pauses)) == len(pauses)


def test_attempts_are_counted():
    """Not more than 120 in ten minutes, whatever happens."""
    dials, now, times = s.Dials(), 0.0, []
    for _ in range(500):
        now += dials.wait_s(now)
        dials.count(now)
        times.append(now)
        now += 0.01

    assert all(times[at + s.DIALS_MAX] - times[at] >= s.DIALS_S - 0.01 for at in range(len(times) - s.DIALS_MAX))


def test_total_silence_is_death(following, client):
    """An open socket on which nothing comes, not even a heartbeat."""
    with following.market(BOOK):
        following.fault("ws.silent")
        client.exchange.advance(6)
        following.until(lambda: following.states(LineState.LOST))
        following.cleared()
        following.until(lambda: len(following.states(LineState.OPEN)) == 2)

    assert "nothing was heard" in following.states(LineState.LOST)[0].words


def test_a_frozen_topic_is_noticed_through_heartbeats(following, client):
    """It is asked for anew; where that does not help the line is given up."""
    with following.market(book_topic(SYMBOL, stale_s=3.0), TRADES):
        following.fault("ws.half_open")
        client.exchange.advance(4)
        following.until(lambda: following.states(LineState.STALE))
        client.exchange.advance(4)
        following.until(lambda: following.states(LineState.LOST))
        following.cleared()
        following.until(lambda: following.stream.books[SYMBOL].valid)

    assert following.states(LineState.STALE)[0].topic == f"book {SYMBOL}"
    assert "stands still" in following.states(LineState.LOST)[0].words


def test_a_subscription_without_an_answer_is_no_hang(following, client):
    """Although the other topic goes on, the line is dialled anew after a few seconds."""
    following.fault("ws.sub_no_ack", count=1)
    for number in range(1, 8):
        client.loop.call_later(0.2 * number, client.exchange.advance, 1)

    with following.market(BOOK, candles_topic(SYMBOL, 5), TRADES):
        pass

    assert "was not answered" in following.states(LineState.LOST)[0].words


def test_a_refusal_for_now_is_asked_again(following):
    """An internal error of Kraken's is no end."""
    following.fault("ws.sub_reject", count=2)

    with following.market(BOOK):
        pass

    assert len(following.states(LineState.LOST)) == 2


@pytest.mark.parametrize("topic", [trades_topic("NIX/EUR"), Topic("nonsense"), Topic("book", SYMBOL, (("depth", 7),))])
def test_a_refusal_for_good_is_an_error(following, client, topic):
    """One sentence, no hang, no endless repeat."""
    pairs = client.pairs
    stream = MarketStream([topic], pairs, following.told.append, following.parts, client.exchange.stream + "/v2")

    with pytest.raises(SubscriptionRefused, match="it refused"):
        client.run(asyncio.wait_for(stream.run(), 10))


# ---- an account ----------------------------------------------------------------------------------------------------------


def filled(client, part):
    """Let the market take a part of the resting order."""
    engine = client.exchange.opened.engine
    client.exchange.inside(
        lambda: fill_now(
            engine, next(iter(engine.working[client.key.account].values())), Decimal(str(part)), client.exchange.clock()
        )
    )


def test_fills_are_told_as_they_happen(following, client):
    """With what they cost and what is left; then the end."""
    with following.private():
        client.submit(client.intent("0.02"))
        filled(client, 0.25)
        filled(client, 1.0)
        following.until(lambda: following.kinds(StreamEnd))

    fills = following.kinds(StreamFill)
    assert [fill.exec_id for fill in fills] == [one.id for one in client.executions]
    assert sum(fill.quantity for fill in fills) == Decimal("0.02")
    assert following.kinds(StreamEnd)[0].event is OrderEvent.FILL_ALL
    assert [fill.fee for fill in fills] == [one.fee for one in client.executions]
    assert following.reconciled == ["a new connection"]


def test_what_happened_while_away_is_told(following, client):
    """The snapshot brings the fills, REST is asked, nothing is told twice."""
    with following.private():
        client.submit(client.intent("0.02"))
        filled(client, 0.5)
        following.until(lambda: following.kinds(StreamFill))
        following.fault("ws.drop", count=1)
        following.until(lambda: following.states(LineState.LOST))
        filled(client, 0.5)
        following.until(lambda: len(following.kinds(StreamFill)) == 2)
        following.until(lambda: len(following.reconciled) == 2)

    assert [fill.exec_id for fill in following.kinds(StreamFill)] == [one.id for one in client.executions]


@pytest.mark.parametrize("fault", ["ws.exec_gap", "ws.exec_reorder"])
def test_missing_messages_are_made_good(following, client, fault):
    """The gap is noticed, subscribed anew and compared with REST; in the end every fill is told once."""
    with following.private():
        client.submit(client.intent("0.02"))
        following.fault(fault, count=1)
        filled(client, 0.5)
        filled(client, 0.5)
        following.until(lambda: following.states(LineState.GAP) and len(following.kinds(StreamFill)) == 2)
        following.until(lambda: "messages are missing" in following.reconciled)

    assert sorted(one.exec_id for one in following.kinds(StreamFill)) == sorted(one.id for one in client.executions)
    assert following.states(LineState.LOST) == []


@pytest.mark.parametrize("fault", ["ws.exec_dup", "ws.exec_sparse"])
def test_repeated_and_sparse_messages(following, client, fault):
    """They change nothing of what is told."""
    with following.private():
        following.fault(fault, count=20)
        client.submit(client.intent("0.02"))
        filled(client, 0.5)
        filled(client, 1.0)
        following.until(lambda: following.kinds(StreamEnd))

    assert [fill.exec_id for fill in following.kinds(StreamFill)] == [one.id for one in client.executions]


def test_a_refused_token_is_renewed_once(following, client):
    """On the same connection; if that does not help, with pauses."""
    following.fault("ws.token_invalid", count=1)
    with following.private():
        pass
    tokens = [one.endpoint for one in client.wire.sent].count("GetWebSocketsToken")
    assert (tokens, following.states(LineState.LOST)) == (2, [])


def test_tokens_that_are_always_refused(following, client):
    """Two on each connection, then a pause, and in the end an error."""
    following.fault("ws.token_invalid", count=99)
    url = client.exchange.stream + "/auth/v2"
    stream = PrivateStream(client.gateway, following.told.append, following.reconcile, following.parts, url)

    with pytest.raises(SubscriptionRefused, match="ESession:Invalid session"):
        client.run(asyncio.wait_for(stream.run(), 20))

    assert 5 <= len(following.states(LineState.LOST)) <= 6


def test_no_token_is_logged(following, client, caplog):
    """At no level, though the library writes down every message."""
    caplog.set_level("DEBUG")
    with following.private():
        pass
    tokens = client.exchange.inside(lambda: list(client.exchange.opened.emulator.rest._desk.tokens))

    assert tokens
    assert not any(token in caplog.text + repr(following.lines) + repr(following.stream) for token in tokens)
