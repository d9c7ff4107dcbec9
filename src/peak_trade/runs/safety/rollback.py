"""Rollbacks (playbook 6.3): everything to a lower stage (A), or one strategy out of the rotation (B).

    from peak_trade.runs.safety.rollback import StageRollback, StrategyRollback, roll_back_stage, roll_back_strategy

Invariant: going down needs nobody's leave; what fails on the way is told, and keeps no later step from being done.
Invariant: the configuration is changed only where that was asked for, and is read back before it counts.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from peak_trade.compose import DataChoice, Parts
from peak_trade.durable import storing, write_text
from peak_trade.governance.ladder import Assignment
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.errors import ConfigError, InputError, PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side, Terms
from peak_trade.runs.acts import COMMAND, held, written
from peak_trade.runs.gates.promotion import demote
from peak_trade.runs.gates.record import gate_record
from peak_trade.runs.incidents import open_incident
from peak_trade.runs.record import Json
from peak_trade.runs.research.backtest import BacktestRequest, run_backtest
from peak_trade.runs.rotation import ROLLBACK
from peak_trade.runs.safety.pause import CLOSE_S, HEED_S, PauseOrder, PauseReport, Say, StepDone, pause
from peak_trade.settings import load_config
from peak_trade.strategy.catalogue import find, keys_within, make
from peak_trade.strategy.sizing import Sizing

#: How the incidents of a rollback begin.
KEY = "rollback."
_ORDER = list(Stage)
#: Sessions that are looked through for the accounts of a strategy or stage.
SESSIONS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRollback:
    """Down to a stage: of one strategy or account, or of all; *write_config* sets environment.mode."""

    to: Stage
    by: str
    why: str
    strategy: str | None = None
    account: str | None = None
    write_config: bool = False
    heed_s: float = HEED_S


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRollback:
    """A strategy, by its key, out of the rotation on every account on which it runs or ran."""

    strategy: str
    by: str
    why: str
    heed_s: float = HEED_S
    close_s: float = CLOSE_S


@dataclass(slots=True)
class RollbackReport:
    """What came of a rollback: its steps, those of the pause among them, and what is to be done by people."""

    steps: list[StepDone] = field(default_factory=list)
    paused: PauseReport | None = None
    incident: str | None = None
    analysis: str | None = None
    advice: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether every step went well."""
        return all(step.well for step in self.steps)

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return {
            "ok": self.well,
            "steps": [step.to_json() for step in self.steps],
            "paused": None if self.paused is None else self.paused.to_json(),
            "incident": self.incident,
            "analysis": self.analysis,
            "advice": self.advice,
        }


class _Steps:
    """Does one step after another, whatever became of the last."""

    def __init__(self, parts: Parts, say: Say) -> None:
        self.parts, self.say, self.report = parts, say, RollbackReport()
        self._begun_s = parts.clock.elapsed_s()

    def do(self, name: str, step: Callable[[], tuple[bool, str]]) -> None:
        """Do a step; what it raises is how it went."""
        try:
            well, words = step()
        except (PeakTradeError, OSError) as error:
            well, words = False, str(error)
        self.take(StepDone(name, well, words, self.parts.clock.elapsed_s() - self._begun_s))

    def take(self, step: StepDone) -> None:
        """Take a step that is over."""
        self.report.steps.append(step)
        self.say(step)

    def pause(self, order: PauseOrder, sleep: Callable[[float], None]) -> None:
        """Pause accounts; every step of that is one of ours."""
        paused = pause(self.parts, order, self.take, sleep)
        self.report.paused = paused
        self.report.incident = next(iter(paused.incidents.values()), None)


# ---- A: to a lower stage ---------------------------------------------------------------------------------------------


def roll_back_stage(
    parts: Parts, order: StageRollback, say: Say = lambda _step: None, sleep: Callable[[float], None] = time.sleep
) -> RollbackReport:
    """Take everything that is above a stage down to it: accounts paused, versions demoted, the incident opened.

    What fails is in the report, and nothing is raised for it.
    """
    steps = _Steps(parts, say)
    steps.do("act", lambda: _act(parts, order.by, order.why, to=order.to.value, strategy=order.strategy, account=order.account))
    found: list[str] = []
    steps.do("accounts", lambda: _above(parts, order, found))
    if found:
        wanted = PauseOrder(
            accounts=tuple(found),
            by=order.by,
            why=order.why,
            cancel=True,
            incident=f"{KEY}{order.to.value}",
            title=f"was rolled back to {order.to.value}",
            code=ROLLBACK,
            heed_s=order.heed_s,
        )
        steps.pause(wanted, sleep)
    steps.do("ladder", lambda: _demoted(parts, order))
    steps.do("configuration", lambda: _configured(parts, order))
    if steps.report.incident is None:
        steps.do("incident", lambda: _opened(parts, order, steps.report))
    mode = order.to.value
    steps.report.advice = [
        f"begin in the lower stage: peak-trade session run --mode {mode} --strategy NAME"
        if order.to is not Stage.RESEARCH
        else "in research nothing runs: peak-trade backtest --strategy NAME",
        *(f"{account} stays held: peak-trade session stop {account}, then peak-trade resume {account}" for account in found),
    ]
    return steps.report


