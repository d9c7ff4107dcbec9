"""Builders of the words of trading: each has a sensible default for everything, so a test names only what it is about.

Money, prices and quantities may be given as numbers or text; they become exact decimals.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from tests.builders import START_NS, an_instrument

from peak_trade.engine.engine import Engine
from peak_trade.engine.feed import ticks
from peak_trade.engine.state import LegPlan, Plan, State
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import Record
from peak_trade.model.bar import Bars
from peak_trade.model.clock import moment
from peak_trade.model.order import Fill, Intent, MarketBar, OrderKind, Reason
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side, Terms
from peak_trade.risk.gate import Account, Approved, Limits, Mode, judge
from peak_trade.strategy.sizing import Sizing
from peak_trade.venue.log import MemoryLog, VenueLog
from peak_trade.venue.matching import Costs
from peak_trade.venue.port import Venue
from peak_trade.venue.simulated import Market, SimulatedVenue

SYMBOL = "BTC/EUR"
MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
NO_LIMIT = Decimal(10) ** 15

T = TypeVar("T")


def dec(value: object) -> Decimal:
    """Return a number as the decimal that a person would write for it."""
    return Decimal(str(value))


def at_once(answer: Awaitable[T]) -> T:
    """Return what a coroutine gives that waits for nothing."""
    try:
        answer.send(None)  # type: ignore[attr-defined]
    except StopIteration as done:
        return done.value
    raise AssertionError("expected an answer at once, found one that is waited for")


def an_intent(quantity: object = 1, **changes: Any) -> Intent:
    """Return a wish to buy one at the market; `price` and `kind` may be given as text."""
    given = {
        "client_id": "a",
        "leg": "alpha",
        "symbol": SYMBOL,
        "kind": "market",
        "reason": Reason.TARGET,
        "reference": 100,
        "decided_ns": START_NS,
        "price": None,
        **changes,
        "quantity": dec(quantity),
    }
    given["kind"] = OrderKind(given["kind"])
    given["reference"] = dec(given["reference"])
    given["price"] = None if given["price"] is None else dec(given["price"])
    return Intent(**given)


def some_limits(**changes: Any) -> Limits:
    """Return limits that no sensible order reaches, on three symbols."""
    given: dict[str, Any] = {
        "max_order_notional": NO_LIMIT,
        "max_symbol_exposure_notional": NO_LIMIT,
        "max_total_exposure_notional": NO_LIMIT,
        "max_open_positions": 9,
        "max_daily_loss_abs": NO_LIMIT,
        "max_daily_loss_pct": NO_LIMIT,
        "block_on_violation": True,
        "price_collar_pct": 2,
        "max_order_quantity": NO_LIMIT,
        "max_orders_per_minute": 1_000_000,
        "max_orders_per_day": 1_000_000,
        "duplicate_window_s": 1.0,
        "max_data_age_s": 120.0,
        "max_clock_skew_ms": 1_000.0,
        "symbols": (SYMBOL, "ETH/EUR", "ADA/EUR"),
        **changes,
    }
    exact = ("notional", "abs", "pct", "quantity")
    return Limits(**{name: dec(value) if name.endswith(exact) else value for name, value in given.items()})


def an_account(**changes: Any) -> Account:
    """Return an account of 10,000 without positions, at a price of 100 that is known since this moment."""
    price = dec(changes.pop("price", 100))
    given: dict[str, Any] = {
        "mode": Mode.RUNNING,
        "now_ns": START_NS,
        "priced_ns": START_NS,
        "positions": {},
        "pending": {},
        "equity": 10_000,
        "day_start_equity": 10_000,
        "recent": (),
        "sent_today": 0,
        "clock_skew_ms": 0.0,
        "late_ns": 0,
        "exiting": frozenset(),
        "prices": {SYMBOL: price},
        **changes,
    }
    given["equity"], given["day_start_equity"] = dec(given["equity"]), dec(given["day_start_equity"])
    given["prices"] = {symbol: dec(value) for symbol, value in given["prices"].items()}
    given["positions"] = {symbol: dec(value) for symbol, value in given["positions"].items()}
    given["pending"] = {symbol: (dec(buys), dec(sells)) for symbol, (buys, sells) in given["pending"].items()}
    return Account(price=price, **given)


def approved(intent: Intent) -> Approved:
    """Return the gate's yes to an intent, heard under limits that it can't reach."""
    price = intent.reference if intent.price is None else intent.price
    account = an_account(price=price, prices={intent.symbol: price})
    verdict = judge(intent, account, some_limits(symbols=(intent.symbol,)))
    assert isinstance(verdict, Approved), verdict
    return verdict


def a_fill(quantity: object = 1, price: object = 100, **changes: Any) -> Fill:
    """Return a purchase of one at 100 that completes its order."""
    given = {
        "fill_id": "f-0",
        "client_id": "a",
        "leg": "alpha",
        "symbol": SYMBOL,
        "reason": Reason.TARGET,
        "fee": 0,
        "bar_ns": START_NS,
        "at_ns": START_NS,
        "maker": False,
        "remaining": 0,
        **changes,
    }
    given["fee"], given["remaining"] = dec(given["fee"]), dec(given["remaining"])
    return Fill(quantity=dec(quantity), price=dec(price), **given)


def a_bar(
    opened: float = 100.0,
    high: float | None = None,
    low: float | None = None,
    close: float | None = None,
    *,
    number: int = 0,
    symbol: str = SYMBOL,
    volume: float = 1_000.0,
    step_ns: int = HOUR_NS,
) -> MarketBar:
    """Return the bar of that number; prices that are not given are as tame as they can be."""
    close = opened if close is None else close
    high = max(opened, close) if high is None else high
    low = min(opened, close) if low is None else low
    return MarketBar(symbol, START_NS + number * step_ns, step_ns, opened, high, low, close, volume)


def some_costs(taker: object = 0, maker: object = 0, slippage: object = 0) -> Costs:
    """Return costs as fractions; none by default."""
    return Costs(dec(taker), dec(maker), dec(slippage))


def a_venue(
    cash: object = 10_000,
    log: VenueLog | None = None,
    *,
    costs: Costs | None = None,
    latency_ns: int = 0,
    volume_share: object = None,
    symbols: Sequence[str] = (SYMBOL, "ETH/EUR"),
    **steps: Any,
) -> SimulatedVenue:
    """Return a simulated venue for instruments without minimums; `steps` change them."""
    instruments = {symbol: an_instrument(symbol, **steps) for symbol in symbols}
    share = None if volume_share is None else dec(volume_share)
    market = Market(costs=costs or some_costs(), latency_ns=latency_ns, volume_share=share)
    return SimulatedVenue(Stage.SHADOW, instruments, dec(cash), market, MemoryLog() if log is None else log)


def a_leg(name: str = "alpha", sizing: str = "quantity=1", **changes: Any) -> LegPlan:
    """Return a strategy's plan: one unit of the usual symbol, long only, no exits."""
    exits = {key: dec(changes.pop(key)) for key in ("stop_loss", "take_profit", "trailing_stop") if key in changes}
    return LegPlan(**{"name": name, "symbol": SYMBOL, "sizing": Sizing.parse(sizing), **exits, **changes})


