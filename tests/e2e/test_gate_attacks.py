"""Attacks on the gates, through the product's own commands and functions, against real journals, registries and keys.

Every attack starts from a house in which the step would pass, and names the code or criterion that stops it.
"""

import json
import subprocess
from decimal import Decimal

import pytest
from tests.houses import NAMED, House, Street
from tests.team import PARAMS, SYMBOL

from peak_trade.journal.signing import public_path
from peak_trade.runs.gates.bound import installed_sha256

#: What is installed while the houses are built.
INSTALLED = installed_sha256()


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


@pytest.fixture
def house(street, request, monkeypatch, capsys) -> House:
    """The house at the point that a test names, `signed` where it names none."""
    return street.at(getattr(request, "param", "signed"), monkeypatch, capsys)


def at(point):
    """Let a test begin at a point of the climb."""
    return pytest.mark.parametrize("house", [point], indirect=True)


def appended(house, name, text):
    """Add text to a file of the house."""
    path = house.folder / name
    house.write(name, path.read_text() + text)


# ---- without an attack, it passes ------------------------------------------------------------------------------------


def test_nothing_is_in_the_way_of_an_honest_house(house):
    assert house.decided() == {"pass"}
    assert house.watch().trouble() is None


# ---- people and signatures -------------------------------------------------------------------------------------------


def signature(house, name, *, namespace="peak-trade-approval", content=None):
    """Return the file of a signature that ssh-keygen makes with somebody's key."""
    path = house.folder / f"{name}-{namespace}.json"
    path.write_bytes(house.request_file.read_bytes() if content is None else content)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", house.key(name), path]
    subprocess.run(command, check=True, capture_output=True)
    return path.with_name(path.name + ".sig")


def approve(house, *words):
    """Approve with a file of a signature or a key; return exit code and what was said."""
    code, _, err = house.run("gate", "approve", house.request, *words)
    return code, err


def with_second_key(house, name):
    """Give somebody a second key; return its name."""
    second = house.key(f"{name}-second").with_suffix(".pub").read_text().strip()
    own = house.key(name).with_suffix(".pub").read_text().strip()
    path = house.folder / "governance" / "roles.toml"
    line = f"line = {json.dumps(own)}"
    path.write_text(path.read_text().replace(line, f"{line}\n[[person.key]]\nline = {json.dumps(second)}"))
    return f"{name}-second"


@at("asked")
def test_two_keys_of_one_person_are_one_person(house):
    house.sign(house.request, "olga")
    second = with_second_key(house, "olga")
    code, err = approve(house, "--key", house.key(second))

    assert (code, "counted once" in err) == (3, True)
    assert house.decided() == {"inconclusive", "approvals_missing"}


@at("asked")
def test_two_keys_of_one_person_fill_one_role_of_two(house):
    """Also where that person has both roles."""
    house.name({"olga": ("owner", "reviewer"), "rita": ("reviewer",), "dana": ("developer", "owner")})
    house.sign(house.request, "olga")
    second = with_second_key(house, "olga")

    assert approve(house, "--key", house.key(second))[0] == 3
    assert "approvals_missing" in house.decided()


@at("asked")
def test_who_asks_does_not_approve(house):
    code, err = approve(house, "--key", house.key("dana"))

    assert (code, "who has not signed yet" in err) == (3, True)
    house.sign(house.request, "rita")
    assert house.decided() == {"inconclusive", "approvals_missing"}


@at("asked")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda house: signature(house, "olga", namespace="git"), "peak-trade-approval"),
        (lambda house: signature(house, "olga", namespace="peak-trade-deviation"), "peak-trade-approval"),
        (lambda house: signature(house, "olga", content=b"another request"), "over these bytes"),
        (lambda house: signature(house, "stranger"), "nobody's in the roles"),
        (lambda house: signature(house, "rudi"), "does not decide"),
        (lambda house: house.write("none.sig", "signed by olga"), "BEGIN SSH SIGNATURE"),
    ],
    ids=["for git", "for deviations", "of other bytes", "of a stranger", "of no decider", "of nobody"],
)
def test_a_signature_that_is_none_of_this_request(house, make, words):
    """It is neither taken by name nor from beside the request."""
    made = make(house)
    code, err = approve(house, "--signature", made)
    assert (code, words in err) == (3, True), err

    made.rename(house.request_file.with_name(house.request_file.name + ".sig"))
    assert approve(house)[0] == 3
    before = house.json("gate", "status")["requests"]
    assert "exit 3" in house.decided()
    assert house.json("gate", "status")["requests"] == before


@at("asked")
def test_a_signature_of_another_request_is_none_of_this(house):
    """Replayed from a request for the same step, made later."""
    house.sign(house.request, "olga", "rita")
    old = [signature(house, name) for name in ("olga", "rita")]
    house.later(hours=1)
    first, house.request = house.request, house.ask("shadow->testnet")

    assert house.request != first
    for made in old:
        assert approve(house, "--signature", made)[0] == 3
    assert house.decided() == {"inconclusive", "approvals_missing"}


