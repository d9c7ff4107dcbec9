"""The whole way from research to a permit for testnet, by commands alone; time is the only thing that the tests make."""

import json
import shutil
import subprocess

import pytest
from tests.team import PARAMS, SYMBOL, Team

NAMED = ("--strategy", "ma_crossover", *PARAMS, "--symbol", SYMBOL)


@pytest.fixture
def team(tmp_path, monkeypatch, capsys) -> Team:
    return Team(tmp_path, monkeypatch, capsys)


def standing(team):
    """Return the only line of the ladder."""
    [line] = team.json("gate", "status")["ladder"]
    return line


def answers(team, step):
    """Return what each criterion of a step comes to."""
    return {item["id"]: item["answer"] for item in team.json("gate", "explain", step, *NAMED)["criteria"]}


def test_from_research_to_a_permit_for_testnet(team):
    """Two steps with real runs, checklists and keys; the overview and the history tell them, and the permit checks offline."""
    first = team.climb_to_shadow()
    assert (first["answer"], first["permit"]["stage"]) == ("pass", "shadow")
    assert standing(team)["stage"] == "shadow"

    team.weeks_of_shadow()
    team.tests_passed()
    assert standing(team)["next"]["lacking"][0]["id"] == "checklist_current"
    second = team.climb_to_testnet()

    assert [item["answer"] for item in second["criteria"]] == ["pass"] * 11
    assert [(item["person"], item["role"]) for item in second["approvals"]] == [("olga", "owner"), ("rita", "reviewer")]
    line = standing(team)
    assert (line["stage"], line["next"]["step"], line["current"]) == ("testnet", "testnet->shadow-live", True)
    assert "permit_revoked" not in team.do("gate", "verify", second["permit"]["file"])
    told = [(item["what"], item.get("step")) for item in team.json("gate", "history")]
    assert told == [
        ("promoted", "shadow->testnet"),
        ("decided", "shadow->testnet"),
        ("promoted", "research->shadow"),
        ("decided", "research->shadow"),
    ]
    assert all(item["good"] for item in team.json("gate", "status")["permits"])


def test_nothing_yet(team):
    """An empty house says so; a request without evidence names everything that lacks and writes nothing."""
    assert "nothing stands on the ladder yet" in team.do("gate", "status")
    team.checklist("research_to_shadow")
    code, _, err = team.run("gate", "request", "research->shadow", *NAMED, "--by", "dana")

    assert code == 1
    assert all(
        name in err for name in ("tests_green", "backtest_history", "causality_proof", "warmup_proof", "checklist_current")
    )
    assert not list((team.folder / "var").glob("requests/*"))
    assert team.run("gate", "explain", "research->shadow", *NAMED)[0] == 1


def test_a_request_that_cannot_pass_may_be_made_and_fails(team):
    team.checklist("research_to_shadow")
    request = team.ask("research->shadow", "--anyway")
    team.sign(request, "olga")
    code, out, _ = team.run("gate", "decide", request)

    assert code == 1
    assert "no permit was granted" in out
    assert not list((team.folder / "var" / "permits").glob("*"))
    assert team.json("gate", "status")["requests"][0]["decided"] == "fail"


def test_nobody_asks_in_anothers_name(team):
    """A request that who asks has not signed stays open; their signature counts as nothing else."""
    team.ready_for_shadow()
    words = ["gate", "request", "research->shadow", *NAMED, "--by", "dana"]
    request = team.json(*words)["id"]
    team.sign(request, "olga")
    assert team.json("gate", "status")["requests"][0]["missing"] == ["who asks"]
    found = team.json("gate", "decide", request)
    assert (found["answer"], [item["code"] for item in found["objections"]]) == ("inconclusive", ["unasked"])

    team.sign(request, "dana")
    assert team.json("gate", "decide", request)["answer"] == "pass"


def test_signatures_of_ssh_keygen_are_taken_from_beside_the_request(team):
    """The playbook's way: ssh-keygen writes the .sig, `approve` or `decide` takes it; ssh-keygen accepts the same."""
    team.ready_for_shadow()
    request = team.ask("research->shadow")
    path = team.folder / "var" / "requests" / f"{request}.json"
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "peak-trade-approval", "-f", team.key("olga"), path], check=True, capture_output=True
    )
    public = team.key("olga").with_suffix(".pub").read_text()
    allowed = team.write("allowed", f"olga {public}")
    check = ["ssh-keygen", "-Y", "verify", "-n", "peak-trade-approval", "-f", allowed, "-I", "olga", "-s", f"{path}.sig"]
    assert subprocess.run(check, input=path.read_bytes(), capture_output=True, check=False).returncode == 0

    assert team.json("gate", "decide", request)["answer"] == "pass"


def test_a_deviation_stands_in_for_too_short_a_time(team):
    """12.5 days are too few; with a signed deviation to 12 they pass, and the permit ends with it."""
    team.climb_to_shadow()
    team.weeks_of_shadow(days=14)
    team.tests_passed()
    assert answers(team, "shadow->testnet")["time_in_shadow"] == "inconclusive"
    until = f"{team.clock.now():%Y}-04-30"
    deviation = team.folder / "deviation.json"
    words = ["--criterion", "time_in_shadow", "--limit", "span_days=12.5", "--reason", "no fill differed", "--until", until]
    team.do("gate", "deviate", "shadow->testnet", "--strategy", "ma_crossover", *PARAMS, *words, "--out", deviation)
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "peak-trade-deviation", "-f", team.key("olga"), deviation],
        check=True,
        capture_output=True,
    )
    path = team.checklist("shadow_to_testnet")
    team.name_deviation(path, "time_in_shadow", deviation)
    team.do("checklist", "check", path)
    request = team.ask("shadow->testnet", "--deviation", str(deviation))
    team.sign(request, "olga", "rita")
    found = team.json("gate", "decide", request)

    assert found["answer"] == "pass"
    assert found["permit"]["until"].startswith(until)


