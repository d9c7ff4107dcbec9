"""Criteria: measured in facts, both ways and at the limit; too little data is never pass."""

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import DAY, NOW, RUNGS, SYMBOLS, VERSION, GateCase, a_run, altered, asks, evidence_for, policy, sha

from peak_trade.governance.criteria import (
    OF_VERSION,
    Answer,
    Criterion,
    EvidenceKind,
    Measure,
    Ruling,
    Subject,
    evaluate,
)
from peak_trade.governance.ladder import Rung, StrategyVersion

PASS, FAIL, OPEN = Answer.PASS, Answer.FAIL, Answer.INCONCLUSIVE
REQUEST = GateCase(evidence=()).request
DRILL = EvidenceKind.DRILL
SHADOW = EvidenceKind.SHADOW


def a_criterion(*measures: Measure, **changes) -> Criterion:
    words = {"id": "tried", "words": "?", "hard": True, "evidence": (DRILL,), "max_age_days": 30} | changes
    return Criterion(measure=measures, **words)


def judge(criterion: Criterion, *facts: dict, at=NOW) -> Ruling:
    """Judge drills, one with each of these facts, an hour apart."""
    runs = [a_run(DRILL, f"r{number}", NOW - (number + 1) * DAY / 24, one) for number, one in enumerate(facts)]
    return evaluate(criterion, runs, REQUEST, at)


@pytest.mark.parametrize(
    ("measure", "facts", "answer"),
    [
        ({"take": "count", "at_least": 2}, [{}], OPEN),
        ({"take": "count", "at_least": 2}, [{}, {}], PASS),
        ({"take": "count", "at_most": 1}, [{}, {}], FAIL),
        ({"take": "sum", "of": "n", "at_least": 5}, [{"n": 2}, {"n": 2}], OPEN),
        ({"take": "sum", "of": "n", "at_least": 5}, [{"n": 2}, {"n": 3}], PASS),
        ({"take": "sum", "of": "n", "at_most": 5}, [{"n": 2}, {"n": 3}], PASS),
        ({"take": "sum", "of": "n", "at_most": 5}, [{"n": 3}, {"n": 3}], FAIL),
        ({"take": "sum", "of": "n", "at_least": 5}, [{"n": 9}, {}], OPEN),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": 0}, {"n": 0}], PASS),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": 0}, {"n": 1}], FAIL),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": 0}, {}], OPEN),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": 0}, {"n": "none"}], OPEN),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": False}], OPEN),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": "NaN"}], OPEN),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": "-Infinity"}], OPEN),
        ({"take": "largest", "of": "n", "at_most": 0}, [{"n": "1e-9"}], OPEN),
        ({"take": "smallest", "of": "n", "at_least": Decimal("0.95")}, [{"n": "0.95"}, {"n": "1"}], PASS),
        ({"take": "smallest", "of": "n", "at_least": Decimal("0.95")}, [{"n": "0.9499999"}, {"n": "1"}], FAIL),
        ({"take": "smallest", "of": "n", "above": 0}, [{"n": "0"}], FAIL),
        ({"take": "smallest", "of": "n", "above": 0}, [{"n": "0.000001"}], PASS),
        ({"take": "largest", "of": "n", "below": 1}, [{"n": 1}], FAIL),
        ({"take": "largest", "of": "n", "below": 1}, [{"n": "0.99"}], PASS),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 95, "n": 100}], FAIL),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 96, "n": 100}], PASS),
        (
            {"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")},
            [{"k": 90, "n": 100}, {"k": 900, "n": 900}],
            PASS,
        ),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 0, "n": 0}], OPEN),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 0, "n": 9}], FAIL),
        ({"take": "share", "of": "k", "among": "n", "at_least": 0}, [{"k": 0, "n": 9}, {"k": 0, "n": 0}], PASS),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 101, "n": 100}], OPEN),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 100, "n": 100}, {"k": -1, "n": 9}], OPEN),
        ({"take": "share", "of": "k", "among": "n", "above": Decimal("0.95")}, [{"k": 100}], OPEN),
        ({"take": "every", "of": "ok", "expected": True}, [{"ok": True}, {"ok": True}], PASS),
        ({"take": "every", "of": "ok", "expected": True}, [{"ok": True}, {"ok": False}], FAIL),
        ({"take": "every", "of": "ok", "expected": True}, [{"ok": True}, {"ok": 1}], FAIL),
        ({"take": "every", "of": "ok", "expected": True}, [{"ok": True}, {"ok": "true"}], FAIL),
        ({"take": "every", "of": "ok", "expected": True}, [{"ok": True}, {}], OPEN),
        ({"take": "every", "of": "h", "as_requested": "code"}, [{"h": sha("code")}], PASS),
        ({"take": "every", "of": "h", "as_requested": "code"}, [{"h": sha("other")}], FAIL),
        ({"take": "every", "of": "h", "as_requested": "code"}, [{}], OPEN),
    ],
)
def test_measures_have_their_limits(measure, facts, answer):
    """Each way to measure, on both sides of its limit, and where a run does not say it."""
    ruling = judge(a_criterion(Measure(**measure)), *facts)

    assert ruling.answer is answer
    assert ruling.why
    assert ruling.runs == tuple(f"r{number}" for number in range(len(facts)))


