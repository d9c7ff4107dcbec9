"""Parameters of requests: a form or JSON in, typed values out; every complaint in Kraken's words."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

from peak_trade.emulator.orders import ZERO, Lasting, Offset, OrderType, Rejection, Wish
from peak_trade.emulator.pairs import Pair, pair_of

NS = 1_000_000_000
#: Longest request body and most fields in it.
BODY_MAX, FIELDS_MAX = 64 * 1024, 200
_TRUE, _FALSE = {"true", "1"}, {"false", "0", ""}


class Parameters:
    """The parameters of one request."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    @classmethod
    def read(cls, body: bytes, kind: str) -> "Parameters":
        """Read a body.

        Raises:
            Rejection: it is no form and no JSON object.
        """
        try:
            text = body.decode()
            if "json" in kind or text.lstrip().startswith("{"):
                found = json.loads(text) if text.strip() else {}
                if not isinstance(found, dict):
                    raise Rejection("EGeneral:Invalid arguments")
                return cls(found)
            return cls(dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)))
        except (ValueError, RecursionError) as error:
            raise Rejection("EGeneral:Invalid arguments") from error

    def text(self, name: str, default: str = "") -> str:
        """Return a value as text."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        raise Rejection(f"EGeneral:Invalid arguments:{name}")

    def flag(self, name: str) -> bool:
        """Return a value as yes or no."""
        word = self.text(name).strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise Rejection(f"EGeneral:Invalid arguments:{name}")

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number within bounds."""
        text = self.text(name)
        if not text:
            return default
        try:
            value = int(Decimal(text))
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise Rejection(f"EGeneral:Invalid arguments:{name}") from error
        if not low <= value <= high:
            raise Rejection(f"EGeneral:Invalid arguments:{name}")
        return value

    def number(self, name: str) -> Decimal:
        """Return a positive decimal; 0 where there is none."""
        return decimal_of(name, self.text(name)) if self.text(name) else ZERO

    def names(self, name: str) -> list[str]:
        """Return a comma list."""
        return [part.strip() for part in self.text(name).split(",") if part.strip()]

    def pair(self, name: str = "pair") -> Pair:
        """Return the pair that is named."""
        text = self.text(name)
        found = pair_of(text)
        if found is None:
            raise Rejection("EQuery:Unknown asset pair" if text else "EGeneral:Invalid arguments:pair")
        return found


def decimal_of(name: str, text: str) -> Decimal:
    """Read a plain decimal of reasonable size.

    Raises:
        Rejection: it is none, or not above zero.
    """
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise Rejection(f"EGeneral:Invalid arguments:{name}") from error
    if not value.is_finite() or value < 0 or value >= Decimal("1e15") or value.as_tuple().exponent < -20:  # type: ignore[operator]
        raise Rejection(f"EGeneral:Invalid arguments:{name}")
    return value


def offset_of(name: str, text: str) -> Offset | None:
    """Read a relative price such as `+5`, `-2%` or `#1`; None for a plain one."""
    if not text or text[0] not in "+-#":
        return None
    per_cent = text.endswith("%")
    amount = decimal_of(name, text[1:].rstrip("%"))
    return Offset(-amount if text[0] == "-" else amount, per_cent)


def moment_of(name: str, text: str, now: int) -> int:
    """Read a time: `0`, `+seconds` or unix seconds; nanoseconds UTC, 0 for none."""
    if not text or text == "0":
        return 0
    seconds = decimal_of(name, text.lstrip("+"))
    return int(seconds * NS) + (now if text.startswith("+") else 0)


def deadline_of(text: str, now: int) -> int:
    """Read a deadline (RFC 3339), half a second to a minute away."""
    if not text:
        return 0
    try:
        found = int(Decimal(str(datetime.fromisoformat(text).timestamp())) * NS)
    except (ValueError, OverflowError) as error:
        raise Rejection("EGeneral:Invalid arguments:deadline") from error
    if found - now > 60 * NS:
        raise Rejection("EGeneral:Invalid arguments:deadline")
    return found


def wish_of(given: Parameters, pair: Pair, now: int) -> Wish:
    """Read an order as AddOrder takes it.

    Raises:
        Rejection: in Kraken's words.
    """
    side = given.text("type")
    if side not in ("buy", "sell"):
        raise Rejection("EGeneral:Invalid arguments:type")
    try:
        kind = OrderType(given.text("ordertype"))
        lasting = Lasting(given.text("timeinforce", "GTC").upper())
    except ValueError as error:
        raise Rejection("EGeneral:Invalid arguments:ordertype") from error
    flags = tuple(given.names("oflags"))
    if set(flags) - {"post", "fcib", "fciq", "nompp", "viqc"}:
        raise Rejection("EGeneral:Invalid arguments:oflags")
    if "post" in flags and kind is not OrderType.LIMIT:
        raise Rejection("EGeneral:Invalid arguments:oflags")
    volume = given.number("volume")
    by_cost = "viqc" in flags
    if by_cost and (kind is not OrderType.MARKET or side != "buy"):
        raise Rejection("EGeneral:Invalid arguments:viqc")
    if not volume:
        raise Rejection("EGeneral:Invalid arguments:volume")
    price, trail = _price(given, kind)
    limit_text = given.text("price2")
    limit_offset = offset_of("price2", limit_text) if kind.triggered else None
    limit = ZERO if limit_offset or not kind.triggered or not limit_text else decimal_of("price2", limit_text)
    if kind.triggered and kind.has_limit and not (limit or limit_offset):
        raise Rejection("EGeneral:Invalid arguments:price2")
    expires = moment_of("expiretm", given.text("expiretm"), now)
    if lasting is Lasting.GTD and expires <= now:
        raise Rejection("EGeneral:Invalid arguments:expiretm")
    cl_ord_id = given.text("cl_ord_id")
    if cl_ord_id and not _is_client_id(cl_ord_id):
        raise Rejection("EGeneral:Invalid arguments:cl_ord_id")
    return Wish(
        pair=pair,
        buys=side == "buy",
        type=kind,
        volume=ZERO if by_cost else volume,
        cash=volume if by_cost else ZERO,
        price=price,
        limit=limit,
        trail=trail,
        limit_offset=limit_offset,
        lasting=lasting,
        expires=expires,
        starts=moment_of("starttm", given.text("starttm"), now),
        deadline=deadline_of(given.text("deadline"), now),
        post_only="post" in flags,
        reduce_only=given.flag("reduce_only"),
        fee_in_base="fcib" in flags,
        userref=given.whole("userref", 0, -(2**31), 2**31 - 1),
        cl_ord_id=cl_ord_id,
        flags=flags,
        trigger=given.text("trigger", "last"),
    )


def _price(given: Parameters, kind: OrderType) -> tuple[Decimal, Offset | None]:
    text = given.text("price")
    if kind is OrderType.MARKET:
        return ZERO, None
    if kind.trails:
        trail = offset_of("price", text)
        if trail is None or trail.amount <= 0:
            raise Rejection("EGeneral:Invalid arguments:price")
        return ZERO, trail
    if not text or not decimal_of("price", text):
        raise Rejection("EGeneral:Invalid arguments:price")
    return decimal_of("price", text), None


def _is_client_id(text: str) -> bool:
    plain = text.replace("-", "")
    if len(plain) == 32 and len(text) in (32, 36) and all(mark in "0123456789abcdefABCDEF" for mark in plain):
        return True
    return len(text) <= 18 and text.isascii() and text.isprintable()
