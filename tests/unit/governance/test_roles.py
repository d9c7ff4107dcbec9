"""The file of roles: people with keys, read strictly."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gates import DAY, NOW, PEOPLE, everybody, key, roles_with
from tests.paths import ROOT

from peak_trade.governance.roles import Role, key_trouble, person_trouble, read_roles
from peak_trade.model.errors import ConfigError

LINE = key("olga").line


def person(body: str = "", **given: str) -> str:
    words = {"id": '"olga"', "name": '"Olga"', "roles": '["owner"]'} | given
    return "[[person]]\n" + "\n".join(f"{name} = {value}" for name, value in words.items()) + "\n" + body


def entry(more: str = "", line: str = LINE) -> str:
    return f'[[person.key]]\nline = "{line}"\n{more}\n'


def test_people_keep_their_roles_and_keys():
    """Everybody by id, every key by its bytes and not by its comment."""
    found = everybody()

    assert set(found.people) == set(PEOPLE)
    assert found.people["dana"].roles == {Role.DEVELOPER, Role.OWNER, Role.REVIEWER}
    assert [len(one.keys) for one in found.people.values()] == [2] * len(PEOPLE)
    owner = found.of_key(found.people["olga"].keys[1].key)
    assert owner is not None
    assert owner[0].id == "olga"


def test_the_delivered_file_names_nobody():
    """Nobody is invented: whoever installs it names people, and until then no gate can be passed."""
    assert read_roles((ROOT / "governance" / "roles.toml").read_bytes()).people == {}


def test_the_delivered_examples_are_right_once_uncommented():
    """What stands in the comments can be taken over."""
    text = (ROOT / "governance" / "roles.toml").read_text()
    start = text.index("# [[person]]")
    lines = [line.removeprefix("#") for line in text[start:].splitlines()]
    filled = "\n".join(lines).replace("ssh-ed25519 AAAA... owner-1@laptop", LINE)
    filled = filled.replace("sk-ssh-ed25519@openssh.com AAAA... owner-1@key", key("olga", 1).line)

    found = read_roles(filled.encode()).people["owner-1"]
    assert [one.revoked_at is None for one in found.keys] == [True, False]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (person(rolls='["owner"]'), "found rolls .*did you mean roles"),
        (person(entry("expires = 1")), "only known keys .* found expires"),
        (person(entry("valid_form = 1")), "did you mean valid_from"),
        ("[[persons]]", "did you mean person"),
        (person(roles='["boss"]'), "boss"),
        (person(roles="[]"), "one role or more"),
        (person(roles='["owner", "owner"]'), "each once"),
        (person(id='"../olga"'), "id"),
        (person(id='""'), "id"),
        (person(name='""'), "name"),
        (person(valid_from="2026-01-01T00:00:00"), "timezone"),
        (person(valid_from="2026-01-01"), "datetime"),
        (person(valid_from="2026-01-02T00:00:00Z", valid_until="2026-01-02T00:00:00Z"), "valid_from before valid_until"),
        (person(entry(line="ssh-ed25519 AAAA")), "a key of olga"),
        (person(entry(line="ssh-dss AAAA")), "a key of olga"),
        (person(entry() + entry()), "each key once"),
        (person(entry()) + person(entry(), id='"otto"', name='"Otto"'), "of olga again at otto"),
        (person() + person(), "each person once"),
        (person() + person(id='"OLGA"', name='"Other"'), "each person once"),
        (person() + person(id='"olga2"', name='" olga "'), "each person once"),
        (person(entry("revoked_at = 2026-01-01T00:00:00Z")), "revoked_why"),
        (person(entry('revoked_why = "lost"')), "revoked_at"),
        ("person = 1", "array"),
        ("[[person]", "TOML"),
        ("a" * 20, "TOML"),
    ],
)
def test_anything_else_is_one_sentence(text, says):
    """Unknown keys with a suggestion, keys of two people, people twice, moments without a zone."""
    with pytest.raises(ConfigError, match=says) as caught:
        read_roles(text.encode())
    assert "\n" not in str(caught.value)
    assert "governance/roles.toml" in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_roles_or_refused(content):
    """Never a traceback."""
    with contextlib.suppress(ConfigError):
        read_roles(content)


def test_a_comment_does_not_make_another_key():
    """The same key with another comment belongs to somebody already."""
    other = LINE.replace("somebody", "otto")
    with pytest.raises(ConfigError, match="each key once"):
        read_roles((person(entry()) + person(entry(line=other), id='"otto"', name='"Otto"')).encode())


def test_validity_has_its_ends():
    """From its first moment on, and not at its last."""
    roles = roles_with(olga=f"valid_from = {NOW - DAY:%FT%TZ}\nvalid_until = {NOW:%FT%TZ}")
    first = roles.people["olga"].keys[0]

    def code(days: float) -> str | None:
        found = key_trouble(first, NOW + days * DAY, NOW)
        return found.code if found else None

    assert [code(days) for days in (-1.01, -1, -0.01, 0)] == ["key_not_valid", None, None, "key_not_valid"]
    assert roles.people["olga"].can_sign(NOW)
    assert not read_roles(person(entry(f"valid_until = {NOW:%FT%TZ}")).encode()).people["olga"].can_sign(NOW)


def test_a_revoked_key_is_good_for_nothing_once_it_is_known():
    """Also for what was signed before; what was decided before can still be understood as of then."""
    roles = roles_with(olga=f'revoked_at = {NOW:%FT%TZ}\nrevoked_why = "lost"')
    first = roles.people["olga"].keys[0]

    assert key_trouble(first, NOW - DAY, NOW - DAY) is None
    assert key_trouble(first, NOW - DAY, NOW).code == "key_revoked"
    assert "lost" in key_trouble(first, NOW, NOW).words


def test_people_come_and_go():
    """A person has a first and a last day, too."""
    found = read_roles(person(entry(), valid_until=f"{NOW:%FT%TZ}").encode()).people["olga"]

    assert person_trouble(found, NOW - DAY) is None
    assert person_trouble(found, NOW).code == "person_not_valid"
    assert not found.can_sign(NOW)
