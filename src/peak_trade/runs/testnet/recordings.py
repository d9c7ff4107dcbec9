"""Recordings for the emulated exchange, from files of bars or trades and from the local store."""

import re
from collections.abc import Sequence
from pathlib import Path

from peak_trade.compose import DataChoice, Parts
from peak_trade.emulator.pairs import PAIRS, pair_of
from peak_trade.emulator.replay import Recording
from peak_trade.market.raw import guess_symbol
from peak_trade.market.trades import RawTrades, read_trades
from peak_trade.model.errors import InputError


def read_recordings(parts: Parts, texts: Sequence[str], pairs: Sequence[str]) -> list[Recording]:
    """Return what `--data` names.

    Args:
        texts: each a file, or a stored dataset such as `BTC/EUR 1h`, with `PAIR=` before it where the pair is not in its name.
        pairs: symbols that were asked for; the first is that of a single recording without a name; empty is whatever comes.

    Raises:
        InputError: there is no such file or dataset, it is damaged, or its pair is not listed, not asked for, or there twice.
    """
    found = [_read(parts, text, pairs[0] if pairs and len(texts) == 1 else None) for text in texts]
    symbols = [one.symbol for one in found]
    if twice := [name for name in symbols if symbols.count(name) > 1]:
        raise InputError(f"expected one --data for each pair, found {symbols.count(twice[0])} for {twice[0]}; leave some out")
    if pairs and set(pairs) != set(symbols):
        raise InputError(
            f"expected --data for each of --pairs {','.join(pairs)}, found it for {', '.join(symbols)}; give PAIR=FILE for each"
        )
    return found


def _read(parts: Parts, text: str, symbol: str | None) -> Recording:
    named, equals, what = text.partition("=")
    if equals and (pair := pair_of(named.strip().upper())) is not None:
        symbol = pair.symbol
    elif equals and not Path(text).exists():
        raise InputError(f"expected PAIR=FILE with a pair of {', '.join(PAIRS)}, found {text!r}; correct it")
    else:
        what = text
    path = Path(what)
    if path.exists():
        symbol = _listed(symbol or guess_symbol(path.stem), path.name)
        trades = read_trades(path)
        return _bars(parts, DataChoice(path=path, symbol=symbol, timeframe=None)) if trades is None else _trades(trades, symbol)
    stored = re.fullmatch(r"(?:(\w+)[/-](\w+)[/ ])?(\d+[a-zA-Z]+)", what.strip())
    if stored is None or not (stored[1] or symbol):
        raise InputError(f"expected a file, or a stored dataset such as 'BTC/EUR 1h', found {what!r}; peak-trade data list")
    name = f"{stored[1]}/{stored[2]}" if stored[1] else symbol
    return _bars(parts, DataChoice(path=None, symbol=_listed(name, what), timeframe=stored[3]))


def _listed(symbol: str | None, name: str) -> str:
    if symbol is None:
        raise InputError(f"expected the pair of {name}, found none in its name; give --data BTC/EUR={name}")
    pair = pair_of(symbol.upper())
    if pair is None:
        raise InputError(f"expected a pair of {', '.join(PAIRS)}, found {symbol} in {name}; give another with PAIR=FILE")
    return pair.symbol


def _bars(parts: Parts, choice: DataChoice) -> Recording:
    bars = parts.dataset(choice).bars
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
    return Recording(symbol=choice.symbol or "", at=bars.timestamp, step=bars.timeframe.step_ns, columns=columns)


def _trades(trades: RawTrades, symbol: str) -> Recording:
    columns = {"price": trades.price, "volume": trades.volume}
    if trades.buys is not None:
        columns["buys"] = trades.buys
    return Recording(symbol=symbol, at=trades.timestamp, step=0, columns=columns)
