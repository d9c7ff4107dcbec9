"""`peak-trade checklist`: made from what was measured, finished by people, checked, archived and listed."""

import json
import os
import shutil
import stat
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.checklists import edited, finished, rulings
from tests.gates import DAY, GateCase, altered, evidence_for, roles_toml
from tests.paths import ROOT
from tests.team import Team

from peak_trade.cli import checklist
from peak_trade.compose import Parts
from peak_trade.governance.checklists import CHECKLISTS
from peak_trade.governance.files import load_policy, load_roles
from peak_trade.governance.ladder import Rung
from peak_trade.model.errors import CheckFailed
from peak_trade.runs import acts, checklists
from peak_trade.settings import load_config

TODAY = datetime.now(UTC)


class House:
    """A project with the delivered policy and templates, people of the tests, and a case that passes."""

    def __init__(self, project) -> None:
        self.project, self.folder = project, project.folder
        self.run = project.run
        self.asked: list[tuple] = []
        self.case = GateCase()

    @property
    def archive(self) -> Path:
        return self.folder / "reports" / "checklists"

    def look(self, parts, rung, strategy, account, symbols):
        """Stand in for the look at registry, journal and repository: the rulings are made by the gate's own rules."""
        self.asked.append((rung, strategy, account, symbols))
        now = datetime.now(UTC).replace(microsecond=0)
        self.case = self.case.but(
            rung=rung,
            account=account,
            evidence=self.case.evidence or evidence_for(rung, now - DAY),
            created_at=now - DAY,
            expires_at=now + 10 * DAY,
            at=now,
            roles=load_roles(self.folder),
            policy=load_policy(self.folder),
        )
        return self.case.request, rulings(self.case)

    def made(self, name: str = "shadow_to_testnet", *, finish: bool = True, note: str = "looked at it") -> str:
        """Make a list and finish it; return its name."""
        ended = self.run("checklist", "new", name, "--strategy", "ma_crossover", "--out", "list.md")
        assert ended.code == 0, ended.err
        if finish:
            file = self.folder / "list.md"
            file.write_bytes(finished(file.read_bytes(), on=f"{datetime.now(UTC):%F}", note=note))
        return "list.md"


@pytest.fixture
def house(project, monkeypatch) -> House:
    shutil.copytree(ROOT / "governance", project.folder / "governance")
    (project.folder / "governance" / "roles.toml").write_text(roles_toml())
    found = House(project)
    monkeypatch.setattr(checklist, "_look", found.look)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    return found


@pytest.fixture
def parts(house):
    with closing(Parts(load_config())) as found:
        yield found


def test_a_step_without_evidence_is_open(project):
    """Nothing stands in for the look: without a run, without people, what has to be measured is told as open, and why."""
    shutil.copytree(ROOT / "governance", project.folder / "governance")
    made = project.run("checklist", "new", "research_to_shadow", "--strategy", "ma_crossover")
    file = project.folder / "reports" / "checklists" / "open_research_to_shadow_ma_crossover.md"
    ended = project.run("checklist", "check", str(file), "--json")
    found = {item["point"]: item["why"] for item in ended.json["open_points"]}

    assert (made.code, ended.code) == (0, 1), made.err
    assert found["roles_named"] == "it came to fail, not pass"
    assert found["backtest_history"] == "it came to inconclusive, not pass"
    assert "is soft: needs a signed deviation" in found["performance"]
    assert found["code_review"] == "not ticked; no name; no date; no note"
    assert "there is no evidence of the last 60 days; it would have to come from backtest" in file.read_text()


