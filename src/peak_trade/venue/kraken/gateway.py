"""Everything that is said to Kraken with one API key, one call after the other.

Invariants: what leaves passed the door, on its final bytes; an order, a cancel or an amendment is sent once and never again;
a question is repeated a few times at most; during a lockout, and after Kraken has refused the key, nothing is sent at all.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from peak_trade.model import errors
from peak_trade.model.clock import Clock
from peak_trade.model.errors import SafetyRefused, require
from peak_trade.venue.kraken import classes
from peak_trade.venue.kraken.budget import TIER_LIMITS, Budget, EngineBudgets, TierLimits, rest_cost
from peak_trade.venue.kraken.classes import ABOUT_ORDERS, ErrorClass, Trouble, Verdict
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.reading import Unreadable, envelope, shaped
from peak_trade.venue.kraken.transport import HttpLine, HttpReply, Timeouts
from peak_trade.venue.kraken.wire import (
    ADD_ORDER,
    PRIVATE,
    Credentials,
    Fields,
    LiveOrderRequest,
    Request,
    ValidationRequest,
    live_bytes,
    private_request,
    validated_bytes,
)

if TYPE_CHECKING:
    import httpx2

Shape = TypeVar("Shape")
Sleep = Callable[[float], Awaitable[None]]
KRAKEN: Final = "https://api.kraken.com"
#: Seconds without a call: after a lockout, and after a captcha or a proxy's refusal.
LOCKOUT_S, BLOCKED_S = 900.0, 60.0
#: How often a question is asked at most, and the first pause between two times, seconds.
TRIES, PAUSE_S = 4, 0.5
#: What may be asked without placing or changing anything.
QUESTIONS = frozenset(
    (
        *("Balance", "BalanceEx", "TradeBalance", "OpenOrders", "ClosedOrders", "QueryOrders", "TradesHistory", "QueryTrades"),
        *("Ledgers", "QueryLedgers", "TradeVolume", "GetApiKeyInfo", "GetWebSocketsToken"),
    )
)
#: What takes orders back; after a permission was denied these are still tried.
RETREATS = frozenset(("CancelOrder", "CancelAll", "CancelOrderBatch", "CancelAllOrdersAfter"))
#: After these Kraken does not know the key, or not as ours: nothing more is sent.
_FATAL = frozenset(("invalid_key", "invalid_signature"))


class ObservedCall(NamedTuple):
    """A call that was made: how long it took, what became of it (`ok`, or a verdict's name), and our code of its error."""

    endpoint: str
    duration_s: float
    outcome: str
    code: str

    @property
    def failed(self) -> bool:
        """Whether the exchange did not do its work; a refusal of an order with its reason is an answer."""
        return self.outcome != "ok" and self.code not in ABOUT_ORDERS


Observe = Callable[[ObservedCall], None]


class Answered(NamedTuple):
    """Kraken's result; *body* is all of the answer."""

    result: msgspec.Raw
    body: bytes = b""


class Failed(NamedTuple):
    """Something else than a result; *sent* tells whether anything left this machine, *body* what came back."""

    code: str
    verdict: Verdict
    words: str
    again: bool = False
    sent: bool = True
    body: bytes = b""


class NoAnswer(errors.Unavailable):
    """A question has no answer; *code* says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def nobody(_call: ObservedCall) -> None:
    """Observe nothing."""


def looking_door(request: Request) -> bytes:
    """Let a request through that can't place an order; return the bytes to send.

    Raises:
        SafetyRefused: it is no question, no cancel of one order, and no order that is only to be looked at.
    """
    if request.path == ADD_ORDER and type(request) is ValidationRequest:
        return validated_bytes(request)
    if type(request) is Request and request.path in {PRIVATE + name for name in QUESTIONS | {"CancelOrder"}}:
        return request.body
    raise SafetyRefused(f"expected a question or an order with validate=true, found {request.path}; it was not sent")


def trading_door(request: Request) -> bytes:
    """Let a request through to the emulator; return the bytes to send.

    Raises:
        SafetyRefused: it is an order that does not say clearly what it is.
    """
    if request.path == ADD_ORDER:
        return live_bytes(request) if type(request) is LiveOrderRequest else validated_bytes(request)
    if type(request) is Request and request.path in {PRIVATE + name for name in QUESTIONS | RETREATS}:
        return request.body
    raise SafetyRefused(f"expected a question, a cancel or an order, found {request.path}; it was not sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """What a gateway works with.

    Attributes:
        observe: told of every call; chance: for the length of pauses.
        limits: of the key's tier; reserve: what orders leave of the engine's counter for cancels.
        transport: instead of the network, for tests.
    """

    clock: Clock
    chance: random.Random
    sleep: Sleep = asyncio.sleep
    observe: Observe = nobody
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: TierLimits = TIER_LIMITS["starter"]
    reserve: float = 16.0
    transport: "httpx2.AsyncBaseTransport | None" = None


class Gateway:
    """The calls of one key.

    Without a proof it only looks: orders pass with validate=true and not otherwise.
    """

    def __init__(
        self,
        keys: Credentials,
        nonces: NonceStore,
        parts: GatewayParts,
        base_url: str = KRAKEN,
        proof: EmulatorProof | None = None,
    ) -> None:
        """Make ready; nothing is sent yet.

        Raises:
            SafetyRefused: the proof is for another address.
        """
        if proof is not None and (type(proof) is not EmulatorProof or proof.base_url != base_url):
            raise SafetyRefused(f"expected a proof for {base_url}, found one for something else; nothing was sent")
        self._keys, self._nonces, self._parts = keys, nonces, parts
        self._line = HttpLine(base_url, parts.timeouts, parts.transport)
        self.trades = proof is not None
        self._door = trading_door if self.trades else looking_door
        self._calls = Budget(parts.limits.rest_most, parts.limits.rest_decay)
        self._engine = EngineBudgets(parts.limits, parts.reserve)
        self._lock = asyncio.Lock()
        self._quiet_until = 0.0
        self._quiet_why = self._dead = ""
        self._denied: set[str] = set()
        self._leapt = False
        self._acting = 0

    @property
    def stopped(self) -> str:
        """Why nothing is sent any more; empty while something is."""
        return self._dead

    async def read(self, endpoint: str, shape: type[Shape], fields: Fields = ()) -> Shape:
        """Ask something that changes nothing; a few times where that makes sense.

        Raises:
            NoAnswer: there is none.
        """
        require(endpoint in QUESTIONS, f"{endpoint} is a question")
        failed = Failed("", Verdict.SAFE, "")
        for attempt in range(TRIES):
            if attempt:
                await self._parts.sleep(PAUSE_S * 2 ** (attempt - 1) * self._parts.chance.uniform(0.5, 1.5))
            answer = await self._asked(endpoint, fields)
            if isinstance(answer, Answered):
                try:
                    return shaped(answer.result, shape, endpoint)
                except Unreadable as error:
                    answer = Failed("unreadable", Verdict.UNKNOWN, str(error), again=True)
            failed = answer
            if not failed.again or self._dead:
                break
        raise NoAnswer(failed.code, f"expected an answer of Kraken's to {endpoint}, found: {failed.words}")

    async def act(
        self, build: Callable[[Credentials, int], Request], pair: str, cost: float, *, urgent: bool = False
    ) -> Answered | Failed:
        """Send an order or a cancel, once, and before all questions that wait.

        Args:
            build: makes the request of key and nonce.
            pair: whose counter of the engine it counts with, and *cost* there; *urgent* may use up the reserve.
        """
        self._acting += 1
        try:
            async with self._lock:
                return await self._acted(build, self._engine.of(pair), cost, urgent=urgent)
        finally:
            self._acting -= 1

    def wait_s(self, pair: str, cost: float, *, urgent: bool = False) -> float:
        """Return in how many seconds the engine's counter has room, 0 for now."""
        return self._engine.of(pair).wait_s(cost, self._parts.clock.elapsed_s(), urgent=urgent)

    async def close(self) -> None:
        """Close the connections and let another process have the key."""
        await self._line.close()
        self._nonces.close()

    # ---- one call ------------------------------------------------------------------------------------------------------

    async def _acted(
        self, build: Callable[[Credentials, int], Request], budget: Budget, cost: float, *, urgent: bool
    ) -> Answered | Failed:
        now = self._parts.clock.elapsed_s()
        if not budget.may(cost, now, urgent=urgent):
            wait = budget.wait_s(cost, now, urgent=urgent)
            return Failed("engine_limit", Verdict.SAFE, f"kept back for {wait:.1f} s, for Kraken's limit", sent=False)
        budget.charge(cost, now)
        try:
            found = await self._once(build)
        finally:
            budget.settle(self._parts.clock.elapsed_s())
        if isinstance(found, Failed) and found.code == "engine_limit":
            budget.exceeded(self._parts.clock.elapsed_s())
        return found

    async def _asked(self, endpoint: str, fields: Fields) -> Answered | Failed:
        """Ask once, when there is room for it."""
        cost = rest_cost(endpoint)
        while True:
            async with self._lock:
                now = self._parts.clock.elapsed_s()
                wait = 0.0 if self._acting else self._calls.wait_s(cost, now)
                if not wait and not self._acting:
                    self._calls.charge(cost, now)
                    try:
                        return await self._once(lambda keys, nonce: private_request(keys, endpoint, nonce, fields))
                    finally:
                        self._calls.settle(self._parts.clock.elapsed_s())
            # Where an order waits, this queues up behind it.
            await (self._parts.sleep(wait) if wait else asyncio.sleep(0))

    async def _once(self, build: Callable[[Credentials, int], Request]) -> Answered | Failed:
        if (refusal := self._refusal("")) is not None:
            return refusal
        request = build(self._keys, self._nonces.take())
        endpoint, clock = request.endpoint, self._parts.clock
        if (refusal := self._refusal(endpoint)) is not None:
            return refusal
        body = self._door(request)
        begun = clock.elapsed_s()
        reply = await self._line.exchange(request, body)
        found = judged(reply)
        outcome = "ok" if isinstance(found, Answered) else found.verdict.name.lower()
        code = "" if isinstance(found, Answered) else found.code
        self._parts.observe(ObservedCall(endpoint, clock.elapsed_s() - begun, outcome, code))
        return self._learned(endpoint, found)

    def _refusal(self, endpoint: str) -> Failed | None:
        """Return why a call is not made."""
        if self._dead:
            return Failed("stopped", Verdict.SAFE, self._dead, sent=False)
        left = self._quiet_until - self._parts.clock.elapsed_s()
        if left > 0:
            return Failed("quiet", Verdict.SAFE, f"no call for another {left:.0f} s: {self._quiet_why}", sent=False)
        if endpoint in self._denied and endpoint not in RETREATS:
            return Failed("permission_denied", Verdict.REJECTED, f"the key may not call {endpoint}", sent=False)
        return None

    def _learned(self, endpoint: str, found: Answered | Failed) -> Answered | Failed:
        """Draw the consequences of an answer for what is sent next."""
        if isinstance(found, Answered):
            self._leapt = False
            return found
        if found.verdict is Verdict.REJECTED and found.code not in _FATAL:
            # Kraken looks at the nonce before it looks at what is asked.
            self._leapt = False
        match found.code:
            case "invalid_nonce" if self._leapt:
                self._dead = "Kraken refused two nonces in a row, the second far ahead; make a new key"
            case "invalid_nonce":
                self._leapt = True
                self._nonces.leap()
                return found._replace(again=True)
            case "lockout":
                self._be_quiet(LOCKOUT_S, found.words)
            case "blocked" | "too_many_calls":
                self._be_quiet(BLOCKED_S, found.words)
                return found._replace(again=False)
            case "throttled":
                until = found.words.rpartition(":")[2].strip()
                left = int(until) - self._parts.clock.now().timestamp() if until.isascii() and until.isdigit() else PAUSE_S
                self._be_quiet(min(max(left, 0.0), BLOCKED_S), found.words)
            case "rate_limit":
                self._calls.exceeded(self._parts.clock.elapsed_s())
            case "permission_denied":
                self._denied.add(endpoint)
            case code if code in _FATAL:
                self._dead = f"Kraken refused the key: {found.words}; check the key, then start again"
        return found

    def _be_quiet(self, seconds: float, why: str) -> None:
        self._quiet_until = max(self._quiet_until, self._parts.clock.elapsed_s() + seconds)
        self._quiet_why = why


def judged(reply: HttpReply | Trouble) -> Answered | Failed:
    """Return what came back as a result, or as a failure of one class."""
    if isinstance(reply, Trouble):
        return _failed(classes.TROUBLES[reply], reply.value)
    if reply.status != 200:
        return _failed(classes.class_of_status(reply.status), f"HTTP {reply.status}", reply.body)
    try:
        found = envelope(reply.body)
    except Unreadable as error:
        return _failed(classes.TROUBLES[Trouble.UNREADABLE], str(error), reply.body)
    errors = [words for words in found.error if not words.startswith("W")]
    if errors or not bytes(found.result):
        return _failed(classes.class_of_all(errors), "; ".join(errors or found.error), reply.body)
    return Answered(found.result, reply.body)


def _failed(error: ErrorClass, words: str, body: bytes = b"") -> Failed:
    return Failed(error.code, error.verdict, words, again=error.again, body=body)
