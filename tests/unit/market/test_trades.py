"""Files of single trades: which ones are taken, what they become, and what is refused."""

from datetime import UTC, datetime

import polars as pl
import pytest

from peak_trade.market.trades import read_trades
from peak_trade.model.errors import DataError, InputError

SECOND = 1_000_000_000


def test_time_and_sales_without_a_header(tmp_path):
    """Kraken's own layout: seconds, price, volume; several trades may have one time."""
    (tmp_path / "a.csv").write_text("1700000000,5.5,1\n1700000000,5.6,2.25\n1700000001,5.4,0\n")
    found = read_trades(tmp_path / "a.csv")

    assert found.timestamp.tolist() == [1_700_000_000 * SECOND] * 2 + [1_700_000_001 * SECOND]
    assert (found.price.tolist(), found.volume.tolist(), found.buys) == ([5.5, 5.6, 5.4], [1, 2.25, 0], None)


@pytest.mark.parametrize(
    ("sides", "buys"), [(["b", "s"], [1, 0]), (["Sell", "BUY"], [0, 1]), (["b", "?"], None), ([None, "b"], None)]
)
def test_named_columns(tmp_path, sides, buys):
    """Parquet and CSV with names; a side only where each row has one."""
    at = [datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)]
    frame = pl.DataFrame({"time": at, "amount": [1.0, 2.0], "price": [3.0, 4.0], "side": sides})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.with_columns(pl.col("time").dt.epoch("s")).write_csv(tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        found = read_trades(tmp_path / name)
        assert found.timestamp.tolist() == [1_735_689_600 * SECOND, 1_735_776_000 * SECOND]
        assert found.volume.tolist() == [1, 2]
        assert (None if found.buys is None else found.buys.tolist()) == buys


@pytest.mark.parametrize(
    "text",
    ["time,open,high,low,close,volume\n1,2,3,4,5,6\n", "1700000000,1,1,1,1,1\n", "time,price,open,volume\n1,2,3,4\n", ""],
)
def test_bars_are_no_trades(tmp_path, text):
    """What this reader does not know is left to another."""
    (tmp_path / "a.csv").write_text(text)

    assert read_trades(tmp_path / "a.csv") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1700000000,1,1\n", "at least 2 trades"),
        ("1700000000,1,1\n1700000001,-1,1\n", "prices above zero, found -1.0 in row 2"),
        ("1700000000,1,1\n1700000001,nan,1\n", "prices above zero, found nan in row 2"),
        ("1700000000,1,1\n1700000001,1,-0.1\n", "volumes of zero or more, found -0.1 in row 2"),
        ("time,price,volume\n1700000002,1,1\n1700000001,1,1\n", "times that never fall"),
    ],
)
def test_trades_that_cannot_be(tmp_path, text, words):
    """One sentence with the row."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_trades(tmp_path / "a.csv")


def test_no_file(tmp_path):
    """Neither a file that is not there nor a folder is read."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="expected a file of bars or trades"):
            read_trades(path)