def test_a_granted_permit_can_be_made_again(team):
    """Deciding once more gives the same bytes, and no second step."""
    found = team.climb_to_shadow()
    path = team.folder / "var" / "permits" / f"{found['id']}.json"
    content = path.read_bytes()
    path.unlink()
    again = team.json("gate", "decide", found["id"])

    assert (again["answer"], path.read_bytes()) == ("pass", content)
    assert len(team.json("gate", "history")) == 2


def test_down_again(team):
    """Anybody takes a strategy down; its permit is worth nothing then, and up it goes only by another decision."""
    team.climb_to_shadow()
    told = team.do("gate", "demote", "--strategy", "ma_crossover", "--to", "research", "--why", "odd fills", "--by", "zoe")

    assert "stands in research now" in told
    assert standing(team)["stage"] == "research"
    [permit] = team.json("gate", "status")["permits"]
    assert (permit["good"], [item["code"] for item in permit["objections"]]) == (False, ["demoted"])
    code, _, err = team.run("gate", "demote", "--strategy", "ma_crossover", "--to", "research", "--why", "again")
    assert (code, "found nothing" in err) == (2, True)


def test_revoked(team):
    found = team.climb_to_shadow()
    team.do("gate", "revoke", found["id"], "--why", "the key may be lost", "--by", "zoe")
    [permit] = team.json("gate", "status")["permits"]

    assert [item["code"] for item in permit["objections"]] == ["permit_revoked"]
    assert team.run("gate", "revoke", "0123456789abcdef", "--why", "no such")[0] == 2


def test_a_critical_bug_takes_the_strategy_down(team):
    """What turns after a step is seen at the end of the next session."""
    team.climb_to_shadow()
    team.shadow("--steps", "60")
    assert standing(team)["stage"] == "shadow"
    team.write("governance/bugs.toml", BUG)
    team.shadow("--steps", "60")

    assert standing(team)["stage"] == "research"
    last = team.json("gate", "history")[0]
    assert (last["what"], last["to"]) == ("demoted", "research")
    assert "no_critical_bugs" in last["why"]


@pytest.mark.parametrize(
    ("spoil", "criterion"),
    [
        (lambda team: team.write("governance/bugs.toml", BUG), "no_critical_bugs"),
        (lambda team: team.tests_passed(failed=1), "tests_green"),
        (lambda team: team.tests_passed(code="0" * 64), "tests_green"),
        (lambda team: team.tests_passed(clean=False), "tests_green"),
        (lambda team: (team.folder / "governance" / "bugs.toml").unlink(), "no_critical_bugs"),
        (lambda team: team.name({"dana": ("developer",), "rita": ("reviewer",)}), "roles_named"),
        (lambda team: team.later(days=8), "tests_green"),
    ],
    ids=["bug", "failed", "other code", "not clean", "no list", "no owner", "old tests"],
)
def test_each_blocker_blocks(team, spoil, criterion):
    team.ready_for_shadow()
    assert answers(team, "research->shadow")[criterion] == "pass"
    spoil(team)

    assert answers(team, "research->shadow")[criterion] in ("fail", "inconclusive")
    code, _, err = team.run("gate", "request", "research->shadow", *NAMED, "--by", "dana")
    assert (code, criterion in err or "person of governance/roles.toml" in err) == (1, True)


BUG = '[[bug]]\nid = "b1"\ntitle = "x"\narea = "risk"\nseverity = "critical"\nfound_at = 2026-03-01T00:00:00Z\n'


def test_a_fixed_or_lesser_bug_blocks_nothing(team):
    team.write("governance/bugs.toml", BUG + 'fixed_at = 2026-03-02T00:00:00Z\nfixed_in = "abc"\n')
    assert answers(team, "research->shadow")["no_critical_bugs"] == "pass"
    team.write("governance/bugs.toml", BUG.replace("critical", "major"))
    assert answers(team, "research->shadow")["no_critical_bugs"] == "pass"


def test_sessions_outside_of_their_stage_prove_no_time(team):
    """What ran in shadow before the step to shadow counts for nothing, good or bad."""
    team.weeks_of_shadow(days=15)
    team.climb_to_shadow()
    found = answers(team, "shadow->testnet")

    assert (found["time_in_shadow"], found["shadow_activity"]) == ("inconclusive", "inconclusive")


def test_the_decision_comes_out_the_same_elsewhere(team, tmp_path):
    """A copy of registry, journal and repository gives the same evidence, down to each hash."""
    team.climb_to_shadow()
    team.weeks_of_shadow(days=2)
    before = team.json("gate", "explain", "shadow->testnet", *NAMED, "--fresh")["evidence"]
    shutil.rmtree(team.folder / "reports" / "experiments")
    after = team.json("gate", "explain", "shadow->testnet", *NAMED, "--fresh")["evidence"]
    plain = lambda found: [item for item in found if item["kind"] != "repository"]

    assert json.dumps(plain(before)) == json.dumps(plain(after))
    assert sum(item["kind"] == "shadow" for item in before) == 2
