"""Files of bars: every layout that is accepted, every fault that is named."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import START_NS, an_instrument, some_bars
from tests.paths import MARKET_DATA, needs_market_data

from peak_trade.market.dataset import GapKind
from peak_trade.market.importing import joined, read_dataset
from peak_trade.market.raw import guess_symbol, read_raw
from peak_trade.model.bar import COLUMNS, Timeframe
from peak_trade.model.errors import DataError, InputError, PeakTradeError
from peak_trade.model.instrument import KNOWN

HOUR = Timeframe.parse("1h")
BTC = KNOWN["BTC/EUR"]


def rows(count: int = 50, **changes: object) -> pl.DataFrame:
    """Return sound hourly bars as a frame with epoch seconds; a column may be replaced."""
    bars = some_bars(count)
    frame = pl.DataFrame({name: np.array(getattr(bars, name)) for name in COLUMNS})
    frame = frame.with_columns(timestamp=pl.col("timestamp") // 1_000_000_000)
    return frame.with_columns(**{name: pl.Series(values) for name, values in changes.items()})


def read(path, timeframe=HOUR, accepted=frozenset()):
    return read_dataset(path, BTC, timeframe, frozenset(accepted))


def refusal(path, timeframe=HOUR) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, timeframe)
    return caught.value


def test_csv_with_a_header(tmp_path):
    """Columns are found by name in any order and case."""
    frame = rows()
    frame.select(reversed(frame.columns)).rename({"close": "Close", "timestamp": "Unix"}).write_csv(tmp_path / "a.csv")

    bars = read(tmp_path / "a.csv").bars

    assert bars.close.tolist() == some_bars(50).close.tolist()
    assert bars.timestamp.tolist() == some_bars(50).timestamp.tolist()


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_separators_and_byte_order_mark(tmp_path, mark):
    """Comma, semicolon and tab work, and so does a byte order mark."""
    path = tmp_path / "a.csv"
    rows().write_csv(path, separator=mark)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert len(read(path).bars) == 50


def test_kraken_file_without_a_header(tmp_path):
    """Kraken's OHLCVT layout is recognised by its missing header."""
    rows(trades=range(50)).write_csv(tmp_path / "XBTEUR_60.csv", include_header=False)

    assert len(read(tmp_path / "XBTEUR_60.csv").bars) == 50


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_epoch_units(tmp_path, unit):
    """Seconds, milliseconds, microseconds and nanoseconds are told apart by size."""
    rows(timestamp=some_bars(50).timestamp // (10**9 // unit)).write_csv(tmp_path / "a.csv")

    assert read(tmp_path / "a.csv").bars.timestamp.tolist() == some_bars(50).timestamp.tolist()


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%d %H:%M"])
def test_times_as_text(tmp_path, form):
    """ISO times are UTC, with or without saying so."""
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    rows(timestamp=[(begin + timedelta(hours=hour)).strftime(form) for hour in range(50)]).write_csv(tmp_path / "a.csv")

    assert read(tmp_path / "a.csv").bars.timestamp[0] == START_NS


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_parquet_times_of_any_unit_and_zone(tmp_path, unit, zone):
    """Datetime columns are converted to UTC, naive ones are UTC."""
    stamps = pl.Series(some_bars(50).timestamp).cast(pl.Datetime("ns")).dt.cast_time_unit(unit)
    if zone:
        stamps = stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    rows(timestamp=stamps).write_parquet(tmp_path / "a.parquet")

    assert read(tmp_path / "a.parquet").bars.timestamp.tolist() == some_bars(50).timestamp.tolist()


def test_the_timeframe_is_taken_from_the_rows(tmp_path):
    """Without a timeframe the usual step is taken."""
    rows().write_csv(tmp_path / "a.csv")

    assert read_dataset(tmp_path / "a.csv", BTC, None).bars.timeframe == HOUR


def broken(name: str, index: int, value: object) -> pl.DataFrame:
    values = rows()[name].to_list()
    values[index] = value
    return rows(**{name: values})


@pytest.mark.parametrize(
    ("frame", "code", "word"),
    [
        (rows().drop("volume"), "columns", "no volume"),
        (rows().drop("volume", "close").with_columns(a=1, b=2), "columns", "no close and no volume"),
        (broken("close", 7, None), "not_a_number", "row 9"),
        (broken("close", 7, float("nan")), "not_a_number", "row 9"),
        (broken("close", 7, float("inf")), "not_a_number", "row 9"),
        (broken("low", 7, -1.0), "not_positive", "found -1 in row 9"),
        (broken("low", 7, 0.0), "not_positive", "above zero"),
        (broken("volume", 7, -1.0), "not_positive", "zero or more"),
        (rows().reverse(), "unsorted", "descending"),
        (rows().with_columns(timestamp=rows()["timestamp"].gather([0, 2, 1, *range(3, 50)])), "unsorted", "mixed"),
        (broken("timestamp", 7, rows()["timestamp"][6]), "duplicates", "twice in row 9"),
        (broken("timestamp", 7, rows()["timestamp"][7] + 60), "off_grid", "01:00Z|07:01:00Z"),
        (rows(high=rows()["low"], low=rows()["high"]), "high_low", "look swapped"),
        (rows(volume=rows()["close"], close=rows()["volume"] * 1e6), "high_low", "look swapped"),
        (broken("high", 7, 0.001), "high_low", "--accept high_low"),
        (rows(1), "empty", "at least 2"),
        (rows().clear(), "empty", "only a header"),
    ],
)
def test_bad_columns_are_one_sentence(tmp_path, frame, code, word):
    """Each fault has its code, names the row as a reader counts, and says what to do."""
    frame.write_csv(tmp_path / "a.csv")

    error = refusal(tmp_path / "a.csv")

    assert error.code == code
    assert "a.csv" in str(error)
    assert re.search(word, str(error))


def test_a_wrong_timeframe_names_the_right_one(tmp_path):
    """Hourly rows imported as minutes are refused."""
    rows().write_csv(tmp_path / "a.csv")

    error = refusal(tmp_path / "a.csv", Timeframe.parse("1m"))

    assert (error.code, "usual step of 1h" in str(error)) == ("timeframe", True)


def test_text_in_a_number_column_names_the_row(tmp_path):
    """A word among the prices is found and shown."""
    path = tmp_path / "a.csv"
    rows().write_csv(path)
    lines = path.read_text().splitlines()
    lines[5] = lines[5].replace(lines[5].split(",")[2], "n/a")
    path.write_text("\n".join(lines))

    error = refusal(path)

    assert (error.code, "'n/a' in row 6" in str(error)) == ("not_a_number", True)


def test_a_cut_off_csv_names_the_row(tmp_path):
    """A last line without all of its fields is refused."""
    path = tmp_path / "a.csv"
    rows().write_csv(path)
    path.write_text(path.read_text()[:-40])

    assert "row 51" in str(refusal(path))


def test_a_cut_off_parquet_is_refused(tmp_path):
    """A Parquet file without its end is damaged."""
    rows().write_parquet(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])

    assert refusal(tmp_path / "a.parquet").code == "truncated"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"   "])
