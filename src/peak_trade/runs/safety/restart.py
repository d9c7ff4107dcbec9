"""The restart procedure (playbook 6.4): what has to be so before an account that was paused may trade again.

    from peak_trade.runs.safety.restart import RestartOrder, look_at, resume
    needs = look_at(parts, order)          # every point, met or not
    report = resume(parts, order)          # lifts the holds, or raises with all that is missing

Invariant: holds are lifted here alone, after every point was met, and the act is on disk before the first one is.
Invariant: what a signature approves names these very holds, so that it is good for this restart and no other.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from peak_trade.compose import DataChoice, Parts, code_sha256
from peak_trade.engine.runner import Course
from peak_trade.governance.approvals import Signature, signers
from peak_trade.governance.files import load_roles, read_plain
from peak_trade.governance.incidents import KEY_MAX, TrackedIncident
from peak_trade.governance.roles import Role
from peak_trade.governance.sshsig import APPROVAL
from peak_trade.journal.chain import lines, parse_shape, segments
from peak_trade.journal.registry import RunFilter
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import InputError, NotFound, PeakTradeError, SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import COMMAND, held, written
from peak_trade.runs.alerts import alerts
from peak_trade.runs.at_work import worker_on
from peak_trade.runs.gates.promotion import ssh_signature
from peak_trade.runs.holds_kept import LIFTING, lifting_fact, put_back
from peak_trade.runs.incidents import alert_key as incident_key
from peak_trade.runs.incidents import tracked
from peak_trade.runs.record import Json
from peak_trade.runs.rotation import ROLLBACK
from peak_trade.runs.safety.pause import alert_key
from peak_trade.runs.safety.resumed import RESUME, WATCHED
from peak_trade.runs.safety.rollback import KEY as ROLLBACK_KEY
from peak_trade.runs.sessions.again import spec_of
from peak_trade.runs.sessions.holdings import holdings
from peak_trade.runs.sessions.plan import Paper, SessionRequest
from peak_trade.runs.supervisor_sign import alarms_seen, sign_trouble
from peak_trade.runs.testnet import tested
from peak_trade.runs.testnet.readiness import check_stage
from peak_trade.runs.testnet.readiness_checks import CHECKS
from peak_trade.runs.testnet.smoke import proven, smoke_test
from peak_trade.runs.trading.session import SHADOW_RUN, Watcher, run_session
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.safety.watch import REMEDIES, Watch
from peak_trade.settings import Paths

#: From here on a restart needs another person; so many of them by stage, and who one of them has to be.
APPROVALS = {Stage.TESTNET: 1, Stage.SHADOW_LIVE: 1, Stage.LIVE: 2}
DECIDERS = frozenset({Role.OWNER, Role.REVIEWER, Role.RISK_OFFICER, Role.SECOND_PERSON})
#: Shortest statement, characters; bars of the dry run.
SAID_MIN, DRY_BARS = 10, 200
#: Whose strategy and pair the smoke test uses.
PROFILE = "quick_smoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartOrder:
    """What is to go on, by whom and why.

    Attributes:
        strategy: a strategy that was rolled back and may come back; None lifts no hold of that kind.
        docs: what was updated in the documentation, or why nothing had to be.
        keys: with which people sign now, the one who asks too; signatures: files that they made of the statement.
        profile: whose strategy and pair the smoke test of testnet uses.
    """

    account: str
    by: str
    why: str
    strategy: str | None = None
    docs: str = ""
    approved_by: tuple[str, ...] = ()
    keys: tuple[Path, ...] = ()
    signatures: tuple[Path, ...] = ()
    profile: str = PROFILE


class NotReady(SafetyRefused):
    """A restart that lacks something; `needs` has every point."""

    def __init__(self, account: str, needs: "Sequence[Need]") -> None:
        missing = [need.name for need in needs if not need.met]
        super().__init__(
            f"expected every point of the restart of {account} to be met, found {len(missing)} of {len(needs)} that are not "
            f"({', '.join(missing)}); peak-trade resume {account} --check tells what to do about each"
        )
        self.needs = tuple(needs)


class Need(NamedTuple):
    """A point of the procedure: whether it is met, what was found, and what to do where it is not."""

    name: str
    met: bool
    found: str
    todo: str = ""

    def to_json(self) -> Json:
        """Return the point as a JSON object."""
        return self._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A restart that was made: what was met and lifted, what still holds, how to start, and until when to watch closely.

    `shared` are sentences about holds of other accounts that still reach this one through its exchange key.
    """

    account: str
    needs: tuple[Need, ...]
    lifted: tuple[Hold, ...]
    left: tuple[Hold, ...]
    shared: tuple[str, ...]
    start: str
    watch_until: datetime

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return {
            "account": self.account,
            "needs": [need.to_json() for need in self.needs],
            "lifted": [str(hold) for hold in self.lifted],
            "left": [str(hold) for hold in self.left],
            "shared": list(self.shared),
            "start": self.start,
            "watch_until": self.watch_until.isoformat(),
        }


