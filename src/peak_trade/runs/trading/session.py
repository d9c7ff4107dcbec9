"""A session as a run: held, registered, journalled, recovered where one died, compared with the kernel, reported.

Invariant: nothing of a session exists before its account is held; the journal has its end before the registry has it.
Invariant: starting is recovering: the journal of a dead session is played through the engine, then compared with the venue.
"""

import asyncio
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from peak_trade.compose import Parts
from peak_trade.engine.decider import Decider
from peak_trade.engine.engine import Engine
from peak_trade.engine.live import LiveFeed
from peak_trade.engine.records import booked_in, sent_in
from peak_trade.engine.runner import EndedBy, Heartbeat, Killing, LeaseLost, Marks, Outlook, Runner
from peak_trade.engine.state import Tripped
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import BEGUN, ENDED, Chain, Record, holding
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, plain_json
from peak_trade.journal.session import Session
from peak_trade.model.clock import RunId
from peak_trade.model.errors import ContractBroken, InputError, PeakTradeError, SafetyRefused, StorageError, Unavailable
from peak_trade.model.instrument import parse_symbol
from peak_trade.model.points import Faults, no_faults
from peak_trade.model.stage import Stage
from peak_trade.risk.gate import Mode
from peak_trade.runs.alerts import alerts
from peak_trade.runs.configured import configured_params
from peak_trade.runs.gates.demotion import demote_where_due
from peak_trade.runs.gates.evidence import keep
from peak_trade.runs.gates.permits import PermitWatch, leaves
from peak_trade.runs.gates.standing import tier_of
from peak_trade.runs.holds_kept import check_kept
from peak_trade.runs.proven import check_proven
from peak_trade.runs.record import Json, provenance
from peak_trade.runs.rotation import check_in_rotation
from peak_trade.runs.service_notice import while_alive
from peak_trade.runs.sessions.checks import checks_of
from peak_trade.runs.sessions.dead import Dead, close_dead, lineage, unfinished
from peak_trade.runs.sessions.evidence import session_evidence, subject_of
from peak_trade.runs.sessions.expectation import expectation
from peak_trade.runs.sessions.files import EndedSession, series_of, write_session
from peak_trade.runs.sessions.holdings import check_nothing_left
from peak_trade.runs.sessions.market import Following, feed_of
from peak_trade.runs.sessions.plan import SessionPlan, SessionRequest, check_ready, plan_session, recorded_plan
from peak_trade.runs.sessions.record import (
    SessionFacts,
    Story,
    exact_figures,
    metrics_of,
    plan_facts,
    session_document,
    story_of,
)
from peak_trade.runs.trading.testnet_budget import BUDGET_FOLDER, TestnetBudget
from peak_trade.runs.trading.watch import HoldWatch, SessionWatch
from peak_trade.safety.alerts import Alert, Severity
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import keys_within, make
from peak_trade.venue.port import CONTRACT_BROKEN, Venue

#: The two kinds of shadow session: over recorded bars at once, and in time.
SHADOW_RUN, LIVE_SESSION_SHADOW = "shadow_run", "live_session_shadow"
#: What a session that a second signal ended says of itself.
INTERRUPTED = "interrupted; the same command goes on with it"
#: Seconds between two looks at a followed market's exchange, by its clock, and the fewest of the machine's.
LOOK_S, LOOK_MIN_S = 1.0, 0.05
#: Where bars come at least this far apart, a strategy is asked at every one; where they come faster, in blocks.
ASKED_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """Who is told how a session goes: each record as it is written, progress in ticks, and remarks in words."""

    record: Callable[[str, Mapping[str, Any]], None] | None = None
    progress: Callable[[int], None] = lambda _ticks: None
    say: Callable[[str], None] = lambda _words: None
    faults: Faults = no_faults


