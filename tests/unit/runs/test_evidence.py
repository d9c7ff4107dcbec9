"""Evidence is a function of what was written until a moment: collected again it is the same, whatever came since."""

import pytest
from tests.houses import House, Street
from tests.team import SYMBOL

from peak_trade.governance.ladder import Rung
from peak_trade.governance.objections import Objected
from peak_trade.journal.chain import holding
from peak_trade.runs.gates.climb import Climb, collect, rules_of
from peak_trade.runs.gates.record import gate_record
from peak_trade.runs.strategy_version import version_of


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


@pytest.fixture
def house(street, monkeypatch, capsys) -> House:
    return street.at("shadow", monkeypatch, capsys)


def collected(house, at, *, fresh=True, requester="dana"):
    """Return the evidence for testnet as of a moment, as a new process collects it."""
    parts = house.fresh()
    climb = Climb(rung=Rung.SHADOW_TESTNET, version=version_of(house.strategy), account="main", symbols=(SYMBOL,))
    return collect(parts, climb, rules_of(parts).policy, gate_record(parts), at, requester=requester, fresh=fresh)


def test_collected_twice_it_is_equal(house):
    at = house.clock.now()
    first = collected(house, at)

    assert len([item for item in first if item.kind.value == "shadow"]) == 15
    assert collected(house, at) == first
    assert [item.document for item in collected(house, at)] == [item.document for item in first]


LATER = {
    "session": lambda house: house.shadow("--steps", "60"),
    "bad session": lambda house: house.bad_session(),
    "died": lambda house: house.bad_session(ends=False),
    "another account": lambda house: house.bad_session("paper2"),
    "tests": lambda house: house.tests_passed(failed=1),
    "step down": lambda house: house.do(
        "gate", "demote", "--strategy", "ma_crossover", "--to", "research", "--why", "x", "--by", "zoe"
    ),
    "proofs": lambda house: house.proofs(),
    "backtest": lambda house: house.backtest(),
    "copies gone": lambda house: house.sql("DELETE FROM evidence"),
}


@pytest.mark.parametrize("name", LATER)
def test_what_came_since_changes_nothing(house, name):
    at = house.clock.now()
    first = collected(house, at)
    house.later(minutes=1)
    LATER[name](house)

    assert collected(house, at) == first
    if name not in ("copies gone", "step down", "backtest"):
        assert collected(house, house.clock.now()) != first


def test_a_session_at_work_shows_nothing_until_it_is_over(house):
    """While it is at work, and afterwards for the moment at which it was."""
    at = house.clock.now()
    before = collected(house, at)
    house.later(minutes=1)
    last = house.segment()
    text = last.read_bytes()
    last.write_bytes(b"".join(text.splitlines(keepends=True)[:-1]))
    parts = house.fresh()
    with holding(parts.journal, "paper", session_id=last.stem, at=parts.clock.now()):
        # Its end was cut off, which its head proves: at work or not, that is seen.
        found = {item.run_id: item.facts for item in collected(house, at)}
    assert found[last.stem] == {"journal_sound": False, "in_stage": True} or found[last.stem] == {"journal_sound": False}
    last.write_bytes(text)

    assert collected(house, at) == before


def test_the_copies_say_the_same(house):
    """What overviews read is what the journals gave."""
    at = house.clock.now()
    fresh = [item for item in collected(house, at) if item.kind.value == "shadow"]
    quick = [item for item in collected(house, at, fresh=False) if item.kind.value == "shadow"]

    assert quick == fresh


def test_before_the_first_session_there_is_none(house):
    house_at = house.clock.now()
    early = house_at.replace(year=2025)
    assert [item for item in collected(house, early) if item.subject is not None] == []


def test_a_clock_that_was_set_back_is_seen(house):
    """By what is dated after now, a session or an act."""
    at = house.clock.now()
    house.later(hours=-1)
    with pytest.raises(Objected) as caught:
        collected(house, at)
    assert caught.value.code == "clock_set_back"
