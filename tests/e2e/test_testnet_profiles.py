"""Testnet sessions by profile as commands, against an emulator of their own; and where the key must never show."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.emulated import emulating, until
from tests.paths import ROOT

from peak_trade.runs.emulated import emulator_for_run

KEY, SECRET = "KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET"
FAST = ("--emulator", "--speed", "60")


@pytest.fixture(autouse=True)
def no_key(monkeypatch, socket_enabled):
    """Nobody's real key is used, and the emulators of this machine may be asked."""
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.delenv(SECRET, raising=False)


def change(project, *changes) -> None:
    """Replace lines of the configuration."""
    path = project.folder / "config.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def left(project) -> dict[str, float]:
    """Return what is left of the day."""
    return project.run("testnet", "budget", "--json").json["left"]


# ---- what there is ------------------------------------------------------------------------------------------------------


def test_the_profiles_are_listed_with_their_limits(project):
    """Each delivered profile has its terms; one that the limits refuse is told as such, with the reason."""
    change(project, ('max_order_notional = "75"\nposition', 'max_order_notional = "76"\nposition'))
    found = {one["profile"]: one for one in project.run("testnet", "list", "--json").json}

    assert list(found) == ["quick_smoke", "ma_crossover_small", "btc_momentum", "eth_swing"]
    assert found["quick_smoke"]["max_order_notional"] == "50"
    assert [name for name, one in found.items() if not one["allowed"]] == ["eth_swing"]
    text = project.run("testnet", "list").out
    assert "NOT ALLOWED" in text
    assert "found 76" in text


def test_a_dry_run_begins_nothing(project):
    """It prints terms, narrowed limits and the budget; no session, no charge, no folder."""
    ended = project.run("testnet", "run", "--profile", "quick_smoke", "--max-orders", "2", "--dry-run", "--json")
    [session] = ended.json["sessions"]

    assert ended.code == 0
    assert (session["max_orders"], session["limits"]["max_order_notional"], session["remarks"]) == (2, "50", [])
    assert ended.json["left"]["runs"] == 20
    assert KEY in ended.json["key"]
    assert {path.name for path in project.folder.iterdir()} == {"config.toml"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run",), 2, "--profile NAME"),
        (("run", "--profile", "quick_smok"), 2, "did you mean quick_smoke?"),
        (("run", "--profile", "quick_smoke", "--duration", "6"), 3, "--duration of at most 5"),
        (("run", "--profile", "quick_smoke", "--max-orders", "6"), 3, "--max-orders of at most 5"),
        (("run", "--profile", "quick_smoke", "--max-order-notional", "51"), 3, "--max-order-notional of at most 50"),
        (("run", "--profile", "quick_smoke", "--max-order-notional", "much"), 2, "amount of money"),
        (("run", "--profile", "quick_smoke", "--duration", "0"), 2, "above zero"),
        (("orchestrate",), 2, "one of --list, --budget, --profile NAME and --all"),
        (("orchestrate", "--all", "--list"), 2, "choose one"),
        (("orchestrate", "--profile", "quick_smoke", "--profile", "zzz"), 2, "'zzz'"),
        (("orchestrate", "--all", "--duration", "6"), 3, "--duration of at most 5"),
    ],
)
def test_what_is_wrong_or_too_much_begins_nothing(project, arguments, code, words):
    """Wrong input is exit code 2, more than a limit 3; one sentence names both, and nothing was charged."""
    ended = project.run("testnet", *arguments)

    assert ended.code == code
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert left(project)["runs"] == 20


def test_the_clock_of_an_exchange_is_everybodys(project, monkeypatch):
    """Only an emulator's clock can be made to go faster."""
    monkeypatch.setenv(KEY, "a" * 56)
    monkeypatch.setenv(SECRET, base64.b64encode(bytes(64)).decode())
    ended = project.run("testnet", "run", "--profile", "quick_smoke", "--speed", "2")

    assert (ended.code, "--speed with an emulator" in ended.err) == (2, True)


