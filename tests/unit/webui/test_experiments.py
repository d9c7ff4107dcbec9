"""Two runs side by side, and the facts of one."""

import shlex
from types import SimpleNamespace as Fake

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.rows import a_run

from peak_trade.journal.run import RunStatus
from peak_trade.model.errors import InputError
from peak_trade.webui.experiments import (
    AnswerShown,
    Change,
    FigurePair,
    _asked,
    _url,
    answer_of,
    changes_between,
    commands_of,
    figures_of,
    identity_of,
)
from peak_trade.webui.listing import TEXT_MAX


def asked(**given: str) -> Fake:
    return Fake(query_params=given)


def test_the_same_twice():
    """Two runs of the same differ in nothing but when they were and what they are called."""
    assert changes_between(a_run(), a_run(started_at="2026-02-02T00:00:00Z", process=7, tags=("other",))) == []


def test_what_was_different():
    """What was told, on which data, by which code and with which versions; nested values under dotted names."""
    one = a_run(params={"fast": 5, "slow": 20}, spec={"terms": {"fee_bps": 40.0}}, versions={"numpy": "2.2"})
    two = a_run(
        params={"fast": 6, "extra": True},
        spec={"terms": {"fee_bps": 40.0, "side": "long"}},
        versions={"numpy": "2.3"},
        symbol="ETH/EUR",
        dataset_sha256="e" * 64,
        status=RunStatus.FAILED,
    )

    found = {change.name: change[1:] for change in changes_between(one, two)}

    assert found == {
        "symbol": ("BTC/EUR", "ETH/EUR"),
        "status": ("completed", "failed"),
        "dataset_sha256": ("d" * 16, "e" * 16),
        "params.fast": ("5", "6"),
        "params.slow": ("20", ""),
        "params.extra": ("", "true"),
        "spec.terms.side": ("", "long"),
        "versions.numpy": ("2.2", "2.3"),
    }
    assert [Change(name, *values) for name, values in found.items()] == changes_between(one, two)


def test_figures_beside_each_other():
    """The second minus the first, in the figure's own unit; shares differ in points."""
    one = a_run(metrics={"final_equity": 10_000.0, "total_return": 0.1, "sharpe": 1.0, "num_trades": 3.0})
    two = a_run(metrics={"final_equity": 10_500.5, "total_return": 0.05, "sharpe": 1.0, "win_rate": 0.5})

    found = {row.label: row[1:] for row in figures_of(one, two)}

    assert found["Final equity, EUR"] == ("10,000.00", "10,500.50", "+500.50")
    assert found["Total return"] == ("10.00%", "5.00%", "-5.00 points")
    assert found["Sharpe ratio"] == ("1.00", "1.00", "0.00")
    assert found["Closed trades"] == ("3", "n/a", "")
    assert found["Trades with a profit"] == ("n/a", "50.00%", "")


def test_currencies_are_not_subtracted():
    """Amounts of two currencies stand beside each other without a difference; shares have one."""
    one = a_run(symbol="BTC/EUR", metrics={"final_equity": 1.0, "best_final_equity": 1.0, "total_return": 0.1})
    two = a_run(symbol="BTC/JPY", metrics={"final_equity": 2.0, "best_final_equity": 2.0, "total_return": 0.2})

    assert figures_of(one, two) == [
        FigurePair("Final equity", "1.00", "2", ""),
        FigurePair("Best: Final equity", "1.00", "2", ""),
        FigurePair("Total return", "10.00%", "20.00%", "+10.00 points"),
    ]


def test_what_identifies_a_run():
    """Hashes, code and times are told where there are any; work in progress is told."""
    run = a_run(code_clean=False, finished_at=None, trials=12_345, result_sha256=None)

    found = dict(identity_of(run))

    assert (found["Run"], found["Combinations tried"]) == (run.run_id, "12,345")
    assert found["Code"] == "abc, with uncommitted changes"
    assert not {"Ended", "Result (SHA-256)"} & set(found)


@pytest.mark.parametrize(
    ("reported", "words"),
    [
        (True, ["reproduce", "experiments", "report"]),
        (False, ["experiments"]),
    ],
)
def test_commands(reported, words):
    """Only what has a report can be done again and drawn."""
    assert [command.split()[1] for _, command in commands_of(a_run(), reported=reported)] == words


@given(st.text(min_size=1, max_size=30))
def test_an_id_can_t_end_a_command(name):
    """Whatever an id holds, a copied command has it as one word."""
    assert all(name in shlex.split(command) for _, command in commands_of(a_run(run_id=name), reported=True))


@pytest.mark.parametrize("value", ["x" * (TEXT_MAX + 1), "a\0", "a\nb", "\u202e"])
def test_what_can_t_be_meant(value):
    """A parameter that is too long or can't be shown is refused by name."""
    with pytest.raises(InputError, match="as strategy,"):
        _asked(asked(strategy=value), "strategy")


def test_addresses():
    """Empty parameters are left out, others are written so that they stay what they are."""
    assert _url({"tag": "", "before": ""}) == "/experiments"
    assert _url({"tag": "a&b=c#d", "before": ""}) == "/experiments?tag=a%26b%3Dc%23d"
    assert _asked(asked(tag="  a "), "tag") == "a"
    assert _asked(asked(), "tag") == ""


def test_answers_are_those_of_the_document():
    """A verdict's answer comes with after how many trials; a folder that is not what was registered gives none."""
    record = {
        "answer": "no edge",
        "error_rate": 0.05,
        "tried": {"counted": 1_234, "of_strategy": 34},
        "lines": [{"title": "Tests", "found": 0.5, "limit": 0.95, "sense": "at least", "holds": False, "words": "why"}],
    }
    run = a_run(run_type="verdict")
    found, missing = answer_of(run, record), answer_of(run, None)

    assert found is not None
    assert (found.badge, found.count, found.missing) == (("bad", "no edge"), 1_234, False)
    assert list(found.lines) == [("Tests", "0.500", "at least 0.950", "does not hold", "why", "bad")]
    assert missing == AnswerShown(missing=True)
    assert answer_of(a_run(run_type="backtest"), None) is None
    assert answer_of(a_run(run_type="verdict", status=RunStatus.FAILED), record) is None