class _Scene(NamedTuple):
    """What the points look at: the holds, since when, the last session and its stage, and incidents about the account."""

    parts: Parts
    order: RestartOrder
    holds: tuple[Hold, ...]
    since: datetime
    session: Session | None
    stage: Stage
    incidents: tuple[TrackedIncident, ...]


Point = Callable[[_Scene], Need]


def look_at(parts: Parts, order: RestartOrder, points: Sequence[tuple[str, Point]] | None = None) -> list[Need]:
    """Return every point of the procedure, met or not; one that breaks is not met.

    A hold that was taken away from the disk is put back first.

    Raises:
        InputError: nothing holds the account, or not what is to be lifted.
        CheckFailed: the journal of acts does not verify.
    """
    scene = _scene(parts, order)
    found = []
    for name, point in POINTS if points is None else points:
        try:
            found.append(point(scene))
        except (PeakTradeError, OSError, KeyError, ValueError) as error:
            found.append(Need(name, met=False, found=str(error), todo="mend that first"))
    return found


def resume(parts: Parts, order: RestartOrder, points: Sequence[tuple[str, Point]] | None = None) -> Restart:
    """Lift an account's holds where every point is met.

    Raises:
        NotReady: a point is not met; it has all of them.
        InputError: nothing holds the account, or another restart lifted it meanwhile.
        StorageError: the disk refused; what is left still holds.
    """
    scene = _scene(parts, order)
    needs = look_at(parts, order, points)
    if not all(need.met for need in needs):
        raise NotReady(order.account, needs)
    facts = {
        "account": order.account,
        "why": order.why,
        "strategy": order.strategy,
        "docs": order.docs,
        "needs": [f"{need.name}: {need.found}" for need in needs],
        "holds": [str(hold) for hold in scene.holds],
        LIFTING: lifting_fact(order.account, _to_lift(order, scene.holds)),
    }
    lifting = set(_to_lift(order, scene.holds))
    with held(parts), ExitStack() as stack:
        if not lifting & set(parts.holds.of(order.account)):
            raise InputError(f"expected to lift the holds of {order.account}, found that another restart did meanwhile")
        act = stack.enter_context(written(parts, RESUME, order.by, COMMAND, **facts))
        # One that came meanwhile, by a trigger or a person, was looked into by nobody.
        lifted = parts.holds.lift(order.account, keep=lambda hold: hold not in lifting)
        act.outcome["lifted"] = [str(hold) for hold in lifted]
    left = parts.holds.of(order.account)
    if not left:
        alerts.recovered(parts, alert_key(order.account))
        for item in scene.incidents:
            alerts.recovered(parts, incident_key(item.key))
    return Restart(
        account=order.account,
        needs=tuple(needs),
        lifted=lifted,
        left=left,
        shared=tuple(
            f"{name}, which trades with the same exchange key: {hold}"
            for name, hold in parts.holds.beyond(order.account, parts.holds.keys.of(order.account))
        ),
        start=_start_of(scene.session),
        watch_until=parts.clock.now() + WATCHED,
    )