@at("asked")
def test_a_signature_is_taken_once(house):
    house.sign(house.request, "olga")
    code, err = approve(house, "--key", house.key("olga"))
    assert (code, "has not signed yet" in err) == (3, True)


def edited_roles(house, people, extra=""):
    house.name(people, extra)


TEAM = {"olga": ("owner",), "rita": ("reviewer",), "dana": ("developer", "owner")}


@pytest.mark.parametrize(
    ("people", "codes"),
    [
        ({"rita": ("reviewer",), "dana": ("developer", "owner")}, {"roles_named", "unknown_key", "approvals_missing", "fail"}),
        (TEAM | {"rita": ("developer",)}, {"roles_named", "no_role", "approvals_missing", "fail"}),
        ({"olga": ("owner",), "rita": ("reviewer",)}, {"unknown_requester", "inconclusive"}),
    ],
    ids=["an approver left", "an approver lost the role", "who asked left"],
)
def test_roles_are_those_of_the_decision(house, people, codes):
    """What people may is asked when the gate decides, not when they signed."""
    house.name(people)
    assert house.decided() >= codes


def revoked_key(house, name):
    """Revoke somebody's key in the roles, as of now."""
    path = house.folder / "governance" / "roles.toml"
    line = f"line = {json.dumps(house.key(name).with_suffix('.pub').read_text().strip())}"
    moment = f"{house.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    path.write_text(path.read_text().replace(line, f'{line}\nrevoked_at = {moment}\nrevoked_why = "lost"'))


def test_a_revoked_key_approves_nothing(house):
    revoked_key(house, "rita")
    assert house.decided() >= {"key_revoked", "approvals_missing"}


@at("climbed")
def test_a_key_that_is_revoked_ends_the_permit(house):
    watch = house.watch()
    revoked_key(house, "rita")

    assert "key_revoked" in watch.trouble()
    refused(house, "key_revoked")


# ---- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "codes"),
    [
        ({"days": 14, "minutes": 1}, {"request_expired", "approval_expired", "approvals_missing"}),
        ({"days": 8}, {"tests_green now"}),
        ({"days": -1}, {"put the clock right"}),
    ],
    ids=["late", "old tests", "clock set back"],
)
def test_at_another_time(house, span, codes):
    house.later(**span)
    found = house.decided()
    assert found >= codes or any(code in part for code in codes for part in found), found
    assert "pass" not in found
    assert not house.permit_file.exists()


def test_a_signature_grows_old_before_its_request(house):
    """Under a policy of one day."""
    path = house.folder / "governance" / "policy.toml"
    house.write("governance/policy.toml", path.read_text().replace("valid_days = 14 ", "valid_days = 1 "))
    house.request = house.ask("shadow->testnet")
    house.sign(house.request, "olga", "rita")
    house.later(days=1, minutes=1)

    assert house.decided() >= {"approval_expired", "approvals_missing"}


@at("climbed")
@pytest.mark.parametrize(("span", "code"), [({"days": 180, "minutes": 1}, "permit_expired"), ({"hours": -2}, "clock")])
def test_a_permit_at_another_time(house, span, code):
    watch = house.watch()
    house.later(**span)

    assert code in watch.trouble()
    refused(house, code)


@at("shadow")
def test_a_bad_session_cannot_be_hidden_in_the_future(house):
    """A clock that was set ahead while it ran and back afterwards is seen."""
    assert house.answers()["no_critical_incident"] == "pass"
    house.later(days=300)
    house.bad_session()
    house.later(days=-300)
    code, _, err = house.run("gate", "request", "shadow->testnet", *NAMED, "--by", "dana")

    assert (code, "put the clock right" in err) == (3, True)


@at("shadow")
def test_a_failed_test_run_cannot_be_hidden_in_the_future(house):
    house.later(days=300)
    house.tests_passed(failed=3)
    house.later(days=-300)
    code, _, err = house.run("gate", "request", "shadow->testnet", *NAMED, "--by", "dana")

    assert (code, "put the clock right" in err) == (3, True)


# ---- files -----------------------------------------------------------------------------------------------------------


def replaced(house, name, old, new):
    path = house.folder / name
    text = path.read_text()
    assert old in text
    path.chmod(0o644)
    path.write_text(text.replace(old, new, 1))


BUG = '[[bug]]\nid = "b1"\ntitle = "x"\narea = "risk"\nseverity = "critical"\nfound_at = 2026-03-01T00:00:00Z\n'
CRITICAL = ("incident", "open", "--severity", "critical", "--title", "It broke", "--why", "nobody knows")
CHECKLIST = "reports/checklists/open_shadow_to_testnet_ma_crossover.md"


