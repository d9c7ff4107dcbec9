"""Checklists: what the templates hold, what is filled in, and that nothing which is open goes unnamed."""

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checklists import OTHER, edited, filled, finished, head, rulings, template
from tests.gates import DAY, MADE, NOW, PEOPLE, RUNGS, GateCase, altered, evidence_for, policy, sha
from tests.paths import ROOT

from peak_trade.governance.checklists import (
    CHECKLIST,
    CHECKLISTS,
    ChecklistLook,
    check_template,
    checklist_rung,
    fill,
    look,
    read_filled,
    read_template,
    statements,
)
from peak_trade.governance.criteria import Answer, Evidence, EvidenceKind, evaluate
from peak_trade.governance.documents import BYTES_MAX, digest
from peak_trade.governance.ladder import Rung
from peak_trade.governance.policy import BLOCKERS, ROLES_NAMED
from peak_trade.model.errors import ConfigError, InputError, InvariantBroken

AGE = 14 * DAY
CASE = GateCase()
FILLED = filled(CASE)
FINISHED = finished(FILLED)

#: The points of the playbook, sections 2.1 to 2.5, 4.1, 5.1 and 5.2, and the point of ours for each.
PLAYBOOK: dict[Rung, dict[str, str]] = {
    Rung.RESEARCH_SHADOW: {
        "2.1 Python-Environment": "environment",
        "2.1 config.toml konfiguriert": "configuration",
        "2.1 Testdaten vorhanden": "market_data",
        "2.1 alle Unit-Tests grün": "tests_green",
        "2.1 Backtests, Sweeps, Regime-Analyse": "research_reviewed",
        "2.2 Stufe 0 abgeschlossen": "stage_complete",
        "2.2 [shadow]-Sektion": "shadow_config",
        "2.2 [live_risk]-Limits": "limits_defined",
        "2.2 Shadow-Executor getestet": "shadow_tried",
        "2.2 Logs sichern": "logs_kept",
        "4.1 Backtest OK": "backtest_history",
        "4.1 Code-Review": "code_review",
    },
    Rung.SHADOW_TESTNET: {
        "2.3 Stufe 1 abgeschlossen": "stage_complete",
        "2.3 mehrere Wochen Shadow": "time_in_shadow",
        "2.3 ohne kritische Incidents": "no_critical_incident",
        "2.3 TradingExchangeClient konfiguriert": "exchange_client",
        "2.3 API-Credentials in Environment-Variablen": "credentials",
        "2.3 Testnet-Limits definiert": "config_limits",
        "2.3 Readiness, Smoke-Test": "readiness_checked",
        "4.1 Korrelation OK": "backtest_parity",
        "5.1 Statistiken exportieren und analysieren": "shadow_statistics",
        "5.1 mode = testnet": "config_mode",
        "5.1 Profile definieren": "config_profiles",
        "5.1 Limits konfigurieren": "limits_defined",
        "5.1 zweite Person prüft": "checklist_reviewed",
        "5.1 offene Punkte klären": "open_points_settled",
        "5.1 Freigabe (Owner)": "owner_release",
        "5.1 Config committen": "config_committed",
        "5.1 Tests ausführen": "tests_green",
        "5.1 Dry-Run des Profils": "dry_run",
        "5.1 erster Testnet-Run": "first_run",
        "5.1 ersten Run überwachen": "first_run_watched",
        "5.1 Run-ID dokumentieren": "first_run_recorded",
        "5.1 archivieren": "archive_arranged",
    },
    Rung.TESTNET_SHADOW_LIVE: {
        "2.4 Stufe 2 abgeschlossen": "stage_complete",
        "2.4 mehrere Wochen Testnet": "time_in_testnet",
        "2.4 Performance-Validierung": "performance_compared",
        "2.4 Testnet vs. Shadow": "shadow_parity",
        "2.4 Monitoring eingerichtet": "monitoring_set_up",
        "2.3 Fee-/Slippage-Vergleich": "costs_compared",
        "2.4 Live-Daten": "live_data",
        "4.1 Kill-Switch OK": "kill_switch_drill",
        "5.2 Statistiken analysieren": "testnet_statistics",
        "5.2 Erfolgsquote > 95 %": "order_success",
        "5.2 Risk Officer prüft": "checklist_reviewed",
    },
    Rung.SHADOW_LIVE_LIVE: {
        "2.5 Monate Erfahrung": "stage_complete",
        "2.5 Governance-Dokumentation": "governance_documents",
        "2.5 Zwei-Personen-Freigabe": "second_person_release",
        "2.5 24/7-Monitoring": "monitoring_rota",
        "2.5 Kill-Switch getestet": "kill_switch_drill",
        "5.2 Statistiken über gesamten Zeitraum": "statistics_analysed",
        "5.2 Order-Erfolgsquote": "order_success",
        "5.2 Erfolgsquote berechnen": "order_rate_reviewed",
        "5.2 Kill-Switch testen": "kill_switch_known",
        "5.2 Risk Officer prüft": "checklist_reviewed",
        "5.2 Impact-Analyse": "impact_analysis",
        "5.2 Kapital-Allokation": "capital_allocation",
        "5.2 Notfall-Kontakte": "emergency_contacts",
        "5.2 Owner-Freigabe": "owner_release",
        "5.2 Freigabe-Dokument archivieren": "release_archived",
        "5.2 Live-Credentials": "live_credentials",
        "5.2 Config für Live": "live_config",
        "5.2 finale Test-Runde": "final_tests",
        "5.2 Dry-Run mit Live-Preview": "live_preview",
        "5.2 System starten": "start_attended",
        "5.2 ersten Trade überwachen": "first_trade_watched",
        "5.2 Monitoring und Alerts": "monitoring_alert",
    },
}


