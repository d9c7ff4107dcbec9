"""What stands at the top of every page: mode, tier, stage, locks, kill switch, time, and what needs a person."""

from typing import NamedTuple

from peak_trade.journal.registry import stamp
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import Clock
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.webui.desk import Desk, KillSwitchOn, Lock, Urgent

#: Critical incidents that are told one by one; the page of incidents has all.
CRITICAL_MAX = 3
#: What the kill switch does, by its level.
KILLED = {
    "no-new": "The kill switch is on: no order that enlarges a position is sent",
    "reduce-only": "The kill switch is on: only orders that reduce a position pass",
    "cancel-all": "The kill switch is on: every order is cancelled, and none is sent",
    "flatten": "The kill switch is on: every order is cancelled, and every position closed",
}


class Banner(NamedTuple):
    """Something that a person should look at.

    Attributes:
        words: a sentence with at most one `{}` for *value*; it is translated before that is put in.
        url: where to look, empty where there is no such page.
    """

    words: str
    value: str
    url: str


class Header(NamedTuple):
    """The state of the installation at one moment.

    Attributes:
        mode: what the configuration says this checkout is set up for.
        tiers: tiers of the sessions that run, else of the latest; empty where there is none.
        stages: the running sessions' stages; reach: the highest stage that can trade in this version.
        locks: the live lock first.
        tripped: since when the kill switch is on; None while it is off.
        now: ISO 8601, UTC; local: the same on the machine's clock, with its zone; zone: that zone's name.
        alerts: open alerts, gravest first.
        running: how many sessions run.
        newest: id of the newest session.
    """

    mode: str
    environment: str
    tiers: tuple[str, ...]
    stages: tuple[str, ...]
    reach: str
    locks: tuple[Lock, ...]
    tripped: KillSwitchOn | None
    now: str
    local: str
    alerts: tuple[Banner, ...]
    running: int
    newest: str


def header_of(desk: Desk) -> Header:
    """Look at everything that the header shows; a registry that can't be read is an alert among others."""
    told = desk.settings.file.environment
    locks, tripped = desk.locks(), desk.tripped()
    alerts = list(_state_alerts(desk, locks, tripped))
    tiers: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    running, newest = 0, ""
    try:
        census = desk.sessions.census()
        running, newest = len(census.started), census.newest or ""
        started = desk.sessions.find(SessionFilter(status="started"), 100) if running else []
        shown = started or desk.sessions.find(SessionFilter(), 1)
        tiers = tuple(dict.fromkeys(one.tier for one in shown if one.tier))
        stages = tuple(dict.fromkeys(one.mode for one in started))
        silent = [one for one in started if (one.lease_until or "") < stamp(desk.clock.now())]
        if silent:
            alerts.append(Banner("Running sessions that were silent for too long: {}", str(len(silent)), "/?status=started"))
        if census.unhandled:
            alerts.append(Banner("Failed sessions that nobody has acknowledged: {}", str(census.unhandled), "/?unhandled=1"))
    except PeakTradeError as error:
        alerts.insert(0, Banner("The registry can't be read: {}", str(error), "/api/health"))
    return Header(
        mode=told.mode.value,
        environment=told.name,
        tiers=tiers,
        stages=stages,
        reach=desk.stages[-1] if desk.stages else Stage.RESEARCH.value,
        locks=locks,
        tripped=tripped,
        **_times(desk.clock),
        alerts=tuple(alerts),
        running=running,
        newest=newest,
    )


def _state_alerts(desk: Desk, locks: tuple[Lock, ...], tripped: KillSwitchOn | None) -> list[Banner]:
    urgent = desk.safety.urgent()
    found = [Banner(KILLED.get(urgent.level, KILLED["reduce-only"]), "", "/kill-switch")] if tripped else []
    found += _urgent_alerts(urgent)
    found += [Banner("{} is open", lock.name, "") for lock in locks if not lock.closed]
    if desk.config_changed():
        found.append(
            Banner("The configuration file has changed since the dashboard read it; start the dashboard again", "", "")
        )
    return found


def _urgent_alerts(urgent: Urgent) -> list[Banner]:
    found = []
    if urgent.damaged:
        words = "The record of what people did is DAMAGED, and nothing that rests on it counts: {}"
        found.append(Banner(words, urgent.damaged, "/gates"))
    if urgent.unread:
        found.append(Banner("The record of what people did can't be read: {}", urgent.unread, "/api/health"))
    found += [Banner("A critical incident is open: {}", words, "/incidents") for words in urgent.critical[:CRITICAL_MAX]]
    if urgent.held:
        found.append(Banner("Accounts that are held: {}", ", ".join(urgent.held), "/safety#holds"))
    if urgent.unwatched:
        found.append(Banner("Nobody watches the sessions although a supervisor is required: {}", urgent.unwatched, "/safety"))
    return found


def _times(clock: Clock) -> dict[str, str]:
    now = clock.now()
    local = now.astimezone()
    return {"now": stamp(now)[:19] + "Z", "local": f"{local:%H:%M:%S} {local.tzname()}"}
