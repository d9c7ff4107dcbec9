"""Alerts as people get them: real messages to servers on this machine, some of which hang, refuse, fail or lead elsewhere."""

import errno
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.accounts import lift
from tests.dashboard import ShiftedClock
from tests.gates import GateCase, policy

from peak_trade.compose import Parts
from peak_trade.governance.criteria import Answer, Evidence, EvidenceKind, evaluate
from peak_trade.governance.ladder import Rung
from peak_trade.model.errors import CheckFailed
from peak_trade.runs import acts
from peak_trade.runs.alerts import alerts
from peak_trade.runs.alerts import drill as alert_drill
from peak_trade.runs.alerts import file as alert_file
from peak_trade.runs.alerts import sending as alert_sending
from peak_trade.runs.alerts.file import AlertFile
from peak_trade.runs.trading import session
from peak_trade.safety.alerts import KEPT, OLD, Alert, Severity, raised
from peak_trade.settings import load_config

#: In every URL of a channel; must be seen nowhere.
SECRET = "XoXb-7Tq4-hush"
WARNED = Alert("data_gap.BTC/EUR", Severity.WARNING, "No bar", "for 5 minutes")
FAILED = Alert("session_failed.paper", Severity.CRITICAL, "The session failed", "no disk")
CONFIG = """
[environment]
name = "desk 1"

[alerts]
channels = { ops = "PEAK_TRADE_ALERT_OPS", mail = "PEAK_TRADE_ALERT_MAIL" }
info = ["ops"]
warning = ["ops"]
critical = ["ops"]
escalation = ["mail"]
timeout_s = 3.0
"""


