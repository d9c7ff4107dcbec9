"""Nonces: always greater, whatever happened to the process before."""

import os
import signal
import subprocess
import sys

import pytest

from peak_trade.model.errors import InvariantBroken, SafetyRefused, StorageError
from peak_trade.venue.kraken.nonce import BLOCK, LEAP_NS, NonceStore

NOW = 1_795_000_000_000_000_000


@pytest.fixture
def opened(tmp_path):
    """Open stores that are closed at the end."""
    stores = []

    def act(now=NOW, key="k"):
        stores.append(NonceStore(tmp_path, key, lambda: now))
        return stores[-1]

    yield act
    for store in stores:
        store.close()


def test_each_is_greater(opened):
    """Over several blocks, from the present on."""
    store = opened()

    found = [store.take() for _ in range(3 * BLOCK + 5)]

    assert found[0] == NOW
    assert found == sorted(set(found))


@pytest.mark.parametrize("later", [NOW, 0, NOW - 10**15, NOW + 5])
def test_the_next_process_goes_on_above(opened, later):
    """Also where its clock is behind, or went back to the beginning of time."""
    first = opened()
    last = max(first.take() for _ in range(BLOCK + 3))
    first.close()

    assert opened(later).take() > last


def test_one_process_uses_a_key(opened):
    """A second one is refused with one sentence, and may go on when the first has ended; other keys are free."""
    first = opened()

    with pytest.raises(SafetyRefused, match="another uses it"):
        opened()
    opened(key="other").take()
    first.close()
    assert opened().take() >= NOW
    with pytest.raises(InvariantBroken):
        first.take()


def test_nothing_is_used_twice_after_a_kill(tmp_path, opened):
    """A process killed while it takes numbers leaves the file above all of them."""
    code = f"""
import sys
from pathlib import Path
from peak_trade.venue.kraken.nonce import NonceStore
store = NonceStore(Path({str(tmp_path)!r}), "k", lambda: {NOW})
while True:
    print(store.take(), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    seen = [int(process.stdout.readline()) for _ in range(BLOCK + BLOCK // 2)]
    os.kill(process.pid, signal.SIGKILL)
    seen += [int(line) for line in process.communicate()[0].splitlines()[:-1]]

    assert opened().take() > max(seen)


def test_a_refused_key_is_taken_ahead(opened):
    """Far above what another clock may have used; and the next process goes on from there."""
    store = opened()
    store.take()

    store.leap()

    ahead = store.take()
    assert ahead >= NOW + LEAP_NS
    store.close()
    assert opened().take() > ahead


@pytest.mark.parametrize("content", ["", "nonsense", "-5", "1.5", str(2**64)])
def test_a_damaged_file_is_not_guessed(tmp_path, opened, content):
    """One sentence, and the lock is free again."""
    (tmp_path / "nonce-k").write_text(content)

    for _ in range(2):
        with pytest.raises(StorageError, match="expected a number"):
            opened()


def test_a_full_disk_hands_out_nothing(tmp_path, opened, monkeypatch):
    """What is not on the disk is not used."""
    store = opened()

    def full(*_args):
        raise StorageError("the disk is full")

    monkeypatch.setattr("peak_trade.venue.kraken.nonce.write_text", full)
    with pytest.raises(StorageError):
        store.take()
    monkeypatch.undo()
    assert store.take() == NOW
