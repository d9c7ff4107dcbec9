"""Orders of a strategy version through their whole life: placed, filled, cancelled, lost and found at an emulated exchange.

It is the one place where something that runs sends real orders: to the emulator that it started itself, on this machine.
Invariant: the address of an order's exchange comes from that emulator and from nothing that is configured or given.
Invariant: an order has ended, and its fills are booked, before the next is sent.
"""

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from peak_trade.ledger.books import Books
from peak_trade.model.bar import F64, Bars, Timeframe
from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import CheckFailed, InputError, Unavailable
from peak_trade.model.order import Fill, Intent, OrderKind, OrderState, Reason
from peak_trade.research.terms import Side
from peak_trade.risk.gate import Account, Approved, Limits, Mode, Refused, Sent, judge
from peak_trade.runs.drills.books import NEVER_THERE, Balance, ExchangeSide, Mismatch, OrderEnd, mismatches
from peak_trade.runs.drills.cases import OrderCase, cases_of
from peak_trade.runs.drills.steps import expect
from peak_trade.runs.emulated import EmulatedRun
from peak_trade.runs.sessions.market import dataset_of
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.venue.kraken.budget import TIER_LIMITS
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
from peak_trade.venue.kraken.market import KrakenMarket
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.reading import (
    NS,
    AssetPair,
    ClosedOrders,
    Holdings,
    OpenOrders,
    OrderDocument,
    PairTicker,
    TradeDocument,
    TradesHistory,
)
from peak_trade.venue.kraken.transport import Timeouts
from peak_trade.venue.kraken.wire import Credentials
from peak_trade.venue.port import OrderReport, Rejected, Unknown

if TYPE_CHECKING:
    from peak_trade.venue.kraken.proof import EmulatorProof
    from peak_trade.venue.kraken.trading import KrakenVenue

Answer = TypeVar("Answer")
#: The limits of calls that emulator and client keep to, and how much faster than the machine's the emulator's clock goes.
TIER, SPEED = "pro", 20.0
#: Seconds of the exchange's clock: until an order is not matched any more, how late one may be shown, and between two looks.
DEADLINE_S, LAG_S, POLL_S = 20.0, 5.0, 2.0
#: Seconds of the machine's clock until a call counts as lost.
CALL_S = 1.5
#: Seconds of the exchange's clock after each order, so that no limit on the rate of orders is near.
APART_S = 3.0
#: How often an order is looked at until it has ended, and an exchange asked that does not answer.
LOOKS = 12
#: Of orders sent, for each one wanted: some are meant to be refused.
SENT_MOST = 4
#: Lines of one answer, and answers that are read at most.
PAGE, PAGES = 50, 200
#: How long the gate remembers an order, nanoseconds: longer than a minute and than any window that is configured.
RECENT_NS = 3_600 * NS
ZERO = Decimal(0)
ENDED = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What the orders are of.

    Attributes:
        cash: of the strategy's books, quote currency; fraction: of it, for a target of 1.
        orders: how many the exchange is to have at least. seed: of cases and of the made-up market.
    """

    strategy: Strategy
    symbol: str
    timeframe: Timeframe
    side: Side
    cash: Decimal
    fraction: Decimal
    limits: Limits
    orders: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersFound:
    """What became of them.

    Attributes:
        ends: of all orders that were sent; placed: how many of them the exchange says that it took.
        refused: by the gate, never sent; changes: of target within the bars.
        struck: faults by name, as the exchange counts them.
        retold: whether a client that knows nothing but the orders' names is told the same fills, each once.
    """

    ends: tuple[OrderEnd, ...]
    placed: int
    refused: tuple[str, ...]
    fills: tuple[Fill, ...]
    fees: Decimal
    struck: Mapping[str, int]
    mismatches: tuple[Mismatch, ...]
    retold: bool
    changes: int
    bars: int


class ExchangeTime:
    """The emulator's clock as we know it, and waiting by it."""

    def __init__(self, clock: Clock, began: datetime, speed: float) -> None:
        self._clock, self._began, self._speed = clock, began, speed
        self._begun_s = clock.elapsed_s()

    def now(self) -> datetime:
        """Return the present there, aware, in UTC."""
        return self._began + timedelta(seconds=self.elapsed_s())

    def elapsed_s(self) -> float:
        """Return seconds there since the beginning: limits of calls decay by that clock."""
        return (self._clock.elapsed_s() - self._begun_s) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of the exchange's."""
        await asyncio.sleep(seconds / self._speed)


