"""`report_live_sessions.py`, the same as `peak-trade session report`, as its users see it."""

import contextlib
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.paths import ROOT

from peak_trade.cli.main import main
from peak_trade.settings import PATH_VARIABLE

TIMED, RECORDED = ["session", "run", "--speed", "max"], ["session", "shadow"]
QUICK = ("--strategy", "ma_crossover", "--steps", "300", "--no-html", "--json")
REPORT = ("session", "report")
PLAYBOOK = ("--run-type", "live_session_shadow", "--status", "completed", "--output-format", "markdown", "--summary-only")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project's folder with two sessions in time, one of them with every order blocked, and one over recorded bars."""
    folder = tmp_path_factory.mktemp("sessions")
    shipped = (ROOT / "config.toml").read_text()
    tight = shipped.replace('max_order_notional = "1000"', 'max_order_notional = "10"')
    found = []
    with pytest.MonkeyPatch.context() as place:
        place.setattr(os, "fsync", lambda _handle: None)
        place.delenv(PATH_VARIABLE, raising=False)
        place.chdir(folder)
        for config, command in ((shipped, [*TIMED, "--tag", "a"]), (tight, TIMED), (shipped, RECORDED)):
            (folder / "config.toml").write_text(config)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert main([*command, *QUICK]) == 0
            found.append(json.loads(out.getvalue()))
    return folder, found


@pytest.fixture
def sessions(project, made):
    """Those sessions, the newest last, in the present project."""
    folder, found = made
    shutil.copytree(folder, project.folder, dirs_exist_ok=True)
    return found


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_playbooks_call(project, sessions):
    """Markdown on stdout: how they ended, profit and drawdown over the sessions of that type, blocks by reason; no files."""
    before = files(project.folder / "reports")
    ended = project.run(*REPORT, *PLAYBOOK, "--stdout")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("# Sessions\n")
    assert "2 sessions: 2 completed." in ended.out
    assert "## live_session_shadow in USD" in ended.out
    for words in ("Profit, sum", "Drawdown, worst", "Fees paid", "Orders blocked", "Incidents", "max_order_notional"):
        assert words in ended.out
    assert "shadow_run" not in ended.out
    assert files(project.folder / "reports") == before


def test_the_figures_are_the_sessions(project, sessions):
    """The sums in JSON are those of the records."""
    facts = project.run(*REPORT, "--run-type", "live_session_shadow", "--json").json
    first, second = (record["metrics"] for record in sessions[:2])
    text = json.dumps(facts)

    assert facts["sessions"] == 2
    assert facts["filters"] == {"run_type": "live_session_shadow"}
    profit = first["final_equity"] + second["final_equity"] - 20_000
    assert any(value == pytest.approx(profit) for value in _numbers(facts))
    assert any(value == pytest.approx(first["max_drawdown"]) for value in _numbers(facts))
    assert any(value == first["num_orders"] + second["num_orders"] for value in _numbers(facts))
    assert f'"max_order_notional": {second["orders_blocked_risk"]:.0f}' in text


def _numbers(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


def test_each_session_unless_a_summary_is_asked_for(project, sessions):
    """Without --summary-only every session has a row and a part of its own."""
    whole = project.run(*REPORT, "--stdout").out
    summary = project.run(*REPORT, "--stdout", "--summary-only").out

    for record in sessions:
        assert f"### {record['session_id']}" in whole
    assert "###" not in summary
    assert "3 sessions: 3 completed." in summary


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("markdown", {"live_sessions.md"}),
        ("html", {"live_sessions.html"}),
        ("json", {"live_sessions.json"}),
        ("both", {"live_sessions.md", "live_sessions.html"}),
    ],
)
def test_formats_and_folders(project, sessions, form, names):
    """Each format is its file, in the default folder or in the one that is named; the paths are told."""
    ended = project.run(*REPORT, "--output-format", form)
    other = project.run(*REPORT, "--output-format", form, "--output-dir", "deep/out")
    told = [Path(path) for path in re.findall(r"^written: (.*)$", other.out, flags=re.M)]

    assert (ended.code, other.code) == (0, 0)
    assert files(project.folder / "reports" / "sessions") == files(project.folder / "deep" / "out") == names
    assert {path.name for path in told} == names
    assert all(path.stat().st_size > 1_000 for path in told)


