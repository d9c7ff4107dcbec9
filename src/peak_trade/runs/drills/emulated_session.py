"""A session with real orders, fills and cancels: the whole engine, journal and registry, at an emulator that a run started.

For drills and tests alone; no command, setting or variable leads here. What it needs is an `EmulatorProof`, which it makes from
the address of an `EmulatedRun`, and which exists for addresses of this machine alone. The stage is testnet's; the run's type is
`live_session_emulated`, so that it is told from every other.

In this process:

    with emulator_for_run(seed=7, speed=20.0) as run:
        ended = emulated_session(settings, run, EmulatedTerms(minutes=10), speed=20.0)

As a process of its own, which can be stopped, killed and started again on the same emulator; the same terms go on with a
session that died; the folder has the configuration and the state; what it prints is the session's record, or nothing where it
failed:

    with emulator_for_run(seed=7, speed=20.0) as run:
        process = start_emulated(folder, run, EmulatedTerms(minutes=10), speed=20.0)

Journals lie in `state/journal/ACCOUNT`, the kill switch is that of the folder's state.
"""

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peak_trade.compose import AccountChoice, DataChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.journal.session import LIVE_SESSION_EMULATED
from peak_trade.model.clock import Clock, moment, nanoseconds
from peak_trade.model.errors import InputError, PeakTradeError, SafetyRefused
from peak_trade.model.points import Faults, no_faults
from peak_trade.model.stage import Stage, not_allowed
from peak_trade.research.terms import Side
from peak_trade.runs.drills.orders import ExchangeTime
from peak_trade.runs.emulated import EmulatedRun
from peak_trade.runs.sessions.files import EndedSession
from peak_trade.runs.sessions.plan import Paper, SessionRequest
from peak_trade.runs.trading.session import Watcher, run_session
from peak_trade.settings import Settings, load_config

if TYPE_CHECKING:
    from peak_trade.venue.kraken.gateway import GatewayParts
    from peak_trade.venue.kraken.trading import KrakenVenue
    from peak_trade.venue.port import Venue

