"""`peak-trade strategy check`: the verdicts, the evidence they leave behind, and what is refused."""

import os
import sys

import msgspec
import pytest
from tests.gates import GateCase, a_run, policy

from peak_trade.compose import Parts
from peak_trade.governance.criteria import Answer, EvidenceKind, Subject, evaluate
from peak_trade.governance.ladder import Rung
from peak_trade.runs import acts, strategy_version
from peak_trade.runs.strategy_version import version_of
from peak_trade.settings import load_config
from peak_trade.strategy.catalogue import GROUP, catalogue, make

CHECK = ("strategy", "check")
PROOFS = ("causality", "warmup", "determinism")
QUICK = ("--cuts", "24")

PLUGIN = '''
"""Strategies that are wrong."""
from typing import ClassVar
import numpy as np
from pydantic import Field
from peak_trade.strategy.base import Strategy

class Peeks(Strategy):
    """Long before a rise."""
    key: ClassVar[str] = "peeks"
    source: ClassVar[str] = "a test"
    ahead: int = Field(1, ge=0, le=1)

    def targets(self, bars):
        moves = np.sign(np.diff(bars.close))
        return np.append(moves, 0.0) if self.ahead else np.append(0.0, moves)

    def warmup(self):
        return 2

class Hasty(Strategy):
    """Says that it needs less than it does."""
    key: ClassVar[str] = "hasty"
    source: ClassVar[str] = "a test"
    window: int = Field(30, ge=2)

    def targets(self, bars):
        found = np.zeros(len(bars))
        found[self.window:] = np.sign(bars.close[self.window:] - bars.close[:-self.window])
        return found

    def warmup(self):
        return 20

class Fails(Strategy):
    """Needs bars that are not there yet."""
    key: ClassVar[str] = "fails"
    source: ClassVar[str] = "a test"

    def targets(self, bars):
        return np.zeros(len(bars)) + bars.close[10]

    def warmup(self):
        return 11
'''


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    # One other process instead of six: what they find out is tested with the proof.
    monkeypatch.setattr("peak_trade.research.determinism.SEEDS", ())
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()
    strategy_version._hashes.cache_clear()
    sys.modules.pop("wrong_rules", None)


@pytest.fixture
def plugin(project, monkeypatch):
    """An installed package of wrong strategies; returns its file."""
    folder = project.folder / "site"
    info = folder / "wrong_rules-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "wrong_rules.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong_rules\nVersion: 1.0\n")
    points = "\n".join(f"{name.lower()} = wrong_rules:{name}" for name in ("Peeks", "Hasty", "Fails"))
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
    monkeypatch.syspath_prepend(folder)
    return folder / "wrong_rules.py"


def told(project) -> list[acts.Done]:
    """Return the evidence in the operators' journal, which verifies."""
    parts = Parts(load_config(project.folder / "config.toml"))
    try:
        return [item for item in acts.done(parts) if item.action == acts.EVIDENCE]
    finally:
        parts.close()


def refused(project, *arguments: str, code: int = 2) -> str:
    """Run a check that must be refused in one sentence and leave no evidence; return the sentence."""
    before = len(told(project))
    ended = project.run(*CHECK, *arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1), ended
    assert "internal fault" not in ended.err
    assert len(told(project)) == before
    return ended.err


def test_all_proofs_hold(project):
    """Exit code 0; people and programs read the same, and the acts of evidence say it."""
    ended = project.run(*CHECK, "ma_crossover", *QUICK, "--by", "kim")
    document = project.run(*CHECK, "ma_crossover", *QUICK, "--json").json

    assert (ended.code, ended.err) == (0, "")
    assert "causality: holds\n" in ended.out
    assert "warm-up: long enough; declared 50 bars, needed 50\n" in ended.out
    assert (document["hold"], document["causality"]["holds"], document["warmup"]["holds"]) == (True, True, True)
    assert (document["causality"]["cuts"], document["warmup"]["needed"]) == (24, 50)
    kept = told(project)
    assert [item.begun.body["by"] for item in kept][:4] == ["kim"] * 4
    assert [item.last.body["facts"]["suite"] for item in kept][:4] == [*PROOFS, "strategy_check"]
    assert all(item.went_well for item in kept)
    assert [item.segment for item in kept[4:]] == [*(document[suite]["evidence"] for suite in PROOFS), document["evidence"]]
    assert all(item.segment in ended.out for item in kept[:4])
    assert ended.out.endswith(f"; evidence {kept[3].segment}\n")
    assert "determinism: holds\n" in ended.out
    assert document["verdict"].startswith("passed: causal, warm-up long enough, deterministic; ")
    assert [line["name"] for line in document["costs"]] == ["costs", "delay", "skips"]


