"""Testnet sessions as their users see them: real processes, an emulated exchange over sockets, and all that may go wrong."""

import base64
import json
import re
import signal
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.dashboard import serving
from tests.emulated import emulating
from tests.testnet import SPEED, a_desk

from peak_trade.emulator.signing import CANCEL_ONLY, QUERY, Right

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exchange():
    with emulating(speed=SPEED) as found:
        yield found


@pytest.fixture
def desk(exchange, tmp_path):
    with a_desk(tmp_path, exchange) as found:
        yield found


def refused(done, code):
    """Return the one sentence with which a session was refused; nothing else was said, and no secret."""
    assert (done.code, done.out, len(done.said)) == (code, "", 1), done
    assert "internal fault" not in done.err
    return done.said[0]


def check_untouched(desk):
    """Nothing began and nothing was charged."""
    assert desk.journals == []
    assert desk.command("experiments", "--json").json == []
    assert desk.command("testnet", "orchestrate", "--budget", "--json").json["left"]["runs"] == 1_000


# ---- a session that goes well --------------------------------------------------------------------------------------------


def test_a_session_from_end_to_end(desk):
    """Record, journal, registry, report by script, page, and the same decisions again; every fill is the kernel's."""
    done = desk.run("--duration", "15", "--json", "--tag", "first")

    record = done.json
    assert (done.code, record["status"], record["ended_by"]) == (0, "completed", "the duration")
    assert record["metrics"]["num_bars"] >= 30
    assert record["metrics"]["orders_checked"] == record["metrics"]["num_orders"] > 0
    assert (record["metrics"]["order_success_rate"], record["expected"]["identical"]) == (1.0, True), record
    assert record["feed"] == {"kind": "followed", "speed": SPEED, "exchange": desk.exchange.url}
    name = desk.check_proofs()
    listed = desk.command("experiments", "--json").json
    assert [(run["run_id"], run["run_type"], run["status"]) for run in listed] == [(name, "live_session_testnet", "completed")]
    report = desk.command(
        "scripts/report_live_sessions.py",
        *("--run-type", "live_session_testnet", "--status", "completed", "--output-format", "markdown"),
        *("--summary-only", "--stdout"),
    )
    assert report.code == 0, report
    assert "live_session_testnet" in report.out
    written = next(path for path in desk.folder.rglob("report.md"))
    assert name in written.read_text()
    secrets = (desk.key.id.encode(), desk.key.secret_text.encode())
    everything = [
        done.out.encode(),
        done.err.encode(),
        *(path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()),
    ]
    assert not [one for one in everything for secret in secrets if secret in one]


def test_several_pairs_and_a_number_of_orders(desk):
    """Bars of both pairs stand in the journal, and the session ends at its number of orders."""
    done = desk.run("--symbol", "ETH/EUR", "--symbol", "BTC/EUR", "--duration", "60", "--position-fraction", "0.003", "--json")

    assert (done.code, done.json["ended_by"]) in ((0, "the number of orders"), (0, "the duration")), done
    assert {record["body"]["symbol"] for record in desk.records("bar")} == {"ETH/EUR", "BTC/EUR"}
    desk.check_proofs()


def test_its_limit_of_orders_ends_a_session(exchange, tmp_path):
    """After so many orders it ends by itself; what comes back from the exchange is still heard."""
    with a_desk(tmp_path, exchange, max_orders=2) as desk:
        done = desk.run("--duration", "100", "--json")

    assert (done.code, done.json["ended_by"]) == (0, "the number of orders")
    assert done.json["metrics"]["num_orders"] == 2


def test_the_dashboard_shows_it_while_it_runs_and_after(desk, monkeypatch):
    """The page of a running session and that of the same one ended."""
    monkeypatch.chdir(desk.folder)
    process = desk.start("--duration", "100")
    desk.wait_for("bar", 22, process)
    name = desk.journals[-1].stem
    with serving(str(desk.folder / "config.toml")) as served:
        running = served.get(f"/session/{name}")
        process.send_signal(signal.SIGINT)
        ended = desk.end(process)
        after = served.get(f"/session/{name}")

    assert (running.status_code, after.status_code, ended.code) == (200, 200, 0)
    assert ("testnet" in running.text, "completed" in running.text) == (True, False)
    assert "completed" in after.text


# ---- ending it -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_it_gracefully(desk):
    """What is in flight is finished, and the record is whole."""
    process = desk.start("--duration", "100", "--json")
    desk.wait_for("bar", 22, process)
    process.send_signal(signal.SIGINT)
    done = desk.end(process)

    assert (done.code, done.json["status"], done.json["ended_by"]) == (0, "completed", "a signal")
    desk.check_proofs()