@pytest.mark.parametrize("rung", list(Rung))
def test_the_whole_way_of_a_list(house, rung):
    """Made, open; filled in, complete; archived read-only under day, name and version; listed as recorded."""
    name = CHECKLISTS[rung]
    made = house.run("checklist", "new", rung.value, "--strategy", "ma_crossover")
    file = house.archive / f"open_{name}_ma_crossover.md"
    begun = house.run("checklist", "check", str(file))
    file.write_bytes(finished(file.read_bytes(), on=f"{datetime.now(UTC):%F}"))
    done = house.run("checklist", "check", str(file))
    kept = house.run("checklist", "archive", str(file), "--by", "olga")
    listed = house.run("checklist", "list")

    assert (made.code, begun.code, done.code, kept.code, listed.code) == (0, 1, 0, 0, 0)
    assert str(file) in made.out
    assert begun.out.count("open: ") > 5
    assert "not ticked; no name; no date; no note" in begun.out
    assert begun.err.count("\n") == 1
    assert f"{name} v1.0 is complete" in done.out
    [archived] = [path for path in house.archive.iterdir() if path != file]
    assert archived.name == f"{datetime.now(UTC):%F}_{name}_v1.0.md"
    assert str(archived) in kept.out
    assert archived.read_bytes() == file.read_bytes()
    assert stat.S_IMODE(archived.stat().st_mode) == 0o444
    assert "as recorded" in listed.out


def test_new_asks_for_what_it_was_told(house):
    """Step, strategy with parameters, account and pairs; without them what the configuration says, where nothing traded yet."""
    words = ("checklist", "new", "shadow_to_testnet", "--strategy", "ma_crossover", "--out")
    given = ("--param", "fast_window=7", "--symbol", "ETH/EUR", "--symbol", "btc/eur", "--account", "real")
    assert house.run(*words, "a.md", *given, "--json").code == 0
    assert house.run(*words, "b.md").code == 0

    (rung, strategy, account, symbols), (_, usual, paper, pairs) = house.asked
    file = load_config().file
    assert (rung, account, tuple(symbols)) == (Rung.SHADOW_TESTNET, "real", ("BTC/EUR", "ETH/EUR"))
    assert (strategy.key, strategy.fast_window) == ("ma_crossover", 7)
    assert (paper, tuple(pairs), usual.fast_window) == (file.governance.account, (file.shadow.symbol,), 20)


def test_new_tells_what_it_made(house):
    """As a document: the file, what it is about, and what is open."""
    ended = house.run("checklist", "new", "shadow_to_testnet", "--strategy", "ma_crossover", "--out", "list.md", "--json")
    found = ended.json

    assert (ended.code, ended.err) == (0, "")
    assert Path(found["file"]) == house.folder / "list.md"
    assert (found["checklist"], found["version"], found["complete"]) == ("shadow_to_testnet", "v1.0", False)
    assert found["open_points"][0] == {"point": "stage_complete", "why": "not ticked; no name; no date; no note"}
    assert found["current_version"] is True


def test_results_that_lie_there_are_linked(house):
    """A run with a folder among the reports is a link that is good from the archive."""
    folder = house.folder / "reports" / "experiments" / "shadow-7"
    folder.mkdir(parents=True)
    house.made(finish=False)

    assert "[shadow-7](../experiments/shadow-7/), shadow-8" in (house.folder / "list.md").read_text()
    assert Path(os.path.normpath(house.archive / "../experiments/shadow-7/")) == folder


