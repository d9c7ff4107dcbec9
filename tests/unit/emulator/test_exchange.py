"""The engine behind REST: after any sequence of requests, money adds up, holds fit, the book is whole and orders end once."""

import json
import random
from collections import Counter
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peak_trade.emulator import exchange
from peak_trade.emulator.candles import Candles
from peak_trade.emulator.exchange import MatchingEngine, What
from peak_trade.emulator.orders import OrderStatus, OrderType, Rejection
from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.parameters import Parameters
from peak_trade.emulator.rest import Rest, RestParts
from peak_trade.emulator.signing import TRADING, make_key

S = 1_000_000_000
START = 1_700_000_000 * S
SYMBOLS = ("BTC/USD", "BTC/EUR", "DOT/USD")
SCALES = {"BTC/USD": (Decimal(90_000), Decimal("0.01")), "BTC/EUR": (Decimal(78_000), Decimal("0.01"))}
POOR = {"BTC": Decimal("0.5"), "USD": Decimal(3_000), "EUR": Decimal("500.1234"), "DOT": Decimal(700)}
ENDS = {What.FILLED, What.CANCELED, What.EXPIRED}


class Rig:
    """Three accounts, one of them poor, on a few pairs, with all that the engine told."""

    def __init__(self, tier="pro"):
        self.news = []
        pairs = [PAIRS[name] for name in SYMBOLS]
        self.engine = MatchingEngine(pairs, seed=3, tell=self.news.append)
        self.now = START
        chance = random.Random(5)
        self.keys = [make_key(name, name, TRADING, chance) for name in ("ann", "bob", "cid")]
        for key in self.keys:
            self.engine.accounts.open(key.account, POOR if key.account == "cid" else None, at=START)
        self.candles = {name: Candles() for name in SYMBOLS}
        parts = RestParts(
            self.engine,
            {key.id: key for key in self.keys},
            chance,
            lambda pair, interval: self.candles[pair.symbol].of(interval),
            tier,
        )
        self.parts, self.rest = parts, Rest(parts)
        self.totals = self.sums()

    def sums(self):
        """Return what all accounts own together, by asset."""
        totals = Counter()
        for account in self.engine.accounts.by_name.values():
            for asset, amount in account.balances.items():
                totals[asset] += amount
        return dict(totals)

    def ask(self, method, who=0, **given):
        """Return what a method answers, or its error."""
        try:
            self.rest.let_time_pass(self.now)
            return self.rest.act(method, self.keys[who], Parameters(given), self.now)
        except Rejection as refused:
            return str(refused)

    def later(self, seconds):
        """Let time pass."""
        self.now += int(seconds * S)
        self.rest.let_time_pass(self.now)


def price_near(symbol, percent):
    """Return a price so many hundredths of a per cent away from a pair's usual one."""
    middle = SCALES.get(symbol, (Decimal("2.5"), Decimal(10)))[0]
    return (middle * (1 + Decimal(percent) / 10_000)).quantize(PAIRS[symbol].tick)


@st.composite
def orders(draw):
    """An order of any type, often sensible."""
    symbol = draw(st.sampled_from(SYMBOLS))
    unit = SCALES.get(symbol, (Decimal("2.5"), Decimal(10)))[1]
    kind = draw(st.sampled_from([*[one.value for one in OrderType], "limit", "limit", "limit", "market"]))
    given = {
        "pair": symbol,
        "type": draw(st.sampled_from(["buy", "sell"])),
        "ordertype": kind,
        "volume": str(unit * draw(st.integers(1, 400)) / draw(st.sampled_from([1, 3, 7, 8]))),
        "stptype": draw(st.sampled_from(["cancel-newest", "cancel-oldest", "cancel-both"])),
    }
    price = st.integers(-300, 300).map(lambda percent: str(price_near(symbol, percent)))
    if kind.startswith("trailing"):
        given["price"] = draw(st.sampled_from(["+0.5%", "+2%", "+0.1", "+10"]))
    elif kind != "market":
        given["price"] = draw(st.one_of(price, st.sampled_from(["+0.5%", "-1%", "#0.3%"])))
    if kind.endswith("-limit"):
        given["price2"] = draw(st.one_of(price, st.sampled_from(["+0.5%", "-1%", "+0", "#0.2%"])))
    flags = draw(st.sets(st.sampled_from(["post", "fcib", "viqc", "nompp"]), max_size=2))
    if flags:
        given["oflags"] = ",".join(sorted(flags))
        if "viqc" in flags:
            given |= {"volume": str(draw(st.integers(1, 5_000))), "ordertype": "market", "type": "buy"}
    lasting = draw(st.sampled_from(["GTC", "GTC", "IOC", "FOK", "GTD"]))
    given["timeinforce"] = lasting
    if lasting == "GTD":
        given["expiretm"] = draw(st.sampled_from(["+1", "+5", "+60"]))
    if draw(st.integers(0, 7)) == 0:
        given["starttm"] = draw(st.sampled_from(["+1", "+5", "+90"]))
    if draw(st.integers(0, 7)) == 0:
        given |= {"close[ordertype]": "limit", "close[price]": draw(price)}
    if draw(st.integers(0, 4)) == 0:
        given["cl_ord_id"] = draw(st.sampled_from(["a", "b", "c"]))
    if draw(st.integers(0, 4)) == 0:
        given["userref"] = draw(st.integers(1, 3))
    return given


