"""A team's folder at several points of its climb, made once and put back before each test that attacks it."""

import contextlib
import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.team import PARAMS, SYMBOL, Team

from peak_trade import compose
from peak_trade.compose import Parts
from peak_trade.governance.permits import Permit
from peak_trade.governance.requests import read_request
from peak_trade.journal.chain import Chain, Record, holding, read, segments
from peak_trade.model.stage import Stage
from peak_trade.runs.gates.permits import PermitWatch, allowed
from peak_trade.settings import load_config
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import make

NAMED = ("--strategy", "ma_crossover", *PARAMS, "--symbol", SYMBOL)
#: The account of shadow sessions.
PAPER = "paper"
#: The points at which a house is kept, in their order.
POINTS = ("shadow", "asked", "signed", "climbed")


class _Told:
    """What commands print, where a test does not look."""

    def __init__(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()

    def readouterr(self) -> tuple[str, str]:
        """Return what was printed since the last time."""
        found = self.out.getvalue(), self.err.getvalue()
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        return found


class House(Team):
    """A team's folder that is there already."""

    request = ""

    def __init__(self, folder: Path, at: datetime, monkeypatch: pytest.MonkeyPatch, capture: Any) -> None:
        from tests.team import MovedClock

        self.folder, self.capture = folder, capture
        self.clock = MovedClock(at)
        monkeypatch.setattr(compose, "MachineClock", lambda: self.clock)
        monkeypatch.setattr("peak_trade.model.clock.MachineClock", lambda: self.clock)
        monkeypatch.chdir(folder)

    def fresh(self) -> Parts:
        """Return parts that have read nothing yet, as a new process has."""
        return Parts(load_config(self.folder / "config.toml"))

    def sql(self, *statements: str) -> None:
        """Change the registry behind everybody's back."""
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "registry.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what the registry has."""
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "registry.db")) as connection:
            return connection.execute(query).fetchall()

    @property
    def request_file(self) -> Path:
        """The request for testnet."""
        return self.folder / "var" / "requests" / f"{self.request}.json"

    @property
    def permit_file(self) -> Path:
        """The permit for testnet."""
        return self.folder / "var" / "permits" / f"{self.request}.json"

    @property
    def strategy(self) -> Strategy:
        """What climbs."""
        return make("ma_crossover", {"fast_window": 2, "slow_window": 6})

    def watch(self, parts: Parts | None = None, symbols: tuple[str, ...] = (SYMBOL,)) -> PermitWatch:
        """Return the permit for testnet as a session takes it."""
        return allowed(parts or self.fresh(), Stage.TESTNET, self.strategy, symbols)

    def permit(self) -> Permit:
        """Return the permit for testnet, checked."""
        return self.watch().permit

    def decided(self) -> set[str]:
        """Decide; return the answer with every code and criterion in the way, or what the command said in its place."""
        code, out, err = self.run("gate", "decide", self.request, "--json")
        if not out:
            assert code in (1, 2, 3), (code, err)
            assert "Traceback" not in err
            return {f"exit {code}", err}
        found = json.loads(out)
        ruled = {item["id"] for item in found["criteria"] if item["answer"] != "pass"}
        assert (code == 0) == (found["answer"] == "pass") == (found["permit"] is not None)
        return {found["answer"]} | ruled | {item["code"] for item in (*found["objections"], *found["notes"])}

    def answers(self, step: str = "shadow->testnet") -> dict[str, str]:
        """Return what each criterion of a step comes to, from the journals themselves."""
        found = self.json("gate", "explain", step, *NAMED, "--fresh")
        return {item["id"]: item["answer"] for item in found["criteria"]}

    def segment(self, number: int = -1, account: str = PAPER) -> Path:
        """Return the segment of a session, by its place."""
        return segments(self.folder / "var" / "journal", account)[number]

    def remove(self, segment: Path) -> None:
        """Remove a segment with its heads."""
        segment.unlink()
        segment.with_name(f"{segment.stem}.heads.jsonl").unlink()

    def forget(self, session_id: str) -> None:
        """Remove every row of a session."""
        self.sql(
            *(f"DELETE FROM {table} WHERE session_id = '{session_id}'" for table in ("session_list", "sessions")),
            *(f"DELETE FROM {table} WHERE run_id = '{session_id}'" for table in ("metrics", "tags", "evidence", "runs")),
        )

    def bad_session(self, account: str = PAPER, *, ends: bool = True, kept: bool = True) -> str:
        """Write a session that an incident stopped, as the engine writes one, and its row; return its id."""
        parts, told = self.fresh(), list(read(self.segment()))
        first = told[0]
        name = parts.ids.next_run()
        body = {key: value for key, value in first.body.items() if key not in ("previous", "torn_bytes")}
        middle = told[1:-1]
        incident = ("incident", {"code": "max_daily_loss", "mode": "paused", "words": "lost too much"})
        records = [*((record.kind, record.body) for record in middle), incident]
        records += [(told[-1].kind, told[-1].body)] if ends else []
        with holding(parts.journal, account, session_id=name, at=parts.clock.now()):
            chain = Chain.begin(
                parts.journal, account, name, body | {"origin": name}, at=parts.clock.now(), signer=parts.signer
            )
            for kind, content in records:
                chain.append(kind, content, at=parts.clock.now(), durable=kind in ("incident", "ended"))
            chain.sign(at=parts.clock.now())
            chain.close()
        if kept:
            self._row_like(first, name, account, chain)
        return name

    def _row_like(self, first: Record, name: str, account: str, chain: Chain) -> None:
        """Copy the rows of another session."""
        [(old,)] = self.rows("SELECT session_id FROM sessions ORDER BY session_id DESC LIMIT 1")
        assert first.seq == 0
        for table, key in (("runs", "run_id"), ("sessions", "session_id"), ("session_list", "session_id")):
            columns = [row[1] for row in self.rows(f"PRAGMA table_info({table})")]
            journal = self.folder / "var" / "journal" / account / f"{name}.jsonl"
            own = {
                key: name,
                "account": account,
                "journal": str(journal),
                "head_seq": str(chain.head[0]),
                "head_sha256": chain.head[1],
            }
            taken = [f"'{own[column]}'" if column in own else column for column in columns]
            self.sql(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(taken)} FROM {table} WHERE {key} = '{old}'")


