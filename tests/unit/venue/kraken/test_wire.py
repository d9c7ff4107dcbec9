"""Requests as bytes: signatures, orders in Kraken's words, and the contract on `validate`."""

import base64
import copy
import json
import pickle
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trading import START_NS, an_intent

from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.parameters import Parameters, wish_of
from peak_trade.emulator.signing import TRADING, ApiKey, signed_by
from peak_trade.model.errors import InputError, InvariantBroken, SafetyRefused
from peak_trade.venue.kraken import wire
from peak_trade.venue.kraken.wire import Credentials, Request

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
KEYS = Credentials.read("key-of-a-test", SECRET)
ORDER = [("pair", "XBTEUR"), ("type", "buy"), ("ordertype", "market"), ("volume", "0.01")]


def test_a_signature_is_the_one_kraken_publishes():
    """The example of docs.kraken.com."""
    body = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"

    found = wire.sign(KEYS.secret, "/0/private/AddOrder", 1616492376594, body)

    assert found == "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="


@given(
    nonce=st.integers(0, 2**64 - 1),
    fields=st.lists(st.tuples(st.text("abc[]-", min_size=1, max_size=9), st.text(max_size=20)), max_size=6),
)
def test_whatever_is_sent_is_signed(nonce, fields):
    """The emulator, which checks the bytes that it received, takes every request."""
    sent = wire.private_request(KEYS, "Balance", nonce, fields)

    key = ApiKey(name="", id=KEYS.id, secret=KEYS.secret, account="", rights=TRADING)
    assert signed_by(key, sent.path, str(nonce), sent.body, dict(sent.headers)["API-Sign"])
    assert parse_qsl(sent.body.decode(), keep_blank_values=True) == [("nonce", str(nonce)), *fields]


@pytest.mark.parametrize("nonce", [-1, 2**64])
def test_a_nonce_has_64_bits(nonce):
    """One more or one less is a fault of ours."""
    with pytest.raises(InvariantBroken):
        wire.private_request(KEYS, "Balance", nonce)


def test_a_secret_shows_nowhere():
    """Neither printed, nor pickled, nor in the words of an error."""
    request = wire.private_request(KEYS, "Balance", 1)
    shown = repr([KEYS, request, [KEYS], {"keys": KEYS}]) + str(KEYS) + f"{KEYS}{request}"

    for hidden in (SECRET, repr(KEYS.secret), KEYS.id, dict(request.headers)["API-Sign"]):
        assert hidden not in shown
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(SafetyRefused):
            copied(KEYS)
    with pytest.raises(InputError) as caught:
        Credentials.read("key-of-a-test", "nonsense secret!")
    assert "nonsense" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("key", "secret"), [("", SECRET), ("key", ""), ("schlüssel", SECRET), ("key", "a b")])
def test_what_is_no_key_is_refused(key, secret):
    """An empty one, or one that is none of Kraken's."""
    with pytest.raises(InputError):
        Credentials.read(key, secret)


# ---- orders --------------------------------------------------------------------------------------------------------------

amounts = st.decimals("0.00000001", "99999999", places=8)


@given(volume=amounts, price=amounts, kind=st.sampled_from(["market", "limit", "stop", "take_profit"]), buys=st.booleans())
def test_an_order_arrives_as_it_was_meant(volume, price, kind, buys):
    """What the emulator reads from the bytes is the intent, to the last digit and without an exponent."""
    limit = None if kind == "market" else price
    intent = an_intent(volume if buys else -volume, kind=kind, price=limit, client_id="0" * 32)

    sent = wire.live_order_request(KEYS, 1, wire.order_fields(intent, "XBTEUR", START_NS + 5_000_000_000))

    read = Parameters(dict(parse_qsl(sent.body.decode())))
    wish = wish_of(read, PAIRS["BTC/EUR"], START_NS)
    assert wish.volume == volume
    assert wish.buys is buys
    assert wish.price == (0 if limit is None else price)
    assert wish.cl_ord_id == "0" * 32
    assert wish.deadline == START_NS + 5_000_000_000
    assert wish.type.value == {"stop": "stop-loss", "take_profit": "take-profit"}.get(kind, kind)
    assert "E" not in read.text("volume") + read.text("price")
    assert "reduce_only" not in read.values


