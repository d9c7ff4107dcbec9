"""The row about the gates: their overview in a house with a registry of a hundred thousand sessions."""

import json
import resource
import shutil
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from bench.dashboard import _session
from peak_trade.compose import Parts
from peak_trade.governance.criteria import Evidence, EvidenceKind, Subject
from peak_trade.governance.documents import Fact, digest, encode
from peak_trade.governance.ladder import Assignment, Decided, Promoted, Rung, StrategyVersion
from peak_trade.governance.recorded import body_of
from peak_trade.journal import schema
from peak_trade.journal.registry import stamp
from peak_trade.runs.acts import MACHINE, held, written
from peak_trade.runs.gates.status import status
from peak_trade.settings import load_config

SESSIONS, VERSIONS, DAYS, REPEATS = 100_000, 20, 400, 7
#: The worst that one version comes to within the days that a gate looks back on.
CROWD, CROWD_DAYS = 20_000, 60
CHECKOUT = Path(__file__).resolve().parents[1]
RUNG = Rung.RESEARCH_SHADOW
PAIRS = ("BTC/EUR", "ETH/EUR")


def fill(folder: Path, *, crowded: bool) -> None:
    """Put what sessions showed into the registry of a folder: of twenty versions, or a crowd of one within sixty days."""
    shutil.copytree(CHECKOUT / "governance", folder / "governance")
    with closing(Parts(load_config(folder / "config.toml"))) as parts:
        _climb(parts)
    with closing(Parts(load_config(folder / "config.toml"))) as parts, parts.registry.database.writing() as connection:
        now, chance = parts.clock.now(), np.random.default_rng(5)
        count = CROWD if crowded else SESSIONS
        for start in range(0, count, 5_000):
            every = range(start, min(start + 5_000, count))
            if not crowded:
                rows = [_session(number, now - timedelta(days=DAYS), count, chance) for number in every]
                for table in (schema.runs, schema.sessions, schema.session_list):
                    names = [column.name for column in table.columns]
                    connection.execute(table.insert(), [{name: row.get(name) for name in names} for row in rows])
            connection.execute(schema.evidence.insert(), [_shown(number, count, now, crowded=crowded) for number in every])
        connection.execute(sa.text("ANALYZE"))


def _climb(parts: Parts) -> None:
    """Let every version stand in shadow in one pair, by the record alone."""
    for number in range(VERSIONS):
        at = parts.clock.now()
        which = Assignment(_version(number), parts.settings.file.governance.account, frozenset(PAIRS))
        decision = digest(f"decision {number}".encode())
        events = (Decided(at, which, RUNG, decision, passed=True), Promoted(at, which, RUNG, decision))
        with held(parts), written(parts, "bench", "bench", MACHINE) as act:
            for event in events:
                act.record(*body_of(event), event.at)


def _version(number: int) -> StrategyVersion:
    params = digest(f"params {number}".encode())
    return StrategyVersion(key="ma_crossover", params_sha256=params, code_sha256=digest(b"code"))


def _shown(number: int, count: int, now: datetime, *, crowded: bool) -> dict[str, object]:
    """Return the row of what a session showed."""
    span = timedelta(days=CROWD_DAYS if crowded else DAYS)
    ended = now - span * (1 - (number + 0.5) / count)
    which = 0 if crowded else number % VERSIONS
    version = _version(which)
    facts: dict[str, Fact] = {
        "journal_sound": True, "started_at": (ended - timedelta(hours=2)).isoformat(), "finished_at": ended.isoformat(),
        "critical_incidents": 0, "trades": 4, "fills": 8, "fills_equal": 8, "max_drawdown": "0.010000000",
        "correlation": "0.990000000", "orders": 8, "orders_valid": 8,
    }  # fmt: skip
    name = f"{ended:%Y%m%dT%H%M%S}000Z-{number:06x}"
    subject = Subject(strategy=version, symbols=(PAIRS[number % 2],))
    document = Evidence(
        kind=EvidenceKind.SHADOW, run_id=name, sha256=digest(name.encode()), at=ended, facts=facts, subject=subject
    )
    return {
        "run_id": name,
        "strategy": version.key,
        "params_sha256": version.params_sha256,
        "code_sha256": version.code_sha256,
        "at": stamp(ended),
        "document": encode(document).decode(),
    }


def overview(folder: Path) -> dict[str, float]:
    """Time `gate status`: within a process that has imported everything, and as a process of its own."""
    times = []
    for _ in range(REPEATS + 1):
        with closing(Parts(load_config(folder / "config.toml"))) as parts:
            begun = time.perf_counter()
            found = status(parts, parts.clock.now())
            times.append(time.perf_counter() - begun)
    assert found["ladder"]
    command = [str(Path(sys.executable).parent / "peak-trade"), "gate", "status", "--json"]
    whole = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        whole.append(time.perf_counter() - begun)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"value": min(times[1:]) * 1_000, "process": min(whole) * 1_000, "lines": len(found["ladder"]), "peak_mib": memory}


def main() -> None:
    """Fill a folder, or print the measurement in it."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name == "overview":
        print(json.dumps(overview(folder)))
    else:
        fill(folder, crowded=name == "crowd")


if __name__ == "__main__":
    main()
