"""Faults on command: which are set, when each strikes, and a log of every one that did. Pure; time is an argument.

A fault has a name of the catalogue, matches calls or messages, and lasts for a count, a duration, or until it is cleared; with
a rate it strikes at random, from its own seed. What it does stands in the catalogue. Nothing shows a client that one struck.
"""

import difflib
import random
import re
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, unique
from typing import Any, NamedTuple

from peak_trade.emulator.counters import NS
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.orders import PlacedOrder, Rejection
from peak_trade.emulator.pairs import Pair, pair_of
from peak_trade.emulator.parameters import Parameters
from peak_trade.emulator.signing import ApiKey
from peak_trade.model.errors import InputError

Json = dict[str, Any]
#: Lines of the log that are kept, faults that may be set at once, and times that may be planned.
LOG_MAX, FAULTS_MAX, PLANNED_MAX = 20_000, 200, 100_000
#: What some arguments may be, by name; the others are any value of their type.
LIMITS: Mapping[str, Container[Any]] = {
    "status": range(400, 600),
    "code": frozenset({1000, 1001, 1002, 1003, 1006, *range(1007, 1015), *range(3000, 5000)}),
    "rows": range(1, 701),
    "ahead": range(10**9 + 1),
    "body": ("html", "cut", "empty"),
    "cut": ("reset", "truncated"),
    "mode": ("checksum", "drop", "reorder", "repeat", "snapshot", "thin", "deep", "zeros"),
    "form": ("sparse", "merged"),
    "rest": ("stay", "cancel"),
    "side": ("buy", "sell"),
}
#: Arguments that are at least 0 unless a kind is signed.
POSITIVE = ("seconds", "jitter", "delay_s", "factor", "part", "after", "queue")
MATCHES = ("endpoint", "channel", "method", "pair", "key")
ADDRESSES = ("/v2", "/auth/v2")
#: Methods of WebSocket v2 that trade, with REST's names of the same.
TRADING_METHODS: Mapping[str, str] = {
    "add_order": "AddOrder",
    "amend_order": "AmendOrder",
    "edit_order": "EditOrder",
    "cancel_order": "CancelOrder",
    "cancel_all": "CancelAll",
    "cancel_all_orders_after": "CancelAllOrdersAfter",
    "batch_add": "AddOrderBatch",
    "batch_cancel": "CancelOrderBatch",
}
METHODS = ("subscribe", "unsubscribe", "ping", "pong", *TRADING_METHODS)
CHANNELS = ("ticker", "book", "trade", "ohlc", "instrument", "status", "heartbeat", "executions", "balances")
#: Calls about one or more pairs, or all; calls about orders that they name.
MARKET_CALLS = ("Ticker", "Depth", "OHLC", "Trades", "Spread", "AssetPairs")
ORDER_CALLS = ("CancelOrder", "CancelOrderBatch", "CancelAll", "AmendOrder", "EditOrder", "QueryOrders")
#: What can be matched as an endpoint.
ENDPOINTS = (
    *ADDRESSES,
    *("Time", "SystemStatus", "Assets", *MARKET_CALLS),
    *("Balance", "BalanceEx", "TradeBalance", "OpenOrders", "ClosedOrders", "QueryOrders", "TradesHistory", "QueryTrades"),
    *("OrderAmends", "OpenPositions", "Ledgers", "QueryLedgers", "TradeVolume", "DepositStatus", "WithdrawStatus"),
    *("DepositMethods", "DepositAddresses", "WithdrawMethods", "WithdrawAddresses", "GetApiKeyInfo", "GetWebSocketsToken"),
    *TRADING_METHODS.values(),
)
#: A slice of an order: its share of the volume, as maker or taker, and seconds from the slice before it.
_SLICE = re.compile(r"(0?\.\d{1,6}|1)([mt]?)(?:@(\d{1,6}(?:\.\d{1,3})?))?", re.ASCII)
SLICES_MAX = 50


@unique
class FaultPlace(Enum):
    """Where a fault strikes."""

    WAIT = "before a call is looked at"
    CALL = "around a call"
    MESSAGE = "on a message to a client"
    REQUEST = "on a subscription"
    CONNECT = "when a connection opens"
    SOCKET = "on an open connection"
    REPORT = "on what befell an order, before it is told"
    STATE = "on the exchange"


