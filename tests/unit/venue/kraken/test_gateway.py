"""The gateway of a key without a network: what is sent, what is not, and what is learned from answers."""

import asyncio
import json
import logging
import random
from decimal import Decimal

import httpx2
import pytest
from tests.trading import START_NS

from peak_trade.model.clock import moment
from peak_trade.model.errors import SafetyRefused
from peak_trade.venue.kraken import gateway as g
from peak_trade.venue.kraken import reading, wire
from peak_trade.venue.kraken.classes import Verdict
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.proof import EmulatorProof

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
KEYS = wire.Credentials.read("key-of-a-test", SECRET)
URL = "http://127.0.0.1:9"
ORDER = [("pair", "XBTEUR"), ("type", "buy"), ("ordertype", "market"), ("volume", "0.01")]
BALANCE = {"error": [], "result": {"ZEUR": "1.50"}}


class Bench:
    """A gateway whose other side is a list of answers: JSON, (status, text), or an exception; the last one stays."""

    def __init__(self, folder, *answers, proof=None, url=URL):
        self.at_s, self.answers, self.calls, self.naps = 0.0, list(answers), [], []
        self.observed = []
        parts = g.GatewayParts(
            clock=self,
            chance=random.Random(1),
            sleep=self.sleep,
            observe=self.observed.append,
            transport=httpx2.MockTransport(self.answer),
        )
        self.nonces = NonceStore(folder, "k", lambda: START_NS)
        self.gateway = g.Gateway(KEYS, self.nonces, parts, url, proof)

    def elapsed_s(self):
        return self.at_s

    def now(self):
        return moment(START_NS)

    def answer(self, request):
        self.calls.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, tuple):
            return httpx2.Response(found[0], text=found[1])
        return httpx2.Response(200, json=found)

    async def sleep(self, seconds):
        self.naps.append(seconds)
        self.at_s += seconds

    def read(self):
        return asyncio.run(self.gateway.read("Balance", reading.Balances))

    def act(self, build=lambda keys, nonce: wire.validation_request(keys, nonce, ORDER), cost=1, **more):
        return asyncio.run(self.gateway.act(build, "XBTEUR", cost, **more))

    def cancel(self):
        build = lambda keys, nonce: wire.private_request(keys, "CancelOrder", nonce, [("txid", "O")])
        return self.act(build, 8, urgent=True)


@pytest.fixture
def bench(tmp_path):
    made = []

    def act(*answers, **more):
        made.append(Bench(tmp_path, *(answers or (BALANCE,)), **more))
        return made[-1]

    yield act
    for one in made:
        one.nonces.close()


def refusal(words):
    return {"error": [words]}


# ---- questions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        refusal("EService:Busy"),
        refusal("EService:Unavailable"),
        (502, "<html>"),
        (200, "<html>"),
        (200, ""),
        httpx2.ReadTimeout("x"),
        httpx2.ReadError("x"),
        httpx2.ConnectError("x"),
        {"error": [], "result": {"ZEUR": "nonsense"}},
    ],
)
def test_a_question_is_asked_again(bench, trouble):
    """A few times, with growing pauses that are not all the same; each nonce is greater."""
    bench = bench(trouble, trouble, BALANCE)

    assert bench.read() == {"ZEUR": Decimal("1.50")}
    assert len(bench.calls) == 3
    assert 0 < bench.naps[0] < 1 < 4 * bench.naps[1]
    nonces = [int(dict(wire.parse_qsl(call.content.decode()))["nonce"]) for call in bench.calls]
    assert nonces == sorted(set(nonces))
    assert [call.outcome for call in bench.observed][-1] == "ok"


def test_questions_end(bench):
    """With one sentence and a code."""
    bench = bench((503, "<html>"))

    with pytest.raises(g.Unavailable, match="HTTP 503") as caught:
        bench.read()

    assert caught.value.code == "gateway"
    assert len(bench.calls) == g.TRIES


@pytest.mark.parametrize("words", ["EGeneral:Invalid arguments", "EAPI:Invalid key", "EGeneral:Permission denied", "EX:What"])
def test_a_final_refusal_is_not_asked_again(bench, words):
    """Once is enough."""
    bench = bench(refusal(words))

    with pytest.raises(g.Unavailable):
        bench.read()
    assert len(bench.calls) == 1


