"""An hour of the exchange's clock in a storm of its faults: sessions end in a defined way, and nothing is done twice."""

import pytest
from tests.emulated import emulating
from tests.simulation.storm import check_after, weather
from tests.testnet import SPEED, a_desk


@pytest.mark.slow
def test_an_hour_of_storm(tmp_path):
    with emulating(speed=SPEED) as exchange, a_desk(tmp_path, exchange) as desk:
        storm = weather(desk, 50, seed=3)
        check_after(desk, storm)

    assert storm.set.total() > 20
