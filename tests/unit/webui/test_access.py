"""Who may ask for what, decided without a server: addresses, names, origins, sizes, tokens and attempts."""

import base64
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from tests.unit.webui.desks import SetClock

from peak_trade.webui.access import (
    BODY_MAX,
    WRONG_MAX,
    WRONG_WINDOW_S,
    Attempts,
    equal,
    host_name,
    is_loopback,
    refuse_network,
    same_origin,
    small,
    token_of,
)

LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "localhost", "/run/peak_trade.sock", "::1%lo"]
NETWORK = ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "169.254.0.1", "fe80::1%eth0", "::ffff:10.0.0.1"]  # noqa: S104
NOTHING = [
    "",
    "example.org",
    "localhost.example.org",
    "127.1",
    "0",
    "127.0.0.1.example.org",
    "127.0.0.1:8000",
    "*",
    " 127.0.0.1",
]


def basic(text: str) -> str:
    """Return the header of a user and password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


class Looked:
    """Operators of whom one has a token, and how often they were asked."""

    def __init__(self) -> None:
        self.count = 0

    def holder(self, token: str) -> str | None:
        """Return whose token it is."""
        self.count += 1
        return {"right": "maria"}.get(token)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def looked() -> Looked:
    return Looked()


@pytest.fixture
def attempts(clock, looked) -> Attempts:
    return Attempts(SimpleNamespace(clock=clock, operators=looked))


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback(address):
    """An address that only this machine reaches is loopback, a Unix socket's too."""
    assert is_loopback(address)
    assert refuse_network(address, behind_tls_proxy=False, operators=[]) is None


@pytest.mark.parametrize("address", NETWORK + NOTHING)
def test_everything_else_is_a_network(address):
    """Whatever is not certain to be loopback is not; an empty address means all of them."""
    assert not is_loopback(address)
    assert "expected a loopback address" in refuse_network(address, behind_tls_proxy=False, operators=["maria"])


@pytest.mark.parametrize("address", NETWORK)
def test_listening_on_a_network(address):
    """Behind a TLS proxy, and with an operator, another address may be listened on; without an operator it may not."""
    assert refuse_network(address, behind_tls_proxy=True, operators=["maria"]) is None
    assert "expected an operator before" in refuse_network(address, behind_tls_proxy=True, operators=iter(()))


@given(st.text(max_size=20))
def test_any_text_as_an_address(address):
    """No text is an address that can't be told about."""
    assert isinstance(is_loopback(address), bool)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8000", "localhost"),
        ("localhost.", "localhost"),
        ("localhost.:8000", "localhost"),
        (" 127.0.0.1:8000 ", "127.0.0.1"),
        ("[::1]:8000", "[::1]"),
        ("[::1]", "[::1]"),
        ("trade.example.org:443", "trade.example.org"),
        ("localhost.example.org", "localhost.example.org"),
        *((wrong, "") for wrong in ("", ":8000", "[::1]evil", "localhost:x", "localhost:1:2", "a@localhost", "localhost/x")),
        *(
            (wrong, "")
            for wrong in ("localhost:8000@evil", "localhost, evil", "localhost\\evil", "localhost:999999", "[", "lócalhost")
        ),
    ],
)
def test_host_names(header, name):
    """The name is read without port and case; a header that is none has no name."""
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "https://127.0.0.1:8000"}, True),
        ({"origin": "HTTP://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://127.0.0.1"}, False),
        ({"origin": "http://127.0.0.1:9000"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_origins(headers, ours):
    """A form is ours where neither the origin nor the browser says otherwise; another port is another site."""
    assert same_origin(Headers({"host": "127.0.0.1:8000", **headers})) is ours


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        ({}, True),
        ({"content-length": "0"}, True),
        ({"content-length": str(BODY_MAX)}, True),
        ({"content-length": str(BODY_MAX + 1)}, False),
        ({"content-length": "-1"}, False),
        ({"content-length": "1e3"}, False),
        ({"content-length": "²"}, False),
        ({"content-length": ""}, False),
        ({"content-length": "9" * 5_000}, False),
        ({"transfer-encoding": "chunked"}, False),
        ({"transfer-encoding": "chunked", "content-length": "3"}, False),
    ],
)
def test_sizes_of_bodies(headers, fits):
    """A body is short where its length is told and is at most the largest one."""
    assert small(Headers(headers)) is fits


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer ptop_one", "ptop_one"),
        ("bearer   ptop_one  ", "ptop_one"),
        (basic("anyone:ptop_one"), "ptop_one"),
        (basic(":ptop_one"), "ptop_one"),
        (basic("a:b:c"), "b:c"),
        (basic("a:ключ"), "ключ"),
        ("basic " + basic("a:b")[6:], "b"),
        *(
            (nothing, None)
            for nothing in ("", "Bearer", "Bearer ", "Basic", "Basic ", basic("ptop_one"), basic("a:"), "Basic %%%")
        ),
        *(
            (nothing, None)
            for nothing in ("Basic YTpi\n!", "Basic /w==", "Digest a=b", "ptop_one", "Token ptop_one", "Basic é")
        ),
    ],
)
def test_tokens_of_headers(header, token):
    """A token is a bearer's, or the password of any user; anything else is none."""
    assert token_of(header) == token


