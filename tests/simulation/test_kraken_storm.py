"""A few seeds of the storm over engine and Kraken venue; `make soak` runs a hundred and more."""

import os

import pytest
from tests.simulation.kraken_storm import KrakenStorm, weather_out

from peak_trade.venue.kraken.trading import KrakenVenue


@pytest.fixture(autouse=True)
def _forced_nowhere(monkeypatch):
    """What would be forced to the disk is left to it: nothing here loses power."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.mark.parametrize("seed", [2, 11, 22, 54])
def test_whatever_befalls_its_orders_nothing_is_lost_and_nothing_is_too_much(tmp_path, seed):
    """No order twice or after the kill, no exposure over the limit, no session that is blind and runs, and equal accounts."""
    storm = weather_out(tmp_path, seed)

    assert sum(storm.sent.values()) >= 5
    assert sum(storm.struck.values()) > 50


def never_there(self, _names):
    """A venue that says of every order it is asked for that it was never there."""

    async def answer():
        return {}

    return answer()


def keep_quiet(self, *_more):
    """A venue that forgets what it heard."""


@pytest.mark.parametrize(("method", "lie"), [("look_up", never_there), ("_hear", keep_quiet)])
def test_the_storm_finds_a_venue_that_lies(tmp_path, monkeypatch, method, lie):
    """It is no weather that every venue comes through."""
    monkeypatch.setattr(KrakenVenue, method, lie)
    wrong = 0
    for seed in (2, 11, 22):
        (tmp_path / str(seed)).mkdir()
        storm = KrakenStorm(tmp_path / str(seed), seed)
        try:
            storm.run()
            storm.check_end()
        except Exception:  # noqa: BLE001 - in whatever way it is found
            wrong += 1

    assert wrong
