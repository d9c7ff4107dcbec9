"""The list of bugs: what blocks, and what a file must say."""

import pytest

from peak_trade.governance.bugs import BugSeverity, read_bugs
from peak_trade.model.errors import ConfigError

BUG = '[[bug]]\nid = "b1"\ntitle = "fills twice"\narea = "execution"\nseverity = "{}"\nfound_at = 2026-03-02T00:00:00Z\n'
FIXED = 'fixed_at = 2026-03-03T00:00:00Z\nfixed_in = "0a1b2c"\n'


@pytest.mark.parametrize("severity", BugSeverity)
def test_only_an_open_critical_bug_blocks(severity):
    text = BUG.format(severity.value)
    [bug], [fixed] = read_bugs(text.encode()), read_bugs((text + FIXED).encode())

    assert bug.blocks == (severity is BugSeverity.CRITICAL)
    assert not fixed.blocks


def test_no_bugs_are_a_list_too():
    assert read_bugs(b"") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BUG.format("critical") * 2, "each bug once"),
        (BUG.format("critical") + 'fixed_in = "0a1b2c"\n', "found one of them"),
        (BUG.format("critical") + "fixed_at = 2026-03-03T00:00:00Z\n", "found one of them"),
        (BUG.format("critical") + 'fixed_at = 2026-03-03T00:00:00Z\nfixed_in = " "\n', "found one of them"),
        (BUG.format("critical") + 'fixed_at = 2026-03-01T00:00:00Z\nfixed_in = "0a"\n', "found it before"),
        (BUG.format("terrible"), "severity"),
        (BUG.format("critical") + "blocks = false\n", "blocks"),
        (BUG.format("critical").replace("00Z", "00"), "found_at"),
        ("[[bug]\n", "TOML"),
    ],
)
def test_a_file_that_is_none(text, words):
    """Whatever else it says, it is refused by name."""
    with pytest.raises(ConfigError, match=words):
        read_bugs(text.encode())
