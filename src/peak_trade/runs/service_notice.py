"""Telling a service manager how this process is: one datagram, as sd_notify(3) describes, where one waits for it.

Invariant: it neither waits nor raises; without a service manager it costs one look at the environment.
"""

import socket
from collections.abc import Callable
from contextlib import suppress

from peak_trade.settings import service_socket

#: It is ready, it is alive, it is ending.
READY, ALIVE, ENDING = "READY=1", "WATCHDOG=1", "STOPPING=1"


def tell_service(words: str) -> None:
    """Tell the service manager that started this process."""
    place = service_socket()
    if not place:
        return
    with suppress(OSError, AttributeError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.settimeout(0)
        # An abstract address is written with @, and has a zero byte there.
        line.sendto(words.encode(), "\0" + place[1:] if place.startswith("@") else place)


def while_alive(beat: Callable[[], bool]) -> Callable[[], bool]:
    """Return a heartbeat that also tells it that this process is alive, as long as *beat* says so."""

    def told() -> bool:
        alive = beat()
        if alive:
            tell_service(ALIVE)
        return alive

    return told
