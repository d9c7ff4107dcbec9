"""What was recorded about gates, read back: where a version stood at any moment, and which request is meant."""

from datetime import timedelta

import pytest
from tests.gates import NOW, VERSION, assignment, climbed, sha

from peak_trade.governance.ladder import Demoted, Ladder
from peak_trade.model.stage import Stage
from peak_trade.runs.gates.record import GateRecord, Requested, Stood

SECOND = timedelta(seconds=1)


def test_where_a_version_stood():
    """To the moment; before anything was recorded, in research."""
    up = NOW - timedelta(days=10)
    events = [*climbed(Stage.TESTNET, up), Demoted(NOW, assignment(), Stage.SHADOW, "a doubt")]
    stood = Stood(events, assignment())

    assert stood.at(up - SECOND) is Stage.RESEARCH
    assert stood.at(up) is Stage.TESTNET
    assert stood.at(NOW - SECOND) is Stage.TESTNET
    assert stood.at(NOW) is Stage.SHADOW
    assert stood.since() == NOW
    assert Stood([], assignment()).since() is None
    assert Stood(events, assignment(account="other")).at(NOW) is Stage.RESEARCH


def test_another_pair_stands_where_it_stands():
    stood = Stood(climbed(Stage.SHADOW), assignment(("SOL/EUR",)))
    assert stood.at(NOW) is Stage.RESEARCH
    assert VERSION in {event.assignment.version for event in climbed(Stage.SHADOW)}


@pytest.mark.parametrize(
    ("name", "found"),
    [("a" * 64, "a" * 64), ("a" * 16, None), ("aaaab", "aaaab" + "c" * 59), ("aaa", None), ("", None), ("f" * 16, None)],
)
def test_a_request_by_the_beginning_of_its_hash(name, found):
    """By four digits or more, and only where that is one."""
    hashes = ("a" * 64, "aaaab" + "c" * 59, "aaaaaaaaaaaaaaaaaa" + "d" * 46)
    requests = {one: Requested(one, NOW, "dana", None) for one in hashes}
    record = GateRecord((), (), Ladder(), requests, {}, ())
    got = record.request(name)

    assert (None if got is None else got.sha256) == found
    assert sha("x") not in requests
