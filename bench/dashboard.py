"""The rows about the dashboard: a registry of a hundred thousand sessions, asked over HTTP on loopback."""

import http.client
import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import sqlalchemy as sa

from peak_trade.compose import Parts
from peak_trade.journal import schema
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import plain_json
from peak_trade.settings import load_config

SESSIONS, REPEATS = 100_000, 200
MODES = ("shadow", "testnet", "shadow_live", "live")
STATUSES = ("completed",) * 17 + ("failed", "aborted", "completed")
STRATEGIES = ("ma_crossover", "rsi_reversion", "macd", "breakout", "trend_following")
SYMBOLS = ("BTC/EUR", "ETH/EUR", "SOL/EUR", "BTC/USD")
#: What is asked, by the name of its row.
ASKED = {
    "list": "/api/live_sessions?limit=50",
    "filter": "/api/live_sessions?limit=50&mode=testnet&status=failed",
    "filter by text": "/api/live_sessions?limit=50&text=timeout",
    "sort": "/api/live_sessions?limit=50&sort=-realized_pnl",
    "stats": "/api/live_sessions/stats",
    "home": "/",
}


def fill(folder: Path, count: int = SESSIONS) -> None:
    """Put sessions of four years into the registry of a project folder, past our own code, which stores them one by one."""
    chance = np.random.default_rng(5)
    begin = datetime(2022, 11, 24, tzinfo=UTC)
    with closing(Parts(load_config(folder / "config.toml"))) as parts, parts.registry.database.writing() as connection:
        for start in range(0, count, 5_000):
            rows = [_session(number, begin, count, chance) for number in range(start, start + 5_000)]
            for table in (schema.runs, schema.sessions, schema.session_list):
                names = [column.name for column in table.columns]
                connection.execute(table.insert(), [{name: row.get(name) for name in names} for row in rows])
            values = [
                {"run_id": row["run_id"], "name": name, "value": row[name]}
                for row in rows
                for name in (*schema.SUMMED, "max_drawdown", "total_return", "final_equity", "start_equity", "num_bars")
            ]
            connection.execute(schema.metrics.insert(), values)
            tags = [{"run_id": row["run_id"], "tag": "daily"} for row in rows if str(row["session_id"])[-1] in "048c"]
            connection.execute(schema.tags.insert(), tags)
        connection.execute(sa.text("ANALYZE"))


def _session(number: int, begin: datetime, count: int, chance: np.random.Generator) -> dict[str, object]:
    began = begin + timedelta(days=1_460) * (number / count)
    name = f"{began:%Y%m%dT%H%M%S}{began.microsecond // 1000:03d}Z-{number:06x}"
    mode, status, symbol = MODES[number % 4], STATUSES[chance.integers(20)], SYMBOLS[number % 4]
    strategy = STRATEGIES[number % 5]
    error = "the venue did not answer: timeout" if status == "failed" else None
    return {
        "run_id": name, "session_id": name, "run_type": f"live_session_{mode}", "status": status, "strategy": strategy,
        "symbol": symbol, "timeframe": "1m", "params": plain_json({"fast_window": 20, "slow_window": 50}),
        "spec": plain_json({"strategy": strategy}), "spec_sha256": f"{number:064x}", "dataset_sha256": "d" * 64,
        "config_sha256": "c" * 64, "code_version": "a" * 40, "code_clean": True, "versions": plain_json({"numpy": "2.4"}),
        "started_at": stamp(began), "finished_at": stamp(began + timedelta(hours=2)), "elapsed_s": 7_200.0,
        "env_name": "desk", "process": 1, "trials": 0, "result_sha256": f"{number:064x}", "error": error,
        "mode": mode, "tier": "core", "account": f"paper-{number % 7}", "host": "desk", "heartbeat_at": stamp(began),
        "lease_until": stamp(began), "feed": plain_json({"quote": symbol[-3:]}), "cli_args": "[]", "notes": "",
        "continues": None, "journal": "", "head_seq": 1, "head_sha256": "e" * 64, "summary": "{}", "currency": symbol[-3:],
        "searched": "\n".join((name, strategy, symbol, error or "")).lower(),
        "realized_pnl": chance.normal(0, 50), "fees_paid": chance.random() * 20, "num_orders": float(chance.integers(80)),
        "num_fills": float(chance.integers(80)), "orders_rejected": 0.0, "orders_blocked_risk": float(chance.integers(3)),
        "max_drawdown": -chance.random() / 20, "total_return": chance.normal(0, 0.01), "final_equity": 10_000.0,
        "start_equity": 10_000.0, "num_bars": 120.0,
    }  # fmt: skip


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Serve a project folder's dashboard from a process of its own; yield host, port and process id."""
    command = [sys.executable, "-m", "peak_trade", "dashboard", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found is not None
        place = urlsplit(found[0])
        try:
            yield str(place.hostname), int(place.port or 0), server.pid
        finally:
            server.terminate()


def ask(connection: http.client.HTTPConnection, path: str) -> float:
    """Ask once; return milliseconds until the whole answer is there."""
    begun = time.perf_counter()
    connection.request("GET", path, headers={"accept": "text/html"})
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - begun) * 1e3
    assert answer.status == 200, (path, answer.status, body[:300])
    return took


def one_reader(folder: Path) -> dict[str, float]:
    """Ask each address again and again, one after the other; 95th percentiles in milliseconds, and the least of an icon."""
    found: dict[str, float] = {}
    with serving(folder) as (host, port, process):
        connection = http.client.HTTPConnection(host, port, timeout=60)
        ask(connection, "/static/x/icon.svg")  # waits until it serves
        found["first page"] = ask(connection, "/")
        for name, path in ASKED.items():
            found[name] = float(np.quantile([ask(connection, path) for _ in range(REPEATS)], 0.95))
        found["bare"] = float(np.quantile([ask(connection, "/static/x/icon.svg") for _ in range(REPEATS)], 0.95))
        memory = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text("utf-8"))
        found["server_mib"] = int(memory[1]) / 1024 if memory else 0.0
    return found


def many_readers(folder: Path, requests: int = 1_000, clients: int = 20) -> dict[str, float]:
    """Ask with many clients at once while decisions are timed in another process; errors, and the delays beside calm ones."""
    calm = _decisions()
    failures: list[str] = []
    took: list[float] = []
    paths = list(ASKED.values())

    def client(number: int, host: str, port: int) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=120)
        for turn in range(requests // clients):
            try:
                took.append(ask(connection, paths[(number + turn) % len(paths)]))
            except (OSError, AssertionError, http.client.HTTPException) as error:
                failures.append(repr(error))

    with serving(folder) as (host, port, _):
        threads = [threading.Thread(target=client, args=(number, host, port)) for number in range(clients)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        busy = _decisions()
        for thread in threads:
            thread.join()
        whole = time.perf_counter() - begun
    return {
        "errors": float(len(failures)),
        "per_s": len(took) / whole,
        "p95": float(np.quantile(took, 0.95)),
        "calm_p50": calm["value"],
        "calm_p99": calm["p99"],
        "busy_p50": busy["value"],
        "busy_p99": busy["p99"],
    }


def _decisions() -> dict[str, float]:
    """Time decisions of a session that writes its journal, in a process of its own; microseconds to the venue."""
    command = [sys.executable, "-m", "bench.sessions", "decision_delay"]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


if __name__ == "__main__":
    told = globals()[sys.argv[1]](Path(sys.argv[2])) or {}
    print(json.dumps(told | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
