"""Readiness and smoke test as commands, against an emulated exchange that is well, ill, slow or not there."""

import json
import os
import pty
import re
import socket

import pytest
from tests.emulated import Emulated, emulating

from peak_trade.emulator.exchange import ExchangeMode
from peak_trade.emulator.signing import CANCEL_ONLY, QUERY, TRADING
from peak_trade.runs.testnet import readiness_checks, tested

KEY, SECRET = "KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET"


@pytest.fixture(scope="module")
def exchange():
    """One exchange for the module; each test clears its faults."""
    with emulating() as served:
        yield served


@pytest.fixture
def desk(project, exchange, monkeypatch, socket_enabled):
    """A project that asks the emulated exchange with a key that trades."""
    for name in (KEY, SECRET):
        monkeypatch.delenv(name, raising=False)
    point(project, exchange.url, exchange.stream)
    use_key(monkeypatch, exchange)
    yield project
    exchange.inside(lambda: exchange.opened.emulator.faults.clear(exchange.clock()))
    set_mode(exchange, ExchangeMode.ONLINE)


def point(project, url: str, stream: str) -> None:
    """Let the configuration name another exchange."""
    path = project.folder / "config.toml"
    text = path.read_text()
    text = re.sub(r'base_url = ".*?"', f'base_url = "{url}"', text)
    path.write_text(re.sub(r'websocket_url = ".*?"', f'websocket_url = "{stream}/v2"', text))


def use_key(monkeypatch, exchange: Emulated, rights=TRADING) -> str:
    """Put a key with some rights into the environment; return its secret."""
    key = exchange.key(rights)
    monkeypatch.setenv(KEY, key.id)
    monkeypatch.setenv(SECRET, key.secret_text)
    return key.secret_text


def fault(exchange: Emulated, name: str, **args) -> None:
    """Let the exchange fail."""
    plan = exchange.opened.emulator.faults
    exchange.inside(lambda: plan.add({"name": name, "args": args, "for_s": 600}, exchange.clock()))


def set_mode(exchange: Emulated, mode: ExchangeMode) -> None:
    """Let the exchange take other orders."""
    exchange.inside(lambda: setattr(exchange.opened.engine, "mode", mode))


def nobody() -> str:
    """Return an address of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def check(project, stage: str = "testnet"):
    """Return how the readiness check ended, and its lines by name."""
    ended = project.run("readiness", "--stage", stage, "--json")
    return ended, {line["name"]: line for line in ended.json["checks"]}


# ---- readiness -----------------------------------------------------------------------------------------------------------


def test_a_ready_installation_is_ready(desk):
    """Everything that testnet needs is there: exit code 0, what can't be known is told as unknown."""
    ended, lines = check(desk)

    assert (ended.code, ended.err) == (0, "")
    assert ended.json["ready"] is True
    assert {name for name, line in lines.items() if line["state"] == "unknown"} == {"last drill"}
    assert {name for name, line in lines.items() if line["state"] == "warning"} <= {"tests", "packages", "roles"}
    assert all(line["found"] for line in lines.values())
    assert all(line["todo"] for line in lines.values() if line["state"] != "ok")


def test_the_text_has_each_line(desk):
    """On paper each check has a line, without colours, and the last line counts them."""
    ended = desk.run("readiness", "--stage", "testnet")

    assert ended.code == 0
    assert "\033[" not in ended.out
    for name in ("credentials", "key's rights", "clock", "symbols", "limits", "budget", "journal", "kill switch"):
        assert re.search(rf"^{name} +ok ", ended.out, re.M), name
    assert ended.out.rstrip().endswith(": ready")


def test_colours_are_for_terminals(project):
    """On a terminal each state has its colour."""
    master, slave = pty.openpty()
    try:
        process = project.start("readiness", "--stage", "shadow", stdout=slave)
        process.communicate(timeout=120)
        shown = os.read(master, 65_536).decode()
    finally:
        os.close(master)
        os.close(slave)

    assert "\033[32mok" in shown
    assert "\033[33mwarning" in shown


