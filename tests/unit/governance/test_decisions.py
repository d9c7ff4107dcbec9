"""Gate decisions: pass only when everything holds, the same every time, and nothing that is missing is a pass."""

import copy
import pickle
from datetime import timedelta, timezone

import msgspec
import pytest
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
    a_run,
    altered,
    assignment,
    climbed,
    codes,
    evidence_for,
    roles_with,
    sha,
    signed,
)

from peak_trade.governance.criteria import Answer, EvidenceKind
from peak_trade.governance.decisions import DecisionDocument, GateDecision
from peak_trade.governance.deviations import SignedDeviation
from peak_trade.governance.documents import decode, digest
from peak_trade.governance.ladder import Demoted, Ladder, Promoted, Rung
from peak_trade.governance.objections import CODES
from peak_trade.governance.policy import BLOCKERS, ROLES_NAMED, read_policy
from peak_trade.governance.requests import PARTS
from peak_trade.governance.roles import Roles
from peak_trade.governance.sshsig import DEVIATION
from peak_trade.model.errors import InvariantBroken
from peak_trade.model.stage import Stage

PASS, FAIL, OPEN = Answer.PASS, Answer.FAIL, Answer.INCONCLUSIVE
SECOND = DAY / 86_400
CASE = GateCase(evidence=evidence_for(Rung.SHADOW_TESTNET))
#: The same with thirteen days of shadow, in which enough happened.
SHORT = [
    msgspec.structs.replace(run, facts=run.facts | {"trades": 5})
    for run in CASE.runs
    if not run.run_id.startswith("shadow-") or int(run.run_id.split("-")[1]) < 13
]


def ruled(decision: GateDecision, name: str) -> Answer:
    """Return what one criterion came to."""
    return next(item.answer for item in decision.document.rulings if item.criterion == name)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_step_with_everything_passes(rung):
    """And leads up the ladder, one rung."""
    case = GateCase(rung=rung)
    decision = case.decide()

    assert decision.answer is PASS
    assert decision.reasons() == ()
    events = [*climbed(rung.lower), decision.event, Promoted(NOW, assignment(), rung, decision.sha256)]
    assert Ladder(events).stage(assignment()) is rung.upper
    assert {item.criterion for item in decision.document.rulings} >= BLOCKERS | {ROLES_NAMED, "runbook_present"}


def test_the_zone_of_a_clock_means_nothing():
    """The same moments, told elsewhere: the same request and the same decision."""
    zone = timezone(timedelta(hours=5, minutes=30))
    signatures = tuple(item._replace(received_at=item.received_at.astimezone(zone)) for item in CASE.dossier.signatures)
    there = CASE.but(created_at=MADE.astimezone(zone), expires_at=(MADE + 14 * DAY).astimezone(zone))

    assert there.content == CASE.content
    dossier = CASE.dossier._replace(signatures=signatures)
    assert CASE.decide(dossier=dossier, at=NOW.astimezone(zone)).content == CASE.decide().content


def test_the_same_gives_the_same_bytes():
    """Made again from the same files, in another order: byte for byte; and it can be read."""
    dossier = CASE.dossier
    turned = dossier._replace(signatures=dossier.signatures[::-1], evidence=dossier.evidence[::-1])
    decision = CASE.decide()

    assert CASE.decide(dossier=turned).content == decision.content
    assert decode(decision.content, DecisionDocument, "a decision") == decision.document


@pytest.mark.parametrize("rung", RUNGS)
def test_without_one_run_or_one_signature_nothing_passes(rung):
    """Every piece of a case that has no more than it needs is needed."""
    case = GateCase(rung=rung, evidence=evidence_for(rung))
    for run in case.runs:
        dossier = case.dossier._replace(evidence=tuple(item for item in case.runs if item is not run))
        assert "evidence_missing" in codes(case.decide(dossier=dossier))
    for name in NEEDED[rung]:
        decision = case.but(people=[other for other in NEEDED[rung] if other != name]).decide()
        assert (decision.answer, codes(decision)) == (OPEN, {"approvals_missing"})