def test_an_empty_file_is_refused(tmp_path, content):
    """Nothing in it is said as such."""
    (tmp_path / "a.csv").write_bytes(content)

    assert refusal(tmp_path / "a.csv").code == "empty"


def test_joined_layouts_are_refused(tmp_path):
    """Rows whose eighth field is filled among rows where it is empty mean two layouts in one file."""
    old = [f"{1_600_000_000 + 3600 * hour},1,2,0.5,1.5,10,3," for hour in range(30)]
    new = [f"{1_600_000_000 + 3600 * hour},1,2,0.5,1.5,1.4,10,3" for hour in range(30, 40)]
    (tmp_path / "a.csv").write_text("\n".join(old + new))

    error = refusal(tmp_path / "a.csv")

    assert (error.code, "row 31" in str(error)) == ("layout", True)


def test_mixed_time_units_are_refused(tmp_path):
    """Milliseconds after seconds mean two files in one."""
    stamps = rows()["timestamp"].to_list()
    rows(timestamp=stamps[:25] + [stamp * 1000 for stamp in stamps[25:]]).write_csv(tmp_path / "a.csv")

    assert refusal(tmp_path / "a.csv").code == "time"


def test_no_such_file(tmp_path):
    """A missing file or a folder is an input error."""
    with pytest.raises(InputError, match="found none"):
        read(tmp_path / "none.csv")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path)


