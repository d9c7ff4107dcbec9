"""`peak-trade drill`: real sessions and real orders at an emulator, what they leave behind, and what makes a drill fail."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gates import GateCase, policy
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.governance.criteria import Answer, Evidence, evaluate
from peak_trade.governance.ladder import Rung
from peak_trade.model.errors import StorageError
from peak_trade.runs.acts import done
from peak_trade.runs.drills import evidence as drills
from peak_trade.runs.drills import register as drill_register
from peak_trade.runs.drills.bench import DrillTrial
from peak_trade.runs.drills.register import Drill
from peak_trade.runs.drills.steps import DrillResult, DrillStep
from peak_trade.runs.gates.evidence import EvidenceScope, of_acts
from peak_trade.runs.strategy_version import version_of
from peak_trade.settings import load_config
from peak_trade.strategy.catalogue import make
from peak_trade.venue.kraken.trading import KrakenVenue

ORDER_LIFE = (
    "drill",
    "run",
    "order-life",
    "--strategy",
    "ma_crossover",
    "--param",
    "fast_window=5",
    "--param",
    "slow_window=12",
)
#: Every line that the code of a session's process runs before anything else: it never looks at the kill switch.
BLIND = """
from peak_trade.engine.runner import Runner
Runner._goes_further = lambda self, killing: False
"""
PATIENCE_S = 90

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture(autouse=True)
def _governed(project) -> None:
    (project.folder / "governance").mkdir()
    (project.folder / "governance" / "policy.toml").write_bytes((ROOT / "governance" / "policy.toml").read_bytes())


@pytest.fixture
def place(monkeypatch, tmp_path_factory) -> Path:
    """The folder in which drills make theirs."""
    found: Path = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    monkeypatch.setenv("TMPDIR", str(found))
    return found


@contextlib.contextmanager
def parts_of(project) -> Iterator[Parts]:
    with contextlib.closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        yield parts


def ruling(project, criterion: str, params: dict[str, Any] | None = None) -> Answer:
    """Return what a criterion of the step to shadow-live comes to, for the strategy of these parameters."""
    version = version_of(make("ma_crossover", {"fast_window": 5, "slow_window": 12} if params is None else params))
    with parts_of(project) as parts:
        now = parts.clock.now()
        scope = EvidenceScope(version=version, symbols=("BTC/EUR",), rung=Rung.TESTNET_SHADOW_LIVE, at=now)
        found: list[Evidence] = of_acts(done(parts), scope)
    request = msgspec.structs.replace(GateCase(rung=Rung.TESTNET_SHADOW_LIVE, symbols=("BTC/EUR",)).request, strategy=version)
    criteria = {item.id: item for item in policy().criteria[Rung.TESTNET_SHADOW_LIVE]}
    return evaluate(criteria[criterion], found, request, now).answer


def drills_left(project) -> list[dict[str, Any]]:
    """Return the facts of every drill that is written down."""
    with parts_of(project) as parts:
        return [dict(act.last.body["facts"]) for act in done(parts) if act.went_well]


def processes(folder: Path) -> list[str]:
    """Return the words of the sessions that work below a folder now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in words:
                found.append(words)
    return found


def team_files(project) -> set[str]:
    """Return what lies in the team's state, the journal of operators with its key and the registry aside."""
    state = project.folder / "var"
    found = {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(("journal/operators/", "journal/.", "keys/", "registry.db"))}


# ---- the kill switch -----------------------------------------------------------------------------------------------------


def test_the_kill_switch_works(project, place):
    """Sessions that work, hang and die; the gate believes what it left, and the team's own state was not touched."""
    assert ruling(project, "kill_switch_drill") is Answer.INCONCLUSIVE

    ended = project.run("drill", "run", "kill-switch", "--by", "kim", "--json")

    assert ended.code == 0, ended
    told = ended.json
    assert [step["outcome"] for step in told["steps"]] == ["passed"] * 14
    facts = told["facts"]
    assert (facts["drill"], facts["passed"], facts["sessions"], facts["first_failure"]) == ("kill_switch", True, 9, "")
    assert 0 < float(facts["seconds"]) <= 5
    assert drills_left(project) == [facts]
    assert ruling(project, "kill_switch_drill") is Answer.PASS
    assert team_files(project) == set()
    assert project.run("kill", "--status").code == 0
    assert processes(place) == []
    assert project.run("journal", "verify").code == 0