@pytest.mark.parametrize(
    ("attack", "codes"),
    [
        (lambda house: appended(house, "config.toml", "# other\n"), {"changed"}),
        (lambda house: replaced(house, "config.toml", "max_daily_loss_pct = ", "max_daily_loss_pct = 1"), {"changed"}),
        (lambda house: appended(house, "governance/policy.toml", "# other\n"), {"changed"}),
        (lambda house: replaced(house, "governance/policy.toml", "at_least = 14,", "at_least = 13,"), {"changed"}),
        (lambda house: appended(house, CHECKLIST, "\nmore\n"), {"changed"}),
        (lambda house: (house.folder / CHECKLIST).unlink(), {"changed", "evidence_missing"}),
        (lambda house: house.write("governance/bugs.toml", BUG), {"no_critical_bugs now"}),
        (lambda house: (house.folder / "governance" / "bugs.toml").unlink(), {"no_critical_bugs now", "evidence_missing"}),
        (lambda house: house.do(*CRITICAL), {"incidents_closed now"}),
        (lambda house: house.tests_passed(failed=1), {"tests_green now"}),
        (lambda house: house.tests_passed(code="0" * 64), {"tests_green now"}),
        (lambda house: house.bad_session(), {"no_critical_incident now"}),
        (lambda house: house.bad_session(ends=False), {"no_critical_incident now"}),
        (lambda house: house.bad_session("paper2"), {"no_critical_incident now"}),
        (lambda house: replaced(house, "bars.csv", "1000.0", "1001.0"), {"changed"}),
    ],
    ids=[
        "config",
        "limit",
        "policy, a comment",
        "policy, softer",
        "checklist",
        "no checklist",
        "bug",
        "no list of bugs",
        "open incident",
        "failed tests",
        "tests of other code",
        "incident",
        "incident, and died",
        "incident on another account",
        "bars",
    ],
)
def test_what_changes_after_everybody_signed(house, attack, codes):
    attack(house)
    found = house.decided()

    assert found >= codes | {"fail"} or (found >= codes and "inconclusive" in found), found
    assert not house.permit_file.exists()


@pytest.mark.parametrize(
    ("attack", "code", "words"),
    [
        (lambda house: replaced(house, f"var/requests/{house.request}.json", "dana", "olga"), 3, "other bytes in its file"),
        (lambda house: house.request_file.unlink(), 2, "found none"),
        (
            lambda house: replaced(house, "governance/policy.toml", 'id = "no_critical_incident"', 'id = "no_incident_at_all"'),
            2,
            "no_critical_incident",
        ),
        (lambda house: replaced(house, "governance/policy.toml", "format = 1", "format = 2"), 2, "format"),
        (lambda house: house.write("governance/bugs.toml", "[[bug]\n"), 1, "b"),
        (lambda house: house.write("governance/roles.toml", "people = 1\n"), 2, "roles.toml"),
    ],
    ids=["request", "no request", "criterion dropped", "format", "bugs", "roles"],
)
def test_files_that_are_no_such_files_any_more(house, attack, code, words):
    attack(house)
    found, _, err = house.run("gate", "decide", house.request)

    assert found == code, err
    assert words in err or code == 1
    assert not house.permit_file.exists()


@pytest.mark.parametrize(
    "name",
    [
        "config.toml",
        "governance",
        "governance/policy.toml",
        "governance/roles.toml",
        "governance/bugs.toml",
        CHECKLIST,
        "reports/checklists",
        "var/requests",
        "var/requests/{request}.json",
    ],
)
def test_a_link_in_place_of_a_file_is_refused(house, name):
    """What it leads to could be exchanged behind its back."""
    path = house.folder / name.format(request=house.request)
    moved = house.folder / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)
    found = house.decided()

    assert "pass" not in found
    assert not house.permit_file.exists()


@at("climbed")
@pytest.mark.parametrize("end", [".json", ".dossier.json"])
def test_a_link_in_place_of_a_permit_is_none(house, end):
    watch = house.watch()
    path = house.folder / "var" / "permits" / f"{house.request}{end}"
    path.rename(house.folder / "elsewhere")
    path.symlink_to(house.folder / "elsewhere")

    assert watch.trouble()
    refused(house, "none was ever granted")


# ---- what a permit allows --------------------------------------------------------------------------------------------


def refused(house, *words):
    """Check that no session of testnet may begin, for these reasons, by command too."""
    from peak_trade.model.errors import PeakTradeError

    with pytest.raises(PeakTradeError) as caught:
        house.watch()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    code, _, err = house.run("session", "run", "--mode", "testnet", *NAMED, "--duration", "1", "--no-html")
    assert code in (1, 2, 3), err
    assert "Traceback" not in err


@at("climbed")
@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("var/permits/{request}.json", '"stage":"testnet"', '"stage":"live"', "other_stage"),
        ("var/permits/{request}.json", '"account":"main"', '"account":"mine"', "other_account"),
        ("var/permits/{request}.json", SYMBOL, "ETH/EUR", "other_symbols"),
        ("var/permits/{request}.json", '"until":"2026', '"until":"2027', "permit_too_long"),
        ("var/permits/{request}.json", '"format"', ' "format"', "malformed"),
        ("var/permits/{request}.dossier.json", '"critical_incidents":0', '"critical_incidents":1', "evidence_altered"),
        ("var/permits/{request}.dossier.json", "dana", "olga", "other_request"),
    ],
)
def test_other_bytes_of_a_permit(house, name, old, new, code):
    watch = house.watch()
    replaced(house, name.format(request=house.request), old, new)

    assert watch.trouble()
    refused(house, code)


