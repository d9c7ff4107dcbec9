"""A registry of its own for each test that wants one."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.webui.desks import a_desk

from peak_trade.journal.registry import Registry
from peak_trade.webui.desk import Desk


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry."""
    with closing(Registry(f"sqlite:///{tmp_path}/registry.db")) as opened:
        yield opened


@pytest.fixture
def desk(registry: Registry) -> Desk:
    """A desk over that registry."""
    return a_desk(registry)
