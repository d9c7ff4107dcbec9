"""Operators and their tokens: one suite for every database."""

import hashlib
from datetime import timedelta

import pytest
from tests.contract.rows import NOW, execute, start

from peak_trade.journal.operators import Operator, Operators
from peak_trade.journal.registry import stamp
from peak_trade.model.errors import InputError, InvariantBroken, NotFound

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def operators(registry) -> Operators:
    return Operators(registry.database)


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def test_a_token_is_its_holders(operators):
    """Whoever shows the token is known by name; nobody is who shows another, or the hash itself."""
    added = operators.add("kim", hashed("ptop_one"), NOW)
    operators.add("Alex B.", hashed("ptop_two"), NOW)

    shown = [operators.holder(token) for token in ("ptop_one", "ptop_two", "ptop_", "", hashed("ptop_one"), "\0", "\udcff")]

    assert shown == ["kim", "Alex B.", *[None] * 5]
    assert added == Operator(name="kim", created_at=stamp(NOW))


def test_the_token_is_not_kept(operators, url):
    """The table has the hash and nothing from which the token could be had."""
    operators.add("kim", hashed("ptop_secret"), NOW)

    assert execute(url, "select * from operators") == [(hashed("ptop_secret"), "kim", stamp(NOW), None)]


def test_a_revoked_token_is_nobodys(operators):
    """After its end a token is no better than a wrong one; the others are good as before."""
    operators.add("kim", hashed("one"), NOW)
    operators.add("alex", hashed("two"), NOW)

    revoked = operators.revoke("kim", LATER)

    assert revoked == Operator(name="kim", created_at=stamp(NOW), revoked_at=stamp(LATER))
    assert [operators.holder(token) for token in ("one", "two")] == [None, "alex"]
    assert operators.list() == (Operator(name="alex", created_at=stamp(NOW)), revoked)


def test_a_name_is_given_once_at_a_time(operators):
    """An operator who has a token gets no second one; after the first is revoked a new one may be given."""
    operators.add("kim", hashed("one"), NOW)
    with pytest.raises(InputError, match="operator revoke 'kim'"):
        operators.add("kim", hashed("two"), NOW)

    operators.revoke("kim", NOW)
    operators.add("kim", hashed("two"), LATER)

    assert [operators.holder(token) for token in ("one", "two")] == [None, "kim"]
    assert [(one.created_at, one.revoked_at) for one in operators.list()] == [(stamp(NOW), stamp(NOW)), (stamp(LATER), None)]


def test_somebody_or_nobody(operators):
    """Whether anybody may act is told before, while and after."""
    before = operators.any_active()
    operators.add("kim", hashed("one"), NOW)
    while_active = operators.any_active()
    operators.revoke("kim", NOW)

    assert (before, while_active, operators.any_active()) == (False, True, False)


@pytest.mark.parametrize("name", ["", " kim", "-kim", "k" * 65, "kim\n", "käthe", "kim;", "\0", "kim/x"])
def test_a_name_that_can_not_be_one_is_refused(operators, name):
    """Names are short and printable, because they stand in files, tables and sentences."""
    for call in (lambda: operators.add(name, hashed("one"), NOW), lambda: operators.revoke(name, NOW)):
        with pytest.raises(InputError, match="expected an operator's name"):
            call()

    assert operators.list() == ()


@pytest.mark.parametrize("name", ["k", "9", "Kim Possible-Jr._2", "k" * 64])
def test_ordinary_names_are_taken(operators, name):
    """What the pattern allows, up to its limit."""
    operators.add(name, hashed("one"), NOW)

    assert operators.holder("one") == name


def test_nobody_is_revoked_twice(operators):
    """Who has no token, or no longer one, can't lose it."""
    operators.add("kim", hashed("one"), NOW)
    operators.revoke("kim", NOW)

    for name in ("kim", "alex"):
        with pytest.raises(NotFound, match="operator list"):
            operators.revoke(name, LATER)


def test_a_token_itself_is_not_taken_for_its_hash(operators):
    """Storing a token where its hash belongs is a fault of ours."""
    with pytest.raises(InvariantBroken):
        operators.add("kim", "ptop_secret", NOW)


RIVAL = """
import sys
from peak_trade.journal.operators import Operators
from peak_trade.journal.registry import Registry
from peak_trade.model.errors import InputError
from tests.contract.rows import NOW
operators = Operators(Registry(sys.argv[1]).database)
print("ready", flush=True)
sys.stdin.readline()
try:
    operators.add("kim", sys.argv[2] * 64, NOW)
    print("won")
except InputError:
    print("lost")
"""


def test_of_two_at_once_one_gets_the_name(url, operators):
    """Two processes that give the same name at the same moment: one does, the other is told."""
    rivals = [start(RIVAL, url, digit) for digit in "ab"]
    for rival in rivals:
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        rival.stdin.write("go\n")
        rival.stdin.flush()
    outcomes = sorted(rival.communicate(timeout=60)[0] for rival in rivals)

    assert outcomes == ["lost\n", "won\n"]
    assert len(operators.list()) == 1