def looked(content: bytes, case: GateCase = CASE, at: datetime = NOW, **given) -> ChecklistLook:
    """Look at a list of a case."""
    return look(content, template(case.rung), PEOPLE, at, AGE, **given)


def opened(content: bytes, **given) -> dict[str, str]:
    """Return what is open, by point."""
    return dict(looked(content, **given).open_points)


# ---- the templates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rung", RUNGS)
def test_templates_ask_what_the_policy_asks(rung):
    """Each machine criterion and blocker has its measured point, each statement of people a point by hand, and no more."""
    measured = {point.id for point in template(rung).points if point.measured}
    by_hand = {point.id for point in template(rung).points if not point.measured}
    criteria = policy().criteria[rung]

    check_template(template(rung), criteria)
    people = [item for item in criteria if item.evidence == (EvidenceKind.PERSON,)]
    assert measured == {item.id for item in criteria if item not in people} - {CHECKLIST} | {ROLES_NAMED}
    assert measured >= BLOCKERS - {CHECKLIST}
    assert {item.where["about"] for item in people} <= by_hand


@pytest.mark.parametrize("rung", RUNGS)
def test_templates_have_the_points_of_the_playbook(rung):
    """Every point of the playbook has one of ours."""
    ours = {point.id for point in template(rung).points}

    assert set(PLAYBOOK[rung].values()) <= ours


def test_the_guide_names_them_all():
    """Its table is that of the code, and its example of a point is one that is done."""
    text = (ROOT / "docs" / "guide" / "checklists.md").read_text("utf-8")
    rows = [tuple(row.strip("|` ").replace("`", "").split(" | ")) for row in text.splitlines() if row.startswith("| `")]
    example = text.partition("```text\n- [x]")[2].partition("```")[0].replace("risk-1", "rudi")
    mine = FINISHED.decode().replace(_block(FINISHED.decode(), "dry_run"), f"- [x]{example}")

    assert rows == [(name, rung.value) for rung, name in CHECKLISTS.items()]
    assert "the kill switch was tried" in mine
    assert opened(mine.encode()) == {}


def test_lists_are_called_as_steps_are():
    """By the name of the file or of the step; another is refused with those there are."""
    for rung, name in CHECKLISTS.items():
        assert checklist_rung(name) is checklist_rung(rung.value) is rung
    assert CHECKLISTS[Rung.TESTNET_SHADOW_LIVE] == "testnet_to_shadow_live"
    with pytest.raises(InputError, match="shadow_to_testnet"):
        checklist_rung("shadow_to_live")