def test_several_hashes_are_none_that_a_run_could_name():
    """A fact can't be that of a part with two files."""
    parts = {**REQUEST.parts, "code": {"a": sha("code"), "b": sha("b")}}
    request = msgspec.structs.replace(REQUEST, parts=parts)
    criterion = a_criterion(Measure(take="every", of="h", as_requested="code"))

    assert evaluate(criterion, [a_run(DRILL, "r", NOW, {"h": sha("code")})], request, NOW).answer is OPEN


def spans(*days: tuple[float, float]) -> list[dict]:
    """Return facts of runs that began and ended so many days ago."""
    return [{"started_at": (NOW - a * DAY).isoformat(), "finished_at": (NOW - b * DAY).isoformat()} for a, b in days]


@pytest.mark.parametrize(
    ("take", "limit", "days", "answer"),
    [
        ("span_days", {"at_least": 14}, [(14.1, 14), (1, 0.1)], PASS),
        ("span_days", {"at_least": 14}, [(14, 13), (1, 0)], PASS),
        ("span_days", {"at_least": 14}, [(13.99, 13), (1, 0)], OPEN),
        ("gap_days", {"at_most": 4}, [(10, 9), (5, 4)], PASS),
        ("gap_days", {"at_most": 4}, [(10, 9), (4.9, 4)], FAIL),
        ("gap_days", {"at_most": 4}, [(10, 9), (8, 4.1)], FAIL),
        ("gap_days", {"at_most": 4}, [(20, 1), (15, 14), (0.5, 0)], PASS),
        ("gap_days", {"at_most": 4}, [(1, 2)], OPEN),
        ("gap_days", {"at_most": 4}, [(1, -0.1)], OPEN),
    ],
)
def test_time_in_a_stage_is_measured(take, limit, days, answer):
    """From the first start to the last end; the longest time without a run, also up to now, overlaps or not."""
    assert judge(a_criterion(Measure(take=take, **limit)), *spans(*days)).answer is answer


@pytest.mark.parametrize("facts", [{}, {"started_at": "yesterday", "finished_at": NOW.isoformat()}, {"started_at": 5}])
def test_a_run_without_times_proves_no_duration(facts):
    """Nor does one whose times are none, or have no zone."""
    naive = {"started_at": "2026-11-01T00:00:00", "finished_at": "2026-11-20T00:00:00"}
    for one in (facts, naive):
        assert judge(a_criterion(Measure(take="span_days", at_least=1)), *spans((9, 1)), one).answer is OPEN


COUNT = Measure(take="count", at_least=1)


def test_age_has_its_ends():
    """Runs of exactly the age count, older ones and those from the future don't."""

    def answer(age: timedelta) -> Answer:
        return evaluate(a_criterion(COUNT), [a_run(DRILL, "r", NOW - age, {})], REQUEST, NOW).answer

    assert [answer(age) for age in (30 * DAY, timedelta(0))] == [PASS, PASS]
    assert [answer(age) for age in (30 * DAY + timedelta(seconds=1), timedelta(seconds=-1))] == [OPEN, OPEN]


@pytest.mark.parametrize("kind", EvidenceKind)
def test_only_named_kinds_count(kind):
    """The emulator above all: it proves nothing unless it is named."""
    for asked in EvidenceKind:
        ruling = evaluate(a_criterion(COUNT, evidence=(asked,)), [a_run(kind, "r", NOW, {})], REQUEST, NOW)
        assert (ruling.answer is PASS) == (asked is kind)


def of(symbols=SYMBOLS, version=VERSION, kind=SHADOW):
    return msgspec.structs.replace(a_run(kind, "r", NOW, {}), subject=Subject(strategy=version, symbols=tuple(symbols)))


def test_only_this_version_and_its_pairs_count():
    """Other parameters, other code, another strategy, other pairs, or none named; and each pair must have been run."""
    criterion = a_criterion(COUNT, evidence=tuple(EvidenceKind))

    def answer(*runs) -> Answer:
        named = [msgspec.structs.replace(run, run_id=f"r{number}") for number, run in enumerate(runs)]
        return evaluate(criterion, named, REQUEST, NOW).answer

    assert answer(of()) is PASS
    for name in ("key", "params_sha256", "code_sha256"):
        other = msgspec.structs.replace(VERSION, **{name: sha("other") if "sha" in name else "other"})
        assert answer(of(version=other)) is OPEN
        assert answer(of(kind=DRILL, version=other)) is OPEN
    assert answer(of(symbols=("SOL/EUR",))) is OPEN
    assert answer(of(symbols=(*SYMBOLS, "SOL/EUR"))) is OPEN
    assert answer(of(symbols=SYMBOLS[:1])) is OPEN
    assert answer(of(symbols=SYMBOLS[:1]), of(symbols=SYMBOLS[1:])) is PASS
    for kind in EvidenceKind:
        nobody = msgspec.structs.replace(a_run(kind, "r", NOW, {}), subject=None)
        assert (answer(nobody) is OPEN) == (kind in OF_VERSION)
    strict = a_criterion(COUNT, of_version=True)
    assert evaluate(strict, [a_run(DRILL, "r", NOW, {})], REQUEST, NOW).answer is OPEN
    assert evaluate(strict, [a_run(DRILL, "r", NOW, {}, of_version=True)], REQUEST, NOW).answer is PASS


