"""What a supervisor can see: of processes, of journals as they grow, of disks and memory; and what it can't."""

import os
import platform
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.contract.rows import a_session

from peak_trade.compose import Parts
from peak_trade.engine import records, runner
from peak_trade.journal.chain import Chain, holding, process_started
from peak_trade.journal.registry import stamp
from peak_trade.journal.signing import Signer
from peak_trade.model.kill_level import KillLevel
from peak_trade.risk.gate import Mode
from peak_trade.runs.supervision import look as supervisor_look
from peak_trade.runs.supervision.look import JournalTail, SessionEyes, folders_of, free_memory, process_of
from peak_trade.safety.watch import ProcessState
from peak_trade.settings import load_config

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAT = "{number} (a) b ({state}) {state} " + "0 " * 18 + "250 0 7 " + "0 " * 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A process file system of a test's own."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "self" / "stat").write_text("")
    return folder


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("R", ProcessState.RUNS),
        ("S", ProcessState.RUNS),
        ("D", ProcessState.RUNS),
        ("T", ProcessState.STOPPED),
        ("t", ProcessState.STOPPED),
        ("Z", ProcessState.ZOMBIE),
        ("X", ProcessState.GONE),
    ],
)
def test_the_state_of_a_process(proc: Path, state: str, expected: ProcessState) -> None:
    """Whatever it is called: a bracket in its name does not make it another one."""
    (proc / "77").mkdir()
    (proc / "77" / "stat").write_text(STAT.format(number=77, state=state))
    found = process_of(77, proc)
    assert found.state is expected
    assert found.memory_bytes == 7 * os.sysconf("SC_PAGE_SIZE")
    assert found.began_s == 250 / os.sysconf("SC_CLK_TCK")


def test_a_process_that_is_gone_and_one_that_cant_be_seen(proc: Path) -> None:
    assert process_of(77, proc).state is ProcessState.GONE
    (proc / "78").mkdir()
    (proc / "78" / "stat").write_text("nonsense")
    assert process_of(78, proc) == (ProcessState.NOT_SEEN, None, None)


def test_without_a_process_file_system_a_process_is_never_called_well(tmp_path: Path) -> None:
    assert process_of(os.getpid(), tmp_path / "none").state is ProcessState.NOT_SEEN
    assert process_of(2**22 + 1, tmp_path / "none").state is ProcessState.GONE


def test_this_very_process() -> None:
    found = process_of(os.getpid())
    assert found.state is ProcessState.RUNS
    assert found.memory_bytes is not None
    assert 1 << 20 < found.memory_bytes < 1 << 40


def test_memory_that_is_left(proc: Path) -> None:
    assert free_memory(proc) is None
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1024 kB\n")
    assert free_memory(proc) == 1 << 20
    (proc / "meminfo").write_text("MemAvailable: much\n")
    assert free_memory(proc) is None


def test_folders_on_one_disk_are_told_once_also_where_they_are_missing(tmp_path: Path) -> None:
    (found,) = folders_of([tmp_path / "not" / "there", tmp_path])
    assert found.path == str(tmp_path / "not" / "there")
    assert found.free_bytes is not None
    assert found.free_bytes > 0


def test_words_are_those_of_the_engine() -> None:
    """They stand here once more, because a supervisor imports nothing of an engine."""
    assert supervisor_look.SENDING == records.SENDING
    assert supervisor_look.FILLED == records.FILLED
    assert supervisor_look.ADOPTED == records.ADOPTED
    assert supervisor_look.TRIPPED == records.TRIPPED
    assert {records.CLOSED, records.REJECTED, records.ABSENT} == supervisor_look.GONE
    assert supervisor_look.KILL_SWITCH == runner.KILL_SWITCH
    assert Mode.KILLED.value == supervisor_look.KILLED


# ---- journals --------------------------------------------------------------------------------------------------------


class Written:
    """A session's journal that a test writes."""

    def __init__(self, root: Path, name: str, continues: str | None = None) -> None:
        self.root, self.name = root, name
        signer = Signer.load_or_make(root / "key.pem")
        self.chain = Chain.begin(root, "paper", name, {"continues": continues}, at=NOW, signer=signer)
        self.path = self.chain.path

    def says(self, kind: str, **body: object) -> None:
        self.chain.append(kind, body, at=NOW)

    def sends(self, name: str) -> None:
        self.says("sending", intent={"client_id": name}, warnings=[])

    def tail(self) -> JournalTail:
        found = JournalTail(self.root, "paper", self.name)
        found.read_on()
        return found


@pytest.mark.parametrize(
    ("kind", "body", "works"),
    [
        ("opened", {}, True),
        ("unknown", {"words": ""}, True),
        ("cancel_lost", {"words": ""}, True),
        ("filled", {"remaining": "0.5"}, True),
        ("filled", {"remaining": "0.00"}, False),
        ("adopted", {"state": "open"}, True),
        ("adopted", {"state": "cancelled"}, False),
        ("closed", {"event": "cancel"}, False),
        ("rejected", {}, False),
        ("absent", {}, False),
    ],
)
def test_which_orders_may_be_working(tmp_path: Path, kind: str, body: dict[str, object], works: bool) -> None:
    written = Written(tmp_path, "one")
    written.sends("a")
    written.says(kind, client_id="a", **body)
    assert written.tail().working == ({"a"} if works else set())


