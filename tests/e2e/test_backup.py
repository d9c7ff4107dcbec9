"""Backups of a real installation, taken while a session runs, and put back: proven first, whole or not at all, and latched."""

import contextlib
import hashlib
import io
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tests.e2e.conftest import Project
from tests.paths import ROOT
from tests.postgres import Server, postgres

from peak_trade.compose import Parts
from peak_trade.journal.chain import holding, segments
from peak_trade.model.errors import ConfigError
from peak_trade.runs.acts import done
from peak_trade.runs.backups import backup, restore
from peak_trade.runs.backups.archive import verify_archive
from peak_trade.runs.backups.backup import archives_in, back_up
from peak_trade.runs.schedule.record import SCHEDULER
from peak_trade.runs.supervision.supervisor import sole_supervisor
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import load_config

__all__ = ["postgres"]

SESSION = ("session", "run", "--strategy", "ma_crossover", "--steps", "120", "--speed", "max", "--no-html")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A folder with one session that ended, an operator, and an archive of that."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "config.toml", folder)
    shutil.copytree(ROOT / "governance", folder / "governance")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        patch.setattr("os.fsync", lambda _handle: None)
        from peak_trade.cli.main import main

        assert main(SESSION) == 0
        assert main(["operator", "add", "ada"]) == 0
        assert main(["backup"]) == 0
    return folder


@pytest.fixture
def home(house, tmp_path, monkeypatch, capsys):
    """A copy of that folder for one test."""
    folder = tmp_path / "home"
    shutil.copytree(house, folder)
    monkeypatch.chdir(folder)
    return Project(folder, capsys)


def archive_of(home):
    return archives_in(home.folder / "backups")[0]


def parts_of(folder):
    return Parts(load_config(folder / "config.toml"))


