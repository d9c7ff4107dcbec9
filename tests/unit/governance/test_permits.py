"""Permits: only a decision that passed leads to one, and every attack on one ends with its reason."""

import ast
import copy
import json
import pickle
from datetime import timedelta

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import (
    DAY,
    MADE,
    NEEDED,
    NOW,
    POLICY,
    RUNGS,
    SIGNED,
    SYMBOLS,
    GateCase,
    a_deviation,
    altered,
    assignment,
    climbed,
    codes,
    everybody,
    evidence_for,
    key,
    policy,
    roles_with,
    sha,
    signed,
)
from tests.paths import ROOT

from peak_trade.governance.approvals import Signature
from peak_trade.governance.criteria import Answer
from peak_trade.governance.decisions import GateDecision, judge
from peak_trade.governance.documents import digest
from peak_trade.governance.ladder import Demoted, Ladder, Promoted, Rung
from peak_trade.governance.objections import CODES, Objected
from peak_trade.governance.permits import Permit, PermitDocument, Revocation, grant, verify
from peak_trade.governance.policy import read_policy
from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.model.stage import Stage

SECOND = DAY / 86_400
CASE = GateCase(evidence=evidence_for(Rung.SHADOW_TESTNET))
DOSSIER = CASE.dossier
PERMIT = CASE.permit()
PLAIN = json.loads(PERMIT.content)


def check(content: bytes = PERMIT.content, dossier=DOSSIER, **given) -> set[str]:
    """Verify a permit; return the codes of what is wrong with it."""
    words = {"roles": everybody(), "policy": policy(), "now": NOW + DAY} | given
    found = verify(content, dossier, words.pop("roles"), words.pop("policy"), **words)
    if isinstance(found, Permit):
        assert found.content == content
        return set()
    assert found
    assert {item.code for item in found} <= set(CODES)
    assert not any("\n" in item.words for item in found)
    return {item.code for item in found}


def forged(**changes) -> bytes:
    """Return the permit's bytes with other words, well written."""
    return rfc8785.dumps(PLAIN | changes)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_granted_permit_is_good(rung):
    """From its moment to its end, with all that is known at hand and with the files alone."""
    case = GateCase(rung=rung)
    decision, dossier = case.decide(), case.dossier
    permit = grant(decision, policy())
    events = [*climbed(rung.lower), decision.event, Promoted(NOW, assignment(), rung, decision.sha256)]

    assert permit.document.stage is rung.upper
    assert check(permit.content, dossier) == set()
    assert check(permit.content, dossier, now=NOW) == set()
    assert check(permit.content, dossier, present=case.present, ladder=Ladder(events)) == set()
    assert permit.objections(rung.upper, assignment(), NOW) == ()
    assert permit.objections(rung.upper, assignment(SYMBOLS[:1]), permit.document.until - SECOND) == ()


@pytest.mark.parametrize("rung", RUNGS)
def test_only_a_pass_leads_to_one(rung):
    """Neither a failure nor an open question."""
    for case in (GateCase(rung=rung, people=()), GateCase(rung=rung, evidence=()), GateCase(rung=rung, at=MADE + 15 * DAY)):
        decision = case.decide()
        with pytest.raises(SafetyRefused, match="expected a decision that passed"):
            grant(decision, policy())


def test_a_permit_lasts_as_long_as_the_policy_lets_it():
    """Less on request, never more, never nothing."""
    decision, most = CASE.decide(), policy().permit_lasts[Stage.TESTNET]

    assert PERMIT.document.until - NOW == most
    assert grant(decision, policy(), lasts=DAY).document.until == NOW + DAY
    for lasts in (most + SECOND, timedelta(0), -DAY):
        with pytest.raises(Objected) as caught:
            grant(decision, policy(), lasts=lasts)
        assert caught.value.code == "permit_too_long"


