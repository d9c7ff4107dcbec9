"""Everything off an exchange: what is done, what is looked at, and what is told where it can't be done."""

import asyncio
import random
from decimal import Decimal

import pytest
from tests.stopping import HERE, PAIRS, Scene
from tests.trading import some_limits

from peak_trade.emulator.signing import CANCEL_ONLY, TRADING, Right
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs.safety.kill import StopReport
from peak_trade.safety.exchange_stop import HOPELESS, StopResult, with_collar
from peak_trade.safety.kill_switch import Killed
from peak_trade.venue.kraken.emergency import ALLOWED


def failure(result: StopResult, level: KillLevel = KillLevel.FLATTEN):
    """Return what the command says where not everything was done."""
    switch = Killed("2026-11-23T10:00:00Z", "kim", "a drill")
    return StopReport(level=level, killed=switch, switched=level, base_url=HERE, exchange=result).failure()


@pytest.fixture
def scene(tmp_path) -> Scene:
    found = Scene(tmp_path)
    found.rest_order()
    found.rest_order("ETH/EUR", "1", "sell", "1.5")
    return found


def test_nothing_is_left(scene):
    """Orders are cancelled first, then everything held is sold, and two looks a lag apart find nothing."""
    result = scene.stop()

    assert (result.finished, scene.working, scene.flat()) == (True, [], True)
    assert (result.cancels, [one.symbol for one in result.closings]) == (2, ["BTC/EUR", "ETH/EUR"])
    assert [one.endpoint for one in scene.heard[:3]] == ["CancelAll", "OpenOrders", "BalanceEx"]
    looks = [one.at for one in scene.heard if one.endpoint == "OpenOrders"]
    assert looks[-1] - looks[-2] >= 3e9
    assert failure(result) is None


def test_cancel_all_touches_no_position(scene):
    """The milder level cancels and looks; balances are not even asked for."""
    result = scene.stop(flatten=False)

    assert (result.finished, scene.working) == (True, [])
    assert {one.endpoint for one in scene.heard} == {"CancelAll", "OpenOrders"}
    assert scene.held("BTC") == Decimal("0.5")


def test_a_cancel_may_go_anywhere_and_an_order_may_not(scene):
    """At another address orders are cancelled, and the positions are told, with the exit code of a refusal."""
    result = scene.stop(base_url="https://api.kraken.com")

    assert (result.finished, result.cancelled, result.refused) == (False, True, True)
    assert (scene.working, scene.orders()) == ([], [])
    assert set(result.left_positions or {}) == {"XXBT", "XETH"}
    told = failure(result)
    assert isinstance(told, SafetyRefused)
    assert "sell them by hand" in str(told)


def test_the_client_itself_sends_no_order_elsewhere(scene):
    """Also with an approval in hand."""
    from tests.trading import an_intent, approved

    line = scene.line("https://api.kraken.com")
    pairs = asyncio.run(line.pairs())
    with pytest.raises(SafetyRefused, match="on this machine"):
        asyncio.run(line.close_out(approved(an_intent("-0.1")), pairs["BTC/EUR"], scene.rig.now))
    assert not line.closes
    assert scene.orders() == []


def test_what_it_may_call():
    """Nothing moves money, and nothing places orders but the one way for closing."""
    assert {"CancelAll", "CancelOrder", "OpenOrders", "ClosedOrders", "BalanceEx"} == ALLOWED


# ---- what an exchange does -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["rest.timeout_after", "rest.timeout_before", "rest.reset_after", "rest.http_5xx_after"])
@pytest.mark.parametrize("endpoint", ["CancelAll", "AddOrder", "OpenOrders", "BalanceEx"])
def test_a_lost_answer(scene, fault, endpoint):
    """Whatever answer is lost, the end is the same, and nothing is sold twice."""
    scene.fault(fault, match={"endpoint": endpoint}, count=2)
    result = scene.stop()

    assert (result.finished, scene.working, scene.flat()) == (True, [], True)
    assert sum(abs(one.quantity) for one in result.closings if one.outcome == "sent") <= Decimal("2.5")
    names = [one.fields["cl_ord_id"] for one in scene.orders()]
    assert len(names) == len(set(names))


