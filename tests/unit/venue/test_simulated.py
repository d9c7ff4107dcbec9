"""The simulated venue: an account that trades against bars, bar by bar."""

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from tests.trading import HOUR_NS, START_NS, SYMBOL, a_bar, a_venue, an_intent, approved, at_once, dec, some_costs

from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.model.order import Closed, Fill, MarketBar, OrderEvent, OrderState
from peak_trade.model.stage import Stage
from peak_trade.venue.log import MemoryLog
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Snapshot
from peak_trade.venue.simulated import Market, SimulatedVenue

ETH = "ETH/EUR"


def send(venue: SimulatedVenue, *intents: Any) -> None:
    """Send orders that must be accepted."""
    for intent in intents:
        assert at_once(venue.submit(approved(intent))) == Accepted(intent.client_id)


def tell(venue: SimulatedVenue, *bars: MarketBar) -> list[Fill | Closed]:
    """Tell bars one after the other, opening and trading; return all that happened."""
    return [event for bar in bars for event in (*venue.opened(bar), *venue.traded(bar))]


def holding(venue: SimulatedVenue, quantity: object, symbol: str = SYMBOL, price: float = 100.0) -> SimulatedVenue:
    """Let a venue hold a position that was filled in the bar before the first one."""
    name = f"held-{symbol}"
    send(venue, an_intent(quantity, symbol=symbol, client_id=name, decided_ns=START_NS - 3 * HOUR_NS))
    [fill] = tell(venue, a_bar(price, number=-1, symbol=symbol))
    assert isinstance(fill, Fill)
    return venue


def short(events: Sequence[Fill | Closed]) -> list[tuple[Any, ...]]:
    """Return what tests compare: of a fill order, quantity and price, of an end order and reason."""
    return [
        (event.client_id, event.quantity, event.price) if isinstance(event, Fill) else (event.client_id, event.why)
        for event in events
    ]


def working(venue: SimulatedVenue) -> tuple[str, ...]:
    return at_once(venue.snapshot()).working


# ---- what a fill says ------------------------------------------------------------------------------------------------


def test_two_stages_are_simulated():
    """Shadow and testnet; a stage with real orders has no simulated venue, and research has none at all."""
    for stage in Stage:
        if stage in (Stage.SHADOW, Stage.TESTNET):
            SimulatedVenue(stage, {}, Decimal(1), Market(costs=some_costs()), MemoryLog()).close()
        else:
            with pytest.raises(SafetyRefused):
                SimulatedVenue(stage, {}, Decimal(1), Market(costs=some_costs()), MemoryLog())


def test_a_venue_takes_nothing_but_approvals():
    """An intent that the gate has not seen is refused by an error."""
    with pytest.raises(InvariantBroken, match="nothing but what the gate approved"):
        at_once(a_venue().submit(an_intent()))


def test_a_market_order_is_filled_at_the_next_open():
    """At the open, with slippage and the fee of a taker; the fill says everything about itself."""
    venue = a_venue(costs=some_costs(taker="0.01", maker="0.5", slippage="0.001"))
    send(venue, an_intent(2, leg="beta"))

    [fill] = venue.opened(a_bar(100, 120, 90))

    assert fill == Fill(
        fill_id="a-0",
        client_id="a",
        leg="beta",
        symbol=SYMBOL,
        reason=an_intent().reason,
        quantity=dec(2),
        price=dec("100.1"),
        fee=dec("2.002"),
        bar_ns=START_NS,
        at_ns=START_NS,
        maker=False,
        remaining=dec(0),
    )
    assert list(venue.traded(a_bar(100, 120, 90))) == []
    assert at_once(venue.snapshot()) == Snapshot(dec("9797.798"), {SYMBOL: Decimal(2)}, ())


def test_what_happens_within_a_bar_is_known_at_its_end():
    """A stop's fill belongs to the bar that triggers it and is known when that bar is complete."""
    venue = holding(a_venue(), 1)
    send(venue, an_intent(-1, kind="stop", price=95))

    [fill] = tell(venue, a_bar(100, low=90))

    assert (fill.bar_ns, fill.at_ns, fill.price) == (START_NS, START_NS + HOUR_NS, 95)