@at("climbed")
def test_a_permit_used_for_something_else(house):
    """Another stage, account, pair, parameter."""
    from peak_trade.model.errors import SafetyRefused
    from peak_trade.model.stage import Stage
    from peak_trade.runs.gates.permits import allowed
    from peak_trade.strategy.catalogue import make

    other = make("ma_crossover", {"fast_window": 2, "slow_window": 7})
    for stage, strategy, symbols, word in (
        (Stage.SHADOW_LIVE, house.strategy, (SYMBOL,), "none was ever granted"),
        (Stage.LIVE, house.strategy, (SYMBOL,), "none was ever granted"),
        (Stage.TESTNET, house.strategy, (SYMBOL, "ETH/EUR"), "other_symbols"),
        (Stage.TESTNET, other, (SYMBOL,), "other_version"),
    ):
        with pytest.raises(SafetyRefused, match=word):
            allowed(house.fresh(), stage, strategy, symbols)


@at("climbed")
def test_a_permit_for_another_account(house):
    """The account is the configuration's, which the permit is bound to as well."""
    replaced(house, "config.toml", 'account = "main"', 'account = "mine"')
    refused(house, "on mine", "changed")


@at("climbed")
@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("config.toml", "changed"),
        ("governance/policy.toml", "changed"),
        (CHECKLIST, "changed"),
    ],
)
def test_what_a_permit_is_bound_to_changes(house, name, word):
    watch = house.watch()
    assert watch.trouble() is None
    appended(house, name, "\n# other\n")

    assert word in watch.trouble()
    refused(house, word)


@at("climbed")
def test_a_bound_file_that_is_put_back_lets_orders_out_again(house):
    """The bytes count."""
    watch, before = house.watch(), (house.folder / "config.toml").read_text()
    appended(house, "config.toml", "# other\n")
    assert watch.trouble()
    house.write("config.toml", before)

    assert watch.trouble() is None


@at("climbed")
def test_a_revoked_permit_sends_nothing_more(house):
    watch = house.watch()
    house.do("gate", "revoke", house.request, "--why", "a doubt", "--by", "zoe")

    assert "permit_revoked" in watch.trouble()
    refused(house, "permit_revoked")
    code, _, err = house.run("gate", "decide", house.request)
    assert (code, "revoked" in err) == (3, True)


@at("climbed")
def test_a_demoted_version_sends_nothing_more(house):
    """Nor does deciding again bring its permit back."""
    watch = house.watch()
    house.do("gate", "demote", "--strategy", "ma_crossover", "--to", "shadow", "--why", "a doubt", "--by", "zoe")

    assert "demoted" in watch.trouble()
    refused(house, "demoted")
    code, _, err = house.run("gate", "decide", house.request)
    assert (code, "stands in shadow" in err) == (3, True)


def test_a_request_that_was_revoked_is_not_decided(house):
    """It would climb with a permit that is worth nothing from the beginning."""
    house.do("gate", "revoke", house.request, "--why", "a doubt", "--by", "zoe")
    found, _, err = house.run("gate", "decide", house.request)

    assert (found, "a doubt" in err) == (3, True)
    [line] = house.json("gate", "status")["ladder"]
    assert line["stage"] == "shadow"


@at("climbed")
def test_a_revocation_while_the_permit_is_being_checked_is_seen(house, monkeypatch):
    """What is written between the reading and the first order."""
    from peak_trade.runs.gates import permits

    ordinary = permits._present

    def slow(*given):
        found = ordinary(*given)
        house.do("gate", "revoke", house.request, "--why", "a doubt", "--by", "zoe")
        return found

    monkeypatch.setattr(permits, "_present", slow)
    assert "permit_revoked" in house.watch().trouble()


# ---- the registry, edited behind everybody's back --------------------------------------------------------------------


def shown(house):
    """Return what the gates see in sessions and backtests, from the journals themselves."""
    found = house.json("gate", "explain", "shadow->testnet", *NAMED, "--fresh")["evidence"]
    return [item for item in found if item["kind"] in ("shadow", "backtest")]


@at("shadow")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE metrics SET value = value + 1000",
        "DELETE FROM metrics",
        "UPDATE runs SET status = 'failed' WHERE run_type = 'shadow_run'",
        "UPDATE runs SET started_at = '2020-01-01T00:00:00.000000Z' WHERE run_type = 'shadow_run'",
        "UPDATE sessions SET tier = 'live', mode = 'live'",
        "UPDATE session_list SET strategy = 'macd', status = 'failed'",
        "UPDATE evidence SET document = replace(document, '\"critical_incidents\":0', '\"critical_incidents\":9')",
        "UPDATE evidence SET document = 'nothing'",
        "DELETE FROM evidence",
        "DELETE FROM session_list",
    ],
)
def test_rows_that_gates_do_not_believe(house, statement):
    """Sessions are read from their journals: the same evidence comes out whatever the rows say."""
    before = shown(house)
    house.sql(statement)

    assert shown(house) == before


