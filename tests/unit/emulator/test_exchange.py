"""The engine behind REST: after any sequence of requests, money adds up, holds fit, the book is whole and orders end once."""

import random
from collections import Counter
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.emulator import exchange
from peak_trade.emulator.candles import Candles
from peak_trade.emulator.exchange import MatchingEngine, What
from peak_trade.emulator.orders import ZERO, OrderStatus, OrderType, Rejection
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


def an_order(chance):
    """Return an order of any type, mostly sensible."""
    symbol = chance.choice(SYMBOLS)
    unit = SCALES.get(symbol, (0, Decimal(10)))[1]
    kind = chance.choice([*[one.value for one in OrderType], *["limit"] * 6, *["market"] * 2])
    given = {
        "pair": symbol,
        "type": chance.choice(["buy", "sell"]),
        "ordertype": kind,
        "volume": f"{unit * chance.randint(1, 400) / chance.choice([1, 1, 3, 7, 8]):.10f}",
        "stptype": chance.choice(["cancel-newest", "cancel-oldest", "cancel-both"]),
    }

    def price():
        return str(price_near(symbol, chance.randint(-60, 60)))

    if kind == "iceberg":
        given["displayvol"] = f"{Decimal(given['volume']) / chance.choice([1, 2, 3, 7, 10, 15, 16]):.8f}"
    if kind.startswith("trailing"):
        given["price"] = chance.choice(["+0.1%", "+0.5%", "+0.1", "+10"])
    elif kind != "market":
        given["price"] = chance.choice([price(), price(), price(), "+0.5%", "-0.4%", "#0.3%"])
    if kind.endswith("-limit"):
        given["price2"] = chance.choice([price(), "+0.5%", "-1%", "+0", "#0.2%"])
    if kind == "market" and given["type"] == "buy" and chance.random() < 0.3:
        given |= {"oflags": "viqc", "volume": str(chance.randint(1, 5_000))}
    elif chance.random() < 0.2:
        given["oflags"] = chance.choice(["post", "fcib", "fciq", "post,fcib"]) if kind in ("limit", "iceberg") else "fcib"
    lasting = chance.choice(["GTC", "GTC", "GTC", "IOC", "FOK", "GTD"])
    given["timeinforce"] = lasting
    if lasting == "GTD":
        given["expiretm"] = chance.choice(["+1", "+5", "+60"])
    if chance.random() < 0.1:
        given["starttm"] = chance.choice(["+1", "+4", "+90"])
    if chance.random() < 0.15:
        given |= {"close[ordertype]": chance.choice(["limit", "stop-loss"]), "close[price]": price()}
    if chance.random() < 0.2:
        given["cl_ord_id"] = chance.choice("abc")
    if chance.random() < 0.2:
        given["userref"] = chance.randint(1, 3)
    return given


