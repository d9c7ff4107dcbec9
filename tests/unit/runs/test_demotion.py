"""Ways down: by anybody, by themselves, and not for what was known when the step up was decided."""

import pytest
from tests.houses import House, Street

from peak_trade.runs.gates.demotion import demote_where_due

BUG = '[[bug]]\nid = "b1"\ntitle = "x"\narea = "risk"\nseverity = "critical"\nfound_at = 2026-03-01T00:00:00Z\n'


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


@pytest.fixture
def house(street, request, monkeypatch, capsys) -> House:
    return street.at("climbed", monkeypatch, capsys)


def stage(house):
    [line] = house.json("gate", "status")["ladder"]
    return line["stage"]


def test_nothing_is_due_where_nothing_turned(house):
    assert demote_where_due(house.fresh(), [house.strategy]) == []
    assert stage(house) == "testnet"


def test_a_bug_takes_it_down_by_one_stage_at_a_time(house):
    house.write("governance/bugs.toml", BUG)
    [told] = demote_where_due(house.fresh(), [house.strategy])
    assert ("no_critical_bugs" in told, stage(house)) == (True, "shadow")
    demote_where_due(house.fresh(), [house.strategy])
    assert stage(house) == "research"
    assert demote_where_due(house.fresh(), [house.strategy]) == []


def test_too_little_data_takes_nobody_down(house):
    """A list that is gone, and tests that grew old."""
    (house.folder / "governance" / "bugs.toml").unlink()
    house.later(days=100)
    assert demote_where_due(house.fresh(), [house.strategy]) == []


def test_another_version_stays(house):
    from peak_trade.strategy.catalogue import make

    house.write("governance/bugs.toml", BUG)
    assert demote_where_due(house.fresh(), [make("ma_crossover", {"fast_window": 3, "slow_window": 6})]) == []
    assert stage(house) == "testnet"


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [("testnet", 2, "found nothing"), ("live", 2, "expected --to one of"), ("shadow", 0, ""), ("research", 0, "")],
)
def test_by_anybody(house, to, code, words):
    """Down and nowhere else; nobody's leave is asked."""
    found, _, err = house.run("gate", "demote", "--strategy", "ma_crossover", "--to", to, "--why", "x", "--by", "ivan")
    assert (found, words in err) == (code, True)
    assert stage(house) == (to if code == 0 else "testnet")
