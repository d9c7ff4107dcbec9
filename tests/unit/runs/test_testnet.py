"""Profiles of testnet sessions: checked against every limit, lowered by commands, never raised."""

from decimal import Decimal

import pytest
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.model.errors import InputError, NotFound, SafetyRefused, StrategyError
from peak_trade.runs.testnet import profile as testnet
from peak_trade.settings import load_config

TEXT = (ROOT / "config.toml").read_text("utf-8")


def parts_with(folder, *changes):
    """The delivered configuration with some lines replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "config.toml").write_text(text)
    return Parts(load_config(folder / "config.toml"))


def test_every_delivered_profile_keeps_the_limits(tmp_path):
    """Each can be asked for, sends orders that its limits let through, and has nothing to be remarked."""
    parts = parts_with(tmp_path)
    for name, profile in parts.settings.file.testnet_profiles.items():
        terms = testnet.terms_of(parts, name)

        assert (terms.minutes, terms.max_orders) == (profile.duration_minutes, profile.max_orders)
        assert testnet.remarks_on(parts, terms) == []


def test_a_command_may_ask_for_less(tmp_path):
    """Each of the three values is lowered by itself, down to the last one allowed; the same value is no raise."""
    parts = parts_with(tmp_path)
    lowered = testnet.Lowered(minutes=0.5, max_orders=1, max_order_notional=Decimal(10))
    terms = testnet.terms_of(parts, "quick_smoke", lowered)

    assert (terms.minutes, terms.max_orders, terms.max_order_notional) == (0.5, 1, Decimal(10))
    same = testnet.Lowered(minutes=5.0, max_orders=5, max_order_notional=Decimal(50))
    assert testnet.terms_of(parts, "quick_smoke", same) == testnet.terms_of(parts, "quick_smoke")


@pytest.mark.parametrize(
    ("lowered", "words"),
    [
        (
            testnet.Lowered(minutes=5.01),
            r"--duration of at most 5 \(testnet_profiles\.quick_smoke\.duration_minutes\), found 5\.01",
        ),
        (testnet.Lowered(max_orders=6), r"--max-orders of at most 5 .*found 6"),
        (testnet.Lowered(max_order_notional=Decimal("50.01")), r"--max-order-notional of at most 50 .*found 50\.01"),
    ],
)
def test_a_command_may_not_ask_for_more(tmp_path, lowered, words):
    """A value above the profile's is refused by a safety rule, and the sentence names both."""
    with pytest.raises(SafetyRefused, match=words):
        testnet.terms_of(parts_with(tmp_path), "quick_smoke", lowered)


@pytest.mark.parametrize(
    "lowered",
    [
        testnet.Lowered(minutes=0),
        testnet.Lowered(minutes=-1),
        testnet.Lowered(minutes=float("nan")),
        testnet.Lowered(max_orders=0),
    ],
)
def test_nothing_is_no_amount(tmp_path, lowered):
    """Zero, negative and no number are wrong input."""
    with pytest.raises(InputError, match="above zero"):
        testnet.terms_of(parts_with(tmp_path), "quick_smoke", lowered)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "duration_minutes = 5.0",
            "duration_minutes = 120.1",
            r"duration_minutes of at most 120, the limit in \[testnet_limits\.run\]",
        ),
        ("max_orders = 5\n", "max_orders = 51\n", r"max_orders of at most 50, .*found 51"),
        ('max_order_notional = "50"', 'max_order_notional = "101"', r"max_order_notional of at most 100, .*found 101"),
        (
            'max_order_notional = "100"\nmax_exposure',
            'max_order_notional = "49"\nmax_exposure',
            r"at most 49, .*symbols\.\"BTC/EUR\"",
        ),
        ('symbols = ["BTC/EUR"]', 'symbols = ["SPX/USD"]', r"limits of its own \(BTC/EUR, ETH/EUR\), found SPX/USD"),
        ('symbols = ["BTC/EUR", "ETH/EUR", ', 'symbols = ["ETH/EUR", ', r"live_risk\.symbols allows .*found BTC/EUR"),
        ("enabled = true\nvalidate", "enabled = false\nvalidate", r"exchange\.kraken_testnet\.enabled = true, found false"),
    ],
)
def test_a_profile_above_a_limit_does_not_begin(tmp_path, old, new, words):
    """A profile that asks for more than the limits allow is refused, and the sentence names limit and value."""
    with pytest.raises(SafetyRefused, match=words):
        testnet.terms_of(parts_with(tmp_path, (old, new)), "quick_smoke")


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ('symbols = ["BTC/EUR"]', 'symbols = ["BTC/EUR", "XBT/EUR"]', InputError),
        ("fast_window = 3, slow", "fast = 3, slow", StrategyError),
        ('strategy = "ma_crossover"', 'strategy = "ma_cross"', StrategyError),
        ('timeframe = "1m"\nduration', 'timeframe = "7x"\nduration', InputError),
    ],
)
def test_a_profile_that_makes_no_sense_is_wrong_input(tmp_path, old, new, kind):
    """So are strategies, parameters, pairs and bars that do not exist."""
    with pytest.raises(kind):
        testnet.terms_of(parts_with(tmp_path, (old, new)), "quick_smoke")


def test_an_unknown_profile_names_the_nearest(tmp_path):
    """So it does among none."""
    parts = parts_with(tmp_path)
    with pytest.raises(NotFound, match="did you mean quick_smoke"):
        testnet.terms_of(parts, "quick_smok")
    with pytest.raises(NotFound, match="there are quick_smoke, ma_crossover_small"):
        testnet.terms_of(parts, "zzz")


def test_the_session_runs_under_the_tighter_of_both(tmp_path):
    """The settings of the session allow what both the terms and [live_risk] do; the rest stays."""
    parts = parts_with(tmp_path, ('max_symbol_exposure_notional = "2000"', 'max_symbol_exposure_notional = "150"'))
    narrow = testnet.narrowed(parts.settings, testnet.terms_of(parts, "quick_smoke")).file.live_risk

    assert narrow.max_order_notional == Decimal(50)
    assert narrow.max_symbol_exposure_notional == Decimal(150)
    assert narrow.max_total_exposure_notional == Decimal(200)
    assert narrow.max_orders_per_day == 5
    assert narrow.symbols == ("BTC/EUR",)
    assert narrow.max_daily_loss_abs == parts.settings.file.live_risk.max_daily_loss_abs


def test_entries_that_cannot_pass_are_remarked(tmp_path):
    """An entry above the largest or below the smallest order is told before anything begins."""
    large = parts_with(tmp_path, ("position_fraction = 0.004", "position_fraction = 0.0051"))
    assert "above the largest order of 50" in testnet.remarks_on(large, testnet.terms_of(large, "quick_smoke"))[0]
    small = parts_with(tmp_path, ("position_fraction = 0.004", "position_fraction = 0.000049"))
    assert "below the smallest order of BTC/EUR" in testnet.remarks_on(small, testnet.terms_of(small, "quick_smoke"))[0]
