"""The gates' pages over a team that climbed to testnet, an empty house, a damaged journal, and many versions."""

import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page
from tests.dashboard import Served, serving
from tests.e2e.houses import at_home
from tests.e2e.pages import BROWSER_TESTS, Reader, background, flaws, inked, wait_until
from tests.e2e.test_dashboard_browser import POCKET, darken, outlines
from tests.team import SYMBOL, Team

from peak_trade.cli.main import main
from peak_trade.governance.criteria import Evidence, EvidenceKind, Subject
from peak_trade.governance.documents import digest, encode
from peak_trade.governance.ladder import Promoted, Rung, StrategyVersion
from peak_trade.governance.recorded import body_of
from peak_trade.journal.chain import segments
from peak_trade.journal.evidence import VersionKey
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.clock import MachineClock, moment_text, nanoseconds
from peak_trade.runs.acts import held, written
from peak_trade.runs.gates.record import gate_record

HOSTILE = "<script>window.obeyed = 1</script><img src=x onerror='window.obeyed = 1'> odd fills"
MANY = 30


class QuietTeam(Team):
    """A team whose commands are heard by nobody else; it is at work for more than one test."""

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command; return exit code, output and what it said."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(item) for item in arguments])
        return code, out.getvalue(), err.getvalue()


@contextmanager
def a_team(folder: Path) -> Iterator[Team]:
    """A team at work, on a disk that need not be waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield QuietTeam(folder, patch, None)


class Shown(MachineClock):
    """The team's moment for the dashboard; its seconds can be put forward, so that everything is looked at anew."""

    def __init__(self, team: Team) -> None:
        self._team, self.ahead_s = team, 0.0

    def now(self) -> datetime:
        """Return the team's present."""
        return self._team.clock.now()

    def elapsed_s(self) -> float:
        """Return seconds, as many more as was said."""
        return super().elapsed_s() + self.ahead_s


@contextmanager
def shown(team: Team) -> Iterator[Served]:
    """The dashboard of a team's folder."""
    with serving(str(team.folder / "config.toml"), Shown(team)) as served:
        yield served


def wait_out(served: Served) -> None:
    """Let so many seconds go by that everything is looked at anew."""
    served.parts.clock.ahead_s += 3_600.0


def put_version(team: Team, number: int) -> StrategyVersion:
    """Keep what a session of another version showed, as its end does."""
    version = StrategyVersion(key=f"version.{number}", params_sha256=digest(f"{number}".encode()), code_sha256=digest(b"code"))
    at = team.clock.now() - timedelta(days=number)
    moment = moment_text(nanoseconds(at))
    found = Evidence(
        kind=EvidenceKind.SHADOW,
        run_id=f"run-{number}",
        sha256=digest(b"run"),
        at=at,
        facts={"journal_sound": True, "trades": 3, "started_at": moment, "finished_at": moment},
        subject=Subject(strategy=version, symbols=(SYMBOL,)),
    )
    team.parts.evidence.keep(found.run_id, VersionKey(*msgspec.structs.astuple(version)), at, encode(found).decode())
    return version


def forge_step(team: Team) -> None:
    """Write a step up into the record that no decision allows."""
    last = gate_record(team.parts).events[-1]
    event = Promoted(team.clock.now(), last.assignment, Rung.SHADOW_LIVE_LIVE, digest(b"none"))
    with held(team.parts), written(team.parts, "gate_decide_not", "mallory", "command") as act:
        act.record(*body_of(event), event.at)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, Served]]:
    """A team that climbed to testnet and asks for the next step; one checklist is archived, one permit revoked."""
    with a_team(tmp_path_factory.mktemp("team")) as team:
        team.climb_to_shadow()
        first = team.json("gate", "status")["permits"][0]["id"]
        team.weeks_of_shadow()
        team.tests_passed()
        team.do("checklist", "archive", team.checklist("shadow_to_testnet"), "--by", "rita")
        request = team.ask("shadow->testnet")
        team.sign(request, "olga", "rita")
        assert team.json("gate", "decide", request)["answer"] == "pass"
        team.later(hours=1)
        team.checklist("testnet_to_shadow_live")
        team.sign(team.ask("testnet->shadow-live", "--anyway"), "olga")
        team.do("gate", "revoke", first, "--why", HOSTILE, "--by", "zoe")
        with shown(team) as served:
            yield team, served


@pytest.fixture
def served(house: tuple[Team, Served]) -> Served:
    return house[1]


