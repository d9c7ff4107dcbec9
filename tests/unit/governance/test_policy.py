"""The policy: nothing of the playbook can be left out or softened, and nothing senseless is taken."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import DAY, POLICY, RUNGS, asks, policy

from peak_trade.governance.criteria import OF_VERSION, EvidenceKind
from peak_trade.governance.ladder import Rung
from peak_trade.governance.policy import BLOCKERS, HARD, SOFT_OR_HARD, read_policy
from peak_trade.model.errors import ConfigError
from peak_trade.model.stage import Stage

TEXT = POLICY.decode()
BLOCKS = re.split(r"(?=^\[\[)", TEXT, flags=re.M)


def block(name: str, rung: Rung | None = None) -> str:
    """Return the text of one criterion."""
    head = "[[blocker]]" if rung is None else f'[[step."{rung.value}".criterion]]'
    return next(item for item in BLOCKS if item.startswith(head) and f'id = "{name}"' in item)


ALL = [(name, None) for name in sorted(BLOCKERS)] + [
    (name, rung) for rung in RUNGS for name in sorted(HARD[rung] | SOFT_OR_HARD[rung])
]


def test_the_delivered_policy_has_the_playbook_s_numbers():
    """Six months, two, four and eight weeks, over 95 per cent, fresh drills, fourteen days."""
    assert asks(Rung.RESEARCH_SHADOW, "backtest_history").measure[0].limit >= 182
    weeks = [("time_in_shadow", 1), ("time_in_testnet", 2), ("time_in_shadow_live", 3)]
    assert [asks(RUNGS[number], name).measure[0].at_least for name, number in weeks] == [14, 28, 56]
    assert not any(asks(RUNGS[number], name).hard for name, number in weeks)
    assert str(asks(Rung.TESTNET_SHADOW_LIVE, "order_success").measure[0].above) == "0.95"
    assert asks(Rung.SHADOW_LIVE_LIVE, "kill_switch_drill").max_age_days <= 30
    assert (policy().request_lasts, policy().approval_lasts) == (14 * DAY, 14 * DAY)
    assert set(policy().permit_lasts) == set(Stage) - {Stage.RESEARCH}


def test_the_emulator_counts_where_it_is_named_and_nowhere_else():
    """It proves the life of an order, which validation can't."""
    naming = {(rung, item.id) for rung in RUNGS for item in policy().criteria[rung] if EvidenceKind.EMULATOR in item.evidence}

    assert naming == {(Rung.TESTNET_SHADOW_LIVE, "order_life_emulated")}


def test_proofs_are_of_the_version():
    """Whatever speaks of a strategy counts for this one alone."""
    for rung, name in ((RUNGS[0], "causality_proof"), (RUNGS[0], "warmup_proof"), (RUNGS[2], "order_life_emulated")):
        assert asks(rung, name).of_version
    sessions = {"time_in_shadow", "shadow_activity", "backtest_parity"}
    assert all(set(asks(RUNGS[1], name).evidence) <= OF_VERSION for name in sessions)


@pytest.mark.parametrize(("name", "rung"), ALL)
def test_no_criterion_can_be_left_out(name, rung):
    """Each of the playbook's by itself."""
    with pytest.raises(ConfigError, match=f"none named {name}"):
        read_policy(TEXT.replace(block(name, rung), "").encode())


@pytest.mark.parametrize(("name", "rung"), ALL)
def test_no_hard_criterion_can_be_made_soft(name, rung):
    """And a soft one may be made hard, once nobody may deviate from it."""
    old = block(name, rung)
    if "hard = true" in old:
        with pytest.raises(ConfigError, match="to be hard, found it soft"):
            read_policy(TEXT.replace(old, old.replace("hard = true", "hard = false")).encode())
    else:
        harder = re.sub(r", furthest = [\d.]+", "", old.replace("hard = false", "hard = true"))
        assert read_policy(TEXT.replace(old, harder).encode()).criterion(rung, name).hard
        with pytest.raises(ConfigError, match="furthest only where the criterion is soft"):
            read_policy(TEXT.replace(old, old.replace("hard = false", "hard = true")).encode())