class Outcome(NamedTuple):
    """What a client gets for a call.

    Attributes:
        answer: the JSON; None where *body* stands instead of it. status: HTTP's.
        hold_s: seconds of the wall clock before anything is sent; cut: "", "reset" (TCP) or "truncated".
        struck: numbers of the faults that made it so.
    """

    answer: Json | None
    status: int = 200
    body: str = ""
    hold_s: float = 0.0
    cut: str = ""
    struck: tuple[int, ...] = ()

    @property
    def error(self) -> str:
        """The first error string of an answer, empty without any."""
        errors = self.answer["error"] if self.answer else []
        return errors[0] if errors else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTarget:
    """What a fault is looked up for.

    Attributes:
        endpoint: REST method, such as `AddOrder`, also of a trading method of WebSocket v2; of messages and connections the
            address, `/v2` or `/auth/v2`. method: as WebSocket v2 names it.
        pairs: what a call or message is about; empty is none that is named.
        key: who calls or reads; given: what the call says; message: what is to be sent; at: when.
        depth: levels that a book's reader asked for; queue: messages that wait for a reader.
    """

    endpoint: str = ""
    channel: str = ""
    method: str = ""
    pairs: tuple[Pair, ...] = ()
    key: ApiKey | None = None
    given: Parameters = field(default_factory=lambda: Parameters({}))
    message: Json = field(default_factory=dict)
    at: int = 0
    depth: int = 0
    queue: int = 0

    def matches(self, wanted: Mapping[str, str]) -> bool:
        """Tell whether everything wanted is so."""
        for name, value in wanted.items():
            if name == "pair":
                if pair_of(value) not in self.pairs:
                    return False
            elif name == "key":
                if self.key is None or value not in (self.key.name, self.key.id):
                    return False
            elif value != getattr(self, name):
                return False
        return True


class FaultKind(NamedTuple):
    """An entry of the catalogue.

    Attributes:
        act: what it does; its arguments depend on the place.
        args: what can be said about it, with the defaults; a value has its default's type.
        endpoints, channels: what it strikes where no match says otherwise; empty is everything.
        lasts_s: how long it stays where nothing is said, 0 until it is cleared; None: it strikes once.
        when: whether a target is of its kind at all, given the time too; more: what it does at other places.
        fixed: whether it makes sense only at its endpoints and channels.
        about: what the exchange's state can be changed for; stays: whether that holds until it ends.
        overtaken: whether later messages of a stream do not wait for the one that it lets wait.
        signed: whether its numbers may be below zero.
        check: refuses arguments that don't fit each other.
    """

    place: FaultPlace
    act: Callable[..., Any]
    summary: str
    args: Mapping[str, Any] = {}
    endpoints: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    lasts_s: float | None = None
    when: "Callable[[FaultTarget, FaultPlan, Fault, int], bool]" = lambda _target, _plan, _fault, _now: True
    more: Mapping[FaultPlace, Callable[..., Any]] = {}
    fixed: bool = True
    about: tuple[str, ...] = ()
    stays: bool = False
    overtaken: bool = False
    signed: bool = False
    check: "Callable[[FaultPlan, Fault], None]" = lambda _plan, _fault: None

    def at(self, place: FaultPlace) -> Callable[..., Any] | None:
        """Return what it does at a place."""
        return self.act if place is self.place else self.more.get(place)

    @property
    def matches(self) -> tuple[str, ...]:
        """What a match of it may name."""
        names = {name for place in (self.place, *self.more) for name in _MATCHES_AT[place]} | set(self.about)
        return tuple(name for name in MATCHES if name in names)


