"""Everything off an exchange: cancel all orders, look until none is left, close every position, look again.

One round after the other: cancel all, look at the orders, look at the balances, close what can be closed. It is over once two
rounds in a row, the exchange's visibility lag apart, found nothing left; or when time is up, and then what is left is told.
Invariant: what is told comes from an answer of the exchange; an answer that did not come counts for nothing.
Invariant: an order of unknown outcome is asked about, and its pair rests, until it is found or can't come any more.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.order import Intent, OrderKind, Reason
from peak_trade.risk.gate import Account, Limits, Mode, Refused, judge
from peak_trade.venue.kraken.classes import Verdict
from peak_trade.venue.kraken.emergency import EmergencyLine
from peak_trade.venue.kraken.gateway import Failed
from peak_trade.venue.kraken.reading import AssetPair, Depth, Holding, OrderDocument, PairTicker
from peak_trade.venue.kraken.wire import exchange_name

NS = 1_000_000_000
ZERO = Decimal(0)
#: Seconds between rounds that found something, the longest once it lasts: Kraken counts questions.
PAUSES_S = (0.2, 0.5, 1.0, 1.0, 2.0, 3.0)
#: Seconds to wait after answers that ask for it, by code.
WAITS_S: Mapping[str, float] = {
    "rate_limit": 4.0,
    "too_many_calls": 10.0,
    "throttled": 5.0,
    "engine_limit": 3.0,
    "blocked": 15.0,
    "lockout": 30.0,
}
#: What no second try changes: the key is not known, or may not do it, or its nonce was taken too far.
HOPELESS: Mapping[str, str] = {
    "invalid_key": "Kraken does not know the safety key; check both variables, or make another key",
    "invalid_signature": "Kraken does not take the safety key's signature; copy its secret again, or make another key",
    "invalid_nonce": "another program took the safety key's nonces far ahead; delete that key at Kraken and make another one "
    "that nothing else uses",
    "permission_denied": "the safety key may not cancel orders; give it that right at Kraken",
    "disabled": "Kraken has switched this off for the safety key; log in there",
    "account": "Kraken asks something of the account's owner first; log in there",
}
#: Kraken's old names of assets, by ours.
_OTHER_NAMES: Mapping[str, str] = {"BTC": "XBT", "DOGE": "XDG"}
#: Seconds after which an order that closes is not matched any more.
ORDER_S = 3.0
#: Rounds whose orders could not be cancelled, after which positions are closed all the same.
ROUNDS_FIRST = 3
#: What a status of the exchange means for us, and what a person can do.
STATUS_WORDS: Mapping[str, str] = {
    "maintenance": "the exchange is in maintenance: neither placing nor cancelling works there, by hand neither; watch "
    "status.kraken.com, and repeat this command, or run it with --wait",
    "cancel_only": "the exchange is in cancel_only mode: orders can be cancelled, and closing waits until it is online",
    "post_only": "the exchange is in post_only mode: orders can be cancelled, and closing waits until it is online; a limit "
    "order that rests can be placed there by hand",
    "limit_only": "the exchange is in limit_only mode: orders can be cancelled, and closing waits until it is online; a limit "
    "order can be placed there by hand",
}

Tell = Callable[[float, str], None]


class StopAim(NamedTuple):
    """What is to be done there.

    Attributes:
        flatten: whether positions are closed, and not only orders cancelled.
        symbols: pairs whose base we may sell. limits: of the gate; only its collar concerns an order that closes.
        lag_s: how late the exchange may show something. deadline_s: when to give up, from the beginning.
    """

    flatten: bool
    symbols: tuple[str, ...]
    limits: Limits
    lag_s: float
    deadline_s: float


class Closing(NamedTuple):
    """An order that was sent to close a position: its name, pair, quantity (below zero) and what came of it."""

    name: str
    symbol: str
    quantity: Decimal
    outcome: str

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"name": self.name, "symbol": self.symbol, "quantity": f"{self.quantity:f}", "outcome": self.outcome}


class StopTools(NamedTuple):
    """What it works with: *tell* gets seconds since the command's start and a sentence; *name* makes a name of an order."""

    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    name: Callable[[], str]
    tell: Tell
    began_s: float