def content_of(folder):
    """Return what is in a folder, but for locks, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".lock", ".holder")))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def sessions_of(folder):
    with contextlib.closing(sqlite3.connect(folder / "var" / "registry.db")) as connection:
        return sorted(row[0] for row in connection.execute("SELECT session_id FROM sessions"))


def test_what_is_backed_up_comes_back(home):
    """Registry, journals, acts, configuration and rules; proven, paused, and without the private key."""
    told = home.run("restore", str(archive_of(home)), "--to", "elsewhere", "--json").json
    there = home.folder / "elsewhere"

    assert (told["paused"], told["private_key"]) == (["paper"], False)
    assert sessions_of(there) == sessions_of(home.folder)
    before, after = content_of(home.folder), content_of(there)
    same = {name for name in before if before[name] == after.get(name)}
    assert {name for name in before if name.startswith(("var/journal/", "var/venue/", "governance/"))} <= same
    assert {"config.toml", "var/keys/journal.pub.pem"} <= same
    assert "var/keys/journal.pem" not in after
    [hold] = parts_of(there).holds.of("paper")
    assert (hold.kind, hold.code) == (HoldKind.PAUSE, "restored")
    assert home.run("journal", "verify", "--config", str(there / "config.toml")).code == 0
    assert home.run("backup", "verify").code == 0


def test_a_restore_does_not_write_over_anything(home):
    """A folder with something in it is refused, an empty one is taken."""
    (home.folder / "full").mkdir()
    (home.folder / "full" / "x").touch()
    (home.folder / "empty").mkdir()
    ended = home.run("restore", str(archive_of(home)), "--to", "full")
    assert (ended.code, "expected a folder that is not there yet, or empty" in ended.err) == (2, True)
    assert home.run("restore", str(archive_of(home)), "--to", "empty").code == 0
    for wrong in ((), ("--to", "a", "--in-place")):
        assert "either --to FOLDER or --in-place" in home.run("restore", str(archive_of(home)), *wrong).err


def test_the_signing_key_is_in_it_only_on_demand(home):
    """With a warning; and whatever the environment holds is in no archive."""
    ended = home.run("backup", "--to", "secret", "--with-signing-key")
    [path] = archives_in(home.folder / "secret")
    private = (home.folder / "var" / "keys" / "journal.pem").read_bytes()

    assert "whoever has it can write what looks like ours" in ended.err
    with zipfile.ZipFile(path) as found, zipfile.ZipFile(archive_of(home)) as usual:
        assert found.read("var/keys/journal.pem") == private
        assert not any(private in usual.read(name) for name in usual.namelist())
    assert home.run("restore", str(path), "--to", "elsewhere").code == 0
    mode = (home.folder / "elsewhere" / "var" / "keys" / "journal.pem").stat().st_mode
    assert mode & 0o077 == 0


def test_no_secret_of_the_environment_is_in_it(home, monkeypatch):
    """Nor a nonce, nor what an emulator keeps, nor market data."""
    monkeypatch.setenv("KRAKEN_TESTNET_API_KEY", "hush-key-71")
    monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", "hush-secret-71")
    for name in ("nonces/nonce-a", "emulator/8200.json", "data/bars.parquet", "keys/other.pem", "supervisor.json"):
        (home.folder / "var" / name).parent.mkdir(exist_ok=True)
        (home.folder / "var" / name).write_text("hush")
    (home.folder / "var" / "link").symlink_to("/etc/hostname")
    home.run("backup", "--to", "b2")

    with zipfile.ZipFile(archives_in(home.folder / "b2")[0]) as found:
        assert not any(b"hush" in found.read(name) for name in found.namelist())
        assert "var/link" not in found.namelist()


def test_archives_are_listed_kept_and_checked(home):
    """The newest come first; so many are kept; a damaged one is told as that."""
    for _ in range(3):
        assert home.run("backup", "--keep", "3").code == 0
    listed = home.run("backup", "list", "--json").json["archives"]
    assert len(listed) == 3
    assert [line["archive"] for line in listed] == sorted((line["archive"] for line in listed), reverse=True)
    assert all(line["sound"] for line in listed)
    newest = Path(listed[0]["archive"])
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    assert [line["sound"] for line in home.run("backup", "list", "--json").json["archives"]] == [False, True, True]
    ended = home.run("backup", "verify")
    assert (ended.code, "expected an archive as it was written" in ended.err) == (1, True)
    assert home.run("backup", "verify", listed[1]["archive"]).code == 0
    assert home.run("backup", "verify", "--to", "nowhere").code == 1
    assert home.run("backup", "--keep", "0").code == 2


def journal_bytes(folder: Path) -> int:
    """Return how much the segments of an account hold."""
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def test_backups_while_a_session_runs_can_all_be_put_back(home):
    """Whatever the session was writing at that moment; and the session goes on to its end."""
    running = home.start("session", "run", "--strategy", "ma_crossover", "--steps", "1500", "--speed", "60000", "--no-html")
    folder = home.folder / "var" / "journal" / "paper"
    try:
        while len(list(folder.glob("*.heads.jsonl"))) < 2 and running.poll() is None:
            time.sleep(0.01)
        taken = 0
        while running.poll() is None and taken < 6:
            with contextlib.closing(parts_of(home.folder)) as parts:
                back_up(parts, home.folder / "live")
            taken += 1
            written = journal_bytes(folder)
            while journal_bytes(folder) == written and running.poll() is None:
                time.sleep(0.01)
    finally:
        _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert taken >= 2
    for number, path in enumerate(archives_in(home.folder / "live")):
        ended = home.run("restore", str(path), "--to", f"r{number}", "--json")
        assert ended.code == 0, ended.err
        assert ended.json["paused"] == ["paper"]
    last = segments(home.folder / "var" / "journal", "paper")[-1].relative_to(home.folder)
    sizes = {(home.folder / f"r{number}" / last).stat().st_size for number in range(taken)}
    assert len(sizes) > 1, "the session did not write between two backups"


def test_a_torn_tail_of_the_running_segment_is_left_out(home):
    """Whole records up to a point; what is torn further back is linked to, and stays."""
    last = segments(home.folder / "var" / "journal", "paper")[-1]
    with last.open("ab") as file:
        file.write(b'{"at":"2026')
    home.run("backup", "--to", "b2")
    home.run("restore", str(archives_in(home.folder / "b2")[0]), "--to", "elsewhere")

    there = home.folder / "elsewhere" / last.relative_to(home.folder)
    assert there.read_bytes() + b'{"at":"2026' == last.read_bytes()


def test_a_journal_that_was_changed_is_not_put_back(home):
    """The archive is sound, what was archived is not: nothing is put in place."""
    segment = segments(home.folder / "var" / "journal", "paper")[0]
    segment.write_bytes(segment.read_bytes().replace(b'"kind":"begun"', b'"kind":"begyn"'))
    home.run("backup", "--to", "b2")
    before = content_of(home.folder)
    for way in (("--to", "elsewhere"), ("--in-place",)):
        ended = home.run("restore", str(archives_in(home.folder / "b2")[0]), *way)
        assert (ended.code, "expected journals that are unchanged and complete" in ended.err) == (1, True)
    assert content_of(home.folder) == before


def test_a_cut_journal_is_noticed_by_the_registry(home):
    """Completeness, too: a session that the registry knows as completed without its end."""
    segment = segments(home.folder / "var" / "journal", "paper")[0]
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:2]))
    (heads := segment.with_name(f"{segment.stem}.heads.jsonl")).write_bytes(heads.read_bytes().splitlines(keepends=True)[0])
    home.run("backup", "--to", "b2")
    ended = home.run("restore", str(archives_in(home.folder / "b2")[0]), "--to", "elsewhere")
    assert (ended.code, "nothing was put in place" in ended.err) == (1, True)
    assert not (home.folder / "elsewhere").exists()


def test_a_key_kept_elsewhere_decides(home, tmp_path):
    """Journals that another key signed are not put back, whatever public key lies in the archive."""
    own = tmp_path / "own.pub.pem"
    shutil.copy(home.folder / "var" / "keys" / "journal.pub.pem", own)
    assert home.run("restore", str(archive_of(home)), "--to", "a", "--public-key", str(own)).code == 0
    parts = parts_of(tmp_path / "home")
    parts.settings = parts.settings.__class__(
        path=tmp_path / "config.toml", root=tmp_path, text="", file=parts.settings.file, raw={}
    )
    assert parts.signer.key_id
    other = tmp_path / "var" / "keys" / "journal.pub.pem"
    ended = home.run("restore", str(archive_of(home)), "--to", "b", "--public-key", str(other))
    assert (ended.code, "is signed by key" in ended.err) == (1, True)


def test_in_place_keeps_what_was_there_and_what_must_not_go_back(home):
    """The state of before lies beside it; nonces, spent budgets, holds, the kill switch and the key are those of now."""
    archive, state = archive_of(home), home.folder / "var"
    assert home.run(*SESSION).code == 0
    assert home.run("session", "run", *SESSION[2:], "--account", "spare").code == 0
    with contextlib.closing(parts_of(home.folder)) as parts:
        now = parts.clock.now()
        parts.holds.place("spare", Hold(now.isoformat(), "ada", "odd", HoldKind.PAUSE, "asked"), now)
        parts.kill_switch.trip("ada", "prices look wrong", now)
    for name in ("nonces/nonce-a", "testnet_budget/2026-03-01-budget.jsonl", "data/bars.parquet"):
        (state / name).parent.mkdir(exist_ok=True)
        (state / name).write_text("of now")
    before = content_of(state)
    ended = home.run("restore", str(archive), "--in-place", "--by", "ada", "--json")

    assert ended.code == 0, ended.err
    told = ended.json
    assert content_of(Path(told["before"])) == before
    assert (told["gone"], told["paused"], told["written_down"], told["differs"]) == (
        {"paper": 1, "spare": 1},
        ["paper"],
        None,
        [],
    )
    after = content_of(state)
    kept = [name for name in before if name.startswith(("nonces", "testnet_budget", "data", "keys", "kill_switch", "holds"))]
    assert len(kept) >= 7
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    with contextlib.closing(parts_of(home.folder)) as parts:
        assert [hold.code for hold in parts.holds.of("paper")] == ["restored"]
        assert [hold.code for hold in parts.holds.of("spare")] == ["asked"]
        assert parts.kill_switch.is_on()
        assert [act.action for act in done(parts)] == ["operator_add", "restored"]
    assert len(sessions_of(home.folder)) == 1
    assert home.run("journal", "verify").code == 0


def test_in_place_only_where_nothing_is_at_work(home, monkeypatch):
    """Not while a session holds its account, a scheduler its record, or another restore is under way."""
    monkeypatch.setattr(restore, "WAIT_S", 0.0)
    archive, state = archive_of(home), home.folder / "var"
    with contextlib.closing(parts_of(home.folder)) as parts:
        now = parts.clock.now()
        for root, name in ((parts.journal, "paper"), (parts.state, SCHEDULER)):
            with holding(root, name, at=now):
                before = content_of(state)
                ended = home.run("restore", str(archive), "--in-place")
                assert (ended.code, "expected nothing at work before a restore in place" in ended.err) == (3, True)
                assert content_of(state) == before
        with sole_supervisor(parts):
            ended = home.run("restore", str(archive), "--in-place")
            assert (ended.code, "expected no supervisor at work" in ended.err) == (3, True)
        with restore._staging(home.folder, "var"):
            ended = home.run("restore", str(archive), "--in-place")
            assert (ended.code, "expected no other restore" in ended.err) == (3, True)
    assert home.run("restore", str(archive), "--in-place").code == 0


def test_in_place_not_with_another_installations_archive(home, house):
    """Journals that another key signed, or a state that lies elsewhere."""
    shutil.rmtree(home.folder / "var")
    assert home.run(*SESSION).code == 0
    ended = home.run("restore", str(archive_of(home)), "--in-place")
    assert (ended.code, "expected journals that are signed by this installation's key" in ended.err) == (3, True)
    text = (home.folder / "config.toml").read_text().replace('state = "var"', 'state = "state"')
    (home.folder / "config.toml").write_text(text)
    ended = home.run("restore", str(archive_of(home)), "--in-place")
    assert (ended.code, "expected an archive of an installation that lies as this one" in ended.err) == (2, True)


def test_a_restored_folder_leads_nowhere_else(home):
    """Where the configuration names folders of this machine, it is put aside in the restored folder."""
    text = (home.folder / "config.toml").read_text().replace('state = "var"', f'state = "{home.folder / "var"}"')
    (home.folder / "config.toml").write_text(text.replace("sqlite:///var", f"sqlite:///{home.folder}/var"))
    assert home.run("backup", "--to", "b2").code == 0
    (home.folder / "var").rename(home.folder.parent / "gone")
    assert home.run("restore", str(archives_in(home.folder / "b2")[0]), "--to", str(home.folder.parent / "r")).code == 0
    assert (home.folder.parent / "r" / "config.toml").exists()
    shutil.move(home.folder.parent / "gone", home.folder / "var")
    outside = text.replace(str(home.folder / "var"), str(home.folder.parent / "state"))
    (home.folder / "config.toml").write_text(outside)
    shutil.move(home.folder / "var" / "journal", home.folder.parent / "state" / "journal")
    shutil.move(home.folder / "var" / "keys", home.folder.parent / "state" / "keys")
    told = home.run("backup", "--to", "b3", "--json").json
    assert not told["portable"]
    assert home.run("restore", told["archive"], "--to", "r3").code == 0
    assert not (home.folder / "r3" / "config.toml").exists()
    assert (home.folder / "r3" / "config.toml.of_before").exists()
    ended = home.run("restore", told["archive"], "--in-place")
    assert (ended.code, "expected a registry within the state folder" in ended.err) == (2, True)


def limited(bytes_max):
    """Return what makes a process's disk full at so many bytes of a file."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))

    return limit


