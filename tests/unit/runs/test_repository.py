"""What the repository shows to a gate: runbooks, limits and bugs, and nothing where nobody knows."""

import shutil
from contextlib import closing
from datetime import UTC, datetime

import pytest
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.governance.ladder import Rung
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import done
from peak_trade.runs.gates import repository
from peak_trade.runs.gates.repository import limited, missing_runbooks, of_repository, shown
from peak_trade.settings import load_config

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def parts(tmp_path):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def facts(parts, symbols=("BTC/EUR",), limits="0" * 64):
    found = of_repository(parts, done(parts), Rung.SHADOW_TESTNET, symbols, limits, AT)
    return {item.facts["check"]: item.facts for item in found}


def test_what_it_shows(parts):
    found = facts(parts)
    assert found["limits"]["sha256"] == "0" * 64
    assert found["critical_bugs"]["open"] == 0
    assert found["runbook"]["stage"] == "testnet"


def test_without_a_list_of_bugs_nobody_knows(parts, tmp_path):
    """Neither where it is gone, nor where it is none."""
    bugs = tmp_path / "governance" / "bugs.toml"
    bugs.write_text("[[bug]\n")
    assert "critical_bugs" not in facts(parts)
    bugs.unlink()
    assert "critical_bugs" not in facts(parts)


def test_runbooks_are_the_folder_s_or_the_checkout_s(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "CHECKOUT", tmp_path / "none")
    names = repository.RUNBOOKS[Stage.TESTNET]
    assert missing_runbooks(tmp_path, Stage.TESTNET) == list(names)
    folder = tmp_path / "docs" / "runbooks"
    folder.mkdir(parents=True)
    for name in names[1:]:
        (folder / f"{name}.md").write_text("what to do")
    (folder / f"{names[0]}.md").mkdir()

    assert missing_runbooks(tmp_path, Stage.TESTNET) == [names[0]]


def test_every_pair_has_its_limits(parts):
    allowed = parts.settings.file.live_risk.symbols
    assert limited(parts.settings, Stage.SHADOW, (allowed[0],))
    assert not limited(parts.settings, Stage.SHADOW, (allowed[0], "DOGE/EUR"))
    assert limited(parts.settings, Stage.SHADOW, ("SYN/USD",))
    assert not limited(parts.settings, Stage.TESTNET, ("SYN/USD",))


def test_what_is_said_the_same_has_the_same_hash():
    """Whatever the moment and the order of the words."""
    one, two = shown("x", {"a": 1, "b": True}, AT), shown("x", {"b": True, "a": 1}, datetime(2026, 4, 1, tzinfo=UTC))
    assert one.sha256 == two.sha256
    assert shown("x", {"a": 1, "b": 1}, AT).sha256 != one.sha256