def line_of(served: Served) -> dict[str, object]:
    """Return the only line of the ladder above research."""
    [line] = [line for line in served.json("/api/gates")["ladder"] if line["stage"] != "research"]
    return line


def gate_path(served: Served, step: str = "shadow->testnet") -> str:
    """Return the page of the version's gate."""
    line = line_of(served)
    return f"/gates/of/{line['strategy']}/{line['version']}?account={line['account']}&step={step.replace('>', '%3E')}"


def paths(served: Served) -> dict[str, str]:
    """Return the pages of the gates by name."""
    archived = served.json("/api/gates/archive")["archived"][0]["file"]
    return {
        "ladder": "/gates",
        "gate": gate_path(served),
        "next gate": gate_path(served, "testnet->shadow-live"),
        "requests": "/gates/requests",
        "permits": "/gates/permits",
        "archive": "/gates/archive",
        "archived": f"/gates/archive/{archived}",
    }


# ---- what is told ----------------------------------------------------------------------------------------------------


def test_the_same_as_the_command(house):
    """The API says of ladder and permits what `gate status` says, and of a step what `gate explain` says."""
    team, served = house
    told, found = team.json("gate", "status"), served.json("/api/gates")
    line = line_of(served)
    explained = team.json(
        *("gate", "explain", "shadow->testnet", "--strategy", "ma_crossover"),
        *("--param", "fast_window=2", "--param", "slow_window=6", "--symbol", SYMBOL),
    )
    step = served.json(f"/api/gates/{line['strategy']}/{line['version']}?step=shadow-%3Etestnet")

    assert found["ladder"] == told["ladder"]
    assert {item["id"]: item["good"] for item in found["permits"]} == {item["id"]: item["good"] for item in told["permits"]}
    assert [item["id"] for item in found["requests"]] == [item["id"] for item in told["requests"]][::-1]
    assert {item["id"]: item["answer"] for item in step["criteria"]} == {
        item["id"]: item["answer"] for item in explained["criteria"]
    }


def test_who_signs_what(served):
    """The open request tells who has signed, who could, what is in its way besides, and the commands."""
    [request] = [item for item in served.json("/api/gates")["requests"] if item["decided"] is None]

    assert [(item["person"], item["role"]) for item in request["approvals"]] == [("olga", "owner")]
    assert request["waits_for"] == [{"role": "risk_officer", "people": ["rudi"]}]
    codes = {item["code"] for item in request["lacking"]}
    assert codes == {"criterion_failed", "criterion_inconclusive"}
    assert any("runbook_present" in item["words"] for item in request["lacking"])
    page = served.get("/gates/requests").text
    assert f"-f ~/.ssh/id_ed25519 {request['file']}" in page
    assert f"peak-trade gate approve {request['id']}" in page
    assert f"peak-trade gate decide {request['id']}" in page


def test_progress_grows_to_its_limit(served):
    """The curve of each measure ends where the gate's own number is, and rises run by run."""
    line = line_of(served)
    step = served.json(f"/api/gates/{line['strategy']}/{line['version']}?step=shadow-%3Etestnet")
    measured = {one["name"]: one["found"] for item in step["criteria"] for one in item["measured"]}

    assert [item["measure"] for item in step["progress"]] == ["span_days", "runs", "trades"]
    for item in step["progress"]:
        values = [point["value"] for point in item["points"]]
        assert len(values) == 15
        assert values == sorted(values)
        assert values[-1] == item["found"] == float(measured[item["measure"]])
        assert item["found"] >= item["limit"]
    assert [(item["transition"], item["answer"]) for item in step["decisions"]] == [
        ("shadow->testnet", "pass"),
        ("research->shadow", "pass"),
    ]


def test_every_link_leads_somewhere(served):
    """Evidence leads to the pages of its runs, and nothing leads to an error."""
    links: dict[str, str] = {}
    for name, path in paths(served).items():
        page = served.get(path)
        assert page.status_code == 200, (name, page.text)
        found = [link.replace("&amp;", "&") for link in re.findall(r'<a [^>]*href="(/[^"]*)"', page.text)]
        links |= dict.fromkeys((link for link in found if "lang=" not in link), name)
    answers = {link: served.get(link, follow_redirects=True).status_code for link in links}

    assert sum(link.startswith("/session/") for link in links) >= 15 - 7
    assert {link: (links[link], status) for link, status in answers.items() if status != 200} == {}