@at("shadow")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET head_sha256 = '" + "0" * 64 + "'",
        "UPDATE sessions SET head_seq = head_seq + 1",
        "UPDATE sessions SET head_seq = 0",
    ],
)
def test_rows_that_contradict_the_journal(house, statement):
    """One of the two was changed, and nobody knows which."""
    house.sql(statement)
    assert house.answers()["no_critical_incident"] == "fail"


@at("shadow")
def test_an_edited_copy_is_told_and_made_anew(house):
    """An overview reads copies; one that is none ends in a sentence, and the journals make it again."""
    house.sql("UPDATE evidence SET document = 'nothing'")
    code, out, _ = house.run("gate", "status")
    assert (code, "--fresh makes it anew" in out) == (1, True)
    house.answers()

    assert house.run("gate", "status")[0] == 0


def backtested(house):
    """Return what the first step's criteria about the backtest come to."""
    found = house.answers("research->shadow")
    return {found["backtest_history"], found["performance"]}


@at("shadow")
@pytest.mark.parametrize(
    "change",
    [
        "spec = replace(spec, '2024-01-01T', '2014-01-01T')",
        "spec = replace(spec, '\"fee_bps\":40', '\"fee_bps\":4')",
        "spec = 'nothing'",
        "spec = '{}'",
        "spec = '[]'",
        "params = 'nothing'",
        "params = '{}'",
        "symbol = 'ETH/EUR'",
        "strategy = 'macd'",
        "status = 'failed'",
        "result_sha256 = NULL",
        "dataset_sha256 = '" + "0" * 64 + "'",
        "versions = '{}'",
        "finished_at = 'yesterday'",
        "finished_at = NULL",
        "finished_at = '2026-05-01T00:00:00.000000Z'",
        "finished_at = '2024-05-01T00:00:00.000000Z'",
    ],
)
def test_an_edited_backtest_counts_for_nothing(house, change):
    assert backtested(house) == {"pass"}
    before = house.rows("SELECT * FROM runs WHERE run_type = 'backtest'")
    house.sql(f"UPDATE runs SET {change} WHERE run_type = 'backtest'")
    assert house.rows("SELECT * FROM runs WHERE run_type = 'backtest'") != before

    assert backtested(house) == {"inconclusive"}


@at("shadow")
@pytest.mark.parametrize("name", ["sharpe", "num_trades", "max_drawdown"])
def test_edited_figures_of_a_backtest_count_for_nothing(house, name):
    house.sql(f"UPDATE metrics SET value = value * 2 WHERE name = '{name}'")
    assert backtested(house) == {"inconclusive"}


@at("shadow")
def test_a_backtest_of_another_pair_is_none_of_this(house):
    """The row says this pair, and the bars are another's."""
    house.sql("DELETE FROM metrics", "DELETE FROM trials", "DELETE FROM runs WHERE run_type = 'backtest'")
    words = ["--strategy", "ma_crossover", *PARAMS, "--data", "bars.csv", "--symbol", "OTHER/EUR", "--no-tear-sheet"]
    house.do("backtest", *words)
    assert backtested(house) == {"inconclusive"}
    house.sql(f"UPDATE runs SET symbol = '{SYMBOL}' WHERE run_type = 'backtest'")

    assert backtested(house) == {"inconclusive"}


# ---- the journals, edited --------------------------------------------------------------------------------------------


def edited(path, old, new):
    """Change one place of a journal."""
    text = path.read_bytes()
    assert old in text, path.read_text()[:3_000]
    path.write_bytes(text.replace(old, new, 1))


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


@at("shadow")
def test_a_bad_session_counts(house):
    """What the attacks that follow try to hide."""
    house.bad_session()
    assert house.answers()["no_critical_incident"] == "fail"


@at("shadow")
@pytest.mark.parametrize(
    ("account", "row", "later"),
    [("paper", "row", False), ("paper", "no row", True), ("paper2", "row", True), ("paper2", "no row", False)],
    ids=["last", "no row, another after it", "an account of its own", "an account of its own, no row"],
)
@pytest.mark.parametrize(
    "attack",
    [
        lambda house, path: path.write_bytes(b"".join(line for line in lines_of(path) if b'"kind":"incident"' not in line)),
        lambda house, path: edited(path, b'"mode":"paused"', b'"mode":"normal"'),
        lambda house, path: edited(path, b'\\"fast_window\\":2', b'\\"fast_window\\":3'),
        lambda house, path: edited(path, b'"kind":"begun"', b'"kind":"other"'),
        lambda house, path: edited(path, b"spec", b"spek"),
        lambda house, path: path.write_bytes(b"".join(lines_of(path)[1:])),
        lambda house, path: path.write_bytes(b"".join(lines_of(path)[:-2])),
        lambda house, path: path.write_bytes(b""),
        lambda house, path: path.unlink(),
    ],
    ids=[
        "incident taken out",
        "incident made harmless",
        "other parameters",
        "no beginning",
        "no specification",
        "first record gone",
        "end cut off",
        "emptied",
        "segment removed, heads left",
    ],
)
def test_a_bad_session_in_an_edited_journal(house, attack, row, later, account):
    """Whatever is done to it, the gate does not pass; where its row is gone as well, its account tells."""
    name = house.bad_session(account, kept=row == "row")
    if later:
        house.later(minutes=1)
        house.shadow("--steps", "60", "--account", account)
    path = house.folder / "var" / "journal" / account / f"{name}.jsonl"
    try:
        attack(house, path)
    except AssertionError:
        pytest.fail("the attack found nothing to change")

    assert house.answers()["no_critical_incident"] == "fail"