def test_an_exchange_that_is_silent(desk, exchange):
    """Questions without an answer end by themselves, and say so."""
    plan = exchange.opened.emulator.faults
    exchange.inside(lambda: plan.add({"name": "rest.timeout_before", "args": {"seconds": 600}, "for_s": 600}, exchange.clock()))
    ended, lines = check(desk)

    assert ended.code == 1
    assert all(lines[name]["state"] == "unknown" for name in ("exchange", "clock", "symbols", "key's rights"))
    assert all("no answer" in lines[name]["found"] for name in ("exchange", "clock", "symbols", "key's rights"))


def test_it_starts_nothing_and_leaves_nothing(desk):
    """No session, no charge, and no journal come of it."""
    check(desk)

    assert not (desk.folder / "var" / "journal").exists()
    assert not (desk.folder / "var" / "testnet_budget").exists()
    assert desk.run("testnet", "budget", "--json").json["left"]["runs"] == 20


@pytest.mark.parametrize(
    ("stage", "blocking"),
    [("shadow", []), ("shadow-live", ["venue", "runbooks"]), ("live", ["venue", "runbooks", "permit"])],
)
def test_other_stages(desk, stage, blocking):
    """Shadow is ready; the stages above say what this version does not have."""
    ended, lines = check(desk, stage)

    assert ended.code == (1 if blocking else 0)
    assert all(lines[name]["state"] == "failed" for name in blocking)
    if stage == "live":
        assert "no live venue" in lines["venue"]["found"]
    assert ("credentials" in lines) is False


@pytest.mark.parametrize("stage", ["", "moon", "research"])
def test_a_stage_that_is_none_is_wrong_usage(desk, stage):
    """The sentence lists the stages."""
    ended = desk.run("readiness", "--stage", stage)

    assert ended.code == 2
    assert "shadow, testnet, shadow-live, live" in ended.err


def test_without_a_key(desk, monkeypatch):
    """The check fails and names both variables; the rights are unknown."""
    monkeypatch.delenv(KEY)
    monkeypatch.delenv(SECRET)
    ended, lines = check(desk)

    assert ended.code == 1
    assert lines["credentials"]["state"] == "failed"
    assert KEY in lines["credentials"]["found"]
    assert SECRET in lines["credentials"]["found"]
    assert "export" in lines["credentials"]["todo"] or "--emulator" in lines["credentials"]["todo"]
    assert (lines["key's rights"]["state"], lines["key's rights"]["blocks"]) == ("unknown", True)
    assert lines["exchange"]["state"] == "ok"


def test_a_secret_that_is_none_is_not_repeated(desk, monkeypatch):
    """What is no base64 is refused without being shown."""
    monkeypatch.setenv(SECRET, "this is no base64!")
    ended, lines = check(desk)

    assert lines["credentials"]["state"] == "failed"
    assert "no base64!" not in ended.out + ended.err


def test_a_wrong_secret(desk, exchange, monkeypatch):
    """Key and secret of two pairs: the exchange refuses them, and the line says what to check."""
    use_key(monkeypatch, exchange)
    monkeypatch.setenv(SECRET, exchange.key().secret_text)
    ended, lines = check(desk)

    assert ended.code == 1
    assert "EAPI:Invalid signature" in lines["key's rights"]["found"]
    assert "key and secret belong together" in lines["key's rights"]["todo"]
    assert lines["clock"]["state"] == "ok"


@pytest.mark.parametrize(("rights", "lacking"), [(QUERY, ["modify-trades", "close-trades"]), (CANCEL_ONLY, ["modify-trades"])])
def test_a_key_that_may_do_too_little(desk, exchange, monkeypatch, rights, lacking):
    """The rights that are missing are named with what they are for."""
    use_key(monkeypatch, exchange, rights)
    ended, lines = check(desk)

    assert ended.code == 1
    assert all(right in lines["key's rights"]["found"] for right in lacking)
    assert "query-funds" not in lines["key's rights"]["found"]


@pytest.mark.parametrize("mode", [mode for mode in ExchangeMode if mode is not ExchangeMode.ONLINE])
def test_an_exchange_that_is_not_online(desk, exchange, mode):
    """Every mode but online fails the check and leads to the runbook."""
    set_mode(exchange, mode)
    ended, lines = check(desk)

    assert ended.code == 1
    assert (lines["exchange"]["state"], lines["exchange"]["found"]) == ("failed", mode.value)
    assert "maintenance.md" in lines["exchange"]["todo"]