def test_permits_tell_why_not(house):
    """A revoked one says by whom and why; one whose configuration changed says what changed, and is good again after."""
    team, served = house
    good, revoked = sorted(served.json("/api/gates")["permits"], key=lambda item: not item["good"])
    assert (good["stage"], good["objections"]) == ("testnet", [])
    assert [item["code"] for item in revoked["objections"]] == ["permit_revoked"]
    config = team.folder / "governance" / "policy.toml"
    before = config.read_text()
    try:
        config.write_text(before + "\n# a remark\n")
        changed = {item["id"]: item for item in served.json("/api/gates")["permits"]}[good["id"]]
    finally:
        config.write_text(before)

    assert changed["good"] is False
    assert "changed" in {item["code"] for item in changed["objections"]}
    again = {item["id"]: item for item in served.json("/api/gates")["permits"]}[good["id"]]
    assert again["good"] is True


def test_an_altered_checklist(house):
    """A list whose bytes are others is told as altered, and can be read; one that is gone is told as gone."""
    team, served = house
    [item] = served.json("/api/gates/archive")["archived"]
    assert item["state"] == "as recorded"
    path = team.folder / "reports" / "checklists" / item["file"]
    assert served.get(f"/gates/archive/{item['file']}").text.count("roles_named") == 1
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        wait_out(served)
        assert served.json("/api/gates/archive")["archived"][0]["state"] == "gone"
        assert served.get(f"/gates/archive/{item['file']}").status_code == 404
        path.write_text(HOSTILE)
        wait_out(served)
        assert served.json("/api/gates/archive")["archived"][0]["state"] == "altered"
        assert "not the bytes that were archived" in served.get(f"/gates/archive/{item['file']}").text
    finally:
        path.unlink(missing_ok=True)
        aside.rename(path)
        wait_out(served)


# ---- damage ----------------------------------------------------------------------------------------------------------


