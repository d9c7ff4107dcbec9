"""What the dashboard shows of an installation in which something is missing, damaged, locked or gone; and that it recovers."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.dashboard import Served, serving
from tests.e2e.houses import QUICK, at_home, command, configure, put

from peak_trade.compose import Parts
from peak_trade.journal import database
from peak_trade.settings import load_config
from peak_trade.webui import live

#: Pages that need the registry, and those that do not.
REGISTERED = [
    "/",
    "/session/latest",
    "/experiments",
    "/api/live_sessions",
    "/api/live_sessions/stats",
    "/api/live_sessions/latest",
]
OTHERS = ["/kill-switch", "/docs", "/metrics", "/openapi.json"]
#: What stands where something else was written; the last one only nests.
ODD = [
    "nothing",
    "5",
    "[]",
    '{"datasets": 5, "quote": {}, "by_leg": 5, "incidents": 3, "terms": [1]}',
    '{"a": {"b": "<script>"}}',
]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.1)
    monkeypatch.setattr(live, "LOOK_S", 0.05)


@dataclass(frozen=True)
class Made:
    """A folder with two sessions and a backtest, and their ids; of the sessions the second failed and is the newest."""

    folder: Path
    real: str
    broken: str
    run: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder in which a session and a backtest really ran, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    with at_home(folder):
        command(*QUICK, "--tag", "real")
        command("backtest", "--strategy", "ma_crossover")
        with closing(Parts(load_config())) as parts:
            real = str(parts.sessions.get("latest").session_id)
            broken = put(parts, "failed", "other", metrics={"realized_pnl": 1.5, "num_orders": 2.0}, error="it broke")
            return Made(folder, real, broken, str(parts.registry.get("latest:backtest").run_id))


@pytest.fixture
def two(project, made) -> tuple[str, str]:
    """The ids of two sessions of this folder: one that really ran, and a failed one without a journal."""
    shutil.copytree(made.folder, project.folder, dirs_exist_ok=True)
    return made.real, made.broken


@pytest.fixture
def file(project) -> Path:
    """The file of the registry."""
    return project.folder / "var" / "registry.db"


@pytest.fixture
def served(project) -> Iterator[Served]:
    """The dashboard of the folder as it stands when a test begins."""
    with serving() as made:
        yield made


def change(file: Path, statement: str, *values: object) -> None:
    """Change the registry without our code."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(statement, values)
        connection.commit()


def row(served: Served, session_id: str) -> str:
    """Return what the first page's table says of a session."""
    found = re.search(rf'<tr id="s-{session_id}".*?</tr>', served.get("/").text, re.S)
    assert found, session_id
    return found[0]


def unwell(served: Served) -> list[str]:
    """Return the components that are not well; health answers 503 exactly where there are some."""
    answer = served.get("/api/health")
    found = [row["component"] for row in answer.json()["components"] if not row["healthy"]]
    assert (answer.status_code, answer.json()["status"]) == ((503, "failing") if found else (200, "ok"))
    return found


def down(served: Served) -> None:
    """See that nothing of the registry is shown, that everything says so, and that everything else is there."""
    for path in REGISTERED:
        answer = served.get(path)
        assert (answer.status_code, "registry.db" in answer.text) == (503, True), (path, answer.text[:200])
        kind = "application/problem+json" if path.startswith("/api/") else "text/html; charset=utf-8"
        assert answer.headers["content-type"] == kind
    for path in OTHERS:
        assert served.get(path).status_code == 200, path
    assert unwell(served) == ["registry"]
    assert "The registry can&#39;t be read" in served.get("/kill-switch").text
    assert "\npeak_trade_registry_readable 0.0\n" in served.get("/metrics").text
    assert "\npeak_trade_sessions{" not in served.get("/metrics").text


def up(served: Served) -> None:
    """See that everything is shown again."""
    for path in (*REGISTERED, *OTHERS):
        assert served.get(path).status_code == 200, path
    assert unwell(served) == []
    assert "The registry can&#39;t be read" not in served.get("/").text
    assert "\npeak_trade_registry_readable 1.0\n" in served.get("/metrics").text


