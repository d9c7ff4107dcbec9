"""Random walks over the gates: whatever comes in whatever order, nothing is reached without its decision."""

from datetime import timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import (
    DAY,
    MADE,
    NEEDED,
    NOW,
    PEOPLE,
    RUNGS,
    GateCase,
    assignment,
    climbed,
    evidence_for,
    policy,
    roles_with,
    signed,
)

from peak_trade.governance.criteria import OF_VERSION, Answer, Evidence, evaluate
from peak_trade.governance.decisions import Dossier
from peak_trade.governance.ladder import Decided, Demoted, Ladder, LadderEvent, Promoted, Rung
from peak_trade.governance.permits import Permit, Revocation, grant, verify
from peak_trade.model.stage import Stage

ORDER = list(Stage)
CASES = {rung: GateCase(rung=rung) for rung in RUNGS}


# ---- evidence --------------------------------------------------------------------------------------------------------

facts = st.dictionaries(
    st.sampled_from(
        [
            *("trades", "orders", "orders_valid", "fills", "fills_equal", "critical_incidents", "correlation", "sharpe"),
            *("journal_sound", "passed", "max_drawdown", "fill_error_bps", "started_at", "finished_at", "in_stage", "check"),
        ]
    ),
    st.sampled_from([0, 1, 7, 100, "0.5", "0.99", "nonsense", True, False, "kill_switch", MADE.isoformat()]),
    max_size=8,
)


@st.composite
def more_evidence(draw, rung):
    """Return some run that a gate may see besides."""
    kind = draw(st.sampled_from(sorted({kind for item in policy().criteria[rung] for kind in item.evidence}, key=str)))
    whole = CASES[rung].runs
    like = draw(st.sampled_from([item for item in whole if item.kind is kind] or list(whole)))
    at = MADE - draw(st.integers(0, 60)) * DAY
    subject = like.subject if kind in OF_VERSION else draw(st.sampled_from([None, like.subject]))
    merged = draw(st.sampled_from([{}, dict(like.facts)])) | draw(facts)
    return Evidence(kind=kind, run_id=f"more-{draw(st.integers(0, 9))}", sha256="0" * 64, at=at, facts=merged, subject=subject)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_more_evidence_fails_by_name_or_not_at_all(data):
    """A pass becomes no fail without a criterion that fails, of the kind of what was added; no other criterion moves."""
    rung = data.draw(st.sampled_from(RUNGS))
    case = CASES[rung]
    added = data.draw(more_evidence(rung))
    request = case.request
    before = {item.id: evaluate(item, case.runs, request, MADE) for item in policy().criteria[rung]}
    more = case.but(evidence=[*case.runs, added])
    after = {item.id: evaluate(item, more.runs, more.request, MADE) for item in policy().criteria[rung]}
    decision = more.decide()

    assert {ruling.answer for ruling in before.values()} == {Answer.PASS}
    turned = {name for name, ruling in after.items() if ruling.answer is not Answer.PASS}
    assert all(added.kind in policy().criterion(rung, name).evidence for name in turned)
    assert {ruling.criterion for ruling in decision.document.rulings if ruling.answer is not Answer.PASS} == turned
    assert (decision.answer is Answer.PASS) == (not turned)
    assert (decision.answer is Answer.FAIL) == any(after[name].answer is Answer.FAIL for name in turned)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_good_runs_do_not_make_up_for_a_bad_one(data):
    """A run that fails a criterion goes on failing it, however many good ones stand beside it."""
    rung = data.draw(st.sampled_from([rung for rung in RUNGS if rung is not Rung.RESEARCH_SHADOW]))
    case = CASES[rung]
    sessions = [item for item in case.runs if "critical_incidents" in item.facts]
    bad = data.draw(st.sampled_from(sessions))
    spoilt = [
        msgspec.structs.replace(item, facts=item.facts | {"critical_incidents": 1}) if item.run_id == bad.run_id else item
        for item in case.runs
    ]
    assert case.but(evidence=spoilt).decide().answer is Answer.FAIL


# ---- approvals -------------------------------------------------------------------------------------------------------

_RANK = {Answer.FAIL: 0, Answer.INCONCLUSIVE: 1, Answer.PASS: 2}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rung=st.sampled_from(RUNGS),
    people=st.lists(st.tuples(st.sampled_from(sorted(PEOPLE)), st.integers(0, 1)), max_size=6, unique=True),
    which=st.integers(0, 5),
)
def test_removing_an_approval_never_helps(rung, people, which):
    case = CASES[rung]
    every = [item for name, number in people for item in signed(case.content, name, number=number)]
    fewer = [item for place, item in enumerate(every) if place != which]
    whole, part = (case.but(signatures=given).decide() for given in (every, fewer))

    assert _RANK[part.answer] <= _RANK[whole.answer]
    assert len(part.document.approvals) <= len(whole.document.approvals)
    assert len({item.person for item in whole.document.approvals}) == len(whole.document.approvals)
    assert "dana" not in {item.person for item in whole.document.approvals}
    if whole.answer is Answer.PASS:
        signers = {name for name, _ in people}
        assert len(signers - {"dana"}) >= len(rung.deciders)


# ---- the whole house -------------------------------------------------------------------------------------------------


