"""Faults on command: which are set, when each strikes, and a log of every one that did. Pure; time is an argument.

A fault has a name of the catalogue, matches calls or messages, and lasts for a count, a duration, or until it is cleared; with
a rate it strikes at random, from its own seed. What it does stands in the catalogue. Nothing shows a client that one struck.
"""

import random
import re
from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any, NamedTuple

from peak_trade.emulator.counters import NS
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.orders import PlacedOrder
from peak_trade.emulator.pairs import Pair, pair_of
from peak_trade.emulator.parameters import Parameters
from peak_trade.emulator.signing import ApiKey
from peak_trade.model.errors import InputError

Json = dict[str, Any]
#: Lines of the log that are kept, faults that may be set at once, and times that may be planned.
LOG_MAX, FAULTS_MAX, PLANNED_MAX = 20_000, 1_000, 100_000
#: What some arguments may be, by name; the others are any value of their type.
LIMITS: Mapping[str, Container[Any]] = {
    "status": range(400, 600),
    "code": frozenset({1000, 1001, 1002, 1003, 1006, *range(1007, 1015), *range(3000, 5000)}),
    "rows": range(1, 701),
    "ahead": range(10**9 + 1),
    "body": ("html", "cut", "empty"),
    "cut": ("reset", "truncated"),
    "mode": ("checksum", "drop", "reorder", "repeat", "thin", "zeros"),
    "rest": ("stay", "cancel"),
    "side": ("buy", "sell"),
}
MATCHES = ("endpoint", "channel", "method", "pair", "key")


@unique
class FaultPlace(Enum):
    """Where a fault strikes."""

    WAIT = "before a call is looked at"
    CALL = "around a call"
    MESSAGE = "on a message to a client"
    REQUEST = "on a subscription"
    CONNECT = "when a connection opens"
    SOCKET = "on an open connection"
    STATE = "on the exchange"


