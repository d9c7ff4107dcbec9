"""Where most drills happen: a folder, an emulator, and on both a real session with orders that the exchange executes.

Invariant: no process outlives the block that it was started in, also one that was stopped.
Invariant: what the exchange is said to have is asked of it with a key that can only ask, and not taken from the session.
"""

import asyncio
import contextlib
import http.client
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from peak_trade.compose import Parts
from peak_trade.engine.records import BAR, FILLED, INCIDENT, RECONCILED, SENDING, TRIPPED
from peak_trade.governance.documents import Fact
from peak_trade.journal.chain import Record
from peak_trade.model.clock import Clock, moment, nanoseconds
from peak_trade.model.errors import CheckFailed, SafetyRefused, StorageError
from peak_trade.model.secret import Secret
from peak_trade.runs.drills.emulated_session import EmulatedTerms, emulated_session, start_emulated
from peak_trade.runs.drills.orders import ExchangeTime
from peak_trade.runs.drills.sessions import PAIR, PATIENCE_S, DrillSession, ended, unbroken
from peak_trade.runs.drills.steps import DrillResult, expect, walked
from peak_trade.runs.emulated import EmulatedRun, emulator_for_run
from peak_trade.settings import PATH_VARIABLE, load_config
from peak_trade.venue.kraken.budget import TIER_LIMITS
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.reading import Holdings, OpenOrders, TradesHistory
from peak_trade.venue.kraken.wire import Credentials