class Walk:
    """Requests of three accounts, a market and a clock, as chance has it."""

    def __init__(self, seed):
        self.rig, self.chance = Rig(), random.Random(seed)
        self.acts = [
            *[self.add] * 12,
            *[self.amend] * 4,
            *[self.market_quotes] * 4,
            *[self.market_takes] * 3,
            *[self.edit, self.cancel, self.wait] * 2,
            self.add_batch,
            self.cancel_batch,
            self.dead_man,
        ]

    def go(self, count):
        """Do so many things, looking at everything after each."""
        for _ in range(count):
            self.chance.choice(self.acts)()
            self.money_adds_up()
            self.holds_fit()
            self.books_are_whole()
            self.fills_add_up()
            self.orders_end_once()
            self.counters_stay_above()

    def some_order(self):
        """Return who acts on which of its orders."""
        who = self.chance.randrange(3)
        found = list(self.rig.engine.working[self.rig.keys[who].account].values())
        return who, self.chance.choice(found) if found else None

    def add(self):
        self.rig.ask("AddOrder", self.chance.randrange(3), **an_order(self.chance))

    def add_batch(self):
        some = [an_order(self.chance) for _ in range(self.chance.randint(2, 4))]
        self.rig.ask("AddOrderBatch", self.chance.randrange(3), pair=some[0]["pair"], orders=some)

    def amend(self):
        who, order = self.some_order()
        if order is None:
            return
        given = {"txid": order.id}
        if self.chance.random() < 0.6:
            given["order_qty"] = str(order.volume * self.chance.randint(1, 250) / 100)
        if self.chance.random() < 0.6:
            field = self.chance.choice(["trigger_price", "limit_price"]) if order.wish.type.triggered else "limit_price"
            given[field] = str(price_near(order.wish.pair.symbol, self.chance.randint(-60, 60)))
        if self.chance.random() < (0.5 if order.display else 0.05):
            given["display_qty"] = f"{order.volume / self.chance.choice([1, 2, 5, 12, 16]):.8f}"
        if self.chance.random() < 0.2:
            given["post_only"] = "true"
        before = snapshot(order)
        if isinstance(self.rig.ask("AmendOrder", who, **given), str):
            assert snapshot(order) == before

    def edit(self):
        who, order = self.some_order()
        if order is None:
            return
        before = snapshot(order)
        price = str(price_near(order.wish.pair.symbol, self.chance.randint(-60, 60)))
        volume = str(order.volume * self.chance.randint(1, 30) / 10)
        given = {"price": price} if self.chance.random() < 0.7 else {"volume": volume}
        found = self.rig.ask("EditOrder", who, txid=order.id, pair=order.wish.pair.id, **given)
        assert (snapshot(order) == before) is isinstance(found, str)

    def cancel(self):
        who, order = self.some_order()
        self.rig.ask("CancelOrder", who, txid=order.id if order else "OAAAAA-AAAAA-AAAAAA")

    def cancel_batch(self):
        names = self.chance.choice(["1", "2"]), self.chance.choice("ab")
        self.rig.ask("CancelOrderBatch", self.chance.randrange(3), orders=[names[0]], cl_ord_ids=[names[1]])

    def dead_man(self):
        self.rig.ask("CancelAllOrdersAfter", self.chance.randrange(3), timeout=self.chance.choice([0, 10, 60]))

    def wait(self):
        self.rig.later(self.chance.choice([0, 0.3, 1, 6, 6, 40 * 86_400]))

    def market_quotes(self):
        symbol = self.chance.choice(SYMBOLS)
        pair, unit = PAIRS[symbol], SCALES.get(symbol, (0, Decimal(10)))[1]
        buys = self.chance.random() < 0.5
        percent = self.chance.randint(-60, 20) if buys else self.chance.randint(-20, 60)
        ticks = int(price_near(symbol, percent).scaleb(pair.price_decimals))
        self.rig.engine.quote(pair, ticks, int((unit * self.chance.randint(1, 500)).scaleb(8)), buys=buys)

    def market_takes(self):
        symbol, buys = self.chance.choice(SYMBOLS), self.chance.random() < 0.5
        unit = SCALES.get(symbol, (0, Decimal(10)))[1]
        self.rig.engine.take(PAIRS[symbol], unit * self.chance.randint(1, 500), self.rig.now, buys=buys)

    def money_adds_up(self):
        """No asset is made or lost, to the last digit."""
        assert self.rig.sums() == self.rig.totals

    def holds_fit(self):
        """Each account holds what its working orders hold, which is what they need; nothing free is below zero."""
        engine = self.rig.engine
        for key in self.rig.keys:
            account, held = engine.accounts.by_name[key.account], Counter()
            for order in engine.working[key.account].values():
                # A market order that waits for its time holds nothing.
                need = ZERO if order.wish.type is OrderType.MARKET else engine._need(order)[1]
                assert order.held == need
                held[order.held_in] += order.held
            held.pop("", None)
            assert account.held == dict(held)
            assert all(account.free(asset) >= 0 for asset in account.balances)

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
                    assert queued.left + queued.hidden == order.left.scaleb(8)
                    assert queued.left <= (order.display.scaleb(8) or queued.left)
                    assert queued.price == order.limit.scaleb(listing.pair.price_decimals)
            for order in listing.waiting.values():
                assert order.state is OrderStatus.OPEN
                assert not order.fired

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
        runs = [one.id for every in engine.runs.values() for run in every.values() for one in run]
        assert sorted(runs) == sorted(one.id for one in engine.executions)
        for news in self.rig.news:
            if news.execution and news.order.limit and not news.order.amended:
                price, limit = news.execution.price, news.order.limit
                assert price <= limit if news.order.wish.buys else price >= limit

    def orders_end_once(self):
        """An order is working or has told of exactly one end; its state says which."""
        engine = self.rig.engine
        ends = Counter(news.order.id for news in self.rig.news if news.what in ENDS)
        for order in engine.orders.values():
            assert ends[order.id] == (0 if order.state.working else 1)
            assert (order.id in engine.working[order.account]) is order.state.working
            assert order.state is not OrderStatus.CLOSED or (order.done == order.volume > 0)
        for done in engine.finished.values():
            assert len({order.id for order in done}) == len(done)

    def counters_stay_above(self):
        """Neither kind of counter is below zero, whenever it is read."""
        for counter in (*self.rig.parts.engine.values(), *self.rig.parts.calls.values()):
            assert counter.value(self.rig.now) >= 0
            assert counter.value(self.rig.now + 10**15) == 0


