"""The playbook's flows: each step shows itself or is confirmed by a person, in the playbook's order, and none is skipped."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from tests.team import PARAMS, SYMBOL, Team

from peak_trade.runs.testnet.flows import FLOWS, FlowStep, Looked

UP = ("flow", "shadow-to-testnet", "--strategy", "ma_crossover", *PARAMS, "--symbol", SYMBOL)
LIVE = ("flow", "testnet-to-live", "--strategy", "ma_crossover", *PARAMS, "--symbol", SYMBOL)
PROFILE = f"""
[testnet_profiles.team]
strategy = "ma_crossover"
params = {{ fast_window = 2, slow_window = 6 }}
symbols = ["{SYMBOL}"]
"""


@pytest.fixture
def team(tmp_path, monkeypatch, capsys) -> Team:
    monkeypatch.delenv("KRAKEN_TESTNET_API_KEY", raising=False)
    monkeypatch.delenv("KRAKEN_TESTNET_API_SECRET", raising=False)
    found = Team(tmp_path, monkeypatch, capsys, begin=datetime.now(UTC) - timedelta(days=17))
    path = found.folder / "config.toml"
    path.write_text(path.read_text() + PROFILE)
    return found


def steps(team, flow=UP):
    """Return the steps of a flow by their ids."""
    return {item["id"]: item for item in team.json(*flow)["steps"]}


def is_done(team, flow=UP):
    """Return which steps are done."""
    return [name for name, item in steps(team, flow).items() if item["done"]]


def test_nothing_is_done_yet(team):
    """Every step says what to do; only the first is next."""
    found = steps(team)

    assert [item["id"] for item in found.values() if item["reached"]] == ["statistics"]
    assert is_done(team) == ["dry_run"]
    assert all(item["todo"] for name, item in found.items() if not item["done"])
    code, out, err = team.run(*UP)
    assert (code, "found 14 open; the next is statistics" in err, out.count("next: ")) == (1, True, 1)


def test_from_shadow_to_testnet(team, monkeypatch):
    """Step by step as in playbook 5.1; what is done stays done when the flow is looked at again."""
    team.climb_to_shadow()
    team.weeks_of_shadow(days=15)
    assert is_done(team) == ["statistics", "dry_run"]

    monkeypatch.setenv("KRAKEN_TESTNET_API_KEY", "not-shown")
    monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", "not-shown-either")
    path = team.folder / "config.toml"
    path.write_text(path.read_text().replace('mode = "research"', 'mode = "testnet"'))
    assert {"credentials", "config"} <= set(is_done(team))
    assert "not-shown" not in team.run(*UP)[1]

    team.tests_passed()
    team.checklist("shadow_to_testnet")
    request = team.ask("shadow->testnet")
    assert steps(team)["reviewer"]["todo"] == f"peak-trade gate approve {request} --key KEY"
    team.sign(request, "rita")
    assert "rita" in steps(team)["reviewer"]["found"]
    assert not steps(team)["owner"]["done"]
    team.sign(request, "olga")
    team.do("gate", "decide", request)
    for command in (
        ["init", "-q"],
        ["add", "config.toml"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "testnet"],
    ):
        subprocess.run(["git", *command], cwd=team.folder, check=True)
    assert steps(team)["committed"]["done"]

    team.do("checklist", "archive", team.folder / "reports" / "checklists" / "open_shadow_to_testnet_ma_crossover.md")
    assert [name for name, item in steps(team).items() if not item["done"]] == ["first_run", "watched", "documented"]
    note = ("--by", "dana", "--note", "quiet, 5 orders, all valid")
    code, _, err = team.run(*UP, "--confirm", "watched", *note)
    assert (code, "found first_run open" in err) == (1, True)
    assert not steps(team)["watched"]["done"]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--confirm", "owner", "--by", "dana", "--note", "x"), 2, "the other steps show themselves"),
        (("--confirm", "watched", "--by", "mallory", "--note", "x"), 2, "person of governance/roles.toml"),
        (("--confirm", "watched", "--by", "dana"), 2, "--note TEXT"),
        (("--symbol", "nonsense"), 2, "a symbol like BTC/EUR"),
    ],
)
def test_what_can_not_be_confirmed(team, more, code, words):
    found, _, err = team.run(*UP, *more)

    assert found == code
    assert words in err


def test_a_person_writes_down_what_nothing_else_shows(team, monkeypatch):
    """Once every step before it is done, and for this version alone."""
    shown = FlowStep("shown", "1", "It is there.", lambda _case: Looked(done=True, found="there"))
    monkeypatch.setitem(
        FLOWS, "shadow-to-testnet", (shown, *(step for step in FLOWS["shadow-to-testnet"] if step.id == "watched"))
    )
    team.do(*UP, "--confirm", "watched", "--by", "dana", "--note", "quiet, 5 orders, all valid")

    assert steps(team)["watched"]["found"].endswith("quiet, 5 orders, all valid")
    other = [item.replace("slow_window=6", "slow_window=7") for item in UP]
    assert team.run(*other)[0] == 1


def test_to_live(team, monkeypatch):
    """Playbook 5.2 has every one of its points; keys and people are looked at, nothing is done by saying so."""
    found = steps(team, LIVE)
    assert len(found) == 19
    assert not any(item["done"] for item in found.values())
    monkeypatch.setenv("KRAKEN_API_KEY", "a")
    monkeypatch.setenv("KRAKEN_API_SECRET", "b")

    assert is_done(team, LIVE) == ["credentials"]
    code, _, err = team.run(*LIVE, "--confirm", "second", "--by", "zoe", "--note", "x")
    assert (code, "show themselves" in err) == (2, True)