# ---- nothing there yet -----------------------------------------------------------------------------------------------


def test_an_empty_registry_says_how_to_begin(served, project):
    """Before the first session every page works, and the first one gives the command that makes one."""
    page = served.get("/").text

    assert "python scripts/run_execution_session.py --strategy ma_crossover --steps 100 --speed max" in page
    assert "peak-trade backtest --strategy ma_crossover" in served.get("/experiments").text
    assert served.json("/api/live_sessions") | {"as_of": ""} == {"sessions": [], "next_cursor": None, "as_of": ""}
    assert served.json("/api/live_sessions/stats")["modes"] == []
    assert served.get("/session/latest").status_code == 404
    assert "No session matches" in served.get("/?mode=live").text
    assert unwell(served) == []

    assert project.run(*QUICK).code == 0
    assert "There is no session yet" not in served.get("/").text
    assert served.get("/session/latest").status_code == 200


# ---- the registry as a whole -----------------------------------------------------------------------------------------


def test_a_registry_that_is_none(file, two, project):
    """A dashboard that starts on a damaged registry says so everywhere, and shows all once it is restored."""
    good = file.read_bytes()
    file.write_bytes(b"no database" * 5_000)

    with serving() as served:
        down(served)
        file.write_bytes(good)
        up(served)


def test_a_registry_that_becomes_none(file, two, served):
    """A registry that is damaged while the dashboard runs is told, and shown again once it is restored."""
    good = file.read_bytes()
    up(served)
    file.write_bytes(b"no database" * 5_000)

    down(served)

    file.write_bytes(good)
    up(served)


def test_a_registry_that_is_deleted(file, two, served):
    """A registry that is gone is told; nothing makes an empty one in its place, and a restored one is shown."""
    good = file.read_bytes()
    up(served)
    file.unlink()

    down(served)
    assert not file.exists()

    file.write_bytes(good)
    up(served)


def test_a_registry_that_is_replaced(file, two, served):
    """When a copy is put in its place, its sessions are shown and not those of the file before."""
    up(served)
    other = file.with_name("copy.db")
    shutil.copy(file, other)
    change(other, "update runs set strategy = 'another'")
    other.replace(file)

    assert served.json(f"/api/live_sessions/{two[0]}")["strategy"] == "another"


def test_a_registry_that_is_copied_over(file, two, served):
    """Whoever looks while a copy is being written into the file sees a failure, and afterwards the copy."""
    good = file.read_bytes()
    up(served)
    os.truncate(file, 0)
    down(served)

    file.write_bytes(good)

    up(served)


def test_a_registry_that_is_locked(file, two, served):
    """While another process holds the file for itself it is told that it does, and afterwards all is well."""
    up(served)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        down(served)
        assert "another process held its write lock" in served.get("/").text
        other.execute("ROLLBACK")

    up(served)


