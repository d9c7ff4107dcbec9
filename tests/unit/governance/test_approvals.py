"""Approvals: people in roles, whatever anybody tries with keys, requests, clocks and purposes."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import DAY, MADE, NEEDED, NOW, PEOPLE, RUNGS, SIGNED, GateCase, everybody, key, policy, roles_with, signed
from tests.signers import SshSigner

from peak_trade.governance.approvals import Approvals, Signature, approve, can_decide
from peak_trade.governance.ladder import Rung
from peak_trade.governance.objections import CODES
from peak_trade.governance.roles import Role, Roles

SECOND = DAY / 86_400
#: Without evidence: approvals are about bytes and people.
CASES = {rung: GateCase(rung=rung, evidence=()) for rung in RUNGS}
TWO = CASES[Rung.SHADOW_TESTNET]
LIVE = CASES[Rung.SHADOW_LIVE_LIVE]


def ask(case: GateCase, signatures, roles: Roles | None = None, **given) -> Approvals:
    """Count the signatures over a case's request."""
    moments = {"at": NOW} | given
    found = approve(case.content, case.request, signatures, roles or everybody(), policy(), **moments)
    assert {item.code for item in found.objections} <= set(CODES)
    assert ("approvals_missing" in codes(found)) == (not found.complete) or "unknown_requester" in codes(found)
    return found


def codes(found: Approvals) -> set[str]:
    return {item.code for item in found.objections}


@pytest.mark.parametrize("rung", RUNGS)
def test_the_people_of_the_matrix_suffice(rung):
    """And with any one of them missing, it is said which role."""
    case, names = CASES[rung], NEEDED[rung]

    whole = ask(case, signed(case.content, *names))
    assert whole.complete
    assert whole.objections == ()
    assert [(item.person, item.role) for item in whole.approvals] == list(zip(names, rung.deciders, strict=True))
    for left in names:
        part = ask(case, signed(case.content, *(name for name in names if name != left)))
        assert part.missing == (rung.deciders[names.index(left)],)
        assert codes(part) == {"approvals_missing"}


def test_nobody_signed():
    """Nothing is approved by nobody."""
    assert ask(TWO, []).missing == (Role.OWNER, Role.REVIEWER)


def test_two_keys_are_one_person():
    """Mona holds every role and two keys; live needs three people."""
    given = signed(LIVE.content, "mona") + signed(LIVE.content, "mona", number=1)
    found = ask(LIVE, given)

    assert len(found.approvals) == 1
    assert codes(found) == {"same_person", "approvals_missing"}


@pytest.mark.parametrize(
    ("names", "complete"),
    [
        (("mona", "rudi", "zoe"), True),
        (("olga", "mona", "zoe"), True),
        (("olga", "rudi", "mona"), True),
        (("olga", "otto", "mona"), False),
        (("olga", "otto", "rudi"), False),
        (("mona", "zoe"), False),
        (("mona", "ivan", "zoe"), False),
    ],
)
def test_everybody_fills_one_role(names, complete):
    """Whoever can fill several fills the one that is open, in whichever order they signed."""
    for order in permutations(names):
        given = [item for number, name in enumerate(order) for item in signed(LIVE.content, name, at=SIGNED + number * SECOND)]
        found = ask(LIVE, given)
        assert found.complete is complete
        assert len({item.person for item in found.approvals}) == len(found.approvals)


def test_the_requester_never_counts():
    """Dana is an owner and a reviewer, with two keys; she asked."""
    given = signed(TWO.content, "dana", "rita") + signed(TWO.content, "dana", number=1)
    found = ask(TWO, given)

    assert codes(found) == {"requester", "same_person", "approvals_missing"}
    assert [item.person for item in found.approvals] == ["rita"]


def test_a_requester_must_be_somebody():
    """A made-up name would let the one who asks sign."""
    case = TWO.but(requester="nobody")
    found = ask(case, signed(case.content, "olga", "rita"))

    assert codes(found) == {"unknown_requester"}
    assert not found.complete


