"""The tables of a session's report."""

from tests.unit.report.session_records import EXPECTED, a_session

from peak_trade.report import session_tables as tables
from peak_trade.report.session_facts import whole
from peak_trade.risk.gate import CODES


def a_record(**changes):
    return whole(a_session(**changes))


def test_every_code_has_a_meaning():
    """Whatever the risk gate can block for is explained, and nothing else is."""
    assert set(tables.REASONS) == CODES


def test_expected_rows():
    """Amounts differ in amounts, shares in points, counts in counts; a figure that is not known differs by nothing known."""
    found = {row.label: row[1:] for row in tables.expected_rows(a_record(expected=EXPECTED, metrics={"num_fills": None}))}

    assert found == {
        "Final equity, EUR": ("10,123.45", "10,130.00", "-6.55"),
        "Total return": ("1.23%", "1.30%", "-0.07 points"),
        "Deepest drawdown": ("-3.21%", "-3.00%", "-0.21 points"),
        "Fees paid, EUR": ("16.55", "16.00", "+0.55"),
        "Fills": ("n/a", "11", "n/a"),
    }
    assert tables.expected_rows(a_record()) == []


def test_split_rows():
    """The four causes and their sum."""
    rows = tables.split_rows(a_record(expected=EXPECTED))

    assert [label.partition(":")[0] for label, _ in rows] == ["Signal", "Timing", "Fill", "Fee", "Total"]
    assert [value for _, value in rows] == ["-5.00", "0.00", "-1.00", "-0.55", "-6.55"]
    assert tables.split_rows(a_record()) == []


def test_leg_rows():
    """A position keeps its sign, a cost its digits, and no position has no cost."""
    leg = a_session()["by_leg"][0]
    short = {**leg, "position": "-1.500", "average_cost": "0"}

    first, second = tables.leg_rows(a_record(by_leg=[leg, short]))

    assert first == ("ma_crossover", "ma_crossover", "BTC/EUR", "0.25", "101.23", "+150.00", "-10.00", "16.55", "10")
    assert second[3:5] == ("-1.5", "")


def test_reason_rows():
    """Codes are ordered by how often they occur over all columns; the venue's own words are called that."""
    rows = tables.reason_rows(a_record(warned_by_code={"data_age": 5}, rejected_by_code={"EOrder:x": 4}))

    assert rows == [
        ("data_age", "the last price was too old", "1", "5", "0"),
        ("EOrder:x", "the venue's word", "0", "0", "4"),
        ("max_order_notional", "order worth more than allowed", "2", "0", "0"),
    ]


def test_incident_rows():
    """The latest come first, up to the limit."""
    found = [{"at": f"2024-01-0{day}T00:00:00Z", "code": "c", "words": "w"} for day in (1, 2, 3)]

    assert tables.incident_rows(a_record(incidents=found), 2) == [
        ("2024-01-03 00:00", "c", "w"),
        ("2024-01-02 00:00", "c", "w"),
    ]


def test_term_pairs():
    """Rates are told in basis points and per cent, exits as off or from where; terms of other stages are left out."""
    found = dict(tables.term_pairs(a_record()))

    assert found["Fee"] == "40 bps (0.400%) of the filled notional"
    assert found["Fee of a resting order"] == "25 bps (0.250%) of the filled notional"
    assert found["Fillable of a bar's volume"] == "at most 10.00%"
    assert found["Stop-loss"] == "5.00% from the entry price"
    assert found["Take-profit"] == "off"
    assert dict(tables.term_pairs(a_record(terms={"volume_share": "0", "fee_rate": None}))) == {
        "Fillable of a bar's volume": "not limited",
        "Stop-loss": "off",
        "Take-profit": "off",
        "Trailing stop": "off",
    }
    assert tables.term_pairs(a_record(terms={})) == []


def test_limit_pairs():
    """Limits keep the names of the configuration."""
    assert tables.limit_pairs(a_record()) == [
        ("max_order_notional", "1000"),
        ("max_open_positions", "5"),
        ("block_on_violation", "true"),
        ("symbols", "BTC/EUR, ETH/EUR"),
    ]


def test_data_pairs():
    """The end of the warm-up stands with the data; a session without data has none."""
    assert tables.data_pairs(a_record())[-1] == ("Traded from", "2024-01-01 20:00 UTC; bars before only warmed up")
    assert tables.data_pairs(a_record(dataset={"first": None})) == [("Bars", "none")]


def test_param_rows():
    """A record without a list of strategies has one, its own."""
    assert tables.param_rows(a_record(legs=[])) == [
        ("ma_crossover", "ma_crossover", "BTC/EUR", "1h", "", "fast_window = 20, slow_window = 50")
    ]
    assert tables.param_rows(a_record(params={}, legs=[]))[0][-1] == "none"


def test_identity_pairs():
    """Hashes, the journal's head and the machine are named; what is not known is left out."""
    found = dict(tables.identity_pairs(a_record(continues="earlier")))

    assert found["Decisions (SHA-256)"] == "e" * 64
    assert found["Journal's head"] == "number 345, 346 records in all"
    assert found["Journal's head (SHA-256)"] == "f" * 64
    assert found["Continues"] == "earlier"
    assert {"Journal", "Machine", "Ended"} & dict(
        tables.identity_pairs(a_record(journal=None, host=None, finished_at=None))
    ).keys() == set()
