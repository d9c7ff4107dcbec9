"""What people do in an emergency, tried on a real session that has a position and an order at the exchange.

Kill switch at each level and liquidation meet a process that stands still: they have to work without it.
"""

import signal
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from peak_trade.engine.runner import KILL_SWITCH
from peak_trade.journal.chain import Record
from peak_trade.model.errors import CheckFailed
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.stage import Stage
from peak_trade.risk.gate import Mode
from peak_trade.runs.acts import COMMAND
from peak_trade.runs.drills.bench import BY, HOLDING, BenchSetting, DrillBench, Steps, holding
from peak_trade.runs.drills.sessions import PATIENCE_S, DrillSession
from peak_trade.runs.drills.steps import expect
from peak_trade.runs.rotation import ROLLBACK, out_of_rotation
from peak_trade.runs.safety import kill
from peak_trade.runs.safety.kill_first import StopOrder, begin
from peak_trade.runs.safety.liquidation import LIQUIDATED, liquidate
from peak_trade.runs.safety.pause import PauseOrder, StepDone, pause
from peak_trade.runs.safety.restart import POINTS, NotReady, RestartOrder, resume
from peak_trade.runs.safety.rollback import (
    StageRollback,
    StrategyRollback,
    roll_back_stage,
    roll_back_strategy,
)
from peak_trade.settings import load_config

#: Below this an account counts as empty: what is less can't be sold.
DUST = Decimal("0.0001")
WHY = "a drill"
#: With Kraken's own minute, and not one that a loaded machine can't miss.
MINUTE_BENCH: Final = BenchSetting(terms=replace(HOLDING, timeout_s=60))
#: Set up for the stage that it is to leave.
TESTNET_BENCH: Final = BenchSetting(config={"environment": {"mode": Stage.TESTNET.value}})


def _order(bench: DrillBench, action: str, level: KillLevel) -> StopOrder:
    return StopOrder(action=action, by=BY, why=WHY, via=COMMAND, level=level, began_s=bench.clock.elapsed_s())


def _silent(_elapsed_s: float, _words: str) -> None:
    """Say nothing: what is told is in the report."""


# ---- the kill switch, level by level -------------------------------------------------------------------------------------


def kill_levels(bench: DrillBench) -> Steps:
    """One level after the other, each against a session that stands still; then it goes on, and heeds it."""
    found: list[DrillSession] = []

    def level(wanted: KillLevel) -> str:
        session = found[0]
        session.tell(signal.SIGSTOP)
        report = kill.stop_everything(bench.parts, _order(bench, "kill", wanted), _silent)
        if (failure := report.failure()) is not None:
            raise failure
        silent = [one.account for one in report.sessions if one.level is None or one.level.rank < wanted.rank]
        expect(silent == [session.account], f"expected {session.account} to be told as without an answer, found {silent}")
        there = report.exchange
        done = None if there is None else there.flat_s if wanted is KillLevel.FLATTEN else there.cancelled_s
        took = report.took_s if done is None else done
        bench.facts[f"{wanted.value.replace('-', '_')}_s"] = f"{took:.3f}"
        words = _there(bench, wanted)
        session.tell(signal.SIGCONT)
        session.wait_for(f"a sign of {wanted.value}", lambda records: _told_level(records, wanted))
        return f"{took:.2f} s while it stood still; {words}; gone on, it heeds it"

    def ends() -> str:
        ended = bench.end(found[0])
        _there(bench, KillLevel.FLATTEN)
        return f"{ended}, and nothing came after"

    def released() -> str:
        refused = bench.check_refused("kill switch")
        undone = kill.release(bench.parts, BY, "the drill is over")
        expect(not bench.parts.kill_switch.is_on(), "expected the kill switch to be off, found it on")
        return f"{refused}; the release undid {undone.level.value}"

    steps = [(f"level {one.value}", lambda one=one: level(one)) for one in KillLevel]
    return (holding(bench, found), *steps, ("it ends", ends), ("release", released))


