"""Who decides: people with their roles and keys, from `governance/roles.toml`.

Invariant: people are counted, not keys; a key belongs to one person, a person may have several keys.
Invariant: a revoked key stays in the file, so that nobody can bring it back by naming it again.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.governance.documents import Moment, Name, Text, Written, read_toml
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.sshsig import SshKey, read_key
from peak_trade.model.errors import ConfigError


@unique
class Role(Enum):
    """What a person may do; the first four decide, the others may ask for a step."""

    OWNER = "owner"
    REVIEWER = "reviewer"
    RISK_OFFICER = "risk_officer"
    SECOND_PERSON = "second_person"
    OPERATOR = "operator"
    DEVELOPER = "developer"


class PersonKey(NamedTuple):
    """A key of a person; None is from ever or for ever, and `revoked_at` is None while the key is good."""

    key: SshKey
    valid_from: datetime | None
    valid_until: datetime | None
    revoked_at: datetime | None
    revoked_why: str


class Person(NamedTuple):
    """Somebody who may act: an id for documents, a name for people; valid from a moment, and until before another."""

    id: str
    name: str
    roles: frozenset[Role]
    keys: tuple[PersonKey, ...]
    valid_from: datetime | None
    valid_until: datetime | None

    def valid(self, at: datetime) -> bool:
        """Tell whether this person may act at a moment."""
        return _within(self.valid_from, self.valid_until, at)

    def can_sign(self, at: datetime) -> bool:
        """Tell whether this person may act and has a key that is good at a moment."""
        return self.valid(at) and any(key_trouble(key, at, at) is None for key in self.keys)


class Roles(NamedTuple):
    """Everybody, by id and by key."""

    people: Mapping[str, Person]
    keys: Mapping[bytes, tuple[Person, PersonKey]]

    def of_key(self, key: SshKey) -> tuple[Person, PersonKey] | None:
        """Return whose a key is, None where it is nobody's."""
        return self.keys.get(key.blob)


class _KeyLine(Written, frozen=True, kw_only=True):
    line: Text
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    revoked_at: Moment | None = None
    revoked_why: str = ""


class _PersonTable(Written, frozen=True, kw_only=True):
    id: Name
    name: Text
    roles: tuple[Role, ...]
    key: tuple[_KeyLine, ...] = ()
    valid_from: Moment | None = None
    valid_until: Moment | None = None


class _RolesFile(Written, frozen=True, kw_only=True):
    person: tuple[_PersonTable, ...] = ()


def read_roles(content: bytes, where: str = "governance/roles.toml") -> Roles:
    """Read the file of roles.

    Raises:
        ConfigError: an unknown key, a wrong value, a key of two people, two people of one name, or a revocation without a
            reason.
    """
    people: dict[str, Person] = {}
    keys: dict[bytes, tuple[Person, PersonKey]] = {}
    names: dict[str, str] = {}
    for table in read_toml(content, _RolesFile, where).person:
        person = _person(table, where)
        # Two entries for one human would be two votes.
        said = " ".join(table.name.split()).casefold()
        if person.id.casefold() in {other.casefold() for other in people} or said in names:
            raise ConfigError(f"expected each person once in {where}, found {table.id} ({table.name}) twice; merge the entries")
        names[said] = person.id
        people[person.id] = person
        for key in person.keys:
            if key.key.blob in keys:
                owner = keys[key.key.blob][0].id
                raise ConfigError(
                    f"expected each key once in {where}, found {key.key.fingerprint} of {owner} again at {person.id}; "
                    "give everybody a key of their own"
                )
            keys[key.key.blob] = (person, key)
    return Roles(people, keys)


def _person(table: _PersonTable, where: str) -> Person:
    if not table.roles or len(set(table.roles)) != len(table.roles):
        raise ConfigError(f"expected one role or more of {table.id} in {where}, each once, found {len(table.roles)}")
    _check_span(table.valid_from, table.valid_until, f"{table.id} in {where}")
    return Person(table.id, table.name, frozenset(table.roles), tuple(_keys(table, where)), table.valid_from, table.valid_until)


def _keys(table: _PersonTable, where: str) -> Iterator[PersonKey]:
    for entry in table.key:
        try:
            key = read_key(entry.line)
        except Objected as objected:
            raise ConfigError(f"a key of {table.id} in {where} can't be used: {objected}") from None
        _check_span(entry.valid_from, entry.valid_until, f"a key of {table.id} in {where}")
        if (entry.revoked_at is None) != (not entry.revoked_why.strip()):
            raise ConfigError(f"expected revoked_at and revoked_why of a key of {table.id} in {where}, found one of them")
        yield PersonKey(key, entry.valid_from, entry.valid_until, entry.revoked_at, entry.revoked_why)


def person_trouble(person: Person, at: datetime) -> Objection | None:
    """Return why a person may not act at a moment."""
    if person.valid(at):
        return None
    return Objection(
        "person_not_valid", f"{person.id} may act {_span(person.valid_from, person.valid_until)}, not at {at:%F %T}"
    )


def key_trouble(key: PersonKey, at: datetime, seen_at: datetime) -> Objection | None:
    """Return why a key is not good at a moment, with what is known of revocations at another."""
    if key.revoked_at is not None and key.revoked_at <= seen_at:
        return Objection(
            "key_revoked", f"the key {key.key.fingerprint} was revoked at {key.revoked_at:%F %T}: {key.revoked_why}"
        )
    if _within(key.valid_from, key.valid_until, at):
        return None
    span = _span(key.valid_from, key.valid_until)
    return Objection("key_not_valid", f"the key {key.key.fingerprint} is good {span}, not at {at:%F %T}")


def _within(first: datetime | None, last: datetime | None, at: datetime) -> bool:
    return (first is None or first <= at) and (last is None or at < last)


def _check_span(first: datetime | None, last: datetime | None, whose: str) -> None:
    if first is not None and last is not None and first >= last:
        raise ConfigError(f"expected valid_from before valid_until of {whose}, found {first:%F %T} and {last:%F %T}")


def _span(first: datetime | None, last: datetime | None) -> str:
    return " ".join(
        [f"from {first:%F %T}" if first else "from ever", f"until {last:%F %T} UTC" if last else "for ever"],
    )