class Street:
    """The houses: one folder, with a copy of it for each point."""

    def __init__(self, base: Path) -> None:
        self.folder, self.kept = base / "house", base / "kept"
        self.folder.mkdir()
        self.moments: dict[str, datetime] = {}
        self.request = ""
        told = _Told()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told.out), contextlib.redirect_stderr(told.err):
            team = Team(self.folder, patch, told)
            team.climb_to_shadow()
            team.weeks_of_shadow()
            team.tests_passed()
            team.checklist("shadow_to_testnet")
            self._keep("shadow", team)
            self.request = team.ask("shadow->testnet")
            self._keep("asked", team)
            team.sign(self.request, "olga", "rita")
            self._keep("signed", team)
            assert team.json("gate", "decide", self.request)["answer"] == "pass"
            self._keep("climbed", team)
            team.parts.close()

    def _keep(self, point: str, team: Team) -> None:
        shutil.copytree(self.folder, self.kept / point)
        self.moments[point] = team.clock.now()

    def at(self, point: str, monkeypatch: pytest.MonkeyPatch, capture: Any) -> House:
        """Put the house back to a point."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept / point, self.folder)
        house = House(self.folder, self.moments[point], monkeypatch, capture)
        house.request = self.request
        assert point == "shadow" or read_request(house.request_file.read_bytes()).requester == "dana"
        return house


def built(base: Path) -> Iterator[Street]:
    """Build the houses, for the fixture of a module."""
    yield Street(base)
