"""The restart procedure: every point both ways, all of them before a hold is lifted, and a signature for these holds alone."""

import os
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.accounts import playing
from tests.contract.rows import a_session
from tests.gates import key, roles_toml
from tests.paths import ROOT

from peak_trade.compose import Parts, code_sha256
from peak_trade.durable import write_bytes
from peak_trade.governance.sshsig import APPROVAL
from peak_trade.journal.chain import Chain
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import InputError
from peak_trade.model.stage import Stage
from peak_trade.runs import acts, incidents
from peak_trade.runs.safety import restart
from peak_trade.runs.safety.pause import PauseOrder, pause
from peak_trade.runs.safety.restart import Need, NotReady, RestartOrder, look_at, resume, statement
from peak_trade.runs.safety.resumed import WATCHED, watched_until
from peak_trade.runs.testnet import tested
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import load_config

CAUSE, FOLLOW = "the feed sent a bar twice", "the feed drops repeats now"
GOOD = (("all", lambda _scene: Need("all", met=True, found="good")),)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def order(**changes):
    return RestartOrder(**{"account": "paper", "by": "dana", "why": "mended", "docs": "the runbook says it"} | changes)


def point(parts, name, **changes):
    [found] = look_at(parts, order(**changes), [one for one in restart.POINTS if one[0] == name])
    return found


def paused(parts):
    return pause(parts, PauseOrder(accounts=("paper",), by="kim", why="odd"), sleep=lambda _s: None).incidents["paper"]


def result(parts, **changes):
    good = tested.TestResult(
        commit="c",
        clean=True,
        code_sha256=code_sha256(),
        stage="shadow",
        at=stamp(parts.clock.now()),
        passed=5,
        failed=0,
        skipped=0,
        seconds=1.0,
        exit_code=0,
    )
    tested.keep_result(parts.state, replace(good, **changes))


def in_stage(parts, stage, status="completed"):
    at = parts.clock.now() - timedelta(hours=1)
    begun = parts.sessions.begin(
        a_session("paper", f"live_session_{stage.value}", started_at=stamp(at), mode=stage.value), at, 30
    )
    parts.sessions.finish(begun.session_id, RunStatus(status), at=at, elapsed_s=1.0, metrics={}, summary={}, error=None)
    return begun.session_id


def test_what_is_not_held_needs_no_restart(parts):
    with pytest.raises(InputError, match="found nothing; it can be started"):
        look_at(parts, order())


def test_what_another_account_holds_by_the_key_is_named(parts):
    """Before, by what is to be resumed instead; afterwards, by what still holds."""
    for account in ("paper", "second"):
        parts.holds.keys.bind(account, "a1")
    now = parts.clock.now()
    parts.holds.place("second", Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.PAUSE, "asked"), now)
    with pytest.raises(InputError, match=r"a hold of the account second, which trades with the same key .* resume second"):
        look_at(parts, order())
    paused(parts)
    done = resume(parts, order(), GOOD)
    assert done.left == ()
    assert [words.partition(",")[0] for words in done.to_json()["shared"]] == ["second"]


def test_every_point_that_is_missing_is_told(parts):
    paused(parts)
    bad = (
        *GOOD,
        ("first", lambda _scene: Need("first", met=False, found="bad", todo="mend")),
        ("third", lambda scene: Need("third", met=False, found=scene.stage.value, todo="x")),
    )
    with pytest.raises(NotReady, match=r"found 2 of 3 that are not \(first, third\)") as refused:
        resume(parts, order(), bad)
    assert [need.met for need in refused.value.needs] == [True, False, False]
    assert parts.holds.held("paper")
    assert "resume" not in {act.action for act in acts.done(parts)}


def test_a_point_that_breaks_is_not_met(parts):
    paused(parts)
    [need] = look_at(parts, order(), [("x", lambda _scene: {}["gone"])])
    assert (need.name, need.met) == ("x", False)


def test_holds_are_lifted_after_it_was_written_down(parts):
    name = paused(parts)
    incidents.close_incident(parts, name, "dana", CAUSE, FOLLOW)
    done = resume(parts, order(), GOOD)
    assert not parts.holds.held("paper")
    assert [hold.why for hold in done.lifted] == ["odd"]
    act = acts.done(parts)[-1]
    assert (act.action, act.begun.body["by"], act.begun.body["needs"]) == ("resume", "dana", ["all: good"])
    now = parts.clock.now()
    assert set(watched_until(parts, now)) == {"paper"}
    assert watched_until(parts, now + WATCHED) == {}


def test_a_hold_that_came_meanwhile_stays(parts):
    paused(parts)
    now = parts.clock.now()
    late = Hold(moment_text(nanoseconds(now)), "peak-trade", "it lost too much", HoldKind.PAUSE, "daily_loss")

    def slow(_scene):
        parts.holds.place("paper", late, now)
        return Need("slow", met=True, found="good")

    done = resume(parts, order(), [("slow", slow)])
    assert done.left == (late,)
    assert parts.holds.of("paper") == (late,)


