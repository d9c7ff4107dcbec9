"""Kraken as a venue that executes orders: what live trading will use, and until then drills and tests on the emulator.

It takes a proof that only an address of this machine has; what makes one is a drill or an emulated session, for an emulator
that it started itself. Invariants: an order is sent once; of one that it is in doubt about it says so, and it calls it absent
only after the order's own deadline has passed and Kraken has had the time to show it.
Between two bars it is asked for news: then it looks at the account, and tends the dead-man switch.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import InvariantBroken, SafetyRefused, Unavailable, require
from peak_trade.model.order import Closed, Fill, Intent, MarketBar, OrderEvent, OrderState
from peak_trade.risk.gate import Approved
from peak_trade.venue.kraken.admission import check_clock, check_key, check_open
from peak_trade.venue.kraken.budget import cancel_cost
from peak_trade.venue.kraken.classes import Verdict
from peak_trade.venue.kraken.dead_man import LAPSED, UNARMED, DeadManSwitch
from peak_trade.venue.kraken.fitting import misfit, on_tick
from peak_trade.venue.kraken.gateway import Answered, Failed, Gateway, NoAnswer, Sleep
from peak_trade.venue.kraken.opening import OpeningBalances, OpeningFile
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.reading import (
    AddedOrder,
    AssetPair,
    CancelledOrder,
    ClosedOrders,
    Holdings,
    OpenOrders,
    OrderDocument,
    Orders,
    TradeDocument,
    TradesHistory,
    Unreadable,
    nanoseconds_of,
    shaped,
)
from peak_trade.venue.kraken.wire import (
    Credentials,
    LiveOrderRequest,
    Request,
    exchange_name,
    live_order_request,
    order_fields,
    private_request,
)
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Reply, Snapshot, Unknown, VenueNews

NS = 1_000_000_000
#: The steps in which Kraken shows cash: it rounds what it has.
_COARSE = Decimal("0.0001")
#: Most orders that one question names, and lines of one answer.
PAGE = 50
#: How often a cancel that did nothing is asked for.
CANCELS = 3
#: How far back fills are fetched again, so that none is missed that was shown late, nanoseconds.
_AGAIN_NS = 60 * NS
_STATES = {
    "closed": OrderState.FILLED,
    "canceled": OrderState.CANCELLED,
    "expired": OrderState.EXPIRED,
}
_ENDS = {"canceled": OrderEvent.CANCEL, "expired": OrderEvent.EXPIRE}
#: What a key that trades has to be allowed, and no more than a reader's rights besides.
NEEDED = ("close-trades", "modify-trades", "query-closed-trades", "query-funds", "query-open-trades")
#: Codes under which nothing is opened any more: the exchange does not tell what happens; somebody else has orders there.
BLIND, FOREIGN = "blind", "foreign_orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTimes:
    """How long things take.

    Attributes:
        deadline_s: after it an order that is still on its way is not matched any more.
        lag_s: how late Kraken may show an order that it has; poll_s: between two looks.
        since_ns: the session's beginning; nothing before it is ours. step_ns: length of its bars.
        skew_ns: our clock minus Kraken's, as measured: deadlines are in Kraken's time, and a wrong one would let an order
            live longer than we think.
    """

    since_ns: int
    step_ns: int
    deadline_s: float = 5.0
    lag_s: float = 5.0
    poll_s: float = 1.0
    skew_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTimes:
    """How often the account is looked at between bars, seconds of the exchange's clock.

    Attributes:
        working_s, idle_s: while orders work, and else. blind_s: after so long without an answer the venue counts as blind.
    """

    working_s: float = 5.0
    idle_s: float = 15.0
    blind_s: float = 45.0


def healthy() -> str:
    """Return that nothing is wrong."""
    return ""


@dataclass(kw_only=True)
class VenueWatch:
    """What a session needs of a venue besides its orders; without one a venue can't be prepared and tells no news.

    Attributes:
        market: for what needs no key. dead_man: cancels everything when this process stands still; None for none.
        opening: where the balances from before the session are kept; None where the account holds nothing but the session's.
        cash: of the books at their beginning, quote currency.
        max_skew_ms: how far the clocks may be apart; None where they are not compared, because the exchange's goes faster.
        health: why the dead-man switch must not be refreshed, empty where it may; the session sets it.
    """

    market: PublicMarket
    cash: Decimal
    dead_man: DeadManSwitch | None = None
    opening: OpeningFile | None = None
    max_skew_ms: float | None = None
    times: WatchTimes = WatchTimes()
    health: Callable[[], str] = healthy


class KrakenVenue:
    """One account at Kraken. Positions are balances of base assets, so all symbols share one quote currency."""

    def __init__(
        self,
        gateway: Gateway,
        pairs: Mapping[str, AssetPair],
        known: Iterable[Intent],
        times: VenueTimes,
        clock: Clock,
        sleep: Sleep,
        proof: EmulatorProof,
        *,
        watch: VenueWatch | None = None,
        booked: Sequence[str] = (),
    ) -> None:
        """Take up the account.

        Args:
            pairs: by symbol; known: every order of ours that the journal has, sent or perhaps sent.
            watch: what a session needs besides. booked: names of the fills that the journal has, in its order.

        Raises:
            SafetyRefused: there is no proof that this is the emulator.
        """
        if type(proof) is not EmulatorProof or not gateway.trades:
            raise SafetyRefused("expected a proof that orders go to the emulator, found none; nothing was sent")
        quotes, bases = {pair.quote for pair in pairs.values()}, [pair.base for pair in pairs.values()]
        require(len(quotes) == 1 and len(set(bases)) == len(bases), "pairs have one quote currency and a base each")
        self._gateway, self._pairs, self._times = gateway, dict(pairs), times
        self._clock, self._sleep = clock, sleep
        self._quote = quotes.pop()
        self._intents: dict[str, Intent] = {}
        self._names: dict[str, str] = {}
        for intent in known:
            self._know(intent)
        self._due: dict[str, int] = {}
        self._placed: dict[str, int] = {}
        self._txids: dict[str, str] = {}
        self._ended: set[str] = set()
        self._history: list[Fill | Closed] = []
        self._heard: set[str] = set()
        self._done: dict[str, Decimal] = {}
        self._begun_ns = self._now_ns()
        self._watch = watch
        self._booked = {name: place for place, name in enumerate(booked)}
        #: Orders whose cancel Kraken took and has not done yet; who asks again waits for it.
        self._waited: set[str] = set()
        self._told = 0
        self._shown: dict[str, Decimal] | None = None
        self._looked_s = self._answered_s = clock.elapsed_s()
        self._moved = True
        self._trouble = ("", "")
        self._orders: dict[str, OrderDocument] = {}
        self._trades: dict[str, TradeDocument] = {}

    # ---- orders --------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> Reply:
        """Send an order once."""
        require(type(approved) is Approved, "a venue takes nothing but what the gate approved")
        intent = on_tick(approved.intent, self._pairs)
        name = intent.client_id
        if name in self._intents:
            return Rejected(name, "duplicate", "this name was used before")
        if not intent.reduce_only and (why := self._closed()) is not None:
            return Rejected(name, *why)
        if (wrong := misfit(intent, self._pairs)) is not None:
            return wrong
        pair = self._pairs[intent.symbol]
        self._know(intent)

        def build(keys: Credentials, nonce: int) -> LiveOrderRequest:
            deadline = self._now_ns() + int(self._times.deadline_s * NS)
            self._due[name] = deadline + int(self._times.lag_s * NS)
            return live_order_request(keys, nonce, order_fields(intent, pair.altname, deadline - self._times.skew_ns))

        self._moved = True
        found = await self._gateway.act(build, pair.altname, 1)
        # The latest moment at which it may have been placed: what a cancel costs falls with the age.
        self._placed[name] = self._now_ns()
        if isinstance(found, Failed):
            if found.verdict is Verdict.UNKNOWN:
                self._placed[name] = self._due[name]
            if not found.sent:
                self._forget(name)
            return Unknown(name, found.words) if found.verdict is Verdict.UNKNOWN else Rejected(name, found.code, found.words)
        try:
            placed = shaped(found.result, AddedOrder, "AddOrder")
        except Unreadable as error:
            return Unknown(name, str(error))
        if not placed.txid:
            return Unknown(name, "Kraken answered without an id")
        self._txids[name] = placed.txid[0]
        return Accepted(name)

    async def cancel(self, client_id: str) -> Reply | Closed:
        """Cancel an order, and look whether it is; ask again where it is not."""
        intent = self._intents.get(client_id)
        if intent is None:
            return Rejected(client_id, "unknown_order", "no such order")
        pair, words, self._moved = self._pairs[intent.symbol].altname, "", True
        for attempt in range(CANCELS):
            if attempt:
                await self._sleep(self._times.poll_s)
            found = await self._gateway.act(
                lambda keys, nonce: _cancelling(keys, nonce, client_id),
                pair,
                cancel_cost((self._now_ns() - self._placed.get(client_id, self._begun_ns)) / NS),
                urgent=True,
            )
            if isinstance(found, Failed):
                words = found.words
                if not found.sent and found.code == "engine_limit":
                    continue
                if found.verdict is not Verdict.UNKNOWN and found.code != "unknown_order":
                    return Rejected(client_id, found.code, words)
            try:
                order = (await self._named([client_id])).get(client_id)
            except NoAnswer as error:
                return Unknown(client_id, str(error))
            if order is None and self._now_ns() < self._due_of(client_id):
                words = "Kraken does not show the order yet"
                continue
            if order is None:
                return Rejected(client_id, "unknown_order", "no such order")
            if not order.working:
                end, told = self._end_of(client_id, order), client_id in self._ended
                self._ended.add(client_id)
                return end if end is not None and not told else Accepted(client_id)
            if isinstance(found, Answered) and _pending(found) and client_id not in self._waited:
                self._waited.add(client_id)
                return Accepted(client_id)
            words = words or "Kraken said that it was cancelled, and it still works"
        return Unknown(client_id, words)

    async def look_up(self, client_ids: Sequence[str]) -> dict[str, OrderReport]:
        """Return what Kraken knows of orders; it is asked until all are found or none can come any more.

        Raises:
            NoAnswer: Kraken does not answer; then nothing is known, and nothing is said.
        """
        found: dict[str, OrderDocument] = {}
        while missing := [name for name in client_ids if name not in found]:
            late = self._now_ns() > max(map(self._due_of, missing))
            found |= await self._named(missing, everywhere=late)
            if late or len(found) == len(set(client_ids)):
                break
            await self._sleep(self._times.poll_s)
        return {name: _report(name, order) for name, order in found.items()}

    # ---- the account ---------------------------------------------------------------------------------------------------

    async def fills_after(self, fill_id: str | None) -> Sequence[Fill | Closed]:
        """Return fills and ends of our orders after a fill, oldest first; all of them after one that is not known.

        Raises:
            NoAnswer: Kraken does not answer.
        """
        await self._fetch_trades()
        await self._fetch_ended()
        orders = self._orders | await self._traded_orders()
        if self._short_of(orders):
            # Kraken shows some fills minutes late.
            await self._fetch_trades(everything=True)
            orders |= await self._traded_orders()
        self._hear(orders)
        told, self._told = self._history, len(self._history)
        place = next((at for at, event in enumerate(told) if isinstance(event, Fill) and event.fill_id == fill_id), -1)
        return told[place + 1 :]

    def _short_of(self, orders: Orders) -> bool:
        """Tell whether an order of ours that ended has more filled than there are fills of it."""
        filled: dict[str, Decimal] = {}
        for trade in self._trades.values():
            filled[trade.ordertxid] = filled.get(trade.ordertxid, Decimal(0)) + trade.vol
        mine = ((txid, order) for txid, order in orders.items() if order.cl_ord_id in self._names)
        return any(filled.get(txid, Decimal(0)) < order.vol_exec for txid, order in mine if not order.working)

    def _hear(self, orders: Orders) -> None:
        """Add what is new to the history: by time among itself, after everything that was told before.

        What the journal has booked was told before by another process, and keeps that order.
        """
        fresh: list[tuple[int, int, int, int, str, Intent, OrderDocument]] = []
        last = len(self._booked)
        for trade_id, trade in self._trades.items():
            order = orders[trade.ordertxid]
            # Somebody else's fills are left out; the account's balances show them.
            if trade_id not in self._heard and (name := self._names.get(order.cl_ord_id or "")) is not None:
                place = self._booked.get(trade_id, last)
                at_ns = nanoseconds_of(trade.time)
                fresh.append((place, at_ns, 0, trade.trade_id, trade_id, self._intents[name], order))
        for txid, order in orders.items():
            name = self._names.get(order.cl_ord_id or "")
            if name is not None and txid not in self._heard and (end := self._end_of(name, order)) is not None:
                fresh.append((last, end.at_ns, 1, 0, txid, self._intents[name], order))
        for _, _, ends, _, key, intent, order in sorted(fresh, key=lambda one: one[:5]):
            name = intent.client_id
            self._heard.add(key)
            if ends and (end := self._end_of(name, order)) is not None:
                self._history.append(end)
            elif not ends:
                trade = self._trades[key]
                self._done[name] = self._done.get(name, Decimal(0)) + trade.quantity
                self._history.append(self._fill(key, trade, intent, order.sign * order.vol - self._done[name]))

    async def snapshot(self) -> Snapshot:
        """Return balances and working orders; an order that is none of ours is there by Kraken's id.

        Raises:
            NoAnswer: Kraken does not answer.
        """
        holdings = await self._gateway.read("BalanceEx", Holdings)
        working = (await self._gateway.read("OpenOrders", OpenOrders)).open
        held = {
            symbol: holdings[pair.base].balance
            for symbol, pair in self._pairs.items()
            if pair.base in holdings and holdings[pair.base].balance
        }
        cash = holdings[self._quote].balance if self._quote in holdings else Decimal(0)
        names = (self._names.get(order.cl_ord_id or "", txid) for txid, order in working.items())
        before = self._opening()
        if before is None or self._watch is None:
            return Snapshot(cash, held, tuple(names))
        # The account may hold more than the session has: what counts is how far it moved since.
        moved = {symbol: held.get(symbol, Decimal(0)) - before.held.get(symbol, Decimal(0)) for symbol in self._pairs}
        step = Decimal(1).scaleb(int(cash.as_tuple().exponent)) if cash else _COARSE
        positions = {symbol: value for symbol, value in moved.items() if value}
        return Snapshot(self._watch.cash + cash - before.cash, positions, tuple(names), max(step, _COARSE))

    def _opening(self) -> OpeningBalances | None:
        return None if self._watch is None or self._watch.opening is None else self._watch.opening.read()

    # ---- a session -----------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Look at the key, the clock, the exchange and the account before the first order.

        Raises:
            SafetyRefused: the key may not be used so, the clocks differ, the exchange takes no orders, or somebody else has
                orders on the account, which the dead-man switch would cancel.
            Unavailable: the exchange does not tell.
        """
        watch = self._watched()
        await check_key(self._gateway, NEEDED, "whoever started this session gave it")
        if watch.max_skew_ms is not None:
            await check_clock(self._clock, self._time_there, watch.max_skew_ms)
        await check_open(watch.market, self._pairs)
        working = (await self._gateway.read("OpenOrders", OpenOrders)).open
        if foreign := self._foreign(working):
            raise SafetyRefused(
                f"expected no order on the account but this session's, found {', '.join(foreign)}; the dead-man switch would "
                "cancel them too: close them, or give the session an account of its own"
            )
        if watch.opening is not None and watch.opening.read() is None:
            if self._intents:
                raise SafetyRefused(
                    f"expected what the account held before the session in {watch.opening.path.name}, found no such file "
                    "although orders were sent; look at the account, then begin anew with --fresh"
                )
            held = await self._gateway.read("BalanceEx", Holdings)
            amounts = {symbol: held[pair.base].balance for symbol, pair in self._pairs.items() if pair.base in held}
            watch.opening.write(OpeningBalances(held[self._quote].balance if self._quote in held else Decimal(0), amounts))

    async def news(self) -> VenueNews:
        """Return what happened at the account since the last look; look again where that is due, and tend the dead-man switch.

        A look is one cheap question while nothing moved. Trouble is told once it is there, and again at every look until the
        session has heard of it.
        """
        watch = self._watched()
        now_s, times = self._clock.elapsed_s(), watch.times
        if now_s - self._looked_s >= (times.working_s if self._moved or self._shown else times.idle_s):
            self._looked_s = now_s
            try:
                await self._look()
                self._answered_s = self._clock.elapsed_s()
            except Unavailable as error:
                self._trouble = self._trouble if self._trouble[0] else ("", str(error))
        if watch.dead_man is not None:
            await watch.dead_man.tend(self._health)
        events, self._told = self._history[self._told :], len(self._history)
        return VenueNews(tuple(events), *self._troubled())

    async def left_open(self, client_ids: Collection[str]) -> Sequence[str]:
        """Return the orders of these that still work, each with what came of calling it back; after a session there is none.

        Raises:
            Unavailable: Kraken does not tell.
        """
        wanted = {exchange_name(name): name for name in client_ids}
        told = []
        for txid, order in (await self._gateway.read("OpenOrders", OpenOrders)).open.items():
            if (name := wanted.get(order.cl_ord_id or "")) is not None:
                reply = await self.cancel(name)
                told.append(f"{txid} ({'cancelled' if isinstance(reply, Closed | Accepted) else reply.words})")
        return told

    async def release(self) -> None:
        """Let go of connections and of the key; the dead-man switch is disarmed where no order is left, and else runs out."""
        try:
            dead_man = None if self._watch is None else self._watch.dead_man
            if dead_man is not None and dead_man.armed_until is not None:
                try:
                    if not (await self._gateway.read("OpenOrders", OpenOrders)).open:
                        await dead_man.disarm()
                except Unavailable:
                    return
        finally:
            await self._gateway.close()
            if self._watch is not None:
                await self._watch.market.close()

    def close(self) -> None:
        """Do nothing: there are no files."""

    def opened(self, _bar: MarketBar) -> Sequence[Fill | Closed]:
        """Return nothing: Kraken's market needs no telling."""
        return ()

    def traded(self, _bar: MarketBar) -> Sequence[Fill | Closed]:
        """Return nothing: Kraken's market needs no telling."""
        return ()

    # ---- watching ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Look whether the account moved, and fetch what happened where it did.

        Raises:
            NoAnswer: Kraken does not answer.
        """
        working = (await self._gateway.read("OpenOrders", OpenOrders)).open
        shown = {txid: order.vol_exec for txid, order in working.items()}
        foreign = self._foreign(working)
        if foreign and not self._trouble[0]:
            words = (
                f"expected no order on the account but this session's, found {', '.join(foreign)}; somebody else trades on it"
            )
            self._trouble = (FOREIGN, words)
        if self._moved or shown != self._shown:
            await self.fills_after_all()
            # An order that was just sent, or whose answer was lost, may be shown late.
            quiet = all(self._now_ns() > self._due_of(name) for name in self._due if name not in self._ended_names())
            self._moved = not quiet
        self._shown = shown

    async def fills_after_all(self) -> None:
        """Bring the history up to the present, without telling it."""
        told = self._told
        await self.fills_after(None)
        self._told = told

    def _ended_names(self) -> set[str]:
        """Return our names of the orders that are known to have ended."""
        ours = (self._names.get(order.cl_ord_id or "") for order in self._orders.values() if not order.working)
        return {name for name in ours if name is not None}

    def _foreign(self, working: Orders) -> list[str]:
        """Return the orders that are none of ours, by Kraken's names."""
        return sorted(txid for txid, order in working.items() if (order.cl_ord_id or "") not in self._names)

    def _health(self) -> str:
        """Return why the dead-man switch must not be refreshed."""
        if blind := self._blindness():
            return blind
        return self._watched().health()

    def _blindness(self) -> str:
        silent_s = self._clock.elapsed_s() - self._answered_s
        if silent_s <= self._watched().times.blind_s:
            return ""
        return f"the exchange has not told what happens on the account for {silent_s:.0f} s ({self._trouble[1] or 'not asked'})"

    def _troubled(self) -> tuple[str, str]:
        """Return the code and the words of why nothing may be opened any more, for good."""
        if blind := self._blindness():
            return BLIND, blind
        dead_man = self._watched().dead_man
        if dead_man is not None and dead_man.watch().lapsed:
            return LAPSED, (
                "the dead-man switch may have cancelled every order, because it was not refreshed in time; look at the account"
            )
        return self._trouble if self._trouble[0] else ("", "")

    def _closed(self) -> tuple[str, str] | None:
        """Return why a position may not be opened now, as code and words."""
        if self._watch is None:
            return None
        code, words = self._troubled()
        if code:
            return code, words
        if self._watch.dead_man is not None and (why := self._watch.dead_man.trouble):
            return UNARMED, why
        return None

    def _watched(self) -> VenueWatch:
        if self._watch is None:
            raise InvariantBroken("a venue that runs a session has an account watch")
        return self._watch

    async def _time_there(self) -> int:
        return (await self._watched().market.time()).unixtime * NS

    # ---- asking --------------------------------------------------------------------------------------------------------

    async def _named(self, client_ids: Sequence[str], *, everywhere: bool = False) -> dict[str, OrderDocument]:
        """Return orders by our names: open ones first, so that one which ends meanwhile is found among the ended."""
        wanted = {exchange_name(name): name for name in client_ids}
        found: dict[str, OrderDocument] = {}

        def take(orders: Orders) -> None:
            for txid, order in orders.items():
                if (name := wanted.get(order.cl_ord_id or "")) is not None:
                    found[name], self._txids[name] = order, txid
                    self._keep(txid, order)

        if ids := [self._txids[name] for name in client_ids if name in self._txids]:
            take(await self._by_id(ids))
        if len(found) == len(wanted):
            return found
        take((await self._gateway.read("OpenOrders", OpenOrders)).open)
        for theirs, ours in wanted.items():
            if ours not in found:
                take((await self._gateway.read("ClosedOrders", ClosedOrders, [("cl_ord_id", theirs)])).closed)
        if everywhere and len(found) < len(wanted):
            await self._fetch_trades()
            take(await self._traded_orders())
        return found

    async def _by_id(self, txids: Sequence[str]) -> Orders:
        """Return orders by Kraken's ids, for a third of what a search costs; none where one of them is not shown."""
        found: Orders = {}
        for at in range(0, len(txids), PAGE):
            try:
                found |= await self._gateway.read("QueryOrders", Orders, [("txid", ",".join(txids[at : at + PAGE]))])
            except NoAnswer as error:
                if error.code != "invalid":
                    raise
        return found

    async def _fetch_trades(self, *, everything: bool = False) -> None:
        """Fetch what was traded since the last look, or since the session's beginning."""
        seen = 0 if everything else max((nanoseconds_of(trade.time) for trade in self._trades.values()), default=0)
        start = max(self._times.since_ns, seen - _AGAIN_NS)
        offset = 0
        while True:
            # Each fill by itself: put together, as Kraken does unless told otherwise, they would have other names.
            fields = [("start", _seconds(start)), ("ofs", str(offset)), ("consolidate_taker", "false")]
            page = (await self._gateway.read("TradesHistory", TradesHistory, fields)).trades
            self._trades |= page
            offset += PAGE
            if len(page) < PAGE:
                return

    async def _fetch_ended(self) -> None:
        """Fetch orders that ended since the last look."""
        seen = max((nanoseconds_of(order.closetm or Decimal(0)) for order in self._orders.values()), default=0)
        start = max(self._times.since_ns, seen - _AGAIN_NS)
        offset = 0
        while True:
            fields = [("start", _seconds(start)), ("closetime", "close"), ("ofs", str(offset))]
            page = (await self._gateway.read("ClosedOrders", ClosedOrders, fields)).closed
            self._orders |= page
            offset += PAGE
            if len(page) < PAGE:
                return

    async def _traded_orders(self) -> Orders:
        """Return the orders that fills name and that had not ended at the last look, as soon as Kraken shows them."""
        names = sorted({trade.ordertxid for trade in self._trades.values()} - self._orders.keys())
        end, found = self._now_ns() + int(self._times.lag_s * NS), dict[str, OrderDocument]()
        for at in range(0, len(names), PAGE):
            wanted = names[at : at + PAGE]
            while True:
                found |= await self._by_id(wanted)
                if found.keys() >= set(wanted):
                    break
                if self._now_ns() > end:
                    raise NoAnswer("hidden", f"expected Kraken to show the orders of all fills, found {len(found)} of them")
                await self._sleep(self._times.poll_s)
        for txid, order in found.items():
            self._keep(txid, order)
        return found

    def _keep(self, txid: str, order: OrderDocument) -> None:
        """Remember an order that changes no more."""
        if not order.working:
            self._orders[txid] = order

    # ---- small things --------------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return nanoseconds(self._clock.now())

    def _due_of(self, client_id: str) -> int:
        """Return until when an order may still show: one from before this process was sent before it began."""
        wait = int((self._times.deadline_s + self._times.lag_s) * NS)
        return self._due.get(client_id, self._begun_ns + wait)

    def _know(self, intent: Intent) -> None:
        self._intents[intent.client_id] = intent
        self._names[exchange_name(intent.client_id)] = intent.client_id

    def _forget(self, name: str) -> None:
        del self._intents[name], self._names[exchange_name(name)]
        self._due.pop(name, None)
        self._placed.pop(name, None)

    def _fill(self, trade_id: str, trade: TradeDocument, intent: Intent, remaining: Decimal) -> Fill:
        at_ns = nanoseconds_of(trade.time)
        return Fill(
            fill_id=trade_id,
            client_id=intent.client_id,
            leg=intent.leg,
            symbol=intent.symbol,
            reason=intent.reason,
            quantity=trade.quantity,
            price=trade.price,
            fee=trade.fee,
            bar_ns=at_ns // self._times.step_ns * self._times.step_ns,
            at_ns=at_ns,
            maker=trade.maker,
            remaining=remaining,
        )

    @staticmethod
    def _end_of(client_id: str, order: OrderDocument) -> Closed | None:
        """Return how an order ended unfilled; None where it was filled or works."""
        event = _ENDS.get(order.status)
        if event is None:
            return None
        return Closed(client_id, event, order.reason or "asked_for", nanoseconds_of(order.closetm or order.opentm))


def _cancelling(keys: Credentials, nonce: int, client_id: str) -> Request:
    return private_request(keys, "CancelOrder", nonce, [("cl_ord_id", exchange_name(client_id))])


def _pending(found: Answered) -> bool:
    try:
        return shaped(found.result, CancelledOrder, "CancelOrder").pending
    except Unreadable:
        return False


def _report(client_id: str, order: OrderDocument) -> OrderReport:
    working = OrderState.PARTLY_FILLED if order.vol_exec else OrderState.OPEN
    return OrderReport(client_id, _STATES.get(order.status, working), order.sign * order.vol_exec, order.reason or "")


def _seconds(at_ns: int) -> str:
    return f"{at_ns // NS}.{at_ns % NS:09d}"