@pytest.mark.parametrize("kind", ["file", "folder", "link", "lost link"])
def test_nothing_is_written_over(house, kind):
    """Whatever stands there stays."""
    target = house.folder / "list.md"
    match kind:
        case "file":
            target.write_text("mine")
        case "folder":
            target.mkdir()
        case _:
            target.symlink_to("other.md")
            if kind == "link":
                (house.folder / "other.md").write_text("mine")
    ended = house.run("checklist", "new", "shadow_to_testnet", "--strategy", "ma_crossover", "--out", "list.md")

    assert ended.code == 2
    assert "expected no file at" in ended.err
    assert "--out" in ended.err
    assert not (house.folder / "other.md").exists() or (house.folder / "other.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("new", "shadow_to_live", "--strategy", "ma_crossover"), "shadow_to_testnet"),
        (("new", "shadow_to_testnet", "--strategy", "nothing"), "name of a strategy"),
        (("new", "shadow_to_testnet", "--strategy", "ma_crossover", "--param", "speed=1"), "speed"),
        (("new", "shadow_to_testnet", "--strategy", "ma_crossover", "--symbol", "BTC"), "BTC"),
        (("new", "shadow_to_testnet", "--strategy", "ma_crossover", "--account", "../x"), "account"),
        (("new", "shadow_to_testnet", "--strategy", "ma_crossover", "--out", "config.toml"), "in use"),
        (("new", "shadow_to_testnet"), "--strategy"),
        (("check", "nothing.md"), "found none"),
        (("check", "config.toml"), "checklist new"),
        (("archive", "config.toml"), "checklist new"),
        (("archive", "config.toml", "--by", " "), "--by"),
    ],
)
def test_wrong_words_are_one_sentence(house, arguments, why):
    """Exit code 2."""
    ended = house.run("checklist", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err
    assert ended.err.count("\n") == 1


def test_a_template_that_does_not_fit_is_told(house):
    """The policy asks for more than the template has; the template is gone; it is a link."""
    file = house.folder / "governance" / "checklists" / "shadow_to_testnet.md"
    words = ("checklist", "new", "shadow_to_testnet", "--strategy", "ma_crossover")
    whole = file.read_bytes()
    file.write_bytes(edited(whole, "- [ ] (measured) **backtest_parity**\n", ""))
    assert (ended := house.run(*words)).code == 2
    assert "none for backtest_parity" in ended.err
    file.unlink()
    assert house.run(*words).code == 2
    (house.folder / "elsewhere.md").write_bytes(whole)
    file.symlink_to(house.folder / "elsewhere.md")
    assert house.run(*words).code == 3
    assert not house.archive.exists()


def test_what_did_not_pass_keeps_a_list_open(house):
    """A criterion that failed is named by check and by archive, and nothing is archived."""
    house.case = GateCase(
        evidence=altered(evidence_for(Rung.SHADOW_TESTNET, datetime.now(UTC) - DAY), "shadow-3", correlation="0.2")
    )
    file = house.made()
    checked = house.run("checklist", "check", file)
    kept = house.run("checklist", "archive", file)
    told = house.run("checklist", "archive", file, "--json")

    assert (checked.code, kept.code, told.code) == (1, 1, 1)
    assert checked.out == kept.out == "open: backtest_parity: it came to fail, not pass\n"
    assert told.json["open_points"] == [{"point": "backtest_parity", "why": "it came to fail, not pass"}]
    assert told.json["complete"] is False
    assert not house.archive.exists()
    assert house.run("checklist", "list").out.endswith("nothing is archived yet\n")


def test_people_are_those_of_the_roles(house):
    """Somebody who is taken out of the roles, or whose time is over, has done nothing."""
    file = house.made()
    roles = house.folder / "governance" / "roles.toml"
    assert house.run("checklist", "check", file).code == 0
    whole = roles.read_text()
    roles.write_text(whole.replace('id = "olga"', 'id = "olga"\nvalid_until = 2026-01-01T00:00:00Z', 1))
    assert "no id of somebody" in house.run("checklist", "check", file).out
    roles.write_text(whole.replace('id = "olga"', 'id = "olaf"'))
    assert house.run("checklist", "check", file, "--json").json["statements"] == []


def test_the_policy_says_how_long_it_lasts(house):
    """Its age is that of the criterion `checklist_current`."""
    file = house.made()
    path = house.folder / file
    path.write_bytes(
        path.read_bytes().replace(f"  - date: {datetime.now(UTC):%F}".encode(), f"  - date: {TODAY - 3 * DAY:%F}".encode())
    )
    assert house.run("checklist", "check", file).code == 0
    policy = house.folder / "governance" / "policy.toml"
    before, mark, after = policy.read_text().partition('id = "checklist_current"')
    policy.write_text(before + mark + after.replace("max_age_days = 14", "max_age_days = 2", 1))

    assert "more than 2 days back" in house.run("checklist", "check", file).out


def test_a_link_in_place_of_a_list_is_refused(house):
    """Exit code 3: what it leads to could be exchanged."""
    file = house.made()
    (house.folder / "link.md").symlink_to(file)

    assert house.run("checklist", "check", "link.md").code == 3
    assert house.run("checklist", "archive", "link.md").code == 3


def test_the_same_list_is_archived_once(house):
    """Once more it is left as it is; another of that day gets a number; both are in the journal with who did it."""
    file = house.made()
    first = house.run("checklist", "archive", file, "--by", "olga", "--json").json
    again = house.run("checklist", "archive", file, "--by", "olga", "--json").json
    said = house.run("checklist", "archive", file, "--by", "olga")
    (house.folder / file).unlink()
    house.made(note="looked at it again")
    second = house.run("checklist", "archive", file, "--by", "otto", "--json").json

    assert (first["was_there"], again["was_there"], second["was_there"]) == (False, True, False)
    assert first["file"] == again["file"]
    assert "archived already" in said.out
    assert Path(second["file"]).name == Path(first["file"]).name.replace("v1.0", "v1.0_2")
    with closing(Parts(load_config())) as parts:
        done = acts.done(parts)
    assert [(act.action, act.begun.body["by"], act.begun.body["via"]) for act in done] == [
        ("checklist_archived", "olga", "command"),
        ("checklist_archived", "otto", "command"),
    ]
    assert [act.begun.body["path"] for act in done] == [f"checklists/{Path(item['file']).name}" for item in (first, second)]
    assert [act.begun.body["sha256"] for act in done] == [first["sha256"], second["sha256"]]
    assert all(act.went_well for act in done)
    assert [item["state"] for item in house.run("checklist", "list", "--json").json["archived"]] == ["as recorded"] * 2


def test_two_at_once_take_two_names(house, parts):
    """Lists that differ, archived at the same moment: both are kept; the same list at the same moment is kept once."""
    file = house.folder / house.made()
    whole = file.read_bytes()
    for number in range(4):
        (house.folder / f"{number}.md").write_bytes(edited(whole, "looked at it", f"looked at it {number // 2}"))
    found, troubles = [], []

    def work(number: int) -> None:
        try:
            with closing(Parts(load_config())) as own:
                found.append(checklists.archive(own, house.folder / f"{number}.md", "olga"))
        except Exception as error:  # noqa: BLE001 - told by the main thread
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert troubles == []
    assert sorted(item.kept for item in found) == [False, False, True, True]
    assert len({item.path for item in found}) == len({item.sha256 for item in found}) == 2


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda path: (path.chmod(0o644), path.write_bytes(path.read_bytes() + b"\n")), "altered"),
        (lambda path: path.unlink(), "gone"),
        (lambda path: path.rename(path.with_name("2026-01-01_shadow_to_testnet_v1.0.md")), "unrecorded"),
        (lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")), "altered"),
        (lambda path: (path.unlink(), path.mkdir()), "altered"),
    ],
)
def test_an_archive_that_was_changed_is_told(house, spoil, state):
    """Altered, gone or put there by hand: exit code 1, and which."""
    house.made()
    path = Path(house.run("checklist", "archive", "list.md", "--json").json["file"])
    assert house.run("checklist", "list").code == 0
    spoil(path)
    ended = house.run("checklist", "list", "--json")

    assert ended.code == 1
    assert state in {item["state"] for item in ended.json["archived"]}
    assert "as they were recorded" in ended.err