Found = TypeVar("Found")
Steps = Sequence[tuple[str, Callable[[], str]]]
#: How much faster than the machine's the exchange's clock goes, and how its rate limits are called.
SPEED, TIER = 20.0, "intermediate"
#: Who gives orders in a drill, and the pair as the exchange calls it, in orders and in balances.
BY, PAIR_THERE, BASE_THERE = "drill", "XBTEUR", "XXBT"
#: Seconds between two looks at the exchange, which counts questions.
ASK_S = 0.3
#: Minutes of the exchange's clock that a session has before it ends by itself, should nobody be left to end it.
LASTS_MINUTES = 100.0
#: A dead-man switch that a loaded machine does not let run out, seconds of the exchange's clock.
PATIENT_S = 6_000
#: A session that buys once and protects what it bought by a stop that rests at the exchange.
HOLDING = EmulatedTerms(
    strategy="buy_and_hold", params={}, minutes=LASTS_MINUTES, stop_loss=Decimal("0.2"), timeout_s=PATIENT_S, account="drill"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSetting:
    """What a drill begins with: the terms of its session, and what its configuration has other than the default."""

    terms: EmulatedTerms = HOLDING
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTrial:
    """What every drill is given: the clock, the environment of its processes without secrets, and the market's seed."""

    clock: Clock
    environment: Mapping[str, str]
    seed: int


class Shown(NamedTuple):
    """What the exchange has of the account: working orders and fills by its ids, and how much of the base currency."""

    working: frozenset[str]
    fills: frozenset[str]
    base: Decimal


class DrillBench:
    """A folder, an emulator and its sessions; *facts* become part of the evidence."""

    def __init__(self, folder: Path, run: EmulatedRun, trial: DrillTrial, setting: BenchSetting) -> None:
        self.folder, self.run, self.terms, self.clock = folder, run, setting.terms, trial.clock
        self.facts: dict[str, Fact] = {}
        self.sessions: list[DrillSession] = []
        self._others: list[subprocess.Popen[bytes]] = []
        self._environment = {name: text for name, text in trial.environment.items() if name != PATH_VARIABLE}
        (folder / "config.toml").write_text(config_text(run, setting.config), "utf-8")
        settings = load_config(folder / "config.toml")
        safety = settings.file.safety
        names = (safety.api_key_env, safety.api_secret_env)
        given = {name: Secret(name, text) for name, text in zip(names, run.keys["trading"], strict=True)}
        self.parts = Parts(replace(settings, given=given))
        self._there = ExchangeTime(self.clock, moment(nanoseconds(self.clock.now())), SPEED)
        self.before = self.shown()

    # ---- sessions --------------------------------------------------------------------------------------------------------

    def begin(self, terms: EmulatedTerms | None = None) -> DrillSession:
        """Start a session as a process of its own, or go on with the one that died."""
        wanted, said = terms or self.terms, self.folder / f"{len(self.sessions)}.txt"
        with unbroken():
            process = start_emulated(self.folder, self.run, wanted, speed=SPEED, said=said, environment=self._environment)
            found = DrillSession(wanted.account, process, self.parts.journal, said, self.clock)
            self.sessions.append(found)
        return found

    def begin_again(self) -> DrillSession:
        """Start a session once more; wait until it has compared its books with the exchange, and works."""
        session = self.begin()
        session.wait_for("books that were compared", lambda records: first_of(records, RECONCILED))
        # Only one that works hears that it is to end.
        session.wait_for("a bar", lambda records: first_of(records, BAR))
        return session

    def begin_holding(self) -> DrillSession:
        """Start a session; wait until it has bought and its stop rests at the exchange."""
        session = self.begin()
        session.wait_for("a fill", lambda records: first_of(records, FILLED))
        self.until("a stop that rests at the exchange", lambda: self.working() or None, session)
        return session

    def start(self, words: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a command of the program as a process of its own; it ends with the bench."""
        with unbroken():
            process = subprocess.Popen(
                [sys.executable, "-m", "peak_trade", *words],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
            self._others.append(process)
        return process

    def end(self, session: DrillSession) -> str:
        """Ask a session to end; return how its journal says that it did."""
        session.tell(signal.SIGCONT)
        session.tell(signal.SIGTERM)
        code, last = session.end(), session.records()[-1]
        expect(last.kind == "ended", f"expected {session.account} to end in order, found code {code}: {session.words}")
        return f"it ended {last.body['status']}"

    def check_refused(self, words: str) -> str:
        """Try to begin a session on the account.

        Raises:
            CheckFailed: it is not refused, or for another reason than one with these words.
        """
        terms = replace(self.terms, minutes=0.1)
        try:
            emulated_session(self.parts.settings, self.run, terms, speed=SPEED)
        except SafetyRefused as error:
            expect(words in str(error), f"expected a session to be refused because of {words!r}, found: {error}")
            return f"a session is refused: {words}"
        raise CheckFailed(f"expected a session to be refused because of {words!r}, found that it ran")

    def tripped(self, session: DrillSession, code: str, mode: str, most_s: float = PATIENCE_S) -> Record:
        """Wait until a session has written down that it stops because of a code.

        Raises:
            CheckFailed: it does not in time, or goes into another mode.
        """
        found = session.wait_for(f"a sign of {code}", lambda records: sign_of(records, code), most_s)
        expect(found.body["mode"] == mode, f"expected it to be {mode}, found {found.body['mode']}")
        check_only_reduced(session.records(), found)
        return found

    def until(self, what: str, happened: Callable[[], Found | None], session: DrillSession | None = None) -> Found:
        """Look until something has happened; return it.

        Raises:
            CheckFailed: it did not happen in time, or the session ended.
        """
        deadline = self.clock.elapsed_s() + PATIENCE_S
        while (found := happened()) is None:
            if session is not None and session.process.poll() is not None:
                raise CheckFailed(f"expected {what}, found that the session ended: {session.words}")
            if self.clock.elapsed_s() > deadline:
                raise CheckFailed(f"expected {what} within {PATIENCE_S:g} s, found none")
            time.sleep(ASK_S)
        return found

    # ---- the exchange ----------------------------------------------------------------------------------------------------

    def fault(self, name: str, *, mine: bool = False, endpoint: str = "", **told: Any) -> None:
        """Have the exchange do something wrong; *mine*: to the session's key alone.

        Raises:
            CheckFailed: the emulator does not take it.
        """
        match = ({"key": self.run.keys["trading"][0]} if mine else {}) | ({"endpoint": endpoint} if endpoint else {})
        match |= told.pop("match", {})
        self._control("POST", {"name": name, "match": match, **told})

    def calm(self) -> None:
        """End every fault."""
        self._control("DELETE", None)

    def shown(self) -> Shown:
        """Return what the exchange has.

        Raises:
            Unavailable: it does not answer.
        """
        return asyncio.run(self._with_asker(_shown_of))

    def working(self) -> frozenset[str]:
        """Return the orders that work at the exchange; the cheapest question, for who asks again and again.

        Raises:
            Unavailable: it does not answer.
        """
        return asyncio.run(self._with_asker(_working_of))

    @property
    def position(self) -> Decimal:
        """How much of the base currency the account has more than before."""
        return self.shown().base - self.before.base

    def check_books(self) -> str:
        """Look that every fill that the exchange has is booked once, and that what is held is the sum of them.

        Raises:
            CheckFailed: it is not so.
        """
        records = [record for session in self.sessions for record in session.records() if record.kind == FILLED]
        booked = {record.body["fill_id"]: Decimal(record.body["quantity"]) for record in records}
        expect(len(records) == len(booked), f"expected each fill to be booked once, found {len(records)} of {len(booked)}")
        there = self.shown()
        mine = there.fills - self.before.fills
        expect(booked.keys() == mine, f"expected the {len(mine)} fills of the exchange in the journal, found {len(booked)}")
        held, moved = sum(booked.values(), Decimal(0)), there.base - self.before.base
        expect(held == moved, f"expected to hold {moved:f} as the exchange says, found {held:f} in the journal")
        return f"{len(mine)} fills, each booked once; {held:f} is held on both sides"

    def close(self) -> None:
        """End every process that is left, at once."""
        with unbroken():
            ended([*(session.process for session in self.sessions), *self._others])
        self.parts.close()

    async def _with_asker(self, ask: Callable[[Gateway], Awaitable[Found]]) -> Found:
        """Ask something with the key that can only ask."""
        keys = Credentials.read(*self.run.keys["query"])
        chance = random.Random(1)  # noqa: S311 - for the length of pauses
        parts = GatewayParts(clock=self._there, chance=chance, sleep=self._there.sleep, limits=TIER_LIMITS[TIER])
        nonces = NonceStore(self.folder / "asking", keys.short, lambda: nanoseconds(self.clock.now()))
        asking = Gateway(keys, nonces, parts, self.run.base_url)
        try:
            return await ask(asking)
        finally:
            await asking.close()

    def _control(self, method: str, told: Mapping[str, Any] | None) -> None:
        line = http.client.HTTPConnection(self.run.base_url.removeprefix("http://"), timeout=10.0)
        header = {"x-control-token": self.run.control_token}
        try:
            line.request(method, "/_ctl/faults", None if told is None else json.dumps(told), header)
            answer = line.getresponse()
            expect(answer.status == http.HTTPStatus.OK, f"expected the emulator to take {told}, found {answer.read()[:300]!r}")
        except (OSError, http.client.HTTPException) as error:
            raise StorageError(f"expected the emulator to answer, found that it does not: {error}") from error
        finally:
            line.close()


async def _working_of(asking: Gateway) -> frozenset[str]:
    return frozenset((await asking.read("OpenOrders", OpenOrders)).open)


async def _shown_of(asking: Gateway) -> Shown:
    orders = await _working_of(asking)
    trades = (await asking.read("TradesHistory", TradesHistory, [("consolidate_taker", "false")])).trades
    held = await asking.read("BalanceEx", Holdings)
    return Shown(orders, frozenset(trades), held[BASE_THERE].balance)


def holding(bench: DrillBench, found: list[DrillSession]) -> tuple[str, Callable[[], str]]:
    """Return the step with which most drills begin; the session is added to those found."""

    def trade() -> str:
        found.append(bench.begin_holding())
        return f"it holds {bench.position:f}, and a stop rests at the exchange"

    return "a session holds a position", trade


def config_text(run: EmulatedRun, more: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the configuration of a bench: the program's default but for where the exchange is, and what a drill asks for."""
    sections: dict[str, dict[str, Any]] = {
        "live_risk": {"max_data_age_s": 3600, "symbols": [PAIR]},
        # An account of the drill's own, and no limit on orders that ends a session early.
        "testnet_limits.run": {"max_orders": 500, "max_duration_minutes": 300.0},
        f'testnet_limits.symbols."{PAIR}"': {"max_order_notional": "100", "max_exposure_notional": "200"},
        "safety": {"base_url": run.base_url, "lag_s": 0.5, "sessions_s": 2.0},
    }
    for name, values in more.items():
        sections.setdefault(name, {}).update(values)
    # What JSON says of a word, a number, a truth and a list is TOML too.
    told = ([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in part.items())] for name, part in sections.items())
    return "\n".join(line for lines in told for line in lines) + "\n"


def on_bench(name: str, setting: BenchSetting, steps: Callable[[DrillBench], Steps], trial: DrillTrial) -> DrillResult:
    """Run a drill on a bench of its own.

    Args:
        name: of the drill, as evidence says it. steps: what is tried, given the bench.

    Raises:
        StorageError: the emulator does not start, or the disk refused.
    """
    begun = trial.clock.elapsed_s()
    with (
        tempfile.TemporaryDirectory(prefix="peak_trade_drill") as folder,
        emulator_for_run(seed=trial.seed, speed=SPEED, tier=TIER) as run,
        contextlib.closing(DrillBench(Path(folder), run, trial, setting)) as bench,
    ):
        found = DrillResult(drill=name, steps=walked(trial.clock, steps(bench)), facts={})
        found.facts.update(
            drill=name,
            passed=found.passed,
            took_s=f"{trial.clock.elapsed_s() - begun:.1f}",
            steps=len(found.steps),
            first_failure=found.first_failure,
            **bench.facts,
        )
        return found


def first_of(records: Iterable[Record], kind: str, code: str | None = None) -> Record | None:
    """Return the first record of a kind, and of a code where one is given."""
    return next((one for one in records if one.kind == kind and code in (None, one.body.get("code"))), None)


def sign_of(records: Iterable[Record], code: str) -> Record | None:
    """Return the first record that says that a session stops enlarging because of a code, told to it or found by itself."""
    return next((one for one in records if one.kind in (TRIPPED, INCIDENT) and one.body["code"] == code), None)


def check_only_reduced(records: Sequence[Record], since: Record) -> None:
    """Look that every order since a record made the position smaller.

    Raises:
        CheckFailed: one did not.
    """
    position, later = Decimal(0), False
    for record in records:
        later = later or record == since
        if record.kind == FILLED:
            position += Decimal(record.body["quantity"])
        elif record.kind == SENDING and later:
            quantity = Decimal(record.body["intent"]["quantity"])
            fits = quantity * position < 0 and abs(quantity) <= abs(position)
            expect(fits, f"expected only what reduces a position of {position:f}, found an order of {quantity:f}")
