"""A supervisor over real processes, journals, disks and a registry; only the clocks and the exchange are a test's own."""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows import a_session

from peak_trade.compose import Parts
from peak_trade.journal.chain import Chain
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import MachineClock
from peak_trade.model.errors import CheckFailed, PeakTradeError, SafetyRefused
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs import acts
from peak_trade.runs.acts import readable
from peak_trade.runs.alerts import alerts
from peak_trade.runs.incidents import tracked
from peak_trade.runs.safety import restart
from peak_trade.runs.safety.restart import POINTS, Need, RestartOrder, look_at
from peak_trade.runs.supervision import deeds as supervisor_deeds
from peak_trade.runs.supervision import supervisor
from peak_trade.runs.supervision.deeds import RESUMED_S
from peak_trade.runs.supervision.look import exchange_ahead_s
from peak_trade.runs.supervision.supervisor import Aside, Supervision, report, sole_supervisor
from peak_trade.runs.supervisor_sign import SEEN, Uptime, machine_uptime, read_sign, sign_path, sign_trouble
from peak_trade.safety.holds import HoldKind
from peak_trade.safety.watch import Alarm, FolderSight, Watch
from peak_trade.settings import load_config

CONFIG = """
[supervisor]
required = true
hung_s = 20.0
restart_s = 30.0
calm_s = 3.0
sign_s = 0.1
"""


class MovedClock(MachineClock):
    """The machine's clock, moved on by a test."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.moved_s)

    def uptime(self) -> Uptime:
        known = machine_uptime()
        return Uptime(known.boot, known.seconds + self.moved_s)


class Ward:
    """A state folder, a supervisor over it, and what it said and cancelled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.toml").write_text(CONFIG)
        self.clock = MovedClock()
        self.said: list[str] = []
        self.cancelled: list[str] = []
        self.exchange_down = False
        self.processes: list[subprocess.Popen[bytes]] = []
        self.chains: dict[str, Chain] = {}
        self.parts = self.fresh()
        self.watch = self.begin()

    def fresh(self) -> Parts:
        parts = Parts(load_config(self.folder / "config.toml"))
        parts.clock = self.clock
        return parts

    def begin(self) -> Supervision:
        return Supervision(self.parts, self.said.append, self.cancel, self.clock.uptime)

    def cancel(self, account: str, _why: str) -> str:
        self.cancelled.append(account)
        if self.exchange_down:
            raise CheckFailed("the exchange does not answer")
        return "nothing is left"

    def session(self, account: str = "paper", run_type: str = "live_session_shadow", **changes: Any) -> Session:
        """Begin a session of a process that does nothing but live."""
        process = subprocess.Popen(["sleep", "600"])
        self.processes.append(process)
        now = self.clock.now()
        facts: dict[str, Any] = {"process": process.pid, "host": platform.node(), "started_at": stamp(now), "timeframe": "1m"}
        facts |= {"feed": {"kind": "recorded", "speed": 60.0}} | changes
        session = a_session(account, run_type, **facts)
        path = self.parts.journal / account / f"{session.session_id}.jsonl"
        session = a_session(account, run_type, **facts, run_id=session.session_id, journal=str(path))
        self.chains[account] = Chain.begin(
            self.parts.journal, account, session.session_id, {"continues": None}, at=now, signer=self.parts.signer
        )
        return self.parts.sessions.begin(session, now, 30.0)

    def rounds(self, count: int = 1, each_s: float = 1.0) -> None:
        """Let it look, some seconds apart; the registry is given its time."""
        for _ in range(count):
            self.clock.moved_s += each_s
            self.watch.round()

    def settled(self) -> None:
        """Wait until what it did is written down."""
        self.watch.deeds.close(30.0)
        assert alerts.flush(self.parts)

    @property
    def alarms(self) -> list[str]:
        return sorted(stand.alarm.watch.value for stand in self.watch.standing.values())

    def actions(self) -> list[str]:
        return [act.action for act in readable(self.parts)]

    def notices(self) -> list[tuple[str, str]]:
        found = alerts.listing(self.parts, 100)["alerts"]
        return sorted((item["what"], item["key"].split(".")[1]) for item in found)


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(supervisor, "REGISTRY_WAIT_S", 20.0)
    monkeypatch.setattr(alerts, "wake_sender", lambda *_: True)
    monkeypatch.setattr(supervisor, "send_all", lambda _parts: [])
    found = Ward(tmp_path)
    yield found
    found.watch.deeds.close(30.0)
    alerts.flush(found.parts)
    for chain in found.chains.values():
        chain.close()
    for process in found.processes:
        process.kill()
        process.wait()
    found.parts.close()