class Channel:
    """A server that a channel leads to, and what it got."""

    def __init__(self) -> None:
        self.answer: int | str = 200
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self.closing = threading.Event()
        channel = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                channel.asked += 1
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if channel.answer == "hang":
                    channel.closing.wait(60)
                    return
                self.send_response(200 if channel.answer == "drip" else int(channel.answer))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                while channel.answer == "drip" and not channel.closing.wait(0.3):
                    self.wfile.write(b".")
                if channel.answer == 200:
                    channel.got.append({**given, "path": self.path})

            def log_message(self, *_words: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that was ended
        self.url = f"json://kim:{SECRET}@127.0.0.1:{self._server.server_port}/{SECRET}?-token={SECRET}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def titles(self) -> list[str]:
        return [given["title"] for given in self.got]


@pytest.fixture
def ops(socket_enabled) -> Iterator[Channel]:
    with closing(Channel()) as channel:
        yield channel


@pytest.fixture
def mail(socket_enabled) -> Iterator[Channel]:
    with closing(Channel()) as channel:
        yield channel


@pytest.fixture
def desk(project, ops, mail, monkeypatch) -> Iterator[Any]:
    """A project with two channels, the second one for escalation; afterwards no file has a secret, and no sender is left."""
    (project.folder / "config.toml").write_text(CONFIG)
    monkeypatch.setenv("PEAK_TRADE_ALERT_OPS", ops.url)
    monkeypatch.setenv("PEAK_TRADE_ALERT_MAIL", mail.url)
    yield project
    state = project.folder / "var"
    for outbox in alerts._OUTBOXES.values():
        assert outbox.flush(30)
    alerts._OUTBOXES.clear()
    written = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    (state / "alerts.jsonl").unlink(missing_ok=True)
    until(lambda: not senders(project.folder))
    assert [path for path, content in written.items() if SECRET.encode() in content] == []


@pytest.fixture
def parts(desk) -> Iterator[Parts]:
    with closing(Parts(load_config(desk.folder / "config.toml"))) as found:
        found.clock = ShiftedClock()
        yield found


def until(found: Any, wait_s: float = 60.0) -> None:
    """Wait until something is so that another process brings about."""
    deadline = time.monotonic() + wait_s
    while not found():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def processes() -> dict[int, list[bytes]]:
    """Return every process with its words."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().split(b"\0")
    return found


def senders(folder: Path) -> list[int]:
    """Return the processes that send alerts of a project."""
    return [
        number
        for number, words in processes().items()
        if b"alert" in words and any(word.startswith(os.fsencode(folder)) for word in words)
    ]


def records(project) -> list[dict[str, Any]]:
    path = project.folder / "var" / "alerts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(project) -> list[str]:
    return [record["kind"] for record in records(project)]


def code_in(channel: Channel) -> str:
    return re.search(r"code: (\S+)", channel.got[-1]["message"])[1]


def drills(parts: Parts) -> list[dict[str, Any]]:
    """Return the facts of all drills in the journal."""
    return [act.end.body["facts"] for act in acts.done(parts) if act.begun.body["kind"] == EvidenceKind.DRILL.value]


def rulings(act: acts.Done) -> dict[Rung, Answer]:
    """Return what the criterion of each step that asks for a test alert comes to, by one drill."""
    found = Evidence(
        kind=EvidenceKind(act.begun.body["kind"]),
        run_id=act.segment,
        sha256=act.last.sha256,
        at=act.at,
        facts=act.end.body["facts"],
    )
    asking = [(rung, policy().criterion(rung, "monitoring_alert")) for rung in Rung]
    now = act.at + timedelta(days=1)
    return {rung: evaluate(asked, [found], GateCase().request, now).answer for rung, asked in asking if asked is not None}


def refused(project, *arguments: str, code: int) -> str:
    """Run a command that must be refused in one sentence, and return the sentence."""
    ended = project.run(*arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1), ended
    assert "internal fault" not in ended.err
    assert SECRET not in ended.err
    return ended.err


def test_drill(desk, parts, ops, mail):
    """A test goes to every channel, each with a code of its own; a person's code makes the drill passed, and is evidence."""
    sent = desk.run("alert", "test", "--why", "weekly drill", "--by", "alex", "--json")
    name = sent.json["id"]
    assert (sent.code, sent.json["sent"], sent.json["evidence"]) == (0, 2, None)
    assert sent.json["channels"] == {name: {"sent": True, "why": None} for name in ("ops", "mail")}
    assert (ops.titles, mail.titles) == (["[TEST] Test alert (desk 1)"],) * 2
    assert ops.got[0]["message"].startswith("weekly drill\n")
    assert code_in(ops) != code_in(mail)
    assert drills(parts) == []

    confirmed = desk.run("alert", "confirm", name, "--by", "kim", "--code", code_in(mail).lower(), "--json")
    assert (confirmed.code, confirmed.json["by"], confirmed.json["channel"]) == (0, "kim", "mail")
    (facts,) = drills(parts)
    assert float(facts.pop("seconds")) == float(confirmed.json["seconds"]) >= 0
    assert facts == {"drill": "test_alert", "passed": True, "channels": 2, "sent": 2, "confirmed_by": "kim"}
    (act,) = acts.done(parts)
    assert (act.segment, act.begun.body["subject"], act.begun.body["by"]) == (confirmed.json["evidence"], None, "kim")
    assert rulings(act) == {Rung.TESTNET_SHADOW_LIVE: Answer.PASS, Rung.SHADOW_LIVE_LIVE: Answer.PASS}

    assert "confirmed by kim already" in refused(desk, "alert", "confirm", name, "--by", "kim", "--code", "2345", code=2)
    assert code_in(ops) not in (desk.folder / "var" / "alerts.jsonl").read_text()
    listed = desk.run("alert", "list")
    assert re.search(rf"{name}  test +info +Test alert +confirmed by kim +ops sent; mail sent", listed.out)


def test_a_code_from_a_pipe(desk, ops):
    """Without --code it is read from stdin."""
    name = desk.run("alert", "test", "--why", "drill", "--json").json["id"]
    process = desk.start("alert", "confirm", name, "--by", "kim", stdin=subprocess.PIPE)
    out, err = process.communicate(f"{code_in(ops)}\n", timeout=60)

    assert (process.returncode, err) == (0, "")
    assert "kim got the test alert" in out


def test_three_wrong_codes(desk, parts, ops):
    """Two wrong codes are forgiven; the third voids the test, and then the right one proves nothing."""
    name = desk.run("alert", "test", "--why", "drill", "--json").json["id"]
    other = desk.run("alert", "test", "--why", "drill", "--json").json["id"]
    confirm = ("alert", "confirm", name, "--by", "kim", "--code")

    assert "2 left before it is void" in refused(desk, *confirm, code_in(ops), code=1)
    assert "1 left before it is void" in refused(desk, *confirm, "2345-6789-ABCD", code=1)
    assert "it is void now" in refused(desk, *confirm, "2345-6789-ABCD", code=1)
    right = re.search(r"code: (\S+)", ops.got[0]["message"])[1]
    assert "void after 3 wrong codes" in refused(desk, *confirm, right, code=1)
    assert drills(parts) == []
    for _ in range(2):
        refused(desk, "alert", "confirm", other, "--by", "kim", "--code", "2345-6789-ABCD", code=1)
    assert desk.run("alert", "confirm", other, "--by", "kim", "--code", code_in(ops)).code == 0


def test_confirmed_within_a_day(desk, parts, ops):
    """A day after the test its code proves nothing any more, nor before it; until then it does."""
    sent = alert_drill.send_test(parts, "alex", "drill")
    code = code_in(ops)
    for shift_s in (86_401.0, -3_600.0):
        parts.clock.shift_s = shift_s
        with pytest.raises(CheckFailed, match="expected a test of the last 24 hours"):
            alert_drill.confirm(parts, sent.id, "kim", code)
    assert drills(parts) == []

    parts.clock.shift_s = 86_390.0
    assert alert_drill.confirm(parts, sent.id, "kim", code).channel == "ops"
    assert drills(parts)[0]["passed"] is True


def test_a_channel_that_fails(desk, parts, ops, mail):
    """A channel that does not take it makes the exit code 1 and is told why; the drill can still pass through another."""
    ops.answer = 500
    ended = desk.run("alert", "test", "--why", "drill")

    assert ended.code == 1
    assert re.search(r"^ops +it answered with HTTP error 500$", ended.out, re.M)
    assert re.search(r"^mail +yes$", ended.out, re.M)
    assert drills(parts) == []
    name = re.search(r"confirm (\S+)", ended.out)[1]
    assert desk.run("alert", "confirm", name, "--by", "kim", "--code", code_in(mail)).code == 0
    assert (drills(parts)[0]["channels"], drills(parts)[0]["sent"]) == (2, 1)


def test_nobody_told_is_a_failed_drill(desk, parts, ops, mail):
    """Where no channel takes the test the drill has failed, and that is evidence."""
    ops.answer = mail.answer = 500
    ended = desk.run("alert", "test", "--why", "drill")

    assert ended.code == 1
    (facts,) = drills(parts)
    assert (facts["passed"], facts["sent"], facts["confirmed_by"]) == (False, 0, "")
    assert f"evidence {acts.done(parts)[0].segment}" in ended.out
    assert set(rulings(acts.done(parts)[0]).values()) == {Answer.FAIL}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (302, "it answered with HTTP error 302"),
        (404, "it answered with HTTP error 404"),
        ("hang", "no connection, or no answer in time"),
        ("drip", "no answer within 3 s"),
    ],
)
def test_channels_in_trouble(desk, ops, mail, monkeypatch, answer, words):
    """A channel that hangs, answers without an end or leads elsewhere is told so, and the other one does not wait for it."""
    monkeypatch.setattr(alert_sending, "START_S", 7.0)
    ops.answer = answer
    sent = desk.run("alert", "test", "--why", "drill", "--json").json["channels"]

    assert sent == {"ops": {"sent": False, "why": words}, "mail": {"sent": True, "why": None}}
    assert ops.asked == 1
    order = [(record["kind"], record["channel"]) for record in records(desk) if record["kind"] in ("sent", "failed")]
    if answer in ("hang", "drip"):
        assert order == [("sent", "mail"), ("failed", "ops")]