@pytest.mark.parametrize(
    ("run", "facts", "criterion", "answer"),
    [
        ("repository-critical_bugs", {"open": 1}, "no_critical_bugs", FAIL),
        ("repository-critical_bugs", {"open": None}, "no_critical_bugs", OPEN),
        ("repository-critical_incidents", {"open": 1}, "incidents_closed", FAIL),
        ("repository-critical_incidents", {"open": None}, "incidents_closed", OPEN),
        ("test_run-all", {"failed": 1}, "tests_green", FAIL),
        ("test_run-all", {"code_sha256": sha("another commit")}, "tests_green", FAIL),
        ("test_run-all", {"passed": 0}, "tests_green", FAIL),
        ("repository-checklist", {"open_points": 1}, "checklist_current", FAIL),
        ("repository-checklist", {"current_version": False}, "checklist_current", FAIL),
        ("repository-checklist", {"sha256": sha("another file")}, "checklist_current", FAIL),
        ("repository-checklist", {"check": "none"}, "checklist_current", OPEN),
        ("repository-runbook-testnet", {"present": False}, "runbook_present", FAIL),
        ("repository-runbook-testnet", {"stage": "shadow"}, "runbook_present", OPEN),
    ],
)
def test_the_playbook_s_blockers_block(run, facts, criterion, answer):
    """Each by itself; that they let pass otherwise is what the other tests rest on."""
    decision = CASE.but(evidence=altered(CASE.runs, run, **facts)).decide()

    assert (decision.answer, ruled(decision, criterion)) == (answer, answer)
    assert [item.words.split(":")[0] for item in decision.reasons()] == [criterion]


@pytest.mark.parametrize(
    ("run", "facts", "named", "answer"),
    [
        ("repository-critical_bugs", {"open": 1}, "no_critical_bugs now", FAIL),
        ("repository-critical_bugs", {"open": None}, "no_critical_bugs now", OPEN),
        ("repository-critical_incidents", {"open": 1}, "incidents_closed now", FAIL),
        ("test_run-all", {"failed": 1}, "tests_green now", FAIL),
        ("repository-checklist", {"open_points": 1}, "checklist_current now", FAIL),
        ("repository-runbook-testnet", {"present": False}, "runbook_present now", FAIL),
        ("shadow-0", {"critical_incidents": 1}, "no_critical_incident now", FAIL),
        ("shadow-0", {"journal_sound": False}, "no_critical_incident now", FAIL),
    ],
)
def test_what_blocks_is_looked_at_once_more(run, facts, named, answer):
    """A bug that was found, or an incident that happened, while people signed."""
    decision = CASE.decide(today=altered(evidence_for(CASE.rung, NOW), run, **facts))

    assert decision.answer is answer
    assert [item.words.split(":")[0] for item in decision.reasons()] == [named]


def test_without_a_look_at_today_nothing_passes():
    """What was good when the request was made may not be so any more."""
    decision = CASE.decide(today=())

    assert (decision.answer, codes(decision)) == (OPEN, {"criterion_inconclusive"})
    assert all(" now:" in item.words for item in decision.reasons())


def test_evidence_does_not_age_while_people_sign():
    """Ten days later it still counts, if what blocks is looked at again; the request's own end comes first."""
    case = CASE.but(at=MADE + 10 * DAY)

    assert case.decide().answer is PASS
    assert case.decide(today=evidence_for(case.rung, MADE)).answer is OPEN
    late = [
        msgspec.structs.replace(run, at=MADE + SECOND) if run.run_id == "repository-checklist" else run for run in CASE.runs
    ]
    assert ruled(CASE.but(evidence=late).decide(), "checklist_current") is OPEN


def test_a_step_needs_people_who_could_decide():
    """Without people nobody is responsible, and the one who asks does not make up for it."""
    nobody = CASE.but(roles=Roles({}, {}), requester="dana").decide()
    few = CASE.roles._replace(people={name: CASE.roles.people[name] for name in ("olga", "dana")})
    lone = CASE.but(roles=few).decide()

    assert (nobody.answer, lone.answer) == (FAIL, FAIL)
    assert (ruled(nobody, ROLES_NAMED), ruled(lone, ROLES_NAMED)) == (FAIL, FAIL)
    assert any("reviewer" in item.words for item in lone.reasons() if item.code == "criterion_failed")


