"""What a request is bound to: hashes of what is in use, and a configuration that is the file's."""

import shutil
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import distributions

import pytest
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.model.errors import ConfigError, SafetyRefused
from peak_trade.runs.gates import bound
from peak_trade.settings import load_config


@pytest.fixture
def parts(tmp_path):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def used(settings, section, **changes):
    """Return settings with another section in memory."""
    other = getattr(settings.file, section).model_copy(update=changes)
    return replace(settings, file=settings.file.model_copy(update={section: other}))


def at(settings, url):
    exchange = settings.file.exchange.kraken_testnet.model_copy(update={"base_url": url})
    return used(settings, "exchange", kraken_testnet=exchange)


@pytest.mark.parametrize(
    ("section", "changes", "good"),
    [
        ("live_risk", {"max_order_notional": Decimal(1)}, True),
        ("live_risk", {"max_order_notional": Decimal(10**6)}, False),
        ("live_risk", {"duplicate_window_s": 100.0}, True),
        ("live_risk", {"duplicate_window_s": 0.0}, False),
        ("live_risk", {"block_on_violation": False}, False),
        ("live_risk", {"symbols": ("BTC/EUR",)}, True),
        ("live_risk", {"symbols": ("DOGE/EUR",)}, False),
        ("shadow", {"position_fraction": 0.01}, False),
        ("live", {"enabled": True}, False),
        ("governance", {"account": "mine"}, False),
    ],
)
def test_only_a_lower_limit_differs_from_the_file(parts, section, changes, good):
    other = used(parts.settings, section, **changes)
    if good:
        assert bound.in_file(other).file == parts.settings.file
    else:
        with pytest.raises(ConfigError, match=section):
            bound.in_file(other)


def test_an_exchange_is_the_file_s_or_on_this_machine(parts):
    assert bound.in_file(at(parts.settings, "http://127.0.0.1:8080")).file == parts.settings.file
    for url in ("https://exchange.example", "http://127.0.0.1.example:8080"):
        with pytest.raises(ConfigError, match="exchange"):
            bound.in_file(at(parts.settings, url))


def test_a_file_that_changed_is_read_again(parts):
    """The same text is understood once, another anew, and one that is none is said to be."""
    path = parts.settings.path
    assert bound.in_file(parts.settings) is bound.in_file(parts.settings)
    before = bound.limits_sha256(bound.in_file(parts.settings))
    path.write_text(path.read_text().replace("max_daily_loss_pct = 5.0", "max_daily_loss_pct = 9.0"))
    assert bound.limits_sha256(load_config(path)) != before
    path.write_text("[nothing")
    with pytest.raises(ConfigError, match="TOML"):
        bound.in_file(parts.settings)


def test_what_is_installed_is_what_the_metadata_say():
    told = {(found.metadata["Name"], found.version) for found in distributions()}
    assert {bound._named_in(found) for found in distributions()} == told


def test_a_package_that_comes_changes_the_hash(tmp_path, monkeypatch):
    before = bound.installed_sha256()
    monkeypatch.syspath_prepend(tmp_path)
    assert bound.installed_sha256() == before
    info = tmp_path / "guest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n\nName: other\n")
    found = bound.installed_sha256()

    assert found != before
    (tmp_path / "guest-2.0.dist-info").mkdir()
    (tmp_path / "guest-2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 2.0\n")
    assert bound.installed_sha256() != found


def test_a_link_is_refused(parts, tmp_path):
    policy = tmp_path / "governance" / "policy.toml"
    policy.rename(tmp_path / "moved.toml")
    policy.symlink_to(tmp_path / "moved.toml")
    with pytest.raises(SafetyRefused, match="link"):
        bound.file_hash(tmp_path, policy.relative_to(tmp_path))