def test_a_registry_that_is_written_is_read(file, two, served):
    """A writer that has not committed yet keeps nobody from reading, and what it writes is not seen."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("update session_list set strategy = 'unseen'")
        up(served)
        assert "unseen" not in served.get("/").text
        other.execute("ROLLBACK")


def test_a_registry_of_a_newer_version(file, two, project):
    """A registry that a newer version wrote is left alone, and said to be so."""
    change(file, "update alembic_version set version_num = '9999'")

    with serving() as served:
        answer = served.get("/")
        assert (answer.status_code, "newer Peak_Trade" in answer.text) == (503, True)
        assert unwell(served) == ["registry"]


# ---- single records --------------------------------------------------------------------------------------------------

#: Where something else is put, and where it must show: in the row, or only in what is made of it.
PLACES = [("sessions", name) for name in ("feed", "cli_args", "summary", "heartbeat_at", "lease_until", "mode")]
PLACES += [("runs", name) for name in ("params", "spec", "versions", "elapsed_s", "trials", "process", "status", "started_at")]
PLACES += [("session_list", name) for name in ("mode", "status", "currency", "started_at", "num_orders")]


@pytest.mark.parametrize(("table", "column"), PLACES, ids=[f"{table}.{column}" for table, column in PLACES])
def test_a_damaged_row_takes_nothing_else_down(file, two, served, table, column):
    """Whatever stands in one column of one session, that one is shown as far as it can be, and the other as it was."""
    real, broken = two
    key = "run_id" if table == "runs" else "session_id"
    good = {path: served.get(path).text for path in (f"/api/live_sessions/{real}",)}

    for odd in ODD:
        change(file, f"update {table} set {column} = ? where {key} = ?", odd, broken)
        for path in ("/", f"/session/{broken}"):
            answer = served.get(path)
            assert answer.status_code == 200, (odd, path)
            assert "<script>" not in answer.text
        rows = {row["session_id"]: row for row in served.json("/api/live_sessions")["sessions"]}
        assert set(rows) == {real, broken}
        assert served.json(f"/api/live_sessions/{broken}")["status"] in ("damaged", "failed")
        assert served.get("/metrics").status_code == served.get("/api/live_sessions/stats").status_code == 200
    assert {path: served.get(path).text for path in good} == good
    for path in ("/experiments", f"/session/{real}", f"/session/{broken}/charts", f"/session/{broken}/acknowledge"):
        assert served.get(path).status_code in (200, 400), path
    assert unwell(served) == []


@pytest.mark.parametrize("odd", ["nothing", "5", "[]", "{"])
def test_a_damaged_row_is_called_damaged(file, two, served, odd):
    """A row that can't be read says that it is damaged and why, in the list, on its page and in the API."""
    _, broken = two
    change(file, "update sessions set summary = ? where session_id = ?", odd, broken)

    told = served.json(f"/api/live_sessions/{broken}")

    assert told["status"] == "damaged"
    assert "it broke" in told["error"]
    assert "damaged" in row(served, broken)
    page = served.get(f"/session/{broken}").text
    assert "damaged" in page.partition('id="head"')[2].partition("</div>")[0]


@pytest.mark.parametrize("table", ["sessions", "runs"])
def test_half_a_session(file, two, served, table):
    """A session whose row is lost in one of its tables is listed as damaged from what the list still knows."""
    real, broken = two
    for name in ("acknowledgements", "metrics", "tags", table):
        change(
            file,
            f"delete from {name} where {'session_id' if name in ('sessions', 'acknowledgements') else 'run_id'} = ?",
            broken,
        )

    rows = {row["session_id"]: row["status"] for row in served.json("/api/live_sessions")["sessions"]}

    assert rows == {real: "completed", broken: "damaged"}
    assert ("damaged" in row(served, broken), "damaged" in row(served, real)) == (True, False)
    for path in (f"/session/{broken}", f"/session/{real}", f"/api/live_sessions/{broken}"):
        assert served.get(path).status_code == 200, path


@pytest.mark.parametrize("figure", ["9e999", "-9e999", "'many'", "x'ff00'"])
def test_figures_that_are_none(file, two, served, figure):
    """A figure that is infinite or no number is not shown as one, and hides nothing."""
    real, broken = two
    change(file, f"update metrics set value = {figure} where run_id = ?", broken)

    for path in ("/", "/experiments", f"/session/{broken}", f"/session/{real}", "/?sort=-realized_pnl", "/metrics"):
        assert served.get(path).status_code == 200, path
    assert served.json(f"/api/live_sessions/{broken}")["realized_pnl"] is None
    assert "Infinity" not in served.get("/api/live_sessions").text


