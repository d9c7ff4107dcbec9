"""The pages of safety: over a house in which nothing happened, and over one in which everything did."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.dashboard import Served, hidden, serving
from tests.e2e.houses import at_home, configure, put
from tests.e2e.pages import BROWSER_TESTS, Reader, flaws
from tests.e2e.test_dashboard_browser import POCKET, outlines
from tests.e2e.test_gate_pages import a_team, shown
from tests.team import Team

from peak_trade.governance.criteria import EvidenceKind
from peak_trade.journal.chain import Chain, segments
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.kill_level import KillLevel
from peak_trade.risk.triggers import DEMANDS
from peak_trade.runs.acts import tell_evidence
from peak_trade.runs.incidents import close_incident, open_incident
from peak_trade.runs.safety.kill import kill
from peak_trade.runs.supervision.supervisor import seen_path
from peak_trade.runs.supervisor_sign import Duty, machine_uptime, put_in_place, write_sign
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.webui.safety import rendered

HOSTILE = "<script>window.obeyed = 1</script><img src=x onerror='window.obeyed = 1'> odd"
NAMES = ("/safety", "/incidents", "/drills", "/runbooks", "/runbooks/pause")
ASKED = {"api_error_rate": {"errors": "9", "requests": "20", "window_s": "300"}}


def run_session(team: Team) -> str:
    """Let a session be registered as running, with a journal in which a trigger fired."""
    parts = team.parts
    name = put(parts, "started", "paper", at=parts.clock.now())
    at = parts.clock.now()
    chain = Chain.begin(parts.journal, "paper", name, {"continues": None}, at=at, signer=parts.signer)
    body = {"code": "api_error_rate", "words": f"9 of 20 {HOSTILE}", "mode": "restricted"}
    chain.append("incident", body | {"evidence": ASKED["api_error_rate"]}, at=at, durable=False)
    chain.sign(at=at)
    chain.close()
    return name


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, Served]]:
    """A team whose drill expired, account is held, switch is on, supervisor is missing, and whose incident is hostile."""
    folder = tmp_path_factory.mktemp("safety")
    with a_team(folder) as team:
        configure(folder, "supervisor", required=True)
        tell_evidence(team.parts, EvidenceKind.DRILL, {"drill": "kill_switch", "passed": True}, None, "kim")
        team.later(days=100)
        parts, now = team.parts, team.clock.now()
        words = {"title": f"Prices {HOSTILE}", "why": HOSTILE, "by": "kim"}
        open_incident(parts, key="prices", severity="critical", **words)
        over = open_incident(parts, key="over", severity="low", **words)
        close_incident(parts, over, "olga", HOSTILE, "the feed drops repeats")
        stamp = moment_text(nanoseconds(now))
        parts.holds.place("paper", Hold(stamp, "kim", HOSTILE, HoldKind.PAUSE, "by_hand"), now)
        run_session(team)
        kill(parts, "kim", HOSTILE, "command", KillLevel.NO_NEW)
        with shown(team) as served:
            yield team, served


@pytest.fixture
def served(house: tuple[Team, Served]) -> Served:
    return house[1]


def incident_path(served: Served) -> str:
    """Return the page of the open incident."""
    return f"/incidents/{served.json('/api/incidents')['incidents'][0]['id']}"


def test_an_empty_house(tmp_path):
    """Where nothing happened every page says so, and nothing alarms."""
    with at_home(tmp_path), serving(str(tmp_path / "config.toml")) as served:
        found = served.json("/api/safety")
        pages = {name: served.get(name) for name in NAMES}

    assert {name: page.status_code for name, page in pages.items()} == dict.fromkeys(NAMES, 200)
    assert (found["kill_switch"], found["holds"], found["sessions"], found["troubles"]) == (None, [], [], [])
    assert [item["code"] for item in found["triggers"]] == list(DEMANDS)
    assert found["backup"]["archive"] is None
    assert not found["scheduler"]["at_work"]
    assert "No session runs, so no dead-man timer does either." in pages["/safety"].text
    assert "No account is held." in pages["/safety"].text
    assert "No incident is open." in pages["/incidents"].text
    # Nobody wrote a policy here: the page says which file is missing.
    assert "governance/" in pages["/drills"].text
    assert 'class="warnings alerts"' not in pages["/safety"].text


def test_who_watches(tmp_path):
    """A supervisor at work is shown with what it saw and did, and a backup with its age; damaged lines break no page."""
    with at_home(tmp_path), serving(str(tmp_path / "config.toml")) as served:
        parts = served.parts
        now = moment_text(nanoseconds(parts.clock.now()))
        write_sign(parts, now, Duty.AT_WORK, machine_uptime())
        seen = {"session_id": "one", "account": "paper", "process": "alive", "heartbeat_age_s": 1.5, "journal_still_s": 2.5}
        alarm = {"watch": "disk", "severity": "critical", "words": f"full {HOSTILE}", "stood_s": 3.0}
        body = {"at": now, "sessions": [seen, {}, 7], "alarms": [alarm], "deeds": [f"held paper {HOSTILE}"], "not_seen": ["it"]}
        put_in_place(seen_path(parts), body)
        (tmp_path / "backups").mkdir()
        (tmp_path / "backups" / "peak-trade-20240102T030405678Z-abcdef.zip").write_bytes(b"")
        found, page = served.json("/api/safety"), served.get("/safety").text

    watching = found["supervisor"]
    assert (watching["at_work"], watching["trouble"], len(watching["sessions"])) == (True, None, 2)
    assert watching["sessions"][0] == seen | {"number": None, "memory_mb": None, "mode": None, "working": None}
    assert watching["alarms"][0]["words"] == f"full {HOSTILE}"
    assert found["backup"]["at"].startswith("2024-01-02T03:04:05")
    assert "held paper" in page
    assert "<script>window" not in page


def test_what_holds(served):
    """The overview tells switch with level, hold, trigger with its numbers, and the missing supervisor."""
    found, page = served.json("/api/safety"), served.get("/safety").text

    assert (found["kill_switch"]["level"], found["kill_switch"]["why"]) == ("no-new", HOSTILE)
    assert [(item["account"], item["kind"], item["by"]) for item in found["holds"]] == [("paper", "pause", "kim")]
    fired = {item["code"]: [one["evidence"] for one in item["last"]] for item in found["triggers"] if item["last"]}
    assert fired == {"api_error_rate": [ASKED["api_error_rate"]]}
    assert found["triggers"][2]["limits"]["window_s"] == "300"
    assert [(item["state"], item["dead_man"]["kept"]) for item in found["sessions"]] == [("restricted", False)]
    assert (found["supervisor"]["at_work"], found["supervisor"]["required"]) == (False, True)
    assert "peak-trade resume paper --check" in page
    assert "none runs; no order of this session is executed at an exchange." in page
    assert "<script>window" not in page


def test_what_stands_above(served):
    """Every page warns of switch, critical incident, held account and missing supervisor, each with where to look."""
    page = served.get("/experiments").text

    assert "no order that enlarges a position is sent" in page
    assert '<a href="/incidents">A critical incident is open' in page
    assert '<a href="/safety#holds">Accounts that are held: paper</a>' in page
    assert "Nobody watches the sessions although a supervisor is required" in page
    assert "DAMAGED" not in page
    assert "<script>window" not in page


def test_incidents(served):
    """The list has open ones first; one has cause, timeline and the commands, and what it says is text."""
    found = served.json("/api/incidents")["incidents"]
    one = served.json(f"/api{incident_path(served)}")
    page = served.get(incident_path(served)).text

    assert [(item["severity"], item["open"]) for item in found] == [("critical", True), ("low", False)]
    assert found[1]["follow_up"] == "the feed drops repeats"
    assert one["why"] == HOSTILE
    assert one["id"] == found[0]["id"]
    assert f"peak-trade incident close {one['id']}" in page
    assert "<script>window" not in page + served.get("/incidents").text
    assert served.get("/incidents/none").status_code == 404
    assert served.get("/api/incidents/none").status_code == 404


def test_drills(served):
    """A drill that passed too long ago is marked as expired, one that never ran as that."""
    standing = {item["drill"]: item["standing"] for item in served.json("/api/drills")["drills"]}
    page = served.get("/drills").text

    assert (standing["kill_switch"], standing["test_alert"]) == ("expired", "never")
    assert 'class="void"' in page
    assert "peak-trade drill run kill-switch" in page
    assert "peak-trade alert test" in page


def test_runbooks(served):
    """Each runbook is listed and shown, with the drill that it names; what is none is not found."""
    found = served.json("/api/runbooks")["runbooks"]
    page = served.get("/runbooks/pause").text

    assert {item["name"] for item in found} >= {"pause", "restart", "incident"}
    assert [served.get(f"/runbooks/{item['name']}").status_code for item in found] == [200] * len(found)
    assert "peak-trade drill run pause" in page
    assert '<a href="/runbooks/restart" rel="noreferrer">restart</a>' in page
    assert "<table>" in page
    assert served.get("/runbooks/nowhere").status_code == 404
    assert served.get("/runbooks/..%2F..%2Fconfig").status_code == 404
    assert served.json("/api/runbooks/pause")["text"].startswith("# Runbook: pause")


def test_markdown_is_no_html():
    """HTML in a runbook is text, images and foreign addresses are nothing, and a table carries no style."""
    page = rendered(
        f"# Title\n\n{HOSTILE}\n\n[a](javascript:alert(1)) [b](http://x.example) [c](../../x) [d](restart.md#when) "
        "![e](https://x.example/i.png)\n\n| a |\n|--:|\n| <b>1</b> |\n\n## Next\n"
    )

    assert "Title" not in page
    assert not [word for word in ("<script", "<img", "<b>", "style=", 'href="http://', 'href="../') if word in page]
    assert "javascript:" not in page.replace("(javascript:alert(1))", "")
    assert '<a href="/runbooks/restart#when" rel="noreferrer">d</a>' in page
    assert "<h2>Next</h2>" in page


def test_a_damaged_record(tmp_path):
    """Where the journal of acts was altered every page says so, and incidents and drills show nothing in its place."""
    with a_team(tmp_path) as team:
        open_incident(team.parts, key="one", severity="low", title="one", why="a test", by="kim")
        path = segments(team.parts.journal, ACCOUNT)[0]
        path.write_bytes(path.read_bytes().replace(b"a test", b"a jest"))
        with shown(team) as served:
            pages = {name: served.get(name).text for name in ("/safety", "/incidents", "/drills", "/runbooks")}
            status = served.get("/api/incidents").status_code

    assert all("The record of what people did is DAMAGED" in page for page in pages.values())
    assert "peak-trade journal verify" in pages["/incidents"]
    assert "This can&#39;t be told" in pages["/drills"] or "This can't be told" in pages["/drills"]
    assert status == 409


def test_levels_of_the_kill_switch(tmp_path):
    """From the web the switch goes on at a level, and later further; what needs an exchange is a command there."""
    with at_home(tmp_path), serving(str(tmp_path / "config.toml")) as served:
        token, switch = served.operator(), served.parts.kill_switch
        form = served.get("/kill-switch").text
        for level, command_shown in (("no-new", True), ("reduce-only", False)):
            told = {"token": token, "why": "a test", "level": level}
            asked = served.post("/kill-switch", hidden(served.get("/kill-switch").text) | told)
            served.confirm("/kill-switch", asked)
            assert switch.level() is KillLevel(level)
            assert ('name="level"' in served.get("/kill-switch").text) is command_shown
        refused = served.post("/kill-switch", hidden(form) | {"token": token, "why": "a test", "level": "flatten"})

    assert refused.status_code == 400
    assert "peak-trade kill --level flatten" in form
    assert 'value="flatten"' not in form


class TestSeen:
    """Pages in chromium."""

    pytestmark = BROWSER_TESTS

    def test_desk_and_pocket(self, served, chromium: Browser):
        """On a desk and, in German, on a phone: nothing wrong for a screen reader, nothing sticks out, no data is obeyed."""
        reader = Reader(chromium, served.url)
        found = {}
        paths = (*NAMES, incident_path(served), "/kill-switch")
        for which, options in (("desk", {}), ("pocket", POCKET)):
            page = reader.context(**options).new_page()
            for path in paths:
                reader.go(page, path)
                found[which, path] = flaws(page) + outlines(page)
            assert page.evaluate("document.documentElement.lang") == ("de" if which == "pocket" else "en")
        page = reader.open("/safety")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('nav.places a')")
        reader.close()

        assert {name: wrong for name, wrong in found.items() if wrong} == {}
        assert reader.troubles == []
