"""Requests as they go over the wire: bytes, signed. Pure: nonces and times are arguments.

Invariant: an order is built by `validation_request` or by `live_order_request` and by nothing else; the two give types of their
own. The first always says `validate=true`, the second never names it: reports differ on what Kraken makes of `validate=false`.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qsl, urlencode

from peak_trade.model.clock import moment
from peak_trade.model.errors import InputError, SafetyRefused, require
from peak_trade.model.order import Intent, OrderKind

Fields = Sequence[tuple[str, str]]
PRIVATE, PUBLIC = "/0/private/", "/0/public/"
ADD_ORDER: Final = PRIVATE + "AddOrder"
FORM = "application/x-www-form-urlencoded"
AGENT = "peak-trade"
#: Methods that place or change orders. Only AddOrder is used, and only through the two constructors for it.
PLACING = frozenset({"AddOrder", "AddOrderBatch", "AmendOrder", "EditOrder"})
#: Nonces are unsigned and have 64 bits.
NONCE_LIMIT = 1 << 64
_KINDS = {
    OrderKind.MARKET: "market",
    OrderKind.LIMIT: "limit",
    OrderKind.STOP: "stop-loss",
    OrderKind.TAKE_PROFIT: "take-profit",
}
_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)
_METHOD = re.compile(r"[A-Za-z]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An API key. Its secret, 64 bytes, shows nowhere; of its id no more than the beginning."""

    id: str = field(repr=False)
    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, key: str, secret: str) -> "Credentials":
        """Read a key as Kraken shows it once.

        Raises:
            InputError: the secret is not base64, or one of them is empty; neither is repeated in the words.
        """
        try:
            found = base64.b64decode(secret.strip(), validate=True)
        except (binascii.Error, ValueError):
            found = b""
        if not found or not key.strip() or not key.isascii():
            # Without a cause: what base64 says of a text may repeat it.
            raise InputError(
                "expected an API key and its secret in base64, as Kraken shows them, found something else"
            ) from None
        return cls(id=key.strip(), secret=found)

    @property
    def short(self) -> str:
        """A name for files and messages: a hash of the id."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"Credentials({self.short})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise SafetyRefused("an API key is not to be copied into a file or another process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent: path with its query, headers and body. Headers hold key and signature, and do not show."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes

    @property
    def endpoint(self) -> str:
        """The name of the method, such as `AddOrder`."""
        return self.path.partition("?")[0].rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRequest(Request):
    """An order that Kraken only looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOrderRequest(Request):
    """An order that Kraken executes."""


def sign(secret: bytes, path: str, nonce: int, body: bytes) -> str:
    """Return `API-Sign`: HMAC-SHA512 over the path and SHA-256 of nonce and body, base64 (docs.kraken.com, authentication)."""
    message = path.encode() + hashlib.sha256(str(nonce).encode() + body).digest()
    return base64.b64encode(hmac.new(secret, message, hashlib.sha512).digest()).decode()


def public_request(endpoint: str, fields: Fields = ()) -> Request:
    """Return a question that needs no key."""
    require(_METHOD.fullmatch(endpoint), f"{endpoint!r} is a method's name")
    query = f"?{urlencode(fields)}" if fields else ""
    return Request(method="GET", path=PUBLIC + endpoint + query, headers=(("User-Agent", AGENT),), body=b"")


def private_request(keys: Credentials, endpoint: str, nonce: int, fields: Fields = ()) -> Request:
    """Return a signed request that places no order.

    Raises:
        SafetyRefused: the method places or changes orders.
    """
    require(_METHOD.fullmatch(endpoint), f"{endpoint!r} is a method's name")
    if endpoint in PLACING:
        raise SafetyRefused(f"expected a method that places no order, found {endpoint}; an order has constructors of its own")
    headers, body = _signed(keys, PRIVATE + endpoint, nonce, fields)
    return Request(method="POST", path=PRIVATE + endpoint, headers=headers, body=body)


def validation_request(keys: Credentials, nonce: int, order: Fields) -> ValidationRequest:
    """Return an order that is only to be looked at.

    Raises:
        SafetyRefused: the bytes do not say so.
    """
    headers, body = _signed(keys, ADD_ORDER, nonce, [*order, ("validate", "true")])
    found = ValidationRequest(method="POST", path=ADD_ORDER, headers=headers, body=body)
    validated_bytes(found)
    return found


