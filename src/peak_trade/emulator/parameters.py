"""Parameters of requests: a form or JSON in, typed values out; every complaint in Kraken's words."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from peak_trade.emulator.orders import ZERO, Lasting, Offset, OrderType, Rejection, SelfTrade, Wish
from peak_trade.emulator.pairs import Pair, pair_of

NS = 1_000_000_000
#: Longest request body and most fields in it.
BODY_MAX, FIELDS_MAX = 64 * 1024, 200
CLOSE_FIELDS = ("ordertype", "price", "price2")
Word = TypeVar("Word", bound=Enum)
#: The last moment that may be named, unix seconds: the end of the year 9999, as datetime knows it.
MOMENT_MAX = 253_402_300_799
_NUMBER = re.compile(r"-?(\d{1,20}\.?\d{0,20}|\.\d{1,20})([eE][+-]?\d{1,2})?", re.ASCII)
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
            if "%" in text or "+" in text:
                return cls(dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)))
            # A form in which nothing is escaped, as most are, is only taken apart; that is several times as fast.
            parts = text.split("&")
            if len(parts) > FIELDS_MAX:
                raise Rejection("EGeneral:Invalid arguments")
            pairs = (part.partition("=") for part in parts if part)
            return cls({name: value for name, _, value in pairs})
        except (ValueError, RecursionError) as error:
            raise Rejection("EGeneral:Invalid arguments") from error

    def text(self, name: str, default: str = "") -> str:
        """Return a value as text."""
        value = self.values.get(name)
        if isinstance(value, str):
            return value
        if value is None:
            return default
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
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
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
        if value is None or not low <= value <= high or value != int(value):
            raise Rejection(f"EGeneral:Invalid arguments:{name}")
        return int(value)

    def number(self, name: str) -> Decimal:
        """Return a decimal that is not below zero; 0 where there is none."""
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


def decimal_of(name: str, text: str, most: Decimal = Decimal("1e15")) -> Decimal:
    """Read a plain decimal of reasonable size.

    Raises:
        Rejection: it is none, or below zero.
    """
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None or not 0 <= value < most:
        raise Rejection(f"EGeneral:Invalid arguments:{name}")
    return value


def offset_of(name: str, text: str, *, upwards: bool = True) -> Offset | None:
    """Read a relative price such as `+5`, `-2%` or `#1`, whose sign is that of *upwards*; None for a plain one."""
    if not text or text[0] not in "+-#":
        return None
    amount = decimal_of(name, text[1:].removesuffix("%"))
    falls = text[0] == "-" or (text[0] == "#" and not upwards)
    return Offset(-amount if falls else amount, text.endswith("%"))


def moment_of(name: str, text: str, now: int) -> int:
    """Read a time: `0`, `+seconds` or unix seconds; nanoseconds UTC, 0 for none."""
    if not text or text == "0":
        return 0
    found = int(decimal_of(name, text.removeprefix("+")) * NS) + (now if text.startswith("+") else 0)
    if found > MOMENT_MAX * NS:
        raise Rejection(f"EGeneral:Invalid arguments:{name}")
    return found


def deadline_of(text: str, now: int) -> int:
    """Read a deadline (RFC 3339), half a second to a minute away; one that has passed is read too, and elapsed."""
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejection("EGeneral:Invalid arguments:deadline") from error
    if found.tzinfo is None:
        raise Rejection("EGeneral:Invalid arguments:deadline")
    passed = found - datetime(1970, 1, 1, tzinfo=UTC)
    at = (passed.days * 86_400 + passed.seconds) * NS + passed.microseconds * 1000
    if at - now > 60 * NS or 0 <= at - now < NS // 2:
        raise Rejection("EGeneral:Invalid arguments:deadline")
    return at


def wish_of(given: Parameters, pair: Pair, now: int, last: Decimal = ZERO) -> Wish:
    """Read an order as AddOrder takes it.

    Args:
        given: the parameters; pair: what it trades.
        now: nanoseconds UTC.
        last: the pair's last price, from which relative prices count; 0: they are refused.

    Raises:
        Rejection: in Kraken's words.
    """
    side = given.text("type")
    if side not in ("buy", "sell"):
        raise Rejection("EGeneral:Invalid arguments:type")
    buys = side == "buy"
    kind = _word(given, "ordertype", "", OrderType)
    flags = _flags(given, kind, buys=buys)
    volume = given.number("volume")
    by_cost = "viqc" in flags
    if not by_cost:
        volume = volume.quantize(Decimal(1).scaleb(-pair.lot_decimals), ROUND_DOWN)
    if not volume:
        raise Rejection("EGeneral:Invalid arguments:volume")
    price, trail = _price(given, kind, pair, last, buys=buys)
    limit, limit_offset = _second_price(given, kind, buys=buys)
    trigger = _spot(given)
    lasting, expires, starts, deadline = _times(given, now, post_only="post" in flags)
    return Wish(
        pair=pair,
        buys=buys,
        type=kind,
        volume=ZERO if by_cost else volume,
        cash=volume if by_cost else ZERO,
        display=_shown(given, kind, pair),
        price=price,
        limit=limit,
        trail=trail,
        limit_offset=limit_offset,
        lasting=lasting,
        expires=expires,
        starts=starts,
        deadline=deadline,
        post_only="post" in flags,
        reduce_only=given.flag("reduce_only"),
        fee_in_base="fcib" in flags,
        userref=given.whole("userref", 0, -(2**31), 2**31 - 1),
        cl_ord_id=_client_id(given),
        flags=flags,
        trigger=trigger,
        self_trade=_word(given, "stptype", "cancel-newest", SelfTrade),
        close=_close(given, pair, now, last, buys=buys),
    )


def _shown(given: Parameters, kind: OrderType, pair: Pair) -> Decimal:
    """Return what an iceberg shows; nothing else has that."""
    shown = given.number("displayvol").quantize(Decimal(1).scaleb(-pair.lot_decimals), ROUND_DOWN)
    if bool(shown) is not (kind is OrderType.ICEBERG):
        raise Rejection("EGeneral:Invalid arguments:displayvol")
    return shown


def _word(given: Parameters, name: str, default: str, words: type[Word]) -> Word:
    """Return one of the words that a parameter may be."""
    try:
        return words(given.text(name) or default)
    except ValueError as error:
        raise Rejection(f"EGeneral:Invalid arguments:{name}") from error


def _flags(given: Parameters, kind: OrderType, *, buys: bool) -> tuple[str, ...]:
    flags = tuple(given.names("oflags"))
    if set(flags) - {"post", "fcib", "fciq", "nompp", "viqc"} or {"fcib", "fciq"} <= set(flags):
        raise Rejection("EGeneral:Invalid arguments:oflags")
    if "post" in flags and not kind.is_limit:
        raise Rejection("EGeneral:Invalid arguments:oflags")
    if "viqc" in flags and (kind is not OrderType.MARKET or not buys):
        raise Rejection("EGeneral:Invalid arguments:viqc")
    return flags


def _spot(given: Parameters) -> str:
    """Refuse what a cash account can't do; return what a trigger looks at."""
    if given.text("leverage", "none").lower() not in ("", "none", "0", "1", "1:1"):
        raise Rejection("EGeneral:Invalid arguments:leverage")
    trigger = given.text("trigger") or "last"
    if trigger not in ("last", "index"):
        raise Rejection("EGeneral:Invalid arguments:trigger")
    return trigger