def a_plan(*legs: LegPlan, cash: object = 10_000, limits: Limits | None = None, **steps: Any) -> Plan:
    """Return the plan of a session of these legs, by default a single plain one."""
    legs = legs or (a_leg(),)
    instruments = {leg.symbol: an_instrument(leg.symbol, **steps) for leg in legs}
    return Plan(origin="origin", legs=legs, instruments=instruments, limits=limits or some_limits(), cash=dec(cash))


def plan_of(terms: Terms, bars: Bars) -> Plan:
    """Return the plan of a session that should do what a backtest under these terms does."""
    leg = LegPlan(
        name="alpha",
        symbol=bars.instrument.symbol,
        sizing=terms.sizing,
        longs=terms.side is not Side.SHORT,
        shorts=terms.side is not Side.LONG,
        stop_loss=dec(terms.stop_loss),
        take_profit=dec(terms.take_profit),
        trailing_stop=dec(terms.trailing_stop),
    )
    limits = some_limits(price_collar_pct=100, symbols=(leg.symbol,))
    return Plan(origin="origin", legs=(leg,), instruments={leg.symbol: bars.instrument}, limits=limits, cash=terms.cash)


def venue_of(terms: Terms, bars: Bars) -> SimulatedVenue:
    """Return a venue with the costs of these terms."""
    fee, slippage = dec(terms.fee_bps) / 10_000, dec(terms.slippage_bps) / 10_000
    instruments = {bars.instrument.symbol: bars.instrument}
    share = dec(terms.max_volume_share) or None
    market = Market(costs=Costs(fee, fee, slippage), volume_share=share, impact=terms.impact)
    return SimulatedVenue(Stage.SHADOW, instruments, terms.cash, market, MemoryLog())


class Pages:
    """A journal in memory: what the engine writes, as the records that a tape is made of."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, kind: str, body: Mapping[str, Any], *, at: datetime, durable: bool = False) -> None:
        """Keep a record."""
        self.records.append(Record(len(self.records), at.isoformat(), kind, dict(body), "", ""))

    def of(self, *kinds: str) -> list[Mapping[str, Any]]:
        """Return the bodies of the records of these kinds."""
        return [record.body for record in self.records if record.kind in kinds]


class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Return the beginning of all test bars."""
        return moment(START_NS)

    def elapsed_s(self) -> float:
        """Return zero."""
        return 0.0


class Desk:
    """An engine at work on bars and given targets, with its journal in memory; `equities` are those at each close."""

    def __init__(
        self,
        plan: Plan,
        venue: Venue | None,
        *,
        tape: Sequence[Record] = (),
        replayed: bool = False,
        pages: Pages | None = None,
    ) -> None:
        self.pages = pages or Pages()
        self.equities: list[Decimal] = []
        self.engine = Engine(plan, venue, None if replayed else self.pages, Tape(tape), FixedClock())

    @property
    def state(self) -> State:
        """What the engine knows."""
        return self.engine.state

    def run(self, series: Mapping[str, Bars], targets: Mapping[int, Sequence[float]], *, late_ns: int = 0) -> "Desk":
        """Tell all bars, each close `late_ns` after it was due; `targets` are those of each leg by number."""
        symbols = {number: leg.symbol for number, leg in enumerate(self.engine.plan.legs)}
        for tick in ticks(series):
            if tick.complete:
                wanted = tuple((n, float(targets[n][tick.number])) for n in targets if symbols[n] == tick.bar.symbol)
                at_once(self.engine.close_bar(tick.bar, wanted, late_ns))
                self.equities.append(self.state.equity)
            else:
                at_once(self.engine.open_bar(tick.bar))
        return self

    def fills(self) -> list[Fill]:
        """Return the fills in the journal."""
        return [Fill.from_json(dict(body)) for body in self.pages.of("filled")]


def renamed(bars: Bars, symbol: str) -> Bars:
    """Return the same bars of another symbol."""
    return replace(bars, instrument=replace(bars.instrument, symbol=symbol))