def test_more_than_the_budget_begins_nothing(project):
    """Sessions that together ask for more minutes or runs than there are are refused before the first one."""
    change(project, ("max_minutes = 480.0", "max_minutes = 300.0"))
    ended = project.run("testnet", "orchestrate", "--all", "--dry-run")
    assert (ended.code, "305 asked for" in ended.err) == (3, True)
    change(project, ("max_minutes = 300.0", "max_minutes = 305.0"), ("max_runs = 20", "max_runs = 3"))
    ended = project.run("testnet", "orchestrate", "--all", "--dry-run")
    assert (ended.code, "3 left and 4 asked for" in ended.err) == (3, True)
    change(project, ("max_runs = 3", "max_runs = 4"))
    assert project.run("testnet", "orchestrate", "--all", "--dry-run").code == 0


def test_nothing_begins_while_the_kill_switch_is_on(project):
    """Not even a plan."""
    assert project.run("kill", "--why", "a test").code == 0

    for arguments in (("run", "--profile", "quick_smoke"), ("orchestrate", "--profile", "quick_smoke", "--dry-run")):
        assert project.run("testnet", *arguments).code == 3


# ---- sessions --------------------------------------------------------------------------------------------------------------


def test_a_session_of_a_profile(project):
    """It runs to its end, keeps its limits, is charged to the day, and registry, report and journal have it."""
    process = project.start("--profile", "quick_smoke", *FAST, "--json", script="run_testnet_session.py")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    record = json.loads(out)

    assert (record["run_type"], record["status"], record["mode"]) == ("live_session_testnet", "completed", "testnet")
    assert record["account"] == "testnet-quick_smoke"
    assert record["limits"]["max_order_notional"] == "50"
    orders = record["metrics"]["num_orders"]
    assert 1 <= orders <= 5
    assert left(project) == {"day": left(project)["day"], "runs": 19, "orders": 200 - orders, "minutes": 475.0}
    assert project.run("journal", "verify").code == 0
    [kept] = project.run("session", "list", "--run-type", "live_session_testnet", "--json").json
    assert kept["session_id"] == record["session_id"]
    report = project.start(
        *("--run-type", "live_session_testnet", "--status", "completed", "--output-format", "markdown"),
        *("--summary-only", "--stdout"),
        script="report_live_sessions.py",
    )
    told, err = report.communicate(timeout=120)
    assert report.returncode == 0, err
    assert "live_session_testnet" in told


def test_a_key_that_a_session_uses_is_left_alone(project):
    """While another process uses the key, its rights are unknown, and the session goes on undisturbed."""
    with emulating() as served:
        key = served.key()
        change_place(project, served.url)
        environment = {**os.environ, KEY: key.id, SECRET: key.secret_text}
        session = project.start("testnet", "run", "--profile", "quick_smoke", "--no-html", "--json", env=environment)
        try:
            until(lambda: any("AddOrder" in str(line) or "GetApiKeyInfo" in str(line) for line in log_of(served)))
            check = project.start("readiness", "--stage", "testnet", "--json", env=environment)
            out, _ = check.communicate(timeout=120)
        finally:
            session.send_signal(signal.SIGINT)
            told, err = session.communicate(timeout=120)
    lines = {line["name"]: line for line in json.loads(out)["checks"]}

    assert (lines["key's rights"]["state"], lines["exchange"]["state"]) == ("unknown", "ok")
    assert "another uses it" in lines["key's rights"]["found"]
    assert (session.returncode, json.loads(told)["status"]) == (0, "completed"), err


def test_a_killed_session_stays_charged(project):
    """After kill -9 the run and its minutes are spent; the next one of the same kind is charged again."""
    with emulating() as served:
        key = served.key()
        change_place(project, served.url)
        environment = {**os.environ, KEY: key.id, SECRET: key.secret_text}
        session = project.start("testnet", "run", "--profile", "quick_smoke", "--no-html", env=environment)
        until(lambda: left(project)["runs"] == 19)
        session.kill()
        session.communicate(timeout=60)
        assert left(project)["runs"] == 19
        again = project.start("testnet", "run", "--profile", "quick_smoke", "--duration", "0.05", "--no-html", env=environment)
        _, err = again.communicate(timeout=120)

    assert again.returncode == 0, err
    assert (left(project)["runs"], left(project)["minutes"]) == (18, pytest.approx(474.95))


