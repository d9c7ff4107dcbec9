"""What the exchange remembers as JSON and back, by the fields of its types: a field that is added needs nothing here.

Money is text, enumerations are their values, pairs and assets their names, an order within something else is its id.
"""

import base64
import types
from collections import deque
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from peak_trade.emulator.orders import PlacedOrder
from peak_trade.emulator.pairs import ASSETS, PAIRS, Asset, Pair


class NotRemembered(ValueError):
    """What was stored is not what the exchange remembers."""


def encoded(value: Any, without: frozenset[str] = frozenset(), *, inner: bool = False) -> Any:
    """Return a value as what JSON can hold; *without* names fields to leave out."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Pair):
        return value.symbol
    if isinstance(value, Asset):
        return value.name
    if isinstance(value, PlacedOrder) and inner:
        return value.id
    kind: Any = type(value)
    if (names := field_names(kind)) is not None:
        return {name: encoded(getattr(value, name), inner=True) for name in names if name not in without}
    if isinstance(value, Mapping):
        return {str(key): encoded(one, inner=True) for key, one in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(encoded(one, inner=True) for one in value)
    if isinstance(value, list | tuple | deque):
        return [encoded(one, inner=True) for one in value]
    raise TypeError(f"expected something that the exchange remembers, found {type(value).__name__}")


def decoded_as(kind: Any, told: Any, orders: Mapping[str, PlacedOrder], *, inner: bool = False) -> Any:
    """Return what was encoded; a field that was not there yet gets its default.

    Args:
        kind: its type; orders: those that may be named within it.

    Raises:
        NotRemembered: it can't have been encoded from that type.
    """
    try:
        if get_origin(kind) is not None:
            return _of_generic(kind, told, orders)
        if kind is Any or kind is object:
            return told
        if kind is Decimal:
            return Decimal(told)
        if kind is bytes:
            return base64.b64decode(told, validate=True)
        if kind is Pair:
            return PAIRS[told]
        if kind is Asset:
            return ASSETS[told]
        if kind is PlacedOrder and inner:
            return orders[told]
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(told)
        if field_names(kind) is not None:
            return _of_fields(kind, told, orders)
        if isinstance(told, kind) and isinstance(told, bool) == (kind is bool):
            return told
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise NotRemembered(f"{told!r:.60} is no {getattr(kind, '__name__', kind)}") from error
    if kind is float and isinstance(told, int):
        return float(told)
    raise NotRemembered(f"{told!r:.60} is no {getattr(kind, '__name__', kind)}")


def _of_generic(kind: Any, told: Any, orders: Mapping[str, PlacedOrder]) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if told is None:
            return None
        return decoded_as(next(one for one in args if one is not type(None)), told, orders, inner=True)
    if origin is dict or isinstance(told, dict):
        # JSON's keys are text.
        keys = int if args[0] is int else str
        return {
            decoded_as(args[0], keys(key), orders): decoded_as(args[1], one, orders, inner=True) for key, one in told.items()
        }
    if not isinstance(told, list):
        raise TypeError
    if origin is tuple and args[-1] is not Ellipsis:
        return tuple(decoded_as(one, part, orders, inner=True) for one, part in zip(args, told, strict=True))
    return origin(decoded_as(args[0], one, orders, inner=True) for one in told)


def _of_fields(kind: Any, told: Any, orders: Mapping[str, PlacedOrder]) -> Any:
    hints, names = _hints(kind), field_names(kind) or ()
    if not isinstance(told, dict) or (extra := set(told) - set(names)):
        raise NotRemembered(f"{extra if isinstance(told, dict) else told!r:.60} is not of {kind.__name__}")
    given = {name: decoded_as(hints[name], value, orders, inner=True) for name, value in told.items()}
    if missing := _required(kind) - set(given):
        raise NotRemembered(f"{', '.join(sorted(missing))} of {kind.__name__} is missing")
    return kind(**given)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def field_names(kind: Any) -> tuple[str, ...] | None:
    """Return the names of a type's fields; None where it has none. What is private is worked out anew."""
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind) if not field.name.startswith("_"))
    return kind._fields if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields") else None


@cache
def _required(kind: Any) -> frozenset[str]:
    if is_dataclass(kind):
        return frozenset(one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return frozenset(set(kind._fields) - set(kind._field_defaults))
