"""Pages into bars: nothing is lost, nothing comes twice, whatever the pages are and wherever one is cut off."""

import json
import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import START_NS

from peak_trade.market import download
from peak_trade.market.download import Deal, DealPage, Formed, Patience, Span, TryAgain, Unfinished, columns_of, fetch
from peak_trade.market.importing import dataset_of, read_dataset
from peak_trade.model.bar import Timeframe
from peak_trade.model.errors import CheckFailed, DataError, StorageError, Unavailable
from peak_trade.model.instrument import KNOWN

S = 1_000_000_000
MINUTE = Timeframe.parse("1m")
STEP = MINUTE.step_ns
HEAD = {"origin": "fake BTC/EUR", "timeframe": "1m"}
FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Pages:
    """An exchange that tells some deals or bars in pages of a size, and does what `before` says before each answer."""

    def __init__(self, deals: list[Deal] | None = None, bars: list[Formed] | None = None, size: int = 3) -> None:
        self.told, self.bars, self.size = deals or [], bars or [], size
        self.origin, self.asked = "fake BTC/EUR", list[int]()
        self.before: Callable[[int], object] = lambda number: None

    def now(self) -> int:
        return START_NS + 10**6 * S

    def reach(self, now: int) -> int:
        return 0 if self.bars else now

    def skip(self, since: int) -> int:
        return since + self.size * STEP

    def candles(self, since: int) -> list[Formed]:
        self.asked.append(since)
        self.before(len(self.asked))
        return [bar for bar in self.bars if since <= bar.at < self.skip(since)]

    def deals(self, since: int) -> DealPage:
        self.asked.append(since)
        self.before(len(self.asked))
        page = [deal for deal in self.told if deal.at >= since][: self.size]
        return DealPage(page, page[-1].at if page else since - 1, full=len(page) == self.size)


class Waits(list[float]):
    """Pauses that were asked for and not taken."""

    def patience(self) -> Patience:
        return Patience(self.append, random.Random(3), lambda text: None)


def a_span(start: int = START_NS, until: int = START_NS + 10**5 * S, now: int = START_NS + 10**6 * S) -> Span:
    return Span(start=start, until=until, now=now, step_ns=STEP)


def run(source: Pages, path: Path, span: Span | None = None) -> list[Formed]:
    span = span or a_span()
    work = Unfinished(path, HEAD, span.start)
    return fetch(source, work, span, Waits().patience(), lambda at, bars: None)


def some_deals(moments: list[int], seed: int = 1) -> list[Deal]:
    """Return deals at moments after the start, nanoseconds, in their order."""
    draw = random.Random(seed)
    return [
        Deal(START_NS + at, Decimal(draw.randrange(1, 10**6)) / 10, Decimal(draw.randrange(1, 10**9)).scaleb(-8), number)
        for number, at in enumerate(sorted(moments), 1)
    ]


def oracle(deals: list[Deal], span: Span) -> list[tuple[Any, ...]]:
    """Return the bars of deals, worked out in another way: in fractions, interval by interval."""
    found = []
    for at in sorted({deal.at - deal.at % STEP for deal in deals}):
        inside = [deal for deal in deals if at <= deal.at < at + STEP]
        if at < span.start or at >= span.until or at + STEP > span.now:
            continue
        prices = [Fraction(deal.price) for deal in inside]
        volume = sum((Fraction(deal.volume) for deal in inside), Fraction(0))
        found.append((at, prices[0], max(prices), min(prices), prices[-1], volume, len(inside)))
    return found


def exact(bars: list[Formed]) -> list[tuple[Any, ...]]:
    return [(bar.at, *(Fraction(value) for value in bar[1:6]), bar.trades) for bar in bars]


#: Moments within an hour: crowded in few nanoseconds, on borders of bars, or anywhere.
MOMENTS = st.lists(
    st.one_of(
        st.sampled_from([0, 1, STEP - 1, STEP, STEP + 1, 5 * STEP, 7 * STEP - 1]),
        st.integers(0, 3_600 * S),
    ),
    max_size=40,
)