@at("shadow")
def test_a_whole_segment_removed_from_the_middle(house):
    """Rows and heads with it: the next one names it."""
    name = house.bad_session()
    house.later(minutes=1)
    house.shadow("--steps", "60")
    house.remove(house.folder / "var" / "journal" / "paper" / f"{name}.jsonl")
    house.forget(name)

    assert house.answers()["no_critical_incident"] == "fail"


@at("shadow")
def test_a_whole_segment_removed_from_the_end(house):
    """Its row tells."""
    name = house.bad_session()
    house.remove(house.folder / "var" / "journal" / "paper" / f"{name}.jsonl")

    assert house.answers()["no_critical_incident"] == "fail"


@at("shadow")
def test_nothing_here_sees_a_house_that_was_put_back(house):
    """The honest limit: where every trace is gone, as when all of `var` is put back to before, no file is left to tell."""
    before = shown(house)
    name = house.bad_session()
    house.remove(house.folder / "var" / "journal" / "paper" / f"{name}.jsonl")
    house.forget(name)

    assert shown(house) == before


@at("shadow")
def test_a_changed_fill(house):
    path = house.segment(3)
    edited(path, b'"kind":"fill', b'"kind":"full')
    assert house.answers()["no_critical_incident"] == "fail"


def test_a_fill_that_changed_after_everybody_signed(house):
    edited(house.segment(3), b'"kind":"fill', b'"kind":"full')
    assert house.decided() >= {"fail", "evidence_altered", "changed"}


@at("shadow")
def test_a_dead_session_is_not_running_because_a_note_says_so(house):
    """Who holds an account writes that down; a note that was left or made is no lock."""
    name = house.bad_session(ends=False)
    note = {"session_id": name, "process": 1, "host": "here", "since": None}
    (house.folder / "var" / "journal" / "paper" / ".holder").write_text(json.dumps(note))

    assert house.answers()["no_critical_incident"] == "fail"


@at("shadow")
@pytest.mark.parametrize("ends", [False, True])
def test_a_session_at_work_that_has_stopped_for_good_counts(house, ends):
    """Also where it goes on for days: what it showed until the moment does not wait for its end."""
    from peak_trade.journal.chain import holding

    name = house.bad_session(ends=ends)
    parts = house.fresh()
    with holding(parts.journal, "paper", session_id=name, at=parts.clock.now()):
        assert house.answers()["no_critical_incident"] == "fail"


OPERATORS = "operators"


def newest_act(house):
    return house.segment(account=OPERATORS)


@at("climbed")
@pytest.mark.parametrize("act", ["revoke", "demote"])
@pytest.mark.parametrize(
    "attack",
    [
        lambda house: house.remove(newest_act(house)),
        lambda house: newest_act(house).unlink(),
        lambda house: newest_act(house).write_bytes(b""),
        lambda house: newest_act(house).write_bytes(lines_of(newest_act(house))[0]),
        lambda house: edited(newest_act(house), b'"why":"a doubt"', b'"why":"no doubt"'),
        lambda house: edited(newest_act(house), b"gate_", b"gone_"),
        lambda house: newest_act(house).with_name(f"{newest_act(house).stem}.heads.jsonl").unlink(),
        lambda house: edited(house.segment(0, OPERATORS), b'"via":"command"', b'"via":"machine"'),
        lambda house: house.remove(house.segment(2, OPERATORS)),
        lambda house: (house.remove(newest_act(house)), house.sql("UPDATE journal_heads SET seq = seq + 1"))[0],
        lambda house: public_path(house.fresh().key).unlink(),
    ],
    ids=[
        "removed",
        "removed, heads left",
        "emptied",
        "end cut off",
        "reason changed",
        "action changed",
        "heads removed",
        "the oldest changed",
        "one from the middle removed",
        "removed, and the registry edited",
        "key removed",
    ],
)
def test_the_operators_journal_in_which_a_step_down_stands(house, attack, act):
    """Taking the record of a revocation or a step down away brings no permit back."""
    if act == "revoke":
        house.do("gate", "revoke", house.request, "--why", "a doubt", "--by", "zoe")
    else:
        house.do("gate", "demote", "--strategy", "ma_crossover", "--to", "shadow", "--why", "a doubt", "--by", "zoe")
    attack(house)

    refused(house)
    for words in (("status",), ("history",), ("decide", house.request)):
        code, _, err = house.run("gate", *words)
        # A signature that is gone is made again where the registry remembers the same end: the step down still stands.
        assert code in (1, 2, 3) or words[0] != "decide"
        assert "Traceback" not in err
        assert "internal fault" not in err


