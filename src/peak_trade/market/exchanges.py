"""Exchanges through ccxt: what they tell of one pair, in our words. Only `compose` imports this.

Invariant: no key is ever given to an exchange here, so nothing can be ordered; with a base URL no other host is asked.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import ccxt

from peak_trade.market.download import Deal, DealPage, Formed, TryAgain
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import InputError, Unavailable
from peak_trade.model.instrument import OTHER_NAMES

NS = 1_000_000_000
#: Minutes of the candles that Kraken makes, how many it tells, and how many trades come in one answer.
KRAKEN_MINUTES = frozenset({1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600})
KRAKEN_CANDLES, KRAKEN_DEALS = 720, 1_000
#: Bars asked for at once where ccxt does not know how many an exchange gives.
ROWS = 100
#: Words of an exchange's refusal that says: later.
LATER = re.compile(r"Throttled|Timeout|Busy|Unavailable|Too many requests|Rate limit|Internal error|Temporary lockout", re.I)


def open_source(
    name: str, symbol: str, timeframe: Timeframe, clock: Clock, *, base_url: str | None, paced: bool, timeout_s: float
) -> "PagedSource":
    """Return what an exchange tells of a pair. The pair is looked up when the source is first asked.

    Args:
        name: ccxt's id of the exchange. symbol: the pair. clock: gives the time where the exchange does not.
        base_url: replaces scheme and host of every address of the exchange.
        paced: whether ccxt keeps to the exchange's rate limit. timeout_s: for each answer.

    Raises:
        InputError: there is no such exchange, or it does not tell bars.
    """
    if name not in ccxt.exchanges:
        near = difflib.get_close_matches(name.lower(), ccxt.exchanges, n=4, cutoff=0.5) or ["kraken", "binance", "coinbase"]
        raise InputError(f"expected an exchange that ccxt knows, such as {', '.join(near)}, found {name!r}; correct --exchange")
    client = getattr(ccxt, name)({"enableRateLimit": paced, "timeout": int(timeout_s * 1000)})
    origin = name
    if base_url is not None:
        if re.fullmatch(r"https?://[^/\s]+(/\S*)?", base_url) is None:
            raise InputError(f"expected --base-url like http://127.0.0.1:8790, found {base_url!r}; correct it")
        redirected(client, base_url.rstrip("/"))
        origin = f"{name} at {base_url.rstrip('/')}"
    kind = KrakenSource if name == "kraken" else PagedSource
    return kind(client, symbol, timeframe, clock, origin)


def redirected(client: Any, base: str) -> None:
    """Put *base* in place of scheme and host of every address that a client has, and let no answer lead it elsewhere."""

    def turned(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: turned(value) for name, value in part.items()}
        if isinstance(part, list):
            return [turned(value) for value in part]
        return re.sub(r"^\w+://[^/]+", base, part) if isinstance(part, str) else part

    client.urls = turned(client.urls)
    client.session.max_redirects = 0


class PagedSource:
    """An exchange that tells bars of any age, page by page."""

    def __init__(self, client: Any, symbol: str, timeframe: Timeframe, clock: Clock, origin: str) -> None:
        self._client, self._symbol, self._timeframe, self._clock = client, symbol, timeframe, clock
        self.origin = f"{origin} {symbol}"
        self._market: dict[str, Any] | None = None

    @property
    def market(self) -> dict[str, Any]:
        """What ccxt knows of the pair.

        Raises:
            InputError: the exchange has no such pair or no such bars.
        """
        if self._market is None:
            with answering(self._client.id):
                markets = self._client.load_markets()
                if not markets:
                    # ccxt takes a page of HTML for an exchange without pairs.
                    raise TryAgain(f"{self._client.id} answered something that is no list of pairs")
                # An exchange may have kept its own name of an asset.
                names = [self._symbol, *(self._symbol.replace(name, own) for own, name in OTHER_NAMES.items())]
                found = next((markets[name] for name in names if name in markets), None)
            if found is None:
                near = difflib.get_close_matches(self._symbol, list(markets), n=4, cutoff=0.5)
                raise InputError(
                    f"expected a pair of {self._client.id}, such as {', '.join(near or list(markets)[:4])}, found "
                    f"{self._symbol}; correct --symbol"
                )
            self._check_timeframe()
            self._market = found
        return self._market

    def _check_timeframe(self) -> None:
        has, labels = self._client.has.get("fetchOHLCV"), self._client.timeframes or {}
        if not has or self._timeframe.label not in labels:
            there = f"bars of {', '.join(labels)}" if has else "no bars at all"
            raise InputError(
                f"expected bars of {self._timeframe.label}, found that {self._client.id} tells {there}; correct --timeframe"
            )

    def now(self) -> int:
        """Return the present by the exchange's clock, else by this machine's; nanoseconds UTC."""
        _ = self.market  # a wrong pair is told before anything else
        if not self._client.has.get("fetchTime"):
            return nanoseconds(self._clock.now())
        with answering(self._client.id):
            return int(self._client.fetch_time()) * 1_000_000

    def reach(self, now: int) -> int:  # noqa: ARG002 - others have one
        """Return the open time of the oldest bar that `candles` can give."""
        return 0

    def candles(self, since: int) -> list[Formed]:
        """Return a page of bars that open at or after a moment, the running one included."""
        with answering(self._client.id):
            rows = self._client.fetch_ohlcv(self.market["symbol"], self._timeframe.label, since // 1_000_000, self._rows())
            return [Formed.of(int(row[0]) * 1_000_000, row[1:6], None) for row in rows]

    def skip(self, since: int) -> int:
        """Return where to go on after a page from there was empty."""
        return since + self._rows() * self._timeframe.step_ns

    def deals(self, since: int) -> DealPage:
        """Not asked: bars of any age are told."""
        raise NotImplementedError(since)

    def _rows(self) -> int:
        told = self._client.safe_dict(self._client.features, "spot") or {}
        return int((told.get("fetchOHLCV") or {}).get("limit") or ROWS)


class KrakenSource(PagedSource):
    """Kraken, which tells its newest 720 candles only, and every trade since its beginning."""

    def __init__(self, client: Any, symbol: str, timeframe: Timeframe, clock: Clock, origin: str) -> None:
        super().__init__(client, symbol, timeframe, clock, origin)
        # A float can't hold the nanoseconds of a trade.
        client.on_json_response = lambda text: json.loads(text, parse_float=str)

    def _check_timeframe(self) -> None:
        """Of trades, bars of any length can be made."""

    def now(self) -> int:
        """Return the present by Kraken's clock, whole seconds; nanoseconds UTC."""
        _ = self.market
        with answering(self._client.id):
            return int(self._client.public_get_time()["result"]["unixtime"]) * NS

    def reach(self, now: int) -> int:
        """Return the open time of the oldest candle that Kraken tells; nanoseconds UTC."""
        step = self._timeframe.step_ns
        if self._timeframe.seconds % 60 or self._timeframe.seconds // 60 not in KRAKEN_MINUTES:
            return now
        return now // step * step - (KRAKEN_CANDLES - 1) * step

    def candles(self, since: int) -> list[Formed]:
        """Return the newest candles that open at or after a moment, the running one included."""
        with answering(self._client.id):
            told = self._client.public_get_ohlc(
                # What is asked for is exclusive.
                {"pair": self.market["id"], "interval": self._timeframe.seconds // 60, "since": since // NS - 1}
            )
            rows = _named_rows(told)
            return [Formed.of(int(row[0]) * NS, (*row[1:5], row[6]), int(row[7])) for row in rows]

    def deals(self, since: int) -> DealPage:
        """Return up to a thousand trades at or after a moment, oldest first."""
        with answering(self._client.id):
            told = self._client.public_get_trades({"pair": self.market["id"], "since": str(since - 1)})
            rows = _named_rows(told)
            deals = [Deal(int(Decimal(row[2]) * NS), Decimal(row[0]), Decimal(row[1]), int(row[6])) for row in rows]
            return DealPage(deals, int(told["result"]["last"]), full=len(rows) >= KRAKEN_DEALS)


def _named_rows(told: dict[str, Any]) -> list[list[Any]]:
    """Return the rows of an answer that stand under the pair's name, whichever of its names that is."""
    rows: list[list[Any]]
    (rows,) = (found for name, found in told["result"].items() if name != "last")
    return rows


@contextlib.contextmanager
def answering(name: str) -> Iterator[None]:
    """Turn what goes wrong while an exchange is asked into our words.

    Raises:
        TryAgain: it may pass. Unavailable: it will not. InputError: what was asked for is not there.
    """
    try:
        yield
    except ccxt.BadSymbol as error:
        raise InputError(f"expected a pair of {name}, found that it has none of this name; correct --symbol") from error
    except (ccxt.NotSupported, ccxt.BadRequest) as error:
        raise InputError(f"{name} does not tell this ({_short(error)}); choose another pair, timeframe or exchange") from error
    except ccxt.BaseError as error:
        status = _status(error)
        if status == 403 or re.search("captcha", str(error), re.I):
            raise Unavailable(
                f"expected an answer of {name}, found that it wants a captcha or bars this address (HTTP {status or 403}); "
                "what was fetched is kept, wait or go through another network, then give the same command again"
            ) from error
        passing = isinstance(error, ccxt.NetworkError) or LATER.search(str(error)) is not None
        if (passing and status in (None, 408, 418, 425, 429)) or (status or 0) >= 500:
            raise TryAgain(f"{name} refused or was out of reach ({_reason(error, status)})") from error
        raise Unavailable(
            f"expected an answer of {name}, found a refusal ({_reason(error, status)}); what was fetched is kept, check the "
            "options and give the command again"
        ) from error
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, InvalidOperation) as error:
        raise TryAgain(f"{name} answered something that is no market data") from error


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error came from, if any."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None


def _reason(error: Exception, status: int | None) -> str:
    if status is not None:
        return f"HTTP {status}"
    words = re.search(r'"error":\s*\[\s*"([^"]+)"', str(error))
    return words[1] if words else type(error).__name__ if "http" in str(error) else _short(error)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
