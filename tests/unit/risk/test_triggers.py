"""The pause triggers: each at its threshold and around it, and each against a slow obvious reference over random histories."""

from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from tests.trading import some_limits

from peak_trade.model import errors
from peak_trade.risk.gate import Mode
from peak_trade.risk.triggers import (
    API_ERROR_RATE,
    CORE_EXCEPTION,
    DATA_GAP,
    DEMANDS,
    NS,
    PNL_DIVERGENCE,
    SUPERVISOR_LOST,
    ErrorWindow,
    SilenceWatch,
    Thresholds,
    api_error_rate,
    core_exception,
    data_gap,
    loss_firings,
    pnl_divergence,
    supervisor_lost,
)

HISTORIES = 10_000


def some_thresholds(**changes: Any) -> Thresholds:
    """Return the thresholds of the design."""
    given: dict[str, Any] = {
        "api_error_pct": Decimal(10),
        "api_error_window_ns": 300 * NS,
        "api_errors_min": 3,
        "api_requests_min": 10,
        "pnl_divergence_pct": Decimal(50),
        "data_gap_ns": 300 * NS,
        **changes,
    }
    return Thresholds(**given)


GIVEN = some_thresholds()


# ---- errors of the API -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "errors", "fires"),
    [
        (0, 0, False),
        (9, 9, False),  # too few requests
        (10, 2, False),  # too few errors
        (10, 3, True),
        (30, 3, False),  # exactly the share
        (29, 3, True),
        (40, 4, False),
        (40, 5, True),
        (10_000, 1_000, False),
        (10_000, 1_001, True),
    ],
)
def test_errors_fire_strictly_over_their_share(requests, errors, fires):
    """Three errors, ten requests and more than a tenth: all three, and a tenth is not more than a tenth."""
    found = api_error_rate(requests, errors, GIVEN)

    assert (found is not None) is fires
    if found is not None:
        assert (found.mode, found.code) == (Mode.RESTRICTED, API_ERROR_RATE)
        assert dict(found.evidence) == {"errors": str(errors), "requests": str(requests), "window_s": "300"}


def test_an_error_ages_out_of_the_window():
    """A request counts while it is younger than the window, and no longer at exactly that age."""
    window = ErrorWindow(GIVEN)
    for second in range(10):
        window.add(second * NS, failed=second < 3)

    assert window.firing(300 * NS - 1) is not None
    assert window.firing(300 * NS) is None
    assert window.firing(10**12 * NS) is None


def test_a_clock_that_is_set_back_does_not_empty_the_window():
    """What comes with an earlier moment counts as of the latest known; set forward, time has passed."""
    window = ErrorWindow(GIVEN)
    for _ in range(10):
        window.add(1_000 * NS, failed=True)
    window.add(5 * NS, failed=False)

    assert dict(window.firing(0).evidence)["requests"] == "11"
    assert window.firing(1_299 * NS) is not None
    assert window.firing(1_300 * NS) is None