@dataclass(slots=True, kw_only=True)
class StopResult:
    """What came of it.

    Attributes:
        finished: whether nothing was left in two looks; cancelled: whether no order was.
        refused: whether positions had to be left, because no order may be sent to that address.
        cancelled_s, flat_s: when the last order was seen to be gone and the last position closed, seconds from the command's
            start; None where that was not seen.
        cancels: how many orders the exchange said that it cancelled; one that it did not may be counted twice.
        seen: working orders that were found, by Kraken's ids, in words.
        left_orders, left_positions: what was there at the last look; None where there was no answer to it.
        dust: what is too small to be sold. troubles: codes of what went wrong, and how often. status: of the exchange.
        why: why it was given up, empty where it was not or only time was up.
    """

    finished: bool = False
    cancelled: bool = False
    refused: bool = False
    cancelled_s: float | None = None
    flat_s: float | None = None
    cancels: int = 0
    seen: dict[str, str] = field(default_factory=dict)
    closings: list[Closing] = field(default_factory=list)
    left_orders: list[str] | None = None
    left_positions: dict[str, str] | None = None
    dust: dict[str, str] = field(default_factory=dict)
    troubles: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    status: str = ""
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object that a journal takes: seconds as text."""
        seconds = {name: _seconds(getattr(self, name)) for name in ("cancelled_s", "flat_s")}
        return {
            "finished": self.finished,
            "cancelled": self.cancelled,
            "refused": self.refused,
            **seconds,
            "cancels": self.cancels,
            "orders_seen": dict(self.seen),
            "closings": [one.to_json() for one in self.closings],
            "left_orders": self.left_orders,
            "left_positions": self.left_positions,
            "dust": dict(self.dust),
            "troubles": dict(self.troubles),
            "rounds": self.rounds,
            "status": self.status,
            "why": self.why,
        }


class ExchangeStop:
    """One try to get everything off an exchange."""

    def __init__(self, line: EmergencyLine, aim: StopAim, tools: StopTools) -> None:
        self._line, self._aim, self._tools = line, aim, tools
        self.result = StopResult()
        self._pairs: dict[str, AssetPair] = {}
        self._stale = True
        self._doubt: dict[str, tuple[str, int]] = {}
        self._told: set[str] = set()
        self._wait_s = 0.0
        self._dirty = 0
        self._measured = False

    async def run(self) -> StopResult:
        """Go round until nothing is left, or time is up."""
        result, clock = self.result, self._tools.clock
        end = clock.elapsed_s() + self._aim.deadline_s
        clean_at: float | None = None
        while True:
            self._wait_s = 0.0
            clean = await self._round()
            result.rounds += 1
            now = clock.elapsed_s()
            if result.why:
                break
            if not clean:
                clean_at = None
                pause = max(self._wait_s, PAUSES_S[min(self._dirty, len(PAUSES_S) - 1)])
                self._dirty += 1
            elif clean_at is None:
                clean_at, pause = now, self._aim.lag_s
            elif now - clean_at >= self._aim.lag_s:
                result.cancelled, result.finished = True, not result.refused
                break
            else:
                pause = clean_at + self._aim.lag_s - now
            questions = 2 + 2 * len(self._doubt) if self._aim.flatten else 1
            pause = max(pause, self._line.wait_s(questions))
            # What is left of the time is used; a second look at nothing may come after it.
            if not clean and (pause := min(pause, end - now)) <= 0:
                break
            await self._tools.sleep(pause)
        return result

    # ---- a round -------------------------------------------------------------------------------------------------------

    async def _round(self) -> bool:
        """Cancel, look and close; return whether nothing was left, as far as the exchange tells."""
        before = self.result.cancels
        gone = await self._cancelled()
        # Orders that there were to cancel are a finding, also where they are gone by now.
        clean = gone and self.result.cancels == before
        if self.result.why or not self._aim.flatten:
            return clean
        if not gone and (self.result.rounds < ROUNDS_FIRST or self.result.status == "maintenance"):
            return False
        return await self._closed() and clean

    async def _cancelled(self) -> bool:
        """Cancel everything; return whether no order works any more."""
        meant = await self._line.cancel_all()
        if isinstance(meant, Failed):
            await self._trouble("cancelling", meant)
            self.result.why = HOPELESS.get(meant.code, "")
            if self.result.why:
                self._say(self.result.why)
                return False
            if self.result.status == "maintenance" and self.result.rounds:
                # Nothing that is asked now would change anything; questions are saved for when it is over.
                return False
        elif self.result.status == "maintenance":
            self.result.status = ""
            self._say("the exchange takes cancels again")
        if not isinstance(meant, Failed) and meant:
            self.result.cancels, self.result.cancelled_s = self.result.cancels + meant, None
            self._say(f"{meant} orders were working; the exchange says that it cancels them")
        found = await self._line.open_orders()
        if isinstance(found, Failed):
            self.result.left_orders = None
            if found.code == "permission_denied" and not isinstance(meant, Failed):
                self._once("the safety key may not list orders: they count as gone once Kraken says that it had none to cancel")
                return self._orders_gone(() if not meant else None)
            await self._trouble("looking at the orders", found)
            return self._orders_gone(None)
        working = {name: order for name, order in found.items() if order.working}
        for name in working.keys() & set(self.result.left_orders or ()):
            # All at once did not reach it: once more, by its name.
            if isinstance(failed := await self._line.cancel_order(name), Failed):
                await self._trouble(f"cancelling {name}", failed)
        for name, order in working.items():
            if name not in self.result.seen:
                self.result.seen[name] = _order_words(order)
                self._say(f"an order works still: {self.result.seen[name]}")
        return self._orders_gone(working)

    def _orders_gone(self, working: Iterable[str] | None) -> bool:
        """Take note of which orders work; None where nobody knows."""
        self.result.left_orders = None if working is None else sorted(working)
        if self.result.left_orders != []:
            self.result.cancelled_s = None
            return False
        if self.result.cancelled_s is None:
            self.result.cancelled_s = self._elapsed()
            self._say("no order works any more")
        return True

    async def _closed(self) -> bool:
        """Close what can be closed; return whether no position is left."""
        held = await self._line.holdings()
        if isinstance(held, Failed):
            self.result.left_positions = None
            if held.code == "permission_denied":
                self.result.why = "the safety key may not see balances, so that positions can't be closed; give it that right"
                self._say(self.result.why)
            await self._trouble("looking at the balances", held)
            return False
        if not await self._listed():
            self.result.left_positions = None
            return False
        self.result.dust.clear()
        self.result.refused = False
        bases = self._bases()
        unlisted = [symbol for symbol in self._aim.symbols if symbol not in self._pairs]
        left = {asset: words for asset, words in _unlisted(unlisted, held).items() if asset not in bases}
        for base, pairs in bases.items():
            left |= await self._close_one(base, pairs, held.get(base, Holding(balance=ZERO)))
            left |= _elsewhere(base, pairs[0], held)
        self.result.left_positions = left
        if self._line.closes or not left:
            if left:
                self.result.flat_s = None
                return False
            if self.result.flat_s is None:
                self.result.flat_s = self._elapsed()
                self._say("no position is left" + (f" but dust: {_words(self.result.dust)}" if self.result.dust else ""))
            return True
        self.result.refused = True
        return True

    async def _listed(self) -> bool:
        """Have the pairs and the exchange's clock; return whether they are there."""
        if self._stale:
            found = await self._line.pairs()
            if isinstance(found, Failed):
                await self._trouble("asking for the pairs", found)
                return False
            # One that is gone meanwhile stays: what is held of it can't be sold, and is no less there.
            self._pairs, self._stale = self._pairs | found, False
        if not self._measured:
            failed = await self._line.measure_skew()
            if failed is not None:
                await self._trouble("asking for the time", failed)
                return False
            self._measured = True
        return True

    def _bases(self) -> dict[str, list[AssetPair]]:
        """Return the pairs by which each asset may be sold, in the order of the configuration; money is no position."""
        found: dict[str, list[AssetPair]] = {}
        for symbol in self._aim.symbols:
            pair = self._pairs.get(symbol)
            if pair is not None and not pair.base.startswith("Z"):
                found.setdefault(pair.base, []).append(pair)
        return found

    # ---- one position --------------------------------------------------------------------------------------------------

    async def _close_one(self, base: str, pairs: list[AssetPair], held: Holding) -> dict[str, str]:
        """Close what there is of an asset; return what is left of it, by asset, empty for nothing or dust."""
        if base in self._doubt and not await self._settled(base):
            return {base: f"{held.balance:f}; an order is on its way that nobody answered for"}
        if held.balance <= 0:
            return {}
        large = [pair for pair in pairs if held.balance.quantize(pair.lot_step, ROUND_FLOOR) >= pair.ordermin]
        if not large:
            self.result.dust[base] = f"{held.balance:f}"
            return {}
        left = {base: f"{held.balance:f}"}
        if not self._line.closes:
            return left
        open_now = [pair for pair in large if pair.status == "online"]
        if not open_now:
            self._once(f"{large[0].symbol} is {large[0].status}: {base} can't be sold there now")
            self._stale = True
            return left
        pair = open_now[0]
        ticker, depth = await self._line.ticker(pair), await self._line.depth(pair)
        for one in (ticker, depth):
            if isinstance(one, Failed):
                await self._trouble(f"asking for the price of {pair.symbol}", one)
        if isinstance(ticker, Failed) or isinstance(depth, Failed):
            return left
        if held.balance * ticker.c[0] < pair.costmin:
            self.result.dust[base] = f"{held.balance:f}"
            return {}
        await self._sell(pair, held.available, ticker, depth)
        return left

    async def _sell(self, pair: AssetPair, available: Decimal, ticker: PairTicker, depth: Depth) -> None:
        """Sell what the book takes within the collar, if the gate lets it pass."""
        last = ticker.c[0]
        wanted = available.quantize(pair.lot_step, ROUND_FLOOR)
        if wanted < pair.ordermin:
            self._once(f"{pair.symbol}: the exchange still holds back what cancelled orders were to sell")
            return
        if not depth.bids:
            self._once(f"{pair.symbol}: nobody buys at all, so that nothing can be sold")
            return
        quantity, reference = _within(pair, wanted, last, depth, self._aim.limits.price_collar_pct)
        if not quantity:
            self._once(f"{pair.symbol}: the book takes less than the smallest order")
            return
        now_ns = nanoseconds(self._tools.clock.now())
        intent = Intent(
            client_id=self._tools.name(),
            leg="safety",
            symbol=pair.symbol,
            kind=OrderKind.MARKET,
            quantity=-quantity,
            reason=Reason.TARGET,
            reference=reference,
            decided_ns=now_ns,
        )
        verdict = judge(intent, _account(pair.symbol, available, last, now_ns), self._aim.limits)
        if isinstance(verdict, Refused):
            words = "; ".join(reason.words for reason in verdict.reasons)
            self._once(f"{pair.symbol}: the gate refuses to sell ({words}); it goes further with --collar PCT", key=pair.symbol)
            self._count("price_collar")
            return
        due_ns = now_ns + int(ORDER_S * NS)
        # In doubt from before it is sent until there is an answer: so it is whatever happens in between.
        self._doubt[pair.base] = (exchange_name(intent.client_id), due_ns)
        found = await self._line.close_out(verdict, pair, due_ns)
        words = f"sale of {quantity:f} {pair.symbol}"
        if isinstance(found, Failed) and found.verdict is Verdict.UNKNOWN:
            outcome = f"unknown ({found.words})"
        else:
            del self._doubt[pair.base]
            outcome = f"refused ({found.words})" if isinstance(found, Failed) else "sent"
        self.result.closings.append(Closing(intent.client_id, pair.symbol, -quantity, outcome))
        self._say(f"{words}: {outcome}")
        if isinstance(found, Failed):
            await self._trouble(words, found)
            # Its steps and state may be others by now.
            self._stale = True

    async def _settled(self, base: str) -> bool:
        """Ask what became of an order of unknown outcome; return whether that is known."""
        name, due_ns = self._doubt[base]
        found = await self._line.ended_order(name)
        late = nanoseconds(self._tools.clock.now()) > due_ns + int(self._aim.lag_s * NS)
        if isinstance(found, Failed):
            # A key without that right waits until the order can't come any more; the balance then tells.
            denied = found.code == "permission_denied"
            if not denied:
                await self._trouble("asking for an order that nobody answered for", found)
            if not (late and denied):
                return False
        if found or late:
            del self._doubt[base]
            self._say(f"the order {name} " + ("is found" if found and not isinstance(found, Failed) else "never got there"))
            return True
        return False

    # ---- small things --------------------------------------------------------------------------------------------------

    async def _trouble(self, doing: str, failed: Failed) -> None:
        """Take note of what went wrong; ask the exchange how it is where that may be why."""
        self._count(failed.code)
        self._wait_s = max(self._wait_s, WAITS_S.get(failed.code, 0.0))
        self._once(f"{doing}: {failed.words}", key=f"{doing} {failed.code}")
        if failed.code not in HOPELESS and failed.code not in WAITS_S and failed.code != "not_sent":
            status = await self._line.status()
            if isinstance(status, str) and status != self.result.status:
                self.result.status = status
                self._say(STATUS_WORDS.get(status, f"the exchange says that it is {status}"))

    def _count(self, code: str) -> None:
        self.result.troubles[code] = self.result.troubles.get(code, 0) + 1

    def _elapsed(self) -> float:
        return self._tools.clock.elapsed_s() - self._tools.began_s

    def _say(self, words: str) -> None:
        self._tools.tell(self._elapsed(), words)

    def _once(self, words: str, key: str = "") -> None:
        """Tell something that may be so for many rounds."""
        if (key or words) not in self._told:
            self._told.add(key or words)
            self._say(words)


