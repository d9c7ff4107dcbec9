"""Orders that are only to be looked at, and answers that are not what they should be: nothing foreign is ever cancelled."""

import asyncio
import json
import random
from decimal import Decimal

import httpx2
import pytest
from tests.trading import START_NS, an_intent, approved

from peak_trade.model.clock import moment
from peak_trade.model.errors import ContractBroken, SafetyRefused
from peak_trade.venue.kraken import gateway as g
from peak_trade.venue.kraken import transport, wire
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.reading import AssetPair, FeeTier
from peak_trade.venue.kraken.validating import ExecutedOrder, ValidatingOrders, placed_by
from peak_trade.venue.port import Accepted, Rejected, Unknown

KEYS = wire.Credentials.read("key-of-a-test", "c2VjcmV0")
TXID = "OABCDE-12345-FGHIJ6"
FINE = {"error": [], "result": {"descr": {"order": "buy 1.0 XBTEUR @ market"}}}
PAIR = AssetPair(
    altname="XBTEUR",
    wsname="XBT/EUR",
    base="XXBT",
    quote="ZEUR",
    status="online",
    pair_decimals=1,
    lot_decimals=8,
    cost_decimals=5,
    ordermin=Decimal("0.0001"),
    costmin=Decimal("0.5"),
    tick_size=Decimal("0.1"),
    fees=(FeeTier(Decimal(0), Decimal("0.4")),),
)


class Exchange:
    """An exchange that answers orders with given bytes, cancels with another answer, and keeps what it was sent."""

    def __init__(self, folder, answer, cancel=b'{"error":[],"result":{"count":1}}', status=200):
        self.answer, self.cancel, self.status = answer, cancel, status
        self.sent = []
        parts = g.GatewayParts(clock=self, chance=random.Random(1), transport=httpx2.MockTransport(self.hear))
        self.nonces = NonceStore(folder, "k", lambda: START_NS)
        self.gateway = g.Gateway(KEYS, self.nonces, parts, "http://127.0.0.1:9")
        self.orders = ValidatingOrders(self.gateway, {"BTC/EUR": PAIR}, self)

    def hear(self, request):
        self.sent.append((request.url.path, dict(wire.parse_qsl(request.content.decode()))))
        if request.url.path == "/0/private/CancelOrder":
            return httpx2.Response(200, content=self.cancel)
        headers = {"location": "/0/private/CancelAll"} if 300 <= self.status < 400 else {}
        return httpx2.Response(self.status, content=self.answer, headers=headers)

    def elapsed_s(self):
        return 0.0

    def now(self):
        return moment(START_NS)

    def submit(self):
        try:
            return asyncio.run(self.orders.submit(approved(an_intent(1))))
        finally:
            self.nonces.close()


def answer(**more):
    return json.dumps(FINE | {"result": FINE["result"] | more}).encode()


@pytest.mark.parametrize("body", [answer(), answer(txid=[]), answer(txid=None), answer(txid=""), answer(txid=[None, ""])])
def test_no_order_was_placed(tmp_path, body):
    """What names none, in whatever way, says so."""
    exchange = Exchange(tmp_path, body)

    assert isinstance(exchange.submit(), Accepted | Unknown)
    assert [path for path, _ in exchange.sent] == ["/0/private/AddOrder"]
    assert exchange.sent[0][1]["validate"] == "true"


PLACED = [
    answer(txid=[TXID]),
    answer(txid=TXID),
    answer(txid=[[TXID]]),
    answer(txid={"0": TXID}),
    answer(txid=[0]),
    answer(txid=12345),
    answer(txid=True),
    answer(txid=["", TXID]),
    answer(TxId=[TXID]),
    answer(txids=[TXID]),
    answer(orders=[{"txid": TXID}]),
    answer(txid=["O" * 9_000]),
    answer(txid=["all\u2028\x1b[2J"]),
    b'{"error":[],"result":{"txid":["' + TXID.encode() + b'"],"txid":[],"descr":{"order":"x"}}}',
    b'{"error":["EGeneral:Internal error"],"result":{"txid":["' + TXID.encode() + b'"]}}',
    b'{"error":[],"result":[{"txid":"' + TXID.encode() + b'"}]}',
    b'{"error":[],"result":{"descr":{"order":"x"}},"txid":"' + TXID.encode() + b'"}',
    b'{"error":[],"result":{"txid":["' + TXID.encode() + b'"],"descr":{"or',
    b"[" * 100_000 + TXID.encode(),
]


