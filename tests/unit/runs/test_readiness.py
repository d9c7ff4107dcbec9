"""Checks of readiness one by one: what they say of an exchange, of clocks, of sections and packages."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.model.errors import InputError, StorageError
from peak_trade.model.stage import Stage
from peak_trade.runs import exchange_look
from peak_trade.runs.exchange_look import ExchangeLook, Silence
from peak_trade.runs.gates.repository import RUNBOOKS, missing_runbooks
from peak_trade.runs.testnet import readiness, readiness_checks, tested
from peak_trade.runs.testnet.readiness import Grade, Look, Seen, StageCheck, check_stage
from peak_trade.settings import load_config
from peak_trade.venue.kraken.reading import AssetPair

RIGHTS = tuple(readiness_checks.NEEDED)
PAIR = AssetPair(
    altname="XBTEUR",
    wsname="XBT/EUR",
    base="XXBT",
    quote="ZEUR",
    pair_decimals=1,
    lot_decimals=8,
    cost_decimals=5,
    ordermin=Decimal("0.00005"),
    costmin=Decimal("0.45"),
    tick_size=Decimal("0.1"),
    status="online",
    fees=(),
)
CHECK = {check.name: check.look for check in readiness_checks.CHECKS}


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "config.toml").write_text((ROOT / "config.toml").read_text("utf-8"))
    return Parts(load_config(tmp_path / "config.toml"))


def look_with(parts, stage=Stage.TESTNET, **changes):
    """What checks look at, with an exchange that said certain things."""
    said = {"skew_ms": (-10.0, 10.0), "status": "online", "pairs": {"BTC/EUR": PAIR}, "rights": RIGHTS, **changes}
    found = Look(parts, stage)
    found.__dict__["exchange"] = ExchangeLook(**said)
    return found


@pytest.mark.parametrize(
    ("rights", "grade", "words"),
    [
        (RIGHTS, Grade.OK, "may not withdraw"),
        ((*RIGHTS, "access-ws", "query-ledger"), Grade.OK, "may not withdraw"),
        ((*RIGHTS, "withdraw-funds"), Grade.FAILED, "withdraw-funds"),
        (("withdraw-funds",), Grade.FAILED, "may withdraw-funds"),
        (RIGHTS[:-1], Grade.FAILED, RIGHTS[-1]),
        ((), Grade.FAILED, "query-funds"),
        ((*RIGHTS, "add-earn"), Grade.WARNING, "add-earn"),
        (None, Grade.UNKNOWN, "without a key"),
        (Silence("no answer"), Grade.UNKNOWN, "no answer"),
    ],
)
def test_rights_of_a_key(parts, rights, grade, words):
    """A key may do what is needed, and nothing dangerous."""
    seen = CHECK["key's rights"](look_with(parts, rights=rights))

    assert seen.grade is grade
    assert words in seen.found
    assert bool(seen.todo) is (grade is not Grade.OK)


@pytest.mark.parametrize(
    ("skew", "grade"),
    [
        ((-10.0, 10.0), Grade.OK),
        ((-5_000.0, 1_000.0), Grade.OK),
        ((1_000.0, 2_000.0), Grade.OK),
        ((1_000.1, 2_000.0), Grade.FAILED),
        ((-3_000.0, -1_000.1), Grade.FAILED),
        ((-3_000.0, -1_000.0), Grade.OK),
        (Silence("nobody"), Grade.UNKNOWN),
    ],
)
def test_clocks_fail_where_they_certainly_differ(parts, skew, grade):
    """What may still lie within the limit passes; what can't, fails."""
    assert CHECK["clock"](look_with(parts, skew_ms=skew)).grade is grade


@given(
    offset=st.floats(-10, 10),
    start=st.floats(1.7e9, 1.8e9),
    waits=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=5),
)
def test_the_bounds_hold_the_true_difference(offset, start, waits):
    """Whatever the answers took and whenever they were asked, the difference of the clocks lies between the bounds."""
    asked, there = [], start
    for pause, took, part in waits:
        there += pause
        looked = there + took * part
        asked.append((there + offset, there + took + offset, int(looked)))
        there += took
    low, high = exchange_look.skew_of(asked)

    assert low / 1000 - 1e-5 <= offset <= high / 1000 + 1e-5
    assert high - low <= 1000 + min(ended - begun for begun, ended, _ in asked) * 1000 + 1e-2


def test_a_clock_that_was_set_meanwhile_is_told():
    """Answers that no difference fits."""
    with pytest.raises(StorageError, match="set meanwhile"):
        exchange_look.skew_of([(100.0, 100.1, 100), (101.0, 101.1, 120)])


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, Grade.OK),
        ({"status": "cancel_only"}, Grade.FAILED),
        ({"ordermin": Decimal("0.0001")}, Grade.FAILED),
        ({"costmin": Decimal("0.51")}, Grade.FAILED),
        ({"costmin": Decimal("0.5")}, Grade.OK),
        ({"tick_size": Decimal("0.01")}, Grade.WARNING),
        ({"tick_size": Decimal(1)}, Grade.FAILED),
        ({"lot_decimals": 5}, Grade.FAILED),
    ],
)
def test_steps_of_a_pair(parts, changes, grade):
    """Steps that the exchange would refuse fail; coarser ones that fit are a warning."""
    import msgspec

    pair = msgspec.structs.replace(PAIR, **changes)
    eth = msgspec.structs.replace(
        PAIR, altname="ETHEUR", wsname="ETH/EUR", tick_size=Decimal("0.01"), ordermin=Decimal("0.001")
    )

    assert CHECK["symbols"](look_with(parts, pairs={"BTC/EUR": pair, "ETH/EUR": eth})).grade is grade


