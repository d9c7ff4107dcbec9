"""Bars and timeframes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.builders import some_bars

from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.errors import InputError, InvariantBroken


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m", 60), ("15m", 900), ("4h", 14_400), ("1d", 86_400), ("1w", 604_800), ("30s", 30)]
)
def test_timeframes(text, seconds):
    """A timeframe is a count and a unit."""
    assert Timeframe.parse(text) == Timeframe(seconds, text)


@pytest.mark.parametrize("text", ["", "h", "0m", "-1h", "1y", "1.5h", "60", "99999m"])
def test_other_timeframes_are_refused(text):
    """Anything else is an error that shows the right form."""
    with pytest.raises(InputError, match="1m, 15m, 1h"):
        Timeframe.parse(text)


@pytest.mark.parametrize(("seconds", "label"), [(3_600, "1h"), (86_400, "1d"), (90, "90s"), (7_200, "2h")])
def test_labels_of_seconds(seconds, label):
    """A length in seconds gets the largest unit that divides it."""
    assert Timeframe.of_seconds(seconds).label == label


def test_bars_cannot_be_written_to():
    """A strategy can't change the market it looks at."""
    bars = some_bars(5)

    with pytest.raises(ValueError, match="read-only"):
        bars.close[0] = 1.0


def test_columns_of_different_length_are_refused():
    """One value for each timestamp, or it is a fault of ours."""
    bars = some_bars(5)

    with pytest.raises(InvariantBroken, match="close"):
        Bars(
            instrument=bars.instrument,
            timeframe=bars.timeframe,
            **{name: getattr(bars, name)[: 4 if name == "close" else 5] for name in COLUMNS},
        )


def test_between_is_half_open():
    """The start belongs to the part, the end does not."""
    bars = some_bars(10, timeframe="1h")
    start = datetime(2024, 1, 1, 2, tzinfo=UTC)

    part = bars.between(start, start + timedelta(hours=3))

    assert part.timestamp.tolist() == bars.timestamp[2:5].tolist()


def test_between_outside_is_empty():
    """A period before or after the data, or an end before its start, holds no bars."""
    bars = some_bars(10)
    late = datetime(2030, 1, 1, tzinfo=UTC)

    assert [len(bars.between(late, None)), len(bars.between(None, datetime(2000, 1, 1, tzinfo=UTC)))] == [0, 0]


@pytest.mark.parametrize("name", COLUMNS)
def test_the_hash_sees_every_value(name):
    """Changing the last bit of any value of any column changes the hash."""
    bars = some_bars(20)
    columns = {column: np.array(getattr(bars, column)) for column in COLUMNS}
    kind = columns[name].dtype.type
    columns[name][7] = columns[name][7] + 1 if kind is np.int64 else np.nextafter(columns[name][7], np.inf)

    changed = Bars(instrument=bars.instrument, timeframe=bars.timeframe, **columns)

    assert changed.sha256() != bars.sha256()


def test_the_hash_is_the_same_for_the_same_content():
    """A copy and a slice of a longer series hash like the original."""
    bars = some_bars(20)

    assert bars[3:9].sha256() == some_bars(20)[3:9].sha256()


def test_frames_hold_the_same_values():
    """Both kinds of frame get the same numbers, with times in UTC."""
    bars = some_bars(20)

    polars_frame, pandas_frame = bars.to_polars(), bars.to_pandas()

    assert polars_frame["close"].to_list() == bars.close.tolist() == pandas_frame["close"].tolist()
    assert str(pandas_frame.index.tz) == "UTC"
    assert polars_frame["timestamp"].to_physical().to_list() == bars.timestamp.tolist()
