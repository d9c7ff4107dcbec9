"""The gates' pages: one evaluation for all readers, what comes first, what a permit is for, and no number without a record."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.unit.webui.desks import SetClock, a_desk

from peak_trade.journal.registry import Registry
from peak_trade.model.errors import CheckFailed, NotFound
from peak_trade.model.stage import Stage
from peak_trade.webui.app import make_app
from peak_trade.webui.gates import (
    CROWD,
    EVALUATION_AGE_S,
    KEPT_MAX,
    REST,
    RUNS_MAX,
    TOLD_MAX,
    Evaluation,
    days_between,
    gate_facts,
    gate_url,
    gravest_first,
    permit_facts,
    permit_for,
    progress_charts,
    request_facts,
    run_url,
    rungs_of,
    time_left,
)

AT = "2026-03-02T09:00:00Z"
HOSTILE = "<script>window.obeyed = 1</script>"
TROUBLE = "expected the journal of operators as it was written, found altered"
ANSWERS = st.sampled_from(["pass", "fail", "inconclusive"])


def a_line(**changes: Any) -> dict[str, Any]:
    line = {"strategy": "alpha", "version": "0" * 8 + "-" + "1" * 8, "account": "main", "symbols": ["BTC/EUR"]}
    more = {"stage": "shadow", "since": AT, "current": True, "next": None, "trouble": ""}
    return line | more | changes


def lacking(number: int) -> dict[str, Any]:
    items = [{"id": f"c{one}", "hard": True, "answer": "fail", "why": HOSTILE} for one in range(number)]
    return {"step": "shadow->testnet", "passed": 2, "of": 2 + number, "lacking": items}


def a_permit(**changes: Any) -> dict[str, Any]:
    line = {"id": "ab" * 8, "strategy": "alpha", "version": a_line()["version"], "stage": "shadow", "account": "main"}
    return line | {"symbols": ["BTC/EUR"], "until": "2026-04-01T09:00:00Z", "good": True, "objections": []} | changes


def a_request(**changes: Any) -> dict[str, Any]:
    line = {"id": "cd" * 8, "step": "shadow->testnet", "strategy": "alpha", "version": a_line()["version"], "account": "main"}
    more = {"symbols": ["BTC/EUR"], "by": "dana", "made": AT, "until": "2026-03-16T09:00:00Z", "expired": False}
    open_still = {"approvals": [], "missing": ["owner"], "waits_for": [{"role": "owner", "people": ["olga"]}], "lacking": []}
    return line | more | open_still | {"decided": None, "trouble": "", "file": "var/requests/x.json"} | changes


def an_overview(**changes: Any) -> dict[str, Any]:
    words = {"shadow->testnet": {"c0": "Two weeks in shadow."}}
    found = {"at": AT, "account": "main", "ladder": [], "requests": [], "permits": [], "refused": [], "history": []}
    return found | {"words": words} | changes


def an_evidence(run_id: str, at: str = AT, kind: str = "shadow", **facts: Any) -> dict[str, Any]:
    return {"kind": kind, "run_id": run_id, "at": at, "facts": facts}


def a_step(**changes: Any) -> dict[str, Any]:
    line = {"step": "shadow->testnet", "strategy": "alpha", "version": a_line()["version"], "account": "main", "at": AT}
    more = {"symbols": ["BTC/EUR"], "stage": "shadow", "since": AT, "current": True, "deciders": ["owner"], "words": {}}
    return line | more | {"passed": 0, "criteria": [], "evidence": [], "progress": [], "decisions": []} | changes


def a_curve(values: list[float], limit: float = 10.0, unit: str = "runs") -> dict[str, Any]:
    first = datetime(2026, 3, 2, tzinfo=UTC)
    points = [{"at": (first + timedelta(days=day)).isoformat(), "value": value} for day, value in enumerate(values)]
    found = values[-1] if values else 0.0
    return {"criterion": "activity", "measure": "runs", "unit": unit, "found": found, "limit": limit, "points": points}


class Counted:
    """Work that tells how often it was done."""

    def __init__(self, clock: SetClock | None = None, takes_s: float = 0.0, error: Exception | None = None) -> None:
        self.times, self._clock, self._takes_s, self._error = 0, clock, takes_s, error

    def __call__(self) -> dict[str, Any]:
        self.times += 1
        if self._clock:
            self._clock.pass_s(self._takes_s)
        if self._error:
            raise self._error
        return {"times": self.times}


def reading(registry: Registry, **given: Any) -> TestClient:
    """Return somebody who reads pages over gates of which some functions are given; nothing may ask for the others."""
    return TestClient(make_app(a_desk(registry, gates=replace(a_desk().gates, **given))), base_url="http://localhost")


# ---- one evaluation for all ------------------------------------------------------------------------------------------


def test_evaluated_once_in_a_while():
    """Readers get the same evaluation until it is old enough, then a new one."""
    clock, work = SetClock(), Counted()
    evaluation = Evaluation(clock)
    ask = lambda: evaluation.get("one", "seen", work).get()["times"]

    assert [ask(), ask()] == [1, 1]
    clock.pass_s(EVALUATION_AGE_S - 0.001)
    assert ask() == 1
    clock.pass_s(0.001)
    assert ask() == 2


def test_what_took_long_is_kept_longer():
    """Evaluations take a tenth of the time at most, however long one takes."""
    clock = SetClock()
    work, evaluation = Counted(clock, takes_s=4.0), Evaluation(clock)
    ask = lambda: evaluation.get("one", "seen", work).get()["times"]

    assert ask() == 1
    clock.pass_s(4.0 * REST - 0.001)
    assert ask() == 1
    clock.pass_s(0.001)
    assert ask() == 2


def test_an_act_makes_it_anew():
    """What is recorded is seen at once, also within the few seconds."""
    work, evaluation = Counted(), Evaluation(SetClock())

    assert [evaluation.get("one", seen, work).get()["times"] for seen in ("before", "after", "after")] == [1, 2, 2]


def test_trouble_is_kept_too():
    """A journal that does not verify is not verified once more for every reader."""
    work, evaluation = Counted(error=CheckFailed(TROUBLE)), Evaluation(SetClock())
    found = [evaluation.get("one", "seen", work) for _ in range(3)]

    assert work.times == 1
    assert all(str(one.error) == TROUBLE for one in found)
    with pytest.raises(CheckFailed, match="found altered"):
        found[0].get()


def test_many_at_once_make_one():
    """Whoever comes while it is worked out waits for it."""
    begun, go_on, work = threading.Event(), threading.Event(), Counted()

    def slowly() -> dict[str, Any]:
        begun.set()
        assert go_on.wait(10)
        return work()

    evaluation, found = Evaluation(SetClock()), []
    ask = lambda: found.append(evaluation.get("one", "seen", slowly).get()["times"])
    readers = [threading.Thread(target=ask) for _ in range(8)]
    for reader in readers:
        reader.start()
    assert begun.wait(10)
    go_on.set()
    for reader in readers:
        reader.join(10)

    assert found == [1] * 8


@pytest.mark.parametrize(("depends_on", "told"), [("seen", 1), ("an act", 2)])
def test_nobody_waits_for_what_is_known(depends_on, told):
    """While somebody works, others get what is kept; once something was recorded they wait for the new."""
    clock, begun, go_on, work = SetClock(), threading.Event(), threading.Event(), Counted()
    evaluation, found = Evaluation(clock), []
    evaluation.get("one", "seen", work)
    clock.pass_s(EVALUATION_AGE_S)

    def slowly() -> dict[str, Any]:
        begun.set()
        assert go_on.wait(10)
        return work()

    worker = threading.Thread(target=lambda: evaluation.get("one", depends_on, slowly))
    worker.start()
    assert begun.wait(10)
    other = threading.Thread(target=lambda: found.append(evaluation.get("one", depends_on, slowly).get()["times"]))
    other.start()
    if told == 1:
        other.join(10)
        assert found == [1]
    go_on.set()
    for thread in (worker, other):
        thread.join(10)

    assert (found, work.times) == ([told], 2)


def test_it_does_not_grow():
    """Of many names only the latest are kept."""
    evaluation, work = Evaluation(SetClock()), Counted()
    for number in range(KEPT_MAX + 1):
        evaluation.get(number, "seen", work)

    assert evaluation.get(KEPT_MAX, "seen", work).get()["times"] == KEPT_MAX + 1
    assert evaluation.get(0, "seen", work).get()["times"] == KEPT_MAX + 2


# ---- what pages show -------------------------------------------------------------------------------------------------


@given(st.lists(st.fixed_dictionaries({"hard": st.booleans(), "answer": ANSWERS})))
def test_blockers_come_first(criteria):
    """What does not pass stands before what does, hard before soft, failed before inconclusive; nothing is lost."""
    order = ("fail", "inconclusive", "pass")
    ranks = [(one["answer"] == "pass", not one["hard"], order.index(one["answer"])) for one in gravest_first(criteria)]

    assert ranks == sorted(ranks)
    assert sorted(map(repr, gravest_first(criteria))) == sorted(map(repr, criteria))


@given(st.lists(st.sampled_from([stage.value for stage in Stage]), max_size=40))
def test_everybody_stands_on_a_rung(stages):
    """Every version stands on the rung of its stage, once; the highest stage is on top."""
    found = rungs_of(an_overview(ladder=[a_line(stage=stage, strategy=f"s{number}") for number, stage in enumerate(stages)]))

    assert [rung.stage for rung in found["rungs"]] == [stage.value for stage in reversed(Stage)]
    shown = [(item.line["strategy"], rung.stage) for rung in found["rungs"] for item in rung.placed]
    assert sorted(shown) == sorted((f"s{number}", stage) for number, stage in enumerate(stages))
    assert found["empty"] is not bool(stages)


@pytest.mark.parametrize(("versions", "told"), [(1, TOLD_MAX), (CROWD, TOLD_MAX), (CROWD + 1, 1)])
def test_a_crowd_tells_less(versions, told):
    """Where many stand on a rung each tells one criterion in the open, the others folded."""
    found = rungs_of(an_overview(ladder=[a_line(strategy=f"s{number}") for number in range(versions)]))

    assert [rung.told for rung in found["rungs"] if rung.placed] == [told]


def test_a_card_has_words():
    """A criterion is told in the words of the policy; one that the policy does not know by its id."""
    [rung] = [rung for rung in rungs_of(an_overview(ladder=[a_line(next=lacking(2))]))["rungs"] if rung.placed]

    assert [one["words"] for one in rung.placed[0].lacking] == ["Two weeks in shadow.", "c1"]
    assert rung.placed[0].days == 0


def test_the_permit_for_a_place():
    """It is for this version, account, stage and all of its pairs; a good one, and that which lasts longest, is told."""
    line = a_line()
    others = [a_permit(account="other"), a_permit(stage="testnet"), a_permit(strategy="beta"), a_permit(symbols=["ETH/EUR"])]
    longer, void = a_permit(until="2026-05-01T09:00:00Z"), a_permit(good=False, until="2027-01-01T09:00:00Z")

    assert permit_for(line, others) is None
    assert permit_for(line, [*others, void, a_permit(), longer]) is longer
    assert permit_for(line, [void]) is void
    assert permit_for(line, [a_permit(good=False, until=None)])["until"] is None


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_an_address_holds_any_name(strategy, account):
    """Whatever a name consists of, it stays a part of the path or of the query."""
    found = urlsplit(gate_url(a_line(strategy=strategy, account=account), "shadow->testnet"))

    assert found.path.startswith("/gates/of/")
    assert found.path.count("/") == 4
    assert parse_qs(found.query, keep_blank_values=True) == {"account": [account], "step": ["shadow->testnet"]}


@pytest.mark.parametrize(
    ("begin", "end", "days"),
    [
        (AT, AT, 0),
        (AT, "2026-03-03T08:59:59Z", 0),
        (AT, "2026-03-03T09:00:00Z", 1),
        (AT, "2026-03-02T08:59:59Z", -1),
        (None, AT, None),
        (AT, None, None),
    ],
)
def test_days_between(begin, end, days):
    assert days_between(begin, end) == days


def test_time_left():
    """Whole days and hours, and nothing of what has passed."""
    assert time_left(AT, "2026-03-04T10:59:59Z") == (2, 1)
    assert time_left(AT, AT) == time_left(AT, "2026-03-01T00:00:00Z") == time_left(AT, None) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({}, True),
        ({"decided": "inconclusive"}, True),
        ({"decided": "pass"}, False),
        ({"decided": "fail"}, False),
        ({"expired": True}, False),
        ({"trouble": "its file has other bytes", "until": None, "expired": True}, False),
    ],
)
def test_which_requests_wait(changes, waits):
    """One waits while it lives and is not decided for good; every request is on the page once."""
    found = request_facts(an_overview(requests=[a_request(**changes)]))

    assert (len(found["waiting"]), len(found["over"])) == ((1, 0) if waits else (0, 1))


def test_a_request_that_cannot_be_read_is_over():
    """Of one whose file is gone the end is not known."""
    line = a_request(trouble="no such file", until=None, version="")
    del line["expired"]
    found = request_facts(an_overview(requests=[line]))

    assert found["waiting"] == []
    assert found["over"][0]["url"] == ""


def test_good_permits_first():
    """Of the good ones that which ends first is on top."""
    given_ones = [a_permit(id="void", good=False), a_permit(id="late", until="2027-01-01T00:00:00Z"), a_permit(id="soon")]

    assert [item["id"] for item in permit_facts(an_overview(permits=given_ones))["permits"]] == ["soon", "late", "void"]


def test_runs_have_pages():
    """A session and a backtest have one; what stands in files has none."""
    assert run_url(an_evidence("a/b", journal_sound=True)) == "/session/a%2Fb"
    assert run_url(an_evidence("one", kind="backtest", sharpe="1")) == "/experiments/one"
    assert run_url(an_evidence("limits", kind="repository")) == ""


def test_a_criterion_tells_its_newest_runs():
    """The newest come first; of many the number of the others is told."""
    runs = [an_evidence(f"r{number:02}", f"2026-03-{number + 1:02}T00:00:00Z", journal_sound=True) for number in range(12)]
    criterion = {"id": "c0", "hard": True, "answer": "pass", "why": "", "measured": [], "runs": [run["run_id"] for run in runs]}
    [row] = gate_facts(a_step(criteria=[criterion], evidence=[*runs, an_evidence("other")]))["rows"]

    assert [run["run_id"] for run in row.runs] == [f"r{number:02}" for number in range(11, 11 - RUNS_MAX, -1)]
    assert row.more == 12 - RUNS_MAX


def test_charts_of_progress():
    """Each measure has a chart with its limit, on one time axis; without a run there is none."""
    found = progress_charts([a_curve([1.0, 2.0, 3.0]), a_curve([]), a_curve([5.0], limit=7.0)])

    assert list(found) == ["progress-chart-0", "progress-chart-2"]
    columns = [next(iter(chart.renderers)).data_source.data for chart in found.values()]
    assert list(columns[0]["own"]) == [1.0, 2.0, 3.0]
    assert set(columns[0]["other"]) == {10.0}
    assert set(columns[1]["other"]) == {7.0}
    first, other = found.values()
    assert first.x_range is other.x_range
    assert progress_charts([a_curve([])]) == progress_charts([]) == {}


# ---- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/gates", "/gates/requests", "/gates/permits"])
def test_a_damaged_record_is_no_empty_ladder(registry, path):
    """The pages say that nothing can be told and how to look into it; programs get a conflict."""
    work = Counted(error=CheckFailed(TROUBLE))
    client = reading(registry, overview=work)
    page = client.get(path)

    assert "found altered" in page.text
    assert "peak-trade journal verify" in page.text
    assert 'class="rung"' not in page.text
    assert "nobody stands here" not in page.text
    answer = client.get("/api/gates")
    assert (answer.status_code, answer.json()["detail"]) == (409, TROUBLE)
    assert work.times == 1


def test_texts_stay_texts(registry):
    """Whatever a reason, a name or a file holds, it is shown and never obeyed."""
    event = {"at": AT, "strategy": "alpha", "version": "v", "account": "main", "symbols": [], "what": "demoted", "to": "shadow"}
    history = [{**event, "why": HOSTILE, "refused": ""}]
    refused = [{"event": event | {"why": HOSTILE}, "code": "not_lower", "words": HOSTILE, "meaning": "m"}]
    found = an_overview(
        ladder=[a_line(next=lacking(5), trouble=HOSTILE)],
        requests=[a_request(lacking=[{"code": "changed", "words": HOSTILE, "meaning": "m"}], trouble=HOSTILE, file=HOSTILE)],
        permits=[a_permit(good=False, objections=[{"code": "permit_revoked", "words": HOSTILE, "meaning": "m"}])],
        history=history,
        refused=refused,
    )
    client = reading(registry, overview=lambda: found)
    pages = [client.get(path) for path in ("/gates", "/gates/requests", "/gates/permits")]

    assert [page.status_code for page in pages] == [200] * 3
    assert all("&lt;script&gt;" in page.text for page in pages)
    assert not any("<script>" in page.text for page in pages)


@pytest.mark.parametrize("lang", ["en", "de"])
def test_nothing_acts(registry, lang):
    """No page of the gates has a form, and none takes one."""
    found = an_overview(ladder=[a_line(next=lacking(1))], requests=[a_request()], permits=[a_permit()])
    step = a_step(progress=[a_curve([1.0])])
    archive = {"archived": [], "trouble": ""}
    client = reading(registry, overview=lambda: found, step=lambda *_: step, archive=lambda: archive)
    paths = ["/gates", gate_url(a_line()), "/gates/requests", "/gates/permits", "/gates/archive"]

    for path in paths:
        page = client.get(path, headers={"accept-language": lang})
        assert page.status_code == 200, page.text
        assert "<form" not in page.text
        assert client.post(path, headers={"origin": "http://localhost"}).status_code in (403, 405)


def test_a_step_is_looked_at_only_where_something_stands(registry):
    """Names that stand nowhere, and steps that are none, cost no evaluation."""
    asked: list[tuple[str, ...]] = []

    def step(*named: str) -> dict[str, Any]:
        asked.append(named)
        return a_step()

    client = reading(registry, overview=lambda: an_overview(ladder=[a_line()]), step=step)
    version = a_line()["version"]
    paths = (f"/gates/of/beta/{version}", f"/gates/of/alpha/{version}?account=other", "/gates/of/alpha/x")

    assert [client.get(path).status_code for path in paths] == [404] * 3
    assert client.get(f"/gates/of/alpha/{version}?step=upwards").status_code == 400
    assert client.get(f"/api/gates/alpha/{version}?step=upwards").status_code == 422
    assert client.get(f"/api/gates/beta/{version}").status_code == 404
    assert asked == []
    assert client.get(f"/gates/of/alpha/{version}").status_code == client.get(f"/api/gates/alpha/{version}").status_code == 200
    assert asked == [("alpha", version, "main", "")]


def test_only_what_is_archived_is_read(registry):
    """The name of a file is held against the list before anything is opened."""
    opened: list[str] = []
    item = {"file": "2026-03-02_a_v1.0.md", "checklist": "a", "version": "v1.0", "on": "2026-03-02", "sha256": "0" * 64}
    item |= {"state": "altered"}

    def archived(name: str) -> dict[str, Any]:
        opened.append(name)
        return {**item, "text": HOSTILE}

    client = reading(registry, archive=lambda: {"archived": [item], "trouble": ""}, archived=archived)

    assert [client.get(f"/gates/archive/{name}").status_code for name in ("..%2f..%2fconfig.toml", "other.md")] == [404, 404]
    assert opened == []
    page = client.get(f"/gates/archive/{item['file']}")
    assert (page.status_code, opened) == (200, [item["file"]])
    assert "not the bytes that were archived" in page.text
    assert "<script>" not in page.text


def test_a_file_that_went_meanwhile(registry):
    """What is listed and gone when it is opened is not found."""

    def archived(_name: str) -> dict[str, Any]:
        raise NotFound("expected a file, found none")

    item = {"file": "f.md", "checklist": "a", "version": "v1.0", "on": "2026-03-02", "sha256": "", "state": "gone"}
    client = reading(registry, archive=lambda: {"archived": [item], "trouble": ""}, archived=archived)

    assert client.get("/gates/archive/f.md").status_code == 404
