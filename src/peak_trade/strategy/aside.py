"""What a strategy prints goes to standard error, because standard output holds a command's result.

Invariant: only the thread in which a strategy is at work is heard aside; what the program itself prints is not.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_THREAD = threading.local()


class SplitOutput:
    """Standard output that passes on to standard error what is written while a strategy is at work in that thread."""

    def __init__(self, real: TextIO) -> None:
        self._real = real

    def write(self, text: str) -> int:
        """Write where it belongs."""
        return (sys.stderr if _at_work() else self._real).write(text)

    def close(self) -> None:
        """Close it, unless a strategy asks for that."""
        if not _at_work():
            self._real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def listening() -> Iterator[None]:
    """Tell the program's own output from a strategy's, as long as this is entered."""
    real = cast("TextIO | None", sys.stdout)
    if real is None:  # closed by whoever began this program: nobody reads what it prints
        yield
        return
    sys.stdout = cast("TextIO", SplitOutput(real))
    try:
        yield
    finally:
        sys.stdout = real


@contextmanager
def foreign() -> Iterator[None]:
    """Mark what this thread does as a strategy's own doing."""
    before = _at_work()
    _THREAD.at_work = True
    try:
        yield
    finally:
        _THREAD.at_work = before


def _at_work() -> bool:
    return getattr(_THREAD, "at_work", False)