def test_an_order_in_doubt_is_asked_for_before_another_is_sent(scene):
    """Not before it is found, or its own deadline and the lag have passed."""
    scene.fault("rest.timeout_before", match={"endpoint": "AddOrder"}, count=1)
    result = scene.stop()

    first, second = [one for one in scene.orders() if one.fields["pair"] == "XBTEUR"]
    asked = [one for one in scene.heard if one.endpoint == "ClosedOrders"]
    assert asked[0].fields["cl_ord_id"] == first.fields["cl_ord_id"] != second.fields["cl_ord_id"]
    assert second.at - first.at >= 6e9
    assert result.finished
    assert any("never got there" in words for words in scene.told)


def test_an_order_in_doubt_that_is_found(scene):
    """It is found at once where its answer was lost, and nothing is sold again."""
    scene.fault("rest.reset_after", match={"endpoint": "AddOrder"}, count=1)
    result = scene.stop()

    assert (result.finished, len(scene.orders())) == (True, 2)
    assert any("is found" in words for words in scene.told)


def test_a_cancel_that_was_not_done(scene):
    """Kraken said that it was: the look finds the order, and it is cancelled by its name."""
    scene.fault("order.cancel_lost", match={"endpoint": "CancelAll"}, count=4)
    result = scene.stop()

    assert (result.finished, scene.working) == (True, [])
    assert "CancelOrder" in [one.endpoint for one in scene.heard]
    assert len(result.seen) == 2


def test_orders_that_show_late(scene):
    """One that the exchange shows later than it takes it is found by the second look."""
    scene.fault("order.late_visibility", args={"seconds": 2.5}, for_s=30)
    scene.later.append((scene.rig.now + 100_000_000, scene.rest_order))
    result = scene.stop()

    assert (result.finished, scene.working) == (True, [])


def test_an_order_that_is_placed_meanwhile(scene):
    """A process that hangs may let go of one: looks begin anew, and it is told."""
    for at in (0.5, 2.0, 5.5):
        scene.later.append((scene.rig.now + int(at * 1e9), scene.rest_order))
    result = scene.stop()

    assert (result.finished, scene.working, scene.flat()) == (True, [], True)
    assert result.cancels == 5


def test_an_order_of_somebody_else_that_stays(scene):
    """One that comes again and again: time is up, and it is told."""
    for at in range(1, 200):
        scene.later.append((scene.rig.now + int(at * 0.9e9), scene.rest_order))
    result = scene.stop(deadline_s=20.0)

    assert not result.finished
    assert "not everything is done" in str(failure(result))


@pytest.mark.parametrize("name", ["limit.rest_counter", "limit.engine_counter", "rest.throttled", "rest.service_busy"])
def test_limits_are_waited_for(scene, name):
    """Slower, and done."""
    scene.fault(name, count=4)

    assert scene.stop().finished
    assert (scene.working, scene.flat()) == ([], True)


def test_a_hold_that_stays_after_the_cancel(scene):
    """What a cancelled order was to sell is sold once it is free."""
    scene.fault("order.insufficient_funds_lag", args={"seconds": 4.0}, count=1)
    result = scene.stop()

    assert (result.finished, scene.flat()) == (True, True)
    assert [one.symbol for one in result.closings].count("ETH/EUR") == 2


def test_dust_is_told_and_left(tmp_path):
    """What is below the smallest order is no position, at the limit neither way wrong."""
    least = Scene(tmp_path).rig.opened.engine.listings["BTC/EUR"].pair.ordermin
    below = Scene(tmp_path, funds={"EUR": "10", "BTC": f"{least - Decimal('1e-8'):f}"})
    at = Scene(tmp_path, funds={"EUR": "10", "BTC": f"{least:f}"})

    found = below.stop()
    assert (found.finished, list(found.dust), below.orders()) == (True, ["XXBT"], [])
    assert at.stop().finished
    assert (at.flat(), len(at.orders())) == (True, 1)


def test_what_is_bound_is_told(scene):
    """An asset under another name can't be sold: not finished, and the way is told."""
    scene.wire = type(
        "Bound",
        (type(scene.wire),),
        {"handle_async_request": _with_bound(type(scene.wire).handle_async_request)},
    )(scene)
    result = scene.stop(deadline_s=10.0)

    assert not result.finished
    assert "unbind it there by hand" in str(failure(result))


def _with_bound(inner):
    import httpx2

    async def handle(self, request):
        answer = await inner(self, request)
        if not request.url.path.endswith("BalanceEx"):
            return answer
        body = answer.json()
        body["result"]["XBT.F"] = {"balance": "0.3", "hold_trade": "0"}
        return httpx2.Response(200, json=body)

    return handle


# ---- prices --------------------------------------------------------------------------------------------------------------