who = st.integers(0, 2)


class ExchangeMachine(RuleBasedStateMachine):
    """Requests of three accounts, a market, and a clock."""

    def __init__(self):
        super().__init__()
        self.rig = Rig()

    def one_of(self, number):
        found = list(self.rig.engine.working[self.rig.keys[number % 3].account].values())
        return found[number // 3 % len(found)].id if found else "OAAAAA-AAAAA-AAAAAA"

    @rule(who=who, order=orders())
    def add(self, who, order):
        self.rig.ask("AddOrder", who, **order)

    @rule(who=who, some=st.lists(orders(), min_size=2, max_size=4))
    def add_batch(self, who, some):
        self.rig.ask("AddOrderBatch", who, pair=some[0]["pair"], orders=some)

    @rule(number=st.integers(0, 99), volume=st.integers(0, 300), percent=st.one_of(st.none(), st.integers(-300, 300)))
    def amend(self, number, volume, percent):
        name = self.one_of(number)
        order = self.rig.engine.orders.get(name)
        symbol = order.wish.pair.symbol if order else "BTC/USD"
        given = {"txid": name}
        if volume:
            given["order_qty"] = str((order.volume if order else Decimal(1)) * volume / 100)
        if percent is not None:
            field = "trigger_price" if order and order.wish.type.triggered and percent % 2 else "limit_price"
            given[field] = str(price_near(symbol, percent))
        self.rig.ask("AmendOrder", number % 3, **given)

    @rule(number=st.integers(0, 99), percent=st.integers(-300, 300), volume=st.integers(1, 30))
    def edit(self, number, percent, volume):
        name = self.one_of(number)
        order = self.rig.engine.orders.get(name)
        symbol = order.wish.pair.symbol if order else "BTC/USD"
        given = {"txid": name, "price": str(price_near(symbol, percent))}
        before = order and order.state
        found = self.rig.ask("EditOrder", number % 3, **given, volume=str((order.volume if order else 1) * volume / 10))
        if isinstance(found, str) and order:
            assert order.state is before

    @rule(number=st.integers(0, 99))
    def cancel(self, number):
        self.rig.ask("CancelOrder", number % 3, txid=self.one_of(number))

    @rule(who=who, name=st.sampled_from(["1", "2", "a", "b"]))
    def cancel_batch(self, who, name):
        self.rig.ask("CancelOrderBatch", who, orders=[name], cl_ord_ids=[name])

    @rule(who=who)
    def cancel_all(self, who):
        self.rig.ask("CancelAll", who)

    @rule(who=who, seconds=st.sampled_from([0, 1, 30]))
    def dead_man(self, who, seconds):
        self.rig.ask("CancelAllOrdersAfter", who, timeout=seconds)

    @rule(seconds=st.sampled_from([0, 0.3, 1, 6, 100]))
    def wait(self, seconds):
        self.rig.later(seconds)

    @rule(symbol=st.sampled_from(SYMBOLS), percent=st.integers(-300, 300), size=st.integers(1, 500), buys=st.booleans())
    def market_quotes(self, symbol, percent, size, buys):
        pair, unit = PAIRS[symbol], SCALES.get(symbol, (0, Decimal(10)))[1]
        ticks = int(price_near(symbol, percent).scaleb(pair.price_decimals))
        self.rig.engine.quote(pair, ticks, int((unit * size).scaleb(8)), buys=buys)

    @rule(symbol=st.sampled_from(SYMBOLS), size=st.integers(1, 500), buys=st.booleans())
    def market_takes(self, symbol, size, buys):
        unit = SCALES.get(symbol, (0, Decimal(10)))[1]
        self.rig.engine.take(PAIRS[symbol], unit * size, self.rig.now, buys=buys)

    @invariant()
    def money_adds_up(self):
        """No asset is made or lost, to the last digit."""
        assert self.rig.sums() == self.rig.totals

    @invariant()
    def holds_fit(self):
        """Each account holds what its working orders hold, which is what they need; nothing free is below zero."""
        engine = self.rig.engine
        for key in self.rig.keys:
            account, held = engine.accounts.by_name[key.account], Counter()
            for order in engine.working[key.account].values():
                assert order.held == 0 or order.held == engine._need(order)[1] or order.wish.type is OrderType.MARKET
                assert order.held or order.wish.type is OrderType.MARKET
                held[order.held_in] += order.held
            held.pop("", None)
            assert account.held == dict(held)
            assert all(account.free(asset) >= 0 for asset in account.balances)

    @invariant()
    def books_are_whole(self):
        """The best bid is below the best ask, and what rests is what its order has left."""
        engine = self.rig.engine
        for listing in engine.listings.values():
            bid, ask = listing.book.bids.best(), listing.book.asks.best()
            assert bid is None or ask is None or bid < ask
            for queued in (*listing.book.bids.orders(), *listing.book.asks.orders()):
                assert queued.left > 0
                if queued.name:
                    order = engine.orders[queued.name]
                    assert order.resting is queued
                    assert order.state is OrderStatus.OPEN
                    assert queued.left == order.left.scaleb(8)
                    assert queued.price == order.limit.scaleb(listing.pair.price_decimals)
            for order in listing.waiting.values():
                assert order.state is OrderStatus.OPEN
                assert not order.fired

    @invariant()
    def fills_add_up(self):
        """Executions are what orders say of themselves, and never beyond a limit."""
        engine, fills = self.rig.engine, {}
        for one in engine.executions:
            done, cost, fee = fills.get(one.order.id, (0, 0, 0))
            in_quote = one.fee if one.fee_in == one.pair.quote.name else one.fee * one.price
            fills[one.order.id] = (done + one.volume, cost + one.cost, fee + in_quote)
            assert one.cost == one.price * one.volume
        for order in engine.orders.values():
            done, cost, fee = fills.get(order.id, (0, 0, 0))
            assert (order.done, order.cost) == (done, cost)
            assert abs(order.fee - fee) < Decimal("1e-12")
            assert 0 <= order.done <= order.volume
        assert len({one.id for one in engine.executions}) == len(engine.executions)
        for news in self.rig.news:
            if news.execution and news.order.limit and not news.order.amended:
                price, limit = news.execution.price, news.order.limit
                assert price <= limit if news.order.wish.buys else price >= limit

    @invariant()
    def orders_end_once(self):
        """An order is working or has told of exactly one end; its state says which."""
        engine = self.rig.engine
        ends = Counter(news.order.id for news in self.rig.news if news.what in ENDS)
        for order in engine.orders.values():
            assert ends[order.id] == (0 if order.state.working else 1)
            assert (order.id in engine.working[order.account]) is order.state.working
            assert (order.state is OrderStatus.CLOSED) is (order.volume > 0 and order.left == 0 and bool(order.done)) or order.amended
        for done in engine.finished.values():
            assert len({order.id for order in done}) == len(done)

    @invariant()
    def counters_stay_above(self):
        """Neither kind of counter is below zero, whenever it is read."""
        for counter in (*self.rig.parts.engine.values(), *self.rig.parts.calls.values()):
            assert counter.value(self.rig.now) >= 0
            assert counter.value(self.rig.now + 10**15) == 0


TestExchange = ExchangeMachine.TestCase
TestExchange.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True, database=None)