def test_an_archive_without_a_sound_journal_proves_nothing(house):
    """It is listed, and said why it is unproven."""
    house.made()
    assert house.run("checklist", "archive", "list.md").code == 0
    [segment] = [path for path in (house.folder / "var" / "journal" / "operators").glob("*.jsonl") if ".heads" not in path.name]
    segment.write_text(segment.read_text().replace("checklist_archived", "checklist_archivet"))
    ended = house.run("checklist", "list", "--json")

    assert ended.code == 1
    assert [item["state"] for item in ended.json["archived"]] == ["unproven"]
    assert "journal of operators" in ended.json["trouble"]


@pytest.mark.parametrize("written", [True, False])
def test_a_death_on_the_way_leaves_one_list_or_none(house, parts, monkeypatch, written):
    """Whoever dies after the file was written has archived it, and before it has not; the next try knows which."""
    file = house.folder / house.made()
    monkeypatch.setattr(*((acts.Act, "end", _dies) if written else (checklists, "write_whole", _dies)))
    with pytest.raises(KeyboardInterrupt):
        checklists.archive(parts, file, "olga")
    monkeypatch.undo()

    assert [item.state for item in checklists.list_checklists(parts).archived] == (["as recorded"] if written else [])
    assert checklists.archive(parts, file, "olga").kept is written
    assert [item.state for item in checklists.list_checklists(parts).archived] == ["as recorded"]
    assert len(list(house.archive.iterdir())) == 1