def test_wrong_channels(desk, monkeypatch):
    """A variable that is not set or holds no URL is named; what it holds is not."""
    monkeypatch.delenv("PEAK_TRADE_ALERT_OPS")
    monkeypatch.setenv("PEAK_TRADE_ALERT_MAIL", f"nothing://{SECRET}")
    sent = desk.run("alert", "test", "--why", "drill", "--json")

    assert {name: state["why"] for name, state in sent.json["channels"].items()} == {
        "ops": "PEAK_TRADE_ALERT_OPS is not set",
        "mail": "its variable holds no apprise URL, or more than one",
    }
    assert SECRET not in sent.out + sent.err


def test_nothing_listens(desk, ops, monkeypatch):
    """A port where nobody listens is no connection."""
    monkeypatch.setenv("PEAK_TRADE_ALERT_OPS", f"json://127.0.0.1:9/{SECRET}")

    sent = desk.run("alert", "test", "--why", "drill", "--json").json["channels"]
    assert sent["ops"]["why"] == "no connection, or no answer in time"


def test_wrong_use(desk, project):
    """Every wrong use is one sentence and exit code 2."""
    assert "found none" in refused(desk, "alert", "test", code=2)
    confirm = ("alert", "confirm", "x", "--code")
    assert "expected the id of an alert, found 'x'" in refused(desk, *confirm, "2345", "--by", "kim", code=2)
    assert "expected the name of a person as --by" in refused(desk, *confirm, "2345", code=2)
    assert "found 0 characters" in refused(desk, *confirm, "", "--by", "kim", code=2)
    assert "expected the id of an alert" in refused(desk, "alert", "acknowledge", "x", "--by", "kim", code=2)
    refused(desk, "alert", "list", "--limit", "0", code=2)
    (desk.folder / "config.toml").write_text("")
    assert "expected channels under [alerts]" in refused(desk, "alert", "test", "--why", "drill", code=2)
    assert not (desk.folder / "var" / "alerts.jsonl").exists()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (f'channels = {{ ops = "slack://{SECRET}/b/c" }}', "expected no secret"),
        (f'channels = {{ ops = "{SECRET}" }}', "expected no secret"),
        (f'channels = {{ "slack://{SECRET}" = "OPS" }}', "expected no secret"),
        (f'[alerts.channels.ops]\nurl = "json://127.0.0.1/{SECRET}"', "expected no secret"),
        (f'critical = ["slack://{SECRET}/b/c"]', "expected no secret"),
        (f'ops = "tgram://{SECRET}/b/c"', "expected no secret"),
        (f"# ops = slack://{SECRET}/b/c", "expected no secret"),
        (f"[risk]\n# alerts.channels.ops = slack://{SECRET}/b/c", "expected no secret"),
        (f'throttle_s = 1.0  # was "https://hooks.example.org/{SECRET}"', "expected no secret"),
        ('channels = { Ops = "OPS" }', "alerts.channels.Ops"),
        ('channels = { ops = "OPS", mail = "OPS" }', "a variable of its own"),
        ('channels = { ops = "OPS" }\ncritical = ["opz"]', "expected names from alerts.channels (ops, *)"),
        ('channels = { ops = "OPS" }\nescalation = ["*"]', "expected names from alerts.channels (ops)"),
        ("tries = 0", "alerts.tries was 0"),
        ("escalate_minutes = 0", "alerts.escalate_minutes was 0"),
        ("channel = {}", "did you mean alerts.channels?"),
    ],
)
def test_wrong_configuration(desk, section, words):
    """A URL in the file is a secret, wherever under [alerts] it stands, and is not repeated; routes lead to channels."""
    (desk.folder / "config.toml").write_text(f"[alerts]\n{section}\n")
    found = refused(desk, "alert", "list", code=2)
    (desk.folder / "config.toml").write_text("")

    assert words in found