SMALL = """---
checklist: shadow_to_testnet
version: v1.0
step: shadow->testnet
---
# T

- [ ] (measured) **roles_named**
- [ ] (by hand) **a**: Words.
"""


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("---\nchecklist", "checklist", "head"),
        ("version: v1.0", "version: 1", "version"),
        ("version: v1.0", "version: v1.0\nmore: x", "unknown field"),
        ("version: v1.0\n", "", "missing required field"),
        ("step: shadow->testnet", "step: shadow->live", "enum"),
        ("checklist: shadow_to_testnet", "checklist: research_to_shadow", "shadow_to_testnet"),
        ("**a**", "**roles_named**", "roles_named again"),
        ("**a**", "**head**", "head again"),
        ("**roles_named**", "**roles_named**: Own words.", "no words"),
        ("**a**: Words.", "**a**", "words"),
        ("# T", "# \ud800T", "UTF-8"),
    ],
)
def test_other_templates_are_refused(old, new, why):
    """With what is wrong; the unspoilt one is read."""
    assert [point.id for point in read_template(SMALL.encode(), "x.md").points] == ["roles_named", "a"]
    assert old in SMALL
    with pytest.raises(ConfigError, match=why) as found:
        read_template(SMALL.replace(old, new, 1).encode("utf-8", "surrogatepass"), "x.md")
    assert "x.md" in str(found.value)


@pytest.mark.parametrize(
    ("rung", "line", "why"),
    [
        (Rung.SHADOW_TESTNET, "- [ ] (measured) **backtest_parity**\n", "none for backtest_parity"),
        (Rung.SHADOW_TESTNET, "- [ ] (measured) **roles_named**\n", "none for roles_named"),
        (Rung.RESEARCH_SHADOW, "(by hand) **code_review**", "no code_review"),
        (Rung.SHADOW_LIVE_LIVE, "(by hand) **capital_allocation**", "no capital_allocation"),
    ],
)
def test_a_template_must_fit_its_policy(rung, line, why):
    """A criterion without a point is told, and so is a statement that nobody could make."""
    content = edited(_raw(rung), line, "(by hand) **other**" if "hand" in line else "")

    with pytest.raises(ConfigError, match=why):
        check_template(read_template(content, "x.md"), policy().criteria[rung])


def test_a_point_measured_by_nothing_is_refused():
    """Whoever adds a measured point has to add its criterion; the list can't ask for itself."""
    for name in ("luck", CHECKLIST, "code_reviewed"):
        more = edited(_raw(Rung.RESEARCH_SHADOW), "## Stage 0", f"- [ ] (measured) **{name}**\n\n## Stage 0")
        with pytest.raises(ConfigError, match=f"found {name}"):
            check_template(read_template(more, "x.md"), policy().criteria[Rung.RESEARCH_SHADOW])


# ---- filling in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rung", RUNGS)
def test_what_was_measured_is_filled_in(rung):
    """With answer, value, limit and runs; what is left open is exactly what people do; once they did, nothing is."""
    case = GateCase(rung=rung)
    content = filled(case)
    text = content.decode()
    by_hand = {point.id for point in template(rung).points if not point.measured}

    assert set(opened(content, case=case)) == by_hand
    for ruling in rulings(case):
        for item in ruling.measured if ruling.criterion not in (CHECKLIST, *_stated(rung)) else ():
            assert f"  - {item.name}: {item.found}, needed {item.limit} (pass)" in text
    assert looked(finished(content), case).complete


def test_evidence_is_named_and_linked():
    """Every run by its id, with a link where its results lie; the same runs once, and elsewhere by the point that has them."""
    text = FILLED.decode()

    assert "  - evidence (60): [shadow-0](../experiments/shadow-0/), shadow-1, shadow-10" in text
    assert all(text.count(f" shadow-{day},") == 1 for day in range(1, 59) if day != 9)
    assert text.count("  - evidence (60): the runs of time_in_shadow") == 3


def test_the_head_names_all_it_is_about():
    """Strategy, parameters, code, account, pairs, step, version and the template's hash."""
    found = read_filled(FILLED).head

    assert found == head(CASE)
    assert found.template_sha256 == template(CASE.rung).sha256 == digest(_raw(CASE.rung))
    assert found.strategy_version == CASE.request.strategy
    assert found.package_sha256 == sha("code")
    assert (found.account, found.symbols, found.made_at) == ("paper", ("BTC/EUR", "ETH/EUR"), MADE)