def stage_below(text: str) -> Stage:
    """Return the stage that something is rolled back to.

    Raises:
        InputError: it is none, or the highest one.
    """
    stages = {stage.value.replace("_", "-"): stage for stage in Stage if stage is not Stage.LIVE}
    stage = stages.get(text.strip().lower().replace("_", "-"))
    if stage is None:
        raise InputError(f"expected --to one of {', '.join(stages)}, found {text[:60]!r}; correct it")
    return stage


def _act(parts: Parts, by: str, why: str, **facts: str | None) -> tuple[bool, str]:
    with held(parts), written(parts, ROLLBACK, by, COMMAND, why=why, **facts) as act:
        pass
    return True, f"written down as {act.segment}"


def _above(parts: Parts, order: StageRollback, found: list[str]) -> tuple[bool, str]:
    """Find the accounts on which something ran above the stage."""
    above = [stage for stage in Stage if _ORDER.index(stage) > _ORDER.index(order.to)]
    for session in _sessions(parts, order.strategy):
        mine = order.account in (None, session.account)
        if mine and Stage(session.mode) in above and session.account not in found:
            found.append(session.account)
    words = f"ran above {order.to.value}: {', '.join(found)}" if found else f"nothing ever ran above {order.to.value}"
    return True, words


def _demoted(parts: Parts, order: StageRollback) -> tuple[bool, str]:
    """Take every version down that stands above the stage; the permits that rest on its steps are void with that."""
    places: dict[Assignment, set[str]] = {}
    for (version, account, symbol), now in gate_record(parts).ladder.standings().items():
        wanted = order.strategy in (None, version.key) and order.account in (None, account)
        if wanted and _ORDER.index(now) > _ORDER.index(order.to):
            places.setdefault(Assignment(version, account, frozenset()), set()).add(symbol)
    if not places:
        return True, f"no version stands above {order.to.value}"
    down = [Assignment(key.version, key.account, frozenset(mine)) for key, mine in places.items()]
    demote(parts, down, order.to, order.by, order.why)
    return True, "; ".join(f"{item.version.key} on {item.account} is in {order.to.value} now" for item in down)


def _configured(parts: Parts, order: StageRollback) -> tuple[bool, str]:
    path, present = parts.settings.path, parts.settings.file.environment.mode
    if _ORDER.index(present) <= _ORDER.index(order.to):
        return True, f"environment.mode is {present.value}; nothing to change"
    change = f'[environment] mode = "{order.to.value}" in place of "{present.value}" in {path.name}'
    if not order.write_config:
        return True, f"to be changed by you: {change}; or again with --write-config"
    write_mode(parts, order.to)
    return True, f"changed: {change}"


