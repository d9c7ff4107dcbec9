"""Balances, holds and ledgers."""

from decimal import Decimal

import pytest

from peak_trade.emulator import accounts as module
from peak_trade.emulator.accounts import HOUSE, MARKET, Accounts
from peak_trade.emulator.orders import Rejection


def some_accounts():
    found = Accounts(iter(f"L{number}" for number in range(10**6)).__next__)
    found.open("ann", {"USD": Decimal(100)}, at=1)
    return found


def test_funds_come_from_the_market():
    """An account is opened with what the market then lacks, and a ledger that says so."""
    found = some_accounts()

    assert found.by_name[MARKET].balances == {"USD": -100}
    assert [(entry.type, entry.amount, entry.balance) for entry in found.by_name["ann"].ledger] == [("deposit", 100, 100)]


def test_fees_go_to_the_house():
    """A balance changes by amount less fee; the line has both, and what is left."""
    found, heard = some_accounts(), []
    found.listen(lambda name, entry: heard.append((name, entry.id)))
    line = found.move("ann", "USD", Decimal(-10), "trade", "T1", 5, Decimal("0.04"))

    assert found.by_name["ann"].balances["USD"] == Decimal("89.96")
    assert found.by_name[HOUSE].balances["USD"] == Decimal("0.04")
    assert heard == [("ann", line)]
    assert found.by_name["ann"].ledger[-1][1:] == ("T1", 5, "trade", "USD", -10, Decimal("0.04"), Decimal("89.96"))


def test_no_more_is_held_than_is_free():
    """All of it can be held, a penny more can't, and what is let go is free again."""
    found = some_accounts()
    with pytest.raises(Rejection, match="EOrder:Insufficient funds"):
        found.hold("ann", "USD", Decimal("100.01"))
    found.hold("ann", "USD", Decimal(100))
    assert found.by_name["ann"].free("USD") == 0
    with pytest.raises(Rejection):
        found.hold("ann", "USD", Decimal("0.01"))
    found.let_go("ann", "USD", Decimal(100))

    assert found.by_name["ann"].held == {}


def test_ledgers_forget(monkeypatch):
    """Only the newest lines are kept; balances stay right."""
    monkeypatch.setattr(module, "LEDGER_MAX", 3)
    found = some_accounts()
    for _ in range(5):
        found.move("ann", "USD", Decimal(1), "deposit", "", 2)

    assert len(found.by_name["ann"].ledger) == 3
    assert found.by_name["ann"].ledger[-1].balance == 105