@pytest.mark.parametrize("block", range(4))
def test_errors_equal_a_count_over_everything(block):
    """Over random histories the window says what a fresh count over all requests so far says, at every moment."""
    fired = 0
    for seed in range(block * HISTORIES // 4, (block + 1) * HISTORIES // 4):
        draw = Random(seed)
        given = some_thresholds(
            api_error_pct=Decimal(draw.choice(["10", "0.5", "33.3"])),
            api_error_window_ns=draw.choice([1, 7, 20]),
            api_errors_min=draw.randint(1, 4),
            api_requests_min=draw.randint(1, 12),
        )
        window, told, latest = ErrorWindow(given), list[tuple[int, bool]](), 0
        share = draw.choice([0.05, 0.2, 0.6])
        for _ in range(16):
            at = latest + draw.choice([-5, 0, 0, 1, 2, 9])
            latest = max(latest, at)
            if draw.random() < 0.8:
                told.append((latest, draw.random() < share))
                window.add(at, failed=told[-1][1])
            recent = [failed for when, failed in told if latest - when < given.api_error_window_ns]
            enough = len(recent) >= given.api_requests_min and sum(recent) >= given.api_errors_min
            over = enough and Fraction(sum(recent), len(recent)) > Fraction(given.api_error_pct) / 100
            assert (window.firing(at) is not None) is over
            fired += over
    assert fired > 1_000


# ---- silence of a market ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late_ns", "fires"), [(-1, False), (0, False), (300 * NS - 1, False), (300 * NS, True)])
def test_a_gap_fires_once_the_time_is_over(late_ns, fires):
    """Five minutes after a bar was due, and not a nanosecond before."""
    found = data_gap("BTC/EUR", 1_000 * NS, 1_000 * NS + late_ns, GIVEN)

    assert (found is not None) is fires
    if found is not None:
        assert (found.mode, found.code) == (Mode.RESTRICTED, DATA_GAP)
        assert dict(found.evidence) == {"symbol": "BTC/EUR", "due": "1970-01-01T00:16:40Z", "late_s": "300"}


def test_the_first_minutes_count_from_the_beginning():
    """Before anything was told, the first bar is due a bar after the watch began."""
    watch = SilenceWatch(["BTC/EUR"], 60 * NS, 1_000 * NS, GIVEN)

    assert watch.firing(1_360 * NS - 1) is None
    assert watch.firing(1_360 * NS) is not None


def test_the_silent_one_of_two_is_named():
    """What one symbol tells does not speak for another; news of the past change nothing."""
    watch = SilenceWatch(["BTC/EUR", "ETH/EUR"], 60 * NS, 0, GIVEN)
    watch.hear("BTC/EUR", 900 * NS)
    watch.hear("BTC/EUR", 60 * NS)

    assert dict(watch.firing(960 * NS).evidence)["symbol"] == "ETH/EUR"
    watch.hear("ETH/EUR", 960 * NS)
    assert watch.firing(1_259 * NS) is None
    assert dict(watch.firing(1_260 * NS).evidence)["symbol"] == "BTC/EUR"


def test_a_clock_that_goes_back_makes_no_silence_shorter():
    """The latest moment known counts, so that a gap that was seen stays one."""
    watch = SilenceWatch(["BTC/EUR"], 60 * NS, 0, GIVEN)

    assert watch.firing(360 * NS) is not None
    assert watch.firing(10 * NS) is not None


def test_gaps_equal_a_look_at_all_that_was_told():
    """Over random histories the watch says what the latest of everything told so far says."""
    fired = 0
    for seed in range(HISTORIES):
        draw = Random(seed)
        step, begun = draw.choice([1, 5, 60]), draw.randint(0, 50)
        given = some_thresholds(data_gap_ns=draw.choice([1, 3, 30]))
        symbols = ["A/B", "C/D", "E/F"][: draw.randint(1, 3)]
        watch, told, latest = SilenceWatch(symbols, step, begun, given), [(name, begun) for name in symbols], begun
        for _ in range(12):
            at = latest + draw.choice([-7, 0, 1, 4, 20])
            latest = max(latest, at)
            if draw.random() < 0.6:
                told.append((draw.choice(symbols), at - draw.randint(-1, 9)))
                watch.hear(*told[-1])
            late = max(latest - max(until for name, until in told if name == symbol) - step for symbol in symbols)
            assert (watch.firing(at) is not None) is (late >= given.data_gap_ns)
            fired += late >= given.data_gap_ns
    assert fired > 1_000


# ---- profit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected", "fires"),
    [
        ("0", "0", False),
        ("150", "100", False),  # exactly half as much more
        ("150.00000001", "100", True),
        ("50", "100", False),
        ("49.99999999", "100", True),
        ("-150", "-100", False),
        ("-150.00000001", "-100", True),
        ("-25", "0", False),  # near zero, half a per cent of 10,000 is what counts
        ("-25.00000001", "0", True),
        ("25", "0.0001", False),
        ("-25", "49.99", True),  # a sign of its own
        ("-Infinity", "0", True),
        ("0", "NaN", True),
    ],
)
def test_profit_diverges_strictly_over_half(actual, expected, fires):
    """Of the expected profit, or of half a per cent of the equity at the start where less was expected."""
    found = pnl_divergence(Decimal(actual), Decimal(expected), Decimal(10_000), GIVEN)

    assert (found is not None) is fires
    if found is not None:
        assert (found.mode, found.code) == (Mode.RESTRICTED, PNL_DIVERGENCE)
        assert dict(found.evidence) == {"actual": actual, "expected": expected, "start_equity": "10000"}