@pytest.mark.parametrize("part", [*PARTS, "evidence"])
def test_anything_that_changed_since_fails(part):
    """Code, lock, configuration, limits, policy, checklist: one other byte, named."""
    present = CASE.present
    name = next(iter(present[part]))
    decision = CASE.decide(present=present | {part: present[part] | {name: sha("edited")}})

    assert (decision.answer, codes(decision)) == (FAIL, {"changed"})
    assert decision.reasons()[0].words == f"{part}: {name} changed since the request"


def test_a_request_under_another_policy_fails():
    """Whoever edits the policy and judges by it, even with a comment alone."""
    other = read_policy(POLICY + b"\n# easier\n")

    assert codes(CASE.but(policy=other).decide()) == {"changed"}


def test_a_deleted_incident_is_an_altered_run():
    """Facts that were changed after the request was signed do not count, nor does another hash of the run."""
    run = altered(CASE.runs, "shadow-3", critical_incidents=1)
    honest = CASE.but(evidence=run)
    hidden = honest.dossier._replace(evidence=tuple(CASE.runs))

    assert (honest.decide().answer, codes(honest.decide())) == (FAIL, {"criterion_failed"})
    assert codes(honest.decide(dossier=hidden)) == {"evidence_altered"}
    moved = [msgspec.structs.replace(item, sha256=sha("moved")) if item.run_id == "shadow-3" else item for item in CASE.runs]
    assert codes(CASE.decide(dossier=CASE.dossier._replace(evidence=tuple(moved)))) == {"evidence_altered"}
    twice = CASE.dossier._replace(evidence=(*CASE.runs, CASE.runs[0]))
    assert codes(CASE.decide(dossier=twice)) == {"evidence_altered"}


def test_evidence_that_nobody_signed_for_does_not_count():
    """Neither for the good nor for the bad: the request names what was judged."""
    more = a_run(EvidenceKind.DRILL, "more", NOW, {})
    decision = CASE.decide(dossier=CASE.dossier._replace(evidence=(*CASE.runs, more)))

    assert (decision.answer, codes(decision)) == (PASS, {"evidence_unbound"})


def test_a_fresh_request_is_needed():
    """Neither one that ended nor one from the future, nor one made for longer than the policy has."""
    assert codes(CASE.but(at=MADE - SECOND).decide()) >= {"clock_set_back"}
    assert "request_expired" in codes(CASE.but(at=MADE + 14 * DAY).decide())
    assert "request_expired" in codes(CASE.but(expires_at=MADE + 15 * DAY).decide())


@pytest.mark.parametrize("stage", Stage)
def test_only_the_next_rung_can_be_asked_for(stage):
    """From where the version stands: nothing is skipped and nothing repeated."""
    for rung in RUNGS:
        case = GateCase(rung=rung)
        decision = case.decide(ladder=Ladder(climbed(stage)))
        assert (decision.answer is PASS) == (rung.lower is stage)
        assert codes(decision) == (set() if rung.lower is stage else {"rung_order"})


def test_the_ladder_knows_a_later_time():
    """A clock that was set back to before the last event decides nothing."""
    events = [*climbed(Stage.SHADOW), Demoted(NOW + DAY, assignment(account="other"), Stage.RESEARCH, "?")]

    assert codes(CASE.decide(ladder=Ladder(events))) == {"clock_set_back"}


def test_a_part_of_the_pairs_may_stand_elsewhere():
    """Then the step can't be asked for together."""
    events = [*climbed(Stage.SHADOW), Demoted(NOW - DAY, assignment(SYMBOLS[:1]), Stage.RESEARCH, "?")]

    assert codes(CASE.decide(ladder=Ladder(events))) == {"rung_order"}


def test_too_little_time_is_not_a_pass():
    """Thirteen days of shadow are not fourteen, whatever else is good, and whoever signs."""
    decision = CASE.but(evidence=SHORT).decide()

    assert (decision.answer, codes(decision)) == (OPEN, {"criterion_inconclusive"})
    assert [item.words.split(":")[0] for item in decision.reasons()] == ["time_in_shadow"]


