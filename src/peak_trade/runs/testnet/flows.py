"""The playbook's two flows, 5.1 and 5.2: each step looked at, so that a flow goes on where it is, and nothing is skipped.

Invariant: a step is done because something shows it: a run, a file, a signature, a setting, or a person who wrote it down.
Invariant: a step that is open hides none of those after it, but nothing after it counts as reached.
"""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.governance.approvals import Approvals, approve
from peak_trade.governance.checklists import CHECKLISTS
from peak_trade.governance.criteria import Answer, Ruling
from peak_trade.governance.ladder import Rung
from peak_trade.governance.requests import read_request
from peak_trade.governance.roles import Role
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.errors import CheckFailed, InputError, PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import COMMAND, held, written
from peak_trade.runs.checklists import ARCHIVED, check_file
from peak_trade.runs.configured import configured_params
from peak_trade.runs.gates.climb import Climb, look_at_gate, rules_of
from peak_trade.runs.gates.promotion import opened
from peak_trade.runs.gates.record import GateRecord, Requested, gate_record
from peak_trade.runs.gates.status import short
from peak_trade.runs.strategy_version import version_of
from peak_trade.runs.testnet.profile import terms_of
from peak_trade.settings import LIVE_VARIABLES
from peak_trade.strategy.catalogue import make

#: The act of a person who says that a step is done.
CONFIRMED = "flow_confirmed"
Json = dict[str, Any]


class Looked(NamedTuple):
    """What a step's look found, and what to do where it is not done."""

    done: bool
    found: str
    todo: str = ""


@dataclass(frozen=True)
class FlowCase:
    """What a flow is about, looked up once for all of its steps."""

    parts: Parts
    climb: Climb
    record: GateRecord
    profile: str

    @cached_property
    def rulings(self) -> dict[str, Ruling]:
        """How each criterion of the step stands."""
        look = look_at_gate(self.parts, self.climb, rules_of(self.parts), self.record, self.parts.clock.now(), fresh=False)
        return {ruling.criterion: ruling for ruling in look.rulings}

    @cached_property
    def asked(self) -> Requested | None:
        """The newest request for exactly this step."""
        item: Requested
        for item in reversed(list(self.record.requests.values())):
            try:
                request = read_request(opened(self.parts, self.record, item.sha256)[1])
            except PeakTradeError:
                continue
            if request.transition is self.climb.rung and request.assignment == self.climb.assignment:
                return item
        return None

    def signed(self, role: Role) -> str:
        """Return who signed the request in a role, empty where nobody did."""
        if self.asked is None:
            return ""
        return next((item.person for item in self.approvals(self.asked).approvals if item.role is role), "")

    def approvals(self, asked: Requested) -> Approvals:
        """Return who has signed a request; of one that was decided, as it was then."""
        rules, content = rules_of(self.parts), opened(self.parts, self.record, asked.sha256)[1]
        decided = self.record.decision(asked.sha256)
        at = decided[1].at if decided else self.parts.clock.now()
        given = list(self.record.signatures.get(asked.sha256, ()))
        return approve(content, read_request(content), given, rules.roles, rules.policy, at=at)

    def passes(self, *criteria: str) -> Looked:
        """Return whether criteria pass, with what each came to."""
        found = [self.rulings[name] for name in criteria]
        words = "; ".join(f"{item.criterion} {item.answer.value}: {item.why}" for item in found)
        step = self.climb.rung.value
        todo = f"peak-trade gate explain '{step}' --strategy {self.climb.version.key}"
        return Looked(all(item.answer is Answer.PASS for item in found), words, todo)

    def confirmed(self, step: str, flow: str) -> Looked:
        """Return whether a person wrote down that a step is done for this version."""
        for act in reversed(self.record.acts):
            body = act.begun.body
            if act.action == CONFIRMED and (body["flow"], body["step"], body["version"]) == (
                flow,
                step,
                short(self.climb.version),
            ):
                return _done(f"{body['by']} at {act.begun.at[:16]}: {body['note']}")
        name = self.climb.version.key
        return _open(
            "nobody wrote it down", f'peak-trade flow {flow} --strategy {name} --confirm {step} --by NAME --note "..."'
        )


def _done(found: str) -> Looked:
    return Looked(done=True, found=found)


def _open(found: str, todo: str = "") -> Looked:
    return Looked(done=False, found=found, todo=todo)


class FlowStep(NamedTuple):
    """A step: its part of the flow, what is to be done, and how one sees that it is."""

    id: str
    part: str
    words: str
    look: Callable[[FlowCase], Looked]