def run_session(parts: Parts, request: SessionRequest, watcher: Watcher) -> EndedSession:
    """Run a session to its end, or go on with one of the same specification that died.

    Raises:
        InputError: strategies, data or terms don't fit, or there is no key for the exchange.
        SafetyRefused: the kill switch is on, the account is held or in use, books and venue differ, or the lease was lost.
        StorageError: disk or registry refused; what was journalled before is intact.
        KeyboardInterrupt: a second signal ended it at once.
    """
    parts.kill_switch.check_off()
    # Recorded bars may try what is held, and what is out of the rotation.
    real, keys = not is_rehearsal(request), sorted(keys_of(parts, request))
    if real:
        parts.holds.check_free(request.account, keys)
        check_kept(parts)
    check_ready(parts, request.mode)
    if real:
        check_in_rotation(parts, keys)
        parts.holds.check_free(request.account, keys, parts.key_name(request.mode))
        check_proven(parts, strategies_of(parts, request))
    # Before an exchange is asked for anything.
    permits = permits_of(parts, request)
    plan = plan_session(parts, request)
    session_id = parts.ids.next_run()
    with holding(parts.journal, request.account, session_id=session_id, at=parts.clock.now()):
        if (key := parts.key_name(request.mode)) is not None:
            # Whatever holds this account from now on holds the key.
            parts.holds.keys.bind(request.account, key)
        else:
            check_nothing_left(parts, request.account)
        if request.register:
            close_dead(parts, held=request.account)
        dead = None if request.fresh else unfinished(parts, request.account, plan, watcher.say)
        sitting = _Sitting(parts, request, plan, session_id, dead, watcher)
        sitting.permits = permits
        try:
            ended = sitting.run()
        except Exception as error:
            _tell_people(parts, sitting, str(error) or type(error).__name__)
            raise
        _tell_people(parts, sitting, sitting.error, ended.record["incidents"])
        return ended


def _tell_people(parts: Parts, sitting: "_Sitting", error: str, incidents: Sequence[Json] = ()) -> None:
    """Tell people of a session that failed or ended stopped, and that it is over where one after it ended well."""
    if not sitting.request.register or not parts.settings.file.alerts.channels:
        return
    key = f"session_failed.{sitting.request.account}"
    mode = sitting.engine.state.mode if sitting.engine else Mode.RUNNING
    where = f"session {sitting.session_id} on account {sitting.request.account}"
    if error:
        alerts.tell(parts, Alert(key, Severity.CRITICAL, "A session failed", f"{where}: {error}"))
    elif mode is not Mode.RUNNING:
        why = incidents[0]["words"] if incidents else "its report says why"
        severity = Severity.WARNING if mode is Mode.RESTRICTED else Severity.CRITICAL
        alerts.tell(parts, Alert(key, severity, f"A session ended {mode.value}", f"{where}: {why}"))
    else:
        alerts.recovered(parts, key)


def is_rehearsal(request: SessionRequest) -> bool:
    """Tell whether a session only plays recorded bars in a simulation; what asks an exchange does not, however it is called."""
    return request.run_type == SHADOW_RUN and request.mode is Stage.SHADOW


def strategies_of(parts: Parts, request: SessionRequest) -> list[Strategy]:
    """Return the strategies of a session."""
    return [make(name, configured_params(parts, name, given)) for name, given in request.strategies]


def keys_of(parts: Parts, request: SessionRequest) -> frozenset[str]:
    """Return the keys of the strategies of a session, and of those that they are made of."""
    return frozenset().union(*map(keys_within, strategies_of(parts, request)))


def permits_of(parts: Parts, request: SessionRequest) -> tuple[PermitWatch, ...]:
    """Return the permits that a session needs; none where its stage needs none.

    Raises:
        SafetyRefused: a strategy has none; says what is in the way. CheckFailed: the journal of acts was changed.
    """
    strategies = [make(name, configured_params(parts, name, given)) for name, given in request.strategies]
    symbols = sorted(parse_symbol(choice.symbol) for choice in request.data if choice.symbol is not None)
    return leaves(parts, request.mode, strategies, tuple(symbols))


