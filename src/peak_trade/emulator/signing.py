"""Keys, signatures, nonces and permissions, as Kraken checks them; over the bytes received, never over parsed parameters."""

import base64
import binascii
import hashlib
import hmac
import random
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
        nonce: the largest seen.
    """

    name: str
    id: str
    secret: bytes = field(repr=False)
    account: str
    rights: frozenset[Right]
    nonce: int = -1

    @property
    def secret_text(self) -> str:
        """The secret as it is shown once."""
        return base64.b64encode(self.secret).decode()


def make_key(name: str, account: str, rights: frozenset[Right], chance: random.Random) -> ApiKey:
    """Make a key; equal randomness gives an equal key."""
    return ApiKey(
        name=name,
        id=base64.b64encode(chance.randbytes(42)).decode(),
        secret=chance.randbytes(64),
        account=account,
        rights=rights,
    )


def signature(secret: bytes, path: str, nonce: str, body: bytes) -> bytes:
    """Return HMAC-SHA512 over the path and SHA-256 of nonce and body (docs.kraken.com, spot REST authentication)."""
    message = path.encode() + hashlib.sha256(nonce.encode() + body).digest()
    return hmac.new(secret, message, hashlib.sha512).digest()


def signed_by(key: ApiKey, path: str, nonce: str, body: bytes, given: str) -> bool:
    """Tell whether a request was signed with a key, in a time that does not depend on where it differs."""
    try:
        sent = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(sent, signature(key.secret, path, nonce, body))


def accept_nonce(key: ApiKey, text: str) -> bool:
    """Take a nonce that is larger than every one before; return whether it was."""
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) >= NONCE_LIMIT or int(text) <= key.nonce:
        return False
    key.nonce = int(text)
    return True