def test_routes(desk):
    """A star is every channel that is not kept for escalation; by default warnings and worse go to all of them."""
    (desk.folder / "config.toml").write_text('[alerts]\nchannels = { a = "A", b = "B", c = "C" }\nescalation = ["b"]\n')
    section = load_config(desk.folder / "config.toml").file.alerts

    assert [section.route(name) for name in ("info", "warning", "critical")] == [(), ("a", "c"), ("a", "c")]


def test_told(desk, ops):
    """An alert is written, sent by a process that ends by itself, and told to be over; the library stays in that process."""
    (desk.folder / "config.toml").write_text(CONFIG + "throttle_s = 0\n")
    parts = Parts(load_config(desk.folder / "config.toml"))
    alerts.tell(parts, WARNED)
    assert alerts.flush(parts)
    assert kinds(desk)[0] == "notice"
    until(lambda: kinds(desk) == ["notice", "try", "sent"])
    assert ops.titles == ["[WARNING] No bar (desk 1)"]
    assert ops.got[0]["message"].startswith("for 5 minutes\n20")
    assert "apprise" not in sys.modules
    until(lambda: not senders(desk.folder))

    listed = desk.run("alert", "list", "--json").json
    (item,) = listed["alerts"]
    assert (item["severity"], item["goes_on"], item["channels"]["ops"]["state"]) == ("warning", True, "sent")
    assert (listed["total"], listed["unread_lines"]) == (1, 0)

    alerts.recovered(parts, WARNED.key)
    until(lambda: len(ops.got) == 2)
    assert ops.titles[1] == "[OVER] Over: No bar (desk 1)"
    until(lambda: kinds(desk)[-1] == "sent")
    assert desk.run("alert", "list", "--limit", "1", "--json").json["alerts"][0]["what"] == "recovery"