#: Where the balances from before a session lie, below the state; nothing else has a file there for this kind of session.
OPENING_FOLDER = "venue"
NS = 1_000_000_000
#: Seconds of the machine until a call counts as lost.
CALL_S = 1.5
#: Seconds of the exchange's clock: the shortest and the furthest deadline of an order, and how late one may be shown.
DEADLINE_MIN_S, DEADLINE_MAX_S, LAG_S = 5.0, 50.0, 5.0
#: Seconds of the exchange's clock before the first order of a session at which its fills are looked for.
BEFORE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedTerms:
    """What an emulated session does.

    Attributes:
        params: of the strategy, over those configured. minutes: how long, by the exchange's clock.
        cash: of the books at the beginning, quote currency; the account may hold more. fraction: of equity, for a target of 1.
        stop_loss, take_profit, trailing_stop: as in `Paper`.
        timeout_s, refresh_s: of the dead-man switch, seconds of the exchange's clock.
        fresh: begin anew even where a dead session could be gone on with.
    """

    strategy: str = "ma_crossover"
    params: Mapping[str, Any] = field(default_factory=lambda: {"fast_window": 2, "slow_window": 3})
    symbol: str = "BTC/EUR"
    timeframe: str = "1m"
    account: str = "emulated"
    minutes: float = 10.0
    cash: Decimal = Decimal(10_000)
    fraction: Decimal = Decimal("0.009")
    side: Side = Side.LONG
    warmup: int = 20
    stop_loss: Decimal = Decimal(0)
    take_profit: Decimal = Decimal(0)
    trailing_stop: Decimal = Decimal(0)
    timeout_s: int = 60
    refresh_s: float = 20.0
    fresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the terms as a JSON object; exact numbers as text."""
        told = dataclasses.asdict(self) | {"side": self.side.value, "params": dict(self.params)}
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in told.items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "EmulatedTerms":
        """Read what `to_json` wrote.

        Raises:
            InputError: a name or a value is not one.
        """
        exact = [one.name for one in dataclasses.fields(cls) if one.type in (Decimal, "Decimal")]
        try:
            read: dict[str, Any] = {name: Decimal(value) if name in exact else value for name, value in told.items()}
            if "side" in read:
                read["side"] = Side(read["side"])
            return cls(**read)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise InputError(f"expected the terms of an emulated session, found something else: {error}") from error

    def request(self, settings: Settings) -> SessionRequest:
        """Return the request of the session."""
        paper = settings.file.shadow_paper
        return SessionRequest(
            mode=Stage.TESTNET,
            run_type=LIVE_SESSION_EMULATED,
            strategies=((self.strategy, dict(self.params)),),
            data=(DataChoice(path=None, symbol=self.symbol, timeframe=self.timeframe),),
            paper=Paper(
                start_balance=self.cash,
                fee_rate=Decimal(repr(paper.fee_rate)),
                maker_fee_rate=Decimal(repr(paper.maker_fee_rate)),
                slippage_bps=Decimal(repr(paper.slippage_bps)),
                position_fraction=self.fraction,
                side=self.side,
                stop_loss=self.stop_loss,
                take_profit=self.take_profit,
                trailing_stop=self.trailing_stop,
                warmup_candles=self.warmup,
            ),
            account=self.account,
            course=Course(duration_s=self.minutes * 60),
            speed=1.0,
            env_name=settings.file.environment.name,
            tags=("emulated",),
            fresh=self.fresh,
        )


class EmulatedParts(Parts):
    """The parts of a session whose venue executes orders: at one emulator of this machine, and nowhere else."""

    def __init__(self, settings: Settings, run: EmulatedRun, terms: EmulatedTerms, speed: float) -> None:
        """Point the settings at the emulator.

        Raises:
            SafetyRefused: its address is none of this machine's.
        """
        from peak_trade.venue.kraken.proof import EmulatorProof

        self._proof = EmulatorProof.of(run.base_url)
        super().__init__(settings.pointed_at(run.base_url, f"{run.stream_url}/v2", *run.keys["trading"]), speed)
        self._terms = terms

    def venue(self, stage: Stage, account: AccountChoice, _faults: Faults = no_faults) -> "Venue":
        """Build the venue that executes; for stage 2 alone.

        Raises:
            SafetyRefused: it is another stage, or the account lies at another address than the proof's.
            Unavailable: the emulator does not answer.
        """
        if stage is not Stage.TESTNET:
            raise not_allowed(stage)
        if self.exchange.base_url != self._proof.base_url:
            found = self.exchange.base_url
            raise SafetyRefused(f"expected the emulator at {self._proof.base_url}, found {found}; nothing was sent")
        return asyncio.run(self._opened(account))

    async def _opened(self, account: AccountChoice) -> "KrakenVenue":
        """Ask for the pairs and the time there, and open the line of the key."""
        from peak_trade.venue.kraken.dead_man import DeadManSwitch, DeadManTerms
        from peak_trade.venue.kraken.gateway import Gateway
        from peak_trade.venue.kraken.nonce import NonceStore
        from peak_trade.venue.kraken.opening import OpeningFile
        from peak_trade.venue.kraken.public import PublicMarket
        from peak_trade.venue.kraken.trading import KrakenVenue, VenueTimes, VenueWatch

        asking = PublicMarket(self._lines(self.clock), self.exchange.base_url, 0.0)
        try:
            began_ns = (await asking.time()).unixtime * NS + NS // 2
            pairs = await asking.pairs()
        finally:
            await asking.close()
        speed = self.exchange.speed
        there = ExchangeTime(self.clock, moment(began_ns), speed)
        parts = self._lines(there)
        first = min((intent.decided_ns for intent in account.known), default=began_ns)
        steps_ns = self._timeframe_ns()
        times = VenueTimes(
            since_ns=min(first, began_ns) - BEFORE_S * NS,
            step_ns=steps_ns,
            deadline_s=min(max(speed, DEADLINE_MIN_S), DEADLINE_MAX_S),
            lag_s=LAG_S,
        )
        gateway = Gateway(
            self.api_keys(),
            NonceStore(self.nonces, self.api_keys().short, lambda: nanoseconds(self.clock.now())),
            parts,
            self.exchange.base_url,
            self._proof,
        )
        watch = VenueWatch(
            market=PublicMarket(parts, self.exchange.base_url, 0.0),
            cash=account.cash,
            dead_man=DeadManSwitch(
                gateway, there, DeadManTerms(timeout_s=self._terms.timeout_s, refresh_s=self._terms.refresh_s)
            ),
            opening=OpeningFile(self.state / OPENING_FOLDER / account.name / f"{account.origin}.opening.json"),
            max_skew_ms=self.settings.file.live_risk.max_clock_skew_ms if speed == 1.0 else None,
            health=account.health,
        )
        traded = {symbol: pairs[symbol] for symbol in account.instruments}
        return KrakenVenue(
            gateway, traded, account.known, times, there, there.sleep, self._proof, watch=watch, booked=account.booked
        )

    def _lines(self, clock: Clock) -> "GatewayParts":
        from peak_trade.venue.kraken.budget import TIER_LIMITS

        sleep = clock.sleep if isinstance(clock, ExchangeTime) else asyncio.sleep
        timed = dataclasses.replace(self._gateway_parts(CALL_S), clock=clock, sleep=sleep)
        return dataclasses.replace(timed, limits=TIER_LIMITS["intermediate"])

    def _timeframe_ns(self) -> int:
        from peak_trade.model.bar import Timeframe

        return Timeframe.parse(self._terms.timeframe).step_ns


def emulated_session(
    settings: Settings,
    run: EmulatedRun,
    terms: EmulatedTerms,
    *,
    speed: float,
    watcher: Watcher | None = None,
    with_parts: Callable[[Parts], None] = lambda _parts: None,
) -> EndedSession:
    """Run a session at an emulator to its end, or go on with one of the same terms that died.

    Args:
        run: the emulator. speed: how much faster than the machine's its clock goes.
        with_parts: given the session's parts before it begins.

    Raises:
        SafetyRefused: the emulator is none of this machine's, or what any session refuses.
        PeakTradeError: as `run_session` does.
    """
    parts = EmulatedParts(settings, run, terms, speed)
    try:
        with_parts(parts)
        return run_session(parts, terms.request(parts.settings), watcher or Watcher())
    finally:
        parts.close()


def start_emulated(
    folder: Path,
    run: EmulatedRun,
    terms: EmulatedTerms,
    *,
    speed: float,
    said: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[str]":
    """Start such a session as a process of its own, in a folder with a configuration; what it says comes on its error output.

    Its exit codes are those of `peak-trade`. The caller waits for it, and ends it where it must.

    Args:
        said: a file for what it says, its record left out; None: pipes. environment: of the process; None: this one's.
    """
    told = {"run": dataclasses.asdict(run), "terms": terms.to_json(), "speed": speed}
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-m", "peak_trade.runs.drills.emulated_session"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if said is None else subprocess.DEVNULL,
            stderr=subprocess.PIPE if said is None else stack.enter_context(said.open("w", encoding="utf-8")),
            text=True,
            # One whose words go to a file has a group of its own, so that Ctrl+C is the caller's to hear.
            process_group=None if said is None else 0,
        )
    if process.stdin is not None:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.close()
        process.stdin = None
    return process


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


def _told(line: str) -> int:
    """Run the session that a line tells; return the exit code."""
    told = json.loads(line)
    keys = {name: (key, secret) for name, (key, secret) in told["run"].pop("keys").items()}
    run = EmulatedRun(**told["run"], keys=keys)
    try:
        ended = emulated_session(
            load_config(Path.cwd() / "config.toml"),
            run,
            EmulatedTerms.from_json(told["terms"]),
            speed=float(told["speed"]),
            watcher=Watcher(say=_say),
        )
    except KeyboardInterrupt:
        return 130
    except PeakTradeError as error:
        _say(str(error))
        return error.exit_code
    sys.stdout.write(json.dumps(ended.record, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_told(sys.stdin.readline()))