def test_the_calls_stay_below_the_limit(bench):
    """Where there is no room in the counter, one waits."""
    bench = bench()

    for _ in range(20):
        bench.read()

    assert sum(bench.naps) == pytest.approx((20 - 15) / 0.33, rel=0.01)


# ---- orders --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "verdict"),
    [
        (httpx2.ReadTimeout("x"), Verdict.UNKNOWN),
        (httpx2.WriteError("x"), Verdict.UNKNOWN),
        (httpx2.RemoteProtocolError("x"), Verdict.UNKNOWN),
        (httpx2.ConnectError("x"), Verdict.SAFE),
        (httpx2.ConnectTimeout("x"), Verdict.SAFE),
        (refusal("EService:Busy"), Verdict.UNKNOWN),
        (refusal("EAPI:Invalid nonce"), Verdict.SAFE),
        (refusal("EOrder:Insufficient funds"), Verdict.REJECTED),
        ((502, ""), Verdict.UNKNOWN),
        ((200, "<html>"), Verdict.UNKNOWN),
        ((200, '{"error":[]}'), Verdict.UNKNOWN),
        ({"error": ["WGeneral:Careful"]}, Verdict.UNKNOWN),
    ],
)
def test_an_order_is_sent_once(bench, trouble, verdict):
    """Whatever comes back, also where it is certain that it was not done."""
    bench = bench(trouble)

    found = bench.act()

    assert found.verdict is verdict
    assert len(bench.calls) == 1
    assert (bench.observed[0].endpoint, bench.observed[0].outcome) == ("AddOrder", verdict.name.lower())


def test_a_result_with_a_warning_is_a_result(bench):
    """Only what begins with E is an error."""
    assert isinstance(bench({"error": ["WGeneral:Careful"], "result": {"a": 1}}).act(), g.Answered)


def test_orders_leave_room_for_cancels(bench):
    """They are kept back before Kraken's limit, and cancels are not."""
    bench = bench({"error": [], "result": {"a": 1}})

    kept = next(found for _ in range(60) if isinstance(found := bench.act(), g.Failed))

    assert (kept.code, kept.sent, kept.verdict) == ("engine_limit", False, Verdict.SAFE)
    sent = len(bench.calls)
    assert sent == 43
    assert isinstance(bench.cancel(), g.Answered)
    assert len(bench.calls) == sent + 1


# ---- the door ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda keys, nonce: wire.live_order_request(keys, nonce, ORDER),
        lambda keys, nonce: wire.private_request(keys, "CancelAll", nonce),
        lambda keys, nonce: wire.private_request(keys, "WithdrawFunds", nonce),
        lambda keys, nonce: wire.ValidationRequest(method="POST", path=wire.ADD_ORDER, headers=(), body=b"validate=true"),
        lambda keys, nonce: wire.Request(method="POST", path=wire.ADD_ORDER, headers=(), body=b"validate=true"),
        lambda keys, nonce: wire.LiveOrderRequest(method="POST", path="/0/private/Balance", headers=(), body=b""),
    ],
)
def test_a_gateway_without_proof_only_looks(bench, build):
    """Anything else is refused before a byte leaves."""
    bench = bench()

    with pytest.raises(SafetyRefused, match="not sent"):
        bench.act(build)
    assert bench.calls == []
    assert not bench.gateway.trades


def test_a_gateway_with_proof_trades_there_and_nowhere_else(bench):
    """Its proof has to be for its address; withdrawals it does not know either."""
    with pytest.raises(SafetyRefused):
        bench(proof=EmulatorProof.of("http://127.0.0.1:8"))
    with pytest.raises(SafetyRefused):
        bench(proof="http://127.0.0.1:9")


def test_a_gateway_with_proof_trades(bench):
    """A live order passes, a request that is none of its own does not."""
    bench = bench({"error": [], "result": {"a": 1}}, proof=EmulatorProof.of(URL))

    assert isinstance(bench.act(lambda keys, nonce: wire.live_order_request(keys, nonce, ORDER)), g.Answered)
    assert isinstance(bench.act(), g.Answered)
    with pytest.raises(SafetyRefused):
        bench.act(lambda keys, nonce: wire.private_request(keys, "WithdrawFunds", nonce))
    assert len(bench.calls) == 2


# ---- what is learned -----------------------------------------------------------------------------------------------------