_CALLED, _TOLD = ("endpoint", "method", "pair", "key"), MATCHES
_MATCHES_AT: Mapping[FaultPlace, tuple[str, ...]] = {
    FaultPlace.WAIT: _CALLED,
    FaultPlace.CALL: _CALLED,
    FaultPlace.MESSAGE: _TOLD,
    FaultPlace.REQUEST: _TOLD,
    FaultPlace.REPORT: _TOLD,
    FaultPlace.CONNECT: ("endpoint",),
    FaultPlace.SOCKET: ("endpoint", "key"),
    FaultPlace.STATE: (),
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault that is set.

    Attributes:
        count: how often it still strikes, None without limit; rate: how likely, of each match, 0 to 1.
        until: nanoseconds UTC when it ends, 0 for never.
        memory: what it keeps between two strikes; undo: what sets right what it changed.
    """

    number: int
    name: str
    kind: FaultKind
    match: dict[str, str]
    args: dict[str, Any]
    count: int | None
    rate: float
    until: int
    chance: random.Random
    struck: int = 0
    memory: dict[Any, Any] = field(default_factory=dict)
    undo: Callable[[], None] | None = None
    ended: bool = False

    def over(self, now: int) -> bool:
        """Tell whether it strikes no more."""
        return self.ended or self.count == 0 or (self.until != 0 and now >= self.until)

    def fits(self, target: FaultTarget, place: FaultPlace) -> bool:
        """Tell whether it is meant for a target at a place."""
        kind, said = self.kind, self.match
        if place in (FaultPlace.MESSAGE, FaultPlace.REQUEST, FaultPlace.REPORT):
            if kind.channels and "channel" not in said and target.channel not in kind.channels:
                return False
        elif kind.endpoints and not said.keys() & {"endpoint", "method"} and target.endpoint not in kind.endpoints:
            return False
        return target.matches(self.match)

    def told(self, now: int) -> Json:
        """Return it as JSON."""
        return {
            "id": self.number,
            "name": self.name,
            "match": self.match,
            "args": self.args,
            "count": self.count,
            "rate": self.rate,
            "for_s": round((self.until - now) / NS, 3) if self.until else None,
            "struck": self.struck,
        }


class FaultPlan:
    """The faults that are set, those that come, and the log.

    Attributes:
        halted: pairs whose market stands still, by who halts them, all of them where none is named.
        shocks: jumps that its next step makes, pair and factor; bad: bad requests by key.
        keys: by their id, as far as they are known; telling: whether answers name the faults that struck them.
        ending: whether the server ends, so that nothing is held any more.
    """

    def __init__(self, catalogue: Mapping[str, FaultKind], engine: MatchingEngine, seed: int = 0) -> None:
        self._catalogue, self.engine, self._seed = catalogue, engine, seed
        self.faults: list[Fault] = []
        self.log: deque[Json] = deque(maxlen=LOG_MAX)
        self.halted: dict[int, str] = {}
        self.keys: Mapping[str, ApiKey] = {}
        self.telling = self.ending = False
        self.bad: dict[str, int] = {}
        self.shocks: list[tuple[str, float]] = []
        self._later: list[tuple[int, int, Callable[[int], None]]] = []
        self._planned: list[tuple[int, int, Json]] = []
        self._numbers = self._lines = self._freed_to = 0
        self._freed: set[int] = set()

    # ---- setting -------------------------------------------------------------------------------------------------------

    def add(self, told: Json, now: int) -> Fault:
        """Set a fault.

        Args:
            told: `name`, and of `match`, `count`, `rate`, `for_s`, `args`, `seed` what is wanted.
            now: nanoseconds UTC of the exchange's clock, as are all times here.

        Raises:
            InputError: it is no fault of the catalogue, or something said of it makes no sense.
        """
        fault = self.read(told, now)
        if len(self.faults) >= FAULTS_MAX:
            raise InputError(f"expected at most {FAULTS_MAX} faults, found as many set; clear some")
        if fault.kind.place is FaultPlace.STATE:
            fault.undo = fault.kind.act(fault, self, now)
        self.faults.append(fault)
        self.write("set", now, fault=fault.name, id=fault.number)
        if fault.kind.place is FaultPlace.STATE:
            self.note(fault, now, {})
        return fault

    def read(self, told: Json, now: int) -> Fault:
        """Return a fault without setting it.

        Raises:
            InputError: as for `add`.
        """
        if extra := sorted(set(told) - {"name", "match", "count", "rate", "for_s", "args", "seed"}):
            raise InputError(f"expected name, match, count, rate, for_s, args and seed, found {extra[0]!r}; leave it out")
        name = told.get("name")
        kind = self._catalogue.get(name) if isinstance(name, str) else None
        if kind is None or not isinstance(name, str):
            hint = _like(name, self._catalogue, "peak-trade emulator fault list --catalogue")
            raise InputError(f"expected a fault of the catalogue, found {name!r}; {hint}")
        count, rate, for_s = _checked(told)
        if kind.place is FaultPlace.STATE:
            _checked_state(name, kind, count, rate, for_s)
        if count is None and rate is None and for_s is None:
            count, for_s = (1, None) if kind.lasts_s is None else (None, kind.lasts_s or None)
        self._numbers += 1
        seed = told.get("seed", self._seed * 1_000_003 + self._numbers)
        fault = Fault(
            number=self._numbers,
            name=name,
            kind=kind,
            match=self._matched(name, kind, {} if told.get("match") is None else told["match"]),
            args=_argued(kind, {} if told.get("args") is None else told["args"]),
            count=count,
            rate=1.0 if rate is None else rate,
            until=0 if for_s is None else now + int(for_s * NS),
            chance=random.Random(str(seed)),  # noqa: S311 - chance, not a secret
        )
        fault.memory["bad"] = dict(self.bad)
        kind.check(self, fault)
        return fault

    def _matched(self, name: str, kind: FaultKind, match: Any) -> dict[str, str]:
        """Return a match that can be met."""
        if not isinstance(match, dict) or not all(isinstance(value, str) for value in match.values()):
            raise InputError(f"expected match to hold texts by name, found {match!r}; correct it")
        if extra := sorted(set(match) - set(kind.matches)):
            words = ", ".join(kind.matches) or "nothing"
            raise InputError(f"expected the match of {name} to hold {words}, found {extra[0]!r}; leave it out")
        if "pair" in match and getattr(pair_of(match["pair"]), "symbol", "") not in self.engine.listings:
            raise InputError(
                f"expected a pair that is listed, found {match['pair']!r}; {_like(match['pair'], self.engine.listings)}"
            )
        for field_, known in (("endpoint", ENDPOINTS), ("channel", CHANNELS), ("method", METHODS)):
            if field_ in match and match[field_] not in known:
                raise InputError(
                    f"expected {field_} to be one that is known, found {match[field_]!r}; {_like(match[field_], known)}"
                )
        if kind.fixed and (wrong := _misplaced(kind, match)):
            raise InputError(f"expected {name} at {', '.join(wrong[1])}, found {wrong[0]!r}; choose among them or leave it out")
        names = {key.name for key in self.keys.values()}
        if "key" in match and self.keys and match["key"] not in names | set(self.keys):
            raise InputError(f"expected a key's name, found {match['key']!r}; {_like(match['key'], names)}")
        return dict(match)

    def plan(self, lines: list[Json], now: int) -> int:
        """Set faults later: each line is a fault with `at_s`, seconds from now on; return how many.

        Raises:
            InputError: a line makes no sense; none is planned then.
        """
        found: list[tuple[int, int, Json]] = []
        for number, line in enumerate(lines, 1):
            at_s = line.get("at_s")
            if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not 0 <= at_s <= 10**8:
                raise InputError(f"expected at_s to be seconds from 0 on, found {at_s!r} in line {number}; correct it")
            rest = {name: value for name, value in line.items() if name != "at_s"}
            self.read(rest, now)
            found.append((now + int(at_s * NS), number, rest))
        if len(self._planned) + len(found) > PLANNED_MAX:
            raise InputError(f"expected at most {PLANNED_MAX} planned faults, found more; clear some")
        self._planned += found
        return len(found)

    def clear(self, now: int, number: int | None = None) -> int:
        """End a fault by its number, or all that are set or planned; return how many were set."""
        found = [fault for fault in self.faults if number in (None, fault.number)]
        for fault in found:
            self._end(fault, now)
        if number is None:
            self._planned, self._freed_to = [], self._numbers
            self._freed.clear()
        elif found:
            self._freed.add(number)
        return len(found)

    def frees(self, number: int) -> bool:
        """Tell whether what a fault holds back is to be let go now: it was cleared, or the server ends."""
        return self.ending or number <= self._freed_to or number in self._freed

    def still(self) -> set[str]:
        """Return the pairs whose market stands still."""
        return set(self.engine.listings) if "" in self.halted.values() else set(self.halted.values())

    # ---- striking ------------------------------------------------------------------------------------------------------

    def strikes(self, place: FaultPlace, target: FaultTarget, now: int, **about: Any) -> Iterator[Fault]:
        """Yield the faults that strike a target now, the one set first first; each is counted and logged as it is taken."""
        for fault in tuple(self.faults):
            if self._hits(fault, place, target, now):
                self.note(fault, now, _about(target) | about)
                yield fault

    def strikes_some(
        self, place: FaultPlace, targets: Mapping[int, FaultTarget], now: int
    ) -> Iterator[tuple[Fault, list[int]]]:
        """Yield the faults that strike some of the targets now, once for all of these, with their numbers."""
        for fault in tuple(self.faults):
            struck = [number for number, target in targets.items() if self._meant(fault, place, target, now)]
            if struck and self._drawn(fault):
                self.note(fault, now, _about(targets[struck[0]]) | {"connections": struck})
                yield fault, struck

    def lasting(self, name: str, target: FaultTarget, now: int) -> bool:
        """Tell whether a fault of a name, neither counted nor by chance, is in force for a target; it is not counted."""
        return any(
            fault.name == name
            and fault.count is None
            and fault.rate >= 1.0
            and not fault.over(now)
            and target.matches(fault.match)
            for fault in self.faults
        )

    def _meant(self, fault: Fault, place: FaultPlace, target: FaultTarget, now: int) -> bool:
        kind = fault.kind
        if kind.at(place) is None or fault.over(now) or not fault.fits(target, place):
            return False
        return kind.when(target, self, fault, now)

    @staticmethod
    def _drawn(fault: Fault) -> bool:
        return fault.rate >= 1.0 or fault.chance.random() < fault.rate

    def _hits(self, fault: Fault, place: FaultPlace, target: FaultTarget, now: int) -> bool:
        return self._meant(fault, place, target, now) and self._drawn(fault)

    def note(self, fault: Fault, now: int, about: Json) -> None:
        """Count and log that a fault strikes."""
        fault.struck += 1
        fault.count = None if fault.count is None else fault.count - 1
        self.write("fault", now, fault=fault.name, id=fault.number, **about)

    def around(self, target: FaultTarget, now: int, apply: Callable[[], Outcome]) -> Outcome:
        """Return what a call comes to with the faults that strike it; the one set first is the outermost.

        A fault that an outer one keeps from the call does not strike.
        """
        striking, struck = self.strikes(FaultPlace.CALL, target, now), list[int]()

        def done() -> Outcome:
            fault = next(striking, None)
            if fault is None:
                return apply()
            struck.append(fault.number)
            act = fault.kind.at(FaultPlace.CALL)
            found: Outcome = act(fault, self, target, now, done) if act else done()
            return found

        found = done()
        return found._replace(struck=(*found.struck, *struck)) if struck else found

    def target(self, endpoint: str, key: ApiKey | None, given: Parameters, method: str = "") -> FaultTarget:
        """Return what faults of a call are looked up for: with the pair it names, that of the orders it names, or all."""
        names = _listed(given.values.get("pair") or given.values.get("symbol"))
        pairs = {pair for name in names if (pair := pair_of(name)) is not None}
        if not names and endpoint in MARKET_CALLS:
            pairs = {listing.pair for listing in self.engine.listings.values()}
        elif not names and key is not None and endpoint in ORDER_CALLS:
            pairs = {order.wish.pair for order in self.mentioned(endpoint, key, given)}
        return FaultTarget(endpoint=endpoint, method=method, pairs=tuple(pairs), key=key, given=given)

    def mentioned(self, endpoint: str, key: ApiKey, given: Parameters) -> list[PlacedOrder]:
        """Return the working orders of a key's account that a call names."""
        mine = list(self.engine.working[key.account].values())
        if endpoint == "CancelAll":
            return mine
        if endpoint == "CancelOrderBatch":
            names, clients = _listed(given.values.get("orders")), _listed(given.values.get("cl_ord_ids"))
        else:
            try:
                names, clients = [given.text("txid")], [given.text("cl_ord_id")]
            except Rejection:
                return []
        names, clients = [name for name in names if name], [name for name in clients if name]
        return [
            order
            for order in mine
            if order.id in names or str(order.wish.userref or "-") in names or order.wish.cl_ord_id in clients
        ]

    def let_time_pass(self, now: int) -> None:
        """Do what was put off until now, and end faults that are over."""
        if self._planned:
            due = sorted((one for one in self._planned if one[0] <= now), key=lambda one: one[:2])
            self._planned = [one for one in self._planned if one[0] > now]
            for _, _, told in due:
                try:
                    self.add(told, now)
                except InputError as error:
                    self.write("refused", now, fault=told["name"], error=str(error))
        if self._later:
            acts = sorted((one for one in self._later if one[0] <= now), key=lambda one: one[:2])
            self._later = [one for one in self._later if one[0] > now]
            for _, _, act in acts:
                act(now)
        for fault in [one for one in self.faults if one.over(now)]:
            self._end(fault, now)

    def later(self, at: int, act: Callable[[int], None]) -> None:
        """Put something off until a moment; it is given the time when it is done."""
        self._lines += 1
        self._later.append((at, self._lines, act))

    def heard(self, target: FaultTarget, now: int, found: Outcome) -> None:
        """Log a call and what came of it; `placed` is when an order was taken, whatever its client was told."""
        about: Json = _about(target)
        if found.answer is None or found.status != 200 or found.cut:
            about |= {"status": found.status, "cut": found.cut}
        if found.error:
            about["error"] = found.error
        if target.key is not None and found.error in ("EAPI:Invalid signature", "EAPI:Invalid nonce"):
            self.bad[target.key.id] = self.bad.get(target.key.id, 0) + 1
        self.write("call", now, **about)

    def placed(self, order: PlacedOrder, now: int) -> None:
        """Log that an order was taken."""
        self.write("order accepted", now, order=order.id, cl_ord_id=order.wish.cl_ord_id, account=order.account)

    def write(self, what: str, now: int, **about: Any) -> None:
        """Add a line to the log."""
        self._lines += 1
        self.log.append({"number": self._lines, "at": now, "what": what, **about})

    def _end(self, fault: Fault, now: int) -> None:
        self.faults.remove(fault)
        fault.ended = True
        if fault.undo is not None:
            fault.undo()
        self.write("ended", now, fault=fault.name, id=fault.number, struck=fault.struck)


def _about(target: FaultTarget) -> Json:
    told = {"endpoint": target.endpoint, "channel": target.channel, "method": target.method}
    pairs = target.pairs[0].symbol if len(target.pairs) == 1 else ""
    told |= {"pair": pairs, "key": target.key.name if target.key else ""}
    return {name: value for name, value in told.items() if value}


def _number(told: Json, name: str, low: float, high: float) -> float | None:
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"expected {name} to be a number from {low:g} to {high:g}, found {value!r}; correct it")
    return float(value)