def test_divergence_equals_the_quotient():
    """Over random profits it fires where the design's quotient is over the threshold, computed in fractions."""
    fired = 0
    for seed in range(HISTORIES):
        draw = Random(seed)
        start = Decimal(draw.choice(["10", "10000", "123456.78"]))
        expected = Decimal(draw.randint(-200, 200)).scaleb(-draw.randint(0, 3))
        share = Decimal(draw.choice(["50", "12.5", "100"]))
        edge = max(abs(expected), Decimal("0.005") * start) * share / 100
        actual = expected + draw.choice([-1, 1]) * edge * Decimal(draw.choice(["0.5", "0.999999", "1", "1.000001", "3"]))
        quotient = Fraction(abs(actual - expected)) / max(Fraction(abs(expected)), Fraction(5, 1_000) * Fraction(start))

        found = pnl_divergence(actual, expected, start, some_thresholds(pnl_divergence_pct=share))

        assert (found is not None) is (quotient > Fraction(share) / 100)
        fired += found is not None
    assert fired > 1_000


def test_a_loss_tells_what_it_saw():
    """Both limits fire for themselves, each with equity, the day's beginning and its limit."""
    found = loss_firings(Decimal(9_500), Decimal(10_000), some_limits(max_daily_loss_abs=500, max_daily_loss_pct=5))

    assert [(item.mode, item.code) for item in found] == [
        (Mode.PAUSED, "max_daily_loss_abs"),
        (Mode.PAUSED, "max_daily_loss_pct"),
    ]
    assert [dict(item.evidence)["limit"] for item in found] == ["500", "5"]
    assert dict(found[0].evidence)["equity"] == "9500"
    assert loss_firings(Decimal("9500.01"), Decimal(10_000), some_limits(max_daily_loss_abs=500, max_daily_loss_pct=5)) == []


# ---- what nobody foresaw ---------------------------------------------------------------------------------------------

OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PeakTradeError)]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_only_a_broken_invariant_of_ours_is_unforeseen(kind):
    """The others are classified: they say what to do."""
    error = kind("code", "words") if kind is errors.DataError else kind("words")

    assert (core_exception(error) is not None) is (kind is errors.InvariantBroken)


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), OSError(5, "I/O"), MemoryError()], ids=repr)
def test_what_is_not_ours_is_unforeseen(error):
    """Anything else pauses, with its kind as evidence."""
    found = core_exception(error)

    assert (found.mode, found.code) == (Mode.PAUSED, CORE_EXCEPTION)
    assert dict(found.evidence) == {"exception": type(error).__name__}


def test_nobody_watches():
    """A reason restricts; none is somebody who watches."""
    assert supervisor_lost(None) is None
    assert supervisor_lost("it died").mode is Mode.RESTRICTED
    assert "it died" in supervisor_lost("it died").words


def test_every_trigger_demands_what_its_table_says():
    """The table of demands has each code once, with the mode that its trigger fires with."""
    assert set(DEMANDS) == {
        "max_daily_loss_abs",
        "max_daily_loss_pct",
        API_ERROR_RATE,
        CORE_EXCEPTION,
        PNL_DIVERGENCE,
        DATA_GAP,
        SUPERVISOR_LOST,
    }
    assert set(DEMANDS.values()) == {Mode.RESTRICTED, Mode.PAUSED}