def test_a_lockout_silences_everything(bench):
    """For a quarter of an hour; then one may ask again."""
    bench = bench(refusal("EGeneral:Temporary lockout"), BALANCE)
    bench.act()

    for _ in range(3):
        assert bench.act().code == "quiet"
        assert bench.cancel().code == "quiet"
        with pytest.raises(g.Unavailable):
            bench.read()
    assert len(bench.calls) == 1
    bench.at_s += g.LOCKOUT_S + 1
    assert bench.read()


def test_a_captcha_silences_everything_for_a_minute(bench):
    """It is no reason to knock."""
    bench = bench((403, "<html>captcha"), BALANCE)

    with pytest.raises(g.Unavailable):
        bench.read()
    assert bench.act().sent is False
    assert len(bench.calls) == 1
    bench.at_s += g.BLOCKED_S + 1
    assert bench.read()


@pytest.mark.parametrize("words", ["EAPI:Invalid key", "EAPI:Invalid signature"])
def test_a_refused_key_ends_everything(bench, words):
    """Nothing more is sent, and it says why."""
    bench = bench(refusal(words), BALANCE)

    assert bench.act().verdict is Verdict.REJECTED

    assert words in bench.gateway.stopped
    with pytest.raises(g.Unavailable):
        bench.read()
    assert bench.cancel().sent is False
    assert len(bench.calls) == 1


def test_a_denied_permission_leaves_cancels_and_questions(bench):
    """No further order; what takes risk away is still tried."""
    bench = bench(refusal("EGeneral:Permission denied"), BALANCE)
    bench.act()

    assert (bench.act().code, bench.act().sent) == ("permission_denied", False)
    assert len(bench.calls) == 1
    assert isinstance(bench.cancel(), g.Answered)
    assert bench.read()


def test_a_refused_nonce_is_met_once(bench):
    """A question is asked again far ahead; an order is not, but the next call is."""
    bench = bench(refusal("EAPI:Invalid nonce"), BALANCE)

    assert bench.read()

    first, second = (int(dict(wire.parse_qsl(call.content.decode()))["nonce"]) for call in bench.calls)
    assert second - first >= 60_000_000_000


def test_a_poisoned_key_ends_everything(bench):
    """Two refusals in a row: it is not hammered."""
    bench = bench(refusal("EAPI:Invalid nonce"))

    with pytest.raises(g.Unavailable):
        bench.read()
    bench.act()

    assert len(bench.calls) == 2
    assert "make a new key" in bench.gateway.stopped


def test_a_throttle_names_its_end(bench):
    """Nothing is sent until then."""
    bench = bench(refusal(f"EService:Throttled: {START_NS // 10**9 + 7}"), BALANCE)
    bench.act()

    assert bench.act().sent is False
    bench.at_s += 6.9
    assert bench.act().sent is False
    bench.at_s += 0.2
    assert isinstance(bench.act(), g.Answered)


def test_calls_of_a_key_do_not_overlap(tmp_path):
    """However many are asked for at once, each waits for the one before it."""
    under_way, most = [], []

    async def answer(_request):
        under_way.append(1)
        most.append(len(under_way))
        await asyncio.sleep(0)
        under_way.pop()
        return httpx2.Response(200, json=BALANCE)

    bench = Bench(tmp_path, BALANCE)
    bench.gateway._line._client._transport = httpx2.MockTransport(answer)

    async def all_at_once():
        reads = (bench.gateway.read("Balance", reading.Balances) for _ in range(6))
        await asyncio.gather(*reads, bench.gateway.act(lambda k, n: wire.validation_request(k, n, ORDER), "XBTEUR", 1))

    asyncio.run(all_at_once())
    bench.nonces.close()

    assert len(most) == 7
    assert max(most) == 1


def test_secrets_are_in_no_log_and_no_error(bench, caplog):
    """Neither secret, key nor signature, at any level, for any answer."""
    caplog.set_level(logging.DEBUG)
    shown = ""
    bench = bench(BALANCE, refusal("EGeneral:Invalid arguments"), (200, "<html>"), httpx2.ReadTimeout("x"), BALANCE)
    for _ in range(3):
        try:
            bench.read()
        except g.Unavailable as error:
            shown += str(error) + repr(error)
        shown += repr(bench.act()) + repr(bench.gateway) + repr(bench.observed)

    signatures = [call.headers["API-Sign"] for call in bench.calls]
    for hidden in (SECRET, KEYS.id, *signatures):
        assert hidden not in shown + caplog.text
    assert json.dumps([call._asdict() for call in bench.observed])
