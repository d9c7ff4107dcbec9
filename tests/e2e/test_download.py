"""`peak-trade data download` against the emulated exchange: the command, its faults, its crashes."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import filelock
import httpx2
import polars as pl
import pytest
from tests.emulated import Emulated, emulating, until

from peak_trade.compose import Parts
from peak_trade.emulator.orders import Print
from peak_trade.market import download
from peak_trade.market.exchanges import KrakenSource
from peak_trade.model.clock import moment_text
from peak_trade.runs.emulated import emulator_for_run
from peak_trade.runs.research import data as runs_data

S = 1_000_000_000
MINUTE = 60 * S


@pytest.fixture(scope="module")
def exchange() -> Iterator[Emulated]:
    """An emulator whose past has trades: of two days that end half an hour ago, more than its own memory holds."""
    with emulating(tier="unlimited") as found:
        yield found


@pytest.fixture
def past(exchange) -> tuple[int, list[Print]]:
    """Set the trades of the emulated past; return their beginning, on the grid of an hour, and themselves."""
    draw = random.Random(4)
    start = (exchange.clock() // (60 * MINUTE) - 48) * 60 * MINUTE
    moments = sorted(draw.randrange(0, 47 * 60 * MINUTE) // 1_000 * 1_000 for _ in range(9_500))
    moments = [at for at in dict.fromkeys(moments) if not 600 * MINUTE <= at < 607 * MINUTE]
    price, told = 60_000.0, []
    for number, at in enumerate(moments, 1):
        price *= 1 + draw.gauss(0, 0.0002)
        volume = Decimal(draw.randrange(1, 10**8)).scaleb(-8)
        told.append(Print(number, Decimal(f"{price:.1f}"), volume, draw.random() < 0.5, True, start + at))

    def put() -> None:
        exchange.opened.emulator.faults.clear(exchange.clock())
        listing = exchange.opened.engine.listings["BTC/EUR"]
        listing.prints = deque(told)  # a longer past than the emulator's memory holds by itself

    exchange.inside(put)
    return start, told


@pytest.fixture
def quick(monkeypatch, socket_enabled) -> None:
    """No pauses between requests, and hardly any before the next try."""
    build = Parts.bar_source
    monkeypatch.setattr(Parts, "bar_source", lambda *given, **named: build(*given, **named | {"paced": False}))
    monkeypatch.setattr(download, "PAUSE_MAX_S", 0.01)


def fault(exchange: Emulated, name: str, **told: Any) -> None:
    """Set a fault."""
    exchange.inside(lambda: exchange.opened.emulator.faults.add({"name": name, **told}, exchange.clock()))


def fetched(project, exchange: Emulated, *more: str, timeframe: str = "1m"):
    place = ["--base-url", exchange.url, "--symbol", "BTC/EUR", "--timeframe", timeframe]
    return project.run("data", "download", *place, *more)


def asked(start: int, minutes: int = 1_500) -> list[str]:
    """Return the options of a time whose beginning no candle of a minute reaches."""
    return ["--since", moment_text(start), "--until", moment_text(start + minutes * MINUTE), "--json"]


def stored(project, timeframe: str = "1m") -> Path:
    return project.folder / "var" / "data" / "BTC-EUR" / f"{timeframe}.parquet"


def oracle(told: list[Print], start: int, minutes: int) -> pl.DataFrame:
    """Return minutes of trades, made by polars."""
    frame = pl.DataFrame(
        {
            "at": [one.at for one in told],
            "price": [float(one.price) for one in told],
            "lots": [int(one.volume.scaleb(8)) for one in told],
        }
    ).filter((pl.col("at") >= start) & (pl.col("at") < start + minutes * MINUTE))
    grouped = frame.group_by(timestamp=pl.col("at") // MINUTE * MINUTE, maintain_order=True)
    found = grouped.agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("lots").sum(),
    )
    # polars divides by multiplying with the reciprocal, which costs the last digit.
    return found.with_columns(volume=pl.Series([lots / 10**8 for lots in found["volume"]]))


# ---- by trades and by candles --------------------------------------------------------------------------------------------


def test_bars_of_trades(project, exchange, past, quick):
    """A past that no candle reaches is made of its trades, exactly; silence is a hole that is called so."""
    start, told = past

    ended = fetched(project, exchange, *asked(start))

    assert ended.code == 0, ended.err
    assert ended.err == ""
    frame = pl.read_parquet(stored(project)).with_columns(pl.col("timestamp").to_physical())
    assert frame.equals(oracle(told, start, 1_500))
    assert ended.json["added"] == ended.json["bars"] == len(frame)
    assert ended.json["origin"] == f"kraken at {exchange.url} BTC/EUR"
    assert ended.json["gaps"]["missing_bars"] == 1_500 - len(frame) > 7
    assert set(ended.json["gaps"]["by_kind"]) <= {"no_trade", "outage"}
    assert list(stored(project).parent.glob(".*.download")) == []


def test_bars_of_candles(project, exchange, past, quick, monkeypatch):
    """What the newest 720 candles reach comes from them in one answer; the running one is not among it."""
    now = exchange.clock()
    monkeypatch.setattr(KrakenSource, "now", lambda self: self.market and now)
    first = (now // (60 * MINUTE) - 300) * 60 * MINUTE
    asked_for = httpx2.get(f"{exchange.url}/0/public/OHLC?pair=XBTEUR&interval=60", trust_env=False).json()["result"]
    rows = next(rows for name, rows in asked_for.items() if name != "last")

    ended = fetched(project, exchange, "--since", moment_text(first), "--json", timeframe="1h")

    frame = pl.read_parquet(stored(project, "1h")).with_columns(pl.col("timestamp").to_physical())
    whole = [row for row in rows if row[0] * S >= first and (row[0] + 3_600) * S <= now - 10 * S]
    assert ended.code == 0, ended.err
    assert len(whole) in (299, 300)
    assert frame.rows() == [(row[0] * S, *map(float, (*row[1:5], row[6]))) for row in whole]


def test_the_same_twice_and_in_halves(project, exchange, past, quick):
    """Twice gives the same hash and adds nothing; two halves, and one that goes on by itself, give that of one go."""
    start, _ = past
    whole = fetched(project, exchange, *asked(start)).json
    again = fetched(project, exchange, *asked(start)).json
    replaced = fetched(project, exchange, *asked(start), "--replace").json
    project.run("data", "remove", "BTC/EUR", "1m")
    half = fetched(project, exchange, *asked(start, 700)).json
    rest = fetched(project, exchange, "--until", asked(start)[3], "--json").json

    assert (again["added"], again["sha256"], replaced["sha256"]) == (0, whole["sha256"], whole["sha256"])
    assert half["bars"] + rest["added"] == whole["bars"] > half["bars"] > 500
    assert rest["sha256"] == whole["sha256"]
    assert rest["origin"] == whole["origin"]
    assert rest["gaps"]["missing_bars"] == whole["gaps"]["missing_bars"]
    assert "missing" not in rest["gaps"]["by_kind"]


def test_until_now(project, exchange, past, quick):
    """Without an end it goes up to the last bar that is over by the exchange's clock, not this machine's."""
    start, _ = past

    ended = fetched(project, exchange, *asked(start)[:2], "--json", timeframe="1h")
    # More hours ago than there are candles of five minutes.
    later = fetched(project, exchange, *asked(start - 3 * 24 * 60 * MINUTE)[:2], "--json", timeframe="5m")

    assert (ended.code, later.code) == (0, 0), ended.err + later.err
    assert ended.json["last"] <= moment_text(exchange.clock() - 60 * MINUTE)
    assert later.json["first"] == moment_text(start)
    assert f"tells no bars before {moment_text(start)}" in later.err


@pytest.mark.parametrize(("late_s", "last"), [(9, -2), (10, -1)])
def test_answers_may_lag(project, exchange, past, quick, monkeypatch, late_s, last):
    """A bar is taken ten seconds after its end, not before."""
    hour = exchange.clock() // (60 * MINUTE)
    monkeypatch.setattr(KrakenSource, "now", lambda self: self.market and hour * 60 * MINUTE + late_s * S)

    ended = fetched(project, exchange, "--since", moment_text((hour - 9) * 60 * MINUTE), "--json", timeframe="1h")

    assert ended.json["last"] == moment_text((hour + last) * 60 * MINUTE)


# ---- faults --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rest.http_5xx_before", {"args": {"status": 502}}),
        ("rest.http_5xx_before", {"args": {"status": 520}}),
        ("rest.reset_before", {}),
        ("rest.reset_after", {}),
        ("rest.html_200", {}),
        ("rest.throttled", {"args": {"seconds": 0.2}}),
        ("rest.service_busy", {}),
        ("rest.service_unavailable", {}),
        ("rest.service_timeout", {}),
        ("rest.internal_error", {}),
    ],
)
@pytest.mark.parametrize("endpoint", ["Trades", "AssetPairs"])
def test_what_passes(project, exchange, past, quick, name, told, endpoint):
    """A fault that strikes twice costs two lines on stderr and no bar, whichever question it strikes."""
    start, trades = past
    fault(exchange, name, count=2, match={"endpoint": endpoint}, **told)

    ended = fetched(project, exchange, *asked(start))

    assert ended.code == 0, ended.err
    assert 1 <= ended.err.count("asking again in") <= 3
    assert ended.json["bars"] == len(oracle(trades, start, 1_500))


def test_what_does_not_pass(project, exchange, past, quick, monkeypatch):
    """Out for long from the third page on: exit code 1 with one sentence at the end; the same command goes on afterwards."""
    start, trades = past
    ask, pages = KrakenSource.deals, list[int]()

    def deals(source: KrakenSource, since: int) -> Any:
        pages.append(since)
        if len(pages) == 3:
            fault(exchange, "rest.service_unavailable", for_s=3_600, match={"endpoint": "Trades"})
        return ask(source, since)

    monkeypatch.setattr(KrakenSource, "deals", deals)
    refused = fetched(project, exchange, *asked(start))
    nothing = stored(project).exists()
    exchange.inside(lambda: exchange.opened.emulator.faults.clear(exchange.clock()))
    ended = fetched(project, exchange, *asked(start))

    assert (refused.code, refused.out, nothing) == (1, "", False)
    assert refused.err.splitlines()[-1].startswith(
        "peak-trade: kraken refused or was out of reach (EService:Unavailable) 7 times"
    )
    assert "going on with" in ended.err
    assert pages.count(start) == 1
    assert ended.json["bars"] == len(oracle(trades, start, 1_500))


def test_a_captcha_ends_it(project, exchange, past, quick):
    """At once, with one sentence."""
    fault(exchange, "rest.captcha_403", match={"endpoint": "Trades"})

    ended = fetched(project, exchange, *asked(past[0]))

    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "captcha" in ended.err


@pytest.mark.parametrize("name", ["data.ohlc_hole", "data.ohlc_duplicate", "data.ohlc_reorder"])
def test_candles_that_are_wrong_once(project, exchange, past, quick, name):
    """Rows that are missing, come twice or change places in one answer: the bars are those of a sound one."""
    first = (exchange.clock() // (60 * MINUTE) - 300) * 60 * MINUTE
    since = ["--since", moment_text(first), "--until", moment_text(first + 290 * 60 * MINUTE), "--json"]
    sound = fetched(project, exchange, *since, timeframe="1h").json
    project.run("data", "remove", "BTC/EUR", "1h")
    fault(exchange, name, count=1, args={"rows": 3})

    struck = fetched(project, exchange, *since, timeframe="1h").json

    assert struck["sha256"] == sound["sha256"]


def test_out_of_reach(project, quick):
    """Nobody listens: told, tried again, ended; no working file holds anything."""
    ended = project.run(
        *("data", "download", "--base-url", "http://127.0.0.1:9", "--symbol", "BTC/EUR"),
        *("--timeframe", "1m", "--since", "2024-01-01"),
    )

    assert ended.code == 1
    assert "7 times in a row" in ended.err.splitlines()[-1]


# ---- cut off -------------------------------------------------------------------------------------------------------------


def working(project) -> Path:
    return stored(project).with_name(".1m.kraken.download")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_gone_on(project, exchange, past, quick, number):
    """Killed in the middle, at a pace of one request a second: the same command fetches the rest, and the bars are all."""
    start, trades = past
    place = ["--base-url", exchange.url, "--symbol", "BTC/EUR", "--timeframe", "1m", *asked(start)]
    process = project.start("data", "download", *place)
    until(lambda: working(project).exists() and working(project).read_bytes().count(b"\n") >= 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    kept = working(project).read_bytes()
    known = [json.loads(line)["mark"][1] for line in kept.splitlines()[1:] if line.endswith(b"}")]

    ended = fetched(project, exchange, *asked(start))

    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    assert 1_999 <= known[-1] < len(trades)
    assert ended.code == 0, ended.err
    assert "going on with" in ended.err
    frame = pl.read_parquet(stored(project)).with_columns(pl.col("timestamp").to_physical())
    assert frame.equals(oracle(trades, start, 1_500))
    assert not working(project).exists()


def test_killed_between_storing_and_tidying(project, exchange, past, quick, monkeypatch):
    """The bars are stored and the working file still there: the next one adds nothing and removes it."""
    start, _ = past
    with monkeypatch.context() as killed:
        killed.setattr(download.Unfinished, "remove", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        first = fetched(project, exchange, *asked(start))

    again = fetched(project, exchange, *asked(start))

    assert first.code == 130
    assert (again.code, again.json["added"]) == (0, 0)
    assert not working(project).exists()


# ---- refusals ------------------------------------------------------------------------------------------------------------


def test_one_at_a_time(project, exchange, past, quick, monkeypatch):
    """While another import or download holds the series, a second one is refused in the end."""
    monkeypatch.setattr(runs_data, "LOCK_WAIT_S", 0.05)
    path = stored(project)
    path.parent.mkdir(parents=True)

    with filelock.FileLock(path.parent / f".{path.name}.lock"):
        refused = fetched(project, exchange, *asked(past[0]))

    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert "another import or download" in refused.err
    assert fetched(project, exchange, *asked(past[0])).code == 0


def test_a_conflict_changes_nothing(project, exchange, past, quick):
    """Other prices for the same minutes are refused; the store is as it was, and --replace takes the new ones."""
    start, _ = past
    lines = [f"{start // S + 60 * minute},100,101,99,100.{minute % 7},1" for minute in range(600)]
    (project.folder / "bars.csv").write_text("timestamp,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    assert project.run("data", "import", "bars.csv", "--symbol", "BTC/EUR", "--timeframe", "1m").code == 0
    before = stored(project).read_bytes()

    refused = fetched(project, exchange, *asked(start))

    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "agree with the stored ones" in refused.err
    assert stored(project).read_bytes() == before
    assert fetched(project, exchange, *asked(start), "--replace").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeframe", "1m"], "--since"),
        (["--timeframe", "7x", "--since", "2024-01-01"], "timeframe"),
        (["--timeframe", "1m", "--since", "soon"], "--since"),
        (["--timeframe", "1m", "--since", "2024-01-02", "--until", "2024-01-01"], "--until"),
        (["--timeframe", "1m", "--since", "2024-01-01", "--exchange", "krakn"], "such as kraken"),
        (["--timeframe", "1m", "--since", "2024-01-01", "--emulator"], "--emulator alone"),
        (["--timeframe", "1m", "--since", "2024-01-01", "--symbol", "BTC/EURO"], "such as BTC/EUR"),
        (["--timeframe", "1m", "--since", "2030-01-01"], "at least 2 complete bars"),
    ],
)
def test_wrong_options(project, exchange, past, quick, options, words):
    """One sentence, exit code 2, nothing stored."""
    ended = project.run("data", "download", "--base-url", exchange.url, "--symbol", "BTC/EUR", *options)

    assert (ended.code, ended.out, len(ended.err.strip().splitlines())) == (2, "", 1)
    assert words in ended.err
    assert not stored(project).exists()


# ---- an emulator for the run ---------------------------------------------------------------------------------------------


def test_offline(project, socket_enabled):
    """An emulator for the command alone: the same bars each time, marked as made up and joined with no others."""
    options = ["--symbol", "BTC/EUR", "--timeframe", "1h", "--until", "2024-01-20", "--json"]
    first = project.run("data", "download", "--emulator", "--since", "2024-01-10", *options)
    again = project.run("data", "download", "--emulator", *options)
    project.bars("bars.csv", count=100)
    imported = project.run("data", "import", "bars.csv", "--symbol", "ETH/EUR", "--timeframe", "1h")
    mixed = project.run("data", "download", "--emulator", "--symbol", "ETH/EUR", *options[2:])

    assert (first.code, first.json["bars"], first.json["last"]) == (0, 240, "2024-01-19T23:00:00Z")
    assert (again.code, again.json["added"], again.json["sha256"]) == (0, 0, first.json["sha256"])
    assert first.json["origin"].startswith("the emulator, made up")
    assert (imported.code, mixed.code) == (0, 2)
    assert "do not mix" in mixed.err


def answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/0/public/Time", timeout=5, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def test_it_ends_with_the_block(socket_enabled):
    """It serves within the block, at the clock's beginning that was asked for, and not after it."""
    with emulator_for_run(begin=1_700_000_000 * S, speed=10.0) as found:
        told = httpx2.get(f"{found.base_url}/0/public/Time", trust_env=False).json()
        assert 1_700_000_000 <= told["result"]["unixtime"] < 1_700_001_000
        assert set(found.keys) == {"trading", "query", "cancel"}
        assert found.stream_url == found.base_url.replace("http", "ws")

    assert not answers(found.base_url)


def test_it_ends_when_its_parent_is_killed(project, socket_enabled):
    """Killed without a chance to say so; a client's open connection does not keep it alive."""
    code = (
        "import time\nfrom peak_trade.runs.emulated import emulator_for_run\n"
        "with emulator_for_run() as found:\n    print(found.base_url, flush=True)\n    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=project.folder)
    assert parent.stdout is not None
    address = parent.stdout.readline().strip()
    with httpx2.Client(trust_env=False) as client:
        assert client.get(f"{address}/0/public/Time").status_code == 200
        os.kill(parent.pid, signal.SIGKILL)
        parent.communicate(timeout=20)
        until(lambda: not answers(address))