def _checked(told: Json) -> tuple[int | None, float | None, float | None]:
    count, rate, for_s = _number(told, "count", 1, 10**9), _number(told, "rate", 0, 1), _number(told, "for_s", 0, 10**8)
    if count is not None and count != int(count):
        raise InputError(f"expected count to be a whole number, found {count}; correct it")
    seed = told.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"expected seed to be a whole number, found {seed!r}; correct it")
    return (None if count is None else int(count)), rate, for_s


def _checked_state(name: str, kind: FaultKind, count: int | None, rate: float | None, for_s: float | None) -> None:
    """Refuse what a change of the exchange's state can't be: it either stays or is done once."""
    if rate is not None or (kind.stays and count is not None):
        raise InputError(
            f"expected {name} without a count or rate, found one; it stays for for_s seconds or until it is cleared"
        )
    if not kind.stays and (for_s is not None or count not in (None, 1)):
        raise InputError(f"expected {name} without for_s and with a count of 1, found another; it is done once")


def _misplaced(kind: FaultKind, match: Mapping[str, str]) -> tuple[str, tuple[str, ...]] | None:
    """Return what of a match is none of a kind's own places, and which these are."""
    streamed = {FaultPlace.MESSAGE, FaultPlace.REQUEST} & {kind.place, *kind.more}
    places = kind.endpoints + (ADDRESSES if streamed else ())
    if kind.endpoints and "endpoint" in match and match["endpoint"] not in places:
        return match["endpoint"], places
    if kind.channels and "channel" in match and match["channel"] not in kind.channels:
        return match["channel"], kind.channels
    methods = tuple(name for name in METHODS if TRADING_METHODS.get(name) in kind.endpoints)
    if methods and "method" in match and match["method"] not in methods:
        return match["method"], methods
    return None