@pytest.mark.parametrize("text", ["1E-8", "1E+3", "0E-7", "123"])
def test_an_amount_has_no_exponent(text):
    """Kraken wants digits."""
    found = wire.plain(Decimal(text))

    assert "E" not in found
    assert Decimal(found) == Decimal(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_never_sent(text):
    """It would be a fault of ours."""
    with pytest.raises(InvariantBroken):
        wire.plain(Decimal(text))


@given(st.text(max_size=60))
def test_a_name_is_one_that_kraken_takes(client_id):
    """32 hexadecimal digits, the same for the same name; ours stay as they are."""
    found = wire.exchange_name(client_id)

    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")
    assert wire.exchange_name(found) == found
    assert wire.exchange_name(client_id) == found


def test_different_orders_have_different_names():
    """Also where one begins like the other."""
    assert len({wire.exchange_name(f"order-{number}") for number in range(1000)}) == 1000


@pytest.mark.parametrize("endpoint", sorted(wire.PLACING))
def test_an_order_has_constructors_of_its_own(endpoint):
    """The one for questions refuses it."""
    with pytest.raises(SafetyRefused):
        wire.private_request(KEYS, endpoint, 1, ORDER)


@pytest.mark.parametrize("endpoint", ["", "../AddOrder", "AddOrder?validate=true", "Add Order", "A" * 41])
def test_a_method_is_a_word(endpoint):
    """No address can be built of it."""
    with pytest.raises(InvariantBroken):
        wire.private_request(KEYS, endpoint, 1)


# ---- validate ------------------------------------------------------------------------------------------------------------


def test_a_validation_says_so_once():
    """The bytes hold validate=true; those of a live order never name it."""
    looked, meant = wire.validation_request(KEYS, 1, ORDER), wire.live_order_request(KEYS, 1, ORDER)

    assert looked.body.count(b"validate=true") == looked.body.count(b"validate") == 1
    assert b"validate" not in meant.body
    assert wire.validated_bytes(looked) is looked.body
    assert wire.live_bytes(meant) is meant.body
    with pytest.raises(SafetyRefused):
        wire.validated_bytes(meant)
    with pytest.raises(SafetyRefused):
        wire.live_bytes(looked)


WRONG_BODIES = [
    b"",
    b"validate=True",
    b"validate=1",
    b"validate=",
    b"validate=false",
    b"validate=true&validate=true",
    b"validate=true&validate=false",
    b"validate=true&Validate=false",
    b"validate=true&validate%20=false",
    b"validate%5B%5D=true",
    b"valid%61te=true",
    b"pair=a;validate=true",
    b"close%5Bvalidate%5D=true",
    b"pair=validate%3Dtrue",
    b"pair=XBTEUR",
    b"validate=true&pair=XBT EUR",
    b"validate=true&pair",
    b'{"validate":true}',
    b"validate=true&pair=\xff",
    b"validate=true\n",
]


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_bytes_that_do_not_say_it_exactly_are_refused(body):
    """Whatever else stands there: another value, twice, another spelling, another language."""
    looked = wire.validation_request(KEYS, 1, ORDER)

    with pytest.raises(SafetyRefused, match="not sent"):
        wire.validated_bytes(replace(looked, body=body))


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=5))
def test_what_passes_reads_as_a_validation(fields):
    """Whatever fields an order has, what passes says validate=true exactly once to the emulator's reader."""
    body = urlencode(fields).encode()
    request = replace(wire.validation_request(KEYS, 1, ORDER), body=body)

    try:
        passed = wire.validated_bytes(request)
    except SafetyRefused:
        return
    assert Parameters.read(passed, wire.FORM).flag("validate")


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/0/private/AddOrder/"},
        {"path": "/0/private/AddOrder?validate=true"},
        {"path": "/0/private/addorder"},
        {"path": "/0/private/AddOrderBatch"},
        {"path": "/0/public/AddOrder"},
        {"method": "GET"},
        {"headers": ()},
        {"headers": (("Content-Type", "application/json"),)},
        {"headers": (("Content-Type", wire.FORM), ("content-type", "application/json"))},
    ],
)
def test_a_validation_goes_to_one_place_as_a_form(change):
    """Any other place or form is refused, for live orders too."""
    looked, meant = wire.validation_request(KEYS, 1, ORDER), wire.live_order_request(KEYS, 1, ORDER)

    with pytest.raises(SafetyRefused):
        wire.validated_bytes(replace(looked, **change))
    with pytest.raises(SafetyRefused):
        wire.live_bytes(replace(meant, **change))


@pytest.mark.parametrize("said", ["true", "false", ""])
def test_an_order_cannot_smuggle_it(said):
    """A field of that name makes both constructors refuse."""
    for make in (wire.validation_request, wire.live_order_request):
        with pytest.raises(SafetyRefused):
            make(KEYS, 1, [*ORDER, ("validate", said)])


def test_a_request_is_bytes():
    """Nothing of it can be changed, and its name is that of its method."""
    request = wire.public_request("Ticker", [("pair", "XBTEUR")])

    assert (request.path, request.endpoint, request.body) == ("/0/public/Ticker?pair=XBTEUR", "Ticker", b"")
    with pytest.raises(AttributeError):
        request.body = b"x"
    assert isinstance(wire.validation_request(KEYS, 1, ORDER), Request)
    assert json.dumps(request.endpoint)
    assert base64.b64decode(dict(wire.private_request(KEYS, "Balance", 1).headers)["API-Sign"])