@pytest.mark.parametrize("command", ["backup", "to", "place"])
def test_a_full_disk_leaves_everything_as_it_was(home, command):
    """One sentence, exit code 1, and nothing half written."""
    archive, before = archive_of(home), content_of(home.folder)
    words = {
        "backup": ["backup"],
        "to": ["restore", str(archive), "--to", "r"],
        "place": ["restore", str(archive), "--in-place"],
    }
    ended = home.start(*words[command], preexec_fn=limited(8_192))
    _, said = ended.communicate(timeout=60)

    assert ended.returncode == 1, said
    assert said.startswith("peak-trade: ")
    assert said.count("\n") == 1
    after = content_of(home.folder)
    assert {name: after.get(name) for name in before if not name.startswith("logs")} == {
        name: digest for name, digest in before.items() if not name.startswith("logs")
    }
    assert [name for name in after if name not in before and not name.startswith("logs")] == []


KILLED = """
import os, signal, sys
from peak_trade.runs.backups import restore
from peak_trade.cli.main import main
name, when = sys.argv[1:3]
whole = getattr(restore, name)
def die(*given, **named):
    if when == "after":
        whole(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(restore, name, die)
main(sys.argv[3:])
"""


@pytest.mark.parametrize(("name", "when"), [("_prove", "after"), ("_exchange", "before"), ("_exchange", "after")])
def test_a_killed_restore_leaves_the_one_or_the_other(home, name, when):
    """The state of before or the restored one, both whole; a second restore goes through, and nothing is lost."""
    archive, state = archive_of(home), home.folder / "var"
    assert home.run(*SESSION).code == 0
    before = content_of(state)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, name, when, "restore", str(archive), "--in-place"], cwd=home.folder, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert home.run("journal", "verify").code == 0
    if (name, when) == ("_exchange", "after"):
        assert len(sessions_of(home.folder)) == 1
        [aside] = home.folder.glob("var.restored-*")
        assert content_of(aside) == before
    else:
        assert content_of(state) == before
    assert home.run("restore", str(archive), "--in-place").code == 0
    assert len(sessions_of(home.folder)) == 1
    assert any(content_of(path) == before for path in home.folder.glob("var.*"))