def short(**changes) -> GateCase:
    """Return a case with thirteen days of shadow, and a deviation down to twelve."""
    case = CASE.but(evidence=SHORT)
    return case.but(deviations=(a_deviation(case, **changes),))


def test_a_signed_deviation_moves_a_soft_limit():
    """The ruling says by which deviation it passed."""
    case = short()
    decision = case.decide()

    assert (decision.answer, decision.reasons()) == (PASS, ())
    ruling = next(item for item in decision.document.rulings if item.criterion == "time_in_shadow")
    assert (ruling.answer, ruling.deviation) == (PASS, digest(case.deviations[0].content))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"criterion": "shadow_activity"}, "deviation_hard"),
        ({"criterion": "no_critical_bugs", "limits": {"open": 1}}, "deviation_hard"),
        ({"criterion": "roles_named"}, "deviation_other"),
        ({"criterion": "performance"}, "deviation_other"),
        ({"transition": "testnet->shadow-live"}, "deviation_other"),
        ({"account": "other"}, "deviation_other"),
        ({"strategy": {"key": "other", "params_sha256": sha("a"), "code_sha256": sha("b")}}, "deviation_other"),
        ({"limits": {"span_days": "11.9"}}, "deviation_limit"),
        ({"limits": {"span_days": "-1"}}, "deviation_limit"),
        ({"limits": {"days": 12}}, "deviation_limit"),
        ({"until": NOW}, "deviation_expired"),
        ({"created_at": NOW + SECOND}, "deviation_expired"),
        ({"until": MADE}, "deviation_expired"),
        ({"signers": ()}, "deviation_unsigned"),
        ({"signers": ("dana",)}, "deviation_unsigned"),
        ({"signers": ("ivan",)}, "deviation_unsigned"),
        ({"signers": ("rudi",)}, "deviation_unsigned"),
    ],
)
def test_other_deviations_do_not_stand(changes, code):
    """From hard criteria, for something else, too far, too late, or signed by nobody who may."""
    decision = short(**changes).decide()

    assert decision.answer is FAIL
    assert codes(decision) == {code, "criterion_inconclusive"}


def test_a_deviation_has_its_ends():
    """Good from its first moment, and until before its last."""
    case = CASE.but(evidence=SHORT)
    early = a_deviation(case, created_at=SIGNED + SECOND)
    assert "deviation_unsigned" in codes(case.but(deviations=(early,)).decide())
    made = a_deviation(case, created_at=SIGNED, until=NOW + SECOND)
    assert case.but(deviations=(made,)).decide().answer is PASS
    assert case.but(deviations=(made,), at=NOW + SECOND).decide().answer is FAIL
    assert case.but(deviations=(made,), at=SIGNED).decide().answer is PASS


def test_a_deviation_must_be_far_enough():
    """One to thirteen and a half days does not help thirteen."""
    assert codes(short(limits={"span_days": "13.5"}).decide()) == {"criterion_inconclusive"}


def test_a_soft_number_may_be_kept_from_deviations():
    """Where the policy has no furthest, nobody deviates, though the criterion is soft."""
    strict = read_policy(POLICY.replace(b"at_least = 14, furthest = 12", b"at_least = 14"))
    parts = {**CASE.parts, "policy": {"governance/policy.toml": strict.sha256}}
    decision = short().but(policy=strict, parts=parts).decide()

    assert codes(decision) == {"deviation_limit", "criterion_inconclusive"}


def test_a_deviation_is_in_the_request_or_nowhere():
    """Nobody adds one after the others signed, or leaves one away."""
    case = CASE.but(evidence=SHORT)
    added = case.dossier._replace(deviations=(a_deviation(case),))
    left = short().dossier._replace(deviations=())

    assert codes(case.decide(dossier=added)) == {"deviation_unbound", "criterion_inconclusive"}
    assert codes(short().decide(dossier=left)) == {"deviation_unbound", "criterion_inconclusive"}