def test_the_evidence_is_what_the_gate_asks_for(project):
    """Of this version and pair, with the facts of the policy's criteria: both pass, and for other parameters neither does."""
    bars = project.bars(count=700)
    assert project.run(*CHECK, "ma_crossover", "--data", str(bars), "--symbol", "BTC/EUR", *QUICK).code == 0
    causal, warm, steady, _ = told(project)
    version = version_of(make("ma_crossover", {}))
    subject = msgspec.convert(causal.begun.body["subject"], Subject)
    facts = [item.end.body["facts"] for item in (causal, warm, steady)]

    assert causal.begun.body["kind"] == EvidenceKind.TEST_RUN.value
    assert subject == msgspec.convert(warm.begun.body["subject"], Subject) == Subject(strategy=version, symbols=("BTC/EUR",))
    assert {"suite", "causal", "params_sha256", "cuts", "futures", "bars", "dataset_sha256", "first_bad"} <= set(facts[0])
    assert {"suite", "warmup_enough", "params_sha256", "declared", "needed", "bars", "dataset_sha256"} <= set(facts[1])
    assert (facts[0]["bars"], facts[1]["declared"], facts[1]["needed"]) == (700, 50, 50)
    case = GateCase(rung=Rung.RESEARCH_SHADOW)
    runs = [
        msgspec.structs.replace(a_run(EvidenceKind.TEST_RUN, name, case.created_at, found), subject=subject)
        for name, found in zip(("one", "two", "three"), facts, strict=True)
    ]
    criteria = {item.id: item for item in policy().criteria[Rung.RESEARCH_SHADOW]}
    for params, answer in ((version.params_sha256, Answer.PASS), ("0" * 64, Answer.FAIL)):
        parts = {**case.request.parts, "parameters": {"ma_crossover": params}}
        request = msgspec.structs.replace(case.request, strategy=version, parts=parts)
        for name in ("causality_proof", "warmup_proof", "determinism_proof"):
            assert evaluate(criteria[name], runs, request, case.created_at).answer is answer
    other = make("ma_crossover", {"fast_window": 5})
    request = msgspec.structs.replace(case.request, strategy=version_of(other))
    assert evaluate(criteria["causality_proof"], runs, request, case.created_at).answer is Answer.INCONCLUSIVE


def test_a_strategy_that_sees_the_future_is_found(project, plugin):
    """Exit code 1, the first bar, its target with and without the future; the evidence says it too, of both proofs."""
    ended = project.run(*CHECK, "peeks", *QUICK)
    document = project.run(*CHECK, "peeks", *QUICK, "--json")

    assert ended.code == document.code == 1
    assert "causality: does not hold\n  the target of 1999-01-04T00:00:00Z is 0.0 with bars up to " in ended.out
    assert "warm-up: not shown to be long enough; declared 2 bars\n  not tried" in ended.out
    assert len(ended.err.splitlines()) == 1
    assert "expected all proofs of peeks to hold" in ended.err
    bad = document.json["causality"]["first_bad"]
    assert (bad["bar"], bad["at"], bad["without"], bad["with"] != 0.0) == (0, "1999-01-04T00:00:00Z", 0.0, True)
    causal, warm = (item.end.body["facts"] for item in told(project)[:2])
    assert (causal["causal"], warm["warmup_enough"], warm["needed"]) == (False, False, "unknown")
    assert causal["first_bad"].startswith("the target of 1999-01-04T00:00:00Z")
    # The same class without the look ahead is another version, and innocent.
    assert project.run(*CHECK, "peeks", "--param", "ahead=0", *QUICK).code == 0


def test_a_warm_up_that_is_too_short_is_found(project, plugin):
    """Exit code 1, how much is needed, and a window that shows it."""
    ended = project.run(*CHECK, "hasty", *QUICK)

    assert ended.code == 1
    assert "causality: holds\n" in ended.out
    assert "warm-up: not shown to be long enough; declared 20 bars, needed 31\n  over 30 bars the target of " in ended.out
    assert told(project)[1].end.body["facts"]["needed"] == 31


def test_a_strategy_that_fails_on_few_bars_is_found(project, plugin):
    """The engine asks from the first bar on; the reason is the strategy's own."""
    ended = project.run(*CHECK, "fails", *QUICK)

    assert ended.code == 1
    assert "over 1 bars the strategy fails failed with IndexError in wrong_rules.py line " in ended.out


