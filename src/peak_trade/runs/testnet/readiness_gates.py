"""What readiness asks of the gates: people who decide, drills that were passed, permits that are good."""

from datetime import timedelta

from peak_trade.governance.approvals import can_decide
from peak_trade.governance.criteria import EvidenceKind
from peak_trade.governance.files import ROLES, load_roles
from peak_trade.governance.ladder import Rung
from peak_trade.model.errors import NotFound, SafetyRefused
from peak_trade.model.instrument import parse_symbol
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import EVIDENCE, done
from peak_trade.runs.configured import configured_params
from peak_trade.runs.gates.permits import allowed, every_permit
from peak_trade.runs.gates.record import gate_record
from peak_trade.runs.testnet.readiness import Grade, Look, Seen
from peak_trade.strategy.catalogue import make

#: Oldest drill that still says something.
DRILL_LASTS = timedelta(days=30)
#: How the drill of the kill switch is called.
KILL_SWITCH_DRILL = "kill_switch"


def roles(look: Look) -> Seen:
    """Look that there are people for every role that decides about the step to a stage."""
    # A stage that needs no permit here can be run by whoever is here.
    grade = Grade.FAILED if look.parts.needs_permit(look.stage) else Grade.WARNING
    rung = next(rung for rung in Rung if rung.upper is look.stage)
    try:
        people = load_roles(look.parts.settings.root)
    except NotFound:
        return Seen(grade, f"there is no {ROLES}", "take it from the repository and name people in it")
    if missing := can_decide(rung.deciders, people, "", look.parts.clock.now()):
        names = ", ".join(role.value for role in missing)
        return Seen(grade, f"nobody could decide about {rung.value} as {names}", "name people in governance/roles.toml")
    return Seen(Grade.OK, f"{len(people.people)} people; {rung.value} can be decided")


def drill(look: Look) -> Seen:
    """Look for the newest drill of the kill switch."""
    now = look.parts.clock.now()
    found = [
        act
        for act in done(look.parts)
        if act.action == EVIDENCE
        and act.went_well
        and act.begun.body["kind"] == EvidenceKind.DRILL.value
        and act.last.body["facts"].get("drill") == KILL_SWITCH_DRILL
    ]
    if not found:
        return Seen(Grade.UNKNOWN, "no drill of the kill switch is recorded", "run one: peak-trade drill run kill-switch")
    newest = found[-1]
    told = f"the kill switch was tried {newest.at:%F %T}"
    if newest.last.body["facts"].get("passed") is not True:
        return Seen(Grade.FAILED, f"{told} and did not work", "find out why, mend it, try again")
    if now - newest.at > DRILL_LASTS:
        return Seen(Grade.UNKNOWN, f"{told}, more than {DRILL_LASTS.days} days ago", "try it again")
    return Seen(Grade.OK, f"{told} and worked")


def permit(look: Look) -> Seen:
    """Look whether sessions of a stage may run: for testnet those of its profiles."""
    parts, stage = look.parts, look.stage
    if not parts.needs_permit(stage):
        return Seen(Grade.OK, f"{look.place} is this machine, where no permit is needed")
    if stage is not Stage.TESTNET:
        record = gate_record(parts)
        good = [item for item in every_permit(parts, record, parts.clock.now()) if item.permit]
        mine = [item.held.id for item in good if item.permit and item.permit.document.stage is stage]
        if not mine:
            return Seen(Grade.FAILED, f"there is no permit for {stage.value}", "a gate decides: peak-trade gate status")
        return Seen(Grade.OK, f"permits for {stage.value}: {', '.join(mine)}")
    refused = {}
    for name, profile in parts.settings.file.testnet_profiles.items():
        pairs = tuple(sorted(map(parse_symbol, profile.symbols)))
        try:
            allowed(parts, stage, make(profile.strategy, configured_params(parts, profile.strategy, profile.params)), pairs)
        except SafetyRefused as error:
            refused[name] = str(error)
    total = len(parts.settings.file.testnet_profiles)
    if len(refused) == total:
        return Seen(Grade.FAILED, f"none of {total} profiles has a permit", "a gate decides: peak-trade gate status")
    if refused:
        return Seen(Grade.WARNING, f"no permit for {', '.join(refused)}", "a gate decides: peak-trade gate status")
    return Seen(Grade.OK, f"all {total} profiles have a permit")
