"""Series of sessions: real processes one after the other, crashes, refusals, lateness and signals."""

import json
import os
import signal
import sys
import threading

import pytest

from peak_trade.runs.testnet.series import Entry, Series, SeriesEnd, exit_code_of
from peak_trade.settings import TestnetOrchestration as Rules

DONE = 'import json; print(json.dumps({"session_id": "s1", "status": "completed", "metrics": {"num_orders": 2}}))'
REFUSED = 'import sys; print("peak-trade: the kill switch is on", file=sys.stderr); sys.exit(3)'
CRASHED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
#: Says that it runs, then waits for a signal, which it takes well.
WAITS = """
import json, signal, sys
signal.signal(signal.SIGINT, lambda *_: (print(json.dumps({"status": "completed"})), sys.exit(0)))
signal.signal(signal.SIGTERM, lambda *_: (print(json.dumps({"status": "completed"})), sys.exit(0)))
print("waiting", file=sys.stderr, flush=True)
signal.pause()
"""
LOOSE = Rules(pause_s=0, stop_on_failure=False)
STRICT = Rules(pause_s=0, stop_on_failure=True)


def entries(*codes, longest_s=60.0):
    return [
        Entry(profile=f"p{number}", command=[sys.executable, "-c", code], longest_s=longest_s)
        for number, code in enumerate(codes, 1)
    ]


def run(rules, *codes, **changes):
    series = Series(rules, lambda _words: None)
    return series.run(entries(*codes, **changes)), series


def test_sessions_run_one_after_the_other():
    """Each one's record is kept; the exit code is 0."""
    ended, series = run(STRICT, DONE, DONE)

    assert [(one.profile, one.status, one.exit_code) for one in ended] == [("p1", "completed", 0), ("p2", "completed", 0)]
    assert ended[0].to_json()["num_orders"] == 2
    assert exit_code_of(ended, interrupted=series.interrupted) == 0


def test_a_crash_takes_no_other_with_it():
    """A session whose process is killed is failed, says how, and the next one runs."""
    ended, _ = run(LOOSE, CRASHED, DONE)

    assert [one.status for one in ended] == ["failed", "completed"]
    assert "SIGKILL" in ended[0].words
    assert exit_code_of(ended, interrupted=False) == 1


def test_a_failure_ends_the_series_where_that_is_the_rule():
    """What was not begun is told as such; the exit code is the refusal's."""
    ended, _ = run(STRICT, DONE, REFUSED, DONE)

    assert [one.status for one in ended] == ["completed", "refused", "not begun"]
    assert ended[1].words == "the kill switch is on"
    assert exit_code_of(ended, interrupted=False) == 3


def test_different_failures_are_one():
    """Failures of different kinds give 1."""
    ended, _ = run(LOOSE, REFUSED, CRASHED)

    assert exit_code_of(ended, interrupted=False) == 1


def test_a_late_session_is_ended():
    """A session that takes too long is told to end, and counts as failed though it ended well."""
    ended, _ = run(LOOSE, WAITS, DONE, longest_s=1.5)

    assert [one.exit_code for one in ended] == [1, 0]
    assert "longer than 1.5 s" in ended[0].words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_running_session_gracefully(number, capfd):
    """The running session hears it and ends by itself; the next one is not begun; the exit code is 130."""
    over = threading.Event()

    def send_when_it_waits():
        while not over.is_set() and "waiting" not in capfd.readouterr().err:
            over.wait(0.02)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send_when_it_waits)
    sender.start()
    try:
        ended, series = run(LOOSE, WAITS, DONE)
    finally:
        over.set()
        sender.join()

    assert [(one.status, one.exit_code) for one in ended] == [("completed", 0), ("not begun", None)]
    assert exit_code_of(ended, interrupted=series.interrupted) == 130


def test_a_command_that_is_not_there_is_a_failure():
    """A process that can't be started is told, and the next one runs."""
    missing = Entry(profile="p0", command=["/nonexistent/python"], longest_s=1)
    ended = Series(LOOSE, lambda _words: None).run([missing, *entries(DONE)])

    assert [one.status for one in ended] == ["failed", "completed"]
    assert "could not be started" in ended[0].words


def test_what_is_no_record_is_none():
    """A process that prints something else, or half a document, is judged by its exit code."""
    ended, _ = run(LOOSE, "print('{')", "print('[1]')", "pass")

    assert [(one.status, one.record) for one in ended] == [("completed", {})] * 3
    assert json.dumps([one.to_json() for one in ended])


def test_an_outcome_without_a_process_has_no_code():
    """What was not begun has no exit code and does not count as a failure."""
    assert exit_code_of([SeriesEnd(profile="a", exit_code=None)], interrupted=False) == 0