def test_two_backups_at_once_are_two_archives(home):
    """Neither is in the other's way, and what a killed one left long ago is cleared away."""
    folder = home.folder / "backups"
    stale, young = (folder / f".peak-trade-{year}0101T000000000Z-aaaaaa.zip.draft" for year in (2020, 2999))
    stale.touch()
    young.touch()
    both = [home.start("backup", "--json") for _ in range(2)]
    told = [json.loads(one.communicate(timeout=60)[0]) for one in both]

    assert len({item["archive"] for item in told}) == 2
    assert all(verify_archive(Path(item["archive"])).files for item in told)
    assert not stale.exists()
    assert young.exists()


def test_a_registry_that_is_written_to_all_the_time_is_copied(home, monkeypatch):
    """Steps are given up for one go where others write each time before the copy is done."""
    monkeypatch.setattr(backup, "PAGES", 1)
    monkeypatch.setattr(backup, "PAUSE_S", 0.0)
    with contextlib.closing(sqlite3.connect(home.folder / "var" / "registry.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE busy (x)")
        watch = backup._patience()
        looks = []

        def look(status, left, total):
            looks.append(left)
            other.execute("INSERT INTO busy VALUES (1)")
            watch(status, left, total)

        monkeypatch.setattr(backup, "_patience", lambda: look)
        with contextlib.closing(parts_of(home.folder)) as parts:
            told = back_up(parts, home.folder / "b2")
    assert len(looks) > backup.ANEW_MAX
    with zipfile.ZipFile(told["archive"]) as found:
        found.extract("var/registry.db", home.folder / "look")
    with contextlib.closing(sqlite3.connect(home.folder / "look" / "var" / "registry.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT count(*) FROM busy").fetchone()[0] > 0


def test_a_registry_in_postgres_is_dumped(home, postgres: Server, monkeypatch):
    """By PostgreSQL's own program; without it the sentence says so; in place it is not put back."""
    name = postgres.create()
    text = (home.folder / "config.toml").read_text().replace("sqlite:///var/registry.db", postgres.url(name))
    (home.folder / "config.toml").write_text(text)
    told = home.run("backup", "--to", "b2", "--json").json
    with zipfile.ZipFile(told["archive"]) as found:
        assert found.read("var/registry.pgdump").startswith(b"PGDMP")
    assert home.run("restore", told["archive"], "--to", "r").code == 0
    assert not list((home.folder / "r").glob(".registry*"))
    ended = home.run("restore", told["archive"], "--in-place")
    assert (ended.code, "pg_restore" in ended.err) == (2, True)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with contextlib.closing(parts_of(home.folder)) as parts, pytest.raises(ConfigError, match="expected pg_dump"):
        back_up(parts, home.folder / "b3")
    assert archives_in(home.folder / "b3") == []
    postgres.drop(name)