def test_a_deviation_is_signed_as_one():
    """A signature for approvals, or over other bytes, is none of a deviation."""
    good = a_deviation(CASE)
    wrong = [signed(good.content, "olga"), signed(good.content + b" ", "olga", purpose="peak-trade-deviation")]
    for signatures in wrong:
        case = CASE.but(evidence=SHORT, deviations=(SignedDeviation(good.content, tuple(signatures)),))
        assert codes(case.decide()) == {"deviation_unsigned", "criterion_inconclusive"}
    for content in (
        b"{}",
        b"",
        good.content + b" ",
        good.content.replace(b'"12"', b'"NaN"'),
        good.content.replace(b'"12"', b'"-Infinity"'),
    ):
        broken = CASE.but(
            evidence=SHORT, deviations=(SignedDeviation(content, tuple(signed(content, "olga", purpose=DEVIATION))),)
        )
        assert codes(broken.decide()) == {"malformed", "criterion_inconclusive"}


def test_a_deviation_does_not_save_a_criterion_without_evidence():
    """It moves a number; it does not make runs."""
    none = [run for run in CASE.runs if not run.run_id.startswith("shadow-")]
    case = CASE.but(evidence=none)
    decision = case.but(deviations=(a_deviation(case),)).decide()

    assert decision.answer is OPEN
    assert ruled(decision, "time_in_shadow") is OPEN


def test_nobody_makes_a_decision():
    """Only the gate does; it has no heirs, can't be changed, copied or stored and taken back."""
    decision = CASE.decide()

    with pytest.raises(InvariantBroken, match="only the gate"):
        GateDecision(decision.document, decision.request, (), object())
    with pytest.raises(InvariantBroken, match="no other kinds"):
        type("Forged", (GateDecision,), {})
    with pytest.raises(InvariantBroken, match="can't be changed"):
        decision.document = decision.document
    for again in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):  # noqa: S301
        with pytest.raises(InvariantBroken):
            again(decision)


KINDS = st.sampled_from([EvidenceKind.SHADOW, EvidenceKind.TEST_RUN, EvidenceKind.REPOSITORY, EvidenceKind.EMULATOR])
FACTS = st.dictionaries(
    st.sampled_from(
        ["trades", "critical_incidents", "journal_sound", "correlation", "fills", "fills_equal", "failed", "suite"]
    ),
    st.one_of(st.booleans(), st.integers(0, 3), st.just("all")),
)


@settings(deadline=None, max_examples=100)
@given(KINDS, FACTS, st.integers(0, 70), st.integers(0, 5))
def test_more_evidence_never_fails_without_a_name(kind, facts, age, days):
    """One more run, whatever it says: the case still passes, or a criterion is named; and every reason has a known code."""
    end = NOW - age * DAY
    times = {"started_at": (end - days * DAY).isoformat(), "finished_at": end.isoformat()}
    case = CASE.but(evidence=[*CASE.runs, a_run(kind, "one-more", end, facts | times)])
    decision = case.decide()

    names = {item.criterion for item in decision.document.rulings}
    assert codes(decision) <= {"criterion_failed", "criterion_inconclusive"}
    assert all(item.words.split(":")[0] in names for item in decision.reasons())
    assert (decision.answer is PASS) == (decision.reasons() == ())


@settings(deadline=None, max_examples=60)
@given(st.sets(st.sampled_from(["olga", "otto", "rita", "mona", "dana", "ivan"])), st.sampled_from(["olga", "rita", "mona"]))
def test_fewer_approvals_never_help(names, left):
    """Whoever signed, one signature less is no better."""
    order = [PASS, OPEN, FAIL]
    whole = CASE.but(people=sorted(names)).decide()
    less = CASE.but(people=sorted(names - {left})).decide()

    assert order.index(less.answer) >= order.index(whole.answer)


@settings(deadline=None, max_examples=40)
@given(st.integers(-20, 40))
def test_every_reason_has_a_code(days):
    """At any moment, before and after."""
    decision = CASE.but(at=NOW + days * DAY, roles=roles_with(rita=f"valid_until = {NOW + 3 * DAY:%FT%TZ}")).decide()

    assert codes(decision) <= set(CODES)
    assert (decision.answer is PASS) == (-1 <= days <= 2)