@at("climbed")
def test_a_revocation_under_way_counts(house):
    """Its process died after the first record: what was begun to be taken back is taken back."""
    from peak_trade.runs.acts import held, written
    from peak_trade.runs.gates.record import REVOKE, gate_record

    watch, parts = house.watch(), house.fresh()
    sha256 = next(name for name in gate_record(parts).requests if name.startswith(house.request))
    act = written(parts, REVOKE, "zoe", "command", request=sha256, why="a doubt")
    with held(parts):
        act.__enter__()
        assert "permit_revoked" in watch.trouble()
    refused(house, "permit_revoked")


# ---- the configuration in memory -------------------------------------------------------------------------------------


def in_memory(parts, section, **changes):
    """Put another configuration in place of the one that was read."""
    from dataclasses import replace

    file = parts.settings.file
    other = file.model_copy(update={section: getattr(file, section).model_copy(update=changes)})
    parts.settings = replace(parts.settings, file=other)


def elsewhere(parts, url):
    """Point the exchange somewhere else."""
    exchange = parts.settings.file.exchange
    in_memory(parts, "exchange", kraken_testnet=exchange.kraken_testnet.model_copy(update={"base_url": url}))


MEMORY = [
    (lambda parts: in_memory(parts, "live_risk", max_order_notional=Decimal(10**9)), "live_risk.max_order_notional"),
    (lambda parts: in_memory(parts, "live_risk", symbols=(SYMBOL, "DOGE/EUR")), "live_risk.symbols"),
    (lambda parts: in_memory(parts, "live_risk", duplicate_window_s=0.0), "live_risk.duplicate_window_s"),
    (lambda parts: in_memory(parts, "live_risk", block_on_violation=False), "live_risk.block_on_violation"),
    (lambda parts: in_memory(parts, "governance", account="mine"), "governance"),
    (lambda parts: in_memory(parts, "shadow", position_fraction=1.0), "shadow"),
    (lambda parts: elsewhere(parts, "https://exchange.example"), "exchange"),
]


@at("climbed")
@pytest.mark.parametrize(("change", "word"), MEMORY)
@pytest.mark.parametrize("first", [True, False], ids=["before it is checked", "afterwards"])
def test_another_configuration_in_memory(house, change, word, first):
    """What is in use is held against the file, at the beginning and before each order."""
    from peak_trade.model.errors import PeakTradeError

    parts = house.fresh()
    watch = None if first else house.watch(parts)
    change(parts)
    if watch is None:
        with pytest.raises(PeakTradeError, match=word):
            house.watch(parts)
    else:
        assert word in watch.trouble()


@at("climbed")
def test_a_stricter_limit_in_memory_is_no_harm(house):
    """Commands lower limits."""
    parts = house.fresh()
    watch = house.watch(parts)
    in_memory(parts, "live_risk", max_open_positions=1, symbols=(SYMBOL,), duplicate_window_s=60.0)

    assert watch.trouble() is None
    assert house.watch(parts).trouble() is None


@at("climbed")
def test_an_exchange_that_was_exchanged_after_the_check(house):
    """A permit that was not needed for an emulator is not there for the exchange, and one that was is for that one alone."""
    from dataclasses import replace

    from peak_trade.model.errors import SafetyRefused
    from peak_trade.model.stage import Stage
    from peak_trade.runs.gates.permits import leaves

    parts = house.fresh()
    elsewhere(parts, "http://127.0.0.1:9")
    assert leaves(parts, Stage.TESTNET, [house.strategy], (SYMBOL,)) == ()
    parts.exchange = replace(parts.exchange, base_url="https://api.kraken.com")
    with pytest.raises(SafetyRefused, match="expected a strategy version with a permit"):
        parts.venue(Stage.TESTNET, an_account())

    parts = house.fresh()
    watch = house.watch(parts)
    parts.exchange = replace(parts.exchange, base_url="https://exchange.example")
    assert "exchange.example" in watch.trouble()


def an_account(climbers=(), permits=()):
    """Return an account for a venue."""
    from peak_trade.compose import AccountChoice
    from peak_trade.venue.simulated import Market

    market = Market.__new__(Market)
    return AccountChoice(
        name="paper",
        origin="x",
        instruments={},
        cash=Decimal(1),
        market=market,
        climbers=climbers,
        permits=permits,
    )


# ---- the environment -------------------------------------------------------------------------------------------------


@at("shadow")
def test_no_variable_of_the_environment_permits_anything(house, monkeypatch):
    """Neither those that are documented nor such as somebody may hope for. Those of Python itself are another matter."""
    for name in ("KRAKEN_API_KEY", "KRAKEN_API_SECRET", "KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET"):
        monkeypatch.setenv(name, "c2VjcmV0")
    for name in ("PERMIT", "STAGE", "MODE", "ENVIRONMENT_MODE", "LIVE_ENABLED", "GOVERNANCE_ACCOUNT", "SKIP_GATES", "FORCE"):
        monkeypatch.setenv(f"PEAK_TRADE_{name}", "1")
    monkeypatch.setenv("GIT_DIR", str(house.folder))
    monkeypatch.setenv("USER", "olga")
    refused(house, "none was ever granted")


