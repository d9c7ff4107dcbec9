"""What an error means for the request that met it: one table over Kraken's raw error strings, HTTP statuses and transport.

Sources: docs.kraken.com (spot errors), and what clients met in the field. Invariant: what is not in the table is unknown, and
an order whose outcome is unknown is looked up, never sent again.
"""

from collections.abc import Sequence
from enum import Enum, unique
from typing import NamedTuple


@unique
class Verdict(Enum):
    """What became of a request that met an error."""

    REJECTED = "refused; it was not done, and asking again gives the same"
    SAFE = "it was not done, and may be asked again later"
    UNKNOWN = "whether it was done is not known"


@unique
class Trouble(Enum):
    """What went wrong before there was an answer."""

    NOT_SENT = "no connection; nothing was sent"
    NO_ANSWER = "no answer in time"
    BROKEN = "the connection broke"
    UNREADABLE = "an answer that is none of Kraken's"


class ErrorClass(NamedTuple):
    """A line of the table.

    Attributes:
        code: ours; stable, in journals and metrics.
        again: whether a question, which changes nothing, may be asked again.
    """

    code: str
    verdict: Verdict
    again: bool = False


_NO, _LATER, _MAYBE = Verdict.REJECTED, Verdict.SAFE, Verdict.UNKNOWN
#: By the beginning of an error string; the longest that fits counts.
ERRORS: dict[str, ErrorClass] = {
    "EAPI:Invalid key": ErrorClass("invalid_key", _NO),
    "EAPI:Invalid signature": ErrorClass("invalid_signature", _NO),
    "EAPI:Invalid nonce": ErrorClass("invalid_nonce", _LATER),
    "EAPI:Rate limit exceeded": ErrorClass("rate_limit", _LATER, again=True),
    "EAPI:Feature disabled": ErrorClass("disabled", _NO),
    "EAPI:Bad request": ErrorClass("invalid", _NO),
    "EAuth:Account temporary disabled": ErrorClass("account", _NO),
    "EAuth:Account unconfirmed": ErrorClass("account", _NO),
    "EAuth:Rate limit exceeded": ErrorClass("rate_limit", _LATER, again=True),
    "EAuth:Too many requests": ErrorClass("rate_limit", _LATER, again=True),
    "ESession:Invalid session": ErrorClass("invalid_session", _NO),
    "EGeneral:Invalid arguments": ErrorClass("invalid", _NO),
    # It says that an order of this name works: perhaps this very one, from an attempt that seemed lost.
    "EGeneral:Invalid arguments:cl_ord_id not unique": ErrorClass("name_taken", _MAYBE),
    "EGeneral:Invalid arguments:volume minimum not met": ErrorClass("too_small", _NO),
    "EGeneral:Permission denied": ErrorClass("permission_denied", _NO),
    "EGeneral:Temporary lockout": ErrorClass("lockout", _LATER),
    "EGeneral:Too many requests": ErrorClass("rate_limit", _LATER, again=True),
    "EGeneral:Unknown method": ErrorClass("unknown_method", _NO),
    "EGeneral:Internal error": ErrorClass("internal_error", _MAYBE, again=True),
    "EOrder:Insufficient funds": ErrorClass("insufficient_funds", _NO),
    "EOrder:Insufficient margin": ErrorClass("insufficient_margin", _NO),
    "EOrder:Order minimum not met": ErrorClass("too_small", _NO),
    "EOrder:Cost minimum not met": ErrorClass("too_small", _NO),
    "EOrder:Tick size check failed": ErrorClass("off_step", _NO),
    "EOrder:Invalid price": ErrorClass("off_step", _NO),
    "EOrder:Invalid order": ErrorClass("invalid", _NO),
    "EOrder:Unknown order": ErrorClass("unknown_order", _NO),
    "EOrder:Orders limit exceeded": ErrorClass("too_many_orders", _NO),
    "EOrder:Rate limit exceeded": ErrorClass("engine_limit", _LATER),
    "EOrder:Domain rate limit exceeded": ErrorClass("engine_limit", _LATER),
    "EOrder:Scheduled orders limit exceeded": ErrorClass("too_many_orders", _NO),
    "EOrder:Positions limit exceeded": ErrorClass("position", _NO),
    "EOrder:Cannot open position": ErrorClass("position", _NO),
    "EOrder:Cannot open opposing position": ErrorClass("position", _NO),
    "EOrder:Margin allowance exceeded": ErrorClass("position", _NO),
    "EOrder:Margin level too low": ErrorClass("position", _NO),
    "EOrder:Reduce only": ErrorClass("position", _NO),
    "EOrder:Trading agreement required": ErrorClass("account", _NO),
    "EOrder:Post only order": ErrorClass("post_only", _NO),
    "EQuery:Unknown asset pair": ErrorClass("unknown_symbol", _NO),
    "EQuery:Unknown asset": ErrorClass("unknown_symbol", _NO),
    "EService:Unavailable": ErrorClass("unavailable", _MAYBE, again=True),
    "EService:Busy": ErrorClass("busy", _MAYBE, again=True),
    "EService:Timeout": ErrorClass("timeout", _MAYBE, again=True),
    "EService:Throttled": ErrorClass("throttled", _MAYBE, again=True),
    # The engine was late; a part may have been filled before.
    "EService:Deadline elapsed": ErrorClass("deadline", _MAYBE),
    "EService:Market in cancel_only mode": ErrorClass("market_mode", _NO),
    "EService:Market in post_only mode": ErrorClass("market_mode", _NO),
    "EService:Market in limit_only mode": ErrorClass("market_mode", _NO),
    "ETrade:User Locked": ErrorClass("account", _NO),
}
#: Codes of refusals that answer what was asked about an order: the exchange works, understood it, and gave its reason. What is
#: wrong with our key, our account, the form of a request, a market or a service is none of these.
ABOUT_ORDERS = frozenset(
    (
        *("insufficient_funds", "insufficient_margin", "too_small", "off_step", "position", "post_only"),
        *("unknown_order", "too_many_orders"),
    )
)
#: By HTTP status. A proxy in front of Kraken says nothing of what Kraken did.
STATUSES: dict[int, ErrorClass] = {
    403: ErrorClass("blocked", _MAYBE),
    429: ErrorClass("too_many_calls", _MAYBE, again=True),
    **{status: ErrorClass("gateway", _MAYBE, again=True) for status in (500, 502, 503, 504, *range(520, 528), 530)},
}
TROUBLES: dict[Trouble, ErrorClass] = {
    Trouble.NOT_SENT: ErrorClass("not_sent", _LATER, again=True),
    Trouble.NO_ANSWER: ErrorClass("no_answer", _MAYBE, again=True),
    Trouble.BROKEN: ErrorClass("broken", _MAYBE, again=True),
    Trouble.UNREADABLE: ErrorClass("unreadable", _MAYBE, again=True),
}
UNLISTED = ErrorClass("unlisted", _MAYBE)


def class_of(words: str) -> ErrorClass:
    """Return what an error string means."""
    fitting = [start for start in ERRORS if words == start or words.startswith((f"{start}:", f"{start} "))]
    return ERRORS[max(fitting, key=len)] if fitting else UNLISTED


def class_of_all(errors: Sequence[str]) -> ErrorClass:
    """Return what several error strings mean together: the one that is least certain; warnings count for nothing."""
    found = [class_of(words) for words in errors if not words.startswith("W")]
    if not found:
        return UNLISTED
    doubt = [Verdict.REJECTED, Verdict.SAFE, Verdict.UNKNOWN]
    return max(found, key=lambda one: doubt.index(one.verdict))


def class_of_status(status: int) -> ErrorClass:
    """Return what an HTTP status other than 200 means."""
    return STATUSES.get(status, UNLISTED)