def test_fills_have_names_of_their_own():
    """No two fills of an account share a name, also not those of one order."""
    venue = a_venue(volume_share="0.5")
    send(venue, an_intent(5), an_intent(1, client_id="b"))

    events = tell(venue, *(a_bar(100, number=number, volume=2) for number in range(8)))

    names = [event.fill_id for event in events]
    assert len(names) == 6
    assert len(set(names)) == 6


def test_another_symbol_s_bar_fills_nothing():
    """An order trades against bars of its own symbol."""
    venue = a_venue()
    send(venue, an_intent(1), an_intent(1, client_id="b", kind="limit", price=100))

    assert tell(venue, a_bar(50, symbol=ETH)) == []
    assert working(venue) == ("a", "b")


def test_the_opening_uses_the_open_alone():
    """What a bar does later changes nothing at its opening."""
    for bar in (a_bar(100, 200, 1, 150), a_bar(100)):
        venue = holding(a_venue(), 1)
        send(venue, an_intent(-1, kind="stop", price=99), an_intent(1, client_id="b"))

        assert short(venue.opened(bar)) == [("b", 1, 100)]


# ---- time ------------------------------------------------------------------------------------------------------------


def test_latency_delays_the_arrival():
    """An order that is on its way at the open trades later in the bar, on the line to the close."""
    venue = a_venue(latency_ns=HOUR_NS // 4)
    send(venue, an_intent(1))

    assert venue.opened(a_bar(100, close=108)) == []
    assert short(venue.traded(a_bar(100, close=108))) == [("a", 1, 102)]


@pytest.mark.parametrize(("latency_ns", "bar", "price"), [(HOUR_NS - 1, 0, None), (HOUR_NS, 1, 50), (HOUR_NS + 1, 1, None)])
def test_an_order_trades_in_the_bar_in_which_it_arrives(latency_ns, bar, price):
    """An order that arrives at the moment a bar is complete trades at the next open, one that comes earlier still within."""
    venue = a_venue(latency_ns=latency_ns)
    send(venue, an_intent(1))

    events = tell(venue, a_bar(100, close=108), a_bar(50, close=60, number=1))

    assert len(events) == 1
    assert (events[0].bar_ns - START_NS) // HOUR_NS == bar
    assert price is None or events[0].price == price


@pytest.mark.parametrize("kind", ["stop", "take_profit", "limit"])
def test_an_order_that_has_not_arrived_meets_no_bar(kind):
    """What a bar does before an order arrives after its end does not fill it."""
    venue = a_venue(latency_ns=HOUR_NS) if kind == "limit" else holding(a_venue(latency_ns=HOUR_NS), 1)
    tell(venue, a_bar(100, number=0))
    order = an_intent(1 if kind == "limit" else -1, kind=kind, price=100, decided_ns=START_NS + 1)
    send(venue, order)

    assert tell(venue, a_bar(100, 120, 80)) == []


def test_a_limit_order_takes_only_when_it_arrives():
    """At its first open a crossed limit takes; after it has rested through a bar it makes."""
    for bars, fill in (
        ([a_bar(95)], (95, False)),
        ([a_bar(105), a_bar(95, number=1)], (100, True)),
        ([a_bar(105, low=99)], (100, True)),
    ):
        venue = a_venue(costs=some_costs(taker="0.01", maker="0.005"))
        send(venue, an_intent(1, kind="limit", price=100))
        [event] = tell(venue, *bars)

        assert (event.price, event.maker) == fill
        assert event.fee == fill[0] * dec("0.005" if fill[1] else "0.01")


def test_after_a_gap_the_first_open_is_still_the_first():
    """An order that was sent at a close meets its first price at the next open, however many hours later: it takes."""
    venue = a_venue()
    tell(venue, a_bar(105))
    send(venue, an_intent(1, kind="limit", price=100, decided_ns=START_NS + HOUR_NS))

    [fill] = tell(venue, a_bar(95, number=60))

    assert (fill.price, fill.maker) == (95, False)


def test_an_order_that_rested_within_a_bar_makes_at_the_next_open():
    """A limit that arrived in the middle of a bar has met the market there: the next open is not its first price."""
    venue = a_venue(latency_ns=HOUR_NS // 2)
    send(venue, an_intent(1, kind="limit", price=100))

    [fill] = tell(venue, a_bar(105), a_bar(95, number=1))

    assert (fill.price, fill.maker) == (100, True)


# ---- exits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("first", ["stop", "take_profit"])
@pytest.mark.parametrize(
    ("bar", "filled", "price"),
    [
        (a_bar(100, 112, 88), "stop", 90),
        (a_bar(112, 115, 88), "take_profit", 112),
        (a_bar(85, 115, 80), "stop", 85),
        (a_bar(100, 112, 95), "take_profit", 110),
        (a_bar(100, 105, 88), "stop", 90),
        (a_bar(110, 110, 88), "take_profit", 110),
        (a_bar(90, 115, 90), "stop", 90),
        (a_bar(100, 109, 91), None, None),
    ],
)
def test_the_stop_wins_unless_the_bar_opens_beyond_the_goal(side, first, bar, filled, price):
    """Of a stop at 90 and a goal at 110, in whichever order they came; for a short the bar stands on its head."""
    if side < 0:
        bar = bar._replace(open=200 - bar.open, high=200 - bar.low, low=200 - bar.high, close=200 - bar.close)
    venue = holding(a_venue(), side)
    exits = {"stop": 100 - 10 * side, "take_profit": 100 + 10 * side}
    for kind in sorted(exits, key=lambda kind: kind != first):
        send(venue, an_intent(-side, client_id=kind, kind=kind, price=exits[kind], reduce_only=True))

    events = tell(venue, bar)

    wanted = [] if filled is None else [(filled, -side, price if side > 0 else 200 - price)]
    other = {"stop": "take_profit", "take_profit": "stop"}.get(filled)
    assert short(events)[:1] == wanted
    assert short(events)[1:] in ([], [(other, "nothing_to_reduce")])


def test_a_limit_comes_after_the_exits():
    """A purchase that rests is filled after the stop: the cash is there by then, and no position is turned twice."""
    venue = holding(a_venue(cash=100), 1)
    send(venue, an_intent(1, client_id="limit", kind="limit", price=95))
    send(venue, an_intent(-1, client_id="stop", kind="stop", price=96, reduce_only=True))

    assert short(tell(venue, a_bar(100, low=90))) == [("stop", -1, 96), ("limit", 1, 95)]


def test_a_triggered_stop_is_a_market_order():
    """What the volume left of a stop trades at the next open, also where the price has recovered by then."""
    venue = holding(a_venue(volume_share="0.1"), 3)
    send(venue, an_intent(-3, kind="stop", price=95, reduce_only=True))

    events = tell(venue, a_bar(100, low=90, volume=20), a_bar(99, number=1))

    assert short(events) == [("a", -2, 95), ("a", -1, 99)]


# ---- orders that only reduce -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("asked", "filled"), [(1, 1), (2, 2), (3, 2)])
def test_reduce_only_is_cut_to_the_position(side, asked, filled):
    """It closes at most what is there; the rest is cancelled."""
    venue = holding(a_venue(), 2 * side)
    send(venue, an_intent(-asked * side, reduce_only=True))

    events = tell(venue, a_bar(100))

    assert short(events)[0] == ("a", -filled * side, 100)
    assert short(events)[1:] == ([("a", "nothing_to_reduce")] if asked > filled else [])
    assert at_once(venue.snapshot()).positions.get(SYMBOL, 0) == (2 - filled) * side
    assert working(venue) == ()


@pytest.mark.parametrize("held", [None, 2])
def test_reduce_only_never_opens_or_adds(held):
    """Without a position on the other side it is cancelled."""
    venue = a_venue() if held is None else holding(a_venue(), held)
    send(venue, an_intent(1, reduce_only=True))

    [closed] = tell(venue, a_bar(100))

    assert closed == Closed("a", OrderEvent.CANCEL, "nothing_to_reduce", START_NS)


def test_without_reduce_only_a_sale_turns_the_position():
    """An order that may go beyond flat does."""
    venue = holding(a_venue(), 2)
    send(venue, an_intent(-5))

    assert short(tell(venue, a_bar(100))) == [("a", -5, 100)]


# ---- cuts and minimums -----------------------------------------------------------------------------------------------


def test_a_purchase_is_cut_to_the_cash():
    """What the cash does not cover, fee and slippage included, is cancelled."""
    venue = a_venue(cash=1_000, lot_step="0.1", costs=some_costs(taker="0.01", slippage="0.02"))
    send(venue, an_intent(20))

    events = tell(venue, a_bar(98.039215686274509))

    assert short(events)[1] == ("a", "insufficient_funds")
    assert events[0].quantity == dec("9.9")
    assert events[0].remaining == dec("10.1")
    assert 0 <= at_once(venue.snapshot()).cash < 11


def test_a_short_is_cut_to_the_equity():
    """The short notional does not exceed the equity after the fill and its fee."""
    venue = a_venue(cash=1_000, lot_step="0.1", costs=some_costs(taker="0.01"))
    send(venue, an_intent(-20))

    events = tell(venue, a_bar(100))

    assert short(events) == [("a", dec("-9.9"), 100), ("a", "insufficient_funds")]


def test_the_worth_of_other_symbols_counts_for_a_short():
    """Equity is cash and every position at the last close of its symbol."""
    venue = holding(a_venue(cash=1_000), 10, ETH)
    tell(venue, a_bar(60, symbol=ETH))
    send(venue, an_intent(-20))

    assert short(tell(venue, a_bar(100)))[0] == ("a", -6, 100)


def test_what_finds_no_cash_is_cancelled():
    """An order of which nothing is left ends without a fill."""
    venue = holding(a_venue(cash=100), 1)
    send(venue, an_intent(1))

    assert short(tell(venue, a_bar(100))) == [("a", "insufficient_funds")]


@pytest.mark.parametrize(("quantity", "events"), [("0.4", [("a", "below_minimum")]), ("0.5", [("a", dec("0.5"), 100)])])
def test_an_order_under_the_minimum_is_cancelled(quantity, events):
    """The minimum itself is enough."""
    venue = a_venue(min_notional=50)
    send(venue, an_intent(quantity))

    assert short(tell(venue, a_bar(100))) == events


def test_a_cut_below_the_minimum_is_no_trade():
    """The minimum holds for what is left after the cut."""
    venue = a_venue(cash=40, min_notional=50)
    send(venue, an_intent(1))

    assert short(tell(venue, a_bar(100))) == [("a", "below_minimum")]


def test_a_close_ignores_the_minimum():
    """A position that was allowed in must be allowed out."""
    venue = holding(a_venue(min_notional=50), 1)
    send(venue, an_intent(-1, reduce_only=True))

    assert short(tell(venue, a_bar(10))) == [("a", -1, 10)]


# ---- volume ----------------------------------------------------------------------------------------------------------


def test_an_order_takes_its_share_bar_by_bar():
    """At each open as much as the share allows; the last fill has no rest."""
    venue = a_venue(volume_share="0.25", lot_step="1")
    send(venue, an_intent(7))

    events = tell(venue, *(a_bar(100 + number, number=number, volume=12) for number in range(4)))

    assert short(events) == [("a", 3, 100), ("a", 3, 101), ("a", 1, 102)]
    assert [event.remaining for event in events] == [4, 1, 0]


def test_orders_share_a_bar_s_volume():
    """Several orders together take no more than the share, the oldest first; a new bar has new volume."""
    venue = a_venue(volume_share="0.5")
    send(venue, an_intent(3), an_intent(3, client_id="b"), an_intent(-2, client_id="c"))

    events = tell(venue, a_bar(100, volume=8), a_bar(100, number=1, volume=8))

    assert short(events) == [("a", 3, 100), ("b", 1, 100), ("b", 2, 100), ("c", -2, 100)]


def test_opening_and_trading_share_a_bar_s_volume():
    """What was taken at the open is gone for a limit later in the bar."""
    venue = a_venue(volume_share="0.5")
    send(venue, an_intent(3), an_intent(3, client_id="b", kind="limit", price=99))

    assert short(tell(venue, a_bar(100, low=98, volume=8))) == [("a", 3, 100), ("b", 1, 99)]


def test_symbols_have_volume_of_their_own():
    """One symbol's fills take nothing of another's volume."""
    venue = a_venue(volume_share="0.5")
    send(venue, an_intent(4), an_intent(4, client_id="b", symbol=ETH))

    events = [*venue.opened(a_bar(100, volume=8)), *venue.opened(a_bar(100, volume=8, symbol=ETH))]

    assert short(events) == [("a", 4, 100), ("b", 4, 100)]


@pytest.mark.parametrize(("volume", "filled"), [(0, 0), (1.9, 0), (2, 1), (3.9, 1)])
def test_a_share_is_of_whole_lots(volume, filled):
    """A bar whose share is less than a lot fills nothing, and the order waits."""
    venue = a_venue(volume_share="0.5", lot_step="1")
    send(venue, an_intent(2))

    assert short(tell(venue, a_bar(100, volume=volume))) == ([("a", filled, 100)] if filled else [])
    assert working(venue) == ("a",)


def test_scarce_volume_and_scarce_cash_do_not_mix():
    """While the volume is what cuts, the order waits; once the cash is what cuts, it ends."""
    venue = a_venue(cash=300, volume_share="0.5")
    send(venue, an_intent(10))

    events = tell(venue, *(a_bar(100, number=number, volume=4) for number in range(3)))

    assert short(events) == [("a", 2, 100), ("a", 1, 100), ("a", "insufficient_funds")]


def test_a_late_order_s_rest_waits_for_the_next_open():
    """What the volume left of an order that arrived within a bar trades at the next open."""
    venue = a_venue(volume_share="0.5", latency_ns=HOUR_NS // 2)
    send(venue, an_intent(3))

    events = tell(venue, a_bar(100, close=110, volume=4), a_bar(90, number=1))

    assert short(events) == [("a", 2, 105), ("a", 1, 90)]


# ---- telling again ---------------------------------------------------------------------------------------------------


def state(venue: SimulatedVenue, names: Sequence[str]) -> tuple[Any, ...]:
    """Return everything that a venue can be asked."""
    return at_once(venue.snapshot()), at_once(venue.look_up(names)), list(at_once(venue.fills_after(None)))


def random_venue(log: MemoryLog, share: object) -> SimulatedVenue:
    return a_venue(cash=2_000, log=log, volume_share=share, costs=some_costs(taker="0.004", slippage="0.001"))


def busy(log: MemoryLog, seed: int, share: object, *, again: bool) -> tuple[Any, ...]:
    """Tell random bars and orders to a venue, every bar once or twice; return what it says at the end."""
    draw = Random(seed)
    venue = random_venue(log, share)
    names = []
    price = 100.0
    for number in range(25):
        price *= draw.choice([0.97, 0.99, 1.0, 1.01, 1.03])
        bar = a_bar(price, price * 1.02, price * 0.98, number=number, volume=draw.choice([0, 3, 30]))
        for call in (venue.opened, venue.traded):
            call(bar)
            if again:
                assert list(call(bar)) == []
        for _ in range(draw.randint(0, 2)):
            name = f"order-{len(names)}"
            names.append(name)
            kind = draw.choice(["market", "limit", "stop", "take_profit"])
            level = None if kind == "market" else dec(round(price * draw.choice([0.97, 1.0, 1.03]), 2))
            send(
                venue,
                an_intent(
                    draw.choice([-5, -2, 2, 5]),
                    client_id=name,
                    kind=kind,
                    price=level,
                    decided_ns=bar.closed_ns,
                    reduce_only=draw.random() < 0.3,
                ),
            )
        if names and draw.random() < 0.2:
            at_once(venue.cancel(draw.choice(names)))
    return state(venue, names)


@pytest.mark.parametrize("share", [None, "0.1"])
def test_telling_a_bar_again_changes_nothing(share):
    """A venue that hears of every bar twice says at the end what one says that heard of each once."""
    for seed in range(15):
        assert busy(MemoryLog(), seed, share, again=True) == busy(MemoryLog(), seed, share, again=False), seed


def test_an_order_that_came_after_the_opening_is_not_filled_by_telling_it_again():
    """The opening of a bar is over when it was told: an order of that moment meets what follows."""
    once, twice = (a_venue() for _ in range(2))
    for venue in (once, twice):
        venue.opened(a_bar(100, close=110))
        send(venue, an_intent(1))
    twice.opened(a_bar(100, close=110))

    assert working(once) == working(twice)


@pytest.mark.parametrize("share", [None, "0.1"])
def test_a_log_cut_anywhere_gives_the_account_of_that_moment(share):
    """A venue opened on the first lines of a log says what it said when it had written them."""
    log = MemoryLog()
    busy(log, 3, share, again=False)
    lines = list(log.lines())
    names = [line["submitted"]["client_id"] for line in lines if "submitted" in line]
    growing = MemoryLog()
    cash, filled = Decimal(2_000), 0
    assert len(lines) > 30
    for line in lines:
        growing.append(line)
        venue = random_venue(growing, share)
        if "fill" in line:
            fill = Fill.from_json(line["fill"])
            cash -= fill.quantity * fill.price + fill.fee
            filled += 1
        snapshot, reports, events = state(venue, names)
        told = [line["submitted"]["client_id"] for line in growing.lines() if "submitted" in line]
        ends = [event.client_id for event in events if isinstance(event, Closed) or not event.remaining]

        assert abs(snapshot.cash - cash) < Decimal("1e-9")
        assert sum(isinstance(event, Fill) for event in events) == filled
        assert set(reports) == set(told)
        assert set(snapshot.working) == set(told) - set(ends)


@pytest.mark.parametrize("share", [None, "0.1"])
def test_a_restart_between_any_two_calls_changes_nothing(share):
    """A venue that is opened anew before every call trades as one that lives all the time."""
    for seed in range(6):
        ends = []
        for restarted in (False, True):
            log, draw, price = MemoryLog(), Random(seed), 100.0
            venue = random_venue(log, share)
            for number in range(20):
                price *= draw.choice([0.97, 1.0, 1.03])
                bar = a_bar(price, price * 1.02, price * 0.98, number=number, volume=draw.choice([3, 30]))
                kind = draw.choice(["market", "stop"])
                level = None if kind == "market" else dec(round(price * 0.97, 2))
                quantity = draw.choice([-5, -2, 2, 5])
                order = approved(an_intent(quantity, client_id=f"o{number}", kind=kind, price=level, decided_ns=bar.closed_ns))
                for act in ("opened", "traded", "submit"):
                    venue = random_venue(log, share) if restarted else venue
                    if act == "submit":
                        at_once(venue.submit(order))
                    else:
                        getattr(venue, act)(bar)
            ends.append(state(venue, [f"o{number}" for number in range(20)]))

        assert ends[0] == ends[1], seed


@pytest.mark.parametrize("held", [10, -10])
def test_after_a_restart_other_positions_keep_their_worth(held):
    """The equity that a short is measured against is the same after a restart, once it was told of the last bars again."""
    sales = []
    for restarted in (False, True):
        log = MemoryLog()
        venue = holding(a_venue(cash=1_000, log=log), held, ETH, price=50.0)
        tell(venue, a_bar(50, symbol=ETH))
        send(venue, an_intent(-20))
        if restarted:
            venue = a_venue(cash=1_000, log=log)
            tell(venue, a_bar(50, symbol=ETH))
        sales.append(short(venue.opened(a_bar(100, number=1))))

    assert sales[0] == sales[1]


# ---- asking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"symbol": "ADA/EUR"}, "unknown_symbol"),
        ({"kind": "limit"}, "invalid"),
        ({"kind": "stop"}, "invalid"),
        ({"kind": "limit", "price": 0, "reference": 1}, "invalid"),
    ],
)
def test_an_order_that_can_not_trade_is_rejected(order, code):
    """A symbol that is not traded, or a limit or trigger without a price: the answer is no, and nothing works."""
    venue = a_venue()
    intent = an_intent(1, **order)
    sealed = approved(an_intent(1))
    object.__setattr__(sealed, "intent", intent)

    reply = at_once(venue.submit(sealed))

    assert isinstance(reply, Rejected)
    assert (reply.client_id, reply.code) == ("a", code)
    assert working(venue) == ()


def test_a_partly_filled_order_is_reported_so():
    """A report has the state and what was filled, before and after the end."""
    venue = a_venue(volume_share="0.5")
    send(venue, an_intent(3))
    venue.opened(a_bar(100, volume=4))

    assert at_once(venue.look_up(["a"])) == {"a": OrderReport("a", OrderState.PARTLY_FILLED, dec(2), "")}
    at_once(venue.cancel("a"))
    assert at_once(venue.look_up(["a"])) == {"a": OrderReport("a", OrderState.CANCELLED, dec(2), "")}


def test_a_cancel_is_dated_by_the_present():
    """At the last moment that the venue knows of, and never before the order was decided."""
    venue = a_venue()
    send(venue, an_intent(1, kind="limit", price=90), an_intent(1, client_id="b", kind="limit", price=90))
    assert at_once(venue.cancel("a")).at_ns == START_NS
    tell(venue, a_bar(100))
    assert at_once(venue.cancel("b")).at_ns == START_NS + HOUR_NS
