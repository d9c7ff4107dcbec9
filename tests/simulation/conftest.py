"""Worlds for simulated sessions; nothing here waits, reaches a network or asks the machine for the time."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.simulation.outcome", "tests.simulation.crashes")

from tests.simulation.world import Disk, Forge, made_deterministic  # noqa: E402 - what is rewritten is imported later


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    with made_deterministic() as disk:
        yield disk


@pytest.fixture(scope="module")
def forge(tmp_path_factory, disk) -> Forge:
    return Forge(tmp_path_factory.mktemp("worlds"), disk)