class Aim(NamedTuple):
    """A strategy's target after a bar, in [-1, 1]."""

    bar: int
    target: float


def turns(targets: F64, warmup: int) -> list[Aim]:
    """Return the changes of target after the warm-up, as a session that begins flat would act on them."""
    found, before = [], 0.0
    for bar, target in enumerate(float(value) for value in targets):
        if bar >= warmup and target != before:
            found.append(Aim(bar, target))
            before = target
    return found


def sided(targets: F64, side: Side) -> F64:
    """Return targets without those that a side may not take."""
    lowest, highest = {Side.LONG: (0.0, 1.0), Side.SHORT: (-1.0, 0.0), Side.BOTH: (-1.0, 1.0)}[side]
    return np.clip(targets, lowest, highest)


def run_orders(terms: OrderTerms, run: EmulatedRun, folder: Path, clock: Clock) -> OrdersFound:
    """Place orders until the exchange has as many as wanted, and compare both sides.

    Args:
        run: the emulator, of nobody else's. folder: for nonces; it goes with the drill.

    Raises:
        InputError: the strategy wants nothing over these bars, or the exchange does not have the pair.
        SafetyRefused: the emulator is none of this machine's; nothing was asked there.
        CheckFailed: orders don't get there. Unavailable: the exchange does not answer.
    """
    return asyncio.run(_run(terms, run, folder, clock))


async def _run(terms: OrderTerms, run: EmulatedRun, folder: Path, clock: Clock) -> OrdersFound:
    async with _opened(terms, run, folder, clock) as desk:
        return await desk.run()


@contextlib.asynccontextmanager
async def _opened(terms: OrderTerms, run: EmulatedRun, folder: Path, clock: Clock) -> "AsyncIterator[_Desk]":
    """Open the lines to an emulator: one that trades, one that only asks, and one that sets faults."""
    import httpx2

    from peak_trade.venue.kraken.proof import EmulatorProof

    proof_here = EmulatorProof.of(run.base_url)
    chance = random.Random(f"{terms.seed} pauses")  # noqa: S311 - to be repeated
    limits = TIER_LIMITS[TIER]
    waits = Timeouts(connect_s=CALL_S, read_s=CALL_S, total_s=2 * CALL_S)
    first = PublicMarket(GatewayParts(clock=clock, chance=chance, timeouts=waits), run.base_url, 0.0)
    try:
        began_ns = (await first.time()).unixtime * NS
    finally:
        await first.close()
    time = ExchangeTime(clock, datetime.fromtimestamp(began_ns / NS, tz=clock.now().tzinfo), SPEED)
    parts = GatewayParts(clock=time, chance=chance, sleep=time.sleep, timeouts=waits, limits=limits)
    async with contextlib.AsyncExitStack() as stack:
        public = PublicMarket(parts, run.base_url, 0.0)
        stack.push_async_callback(public.close)
        market = KrakenMarket(public, terms.timeframe)
        pair = await market.pair(terms.symbol)
        gateways = {}
        for name, proof in (("trading", proof_here), ("query", None)):
            keys = Credentials.read(*run.keys[name])
            nonces = NonceStore(folder / name, keys.short, lambda: nanoseconds(time.now()))
            gateways[name] = Gateway(keys, nonces, parts, run.base_url, proof)
            stack.push_async_callback(gateways[name].close)
        header = {"x-control-token": run.control_token}
        control = httpx2.AsyncClient(base_url=run.base_url, headers=header, timeout=10.0, trust_env=False)
        await stack.enter_async_context(control)
        yield _Desk(
            terms=terms,
            time=time,
            public=public,
            market=market,
            pair=pair,
            proof=proof_here,
            trading=gateways["trading"],
            asking=gateways["query"],
            control=control,
            key=run.keys["trading"][0],
            began_ns=began_ns,
        )