def test_a_pair_that_is_not_listed(parts):
    """It is named."""
    seen = CHECK["symbols"](look_with(parts))

    assert (seen.grade, "ETH/EUR is not listed" in seen.found) == (Grade.FAILED, True)


def test_orders_below_the_exchanges_minimum(parts):
    """A profile whose largest order is below the exchange's smallest can never trade."""
    import msgspec

    pairs = {"BTC/EUR": msgspec.structs.replace(PAIR, costmin=Decimal(51))}
    seen = CHECK["limits"](look_with(parts, pairs=pairs))

    assert (seen.grade, "quick_smoke" in seen.found) == (Grade.FAILED, True)


def test_limits_need_no_pair_to_be_listed(parts):
    """What is not listed, or not told, is another check's business."""
    for pairs in ({}, {"BTC/EUR": PAIR}, Silence("nobody")):
        assert CHECK["limits"](look_with(parts, pairs=pairs)).grade is Grade.OK


@pytest.mark.parametrize(("grade", "stage", "blocks"), [
    (Grade.OK, Stage.TESTNET, False),
    (Grade.WARNING, Stage.LIVE, False),
    (Grade.FAILED, Stage.SHADOW, True),
    (Grade.UNKNOWN, Stage.TESTNET, False),
    (Grade.UNKNOWN, Stage.LIVE, True),
])  # fmt: skip
def test_what_keeps_a_stage_from_being_ready(parts, grade, stage, blocks):
    """Failures do, and what is unknown where the stage has to know."""
    check = StageCheck("one", readiness_checks.EVERY, readiness_checks.REAL, lambda _look: Seen(grade, "x", "y"))

    [line] = check_stage(parts, stage, (check,))
    assert line.blocks is blocks


@pytest.mark.parametrize("error", [InputError("expected a, found b; do c"), OSError(5, "broken"), ValueError("odd")])
def test_a_check_that_breaks_takes_no_other_down(parts, error):
    """Its error is what was found, and what to do where it says so."""

    def broken(_look):
        raise error

    checks = (
        StageCheck("one", readiness_checks.EVERY, frozenset(), broken),
        StageCheck("two", readiness_checks.EVERY, frozenset(), lambda _look: Seen(Grade.OK, "x")),
    )
    first, second = check_stage(parts, Stage.SHADOW, checks)

    assert (first.seen.grade, second.seen.grade) == (Grade.FAILED, Grade.OK)
    assert first.seen.found
    if isinstance(error, InputError):
        assert first.seen == (Grade.FAILED, "expected a, found b", "do c")


def test_every_stage_has_checks_and_every_check_a_stage():
    """No check is made for nobody, names are told once, and what a stage must know it also asks."""
    names = [check.name for check in readiness_checks.CHECKS]

    assert len(set(names)) == len(names)
    assert all(check.stages for check in readiness_checks.CHECKS)
    assert {Stage.RESEARCH} | readiness_checks.EVERY == set(Stage)


def test_the_tests_of_a_stage_are_there():
    """Every file and folder that --run-tests names exists."""
    assert [path for paths in tested.TARGETS.values() for path in paths if not (ROOT / path).exists()] == []


def test_the_runbooks_of_a_stage_are_there():
    """Every page is needed by a stage, and only those are missing without which the stages to come are not reached."""
    wanted = {name for names in RUNBOOKS.values() for name in names}
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}

    assert pages <= wanted
    assert wanted - pages == {"shadow_live_session", "live_session"}
    assert [stage for stage in RUNBOOKS if not missing_runbooks(ROOT, stage)] == [Stage.SHADOW, Stage.TESTNET]


def test_packages_that_differ_from_the_lock(parts, tmp_path, monkeypatch):
    """Another version is named; one of another platform that is not installed is not missed."""
    monkeypatch.setattr(readiness_checks, "ROOT", tmp_path)
    lock = tmp_path / "requirements.lock"
    look = Look(parts, Stage.SHADOW)

    lock.write_text("numpy==0.0.1 \\\n    --hash=sha256:0\nnothing-at-all==1.0 ; sys_platform == 'win32'\n")
    seen = CHECK["packages"](look)
    assert (seen.grade, seen.todo) == (Grade.WARNING, "make setup")
    assert "numpy" in seen.found
    assert "nothing-at-all" not in seen.found
    lock.write_text("nothing-at-all==1.0\n")
    assert "nothing-at-all missing" in CHECK["packages"](look).found
    lock.unlink()
    assert CHECK["packages"](look).grade is Grade.UNKNOWN


def test_folders_that_cannot_be_written(parts, monkeypatch):
    """A disk that refuses is told with its reason."""
    import tempfile

    def refused(**_given):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    seen = CHECK["folders"](Look(parts, Stage.SHADOW))

    assert (seen.grade, "Read-only" in seen.found) == (Grade.FAILED, True)


def test_a_line_as_json():
    """Its fields have plain names."""
    line = readiness.Line("one", Seen(Grade.WARNING, "x", "y"), blocks=False)

    assert line.to_json() == {"name": "one", "state": "warning", "found": "x", "todo": "y", "blocks": False}