def bids(scene, *levels):
    """Return a scene whose book of BTC has these bids, as shares of the last price with volumes."""
    import httpx2

    inner = scene.wire.handle_async_request

    async def handle(request):
        answer = await inner(request)
        if request.url.path.endswith("Depth") and b"XBTEUR" in request.url.query:
            last = scene.mid("BTC/EUR")
            told = [[f"{last * Decimal(share):.1f}", volume, 1] for share, volume in levels]
            return httpx2.Response(200, json={"error": [], "result": {"XXBTZEUR": {"asks": [], "bids": told}}})
        return answer

    scene.wire.handle_async_request = handle
    return scene


def test_only_what_the_book_takes_within_the_collar_is_sold(tmp_path):
    """The rest waits for the next look; nothing is sold beyond."""
    scene = bids(Scene(tmp_path, funds={"EUR": "1", "BTC": "0.5"}), ("0.999", "0.2"), ("0.95", "9"))
    scene.stop(deadline_s=5.0, price_collar_pct=2)

    assert scene.orders()[0].fields["volume"] == "0.20000000"


def test_the_collar_refuses_and_is_widened_by_word(tmp_path):
    """Where nobody buys within it nothing is sold, and how to go on is told; a wider one sells."""
    scene = bids(Scene(tmp_path, funds={"EUR": "1", "BTC": "0.5"}), ("0.95", "9"))
    result = scene.stop(deadline_s=5.0, price_collar_pct=2)

    assert (result.finished, scene.orders()) == (False, [])
    assert any("goes further with --collar" in words for words in scene.told)
    assert scene.stop(deadline_s=20.0, price_collar_pct=6).finished


def test_the_option_only_widens():
    """A narrower collar than configured would keep somebody in a position."""
    limits = some_limits(price_collar_pct=2)

    assert with_collar(limits, None).price_collar_pct == 2
    assert with_collar(limits, Decimal(1)).price_collar_pct == 2
    assert with_collar(limits, Decimal(7)).price_collar_pct == 7


@pytest.mark.parametrize("levels", [(), (("1.0", "0.00000001"),)])
def test_nobody_buys(tmp_path, levels):
    """An empty book, or one that takes less than the smallest order: told, and not finished."""
    scene = bids(Scene(tmp_path, funds={"EUR": "1", "BTC": "0.5"}), *levels)
    result = scene.stop(deadline_s=5.0)

    assert (result.finished, scene.orders()) == (False, [])
    assert failure(result) is not None


# ---- the key -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"), [("auth.invalid_key", "invalid_key"), ("auth.invalid_signature", "invalid_signature")]
)
def test_a_key_that_is_refused(scene, name, code):
    """It is given up at once, with what to do."""
    scene.fault(name, for_s=600)
    result = scene.stop()

    assert (result.finished, result.why, len(scene.heard) <= 3) == (False, HOPELESS[code], True)
    assert "by hand" in str(failure(result)) or "log in" in str(failure(result))


@pytest.mark.parametrize(
    ("rights", "flatten", "finished"),
    [
        (CANCEL_ONLY, False, True),
        (frozenset({Right.CANCEL}), False, True),
        (frozenset({Right.CANCEL, Right.OPEN_ORDERS}), False, True),
        (frozenset({Right.FUNDS, Right.OPEN_ORDERS}), False, False),
        (CANCEL_ONLY, True, False),
        (frozenset({Right.CANCEL, Right.OPEN_ORDERS}), True, False),
        (TRADING - {Right.CLOSED_ORDERS}, True, True),
    ],
)
def test_rights(tmp_path, rights, flatten, finished):
    """A key that may only cancel is enough for cancelling; what it may not do is told."""
    scene = Scene(tmp_path, rights=rights)
    scene.rest_order()
    result = scene.stop(flatten=flatten, deadline_s=20.0)

    assert result.finished is finished
    assert (scene.working == []) is (Right.CANCEL in rights)
    assert (failure(result) is None) is finished


def test_a_key_without_the_right_to_ask_waits(tmp_path):
    """An order in doubt that it may not ask about rests until it can't come any more; then the balance tells."""
    scene = Scene(tmp_path, rights=TRADING - {Right.CLOSED_ORDERS})
    scene.fault("rest.timeout_after", match={"endpoint": "AddOrder"}, count=1)

    assert scene.stop().finished
    assert (scene.flat(), len(scene.orders())) == (True, 2)