@contextmanager
def copied(house: tuple[Team, Served], folder: Path) -> Iterator[Team]:
    """A copy of the team's folder to do damage in, of a team of its own."""
    team, _ = house
    shutil.copytree(team.folder, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        other = object.__new__(QuietTeam)
        other.folder, other.clock = folder, team.clock
        yield other


def test_a_damaged_journal_is_told(house, tmp_path):
    """One altered byte in the record of acts: pages say so in place of every number, programs get a conflict."""
    with copied(house, tmp_path / "copy") as team:
        act = segments(team.parts.journal, ACCOUNT)[3]
        before = act.read_text()
        act.write_text(before.replace('"by":"', '"by":"x', 1))
        assert act.read_text() != before
        with shown(team) as served:
            pages = [served.get(path) for path in ("/gates", "/gates/requests", "/gates/permits")]
            answer = served.get("/api/gates")

    for page in pages:
        assert page.status_code == 200
        assert "the journal of operators as it was written" in page.text
        assert 'class="rung"' not in page.text
        assert "ma_crossover" not in page.text
    assert answer.status_code == 409
    assert answer.json()["title"] == "A check failed"


def test_a_forged_step_stands_at_the_top(house, tmp_path):
    """A step that no decision allows moves nothing and is shown before the ladder and in the history."""
    with copied(house, tmp_path / "copy") as team:
        forge_step(team)
        with shown(team) as served:
            found = served.json("/api/gates")
            page, history = served.get("/gates").text, served.get("/gates/permits").text

    assert [item["code"] for item in found["refused"]] == ["rung_order"]
    assert {line["stage"] for line in found["ladder"]} == {"testnet"}
    assert page.index("The record holds what must not be there") < page.index('class="rungs"')
    assert "refused, counts for nothing" in history


def test_an_empty_house(tmp_path):
    """A delivered folder without a session shows an empty ladder as such, with the commands that begin."""
    with a_team(tmp_path) as team, shown(team) as served:
        page = served.get("/gates").text
        found = served.json("/api/gates")

        assert "Nothing stands on the ladder yet" in page
        assert "peak-trade session run" in page
        assert (found["ladder"], found["requests"], found["permits"], found["history"]) == ([], [], [], [])
        assert [served.get(f"/gates/{name}").status_code for name in ("requests", "permits", "archive")] == [200] * 3


def test_a_house_without_rules(tmp_path):
    """Where nobody wrote a policy or roles the pages say which file is missing."""
    with at_home(tmp_path), serving(str(tmp_path / "config.toml")) as served:
        page = served.get("/gates")

        assert page.status_code == 200
        assert "governance/roles.toml" in page.text
        assert served.get("/api/gates").status_code == 404


def test_many_versions(house, tmp_path):
    """Thirty versions stand in research, each with what it lacks; code that is gone is marked."""
    with copied(house, tmp_path / "copy") as team:
        for number in range(MANY):
            put_version(team, number)
        with shown(team) as served:
            found = served.json("/api/gates")
            page = served.get("/gates").text

    research = [line for line in found["ladder"] if line["stage"] == "research"]
    assert len(research) == MANY
    assert page.count('<article class="version stale-code"') == MANY
    assert all(not line["current"] and line["next"]["lacking"] for line in research)


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(served: Served, chromium: Browser) -> Iterator[Reader]:
    """Somebody in front of the browser, to whom nothing happens that must not."""
    found = Reader(chromium, served.url)
    yield found
    found.close()
    assert found.troubles == []


class TestSeen:
    """Pages in chromium."""

    pytestmark = BROWSER_TESTS

    def test_on_a_desk(self, reader, served):
        """Nothing is wrong for a screen reader, light and dark; nothing sticks out, and no data is obeyed."""
        page = reader.context().new_page()
        found = {}
        for name, path in paths(served).items():
            reader.go(page, path)
            unfold(page)
            wrong = flaws(page)
            darken(page)
            found[name] = wrong + flaws(page, rule="color-contrast") + outlines(page)
            assert sum(background(page)) < 150
            page.emulate_media(color_scheme="light")

        assert {name: wrong for name, wrong in found.items() if wrong} == {}

    def test_in_a_pocket(self, reader, served):
        """On a phone, in German, everything has contrast and a name, and nothing sticks out."""
        page = reader.context(**POCKET).new_page()
        found = {}
        for name, path in paths(served).items():
            reader.go(page, path)
            unfold(page)
            found[name] = flaws(page) + outlines(page)
            assert page.evaluate("document.documentElement.lang") == "de"

        assert {name: wrong for name, wrong in found.items() if wrong} == {}

    def test_charts_have_ink(self, reader, served):
        """Each measure that grows has a chart with something on it."""
        page = reader.open(gate_path(served))
        wait_until(page, "() => Bokeh.documents.every((document) => document.is_idle)")
        drawn = page.locator(".chart").evaluate_all("(charts) => charts.map((chart) => chart.id)")

        assert drawn == [f"progress-chart-{number}" for number in range(3)]
        assert all(inked(page, chart) > 1_000 for chart in drawn)

    def test_by_keyboard(self, reader, served):
        """From the top of the ladder the keyboard leads to a version's gate, and unfolds what lacks."""
        page = reader.open("/gates")
        link = page.locator("article.version h3 a").first
        reach(page, "article.version h3 a")
        assert link.evaluate("(link) => link === document.activeElement")
        reach(page, "article.version summary")
        page.keyboard.press("Enter")
        assert page.locator("article.version details").first.evaluate("(part) => part.open")
        link.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/gates/of/**")
        assert "testnet->shadow-live" in page.inner_text("h1")

    def test_without_script(self, reader, served):
        """Everything but the charts is there without script."""
        for name, path in paths(served).items():
            page = reader.open(path, java_script_enabled=False)
            assert page.locator("main h1").count() == 1, name
            page.close()

    def test_an_act_is_seen(self, house, chromium, tmp_path):
        """A page that is open shows what somebody does at the terminal, without being asked."""
        with copied(house, tmp_path / "copy") as team, shown(team) as served:
            reader = Reader(chromium, served.url)
            page = reader.open("/gates/permits")
            page.wait_for_selector("html[data-live=yes]", state="attached")
            before = page.locator("#permits ol.lines li").count()
            team.do("gate", "demote", "--strategy", "ma_crossover", "--to", "shadow", "--why", HOSTILE, "--by", "zoe")
            wait_until(page, "(before) => document.querySelectorAll('#permits ol.lines li').length > before", before)

            assert "odd fills" in page.inner_text("#permits ol.lines li >> nth=0")
            assert not page.evaluate("'obeyed' in window")
            reader.close()
            assert reader.troubles == []


def unfold(page: Page) -> None:
    """Open everything that is folded."""
    page.locator("main details").evaluate_all("(parts) => parts.forEach((part) => { part.open = true; })")


def reach(page: Page, wanted: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(f"{wanted} is out of the keyboard's reach")