class FlowLine(NamedTuple):
    """A step as it stands; `reached` is whether all before it are done."""

    step: FlowStep
    looked: Looked
    reached: bool

    def to_json(self) -> Json:
        """Return the line as a JSON object."""
        return {
            "id": self.step.id,
            "part": self.step.part,
            "words": self.step.words,
            "done": self.looked.done,
            "reached": self.reached,
            "found": self.looked.found,
            "todo": "" if self.looked.done else self.looked.todo,
        }


def walk(case: FlowCase, flow: str) -> list[FlowLine]:
    """Look at every step of a flow, in its order."""
    lines: list[FlowLine] = []
    reached = True
    for step in FLOWS[flow]:
        try:
            looked = step.look(case)
        except PeakTradeError as error:
            looked = _open(str(error))
        lines.append(FlowLine(step, looked, reached))
        reached = reached and looked.done
    return lines


def confirm(parts: Parts, case: FlowCase, flow: str, step: str, by: str, note: str) -> None:
    """Write down that a person did a step that nothing else shows.

    Raises:
        InputError: there is no such step, or it shows itself; or *by* is nobody in the roles.
        CheckFailed: a step before it is open.
    """
    mine = [item.id for item in FLOWS[flow] if item.id in BY_PERSON]
    if step not in mine:
        raise InputError(f"expected --confirm one of {', '.join(mine)}, found {step[:60]!r}; the other steps show themselves")
    people = rules_of(parts).roles.people
    if by not in people:
        raise InputError(f"expected --by a person of governance/roles.toml ({', '.join(sorted(people))}), found {by[:60]}")
    lines = walk(case, flow)
    at = next(number for number, line in enumerate(lines) if line.step.id == step)
    if before := [line.step.id for line in lines[:at] if not line.looked.done]:
        raise CheckFailed(f"expected every step before {step} done, found {', '.join(before)} open; do these first")
    facts = {"flow": flow, "step": step, "version": short(case.climb.version), "note": note}
    with held(parts), written(parts, CONFIRMED, by, COMMAND, **facts):
        pass


# ---- looks -----------------------------------------------------------------------------------------------------------


def _sessions(case: FlowCase, mode: Stage) -> int:
    key = case.climb.version.key
    found = case.parts.sessions.find(SessionFilter(mode=mode.value, strategy=key, status=RunStatus.COMPLETED.value), 1_000)
    return sum(session.run.versions.get("strategy") == case.climb.version.code_sha256 for session in found)


def _shadow_statistics(case: FlowCase) -> Looked:
    count = _sessions(case, Stage.SHADOW)
    found = case.passes("time_in_shadow", "shadow_activity", "backtest_parity")
    told = f"{count} completed shadow sessions; {found.found}"
    return Looked(found.done, told, "python scripts/experiments_explorer.py --run-type shadow_run --limit 50")


def _checklist(case: FlowCase) -> Looked:
    rung, key = case.climb.rung, case.climb.version.key
    if case.climb.checklist is None:
        return _open("there is none yet", f"peak-trade checklist new {CHECKLISTS[rung]} --strategy {key}")
    path = case.parts.settings.root / case.climb.checklist
    found = check_file(case.parts, path)
    if not found.complete:
        names = ", ".join(item.point for item in found.open_points)
        return _open(f"open: {names}", f"fill in {path}, then: peak-trade checklist check {path}")
    return _done(f"{path.name} is complete, {found.sha256[:12]}")


def _secrets(names: Sequence[str], case: FlowCase) -> Looked:
    missing = [name for name in names if not case.parts.settings.has_secret(name)]
    if missing:
        return _open(f"not set: {', '.join(missing)}", " and ".join(f'export {name}="..."' for name in missing))
    return _done(f"{', '.join(names)} are set; they are shown nowhere")


def _testnet_keys(case: FlowCase) -> Looked:
    section = case.parts.settings.file.exchange.kraken_testnet
    return _secrets((section.api_key_env, section.api_secret_env), case)


def _live_keys(case: FlowCase) -> Looked:
    return _secrets(LIVE_VARIABLES, case)


def _mode(stage: Stage, case: FlowCase) -> Looked:
    mode = case.parts.settings.file.environment.mode
    if mode is not stage:
        return _open(f'environment.mode is "{mode.value}"', f'set mode = "{stage.value}" in [environment]')
    return _done(f"environment.mode is {stage.value}")


def _testnet_config(case: FlowCase) -> Looked:
    mode = _mode(Stage.TESTNET, case)
    if not mode.done:
        return mode
    limits = case.passes("limits_defined")
    if not limits.done:
        return _open(limits.found, "add [testnet_limits.symbols] for every pair")
    fits = _fitting(case)
    if not fits:
        return _open(f"no profile of {case.climb.version.key} with these parameters and pairs", "add [testnet_profiles]")
    return _done(f"limits for every pair; profiles {', '.join(fits)}")