@pytest.mark.parametrize("change", [{"account": "a\nb: c"}, {"account": "../x"}, {"symbols": ()}, {"symbols": ("BTC, EUR/X",)}])
def test_a_head_can_hold_no_more_than_names(change):
    """What would break its lines is refused before a list is made."""
    bad = msgspec.structs.replace(head(CASE), **change)
    with pytest.raises(InputError, match=next(iter(change))):
        fill(template(CASE.rung), bad, CASE.policy.criteria[CASE.rung], rulings(CASE), {})


def test_a_ruling_that_is_missing_is_our_fault():
    """A list without an answer to a criterion is not made."""
    some = [ruling for ruling in rulings(CASE) if ruling.criterion != "backtest_parity"]
    with pytest.raises(InvariantBroken, match="backtest_parity"):
        fill(template(CASE.rung), head(CASE), CASE.policy.criteria[CASE.rung], some, {})


def test_words_can_close_no_comment():
    """A name in a ruling that would end the seal's comment, or begin a line, is made harmless and still sealed."""
    bad = "x --> <!-- y\n- [x] (by hand) **z**: z"
    found = [msgspec.structs.replace(item, why=bad, measured=(), answer=Answer.FAIL) for item in rulings(CASE)]
    content = fill(template(CASE.rung), head(CASE), CASE.policy.criteria[CASE.rung], found, {})

    assert "z" not in opened(content)
    assert opened(content)["backtest_parity"] == "it came to fail, not pass"
    assert content.count(b"-->") == content.count(b"<!--") == sum(point.measured for point in template(CASE.rung).points)


# ---- what is open ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("- [x] (by hand) **dry_run**", "- [ ] (by hand) **dry_run**", "not ticked"),
        ("  - name: olga", "  - name:", "no name"),
        ("  - name: olga\n", "", "no name"),
        ("  - name: olga", "  - name: stranger", "no id of somebody"),
        ("  - name: olga", "  - name: Olga Example", "no id of somebody"),
        ("  - date: 2026-11-18", "  - date:", "no date"),
        ("  - date: 2026-11-18", "  - date: 18.11.2026", "is none: write it as 2026-11-20"),
        ("  - date: 2026-11-18", "  - date: 2026-02-30", "is none"),
        ("  - date: 2026-11-18", "  - date: 20261118", "is none"),
        ("  - date: 2026-11-18", "  - date: 2026-11-21", "yet to come"),
        ("  - date: 2026-11-18", "  - date: 2026-11-06", "more than 14 days back"),
        ("  - note: looked at it", "  - note:", "no note"),
        ("  - note: looked at it", "  - note: -- …", "no note"),
        ("  - note: looked at it", "  - note: looked <!-- at it", "HTML in the note"),
        ("  - note: looked at it", "  - note: looked\n    <div hidden>", "HTML in the note"),
        ("  - name: olga", "  - name: olga\n  - name: otto", "does not belong here"),
        ("  - name: olga", "  - name: olga\n  more", "does not belong here"),
        ("  - name: olga", "  - deviation: x\n  - name: olga", "does not belong here"),
        ("shows what is meant.", "shows what is ment.", "words are not the template's"),
        ("--profile NAME --dry-run`", "--profile NAME`", "words are not the template's"),
    ],
)
def test_what_a_person_left_open_is_named(old, new, why):
    """In the one point where it is; with everything filled in, nothing is."""
    point = "dry_run"
    before, mark, after = FINISHED.decode().partition("- [x] (by hand) **dry_run**")
    content = before.encode() + edited((mark + after).encode(), old, new)

    assert opened(FINISHED) == {}
    assert list(opened(content)) == [point]
    assert why in opened(content)[point]


@pytest.mark.parametrize(("days", "complete"), [(0, True), (13, True), (14, False)])
def test_a_date_is_good_for_so_long(days, complete):
    """A statement's day begins at midnight UTC; it is good while that lies no more than 14 times 24 hours back."""
    content = finished(filled(CASE, MADE), on="2026-11-20")
    at = datetime(2026, 11, 20, 23, 59, tzinfo=UTC) + days * DAY
    fresh = filled(CASE, at)
    content = finished(fresh, on="2026-11-20")

    assert looked(content, at=at).complete is complete