def snapshot(order):
    """Return what a refused change must leave alone."""
    return (order.state, order.volume, order.limit, order.stop, order.done, order.held, order.amended, order.resting)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_any_sequence_of_requests(seed):
    """Money, holds, books, fills, ends and counters are right after each of 250 requests."""
    Walk(seed).go(250)


# ---- one by one ------------------------------------------------------------------------------------------------------


def a_rig(*quotes):
    """Return a rig with the market's quotes in BTC/USD: price, volume, side."""
    rig = Rig()
    for price, volume, side in quotes:
        rig.engine.quote(PAIRS["BTC/USD"], int(price * 10), int(Decimal(volume) * 10**8), buys=side == "buy")
    return rig


def placed(rig, who=0, **given):
    """Place an order in BTC/USD; a limit purchase unless told otherwise."""
    told = {"pair": "BTC/USD", "type": "buy", "ordertype": "limit", "volume": "0.1"} | given
    found = rig.ask("AddOrder", who, **told)
    assert isinstance(found, dict), found
    return rig.engine.orders[found["txid"][0]]


def market_trades(rig, price):
    """Let the market trade with itself at a price, so that it is the last one."""
    rig.engine.quote(PAIRS["BTC/USD"], int(price * 10), 10**5, buys=False)
    rig.engine.take(PAIRS["BTC/USD"], Decimal("0.001"), rig.now, buys=True, limit=int(price * 10))


def test_a_stop_that_can_not_be_paid_any_more_ends():
    """It held its trigger's cost; the market is far above when it fires: cancelled, not overdrawn."""
    rig = a_rig((Decimal(98_000), "1", "sell"))
    order = placed(rig, 2, ordertype="stop-loss", price="91000", volume="0.032")
    market_trades(rig, 91_000)

    assert (order.state, order.reason, order.done) == (OrderStatus.CANCELED, "Insufficient funds", 0)
    assert rig.engine.accounts.by_name["cid"].held == {}


def test_a_market_order_that_waits_is_looked_at_when_it_begins():
    """The money was there when it was placed and is gone when its time has come."""
    rig = a_rig((Decimal(90_000), "1", "sell"))
    order = placed(rig, 2, ordertype="market", volume="0.03", starttm="+10")
    placed(rig, 2, price="80000", volume="0.03")
    rig.later(10)

    assert (order.state, order.reason) == (OrderStatus.CANCELED, "Insufficient funds")


def test_triggers_fire_in_chains():
    """Each stop's trade touches the next one's trigger; hundreds of them are no matter of the stack."""
    rig = Rig()
    orders = []
    for number in range(200):
        price = 90_010 + 10 * number
        rig.engine.quote(PAIRS["BTC/USD"], price * 10, 10**5, buys=False)
        rig.now += 10 * S
        orders.append(placed(rig, number % 2, ordertype="stop-loss", price=str(price), volume="0.001"))
    rig.engine.take(PAIRS["BTC/USD"], Decimal("0.001"), rig.now, buys=True)

    assert [order.state for order in orders].count(OrderStatus.CLOSED) == 199
    assert orders[-1].reason == "Market price protection"