def test_sessions_that_ignore_the_switch_fail_the_drill(project, place, monkeypatch, tmp_path_factory):
    """It fails at the step where they should have noticed, is written down, and the gate fails with it."""
    folder = tmp_path_factory.mktemp("blind")
    (folder / "sitecustomize.py").write_text(BLIND)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    ended = project.run("drill", "run", "kill-switch")

    assert ended.code == 1
    assert "sessions that work notice it: expected a sign that it was killed of testnet" in ended.err.splitlines()[-1]
    assert "not tried" in ended.out
    [facts] = drills_left(project)
    assert (facts["passed"], facts["seconds"]) == (False, "")
    assert "notice it" in facts["first_failure"]
    assert ruling(project, "kill_switch_drill") is Answer.FAIL
    assert processes(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_drill_leaves_nothing(project, place, number):
    """No session, no emulator, no folder and no evidence; exit code 130."""
    process = project.start("drill", "run", "kill-switch", start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not any("--account dying" in words for words in processes(place)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no session was begun"
        time.sleep(0.05)  # between two looks
    process.send_signal(number)

    _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130, said
    assert processes(place) == []
    assert list(place.iterdir()) == []
    assert drills_left(project) == []


# ---- the life of orders --------------------------------------------------------------------------------------------------


def test_orders_go_through_their_life(project):
    """Both sides agree, faults struck, the facts are the gate's; a dozen are too few for it, and another version has none."""
    ended = project.run(*ORDER_LIFE, "--orders", "12", "--seed", "3", "--json")

    assert ended.code == 0, ended
    facts = ended.json["facts"]
    assert facts["passed"] is True
    assert facts["orders"] >= 12
    assert facts["orders_sent"] >= facts["orders"]
    assert facts["orders_unexplained"] == 0
    assert facts["fills"] > 0
    assert Decimal(facts["fees"]) > 0
    struck = [row.rsplit(" ", 1) for row in facts["faults"].split(", ")]
    assert facts["faults_struck"] == sum(int(count) for _, count in struck) >= 3
    assert drills_left(project) == [facts]
    assert ruling(project, "order_life_emulated") is Answer.FAIL
    assert ruling(project, "order_life_emulated", {"fast_window": 6, "slow_window": 12}) is Answer.INCONCLUSIVE
    assert team_files(project) == set()


@pytest.mark.parametrize(
    ("orders", "unexplained", "passed", "answer"),
    [
        (50, 0, True, Answer.PASS),
        (49, 0, True, Answer.FAIL),
        (50, 1, True, Answer.FAIL),
        (50, 0, False, Answer.FAIL),
        (None, None, False, Answer.FAIL),
    ],
)
def test_what_the_gate_makes_of_the_numbers(project, monkeypatch, orders, unexplained, passed, answer):
    """At its limits; a drill that broke off states no numbers and does not pass."""
    numbers = {} if orders is None else {"orders": orders, "orders_unexplained": unexplained}
    result = DrillResult(
        drill="order_life",
        steps=[DrillStep("all", "passed" if passed else "failed", "", 0.0)],
        facts={"drill": "order_life", "passed": passed, **numbers},
    )
    monkeypatch.setattr(drills, "_order_life", lambda _parts, _terms: result)

    assert project.run(*ORDER_LIFE).code == (0 if passed else 1)

    assert ruling(project, "order_life_emulated") in {answer} | ({Answer.INCONCLUSIVE} if orders is None else set())


def test_a_fee_that_is_lost_fails_the_drill(project, monkeypatch):
    """A client that books no fee is found out, order by order and in the balance; the failure is evidence too."""
    ordinary = KrakenVenue._fill
    monkeypatch.setattr(KrakenVenue, "_fill", lambda *given: replace(ordinary(*given), fee=Decimal(0)))

    ended = project.run(*ORDER_LIFE, "--orders", "4")

    assert ended.code == 1
    assert "both sides agree: expected both sides to say the same" in ended.err.splitlines()[-1]
    [facts] = drills_left(project)
    assert facts["passed"] is False
    assert facts["orders_unexplained"] >= 2
    assert ruling(project, "order_life_emulated") is Answer.FAIL


def test_a_fill_that_is_lost_fails_the_drill(project, monkeypatch):
    """As does one that is never told."""
    ordinary = KrakenVenue.fills_after

    async def forgetful(self: KrakenVenue, fill_id: str | None) -> Any:
        return list(await ordinary(self, fill_id))[1:]

    monkeypatch.setattr(KrakenVenue, "fills_after", forgetful)

    ended = project.run(*ORDER_LIFE, "--orders", "4", "--json")

    assert ended.code == 1
    assert ended.json["facts"]["orders_unexplained"] >= 1
    assert "never told to us" in ended.json["facts"]["first_failure"]


# ---- words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("run",), 2, "expected one of the drills kill-switch, kill-levels, dead-man, restart"),
        (("run", "fire"), 2, "found 'fire'"),
        (("run", "kill-switch", "--all"), 2, "found both"),
        (("run", "kill-switch", "--orders", "3"), 2, "expected --orders with order-life"),
        (("run", "kill-switch", "--seed", "-1"), 2, "--seed from 0"),
        (("run", "order-life"), 2, "expected --strategy NAME"),
        (("run", "--all", "--orders", "12"), 2, "expected --strategy NAME"),
        (("run", "--all", "--strategy", "nix"), 2, "expected the name of a strategy"),
        (("run", "order-life", "--strategy", "ma_crossover", "--orders", "0"), 2, "--orders from 1 to 1000"),
        (("run", "order-life", "--strategy", "ma_crossover", "--orders", "1001"), 2, "found 1001"),
        (("run", "order-life", "--strategy", "ma_crossover", "--symbol", "NIX/EUR"), 3, "live_risk.symbols allows"),
        (("run", "order-life", "--strategy", "ma_crossover", "--timeframe", "soon"), 2, "timeframe"),
    ],
)
def test_a_wrong_word_is_one_sentence(project, words, code, told):
    """Before anything runs, and nothing is written down."""
    ended = project.run("drill", *words)

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1), ended
    assert told in ended.err
    assert drills_left(project) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--strategy", "buy_and_hold"), "found that it does so 1 times"),
        (("--strategy", "ma_crossover", "--symbol", "SPX/USD"), "a pair that the exchange has"),
        (("--strategy", "ma_crossover", "--timeframe", "7m"), "a timeframe that Kraken has"),
    ],
)
def test_what_the_emulator_can_not_show_is_no_failed_drill(project, words, told):
    """The words were wrong: exit code 2, and no evidence for or against anybody."""
    ended = project.run("drill", "run", "order-life", *words)

    assert ended.code == 2
    assert told in ended.err.splitlines()[-1]
    assert drills_left(project) == []


