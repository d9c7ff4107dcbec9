"""Who works on an account, and that a signal goes to that process and no other."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from tests.accounts import playing
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.journal.chain import holding, process_started
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.errors import NotFound, SafetyRefused
from peak_trade.runs import at_work
from peak_trade.runs.at_work import Push, account_named, named_workers, push, stop, worker_on, workers
from peak_trade.settings import load_config


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


@pytest.fixture
def sent(monkeypatch):
    """Signals that would have been sent."""
    found = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda _handle, number: found.append(number))
    return found


def test_who_works_where(parts):
    assert workers(parts) == []
    with playing(parts) as session, holding(parts.journal, ACCOUNT):
        [found] = workers(parts)
        assert (found.account, found.process, found.here) == ("paper", os.getpid(), True)
        assert found.started == process_started(os.getpid())
        assert named_workers(parts, "paper") == [found]
        assert named_workers(parts, session.name) == [found]
    assert worker_on(parts, "paper") is None
    assert named_workers(parts, session.name) == []
    with holding(parts.journal, "paper"):
        assert workers(parts) == []  # somebody looks, and is no session
    with pytest.raises(NotFound, match="expected a session or an account"):
        account_named(parts, "papr")


def test_a_signal_goes_to_who_took_the_lock(parts, sent):
    with playing(parts):
        [worker] = workers(parts)
        push(worker, Push.STOP)
        push(worker, Push.KILL)
        assert sent == [signal.SIGTERM, signal.SIGKILL]
        for wrong in (
            worker._replace(started="1"),
            worker._replace(started=None),
            worker._replace(host="elsewhere"),
            worker._replace(process=None),
            worker._replace(process=1),
            worker._replace(process=2**22 - 1),
        ):
            with pytest.raises(SafetyRefused, match="peak-trade kill"):
                push(wrong, Push.KILL)
    assert len(sent) == 2


def test_a_process_that_left_its_note_and_whose_number_is_another_s(parts, sent):
    """As after SIGKILL, with the lock taken by somebody who has not yet said so."""
    with holding(parts.journal, "paper", session_id="s"):
        note = parts.journal / "paper" / ".holder"
        stale = note.read_text().replace(f'"started": "{process_started(os.getpid())}"', '"started": "42"')
        assert stale != note.read_text()
        note.write_text(stale)
        [done] = stop(parts, workers(parts), Push.KILL, 1.0, sleep=lambda _s: None)
    assert (done.ended, sent) == (False, [])


@pytest.mark.parametrize(("how", "signals"), [(Push.STOP, 1), (Push.NOW, 2), (Push.KILL, 1)])
def test_it_is_waited_for(parts, sent, how, signals):
    session = playing(parts)
    session.__enter__()
    looks = []

    def sleep(_seconds):
        looks.append(1)
        if len(looks) == 3:
            session.__exit__(None, None, None)

    [done] = stop(parts, workers(parts), how, 60.0, sleep)
    assert (done.ended, len(looks), len(sent)) == (True, 3, signals)


@pytest.mark.parametrize(("how", "words"), [(Push.STOP, "--now"), (Push.NOW, "--kill"), (Push.KILL, "look at it")])
def test_one_that_does_not_end_is_told(parts, sent, how, words):
    with playing(parts):
        [done] = stop(parts, workers(parts), how, 0.0, sleep=lambda _s: None)
    assert (done.ended, words in done.words) == (False, True)
    assert done.to_json()["ended"] is False


def test_a_real_process_is_ended(parts):
    """One that took the lock by itself, ended for good, and its number never used again by us."""
    code = (
        "import sys, time; from pathlib import Path; from peak_trade.journal.chain import holding\n"
        "with holding(Path(sys.argv[1]), 'paper', session_id='s'):\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(parts.journal)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        [worker] = workers(parts)
        assert worker.process == process.pid
        [done] = stop(parts, [worker], Push.STOP, 60.0)
        assert done.ended
        assert process.wait() == -signal.SIGTERM
    with pytest.raises(SafetyRefused):
        push(worker, Push.KILL)
    assert at_work.LOOK_S < 1