def _there(bench: DrillBench, level: KillLevel) -> str:
    """Look that the exchange has what a level leaves there, and nothing else."""
    shown = bench.shown()
    if level in (KillLevel.NO_NEW, KillLevel.REDUCE_ONLY):
        expect(len(shown.working) == 1, f"expected the protective stop to work, found {len(shown.working)} orders")
        return "the protective stop works"
    expect(not shown.working, f"expected no working order, found {len(shown.working)}")
    if level is KillLevel.FLATTEN:
        expect(shown.base < DUST, f"expected nothing to be held, found {shown.base:f}")
        return "no order works, nothing is held"
    expect(shown.base > DUST, "expected the position to be kept, found none")
    return "no order works, the position is kept"


def _told_level(records: Iterable[Record], level: KillLevel) -> Record | None:
    told = (one for one in records if one.kind == "tripped" and one.body["code"] == KILL_SWITCH)
    return next((one for one in told if one.body.get("level") == level.value), None)


def liquidation(bench: DrillBench) -> Steps:
    """Everything off the exchange while the session stands still; then nothing begins, and a release changes nothing."""
    found: list[DrillSession] = []

    def act() -> str:
        found[0].tell(signal.SIGSTOP)
        begun = begin(
            bench.parts.settings,
            bench.clock,
            bench.parts.ids.randomness,
            _order(bench, "liquidate", KillLevel.FLATTEN),
            _silent,
        )
        done = liquidate(bench.parts, begun)
        if (failure := done.report.failure()) is not None:
            raise failure
        expect(bench.terms.account in done.held, f"expected {bench.terms.account} to be held, found {done.held}")
        expect(len(done.files) == 2, f"expected a report in two files, found {len(done.files)}")
        bench.facts["seconds"] = f"{done.report.took_s:.3f}"
        return f"{done.report.took_s:.2f} s; {_there(bench, KillLevel.FLATTEN)}; held: {', '.join(done.held)}"

    def stays() -> str:
        ended = bench.end(found[0])
        kill.release(bench.parts, BY, "the drill is over")
        codes = {hold.code for hold in bench.parts.holds.of(bench.terms.account)}
        expect(LIQUIDATED in codes, f"expected the account to stay held, found {codes}")
        refused = bench.check_refused("expected nothing to hold the account")
        bench.terms = replace(bench.terms, account="another")
        elsewhere = bench.check_refused("expected nothing to hold the exchange key")
        return f"{ended}; released, and {refused}; by another name {elsewhere}"

    def empty() -> str:
        return _there(bench, KillLevel.FLATTEN)

    return (
        holding(bench, found),
        ("liquidation while it stands still", act),
        ("read-only afterwards", stays),
        ("nothing came after", empty),
    )


# ---- dead-man switch -----------------------------------------------------------------------------------------------------


def dead_man(bench: DrillBench) -> Steps:
    """The session stands still: the exchange cancels its order by itself, a minute later."""
    found: list[DrillSession] = []

    def stand_still() -> str:
        found[0].tell(signal.SIGSTOP)
        begun = bench.clock.elapsed_s()
        bench.until("the exchange to cancel", lambda: True if not bench.working() else None)
        took = bench.clock.elapsed_s() - begun
        bench.facts["seconds"] = f"{took:.3f}"
        expect(bench.position > 0, "expected the position to be kept, found none")
        return f"cancelled {took:.1f} s after; nobody of ours did anything; the position is kept"

    def goes_on() -> str:
        found[0].tell(signal.SIGCONT)
        tripped = bench.tripped(found[0], "dead_man_lapsed", Mode.RESTRICTED.value)
        return f"it is restricted: {tripped.body['words']}"

    def ends() -> str:
        ended = bench.end(found[0])
        bought = [one for one in found[0].records() if one.kind == "sending" and Decimal(one.body["intent"]["quantity"]) > 0]
        expect(len(bought) == 1, f"expected one order that enlarges, found {len(bought)}")
        return f"{ended}; it opened nothing any more"

    return (
        holding(bench, found),
        ("it stands still", stand_still),
        ("gone on, it sees that", goes_on),
        ("it ends", ends),
        ("books and exchange agree", bench.check_books),
    )


# ---- procedures ----------------------------------------------------------------------------------------------------------


