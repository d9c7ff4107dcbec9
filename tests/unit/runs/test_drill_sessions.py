"""A signal in the moment in which a drill begins a process: the process is known to who ends it."""

import signal
import subprocess
import sys
import threading

import pytest

from peak_trade.runs.drills.sessions import ended, unbroken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_after_the_block(number):
    """Once, by the handler from before, and in a process that was begun within it a signal does what it always does."""
    heard: list[int] = []
    before = signal.signal(number, lambda sent, _frame: heard.append(sent))
    begun: list[subprocess.Popen[bytes]] = []
    try:
        with unbroken():
            signal.raise_signal(number)
            signal.raise_signal(number)
            begun.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
            assert heard == []
        assert heard == [number]
        begun[0].send_signal(signal.SIGTERM)
        assert begun[0].wait(30) == -signal.SIGTERM
    finally:
        signal.signal(number, before)
        ended(begun)


def test_an_error_within_the_block_gives_the_handlers_back():
    """Whatever ends it."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="full"), unbroken():
        raise OSError("full")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_thread_that_hears_no_signals_may_begin_processes():
    """Only the main thread of a process can say who hears a signal."""
    passed: list[bool] = []

    def begin() -> None:
        with unbroken():
            passed.append(True)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join(30)
    assert passed == [True]