def test_lost_pages_are_found_and_can_be_accepted(tmp_path):
    """Holes of one length throughout mean a recorder that lost pages; accepting it is remembered."""
    frame = rows(3_000)
    frame.filter(pl.int_range(3_000) % 100 < 80).write_csv(tmp_path / "a.csv")

    assert refusal(tmp_path / "a.csv").code == "lost_pages"
    assert read(tmp_path / "a.csv", accepted={"lost_pages"}).accepted == ("lost_pages",)


def test_silence_is_no_lost_page(tmp_path):
    """A market that is silent now and then has holes of one bar, some of two, hardly any longer: nobody lost a page."""
    draw = np.random.default_rng(3)
    rows(20_000).filter(pl.Series(draw.random(20_000) > 0.06)).write_csv(tmp_path / "a.csv")

    counts = np.bincount([gap.bars for gap in read(tmp_path / "a.csv").gaps])
    assert counts[1] > counts[2] >= 20
    assert counts[2] >= 0.9 * counts[2:].sum()


@pytest.mark.parametrize("lost", [2, 3, 20])
def test_lost_pages_beside_silence(tmp_path, lost):
    """Holes of one length are told also among the single bars of a silent market."""
    index = pl.int_range(3_000)
    frame = rows(3_000).filter((index % 100 >= lost) & (index % 200 != 150))
    frame.write_csv(tmp_path / "a.csv")

    assert refusal(tmp_path / "a.csv").code == "lost_pages"


def test_structural_faults_cannot_be_accepted(tmp_path):
    """--accept helps only against suspicions, never against broken columns."""
    broken("close", 7, None).write_csv(tmp_path / "a.csv")

    with pytest.raises(DataError, match="expected a number"):
        read(tmp_path / "a.csv", accepted={"not_a_number"})


def test_holes_are_recorded_and_not_filled(tmp_path):
    """A missing bar stays missing and is in the ledger."""
    rows().filter(~pl.int_range(50).is_in([10, 11, 30])).write_csv(tmp_path / "a.csv")

    dataset = read(tmp_path / "a.csv")

    step = HOUR.step_ns
    assert len(dataset.bars) == 47
    assert [(gap.start, gap.bars, gap.kind) for gap in dataset.gaps] == [
        (START_NS + 10 * step, 2, GapKind.MISSING),
        (START_NS + 30 * step, 1, GapKind.MISSING),
    ]


@pytest.mark.parametrize(("trades", "kind"), [(1, GapKind.NO_TRADE), (1_000, GapKind.OUTAGE)])
def test_silence_is_judged_by_the_usual_number_of_trades(tmp_path, trades, kind):
    """Where few trades are usual a hole is a quiet time, where many are it is an outage."""
    rows(trades=[trades] * 50).filter(~pl.int_range(50).is_in([20, 21])).write_csv(tmp_path / "a.csv")

    assert [gap.kind for gap in read(tmp_path / "a.csv").gaps] == [kind]