def test_all_or_nothing_does_not_count_own_orders():
    """What it would have to trade with itself is not there for it."""
    rig = a_rig((Decimal(90_100), "0.1", "sell"))
    own = placed(rig, type="sell", price="90050")
    order = placed(rig, price="90100", volume="0.15", timeinforce="FOK")

    assert (order.state, order.reason, order.done) == (OrderStatus.CANCELED, "Fill or kill", 0)
    assert own.state is OrderStatus.OPEN


def test_less_of_a_partly_filled_order_ends_it():
    """An amendment to what is filled or less cancels the rest; a larger one goes on from there."""
    rig = a_rig((Decimal(90_000), "0.04", "sell"))
    order = placed(rig, price="90000")
    assert (order.done, order.left) == (Decimal("0.04"), Decimal("0.06"))
    rig.ask("AmendOrder", txid=order.id, order_qty="0.2")
    assert (order.state, order.left) == (OrderStatus.OPEN, Decimal("0.16"))
    rig.ask("AmendOrder", txid=order.id, order_qty="0.03")

    assert (order.state, order.volume, order.done) == (OrderStatus.CANCELED, Decimal("0.04"), Decimal("0.04"))


def test_only_a_smaller_order_keeps_its_place():
    """Less quantity keeps the turn, more of it or another price goes behind."""
    rig = Rig()
    first, second = placed(rig, 0, price="89000"), placed(rig, 1, price="89000")
    book = rig.engine.listings["BTC/USD"].book

    def turn():
        return [queued.name for queued in book.bids.orders()]

    rig.ask("AmendOrder", 0, txid=first.id, order_qty="0.05")
    assert turn() == [first.id, second.id]
    rig.ask("AmendOrder", 0, txid=first.id, order_qty="0.06")
    assert turn() == [second.id, first.id]


def test_a_market_order_against_a_thin_book():
    """It takes what lies within the protection, the rest is cancelled; an empty book gives nothing."""
    rig = a_rig((Decimal(90_000), "0.02", "sell"), (Decimal(99_000), "0.02", "sell"), (Decimal("99000.1"), "1", "sell"))
    order = placed(rig, ordertype="market")
    assert (order.state, order.done, order.reason) == (OrderStatus.CANCELED, Decimal("0.04"), "Market price protection")
    order = placed(Rig(), ordertype="market")

    assert (order.state, order.done) == (OrderStatus.CANCELED, 0)


def test_an_order_expires_at_its_time():
    """A nanosecond before it works, then it is expired, even where another begins in the same moment and would take it."""
    rig = Rig()
    order = placed(rig, 0, price="89000", timeinforce="GTD", expiretm="+10")
    placed(rig, 1, type="sell", price="89000", starttm="+10")
    rig.later(9.999999999)
    assert order.state is OrderStatus.OPEN
    rig.later(0.000000001)

    assert (order.state, order.done) == (OrderStatus.EXPIRED, 0)


def test_a_dead_man_s_switch_goes_off_once():
    """All orders end when nobody calls again; then it is off until it is armed anew."""
    rig = Rig()
    rig.ask("CancelAllOrdersAfter", timeout=60)
    order = placed(rig, price="80000")
    rig.later(60)
    assert order.state is OrderStatus.CANCELED
    later = placed(rig, price="80000")
    rig.later(1_000)

    assert later.state is OrderStatus.OPEN


def test_finished_orders_are_forgotten(monkeypatch):
    """Only the newest are kept, under every name that they had."""
    monkeypatch.setattr(exchange, "FINISHED_MAX", 3)
    rig = Rig()
    names = []
    for _ in range(6):
        order = placed(rig, price="80000")
        names.append(order.id)
        rig.now += 300 * S
        rig.ask("CancelOrder", txid=order.id)

    assert [order.id for order in rig.engine.finished["ann"]] == names[3:]
    assert list(rig.engine.orders) == names[3:]


def taken(rig, volume, price=None, *, buys=True):
    """Let the market trade against the book in BTC/USD."""
    limit = None if price is None else int(price * 10)
    rig.engine.take(PAIRS["BTC/USD"], Decimal(volume), rig.now, buys=buys, limit=limit)