def _like(found: object, known: Iterable[str], elsewhere: str = "") -> str:
    """Return what to do about a name that is none: what it was perhaps meant to be."""
    close = difflib.get_close_matches(str(found)[:60], list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else elsewhere or f"choose one of {', '.join(known)}"


def _listed(value: Any) -> list[str]:
    """Return the names that a parameter holds: a comma list, or a list."""
    if isinstance(value, str):
        return [part.strip(' []"') for part in value.split(",") if part.strip(' []"')]
    return [str(one) for one in value] if isinstance(value, list) else []


def _argued(kind: FaultKind, args: Any) -> dict[str, Any]:
    """Return arguments of a kind, each of the type of its default; texts, as a command line has them, are read."""
    if not isinstance(args, dict) or (extra := sorted(set(args) - set(kind.args))):
        names = ", ".join(kind.args) or "none"
        hint = _like(extra[0], kind.args, "leave it out") if isinstance(args, dict) and kind.args else "leave them out"
        raise InputError(f"expected args among {names}, found {str(extra[0] if isinstance(args, dict) else args)!r}; {hint}")
    found = {name: _as(name, args.get(name, default), default) for name, default in kind.args.items()}
    for name, value in found.items():
        # A pair's status is a word, and no status of HTTP's: without a default any text will do.
        if kind.args[name] != "" and name in LIMITS and value not in LIMITS[name]:
            raise InputError(
                f"expected {name} to be like {kind.args[name]!r}, found {value!r}; give one that Kraken could send"
            )
        if name in POSITIVE and value < 0 and not kind.signed:
            raise InputError(f"expected {name} to be at least 0, found {value}; correct it")
    if found.get("part", 0) > 1:
        raise InputError(f"expected part to be a share from 0 to 1, found {found['part']}; correct it")
    if "parts" in found:
        slices_of(found["parts"])
    return found


def slices_of(text: str) -> list[tuple[Decimal, bool, float | None]]:
    """Return an order's slices: share of its volume, whether as taker, and seconds from the one before, None if not said.

    Raises:
        InputError: it says something else.
    """
    found = [_SLICE.fullmatch(one.strip()) for one in text.split(",")]
    slices = [(Decimal(one[1]), one[2] == "t", float(one[3]) if one[3] else None) for one in found if one]
    if len(slices) < len(found) or len(slices) > SLICES_MAX or sum(one[0] for one in slices) > 1:
        raise InputError(
            f"expected parts such as 0.3,0.2t@5, found {text[:60]!r}; give at most {SLICES_MAX}, together at most 1"
        )
    return slices


def _as(name: str, value: Any, default: Any) -> Any:
    wrong = InputError(f"expected {name} to be like {default!r}, found {value!r}; correct it")
    if isinstance(default, bool):
        words = {"true": True, "1": True, "false": False, "0": False}
        found = value if isinstance(value, bool) else words.get(str(value).lower())
        if found is None:
            raise wrong
        return found
    if isinstance(default, str):
        if not isinstance(value, str):
            raise wrong
        return value
    try:
        number = type(default)(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong from error
    if isinstance(value, bool) or number != number or abs(number) > 10**9:  # noqa: PLR0124 - not a number
        raise wrong
    return number