@FOLDER
@given(moments=MOMENTS, size=st.integers(1, 9), tail=st.integers(0, 120))
def test_bars_of_deals_are_exact(tmp_path_factory, moments, size, tail):
    """Pages of any size give the oracle's bars, or the loss of trades is told: where a nanosecond has more than a page."""
    deals = some_deals(moments)
    span = a_span(until=START_NS + 3_601 * S, now=START_NS + (3_540 + tail) * S)
    crowd = max((sum(one.at == deal.at for one in deals) for deal in deals), default=0)
    path = tmp_path_factory.mktemp("work") / "work"
    if crowd <= size - 1 or not deals:
        assert exact(run(Pages(deals, size=size), path, span)) == oracle(deals, span)
        return
    try:
        found = run(Pages(deals, size=size), path, span)
    except (CheckFailed, Unavailable):
        return
    assert exact(found) == oracle(deals, span)


@pytest.mark.parametrize(("crowd", "after", "error"), [(2, 1, None), (3, 1, None), (4, 1, CheckFailed), (4, 0, Unavailable)])
def test_a_crowd_in_one_nanosecond(tmp_path, crowd, after, error):
    """Up to a page of trades at one time is told whole; of more the rest can't be had, and that is said."""
    deals = some_deals([5] * crowd + [90 * S] * after)
    if error is None:
        assert exact(run(Pages(deals, size=3), tmp_path / "work")) == oracle(deals, a_span())
        return
    with pytest.raises(error):
        run(Pages(deals, size=3), tmp_path / "work")


def test_a_thousand_in_a_second(tmp_path):
    """A second with several pages of trades, each at its own nanosecond."""
    deals = some_deals([S + number for number in range(3_500)] + [70 * S])
    source = Pages(deals, size=1_000)

    assert exact(run(source, tmp_path / "work")) == oracle(deals, a_span())
    assert len(source.asked) == 5


@FOLDER
@given(moments=MOMENTS, size=st.integers(2, 6), cuts=st.lists(st.integers(1, 5), max_size=6), torn=st.integers(0, 40))
def test_cut_off_anywhere_and_gone_on(tmp_path_factory, moments, size, cuts, torn):
    """Interrupted at any page, with the end of the file torn off: the bars are those of one go."""
    deals = some_deals(sorted(set(moments)))
    path = tmp_path_factory.mktemp("work") / "work"
    for cut in cuts:
        source = Pages(deals, size=size)

        def stop(number: int, cut: int = cut) -> None:
            if number > cut:
                raise KeyboardInterrupt

        source.before = stop
        try:
            run(source, path)
        except KeyboardInterrupt:
            content = path.read_bytes()
            first = content.index(b"\n") + 1
            path.write_bytes(content[: max(first, len(content) - torn)])

    assert exact(run(Pages(deals, size=size), path)) == oracle(deals, a_span())


def test_no_page_is_asked_for_twice(tmp_path):
    """What is gone on with begins at the last known trade."""
    deals = some_deals([number * S for number in range(20)])
    first, second = Pages(deals, size=5), Pages(deals, size=5)

    def lost(number: int) -> None:
        if number == 4:
            raise Unavailable("gone")

    first.before = lost
    with pytest.raises(Unavailable):
        run(first, tmp_path / "work")
    run(second, tmp_path / "work")

    assert second.asked[0] == first.asked[3] == deals[12].at


@pytest.mark.parametrize("failures", [1, download.TRIES - 1])
def test_what_passes_is_asked_again(tmp_path, failures):
    """Pauses double, with a chance in them, and no page is lost."""
    deals, waits = some_deals([number * S for number in range(20)]), Waits()
    source = Pages(deals, size=5)

    def busy(number: int) -> None:
        if 2 <= number < 2 + failures:
            raise TryAgain("busy")

    source.before = busy
    work = Unfinished(tmp_path / "work", HEAD, START_NS)
    bars = fetch(source, work, a_span(), waits.patience(), lambda at, count: None)

    assert exact(bars) == oracle(deals, a_span())
    assert len(waits) == failures
    assert all(0.5 * 2**number <= pause < 2**number for number, pause in enumerate(waits))