def test_a_session_that_is_stopped_is_held_once_and_told_of_once(ward: Ward) -> None:
    session = ward.session()
    ward.rounds(3)
    assert ward.alarms == []
    ward.processes[0].send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, ward.processes[0].pid, os.WSTOPPED | os.WNOWAIT)
    ward.rounds()
    assert ward.alarms == ["stopped"]
    (hold,) = ward.parts.holds.of("paper")
    assert (hold.kind, hold.by, hold.code) == (HoldKind.RESTRICT, "supervisor", "supervisor")
    assert session.session_id in hold.why
    ward.rounds(20)
    ward.processes[0].send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, ward.processes[0].pid, os.WCONTINUED | os.WNOWAIT)
    ward.rounds(2)
    assert ward.alarms == ["stopped"]
    ward.rounds(2)
    assert ward.alarms == []
    ward.settled()

    assert len(ward.parts.holds.of("paper")) == 1  # only a person lifts it
    assert ward.cancelled == []
    mine = [name for name in ward.actions() if name.startswith("supervisor")]
    assert mine == ["supervisor_hold", "supervisor_alarm", "supervisor_over"]
    (incident,) = tracked(ward.parts).values()
    assert incident.key == f"supervisor.stopped.{session.session_id}"
    assert ("alert", "stopped") in ward.notices()


