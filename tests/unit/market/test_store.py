"""The local store: round trips, damage, crashes, two writers."""

import signal
import subprocess
import sys

import polars as pl
import pytest
from tests.builders import some_bars

from peak_trade.market.dataset import Dataset, Gap, GapKind
from peak_trade.market.store import Store
from peak_trade.model.errors import DataError, StorageError


def a_dataset(count: int = 50, seed: int = 7) -> Dataset:
    bars = some_bars(count, seed=seed)
    gap = Gap(int(bars.timestamp[3]), 2, GapKind.OUTAGE)
    return Dataset(bars=bars, origin="test", gaps=(gap,), accepted=("outliers",), notes=("a note",))


def test_what_is_saved_is_loaded(tmp_path):
    """Bars come back bit for bit, with their gaps, notes and what was accepted."""
    store, dataset = Store(tmp_path), a_dataset()

    store.save(dataset)
    loaded = store.load(dataset.bars.instrument, dataset.bars.timeframe)

    assert loaded.bars.sha256() == dataset.bars.sha256()
    assert (loaded.gaps, loaded.accepted, loaded.notes, loaded.origin) == (
        dataset.gaps,
        dataset.accepted,
        dataset.notes,
        dataset.origin,
    )


def test_damage_is_found(tmp_path):
    """A changed byte anywhere in the file is never taken for data."""
    store, dataset = Store(tmp_path), a_dataset()
    path = store.save(dataset)
    whole = path.read_bytes()
    accepted = []
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = store.load(dataset.bars.instrument, dataset.bars.timeframe)
        except DataError:
            continue
        if loaded.bars.sha256() != dataset.bars.sha256():
            accepted.append(place)

    assert accepted == []


def test_a_foreign_parquet_is_refused(tmp_path):
    """A file without our entry in its metadata is not taken for a dataset."""
    store, dataset = Store(tmp_path), a_dataset()
    path = store.save(dataset)
    pl.DataFrame({"close": [1.0]}).write_parquet(path)

    with pytest.raises(DataError, match="damaged"):
        store.load(dataset.bars.instrument, dataset.bars.timeframe)


def test_drafts_are_no_datasets(tmp_path):
    """What a killed import leaves behind is not listed."""
    store, dataset = Store(tmp_path), a_dataset()
    path = store.save(dataset)
    (path.parent / ".1h.parquet.abc").write_bytes(b"half")

    assert store.files() == [path]


def test_a_killed_save_leaves_the_old_dataset(tmp_path):
    """A process killed while it writes the new file leaves a store that opens with the old one."""
    store, dataset = Store(tmp_path), a_dataset()
    path = store.save(dataset)
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "import peak_trade.durable as durable\n"
        "durable.force = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from tests.unit.market.test_store import a_dataset; from peak_trade.market.store import Store\n"
        "Store(Path(sys.argv[1])).save(a_dataset(60, seed=8))"
    )

    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert store.load(dataset.bars.instrument, dataset.bars.timeframe).bars.sha256() == dataset.bars.sha256()
    assert store.files() == [path]


def test_an_unwritable_store_is_one_sentence(tmp_path):
    """A file where the folder should be is named."""
    (tmp_path / "data").write_text("")

    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        Store(tmp_path / "data").save(a_dataset())


@pytest.mark.parametrize("change", [("outliers", "nothings"), ("outage", "no_trad"), ('"layout": 1', '"layout": 2')])
def test_a_changed_history_is_found(tmp_path, change):
    """What was accepted and which holes there are can't be edited away."""
    store, dataset = Store(tmp_path), a_dataset()
    path = store.save(dataset)
    held = pl.read_parquet_metadata(path)
    entry = held["peak_trade"].replace(*change)
    dataset.bars.to_polars().write_parquet(path, metadata={**held, "peak_trade": entry})

    with pytest.raises(DataError, match="import BTC/EUR 1h again"):
        store.load(dataset.bars.instrument, dataset.bars.timeframe)