def test_a_permit_is_granted_under_the_policy_of_its_decision():
    """Another one might let it last for longer."""
    with pytest.raises(Objected) as caught:
        grant(CASE.decide(), read_policy(POLICY.replace(b"testnet_days = 180", b"testnet_days = 366")))
    assert caught.value.code == "changed"


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"stage": "live"}, {"other_stage"}),
        ({"stage": "research"}, {"other_stage"}),
        ({"stage": "live", "transition": "shadow-live->live"}, {"other_stage"}),
        ({"account": "live"}, {"other_account"}),
        ({"symbols": [*SYMBOLS, "SOL/EUR"]}, {"other_symbols"}),
        ({"symbols": list(SYMBOLS[:1])}, {"other_symbols"}),
        ({"strategy": PLAIN["strategy"] | {"key": "other"}}, {"other_version"}),
        ({"strategy": PLAIN["strategy"] | {"params_sha256": sha("more risk")}}, {"other_version"}),
        ({"strategy": PLAIN["strategy"] | {"code_sha256": sha("other code")}}, {"other_version"}),
        ({"request": sha("other")}, {"other_request"}),
        ({"decision": sha("other")}, {"other_decision"}),
        ({"until": "2027-11-20T12:00:00Z"}, {"permit_too_long"}),
        ({"until": "2199-11-20T12:00:00Z"}, {"permit_too_long"}),
        ({"granted_at": "2026-11-20T13:00:00Z"}, {"other_decision"}),
        ({"granted_at": "2026-11-30T12:00:00Z", "until": "2027-05-01T12:00:00Z"}, {"other_decision", "clock_set_back"}),
        ({"granted_at": "0001-01-01T00:00:00Z"}, {"malformed"}),
        ({"format": "peak-trade-permit-2"}, {"malformed"}),
        ({"emulator": True}, {"malformed"}),
    ],
)
def test_a_forged_permit_is_none(changes, codes):
    """Whatever it says that was not granted."""
    assert check(forged(**changes)) >= codes
    assert check(forged()) == set()


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(PERMIT.content) - 1), st.integers(1, 255))
def test_any_altered_byte_is_refused(at, by):
    """Of the permit: no byte of it can be another one, but for the end, which may come earlier."""
    content = PERMIT.content[:at] + bytes([PERMIT.content[at] ^ by]) + PERMIT.content[at + 1 :]
    if check(content) == set():
        shorter = msgspec.json.decode(content, type=PermitDocument)
        assert shorter.until < PERMIT.document.until
        assert msgspec.structs.replace(shorter, until=PERMIT.document.until) == PERMIT.document


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(DOSSIER.request) - 1), st.integers(1, 255))
def test_any_altered_byte_of_the_request_is_refused(at, by):
    """Then it is another request, which nobody signed."""
    request = DOSSIER.request[:at] + bytes([DOSSIER.request[at] ^ by]) + DOSSIER.request[at + 1 :]

    assert check(dossier=DOSSIER._replace(request=request)) & {"malformed", "other_request"}


def test_the_time_has_its_ends():
    """Not before it was granted, also by a clock that was set back, and not from its end on."""
    until = PERMIT.document.until

    assert check(now=NOW - SECOND) == {"clock_set_back"}
    assert (check(now=until - SECOND), check(now=until)) == (set(), {"permit_expired"})
    assert [item.code for item in PERMIT.objections(Stage.TESTNET, assignment(), until)] == ["permit_expired"]
    assert [item.code for item in PERMIT.objections(Stage.TESTNET, assignment(), NOW - SECOND)] == ["clock_set_back"]


def test_an_approver_s_key_that_is_revoked_later_ends_it():
    """From the moment it is known, whoever else has signed."""
    roles = roles_with(rita=f'revoked_at = {NOW + DAY:%FT%TZ}\nrevoked_why = "stolen"')

    assert check(roles=roles, now=NOW + DAY - SECOND) == set()
    assert check(roles=roles, now=NOW + DAY) == {"key_revoked", "approvals_missing"}


def test_a_key_that_ends_in_its_time_does_not_end_it():
    """It was good when it signed and when it was decided."""
    roles = roles_with(rita=f"valid_until = {NOW + DAY:%FT%TZ}")

    assert check(roles=roles, now=NOW + 30 * DAY) == set()