@given(st.text(max_size=60), st.sampled_from(("Basic ", "Bearer ", "")))
def test_any_header_has_a_token_or_none(text, kind):
    """No header is too wild to be read."""
    assert token_of(kind + text) is None or token_of(kind + text)


def test_secrets_are_compared_whole():
    """Two texts are equal where all of their letters are, whatever letters."""
    assert equal("ключ", "ключ")
    assert not equal("abc", "abd")
    assert not equal("abc", "abcd")
    assert not equal("", "a")


def test_right_tokens_are_never_too_many(attempts, looked):
    """An operator's own token counts for nothing, however often it is shown."""
    assert {attempts.holder("right") for _ in range(5 * WRONG_MAX)} == {"maria"}
    assert not attempts.exhausted()
    assert looked.count == 5 * WRONG_MAX


def test_after_too_many_wrong_tokens_none_is_looked_at(attempts, looked):
    """The last attempt below the limit is looked at; after it none is, not even the right one."""
    for _ in range(WRONG_MAX):
        assert not attempts.exhausted()
        assert attempts.holder("wrong") is None
    assert attempts.exhausted()
    count = looked.count

    assert attempts.holder("right") is None
    assert looked.count == count


def test_a_token_that_was_right_stays_so(attempts):
    """Whoever tries tokens does not keep out who has shown a right one before."""
    assert attempts.holder("right") == "maria"
    for _ in range(WRONG_MAX):
        attempts.holder("wrong")
    assert attempts.exhausted()

    assert attempts.holder("right") == "maria"


def test_a_minute_later_tokens_are_looked_at_again(attempts, clock):
    """Wrong tokens are forgotten exactly when a minute has passed; those that came later are not."""
    for _ in range(WRONG_MAX - 1):
        attempts.holder("wrong")
    clock.pass_s(1.0)
    attempts.holder("wrong")

    clock.pass_s(WRONG_WINDOW_S - 1.001)
    assert attempts.holder("right") is None
    clock.pass_s(0.001)
    assert attempts.holder("right") == "maria"

    for _ in range(WRONG_MAX - 1):
        assert not attempts.exhausted()
        attempts.holder("wrong")
    assert attempts.exhausted()


def test_asking_while_exhausted_prolongs_nothing(attempts, clock):
    """Who goes on trying does not keep an operator out for longer than a minute."""
    for _ in range(WRONG_MAX):
        attempts.holder("wrong")
    for _ in range(59):
        clock.pass_s(1.0)
        attempts.holder("wrong")
    clock.pass_s(1.0)

    assert attempts.holder("right") == "maria"


def test_no_token_is_a_wrong_one(attempts, looked):
    """An empty token counts as wrong and is not looked up."""
    for _ in range(WRONG_MAX):
        assert attempts.holder("") is None

    assert (attempts.exhausted(), looked.count) == (True, 0)
