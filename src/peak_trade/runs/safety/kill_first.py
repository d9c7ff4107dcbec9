"""What comes first in an emergency: the switch, and then the exchange, before anything heavy is even loaded.

Invariant: the switch is turned on before anything else; then the exchange is acted on at once, by a thread of its own that
needs no lock, no journal and no registry. This module imports none of these.
"""

import asyncio
import queue
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import ConfigError, InputError, StorageError
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs.limits import limits_of
from peak_trade.safety.exchange_stop import ExchangeStop, StopAim, StopResult, StopTools, with_collar
from peak_trade.safety.kill_switch import Killed, KillSwitch
from peak_trade.settings import Settings
from peak_trade.venue.kraken.emergency import EmergencyLine, SafetyNonces
from peak_trade.venue.kraken.transport import HttpLine, Timeouts
from peak_trade.venue.kraken.wire import Credentials

#: Levels at which the exchange itself is acted on.
AT_EXCHANGE = frozenset({KillLevel.CANCEL_ALL, KillLevel.FLATTEN})
#: Longest wait for the thread once its time is up, seconds.
MORE_S = 60.0
#: What a person does where this program can't.
BY_HAND = "log in at Kraken, cancel all open orders there and sell what is held"

Say = Callable[[float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOrder:
    """What is asked for.

    Attributes:
        action: how the act is called. deadline_s: how long it is tried; None is as configured.
        collar: per cent, where it is to be wider than configured. began_s: when the command began, by the clock's seconds.
    """

    action: str
    by: str
    why: str
    via: str
    level: KillLevel
    began_s: float
    deadline_s: float | None = None
    collar: Decimal | None = None


@dataclass(slots=True, kw_only=True)
class ExchangeWork:
    """The thread that acts on the exchange, and what it tells."""

    stop: ExchangeStop
    line: EmergencyLine
    told: "queue.SimpleQueue[tuple[float, str]]"
    thread: threading.Thread = field(default_factory=threading.Thread)
    error: str = ""

    @property
    def result(self) -> StopResult:
        """What has come of it so far."""
        return self.stop.result

    def run(self) -> None:
        """Do it, to the end."""
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001 - told with the rest, by the thread that waits for this one
            self.error = f"{type(error).__name__}: {error}"

    async def _run(self) -> None:
        try:
            await self.stop.run()
        finally:
            await self.line.close()


class Begun(NamedTuple):
    """What has begun: `killed` is what the switch says, None where it could not be turned on.

    Attributes:
        settings: of all this. at_s: when the switch was turned on, by the clock's seconds.
        was_on: whether it had been on before. work: None where there is no way to the exchange, or none is needed; why_not then
            says why. troubles: sentences of what went wrong.
    """

    settings: Settings
    order: StopOrder
    was_on: bool
    killed: Killed | None
    work: ExchangeWork | None
    why_not: str
    troubles: tuple[str, ...]
    at_s: float


def begin(settings: Settings, clock: Clock, chance: random.Random, order: StopOrder, loud: Say) -> Begun:
    """Turn the switch on, then begin to act on the exchange; whatever fails is in what is returned.

    Args:
        chance: of the names of orders. loud: told seconds since the beginning and a sentence, also from another thread.
    """

    def say(elapsed_s: float, words: str) -> None:
        # A terminal that went away must not stop anything.
        with suppress(OSError, ValueError):
            loud(elapsed_s, words)

    switch = KillSwitch.of(settings.folder(settings.file.paths.state))
    was_on, troubles = switch.is_on(), []
    try:
        killed: Killed | None = switch.trip(order.by, order.why, clock.now(), order.level)
        say(clock.elapsed_s() - order.began_s, f"the kill switch is on: {order.level.value}")
    except StorageError as error:
        troubles.append(str(error))
        # At a milder level it may be on.
        killed = switch.state()
    at_s, work, why_not = clock.elapsed_s(), None, ""
    if order.level in AT_EXCHANGE:
        try:
            work = _begun_work(settings, clock, chance, order, say, safety_keys(settings))
        except ConfigError as error:
            why_not = f"{error}; nothing was done at the exchange: {BY_HAND}"
            say(clock.elapsed_s() - order.began_s, str(error))
    return Begun(settings, order, was_on, killed, work, why_not, tuple(troubles), at_s)


def _begun_work(
    settings: Settings, clock: Clock, chance: random.Random, order: StopOrder, say: Say, keys: Credentials
) -> ExchangeWork:
    """Begin to act on the exchange."""
    safety = settings.file.safety
    told: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()

    def tell(elapsed_s: float, words: str) -> None:
        told.put((elapsed_s, words))
        say(elapsed_s, words)

    if _is_used_elsewhere(settings, keys):
        tell(clock.elapsed_s() - order.began_s, "the safety key is the testnet's: give it one of its own")
    limits = with_collar(limits_of(settings.file.live_risk), order.collar)
    folder = settings.folder(settings.file.paths.state) / "nonces"
    nonces = SafetyNonces(folder / f"safety-{keys.short}", lambda: nanoseconds(clock.now()))
    timeouts = Timeouts(connect_s=safety.timeout_s, read_s=safety.timeout_s, total_s=safety.timeout_s)
    line = EmergencyLine(keys, nonces, clock, HttpLine(safety.base_url, timeouts))
    aim = StopAim(
        flatten=order.level is KillLevel.FLATTEN,
        symbols=limits.symbols,
        limits=limits,
        lag_s=safety.lag_s,
        deadline_s=deadline_of(settings, order),
    )
    tools = StopTools(clock, asyncio.sleep, lambda: f"{chance.getrandbits(128):032x}", tell, order.began_s)
    work = ExchangeWork(stop=ExchangeStop(line, aim, tools), line=line, told=told)
    # A daemon: Ctrl+C ends the command, whatever a call waits for.
    work.thread = threading.Thread(target=work.run, daemon=True)
    work.thread.start()
    return work


def deadline_of(settings: Settings, order: StopOrder) -> float:
    """Return for how long it is tried, seconds."""
    return settings.file.safety.deadline_s if order.deadline_s is None else order.deadline_s


def time_of(begun: Begun) -> float:
    """Return for how long the thread is waited for at most, seconds."""
    return deadline_of(begun.settings, begun.order) + MORE_S


@contextmanager
def kept_going(begun: Begun) -> Iterator[None]:
    """Let the exchange be acted on to the end, also where what is done meanwhile fails; only Ctrl+C ends it."""
    try:
        yield
    except Exception:
        if begun.work is not None:
            begun.work.thread.join(time_of(begun))
        raise


def safety_keys(settings: Settings) -> Credentials:
    """Return the safety key.

    Raises:
        ConfigError: it is not in the environment, or what is there can be none.
    """
    safety = settings.file.safety
    names = (safety.api_key_env, safety.api_secret_env)
    missing = [name for name in names if not settings.has_secret(name)]
    if missing:
        raise ConfigError(
            f"expected a safety key in the environment ({' and '.join(names)}), found {' and '.join(missing)} not set"
        )
    try:
        return Credentials.read(*(settings.secret(name).reveal() for name in names))
    except InputError:
        raise ConfigError(
            f"expected a safety key and its secret in base64 in {' and '.join(names)}, as Kraken shows them, found something "
            "else"
        ) from None


def _is_used_elsewhere(settings: Settings, keys: Credentials) -> bool:
    other = settings.file.exchange.kraken_testnet.api_key_env
    return settings.has_secret(other) and settings.secret(other).reveal().strip() == keys.id
