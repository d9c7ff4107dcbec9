"""The register of drills: its table is the guide's, every runbook names one of it, and what stops a session has one."""

import inspect
import re
import tomllib
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from tests.paths import ROOT

from peak_trade.journal.chain import Record
from peak_trade.model.errors import CheckFailed, InputError
from peak_trade.model.kill_level import KillLevel
from peak_trade.risk.triggers import (
    API_ERROR_RATE,
    CORE_EXCEPTION,
    DAILY_LOSS,
    DATA_GAP,
    DEMANDS,
    PNL_DIVERGENCE,
    SUPERVISOR_LOST,
)
from peak_trade.runs.drills import stops as drill_stops
from peak_trade.runs.drills.bench import DrillBench, Shown, check_only_reduced, config_text, sign_of
from peak_trade.runs.drills.register import DRILLS, drill_named
from peak_trade.runs.emulated import EmulatedRun
from peak_trade.runs.safety import rollback
from peak_trade.settings import load_config

NAMES = [drill.name for drill in DRILLS]
#: What stops a session by itself, and the drill that tries it.
TRIED = {
    **dict.fromkeys(DAILY_LOSS, "trigger-daily-loss"),
    API_ERROR_RATE: "trigger-api-errors",
    CORE_EXCEPTION: "trigger-exception",
    PNL_DIVERGENCE: "trigger-divergence",
    DATA_GAP: "trigger-data-gap",
    SUPERVISOR_LOST: "supervisor",
}
COMMAND = re.compile(r"peak-trade drill run ([a-z][a-z_-]*)")


def test_every_trigger_rollback_and_level_has_a_drill():
    """A trigger, a rollback or a level that is added fails this until somebody tries it."""
    rollbacks = {name for name, _ in inspect.getmembers(rollback, inspect.isfunction) if name.startswith("roll_back_")}
    steps = [name for name, _ in drill_stops.kill_levels(SimpleNamespace())]  # type: ignore[arg-type]

    assert TRIED.keys() == DEMANDS.keys()
    assert {*TRIED.values()} <= {*NAMES}
    assert {f"rollback-{name.removeprefix('roll_back_')}" for name in rollbacks} <= {*NAMES}
    assert [name for name in steps if name.startswith("level ")] == [f"level {level.value}" for level in KillLevel]


def test_the_guide_has_the_table():
    """Row by row, with its words, its time and its page."""
    text = (ROOT / "docs" / "guide" / "drills.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (\d+) s \| \[\w+\]\((.+?)\) \|$", text, re.MULTILINE)

    pages = [drill.page.removeprefix("guide/") if drill.page.startswith("guide/") else f"../{drill.page}" for drill in DRILLS]
    assert rows == [(drill.name, drill.tries, str(drill.takes_s), page) for drill, page in zip(DRILLS, pages, strict=True)]


def test_every_runbook_names_a_drill():
    """And no page, and no job of the scheduler, names one that there is not."""
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        assert COMMAND.findall(path.read_text("utf-8")), path.name
    for path in (ROOT / "docs").rglob("*.md"):
        assert {*COMMAND.findall(path.read_text("utf-8"))} <= {*NAMES}, path.name
    for drill in DRILLS:
        assert (ROOT / "docs" / drill.page).is_file(), drill.name
        if drill.page.startswith("runbooks/"):
            assert drill.name in COMMAND.findall((ROOT / "docs" / drill.page).read_text("utf-8")), drill.name
    jobs = tomllib.loads((ROOT / "config" / "scheduler.toml").read_text("utf-8"))["jobs"].values()
    assert [job["command"][2] for job in jobs if job["command"][:2] == ["drill", "run"]] == ["kill-switch"]


def test_a_drill_by_its_name():
    """With either sign; no name is there twice."""
    assert len({*NAMES}) == len(NAMES)
    assert drill_named("kill_switch") is drill_named("kill-switch")
    with pytest.raises(InputError, match="found 'fire'"):
        drill_named("fire")