@pytest.mark.parametrize("ahead_s", [30, 3_000, 10 * 86_400])
def test_nonces_that_somebody_took_ahead(scene, ahead_s):
    """It goes after them, and remembers how far."""
    scene.key.nonce = scene.rig.now + ahead_s * 1_000_000_000

    assert scene.stop().finished
    first = len(scene.heard)
    assert scene.stop().finished
    assert [one.endpoint for one in scene.heard[first : first + 2]] == ["CancelAll", "OpenOrders"]


def test_a_poisoned_key_is_told(scene):
    """Nonces that are out of reach: a clear sentence, a handful of calls, and the order still works."""
    scene.key.nonce = (1 << 64) - 2
    result = scene.stop()

    assert (result.finished, result.why) == (False, HOPELESS["invalid_nonce"])
    assert (len(scene.heard) < 12, len(scene.working)) == (True, 2)
    assert "make another one" in str(failure(result))


@pytest.mark.parametrize("content", ["", "x", "-1", "99999999999999999999999", "12 34"])
def test_a_nonce_file_of_any_content(scene, content):
    """It is a help and no more."""
    from peak_trade.venue.kraken.wire import Credentials

    (scene.folder / f"safety-{Credentials.read(scene.key.id, scene.key.secret_text).short}").write_text(content)
    assert scene.stop().finished


# ---- the exchange is not there -------------------------------------------------------------------------------------------


def test_no_network(scene):
    """It is tried until time is up, and nothing is claimed."""
    scene.wire.refuses = True
    result = scene.stop(deadline_s=20.0)

    assert (result.finished, result.left_orders, result.cancelled_s) == (False, None, None)
    assert "whether orders work there is not known" in str(failure(result))


@pytest.mark.parametrize("seconds", [20, 400])
def test_maintenance(scene, seconds):
    """Neither works there: it says so and keeps trying; with time enough it is done once it is over."""
    scene.fault("market.maintenance", for_s=seconds)
    for endpoint in ("CancelAll", "CancelOrder", "AddOrder"):
        scene.fault("rest.service_unavailable", match={"endpoint": endpoint}, for_s=seconds)
    result = scene.stop(deadline_s=60.0)

    assert result.finished is (seconds < 60)
    assert any("in maintenance: neither placing nor cancelling" in words for words in scene.told)
    if not result.finished:
        assert len(scene.working) == 2
        assert "2 orders still work" in str(failure(result))
        assert scene.stop(deadline_s=600.0).finished
    assert (scene.working, scene.flat()) == ([], True)


@pytest.mark.parametrize("mode", ["cancel_only", "post_only", "limit_only"])
def test_closing_waits_for_the_mode_to_end(scene, mode):
    """Orders go at once, positions once it is online; before that nothing is claimed."""
    scene.fault(f"market.{mode}", for_s=30)
    short = scene.stop(deadline_s=10.0)

    assert (short.finished, scene.working, scene.flat()) == (False, [], False)
    assert set(short.left_positions or {}) == {"XXBT", "XETH"}
    assert any(f"in {mode} mode" in words for words in scene.told)
    # One was refused; after that the exchange is asked first, and no other is sent before it says that it is online.
    assert len(scene.orders()) == 1
    assert scene.stop(deadline_s=60.0).finished
    assert scene.flat()


@pytest.mark.parametrize("from_the_first", [True, False])
def test_a_pair_that_is_not_listed(scene, from_the_first):
    """What is held of it can't be sold, and is not overlooked: neither one that never was there nor one that goes."""
    asked = []
    inner = scene.wire.handle_async_request

    async def handle(request):
        import httpx2

        answer = await inner(request)
        if request.url.path.endswith("AssetPairs"):
            asked.append(request)
            if from_the_first or len(asked) > 1:
                body = answer.json()
                del body["result"]["XXBTZEUR"]
                return httpx2.Response(200, json=body)
        return answer

    scene.wire.handle_async_request = handle
    scene.fault("order.reject_min", match={"pair": "XBTEUR"}, for_s=600)
    result = scene.stop(deadline_s=15.0)

    assert (result.finished, list(result.left_positions or {}), scene.held("BTC")) == (False, ["XXBT"], Decimal("0.5"))
    assert "XXBT 0.5" in str(failure(result))


def test_an_asset_with_another_pair(scene, monkeypatch):
    """What one pair of it does not list is sold in the other."""
    monkeypatch.setattr("tests.stopping.PAIRS", ("BTC/CHF", *PAIRS))

    assert scene.stop().finished
    assert scene.flat()