class _Sitting:
    """One session from its registration to its report."""

    def __init__(
        self,
        parts: Parts,
        request: SessionRequest,
        plan: SessionPlan,
        session_id: RunId,
        dead: Dead | None,
        watcher: Watcher,
    ) -> None:
        self.parts, self.request, self.plan, self.session_id = parts, request, plan, session_id
        self.dead, self.watcher = dead, watcher
        self.origin = dead.origin if dead else session_id
        self.begun = parts.clock.elapsed_s()
        self.started_at = parts.clock.now()
        self.status, self.error, self.ended_by = RunStatus.STARTED, "", ""
        self.runner: Runner | None = None
        self.engine: Engine | None = None
        self.feed: LiveFeed | None = None
        self.asked = 0
        self.permits: tuple[PermitWatch, ...] = ()
        self.tier = tier_of(parts, [leg.strategy for leg in plan.legs], tuple(plan.datasets))
        self.real = request.register and not is_rehearsal(request)
        mine = HoldWatch(
            parts, plan, request.account, session_id, rehearsal=is_rehearsal(request), key=parts.key_name(request.mode)
        )
        self.watch = SessionWatch(parts, plan, mine, watcher.say)
        self.budget = TestnetBudget(parts.state / BUDGET_FOLDER, parts.settings.file.testnet_limits.daily)

    def run(self) -> EndedSession:
        if self.plan.mode is Stage.TESTNET:
            self._check_run()
            asyncio.run(self._look_first())
            self.budget.begin_run(self.session_id, self.parts.clock.now(), (self.request.course.duration_s or 0.0) / 60)
        self._register()
        try:
            chain = self._begin_journal()
        except PeakTradeError as error:
            self._registered_end(None, None, error=str(error))
            raise
        try:
            return self._trade(chain)
        finally:
            self.watch.close()
            chain.close()

    def _trade(self, chain: Chain) -> EndedSession:
        parts, plan = self.parts, self.plan
        try:
            account = replace(
                plan.account(self.request.account, self.origin),
                charge=self._charge,
                prepay=self._prepay,
                note=self._note,
                climbers=tuple(watch.assignment for watch in self.permits),
                permits=tuple(watch.permit for watch in self.permits),
                allowed=self._allowed,
                known=sent_in(self.dead.records) if self.dead else (),
                booked=booked_in(self.dead.records) if self.dead else (),
                health=lambda: self._health(chain),
            )
            venue = parts.venue(plan.mode, account, self.watcher.faults)
        except PeakTradeError as error:
            self._registered_end(None, chain, error=str(error))
            raise
        try:
            return self._traded(chain, venue)
        finally:
            venue.close()
            with suppress(StorageError):
                self.budget.give_back(parts.clock.now())

    def _traded(self, chain: Chain, venue: Venue) -> EndedSession:
        parts, plan = self.parts, self.plan
        tape = Tape(self.dead.records if self.dead else ())
        engine = Engine(
            plan.engine_plan(self.origin),
            venue,
            chain,
            tape,
            parts.clock,
            observe=self.watcher.record,
            latch=self.watch.account.latch,
            faults=self.watcher.faults,
        )
        self.engine = engine
        fault: PeakTradeError | None = None
        try:
            self.ended_by = asyncio.run(self._run(engine, chain, venue)).value
            self.status, self.error = (RunStatus.FAILED if engine.state.fault else RunStatus.COMPLETED), engine.state.fault
        except KeyboardInterrupt:
            # Left as it is, so that the same command goes on from here.
            with suppress(StorageError):
                chain.flush()
            self._registered_end(engine, chain, error=INTERRUPTED, status=RunStatus.ABORTED)
            raise
        except StorageError as error:
            # The journal ends where the disk refused, and the same command goes on from there.
            with suppress(StorageError):
                self._registered_end(engine, chain, error=str(error))
            raise
        except PeakTradeError as error:
            if not engine.compared or isinstance(error, LeaseLost | Unavailable):
                # It was not taken up, is no longer ours, or its books lack what an exchange does not tell: the journal stays as
                # it is, to be gone on with.
                self._registered_end(engine, chain, error=str(error))
                raise
            fault, self.status, self.error = error, RunStatus.FAILED, str(error)
        except Exception as error:
            self.status, self.error = RunStatus.FAILED, f"internal fault ({type(error).__name__}: {error})"
            self._end(engine, chain)
            raise
        ended = self._end(engine, chain)
        if fault is not None:
            raise fault
        return ended

    def _check_run(self) -> None:
        """Let the session go no further than one may, and the day's budget allows.

        Raises:
            SafetyRefused: it is asked to last longer than that, or the budget is used up.
        """
        most, course = self.parts.settings.file.testnet_limits.run, self.request.course
        minutes = most.max_duration_minutes if course.duration_s is None else course.duration_s / 60
        if minutes > most.max_duration_minutes:
            raise SafetyRefused(
                f"expected at most {most.max_duration_minutes:g} minutes (testnet_limits.run.max_duration_minutes), found "
                f"--duration {minutes:g}; ask for less"
            )
        orders = most.max_orders if course.orders is None else min(most.max_orders, course.orders)
        self.request = replace(self.request, course=replace(course, duration_s=minutes * 60, orders=orders))
        self.budget.check_runs(self.parts.clock.now(), 1, minutes)

    async def _look_first(self) -> None:
        """Look at key, clock and pairs before anything begins or is charged; the session looks again, over its own lines.

        Raises:
            ConfigError: there is no key, or a wrong one.
            SafetyRefused: the key may not be used so, or by another process at the same time, or the clocks differ.
            Unavailable: the exchange does not tell.
        """
        books = self.parts.book_reader()
        check = self.parts.order_check(books)
        try:
            await check.prepare()
        finally:
            await check.close()
            await books.close()

    def _charge(self) -> str | None:
        """Take an order from the session's limit and the day's budget; return why there is none left."""
        most = self.request.course.orders
        if most is not None and self.asked >= most:
            return f"the {most} orders of a session are used up"
        self.asked += 1
        if self.budget.charge_order(self.session_id, self.parts.clock.now()):
            return None
        most = self.parts.settings.file.testnet_limits.daily.max_orders
        return f"the {most} orders of the day are used up (testnet_limits.daily.max_orders)"

    def _allowed(self) -> str | None:
        """Return why no order may leave any more."""
        return next((why for watch in self.permits if (why := watch.trouble()) is not None), None)

    def _health(self, chain: Chain) -> str:
        """Return why orders that work at an exchange must not be kept alive; empty where all is well."""
        if self.engine is None or not self.engine.compared:
            return "books and exchange were not compared yet"
        silent_s = 0.0 if self.feed is None else self.feed.silent_s
        if silent_s > self.plan.limits.max_data_age_s:
            return f"the market was not heard of for {silent_s:.0f} s"
        try:
            chain.flush()
        except StorageError as error:
            return str(error)
        return ""

    def _prepay(self) -> None:
        self.budget.prepay(self.session_id, self.parts.clock.now())

    def _note(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write down what a venue saw."""
        if self.engine is not None:
            self.engine.remark(kind, dict(body))

    async def _run(self, engine: Engine, chain: Chain, venue: Venue) -> EndedBy:
        if self.plan.followed:
            return await self._follow(engine, chain, venue)
        request = self.request
        step_s = 0.0 if request.speed is None else self.plan.first.bars.timeframe.seconds / request.speed
        if step_s:
            self._say_begun(f"a bar every {step_s:g} s" if step_s >= 0.001 else "as fast as it can")
        outlook = self._outlook(chain, self.plan.deciders(timed=step_s >= ASKED_EVERY_S))
        if self.real:
            profit = self.watch.profit(lambda: engine.state, request.speed)
            outlook = replace(outlook, watches=(self.watch.supervision, profit))
        self.runner = Runner(engine, outlook, self.parts.clock)
        return await self.runner.run()

    async def _follow(self, engine: Engine, chain: Chain, venue: Venue) -> EndedBy:
        """Run over markets that are still going on; look afterwards that nothing is left open at the exchange."""
        parts, plan = self.parts, self.plan
        following = Following.begun(dict(plan.datasets), self.dead.records if self.dead else ())
        timeframe = plan.first.bars.timeframe
        try:
            async with parts.market_reader(timeframe) as reader:
                self.feed = feed = await feed_of(parts, reader, following, timeframe.step_ns, self.watcher.say)
                await venue.prepare()
                watches = [self.watch.api_errors, self.watch.silence(feed)]
                if self.real:
                    profit = self.watch.profit(lambda: engine.state, parts.exchange.speed, following.bars)
                    watches += [self.watch.supervision, profit]
                self._say_begun(f"on {', '.join(plan.datasets)} {timeframe.label} at {parts.exchange.base_url}")
                outlook = replace(
                    self._outlook(chain, plan.deciders(timed=True, growing=following.bars)),
                    series=following.bars,
                    speed=None,
                    past=following.past,
                    live=feed,
                    look_s=max(LOOK_S / max(parts.exchange.speed, 1.0), LOOK_MIN_S),
                    take=following.take,
                    watches=watches,
                )
                self.runner = Runner(engine, outlook, parts.clock)
                try:
                    ended = await self.runner.run()
                finally:
                    await feed.close()
            if left := await self._left_open(engine, venue):
                raise await self._broken(engine, left)
        except PeakTradeError as error:
            if engine.compared and not isinstance(error, LeaseLost) and (left := await self._left_open(engine, venue)):
                self.watcher.say(f"the exchange had open what it was only to look at: {', '.join(left)}; look at the account")
            raise
        finally:
            await venue.release()
        return ended

    async def _left_open(self, engine: Engine, venue: Venue) -> Sequence[str]:
        """Return the orders that the exchange has open although it was only to look at them; they were called back."""
        try:
            return await venue.left_open(engine.sent)
        except Unavailable as error:
            self.watcher.say(f"whether orders are open at the exchange could not be asked: {error}; look there yourself")
            return ()

    async def _broken(self, engine: Engine, left: Sequence[str]) -> ContractBroken:
        """Write into the journal that the exchange executed what it was only to look at; return what to halt with."""
        found = ContractBroken(
            f"expected no open order at the exchange after the session, found {', '.join(left)}; look at the account"
        )
        await engine.trip(Tripped(Mode.KILLED, CONTRACT_BROKEN, str(found)))
        return found

    def _say_begun(self, how: str) -> None:
        self.watcher.say(
            f"session {self.session_id} runs, {how}; Ctrl+C ends it gracefully, "
            "peak-trade session tail --follow in another terminal shows what it does"
        )

    def _outlook(self, chain: Chain, deciders: Mapping[str, Decider]) -> Outlook:
        parts, request, plan = self.parts, self.request, self.plan
        lease_s = parts.settings.file.shadow.lease_s
        beat = Heartbeat(while_alive(lambda: parts.sessions.beat(self.session_id, parts.clock.now(), lease_s)), lease_s)
        return Outlook(
            series={symbol: dataset.bars for symbol, dataset in plan.datasets.items()},
            deciders=deciders,
            traded_from=next(iter(plan.traded_from.values())),
            course=replace(request.course, duration_s=_on_our_clock(request.course.duration_s, parts, plan)),
            speed=request.speed,
            heartbeat=beat if request.register else None,
            max_clock_skew=timedelta(milliseconds=plan.limits.max_clock_skew_ms),
            sign=lambda: chain.sign(at=parts.clock.now()),
            progress=self.watcher.progress,
            say=self.watcher.say,
            killed=self._killed,
            demands=self.watch.account.demands,
        )

    def _killed(self) -> Killing | None:
        """Return why everything is to stop, and how far; None where nothing is."""
        switch = self.parts.kill_switch
        if not switch.is_on() or (killed := switch.state()) is None or (level := switch.level()) is None:
            return None
        return Killing(str(killed), level)

    # ---- beginning ---------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        if not self.request.register:
            return
        self.watcher.faults("registry.begin.before")
        lease_s = self.parts.settings.file.shadow.lease_s
        self.parts.sessions.begin(self._session(), self.started_at, lease_s)
        self.watcher.faults("registry.begin.after")

    def _session(self) -> Session:
        request, plan = self.request, self.plan
        facts = plan_facts(plan)
        where_from = provenance(self.parts, plan.legs[0].strategy) | {"env_name": request.env_name}
        run = Run(
            run_id=self.session_id,
            run_type=request.run_type,
            status=RunStatus.STARTED,
            strategy=_joined([leg["strategy"] for leg in facts["legs"]], 255),
            symbol=_joined(list(facts["datasets"]), 255),
            timeframe=facts["timeframe"],
            params=facts["params"],
            spec=plan.spec,
            dataset_sha256=facts["dataset"]["sha256"],
            started_at=stamp(self.started_at),
            tags=request.tags,
            **where_from,
        )
        return Session(
            run=run,
            mode=plan.mode.value,
            tier=self.tier,
            account=request.account,
            host=platform.node(),
            journal=str(self._journal_path()),
            feed={
                "kind": "followed" if plan.followed else "recorded",
                "speed": self.parts.exchange.speed if plan.followed else request.speed,
                "quote": facts["quote"],
                "datasets": facts["datasets"],
            }
            | ({"exchange": self.parts.exchange.base_url} if plan.followed else {}),
            cli_args=request.cli_args,
            notes=request.notes,
            continues=self.dead.session_id if self.dead else None,
        )

    def _journal_path(self) -> Path:
        return self.parts.journal / self.request.account / f"{self.session_id}.jsonl"

    def _begin_journal(self) -> Chain:
        request, plan = self.request, self.plan
        body = {
            "spec": plain_json(plan.spec),
            "spec_sha256": plan.spec_sha256,
            "origin": self.origin,
            "continues": self.dead.session_id if self.dead else None,
            "run_type": request.run_type,
            "mode": plan.mode.value,
            "process": os.getpid(),
            "host": platform.node(),
            "versions": plain_json(provenance(self.parts, plan.legs[0].strategy)["versions"]),
        }
        chain = Chain.begin(
            self.parts.journal,
            request.account,
            self.session_id,
            body,
            at=self.parts.clock.now(),
            signer=self.parts.signer,
            faults=self.watcher.faults,
        )
        chain.sign(at=self.parts.clock.now())
        return chain

    # ---- ending ------------------------------------------------------------------------------------------------------

    def _end(self, engine: Engine, chain: Chain) -> EndedSession:
        """Write the end into the journal, sign it, compare with the kernel, tell the registry, then report.

        A disk that refuses the end leaves a journal without one: then the same command goes on from there.
        """
        metrics = self._figures(engine)
        body = {
            "status": self.status.value,
            "error": self.error or None,
            "ended_by": self.ended_by or None,
            "tick": engine.tick,
            "decisions_sha256": engine.state.digest,
            "metrics": {name: None if value is None else repr(value) for name, value in metrics.items()},
        }
        refused: PeakTradeError | None = None
        try:
            chain.append(ENDED, body, at=self.parts.clock.now(), durable=True)
            chain.sign(at=self.parts.clock.now())
        except PeakTradeError as error:
            refused = error
            if self.status is RunStatus.COMPLETED:
                self.status, self.error = RunStatus.FAILED, str(error)
        records = self._records()
        story = story_of(records)
        with suppress(InputError):  # it ended before its first bar: then it keeps the history that it was planned with
            self.plan = recorded_plan(self.parts, plan.spec, records) if (plan := self.plan).followed else plan
        completed = self.runner.completed if self.runner else 0
        wanted, equity = None, None
        try:
            wanted, equity = expectation(self.parts, self.plan, engine.state, completed, story.fills)
        except PeakTradeError as error:
            self.watcher.say(f"what it should have done could not be computed: {error}")
        kept = self._registered_end(
            engine, chain, error=self.error or None, status=self.status, incidents=story.incidents, wanted=wanted
        )
        if self.dead is not None and self.request.register:
            before, end = engine.taken_up, self.dead.records[-1]
            figures = {name: value for name, value in metrics_of(self.plan, before).items() if value is not None}
            summary = exact_figures(self.plan, before, story_of(self.dead.records).incidents)
            self.parts.sessions.complete_dead(self.dead.session_id, figures, summary, (end.seq, end.sha256))
        if self.request.register:
            self._show(records)
        if not kept:
            self.status, self.error = RunStatus.ABORTED, "closed as aborted by another process while this one still ran"
        if refused is not None:
            raise refused
        record = session_document(self._told(engine, chain, story), wanted)
        marks = self.runner.marks if self.runner else Marks()
        return write_session(self.parts, record, series_of(self.plan, marks, story, equity))

    def _show(self, records: Sequence[Record]) -> None:
        """Keep what the session showed, and take its version down where that is due; a gate reads the journal anyway."""
        own = [record for record in records if record.kind == BEGUN]
        try:
            subject = subject_of(own[-1])
            if subject is not None:
                keep(self.parts, [session_evidence(self.parts, self.session_id, records, subject, sound=True)])
            for words in demote_where_due(self.parts, {leg.strategy.key: leg.strategy for leg in self.plan.legs}.values()):
                self.watcher.say(words)
        except PeakTradeError as error:
            self.watcher.say(f"what it showed could not be kept for the gates: {error}")

    def _registered_end(
        self,
        engine: Engine | None,
        chain: Chain | None,
        *,
        error: str | None,
        status: RunStatus = RunStatus.FAILED,
        incidents: Sequence[Json] = (),
        wanted: Json | None = None,
    ) -> bool:
        """Tell the registry; return whether it took it: not where somebody closed the session meanwhile."""
        if not self.request.register:
            return True
        metrics: dict[str, float] = {}
        summary: Json = {}
        if engine is not None:
            found = self._figures(engine)
            metrics = {name: value for name, value in found.items() if value is not None}
            summary = exact_figures(self.plan, engine.state, incidents) | {"expected": wanted, "ended_by": self.ended_by}
        self.watcher.faults("registry.finish.before")
        kept = self.parts.sessions.finish(
            self.session_id,
            status,
            at=self.parts.clock.now(),
            elapsed_s=self.parts.clock.elapsed_s() - self.begun,
            metrics=metrics,
            summary=summary,
            result_sha256=engine.state.digest if engine else None,
            error=error,
            head=chain.head if chain else None,
        )
        self.watcher.faults("registry.finish.after")
        return kept

    def _told(self, engine: Engine, chain: Chain, story: Story) -> "SessionFacts":
        seq, sha256 = chain.head
        session = self._session()
        ended = replace(
            session.run,
            status=self.status,
            finished_at=stamp(self.parts.clock.now()),
            elapsed_s=self.parts.clock.elapsed_s() - self.begun,
            error=self.error or None,
            result_sha256=engine.state.digest,
        )
        return SessionFacts(
            plan=self.plan,
            session=replace(session, run=ended, head_seq=seq, head_sha256=sha256),
            state_json=exact_figures(self.plan, engine.state, story.incidents),
            metrics=self._figures(engine),
            records=seq + 1,
            ended_by=self.ended_by,
            checks=checks_of(self._records()).to_json() if self.plan.followed else None,
        )

    def _figures(self, engine: Engine) -> dict[str, float | None]:
        found = metrics_of(self.plan, engine.state)
        return found | (checks_of(self._records()).metrics() if self.plan.followed else {})

    def _records(self) -> list[Record]:
        return list(lineage(self.parts.journal, self.request.account, self.session_id))


def _on_our_clock(duration_s: float | None, parts: Parts, plan: SessionPlan) -> float | None:
    """Return a duration in seconds of the machine: one that is followed at an exchange lasts by the exchange's clock."""
    return duration_s if duration_s is None or not plan.followed else duration_s / parts.exchange.speed


def _joined(names: Sequence[str], most: int) -> str:
    """Return names with a plus between, each once; the first and how many more where that is too long."""
    different = list(dict.fromkeys(names))
    text = "+".join(different)
    return text if len(text) <= most else f"{different[0]}+{len(different) - 1} more"