class Walker:
    """A house of the pure core: a record of events, requests, signatures, revocations and a clock."""

    def __init__(self) -> None:
        self.now = NOW
        self.events: list[LadderEvent] = []
        self.cases: list[GateCase] = []
        self.signed: dict[int, list[str]] = {}
        self.permits: list[tuple[int, Permit, Dossier]] = []
        self.revoked: list[Revocation] = []
        self.roles = roles_with()

    @property
    def ladder(self) -> Ladder:
        return Ladder(self.events)

    def request(self, rung: Rung, full: bool) -> None:
        made = self.now - timedelta(minutes=1)
        runs = evidence_for(rung, made) if full else evidence_for(rung, made)[1:]
        self.cases.append(
            GateCase(rung=rung, created_at=made, expires_at=made + 14 * DAY, evidence=runs, signatures=(), roles=self.roles)
        )

    def approve(self, which: int, name: str) -> None:
        if self.cases:
            self.signed.setdefault(which % len(self.cases), []).append(name)

    def decide(self, which: int, full: bool) -> None:
        if not self.cases:
            return
        which %= len(self.cases)
        case = self.cases[which]
        given = signed(case.content, *self.signed.get(which, []), at=case.created_at)
        case = case.but(signatures=given, roles=self.roles, at=self.now)
        today = evidence_for(case.rung, self.now) if full else ()
        made = case.decide(ladder=self.ladder, today=today)
        if self.ladder.objection(made.event) is None:
            self.events.append(made.event)
        if made.answer is Answer.PASS:
            self.permits.append((which, grant(made, policy()), case.dossier))
            self.promote(made.request.transition, made.sha256)

    def promote(self, rung: Rung, decision: str) -> None:
        """Record a step up, whether it may be or not: the ladder has to refuse what may not."""
        self.events.append(Promoted(self.now, assignment(), rung, decision))

    def demote(self, to: Stage) -> None:
        self.events.append(Demoted(self.now, assignment(), to, "a doubt"))

    def revoke(self, which: int) -> None:
        if self.permits:
            number, permit, _ = self.permits[which % len(self.permits)]
            self.revoked.append(Revocation(permit.id, "zoe", self.now, f"a doubt about {number}"))

    def check(self) -> None:
        """Hold where the version stands, and every permit, against the record."""
        stage, passed = Stage.RESEARCH, {}
        for event in self.events:
            match event:
                case Decided():
                    if event.passed:
                        passed[event.decision] = event.rung
                case Promoted():
                    # Each decision takes the version one step up, from where its step begins, and once.
                    if passed.get(event.decision) is event.rung and stage is event.rung.lower:
                        stage = event.rung.upper
                        del passed[event.decision]
                case Demoted():
                    if ORDER.index(event.to) < ORDER.index(stage):
                        stage = event.to
                    passed.clear()
        found = self.ladder.stage(assignment())
        assert ORDER.index(found) <= ORDER.index(stage)
        for _, permit, dossier in self.permits:
            again = verify(
                permit.content, dossier, self.roles, policy(), now=self.now, revocations=self.revoked, ladder=self.ladder
            )
            if isinstance(again, Permit):
                assert ORDER.index(found) >= ORDER.index(again.document.stage)
                assert again.id not in {item.request for item in self.revoked}
                assert any(isinstance(event, Decided) and event.decision == again.document.decision for event in self.events)


steps = st.one_of(
    st.tuples(st.just("request"), st.sampled_from(RUNGS), st.booleans()),
    st.tuples(st.just("approve"), st.integers(0, 9), st.sampled_from(sorted(PEOPLE))),
    st.tuples(st.just("decide"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("promote"), st.sampled_from(RUNGS), st.sampled_from(["0" * 64, "1" * 64])),
    st.tuples(st.just("demote"), st.sampled_from(ORDER[:-1])),
    st.tuples(st.just("revoke"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 60 * 24, 60 * 24 * 15, 60 * 24 * 200])),
    st.tuples(st.just("climb"), st.just(0)),
    st.tuples(st.just("again"), st.integers(0, 9)),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(steps, max_size=14))
def test_no_walk_reaches_a_stage_without_its_decision(walk):
    walker = Walker()
    for name, *given_words in walk:
        walker.now += timedelta(minutes=2)
        match name:
            case "wait":
                walker.now += timedelta(minutes=given_words[0])
            case "climb":
                # The honest way up, as far as it goes.
                stage = walker.ladder.stage(assignment())
                if rung := next((rung for rung in RUNGS if rung.lower is stage), None):
                    walker.request(rung, True)
                    for person in NEEDED[rung]:
                        walker.approve(len(walker.cases) - 1, person)
                    walker.decide(len(walker.cases) - 1, True)
                    assert walker.ladder.stage(assignment()) is rung.upper
            case "again":
                if walker.events:
                    event = walker.events[given_words[0] % len(walker.events)]
                    walker.events.append(event._replace(at=walker.now))
            case _:
                getattr(walker, name)(*given_words)
        walker.check()


def test_the_honest_walk_goes_all_the_way():
    """What the walks are made of can reach the top."""
    assert Ladder(climbed(Stage.LIVE)).stage(assignment()) is Stage.LIVE
    walker = Walker()
    for rung in RUNGS:
        walker.now += timedelta(minutes=2)
        walker.request(rung, True)
        for person in NEEDED[rung]:
            walker.approve(len(walker.cases) - 1, person)
        walker.decide(len(walker.cases) - 1, True)
        walker.check()
    assert walker.ladder.stage(assignment()) is Stage.LIVE