def with_collar(limits: Limits, per_cent: Decimal | None) -> Limits:
    """Return limits with a wider collar, where one is asked for."""
    return limits if per_cent is None else replace(limits, price_collar_pct=max(per_cent, limits.price_collar_pct))


def _within(pair: AssetPair, wanted: Decimal, last: Decimal, depth: Depth, collar: Decimal) -> tuple[Decimal, Decimal]:
    """Return how much of what is wanted the book takes within the collar, and the worst price of that.

    Where it takes less than an order needs, all that is wanted is returned with the first price beyond: the gate says no to
    that. Where nothing is beyond either, nothing is.
    """
    lowest, sold, worst = last * (1 - collar / 100), ZERO, depth.bids[0].price
    for level in depth.bids:
        if level.price < lowest or sold >= wanted:
            break
        sold, worst = sold + level.quantity, level.price
    quantity = min(sold, wanted).quantize(pair.lot_step, ROUND_FLOOR)
    if quantity < pair.ordermin or quantity * worst < pair.costmin:
        beyond = next((level.price for level in depth.bids if level.price < lowest), None)
        return (ZERO, worst) if beyond is None else (wanted, beyond)
    return quantity, worst


def _account(symbol: str, held: Decimal, price: Decimal, now_ns: int) -> Account:
    """Return what the gate looks at for an order that closes: everything else is stopped."""
    return Account(
        mode=Mode.KILLED,
        now_ns=now_ns,
        priced_ns=now_ns,
        price=price,
        prices={symbol: price},
        positions={symbol: held},
        pending={},
        equity=ZERO,
        day_start_equity=ZERO,
        recent=(),
        sent_today=0,
        clock_skew_ms=0.0,
        late_ns=0,
        exiting=frozenset(),
    )


