"""An emulated exchange for the time of one run."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from peak_trade.model.errors import StorageError

#: How long the child has to end by itself, seconds.
END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRun:
    """An emulator that serves this run.

    Attributes:
        base_url: of REST, without `/0`. stream_url: of WebSockets, without `/v2` and `/auth/v2`.
        keys: id and secret by name: `trading`, `query`, `cancel`; all of one account.
        control_token: lets its holder set faults, at `base_url` + `/_ctl/faults`.
    """

    base_url: str
    stream_url: str
    keys: dict[str, tuple[str, str]]
    control_token: str


@contextlib.contextmanager
def emulator_for_run(
    *, seed: int = 7, speed: float = 1.0, tier: str = "intermediate", begin: int | None = None
) -> Iterator[EmulatedRun]:
    """Serve an emulator from a child process on a free port of this machine; it ends with the block, or with this process.

    Args:
        seed: of the market and of every name. speed: how much faster its clock goes. tier: name of its rate limits.
        begin: where its clock begins, nanoseconds UTC; None: now.

    Raises:
        StorageError: the child does not start.
    """
    from peak_trade.emulator.child import choice_text
    from peak_trade.emulator.opening import EmulatorChoice

    choice = EmulatorChoice(seed=seed, speed=speed, tier=tier)
    command = [sys.executable, "-m", "peak_trade.emulator.child"]
    # A group of its own: Ctrl+C in a terminal reaches the parent alone, which may still need it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        pipes = child.stdin, child.stdout
        if pipes[0] is None or pipes[1] is None:
            raise StorageError("expected pipes to the emulator, found none; start it again")
        try:
            with contextlib.suppress(BrokenPipeError):
                pipes[0].write(choice_text(choice, begin) + "\n")
                pipes[0].flush()
            line = pipes[1].readline()
            if not line:
                raise StorageError("expected an emulator for this run, found that its process ended; start it again")
            told = json.loads(line)
            place = f"127.0.0.1:{told['port']}"
            yield EmulatedRun(
                base_url=f"http://{place}",
                stream_url=f"ws://{place}",
                keys={name: (key, secret) for name, (key, secret) in told["keys"].items()},
                control_token=told["control"],
            )
        finally:
            with contextlib.suppress(BrokenPipeError):
                pipes[0].close()  # its sign to end
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                child.kill()