def live_order_request(keys: Credentials, nonce: int, order: Fields) -> LiveOrderRequest:
    """Return an order that is to be executed.

    Raises:
        SafetyRefused: the bytes name `validate`.
    """
    headers, body = _signed(keys, ADD_ORDER, nonce, order)
    found = LiveOrderRequest(method="POST", path=ADD_ORDER, headers=headers, body=body)
    live_bytes(found)
    return found


def validated_bytes(request: Request) -> bytes:
    """Return the body of an order, once it is certain that Kraken will only look at it.

    Looked at are the bytes that will be sent: the path, that they are a form which reads in one way only, and that it has
    exactly one `validate`, with the value `true`.

    Raises:
        SafetyRefused: one of these is not so.
    """
    said = [(name, value) for name, value in _form(request) if _is_validate(name)]
    if said != [("validate", "true")]:
        raise SafetyRefused(f"expected an order with validate=true, exactly once, found {said or 'none'}; it was not sent")
    return request.body


def live_bytes(request: Request) -> bytes:
    """Return the body of an order, once it is certain that it does not name `validate`.

    Raises:
        SafetyRefused: it does, or is no order.
    """
    said = [name for name, _ in _form(request) if _is_validate(name)]
    if said:
        raise SafetyRefused(f"expected an order that does not name validate, found {said}; it was not sent")
    return request.body


def _is_validate(name: str) -> bool:
    return "validate" in name.lower()


def _form(request: Request) -> list[tuple[str, str]]:
    """Return the fields of an order."""
    kinds = [value for name, value in request.headers if name.lower() == "content-type"]
    if (request.method, request.path, kinds) != ("POST", ADD_ORDER, [FORM]):
        raise SafetyRefused(
            f"expected a form posted to {ADD_ORDER}, found {request.method} {request.path} {kinds}; it was not sent"
        )
    try:
        fields = parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise SafetyRefused("expected an order as a form, found another body; it was not sent") from error
    if urlencode(fields).encode() != request.body:
        raise SafetyRefused("expected an order that reads in one way only, found another spelling; it was not sent")
    return fields


def _signed(keys: Credentials, path: str, nonce: int, fields: Fields) -> tuple[tuple[tuple[str, str], ...], bytes]:
    require(0 <= nonce < NONCE_LIMIT, "a nonce has 64 bits")
    body = urlencode([("nonce", str(nonce)), *fields]).encode()
    headers = (
        ("User-Agent", AGENT),
        ("Content-Type", FORM),
        ("API-Key", keys.id),
        ("API-Sign", sign(keys.secret, path, nonce, body)),
    )
    return headers, body


def exchange_name(client_id: str) -> str:
    """Return the name that Kraken knows an order by, `cl_ord_id`: 32 hexadecimal digits, always the same for the same name.

    Our own names have that form already and stay as they are; any other is hashed.
    """
    return client_id if _HEX.fullmatch(client_id) else hashlib.sha256(client_id.encode()).hexdigest()[:32]


def plain(value: Decimal) -> str:
    """Return a decimal as digits, never with an exponent."""
    require(value.is_finite(), "an amount is a number")
    return f"{value:f}"


def order_fields(intent: Intent, pair: str, deadline_ns: int) -> list[tuple[str, str]]:
    """Return an order as AddOrder takes it.

    Args:
        pair: Kraken's name of it, `XBTEUR`.
        deadline_ns: nanoseconds UTC, by the exchange's clock, after which it must not be matched any more.

    `reduce_only` is not sent: on a cash account there is nothing for it to reduce.
    """
    require(intent.quantity != 0, "an order has a quantity")
    require((intent.price is None) == (intent.kind is OrderKind.MARKET), "all but market orders have a price")
    fields = [
        ("pair", pair),
        ("type", "buy" if intent.quantity > 0 else "sell"),
        ("ordertype", _KINDS[intent.kind]),
        ("volume", plain(abs(intent.quantity))),
    ]
    if intent.price is not None:
        fields.append(("price", plain(intent.price)))
    return [*fields, ("cl_ord_id", exchange_name(intent.client_id)), ("deadline", rfc3339(deadline_ns))]


def rfc3339(at_ns: int) -> str:
    """Return nanoseconds UTC as `2026-11-23T08:00:00.123Z`, cut to the millisecond."""
    return f"{moment(at_ns):%Y-%m-%dT%H:%M:%S}.{at_ns // 1_000_000 % 1000:03d}Z"
