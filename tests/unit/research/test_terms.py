"""The terms of a backtest: one number has one form, whoever wrote it and however."""

from decimal import Decimal

import numpy as np
import pytest
from tests.builders import some_terms

from peak_trade.journal.registry import identity_of
from peak_trade.model.errors import InputError
from peak_trade.research.terms import Side, Terms
from peak_trade.strategy.sizing import SizedBy, Sizing

RATES = ("fee_bps", "slippage_bps", "stop_loss", "take_profit", "trailing_stop")


def terms(**changes) -> Terms:
    given = {"cash": Decimal(10_000), "fee_bps": 10.0, "slippage_bps": 2.0, "sizing": Sizing.parse("fraction=0.5")}
    return Terms(**given | {"side": Side.BOTH} | changes)


def name_of(found: Terms) -> str:
    return identity_of("ma_crossover", {"fast_window": 5, "slow_window": 40}, found.to_json())


@pytest.mark.parametrize("value", [10, 10.0, Decimal(10), Decimal("1E+1"), np.int64(10), np.float32(10.0)])
def test_a_fee_is_one_number_however_it_is_written(value):
    """The trial is the same one, and so is the JSON that stands for it."""
    found = terms(fee_bps=value)

    assert type(found.fee_bps) is float
    assert found == terms()
    assert name_of(found) == name_of(terms())


@pytest.mark.parametrize("name", RATES)
def test_a_negative_zero_is_zero(name):
    assert name_of(terms(**{name: -0.0})) == name_of(terms(**{name: 0.0})) == name_of(terms(**{name: 0}))


@pytest.mark.parametrize("cash", ["10000", "10000.00", "1E+4", "1.0000E4"])
def test_cash_and_sizing_have_no_zeros_at_their_end(cash):
    found = terms(cash=Decimal(cash), sizing=Sizing(SizedBy.FRACTION, Decimal("0.50")))

    assert (str(found.cash), str(found.sizing)) == ("10000", "fraction=0.5")
    assert name_of(found) == name_of(terms())


@pytest.mark.parametrize("cash", ["0.000000000000000001", "123456789.123456789123456789", "999999999999999999", "1e18"])
def test_no_digit_of_an_amount_is_lost(cash):
    assert terms(cash=Decimal(cash)).cash == Decimal(cash)


@pytest.mark.parametrize("value", [True, "10", None, float("nan"), -1e-9, 1j])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(InputError, match="fee_bps"):
        terms(fee_bps=value)


def test_other_numbers_are_other_trials():
    names = {name_of(terms(fee_bps=value)) for value in (10.0, 10.000001, 0.0, 11)}

    assert len(names) == 4


def test_trials_keep_the_identity_that_they_were_registered_with():
    """Of floats, as registries have them; also where a row holds whole numbers, which count by their value."""
    plain = {"initial_cash": "10000", "sizing": "fraction=1", "side": "long", "fee_bps": 10.0, "slippage_bps": 2.0}
    plain |= {"stop_loss": 0.0, "take_profit": 0.0, "trailing_stop": 0.0}
    params = {"fast_window": 5, "threshold": 1.5, "base": {"strategy": "macd", "on": True}, "kinds": ["up"]}

    assert identity_of("ma_crossover", params, plain) == "eed698f30315bc19"
    assert identity_of("ma_crossover", params, plain | {"fee_bps": 10, "stop_loss": -0.0}) == "eed698f30315bc19"
    assert identity_of("ma_crossover", params | {"threshold": -0.0}, plain) == identity_of(
        "ma_crossover", params | {"threshold": 0.0}, plain
    )
    assert some_terms().to_json().keys() == plain.keys()