def test_one_pair_is_closed(scene):
    """The other one is sold; what is left is told."""
    scene.fault("market.pair_change", match={"pair": "XBTEUR"}, args={"status": "cancel_only"}, for_s=600)
    result = scene.stop(deadline_s=10.0)

    assert (result.finished, list(result.left_positions or {})) == (False, ["XXBT"])
    assert scene.held("ETH") == 0


# ---- random troubles -----------------------------------------------------------------------------------------------------

TROUBLES = (
    *("rest.timeout_before", "rest.timeout_after", "rest.reset_before", "rest.reset_after", "rest.http_5xx_before"),
    *("rest.http_5xx_after", "rest.html_200", "rest.captcha_403", "rest.service_unavailable", "rest.service_busy"),
    *("rest.service_timeout", "rest.internal_error", "rest.throttled", "rest.deadline_elapsed", "auth.invalid_nonce_once"),
    *("auth.lockout", "limit.rest_counter", "limit.engine_counter", "order.insufficient_funds_lag", "order.cancel_lost"),
    *("order.cancel_pending", "order.fill_during_cancel", "order.late_visibility", "order.partial_fill", "market.cancel_only"),
    *("market.maintenance", "market.gap", "market.flash", "market.halt", "market.stale", "auth.invalid_key"),
    *("auth.permission_denied", "data.clock_skew", "order.insufficient_funds", "order.reject_min", "auth.invalid_nonce_storm"),
)
ENDPOINTS = ("CancelAll", "AddOrder", "OpenOrders", "BalanceEx", "ClosedOrders", "AssetPairs", "Ticker", "Depth", "Time")


def troubled(scene: Scene, draw: random.Random) -> None:
    """Set a few faults, some orders that come late, and nonces that are ahead."""
    for _ in range(draw.randint(0, 5)):
        name = draw.choice(TROUBLES)
        told = {"count": draw.randint(1, 4)} if draw.random() < 0.7 else {"for_s": draw.choice((2.0, 15.0, 200.0))}
        anywhere = name.startswith("rest.") and name != "rest.deadline_elapsed"
        match = {"endpoint": draw.choice(ENDPOINTS)} if anywhere and draw.random() < 0.7 else {}
        if name.startswith("market.") and name not in ("market.flash", "market.stale"):
            told = {} if name == "market.gap" else {"for_s": draw.choice((2.0, 15.0, 200.0))}
        if name == "auth.invalid_nonce_storm":
            told = {"count": draw.randint(1, 4), "args": {"ahead": draw.choice((0, 10**9))}}
        scene.fault(name, match=match, **told)
    for _ in range(draw.randint(0, 3)):
        at = scene.rig.now + int(draw.uniform(0, 3) * 1e9)
        scene.later.append((at, lambda: scene.rest_order(draw.choice(PAIRS), "0.01", "buy", draw.choice(("0.5", "0.9")))))
    if draw.random() < 0.2:
        scene.key.nonce = scene.rig.now + draw.choice((10**9, 10**13, 10**17))


@pytest.mark.parametrize("block", range(4))
def test_at_the_end_it_is_so_or_it_is_told(tmp_path, block):
    """Whatever befalls it: nothing works and nothing is held, or the sentence says what is not known or not done."""
    ends = set()
    for seed in range(block * 25, block * 25 + 25):
        draw = random.Random(seed)
        scene = Scene(tmp_path, seed=seed % 5)
        scene.rest_order()
        scene.rest_order("ETH/EUR", "1", "sell", "1.5")
        troubled(scene, draw)
        flatten = draw.random() < 0.8
        result = scene.stop(flatten=flatten, deadline_s=draw.choice((10.0, 60.0, 400.0)), price_collar_pct=5)
        told = failure(result)
        ends.add(result.finished)

        names = [one.fields["cl_ord_id"] for one in scene.orders()]
        assert len(names) == len(set(names)), seed
        assert len(names) == len(result.closings), seed
        if result.finished:
            assert told is None, seed
            assert scene.working == [], (seed, scene.told)
            assert scene.flat() or not flatten, (seed, scene.told)
        else:
            assert told is not None, seed
            if result.left_orders == [] and result.left_positions == {}:
                assert "second look" in str(told) or result.why, (seed, scene.told)
            if scene.working and result.left_orders is not None:
                assert result.left_orders or result.why, (seed, scene.told)
            assert "repeat the command" in str(told), seed
    assert True in ends