@pytest.mark.parametrize(
    ("table", "column"),
    [("runs", "strategy"), ("runs", "error"), ("sessions", "notes"), ("session_list", "searched"), ("tags", "tag")],
)
def test_a_text_that_is_no_text(file, two, served, table, column):
    """A text whose bytes are damaged is shown as far as it is one, and hides no other session."""
    real, _ = two
    key = "session_id" if table in ("sessions", "session_list") else "run_id"
    change(file, f"update {table} set {column} = cast(x'ff41fe' as text) where {key} = ?", real)

    for path in (*REGISTERED, f"/session/{real}", "/?text=a", "/metrics"):
        assert served.get(path).status_code == 200, path


@pytest.mark.parametrize(("table", "column"), [("runs", "strategy"), ("session_list", "mode"), ("tags", "tag")])
def test_bytes_for_a_text(file, two, served, table, column):
    """Bytes where a text should be are shown as far as they are one, and hide no other session."""
    real, _ = two
    key = "session_id" if table == "session_list" else "run_id"
    change(file, f"update {table} set {column} = x'ff41fe' where {key} = ?", real)

    for path in (*REGISTERED, f"/session/{real}", "/metrics"):
        assert served.get(path).status_code == 200, path


@pytest.mark.parametrize("odd", ["cast(x'ff41fe' as text)", "x'ff41fe'"])
def test_an_id_that_is_no_text(file, two, served, odd):
    """A session whose id itself is damaged hides no other session."""
    real, broken = two
    change(file, f"update session_list set session_id = {odd} where session_id = ?", broken)

    for path in ("/", "/?sort=-account", "/api/live_sessions/stats", "/experiments", "/metrics", f"/session/{real}"):
        assert served.get(path, headers={"connection": "close"}).status_code == 200, path
    assert real in [row["session_id"] for row in served.json("/api/live_sessions")["sessions"]]


@pytest.mark.parametrize("column", ["params", "spec", "versions"])
def test_a_text_that_nests_without_end(file, two, served, column):
    """Brackets without end in one row damage that row and no other."""
    _, broken = two
    change(file, f"update runs set {column} = ? where run_id = ?", "[" * 100_000, broken)

    for path in (*REGISTERED, f"/session/{broken}"):
        assert served.get(path).status_code == 200, path


# ---- journals, reports, folders --------------------------------------------------------------------------------------


def test_a_damaged_journal(project, two, served):
    """A session whose journal was changed says so and keeps its registered figures; the other is not affected."""
    real, broken = two
    path = project.folder / "var" / "journal" / "paper" / f"{real}.jsonl"
    whole = path.read_bytes()
    figures = served.json(f"/api/live_sessions/{real}")["metrics"]
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"', b"'", 1), *lines[4:]]))

    page = served.get(f"/session/{real}").text

    assert "Its journal can&#39;t be read" in page
    assert f"{figures['final_equity']:,.2f}" in page
    assert served.get(f"/session/{broken}").status_code == served.get("/").status_code == 200
    path.write_bytes(whole)
    served.parts.sessions.get(real)
    with serving() as other:
        assert "Its journal can&#39;t be read" not in other.get(f"/session/{real}").text


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{}\n", b"[]\n", b"null\n" * 3, b'{"seq": 1}\n', b"x" * 100_000])
def test_a_journal_that_is_none(project, two, served, content):
    """Whatever stands in the file of a journal, the page says that it can't be read."""
    real, _ = two
    (project.folder / "var" / "journal" / "paper" / f"{real}.jsonl").write_bytes(content)

    answer = served.get(f"/session/{real}")

    assert (answer.status_code, "Its journal can&#39;t be read" in answer.text) == (200, True)
    assert served.json(f"/session/{real}/charts") == {"documents": {}, "items": []}


def test_a_journal_that_is_gone(project, two, served):
    """Without a journal a session is shown as the registry has it."""
    real, _ = two
    shutil.rmtree(project.folder / "var" / "journal")

    page = served.get(f"/session/{real}").text

    assert "Its journal can&#39;t be read" in page
    assert "Key figures" in page


