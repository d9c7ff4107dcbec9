"""The ladder: one rung at a time, on a decision for exactly it; down at any time."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import DAY, NOW, RUNGS, SYMBOLS, VERSION, assignment, climbed, sha

from peak_trade.governance.ladder import LADDER, Assignment, Decided, Demoted, Ladder, Promoted, Rung, StrategyVersion
from peak_trade.governance.roles import Role
from peak_trade.model.stage import Stage

STAGES = list(Stage)
HOUR = timedelta(hours=1)
OTHER = StrategyVersion(key="ma_crossover", params_sha256=sha("other"), code_sha256=sha("strategy"))


def test_the_table_is_the_playbook_s():
    """Four steps, each to the next stage, with the deciders of matrix 4.1 and the names people use."""
    assert [rung.value for rung in RUNGS] == [
        "research->shadow",
        "shadow->testnet",
        "testnet->shadow-live",
        "shadow-live->live",
    ]
    assert [(rung.lower, rung.upper) for rung in RUNGS] == list(itertools.pairwise(STAGES))
    assert [LADDER[rung].deciders for rung in RUNGS] == [
        (Role.OWNER,),
        (Role.OWNER, Role.REVIEWER),
        (Role.OWNER, Role.RISK_OFFICER),
        (Role.OWNER, Role.RISK_OFFICER, Role.SECOND_PERSON),
    ]


def test_everything_begins_in_research():
    """Nothing recorded is the lowest stage, not an error."""
    assert Ladder().stage(assignment()) is Stage.RESEARCH
    assert Ladder().stage(assignment(())) is Stage.RESEARCH


@pytest.mark.parametrize("stage", STAGES)
def test_decisions_lead_up(stage):
    """One decision and one step for each rung; another account, pair or version stays where it is."""
    ladder = Ladder(climbed(stage))

    assert ladder.refused == []
    assert ladder.stage(assignment()) is stage
    assert ladder.stage(assignment(SYMBOLS[:1])) is stage
    assert ladder.stage(assignment(account="other")) is Stage.RESEARCH
    assert ladder.stage(assignment((*SYMBOLS, "SOL/EUR"))) is Stage.RESEARCH
    assert ladder.stage(assignment()._replace(version=OTHER)) is Stage.RESEARCH


def up(rung: Rung, at=NOW, decision: str = "d", **changes) -> Promoted:
    return Promoted(at, changes.get("assignment", assignment()), rung, sha(decision))


def yes(rung: Rung, at=NOW, decision: str = "d", passed: bool = True, **changes) -> Decided:
    return Decided(at, changes.get("assignment", assignment()), rung, sha(decision), passed)


FIRST, SECOND = RUNGS[:2]


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([up(FIRST)], "no_decision"),
        ([yes(FIRST, passed=False), up(FIRST)], "no_decision"),
        ([yes(SECOND), up(FIRST)], "no_decision"),
        ([yes(FIRST), up(FIRST, decision="other")], "no_decision"),
        ([yes(FIRST, assignment=assignment(account="other")), up(FIRST)], "no_decision"),
        ([yes(FIRST, assignment=assignment(SYMBOLS[:1])), up(FIRST)], "no_decision"),
        ([yes(FIRST, assignment=assignment((*SYMBOLS, "SOL/EUR"))), up(FIRST)], "no_decision"),
        ([yes(FIRST, assignment=assignment()._replace(version=OTHER)), up(FIRST)], "no_decision"),
        ([yes(FIRST), Demoted(NOW, assignment(), Stage.RESEARCH, "why"), up(FIRST)], "no_decision"),
        ([up(FIRST), yes(FIRST)], "no_decision"),
        ([yes(SECOND), up(SECOND)], "rung_order"),
        ([yes(FIRST), up(FIRST), up(FIRST)], "rung_order"),
        ([yes(FIRST), yes(FIRST)], "decision_used"),
        ([yes(FIRST), up(FIRST, NOW + 14 * DAY)], "decision_expired"),
        ([yes(FIRST), up(FIRST, NOW - HOUR)], "clock_set_back"),
    ],
)
def test_everything_else_leads_nowhere(events, code):
    """No decision, one of something else, one that was used, one that is too old, one from before a fall."""
    ladder = Ladder(events)

    refused = {objection.code for _, objection in ladder.refused}
    assert code in refused
    assert refused <= {code, "not_lower"}
    assert ladder.stage(assignment()) is (Stage.SHADOW if events.count(up(FIRST)) == 2 else Stage.RESEARCH)


def test_a_decision_waits_for_its_step_but_not_for_ever():
    """Fourteen days, not one moment more."""
    soon = Ladder([yes(FIRST), up(FIRST, NOW + 14 * DAY - HOUR)])

    assert soon.stage(assignment()) is Stage.SHADOW


def test_down_at_any_time_by_any_length():
    """Also one pair of several; what comes after needs a decision of its own."""
    events = [*climbed(Stage.LIVE), Demoted(NOW, assignment(SYMBOLS[:1]), Stage.SHADOW, "drift")]
    ladder = Ladder(events)

    assert ladder.stage(assignment(SYMBOLS[:1])) is Stage.SHADOW
    assert ladder.stage(assignment(SYMBOLS[1:])) is Stage.LIVE
    assert ladder.stage(assignment()) is Stage.SHADOW
    again = ladder.objection(Promoted(NOW, assignment(), Rung.SHADOW_TESTNET, sha(Rung.SHADOW_TESTNET.value)))
    assert again is not None
    assert again.code == "rung_order"


def test_an_old_decision_does_not_lead_up_again():
    """After a fall, the decision of before is used."""
    events = [*climbed(Stage.TESTNET, NOW), Demoted(NOW, assignment(), Stage.SHADOW, "drift")]
    ladder = Ladder([*events, Promoted(NOW, assignment(), SECOND, sha(SECOND.value))])

    assert ladder.stage(assignment()) is Stage.SHADOW
    assert ladder.refused[-1][1].code == "no_decision"


def test_a_way_down_is_open_even_when_the_clock_is_wrong():
    """Its moment is noted as refused, and it leads down all the same."""
    ladder = Ladder([*climbed(Stage.LIVE, NOW), Demoted(NOW - DAY, assignment(), Stage.RESEARCH, "alarm")])

    assert ladder.stage(assignment()) is Stage.RESEARCH
    assert [objection.code for _, objection in ladder.refused] == ["clock_set_back"]


def test_a_step_down_leads_down():
    """Nobody climbs by falling."""
    ladder = Ladder([Demoted(NOW, assignment(), Stage.LIVE, "up!")])

    assert ladder.refused[-1][1].code == "not_lower"
    assert ladder.stage(assignment()) is Stage.RESEARCH


def test_versions_stand_side_by_side():
    """Each where its own decisions led it."""
    other = assignment()._replace(version=OTHER)
    ladder = Ladder(
        [*climbed(Stage.TESTNET, NOW), yes(FIRST, decision="o", assignment=other), up(FIRST, decision="o", assignment=other)]
    )

    assert (ladder.stage(assignment()), ladder.stage(other)) == (Stage.TESTNET, Stage.SHADOW)
    assert set(ladder.standings()) == {(version, "paper", symbol) for version in (VERSION, OTHER) for symbol in SYMBOLS}


ASSIGNMENTS = st.builds(
    Assignment,
    st.sampled_from([VERSION, OTHER]),
    st.sampled_from(["paper", "other"]),
    st.sampled_from([frozenset(SYMBOLS), frozenset(SYMBOLS[:1]), frozenset(SYMBOLS[1:])]),
)
MOMENTS = st.integers(-3, 20).map(lambda days: NOW + days * DAY)
DECISIONS = st.sampled_from([sha(letter) for letter in "abcd"])
EVENTS = st.one_of(
    st.builds(Decided, MOMENTS, ASSIGNMENTS, st.sampled_from(RUNGS[:3]), DECISIONS, st.booleans()),
    st.builds(Promoted, MOMENTS, ASSIGNMENTS, st.sampled_from(RUNGS[:3]), DECISIONS),
    st.builds(Demoted, MOMENTS, ASSIGNMENTS, st.sampled_from(STAGES), st.just("why")),
)


@settings(deadline=None, max_examples=500)
@given(st.lists(EVENTS, max_size=30))
def test_no_events_climb_without_a_decision(events):
    """Whatever is recorded: each rise by one stage has a pass before it, for exactly that rung, version, account and pairs.

    The pass must be younger than the last fall, and no other rise may rest on it.
    """
    used: set[str] = set()
    for count in range(len(events)):
        before, event, after = Ladder(events[:count]), events[count], Ladder(events[: count + 1])
        rose = {
            place: (before.standings().get(place, Stage.RESEARCH), stage)
            for place, stage in after.standings().items()
            if STAGES.index(stage) > STAGES.index(before.standings().get(place, Stage.RESEARCH))
        }
        if not rose:
            continue
        assert isinstance(event, Promoted)
        assert event.decision not in used
        used.add(event.decision)
        assert {place[2] for place in rose} == set(event.assignment.symbols)
        assert all(place[:2] == (event.assignment.version, event.assignment.account) for place in rose)
        assert set(rose.values()) == {(event.rung.lower, event.rung.upper)}
        fell = max(
            (
                number
                for number, item in enumerate(events[:count])
                if isinstance(item, Demoted)
                and item.assignment[:2] == event.assignment[:2]
                and item.assignment.symbols & event.assignment.symbols
            ),
            default=-1,
        )
        assert any(
            isinstance(item, Decided)
            and item.passed
            and (item.rung, item.assignment, item.decision) == (event.rung, event.assignment, event.decision)
            for item in events[fell + 1 : count]
        )


@settings(deadline=None, max_examples=200)
@given(st.lists(EVENTS, max_size=20), ASSIGNMENTS, st.sampled_from(STAGES))
def test_a_step_down_always_works(events, which, to):
    """Whatever was before, after it nothing of it stands higher."""
    last = max((event.at for event in events), default=NOW)
    ladder = Ladder([*events, Demoted(last, which, to, "why")])

    assert STAGES.index(ladder.stage(which)) <= STAGES.index(to)