def test_other_roles_do_not_count():
    """An operator does not decide, nor a risk officer about testnet."""
    found = ask(TWO, signed(TWO.content, "olga", "ivan", "rudi"))

    assert codes(found) == {"no_role", "approvals_missing"}


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (lambda: signed(TWO.but(expires_at=MADE + 13 * DAY).content, "rita"), "mismatch"),
        (lambda: signed(CASES[Rung.TESTNET_SHADOW_LIVE].content, "rita"), "mismatch"),
        (lambda: signed(TWO.but(account="live").content, "rita"), "mismatch"),
        (lambda: signed(TWO.content + b"\n", "rita"), "mismatch"),
        (lambda: signed(TWO.content, "rita", purpose="file"), "namespace"),
        (lambda: signed(TWO.content, "rita", purpose="git"), "namespace"),
        (lambda: signed(TWO.content, "rita", purpose="peak-trade-deviation"), "namespace"),
        (lambda: [Signature(SshSigner().sign(TWO.content), SIGNED)], "unknown_key"),
        (lambda: [Signature(b"", SIGNED)], "armour"),
        (lambda: [Signature(key("rita").sign(TWO.content, trailing=b"x"), SIGNED)], "malformed"),
        (lambda: [Signature(key("rita").sign(TWO.content, blob=key("olga").blob), SIGNED)], "mismatch"),
        (lambda: signed(TWO.content, "rita", at=MADE - SECOND), "signed_early"),
        (lambda: signed(TWO.content, "rita", at=NOW + SECOND), "clock_set_back"),
    ],
)
def test_other_signatures_do_not_count(other, code):
    """Replayed from another request, made for another purpose, by nobody, malformed, or at an impossible moment."""
    found = ask(TWO, signed(TWO.content, "olga") + other())

    assert codes(found) == {code, "approvals_missing"}
    assert [item.person for item in found.approvals] == ["olga"]


def test_a_signature_of_nobody_does_no_harm():
    """What does not count is told, and the others count."""
    found = ask(
        TWO, [*signed(TWO.content, "olga", "rita"), Signature(b"x", SIGNED), Signature(SshSigner().sign(TWO.content), SIGNED)]
    )

    assert found.complete
    assert codes(found) == {"armour", "unknown_key"}


def test_approvals_expire():
    """Fourteen days after they came in, not a second later; the policy says how many."""
    early = ask(TWO, signed(TWO.content, "olga", "rita", at=MADE), at=MADE + 14 * DAY - SECOND)
    late = ask(TWO, signed(TWO.content, "olga", "rita", at=MADE), at=MADE + 14 * DAY)

    assert early.complete
    assert codes(late) == {"approval_expired", "approvals_missing"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"valid_from = {SIGNED + SECOND:%FT%TZ}", "key_not_valid"),
        (f"valid_from = {SIGNED:%FT%TZ}", ""),
        (f"valid_until = {NOW:%FT%TZ}", "key_not_valid"),
        (f"valid_until = {SIGNED:%FT%TZ}", "key_not_valid"),
        (f"valid_until = {NOW + SECOND:%FT%TZ}", ""),
        (f'revoked_at = {NOW:%FT%TZ}\nrevoked_why = "lost"', "key_revoked"),
        (f'revoked_at = {MADE - 100 * DAY:%FT%TZ}\nrevoked_why = "lost"', "key_revoked"),
        (f'revoked_at = {NOW + SECOND:%FT%TZ}\nrevoked_why = "leaves"', ""),
    ],
)
def test_a_key_is_good_when_signing_and_when_deciding(line, code):
    """At both moments; a revocation counts for everything, whenever it was signed."""
    found = ask(TWO, signed(TWO.content, "olga", "rita"), roles_with(rita=line))

    assert codes(found) == ({code, "approvals_missing"} if code else set())


def test_a_revocation_that_is_learnt_of_later_voids_what_was_decided():
    """Seen again at a later moment, the approval is gone; seen as of then, it is there."""
    roles = roles_with(rita=f'revoked_at = {NOW + DAY:%FT%TZ}\nrevoked_why = "stolen"')
    given = signed(TWO.content, "olga", "rita")

    assert ask(TWO, given, roles, at=NOW).complete
    assert ask(TWO, given, roles, at=NOW, seen_at=NOW + DAY - SECOND).complete
    assert codes(ask(TWO, given, roles, at=NOW, seen_at=NOW + DAY)) == {"key_revoked", "approvals_missing"}