# ---- what a bench looks at ---------------------------------------------------------------------------------------------------


class FakeBench:
    """An exchange that shows what it is told to."""

    def __init__(self, working: int, base: str, fills: tuple[str, ...] = (), booked: tuple[tuple[str, str], ...] = ()) -> None:
        self.now = Shown(frozenset(map(str, range(working))), frozenset(fills), Decimal(base))
        self.before = Shown(frozenset(), frozenset(), Decimal(0))
        records = [record("filled", fill_id=name, quantity=quantity) for name, quantity in booked]
        self.sessions = [SimpleNamespace(records=lambda: records)]

    def shown(self) -> Shown:
        return self.now


def record(kind: str, **body: Any) -> Record:
    return Record(seq=0, at="2026-11-01T00:00:00Z", kind=kind, body=body, prev="", sha256="")


@pytest.mark.parametrize(
    ("level", "working", "base", "fits"),
    [
        (KillLevel.NO_NEW, 1, "1", True),
        (KillLevel.NO_NEW, 0, "1", False),
        (KillLevel.REDUCE_ONLY, 1, "1", True),
        (KillLevel.REDUCE_ONLY, 2, "1", False),
        (KillLevel.CANCEL_ALL, 0, "1", True),
        (KillLevel.CANCEL_ALL, 1, "1", False),
        (KillLevel.CANCEL_ALL, 0, "0", False),
        (KillLevel.FLATTEN, 0, "0.00009", True),
        (KillLevel.FLATTEN, 0, "0.0001", False),
        (KillLevel.FLATTEN, 1, "0", False),
    ],
)
def test_what_a_level_leaves_at_the_exchange(level, working, base, fits):
    """Anything else fails the drill."""
    bench: Any = FakeBench(working, base)
    if fits:
        assert drill_stops._there(bench, level)
    else:
        with pytest.raises(CheckFailed):
            drill_stops._there(bench, level)


@pytest.mark.parametrize(
    ("fills", "booked", "base", "fits"),
    [
        (("a",), (("a", "1"),), "1", True),
        (("a", "b"), (("a", "1"),), "1", False),
        (("a",), (("a", "1"), ("b", "1")), "2", False),
        (("a",), (("a", "1"),), "2", False),
    ],
)
def test_books_against_the_exchange(fills, booked, base, fits):
    """A fill that one side lacks, and a balance that is another, fail every drill."""
    bench: Any = FakeBench(0, base, fills, booked)
    if fits:
        assert "each booked once" in DrillBench.check_books(bench)
    else:
        with pytest.raises(CheckFailed):
            DrillBench.check_books(bench)


def test_only_what_reduces():
    """After a session stopped, an order that enlarges, turns around or opens fails the drill; before, none does."""

    def sent(quantity: str) -> Record:
        return record("sending", intent={"quantity": quantity})

    sign = record("tripped", code="x", mode="paused")
    held = [sent("2"), record("filled", quantity="2"), sign]

    check_only_reduced([*held, sent("-2")], sign)
    for quantity in ("0.1", "-2.1"):
        with pytest.raises(CheckFailed, match="only what reduces"):
            check_only_reduced([*held, sent(quantity)], sign)
    with pytest.raises(CheckFailed):
        check_only_reduced([sign, sent("1")], sign)
    assert sign_of([*held, record("incident", code="x")], "x") is sign
    assert sign_of(held, "y") is None


def test_a_benchs_configuration(tmp_path):
    """It is sound, and what a drill asks for is in it."""
    run = EmulatedRun(base_url="http://127.0.0.1:8790", stream_url="ws://127.0.0.1:8790", keys={}, control_token="")
    path = tmp_path / "config.toml"
    path.write_text(config_text(run, {"live_risk": {"max_daily_loss_abs": "5"}}))
    file = load_config(path).file

    assert (file.live_risk.max_daily_loss_abs, file.live_risk.symbols) == (5, ("BTC/EUR",))
    assert file.safety.base_url == run.base_url