def test_a_date_is_good_at_its_limit():
    """At exactly 14 days it is, a microsecond later it is not; at the first moment of its day it is, before it is not."""
    day = datetime(2026, 11, 20, tzinfo=UTC)
    tick = timedelta(microseconds=1)

    def opened_at(at: datetime, made_at: datetime) -> dict[str, str]:
        return opened(finished(filled(CASE, made_at), on="2026-11-20"), at=at)

    assert opened_at(day + AGE, day) == {}
    assert "days back" in opened_at(day + AGE + tick, day + DAY)["dry_run"]
    assert opened_at(day, day) == {}
    assert "yet to come" in opened_at(day - tick, day - DAY)["dry_run"]


def test_a_list_ages():
    """Too old or from the future it is made anew; at its limit it is good."""
    tick = timedelta(microseconds=1)
    for at, why in ((MADE - tick, "yet to come"), (MADE + AGE + tick, "more than 14 days ago")):
        content = finished(FILLED, on=f"{at:%F}")
        assert list(opened(content, at=at)) == ["head"]
        assert why in opened(content, at=at)["head"]
    assert looked(finished(FILLED, on=f"{MADE + AGE:%F}"), at=MADE + AGE).complete


@pytest.mark.parametrize(
    ("change", "answer", "why"),
    [
        ({"fills_equal": 90}, "fail", "it came to fail, not pass"),
        ({"fills_equal": None}, "inconclusive", "it came to inconclusive, not pass"),
    ],
)
def test_a_hard_point_must_pass(change, answer, why):
    """Whatever somebody ticks: the answer counts."""
    runs = evidence_for(CASE.rung)
    for day in range(60):
        runs = altered(runs, f"shadow-{day}", **change)
    content = finished(filled(CASE.but(evidence=runs)))
    ticked = edited(content, "- [ ] (measured) **backtest_parity**", "- [x] (measured) **backtest_parity**")

    assert f"  - answer: {answer} (hard)" in content.decode()
    assert opened(content) == opened(ticked) == {"backtest_parity": why}


def _short() -> GateCase:
    """Return a case with too few days in shadow: a soft criterion that is inconclusive."""
    runs = [item for item in evidence_for(CASE.rung) if item.kind is not EvidenceKind.SHADOW or item.at > MADE - 13 * DAY]
    for day in range(14):
        runs = altered(runs, f"shadow-{day}", trades=9)
    return CASE.but(evidence=runs)


def test_a_soft_point_needs_a_deviation():
    """Its hash, and who stands for it; with both it is done, and the gate is told which deviation."""
    content = finished(filled(_short()))
    why = opened(content)["time_in_shadow"]
    done = content.decode().replace("- [ ] (measured) **time_in", "- [x] (measured) **time_in")
    lines = "  - deviation: {}\n  - name: rita\n  - date: 2026-11-19\n  - note: excellent results"
    empty = "  - deviation:\n  - name:\n  - date:\n  - note:"
    assert empty in done
    good = done.replace(empty, lines.format(OTHER)).encode()

    assert list(opened(content)) == ["time_in_shadow"]
    assert all(word in why for word in ("came to inconclusive and is soft", "no deviation", "no name", "no date", "no note"))
    assert "no deviation" in opened(done.replace(empty, lines.format("yes")).encode())["time_in_shadow"]
    assert "not ticked" in opened(edited(good, "[x] (measured) **time_in", "[ ] (measured) **time_in"))["time_in_shadow"]
    assert "no id" in opened(edited(good, "name: rita", "name: nobody"))["time_in_shadow"]
    assert looked(good).complete
    assert looked(good).deviations == {"time_in_shadow": OTHER}


@pytest.mark.parametrize(
    ("old", "new", "point"),
    [
        ("  - fills_equal/fills: 1,", "  - fills_equal/fills: 0.999,", "backtest_parity"),
        ("[shadow-0](../experiments/shadow-0/)", "[shadow-0](../experiments/other/)", "time_in_shadow"),
        ("- [x] (measured) **backtest_parity**: S", "- [x] (measured) **backtest_parity**: s", "backtest_parity"),
        ("- [x] (measured) **backtest_parity**", "- [ ] (measured) **backtest_parity**", "backtest_parity"),
        ("  <!-- sealed ", "  <!-- sealed 0", "roles_named"),
        ("  <!-- sealed ", "  <!--", "roles_named"),
    ],
)
def test_an_edited_measure_is_named(old, new, point):
    """Values, links, words, boxes and seals."""
    found = opened(edited(FINISHED, old, new))

    assert point in found
    assert set(found) <= {point, "head"}