def test_a_revoked_permit_is_none():
    """Whatever the clock says; another permit's revocation means nothing to it."""
    taken = Revocation(PERMIT.id, "ivan", NOW + 5 * DAY, "drift")
    other = Revocation(sha("other"), "ivan", NOW, "drift")

    assert check(revocations=[taken]) == {"permit_revoked"}
    assert check(revocations=[other]) == set()
    assert [item.code for item in PERMIT.objections(Stage.TESTNET, assignment(), NOW, [PERMIT.id])] == ["permit_revoked"]


def minted(at) -> Permit:
    """Make a permit of the same files as of another moment, as whoever has them can."""
    decision = judge(DOSSIER, everybody(), policy(), at=at, seen_at=at)
    return grant(decision, policy())


def test_nobody_gets_round_a_revocation():
    """Neither with an earlier end, nor with another moment within the life of the request."""
    taken = [Revocation(PERMIT.id, "ivan", NOW, "drift")]
    sooner = forged(until=f"{PERMIT.document.until - SECOND:%FT%TZ}")
    other = minted(NOW + SECOND)

    assert (check(sooner), check(other.content)) == (set(), set())
    assert check(sooner, revocations=taken) == {"permit_revoked"}
    assert check(other.content, revocations=taken) == {"permit_revoked"}
    assert [item.code for item in other.objections(Stage.TESTNET, assignment(), NOW + DAY, [PERMIT.id])] == ["permit_revoked"]


def test_a_permit_that_nobody_granted_is_unrecorded():
    """The ladder knows the very decision: one that was blocked that day, or never made here, lets nothing run."""
    decision = CASE.decide()
    events = [*climbed(Stage.SHADOW), decision.event, Promoted(NOW, assignment(), CASE.rung, decision.sha256)]

    assert check(ladder=Ladder(events)) == set()
    assert check(minted(NOW + SECOND).content, ladder=Ladder(events)) == {"unrecorded"}
    assert check(minted(NOW - DAY / 2).content, ladder=Ladder(events)) == {"unrecorded"}
    for late in (MADE + 14 * DAY, MADE + 100 * DAY):
        with pytest.raises(SafetyRefused):
            minted(late)


def test_a_step_down_ends_it():
    """On the ladder, by anyone; and it does not come back with the version."""
    decision = CASE.decide()
    up = [*climbed(Stage.SHADOW), decision.event, Promoted(NOW, assignment(), CASE.rung, decision.sha256)]
    down = [*up, Demoted(NOW + SECOND, assignment(SYMBOLS[:1]), Stage.SHADOW, "drift")]

    assert check(ladder=Ladder(up)) == set()
    assert check(ladder=Ladder(up), now=NOW) == set()
    assert check(ladder=Ladder(down)) == {"demoted"}
    assert check(ladder=Ladder(climbed(Stage.SHADOW))) == {"demoted", "unrecorded"}
    assert check(ladder=Ladder(down), now=NOW) == {"demoted", "clock_set_back"}


@pytest.mark.parametrize("part", CASE.present)
def test_anything_bound_that_changes_voids_it(part):
    """And it is said which file."""
    present = CASE.present
    name = next(iter(present[part]))
    found = verify(
        PERMIT.content,
        DOSSIER,
        everybody(),
        policy(),
        now=NOW,
        present=present | {part: present[part] | {name: sha("edited")}},
    )

    assert isinstance(found, tuple)
    assert [item.words for item in found] == [f"{part}: {name} changed since the request"]


def test_an_edited_policy_voids_it():
    """Also one that would let everything pass."""
    assert check(policy=read_policy(POLICY + b"\n")) == {"changed"}


REPLAYED = CASE.but(account="other").content


