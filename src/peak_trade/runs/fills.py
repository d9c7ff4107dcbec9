"""The fill model of a checkout: measured from recordings as a run, kept in the state folder, read by who trades under it."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peak_trade.compose import Parts, code_in_use, code_sha256, numeric_versions
from peak_trade.durable import write_text
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, sha256_of
from peak_trade.market.books import read_book
from peak_trade.market.trades import RawTrades, read_trades
from peak_trade.model.errors import DataError, InputError
from peak_trade.model.fill_model import SHIPPED, FillModel
from peak_trade.research.fill_fit import FillFit, OrderCosts, TradeBars, bars_of, fit_fills, followed_costs, walked_costs
from peak_trade.runs.record import Json

FILL_CALIBRATION = "fill_calibration"
#: The model of this checkout, in the state folder.
MODEL_FILE = "fill_model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """What to measure from: a book's two files or none, files of trades, and the share of orders to be covered."""

    books: tuple[Path, ...]
    trades: tuple[Path, ...]
    quantile: float = 0.9


def calibrate_fills(parts: Parts, request: FillRequest) -> Json:
    """Measure the fill model, register the measurement, keep the model; return the record.

    Raises:
        InputError: there are no trades, or a quantile that can't be.
        DataError: a recording is damaged or too short.
    """
    if not 0.5 <= request.quantile <= 0.99:
        raise InputError(f"expected --quantile from 0.5 to 0.99, found {request.quantile:g}; 0.9 is usual")
    begun, started = parts.clock.elapsed_s(), parts.clock.now()
    files = {path.name: _sha256(path) for path in (*request.books, *request.trades)}
    recordings = _recordings(request)
    names = ", ".join(dict.fromkeys(item.name for item in recordings))
    run_id = parts.ids.next_run()
    fit = fit_fills(recordings, request.quantile, f"measured in run {run_id} from {names}")
    found = _found(fit)
    run = Run(
        run_id=run_id,
        run_type=FILL_CALIBRATION,
        status=RunStatus.COMPLETED,
        strategy="fill_model",
        symbol="-",
        timeframe="-",
        params={"quantile": request.quantile},
        spec={"run_type": FILL_CALIBRATION, "quantile": request.quantile, "files": files},
        dataset_sha256=sha256_of(files),
        config_sha256=parts.settings.sha256,
        code_version=code_in_use().version,
        code_clean=code_in_use().clean,
        versions=numeric_versions() | {"code": code_sha256()},
        started_at=stamp(started),
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        process=os.getpid(),
        env_name=parts.settings.file.environment.name,
        result_sha256=sha256_of({"half_spread_bps": fit.model.half_spread_bps, "impact": fit.model.impact}),
        metrics={"half_spread_bps": fit.model.half_spread_bps, "impact": fit.model.impact}
        | {f"exceeded:{number}": error.exceeded for number, error in enumerate(fit.errors)},
    )
    parts.registry.add(run)
    record = {"run_id": run_id, "folder": str(parts.reports / run_id), "files": files} | found
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    write_text(parts.reports / run_id / "run.json", text)
    write_text(parts.state / MODEL_FILE, text)
    return record


def fill_record(parts: Parts) -> Json:
    """Return the model in use with what is known of its error: this checkout's, else the one that is shipped."""
    path = parts.state / MODEL_FILE
    if not path.exists():
        return {"run_id": None, "model": SHIPPED.to_json(), "recordings": []}
    try:
        record: Json = json.loads(path.read_text())
        FillModel.from_json(record["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "fill_model", f"expected a fill model in {path}, found a damaged file; delete it, or: peak-trade fills calibrate"
        ) from error
    return record


def fill_model(parts: Parts) -> FillModel:
    """Return the model in use."""
    return FillModel.from_json(fill_record(parts)["model"])


def _found(fit: FillFit) -> Json:
    return {"model": fit.model.to_json(), "recordings": [error.to_json() for error in fit.errors]}


def _recordings(request: FillRequest) -> list[OrderCosts]:
    """Return the costed orders of all files; a book's volumes are those of the trades that lie over the same time."""
    trades: list[tuple[RawTrades, TradeBars]] = []
    for path in request.trades:
        found = read_trades(path)
        if found is None:
            raise DataError("columns", f"{path.name}: expected single trades with a time, a price and a volume, found bars")
        trades.append((found, bars_of(found)))
    if not trades:
        raise InputError("expected --trades FILE, found none; a book alone does not tell volumes")
    recordings = [followed_costs(*pair) for pair in trades]
    if request.books:
        tape = read_book(request.books)
        first, last = int(tape.stamps[0]), int(tape.stamps[-1])
        mine = [bars for _, bars in trades if bars.opened[0] <= last and bars.opened[-1] + bars.step_ns >= first]
        if len(mine) != 1:
            raise InputError(
                f"expected one file of --trades from the time of the book {tape.name}, found {len(mine)}; give the trades of "
                "the same market"
            )
        recordings.insert(0, walked_costs(tape, mine[0]))
    return recordings


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"expected a recording at {path}, found none to read ({error.strerror})") from error


def check_followed(impact: float, names: Sequence[str]) -> None:
    """Refuse the model where a market is followed, whose bars have no volume and no range yet when an order fills.

    Raises:
        InputError: it is asked for there.
    """
    if impact:
        raise InputError(
            f"expected --fills fixed in a session that follows a market ({', '.join(names)}), whose volume is not known when a "
            "bar opens, found model; use it over recorded bars"
        )
