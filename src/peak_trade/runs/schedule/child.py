"""The first moment of a job's process: it sees to it that it does not outlive the scheduler, then becomes the command.

Where the operating system can do so (Linux), it asks to be ended when its parent dies, however that dies; that stays so after
it has become the command. It imports nothing of the product, so that it costs little.
"""

import ctypes
import os
import signal
import sys

#: prctl(2): the signal that this process is sent when its parent dies.
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command, unless the parent, whose number comes first, is gone by now."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)  # it died before the line above
    # Whoever started the scheduler may have had it ignore these; the command is to hear them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "peak_trade", *command])  # noqa: S606 - words of a checked file, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