def test_many_at_once(desk, parts, ops):
    """A thousand of the same are one message, and are counted, not written a thousand times."""
    for _ in range(1_000):
        alerts.tell(parts, WARNED)
    assert alerts.flush(parts)
    until(lambda: "sent" in kinds(desk))

    book = AlertFile(parts.state).book()
    assert book.conditions[WARNED.key].count == 999
    assert len(records(desk)) < 20
    (sender,) = senders(desk.folder)
    assert os.getsid(sender) != os.getsid(0), "what ends the session does not end it"
    with alert_sending.sole_sender(parts.state, wait_s=0.0) as free:
        assert not free, "a sender stays to tell how many more came"
    parts.clock.shift_s = 301
    alert_sending.send_due(parts, AlertFile(parts.state))
    assert ops.titles[1:] == ["[WARNING] No bar: and 999 more (desk 1)"]


def test_a_burst_starts_one_sender(desk, parts, ops):
    """However much comes while a sender starts, there is one."""
    most = 0
    for number in range(30):
        alerts.tell(parts, WARNED._replace(key=f"gap.{number}"))
        assert alerts.flush(parts)
        most = max(most, len(senders(desk.folder)))
    until(lambda: len(ops.got) == 30)

    assert most == 1


def test_a_sender_that_can_not_begin(desk, parts, ops, monkeypatch):
    """Where a sender does not come to work another one is started, after a while."""
    starts = subprocess.Popen
    broken = [sys.executable, "-c", ""]
    with monkeypatch.context() as patch:
        patch.setattr(alert_sending.subprocess, "Popen", lambda _command, **options: starts(broken, **options))
        alerts.tell(parts, WARNED)
        assert alerts.flush(parts)
        assert ops.got == []
    until(lambda: ops.titles == ["[WARNING] No bar (desk 1)"])


def test_handing_over_waits_for_nothing(desk, parts, ops, monkeypatch):
    """While the file is held by another, and the disk hangs, handing over returns; what comes beyond all bounds is counted."""
    monkeypatch.setattr(alerts, "WAITING_MAX", 5)
    file, let_go = AlertFile(parts.state), threading.Event()
    held = threading.Event()

    def hold() -> None:
        with file.held():
            held.set()
            let_go.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    # The first is taken by the thread, which waits; five wait behind it, and the others find no place.
    alerts.tell(parts, WARNED)
    until(alerts._OUTBOXES[parts.state]._queue.empty)
    for number in range(20):
        alerts.tell(parts, WARNED._replace(key=f"gap.{number}", severity=Severity.INFO))
    assert records(desk) == []
    let_go.set()
    holder.join()
    assert alerts.flush(parts, 30)

    told = [record["title"] for record in records(desk) if record["kind"] == "notice"]
    written = told.count("No bar")
    (dropped,) = [title for title in told if title != "No bar"]
    assert dropped == f"{21 - written} alerts could not even wait to be written"
    assert 6 <= written <= 12


def test_handing_over_raises_nothing(desk, parts, monkeypatch):
    """No folder, no thread, no sense: whoever tells does not hear of it."""
    (desk.folder / "var").write_text("a file")
    alerts.tell(parts, WARNED)
    alerts.tell(parts, None)  # type: ignore[arg-type]
    alerts.recovered(parts, 7)  # type: ignore[arg-type]
    assert alerts.flush(parts, 30)
    (desk.folder / "var").unlink()

    alerts._OUTBOXES.clear()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
        alerts.tell(parts, WARNED)
    alerts.tell(parts, FAILED)
    assert alerts.flush(parts, 30)
    assert [record["key"] for record in records(desk) if record["kind"] == "notice"] == [WARNED.key, FAILED.key]


KILLED = """
import os, signal
from peak_trade.cli.options import open_parts
from peak_trade.runs.alerts import alerts
from peak_trade.safety.alerts import Alert, Severity
parts = open_parts(None)
alerts.tell(parts, Alert("session_failed.paper", Severity.WARNING, "The session failed"))
{wait}
os.kill(os.getpid(), {signal})
"""


@pytest.mark.parametrize("how", ["kill", "end"])
def test_who_tells_may_be_killed(desk, ops, how):
    """What is written is sent, also where the process that told is killed at once; one that ends writes what it told."""
    wait = "alerts.flush(parts)" if how == "kill" else ""
    program = KILLED.format(wait=wait, signal="signal.SIGKILL" if how == "kill" else "0")
    ended = subprocess.run([sys.executable, "-c", program], cwd=desk.folder, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL if how == "kill" else 0, "")
    until(lambda: ops.titles == ["[WARNING] The session failed (desk 1)"])
    until(lambda: kinds(desk) == ["notice", "try", "sent"])