@pytest.mark.parametrize(
    ("signatures", "codes"),
    [
        ([], {"approvals_missing"}),
        (signed(CASE.content, "olga"), {"approvals_missing"}),
        (signed(CASE.content, "olga") + signed(CASE.content, "olga", number=1), {"same_person", "approvals_missing"}),
        (signed(CASE.content, "mona") + signed(CASE.content, "mona", number=1), {"same_person", "approvals_missing"}),
        (signed(CASE.content, "rita"), {"approvals_missing"}),
        (signed(REPLAYED, "olga", "rita"), {"mismatch", "approvals_missing"}),
        (signed(CASE.content, "olga", "rita", purpose="git"), {"namespace", "approvals_missing"}),
        (signed(CASE.content, "olga", "rita", at=MADE - SECOND), {"signed_early", "approvals_missing"}),
        (signed(CASE.content, "olga", "rita", at=NOW + SECOND), {"clock_set_back", "approvals_missing"}),
        (signed(CASE.content, "olga", "ivan"), {"no_role", "approvals_missing"}),
        (signed(CASE.content, "otto", "rita"), {"other_decision"}),
        (signed(CASE.content, "olga", "rita", at=SIGNED + SECOND), {"other_decision"}),
    ],
)
def test_other_signatures_make_no_permit(signatures, codes):
    """Two keys of one person, the requester, a replay, another purpose, impossible moments; or others than were counted."""
    asking = signed(CASE.content, "dana")
    assert check(dossier=DOSSIER._replace(signatures=(*signatures, *asking))) == codes


def test_nobody_asks_in_another_s_name():
    """Who is said to ask must have signed: else an owner would name somebody else, and approve their own request."""
    approved = signed(CASE.content, "olga", "rita")

    assert check(dossier=DOSSIER._replace(signatures=tuple(approved))) == {"unasked"}
    assert CASE.but(requester="olga", people=("otto", "rita")).decide().answer is Answer.PASS
    decision = CASE.decide(dossier=CASE.dossier._replace(signatures=tuple(approved)))
    assert (decision.answer, codes(decision)) == (Answer.INCONCLUSIVE, {"unasked"})
    for other in (signed(CASE.content, "dana", purpose="git"), signed(CASE.but(account="other").content, "dana")):
        found = CASE.decide(dossier=CASE.dossier._replace(signatures=(*approved, *other)))
        assert (found.answer, "unasked" in codes(found)) == (Answer.INCONCLUSIVE, True)


def test_other_evidence_makes_no_permit():
    """Runs that were edited, left out or exchanged: the request names their facts."""
    for runs, code in (
        (DOSSIER.evidence[1:], "evidence_missing"),
        (tuple(altered(DOSSIER.evidence, "shadow-3", trades=1_000)), "evidence_altered"),
        ((*DOSSIER.evidence, DOSSIER.evidence[0]), "evidence_altered"),
    ):
        assert code in check(dossier=DOSSIER._replace(evidence=runs))


def test_a_deviation_goes_with_its_permit():
    """It is part of what is checked, offline too; without it there is no pass."""
    few = [
        msgspec.structs.replace(run, facts=run.facts | {"trades": 5})
        for run in CASE.runs
        if not run.run_id.startswith("shadow-") or int(run.run_id.split("-")[1]) < 13
    ]
    case = CASE.but(evidence=few)
    case = case.but(deviations=(a_deviation(case),))
    permit = case.permit()

    assert check(permit.content, case.dossier) == set()
    assert "deviation_unbound" in check(permit.content, case.dossier._replace(deviations=()))
    # It ends with the deviation, long before the policy's time.
    end = NOW + 10 * DAY
    assert permit.document.until == end
    longer = rfc8785.dumps(json.loads(permit.content) | {"until": f"{end + SECOND:%FT%TZ}"})
    assert check(longer, case.dossier) == {"permit_too_long"}
    with pytest.raises(Objected, match="10 days"):
        grant(case.decide(), policy(), lasts=11 * DAY)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_permit(content):
    """Never a traceback, whichever of the two files it is."""
    assert check(content) == {"malformed"}
    assert check(dossier=DOSSIER._replace(request=content)) == {"malformed"}


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_any_signature_file_does_no_harm(content):
    """Instead of signatures it is none; beside them, and whenever it was laid there, it voids nothing."""
    rubbish = Signature(content, SIGNED)

    assert check(dossier=DOSSIER._replace(signatures=(rubbish,))) >= {"approvals_missing"}
    assert check(dossier=DOSSIER._replace(signatures=(*DOSSIER.signatures, rubbish))) == set()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"stage": Stage.LIVE}, "other_stage"),
        ({"stage": Stage.SHADOW}, "other_stage"),
        ({"which": assignment(account="live")}, "other_account"),
        ({"which": assignment(("SOL/EUR",))}, "other_symbols"),
        ({"which": assignment((*SYMBOLS, "SOL/EUR"))}, "other_symbols"),
        ({"which": assignment()._replace(version=msgspec.structs.replace(CASE.request.strategy, key="x"))}, "other_version"),
    ],
)
def test_a_permit_allows_what_it_says(given, code):
    """Right before an order: this stage, this account, these pairs, this version."""
    words = {"stage": Stage.TESTNET, "which": assignment()} | given
    assert [item.code for item in PERMIT.objections(words["stage"], words["which"], NOW)] == [code]


