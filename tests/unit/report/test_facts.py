"""What a record says in words."""

from tests.builders import flat_bars, some_terms
from tests.unit.report.records import a_record, a_result

from peak_trade.report import facts


def test_verdict_compares():
    """The sentence names the start, both ends, the trades and both drawdowns."""
    record = a_record(a_result([1.0, 0.0], flat_bars([100.0, 100.0, 110.0, 110.0]), some_terms(cash="1000")))
    record["benchmark"] = record["benchmark"] | {"final_equity": 900.0, "max_drawdown": -0.25}

    assert facts.verdict(record) == (
        "1,000.00 EUR became 1,100.00 EUR after costs (buy and hold: 900.00 EUR); "
        "1 closed trade; deepest drawdown 0.00% (buy and hold: -25.00%)."
    )


def test_verdict_open_position():
    """A position that is still open is counted apart."""
    assert "0 closed trades and one position still open, valued at the last close" in facts.verdict(a_record(a_result([1.0])))


def test_verdict_no_position():
    """A run that never opened a position says that and nothing about drawdowns."""
    assert facts.verdict(a_record(a_result([0.0]))).endswith("; no position was opened.")


def test_no_warning_without_cause():
    """A clean run has no warnings."""
    assert facts.warnings(a_record(a_result())) == []


def test_each_warning():
    """Ruin, accepted problems, uncommitted code and many trials each give a sentence, the gravest first."""
    result = a_result([-1.0], flat_bars([100.0, 100.0, 300.0, 300.0]))
    record = a_record(
        result,
        dataset={"accepted": ["duplicates", "holes"]},
        code={"version": "0123abc", "clean": False},
        trials_on_dataset={"total": 9_000, "different": 1_500},
    )

    ruin, accepted, code, trials = facts.warnings(record)

    assert "zero or below" in ruin
    assert "duplicates, holes" in accepted
    assert "uncommitted changes" in code
    assert trials == ("1,500 different combinations were tried on this data; a good figure among many is expected by chance.")


def test_one_trial_is_no_warning():
    """A single combination is no search."""
    assert facts.warnings(a_record(a_result(), trials_on_dataset={"total": 8, "different": 1})) == []


def test_missing_reasons():
    """Every figure without a value is named with its reason, for the strategy and for the yardstick."""
    record = a_record(a_result([0.0]))
    record["benchmark"] = dict.fromkeys(record["benchmark"], 1.0) | {"profit_factor": None}

    strategy, benchmark = facts.missing_reasons(record)

    assert strategy.startswith("Strategy: Sharpe ratio (equity never moved), ")
    assert "Trades with a profit (no trade was closed)" in strategy
    assert benchmark == "Buy and hold: Profit factor (no closed trade lost money)."


def test_period_in_days():
    """Daily bars are dated without a time, hourly ones with it."""
    daily, hourly = (flat_bars([1.0, 1.0], timeframe=timeframe) for timeframe in ("1d", "1h"))

    assert facts.period(a_record(a_result(bars=daily))) == "2024-01-01 to 2024-01-02 UTC, 2 bars"
    assert facts.period(a_record(a_result(bars=hourly))) == "2024-01-01 00:00 to 2024-01-01 01:00 UTC, 2 bars"


def test_costs():
    """Fees are told in basis points and percent, exits from where they count, and what is off is off."""
    pairs = dict(facts.cost_pairs(a_record(a_result(terms=some_terms(fee_bps=26.0, trailing_stop=0.05)))))

    assert pairs["Fee"] == "26 bps (0.260%) of the filled notional"
    assert pairs["Trailing stop"] == "5.00% from the best price since entry"
    assert pairs["Stop-loss"] == "off"


def test_holes():
    """Holes are counted and each kind is explained."""
    gaps = {"holes": 2, "missing_bars": 5, "by_kind": {"outage": 4, "closed": 1}}
    pairs = dict(facts.data_pairs(a_record(a_result(), dataset={"gaps": gaps})))

    assert pairs["Holes"] == "2 holes with 5 bars; never filled"
    assert pairs["Bars that are not there"] == "1 market closed (weekend or night); 4 outage: trades were to be expected"


def test_long_grids_are_cut():
    """A long list of values is told by its ends and its length."""
    record = {"grid": {"window": list(range(2, 52)), "mode": ["a"]}, "constraints": []}

    assert facts.grid_pairs(record) == [
        ("window", "2, 3, 4, ..., 50, 51 (50 values)"),
        ("mode", "a (1 value)"),
        ("Constraints", "none"),
    ]


def test_code_state():
    """The line on the code says whether anything was uncommitted."""
    clean, dirty = ({"version": "0123abc", "clean": clean} for clean in (True, False))

    assert dict(facts.hash_pairs(a_record(a_result(), code=clean)))["Code"] == "0123abc, no uncommitted changes"
    assert dict(facts.hash_pairs(a_record(a_result(), code=dirty)))["Code"] == "0123abc, with uncommitted changes"
