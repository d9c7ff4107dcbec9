"""Keys, signatures and nonces, against the vector that Kraken publishes."""

import base64
import random

import pytest

from peak_trade.emulator.signing import (
    CANCEL_ONLY,
    NONCE_LIMIT,
    QUERY,
    TRADING,
    Right,
    accept_nonce,
    make_key,
    signature,
    signed_by,
)

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
PATH, NONCE = "/0/private/AddOrder", "1616492376594"
BODY = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
SIGNED = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="


def a_key(rights=TRADING):
    return make_key("one", "client", rights, random.Random(1))


def test_the_published_vector():
    """The signature of docs.kraken.com's example comes out digit for digit."""
    assert base64.b64encode(signature(base64.b64decode(SECRET), PATH, NONCE, BODY)).decode() == SIGNED


def test_a_right_signature_is_taken():
    """What the key's secret signs is accepted."""
    key = a_key()
    given = base64.b64encode(signature(key.secret, PATH, NONCE, BODY)).decode()

    assert signed_by(key, PATH, NONCE, BODY, given)


@pytest.mark.parametrize(
    ("path", "nonce", "body"),
    [(PATH + "x", NONCE, BODY), (PATH, NONCE + "1", BODY), (PATH, NONCE, BODY + b"&"), (PATH, NONCE, BODY[:-1])],
)
def test_any_other_byte_is_refused(path, nonce, body):
    """Path, nonce and body are all signed, as bytes."""
    key = a_key()
    given = base64.b64encode(signature(key.secret, PATH, NONCE, BODY)).decode()

    assert not signed_by(key, path, nonce, body, given)


@pytest.mark.parametrize("given", ["", "x", "=", "é", "AAAA", "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+"])
def test_what_is_no_signature_is_refused(given):
    """Text that is not base64, or too short, is a wrong signature and no error."""
    assert not signed_by(a_key(), PATH, NONCE, BODY, given)


def test_nonces_only_rise():
    """A nonce must be larger than the largest before; a refused one changes nothing."""
    key = a_key()

    assert [accept_nonce(key, text) for text in ("5", "5", "4", "6", "x", "7")] == [True, False, False, True, False, True]


@pytest.mark.parametrize(
    ("text", "taken"),
    [("0", True), (str(NONCE_LIMIT - 1), True), (str(NONCE_LIMIT), False), ("9" * 5000, False), ("٣", False), ("-1", False)],
)
def test_a_nonce_is_an_unsigned_word(text, taken):
    """64 bits without a sign, in ASCII digits."""
    assert accept_nonce(a_key(), text) is taken


def test_keys_are_made_from_chance():
    """Equal randomness gives an equal key; the secret is not printed."""
    assert a_key() == a_key()
    assert len(a_key().secret) == 64
    assert a_key().secret_text not in repr(a_key())
    assert str(a_key().secret) not in repr(a_key())


def test_what_kinds_of_keys_may_do():
    """Only a trading key places orders; a query key can't cancel."""
    assert Right.TRADE not in CANCEL_ONLY
    assert Right.CANCEL in CANCEL_ONLY
    assert not {Right.TRADE, Right.CANCEL} & QUERY


def test_a_window_takes_what_comes_late():
    """A nonce may be so far below the largest, once; without a window none may."""
    key = make_key("one", "one", TRADING, random.Random(1), nonce_window=10)
    texts = ("100", "90", "90", "89", "95", "100", "103", "94", "93", "92")

    assert [accept_nonce(key, text) for text in texts] == [True, True, False, False, True, False, True, True, True, False]
    assert key.seen == [93, 94, 95, 100, 103]