def test_the_sender_may_be_killed(desk, parts, ops):
    """A sender that is killed in a try leaves one without an end; the next sender tries again, and the message comes."""
    ops.answer = "hang"
    alerts.tell(parts, WARNED)
    until(lambda: ops.asked == 1)
    for process in senders(desk.folder):
        os.kill(process, signal.SIGKILL)
    until(lambda: not senders(desk.folder))
    assert kinds(desk) == ["notice", "try"]
    assert desk.run("alert", "list", "--json").json["alerts"][0]["channels"]["ops"]["state"] == "under way"

    ops.answer = 200
    assert alert_sending.send_all(parts) == []
    parts.clock.shift_s = 31
    assert [tried.why for tried in alert_sending.send_all(parts)] == [""]
    assert ops.titles == ["[WARNING] No bar (desk 1)"]


def test_no_secret_in_any_process(desk, parts, ops):
    """While a message is under way no process has the URL among its words, and the one that sends not in its environment."""
    ops.answer = "hang"
    alerts.tell(parts, WARNED)
    until(lambda: ops.asked == 1)
    found = processes()
    posts = [number for number, words in found.items() if b"peak_trade.runs.alerts.post" in words]
    environments = [Path(f"/proc/{number}/environ").read_bytes() for number in posts]

    assert posts
    assert not any(SECRET.encode() in word for words in found.values() for word in words)
    assert not any(SECRET.encode() in environment for environment in environments)
    ops.closing.set()


def test_tried_again_and_given_up(desk, parts, ops):
    """A channel that is dead is tried six times, and what it did not take stays to be seen; one that comes back gets it."""
    ops.answer = 500
    file = AlertFile(parts.state)
    with file.held():
        pass
    told(parts, WARNED)
    assert desk.run("alert", "send").code == 1
    (state,) = (item["channels"]["ops"] for item in desk.run("alert", "list", "--json").json["alerts"])
    assert (state["state"], state["tries"], state["why"]) == ("waiting", 1, "it answered with HTTP error 500")
    assert "ops waiting after 1 try: it answered with HTTP error 500" in desk.run("alert", "list").out

    for wait_s in (31, 121, 481, 1_921):
        parts.clock.shift_s += wait_s
        assert [tried.why for tried in alert_sending.send_all(parts)] == ["it answered with HTTP error 500"]
        assert alert_sending.send_all(parts) == []
    ops.answer = 200
    parts.clock.shift_s += 7_700
    assert [tried.why for tried in alert_sending.send_all(parts)] == [""]

    ops.answer = 500
    told(parts, FAILED._replace(severity=Severity.WARNING))
    for _ in range(8):
        alert_sending.send_all(parts)
        parts.clock.shift_s += 7_700
    newest = desk.run("alert", "list", "--json").json["alerts"][0]
    assert newest["channels"]["ops"] == {
        "state": "failed",
        "tries": 6,
        "why": "it answered with HTTP error 500",
        "next_try": None,
    }


def told(parts: Parts, alert: Alert) -> str:
    """Write an alert as `tell` does, without a process that sends it; return its id."""
    file = AlertFile(parts.state)
    with file.held() as book:
        routing = alert_sending.routing_of(parts.settings.file.alerts)
        entry = raised(book, alert, parts.clock.now(), routing, parts.ids.next_run)
        assert file.append(entry)
    return entry["id"]


def test_a_hanging_channel_holds_up_no_other(desk, ops, mail):
    """While one channel hangs the other one gets its message; the one that hangs gets one try, and then rests."""
    (desk.folder / "config.toml").write_text(CONFIG.replace('critical = ["ops"]', 'critical = ["ops", "mail"]'))
    parts = Parts(load_config(desk.folder / "config.toml"))
    ops.answer = "hang"
    told(parts, FAILED)
    told(parts, FAILED._replace(key="session_failed.other"))
    done = alert_sending.send_all(parts)

    order = [(record["kind"], record["channel"]) for record in records(desk) if record["kind"] in ("sent", "failed")]
    assert order == [("sent", "mail"), ("sent", "mail"), ("failed", "ops")]
    assert (len(done), ops.asked) == (3, 1)