def _elsewhere(base: str, pair: AssetPair, held: Mapping[str, Holding]) -> dict[str, str]:
    """Return what of an asset can't be sold because it is bound: Kraken calls it by a suffix, such as XBT.F."""
    names = {base, pair.wsname.partition("/")[0]}
    return {
        asset: f"{one.balance:f}; bound at Kraken, unbind it there by hand"
        for asset, one in held.items()
        if "." in asset and asset.partition(".")[0] in names and one.balance > pair.ordermin
    }


def _unlisted(symbols: Iterable[str], held: Mapping[str, Holding]) -> dict[str, str]:
    """Return what is held of pairs that the exchange does not list, or not in a form that can be read."""
    names = {symbol.partition("/")[0] for symbol in symbols}
    theirs = {one for name in names for base in (name, _OTHER_NAMES.get(name, name)) for one in (base, f"X{base}")}
    return {
        asset: f"{one.balance:f}; no pair is listed there in which it may be sold"
        for asset, one in held.items()
        if asset in theirs and one.balance > 0
    }


def _order_words(order: OrderDocument) -> str:
    return f"{order.descr.type} {order.vol - order.vol_exec:f} {order.descr.pair} {order.descr.ordertype} {order.descr.price}"


def _words(amounts: Mapping[str, str]) -> str:
    return ", ".join(f"{amount} {asset}" for asset, amount in amounts.items())


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