@pytest.mark.parametrize(("seconds", "state"), [(30.0, "failed"), (-30.0, "failed"), (0.0, "ok")])
def test_clocks_that_differ(desk, exchange, seconds, state):
    """A difference above the limit fails, ahead and behind."""
    fault(exchange, "data.clock_skew", seconds=seconds)
    _, lines = check(desk)

    assert lines["clock"]["state"] == state
    if seconds:
        assert ("-2" if seconds > 0 else "+2") in lines["clock"]["found"]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"tick_size": "0.1", "ordermin": "0.5"}, "failed"),
        ({"status": "cancel_only"}, "failed"),
    ],
)
def test_pairs_that_changed(desk, exchange, changes, state):
    """A larger minimum, or a pair that takes no orders, fails the check and says how to go on."""
    plan = exchange.opened.emulator.faults
    told = {
        "name": "market.pair_change",
        "match": {"pair": "BTC/EUR"},
        "args": {k: v for k, v in changes.items() if k != "tick_size"},
    }
    exchange.inside(lambda: plan.add(told, exchange.clock()))
    ended, lines = check(desk)

    assert ended.code == 1
    assert lines["symbols"]["state"] == state
    assert "BTC/EUR" in lines["symbols"]["found"]
    assert "instrument" in lines["symbols"]["todo"]


def test_our_steps_that_differ(desk):
    """A finer tick of ours would be refused there; a coarser one that fits is a warning."""
    with (desk.folder / "config.toml").open("a") as file:
        file.write('\n[instrument."BTC/EUR"]\ntick_size = "0.01"\n')
    assert check(desk)[1]["symbols"]["state"] == "failed"
    path = desk.folder / "config.toml"
    path.write_text(path.read_text().replace('tick_size = "0.01"', 'tick_size = "0.5"'))
    assert check(desk)[1]["symbols"]["state"] == "warning"


def test_no_exchange_at_all(desk):
    """Nobody answers: findings with what to check, no traceback, the rest as before."""
    point(desk, f"http://{nobody()}", f"ws://{nobody()}")
    ended, lines = check(desk)

    assert ended.code == 1
    assert all(lines[name]["state"] == "unknown" for name in ("exchange", "clock", "symbols", "key's rights"))
    assert all(lines[name]["blocks"] for name in ("exchange", "clock", "symbols"))
    assert "Traceback" not in ended.out + ended.err
    assert lines["limits"]["state"] == "ok"


@pytest.mark.parametrize(
    "name", ["rest.html_200", "rest.captcha_403", "rest.http_5xx_before", "rest.reset_before", "auth.lockout"]
)
def test_an_exchange_that_answers_nonsense(desk, exchange, name):
    """Pages, captchas and cut connections are findings, each with what to do."""
    plan = exchange.opened.emulator.faults
    exchange.inside(lambda: plan.add({"name": name, "for_s": 600}, exchange.clock()))
    ended, lines = check(desk)

    assert ended.code in (0, 1)
    assert "Traceback" not in ended.out + ended.err
    assert all(line["todo"] for line in lines.values() if line["state"] != "ok")


def test_the_kill_switch_and_the_budget(desk):
    """A kill switch that is on, and a budget that is used up, keep testnet from being ready."""
    assert desk.run("kill", "--why", "a test").code == 0
    _, lines = check(desk)
    assert (lines["kill switch"]["state"], lines["kill switch"]["blocks"]) == ("failed", True)
    assert "release" in lines["kill switch"]["todo"]
    assert desk.run("release", "--why", "end").code == 0
    path = desk.folder / "config.toml"
    path.write_text(path.read_text().replace("max_runs = 20", "max_runs = 1"))
    day = desk.run("testnet", "budget", "--json").json["left"]["day"]
    folder = desk.folder / "var" / "testnet_budget"
    folder.mkdir(parents=True)
    line = {"at": f"{day}T00:00:00Z", "kind": "run", "session": "a", "minutes": "1"}
    (folder / f"{day}-budget.jsonl").write_text(json.dumps(line) + "\n")
    _, lines = check(desk)
    assert lines["budget"]["state"] == "failed"
    assert "testnet_limits.daily" in lines["budget"]["todo"]