def test_another_key_of_the_same_person_counts():
    """A person with a revoked key signs with the other one."""
    roles = roles_with(rita=f'revoked_at = {MADE:%FT%TZ}\nrevoked_why = "lost"')
    given = signed(TWO.content, "olga", "rita") + signed(TWO.content, "rita", number=1)

    found = ask(TWO, given, roles)
    assert found.complete
    assert codes(found) == {"key_revoked"}


def test_who_could_decide_at_all():
    """Enough different people for every role, the requester aside."""
    wanted = Rung.SHADOW_LIVE_LIVE.deciders

    assert can_decide(wanted, everybody(), "dana", NOW) == ()
    few = Roles({name: person for name, person in everybody().people.items() if name in ("mona", "olga")}, {})
    assert can_decide(wanted, few, "dana", NOW) in ((Role.SECOND_PERSON,), (Role.RISK_OFFICER,))
    assert can_decide(wanted, few, "olga", NOW) == (Role.RISK_OFFICER, Role.SECOND_PERSON)
    assert can_decide(wanted, Roles({}, {}), "dana", NOW) == wanted
    gone = {name: one._replace(valid_until=NOW) if name == "rita" else one for name, one in everybody().people.items()}
    del gone["mona"]
    assert can_decide(Rung.SHADOW_TESTNET.deciders, Roles(gone, {}), "dana", NOW - SECOND) == ()
    assert can_decide(Rung.SHADOW_TESTNET.deciders, Roles(gone, {}), "dana", NOW) == (Role.REVIEWER,)
    keyless = gone | {"rita": everybody().people["rita"]._replace(keys=())}
    assert can_decide(Rung.SHADOW_TESTNET.deciders, Roles(keyless, {}), "dana", NOW - SECOND) == (Role.REVIEWER,)


def test_many_people_are_counted_at_once():
    """A hundred who could each fill two of the roles, and nobody for the third: that is seen without trying them all."""
    one = everybody().people["olga"]._replace(roles=frozenset({Role.OWNER, Role.RISK_OFFICER}))
    crowd = Roles({f"p{number}": one._replace(id=f"p{number}") for number in range(100)}, {})

    assert can_decide(Rung.SHADOW_LIVE_LIVE.deciders, crowd, "dana", NOW) == (Role.SECOND_PERSON,)
    assert can_decide(Rung.TESTNET_SHADOW_LIVE.deciders, crowd, "dana", NOW) == ()


NAMES = st.lists(st.tuples(st.sampled_from(sorted(PEOPLE)), st.integers(0, 1)), max_size=8)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(RUNGS), NAMES, st.data())
def test_taking_a_signature_away_never_helps(rung, names, data):
    """Neither completes what was open, nor puts more people into roles; and the order they are given in means nothing."""
    case = CASES[rung]
    given = [item for name, number in names for item in signed(case.content, name, number=number)]
    whole = ask(case, given)
    assert ask(case, given[::-1]) == whole
    if given:
        at = data.draw(st.integers(0, len(given) - 1))
        less = ask(case, given[:at] + given[at + 1 :])
        assert len(less.approvals) <= len(whole.approvals)
        assert whole.complete or not less.complete


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(RUNGS), NAMES)
def test_a_complete_approval_is_one_of_different_people(rung, names):
    """Whoever signs: each role by somebody who holds it, nobody twice, never who asked."""
    case = CASES[rung]
    found = ask(case, [item for name, number in names for item in signed(case.content, name, number=number)])

    people = [item.person for item in found.approvals]
    assert len(set(people)) == len(people)
    assert "dana" not in people
    assert all(item.role.value in PEOPLE[item.person] for item in found.approvals)
    assert {item.role for item in found.approvals} | set(found.missing) == set(rung.deciders)
    able = {name for name, _ in names if name != "dana" and set(PEOPLE[name]) & {role.value for role in rung.deciders}}
    assert found.complete == any(
        all(role.value in PEOPLE[name] for role, name in zip(rung.deciders, chosen, strict=True))
        for chosen in permutations(sorted(able), len(rung.deciders))
    )