def _dies(*_args: object, **_facts: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_leaves_no_half_list(house, parts, monkeypatch):
    """The act is written down as failed, no file is there, and the next try takes the same name."""
    file = house.folder / house.made()
    monkeypatch.setattr(Path, "chmod", _full)
    ended = house.run("checklist", "archive", "list.md")
    monkeypatch.undo()

    assert ended.code == 1
    assert "the disk is full" in ended.err
    assert list(house.archive.iterdir()) == []
    assert [act.went_well for act in acts.done(parts)] == [False]
    assert checklists.list_checklists(parts).archived == ()
    kept = checklists.archive(parts, file, "olga")
    assert not kept.path.name.endswith("_2.md")
    assert [item.state for item in checklists.list_checklists(parts).archived] == ["as recorded"]


def _full(*_args: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_open_list_is_not_archived_from_below_either(house, parts):
    """What other code calls refuses it too."""
    file = house.folder / house.made(finish=False)
    with pytest.raises(CheckFailed, match="dry_run"):
        checklists.archive(parts, file, "olga")
    assert acts.done(parts) == []


def test_the_request_can_be_held_against_it(house, parts):
    """With the request that is asked for, a list about another account is open."""
    file = house.folder / house.made()
    assert checklists.check_file(parts, file, house.case.request).complete
    [trouble] = checklists.check_file(parts, file, house.case.but(account="real").request).open_points
    assert trouble == ("head", "it is about something else than the request: other account")


def test_list_has_all_templates(house):
    """With their versions and how many points they have."""
    ended = house.run("checklist", "list", "--json")
    shown = house.run("checklist", "list").out

    assert [item["checklist"] for item in ended.json["templates"]] == list(CHECKLISTS.values())
    assert all(item["version"] == "v1.0" and item["measured"] > 5 and item["by_hand"] > 5 for item in ended.json["templates"])
    assert all(name in shown for name in CHECKLISTS.values())
    assert json.loads(ended.out)["archived"] == []


def test_a_step_is_asked_with_the_archived_list(tmp_path, monkeypatch, capsys):
    """Statements count, the original may go, and one more byte in the copy voids the request."""
    team = Team(tmp_path, monkeypatch, capsys)
    team.ready_for_shadow()
    original = team.folder / "reports" / "checklists" / "open_research_to_shadow_ma_crossover.md"
    kept = Path(team.json("checklist", "archive", original, "--by", "olga")["file"])
    original.unlink()
    request = team.ask("research->shadow", "--checklist", str(kept))
    team.sign(request, "olga")
    whole = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(whole + b"\n")
    altered = team.json("gate", "decide", request)
    kept.write_bytes(whole)
    found = team.json("gate", "decide", request)

    assert (altered["answer"], found["answer"]) == ("fail", "pass")
    assert "changed" in {item["code"] for item in altered["objections"]}
    assert {item["id"]: item["answer"] for item in found["criteria"]}["code_reviewed"] == "pass"