def test_an_iceberg_shows_a_part_and_refills_behind():
    """The book has what shows; where that is taken the next part waits behind all others, until all of it is sold."""
    rig = Rig()
    iceberg = placed(rig, 0, type="sell", ordertype="iceberg", price="90100", volume="0.25", displayvol="0.1")
    other = placed(rig, 1, type="sell", price="90100", volume="0.1")
    asks = rig.engine.listings["BTC/USD"].book.asks
    assert asks.quantity(901_000) == 20_000_000
    taken(rig, "0.1")
    assert [queued.name for queued in asks.orders()] == [other.id, iceberg.id]
    assert (iceberg.done, asks.quantity(901_000)) == (Decimal("0.1"), 20_000_000)
    taken(rig, "0.15")
    assert (other.state, iceberg.done, asks.quantity(901_000)) == (OrderStatus.CLOSED, Decimal("0.15"), 5_000_000)
    taken(rig, "0.06")
    assert asks.quantity(901_000) == 4_000_000
    taken(rig, "1")

    assert (iceberg.state, iceberg.done) == (OrderStatus.CLOSED, Decimal("0.25"))
    assert [news.what for news in rig.news].count(What.ICEBERG_REFILL) == 2


def test_an_iceberg_that_is_given_to_shows_its_next_part():
    """Where all that shows trades as taker, the next part rests behind all others, and it can be cancelled."""
    rig = Rig()
    iceberg = placed(rig, 0, type="sell", ordertype="iceberg", price="90100", volume="0.25", displayvol="0.1")
    other = placed(rig, 1, type="sell", price="90100", volume="0.1")
    asks = rig.engine.listings["BTC/USD"].book.asks
    rig.engine.give(iceberg, 4_000_000, rig.now)
    assert [queued.name for queued in asks.orders()] == [iceberg.id, other.id]
    rig.engine.give(iceberg, 6_000_000, rig.now)

    assert [(queued.name, queued.left, queued.hidden) for queued in asks.orders()] == [
        (other.id, 10_000_000, 0),
        (iceberg.id, 10_000_000, 5_000_000),
    ]
    rig.engine.cancel(iceberg, rig.now)
    assert [queued.name for queued in asks.orders()] == [other.id]


def test_what_an_iceberg_hides_is_paid_and_counted():
    """All or nothing finds what is hidden; a market order that can't pay for it is refused."""
    rig = Rig()
    placed(rig, 0, type="sell", ordertype="iceberg", price="90000", volume="0.3", displayvol="0.02")
    poor = rig.ask("AddOrder", 2, pair="BTC/USD", type="buy", ordertype="market", volume="0.1")
    order = placed(rig, 1, price="90000", volume="0.3", timeinforce="FOK")

    assert poor == "EOrder:Insufficient funds"
    assert order.state is OrderStatus.CLOSED


def test_all_or_nothing_stops_before_own_orders_behind_an_iceberg():
    """What an iceberg hides comes after an own order of the same price, and is not there for it."""
    rig = Rig()
    placed(rig, 1, type="sell", ordertype="iceberg", price="90000", volume="0.3", displayvol="0.1")
    placed(rig, 0, type="sell", price="90000", volume="0.1")
    assert placed(rig, 0, price="90000", volume="0.2", timeinforce="FOK").done == 0

    assert placed(rig, 0, price="90000", volume="0.1", timeinforce="FOK").state is OrderStatus.CLOSED


def test_what_shows_of_an_iceberg_is_amended():
    """Less of it keeps its place, more goes behind; less than a fifteenth is refused, and nothing of another order shows."""
    rig = Rig()
    iceberg = placed(rig, 0, ordertype="iceberg", price="80000", volume="0.3", displayvol="0.1")
    other = placed(rig, 1, price="80000")
    bids = rig.engine.listings["BTC/USD"].book.bids

    def turn():
        return [(queued.name == iceberg.id, queued.left) for queued in bids.orders()]

    rig.ask("AmendOrder", 0, txid=iceberg.id, display_qty="0.05")
    assert turn() == [(True, 5_000_000), (False, 10_000_000)]
    rig.ask("AmendOrder", 0, txid=iceberg.id, order_qty="0.2")
    assert turn() == [(True, 5_000_000), (False, 10_000_000)]
    assert rig.ask("AmendOrder", 0, txid=iceberg.id, display_qty="0.01") == "EGeneral:Invalid arguments:display_qty"
    assert rig.ask("AmendOrder", 1, txid=other.id, display_qty="0.1") == "EGeneral:Invalid arguments:display_qty"
    rig.ask("AmendOrder", 0, txid=iceberg.id, display_qty="0.06")

    assert turn() == [(False, 10_000_000), (True, 6_000_000)]