def test_escalated_until_acknowledged(desk, parts, ops, mail):
    """A critical alert that nobody acknowledges goes to the next channel; one that somebody does, does not."""
    told(parts, FAILED)
    alert_sending.send_all(parts)
    parts.clock.shift_s = 14 * 60
    assert alert_sending.send_all(parts) == []
    parts.clock.shift_s = 15 * 60 + 1
    assert [tried.channel for tried in alert_sending.send_all(parts)] == ["mail"]
    assert (ops.titles, mail.titles) == (["[CRITICAL] The session failed (desk 1)"],) * 2

    name = told(parts, FAILED)
    alert_sending.send_all(parts)
    assert f"alert acknowledge {name} --by NAME" in ops.got[-1]["message"]
    said = desk.run("alert", "acknowledge", name, "--by", "kim")
    assert (said.code, said.out) == (0, "kim has taken note of: The session failed\n")
    parts.clock.shift_s += 3_600
    assert alert_sending.send_all(parts) == []
    assert "goes on, taken note of by kim" in desk.run("alert", "list").out


def test_tests_and_ends_are_not_acknowledged(desk, parts, ops):
    """A test is confirmed, and that something is over is nothing to do about."""
    test = desk.run("alert", "test", "--why", "drill", "--json").json["id"]
    name = told(parts, WARNED)
    assert f"alert confirm {test}" in refused(desk, "alert", "acknowledge", test, "--by", "kim", code=2)
    assert f"alert acknowledge {name}" in refused(desk, "alert", "confirm", name, "--by", "kim", "--code", "2345", code=2)
    alert_sending.send_all(parts)
    parts.clock.shift_s = 301
    alerts.recovered(parts, WARNED.key)
    until(lambda: len(ops.got) == 3)
    over = desk.run("alert", "list", "--json").json["alerts"][0]["id"]
    assert "nothing is to do" in refused(desk, "alert", "acknowledge", over, "--by", "kim", code=2)


def test_one_sender(desk, parts, ops):
    """While one process sends, another leaves it to that one; what is written meanwhile is sent by the first."""
    told(parts, WARNED)
    with alert_sending.sole_sender(parts.state) as alone:
        assert alone
        assert desk.run("alert", "send", "--json").json == {"tries": []}
        assert ops.got == []
    assert desk.run("alert", "send", "--json").json["tries"][0]["why"] is None
    assert desk.run("alert", "send").out == "nothing waits to be sent now\n"


def test_a_sender_that_stays(desk, parts, ops, mail):
    """It waits for what is still to come, sends what is written meanwhile, and ends once nothing is left."""
    told(parts, FAILED)
    sender = desk.start("alert", "send", "--stay", "--json")
    until(lambda: len(ops.got) == 1)
    name = told(parts, WARNED)
    until(lambda: len(ops.got) == 2)
    assert sender.poll() is None
    desk.run("alert", "acknowledge", AlertFile(parts.state).book().conditions[FAILED.key].notices[0], "--by", "kim")
    out, err = sender.communicate(timeout=60)

    assert (sender.returncode, err, mail.got) == (0, "", [])
    assert name in [tried["id"] for tried in json.loads(out)["tries"]]


def test_a_sender_follows_the_configuration(desk, parts, ops, mail):
    """One that stays while the configuration changes is followed by one that knows it."""
    told(parts, FAILED)
    sender = desk.start("alert", "send", "--stay", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(ops.got) == 1)
    (desk.folder / "config.toml").write_text(CONFIG + "escalate_minutes = 0.01\n")
    assert sender.wait(60) == 0
    until(lambda: len(mail.got) == 1)


def test_without_channels(desk, parts, ops):
    """Where no channel is configured an alert stays in the file, and no process is started for it."""
    (desk.folder / "config.toml").write_text("")
    bare = Parts(load_config(desk.folder / "config.toml"))
    alerts.tell(bare, FAILED)
    assert alerts.flush(bare)

    assert (kinds(desk), senders(desk.folder)) == (["notice"], [])
    assert "file only" in desk.run("alert", "list").out
    assert desk.run("alert", "send").out == "nothing waits to be sent now\n"


def test_a_line_cut_off(desk, parts):
    """What a crash left of a line is one line that can't be read, and costs no other."""
    told(parts, WARNED)
    path = desk.folder / "var" / "alerts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "not')
    told(parts, FAILED)
    listed = desk.run("alert", "list", "--json").json

    assert (listed["total"], listed["unread_lines"]) == (2, 1)
    assert "1 lines of the file can't be read" in desk.run("alert", "list").out