def test_html_stands_alone(project, sessions):
    """Nothing is loaded from elsewhere; a small chart for each session with a folder, a link to its page where there is one."""
    project.run("session", "shadow", "--strategy", "macd", "--steps", "100")
    project.run(*REPORT, "--output-format", "html", "--output-dir", "out")
    html = (project.folder / "out" / "live_sessions.html").read_text("utf-8")
    links = re.findall(r'href="([^"]+)"', html)

    assert not re.search(r'(src|href)="(https?:)?//', html)
    assert html.count("<svg") >= 4
    assert [link for link in links if link.endswith("session.html")]
    assert all((project.folder / "out" / link).resolve().exists() for link in links if link.endswith(".html"))


def test_json_on_stdout_is_one_document(project, sessions):
    """--json, and --output-format json --stdout, are the same."""
    one = project.run(*REPORT, "--json")
    two = project.run(*REPORT, "--output-format", "json", "--stdout")

    assert one.json == two.json
    assert one.json["sessions"] == 3
    assert one.err == two.err == ""


def test_filters_and_limit(project, sessions):
    """Type, status, strategy, symbol and tag narrow it, and the newest come first."""
    count = lambda *words: project.run(*REPORT, "--json", *words).json["sessions"]

    assert count("--run-type", "shadow_run") == count("--tag", "a") == count("--limit", "1") == 1
    assert count("--status", "completed") == count("--strategy", "ma_crossover") == count("--symbol", "SYN/USD") == 3
    assert count("--status", "failed") == count("--symbol", "BTC/EUR") == count("--run-type", "live_session_testnet") == 0
    newest = project.run(*REPORT, "--stdout", "--limit", "1").out
    assert sessions[-1]["session_id"] in newest
    assert sessions[0]["session_id"] not in newest


def test_nothing_to_report_says_how_to_begin(project):
    """An empty registry is no failure, in any format, and the command that makes a session is named."""
    for form in ("markdown", "html"):
        ended = project.run(*REPORT, "--output-format", form, "--stdout")

        assert (ended.code, "There is no session yet" in ended.out) == (0, True)
        assert "run_execution_session.py --strategy ma_crossover" in ended.out
    assert project.run(*REPORT, "--json").json["sessions"] == 0
    assert project.run(*REPORT, *PLAYBOOK, "--stdout").code == 0


def test_no_match_is_not_called_the_first(project, sessions):
    """Where a filter leaves nothing, it says so and does not speak of the first session."""
    ended = project.run(*REPORT, "--status", "failed", "--stdout")

    assert (ended.code, "No session matches" in ended.out) == (0, True)
    assert "Make the first one" not in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output-format", "pdf"], "markdown, html, json or both"),
        (["--run-type", "live"], "live_session_shadow"),
        (["--status", "done"], "completed"),
        (["--limit", "0"], "--limit"),
        (["--limit", "many"], "--limit"),
        (["--strategy", "nope"], "ma_crossover"),
        (["--symbol", "BTC"], "BTC/EUR"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_option_is_one_sentence(project, sessions, arguments, words):
    """Exit code 2, nothing written."""
    ended = project.run(*REPORT, *arguments)

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert words in ended.err
    assert not (project.folder / "reports" / "sessions").exists()


@pytest.mark.parametrize("place", ["bars.csv", "bars.csv/deeper"])
def test_a_folder_that_can_not_be_is_one_sentence(project, sessions, place):
    """A file in the way of --output-dir."""
    project.bars("bars.csv")

    ended = project.run(*REPORT, "--output-dir", place)

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (1, "", 1)
    assert "bars.csv" in ended.err
    assert "internal fault" not in ended.err


def test_folders_that_are_gone_hide_nothing(project, sessions):
    """The registry alone is enough for a report; only the charts are missing."""
    shutil.rmtree(project.folder / "reports")

    ended = project.run(*REPORT, "--output-format", "both")

    assert ended.code == 0
    assert sessions[0]["session_id"] in (project.folder / "reports" / "sessions" / "live_sessions.md").read_text()


def test_a_damaged_folder_hides_nothing(project, sessions):
    """A curve that can't be read is left out."""
    (project.folder / "reports" / "experiments" / sessions[0]["session_id"] / "equity.parquet").write_bytes(b"no parquet")

    assert project.run(*REPORT, "--output-format", "html").code == 0


def test_the_script(project, sessions):
    """As the playbook writes it, as a process of its own: the same words."""
    ended = project.start(*PLAYBOOK, "--stdout", script="report_live_sessions.py")
    out, err = ended.communicate(timeout=60)

    assert (ended.returncode, err) == (0, "")
    assert out == project.run(*REPORT, *PLAYBOOK, "--stdout").out