def test_a_trigger_that_is_touched_already_fires_at_once():
    """It is pending, taken, triggered and done before the answer; a hundredth further away it waits."""
    rig = a_rig((Decimal(90_000), "1", "buy"))
    market_trades(rig, 90_100)
    rig.news.clear()
    order = placed(rig, type="sell", ordertype="stop-loss", price="90100", volume="0.1", trigger="index")
    waits = placed(rig, type="sell", ordertype="stop-loss", price="89000", volume="0.1")

    told = [news.what for news in rig.news if news.order is order]
    assert told == [What.PENDING_NEW, What.NEW, What.STATUS, What.TRADE, What.FILLED]
    assert waits.state is OrderStatus.OPEN
    rig.ask("AmendOrder", txid=waits.id, trigger_price="90000.1")
    assert waits.state is OrderStatus.CLOSED
    assert rig.ask("QueryOrders", txid=order.id)[order.id]["trigger"] == "index"


def test_a_fee_in_base_is_paid_on_top_of_what_is_sold():
    """Half a bitcoin can't be sold with its fee by who has no more; what can is held with it, and the house gets it."""
    rig = a_rig((Decimal(90_000), "1", "buy"))
    for kind in ({"ordertype": "market"}, {"price": "90000"}):
        told = {"pair": "BTC/USD", "type": "sell", "ordertype": "limit", "volume": "0.5", "oflags": "fcib"} | kind
        assert rig.ask("AddOrder", 2, **told) == "EOrder:Insufficient funds"
    order = placed(rig, 2, type="sell", price="90100", volume="0.498", oflags="fcib")
    assert order.held == Decimal("0.498") * Decimal("1.004")
    rig.ask("CancelOrder", 2, txid=order.id)
    order = placed(rig, 2, type="sell", price="90000", volume="0.498", oflags="fcib")

    mine = rig.engine.accounts.by_name["cid"]
    assert order.state is OrderStatus.CLOSED
    assert mine.balances["BTC"] == Decimal("0.5") - Decimal("0.498") * Decimal("1.004")
    assert mine.balances["USD"] == 3_000 + Decimal("0.498") * 90_000
    assert (mine.held, rig.sums()) == ({}, rig.totals)


def test_volume_of_thirty_days_sets_the_fee():
    """A large trade makes the next one cheaper, until it is thirty days old; an order keeps the fee that was held for it."""
    rig = a_rig((Decimal(90_000), "10", "sell"))
    ann = rig.engine.accounts.by_name["ann"]
    placed(rig, price="90000", volume="1")
    assert ann.volume(rig.now) == 90_000
    resting = placed(rig, price="89000", volume="0.1")
    assert resting.held == 8_900 * Decimal("1.0024")
    rig.later(29 * 86_400)
    assert rig.ask("TradeVolume")["volume"] == "90000.0000"
    rig.later(86_400)
    assert rig.ask("TradeVolume")["volume"] == "0.0000"
    taken(rig, "0.1", 89_000, buys=False)

    assert resting.fee == 8_900 * Decimal("0.0024")
    later = placed(rig, price="90000", volume="0.001")
    assert later.fee == 90 * Decimal("0.004")


def test_executions_are_forgotten_under_every_name(monkeypatch):
    """The oldest fill goes from all lists, also from the middle of what was taken at once."""
    monkeypatch.setattr(exchange, "EXECUTIONS_MAX", 3)
    rig = a_rig(*[(Decimal(90_000 + number), "0.1", "sell") for number in range(4)])
    order = placed(rig, ordertype="market", volume="0.4")
    (run,) = rig.engine.runs["ann"].values()
    assert [one.id for one in run] == order.trades[1:] == list(rig.engine.fills["ann"])
    rig.engine.quote(PAIRS["BTC/USD"], 900_000, 10**9, buys=False)
    for _ in range(3):
        placed(rig, 1, ordertype="market", volume="0.1")

    assert (rig.engine.runs["ann"], rig.engine.fills["ann"], len(rig.engine.runs["bob"])) == ({}, {}, 3)