def test_patience_ends(tmp_path):
    """After so many tries in a row it ends with one sentence, and what was fetched stays."""
    source, waits = Pages(some_deals([S * number for number in range(20)]), size=5), Waits()

    def busy(number: int) -> None:
        if number > 1:
            raise TryAgain("kraken refused (HTTP 503)")

    source.before = busy
    work = Unfinished(tmp_path / "work", HEAD, START_NS)
    with pytest.raises(Unavailable, match=f"{download.TRIES} times in a row.*go on"):
        fetch(source, work, a_span(), waits.patience(), lambda at, count: None)

    assert len(waits) == download.TRIES - 1
    assert Unfinished(tmp_path / "work", HEAD, START_NS).mark.number == 5


def test_lost_trades_are_told(tmp_path):
    """Numbers that leap where the known trade is no more: the exchange keeps something back."""
    deals = some_deals([S * number for number in range(20)])
    first = Pages(deals, size=5)

    def lost(number: int) -> None:
        if number == 3:
            raise Unavailable("gone")

    first.before = lost
    with pytest.raises(Unavailable):
        run(first, tmp_path / "work")

    with pytest.raises(CheckFailed, match="expected trade 10 after trade 9, found 13"):
        run(Pages(deals[12:], size=5), tmp_path / "work")


def test_trades_out_of_order_are_asked_again(tmp_path):
    """An answer whose trades are not in the order of their time is not believed."""
    deals = some_deals([S * number for number in range(5)])
    source = Pages(deals[::-1], size=5)

    with pytest.raises(Unavailable, match="out of order"):
        run(source, tmp_path / "work")


# ---- candles -------------------------------------------------------------------------------------------------------------


def candle(minute: int, close: str = "100", volume: str = "1", trades: int | None = 3) -> Formed:
    return Formed.of(START_NS + minute * STEP, ("100", "101", "99", close, volume), trades)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("first", [0, 25])
def test_pages_of_candles(tmp_path, size, first):
    """Every bar comes once, from a beginning before the exchange's own, through empty pages, up to the running one."""
    bars = [candle(minute, trades=None) for minute in range(first, 60) if minute not in (30, 31, 32, 40)]
    span = a_span(now=START_NS + 59 * STEP + 1)

    found = run(Pages(bars=bars, size=size), tmp_path / "work", span)

    assert found == [bar for bar in bars if bar.at < START_NS + 59 * STEP]


@pytest.mark.parametrize(("now", "count"), [(10 * STEP - 1, 9), (10 * STEP, 10), (10 * STEP + 1, 10)])
def test_the_running_bar_is_not_taken(tmp_path, now, count):
    """A bar is there when its time is over, not a nanosecond before; whichever way it is made."""
    bars = [candle(minute) for minute in range(11)]
    deals = some_deals([minute * STEP for minute in range(11)])
    span = a_span(now=START_NS + now)

    assert len(run(Pages(bars=bars, size=50), tmp_path / "one", span)) == count
    assert len(run(Pages(deals, size=50), tmp_path / "two", span)) == count


@pytest.mark.parametrize(("since", "until", "minutes"), [(0, 5, 5), (STEP, 5, 4), (1, 5, 4), (STEP - 1, 4, 3)])
def test_the_wanted_time(tmp_path, since, until, minutes):
    """Bars open at or after the first moment and before the last; one whose beginning was not asked for is left out."""
    deals = some_deals([minute * STEP + 7 for minute in range(11)])
    span = a_span(start=START_NS + since, until=START_NS + until * STEP)

    found = run(Pages(deals, size=2), tmp_path / "work", span)

    assert [bar.at for bar in found] == [START_NS + minute * STEP for minute in range(until - minutes, until)]


def test_silent_candles_are_holes(tmp_path):
    """A candle that counts no trade is none; one of an exchange that does not count is what it is."""
    counted = [candle(1), candle(2, volume="0", trades=0), candle(3)]
    told = [candle(1, trades=None), candle(2, volume="0", trades=None), candle(3, trades=None)]

    assert run(Pages(bars=counted, size=50), tmp_path / "one") == [counted[0], counted[2]]
    assert run(Pages(bars=told, size=50), tmp_path / "two") == told


