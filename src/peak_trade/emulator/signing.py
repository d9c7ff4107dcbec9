"""Keys, signatures, nonces and permissions, as Kraken checks them; over the bytes received, never over parsed parameters."""

import base64
import binascii
import hashlib
import hmac
import random
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum, unique

#: Nonces are unsigned and have 64 bits.
NONCE_LIMIT = 1 << 64


@unique
class Right(Enum):
    """What a key may be allowed to do."""

    FUNDS = "query-funds"
    OPEN_ORDERS = "query-open-trades"
    CLOSED_ORDERS = "query-closed-trades"
    LEDGER = "query-ledger"
    TRADE = "modify-trades"
    CANCEL = "close-trades"
    WEBSOCKET = "access-ws"


QUERY = frozenset({Right.FUNDS, Right.OPEN_ORDERS, Right.CLOSED_ORDERS, Right.LEDGER, Right.WEBSOCKET})
CANCEL_ONLY = QUERY | {Right.CANCEL}
TRADING = frozenset(Right)


@dataclass(slots=True, kw_only=True)
class ApiKey:
    """An API key of an account.

    Attributes:
        name: what a person calls it; id: what is sent; secret: 64 bytes.
        nonce: the largest seen; nonce_window: how far below it one may be that was not seen yet.
        seen: the nonces within the window, ascending.
    """

    name: str
    id: str
    secret: bytes = field(repr=False)
    account: str
    rights: frozenset[Right]
    nonce: int = -1
    nonce_window: int = 0
    seen: list[int] = field(default_factory=list, repr=False)

    @property
    def secret_text(self) -> str:
        """The secret as it is shown once."""
        return base64.b64encode(self.secret).decode()


def make_key(name: str, account: str, rights: frozenset[Right], chance: random.Random, *, nonce_window: int = 0) -> ApiKey:
    """Make a key; equal randomness gives an equal key."""
    return ApiKey(
        name=name,
        id=base64.b64encode(chance.randbytes(42)).decode(),
        secret=chance.randbytes(64),
        account=account,
        rights=rights,
        nonce_window=nonce_window,
    )


def signature(secret: bytes, path: str, nonce: str, body: bytes) -> bytes:
    """Return HMAC-SHA512 over the path and SHA-256 of nonce and body (docs.kraken.com, spot REST authentication)."""
    message = path.encode() + hashlib.sha256(nonce.encode() + body).digest()
    return hmac.digest(secret, message, "sha512")


def signed_by(key: ApiKey, path: str, nonce: str, body: bytes, given: str) -> bool:
    """Tell whether a request was signed with a key, in a time that does not depend on where it differs."""
    try:
        sent = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(sent, signature(key.secret, path, nonce, body))


def accept_nonce(key: ApiKey, text: str) -> bool:
    """Take a nonce that is larger than every one before, or within the key's window and new; return whether it was."""
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or (nonce := int(text)) >= NONCE_LIMIT:
        return False
    if nonce <= key.nonce:
        place = bisect_left(key.seen, nonce)
        if nonce < key.nonce - key.nonce_window or not key.nonce_window or key.seen[place : place + 1] == [nonce]:
            return False
    key.nonce = max(key.nonce, nonce)
    if key.nonce_window:
        insort(key.seen, nonce)
        del key.seen[: bisect_left(key.seen, key.nonce - key.nonce_window)]
    return True