def _fitting(case: FlowCase) -> list[str]:
    """Return the profiles that run this very version."""
    parts = case.parts
    return [
        name
        for name, profile in parts.settings.file.testnet_profiles.items()
        if version_of(make(profile.strategy, configured_params(parts, profile.strategy, profile.params))) == case.climb.version
        and set(profile.symbols) <= set(case.climb.symbols)
        and (not case.profile or name == case.profile)
    ]


def _requested(case: FlowCase) -> Looked:
    step, key = case.climb.rung.value, case.climb.version.key
    if case.asked is None:
        return _open("nobody asked yet", f"peak-trade gate request '{step}' --strategy {key} --by NAME")
    if not case.approvals(case.asked).asked:
        todo = f"peak-trade gate approve {case.asked.sha256[:16]} --key KEY"
        return _open(f"{case.asked.by} is said to ask, and has not signed", todo)
    return _done(f"request {case.asked.sha256[:16]} by {case.asked.by}")


def _signed(role: Role, case: FlowCase) -> Looked:
    who = case.signed(role)
    name = case.asked.sha256[:16] if case.asked else "ID"
    if not who:
        return _open(f"no signature of a {role.value}", f"peak-trade gate approve {name} --key KEY")
    return _done(f"{who} signed")


def _decided(case: FlowCase) -> Looked:
    decision = case.record.decision(case.asked.sha256) if case.asked else None
    if decision is None or not decision[1].passed:
        name = case.asked.sha256[:16] if case.asked else "ID"
        return _open("not decided" if decision is None else "decided, and not passed", f"peak-trade gate decide {name}")
    return _done(f"passed at {decision[1].at:%F %T}")


def _committed(case: FlowCase) -> Looked:
    settings = case.parts.settings
    todo = f'git add {settings.path.name} && git commit -m "feat: activate testnet mode"'
    command = ["git", "-C", str(settings.root), "status", "--porcelain", "--", str(settings.path)]
    tracked = ["git", "-C", str(settings.root), "ls-files", "--error-unmatch", "--", str(settings.path)]
    try:
        known = subprocess.run(tracked, capture_output=True, timeout=10, check=False).returncode == 0
        changed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return _open(f"git can't be asked: {error}", todo)
    if not known or changed:
        return _open("changed since the last commit" if known else "not in a repository", todo)
    return _done(f"{settings.path.name} is committed")


def _tests(case: FlowCase) -> Looked:
    found = case.passes("tests_green")
    return found._replace(todo="python scripts/check_live_readiness.py --stage testnet --all-tests")


def _dry_run(case: FlowCase) -> Looked:
    fits = _fitting(case)
    if not fits:
        return _open("no profile runs this version", "add one to [testnet_profiles]")
    for name in fits:
        terms_of(case.parts, name)
    return _done(f"the limits allow {', '.join(fits)}")


def _first_run(case: FlowCase) -> Looked:
    decision = case.record.decision(case.asked.sha256) if case.asked else None
    fits = _fitting(case)
    todo = f"python -m scripts.orchestrate_testnet_runs --profile {fits[0] if fits else 'PROFILE'}"
    if decision is None:
        return _open("not decided yet", todo)
    found = case.parts.sessions.find(
        SessionFilter(mode=Stage.TESTNET.value, strategy=case.climb.version.key, since=decision[1].at), 1_000
    )
    done = [item for item in found if item.run.status is RunStatus.COMPLETED]
    if not done:
        return _open(f"{len(found)} sessions since the decision, none completed", todo)
    return _done(f"{done[-1].session_id} completed")


def _archived(case: FlowCase) -> Looked:
    path = case.climb.checklist
    todo = f"peak-trade checklist archive {path or 'FILE'}"
    if case.asked is None:
        return _open("there is no request yet", todo)
    wanted = set(read_request(opened(case.parts, case.record, case.asked.sha256)[1]).parts["checklist"].values())
    for act in case.record.acts:
        if act.action == ARCHIVED and act.went_well and act.begun.body["sha256"] in wanted:
            return _done(str(act.begun.body["path"]))
    return _open("the list that was signed is not archived", todo)


def _testnet_statistics(case: FlowCase) -> Looked:
    below = Climb(
        rung=Rung.TESTNET_SHADOW_LIVE,
        version=case.climb.version,
        account=case.climb.account,
        symbols=case.climb.symbols,
    )
    return FlowCase(case.parts, below, case.record, "").passes("time_in_testnet", "testnet_activity", "order_success")


def _conservative(case: FlowCase) -> Looked:
    file = case.parts.settings.file
    mode = _mode(Stage.LIVE, case)
    if not mode.done:
        return mode
    if not file.live.enabled:
        return _open("live.enabled is false", "set enabled = true in [live]")
    return case.passes("limits_defined")


