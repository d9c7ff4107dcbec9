"""`pause`, `resume`, `rollback`, `shutdown` and `session stop` as an operator calls them."""

import signal

import pytest

from peak_trade.runs.safety import restart
from peak_trade.runs.testnet import tested

RUN = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "120", "--no-html")
CLOSE = ("--cause", "the feed sent a bar twice", "--follow-up", "the feed drops repeats now")


def passed(monkeypatch):
    """Let the tests have passed, which takes minutes otherwise."""
    from peak_trade.compose import code_sha256

    good = tested.TestResult(
        commit="c",
        clean=True,
        code_sha256=code_sha256(),
        stage="shadow",
        at="2999-01-01T00:00:00Z",
        passed=9,
        failed=0,
        skipped=0,
        seconds=1.0,
        exit_code=0,
    )
    monkeypatch.setattr(tested, "last_result", lambda _folder: good)


def test_from_a_pause_to_the_next_session(project, monkeypatch):
    assert project.run(*RUN).code == 0
    paused = project.run("pause", "paper", "--why", "prices look wrong", "--by", "kim", "--cancel", "--json")
    assert (paused.code, paused.json["ok"]) == (0, True)
    assert paused.json["stopped_s"] < 60
    assert paused.json["archives"]["paper"]["files"] >= 4

    looked = project.run("resume", "paper", "--check", "--by", "kim")
    assert (looked.code, "MISSING  cause known" in looked.out) == (1, True)
    refused = project.run("resume", "paper", "--why", "mended", "--by", "kim")
    assert refused.code == 3
    for name in ("cause known", "fix tried", "documentation", "tests"):
        assert f"MISSING  {name}" in refused.out
        assert name in refused.err

    passed(monkeypatch)
    assert project.run("incident", "close", "pause.paper", "--by", "kim", *CLOSE).code == 0
    words = ("--why", "mended", "--by", "kim", "--docs", "the runbook says it")
    done = project.run("resume", "paper", *words, "--json")
    assert done.code == 0, done.err
    assert {need["name"] for need in done.json["needs"]} == {name for name, _ in restart.POINTS}
    assert all(need["met"] for need in done.json["needs"])
    assert project.run("resume", "paper", *words).code == 2
    assert project.run("shutdown", "check", "--secure").code == 0
    assert project.run(*RUN).code == 0
    again = project.run("shutdown", "check", "--json")
    assert (again.code, [item["name"] for item in again.json["points"] if not item["done"]]) == (1, ["logs and journals"])


def test_a_strategy_out_of_the_rotation(project):
    assert project.run(*RUN).code == 0
    found = project.run("rollback", "strategy", "ma_crossover", "--why", "it loses", "--by", "kim", "--json")
    assert (found.code, found.json["analysis"] is not None) == (0, True)
    again = project.run(*RUN, "--account", "another")
    assert (again.code, "it was rolled back" in again.err) == (3, True)
    recorded = ("session", "shadow", "--strategy", "ma_crossover", "--end", "2024-01-02", "--no-html", "--account", "trial")
    assert project.run(*recorded).code == 0
    assert (
        project.run(
            "session", "run", "--strategy", "macd", "--speed", "max", "--steps", "9", "--no-html", "--account", "x"
        ).code
        == 0
    )


def test_down_by_a_stage(project):
    text = (project.folder / "config.toml").read_text()
    (project.folder / "config.toml").write_text(text.replace('mode = "research"', 'mode = "testnet"'))
    found = project.run("rollback", "stage", "--to", "shadow", "--why", "too early", "--write-config", "--json")
    assert (found.code, found.json["ok"]) == (0, True)
    assert (project.folder / "config.toml").read_text() == text.replace('mode = "research"', 'mode = "shadow"')


def test_a_real_session_heeds_all_of_it(project):
    """One that runs in time: a strategy out of it, then paused, then ended in order by its lock."""
    both = ("--strategy", "ma_crossover", "--param", "ma_crossover.fast_window=2", "--param", "ma_crossover.slow_window=3")
    process = project.start("session", "run", *both, "--strategy", "macd", "--speed", "3600", "--no-html")
    try:
        while not list((project.folder / "var" / "journal").glob("paper/*.jsonl")):
            assert process.poll() is None, process.communicate()
        assert f"{process.pid} on " in project.run("session", "list", "--status", "started").out
        words = (
            "rollback",
            "strategy",
            "ma_crossover",
            "--why",
            "it loses",
            "--wait",
            "120",
            "--close-within",
            "120",
            "--json",
        )
        rolled = project.run(*words)
        assert rolled.code == 0, rolled.err
        steps = {step["step"]: step["words"] for step in rolled.json["steps"]}
        assert "closes what it was told to" in steps["stopped paper"]
        assert "flat by the journal" in steps["closed ma_crossover on paper"]
        paused = project.run("pause", "paper", "--why", "odd", "--cancel", "--wait", "120", "--json")
        assert paused.code == 0, paused.err
        assert any("is paused since" in step["words"] for step in paused.json["steps"])
        assert project.run("session", "stop", "--all", "--wait", "120", "--json").json["sessions"][0]["process"] == process.pid
        assert process.wait(60) in (0, 1)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert project.run("session", "stop", "paper").out == "no session is at work on paper\n"
    assert project.run("session", "stop", "--all").out == "no session is at work\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pause", "--why", "x"), 2, "a session, an account or --all, found neither"),
        (("pause", "paper", "--all", "--why", "x"), 2, "found both"),
        (("pause", "papr", "--why", "x"), 2, "expected a session or an account"),
        (("pause", "paper"), 2, "--why TEXT"),
        (("pause", "paper", "--why", "x", "--severity", "dire"), 2, "expected a severity"),
        (("pause", "paper", "--why", "x", "--close", "no_such"), 2, "no_such"),
        (("resume", "paper", "--why", "x"), 2, "found nothing"),
        (("resume", "paper"), 2, "--why TEXT"),
        (("rollback", "stage", "--to", "live", "--why", "x"), 2, "expected --to one of"),
        (("rollback", "strategy", "macd", "--why", "x"), 2, "found none"),
        (("rollback", "strategy", "macd"), 2, "--why TEXT"),
        (("session", "stop", "--all", "--now", "--kill"), 2, "found both"),
        (("session", "stop", "nobody"), 2, "expected a session or an account"),
    ],
)
def test_bad_input(project, words, code, said):
    found = project.run(*words)
    assert (found.code, said in found.err) == (code, True), found.err
    assert found.err.count("\n") == 1
    assert not (project.folder / "var" / "holds").exists()