def test_of_two_restarts_at_once_one_is_made(parts):
    paused(parts)

    def other(_scene):
        resume(parts, order(by="olga"), GOOD)
        return Need("all", met=True, found="good")

    with pytest.raises(InputError, match="another restart did meanwhile"):
        resume(parts, order(), [("all", other)])
    assert [act.begun.body["by"] for act in acts.done(parts) if act.action == "resume"] == ["olga"]


def test_a_strategy_that_was_rolled_back_comes_back_by_name_alone(parts):
    now = parts.clock.now()
    closed = Hold(moment_text(nanoseconds(now)), "kim", "it loses", HoldKind.CLOSE, "rollback", ("ma_crossover",))
    parts.holds.place("paper", closed, now)
    with pytest.raises(InputError, match="--strategy NAME"):
        resume(parts, order(), GOOD)
    paused(parts)
    assert resume(parts, order(), GOOD).left == (closed,)
    with pytest.raises(InputError):
        resume(parts, order(strategy="macd"), GOOD)
    assert resume(parts, order(strategy="ma_crossover"), GOOD).lifted == (closed,)


# ---- the points ------------------------------------------------------------------------------------------------------


def test_the_session_must_have_ended(parts):
    with playing(parts):
        pause(parts, PauseOrder(accounts=("paper",), by="kim", why="odd", heed_s=0.0), sleep=lambda _s: None)
        need = point(parts, "session ended")
        assert (need.met, need.todo) == (False, "peak-trade session stop paper")
    assert point(parts, "session ended").met


def test_the_kill_switch_must_be_off(parts):
    paused(parts)
    parts.kill_switch.trip("kim", "odd", parts.clock.now())
    assert not point(parts, "kill switch").met
    parts.kill_switch.release()
    assert point(parts, "kill switch").met


def test_the_cause_must_be_known(parts):
    name = paused(parts)
    assert name in point(parts, "cause known").todo
    incidents.close_incident(parts, name, "dana", CAUSE, FOLLOW)
    assert point(parts, "cause known").found == f"{CAUSE} (closed by dana)"
    other = incidents.open_incident(parts, key="data_gap.paper", severity="low", title="gap", why="odd", by="kim")
    assert not point(parts, "cause known").met
    incidents.close_incident(parts, other, "dana", CAUSE, FOLLOW)
    assert point(parts, "cause known").met
    incidents.open_incident(parts, key="pause.elsewhere", severity="low", title="t", why="odd", by="kim")
    assert point(parts, "cause known").met


def test_what_was_done_before_the_last_hold_says_nothing_about_it(parts):
    """A trigger that fires after the evidence was gathered is not lifted by it."""
    incidents.close_incident(parts, paused(parts), "dana", CAUSE, FOLLOW)
    result(parts)
    assert all(point(parts, name).met for name in ("cause known", "fix tried", "tests"))
    now = parts.clock.now()
    parts.holds.place("paper", Hold(moment_text(nanoseconds(now)), "session s", "loss", HoldKind.PAUSE, "daily_loss"), now)
    assert not any(point(parts, name).met for name in ("cause known", "fix tried", "tests"))


def test_a_hold_that_cannot_be_read_is_lifted_like_another(parts):
    (parts.holds.folder / "paper").mkdir(parents=True)
    (parts.holds.folder / "paper" / "1.json").write_text('{"at": "some day", "by": "", "why": "", "code": ""}')
    assert not point(parts, "tests").met
    result(parts)
    assert point(parts, "tests").met
    resume(parts, order(), GOOD)
    assert not parts.holds.held("paper")


@pytest.mark.parametrize(
    ("account", "code", "opened", "is_about"),
    [
        ("a.b", "asked", "pause.a.b", True),
        ("b", "asked", "pause.a.c", False),
        ("x" * 64, "asked", f"pause.{'x' * 64}"[:64], True),
        ("paper", "rollback", "rollback.shadow", True),
        ("paper", "asked", "rollback.shadow", False),
    ],
)
def test_which_incidents_are_about_an_account(parts, account, code, opened, is_about):
    now = parts.clock.now()
    parts.holds.place(account, Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.PAUSE, code), now)
    incidents.open_incident(parts, key=opened, severity="low", title="t", why="odd", by="kim")
    assert ("open: " in point(parts, "cause known", account=account).found) is is_about


def test_without_an_incident_nobody_knows(parts):
    now = parts.clock.now()
    parts.holds.place("paper", Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.PAUSE, "asked"), now)
    assert "no incident tells" in point(parts, "cause known").found