def test_nobody_makes_a_permit():
    """It has no heirs, can't be changed, copied, or stored and taken back: only its bytes can, and they are checked."""
    with pytest.raises(InvariantBroken, match="only a gate decision"):
        Permit(PERMIT.document, object())
    with pytest.raises(InvariantBroken, match="only a gate decision"):
        PERMIT.__init__(PERMIT.document, None)
    with pytest.raises(InvariantBroken, match="no other kinds"):
        type("Forged", (Permit,), {})
    for name in ("document", "content", "other"):
        with pytest.raises(InvariantBroken, match="can't be changed"):
            setattr(PERMIT, name, PERMIT.document)
    for again in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):  # noqa: S301
        with pytest.raises(InvariantBroken):
            again(PERMIT)
    with pytest.raises(AttributeError):
        object.__new__(Permit).objections(Stage.LIVE, assignment(), NOW)


def test_what_a_permit_says_can_not_be_widened():
    """Neither its fields nor the lists in them."""
    assert isinstance(PERMIT.document.symbols, tuple)
    with pytest.raises(AttributeError):
        PERMIT.document.stage = Stage.LIVE
    assert PERMIT.id == digest(CASE.content)


def test_something_like_a_decision_is_none():
    """An object with the same attributes gets no permit."""

    class Looks:
        document, request, answer, sha256 = CASE.decide().document, CASE.request, "pass", sha("x")

    with pytest.raises(InvariantBroken, match="only the gate decides"):
        grant(Looks(), policy())
    shell = object.__new__(GateDecision)
    with pytest.raises(AttributeError):
        grant(shell, policy())


@pytest.mark.parametrize(
    ("pattern", "home"),
    [("Permit", "permits.py"), ("_MINT", "permits.py"), ("GateDecision", "decisions.py"), ("_STAMP", "decisions.py")],
)
def test_only_their_homes_make_them(pattern, home):
    """In all of the sources, the two are called, and their seals named, in one file each."""
    users = set()
    sources = ROOT / "src" / "peak_trade"
    for path in sources.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = node.func if isinstance(node, ast.Call) and pattern[0] != "_" else node if pattern[0] == "_" else None
            said = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else None
            if said == pattern:
                users.add(path.relative_to(sources).as_posix())

    assert users == {f"governance/{home}"}


def test_live_needs_three_people_who_did_not_ask():
    """The last rung once more, from end to end: every pair of its people is too few."""
    rung = Rung.SHADOW_LIVE_LIVE
    case = GateCase(rung=rung, evidence=evidence_for(rung))
    permit, dossier = case.permit(), case.dossier

    assert check(permit.content, dossier) == set()
    for left in NEEDED[rung]:
        pair = signed(case.content, case.requester, *(name for name in NEEDED[rung] if name != left))
        assert check(permit.content, dossier._replace(signatures=tuple(pair))) == {"approvals_missing"}
        again = [Signature(key(name, 1).sign(case.content), SIGNED) for name in NEEDED[rung] if name != left]
        assert "approvals_missing" in check(permit.content, dossier._replace(signatures=(*pair, *again)))
