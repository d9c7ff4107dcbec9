"""A proof that orders stay on this machine."""

import copy
import pickle

import pytest

from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.venue.kraken.proof import EmulatorProof


@pytest.mark.parametrize("url", ["http://127.0.0.1:8790", "http://127.9.9.9:1", "http://[::1]:8790"])
def test_loopback_is_proof(url):
    """Numbers of this machine."""
    assert EmulatorProof.of(url).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://api.kraken.com",
        "http://api.kraken.com",
        "http://localhost:8790",
        "https://127.0.0.1:8790",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@api.kraken.com",
        "http://api.kraken.com#@127.0.0.1",
        "http://api.kraken.com\\@127.0.0.1:80",
        "http://127.0.0.1:8790/../api.kraken.com",
        "http://127.0.0.1:8790?x",
        "http://0.0.0.0:8790",
        "http://10.0.0.1:8790",
        "http://2130706433:80",
        "http://127.1:80",
        "http://[::ffff:8.8.8.8]:80",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "ftp://127.0.0.1",
        "127.0.0.1:8790",
        "http://127.0.0.1 .evil",
        "http://\uff11\uff12\uff17.0.0.1:80",
        "",
    ],
)
def test_nothing_else_is(url):
    """Names, other machines, and tricks with addresses."""
    with pytest.raises(SafetyRefused, match="no version of this program sends real orders"):
        EmulatorProof.of(url)


def test_a_proof_cannot_be_made_or_changed():
    """Neither by its constructor, nor as another kind, nor afterwards."""
    proof = EmulatorProof.of("http://127.0.0.1:1")

    with pytest.raises(InvariantBroken):
        EmulatorProof("https://api.kraken.com", object())
    with pytest.raises(InvariantBroken):
        proof.base_url = "https://api.kraken.com"
    with pytest.raises(InvariantBroken):
        type("Other", (EmulatorProof,), {})
    with pytest.raises((InvariantBroken, TypeError, pickle.PicklingError)):
        copy.deepcopy(proof)
