"""What a strategy of somebody else's may do: nothing that ends the program or gets between it and its result."""

import io
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from typing import ClassVar

import numpy as np
import pytest
from tests.builders import some_bars

from peak_trade.model.bar import F64, Bars
from peak_trade.model.errors import StrategyError
from peak_trade.strategy.aside import foreign, listening
from peak_trade.strategy.base import Strategy, checked_targets


class Odd(Strategy):
    """Does what a test wants of it."""

    key: ClassVar[str] = "odd"
    source: ClassVar[str] = "a test"

    does: str = ""
    before: int | float = 0

    def targets(self, bars: Bars) -> F64:
        exec(self.does)  # noqa: S102 - the tests' own text
        return np.zeros(len(bars))

    def warmup(self) -> int:
        return self.before


@pytest.mark.parametrize("does", ["raise SystemExit(0)", "import sys; sys.exit('bye')", "raise GeneratorExit", "1 / 0"])
def test_a_strategy_does_not_end_the_program(does):
    """What would end the program, as if the command had done its work, is told as a fault of the strategy."""
    with pytest.raises(StrategyError, match="the strategy odd failed with "):
        checked_targets(some_bars(50), Odd(does=does))


def test_ctrl_c_is_the_users_and_passes():
    """Who stops a strategy that takes too long is not told that it failed."""
    with pytest.raises(KeyboardInterrupt):
        checked_targets(some_bars(50), Odd(does="raise KeyboardInterrupt"))


@pytest.mark.parametrize(("before", "words"), [(-1, "zero bars or more, found -1"), (2.5, "TypeError")])
def test_a_warm_up_is_a_whole_number_of_bars(before, words):
    """A warm-up below zero or of half a bar is refused; none at all is one."""
    assert len(checked_targets(some_bars(50), Odd(before=0))) == 50
    with pytest.raises(StrategyError, match=words):
        checked_targets(some_bars(50), Odd(before=before))


def test_what_a_strategy_prints_stands_beside_the_result():
    """Its prints go to standard error; what the program prints does not, and closing its output closes nothing."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        with listening():
            checked_targets(some_bars(50), Odd(does="import sys; print('noise'); sys.stdout.close()"))
            print("result")
        print("after")

    assert (out.getvalue(), err.getvalue()) == ("result\nafter\n", "noise\n")


def test_only_the_strategys_own_thread_is_heard_aside():
    """A program that tells its result while a strategy is at work in another thread is not kept from it."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), listening(), foreign():
        told = threading.Thread(target=lambda: print("result"))
        told.start()
        told.join()
        with foreign():
            print("inner", file=sys.stdout)
        print("outer")

    assert (out.getvalue(), err.getvalue()) == ("result\n", "inner\nouter\n")


def test_a_closed_standard_output_stays_closed(monkeypatch):
    """A program that was begun without one has none; nothing fails for that."""
    monkeypatch.setattr("sys.stdout", None)
    with listening():
        print("to nobody", flush=True)
        checked_targets(some_bars(50), Odd(does="print('noise')"))
    assert sys.stdout is None