def test_a_measure_of_another_list_is_none():
    """A point that passed, with its seal, taken over from a list where it did."""
    runs = evidence_for(CASE.rung)
    for day in range(60):
        runs = altered(runs, f"shadow-{day}", fills_equal=90)
    failed = finished(filled(CASE.but(evidence=runs))).decode()
    content = failed.replace(_block(failed, "backtest_parity"), _block(FINISHED.decode(), "backtest_parity")).encode()

    assert list(opened(content)) == ["head"]
    assert "which points were measured, was edited" in opened(content)["head"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("account: paper", "account: real"),
        ("strategy: ma_crossover", "strategy: macd"),
        ("symbols: BTC/EUR, ETH/EUR", "symbols: BTC/EUR"),
        (f"params_sha256: {CASE.request.strategy.params_sha256}", f"params_sha256: {OTHER}"),
        (f"package_sha256: {sha('code')}", f"package_sha256: {OTHER}"),
        ("made_at: 2026-11-18", "made_at: 2026-11-19"),
        ("machine_sha256: ", "machine_sha256: 0"),
    ],
)
def test_an_edited_head_is_named(old, new):
    """Everything that it says is sealed."""
    assert "was edited" in opened(edited(FINISHED, old, new))["head"]


def test_a_point_must_be_there_once():
    """Missing, unknown, twice, and one that somebody made a point by hand of."""
    text = FINISHED.decode()
    block = _block(text, "dry_run")
    parity = _block(text, "backtest_parity")

    assert opened(text.replace(block, "").encode()) == {"dry_run": "it is missing"}
    assert opened(text.replace(block, block.replace("**dry_run**", "**wet_run**")).encode()) == {
        "wet_run": "the template has no such point",
        "dry_run": "it is missing",
    }
    assert opened(text.replace(block, block + block).encode()) == {"dry_run": "it stands here 2 times"}
    assert opened(text.replace(parity, "").encode())["backtest_parity"] == "it is missing"
    by_hand = block.replace("**dry_run**", "**backtest_parity**")
    assert "no such point" in opened(text.replace(parity, by_hand).encode())["backtest_parity"]


def test_other_text_is_named():
    """A remark between the points, a heading that is gone, and points that a comment hides from readers."""
    hidden = edited(
        edited(FINISHED, "- [x] (by hand) **dry_run**", "<!--\n- [x] (by hand) **dry_run**"), "## Monitoring", "-->\n## M"
    )

    assert "found 'all good'" in opened(edited(FINISHED, "## Review", "all good\n\n## Review"))["text"]
    assert "## Review" in opened(edited(FINISHED, "## Review, on the day and before anything is switched on\n", ""))["text"]
    assert "found '<!--'" in opened(hidden)["text"]
    assert "found 'more'" in opened(FINISHED + b"more\n")["text"]


def test_editors_leave_their_marks():
    """Other ends of lines, a mark at the beginning, blanks, empty lines and a note of several paragraphs change nothing."""
    text = FINISHED.decode()
    longer = text.replace("  - note: looked at it", "  - note: looked at it\n    and again\n\n    - twice", 1)

    for content in (
        text.replace("\n", "\r\n"),
        "\ufeff" + text,
        text.replace("\n", "  \n"),
        text.replace("\n## ", "\n\n\n## ") + "\n\n",
        text.replace("[x]", "[X]").replace("[X] (by hand) **dry", "[ x ] (by hand) **dry"),
        text.rstrip("\n"),
        longer,
        text.replace("looked at it", "2 < 3 and 4 > 3, * _ ` # [a](b)"),
    ):
        assert opened(content.encode()) == {}
        assert looked(content.encode()).sha256 == digest(content.encode())
    assert statements(read_filled(longer.encode()))[0].note == "looked at it\nand again\n- twice"