@dataclass(kw_only=True)
class _Desk:
    """Where the orders are led through their life."""

    terms: OrderTerms
    time: ExchangeTime
    public: PublicMarket
    market: KrakenMarket
    pair: AssetPair
    proof: "EmulatorProof"
    trading: Gateway
    asking: Gateway
    control: Any
    key: str
    began_ns: int
    ends: list[OrderEnd] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    known: list[Intent] = field(default_factory=list)
    placed: int = 0

    def __post_init__(self) -> None:
        self.opened = self.books = Books.opened(self.terms.cash)
        self.leg = self.terms.strategy.key
        self.venue = self._venue(())

    def _venue(self, known: Iterable[Intent]) -> "KrakenVenue":
        """Return a client of the account that knows of these orders, as after a start."""
        from peak_trade.venue.kraken.trading import KrakenVenue, VenueTimes

        times = VenueTimes(
            since_ns=self.began_ns,
            step_ns=self.terms.timeframe.step_ns,
            deadline_s=DEADLINE_S,
            lag_s=LAG_S,
            poll_s=POLL_S,
        )
        return KrakenVenue(self.trading, {self.terms.symbol: self.pair}, known, times, self.time, self.time.sleep, self.proof)

    async def run(self) -> OrdersFound:
        terms = self.terms
        bars = await self._bars()
        wanted = turns(sided(checked_targets(bars, terms.strategy), terms.side), terms.strategy.warmup())
        if len(wanted) < 2:
            raise InputError(
                f"expected {terms.strategy.key} to change its target within {len(bars):,} bars of the emulator's market, found "
                f"that it does so {len(wanted)} times; choose another --seed, --timeframe or --param"
            )
        before = await self._balance()
        cases = cases_of(random.Random(f"{terms.seed} cases"))  # noqa: S311 - to be repeated
        for turn in self._over_and_over(wanted):
            if self.placed >= terms.orders:
                break
            if len(self.ends) >= terms.orders * SENT_MOST:
                raise CheckFailed(
                    f"expected the exchange to take {terms.orders} orders, found that of {len(self.ends)} it took {self.placed}"
                )
            await self._turn(turn, cases)
        theirs = await self._theirs(before)
        return OrdersFound(
            ends=tuple(self.ends),
            placed=self.placed,
            refused=tuple(self.refused),
            fills=tuple(self.fills),
            fees=self.books.fees(),
            struck=await self._struck(),
            mismatches=tuple(mismatches(self.ends, self.fills, self.opened, self.books, theirs)),
            retold=await self._retold(),
            changes=len(wanted),
            bars=len(bars),
        )

    # ---- what the strategy wants -----------------------------------------------------------------------------------------

    async def _bars(self) -> Bars:
        """Return the emulator's last complete bars."""
        source, symbol = self.market, self.terms.symbol
        candles = [candle.bar for candle in await source.candles(symbol, -1) if candle.over and candle.traded]
        return dataset_of(await source.instrument(symbol), self.terms.timeframe, candles, "the emulator").bars

    def _over_and_over(self, wanted: list[Aim]) -> Iterator[Aim]:
        """Yield the changes of target in their order, again and again: an account goes on where it is."""
        while True:
            yield from wanted

    async def _turn(self, turn: Aim, cases: Iterator[OrderCase]) -> None:
        """Do what a change of target asks for: nothing where the account already has what it wants."""
        ticker = await self.public.ticker(self.pair.altname)
        price = ticker.c[0]
        aim = Decimal(repr(turn.target)) * self.terms.fraction * self.books.equity({self.terms.symbol: price}) / price
        lots = ((aim - self.books.position(self.leg, self.terms.symbol).quantity) / self.pair.lot_step).quantize(
            Decimal(1), ROUND_DOWN
        )
        quantity = lots * self.pair.lot_step
        if abs(quantity) < self.pair.ordermin or abs(quantity) * price < self.pair.costmin:
            return
        case = next(cases)
        limit = self._limit(case, quantity > 0, ticker)
        if limit is not None and abs(quantity) * limit < self.pair.costmin:
            return
        name = hashlib.sha256(f"{self.terms.seed} {self.began_ns} {len(self.known)}".encode()).hexdigest()[:32]
        intent = Intent(
            client_id=name,
            leg=self.leg,
            symbol=self.terms.symbol,
            kind=OrderKind.MARKET if limit is None else OrderKind.LIMIT,
            quantity=quantity,
            reason=Reason.TARGET,
            reference=price,
            decided_ns=nanoseconds(self.time.now()),
            price=limit,
        )
        verdict = judge(intent, self._account(price), self.terms.limits)
        if isinstance(verdict, Refused):
            self.refused.append("; ".join(reason.words for reason in verdict.reasons))
            if len(self.refused) > self.terms.orders:
                raise CheckFailed(f"expected the gate to let orders of this size pass, found: {self.refused[-1]}")
        else:
            await self._lead(verdict, case)
        await self.time.sleep(APART_S)

    def _limit(self, case: OrderCase, buys: bool, ticker: PairTicker) -> Decimal | None:  # noqa: FBT001 - a side
        if case.away is None:
            return None
        best = ticker.b[0] if buys else ticker.a[0]
        asked = best * (1 - case.away if buys else 1 + case.away)
        rounding = ROUND_FLOOR if buys else ROUND_CEILING
        return (asked / self.pair.tick_size).quantize(Decimal(1), rounding) * self.pair.tick_size

    def _account(self, price: Decimal) -> Account:
        """Return what the risk gate looks at; no order of ours works while another is judged."""
        now_ns, symbol = nanoseconds(self.time.now()), self.terms.symbol
        held = self.books.held()
        return Account(
            mode=Mode.RUNNING,
            now_ns=now_ns,
            priced_ns=now_ns,
            price=price,
            prices={symbol: price},
            positions=held,
            pending={},
            equity=self.books.equity({symbol: price}),
            day_start_equity=self.terms.cash,
            recent=tuple(sent for sent in self.sent if now_ns - sent.at_ns < RECENT_NS),
            sent_today=len(self.sent),
            clock_skew_ms=0.0,
            late_ns=0,
            exiting=frozenset(),
        )

    # ---- one order's life ------------------------------------------------------------------------------------------------

    async def _lead(self, approved: Approved, case: OrderCase) -> None:
        """Send an order, let happen to it what its case says, and look until its end is known and its fills are booked."""
        intent = approved.intent
        self.known.append(intent)
        self.sent.append(Sent(intent.decided_ns, intent.leg, intent.symbol, intent.quantity))
        if case.fault:
            await self._set(case)
        try:
            state, filled = await self._lived(approved, case)
        finally:
            (await self.control.delete("/_ctl/faults")).raise_for_status()
        self.ends.append(OrderEnd(intent.client_id, case.name, state, filled))
        self.placed += state not in NEVER_THERE
        await self._book()

    async def _lived(self, approved: Approved, case: OrderCase) -> tuple[OrderState, Decimal]:
        name = approved.intent.client_id
        reply = await self.venue.submit(approved)
        if case.twice:
            second = await self.venue.submit(approved)
            expect(isinstance(second, Rejected) and second.code == "duplicate", f"an order was sent a second time: {second}")
        if isinstance(reply, Rejected):
            return OrderState.REJECTED, ZERO
        if isinstance(reply, Unknown) and await self._report(name) is None:
            return OrderState.ABSENT, ZERO
        await self.time.sleep(case.wait_s)
        if case.cancel:
            await self.venue.cancel(name)
        report: OrderReport | None = None
        for look in range(LOOKS):
            if look == LOOKS // 2:
                # What was to be filled or ended by itself had its time.
                await self.venue.cancel(name)
            report = await self._report(name)
            if report is None:
                return OrderState.ABSENT, ZERO
            if report.state in ENDED:
                return report.state, report.filled
            await self.time.sleep(POLL_S)
        return (OrderState.UNKNOWN, ZERO) if report is None else (report.state, report.filled)

    async def _report(self, name: str) -> OrderReport | None:
        """Return what the exchange knows of an order."""
        return (await self._answered(lambda: self.venue.look_up([name]))).get(name)

    async def _answered(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask the exchange again where it does not answer.

        Raises:
            Unavailable: it still does not.
        """
        for _ in range(LOOKS - 1):
            try:
                return await ask()
            except Unavailable:
                await self.time.sleep(POLL_S)
        return await ask()

    async def _book(self) -> None:
        """Book what was filled since the last fill."""
        last = self.fills[-1].fill_id if self.fills else None
        for event in await self._answered(lambda: self.venue.fills_after(last)):
            if isinstance(event, Fill):
                self.fills.append(event)
                self.books = self.books.book(event)

    async def _set(self, case: OrderCase) -> None:
        """Set a case's fault for the trading key."""
        match = {"key": self.key} | ({"endpoint": case.at} if case.at else {})
        told = {"name": case.fault, "match": match, "args": dict(case.args)}
        (await self.control.post("/_ctl/faults", json=told)).raise_for_status()

    # ---- the other side --------------------------------------------------------------------------------------------------

    async def _theirs(self, before: Balance) -> ExchangeSide:
        """Return what the exchange says of the account, asked with a key that can only ask."""
        orders: dict[str, OrderDocument] = dict((await self.asking.read("OpenOrders", OpenOrders)).open)
        trades: dict[str, TradeDocument] = {}
        start = ("start", str(self.began_ns // NS - 1))
        for offset in range(0, PAGES * PAGE, PAGE):
            page = (await self.asking.read("ClosedOrders", ClosedOrders, [start, ("ofs", str(offset))])).closed
            orders |= page
            if len(page) < PAGE:
                break
        for offset in range(0, PAGES * PAGE, PAGE):
            fields = [start, ("ofs", str(offset)), ("consolidate_taker", "false")]
            told = (await self.asking.read("TradesHistory", TradesHistory, fields)).trades
            trades |= told
            if len(told) < PAGE:
                break
        return ExchangeSide(orders=orders, trades=trades, before=before, after=await self._balance())

    async def _balance(self) -> Balance:
        found = await self.asking.read("BalanceEx", Holdings)
        return Balance(found[self.pair.quote].balance, found[self.pair.base].balance)

    async def _struck(self) -> dict[str, int]:
        """Return how often each fault struck, by the emulator's own log."""
        found: Counter[str] = Counter()
        after = 0
        while True:
            answer = await self.control.get("/_ctl/log", params={"after": after})
            lines = answer.raise_for_status().json()["lines"]
            found.update(line["fault"] for line in lines if line["what"] == "fault")
            if not lines:
                return dict(sorted(found.items()))
            after = lines[-1]["number"]

    async def _retold(self) -> bool:
        """Tell whether a client that begins anew, with the names of the orders alone, is told the same fills."""
        told = await self._venue(self.known).fills_after(None)
        again = [event.fill_id for event in told if isinstance(event, Fill)]
        return sorted(again) == sorted(fill.fill_id for fill in self.fills) and len(again) == len(self.fills)