def test_a_market_with_weekends_is_closed_then(tmp_path):
    """Two days without bars are no gap of a market that does not trade every day."""
    days = rows(timestamp=[START_NS // 10**9 + 86_400 * day for day in range(50)])
    days.filter(pl.int_range(50) % 7 < 5).write_csv(tmp_path / "a.csv")

    dataset = read_dataset(tmp_path / "a.csv", an_instrument("SPX/USD", trading_days=252), Timeframe.parse("1d"))

    assert dataset.gap_counts() == {"closed": 14}


def halves(tmp_path, change=None):
    frame = rows()
    frame[:30].write_csv(tmp_path / "a.csv")
    later = frame[20:] if change is None else change(frame[20:])
    later.write_csv(tmp_path / "b.csv")
    return read(tmp_path / "a.csv"), read(tmp_path / "b.csv")


def test_two_files_join_into_one(tmp_path):
    """Overlapping files that agree give the whole series, whichever comes first."""
    one, two = halves(tmp_path)

    assert joined(one, two).bars.sha256() == joined(two, one).bars.sha256() == some_bars(50, instrument=BTC).sha256()


def test_files_that_disagree_are_refused(tmp_path):
    """A shared bar with another price is not silently replaced."""
    one, two = halves(tmp_path, lambda frame: frame.with_columns(volume=pl.col("volume") + 1))

    with pytest.raises(DataError, match="another volume in 10 of 10"):
        joined(one, two)


@given(content=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_any_bytes_are_read_or_refused(tmp_path, content):
    """No content of a CSV file leads to anything but bars or one sentence."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    try:
        dataset = read_dataset(path, BTC, None)
    except PeakTradeError as error:
        assert str(error)
        return

    assert len(dataset.bars) >= 2


@given(
    content=st.lists(
        st.lists(
            st.sampled_from(["1", "2.5", "", "x", "1700000000", "1700003600", "-1", "nan", "1e400"]), min_size=5, max_size=9
        ),
        max_size=8,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_any_fields_are_read_or_refused(tmp_path, content):
    """So with fields that look like numbers and times."""
    path = tmp_path / "a.csv"
    path.write_text("\n".join(",".join(row) for row in content))

    try:
        dataset = read_dataset(path, BTC, None)
    except PeakTradeError as error:
        assert str(error)
        return

    assert len(dataset.bars) >= 2


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("Kraken_BTCEUR_1h", "BTC/EUR"),
        ("XBTEUR_60", "BTC/EUR"),
        ("BTC_USDT-1h", "BTC/USDT"),
        ("EURUSD_M1_2017H1", "EUR/USD"),
        ("prices", None),
        ("2024", None),
    ],
)
def test_symbols_in_file_names(name, symbol):
    """The usual names of data files tell their pair."""
    assert guess_symbol(name) == symbol


@needs_market_data
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Bitstamp_BTC_USD-Hourly.parquet", "swapped_volume"),
        ("XBTUSD_1440_mixed_layout.csv", "layout"),
        ("bybit_ADAUSDT_1m.parquet", "lost_pages"),
        ("bybit_BTCUSDT_1m.parquet", "outliers"),
    ],
)
def test_real_defects_are_found(name, code):
    """Each of the real broken files is refused for what is wrong with it."""
    with pytest.raises(DataError) as caught:
        read_dataset(MARKET_DATA / "defects" / name, BTC, None)

    assert caught.value.code == code


@needs_market_data
@pytest.mark.parametrize("path", sorted(MARKET_DATA.glob("[bck]*/*.parquet")), ids=lambda path: path.name)
def test_real_data_is_accepted(path):
    """No sound real series is refused."""
    if "trades" in path.name:
        pytest.skip("trades, not bars")

    dataset = read_dataset(path, BTC, None)

    assert dataset.accepted == ()


@needs_market_data
def test_raw_kraken_file_equals_its_parquet():
    """The OHLCVT file and the Parquet made from it give the same bars."""
    raw, parquet = MARKET_DATA / "raw" / "XBTEUR_60.csv", MARKET_DATA / "kraken" / "XBTEUR_60_2024Q4.parquet"

    assert read_dataset(raw, BTC, HOUR).bars.sha256() == read_dataset(parquet, BTC, HOUR).bars.sha256()


@needs_market_data
def test_the_kraken_outage_is_in_the_ledger():
    """The outage of 11 to 13 January 2018 shows as holes of 5, 23 and 19 hours."""
    dataset = read_dataset(MARKET_DATA / "kraken" / "XBTUSD_60.parquet", KNOWN["BTC/USD"], HOUR)
    days = dataset.between(datetime(2018, 1, 10, tzinfo=UTC), datetime(2018, 1, 14, tzinfo=UTC))

    assert [gap.bars for gap in days.gaps if gap.kind is GapKind.OUTAGE and gap.bars > 2] == [5, 23, 19]


def test_gzip_is_not_taken_for_csv(tmp_path):
    """A compressed file is refused in words, not unpacked by guess."""
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"timestamp,open,high,low,close,volume\n" * 50))

    with pytest.raises(DataError):
        read_raw(tmp_path / "a.csv")


def test_joining_keeps_what_is_known(tmp_path):
    """Kinds of gaps and accepted problems of both files survive, the hole between them is missing."""
    frame = rows(200, trades=[1_000] * 200)
    frame.filter(pl.int_range(200) < 60).filter(~pl.int_range(60).is_in([20, 21])).write_csv(tmp_path / "a.csv")
    late = frame.filter(pl.int_range(200) >= 70)
    late.with_columns(high=pl.when(pl.int_range(130) == 5).then(0.001).otherwise(pl.col("high"))).write_csv(tmp_path / "b.csv")

    whole = joined(read(tmp_path / "a.csv"), read(tmp_path / "b.csv", accepted={"high_low"}))

    assert [(gap.bars, gap.kind) for gap in whole.gaps] == [(2, GapKind.OUTAGE), (10, GapKind.MISSING)]
    assert whole.accepted == ("high_low",)


def test_joining_other_grids_is_refused(tmp_path):
    """Hours that begin at half past do not join hours that begin on the hour."""
    frame = rows(100)
    frame[:60].write_csv(tmp_path / "a.csv")
    frame[60:].with_columns(pl.col("timestamp") + 1_800).write_csv(tmp_path / "b.csv")

    with pytest.raises(DataError, match="on a grid of 1h"):
        joined(read(tmp_path / "a.csv"), read(tmp_path / "b.csv"))


def test_a_part_has_its_own_gaps(tmp_path):
    """Cutting a dataset keeps the holes inside and drops those outside."""
    rows().filter(~pl.int_range(50).is_in([10, 30])).write_csv(tmp_path / "a.csv")
    begin = datetime(2024, 1, 1, tzinfo=UTC)

    part = read(tmp_path / "a.csv").between(begin + timedelta(hours=20), begin + timedelta(hours=40))

    assert [gap.start for gap in part.gaps] == [START_NS + 30 * HOUR.step_ns]


def test_weekday_holes_are_told_from_weekends(tmp_path):
    """A weekend is closed, one weekday a holiday or lost, two weekdays are missing."""
    days = rows(60, timestamp=[START_NS // 10**9 + 86_400 * day for day in range(60)])  # 1 January 2024 was a Monday
    keep = pl.int_range(60)
    days.filter((keep % 7 < 5) & ~keep.is_in([9, 16, 17])).write_csv(tmp_path / "a.csv")

    dataset = read_dataset(tmp_path / "a.csv", an_instrument("SPX/USD", trading_days=252), Timeframe.parse("1d"))

    assert dataset.gap_counts() == {"closed": 16, "holiday": 1, "missing": 2}


def test_early_epochs_are_read(tmp_path):
    """Bars of the nineties have nine digits of seconds."""
    rows(timestamp=[800_000_000 + 3_600 * hour for hour in range(50)]).write_csv(tmp_path / "a.csv")

    assert read(tmp_path / "a.csv").bars.timestamp[0] == 800_000_000 * 10**9


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        ("close", [[1.0]] * 50, "not_a_number"),
        ("close", [True] * 50, "not_a_number"),
        ("close", [b"x"] * 50, "not_a_number"),
        ("timestamp", [True] * 50, "time"),
        ("timestamp", [[1]] * 50, "time"),
        ("timestamp", [b"x"] * 50, "time"),
        ("timestamp", [datetime(1600 + year, 1, 1) for year in range(50)], "time"),
        ("timestamp", [datetime(2500 + year, 1, 1) for year in range(50)], "time"),
        ("trades", [[1]] * 50, None),
    ],
)
def test_odd_parquet_types_are_one_sentence(tmp_path, column, values, code):
    """Columns of types that hold no prices or times are refused; a helper column of such a type is ignored."""
    rows(**{column: pl.Series(values)}).write_parquet(tmp_path / "a.parquet")

    if code is None:
        assert len(read(tmp_path / "a.parquet").bars) == 50
    else:
        assert refusal(tmp_path / "a.parquet").code == code


def test_a_column_twice_is_refused(tmp_path):
    """Two columns of one name are not chosen between."""
    text = rows().write_csv()
    (tmp_path / "a.csv").write_text(
        "\n".join(f"{line},{'Close' if number == 0 else '1'}" for number, line in enumerate(text.splitlines()))
    )

    assert "twice" in str(refusal(tmp_path / "a.csv"))


@pytest.mark.parametrize("factor", [1e-13, 1e13])
def test_absurd_prices_are_refused(tmp_path, factor):
    """Prices that no market has are refused."""
    rows(**{name: rows()[name] * factor / 100 for name in ("open", "high", "low", "close")}).write_csv(tmp_path / "a.csv")

    assert refusal(tmp_path / "a.csv").code == "magnitude"


def test_devices_and_pipes_are_refused(tmp_path):
    """What never ends is not read."""
    import os

    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="device or pipe"):
            read(path)


def test_a_part_of_a_second_is_off_the_grid(tmp_path):
    """Bars do not open at a fraction of a second."""
    rows(timestamp=some_bars(50).timestamp + 123_456_000).write_parquet(tmp_path / "a.parquet")

    assert refusal(tmp_path / "a.parquet").code == "off_grid"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_two_gigabytes_of_nothing_are_refused_by_their_beginning(tmp_path, ending, monkeypatch):
    """A sparse file, or a binary one, is refused before all of it is read."""
    path = tmp_path / f"sparse.{ending}"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    monkeypatch.setattr("hashlib.sha256", lambda _content: pytest.fail("all of it was read"))

    assert refusal(path).code == {"csv": "layout", "parquet": "truncated"}[ending]


def test_text_of_another_encoding_is_told(tmp_path):
    """A spreadsheet's UTF-16 is no row of unreadable column names."""
    path = tmp_path / "a.csv"
    path.write_bytes(rows().write_csv().encode("utf-16"))

    assert "convert it if it is UTF-16 text" in str(refusal(path))


def test_an_open_quotation_mark_is_one_short_sentence(tmp_path):
    """The rest of the file is not part of the message."""
    lines = rows().write_csv().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*lines[:3], f'"{lines[3]}', *lines[4:]]))
    told = str(refusal(tmp_path / "a.csv"))

    assert "is a quotation mark never closed?" in told
    assert len(told) < 250


def test_iso_times_with_a_zone_are_that_moment(tmp_path):
    """Offsets count, also where summer time changes them; one row without a zone among others is refused."""
    start = datetime(2024, 3, 30, 12, tzinfo=UTC)
    moments = [start + timedelta(hours=hour) for hour in range(50)]
    texts = [moment.astimezone(ZoneInfo("Europe/Berlin")).isoformat() for moment in moments]
    assert {text[-6:] for text in texts} == {"+01:00", "+02:00"}
    rows(timestamp=texts).write_csv(tmp_path / "a.csv")
    rows(timestamp=[*texts[:-1], texts[-1][:-6]]).write_csv(tmp_path / "b.csv")

    assert read(tmp_path / "a.csv").bars.timestamp.tolist() == [int(moment.timestamp()) * 10**9 for moment in moments]
    assert refusal(tmp_path / "b.csv").code == "time"