def test_ctrl_c_twice_ends_it_at_once_and_the_same_command_goes_on(desk):
    """The journal has no end then; after it the session goes on, and comes out again as a whole."""
    process = desk.start("--duration", "100", faults="venue.submit.before:1:INT+INT")
    first = desk.end(process)
    second = desk.run("--duration", "10", "--json")

    assert (first.code, second.code) == (130, 0), (first, second)
    assert desk.records("ended", every=True)[-1]["body"]["status"] == "completed"
    assert len(desk.journals) == 2
    desk.check_proofs()


def test_the_kill_switch_stops_its_orders(desk):
    """From then on positions may only be reduced; its end says so, and nothing begins until the switch is released."""
    process = desk.start("--duration", "100", "--json")
    desk.wait_for("bar", 22, process)
    assert desk.command("kill", "--why", "a drill").code == 0
    desk.wait_for("tripped", 1, process)
    process.send_signal(signal.SIGINT)
    done = desk.end(process)

    assert (done.code, done.json["mode_at_end"]) == (1, "killed")
    assert "found it killed at its end; the kill switch is on" in done.said[-1]
    assert "expected the kill switch to be off" in refused(desk.run("--duration", "5"), 3)
    desk.check_proofs()


# ---- limits --------------------------------------------------------------------------------------------------------------


def test_a_budget_that_is_used_up(exchange, tmp_path):
    """Sessions, minutes and orders of a day; one that asks for more does not begin, one under way is told no."""
    with a_desk(tmp_path, exchange, max_runs=1) as desk:
        done = desk.run("--duration", "60", "--json")
        assert done.code == 0, done
        told = refused(desk.run("--duration", "5"), 3)
        assert "expected a testnet budget of 1 sessions" in told or "testnet_limits.daily.max_runs" in told
        assert len(desk.journals) == 1


def test_orders_of_the_day_end_within_a_session(desk):
    """The order beyond the day's is refused by name, and the session goes on to its end."""
    path = desk.folder / "config.toml"
    section, _, rest = path.read_text().partition("[testnet_limits.daily]")
    path.write_text(section + "[testnet_limits.daily]" + rest.replace("max_orders = 200", "max_orders = 1", 1))

    done = desk.run("--duration", "25", "--json")

    assert (done.code, done.json["status"]) == (0, "completed")
    assert done.json["metrics"]["orders_checked"] == 1
    assert done.json["rejected_by_code"]["testnet_budget"] >= 1
    desk.check_proofs()


def test_longer_than_a_session_may_last(desk):
    assert "testnet_limits.run.max_duration_minutes" in refused(desk.run("--duration", "500"), 3)
    check_untouched(desk)


# ---- what is wrong before it begins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_a_wrong_key(desk, wrong):
    """One sentence that names what to look at; nothing begins and nothing is charged."""
    key = desk.key
    other = {"id": "A" * len(key.id)} if wrong == "key" else {"secret": b"x" * 64}
    desk.key = replace(key, **other)

    told = refused(desk.run("--duration", "5"), 2)

    assert ("EAPI:Invalid key" if wrong == "key" else "EAPI:Invalid signature") in told
    assert "exchange.kraken_testnet.api_key_env names the variables" in told
    check_untouched(desk)


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (frozenset(Right), "expected a key that can't withdraw, found one that may withdraw-funds"),
        (QUERY, "expected a key with the right close-trades, modify-trades"),
        (CANCEL_ONLY, "expected a key with the right modify-trades"),
    ],
    ids=["may withdraw", "may only ask", "may only cancel"],
)
def test_a_key_with_other_rights(desk, rights, words):
    desk.key = desk.exchange.key(rights)

    assert words in refused(desk.run("--duration", "5"), 3)
    check_untouched(desk)


def test_no_key_at_all(desk):
    desk.key = replace(desk.key, id="")
    told = refused(desk.run("--duration", "5"), 2)

    assert "KRAKEN_TESTNET_API_KEY" in told
    check_untouched(desk)


def test_pairs_that_are_not_traded(desk):
    """One without limits of its own, one that the exchange does not have, one that it has shut."""
    path = desk.folder / "config.toml"
    limits = '\n[testnet_limits.symbols."FOO/EUR"]\nmax_order_notional = "50"\nmax_exposure_notional = "50"\n'
    path.write_text(path.read_text() + limits)
    path.write_text(re.sub(r'(?m)^symbols = \["BTC/EUR"', 'symbols = ["FOO/EUR", "BTC/EUR"', path.read_text(), count=1))
    desk.fault("market.pair_change", match={"pair": "ETH/EUR"}, args={"status": "cancel_only"})

    assert 'add a section [testnet_limits.symbols."SOL/EUR"]' in refused(desk.run("--symbol", "SOL/EUR"), 3)
    assert "expected ETH/EUR to be online at the exchange, found cancel_only" in refused(desk.run("--symbol", "ETH/EUR"), 2)
    foo = desk.run("--symbol", "FOO/EUR")
    assert foo.code in (2, 3), foo
    assert "FOO/EUR" in refused(foo, foo.code)
    check_untouched(desk)


