"""What errors mean: nothing that may have been done is ever called not done."""

import re
from pathlib import Path

import pytest

import peak_trade.emulator
from peak_trade.venue.kraken.classes import (
    ERRORS,
    TROUBLES,
    UNLISTED,
    Trouble,
    Verdict,
    class_of,
    class_of_all,
    class_of_status,
)


@pytest.mark.parametrize(
    "words",
    [
        "EService:Deadline elapsed",
        "EService:Timeout",
        "EService:Throttled: 1700000000",
        "EService:Busy",
        "EService:Unavailable",
        "EGeneral:Internal error",
        "EGeneral:Internal error:17",
        "EGeneral:Invalid arguments:cl_ord_id not unique",
        "EOrder:Something never heard of",
        "EServiceX:Busy",
        "nonsense",
        "",
    ],
)
def test_unknown_outcomes(words):
    """The order may be there."""
    assert class_of(words).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("EAPI:Invalid nonce", "invalid_nonce"),
        ("EAPI:Rate limit exceeded", "rate_limit"),
        ("EOrder:Rate limit exceeded", "engine_limit"),
        ("EGeneral:Temporary lockout", "lockout"),
    ],
)
def test_not_done_and_may_be_asked_again(words, code):
    """It stopped before the engine."""
    assert (class_of(words).code, class_of(words).verdict) == (code, Verdict.SAFE)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("EAPI:Invalid key", "invalid_key"),
        ("EAPI:Invalid signature", "invalid_signature"),
        ("EGeneral:Permission denied", "permission_denied"),
        ("EOrder:Insufficient funds", "insufficient_funds"),
        ("EOrder:Invalid price:XBTUSD price can only be specified up to 1 decimals.", "off_step"),
        ("EGeneral:Invalid arguments:volume minimum not met", "too_small"),
        ("EGeneral:Invalid arguments:cl_ord_id", "invalid"),
        ("EService:Market in cancel_only mode", "market_mode"),
        ("EOrder:Unknown order", "unknown_order"),
    ],
)
def test_final_refusals(words, code):
    """It was not done, and would not be."""
    assert (class_of(words).code, class_of(words).verdict) == (code, Verdict.REJECTED)


def test_a_longer_word_is_another_word():
    """Only a colon or a space ends what is known."""
    assert class_of("EOrder:Invalid orders") is UNLISTED
    assert class_of("EGeneral:Invalid arguments:cl_ord_id not uniquely") == class_of("EGeneral:Invalid arguments")


def test_several_errors_are_as_uncertain_as_the_worst():
    """In any order; warnings alone say nothing."""
    refused, lost = "EOrder:Insufficient funds", "EService:Busy"

    assert class_of_all([refused, lost]) == class_of_all([lost, refused]) == class_of(lost)
    assert class_of_all(["WGeneral:Something", refused]) == class_of(refused)
    assert class_of_all(["WGeneral:Something"]).verdict is Verdict.UNKNOWN
    assert class_of_all([]).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [201, 301, 400, 403, 404, 408, 429, 500, 502, 503, 504, 520, 522, 524, 525, 530, 599])
def test_no_status_says_what_became_of_an_order(status):
    """A proxy does not know."""
    assert class_of_status(status).verdict is Verdict.UNKNOWN


def test_only_what_was_not_sent_is_certain():
    """Any other trouble may hide an order."""
    assert {trouble for trouble in Trouble if TROUBLES[trouble].verdict is not Verdict.UNKNOWN} == {Trouble.NOT_SENT}


def test_a_captcha_is_not_asked_again():
    """A question may be repeated after a busy service, not against a wall."""
    assert not class_of_status(403).again
    assert not class_of("EGeneral:Temporary lockout").again
    assert class_of_status(502).again
    assert class_of("EService:Busy").again


def test_every_error_of_the_emulator_is_in_the_table():
    """All strings that its sources hold are classed."""
    sources = " ".join(path.read_text() for path in Path(peak_trade.emulator.__file__).parent.glob("*.py"))
    said = set(re.findall(r'"(E(?:API|General|Order|Service|Query|Session|Trade|Auth):[^"{]+)', sources))

    assert len(said) > 30
    unlisted = {words for words in said if class_of(words.strip()) is UNLISTED}
    assert unlisted <= {"EQuery:Unknown trade", "EQuery:Unknown ledger", "EService:Market in "}
    assert len({line.code for line in ERRORS.values()}) > 20