def paused(bench: DrillBench) -> Steps:
    """The pause of the procedure, and that nothing but the restart leads out of it."""
    found: list[DrillSession] = []

    def act() -> str:
        order = PauseOrder(accounts=(bench.terms.account,), by=BY, why=WHY, cancel=True, heed_s=PATIENCE_S)
        report = pause(bench.parts, order)
        bench.facts["stopped_s"] = f"{report.stopped_s or 0.0:.3f}"
        return f"{_went_well(report.steps)} in {report.stopped_s or 0.0:.1f} s until nothing was enlarged"

    def heeded() -> str:
        tripped = bench.tripped(found[0], "hold", Mode.PAUSED.value)
        shown = bench.shown()
        expect(len(shown.working) == 1, f"expected the protective stop to stay, found {len(shown.working)} orders")
        return f"{tripped.body['mode']} by its own journal; its stop stays"

    def stays() -> str:
        ended = bench.end(found[0])
        refused = bench.check_refused("expected nothing to hold the account")
        causes = [point for point in POINTS if point[0] == "cause known"]
        try:
            resume(bench.parts, RestartOrder(account=bench.terms.account, by=BY, why=WHY), causes)
        except NotReady as error:
            return f"{ended}; {refused}; {error}"
        raise CheckFailed("expected the restart to be refused while the cause is open, found that it was done")

    return (
        holding(bench, found),
        ("pause", act),
        ("the session is paused", heeded),
        ("it stays so after its end", stays),
        ("books and exchange agree", bench.check_books),
    )


def rolled_back_strategy(bench: DrillBench) -> Steps:
    """A strategy out of the rotation: what it holds is closed, and it does not begin again."""
    found: list[DrillSession] = []

    def act() -> str:
        order = StrategyRollback(strategy=bench.terms.strategy, by=BY, why=WHY, heed_s=PATIENCE_S, close_s=PATIENCE_S)
        report = roll_back_strategy(bench.parts, order)
        # The bench has no bars of its own to look at the strategy again.
        return _went_well(step for step in report.steps if step.name != "analysed")

    def closed() -> str:
        there = bench.until("the position to be closed", lambda: True if bench.position == 0 else None)
        expect(there, "expected nothing to be held, found something")
        expect(not bench.working(), "expected no working order, found one")
        return "the exchange shows neither a position nor an order"

    def stays() -> str:
        ended = bench.end(found[0])
        expect(out_of_rotation(bench.parts, bench.terms.strategy), "expected it out of the rotation, found that it is not")
        bench.terms = replace(bench.terms, account="another")
        return f"{ended}; {bench.check_refused('was rolled back')}, on another account too"

    return (
        holding(bench, found),
        ("rollback", act),
        ("it is closed", closed),
        ("it does not come back", stays),
        ("books and exchange agree", bench.check_books),
    )


def rolled_back_stage(bench: DrillBench) -> Steps:
    """Down to the shadow: accounts above it are held, the configuration says so."""
    found: list[DrillSession] = []

    def act() -> str:
        order = StageRollback(to=Stage.SHADOW, by=BY, why=WHY, write_config=True, heed_s=PATIENCE_S)
        return _went_well(roll_back_stage(bench.parts, order).steps)

    def heeded() -> str:
        bench.tripped(found[0], "hold", Mode.PAUSED.value)
        mode = load_config(bench.parts.settings.path).file.environment.mode
        expect(mode is Stage.SHADOW, f"expected the configuration to say shadow, found {mode.value}")
        codes = [hold.code for hold in bench.parts.holds.of(bench.terms.account)]
        expect(codes == [ROLLBACK], f"expected the account to be held by the rollback, found {codes}")
        return "the session is paused, the configuration says shadow"

    def stays() -> str:
        return f"{bench.end(found[0])}; {bench.check_refused('expected nothing to hold the account')}"

    return (
        holding(bench, found),
        ("rollback", act),
        ("session and configuration heed it", heeded),
        ("it stays so after its end", stays),
        ("books and exchange agree", bench.check_books),
    )


def _went_well(steps: Iterable[StepDone]) -> str:
    """Return how many steps there were.

    Raises:
        CheckFailed: one did not go well.
    """
    found = list(steps)
    for step in found:
        expect(step.well, f"expected each step to go well, found {step.name}: {step.words}")
    return f"{len(found)} steps went well"
