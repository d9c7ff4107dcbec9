"""What a supervisor makes of what it sees: each rule at its limit and below, and all of them against a slow reference."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.safety.alerts import KEY_MAX, Severity
from peak_trade.safety.holds import HoldKind
from peak_trade.safety.watch import (
    BARS,
    GAP_MAX_S,
    LATE_S,
    MB,
    REGISTRY_S,
    REMEDIES,
    Alarm,
    FolderSight,
    Memory,
    Observation,
    ProcessState,
    SessionSight,
    Stand,
    Watch,
    WatchLimits,
    holds_due,
    turn,
    watch,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = WatchLimits(
    hung_s=60.0,
    confirm_s=10.0,
    clock_jump_s=2.0,
    exchange_skew_s=1.0,
    session_memory=100 * MB,
    free_memory=50 * MB,
    free_disk=200 * MB,
    free_files=1_000,
)
WELL = SessionSight(
    session_id="s1",
    account="paper",
    at_exchange=False,
    process=ProcessState.RUNS,
    heartbeat="h0",
    beat_age_s=0.0,
    lease_s=30.0,
    journal_bytes=10,
    bar_s=1.0,
    ended=False,
    heeds_kill=False,
    working=0,
    memory_bytes=10 * MB,
)


def observed(at_s: float, *sights: SessionSight, **changes: Any) -> Observation:
    """Return what was seen so many seconds after the first look, with a wall clock that goes as it must."""
    well: dict[str, Any] = {"free_memory": 51 * MB, "folders": (FolderSight("/var", 200 * MB, 1_000),)}
    facts = {"at": NOW + timedelta(seconds=at_s), "uptime_s": 1_000.0 + at_s, "sessions": sights, **well, **changes}
    return Observation(**facts)


def seen(*looks: Observation) -> list[Watch]:
    """Return what is wrong after the last look."""
    memory: Memory | None = None
    found: tuple[Alarm, ...] = ()
    for look in looks:
        memory, found = watch(memory, look, LIMITS)
    return [alarm.watch for alarm in found]


def each_second(seconds: float, *sights: SessionSight, **changes: Any) -> list[Observation]:
    """Return looks one second apart, up to so many seconds, the last one exactly there."""
    times = [float(second) for second in range(int(seconds) + 1)]
    times += [seconds] if times[-1] != seconds else []
    return [observed(at_s, *sights, **changes) for at_s in times]


def test_what_is_well_alarms_nobody() -> None:
    assert seen(observed(0), observed(1, WELL), observed(2, replace(WELL, heartbeat="h1", journal_bytes=11))) == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ProcessState.RUNS, []),
        (ProcessState.NOT_SEEN, []),
        (ProcessState.STOPPED, [Watch.STOPPED]),
        (ProcessState.ZOMBIE, [Watch.DEAD]),
        (ProcessState.GONE, [Watch.DEAD]),
    ],
)
def test_a_process(state: ProcessState, expected: list[Watch]) -> None:
    assert seen(observed(0, replace(WELL, process=state))) == expected


def test_a_lease_that_runs_out_while_it_is_watched() -> None:
    still = replace(WELL, process=ProcessState.NOT_SEEN)
    assert seen(*each_second(29.999, still)) == []
    assert seen(*each_second(30.0, still)) == [Watch.SILENT]


def test_a_lease_that_had_run_out_before() -> None:
    assert seen(observed(0, replace(WELL, beat_age_s=29.999))) == []
    assert seen(observed(0, replace(WELL, beat_age_s=30.0))) == [Watch.SILENT]


def test_a_heartbeat_that_was_not_seen_accuses_nobody() -> None:
    known, blind = observed(0, WELL), replace(WELL, heartbeat=None)
    grows = [observed(second, replace(blind, journal_bytes=10 + second)) for second in range(1, 60)]
    assert seen(known, *grows) == []


def test_a_wall_clock_that_jumps_makes_no_session_silent() -> None:
    jumped = observed(1, WELL, at=NOW + timedelta(hours=1))
    assert seen(observed(0, WELL), jumped) == [Watch.CLOCK]


def test_a_gap_between_two_looks_counts_little() -> None:
    """A machine that slept for an hour, or a supervisor that was kept waiting, blames only itself."""
    assert seen(observed(0, WELL), observed(3_600, WELL)) == [Watch.LATE]
    assert seen(*(observed(i * 3_600, WELL) for i in range(int(30 / GAP_MAX_S)))) == [Watch.LATE]
    assert seen(*(observed(i * 3_600, WELL) for i in range(int(30 / GAP_MAX_S) + 1))) == [Watch.SILENT, Watch.LATE]


def beating(seconds: float, **changes: Any) -> list[Observation]:
    """Return looks at a session whose heartbeat goes on."""
    sight = replace(WELL, **changes)
    return [
        replace(look, sessions=(replace(sight, heartbeat=f"h{number}"),)) for number, look in enumerate(each_second(seconds))
    ]


@pytest.mark.parametrize("bar_s", [0.0, 1.0, 7.5])
def test_a_journal_that_stands_still(bar_s: float) -> None:
    limit_s = 60.0 + BARS * bar_s
    assert seen(*beating(limit_s - 0.001, bar_s=bar_s)) == []
    assert seen(*beating(limit_s, bar_s=bar_s)) == [Watch.HUNG]


@pytest.mark.parametrize(
    "changes",
    [{"ended": True}, {"bar_s": None}, {"journal_bytes": None}, {"process": ProcessState.NOT_SEEN}],
    ids=["ended", "no pace", "no journal", "no process"],
)
def test_what_is_not_known_to_hang_does_not(changes: dict[str, Any]) -> None:
    assert seen(*beating(100.0, **changes)) == []


def test_a_journal_that_grows_by_a_byte_does_not_hang() -> None:
    looks = beating(64.0)
    grown = replace(looks[-1], sessions=(replace(looks[-1].sessions[0], journal_bytes=11),))
    assert seen(*looks[:-1], grown) == []


def test_of_cause_and_consequence_only_the_cause_is_told() -> None:
    stopped = replace(WELL, process=ProcessState.STOPPED)
    assert seen(*each_second(100.0, stopped)) == [Watch.STOPPED]


def test_one_that_goes_on_after_it_was_stopped_has_its_full_time_again() -> None:
    stopped = replace(WELL, process=ProcessState.STOPPED)
    before = [observed(second, stopped) for second in range(300)]
    after = [observed(300 + second, WELL) for second in range(29)]
    assert seen(*before, *after) == []
    assert seen(*before, *after, observed(329, WELL)) == [Watch.SILENT]


def test_a_kill_switch_that_is_not_heeded() -> None:
    quick = {"killed": True}
    assert seen(*each_second(9.999, WELL, **quick)) == []
    assert seen(*each_second(10.0, WELL, **quick)) == [Watch.UNHEEDED]
    assert seen(*each_second(10.0, replace(WELL, heeds_kill=True), **quick)) == []
    assert seen(*each_second(10.0, replace(WELL, ended=True), **quick)) == []
    assert seen(*each_second(10.0, WELL)) == []


def test_the_time_to_heed_begins_with_the_switch() -> None:
    before = [observed(second, WELL) for second in range(20)]
    after = [observed(20 + second, WELL, killed=True) for second in range(10)]
    assert seen(*before, *after) == []
    assert seen(*before, *after, observed(30, WELL, killed=True)) == [Watch.SILENT, Watch.UNHEEDED]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"free_memory": 50 * MB}, []),
        ({"free_memory": 50 * MB - 1}, [Watch.MEMORY]),
        ({"free_memory": None}, []),
        ({"folders": (FolderSight("/var", 200 * MB - 1, 1_000),)}, [Watch.DISK]),
        ({"folders": (FolderSight("/var", 200 * MB, 999),)}, [Watch.DISK]),
        ({"folders": (FolderSight("/var", 200 * MB, None),)}, []),
        ({"folders": (FolderSight("/var", None, None),)}, []),
        ({"folders": (FolderSight("/var", 0, 0),)}, [Watch.DISK]),
        ({"exchange_ahead_s": 0.999}, []),
        ({"exchange_ahead_s": 1.0}, [Watch.EXCHANGE_CLOCK]),
        ({"exchange_ahead_s": -1.0}, [Watch.EXCHANGE_CLOCK]),
        ({"registry_out_s": REGISTRY_S - 0.001}, []),
        ({"registry_out_s": REGISTRY_S}, [Watch.REGISTRY]),
        ({"flawed": {"paper": "changed: record 3"}}, [Watch.JOURNAL]),
        ({"unseen": ("the machine's memory",)}, [Watch.NOT_SEEN]),
    ],
)
def test_the_machine(changes: dict[str, Any], expected: list[Watch]) -> None:
    assert seen(observed(0, **changes)) == expected


@pytest.mark.parametrize(("jump_s", "expected"), [(1.999, []), (2.0, [Watch.CLOCK]), (-1.999, []), (-2.0, [Watch.CLOCK])])
def test_a_clock_that_jumps(jump_s: float, expected: list[Watch]) -> None:
    assert seen(observed(0), observed(1, at=NOW + timedelta(seconds=1 + jump_s))) == expected


@pytest.mark.parametrize(("gap_s", "expected"), [(LATE_S - 0.001, []), (LATE_S, [Watch.LATE])])
def test_a_supervisor_that_is_kept_waiting(gap_s: float, expected: list[Watch]) -> None:
    assert seen(observed(0), observed(gap_s)) == expected


@pytest.mark.parametrize(("used", "expected"), [(100 * MB - 1, []), (100 * MB, [Watch.GREEDY]), (None, [])])
def test_the_memory_of_a_session(used: int | None, expected: list[Watch]) -> None:
    assert seen(observed(0, replace(WELL, memory_bytes=used))) == expected


def test_a_journal_that_cant_be_followed() -> None:
    assert seen(observed(0, replace(WELL, journal_trouble="a line is damaged"))) == [Watch.UNREADABLE]


@pytest.mark.parametrize(
    ("changes", "cancel"),
    [
        ({"at_exchange": True, "working": 2}, "paper"),
        ({"at_exchange": True, "working": 0}, ""),
        ({"at_exchange": False, "working": 2}, ""),
    ],
)
def test_only_orders_at_an_exchange_are_to_be_cancelled(changes: dict[str, Any], cancel: str) -> None:
    blind = replace(WELL, process=ProcessState.GONE, **changes)
    _, (alarm,) = watch(None, observed(0, blind), LIMITS)
    assert alarm.cancel == cancel
    assert ("2 of its orders" in alarm.words) == bool(cancel)


def test_a_session_that_sees_is_not_taken_its_orders() -> None:
    greedy = replace(WELL, memory_bytes=200 * MB, at_exchange=True, working=1)
    _, (alarm,) = watch(None, observed(0, greedy), LIMITS)
    assert (alarm.watch, alarm.cancel) == (Watch.GREEDY, "")


def test_each_watch_has_its_remedy_and_a_key_that_fits() -> None:
    assert set(REMEDIES) == set(Watch)
    longest = max(len(item.value) for item in Watch)
    assert len("supervisor.") + longest + 1 + len("20261123T182909763Z-577284") <= KEY_MAX
    assert all(remedy.severity is Severity.CRITICAL for remedy in REMEDIES.values() if remedy.hold or remedy.cancels)


# ---- conditions ------------------------------------------------------------------------------------------------------


DEAD = Alarm(Watch.DEAD, "s1", "is dead", "gone", "runs", "s1", ("paper",))
DISK = Alarm(Watch.DISK, "/var", "is full", "0", "1", accounts=("paper", "spare"))


def test_a_condition_begins_once_and_is_over_once_it_was_calm() -> None:
    first = turn({}, [DEAD], 1.0, 3.0)
    assert (first.begun, first.over) == ((DEAD,), ())
    second = turn(first.standing, [DEAD], 1.0, 3.0)
    assert (second.begun, second.over) == ((), ())
    standing = second.standing
    for _ in range(2):
        standing, begun, over = turn(standing, [], 1.0, 3.0)
        assert (begun, over) == ((), ())
    calm = turn(standing, [], 1.0, 3.0)
    assert (dict(calm.standing), calm.begun, calm.over) == ({}, (), (DEAD,))


def test_one_that_flaps_goes_on() -> None:
    standing = turn({}, [DEAD], 1.0, 3.0).standing
    for found in ([], [], [DEAD], [], [], [DEAD]):
        standing, begun, over = turn(standing, found, 1.0, 3.0)
        assert (begun, over) == ((), ())


def test_a_hold_that_is_patient_waits_for_a_restart() -> None:
    def due(stood_s: float, alarm: Alarm = DEAD, calm_s: float = 0.0) -> list[tuple[str, HoldKind]]:
        return [(item.key, kind) for item, kind in holds_due({alarm.key: Stand(alarm, stood_s, calm_s)}, 60.0)]

    assert due(59.999) == []
    assert due(60.0) == [("dead.s1", HoldKind.RESTRICT)]
    assert due(60.0, calm_s=0.1) == []
    assert due(0.0, DEAD._replace(cancel="paper")) == [("dead.s1", HoldKind.RESTRICT)]
    assert due(0.0, DISK) == [("disk./var", HoldKind.RESTRICT)]
    assert due(99.0, Alarm(Watch.LATE, "", "late", "11", "10")) == []


# ---- against a slow reference ----------------------------------------------------------------------------------------


def reference(looks: list[Observation]) -> set[tuple[Watch, str]]:
    """Return what is wrong after the last of all looks, worked out from the whole history."""
    last, found = looks[-1], set()
    gaps = [0.0] + [b.uptime_s - a.uptime_s for a, b in pairwise(looks)]
    watched = [min(gap, GAP_MAX_S) for gap in gaps]
    for sight in last.sessions:
        name = sight.session_id
        # Its looks since it was there without a break.
        begin = len(looks)
        while begin > 0 and any(item.session_id == name for item in looks[begin - 1].sessions):
            begin -= 1
        own = [(i, next(item for item in looks[i].sessions if item.session_id == name)) for i in range(begin, len(looks))]

        def looks_at(number: int, name: str = name) -> SessionSight:
            return next(item for item in looks[number].sessions if item.session_id == name)

        def still(values: list[tuple[int, Any]], start_s: float = 0.0) -> float:
            """Return for how long a value has stood still."""
            age_s, known = start_s, values[0][1]
            for i, value in values[1:]:
                if value is None:
                    continue
                if value != known:
                    age_s, known = 0.0, value
                elif looks_at(i).process is not ProcessState.STOPPED:
                    age_s += watched[i]
            return age_s

        beat_s = still([(i, item.heartbeat) for i, item in own], own[0][1].beat_age_s)
        beat_known = any(item.heartbeat is not None for _, item in own)
        still_s = still([(i, item.journal_bytes) for i, item in own])
        open_since = len(own)
        while (
            open_since
            and looks[own[open_since - 1][0]].killed
            and not (own[open_since - 1][1].heeds_kill or own[open_since - 1][1].ended)
        ):
            open_since -= 1
        # A process that was stopped could not heed it, and has its full time once it goes on.
        unheeded_s = sum(watched[i] for i, item in own[open_since + 1 :] if item.process is not ProcessState.STOPPED)
        unheeded = open_since < len(own)
        if sight.process in (ProcessState.GONE, ProcessState.ZOMBIE):
            found.add((Watch.DEAD, name))
        elif sight.process is ProcessState.STOPPED:
            found.add((Watch.STOPPED, name))
        else:
            if beat_known and beat_s >= sight.lease_s:
                found.add((Watch.SILENT, name))
            can_hang = sight.bar_s is not None and sight.journal_bytes is not None and sight.process is ProcessState.RUNS
            if can_hang and not sight.ended and still_s >= LIMITS.hung_s + BARS * (sight.bar_s or 0.0):
                found.add((Watch.HUNG, name))
        if unheeded and unheeded_s >= LIMITS.confirm_s:
            found.add((Watch.UNHEEDED, name))
        if sight.memory_bytes is not None and sight.memory_bytes >= LIMITS.session_memory:
            found.add((Watch.GREEDY, name))
    if last.free_memory is not None and last.free_memory < LIMITS.free_memory:
        found.add((Watch.MEMORY, ""))
    if len(looks) > 1 and abs((last.at - looks[-2].at).total_seconds() - gaps[-1]) >= LIMITS.clock_jump_s:
        found.add((Watch.CLOCK, ""))
    if gaps[-1] >= LATE_S:
        found.add((Watch.LATE, ""))
    return found


SIGHTS = st.builds(
    SessionSight,
    session_id=st.sampled_from(["a", "b"]),
    account=st.just("paper"),
    at_exchange=st.booleans(),
    process=st.sampled_from([ProcessState.RUNS] * 8 + list(ProcessState)),
    heartbeat=st.sampled_from(["h0"] * 6 + ["h1", None]),
    beat_age_s=st.sampled_from([0.0, 15.0, 30.0]),
    lease_s=st.just(30.0),
    journal_bytes=st.sampled_from([1] * 6 + [2, None]),
    bar_s=st.sampled_from([0.0, 1.0, None]),
    ended=st.sampled_from([False] * 5 + [True]),
    heeds_kill=st.sampled_from([False] * 5 + [True]),
    working=st.integers(0, 1),
    memory_bytes=st.sampled_from([None, 99 * MB, 100 * MB]),
)
LOOKS = st.lists(
    st.tuples(
        st.sampled_from([1.0, 4.0, 5.0, 9.5, 10.0, 60.0]),  # since the look before
        st.sampled_from([0.0] * 6 + [1.5, 2.0, -2.5]),  # a jump of the wall clock
        st.lists(SIGHTS, max_size=2, unique_by=lambda sight: sight.session_id),
        st.booleans(),
        st.sampled_from([None, 49 * MB, 50 * MB]),
    ),
    min_size=1,
    max_size=40,
)


@given(LOOKS)
@settings(max_examples=150, deadline=None)
def test_it_says_what_a_slow_reference_says(history: list[Any]) -> None:
    memory: Memory | None = None
    at, uptime_s, looks = NOW, 1_000.0, []
    for gap_s, jump_s, sights, killed, free in history:
        uptime_s += gap_s
        at += timedelta(seconds=gap_s + jump_s)
        looks.append(Observation(at=at, uptime_s=uptime_s, sessions=tuple(sights), killed=killed, free_memory=free))
        memory, found = watch(memory, looks[-1], LIMITS)
        assert {(alarm.watch, alarm.about) for alarm in found} == reference(looks)
        assert set(memory.sessions) == {sight.session_id for sight in sights}