class Outcome(NamedTuple):
    """What a client gets for a call.

    Attributes:
        answer: the JSON; None where *body* stands instead of it. status: HTTP's.
        hold_s: seconds of the wall clock before anything is sent; cut: "", "reset" (TCP) or "truncated".
    """

    answer: Json | None
    status: int = 200
    body: str = ""
    hold_s: float = 0.0
    cut: str = ""

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
        key: who calls; given: what the call says.
    """

    endpoint: str = ""
    channel: str = ""
    method: str = ""
    pair: Pair | None = None
    key: ApiKey | None = None
    given: Parameters = field(default_factory=lambda: Parameters({}))

    def matches(self, wanted: Mapping[str, str]) -> bool:
        """Tell whether everything wanted is so."""
        for name, value in wanted.items():
            if name == "pair":
                if self.pair is None or self.pair is not pair_of(value):
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
        when: whether a target is of its kind at all; more: what it does at other places.
    """

    place: FaultPlace
    act: Callable[..., Any]
    summary: str
    args: Mapping[str, Any] = {}
    endpoints: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    lasts_s: float | None = None
    when: "Callable[[FaultTarget, FaultPlan, Fault], bool]" = lambda _target, _plan, _fault: True
    more: Mapping[FaultPlace, Callable[..., Any]] = {}

    def at(self, place: FaultPlace) -> Callable[..., Any] | None:
        """Return what it does at a place."""
        return self.act if place is self.place else self.more.get(place)


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

    def over(self, now: int) -> bool:
        """Tell whether it strikes no more."""
        return self.count == 0 or (self.until != 0 and now >= self.until)

    def fits(self, target: FaultTarget, place: FaultPlace) -> bool:
        """Tell whether it is meant for a target at a place."""
        kind, said = self.kind, self.match
        if place in (FaultPlace.MESSAGE, FaultPlace.REQUEST):
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
        halted: who halts the market; shocks: jumps that its next step makes, pair and factor; bad: bad requests by key.
    """

    def __init__(self, catalogue: Mapping[str, FaultKind], engine: MatchingEngine, seed: int = 0) -> None:
        self._catalogue, self.engine, self._seed = catalogue, engine, seed
        self.faults: list[Fault] = []
        self.log: deque[Json] = deque(maxlen=LOG_MAX)
        self.halted: set[str] = set()
        self.bad: dict[str, int] = {}
        self.shocks: list[tuple[str, float]] = []
        self._later: list[tuple[int, int, Callable[[int], None]]] = []
        self._planned: list[tuple[int, int, Json]] = []
        self._numbers = self._lines = 0

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
            raise InputError(f"expected a fault of the catalogue, found {name!r}; choose one of {', '.join(self._catalogue)}")
        count, rate, for_s = _checked(told)
        if count is None and rate is None and for_s is None:
            count, for_s = (1, None) if kind.lasts_s is None else (None, kind.lasts_s or None)
        self._numbers += 1
        seed = told.get("seed", self._seed * 1_000_003 + self._numbers)
        return Fault(
            number=self._numbers,
            name=name,
            kind=kind,
            match=_matched({} if told.get("match") is None else told["match"]),
            args=_argued(kind, {} if told.get("args") is None else told["args"]),
            count=count,
            rate=1.0 if rate is None else rate,
            until=0 if for_s is None else now + int(for_s * NS),
            chance=random.Random(str(seed)),  # noqa: S311 - chance, not a secret
        )

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
            self._planned = []
        return len(found)

    # ---- striking ------------------------------------------------------------------------------------------------------

    def strikes(self, place: FaultPlace, target: FaultTarget, now: int, **about: Any) -> list[Fault]:
        """Return the faults that strike a target now; each is counted and logged."""
        found: list[Fault] = []
        for fault in self.faults if self.faults else ():
            kind = fault.kind
            if kind.at(place) is None or fault.over(now) or not fault.fits(target, place) or not kind.when(target, self, fault):
                continue
            if fault.rate >= 1.0 or fault.chance.random() < fault.rate:
                self.note(fault, now, _about(target) | about)
                found.append(fault)
        return found

    def note(self, fault: Fault, now: int, about: Json) -> None:
        """Count and log that a fault strikes."""
        fault.struck += 1
        fault.count = None if fault.count is None else fault.count - 1
        self.write("fault", now, fault=fault.name, id=fault.number, **about)

    def around(self, target: FaultTarget, now: int, apply: Callable[[], Outcome]) -> Outcome:
        """Return what a call comes to with the faults that strike it; the one set first is the outermost."""
        done = apply
        for fault in reversed(self.strikes(FaultPlace.CALL, target, now)):
            done = _wrapped(fault, self, target, now, done)
        return done()

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
            if fault.undo is None or fault.until:
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
        if fault.undo is not None:
            fault.undo()
        self.write("ended", now, fault=fault.name, id=fault.number, struck=fault.struck)


def _wrapped(
    fault: Fault, plan: FaultPlan, target: FaultTarget, now: int, inner: Callable[[], Outcome]
) -> Callable[[], Outcome]:
    def done() -> Outcome:
        found: Outcome = fault.kind.act(fault, plan, target, now, inner)
        return found

    return done


def pair_named(given: Parameters) -> Pair | None:
    """Return the one pair that a call names, None without one."""
    found = given.values.get("pair") or given.values.get("symbol")
    return pair_of(found) if isinstance(found, str) else None


def _about(target: FaultTarget) -> Json:
    told = {"endpoint": target.endpoint, "channel": target.channel, "method": target.method}
    told |= {"pair": target.pair.symbol if target.pair else "", "key": target.key.name if target.key else ""}
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


def _matched(match: Any) -> dict[str, str]:
    if not isinstance(match, dict) or not all(isinstance(value, str) for value in match.values()):
        raise InputError(f"expected match to hold texts by name, found {match!r}; correct it")
    if extra := sorted(set(match) - set(MATCHES)):
        raise InputError(f"expected match to hold {', '.join(MATCHES)}, found {extra[0]!r}; leave it out")
    if "pair" in match and pair_of(match["pair"]) is None:
        raise InputError(f"expected a pair that is listed, found {match['pair']!r}; choose one of Kraken's names of it")
    return dict(match)


def _argued(kind: FaultKind, args: Any) -> dict[str, Any]:
    """Return arguments of a kind, each of the type of its default; texts, as a command line has them, are read."""
    if not isinstance(args, dict) or (extra := sorted(set(args) - set(kind.args))):
        names = ", ".join(kind.args) or "none"
        raise InputError(f"expected args among {names}, found {extra[0] if isinstance(args, dict) else args!r}; correct them")
    found = {name: _as(name, args.get(name, default), default) for name, default in kind.args.items()}
    for name, value in found.items():
        # A pair's status is a word, and no status of HTTP's: without a default any text will do.
        if kind.args[name] != "" and name in LIMITS and value not in LIMITS[name]:
            raise InputError(
                f"expected {name} to be like {kind.args[name]!r}, found {value!r}; give one that Kraken could send"
            )
    if "parts" in found and not re.fullmatch(r"(0?\.\d{1,6}|1)(,(0?\.\d{1,6}|1)){0,49}", found["parts"]):
        raise InputError(f"expected parts such as 0.3,0.3, found {found['parts']!r}; give at most 50 shares of the volume")
    return found


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