@pytest.mark.parametrize("body", PLACED, ids=range(len(PLACED)))
def test_an_order_was_placed(tmp_path, body):
    """In whatever shape the answer says so, everything stops, and our own order is cancelled: by the name that we gave it."""
    exchange = Exchange(tmp_path, body)

    with pytest.raises(ExecutedOrder, match="look at the account") as caught:
        exchange.submit()

    assert isinstance(caught.value, ContractBroken)
    [_, (path, cancel)] = exchange.sent
    assert path == "/0/private/CancelOrder"
    assert {name: value for name, value in cancel.items() if name != "nonce"} == {"cl_ord_id": exchange.sent[0][1]["cl_ord_id"]}
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 403, 500, 520])
def test_it_was_placed_whatever_the_status(tmp_path, status):
    """An answer that calls itself a failure may name an order all the same; nobody follows where it points."""
    exchange = Exchange(tmp_path, answer(txid=[TXID]), status=status)

    with pytest.raises(ExecutedOrder):
        exchange.submit()

    assert [path for path, _ in exchange.sent][:1] == ["/0/private/AddOrder"]
    assert {path for path, _ in exchange.sent} <= {"/0/private/AddOrder", "/0/private/CancelOrder"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_nowhere(tmp_path, status):
    """An order goes to one address, once."""
    exchange = Exchange(tmp_path, b"", status=status)

    assert isinstance(exchange.submit(), Unknown | Rejected)
    assert [path for path, _ in exchange.sent] == ["/0/private/AddOrder"]


def test_an_order_that_could_not_be_cancelled(tmp_path):
    """It says which, and that somebody has to look."""
    exchange = Exchange(tmp_path, answer(txid=[TXID]), cancel=b'{"error":["EOrder:Unknown order"]}')

    with pytest.raises(ExecutedOrder, match=f"could not cancel {TXID}.*look at the account") as caught:
        exchange.submit()

    assert caught.value.txids == (TXID,)


def test_each_order_is_named_once():
    """Several, in the order in which they were told."""
    assert placed_by(answer(txid=["OA", "OB", "OA"])) == ("OA", "OB")
    assert placed_by(b"") == placed_by(b"<html>O-1</html>") == placed_by(b"\xff\xfe") == ()


@pytest.mark.parametrize(
    "url",
    [
        "http://api.kraken.com",
        "https://u@api.kraken.com",
        "https://api.kraken.com/0/private/AddOrder?",
        "http://localhost:1",
        "",
    ],
)
def test_the_line_itself_refuses_an_unsafe_way(url):
    """Whoever gives it the address."""
    with pytest.raises(SafetyRefused, match="nothing was sent"):
        transport.HttpLine(url, transport.Timeouts())


@pytest.mark.parametrize(
    "url", ["https://api.kraken.com", "https://api.kraken.com/", "http://127.0.0.1:8790", "http://[::1]:1"]
)
def test_the_line_takes_a_safe_way(url):
    """Encrypted, or on this machine."""
    assert transport.HttpLine(url, transport.Timeouts()).base_url == url.rstrip("/")


def test_proxies_of_the_environment_are_left_out(tmp_path, monkeypatch):
    """What is sent goes where it was meant to."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    line = transport.HttpLine("https://api.kraken.com", transport.Timeouts())

    assert line._client._mounts == {}


@pytest.mark.parametrize("key", ["a\r\nX: y", "a b", "a\tb", "\x7f", "é", ""])
def test_a_key_is_one_word(key):
    """Nothing that could become a header of its own."""
    with pytest.raises(Exception, match="expected an API key"):
        wire.Credentials.read(key, "c2VjcmV0")
