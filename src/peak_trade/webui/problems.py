"""Errors as JSON: problem details (RFC 9457)."""

from starlette.responses import JSONResponse

from peak_trade.model.errors import (
    CheckFailed,
    ContractBroken,
    DataError,
    InputError,
    NotFound,
    PeakTradeError,
    SafetyRefused,
    StorageError,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
#: What each kind of our errors is in HTTP, the most special kind first.
_STATUS: tuple[tuple[type[PeakTradeError], int, str], ...] = (
    (NotFound, 404, "Not found"),
    (DataError, 500, "Damaged data"),
    (InputError, 400, "Wrong input"),
    (ContractBroken, 502, "An exchange did what it must not"),
    (SafetyRefused, 403, "Refused by a safety rule"),
    (StorageError, 503, "Storage refused"),
    (Unavailable, 502, "Another machine does not answer"),
    (CheckFailed, 409, "A check failed"),
)


def status_of(error: PeakTradeError) -> tuple[int, str]:
    """Return the HTTP status of an error, and its title."""
    return next(((status, title) for kind, status, title in _STATUS if isinstance(error, kind)), (500, "Fault of ours"))


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """Return an error as problem details."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE)
