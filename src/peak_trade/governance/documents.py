"""Documents that people sign: one form in bytes, read strictly; and the same strictness for files that people write.

Invariant: of a document there is one encoding, canonical JSON (RFC 8785); other bytes of the same content are refused.
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar, get_args

import msgspec

from peak_trade.governance.objections import Objected
from peak_trade.model.errors import ConfigError, InvariantBroken

#: Largest document, in bytes: it is read by people.
BYTES_MAX = 4 << 20
#: Integers from here on are not the same in every reader of JSON.
INTEGER_LIMIT = 1 << 53

#: Years that a moment may lie in: beyond them it is a mistake, and there is no reckoning with it.
_YEARS = range(2000, 2200)

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
#: A name that can stand in a path and in a sentence.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Symbol = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9.]{1,16}/[A-Z0-9.]{1,16}\Z")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Fact = bool | int | str

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,12})?").fullmatch
_to_json = msgspec.json.Encoder(order="sorted").encode
_Kind = TypeVar("_Kind", bound=msgspec.Struct)


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a document or of a file that people write: typed, frozen, and closed to unknown keys."""


def encode(document: Written) -> bytes:
    """Return a document's bytes: canonical JSON, moments in UTC, decimals as text.

    Raises:
        InvariantBroken: it holds what has no one form in JSON.
    """
    plain = msgspec.to_builtins(document, builtin_types=(Decimal, datetime))
    try:
        return _to_json(_plain(plain))
    except UnicodeEncodeError as error:
        raise InvariantBroken("expected text in a document, found half a surrogate pair") from error


def decode(content: bytes, kind: type[_Kind], what: str) -> _Kind:
    """Read a document back.

    Raises:
        Objected: `malformed`: it is none of that kind, or not in the one form it can have.
    """
    if len(content) > BYTES_MAX:
        raise Objected("malformed", f"expected {what} of at most {BYTES_MAX} bytes, found {len(content)}")
    try:
        found = msgspec.json.decode(content, type=kind)
        again = _to_json(_plain(msgspec.to_builtins(found, builtin_types=(Decimal, datetime))))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, InvariantBroken) as error:
        raise Objected(
            "malformed", f"expected {what}, found something else: {_short(error)}; take the file as written"
        ) from None
    if again != content:
        raise Objected(
            "malformed", f"expected {what} in canonical JSON, found other bytes of it; take the file as it was written"
        )
    return found


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_toml(content: bytes, kind: type[_Kind], where: str) -> _Kind:
    """Read a TOML file that people write; numbers with a point are exact decimals.

    Raises:
        ConfigError: it is no TOML, has an unknown key or a wrong value.
    """
    try:
        raw = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected UTF-8 text in {where}, found other bytes at offset {error.start}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"expected TOML in {where}, found a mistake: {_short(error)}") from None
    try:
        return msgspec.convert(raw, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        words = _short(error)
        unknown = re.search(r"unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?", words)
        if unknown is None:
            raise ConfigError(f"{where}: {words[:1].lower()}{words[1:]}; correct that line") from None
        known = sorted(set(_fields(kind)))
        close = difflib.get_close_matches(unknown[1], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        place = f" in {unknown[2]}" if unknown[2] else ""
        raise ConfigError(f"expected only known keys in {where}, found {unknown[1]}{place}; {hint}") from None


def utc(text: object) -> datetime | None:
    """Return a moment that is written as text with a zone, None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found.astimezone(UTC)


def number(value: object) -> Decimal | None:
    """Return a fact as an exact number: an integer, or text of up to 15 and 12 decimal digits; None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER(value):
        return Decimal(value)
    return None


def _plain(value: Any) -> Any:
    """Check and plain a value for JSON: keys in ASCII, integers that every reader has, moments in UTC, finite decimals."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and key.isascii() and key.isprintable() for key in value):
            raise InvariantBroken("expected keys of printable ASCII text in a document, found others")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        if value.year not in _YEARS:
            raise InvariantBroken(f"expected moments of this age in a document, found the year {value.year}")
        return value.astimezone(UTC)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvariantBroken(f"expected finite numbers in a document, found {value}")
        return f"{value:f}"
    if isinstance(value, float) or (isinstance(value, int) and not -INTEGER_LIMIT < value < INTEGER_LIMIT):
        raise InvariantBroken(f"expected integers below 2^53 in a document, found {value}; write it as text")
    return value


def _fields(kind: Any) -> Iterator[str]:
    """Return the names of all keys that a kind of file knows, however deep."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from _fields(field.type)
    else:
        for part in get_args(kind):
            yield from _fields(part)


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
