"""`peak-trade robustness`: what is said of a backtest, what is left behind, and what a gate can ask."""

from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.e2e.test_verdict import backtest, kept, ledger, swept
from tests.edges import noise, trending

from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.ladder import Rung
from peak_trade.runs import acts
from peak_trade.runs.gates.evidence import EvidenceScope, of_acts
from peak_trade.runs.strategy_version import version_of
from peak_trade.settings import load_config
from peak_trade.strategy.catalogue import make

FEES = ("--side", "both", "--fee-bps", "10", "--slippage-bps", "2")


@pytest.fixture
def strong(project) -> Path:
    """A file of bars with strong trends."""
    return kept(project, trending(3, 0.25, days=2_500))


def test_a_strong_edge_stands_and_is_written_down(project, strong):
    """Exit code 0; the run, its page and its evidence for exactly this version are there, and neighbours count as tried."""
    told = backtest(project, strong, "--param", "fast_window=8", "--param", "slow_window=60", *FEES)
    ended = project.run("robustness", "latest:backtest", "--json")
    record = ended.json
    page = (Path(record["folder"]) / "robustness.html").read_text("utf-8")
    text = (Path(record["folder"]) / "report.md").read_text("utf-8")

    assert (ended.code, record["robust"], record["shape"], record["backtest"]) == (0, True, "plateau", told["run_id"])
    assert "Robust: it stands all of 7 questions." in page
    assert "Robust: it stands all of 7 questions." in text
    assert len(record["neighbours"]) == 8
    assert ledger(project, strong).different == 9
    fact = evidence(project)
    assert fact.body["facts"]["suite"] == "robustness"
    assert fact.body["facts"]["robust"] is True
    assert msgspec.convert(fact.begun["subject"], Subject) == Subject(
        strategy=version_of(make("ma_crossover", told["params"])), symbols=("BTC/EUR",)
    )


@dataclass
class Told:
    """What was written down: how it began, and how it ended."""

    begun: dict
    body: dict


def evidence(project) -> Told:
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        found = [act for act in acts.done(parts) if act.action == acts.EVIDENCE]
    return Told(found[-1].begun.body, found[-1].last.body)


def test_noise_gives_way_and_is_written_down_too(project):
    backtest(project, kept(project, noise(2, days=1_500)), "--param", "fast_window=20", "--param", "slow_window=45", *FEES)
    ended = project.run("robustness", "latest:backtest", "--no-html")

    assert ended.code == 1
    assert "Not robust" in ended.out
    assert "Histories with a loss" in ended.err
    assert evidence(project).body["facts"]["robust"] is False


def test_steps_are_those_of_the_sweep(project, strong):
    """Where a sweep tried the combination, its neighbours are the values of the grid."""
    swept(project, strong)
    backtest(project, strong, "--param", "fast_window=10", "--param", "slow_window=60", *FEES)
    record = project.run("robustness", "latest:backtest", "--json", "--no-html").json

    assert [(item["name"], item["value"]) for item in record["neighbours"]] == [
        *(("fast_window", 5), ("fast_window", 20), ("slow_window", 40), ("slow_window", 80))
    ]


def test_the_same_seed_says_the_same(project, strong):
    backtest(project, strong, *FEES)
    ask = lambda seed: project.run("robustness", "latest:backtest", "--seed", seed, "--json", "--no-html").json["lines"]

    assert ask("4") == ask("4")
    assert ask("4") != ask("5")


def test_only_a_backtest_that_comes_out_the_same_is_asked(project, strong):
    swept(project, strong)
    wrong = project.run("robustness", "latest:sweep")
    backtest(project, strong, *FEES)
    text = strong.read_text().splitlines()
    strong.write_text("\n".join([text[0], *text[2:]]) + "\n")
    changed = project.run("robustness", "latest:backtest")

    assert (wrong.code, changed.code) == (1, 1)
    assert "expected a completed backtest, found the sweep" in wrong.err
    assert "peak-trade reproduce" in changed.err
    assert project.run("robustness", "nothing").code == 2


@pytest.mark.parametrize(("bars", "params", "robust"), [("strong", (8, 60), True), ("noise", (20, 45), False)])
def test_a_gate_can_ask_for_it(project, bars, params, robust):
    """What came of it is evidence for this very version, good or bad; what a gate makes of it is in test_gate_edge."""
    file = kept(project, trending(3, 0.25, days=2_500) if bars == "strong" else noise(2, days=1_500))
    told = backtest(project, file, "--param", f"fast_window={params[0]}", "--param", f"slow_window={params[1]}", *FEES)
    project.run("robustness", "latest:backtest", "--no-html")
    version = version_of(make("ma_crossover", told["params"]))
    with closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        now = parts.clock.now() + timedelta(seconds=1)
        scope = EvidenceScope(version=version, symbols=("BTC/EUR",), rung=Rung.RESEARCH_SHADOW, at=now)
        found = of_acts(acts.done(parts), scope)

    assert [item.kind for item in found] == [EvidenceKind.TEST_RUN]
    facts = found[0].facts
    assert (facts["suite"], facts["robust"], facts["params_sha256"]) == ("robustness", robust, version.params_sha256)