def test_another_template_is_told_once():
    """A new version, or other bytes of the same: the list is made anew; what is open besides is told as well."""
    raw = _raw(CASE.rung)
    newer = edited(edited(raw, "v1.0", "v1.1"), "## Review", "- [ ] (by hand) **lunch**: Eat.\n\n## Review")
    changed = edited(raw, "dry run of the profile", "dry run")

    for content, why in ((newer, "was made from v1.0 of the template, the present one is v1.1"), (changed, "other bytes now")):
        found = look(FINISHED, read_template(content, "x.md"), PEOPLE, NOW, AGE)
        assert not found.current_version
        assert why in dict(found.open_points)["head"]
        assert {name for name, _ in found.open_points} <= {"head", "lunch"}
    assert looked(FINISHED).current_version


def test_a_list_is_held_against_the_request():
    """With another strategy, code, account or pairs it is not the one that is asked for."""
    same = CASE.request
    other = {
        "account": {"account": "real"},
        "pairs": {"symbols": ("BTC/EUR",)},
        "step": {"transition": Rung.RESEARCH_SHADOW},
        "parameters": {"strategy": msgspec.structs.replace(same.strategy, params_sha256=OTHER)},
        "strategy's code": {"strategy": msgspec.structs.replace(same.strategy, code_sha256=OTHER)},
        "code": {"parts": same.parts | {"code": {"src": OTHER}}},
    }

    assert opened(FINISHED, request=same) == {}
    for name, change in other.items():
        found = opened(FINISHED, request=msgspec.structs.replace(same, **change))
        assert found == {"head": f"it is about something else than the request: other {name}"}
    with pytest.raises(InputError, match="research_to_shadow"):
        look(FINISHED, template(Rung.RESEARCH_SHADOW), PEOPLE, NOW, AGE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# Checklist\n",
        b"---\n",
        b"\xff" + FILLED,
        b"---\nchecklist: shadow_to_testnet\n---\n",
        SMALL.encode(),
        FILLED.replace(b"made_at: 2026-11-18T12:00:00Z", b"made_at: yesterday"),
        FILLED.replace(b"account: paper", b"account: ../x"),
        FILLED.replace(b"account: paper", b"account: paper\naccount: paper"),
        FILLED.replace(b"step: shadow->testnet", b"step: research->shadow"),
        FILLED.replace(b"symbols: BTC/EUR, ETH/EUR", b"symbols: everything"),
        FILLED + b" " * (4 << 20),
        bytes(range(256)),
    ],
    ids=range(13),
)
def test_what_is_no_checklist_is_refused(content):
    """In one sentence."""
    with pytest.raises(InputError) as found:
        looked(content)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 400