def result_of(name: str, end: str) -> DrillResult:
    steps = [DrillStep("all", end, "words", 0.0)]
    return DrillResult(drill=name, steps=steps, facts={"drill": name, "passed": end == "passed"})


def three_drills(monkeypatch) -> None:
    """Let there be three drills: one that fails, one that breaks off, and the life of orders, which passes."""

    def breaks(_trial: DrillTrial) -> DrillResult:
        raise StorageError("expected an emulator, found none")

    rows = (
        Drill("kill-switch", "x", 1, "guide/drills.md", lambda _trial: result_of("kill_switch", "failed")),
        Drill("restart", "x", 1, "guide/drills.md", breaks),
        Drill("order-life", "x", 1, "guide/drills.md", None),
    )
    for place in (drill_register, drills):
        monkeypatch.setattr(place, "DRILLS", rows)
    monkeypatch.setattr(drills, "_order_life", lambda _parts, _terms: result_of("order_life", "passed"))


def test_the_list(project, monkeypatch):
    """What was never tried, then what was, with its end and its days; one that fails or breaks off stops no other."""
    first = project.run("drill", "list", "--json").json["drills"]
    every = {drill.in_evidence for drill in drill_register.DRILLS}
    three_drills(monkeypatch)

    ended = project.run("drill", "run", "--all", "--strategy", "ma_crossover")
    second = {(row["drill"], row["step"]): row for row in project.run("drill", "list", "--json").json["drills"]}

    assert {(row["drill"], row["max_age_days"]) for row in first} >= {
        ("kill_switch", 30),
        ("kill_switch", 14),
        ("order_life", 60),
        ("restart", 30),
    }
    assert {row["drill"] for row in first} == every | {"test_alert"}
    assert {row["standing"] for row in first} == {"never"}
    assert ended.code == 1
    assert "kill_switch to pass, found all: words; 1 more failed" in ended.err.splitlines()[-1]
    failed, broken, passed = (line.split() for line in ended.out.splitlines()[-3:])
    assert (failed[:2], broken[:3]) == (["kill-switch", "FAILED"], ["restart", "not", "run"])
    assert passed[:2] == ["order-life", "passed"]
    assert [len(left) for left in (drills_left(project),)] == [2]
    assert second["kill_switch", "testnet->shadow-live"]["standing"] == "failed"
    assert second["kill_switch", "shadow-live->live"]["passed"] is False
    assert second["restart", "-"]["standing"] == "never"
    assert second["order_life", "testnet->shadow-live"]["standing"] == "current"
    assert second["order_life", "testnet->shadow-live"]["about"].startswith("ma_crossover ")
    assert second["test_alert", "testnet->shadow-live"]["standing"] == "never"


def test_all_without_a_strategy(project, monkeypatch):
    """The drill that needs one is left out, and the table says so; what could not be run is a failure in the document too."""
    three_drills(monkeypatch)

    ended = project.run("drill", "run", "--all", "--json")
    shown = project.run("drill", "run", "--all")

    assert (ended.code, ended.json["passed"]) == (1, False)
    assert [one["drill"] for one in ended.json["drills"]] == ["kill_switch"]
    assert ended.json["not_done"] == {
        "restart": "expected an emulator, found none",
        "order-life": "skipped: needs --strategy",
    }
    assert shown.out.splitlines()[-1].split()[:4] == ["order-life", "skipped:", "needs", "--strategy"]


def test_without_a_policy_there_is_no_list(project):
    """One sentence says which file is missing, and no drill is run in vain."""
    (project.folder / "governance" / "policy.toml").unlink()

    for words in (("list",), ("run", "--all", "--strategy", "ma_crossover")):
        ended = project.run("drill", *words)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended
        assert "policy.toml" in ended.err