def stage_of(parts: Parts, order: RestartOrder) -> Stage:
    """Return the stage in which the account's last session ran, else the configured one.

    Raises:
        InputError: nothing holds the account.
    """
    return _scene(parts, order).stage


def statement(parts: Parts, order: RestartOrder) -> bytes:
    """Return what another person signs: who asks for which holds to be lifted, over which code and configuration.

    Raises:
        InputError: nothing holds the account.
    """
    scene = _scene(parts, order)
    facts = {
        "what": RESUME,
        "account": order.account,
        "by": order.by,
        "strategy": order.strategy,
        "holds": [[hold.at, hold.by, hold.why, hold.kind.value, *hold.strategies] for hold in _to_lift(order, scene.holds)],
        "incidents": [item.id for item in scene.incidents],
        "code_sha256": code_sha256(),
        "config_sha256": parts.settings.sha256,
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def statement_path(parts: Parts, order: RestartOrder) -> Path:
    """Return where the statement is put for people to sign."""
    return parts.state / "restarts" / f"{order.account}.json"


def _scene(parts: Parts, order: RestartOrder) -> _Scene:
    put_back(parts, order.account)
    holds = parts.holds.of(order.account)
    if not holds:
        raise InputError(f"expected something to hold the account {order.account}, found {_what_else(parts, order.account)}")
    lifting = _to_lift(order, holds)
    if not lifting:
        kept = "; ".join(map(str, holds))
        raise InputError(
            f"expected a hold of {order.account} that a restart lifts, found {kept}; a strategy that was taken out comes back "
            f"with: peak-trade resume {order.account} --strategy NAME"
        )
    # What was looked into, mended and tested before the last of them came says nothing about that one.
    last = max(parse_moment(hold.at) for hold in lifting)
    since = last if last.timestamp() else parts.clock.now()
    sessions = _sessions_of(parts, order.account)
    names = {session.session_id for session in sessions}
    about = tuple(item for item in tracked(parts).values() if item.session_id in names or _keyed(item.key, order, lifting))
    # A rehearsal begins on a held account too, and says nothing about what trades there.
    ran = [session for session in sessions if session.run.run_type != SHADOW_RUN]
    stage = _stage_last(parts, order.account, ran)
    mine = tuple(item for item in about if item.is_open or (item.closed_at is not None and item.closed_at >= since))
    return _Scene(parts, order, holds, since, ran[0] if ran else None, stage, mine)


def _what_else(parts: Parts, account: str) -> str:
    """Say what keeps an account that nothing holds itself, if anything does."""
    shared = parts.holds.beyond(account, parts.holds.keys.of(account))
    if not shared:
        return "nothing; it can be started"
    other, hold = shared[0]
    return (
        f"that what keeps it from its exchange is a hold of the account {other}, which trades with the same key ({hold}); it "
        f"goes on after: peak-trade resume {other}"
    )


def _keyed(key: str, order: RestartOrder, lifting: Sequence[Hold]) -> bool:
    """Tell whether an incident's key names the account, or the rollback whose holds are lifted."""
    about = key.partition(".")[2]
    # A name may have dots itself, and a key is cut where it is too long.
    if order.account in (about, key.rpartition(".")[2]) or (len(key) == KEY_MAX and order.account.startswith(about)):
        return True
    if order.strategy is not None:
        return key == f"{ROLLBACK_KEY}{order.strategy}"
    return any(hold.code == ROLLBACK for hold in lifting) and key in {f"{ROLLBACK_KEY}{stage.value}" for stage in Stage}


def _stage_last(parts: Parts, account: str, ran: Sequence[Session]) -> Stage:
    """Return the stage of an account's last session that was no rehearsal, else the configured one.

    Registry and journal are both asked, and the higher one counts: a session need not have been registered.
    """
    found = [Stage(ran[0].mode)] if ran else []
    for path in reversed(segments(parts.journal, account) if (parts.journal / account).is_dir() else []):
        first = parse_shape(next(lines(path), b""))
        if first is not None and first.body.get("run_type") != SHADOW_RUN and "mode" in first.body:
            found.append(Stage(first.body["mode"]))
            break
    return max(found, key=list(Stage).index) if found else parts.settings.file.environment.mode


def _sessions_of(parts: Parts, account: str) -> list[Session]:
    """Return the sessions of an account that the registry knows, newest first."""
    return parts.sessions.find(SessionFilter(account=account), 10_000)


def _to_lift(order: RestartOrder, holds: Sequence[Hold]) -> list[Hold]:
    """Return the holds that this restart lifts: of rolled-back strategies only where they are named, and then nothing else."""
    if order.strategy is not None:
        return [hold for hold in holds if hold.kind is HoldKind.CLOSE and hold.strategies == (order.strategy,)]
    return [hold for hold in holds if not (hold.kind is HoldKind.CLOSE and hold.strategies)]


def _start_of(session: Session | None) -> str:
    if session is None:
        return "peak-trade session run"
    called = list(session.cli_args)
    return shlex.join(["peak-trade", *called[1:]]) if called else "peak-trade session run"


# ---- the points ------------------------------------------------------------------------------------------------------


def _free(scene: _Scene) -> Need:
    """Tell whether the session that was paused has ended, so that the next one begins by recovering."""
    worker = worker_on(scene.parts, scene.order.account)
    name = "session ended"
    if worker is None:
        return Need(name, met=True, found="nobody works on the account")
    return Need(name, met=False, found=f"{worker} still runs", todo=f"peak-trade session stop {scene.order.account}")


def _kill_switch(scene: _Scene) -> Need:
    killed = scene.parts.kill_switch.state()
    if killed is None:
        return Need("kill switch", met=True, found="it is off")
    return Need("kill switch", met=False, found=str(killed), todo="peak-trade release --why TEXT")


def _calm(scene: _Scene) -> Need:
    """Tell whether a condition still goes on that holds accounts whichever session runs, by what the supervisor saw last."""
    name, account = "conditions over", scene.order.account
    trouble = sign_trouble(scene.parts)
    alarms = [stand.alarm for _, stand in alarms_seen(scene.parts)]
    still = [
        alarm
        for alarm in alarms
        if REMEDIES[alarm.watch].hold is not None
        and alarm.session_id is None
        and (alarm.watch is not Watch.JOURNAL or account in alarm.accounts)
    ]
    if not still:
        unwatched = "" if trouble is None else f", but nobody watches: {trouble}"
        return Need(name, met=True, found=f"none is known{unwatched}")
    words = "; ".join(f"{alarm.words} (found {alarm.found}, expected {alarm.limit})" for alarm in still)
    if trouble is not None:
        todo = "peak-trade supervisor run, which looks whether it is over"
        return Need(name, met=False, found=f"seen last, and nobody watches now: {words}", todo=todo)
    return Need(name, met=False, found=words, todo="mend that; the supervisor would hold the account again")


def _cause(scene: _Scene) -> Need:
    """Tell whether the cause was found: an incident about it is closed, and none is open."""
    name = "cause known"
    if still := [item for item in scene.incidents if item.is_open]:
        words = ", ".join(f"{item.id} ({item.title})" for item in still)
        return Need(name, met=False, found=f"open: {words}", todo=f"peak-trade incident close {still[0].id} --by NAME ...")
    if not scene.incidents:
        todo = f"peak-trade incident open --key pause.{scene.order.account} ..., look into it, close it"
        return Need(name, met=False, found="no incident tells why it was held", todo=todo)
    last = scene.incidents[-1]
    return Need(name, met=True, found=f"{last.cause} (closed by {last.closed_by})")


def _fix(scene: _Scene) -> Need:
    """Tell whether what was mended was tried since: by a backtest, a session on another account, or the tests."""
    parts, since = scene.parts, scene.since
    name = "fix tried"
    result = tested.last_result(parts.state)
    if result is not None and result.good and result.code_sha256 == code_sha256() and parse_moment(result.at) >= since:
        return Need(name, met=True, found=f"{result.passed} tests passed at {result.at}")
    completed = RunStatus.COMPLETED.value
    for run in parts.registry.find(RunFilter(run_type="backtest", status=completed), 50):
        if parse_moment(run.started_at) >= since:
            return Need(name, met=True, found=f"backtest {run.run_id} of {run.strategy}")
    for session in parts.sessions.find(SessionFilter(status=completed), 50):
        if parse_moment(session.run.started_at) >= since:
            return Need(name, met=True, found=f"session {session.session_id} on {session.account}")
    return Need(
        name,
        met=False,
        found=f"no backtest, no session and no tests of this code since {since:%F %T} UTC",
        todo="try it: peak-trade backtest ..., peak-trade session shadow ... --account trial, or --run-tests",
    )


def _documented(scene: _Scene) -> Need:
    said = scene.order.docs.strip()
    if len(said) >= SAID_MIN:
        return Need("documentation", met=True, found=f"{scene.order.by}: {said}")
    return Need("documentation", met=False, found="nobody says", todo="--docs 'what was updated, or why nothing had to be'")


def _configured(scene: _Scene) -> Need:
    """Tell that the configuration is read and typed, and whether it is that of the session before."""
    settings, session = scene.parts.settings, scene.session
    same = session is not None and session.run.config_sha256 == settings.sha256
    return Need("configuration", met=True, found=f"{settings.path.name} is sound; {'as' if same else 'other than'} before")


def _tested(scene: _Scene) -> Need:
    name, todo = "tests", f"peak-trade readiness --stage {scene.stage.value.replace('_', '-')} --run-tests, or --run-tests here"
    result = tested.last_result(scene.parts.state)
    if result is None:
        return Need(name, met=False, found="no run of the tests is known", todo=todo)
    if parse_moment(result.at) < scene.since:
        return Need(name, met=False, found=f"the last run ({result.at}) was before the pause", todo=todo)
    if result.code_sha256 != code_sha256():
        return Need(name, met=False, found=f"the last run ({result.at}) was of other code", todo=todo)
    found = f"{result.passed} passed, {result.failed} failed at {result.at}"
    return Need(name, met=result.good, found=found, todo="" if result.good else "mend what failed, run them again")


def _ready(scene: _Scene) -> Need:
    if scene.stage is Stage.RESEARCH:
        return Need("readiness", met=True, found="research needs nothing")
    lines = check_stage(scene.parts, scene.stage, CHECKS)
    if blocking := [f"{line.name}: {line.seen.found}" for line in lines if line.blocks]:
        todo = f"peak-trade readiness --stage {scene.stage.value.replace('_', '-')}"
        return Need("readiness", met=False, found="; ".join(blocking), todo=todo)
    return Need("readiness", met=True, found=f"{len(lines)} checks of {scene.stage.value}")


def _tried(scene: _Scene) -> Need:
    """Run the stack once without consequences: the smoke test from testnet on, a session in a scratch folder in the shadow."""
    name = "dry run"
    if scene.stage in APPROVALS:
        layers = smoke_test(scene.parts, scene.order.profile, "")
        bad = [f"{layer.name}: {layer.found}" for layer in layers if layer.outcome.value != "ok"]
        found = "; ".join(bad) or f"{len(layers)} layers"
        return Need(name, met=proven(layers), found=found, todo="" if proven(layers) else "peak-trade smoke")
    if scene.session is None:
        return Need(name, met=True, found="no session ever ran on it; the readiness is what there is to try")
    fills = _scratch_session(scene.parts, scene.session, scene.order.account)
    return Need(name, met=True, found=f"{scene.session.run.strategy} over {DRY_BARS} bars in a scratch folder: {fills} fills")


def _scratch_session(parts: Parts, session: Session, account: str) -> int:
    """Run the strategies of a session over recorded bars in a folder that goes with it; return the number of fills.

    Raises:
        PeakTradeError: it did not run to its end.
    """
    keys = session.run.strategy.split("+")
    own = dict(session.run.params)
    params = {key: (own if len(keys) == 1 else own[key]) for key in keys}
    terms = Paper.from_json(spec_of(list(holdings(parts, account).records))["terms"])
    backtest = parts.settings.file.backtest
    with TemporaryDirectory(prefix="peak_trade_restart") as folder:
        data = parts.settings.folder(parts.settings.file.paths.data)
        file = parts.settings.file.model_copy(update={"paths": Paths(data=data)})
        scratch = Parts(replace(parts.settings, root=Path(folder), file=file))
        request = SessionRequest(
            mode=Stage.SHADOW,
            run_type=SHADOW_RUN,
            strategies=tuple((key, params[key]) for key in keys),
            data=(DataChoice(path=None, symbol=backtest.symbol, timeframe=backtest.timeframe),),
            paper=terms,
            account="dry-run",
            course=Course(steps=DRY_BARS),
            speed=None,
            env_name="dry-run",
            register=False,
            fresh=True,
        )
        try:
            ended = run_session(scratch, request, Watcher())
        finally:
            scratch.close()
    if ended.record["status"] != RunStatus.COMPLETED.value:
        raise SafetyRefused(f"expected the dry run to complete, found it {ended.record['status']}: {ended.record['error']}")
    return int(ended.record["metrics"]["num_fills"])


def _approved(scene: _Scene) -> Need:
    """Tell whether who asks signed the statement, and so many other people as the stage asks for.

    Without the signature of who asks anybody could ask in another name, and approve that alone.
    """
    parts, order = scene.parts, scene.order
    name, wanted = "approval", APPROVALS.get(scene.stage, 0)
    if not wanted:
        return Need(name, met=True, found=f"{scene.stage.value} needs none")
    content, now = statement(parts, order), parts.clock.now()
    made = [ssh_signature(content, key) for key in order.keys]
    made += [read_plain(path.parent, Path(path.name)) for path in order.signatures]
    beside = statement_path(parts, order).with_suffix(".json.sig")
    if beside.is_file():
        made.append(read_plain(beside.parent, Path(beside.name)))
    try:
        roles = load_roles(parts.settings.root)
    except NotFound:
        return Need(name, met=False, found="nobody is named in governance/roles.toml", todo="name people there")
    said = signers(content, [Signature(item, now) for item in made], roles, APPROVAL, at=now, seen_at=now)
    able = {item.person.id: item.person.roles for item in said.signers if item.person.id != order.by}
    able = {who: held_roles for who, held_roles in able.items() if held_roles & DECIDERS}
    missing = [who for who in order.approved_by if who not in able]
    owner = scene.stage is not Stage.LIVE or any(Role.OWNER in held_roles for held_roles in able.values())
    asked = any(item.person.id == order.by for item in said.signers)
    if asked and len(able) >= wanted and not missing and owner:
        return Need(name, met=True, found=f"signed by {', '.join(sorted(able))}")
    why = [item.words for item in said.objections]
    if order.by not in roles.people:
        why += [f"{order.by}, who asks, is nobody in governance/roles.toml"]
    elif not asked:
        why += [f"{order.by}, who asks, did not sign"]
    why += [f"{', '.join(missing)} did not sign"] if missing else []
    why += [f"{len(able)} of {wanted} other people signed"] if len(able) < wanted else []
    why += [] if owner else ["no owner signed"]
    todo = f"who asks and another person sign {statement_path(parts, order)}: --key KEY for each, or ssh-keygen -Y sign"
    return Need(name, met=False, found="; ".join(why), todo=todo)


#: The points in their order.
POINTS: tuple[tuple[str, Point], ...] = (
    ("session ended", _free),
    ("kill switch", _kill_switch),
    ("conditions over", _calm),
    ("cause known", _cause),
    ("fix tried", _fix),
    ("documentation", _documented),
    ("configuration", _configured),
    ("tests", _tested),
    ("readiness", _ready),
    ("dry run", _tried),
    ("approval", _approved),
)