def test_a_journal_s_folder_that_can_t_be_read(project, two, served):
    """Where the folder of all journals is none any more, health names the component, and lists still work."""
    real, _ = two
    folder = project.folder / "var" / "journal"
    shutil.rmtree(folder)
    folder.write_text("no folder")

    assert served.get("/").status_code == 200
    assert "Its journal can&#39;t be read" in served.get(f"/session/{real}").text
    assert unwell(served) == ["journal"]


def test_a_lost_key(project, two, served):
    """Without its public key nothing of the journal can be verified, and health says so."""
    shutil.rmtree(project.folder / "var" / "keys")

    assert unwell(served) == ["signing key"]
    assert served.get("/").status_code == 200


@pytest.mark.parametrize("found", [None, b"\xff\xfe"], ids=["gone", "no text"])
def test_a_lost_report_is_drawn_anew(project, made, two, served, found):
    """A run whose report is gone from its folder, or is no text, is done again and drawn, the same as it was."""
    path = project.folder / "reports" / "experiments" / made.run / "tear_sheet.html"
    before = path.read_text("utf-8")
    path.unlink()
    if found is not None:
        path.write_bytes(found)

    answer = served.get(f"/experiments/{made.run}/report")

    assert (answer.status_code, answer.text) == (200, path.read_text("utf-8"))
    assert "ma_crossover on SPX/USD" in answer.text
    assert len(answer.text) == pytest.approx(len(before), rel=0.01)


def test_a_report_that_can_t_be_drawn(project, served):
    """Where the bars of a run are gone its report is refused in one sentence, and the run is shown without."""
    bars = project.bars()
    told = project.run("backtest", "--strategy", "ma_crossover", "--data", "bars.csv", "--symbol", "BTC/EUR", "--json").json
    shutil.rmtree(project.folder / "reports")
    bars.unlink()

    refused = served.get(f"/experiments/{told['run_id']}/report")

    assert (refused.status_code, "bars.csv" in refused.text) == (400, True)
    assert served.get(f"/experiments/{told['run_id']}").status_code == 200


def test_a_damaged_run(file, project, made, two, served):
    """A run whose specification makes no sense is shown as far as it can be, and its report is refused."""
    shutil.rmtree(project.folder / "reports")

    for odd in ('{"terms": 5, "grid": "x"}', "nothing", "[]", "{}"):
        change(file, "update runs set spec = ? where run_id = ?", odd, made.run)
        for path in ("/", "/experiments", f"/experiments/{made.run}", f"/experiments/compare?first={made.run}&second={two[0]}"):
            assert served.get(path).status_code == 200, (odd, path)
        assert served.get(f"/experiments/{made.run}/report").status_code in (400, 409), odd


def test_a_changed_configuration(project, served):
    """When the file is other than the one that was read, every page says to start the dashboard again; not before."""
    words = "The configuration file has changed since the dashboard read it"
    assert words not in served.get("/").text

    configure(project.folder, "environment", name='"elsewhere"')
    assert words in served.get("/kill-switch").text

    (project.folder / "config.toml").unlink()
    assert words in served.get("/").text


def test_a_damaged_kill_switch(project, served):
    """A kill switch that can't be read is on, for everyone to see."""
    path = project.folder / "var" / "kill_switch.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\xff")

    for page in ("/", "/experiments", "/nowhere"):
        assert "The kill switch is on" in served.get(page).text
    assert "\npeak_trade_kill_switch_on 1.0\n" in served.get("/metrics").text


def test_the_stream_tells_of_a_registry_that_is_gone(file, two, served):
    """An open page is told when nothing can be read any more, and when it can be again."""

    def news() -> dict[str, object]:
        line = next(line for line in lines if line.startswith("data: {") and line != "data: {}")
        return json.loads(line.removeprefix("data: "))

    good = file.read_bytes()
    with served.client.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        assert news()["failure"] == ""
        file.write_bytes(b"no database" * 5_000)
        assert "registry.db" in str(news()["failure"])
        file.write_bytes(good)
        assert news()["failure"] == ""
