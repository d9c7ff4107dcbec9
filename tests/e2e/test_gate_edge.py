"""The first gate with the guide's criteria for an edge: both ways, at the limit, without evidence, and the whole step."""

import tomllib
from datetime import timedelta

import msgspec
import pytest
from tests.gates import GateCase, a_run, policy
from tests.paths import ROOT
from tests.team import PARAMS, SYMBOL, Team

from peak_trade.governance.criteria import Answer, Criterion, EvidenceKind, Subject, evaluate
from peak_trade.governance.ladder import Rung

NAMED = ("--strategy", "ma_crossover", *PARAMS, "--symbol", SYMBOL)
BARS = ("--data", "bars.csv", "--symbol", SYMBOL)
WALK = ("--grid", "fast_window=2,3", "--grid", "slow_window=6,7", "--train", "180d", "--test", "60d", "--no-html")
NAMES = ("walk_forward", "edge", "robustness")


def the_block() -> str:
    """Return the lines that the guide shows for a policy."""
    return (ROOT / "docs" / "guide" / "gates.md").read_text("utf-8").split("```toml\n")[1].split("```")[0]


CRITERIA: dict[str, Criterion] = {
    item["id"]: msgspec.convert(item, Criterion) for item in tomllib.loads(the_block())["step"]["research->shadow"]["criterion"]
}
GOOD = {
    "walk_forward": {"suite": "walk_forward", "of_backtest": True, "windows": 4, "fee_bps": "1", "sharpe": "0.5"},
    "edge": {"suite": "verdict", "of_backtest": True, "charged": True, "tried": 1, "edge": 2},
    "robustness": {"suite": "robustness", "of_backtest": True, "robust": True},
}
BAD = [
    ("walk_forward", {"of_backtest": False}),
    ("walk_forward", {"windows": 3}),
    ("walk_forward", {"fee_bps": "0"}),
    ("walk_forward", {"sharpe": "0.499999"}),
    ("edge", {"edge": 1}),
    ("edge", {"edge": 0}),
    ("edge", {"charged": False}),
    ("edge", {"of_backtest": False}),
    ("edge", {"params_sha256": "0" * 64}),
    ("robustness", {"robust": False}),
    ("robustness", {"of_backtest": False}),
]


def answer(name: str, change: dict, days: float = 0.0) -> Answer:
    """Return what a criterion comes to, its good evidence changed in some facts and older by some days."""
    case = GateCase(rung=Rung.RESEARCH_SHADOW, symbols=(SYMBOL,))
    criterion, request = CRITERIA[name], case.request
    [params] = request.parts["parameters"].values()
    facts = {key: value for key, value in ({"params_sha256": params} | GOOD[name] | change).items() if value is not None}
    at = case.created_at
    run = a_run(EvidenceKind(criterion.evidence[0]), "one", at, facts)
    subject = Subject(strategy=request.strategy, symbols=(SYMBOL,))
    return evaluate(criterion, [msgspec.structs.replace(run, subject=subject)], request, at + timedelta(days=days)).answer


@pytest.mark.parametrize("name", NAMES)
def test_at_the_limit_it_passes_and_a_day_too_old_counts_for_nothing(name):
    oldest = CRITERIA[name].max_age_days

    assert answer(name, {}) is Answer.PASS
    assert answer(name, {}, oldest) is Answer.PASS
    assert answer(name, {}, oldest + 0.001) is Answer.INCONCLUSIVE


@pytest.mark.parametrize(("name", "change"), BAD)
def test_beyond_the_limit_it_fails(name, change):
    assert answer(name, change) is Answer.FAIL
    assert answer(name, dict.fromkeys(change)) is Answer.INCONCLUSIVE


def answers(team: Team) -> dict:
    """Return what each criterion of the first step comes to, from registry and journals read afresh."""
    found = team.json("gate", "explain", "research->shadow", *NAMED, "--fresh")["criteria"]
    return {item["id"]: item["answer"] for item in found}


def test_the_whole_step_with_an_edge(tmp_path, monkeypatch, capsys):
    """Inconclusive until each command is run, and passed by them; another dataset is none; the request is bound to them."""
    team = Team(tmp_path, monkeypatch, capsys)
    file = team.folder / "governance" / "policy.toml"
    file.write_text(file.read_text() + "\n" + the_block())
    template = team.folder / "governance" / "checklists" / "research_to_shadow.md"
    points = "".join(f"- [ ] (measured) **{name}**\n" for name in NAMES)
    template.write_text(
        template.read_text().replace("- [ ] (measured) **limits_defined**\n", points + "- [ ] (measured) **limits_defined**\n")
    )
    team.backtest()
    team.proofs()
    team.tests_passed()
    assert {name: answers(team)[name] for name in NAMES} == dict.fromkeys(NAMES, "inconclusive")

    team.do("walkforward", "--strategy", "ma_crossover", *BARS, *WALK)
    team.do("verdict", "--strategy", "ma_crossover", *PARAMS, *BARS, "--no-html")
    team.do("robustness", "latest:backtest", "--no-html")
    assert {name: answers(team)[name] for name in NAMES} == dict.fromkeys(NAMES, "pass")

    team.checklist("research_to_shadow")
    request = team.ask("research->shadow")
    team.sign(request, "olga")
    decided = team.json("gate", "decide", request)
    assert decided["answer"] == "pass"

    # A backtest over other bars: what was measured over the ones before is not of it.
    team.later(minutes=1)
    words = ("--data", "bars.csv", "--symbol", SYMBOL, "--start", "2024-03-01", "--no-tear-sheet")
    team.do("backtest", "--strategy", "ma_crossover", *PARAMS, *words)
    assert {name: answers(team)[name] for name in NAMES} == dict.fromkeys(NAMES, "fail")


def test_the_delivered_policy_takes_the_criteria():
    """Added to it, they are read; the one that was delivered does not ask for them."""
    assert not set(NAMES) & {item.id for item in policy().criteria[Rung.RESEARCH_SHADOW]}
    assert set(CRITERIA) == set(NAMES)