def _times(given: Parameters, now: int, *, post_only: bool) -> tuple[Lasting, int, int, int]:
    """Return how long an order lasts, when it expires and starts, and its deadline."""
    try:
        lasting = Lasting((given.text("timeinforce") or "GTC").upper())
    except ValueError as error:
        raise Rejection("EGeneral:Invalid arguments:timeinforce") from error
    if post_only and lasting in (Lasting.IOC, Lasting.FOK):
        raise Rejection("EGeneral:Invalid arguments:timeinforce")
    expires = moment_of("expiretm", given.text("expiretm"), now)
    if (lasting is Lasting.GTD or expires) and expires <= now:
        raise Rejection("EGeneral:Invalid arguments:expiretm")
    starts = moment_of("starttm", given.text("starttm"), now)
    if expires and starts >= expires:
        raise Rejection("EGeneral:Invalid arguments:starttm")
    deadline = deadline_of(given.text("deadline"), now)
    return lasting, expires, starts, deadline


def _close(given: Parameters, pair: Pair, now: int, last: Decimal, *, buys: bool) -> Wish | None:
    """Read the order that is to follow each fill: `close[ordertype]` and its prices, or JSON's `close`."""
    nested = given.values.get("close")
    values = nested if isinstance(nested, dict) else {name: given.text(f"close[{name}]") for name in CLOSE_FIELDS}
    if nested is not None and nested != "" and not isinstance(nested, dict):
        raise Rejection("EGeneral:Invalid arguments:close")
    told: dict[str, Any] = {name: values.get(name) for name in CLOSE_FIELDS if values.get(name) not in (None, "")}
    if not told:
        return None
    if told.get("ordertype") == "market":
        raise Rejection("EGeneral:Invalid arguments:close[ordertype]")
    told |= {"type": "sell" if buys else "buy", "volume": str(pair.ordermin), "userref": given.text("userref")}
    return wish_of(Parameters(told), pair, now, last)


def _rises(kind: OrderType, *, buys: bool) -> bool:
    """Tell in which direction `#` leads from a price: to where the order would wait."""
    return buys != (kind.is_limit or kind in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT))


def _price(given: Parameters, kind: OrderType, pair: Pair, last: Decimal, *, buys: bool) -> tuple[Decimal, Offset | None]:
    """Return the price that an order names, and the distance of a trailing one."""
    text = given.text("price")
    if kind is OrderType.MARKET:
        return ZERO, None
    offset = offset_of("price", text, upwards=kind.trails or _rises(kind, buys=buys))
    if kind.trails:
        if offset is None or offset.amount <= 0 or (offset.per_cent and offset.amount >= 100):
            raise Rejection("EGeneral:Invalid arguments:price")
        return ZERO, offset
    if offset is not None:
        price = (last + offset.of(last)).quantize(pair.tick) if last else ZERO
    else:
        price = decimal_of("price", text)
    if price <= 0:
        raise Rejection("EGeneral:Invalid arguments:price")
    return price, None


def _second_price(given: Parameters, kind: OrderType, *, buys: bool) -> tuple[Decimal, Offset | None]:
    """Return the limit of a triggered order, or its distance from the trigger."""
    text = given.text("price2")
    if not (kind.triggered and kind.has_limit):
        return ZERO, None
    offset = offset_of("price2", text, upwards=buys)
    limit = ZERO if offset is not None or not text else decimal_of("price2", text)
    if offset is None and not limit:
        raise Rejection("EGeneral:Invalid arguments:price2")
    return limit, offset


def _client_id(given: Parameters) -> str:
    text = given.text("cl_ord_id")
    plain = text.replace("-", "")
    if len(plain) == 32 and len(text) in (32, 36) and all(mark in "0123456789abcdefABCDEF" for mark in plain):
        return text
    if len(text) > 18 or not text.isascii() or not text.isprintable():
        raise Rejection("EGeneral:Invalid arguments:cl_ord_id")
    return text
