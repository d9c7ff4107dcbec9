"""What befalls the orders of a drill: each case is how one is placed, what the exchange does wrong, and what we do then."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

#: How far from the best price a limit lies, fraction: one that trades at once, one that is soon reached, one that rests.
CROSSING, NEAR, FAR = Decimal("-0.01"), Decimal("0.002"), Decimal("0.012")
ADD = "AddOrder"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCase:
    """A case.

    Attributes:
        away: of a limit order's price from the best one on its side, fraction; None is a market order.
        fault: its name in the emulator's catalogue, empty for none; args: of the fault; at: the endpoint that it strikes.
        wait_s: seconds of the exchange's clock before we look; cancel: whether we cancel then.
        twice: whether the same order is handed to the venue once more.
    """

    name: str
    away: Decimal | None = None
    fault: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    at: str = ""
    wait_s: float = 0.0
    cancel: bool = False
    twice: bool = False


CASES = (
    OrderCase(name="market"),
    OrderCase(name="limit that trades at once", away=CROSSING),
    OrderCase(name="limit that rests, cancelled", away=FAR, wait_s=2.0, cancel=True),
    OrderCase(name="handed over twice", twice=True),
    OrderCase(
        name="filled in part, cancelled",
        away=FAR,
        fault="order.partial_fill",
        args={"parts": "0.4t", "delay_s": 1.0},
        wait_s=3.0,
        cancel=True,
    ),
    OrderCase(
        name="filled in three parts, to a last lot",
        away=FAR,
        fault="order.partial_fill",
        args={"parts": "0.3t,0.3t,0.4t", "delay_s": 1.0},
        wait_s=5.0,
        cancel=True,
    ),
    OrderCase(name="filled before its cancel", away=NEAR, fault="order.fill_during_cancel", wait_s=1.0, cancel=True),
    OrderCase(
        name="half filled before its cancel",
        away=NEAR,
        fault="order.fill_during_cancel",
        args={"part": 0.5},
        wait_s=1.0,
        cancel=True,
    ),
    OrderCase(name="cancel lost", away=FAR, fault="order.cancel_lost", wait_s=1.0, cancel=True),
    OrderCase(name="cancel that is pending", away=FAR, fault="order.cancel_pending", wait_s=1.0, cancel=True),
    OrderCase(name="ended by the exchange", away=FAR, fault="order.self_expire", wait_s=4.0),
    OrderCase(name="answer lost, order there", fault="rest.reset_after", at=ADD),
    OrderCase(name="no answer, order there", fault="rest.timeout_after", at=ADD),
    OrderCase(name="error page, order there", fault="rest.http_5xx_after", at=ADD),
    OrderCase(name="no JSON, order there", fault="rest.html_200", at=ADD),
    OrderCase(name="unavailable, order there", away=CROSSING, fault="rest.service_unavailable", args={"applied": True}, at=ADD),
    OrderCase(name="unavailable, order not there", fault="rest.service_unavailable", at=ADD),
    OrderCase(name="reset, order not there", fault="rest.reset_before", at=ADD),
    OrderCase(name="deadline passed after a part", away=FAR, fault="rest.deadline_elapsed", args={"part": 0.5}),
    OrderCase(name="name said to be taken", fault="order.cl_ord_id_dup"),
    OrderCase(name="shown late", away=FAR, fault="order.late_visibility", args={"seconds": 4.0}, wait_s=1.0, cancel=True),
    OrderCase(name="rejected: too little money", fault="order.insufficient_funds"),
    OrderCase(name="rejected: rate limit", fault="limit.engine_counter", at=ADD),
    OrderCase(name="rejected: a nonce", fault="auth.invalid_nonce_once", at=ADD),
)
#: How often plain orders come between the cases: an account that only ever sees faults shows little of ordinary days.
_PLAIN = 2


def cases_of(chance: random.Random) -> Iterator[OrderCase]:
    """Yield cases without end: every case once in each round, in an order drawn by chance."""
    plain = [case for case in CASES if not case.fault and not case.twice]
    while True:
        found = [*CASES, *plain * _PLAIN]
        chance.shuffle(found)
        yield from found