def test_the_tests_must_have_passed_since_for_this_code(parts):
    result(parts)
    paused(parts)
    assert "before the pause" in point(parts, "tests").found
    for changes, met in (
        ({}, True),
        ({"failed": 1, "exit_code": 1}, False),
        ({"passed": 0}, False),
        ({"code_sha256": "0" * 64}, False),
    ):
        result(parts, **changes)
        assert point(parts, "tests").met is met
        assert point(parts, "fix tried").met is met


def test_what_was_mended_must_have_been_tried(parts):
    in_stage(parts, Stage.SHADOW)
    paused(parts)
    assert not point(parts, "fix tried").met
    at = parts.clock.now()
    begun = parts.sessions.begin(a_session("trial", started_at=stamp(at)), at, 30)
    assert not point(parts, "fix tried").met
    parts.sessions.finish(begun.session_id, RunStatus.COMPLETED, at=at, elapsed_s=1.0, metrics={}, summary={}, error=None)
    assert begun.session_id in point(parts, "fix tried").found


def test_somebody_must_say_what_became_of_the_documentation(parts):
    paused(parts)
    assert not point(parts, "documentation", docs="x" * (restart.SAID_MIN - 1)).met
    assert point(parts, "documentation", docs="x" * restart.SAID_MIN).met


def test_the_shadow_needs_no_other_person(parts):
    in_stage(parts, Stage.SHADOW)
    paused(parts)
    assert point(parts, "approval").met


class TestApproval:
    """From testnet on another person signs what exactly is lifted."""

    @pytest.fixture
    def testnet(self, parts):
        in_stage(parts, Stage.TESTNET)
        paused(parts)
        (parts.settings.root / "governance" / "roles.toml").write_text(roles_toml())
        return parts

    def signed(self, parts, *people, about=None, **changes):
        paths = []
        for name in people:
            path = parts.settings.root / f"{name}.sig"
            write_bytes(path, key(name).sign(statement(parts, about or order(**changes)), APPROVAL))
            paths.append(path)
        return point(parts, "approval", signatures=tuple(paths), **changes)

    def test_one_other_person_is_enough(self, testnet):
        assert not point(testnet, "approval").met
        assert self.signed(testnet, "dana", "rita").met
        assert self.signed(testnet, "dana", "rita", approved_by=("rita",)).met

    @pytest.mark.parametrize(
        ("people", "changes", "words"),
        [
            (("dana",), {}, "0 of 1 other people"),
            (("dana", "ivan"), {}, "0 of 1 other people"),
            (("dana", "rita"), {"approved_by": ("olga",)}, "olga did not sign"),
            (("rita",), {}, "dana, who asks, did not sign"),
            (("rita",), {"by": "nobody"}, "nobody in governance/roles.toml"),
        ],
        ids=["who asks", "an operator", "another than named", "asked in another name", "asked by a stranger"],
    )
    def test_others_are_not(self, testnet, people, changes, words):
        need = self.signed(testnet, *people, **changes)
        assert (need.met, words in need.found) == (False, True)

    def test_a_signature_is_good_for_these_holds_alone(self, testnet):
        assert self.signed(testnet, "dana", "rita").met
        paths = tuple(testnet.settings.root / f"{name}.sig" for name in ("dana", "rita"))
        assert point(testnet, "approval", signatures=paths).met
        paused(testnet)
        assert not point(testnet, "approval", signatures=paths).met
        assert not self.signed(testnet, "dana", "rita", about=order(strategy=None, by="olga")).met

    def test_without_people_nobody_can(self, testnet):
        (testnet.settings.root / "governance" / "roles.toml").unlink()
        assert "nobody is named" in point(testnet, "approval").found

    def test_live_needs_an_owner_and_another(self, parts):
        in_stage(parts, Stage.LIVE)
        paused(parts)
        (parts.settings.root / "governance" / "roles.toml").write_text(roles_toml())
        assert not self.signed(parts, "dana", "olga").met
        assert not self.signed(parts, "dana", "rita", "rudi").met
        assert self.signed(parts, "dana", "olga", "rudi").met

    def test_a_rehearsal_on_the_account_does_not_lower_what_is_asked_for(self, testnet):
        """It begins on a held account, and would be the newest session there."""
        at = testnet.clock.now()
        testnet.sessions.begin(a_session("paper", "shadow_run", started_at=stamp(at)), at, 30)
        assert restart.stage_of(testnet, order()) is Stage.TESTNET
        assert "0 of 1 other people" in point(testnet, "approval").found

    def test_a_session_that_was_not_registered_counts_by_its_journal(self, parts):
        in_stage(parts, Stage.SHADOW)
        now = parts.clock.now()
        for name, kind, mode in (("a", "live_session_testnet", "testnet"), ("b", "shadow_run", "shadow")):
            body = {"run_type": kind, "mode": mode}
            Chain.begin(parts.journal, "paper", name, body, at=now, signer=parts.signer).close()
        parts.holds.place("paper", Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.PAUSE, "asked"), now)
        assert restart.stage_of(parts, order()) is Stage.TESTNET