def log_of(served) -> list[dict[str, object]]:
    """Return what the exchange was asked."""
    return served.inside(lambda: list(served.opened.emulator.faults.log))


def test_sessions_one_after_the_other(project):
    """As a module, as the playbook has it: each session has its own process and its line in the table."""
    change(project, ("pause_s = 5.0", "pause_s = 0.0"))
    process = subprocess.run(
        [
            *(sys.executable, "-m", "scripts.orchestrate_testnet_runs", "--config", str(project.folder / "config.toml")),
            *("--profile", "quick_smoke", "--profile", "ma_crossover_small", "--duration", "1", *FAST, "--json"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)

    assert [(one["profile"], one["status"]) for one in found] == [
        ("quick_smoke", "completed"),
        ("ma_crossover_small", "completed"),
    ]
    registered = project.run("session", "list", "--run-type", "live_session_testnet", "--json").json
    assert {one["session_id"] for one in registered} == {one["session_id"] for one in found}
    assert left(project)["runs"] == 18


def test_nothing_is_asked_without_a_key(project):
    """Without a key neither a session nor a series begins, and the exchange hears nothing."""
    with emulating() as served:
        change_place(project, served.url)
        for command in ("run", "orchestrate"):
            ended = project.run("testnet", command, "--profile", "quick_smoke")
            assert (ended.code, KEY in ended.err, SECRET in ended.err) == (2, True, True)
        assert served.inside(lambda: list(served.opened.emulator.faults.log)) == []
    assert left(project)["runs"] == 20


# ---- the playbook's table of troubles ---------------------------------------------------------------------------------------


def test_trouble_no_configuration(project, tmp_path, monkeypatch):
    """'Config not found': the sentence names the variable."""
    monkeypatch.chdir(tmp_path / "..")
    (project.folder / "config.toml").unlink()
    ended = project.run("readiness", "--stage", "testnet")

    assert ended.code == 2
    assert "PEAK_TRADE_CONFIG_PATH" in ended.err


def test_trouble_tests_failed(project):
    """'Tests failed': the line says how to see details."""
    from peak_trade.runs.testnet import tested

    result = tested.TestResult(
        commit="c", clean=True, code_sha256="x", stage="testnet", at="2026-01-01T00:00:00.000000Z",
        passed=1, failed=1, skipped=0, seconds=1.0, exit_code=1,
    )  # fmt: skip
    tested.keep_result(project.folder / "var", result)
    ended = project.run("readiness", "--stage", "shadow")

    assert ended.code == 1
    assert "pytest -v" in ended.out


def test_trouble_readiness_failed(project):
    """'Readiness failed': the last sentence names the checks, and each line what to do."""
    assert project.run("kill", "--why", "a test").code == 0
    ended = project.run("readiness", "--stage", "shadow")

    assert ended.code == 1
    assert "kill switch" in ended.err
    assert "do what stands beside each" in ended.err
    assert "-> once the cause is gone: peak-trade release" in ended.out


def test_trouble_exchange_error_without_a_key(project):
    """'Exchange error', no key: every command that needs one names the variables."""
    for arguments in (("smoke",), ("testnet", "run", "--profile", "quick_smoke", "--duration", "0.01")):
        with emulating() as served:
            change_place(project, served.url)
            ended = project.run(*arguments)
        assert ended.code in (1, 2)
        assert KEY in ended.err


def test_trouble_exchange_error_with_a_wrong_key(project, monkeypatch):
    """'Exchange error', wrong key: nothing is sent after it, and the sentence says to check the key."""
    with emulating() as served:
        change_place(project, served.url)
        monkeypatch.setenv(KEY, served.key().id)
        monkeypatch.setenv(SECRET, served.key().secret_text)
        ended = project.run("testnet", "run", "--profile", "quick_smoke", "--duration", "0.05")

    assert ended.code == 2
    assert "key and secret belong together" in ended.err
    assert "exchange.kraken_testnet.api_key_env" in ended.err
    assert left(project)["runs"] == 20


def test_trouble_risk_limit(project):
    """'Risk limit violated': the plan says so before anything begins, and names the section."""
    change(project, ("position_fraction = 0.004", "position_fraction = 0.01"))
    ended = project.run("testnet", "run", "--profile", "quick_smoke", "--dry-run")
    assert "every one will be refused; lower position_fraction" in ended.out
    change(project, ('max_order_notional = "100"\nmax_orders', 'max_order_notional = "10"\nmax_orders'))
    ended = project.run("testnet", "run", "--profile", "quick_smoke", "--dry-run")
    assert (ended.code, "[testnet_limits.run]" in ended.err) == (3, True)


def change_place(project, url: str) -> None:
    """Let the configuration name another exchange, whatever it named before."""
    path = project.folder / "config.toml"
    lines = [
        f'base_url = "{url}"' if line.startswith("base_url") else
        f'websocket_url = "{url.replace("http", "ws")}/v2"' if line.startswith("websocket_url") else line
        for line in path.read_text().split("\n")
    ]  # fmt: skip
    path.write_text("\n".join(lines))


# ---- the key shows nowhere ------------------------------------------------------------------------------------------------


def everything_written(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def seen_in_processes(needles: list[bytes]) -> list[str]:
    """Return the processes of ours whose command line shows one of the texts."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += [f"{entry.name}: {line[:80]!r}" for needle in needles if needle in line]
    return found


FAILING = (
    "auth.invalid_signature",
    "auth.invalid_key",
    "rest.html_200",
    "rest.reset_after",
    "rest.internal_error",
    "rest.slow",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", *FAILING])
def test_the_key_shows_nowhere(project, name):
    """After readiness, smoke test and sessions at an exchange that fails, no file, output or command line has key or secret."""
    with emulator_for_run(speed=1.0) as served:
        key, secret = served.keys["trading"]
        change_place(project, served.base_url)
        if name:
            set_fault(served, name)
        environment = {**os.environ, KEY: key, SECRET: secret}
        needles = [text.encode() for text in (key, secret, secret[:40], key[:20])]
        said, listed = [], []
        for arguments in (
            ("readiness", "--stage", "testnet", *(["--json"] if name else [])),
            ("smoke",),
            ("testnet", "run", "--profile", "quick_smoke", "--duration", "0.03", "--verbose", "--log-level", "debug"),
            ("testnet", "orchestrate", "--profile", "quick_smoke", "--duration", "0.02"),
            ("session", "report", "--stdout"),
        ):
            process = project.start(*arguments, env=environment)
            listed += seen_in_processes(needles)
            out, err = process.communicate(timeout=200)
            listed += seen_in_processes(needles)
            said.append(out.encode() + err.encode())
            assert "Traceback" not in err
    files = everything_written(project.folder)

    assert listed == []
    assert [text[:300] for text in said for needle in needles if needle in text] == []
    assert [path for path, content in files.items() for needle in needles if needle in content] == []
    assert any(path.startswith("logs/") for path in files)


def set_fault(served, name: str) -> None:
    """Let the exchange of a run fail on every private call."""
    import httpx2

    told = {"name": name, "match": {"key": "trading"}, "for_s": 3_600}
    answer = httpx2.post(
        f"{served.base_url}/_ctl/faults", json=told, headers={"X-Control-Token": served.control_token}, trust_env=False
    )
    assert answer.status_code == 200, answer.text


def test_an_internal_fault_shows_no_key(project, monkeypatch, socket_enabled):
    """A fault of ours is logged with its traceback, and that has no secret in it."""
    with emulating() as served:
        key = served.key()
        monkeypatch.setenv(KEY, key.id)
        monkeypatch.setenv(SECRET, key.secret_text)
        change_place(project, served.url)

        def broken(*_given):
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr("peak_trade.venue.kraken.gateway.private_request", broken)
        ended = project.run("smoke")
    log = (project.folder / "logs" / "peak_trade.log").read_text()

    assert ended.code == 1
    assert "a fault of ours" in log
    assert "Traceback" in log
    for needle in (key.secret_text, key.id, repr(key.secret)):
        assert needle not in log + ended.out + ended.err