def write_mode(parts: Parts, stage: Stage) -> None:
    """Set environment.mode in the configuration file; everything else in it stays, comments too.

    Raises:
        ConfigError: the file can't be read as TOML, or would not be sound afterwards; it is as it was.
        StorageError: the disk refused.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = parts.settings.path.resolve()
    with storing(path):
        before = path.read_text("utf-8")
    try:
        document = tomlkit.parse(before)
    except TOMLKitError as error:
        raise ConfigError(f"expected TOML in {path}, found a mistake: {error}; correct it") from error
    section = document.setdefault("environment", tomlkit.table())
    section["mode"] = stage.value
    write_text(path, tomlkit.dumps(document))
    try:
        sound = load_config(path).file.environment.mode is stage
    except PeakTradeError:
        sound = False
    if not sound:
        write_text(path, before)
        raise ConfigError(f"expected {path} to be sound with mode {stage.value}, found it is not; it is as it was, change it")


def _opened(parts: Parts, order: StageRollback, report: RollbackReport) -> tuple[bool, str]:
    told = " | ".join(f"{step.name}: {step.words}" for step in report.steps)
    report.incident = open_incident(
        parts,
        key=f"{KEY}{order.to.value}",
        severity="high",
        title=f"Rolled back to {order.to.value}",
        why=f"{order.why}. {told}"[:2_000],
        by=order.by,
    )
    return True, report.incident


# ---- B: a strategy out of the rotation -------------------------------------------------------------------------------


def roll_back_strategy(
    parts: Parts, order: StrategyRollback, say: Say = lambda _step: None, sleep: Callable[[float], None] = time.sleep
) -> RollbackReport:
    """Take a strategy out of the rotation for good, close what it holds, and look at it again by a backtest.

    What fails is in the report, and nothing is raised for it but that it never ran.

    Raises:
        InputError: no session of it is known.
    """
    mine = _sessions(parts, order.strategy)
    inside = _made_of(parts, order.strategy)
    if not mine and not inside:
        raise InputError(
            f"expected a session of {order.strategy}, found none; what never ran needs no rollback: peak-trade session list"
        )
    found = list(dict.fromkeys(session.account for session in [*mine, *inside]))
    steps = _Steps(parts, say)
    wanted = PauseOrder(
        accounts=tuple(found),
        by=order.by,
        why=order.why,
        close=(order.strategy,),
        incident=f"{KEY}{order.strategy}",
        title=f"trades {order.strategy} no more",
        pausing=False,
        closing_code=ROLLBACK,
        heed_s=order.heed_s,
        close_s=order.close_s,
    )
    steps.do("act", lambda: _act(parts, order.by, order.why, strategy=order.strategy, account=", ".join(found)))
    steps.pause(wanted, sleep)
    if mine:
        steps.do("analysed", lambda: _analysed(parts, order, mine[0], steps.report))
    steps.report.advice = [
        f"look at the backtest: peak-trade report {steps.report.analysis}" if steps.report.analysis else "backtest it",
        *(f"it comes back with: peak-trade resume {account} --strategy {order.strategy}" for account in found),
    ]
    return steps.report


def _sessions(parts: Parts, strategy: str | None) -> list[Session]:
    """Return the sessions of a strategy, alone or among others, or all, newest first."""
    if strategy is None:
        return parts.sessions.find(SessionFilter(), SESSIONS_MAX)
    key = find(strategy).key
    names = [name for name in parts.sessions.choices().strategies if key in name.split("+")] or [key]
    names += [name for name in _combined(parts, key) if name not in names]
    found = [session for name in names for session in parts.sessions.find(SessionFilter(strategy=name), SESSIONS_MAX)]
    return sorted({item.session_id: item for item in found}.values(), key=lambda item: item.session_id, reverse=True)


def _combined(parts: Parts, key: str) -> list[str]:
    """Return the names under which a strategy ran with others, among the newest sessions."""
    with suppress(PeakTradeError):
        newest = parts.sessions.find(SessionFilter(), 10_000)
        return sorted({item.run.strategy for item in newest if key in item.run.strategy.split("+")})
    return []


def _made_of(parts: Parts, key: str) -> list[Session]:
    """Return the sessions at work whose strategies are made of a strategy, such as a weighted mix of several."""
    found = []
    for session in parts.sessions.find(SessionFilter(status=RunStatus.STARTED.value), SESSIONS_MAX):
        names, own = session.run.strategy.split("+"), dict(session.run.params)
        with suppress(PeakTradeError, KeyError):  # one that can't be made here any more is not at work here
            made = [make(name, own if len(names) == 1 else own[name]) for name in names]
            if any(key in keys_within(strategy) for strategy in made):
                found.append(session)
    return found


def _analysed(parts: Parts, order: StrategyRollback, session: Session, report: RollbackReport) -> tuple[bool, str]:
    """Run a backtest of the strategy, with the parameters that it had, over the bars that there are now."""
    run, file = session.run, parts.settings.file
    own = dict(run.params)
    params = own if run.strategy == order.strategy else own[order.strategy]
    terms = Terms(
        cash=file.backtest.initial_cash,
        fee_bps=file.backtest.fee_bps,
        slippage_bps=file.backtest.slippage_bps,
        sizing=Sizing.parse(file.backtest.sizing),
        side=Side(file.backtest.side),
        stop_loss=file.risk.stop_loss,
        take_profit=file.risk.take_profit,
        trailing_stop=file.risk.trailing_stop,
    )
    data = DataChoice(path=None, symbol=run.symbol.split("+")[0], timeframe=run.timeframe)
    done = run_backtest(
        parts,
        BacktestRequest(strategy=order.strategy, params=params, data=data, terms=terms, tags=("rollback",)),
    )
    report.analysis = str(done.record["run_id"])
    figures = done.record["metrics"]
    return True, f"backtest {report.analysis}: return {figures['total_return']:.2%}, {int(figures['num_trades'])} trades"