def test_limits_that_contradict_each_other(desk):
    """Testnet limits above [live_risk] fail; a profile that would only be refused is a warning."""
    path = desk.folder / "config.toml"
    sound = path.read_text()
    path.write_text(sound.replace('max_order_notional = "1000"', 'max_order_notional = "99"'))
    assert "live_risk" in check(desk)[1]["limits"]["found"]
    path.write_text(sound.replace("position_fraction = 0.004", "position_fraction = 0.1"))
    _, lines = check(desk)
    assert lines["limits"]["state"] == "warning"
    assert "every one will be refused" in lines["limits"]["found"]


def test_a_section_that_is_missing(desk):
    """Sections have defaults, but a stage wants to see them."""
    path = desk.folder / "config.toml"
    path.write_text(re.sub(r"\[testnet_limits\.daily\].*?\n\n", "", path.read_text(), flags=re.S))
    ended, lines = check(desk)

    assert ended.code == 1
    assert "[testnet_limits.daily]" in lines["configuration"]["found"]


def test_a_damaged_journal(desk):
    """A journal that was changed fails the check."""
    assert desk.run("session", "run", "--strategy", "ma_crossover", "--steps", "50", "--speed", "max", "--no-html").code == 0
    [path] = [one for one in (desk.folder / "var" / "journal" / "paper").glob("*Z-*.jsonl") if "heads" not in one.name]
    path.write_text(path.read_text().replace('"kind":"begun"', '"kind":"began"', 1))
    _, lines = check(desk)

    assert lines["journal"]["state"] == "failed"
    assert "journal verify" in lines["journal"]["todo"]


# ---- the result of tests ------------------------------------------------------------------------------------------------


def keep(desk, **changes) -> None:
    """Remember a result of tests for the code in use, or another one."""
    from peak_trade.compose import code_in_use, code_sha256
    from peak_trade.journal.registry import stamp
    from peak_trade.model.clock import MachineClock

    code = code_in_use()
    given = {
        "commit": code.version,
        "clean": True,
        "code_sha256": code_sha256(),
        "stage": "testnet",
        "at": stamp(MachineClock().now()),
        "passed": 10,
        "failed": 0,
        "skipped": 1,
        "seconds": 1.0,
        "exit_code": 0,
    }
    tested.keep_result(desk.folder / "var", tested.TestResult(**given | changes))


@pytest.mark.parametrize(
    ("changes", "testnet", "live"),
    [
        ({}, "ok", None),
        ({"failed": 1, "exit_code": 1}, "failed", "failed"),
        ({"exit_code": 2}, "failed", "failed"),
        ({"passed": 0}, "failed", "failed"),
        ({"code_sha256": "other"}, "warning", "failed"),
        ({"at": "2026-01-01T00:00:00.000000Z"}, "warning", "failed"),
    ],
)
def test_results_of_tests(desk, changes, testnet, live):
    """Fresh and good is ok; failed fails everywhere; old or for other code only where money is near."""
    keep(desk, **changes)

    assert check(desk)[1]["tests"]["state"] == testnet
    if live:
        assert check(desk, "live")[1]["tests"]["state"] == live


def test_a_result_of_tests_that_is_none(desk):
    """A file that holds something else says so."""
    (desk.folder / "var").mkdir(exist_ok=True)
    (desk.folder / "var" / tested.FILE).write_text("[]")

    assert "delete it" in check(desk)[1]["tests"]["todo"]


@pytest.mark.parametrize(("body", "good"), [("assert True", True), ("assert False", False)])
def test_tests_are_run_and_remembered(desk, tmp_path, monkeypatch, body, good):
    """--run-tests runs what the stage names, without secrets, keeps counts and commit, and the check has the result."""
    checkout = tmp_path / "checkout"
    (checkout / "tests").mkdir(parents=True)
    seen = f"import os\n\n\ndef test_one():\n    assert {SECRET!r} not in os.environ\n    {body}\n"
    (checkout / "tests" / "test_one.py").write_text(seen)
    monkeypatch.setattr(readiness_checks, "ROOT", checkout)
    monkeypatch.setitem(
        tested.TARGETS, next(stage for stage in tested.TARGETS if stage.value == "testnet"), ("tests/test_one.py",)
    )
    desk.run("readiness", "--stage", "testnet", "--run-tests")
    kept = json.loads((desk.folder / "var" / tested.FILE).read_text())

    assert (kept["passed"], kept["failed"]) == ((1, 0) if good else (0, 1))
    assert kept["commit"]
    assert check(desk)[1]["tests"]["state"] == ("ok" if good else "failed")