# ---- an exchange that does not do as it should ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reply"), [("maintenance", "unknown"), ("cancel_only", "rejected"), ("post_only", "rejected")]
)
def test_modes_of_the_exchange(desk, mode, reply):
    """Orders are refused meanwhile, at most three are asked about for one decision, and the session goes on to its end."""
    desk.fault(f"market.{mode}")

    done = desk.run("--duration", "12", "--json")

    assert (done.code, done.json["status"]) == (0, "completed")
    told = desk.records("validated")
    assert {record["body"]["reply"] for record in told} <= {reply}
    decided = done.json["metrics"]["num_decisions"]
    assert len(told) <= 2 + decided
    assert (done.json["metrics"]["num_fills"], done.json["metrics"]["incidents"]) == (0, 0)
    desk.check_proofs()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rest.timeout_before", {"count": 3, "args": {"seconds": 0.3}}),
        ("rest.timeout_after", {"count": 3, "args": {"seconds": 0.3}}),
        ("rest.http_5xx_after", {"count": 6}),
        ("rest.captcha_403", {"for_s": 240.0}),
        ("rest.html_200", {"count": 6}),
        ("auth.invalid_nonce_once", {}),
    ],
)
def test_an_exchange_that_is_away_for_a_while(desk, name, told):
    """What can be asked again is, what can't is no order; the session goes on to its end, and comes out again."""
    process = desk.start("--duration", "50", "--json")
    desk.wait_for("bar", 22, process)
    desk.fault(name, **told)
    done = desk.end(process)

    assert (done.code, done.json["status"]) == (0, "completed"), done
    assert "Traceback" not in done.err
    desk.check_proofs()


def test_too_many_errors_restrict_a_session(exchange, tmp_path):
    """More than a tenth of the answers of five minutes, from three on: it goes on to its end and opens nothing more."""
    with a_desk(tmp_path, exchange, api_errors_min=3) as desk:
        desk.fault("market.maintenance")
        done = desk.run("--duration", "12", "--json")

    assert (done.code, done.json["status"]) == (1, "completed")
    incident = desk.records("incident")[0]["body"]
    assert (incident["code"], incident["mode"]) == ("api_error_rate", "restricted")
    assert incident["evidence"].keys() >= {"errors", "requests"}
    assert {record["body"]["reply"] for record in desk.records("validated")} <= {"unknown"}


def test_an_order_that_was_executed(desk):
    """The session halts at once, the order is called back, and journal, registry and exit code say so."""
    desk.fault("order.validate_executes", count=1)

    done = desk.run("--duration", "30", "--stop-loss", "0.3")

    assert done.code == 3, done
    assert done.said[-1].startswith("expected Kraken to look at an order only, found that it placed O")
    incident = desk.records("incident")[0]["body"]
    assert (incident["code"], incident["mode"]) == ("contract_broken", "killed")
    assert [record["body"]["reply"] for record in desk.records("validated")] == ["executed"]
    name = desk.check_proofs()
    shown = desk.command("experiments", "show", name, "--json").json
    assert (shown["status"], shown["run_type"]) == ("failed", "live_session_testnet")


def test_orders_that_were_executed_in_silence(desk):
    """What the answers did not tell is found open at the end, called back, and treated the same."""
    desk.fault("order.validate_executes", count=50, args={"told": False})

    done = desk.run("--duration", "30", "--stop-loss", "0.3")

    assert done.code == 3, done
    assert "expected no open order at the exchange after the session, found O" in done.said[-1]
    assert done.said[-1].count("(cancelled)") == done.said[-1].count("(")
    incident = desk.records("incident")[-1]["body"]
    assert (incident["code"], incident["mode"]) == ("contract_broken", "killed")
    working = desk.exchange.opened.engine.working[desk.key.account]
    assert desk.exchange.inside(lambda: len(working)) == 0
    name = desk.check_proofs()
    assert desk.command("experiments", "show", name, "--json").json["status"] == "failed"


def test_its_exits_are_prices_that_the_exchange_has(desk):
    """Stops and targets are fractions of an entry; what is sent is on the pair's tick, and no later than asked for."""
    done = desk.run("--duration", "15", "--stop-loss", "0.2", "--take-profit", "0.2", "--json")

    assert done.code == 0, done
    assert done.json["metrics"]["order_success_rate"] == 1.0
    kinds = {record["body"]["intent"]["kind"] for record in desk.records("sending")}
    assert {"stop", "take_profit"} <= kinds
    desk.check_proofs()


def test_the_emulator_of_a_run(desk):
    """`--emulator` needs no key and no configuration; nothing of its keys stays behind."""
    desk.key = replace(desk.key, id="", secret=base64.b64decode(""))
    done = desk.run("--emulator", "--duration", "8", "--json")

    assert (done.code, done.json["status"]) == (0, "completed"), done
    assert not list((desk.folder / "var").rglob("*nonce-*"))
    assert Decimal(done.json["exact"]["cash"]) > 0
    json.dumps(done.json, allow_nan=False)