def test_it_reads_on_where_it_was(tmp_path: Path) -> None:
    written = Written(tmp_path, "one")
    tail = written.tail()
    assert (tail.mode, tail.ended, tail.behind, tail.working) == ("running", False, False, set())
    written.sends("a")
    written.says("tripped", mode="restricted", code="held", words="")
    assert tail.behind
    tail.read_on()
    assert (tail.mode, tail.working, tail.behind, tail.stopped_at) == ("restricted", {"a"}, False, None)
    written.says("tripped", mode="killed", code="kill_switch", words="", level="cancel-all")
    written.says("ended", status="failed")
    tail.read_on()
    assert (tail.mode, tail.ended, tail.stopped_at, tail.trouble) == ("killed", True, KillLevel.CANCEL_ALL, "")


def test_how_far_it_heeds_the_switch_only_goes_further(tmp_path: Path) -> None:
    written = Written(tmp_path, "one")
    for level, reached in (("no-new", "no-new"), ("flatten", "flatten"), ("reduce-only", "flatten")):
        written.says("tripped", mode="restricted", code="kill_switch", words="", level=level)
        assert written.tail().stopped_at == KillLevel(reached)
    other = Written(tmp_path, "two")
    other.says("tripped", mode="killed", code="contract_broken", words="")
    assert other.tail().stopped_at is KillLevel.REDUCE_ONLY


def test_orders_of_the_dead_session_that_it_goes_on_with_count_too(tmp_path: Path) -> None:
    first = Written(tmp_path, "one")
    first.sends("a")
    first.sends("b")
    second = Written(tmp_path, "two", continues="one")
    second.says("closed", client_id="a", event="cancel")
    tail = second.tail()
    assert (tail.working, tail.behind, tail.trouble) == ({"b"}, False, "")


def test_a_large_journal_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_look, "PART_BYTES", 600)
    first = Written(tmp_path, "one")
    for number in range(20):
        first.sends(f"a{number}")
    second = Written(tmp_path, "two", continues="one")
    second.says("mark", words="w" * 2_000)  # longer than a part
    second.sends("b")
    tail, looks = second.tail(), 1
    while tail.behind:
        tail.read_on()
        looks += 1
        assert looks < 100
    assert tail.working == {f"a{number}" for number in range(20)} | {"b"}
    assert looks > 5


@pytest.mark.parametrize("harm", ["damaged", "shorter", "gone", "empty"])
def test_a_journal_that_cant_be_followed_says_so(tmp_path: Path, harm: str) -> None:
    written = Written(tmp_path, "one")
    written.sends("a")
    tail = written.tail()
    if harm == "damaged":
        with written.path.open("ab") as file:
            file.write(b"{}\n")
    elif harm == "shorter":
        os.truncate(written.path, 10)
    elif harm == "gone":
        written.path.unlink()
    else:
        written.path.write_bytes(b"")
    tail.read_on()
    assert tail.trouble != ""
    assert tail.working == {"a"}


def test_a_torn_last_line_is_waited_for(tmp_path: Path) -> None:
    written = Written(tmp_path, "one")
    tail = written.tail()
    written.sends("a")
    line = written.path.read_bytes().splitlines(keepends=True)[-1]
    os.truncate(written.path, written.path.stat().st_size - 20)
    tail.read_on()
    assert (tail.working, tail.trouble, tail.behind) == (set(), "", True)
    with written.path.open("ab") as file:
        file.write(line[-20:])
    tail.read_on()
    assert (tail.working, tail.trouble, tail.behind) == ({"a"}, "", False)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("sending", {"intent": "none"}),
        ("filled", {"client_id": "a", "remaining": "much"}),
        ("filled", {"client_id": "a", "remaining": []}),
        ("adopted", {"client_id": "a", "state": []}),
    ],
)
def test_a_line_of_nonsense_hides_nothing_after_it(tmp_path: Path, kind: str, body: dict[str, object]) -> None:
    written = Written(tmp_path, "one")
    written.says(kind, **body)
    written.sends("b")
    written.says("tripped", mode="paused", code="hold", words="")
    tail = written.tail()
    assert (tail.working, tail.mode, tail.behind, tail.trouble) == ({"b"}, "paused", False, "a line of one.jsonl is damaged")


@pytest.mark.skipif(process_started(os.getpid()) is None, reason="no process file system")
def test_a_clock_that_was_set_ahead_makes_no_session_dead(tmp_path: Path) -> None:
    """It looks older than its process; one that another process took the number of does, too, and holds no account."""
    began_s = process_of(os.getpid()).began_s
    assert began_s is not None
    (tmp_path / "config.toml").touch()
    with closing(Parts(load_config(tmp_path / "config.toml"))) as parts:
        started = stamp(NOW - timedelta(hours=10))
        session = a_session("paper", started_at=started, process=os.getpid(), host=platform.node())

        def seen() -> ProcessState:
            eyes = SessionEyes(parts, session)
            return eyes.look(NOW, began_s + 3_600, beat_seen=False, level=None).process

        assert seen() is ProcessState.GONE
        with holding(parts.journal, "paper", session_id=session.session_id, at=NOW):
            assert seen() is ProcessState.RUNS
        with holding(parts.journal, "paper", session_id="another", at=NOW):
            assert seen() is ProcessState.GONE
