"""The files of the gates are files: links, pipes, folders and others are refused."""

import os
import shutil

import pytest
from tests.paths import ROOT

from peak_trade.governance.documents import BYTES_MAX
from peak_trade.governance.files import load_policy, load_roles, read_plain
from peak_trade.model.errors import ConfigError, NotFound, SafetyRefused


@pytest.fixture
def root(tmp_path):
    """A folder with the delivered files."""
    shutil.copytree(ROOT / "governance", tmp_path / "here" / "governance")
    return tmp_path / "here"


def test_the_delivered_files_can_be_read(root):
    """As they are in the repository; through the folder's own link nobody minds."""
    assert load_roles(root).people == {}
    assert load_policy(root).criteria
    (root.parent / "link").symlink_to(root)
    assert load_policy(root.parent / "link") == load_policy(root)


@pytest.mark.parametrize("name", ["policy.toml", "roles.toml"])
def test_a_link_is_refused(root, name):
    """To the file, or in place of its folder."""
    load = load_policy if name == "policy.toml" else load_roles
    file = root / "governance" / name
    file.rename(root / "elsewhere.toml")
    file.symlink_to(root / "elsewhere.toml")
    with pytest.raises(SafetyRefused, match="a link"):
        load(root)
    file.unlink()
    (root / "elsewhere.toml").rename(file)
    load(root)
    (root / "governance").rename(root / "other")
    (root / "governance").symlink_to(root / "other")
    with pytest.raises(SafetyRefused, match="a link"):
        load(root)


def test_what_is_no_file_is_refused(root):
    """A folder, a pipe that nobody writes to, a file without end."""
    file = root / "governance" / "policy.toml"
    file.unlink()
    with pytest.raises(NotFound, match="put it there"):
        load_policy(root)
    file.mkdir()
    with pytest.raises(SafetyRefused, match="regular file"):
        load_policy(root)
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(SafetyRefused, match="regular file"):
        load_policy(root)
    file.unlink()
    file.write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(SafetyRefused, match="at most"):
        load_policy(root)
    file.write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"governance/policy\.toml"):
        load_policy(root)


@pytest.mark.parametrize("path", ["/etc/passwd", "../governance/policy.toml", "governance/../config.toml", "."])
def test_nothing_outside_is_read(root, path):
    """A file is named from the folder on, and lies in it."""
    from pathlib import Path

    with pytest.raises(SafetyRefused, match="below"):
        read_plain(root, Path(path))
