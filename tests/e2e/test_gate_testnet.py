"""Permits at work: a testnet session is refused without one, runs with one, and sends nothing once it is lost."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.emulated import emulating
from tests.team import SYMBOL, Team
from tests.testnet import SPEED

from peak_trade.compose import AccountChoice, Parts
from peak_trade.governance.ladder import Assignment, StrategyVersion
from peak_trade.governance.permits import NEED_PERMIT
from peak_trade.journal.chain import read
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.runs.gates import promotion
from peak_trade.runs.testnet.profile import at_exchange, narrowed, request_of, terms_of
from peak_trade.runs.trading.session import Watcher, run_session

PROFILE = f"""
[testnet_profiles.team]
description = "the team's strategy"
strategy = "ma_crossover"
params = {{ fast_window = 2, slow_window = 6 }}
symbols = ["{SYMBOL}"]
timeframe = "1m"
duration_minutes = 30
max_orders = 5
max_order_notional = "100"
start_balance = "10000"
position_fraction = 0.004
warmup_candles = 30
"""


@pytest.fixture
def team(tmp_path, monkeypatch, capsys) -> Team:
    """A team whose two weeks of shadow end now, by the machine's clock."""
    monkeypatch.setenv("KRAKEN_TESTNET_API_KEY", "k" * 56)
    monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", "c2VjcmV0" * 11)
    found = Team(tmp_path, monkeypatch, capsys, begin=datetime.now(UTC) - timedelta(days=16))
    path = found.folder / "config.toml"
    path.write_text(path.read_text() + PROFILE)
    return found


def permitted(team: Team) -> str:
    """Climb to testnet and come back to the present; return the permit's id."""
    team.climb_to_shadow()
    team.weeks_of_shadow(days=15)
    team.clock.set(datetime.now(UTC))
    team.tests_passed()
    found = team.climb_to_testnet()
    assert found["answer"] == "pass", found
    return found["id"]


def pointed(team: Team, exchange) -> None:
    """Write an emulator's address into the configuration, before anything is bound to that."""
    path = team.folder / "config.toml"
    text = path.read_text()
    for name, value in {"base_url": exchange.url, "websocket_url": f"{exchange.stream}/v2"}.items():
        before, section, after = text.partition("[exchange.kraken_testnet]\n")
        text = before + section + re.sub(rf"(?m)^{name} = .*$", f'{name} = "{value}"', after, count=1)
    path.write_text(re.sub(r"(?m)^max_data_age_s = .*$", "max_data_age_s = 3_600", text))


def test_without_a_permit_a_session_at_an_exchange_is_refused(team):
    """Before anything is asked over the network; the sentence says how to get one, and readiness says the same."""
    code, _, err = team.run("session", "run", "--mode", "testnet", "--strategy", "ma_crossover", "--symbol", SYMBOL)

    assert code == 3
    assert "expected a permit for ma_crossover in testnet on main for BTC/EUR, found none that is good" in err
    assert "peak-trade gate status" in err
    assert team.run("testnet", "run", "--profile", "team")[0] == 3
    assert not (team.folder / "var" / "journal").exists()


def test_a_venue_is_not_built_without_one(team):
    """Whatever calls `compose` from elsewhere gets no venue either: it asks for a permit of its own."""
    version = StrategyVersion(key="ma_crossover", params_sha256="0" * 64, code_sha256="0" * 64)
    climber = Assignment(version, "main", frozenset({SYMBOL}))
    plain = AccountChoice(name="a", origin="o", instruments={}, cash=1, market=None)
    for choice in (plain, AccountChoice(name="a", origin="o", instruments={}, cash=1, market=None, climbers=(climber,))):
        with pytest.raises(SafetyRefused, match="permit"):
            team.parts.venue(Stage.TESTNET, choice)


@pytest.fixture
def strict(monkeypatch):
    """Take the emulator for an exchange: nothing else in the product does."""
    monkeypatch.setattr(Parts, "needs_permit", lambda _parts, stage: stage in NEED_PERMIT)


def sessions_of(team: Team):
    """Return the records of the newest testnet session."""
    paths = [path for path in (team.folder / "var" / "journal").glob("testnet*/*.jsonl") if ".heads" not in path.name]
    return list(read(max(paths, key=lambda path: path.name)))


@pytest.mark.usefixtures("strict", "socket_enabled")
def test_with_a_permit_it_runs_until_that_is_revoked(team, monkeypatch):
    """Orders go out under the permit; from the moment somebody revokes it none does, and each says why."""
    with emulating(speed=SPEED) as exchange:
        pointed(team, exchange)
        key = exchange.key()
        monkeypatch.setenv("KRAKEN_TESTNET_API_KEY", key.id)
        monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", key.secret_text)
        permit = permitted(team)
        told = []

        def record(kind, body):
            told.append((kind, dict(body)))
            if kind == "opened" and sum(item == "opened" for item, _ in told) == 1:
                promotion.revoke(Parts(team.parts.settings), permit, "zoe", "a drill")

        terms = terms_of(team.parts, "team")
        with at_exchange(team.parts, emulated=False, speed=SPEED) as there:
            parts = Parts(narrowed(there.settings, terms), SPEED)
            ended = run_session(parts, request_of(parts, terms), Watcher(record=record))

    assert ended.record["status"] == "completed"
    assert ended.record["tier"] == "testnet"
    records = sessions_of(team)
    refused = [item.body for item in records if item.kind == "rejected" and item.body["code"] == "no_permit"]
    assert sum(item.kind == "validated" for item in records) == 1
    assert refused
    assert all("permit_revoked" in body["words"] for body in refused)
    assert team.json("gate", "status")["permits"][-1]["good"] is False or not team.json("gate", "status")["permits"][0]["good"]


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda team: append(team, "config.toml", "# another byte\n"), "changed"),
        (lambda team: append(team, "governance/policy.toml", "# another byte\n"), "changed"),
        (lambda team: append(team, "reports/checklists/open_shadow_to_testnet_ma_crossover.md", "\n"), "changed"),
        (lambda team: append(team, "bars.csv", "1,1,1,1,1,1\n"), "changed"),
        (lambda team: team.clock.set(team.clock.now() + timedelta(days=181)), "permit_expired"),
        (lambda team: team.clock.set(team.clock.now() - timedelta(days=2)), "put the clock right"),
        (lambda team: team.do("gate", "demote", "--strategy", "ma_crossover", "--to", "shadow", "--why", "odd"), "demoted"),
    ],
    ids=["config", "policy", "checklist", "data", "late", "early", "demoted"],
)
def test_what_voids_a_permit(team, change, code):
    """Each is named in the refusal of the next session, by its code."""
    permitted(team)
    change(team)
    code_, _, err = team.run("testnet", "run", "--profile", "team")

    assert code_ == 3
    assert code in err


def append(team: Team, name: str, text: str) -> None:
    """Add bytes to a file."""
    path = team.folder / name
    path.write_text(path.read_text() + text)