@at("climbed")
def test_a_configuration_named_by_the_environment_has_its_own_house(house, monkeypatch):
    """The same bytes elsewhere have neither journal nor permit."""
    other = house.folder / "other"
    other.mkdir()
    (other / "config.toml").write_bytes((house.folder / "config.toml").read_bytes())
    monkeypatch.setenv("PEAK_TRADE_CONFIG_PATH", str(other / "config.toml"))
    for name in ("KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET"):
        monkeypatch.setenv(name, "c2VjcmV0")
    monkeypatch.chdir(other)
    code, _, err = house.run("session", "run", "--mode", "testnet", *NAMED, "--duration", "1", "--no-html")

    assert (code, "permit" in err) == (3, True), err


# ---- objects made by hand, by a strategy somebody else wrote ---------------------------------------------------------

PLUG_IN = '''
import gc
from typing import ClassVar
import numpy as np
from peak_trade.strategy.base import Strategy

class Burglar(Strategy):
    """Tries what Python lets it."""
    key: ClassVar[str] = "burglar"
    source: ClassVar[str] = "a test"

    def targets(self, bars):
        return np.zeros(len(bars))

    def warmup(self):
        return 1

def forged(document, content):
    from peak_trade.governance.permits import Permit
    made = object.__new__(Permit)
    object.__setattr__(made, "document", document)
    object.__setattr__(made, "content", content)
    return made

def tried():
    """Return what each honest-looking way of making one comes to."""
    import copy, pickle
    from peak_trade.governance.decisions import GateDecision
    from peak_trade.governance.permits import Permit, grant
    found = {}
    for name, way in {
        "permit": lambda: Permit(None, object()),
        "decision": lambda: GateDecision(None, None, (), object()),
        "heir": lambda: type("Mine", (Permit,), {}),
        "heir of a decision": lambda: type("Mine", (GateDecision,), {}),
        "granted": lambda: grant(object(), None),
    }.items():
        try:
            found[name] = way()
        except Exception as error:
            found[name] = type(error).__name__
    return found
'''


@pytest.fixture
def burglar(house, monkeypatch):
    """The module of a strategy that is installed as others' are, loaded by the catalogue."""
    import sys

    from peak_trade.strategy.catalogue import catalogue, find

    house.write("burglary.py", PLUG_IN)
    house.write("burglary-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: burglary\nVersion: 1.0\n")
    house.write("burglary-1.0.dist-info/entry_points.txt", "[peak_trade.strategies]\nburglar = burglary:Burglar\n")
    monkeypatch.syspath_prepend(house.folder)
    monkeypatch.delitem(sys.modules, "burglary", raising=False)
    catalogue.cache_clear()
    assert find("burglar").key == "burglar"
    yield sys.modules["burglary"]
    catalogue.cache_clear()


@at("climbed")
def test_a_plug_in_makes_no_permit(house, burglar):
    assert set(burglar.tried().values()) == {"InvariantBroken"}


@at("climbed")
def test_a_plug_in_that_was_installed_since_voids_the_permit(house, burglar):
    """What is installed is bound: the names and versions of all packages."""
    assert "burglary" in str(burglar)
    refused(house, "lock: packages changed")


@at("climbed")
def test_a_permit_forged_in_memory(house, burglar, monkeypatch):
    """The honest line: Python keeps nobody from making the object.

    What a session uses comes from the files, and these are checked once more before an order leaves.
    """
    import msgspec

    from peak_trade.governance.documents import encode
    from peak_trade.model.stage import Stage
    from peak_trade.runs.gates import bound

    monkeypatch.setattr(bound, "installed_sha256", lambda: INSTALLED)
    watch = house.watch()
    document = msgspec.structs.replace(watch.permit.document, symbols=(SYMBOL, "ETH/EUR"))
    forged = burglar.forged(document, encode(document))
    which = watch.assignment._replace(symbols=frozenset({SYMBOL, "ETH/EUR"}))
    assert forged.objections(Stage.TESTNET, which, house.clock.now()) == ()

    watch.permit = forged
    appended(house, "governance/roles.toml", "\n")
    assert watch.trouble() is None
    house.permit_file.chmod(0o644)
    house.permit_file.write_bytes(forged.content)
    assert watch.trouble()
    refused(house, "other_symbols")


@at("climbed")
def test_no_permit_builds_a_venue_of_a_stage_that_has_none(house, burglar, monkeypatch):
    """Neither a good one nor a forged one: shadow-live and live have no row in the table of stages."""
    import msgspec

    from peak_trade.governance.documents import encode
    from peak_trade.model.errors import SafetyRefused
    from peak_trade.model.stage import Stage
    from peak_trade.runs.gates import bound

    monkeypatch.setattr(bound, "installed_sha256", lambda: INSTALLED)
    watch = house.watch()
    for stage in (Stage.SHADOW_LIVE, Stage.LIVE):
        document = msgspec.structs.replace(watch.permit.document, stage=stage)
        forged = burglar.forged(document, encode(document))
        with pytest.raises(SafetyRefused):
            house.fresh().venue(stage, an_account((watch.assignment,), (forged,)))