def test_lost_rows_are_asked_for_again(tmp_path):
    """Rows that are missing in one answer are in the next; a row that comes twice counts once."""
    whole = [candle(minute) for minute in range(9)]
    source = Pages(bars=whole[:3] + whole[5:] + whole[7:], size=50)
    source.before = lambda number: setattr(source, "bars", whole) if number == 2 else None

    assert run(source, tmp_path / "work") == whole
    assert len(source.asked) == 2 + (10**5 // 60 - 9) // 50 + 1


@pytest.mark.parametrize("size", [2, 5, 50])
@pytest.mark.parametrize("passed", [1, STEP - 1, STEP, 5 * STEP])
def test_gone_on_later(tmp_path, size, passed):
    """The bar that was running the first time is there the second time, when it is over; so are those after it."""
    bars = [candle(minute, close=str(100 + minute / 100), trades=None) for minute in range(20)]
    first, second = (a_span(now=START_NS + 10 * STEP + 7 + later) for later in (0, passed))

    before = run(Pages(bars=bars[:11], size=size), tmp_path / "work", first)
    after = run(Pages(bars=bars, size=size), tmp_path / "work", second)

    assert before == bars[:10]
    assert after == [bar for bar in bars if bar.at + STEP <= second.now]


def test_candles_that_went_out_of_reach(tmp_path):
    """Begun with candles, gone on when they no longer reach back: the rest comes from the trades, bar by bar the same."""
    deals = some_deals([minute * STEP + at for minute in range(60) for at in (7, STEP - 5)])
    bars = run(Pages(deals, size=50), tmp_path / "other")
    first, second = (a_span(now=START_NS + minutes * STEP + 9) for minutes in (20, 50))

    run(Pages(bars=bars[:21], size=50), tmp_path / "work", first)
    after = run(Pages(deals, size=5), tmp_path / "work", second)

    assert after == bars[:50]


def test_a_bar_begun_by_trades_is_ended_by_them(tmp_path):
    """Cut off within a bar, gone on where candles would reach: that bar is whole."""
    deals = some_deals([minute * STEP + at for minute in range(20) for at in (7, 70, STEP - 5)])
    bars = run(Pages(deals, size=50), tmp_path / "other")
    first, second = Pages(deals, size=4), Pages(deals, bars, size=4)

    def lost(number: int) -> None:
        if number == 3:
            raise Unavailable("gone")

    first.before = lost
    with pytest.raises(Unavailable):
        run(first, tmp_path / "work")

    assert second.reach(0) == 0
    assert run(second, tmp_path / "work") == bars


def test_nothing_fetched_is_nothing_to_go_on_with(tmp_path):
    """A beginning in the future leaves nothing behind that would be in the way of another one."""
    assert run(Pages(some_deals([])), tmp_path / "work", a_span(start=START_NS + 10**9 * S)) == []

    assert len(run(Pages(some_deals([1])), tmp_path / "work")) == 1


def test_contradictions_are_told(tmp_path):
    """Two rows of one time that differ."""
    source = Pages(bars=[candle(1), candle(1, close="99.5"), candle(2)], size=50)

    with pytest.raises(CheckFailed, match="two that differ"):
        run(source, tmp_path / "work")


# ---- the working file ----------------------------------------------------------------------------------------------------


def test_a_file_of_something_else_is_refused(tmp_path):
    """Of another origin, of a later beginning, or damaged in its middle: refused, by its name, and left as it is."""
    deals = some_deals([S * number for number in range(20)])
    path = tmp_path / "work"
    run(Pages(deals), path)
    kept = path.read_bytes()

    with pytest.raises(DataError, match="another source"):
        Unfinished(path, HEAD | {"origin": "other"}, START_NS)
    with pytest.raises(DataError, match="later than asked for"):
        Unfinished(path, HEAD, START_NS - 1)
    assert Unfinished(path, HEAD, START_NS + STEP).mark.number == 20
    assert path.read_bytes() == kept

    path.write_bytes(kept.replace(b'"mark"', b'"mark', 1))
    with pytest.raises(DataError, match=f"{path}.*damaged"):
        Unfinished(path, HEAD, START_NS)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "7",
        "{}",
        '{"bars":[[1,2]],"running":null,"mark":[1]}',
        '{"bars":[],"running":[1,"x","1","1","1","1",1],"mark":[1]}',
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_nonsense_in_the_file_is_refused(tmp_path, line, place):
    """JSON that is no page, at the head or below it: one sentence."""
    path = tmp_path / "work"
    run(Pages(some_deals([S * number for number in range(20)])), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:place], line, *lines[place + 1 :]]) + "\n")

    with pytest.raises(DataError, match="damaged"):
        Unfinished(path, HEAD, START_NS)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    """A page that can't be kept ends the download; those before are there."""
    deals = some_deals([S * number for number in range(20)])
    path, keep = tmp_path / "work", download.os.fsync
    calls = iter([None] * 2)

    def full(handle: int) -> None:
        if next(calls, 1):
            raise OSError(28, "No space left on device")
        keep(handle)

    work = Unfinished(path, HEAD, START_NS)
    monkeypatch.setattr("peak_trade.market.download.os.fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        fetch(Pages(deals), work, a_span(), Waits().patience(), lambda at, count: None)
    monkeypatch.undo()

    assert exact(run(Pages(deals), path)) == oracle(deals, a_span())


def test_progress_goes_forward(tmp_path):
    """What is told after each page rises, up to the last."""
    deals, seen = some_deals([S * 20 * number for number in range(20)]), list[tuple[int, int]]()
    work = Unfinished(tmp_path / "work", HEAD, START_NS)

    fetch(Pages(deals), work, a_span(), Waits().patience(), lambda at, count: seen.append((at, count)))

    assert seen == sorted(seen)
    assert seen[-1] == (deals[-1].at, 6)


# ---- what it comes to ----------------------------------------------------------------------------------------------------


def test_as_krakens_own_files(tmp_path):
    """Bars of trades have the hash that a file in Kraken's layout with the same bars has, holes and their kinds included."""
    draw = random.Random(5)
    moments = [draw.randrange(0, 600 * 60 * S) for _ in range(2_000)]
    deals = [deal for deal in some_deals(moments) if not 200 * STEP <= deal.at - START_NS < 230 * STEP]
    deals = [replace_number(deal, number) for number, deal in enumerate(deals, 1)]
    # Prices of a market, not of chance: the checks would refuse those.
    deals = [deal._replace(price=Decimal(60_000) + Decimal(draw.randrange(1000)) / 10) for deal in deals]
    bars = run(Pages(deals, size=100), tmp_path / "work")
    lines = [
        ",".join([str(at // S), *(plain(value) for value in (opened, high, low, close)), plain(volume), str(trades)])
        for at, opened, high, low, close, volume, trades in oracle(deals, a_span())
    ]
    (tmp_path / "XBTEUR_1.csv").write_text("\n".join(lines) + "\n")

    imported = read_dataset(tmp_path / "XBTEUR_1.csv", KNOWN["BTC/EUR"], MINUTE)
    fetched = dataset_of(columns_of(bars, "fake"), KNOWN["BTC/EUR"], MINUTE, "fake")

    assert fetched.bars.sha256() == imported.bars.sha256()
    assert fetched.gaps == imported.gaps
    assert {"no_trade", "outage"} <= {gap.kind.value for gap in fetched.gaps}


def replace_number(deal: Deal, number: int) -> Deal:
    return deal._replace(number=number)


def plain(value: Fraction) -> str:
    """Return a decimal fraction as text with eight digits, as in the files."""
    return format(Decimal(value.numerator) / Decimal(value.denominator), ".8f")


def test_the_file_says_what_it_is_of(tmp_path):
    """The first line is a JSON object that a person can read."""
    run(Pages(some_deals([1])), tmp_path / "work")

    head = json.loads((tmp_path / "work").read_text().splitlines()[0])

    assert head == {"layout": 1, **HEAD, "start": START_NS}
