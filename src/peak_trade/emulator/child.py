"""An emulator as a child process: `python -m peak_trade.emulator.child`, a choice in, an address and keys out, until the end.

Invariant: it ends when its standard input does, so it outlives its parent in no way, also when that is killed.
"""

import asyncio
import dataclasses
import json
import random
import signal
import socket
import sys
import threading
import time

from peak_trade.emulator.opening import EmulatorChoice, open_emulator


def serve(told: str) -> None:
    """Serve an emulator on a free port of this machine until standard input ends.

    Args:
        told: JSON: the fields of an `EmulatorChoice`, and `begin`, where its clock begins (nanoseconds UTC; null: now).
    """
    import uvicorn

    given = json.loads(told)
    begin = given.pop("begin")
    ahead = 0 if begin is None else begin - time.time_ns()
    opened = open_emulator(EmulatorChoice(**given), lambda: time.time_ns() + ahead, random.SystemRandom())
    # Named as TCP, or asyncio would not switch Nagle's algorithm off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        # A client that died with the parent must not keep it waiting.
        settings = uvicorn.Config(
            opened.emulator.app(), log_level="warning", access_log=False, loop="asyncio", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(settings)

        def end_with_parent() -> None:
            sys.stdin.read()
            server.should_exit = True

        threading.Thread(target=end_with_parent, daemon=True).start()
        keys = {name: (key.id, key.secret_text) for name, key in opened.keys.items()}
        answer = {"port": listener.getsockname()[1], "keys": keys, "control": opened.control_token}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        asyncio.run(server.serve(sockets=[listener]))


def choice_text(choice: EmulatorChoice, begin: int | None) -> str:
    """Return what `serve` reads, in one line."""
    return json.dumps({**dataclasses.asdict(choice), "pairs": list(choice.pairs), "begin": begin})


if __name__ == "__main__":
    # Ctrl+C is the parent's to hear: it may still have orders to call back.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.readline())
