"""What a long command shows while it works, and how it is stopped."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peak_trade.runs.research.grid_runs import Progress

#: What a command that was stopped says of what it leaves.
STOPPED = "stopped; what is done is stored, the same command goes on from here"


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Turn the first Ctrl+C or SIGTERM into a wish to stop, and the second into an interruption."""
    stop = threading.Event()

    def wish(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("\nstopping after the work in hand; press Ctrl+C again to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(noun: str) -> "Iterator[Progress]":
    """Show a progress bar with rate and time left on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(noun),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=Console(stderr=True))
    task = shown.add_task(noun, total=None, rate="")

    def update(done: int, before: int, total: int) -> None:
        if not shown.live.is_started:
            shown.start()
        begun = shown.tasks[0].elapsed or 0.0
        rate = f"{(done - before) / begun:,.0f}/s" if begun > 0 and done > before else ""
        shown.update(task, completed=done, total=total, rate=rate)

    try:
        yield update
    finally:
        if shown.live.is_started:
            shown.stop()