ORDER = 'measure = [{ take = "share", of = "orders_valid", among = "orders", above = 0.95 }]'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", "", "format"),
        ("format = 1", "format = 1\nfromat = 1", "did you mean format"),
        ("valid_days = 14 ", "valid_day = 14 ", "did you mean valid_days"),
        ("valid_days = 14 ", "valid_days = 0 ", "valid_days"),
        ("valid_days = 14 ", "valid_days = 91 ", "valid_days"),
        ("live_days = 90", "live_days = 0", "live_days"),
        ('evidence = ["shadow"]', 'evidence = ["shadows"]', "shadows"),
        ('evidence = ["shadow"]', "evidence = []", "length"),
        ('evidence = ["shadow"]', 'evidence = ["live_data"]', "can be made in shadow or below"),
        ('evidence = ["shadow"]', 'evidence = ["validate_only"]', "can be made in shadow or below"),
        ('id = "shadow_activity"', 'id = "Shadow activity"', "id"),
        ('id = "shadow_activity"', 'id = "shadow_activity"\nhard = true', "TOML"),
        ("max_age_days = 7\n", "max_age_days = 0\n", "max_age_days"),
        ("max_age_days = 7\n", "", "max_age_days"),
        ("at_least = 14, furthest = 12", "at_least = 60, furthest = 12", "more than the days asked for"),
        ("at_least = 14, furthest = 12", "at_least = 14, furthest = 14", "looser side"),
        ("at_least = 14, furthest = 12", "at_least = 14, furthest = 15", "looser side"),
        ("at_most = 0.25, furthest = 0.30", "at_most = 0.25, furthest = 0.2", "looser side"),
        ("at_least = 14, furthest = 12", "at_least = 14, at_most = 20", "exactly one limit"),
        ("at_least = 14, furthest = 12", "at_least = nan", "exactly one limit"),
        ("at_least = 14, furthest = 12", "at_least = 14, furthest = nan", "looser side"),
        ("at_least = 14, furthest = 12", "", "TOML|exactly one limit"),
        (ORDER, ORDER.replace("above = 0.95", "aboev = 0.95"), "did you mean above"),
        (ORDER, ORDER.replace("above = 0.95", "above = -inf"), "exactly one limit"),
        (ORDER, ORDER.replace(', among = "orders"', ""), "among"),
        (ORDER, ORDER.replace('of = "orders_valid", ', ""), "of"),
        (ORDER, ORDER.replace("share", "average"), "average"),
        (ORDER, "measure = []", "length"),
        (ORDER, ORDER.replace("}]", "}, " + ORDER.removeprefix("measure = [")), "found one twice"),
        ('{ take = "gap_days", at_most = 4 }', '{ take = "gap_days", of = "x", at_most = 4 }', "`of`"),
        ('{ take = "gap_days", at_most = 4 }', '{ take = "gap_days", at_most = 4, is = true }', "exactly one limit"),
        (
            '{ take = "gap_days", at_most = 4 }',
            '{ take = "gap_days", at_most = 4, as_requested = "code" }',
            "exactly one limit",
        ),
        ('of = "journal_sound", is = true', 'of = "journal_sound"', "either is or as_requested"),
        (
            'of = "journal_sound", is = true',
            'of = "journal_sound", is = true, as_requested = "code"',
            "either is or as_requested",
        ),
        ('of = "journal_sound", is = true', "is = true", "name of a fact"),
        ('of = "journal_sound", is = true', 'of = "journal_sound", is = true, at_least = 1', "name of a fact"),
        ('of = "journal_sound", is = true', 'of = "journal_sound", is = 1.5', "decimal"),
        ('as_requested = "code"', 'as_requested = "codes"', "as_requested to be one of"),
        ('as_requested = "code"', 'as_requested = "evidence"', "as_requested to be one of"),
        ('[[step."shadow->testnet".criterion]]', '[[step."shadow->live".criterion]]', "shadow->live"),
    ],
)
def test_a_senseless_policy_is_refused(old, new, says):
    """One sentence that names the file, and the line's criterion where there is one."""
    assert old in TEXT
    with pytest.raises(ConfigError, match=says) as caught:
        read_policy(TEXT.replace(old, new).encode())
    assert "\n" not in str(caught.value)
    assert "governance/policy.toml" in str(caught.value)


def test_a_step_without_criteria_is_refused():
    """All four are there, or it is no policy."""
    with pytest.raises(ConfigError, match="found none for shadow-live->live"):
        read_policy("".join(item for item in BLOCKS if "shadow-live->live" not in item).encode())


def test_a_policy_may_ask_for_more():
    """Another criterion, a higher number, a shorter age."""
    more = block("emergency_contacts", Rung.SHADOW_LIVE_LIVE).replace("emergency_contacts", "insurance")
    found = read_policy((TEXT.replace("above = 0.95", "above = 0.99") + "\n" + more).encode())

    assert found.criterion(Rung.SHADOW_LIVE_LIVE, "insurance").hard
    assert found.sha256 != policy().sha256


@pytest.mark.parametrize("name", ["roles_named", "emergency_contacts", "tests_green"])
def test_a_criterion_has_a_name_of_its_own(name):
    """Not that of another, of a blocker, or of what is computed without evidence."""
    more = block("emergency_contacts", Rung.SHADOW_LIVE_LIVE).replace("emergency_contacts", name)
    with pytest.raises(ConfigError, match=f"found {name} again"):
        read_policy((TEXT + "\n" + more).encode())


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(TEXT) - 1), st.characters(codec="ascii"))
def test_any_altered_character_is_read_or_refused(at, other):
    """Never a traceback; and the hash is another one."""
    altered = (TEXT[:at] + other + TEXT[at + 1 :]).encode()
    try:
        found = read_policy(altered)
    except ConfigError:
        return
    assert (found.sha256 == policy().sha256) == (altered == POLICY)
