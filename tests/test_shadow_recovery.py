"""What a session does after a death, a refusal and a pause: it goes on, it waits, or it only closes."""

import pytest
from tests.test_shadow_flow import Desk, desk  # noqa: F401 - a fixture is used by its name

from peak_trade.cli.main import main
from peak_trade.journal.chain import read
from peak_trade.model.errors import SafetyRefused
from peak_trade.runs.trading.session import Watcher

DECIDED = ["--strategy", "ma_crossover", "--param", "fast_window=2", "--param", "slow_window=5", "--no-html"]


class Killed(BaseException):
    """Ends a process in the tests as a kill would: nothing of ours catches it."""


def dying(point: str, count: int) -> Watcher:
    """Return a watcher under which the process dies at the *count*-th passing of a point."""
    passed = [0]

    def hook(place: str) -> None:
        passed[0] += place == point
        if passed[0] == count:
            raise Killed

    return Watcher(faults=hook)


def test_a_refused_start_leaves_the_dead_session_to_be_gone_on_with(desk):  # noqa: F811
    """The venue's memory was changed: nothing begins, nothing is booked; once it is whole, the same command goes on."""
    bars = desk.bars()
    whole = desk.run(bars)
    with pytest.raises(Killed):
        desk.run(bars, watcher=dying("venue.submit.after", 12))
    memory = sorted((desk.folder / "var" / "venue" / "paper").iterdir())[-1]
    content = memory.read_bytes()
    memory.write_bytes(b"".join(content.splitlines(keepends=True)[:-9]))

    for _ in range(2):
        with pytest.raises(SafetyRefused, match="nothing was sent"):
            desk.run(bars)
    memory.write_bytes(content)
    ended = desk.run(bars)

    assert ended.record["continues"] is not None
    assert ended.record["metrics"] | {"orders_unknown": 0.0} == whole.record["metrics"]
    assert ended.record["decisions_sha256"] == whole.record["decisions_sha256"]


def test_a_session_that_goes_on_and_ends_early_hears_what_the_venue_did(desk):  # noqa: F811
    """It died bars after its last record; told to end at once, it still books what was filled meanwhile."""
    bars = desk.bars()
    with pytest.raises(Killed):
        desk.run(bars, take_profit="0.01", watcher=dying("venue.log.after", 30))

    ended = desk.run(bars, take_profit="0.01", steps=1)

    told = list(read(desk.folder / ended.record["journal"]["path"]))
    assert "reconciled" in [record.kind for record in told]
    assert ended.record["status"] == "completed"


@pytest.mark.parametrize("limit", ["max_daily_loss_abs"])
def test_a_paused_session_holds_no_order_that_could_enlarge_it(desk, limit):  # noqa: F811
    """With a share of the volume an entry fills over many bars: when the pause comes, the rest of it is called back."""
    desk.configure(**{limit: "20"})
    ended = desk.run(desk.bars(noise=0.02), volume_share="0.5", position_fraction="0.9")
    records = list(read(desk.folder / ended.record["journal"]["path"]))
    paused = next(place for place, record in enumerate(records) if record.kind == "incident")
    later = [record.body for record in records[paused:] if record.kind == "filled"]

    assert ended.record["mode_at_end"] == "paused"
    assert [fill for fill in later if not fill["quantity"].startswith("-")] == []


def test_a_session_that_was_ended_between_bars_can_be_decided_again(tmp_path, monkeypatch, capsys):
    """In time, nearly every end comes while a bar is waited for; replay and report know it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("")

    assert main(["session", "run", *DECIDED, "--speed", "600", "--duration", "0.01"]) == 0
    assert main(["session", "replay", "latest"]) == 0
    assert main(["report", "latest:live_session_shadow"]) == 0
    assert "identical" in capsys.readouterr().out