@pytest.mark.parametrize("more", ["\n", "\n  a", "  a\n", "a\n", "- [x] (by hand) **dry_run**: a\n", "  - name: olga\n", " "])
def test_the_largest_list_is_told_in_few_words(more):
    """Four megabytes of the same: an answer that a person can read."""
    content = FINISHED + more.encode() * ((BYTES_MAX - len(FINISHED)) // len(more))

    assert sum(len(why) for why in opened(content).values()) < 1_000


# ---- what it says to the gate --------------------------------------------------------------------------------------------


def test_people_state_what_no_machine_knows():
    """A person, a day, a note, and whether they agree; somebody who is nobody states nothing."""
    case = GateCase(rung=Rung.SHADOW_LIVE_LIVE)
    content = finished(filled(case), person="rudi", on="2026-11-19", note="2000 EUR")
    refused = edited(content, "- [x] (by hand) **capital_allocation**", "- [ ] (by hand) **capital_allocation**")
    stranger = finished(filled(case), person="stranger")

    found = {item.about: item for item in looked(refused, case).statements}
    assert found["impact_analysis"] == ("impact_analysis", "rudi", date(2026, 11, 19), "2000 EUR", True)
    assert found["impact_analysis"].at == datetime(2026, 11, 19, tzinfo=UTC)
    assert found["capital_allocation"].agreed is False
    assert {point.id for point in template(case.rung).points if not point.measured} == set(found)
    assert statements(read_filled(filled(case))) == []
    assert looked(stranger, case).statements == ()
    assert statements(read_filled(stranger))


@pytest.mark.parametrize("agreed", [True, False])
def test_a_statement_is_evidence(agreed):
    """Made into evidence as the policy names it, it answers the criterion: yes where it was ticked, no where it was not."""
    case = GateCase(rung=Rung.SHADOW_LIVE_LIVE)
    content = finished(filled(case))
    if not agreed:
        content = edited(content, "- [x] (by hand) **impact_analysis**", "- [ ] (by hand) **impact_analysis**")
    stated = next(item for item in looked(content, case).statements if item.about == "impact_analysis")
    facts = {"about": stated.about, "agreed": stated.agreed}
    run = Evidence(kind=EvidenceKind.PERSON, run_id="stated", sha256=sha("x"), at=stated.at, facts=facts)
    criterion = case.policy.criterion(case.rung, "impact_analysis")
    assert criterion is not None

    assert evaluate(criterion, [run], case.request, MADE).answer is (Answer.PASS if agreed else Answer.FAIL)


@pytest.mark.parametrize(
    ("content", "passes"),
    [(FINISHED, True), (FILLED, False), (edited(FINISHED, "v1.0", "v0.9"), False), (edited(FINISHED, "olga", "nobody"), False)],
)
def test_the_facts_answer_the_criterion(content, passes):
    """As evidence of the repository they pass `checklist_current` where nothing is open, and only then."""
    found = looked(content)
    run = Evidence(kind=EvidenceKind.REPOSITORY, run_id="list", sha256=found.sha256, at=MADE, facts=found.facts)
    request = msgspec.structs.replace(CASE.request, parts=CASE.request.parts | {"checklist": {"list.md": found.sha256}})
    criterion = CASE.policy.criterion(CASE.rung, CHECKLIST)
    assert criterion is not None

    assert found.sha256 == digest(content)
    assert (evaluate(criterion, [run], request, MADE).answer is Answer.PASS) is passes
    other = msgspec.structs.replace(request, parts=request.parts | {"checklist": {"list.md": OTHER}})
    assert evaluate(criterion, [run], other, MADE).answer is Answer.FAIL


# ---- nothing goes unnoticed ------------------------------------------------------------------------------------------------

LINES = FINISHED.decode().split("\n")


def complete(lines: list[str]) -> bool:
    """Tell whether a list of these lines is complete; what is no list is not."""
    try:
        return looked("\n".join(lines).encode()).complete
    except InputError:
        return False


@settings(max_examples=300)
@given(st.data())
def test_no_changed_letter_goes_unnoticed(data):
    """Any letter of any line, but for those of a note, is the template's, sealed, or must be what it is."""
    number = data.draw(st.sampled_from([n for n, line in enumerate(LINES) if line and not line.startswith("  - note:")]))
    place = data.draw(st.sampled_from([n for n, letter in enumerate(LINES[number]) if letter != " "]))
    letter = data.draw(st.sampled_from("§a0- "))
    line = LINES[number][:place] + letter + LINES[number][place + 1 :]
    changed = [*LINES[:number], line, *LINES[number + 1 :]]

    assert complete(LINES)
    assert complete(changed) is (line == LINES[number] or _other_day(line))


@settings(max_examples=300)
@given(st.integers(0, len(LINES) - 1), st.booleans())
def test_no_line_too_many_or_too_few_goes_unnoticed(number, gone):
    """Empty ones aside."""
    changed = LINES[:number] + ([] if gone else [LINES[number]] * 2) + LINES[number + 1 :]

    assert complete(changed) is (not LINES[number])


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, len(FINISHED)), st.integers(0, 200))
def test_rubbish_is_told_apart_from_lists(rubbish, start, length):
    """Bytes put in place of others: a list with something open, none at all, or the same list; never another error."""
    content = FINISHED[:start] + rubbish + FINISHED[start + length :]
    try:
        found = looked(content)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert found.sha256 == digest(content)


def _other_day(line: str) -> bool:
    """Tell whether a line is a date that is as good."""
    return line.startswith("  - date: 2026-11-") and "06" < line[-2:] <= "20" and line[-2:].isdigit()


def _stated(rung: Rung) -> set[str]:
    return {item.id for item in policy().criteria[rung] if item.evidence == (EvidenceKind.PERSON,)}


def _raw(rung: Rung) -> bytes:
    return (ROOT / "governance" / "checklists" / f"{CHECKLISTS[rung]}.md").read_bytes()


def _block(text: str, point: str) -> str:
    """Return a point with the lines below it."""
    lines = text.split("\n")
    start = next(number for number, line in enumerate(lines) if f"**{point}**" in line)
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith("  "))
    return "\n".join(lines[start:end]) + "\n"
