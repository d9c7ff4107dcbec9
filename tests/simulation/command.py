"""The ordinary command on a simulated project, in this process or in one of its own, with a hook where a test wants one."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.simulation.world import ACCOUNT, Scenario

from peak_trade.cli import session_start
from peak_trade.cli.main import main

#: Bars as wild as these make the fastest averages cross every few bars.
WILD = Scenario(name="wild", bars=150, noise=0.008)
#: What the command is asked for; the same words go on with a session that died.
TERMS = (
    "--strategy ma_crossover --param fast_window=2 --param slow_window=4 --symbol BTC/EUR --timeframe 1m --side both "
    f"--stop-loss 0.01 --trailing-stop 0.012 --position-fraction 0.3 --warmup-candles 0 --no-html --account {ACCOUNT}"
).split()


def arguments(folder: Path) -> list[str]:
    """Return the command's words after `peak-trade session run`."""
    return [*TERMS, "--speed", "max", "--config", str(folder / "config.toml"), "--data", str(folder / "BTC-EUR.parquet")]


@contextlib.contextmanager
def watched_by(faults: Callable[[str], None]) -> Iterator[None]:
    """Let the command pass its points through a hook."""
    ordinary = session_start.watcher_of

    def watcher(*given: Any, **options: Any) -> Any:
        return replace(ordinary(*given, **options), faults=faults)

    session_start.watcher_of = watcher
    try:
        yield
    finally:
        session_start.watcher_of = ordinary


class Sender:
    """Sends this process signals at the n-th call of a point; SIGKILL ends it there, and nothing runs afterwards."""

    def __init__(self, orders: Sequence[str]) -> None:
        """Take orders such as `venue.submit.before:14:KILL` or `venue.opened.before:60:INT+INT`, one after the other."""
        self.orders = [order.split(":") for order in orders]
        self.left = int(self.orders[0][1])

    def __call__(self, point: str) -> None:
        if not self.orders or point != self.orders[0][0]:
            return
        self.left -= 1
        if self.left:
            return
        _, _, names = self.orders.pop(0)
        self.left = int(self.orders[0][1]) if self.orders else 0
        for name in names.split("+"):
            os.kill(os.getpid(), signal.Signals[f"SIG{name}"])


if __name__ == "__main__":
    with watched_by(Sender(sys.argv[1].split(","))):
        sys.exit(main(["session", "run", *sys.argv[2:]]))