def test_a_disk_that_takes_half(desk, parts, monkeypatch):
    """A record that the disk takes half of is taken back, and is whole in the file once it takes it."""
    told(parts, WARNED)
    path = parts.state / "alerts.jsonl"
    before, write = path.read_bytes(), os.write

    def half(handle: int, content: bytes) -> int:
        if len(content) > 100:
            return write(handle, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = AlertFile(parts.state)
    entry = {"kind": "over", "at": parts.clock.now().isoformat(), "key": WARNED.key}
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        assert not file.append(entry, entry)
    assert "the disk is full" in file.trouble
    assert path.read_bytes() == before
    assert file.book().conditions[WARNED.key].over is not None
    assert file.append()
    assert (kinds(desk), file.trouble, AlertFile(parts.state).book().unread) == (["notice", "over", "over"], "", 0)


def test_a_large_file_is_put_aside(desk, parts, ops, monkeypatch):
    """A file that has grown too large begins anew with what is still acted on; nothing of it is thrown away."""
    monkeypatch.setattr(alert_file, "BYTES_MAX", 1_200)
    before = told(parts, WARNED._replace(key="old"))
    parts.clock.shift_s = KEPT.total_seconds()
    reader = AlertFile(parts.state)
    assert list(reader.book().notices) == [before]
    names = [told(parts, WARNED._replace(key=f"gap.{number}")) for number in range(5)]

    aside = list(parts.state.glob("alerts-*.jsonl"))
    assert len(aside) == 1
    assert set(reader.book().notices) == set(names), "whoever had read the old one reads the new one"
    assert set(reader.book().conditions) == {"old", *(f"gap.{number}" for number in range(5))}
    assert before in aside[0].read_text()
    assert len(alert_sending.send_all(parts)) == 5


def test_an_old_alert_wakes_nobody(desk, parts, ops):
    """What could not be sent for a day is not sent any more, and is seen as failed."""
    told(parts, WARNED)
    parts.clock.shift_s = OLD.total_seconds() + 1

    assert alert_sending.send_all(parts) == []
    assert ops.got == []


@pytest.fixture
def full_disk(desk) -> Iterator[Path]:
    """The state folder on a file system of its own that is full; needs the right to mount one."""
    folder = desk.folder / "var"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    with suppress(OSError):
        (folder / "filler").write_bytes(b"." * 65_536)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(desk, parts, ops, full_disk, monkeypatch):
    """Where the disk takes nothing an alert is sent all the same, and written once there is room; a drill is refused."""
    monkeypatch.setattr(alerts, "AGAIN_EVERY_S", 0.2)
    assert "the disk is full" in refused(desk, "alert", "test", "--why", "drill", code=1)
    alerts.tell(parts, FAILED)
    until(lambda: ops.titles == ["[CRITICAL] The session failed (desk 1)"])
    assert records(desk) == []

    (full_disk / "filler").unlink()
    until(lambda: kinds(desk) == ["notice", "try", "sent"])
    assert len(ops.got) == 1


SESSION = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html")


def test_a_session_that_ends_badly(desk, parts, ops, monkeypatch):
    """One that a trigger paused, or that failed, is told at once; the next that ends well says that it is over."""
    config = desk.folder / "config.toml"
    quick = f"{CONFIG}throttle_s = 0\n"
    config.write_text(quick + '[live_risk]\nmax_daily_loss_abs = "0.01"\n')
    assert desk.run(*SESSION).code == 1
    until(lambda: ops.titles == ["[CRITICAL] A session ended paused (desk 1)"])
    assert re.search(r"on account paper: the day's loss of \S+ has reached 0.01\n", ops.got[0]["message"])

    assert lift(parts, "paper")
    with monkeypatch.context() as patch:
        patch.setattr(session, "expectation", lambda *_: 1 / 0)
        assert desk.run(*SESSION).code == 1
    until(lambda: len(ops.got) == 2)
    assert (ops.titles[1], "division by zero" in ops.got[1]["message"]) == ("[CRITICAL] A session failed (desk 1)", True)

    config.write_text(quick)
    assert lift(parts, "paper")
    assert desk.run(*SESSION).code == 0
    until(lambda: len(ops.got) == 3)
    assert ops.titles[2] == "[OVER] Over: A session failed (desk 1)"


def test_a_session_without_channels(desk):
    """Where nobody is to be told a session writes no alert, however it ends."""
    (desk.folder / "config.toml").write_text('[live_risk]\nmax_daily_loss_abs = "0.01"\n')

    assert desk.run(*SESSION).code == 1
    assert not (desk.folder / "var" / "alerts.jsonl").exists()