def test_a_session_that_died_may_be_started_again_before_its_account_is_held(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    ward.processes[0].kill()
    ward.processes[0].wait()
    ward.rounds(30)
    assert ward.alarms == ["dead"]
    assert not ward.parts.holds.held("paper")
    ward.rounds()
    assert ward.parts.holds.held("paper")


def test_one_that_was_started_again_in_time_is_not_held(ward: Ward) -> None:
    session = ward.session()
    ward.rounds()
    ward.processes[0].kill()
    ward.processes[0].wait()
    ward.rounds(5)
    ward.parts.sessions.close_dead(ward.clock.now(), lambda _session: False)
    second = ward.session()
    for number in range(40):
        ward.parts.sessions.beat(second.session_id, ward.clock.now(), 30.0)
        ward.chains["paper"].append("mark", {"bars": number}, at=ward.clock.now())
        ward.rounds()
    ward.settled()

    assert not ward.parts.holds.held("paper")
    assert f"dead.{session.session_id}" not in ward.watch.standing
    assert ward.parts.sessions.get(session.session_id).run.status is RunStatus.ABORTED


def test_a_zombie_is_dead(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    ward.processes[0].kill()
    os.waitid(os.P_PID, ward.processes[0].pid, os.WEXITED | os.WNOWAIT)
    ward.rounds()
    assert ward.alarms == ["dead"]


def test_orders_at_an_exchange_are_cancelled_once(ward: Ward) -> None:
    ward.session("main", "live_session_live")
    ward.chains["main"].append("sending", {"intent": {"client_id": "a"}, "warnings": []}, at=ward.clock.now())
    ward.session("paper")
    ward.chains["paper"].append("sending", {"intent": {"client_id": "b"}, "warnings": []}, at=ward.clock.now())
    ward.rounds()
    for process in ward.processes:
        process.kill()
        process.wait()
    ward.rounds(20)
    ward.settled()

    assert ward.cancelled == ["main"]
    # An account at an exchange is held at once: whoever starts there again looks first.
    assert ward.parts.holds.held("main")
    assert not ward.parts.holds.held("paper")


def test_a_cancellation_that_fails_is_tried_again_ever_later(ward: Ward) -> None:
    ward.exchange_down = True
    ward.session("main", "live_session_live")
    ward.chains["main"].append("sending", {"intent": {"client_id": "a"}, "warnings": []}, at=ward.clock.now())
    ward.rounds()
    ward.processes[0].kill()
    ward.processes[0].wait()
    counts = []
    for _ in range(32):
        ward.rounds()
        join_cancels()
        counts.append(len(ward.cancelled))
    # At once, after 10 s, and 20 s after that.
    assert (counts[0], counts[9], counts[11], counts[29], counts[31]) == (1, 1, 2, 2, 3)
    ward.exchange_down = False
    ward.rounds(45)
    join_cancels()
    assert len(ward.cancelled) == 4
    ward.settled()
    assert ("alert", "cancel") in ward.notices()


def join_cancels() -> None:
    for thread in threading.enumerate():
        if thread.name == "supervisor-cancel":
            thread.join(30)


def test_a_session_that_hangs_is_paused(ward: Ward) -> None:
    session = ward.session()
    ward.rounds()
    for number in range(22):
        ward.parts.sessions.beat(session.session_id, ward.clock.now() + timedelta(seconds=number), 30.0)
        ward.rounds()
    assert ward.alarms == []
    ward.rounds(2)
    assert ward.alarms == ["hung"]
    assert [hold.kind for hold in ward.parts.holds.of("paper")] == [HoldKind.PAUSE]


def test_a_session_that_does_not_heed_the_kill_switch_is_paused(ward: Ward) -> None:
    ward.session("deaf")
    ward.session("paper")
    ward.rounds()
    ward.parts.kill_switch.trip("kim", "a drill", ward.clock.now())
    ward.chains["paper"].append("tripped", {"mode": "killed", "code": "kill_switch", "words": ""}, at=ward.clock.now())
    ward.rounds(10)
    assert ward.alarms == []
    ward.rounds()
    assert ward.alarms == ["unheeded"]
    assert ward.parts.holds.held("deaf")
    assert not ward.parts.holds.held("paper")


def test_where_the_disk_takes_no_hold_the_kill_switch_is_turned_on(ward: Ward) -> None:
    (ward.folder / "var").mkdir(exist_ok=True)
    (ward.folder / "var" / "holds").write_text("no folder")
    ward.session()
    ward.rounds()
    ward.processes[0].send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, ward.processes[0].pid, os.WSTOPPED | os.WNOWAIT)
    ward.rounds()

    killed = ward.parts.kill_switch.state()
    assert killed is not None
    assert killed.by == "supervisor"
    assert any("turning the kill switch on" in words for words in ward.said)


def test_where_it_does_not_take_that_either_stderr_has_it(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    ward.session()
    ward.rounds()
    ward.processes[0].send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, ward.processes[0].pid, os.WSTOPPED | os.WNOWAIT)
    with monkeypatch.context() as patched:
        patched.setattr("peak_trade.safety.holds.write_text", full)
        patched.setattr("peak_trade.safety.kill_switch.os.open", full)
        ward.rounds()
    assert any("the kill switch could not be turned on" in words for words in ward.said)


@pytest.fixture
def scarce(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> list[FolderSight]:
    """Let the supervisor see a disk of a test's own, and give it a session that goes on."""
    seen = [FolderSight(str(ward.folder), 1, None)]
    monkeypatch.setattr(supervisor, "folders_of", lambda _folders: tuple(seen))
    ward.session()
    return seen


def go_on(ward: Ward, seconds: int) -> None:
    for _ in range(seconds):
        ward.chains["paper"].append("mark", {"bars": 1}, at=ward.clock.now())
        for session in ward.parts.sessions.find(SessionFilter(), 10):
            ward.parts.sessions.beat(session.session_id, ward.clock.now(), 30.0)
        ward.rounds()


def test_a_condition_that_goes_on_holds_again_what_was_resumed(ward: Ward, scarce: list[FolderSight]) -> None:
    """After a grace; each time it was lifted, and no more once it is over."""
    go_on(ward, 2)
    assert [hold.code for hold in ward.parts.holds.of("paper")] == ["supervisor"]
    for _ in range(2):
        ward.parts.holds.lift("paper")
        go_on(ward, int(RESUMED_S) - 5)
        assert not ward.parts.holds.held("paper")
        go_on(ward, 6)
        assert [hold.code for hold in ward.parts.holds.of("paper")] == ["supervisor"]
        go_on(ward, 3)
    assert len(ward.parts.holds.of("paper")) == 1
    ward.parts.holds.lift("paper")
    scarce.clear()
    go_on(ward, int(RESUMED_S) + 5)
    assert not ward.parts.holds.held("paper")
    ward.settled()
    assert ward.actions().count("supervisor_hold") == 3


def test_what_was_wrong_with_a_session_does_not_hold_again_what_was_resumed(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    ward.processes[0].kill()
    ward.processes[0].wait()
    ward.rounds(32)
    ward.parts.holds.lift("paper")
    ward.rounds(int(RESUMED_S) + 5)
    assert (ward.alarms, ward.parts.holds.held("paper")) == (["dead"], False)


def test_a_restart_asks_that_the_condition_is_over(
    ward: Ward, scarce: list[FolderSight], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, also where it is another account's session that it was seen with; what is over is no more asked."""
    go_on(ward, 2)
    # The sign is told by a clock that this test moves.
    monkeypatch.setattr(restart, "sign_trouble", lambda parts: sign_trouble(parts, ward.clock.uptime))

    def calm() -> Need:
        order = RestartOrder(account="paper", by="dana", why="mended")
        [found] = look_at(ward.parts, order, [item for item in POINTS if item[0] == "conditions over"])
        return found

    assert (calm().met, calm().todo) == (False, "mend that; the supervisor would hold the account again")
    assert "there is room for 0 MB" in calm().found
    scarce.clear()
    go_on(ward, 5)
    assert (calm().met, calm().found) == (True, "none is known")
    scarce.append(FolderSight(str(ward.folder), 1, None))
    go_on(ward, 2)
    ward.watch.stopped()
    assert (calm().met, calm().found.partition(":")[0]) == (False, "seen last, and nobody watches now")


def test_a_registry_that_is_damaged_hides_no_session_that_was_known(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    registry = ward.folder / "var" / "registry.db"
    registry.write_bytes(b"not a database" * 1_000)
    ward.rounds(9)
    assert ward.alarms == []
    ward.processes[0].kill()
    ward.processes[0].wait()
    ward.rounds(2)
    assert ward.alarms == ["dead", "registry"]
    assert read_sign(ward.parts).process == os.getpid()


def test_a_registry_that_never_answers_keeps_no_look_waiting(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.session()
    ward.rounds()
    asked, go_on = threading.Event(), threading.Event()

    def waits(*_: object) -> list[Session]:
        asked.set()
        go_on.wait(60)
        return []

    monkeypatch.setattr(supervisor, "REGISTRY_WAIT_S", 0.0)
    monkeypatch.setattr(ward.parts.sessions, "find", waits)
    try:
        ward.rounds(12)
        assert asked.is_set()
        assert ward.alarms == ["registry"]
        assert sign_trouble(ward.parts, ward.clock.uptime) is None
    finally:
        go_on.set()


def test_an_alarm_of_many_words_has_its_incident_and_its_act(ward: Ward) -> None:
    """Whatever stands in the words: lines, and more of them than a title takes."""
    account = "a" * 64
    alarm = Alarm(Watch.JOURNAL, account, "changed:\n\x00" + "w" * 3_000, "found\t", "none", accounts=(account,))
    ward.watch.deeds.begin(alarm)
    ward.settled()
    (incident,) = tracked(ward.parts).values()
    assert incident.title.startswith("changed: ")
    assert "supervisor_alarm" in ward.actions()


def test_one_damaged_journal_hides_no_other_session(ward: Ward) -> None:
    ward.session("bad")
    ward.session("paper")
    ward.rounds()
    with ward.chains["bad"].path.open("ab") as file:
        file.write(b"\xff\xff\n")
    ward.processes[1].kill()
    ward.processes[1].wait()
    ward.rounds()
    assert ward.alarms == ["dead", "unreadable"]


def test_a_session_row_that_makes_no_sense_is_told_as_not_seen(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.session("odd")
    ward.session("paper")
    ward.rounds()
    whole = supervisor.SessionEyes.look

    def look(self: supervisor.SessionEyes, *given: object, **named: object) -> object:
        if self.session.account == "odd":
            raise ZeroDivisionError("odd")
        return whole(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(supervisor.SessionEyes, "look", look)
    ward.processes[1].kill()
    ward.processes[1].wait()
    ward.rounds()
    assert ward.alarms == ["dead", "not_seen"]
    (stand,) = [stand for stand in ward.watch.standing.values() if stand.alarm.watch.value == "not_seen"]
    assert "odd" in stand.alarm.words


def test_a_state_folder_that_is_gone_ends_nothing(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    shutil.rmtree(ward.folder / "var")
    ward.rounds(12)
    assert "registry" in ward.alarms
    assert sign_trouble(ward.parts, ward.clock.uptime) is None


def test_flaws_in_a_journal_pause_its_account(ward: Ward) -> None:
    ward.session()
    ward.chains["paper"].append("mark", {"bars": 1}, at=ward.clock.now())
    ward.chains["paper"].sign(at=ward.clock.now())
    ward.rounds()
    path = ward.chains["paper"].path
    path.write_bytes(path.read_bytes().replace(b'"bars":1', b'"bars":2'))
    ward.clock.moved_s += supervisor.VERIFY_FIRST_S
    ward.rounds()
    ward.watch._verifying.wait(30)
    ward.rounds()
    assert "journal" in ward.alarms
    assert HoldKind.PAUSE in {hold.kind for hold in ward.parts.holds.of("paper")}


def test_the_next_supervisor_knows_what_was_told(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    ward.processes[0].kill()
    ward.processes[0].wait()
    ward.rounds(40)
    ward.settled()
    before = ward.actions()
    ward.watch = ward.begin()
    ward.rounds(5)
    ward.parts.sessions.close_dead(ward.clock.now(), lambda _session: False)
    ward.rounds(5)
    ward.settled()

    assert ward.alarms == []
    assert ward.actions()[len(before) :] == ["supervisor_over"]
    assert len(ward.parts.holds.of("paper")) == 1


def test_a_look_that_fails_shows_no_sign(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.rounds()
    shown = sign_path(ward.parts).read_bytes()
    monkeypatch.setattr(supervisor, "watch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ward.rounds()
    assert sign_path(ward.parts).read_bytes() == shown
    ward.clock.moved_s += 20
    assert "has shown nothing" in str(sign_trouble(ward.parts, ward.clock.uptime))


def test_what_is_remembered_does_not_grow(ward: Ward) -> None:
    for _ in range(6):
        session = ward.session()
        ward.rounds(2)
        ward.processes[-1].kill()
        ward.processes[-1].wait()
        ward.rounds()
        ward.chains["paper"].close()
        ward.parts.sessions.close_dead(ward.clock.now(), lambda _session: False)
        ward.rounds(5)
        assert f"dead.{session.session_id}" not in ward.watch.standing
    watch = ward.watch
    assert watch._memory is not None
    assert (watch._eyes, watch.standing, dict(watch._memory.sessions)) == ({}, {}, {})
    assert len(watch.deeds.done) <= supervisor_deeds.SHOWN
    assert (watch.deeds._held, watch.deeds._cancels) == (set(), {})


def test_acts_that_cant_be_written_are_told_and_then_given_up(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_deeds, "AGAIN_S", 0.0)
    monkeypatch.setattr(acts, "WAIT_S", 0.0)
    with acts.held(ward.parts):
        ward.watch.deeds.remember("supervisor_started")
        ward.watch.deeds.close(30)
    assert any("could not be written down" in words for words in ward.said)


def test_only_one_supervisor_at_a_time(ward: Ward) -> None:
    ward.rounds()
    sentence = r"expected no supervisor at work on .*, found one, process \d+ on .*; one is enough"
    with sole_supervisor(ward.parts), pytest.raises(SafetyRefused, match=sentence), sole_supervisor(ward.fresh()):
        pass
    with sole_supervisor(ward.parts):
        pass


def test_one_that_was_ended_leaves_a_sign_that_says_so(ward: Ward) -> None:
    ward.rounds()
    ward.watch.stopped()
    found = report(ward.parts)
    assert found["at_work"] is False
    assert "was stopped on purpose" in found["trouble"]
    assert ward.actions() == ["supervisor_ended"]


def test_the_report_says_what_was_seen(ward: Ward) -> None:
    session = ward.session()
    ward.rounds()
    found = report(ward.parts)
    (line,) = found["sessions"]
    assert (line["session_id"], line["process"], line["number"]) == (session.session_id, "runs", ward.processes[0].pid)
    (ward.folder / "var" / SEEN).write_text("[" * 100)
    assert report(ward.parts)["sessions"] == []
    sign_path(ward.parts).unlink()
    assert "no supervisor has ever run" in report(ward.parts)["trouble"]


def test_a_service_manager_hears_that_it_is_alive(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ward.folder / "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(place))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        ward.rounds()
        assert listener.recv(100) == b"WATCHDOG=1"
    place.unlink()
    ward.rounds()  # nobody listens any more: that is no reason to stop


def test_a_question_that_takes_long_is_asked_once() -> None:
    go_on = threading.Event()
    aside: Aside[int] = Aside()
    assert aside.take() is None
    assert aside.ask(lambda: 7 if go_on.wait(30) else 0)
    assert not aside.ask(lambda: 8)
    assert aside.take() is None
    go_on.set()
    assert aside.take(30) == (7, "")
    assert aside.take() is None
    assert aside.ask(lambda: 1 // 0)
    assert aside.take(30) == (None, "integer division or modulo by zero")


def test_it_imports_nothing_of_an_engine() -> None:
    code = "import sys, peak_trade.runs.supervision.supervisor as _; print([m for m in sys.modules if 'trade.engine' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


def test_what_was_seen_is_one_document(ward: Ward) -> None:
    ward.session()
    ward.rounds()
    found = json.loads((ward.folder / "var" / SEEN).read_text())
    assert set(found) >= {"at", "sessions", "alarms", "folders", "free_memory_mb", "deeds"}


# ---- the exchange ------------------------------------------------------------------------------------------------------


@pytest.fixture
def exchange(ward: Ward) -> Iterator[tuple[str, list[float]]]:
    """A server that tells Kraken's time, as far from ours as the test says; its address, and that distance."""
    ahead = [0.0]

    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"error": [], "result": {"unixtime": int(time.time() + ahead[0]), "rfc1123": ""}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - named by the library

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Told)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", ahead
    server.shutdown()
    server.server_close()


def test_an_exchange_is_asked_for_its_time(ward: Ward, exchange: tuple[str, list[float]]) -> None:
    """What it tells is whole seconds: less than that is no distance."""
    base_url, ahead = exchange
    parts = Parts(load_config(ward.folder / "config.toml"))
    assert abs(exchange_ahead_s(parts, base_url)) < 0.5
    ahead[0] = 30.0
    assert 28 < exchange_ahead_s(parts, base_url) < 30.1
    ahead[0] = -30.0
    assert -31 < exchange_ahead_s(parts, base_url) < -28


def test_it_is_asked_only_while_a_session_follows_it(
    ward: Ward, exchange: tuple[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base_url, _ = exchange
    asked: list[str] = []
    monkeypatch.setattr(supervisor, "exchange_ahead_s", lambda _parts, place: asked.append(place) or 2.0)
    ward.session()
    ward.rounds(3)
    assert asked == []
    ward.session("other", feed={"kind": "followed", "speed": 1.0, "exchange": base_url})
    ward.rounds()
    ward.watch._exchange.wait(30)
    ward.rounds(20)
    assert asked == [base_url]
    assert "exchange_clock" in ward.alarms


def test_without_a_safety_key_nothing_is_called_cancelled(ward: Ward) -> None:
    """The colleague's path is taken, the kill switch is on, and what could not be done is an error, which is tried again."""
    cancel = supervisor.cancel_at_exchange(ward.parts, ward.said.append)
    with pytest.raises(PeakTradeError, match="KRAKEN_SAFETY_API_KEY"):
        cancel("main", "its session is dead")
    assert ward.parts.kill_switch.level() is KillLevel.CANCEL_ALL
    assert "supervisor_cancel" in ward.actions()