# ---- the smoke test -----------------------------------------------------------------------------------------------------


def test_every_layer_works(desk):
    """All layers are ok with a time; nothing of it stays but the key's nonces and the logs."""
    before = {path for path in desk.folder.rglob("*") if path.is_file()}
    ended = desk.run("smoke", "--json")

    assert (ended.code, ended.err) == (0, "")
    assert ended.json["proven"] is True
    assert all(layer["state"] == "ok" and layer["ms"] > 0 for layer in ended.json["layers"])
    after = {path.relative_to(desk.folder).parts[:2] for path in desk.folder.rglob("*") if path.is_file()} - {
        path.relative_to(desk.folder).parts[:2] for path in before
    }
    assert after <= {("var", "nonces")}


def test_the_order_is_validated_and_not_placed(desk, exchange):
    """The exchange saw one order, which it only looked at."""
    assert desk.run("smoke").code == 0

    calls = [call for call in exchange.inside(lambda: list(exchange.opened.engine.orders.values())) if call.account != "house"]
    assert not [order for order in calls if order.account.startswith("account")]


def test_without_a_key_the_stack_is_not_proven(desk, monkeypatch):
    """The private layers are skipped with what to set; the exit code is 1."""
    monkeypatch.delenv(KEY)
    monkeypatch.delenv(SECRET)
    ended = desk.run("smoke", "--json")
    states = {layer["name"]: layer["state"] for layer in ended.json["layers"]}

    assert ended.code == 1
    assert {name for name, state in states.items() if state != "ok"} == {"exchange: balance", "exchange: validated order"}
    assert set(states.values()) == {"ok", "skipped"}
    assert KEY in ended.err
    assert "not proven" in ended.err


def test_without_an_exchange_the_rest_is_tried(desk):
    """What needs no exchange works; what does fails or is skipped, each with its reason."""
    point(desk, f"http://{nobody()}", f"ws://{nobody()}")
    ended = desk.run("smoke", "--json")
    states = {layer["name"]: layer["state"] for layer in ended.json["layers"]}

    assert ended.code == 1
    assert [states[name] for name in ("configuration", "market data", "strategy", "journal", "registry")] == ["ok"] * 5
    assert states["exchange: time"] == "failed"
    assert states["stream"] == "skipped"
    assert "Traceback" not in ended.out + ended.err


def test_a_corrupt_book_fails_the_stream(desk, exchange):
    """A snapshot whose checksum is wrong is told as such."""
    fault(exchange, "ws.book_corrupt", mode="checksum")
    ended = desk.run("smoke", "--json")
    [stream] = [layer for layer in ended.json["layers"] if layer["name"] == "stream"]

    assert stream["state"] == "failed"
    assert "checksum" in stream["found"]


def test_a_key_that_only_looks_has_no_order_validated(desk, exchange, monkeypatch):
    """The order is refused in the exchange's words."""
    use_key(monkeypatch, exchange, QUERY)
    ended = desk.run("smoke")

    assert ended.code == 1
    assert "Permission denied" in ended.err


@pytest.mark.parametrize("script", ["check_live_readiness.py --stage testnet", "smoke_test_testnet_stack.py"])
def test_the_playbooks_scripts_with_an_emulator(project, script, socket_enabled):
    """The scripts of the playbook start an emulator for the run and need no key."""
    name, *arguments = script.split()
    process = project.start(*arguments, "--emulator", "--json", script=name)
    out, err = process.communicate(timeout=120)

    assert (process.returncode, err) == (0, "")
    assert json.loads(out)
    assert not list((project.folder / "var" / "nonces").glob("*"))