def test_a_seed_can_be_repeated(project):
    """The same seed tries the same and counts the same, another one something else."""

    def run(seed: str) -> dict:
        found = project.run(*CHECK, "rsi_reversion", *QUICK, "--seed", seed, "--json").json
        return {suite: {name: value for name, value in found[suite].items() if name != "evidence"} for suite in suites}

    suites = ("causality", "warmup")
    assert run("5") == run("5")
    assert run("5") != run("6")


def test_a_long_period_is_taken_from_its_end(project):
    """The newest twenty thousand bars, which the evidence says."""
    document = project.run(*CHECK, "buy_and_hold", "--symbol", "SYN/USD", "--timeframe", "1m", *QUICK, "--json").json

    assert (document["bars"], document["dataset"]["bars"], document["last"]) == (20_000, 129_600, "2024-03-30T23:59:00Z")
    assert document["warmup"]["needed"] == 1


def test_what_can_not_be_checked_is_refused(project, plugin):
    """One sentence, exit code 2, and nothing written down."""
    few = str(project.bars(count=149))

    assert "did you mean ma_crossover?" in refused(project, "ma_crosover")
    assert "did you mean fast_window?" in refused(project, "ma_crossover", "--param", "fast_windw=3")
    assert "expected 24 to 10000 as --cuts, found 23" in refused(project, "ma_crossover", "--cuts", "23")
    assert "expected 24 to 10000 as --cuts, found 10001" in refused(project, "ma_crossover", "--cuts", "10001")
    assert "as --seed, found -1" in refused(project, "ma_crossover", "--seed", "-1")
    assert "expected at least 150 bars to prove a rule with a warm-up of 50, found 149" in refused(
        project, "ma_crossover", "--data", few, "--symbol", "BTC/EUR"
    )
    assert "--by" in refused(project, "ma_crossover", "--by", "")
    catalogue()
    plugin.unlink()
    assert "expected to read the source of wrong_rules" in refused(project, "hasty")


SESSION = ("session", "run", "--symbol", "BTC/EUR", "--speed", "max", "--steps", "40", "--no-html")


def test_an_installed_strategy_follows_a_market_after_its_check_alone(project, plugin):
    """Refused with what to type until this very version passed; other parameters are another version."""
    bars = ("--data", str(project.bars(count=700)), "--symbol", "BTC/EUR")
    data = ("--data", bars[1])
    innocent = ("--param", "ahead=0")
    ended = project.run(*SESSION, *data, "--strategy", "peeks", *innocent)
    assert (ended.code, len(ended.err.splitlines())) == (3, 1)
    assert "expected a passed check of this version of peeks" in ended.err
    assert "found no check of it: peak-trade strategy check peeks --param ahead=0" in ended.err
    assert project.run("strategies", "show", "peeks", "--json").json["check"]["passed"] is None

    assert project.run(*CHECK, "peeks", *innocent, *bars, *QUICK).code == 0
    assert project.run(*SESSION, *data, "--strategy", "peeks", *innocent).code == 0
    assert project.run(*SESSION, *data, "--strategy", "peeks").code == 3
    assert project.run(*CHECK, "peeks", *bars, *QUICK).code == 1
    failed = project.run(*SESSION, *data, "--strategy", "peeks")
    assert (failed.code, "found that its check failed (evidence " in failed.err) == (3, True)
    assert "check of this version: failed " in project.run("strategies", "show", "peeks").out


def test_recorded_bars_may_be_tried_without_a_check(project, plugin):
    """The playbook's shadow run, also of an installed strategy: it sends nothing to anybody."""
    words = ("session", "shadow", "--strategy", "peeks", "--param", "ahead=0")
    data = ("--data", str(project.bars(count=400)), "--symbol", "BTC/EUR")

    assert project.run(*words, *data).code == 0


def test_what_is_built_in_needs_no_check_but_may_not_have_failed_one(project, monkeypatch):
    """Our own tests prove it; a check that failed counts all the same."""
    bars = ("--data", str(project.bars(count=700)))
    assert project.run(*SESSION, *bars, "--strategy", "ma_crossover").code == 0
    with monkeypatch.context() as patch:
        patch.setattr("peak_trade.strategy.ma_crossover.MaCrossover.warmup", lambda _strategy: 3)
        assert project.run(*CHECK, "ma_crossover", *bars, "--symbol", "BTC/EUR", *QUICK).code == 1
    ended = project.run(*SESSION, *bars, "--strategy", "ma_crossover")

    assert (ended.code, "its check failed" in ended.err) == (3, True)