def test_the_newest_run_counts_and_no_other():
    """A failure yesterday is history once it passed today, and the other way round; of two at once, both count."""
    criterion = a_criterion(Measure(take="every", of="ok", expected=True), newest=True)

    assert judge(criterion, {"ok": True}, {"ok": False}).answer is PASS
    assert judge(criterion, {"ok": False}, {"ok": True}).answer is FAIL
    twins = [a_run(DRILL, name, NOW, {"ok": name == "a"}) for name in "ab"]
    assert evaluate(criterion, twins, REQUEST, NOW).answer is FAIL


def test_where_chooses_by_facts():
    """Another drill is another drill, and true is not 1."""
    criterion = a_criterion(Measure(take="every", of="ok", expected=True), where={"drill": "kill_switch", "full": True})

    assert judge(criterion, {"drill": "kill_switch", "full": True, "ok": True}, {"drill": "other", "ok": False}).answer is PASS
    assert judge(criterion, {"drill": "kill_switch", "full": 1, "ok": True}).answer is OPEN


@pytest.mark.parametrize(("rung", "name"), [(rung, item.id) for rung in RUNGS for item in policy().criteria[rung]])
def test_every_criterion_of_the_policy_works_both_ways(rung, name):
    """With good runs it passes; without any it is inconclusive; with one measure spoilt in every run it does not pass."""
    criterion, good, request = asks(rung, name), evidence_for(rung, NOW), GateCase(rung=rung).request

    ruling = evaluate(criterion, good, request, NOW)
    assert ruling.answer is PASS, ruling.why
    assert evaluate(criterion, [], request, NOW).answer is OPEN
    others = [run for run in good if run.kind not in criterion.evidence]
    assert evaluate(criterion, others, request, NOW).answer is OPEN
    late = NOW + (criterion.max_age_days + 100) * DAY
    assert evaluate(criterion, good, request, late).answer is OPEN
    for measure in criterion.measure:
        if measure.of:
            for value, answers in ((_bad(measure), {FAIL, OPEN}), (None, {OPEN})):
                spoilt = good
                for run in ruling.runs:
                    spoilt = altered(spoilt, run, **{measure.of: value})
                assert evaluate(criterion, spoilt, request, NOW).answer in answers


def _bad(measure: Measure):
    if measure.take == "every":
        return False if measure.expected is True else sha("other")
    low = measure.at_least is not None or measure.above is not None
    return 0 if low else 1_000_000


def test_order_success_is_over_95_per_cent():
    """The playbook's number: 95 of a hundred is not over it."""
    rung = Rung.TESTNET_SHADOW_LIVE
    criterion, good, request = asks(rung, "order_success"), evidence_for(rung, NOW), GateCase(rung=rung).request
    for valid, answer in ((95, FAIL), (96, PASS)):
        runs = [msgspec.structs.replace(run, facts=run.facts | {"orders_valid": valid, "orders": 100}) for run in good]
        assert evaluate(criterion, runs, request, NOW).answer is answer


FACT = st.one_of(st.booleans(), st.integers(-5, 5), st.sampled_from(["0.5", "x", "-1.25"]))
MEASURES = st.sampled_from(
    [
        Measure(take="count", at_least=2),
        Measure(take="sum", of="a", at_least=3),
        Measure(take="largest", of="a", at_most=2),
        Measure(take="smallest", of="b", above=Decimal("0.25")),
        Measure(take="share", of="a", among="b", at_least=Decimal("0.5")),
        Measure(take="every", of="c", expected=True),
        Measure(take="gap_days", at_most=1),
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(MEASURES, min_size=1, max_size=3, unique=True), st.lists(st.dictionaries(st.sampled_from("abc"), FACT), max_size=6)
)
def test_a_ruling_is_the_worst_of_its_measures(measures, facts):
    """One that fails makes it fail, one that is open keeps it open; the order of the runs means nothing."""
    runs = [a_run(DRILL, f"r{number}", NOW - number * DAY, one) for number, one in enumerate(facts)]
    ruling = evaluate(a_criterion(*measures), runs, REQUEST, NOW)

    assert evaluate(a_criterion(*measures), runs[::-1], REQUEST, NOW) == ruling
    answers = [item.answer for item in ruling.measured]
    if not runs:
        assert ruling.answer is OPEN
    else:
        assert ruling.answer is (FAIL if FAIL in answers else OPEN if OPEN in answers else PASS)
    alone = [evaluate(a_criterion(measure), runs, REQUEST, NOW).answer for measure in measures]
    assert (ruling.answer is PASS) == (set(alone) == {PASS})


def test_versions_differ_in_each_part():
    """Three names of a version, each of which makes another."""
    assert len({VERSION, StrategyVersion(key="x", params_sha256=VERSION.params_sha256, code_sha256=VERSION.code_sha256)}) == 2
