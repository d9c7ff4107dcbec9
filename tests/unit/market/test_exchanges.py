"""ccxt in our words: which errors pass, which do not, and that no other host is ever asked."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import ccxt
import pytest
import requests

from peak_trade.market.download import Deal, Formed, TryAgain
from peak_trade.market.exchanges import PagedSource, answering, open_source, redirected
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import MachineClock, nanoseconds
from peak_trade.model.errors import InputError, Unavailable

HOUR = Timeframe.parse("1h")
BASE = "http://127.0.0.1:9"


def opened(
    name: str = "kraken", symbol: str = "BTC/EUR", base_url: str | None = BASE, timeframe: Timeframe = HOUR
) -> PagedSource:
    return open_source(name, symbol, timeframe, MachineClock(), base_url=base_url, paced=False, timeout_s=5)


def addresses(part: Any) -> Iterator[str]:
    if isinstance(part, dict | list):
        for one in part.values() if isinstance(part, dict) else part:
            yield from addresses(one)
    elif isinstance(part, str):
        yield part


@pytest.mark.parametrize("name", ccxt.exchanges)
def test_every_address_is_overridden(name):
    """Of every exchange that ccxt knows, whatever the shape of its addresses; no answer leads elsewhere either."""
    client = getattr(ccxt, name)()
    before = [one for one in addresses(client.urls) if "://" in one]
    redirected(client, BASE)
    after = [one for one in addresses(client.urls) if "://" in one]

    assert len(after) == len(before) > 0
    assert all(one.startswith(BASE) and one[len(BASE) :][:1] in ("", "/", "?", "#") for one in after)
    assert client.session.max_redirects == 0


@pytest.mark.parametrize(("name", "near"), [("krakn", "kraken"), ("Kraken", "kraken"), ("binanse", "binance"), ("", "kraken")])
def test_an_unknown_exchange(name, near):
    """One sentence with the names that are near."""
    with pytest.raises(InputError, match=f"such as .*{near}.*correct --exchange"):
        opened(name)


@pytest.mark.parametrize("address", ["127.0.0.1:8790", "ftp://127.0.0.1", "http://", "http:// x"])
def test_a_wrong_address(address):
    """What is no address of the web is refused before anything is asked."""
    with pytest.raises(InputError, match="--base-url"):
        opened(base_url=address)


def with_status(status: int, kind: type[Exception] = ccxt.ExchangeNotAvailable) -> Exception:
    """Return what ccxt raises of an HTTP status."""
    answer = requests.Response()
    answer.status_code = status
    error = kind("kraken GET http://127.0.0.1/0/public/Trades <html>")
    error.__context__ = requests.HTTPError(response=answer)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ccxt.RateLimitExceeded("kraken too many"), TryAgain),
        (ccxt.DDoSProtection('kraken {"error":["EAPI:Rate limit exceeded"]}'), TryAgain),
        (ccxt.ExchangeError('kraken {"error":["EService:Throttled: 1764000000"]}'), TryAgain),
        (ccxt.ExchangeError('kraken {"error":["EService:Timeout"]}'), TryAgain),
        (ccxt.RequestTimeout("kraken GET http://x"), TryAgain),
        (ccxt.NetworkError("kraken GET http://x"), TryAgain),
        (with_status(429, ccxt.RateLimitExceeded), TryAgain),
        (with_status(502), TryAgain),
        (with_status(503), TryAgain),
        (with_status(520, ccxt.ExchangeError), TryAgain),
        (with_status(403), Unavailable),
        (with_status(404), Unavailable),
        (with_status(301, ccxt.ExchangeError), Unavailable),
        (ccxt.ExchangeError('kraken {"error":["EQuery:Unknown asset pair"]}'), Unavailable),
        (ccxt.AuthenticationError("binance key"), Unavailable),
        (ccxt.BadSymbol("no such"), InputError),
        (ccxt.NotSupported("no fetchOHLCV"), InputError),
        (KeyError("result"), TryAgain),
        (TypeError("string indices"), TryAgain),
    ],
    ids=lambda one: f"{type(one).__name__}" if isinstance(one, Exception) else one.__name__,
)
def test_errors_in_our_words(error, kind):
    """What passes is to be asked again; what does not ends the command with a sentence of one line."""
    with pytest.raises(kind) as caught, answering("kraken"):
        raise error

    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "<html>" not in str(caught.value)


def test_a_captcha_is_named():
    """It does not pass by asking again."""
    with pytest.raises(Unavailable, match=r"captcha.*what was fetched is kept"), answering("kraken"):
        raise with_status(403)


class Client:
    """An exchange as ccxt shows it, with bars of its own."""

    id, features = "fake", {"spot": {"fetchOHLCV": {"limit": 300}}}

    def __init__(self, markets: tuple[str, ...] = ("BTC/EUR",), **has: object) -> None:
        self.markets, self.has = markets, {"fetchOHLCV": True, **has}
        self.timeframes = {"1h": "60", "1d": "1440"}
        self.asked: list[tuple[Any, ...]] = []

    def load_markets(self) -> dict[str, Any]:
        return {name: {"symbol": name, "id": name} for name in self.markets}

    def safe_dict(self, part: dict[str, Any], name: str) -> Any:
        return part.get(name)

    def fetch_time(self) -> int:
        return 1_700_000_000_123

    def fetch_ohlcv(self, *asked: Any) -> list[list[Any]]:
        self.asked.append(asked)
        return [[1_700_000_000_000, 1, 2.5, 0.1, 1e-7, 3]]


def paged(client: Client, symbol: str = "BTC/EUR", timeframe: Timeframe = HOUR) -> PagedSource:
    return PagedSource(client, symbol, timeframe, MachineClock(), "fake")


def test_rows_become_bars():
    """Milliseconds become nanoseconds, floats the decimals that they print as."""
    client = Client()

    found = paged(client).candles(1_700_000_000_000_000_000)

    assert found == [Formed.of(1_700_000_000_000_000_000, ("1", "2.5", "0.1", "0.0000001", "3"), None)]
    assert found[0].close == Decimal("1e-7")
    assert client.asked == [("BTC/EUR", "1h", 1_700_000_000_000, 300)]


def test_what_kraken_is_asked():
    """What Kraken takes is exclusive: a nanosecond, or a second, before what is wanted. Digits and numbers stay."""
    source, told = opened(), list[dict[str, Any]]()
    row = ["60000.10000", "0.00000001", "1700000000.123456789", "b", "m", "", 77]
    source._market = {"id": "XXBTZEUR", "symbol": "BTC/EUR"}

    def answer(asked: dict[str, Any], rows: list[list[Any]], last: object) -> dict[str, Any]:
        told.append(asked)
        return {"error": [], "result": {"XXBTZEUR": rows, "last": last}}

    source._client.public_get_trades = lambda asked: answer(asked, [row], "1700000000123456789")
    source._client.public_get_ohlc = lambda asked: answer(asked, [[1700000000, "1", "2", "0.5", "1.5", "9", "3", 4]], 1)

    page, bars = source.deals(1_700_000_000_000_000_000), source.candles(1_700_000_000_000_000_000)

    assert [asked["since"] for asked in told] == ["1699999999999999999", 1_699_999_999]
    assert page == (
        [Deal(1_700_000_000_123_456_789, Decimal("60000.1"), Decimal("1e-8"), 77)],
        1_700_000_000_123_456_789,
        False,
    )
    assert bars == [Formed.of(1_700_000_000_000_000_000, ("1", "2", "0.5", "1.5", "3"), 4)]


@pytest.mark.parametrize(("timeframe", "minutes"), [("1h", 60), ("1w", 10_080), ("15d", 21_600), ("2h", None), ("30s", None)])
def test_how_far_candles_reach(timeframe, minutes):
    """720 candles with the running one; of a length that Kraken has no candles of, none: those are made of trades."""
    now = 1_700_000_000_000_000_000
    found = opened(timeframe=Timeframe.parse(timeframe)).reach(now)

    step = (minutes or 0) * 60 * 10**9
    assert found == (now if minutes is None else now // step * step - 719 * step)


def test_whose_clock():
    """The exchange's where it tells the time, else this machine's."""
    assert paged(Client(fetchTime=True)).now() == 1_700_000_000_123_000_000
    ours = nanoseconds(datetime.now(UTC))
    assert abs(paged(Client(fetchTime=False)).now() - ours) < 60 * 10**9


def test_what_an_exchange_does_not_have():
    """Wrong pairs and timeframes are told with what there is; an exchange's own name of an asset is found."""
    with pytest.raises(InputError, match=r"such as BTC/EUR, found BTC/EURO; correct --symbol"):
        paged(Client(), "BTC/EURO").now()
    with pytest.raises(InputError, match="bars of 1h, 1d; correct --timeframe"):
        paged(Client(), timeframe=Timeframe.parse("2h")).now()
    with pytest.raises(InputError, match="no bars at all"):
        paged(Client(fetchOHLCV=False)).now()
    assert paged(Client(("XBT/EUR",))).market["symbol"] == "XBT/EUR"


@pytest.fixture
def leading_away(socket_enabled) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything by pointing elsewhere, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.mark.parametrize("name", ["kraken", "binance"])
def test_no_answer_leads_elsewhere(leading_away, name):
    """A redirection is not followed: it is the end, with one sentence."""
    address, paths = leading_away

    with pytest.raises(Unavailable, match="found a refusal"):
        opened(name, base_url=address).now()

    assert paths
    assert not any("elsewhere" in path for path in paths)


def test_numbers_keep_their_digits():
    """Of Kraken, times keep the nanoseconds that a float would lose."""
    client = opened()._client

    assert client.on_json_response('{"t": 1700000000.123456789, "n": 5}') == {"t": "1700000000.123456789", "n": 5}
    assert json.loads('{"t": 1700000000.123456789}') == {"t": 1700000000.1234568}