def _by(criterion: str) -> Callable[[FlowCase], Looked]:
    return lambda case: case.passes(criterion)


def _confirmed(step: str, flow: str) -> Callable[[FlowCase], Looked]:
    return lambda case: case.confirmed(step, flow)


def _sign(role: Role) -> Callable[[FlowCase], Looked]:
    return lambda case: _signed(role, case)


UP, LIVE = "shadow-to-testnet", "testnet-to-live"
_PREPARE, _REVIEW = "1 preparation", "2 review"
#: The steps that only a person's word shows.
BY_PERSON = frozenset({"watched", "documented", "preview", "present", "first_trade"})
FLOWS: dict[str, tuple[FlowStep, ...]] = {
    UP: (
        FlowStep("statistics", _PREPARE, "Shadow statistics are exported and looked at.", _shadow_statistics),
        FlowStep("checklist", _PREPARE, "The checklist Shadow to Testnet is filled in.", _checklist),
        FlowStep("credentials", _PREPARE, "The key for testnet is in the environment.", _testnet_keys),
        FlowStep("config", _PREPARE, "The configuration is prepared: mode, limits, profiles.", _testnet_config),
        FlowStep("request", _REVIEW, "The step is asked for.", _requested),
        FlowStep("reviewer", _REVIEW, "A second person has read the checklist and signed.", _sign(Role.REVIEWER)),
        FlowStep("owner", _REVIEW, "The owner has signed.", _sign(Role.OWNER)),
        FlowStep("decision", _REVIEW, "The gate has decided.", _decided),
        FlowStep("committed", "3 activation", "The configuration is committed, without secrets.", _committed),
        FlowStep("tests", "3 activation", "All tests passed for this code.", _tests),
        FlowStep("dry_run", "3 activation", "The profile passes a dry run.", _dry_run),
        FlowStep("first_run", "3 activation", "The first session on testnet ran.", _first_run),
        FlowStep("watched", "4 monitoring", "The first session was watched: logs and reports.", _confirmed("watched", UP)),
        FlowStep("documented", "4 monitoring", "Its id and its result are written down.", _confirmed("documented", UP)),
        FlowStep("archived", "4 monitoring", "The filled checklist is archived.", _archived),
    ),
    LIVE: (
        FlowStep("statistics", "1 look back", "Testnet statistics over the whole time; orders over 95 %.", _testnet_statistics),
        FlowStep("kill_switch", "1 look back", "The kill switch was tried.", _by("kill_switch_drill")),
        FlowStep("checklist", "1 look back", "The checklist for live is filled in.", _checklist),
        FlowStep("impact", "2 governance", "What a loss would mean is written down and read.", _by("impact_analysis")),
        FlowStep("capital", "2 governance", "The capital is set aside and confirmed.", _by("capital_allocation")),
        FlowStep("contacts", "2 governance", "Emergency contacts are up to date.", _by("emergency_contacts")),
        FlowStep("request", "2 governance", "The step is asked for.", _requested),
        FlowStep(
            "risk_officer", "2 governance", "The risk officer has read the checklist and signed.", _sign(Role.RISK_OFFICER)
        ),
        FlowStep("owner", "3 two people", "The owner has signed, with date.", _sign(Role.OWNER)),
        FlowStep("second", "3 two people", "A second person has signed, with date.", _sign(Role.SECOND_PERSON)),
        FlowStep("decision", "3 two people", "The gate has decided.", _decided),
        FlowStep("archived", "3 two people", "The document that was signed is archived.", _archived),
        FlowStep("credentials", "4 activation", "The key for live is in the environment.", _live_keys),
        FlowStep("config", "4 activation", "The configuration is prepared, with conservative limits.", _conservative),
        FlowStep("tests", "4 activation", "The last round of tests passed.", _tests),
        FlowStep("preview", "4 activation", "A dry run with a preview of live was looked at.", _confirmed("preview", LIVE)),
        FlowStep("present", "5 go live", "Owner and second person are present at the start.", _confirmed("present", LIVE)),
        FlowStep("first_trade", "5 go live", "Both watched the first trade.", _confirmed("first_trade", LIVE)),
        FlowStep("monitoring", "5 go live", "Monitoring runs and alerts arrive.", _by("monitoring_alert")),
    ),
}
#: The step of the ladder that a flow is about.
RUNGS = {UP: Rung.SHADOW_TESTNET, LIVE: Rung.SHADOW_LIVE_LIVE}


def case_of(parts: Parts, climb: Climb, profile: str = "") -> FlowCase:
    """Return what the steps of a flow look at."""
    return FlowCase(parts, climb, gate_record(parts), profile)
