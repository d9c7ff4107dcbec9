"""`peak-trade session` and its scripts as their users see them."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from tests.postgres import Server, postgres

from peak_trade.journal.chain import canonical, seal

__all__ = ["postgres"]

#: A session over recorded bars that takes a moment and trades a little.
QUICK = ("--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html")
RUN = ("session", "run", *QUICK)
#: In real time: it goes on until somebody ends it.
ENDLESS = ("--strategy", "ma_crossover", "--duration", "30", "--no-html")
HOURS = ("--data", "bars.csv", "--symbol", "BTC/EUR")
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def session(project):
    """The record of a session that completed."""
    return project.run(*RUN, "--json").json


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(project, *arguments: str, code: int = 2) -> str:
    """Run a command that must be refused in one sentence, and return the sentence."""
    ended = project.run(*arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1), ended
    assert ended.err.startswith("peak-trade: ")
    assert "Traceback" not in ended.err
    assert "internal fault" not in ended.err
    return ended.err


# ---- run and shadow --------------------------------------------------------------------------------------------------


def test_the_record_has_every_field(session):
    """One document on stdout with everything that the design promises of a session."""
    promised = {"session_id", "run_id", "run_type", "mode", "env_name", "symbol", "strategy", "params", "tier", "status"}
    promised |= {
        "started_at",
        "finished_at",
        "config_sha256",
        "code_version",
        "dataset",
        "feed",
        "metrics",
        "cli_args",
        "error",
    }
    figures = {"realized_pnl", "unrealized_pnl", "max_drawdown", "num_orders", "num_fills", "orders_rejected"}
    figures |= {"orders_blocked_risk", "fees_paid", "final_equity", "total_return"}

    assert session.keys() >= promised | {"notes", "tags", "expected", "journal", "limits", "terms", "by_leg", "incidents"}
    assert session["metrics"].keys() >= figures
    assert (session["status"], session["mode"], session["error"]) == ("completed", "shadow", None)
    assert (session["run_type"], session["ended_by"]) == ("live_session_shadow", "the number of steps")
    assert session["metrics"]["num_bars"] == 500
    assert session["metrics"]["num_fills"] == session["expected"]["num_fills"] > 0
    assert session["started_at"] < session["finished_at"]


def test_logs_and_remarks_leave_stdout_alone(project):
    """With --verbose the log is on stderr, and stdout is one document."""
    ended = project.run(*RUN, "--json", "--verbose")
    log = (project.folder / "logs" / "peak_trade.log").read_text().splitlines()

    assert ended.json["status"] == "completed"
    assert "filled" in ended.err
    assert {json.loads(line)["event"] for line in log} >= {"session begins", "sending", "opened", "filled", "settling"}


def test_without_verbose_nothing_is_on_stderr(project):
    """A session that goes well has nothing to say there."""
    assert project.run(*RUN).err == ""


def test_a_session_in_time_says_that_it_has_begun(project):
    """Somebody who starts half an hour of real time is told at once which session runs, and how to watch and end it."""
    ended = project.run("session", "run", "--strategy", "ma_crossover", "--steps", "3", "--speed", "1e9", "--no-html")
    name = project.run("session", "list", "--json").json[0]["session_id"]

    assert (ended.code, name in ended.err) == (0, True)
    assert "Ctrl+C" in ended.err


def test_text_tells_what_happened_and_where_it_is(project):
    """A person reads how it ended, the figures beside the backtest's, and the paths of journal, report and page."""
    ended = project.run("session", "shadow", "--strategy", "rsi_strategy", "--tag", "daily-shadow", "--end", "2024-01-02")
    paths = re.findall(r"^(?:journal|report|page): (.*)$", ended.out, flags=re.M)

    assert ended.code == 0
    assert ended.out.startswith("shadow_run ")
    assert "completed, ended by the end of the data" in ended.out
    assert "rsi_reversion" in ended.out
    assert "compared with a backtest of the same bars: every fill is the same" in ended.out
    assert [Path(path).suffix for path in paths] == [".jsonl", ".md", ".html"]
    assert all(Path(path).stat().st_size > 500 for path in paths)


def test_blocked_orders_are_told_by_reason(project):
    """The end of a session names what the limits refused, and what that cost against the backtest."""
    configure(project, 'max_order_notional = "1000"', 'max_order_notional = "100"')
    ended = project.run(*RUN)

    assert ended.code == 0
    assert re.search(r"blocked by the risk gate: max_order_notional [1-9]", ended.out)
    assert "difference in USD: signal" in ended.out
    assert "every fill" not in ended.out


def configure(project, before: str, after: str) -> None:
    path = project.folder / "config.toml"
    text = path.read_text()
    assert text.count(before) >= 1
    path.write_text(text.replace(before, after, 1))


def test_options_reach_the_session(project):
    """Every option changes what it says."""
    project.bars("bars.csv")
    record = project.run(
        *("session", "shadow", "--strategy", "ma_crossover", *HOURS, "--timeframe", "1h", "--json", "--no-html"),
        *("--param", "fast_window=5", "--param", "slow_window=12", "--start", "2024-01-05", "--end", "2024-01-20T12:00"),
        *("--warmup-candles", "24", "--position-fraction", "0.02", "--start-balance", "5000", "--fee-rate", "0.001"),
        *("--slippage-bps", "2", "--side", "both", "--stop-loss", "0.05", "--take-profit", "0.1", "--trailing-stop", "0.03"),
        *(
            "--tag",
            "a",
            "--tag",
            "b",
            "--notes",
            "the first one",
            "--env-name",
            "desk-1",
            "--account",
            "mine",
            "--steps",
            "300",
        ),
    ).json
    terms = record["terms"]

    assert record["params"] == {"fast_window": 5, "slow_window": 12}
    assert (record["traded_from"], record["dataset"]["first"]) == ("2024-01-05T00:00:00Z", "2024-01-04T00:00:00Z")
    assert record["dataset"]["last"] == "2024-01-20T11:00:00Z"
    assert record["metrics"]["num_bars"] == 324
    assert (terms["position_fraction"], terms["start_balance"], terms["fee_rate"]) == ("0.02", "5000", "0.001")
    assert (terms["slippage_bps"], terms["side"]) == ("2.0", "both")
    assert (terms["stop_loss"], terms["take_profit"], terms["trailing_stop"]) == (0.05, 0.1, 0.03)
    assert (record["tags"], record["notes"], record["env_name"], record["account"]) == (
        ["a", "b"],
        "the first one",
        "desk-1",
        "mine",
    )
    assert (record["run_type"], record["timeframe"], record["symbol"]) == ("shadow_run", "1h", "BTC/EUR")


def test_tag_notes_and_environment_are_registered(project):
    """They are on the registered session too, and found again."""
    project.run(*RUN, "--tag", "daily", "--notes", "before the holidays", "--env-name", "desk-1")
    project.run(*RUN, "--tag", "other")
    listed = project.run("session", "list", "--tag", "daily", "--json").json
    shown = project.run("session", "show", listed[0]["session_id"]).out

    assert [(item["tags"], item["notes"], item["env_name"]) for item in listed] == [
        (["daily"], "before the holidays", "desk-1")
    ]
    assert "before the holidays" in shown
    assert "environment desk-1" in shown


def test_every_session_leaves_an_export(project, session):
    """`<stamp>_<run_type>_<session_id>.json` in reports/experiments/live_sessions is the record."""
    folder = project.folder / "reports" / "experiments"
    export = next((folder / "live_sessions").iterdir())
    stamp = re.sub("[-:]", "", session["started_at"].partition(".")[0])

    assert export.name == f"{stamp}Z_live_session_shadow_{session['session_id']}.json"
    assert json.loads(export.read_text()) == session
    assert json.loads((folder / session["session_id"] / "session.json").read_text()) == session


def test_the_folder_holds_everything(project):
    """Record, report, page, orders, fills and equity; orders and fills agree with the figures."""
    record = project.run("session", "shadow", "--strategy", "ma_crossover", "--steps", "300", "--json").json
    folder = project.folder / "reports" / "experiments" / record["session_id"]
    orders, fills = (pl.read_csv(folder / name) for name in ("orders.csv", "fills.csv"))

    assert {path.name for path in folder.iterdir()} == {
        *("session.json", "report.md", "session.html", "orders.csv", "fills.csv", "equity.parquet")
    }
    assert len(orders) == record["metrics"]["num_orders"] == orders["client_id"].n_unique()
    assert len(fills) == record["metrics"]["num_fills"]
    assert fills["fee"].sum() == pytest.approx(record["metrics"]["fees_paid"])
    assert pl.read_parquet(folder / "equity.parquet")["equity"][-1] == record["metrics"]["final_equity"]


def test_a_dry_run_writes_nothing(project):
    """Everything is checked and told, and no file comes or changes."""
    project.bars("bars.csv")
    before = contents(project.folder)
    told = project.run(*RUN, *HOURS, "--timeframe", "1h", "--dry-run")
    facts = project.run(*RUN, *HOURS, "--timeframe", "1h", "--dry-run", "--json").json

    assert (told.code, told.err) == (0, "")
    assert "nothing was begun" in told.out
    assert "500 bars" in told.out
    assert "max_order_notional=1000" in told.out
    assert facts["datasets"]["BTC/EUR"]["bars"] == 500
    assert (facts["account"], facts["traded_from"]) == ("paper", "2024-01-09T08:00:00Z")
    assert contents(project.folder) == before


def test_a_dry_run_finds_what_is_wrong(project):
    """It ends with the code that the session itself would end with."""
    assert "macd" in refused(project, "session", "run", "--strategy", "macdd", "--dry-run")
    project.bars("bars.csv")
    assert "live_risk.symbols" in refused(project, *RUN, "--data", "bars.csv", "--symbol", "XRP/EUR", "--dry-run", code=3)


def test_the_same_session_has_the_same_specification(project):
    """What a dry run promises is what runs."""
    promised = project.run(*RUN, "--dry-run", "--json").json["spec_sha256"]
    record = project.run(*RUN, "--json").json
    registered = json.loads(_first_record(record))

    assert registered["body"]["spec_sha256"] == promised


def _first_record(record) -> str:
    return Path(record["journal"]["path"]).read_text().splitlines()[0]


def test_without_the_registry(project):
    """--no-registry: not listed, but journal, report and export are there, and it can be decided again and looked into."""
    record = project.run(*RUN, "--no-registry", "--json").json
    folder = project.folder / "reports" / "experiments"

    assert project.run("session", "list", "--json").json == []
    assert project.run("experiments", "--json").json == []
    assert (folder / record["session_id"] / "report.md").exists()
    assert len(list((folder / "live_sessions").iterdir())) == 1
    assert project.run("journal", "verify").code == 0
    assert project.run("session", "replay", record["session_id"]).code == 0
    assert project.run("session", "tail", record["session_id"], "-n", "1").out.split()[2] == "ended"


def test_list_strategies(project):
    """Every built-in, as `strategies list` has it; no strategy need be given and nothing is written."""
    before = contents(project.folder)
    listed = project.run("session", "run", "--list-strategies")

    assert listed.code == 0
    assert listed.out == project.run("strategies", "list").out
    assert "ma_crossover" in listed.out
    assert {item["key"] for item in project.run("session", "run", "--list-strategies", "--json").json} >= {"macd", "composite"}
    assert contents(project.folder) == before


def test_several_strategies_and_symbols(project):
    """Each strategy on each symbol is a leg of its own; a parameter names whose it is."""
    for name, symbol, seed in (("one.csv", "BTC/EUR", 7), ("two.csv", "ETH/EUR", 8)):
        project.bars(name, seed=seed)
        assert project.run("data", "import", name, "--symbol", symbol, "--timeframe", "1h").code == 0
    record = project.run(
        *("session", "shadow", "--strategy", "ma_crossover", "--strategy", "rsi_strategy", "--json", "--no-html"),
        *("--symbol", "BTC/EUR", "--symbol", "ETH/EUR", "--timeframe", "1h", "--warmup-candles", "0"),
        *("--param", "ma_crossover.fast_window=5", "--param", "rsi_strategy.window=7"),
    ).json

    assert [leg["leg"] for leg in record["legs"]] == [
        *("ma_crossover@BTC/EUR", "rsi_reversion@BTC/EUR", "ma_crossover@ETH/EUR", "rsi_reversion@ETH/EUR")
    ]
    assert record["params"]["ma_crossover"]["fast_window"] == 5
    assert record["params"]["rsi_reversion"]["window"] == 7
    assert record["symbol"] == "BTC/EUR+ETH/EUR"


@pytest.mark.parametrize("words", [("--strategy", "ma_crossover"), ("--strategy", "rsi_strategy"), ("--symbol", "SYN/USD")])
def test_a_session_of_several_is_found_by_each(project, words):
    """Whoever asks for the sessions of a strategy or symbol gets those too in which it was one of several."""
    project.run(*RUN, "--strategy", "rsi_strategy")

    assert len(project.run("session", "list", "--json", *words).json) == 1


def test_many_symbols_keep_their_names_and_currency(project):
    """The registry holds all of them, and the totals are in their currency."""
    symbols = [f"{base}/USD" for base in ("BTC", "ETH", "SPX", "SYN", "XRP")]
    configure(project, 'symbols = ["BTC/EUR", "ETH/EUR", "BTC/USD", "SPX/USD", "SYN/USD"]', f"symbols = {json.dumps(symbols)}")
    path = project.bars("bars.csv", count=60)
    for symbol in symbols:
        project.run("data", "import", str(path), "--symbol", symbol, "--timeframe", "1h")
    words = [word for symbol in symbols for word in ("--symbol", symbol)]
    record = project.run(*RUN, *words, "--timeframe", "1h", "--warmup-candles", "0", "--json").json
    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        listed = connection.execute("select symbol, currency from session_list").fetchall()
    connection.close()

    assert record["symbol"] == "+".join(symbols)
    assert listed == [("+".join(symbols), "USD")]
    assert project.run("session", "list", "--json").json[0]["symbol"] == record["symbol"]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fee-rate", "-1"], "fee_rate"),
        (["--fee-rate", "1"], "fee_rate"),
        (["--fee-rate", "nan"], "number"),
        (["--fee-rate", "x"], "--fee-rate"),
        (["--slippage-bps", "-1"], "slippage_bps"),
        (["--slippage-bps", "10000"], "slippage_bps"),
        (["--position-fraction", "0"], "position fraction"),
        (["--position-fraction", "1.01"], "position fraction"),
        (["--start-balance", "0"], "start balance"),
        (["--start-balance", "lots"], "--start-balance"),
        (["--start-balance", "nan"], "start balance"),
        (["--start-balance", "1e13"], "start balance"),
        (["--warmup-candles", "-1"], "warm-up"),
        (["--warmup-candles", "129600"], "--warmup-candles"),
        (["--stop-loss", "1"], "stop_loss"),
        (["--take-profit", "-0.1"], "take_profit"),
        (["--trailing-stop", "inf"], "number"),
        (["--side", "up"], "long, short or both"),
        (["--steps", "0"], "--steps"),
        (["--steps", "-5"], "--steps"),
        (["--steps", "1.5"], "--steps"),
        (["--duration", "0"], "--duration"),
        (["--duration", "nan"], "--duration"),
        (["--speed", "fast"], "--speed"),
        (["--speed", "0"], "--speed"),
        (["--speed", "-1"], "--speed"),
        (["--speed", "nan"], "--speed"),
        (["--speed", "inf"], "--speed"),
        (["--start", "yesterday"], "--start"),
        (["--end", "2024-13-01"], "--end"),
        (["--start", "2024-02-01", "--end", "2024-01-01"], "--start before --end"),
        (["--start", "2030-01-01"], "the data covers"),
        (["--end", "1999-01-01"], "the data covers"),
        (["--data", "none.csv"], "found none"),
        (["--symbol", "BTC"], "BTC/EUR"),
        (["--symbol", "BTC/EUR"], "peak-trade data import"),
        (["--timeframe", "1x"], "timeframe"),
        (["--timeframe", "5m"], "peak-trade data import"),
        (["--symbol", "SYN/USD", "--symbol", "SYN/USD"], "each symbol once"),
        (["--param", "fast=1"], "fast_window"),
        (["--param", "fast_window"], "NAME=VALUE"),
        (["--param", "fast_window=60"], "slow_window"),
        (["--strategy", "macdd"], "did you mean macd"),
        (["--strategy", "ma_crossover"], "each strategy once"),
        (["--strategy", "macd", "--side", "both"], "one side only"),
        (["--strategy", "macd", "--param", "fast_window=3"], "STRATEGY.NAME=VALUE"),
        (["--account", "../other"], "--account"),
        (["--account", ""], "--account"),
        (["--tag", ""], "tag"),
        (["--tag", "x" * 65], "tag"),
        (["--notes", "x" * 2_001], "notes"),
        (["--notes", "\x1b[31mred"], "notes"),
        (["--env-name", "x" * 65], "--env-name"),
        (["--env-name", "\x1b[31mred"], "--env-name"),
        (["--log-level", "loud"], "--log-level"),
        (["--mode", "paper"], "shadow"),
        (["--config", "none.toml"], "--config"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_option_is_one_sentence(project, arguments, words):
    """Every bad value is named with what was expected, exit code 2, and no session was begun."""
    sentence = refused(project, *RUN, *arguments)

    assert words in sentence
    assert not (project.folder / "var" / "journal").exists()
    assert not (project.folder / "reports").exists()


def test_no_strategy_is_one_sentence(project):
    """It says where the names are."""
    for command in ("run", "shadow"):
        assert "--list-strategies" in refused(project, "session", command)


def test_a_symbol_that_is_not_allowed_is_refused_by_the_limits(project):
    """Every order of it would be blocked: exit code 3 at once, which names the key to change."""
    project.bars("bars.csv")

    assert "live_risk.symbols" in refused(project, *RUN, "--data", "bars.csv", "--symbol", "XRP/EUR", code=3)


def test_two_quote_currencies_are_refused(project):
    """One account has one currency."""
    for symbol in ("BTC/EUR", "BTC/USD"):
        project.bars("bars.csv")
        project.run("data", "import", "bars.csv", "--symbol", symbol, "--timeframe", "1h")

    sentence = refused(project, *RUN, "--timeframe", "1h", "--symbol", "BTC/EUR", "--symbol", "BTC/USD")
    assert "EUR, USD" in sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--run-type", "shadow"], "shadow_run"),
        (["list", "--status", "great"], "completed"),
        (["list", "--strategy", "nope"], "ma_crossover"),
        (["list", "--symbol", "BTC"], "BTC/EUR"),
        (["list", "--limit", "0"], "--limit"),
        (["show", "nope"], "session list"),
        (["replay", "nope"], "nope"),
        (["tail", "nope"], "nope"),
        (["tail", "latest", "--lines", "-1"], "--lines"),
        (["show"], "session_id"),
    ],
)
def test_a_wrong_question_is_one_sentence(project, session, arguments, words):
    """So it is with what looks at sessions."""
    assert words in refused(project, "session", *arguments)


# ---- looking at them -------------------------------------------------------------------------------------------------


def test_an_empty_registry_says_how_to_begin(project):
    """The first look at the list, and at the latest session, tells the command that makes one."""
    listed = project.run("session", "list")

    assert (listed.code, listed.err) == (0, "")
    assert "peak-trade session run --strategy ma_crossover" in listed.out
    assert project.run("session", "list", "--json").json == []


@pytest.mark.parametrize("command", ["show", "tail", "replay"])
def test_the_latest_of_none_says_how_to_begin(project, command):
    """There is no session yet: say that, and how to make one, not that `latest` was misspelt."""
    assert "peak-trade session run" in refused(project, "session", command, "latest")


def test_list_and_its_filters(project):
    """Newest first; type, status, strategy, symbol, tag and limit narrow it."""
    project.run(*RUN, "--tag", "a")
    project.run("session", "shadow", "--strategy", "macd", "--steps", "50", "--no-html")
    newest, oldest = project.run("session", "list", "--json").json
    ids = lambda *words: [item["session_id"] for item in project.run("session", "list", "--json", *words).json]

    assert [newest["run_type"], oldest["run_type"]] == ["shadow_run", "live_session_shadow"]
    assert ids("--run-type", "shadow_run") == ids("--strategy", "macd") == ids("--limit", "1") == [newest["session_id"]]
    assert ids("--tag", "a") == ids("--run-type", "live_session_shadow", "--status", "completed") == [oldest["session_id"]]
    assert ids("--symbol", "BTC/EUR") == ids("--status", "aborted") == []
    assert len(ids("--symbol", "SYN/USD")) == 2
    text = project.run("session", "list").out
    assert text.index(newest["session_id"]) < text.index(oldest["session_id"])


def test_show_tells_everything(project, session):
    """By id, a part of it or `latest`; JSON has what the registry has."""
    name = session["session_id"]
    shown = project.run("session", "show", name)

    assert shown.code == 0
    for words in (name, "completed", "ma_crossover", "SYN/USD 1m", "account", session["decisions_sha256"], "session replay"):
        assert words in shown.out
    assert project.run("session", "show", "latest").out == shown.out == project.run("session", "show", name[-6:]).out
    registered = project.run("session", "show", name, "--json").json
    assert registered["metrics"] == {key: value for key, value in session["metrics"].items() if value is not None}
    assert (registered["head_seq"], registered["head_sha256"]) == (
        session["journal"]["head_seq"],
        session["journal"]["head_sha256"],
    )


def test_the_explorer_knows_sessions(project):
    """`experiments --run-type shadow_run --limit 50` and `experiments show` have them too."""
    record = project.run("session", "shadow", "--strategy", "ma_crossover", "--steps", "300", "--no-html", "--json").json
    listed = project.run("experiments", "--run-type", "shadow_run", "--limit", "50")

    assert record["run_id"] in listed.out
    assert [run["run_id"] for run in project.run("experiments", "--run-type", "shadow_run", "--json").json] == [
        record["run_id"]
    ]
    assert project.run("experiments", "show", record["run_id"]).code == 0


def test_replay_decides_again(project, session):
    """The same decisions come out, as words and as a document."""
    told, found = project.run("session", "replay", "latest"), project.run("session", "replay", "latest", "--json").json

    assert (told.code, "identical" in told.out) == (0, True)
    assert found["identical"] is True
    assert found["decisions_sha256"] == {"then": session["decisions_sha256"], "now": session["decisions_sha256"]}
    assert (found["session_id"], found["bars"]) == (session["session_id"], 500)


def test_replay_refuses_a_journal_that_was_changed(project, session):
    """A quantity changed in the journal and all hashes made anew: exit code 1, and the signature tells."""
    path = Path(session["journal"]["path"])
    _, changed = doubled(path.read_text().splitlines())
    path.write_bytes(changed)

    ended = project.run("session", "replay", "latest")

    assert ended.code == 1
    assert "rewritten" in ended.err
    assert len(ended.err.splitlines()) == 1


def doubled(lines: list[str]) -> tuple[int, bytes]:
    """Return the number of the first order's record, and the journal with twice its quantity and all hashes made anew."""
    records = [json.loads(line) for line in lines]
    number = next(record["seq"] for record in records if record["kind"] == "sending")
    intent = records[number]["body"]["intent"]
    intent["quantity"] = str(2 * Decimal(intent["quantity"]))
    prev, written = records[0]["prev"], []
    for record in records:
        line, prev = seal(canonical(record["at"], record["body"], record["kind"], prev, record["seq"]))
        written.append(line)
    return number, b"".join(written)


def test_replay_misses_the_data(project):
    """Bars that have changed since are named; nothing is decided on others."""
    path = project.bars("bars.csv")
    project.run(*RUN, *HOURS, "--timeframe", "1h")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-2].replace(",1.0", ",2.0"), lines[-1]]))

    assert "restore that data" in refused(project, "session", "replay", "latest")


def test_tail_shows_the_last_records(project, session):
    """As many as asked for, in order, as words and as JSON lines; following one that ended comes back."""
    last = project.run("session", "tail", "-n", "3").out.splitlines()
    every = [json.loads(line) for line in project.run("session", "tail", "--lines", "1000", "--json").out.splitlines()]

    assert [line.split()[2] for line in last][-2:] == ["settling", "ended"]
    assert [record["seq"] for record in every] == list(range(session["journal"]["records"]))
    assert (every[0]["kind"], every[-1]["sha256"]) == ("begun", session["journal"]["head_sha256"])
    assert project.run("session", "tail", "-n", "0").out == ""
    assert project.run("session", "tail", "--follow", "-n", "1").out.split()[2] == "ended"


@pytest.mark.parametrize(
    "change",
    [
        "update sessions set feed = '{broken'",
        "update sessions set summary = '[]'",
        "update sessions set mode = 'nothing'",
        "update sessions set head_seq = 'x'",
        "update runs set params = 'null'",
        "update runs set status = 'exploded'",
        "update metrics set value = 'abc' where name = 'final_equity'",
        "delete from sessions",
        "delete from runs",
    ],
)
def test_a_damaged_row_hides_nothing(project, session, change):
    """The list still works and shows the row as damaged beside a sound one; its report works too."""
    with sqlite3.connect(project.folder / "var" / "registry.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(change)
    connection.close()
    sound = project.run(*RUN, "--json").json["session_id"]
    listed = project.run("session", "list", "--json")
    shown = project.run("session", "show", session["session_id"])

    assert listed.code == 0
    assert [(item["session_id"], item["status"]) for item in listed.json] == [
        (sound, "completed"),
        (session["session_id"], "damaged"),
    ]
    assert project.run("session", "list").code == 0
    assert project.run("session", "report", "--stdout").code == 0
    assert (shown.code, "damaged" in shown.out) == (0, True)
    assert "internal fault" not in shown.err


def test_a_destroyed_registry_is_one_sentence(project, session):
    """Nothing is overwritten: the file is named, and the session is refused before anything begins."""
    path = project.folder / "var" / "registry.db"
    path.write_bytes(b"this is no database at all, " * 200)
    before = path.read_bytes()
    for command in (("session", "list"), RUN, ("session", "report", "--stdout")):
        ended = project.run(*command)

        assert (ended.code, ended.out, len(ended.err.splitlines())) == (1, "", 1)
        assert "registry.db" in ended.err
        assert "internal fault" not in ended.err
    assert path.read_bytes() == before


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    """An empty database of the server."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


def test_sessions_on_postgresql(project, postgres_url):
    """By the URL in the configuration: run, list, show, replay, verify and report, and no SQLite file beside it."""
    configure(project, "sqlite:///var/registry.db", postgres_url)
    record = project.run(*RUN, "--tag", "a", "--notes", "on the server", "--json").json
    listed = project.run("session", "list", "--tag", "a", "--json").json
    report = project.run("session", "report", "--stdout", "--status", "completed")

    assert [item["session_id"] for item in listed] == [record["session_id"]]
    assert listed[0]["metrics"] == {key: value for key, value in record["metrics"].items() if value is not None}
    assert "on the server" in project.run("session", "show", "latest").out
    assert project.run("session", "replay", "latest").code == 0
    assert project.run("journal", "verify").code == 0
    assert (report.code, "1 session: 1 completed." in report.out) == (0, True)
    assert project.run("experiments", "--run-type", "live_session_shadow").code == 0
    assert not (project.folder / "var" / "registry.db").exists()


def test_postgresql_takes_what_the_options_take(project, postgres_url):
    """The longest name, remark and environment that are accepted fit its columns."""
    configure(project, "sqlite:///var/registry.db", postgres_url)
    words = ("--env-name", "e" * 64, "--account", "a" * 64, "--tag", "t" * 64, "--notes", "n" * 2_000)

    assert project.run(*RUN, *words, "--json").json["status"] == "completed"


# ---- as processes ----------------------------------------------------------------------------------------------------


def until(found: Callable[[], object], process: subprocess.Popen[str]) -> object:
    """Ask again and again until there is something; give up when the process ends or time is over."""
    deadline = time.monotonic() + PATIENCE_S
    while not (seen := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing came"
    return seen


def journals(project) -> list[Path]:
    return [path for path in (project.folder / "var" / "journal").rglob("*.jsonl") if ".heads." not in path.name]


def trading(project, count: int) -> Callable[[], object]:
    """Tell whether the newest of so many journals shows that trading has begun."""
    return lambda: len(journals(project)) == count and '"reconciled"' in max(journals(project)).read_text()


@pytest.fixture
def started(project) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a session in real time as a process and wait until it trades; ended at the end, whatever happens."""
    processes: list[subprocess.Popen[str]] = []

    def start(*more: str) -> subprocess.Popen[str]:
        before = len(journals(project))
        processes.append(project.start(*ENDLESS, *more, script="run_execution_session.py"))
        until(trading(project, before + 1), processes[-1])
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_gracefully(project, started, number):
    """Ctrl+C and `kill` end a session in real time: completed, exit code 0, report written."""
    process = started()
    running = project.run("session", "list", "--json").json
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)

    assert [(item["status"], item["finished_at"]) for item in running] == [("started", None)]
    assert process.returncode == 0
    assert "completed, ended by a signal" in out
    assert "once more stops at once" in err
    assert "Traceback" not in err
    assert [item["status"] for item in project.run("session", "list", "--json").json] == ["completed"]
    assert project.run("journal", "verify").code == 0


def test_one_session_an_account(project, started):
    """A second one is refused with the holder's name and how to end it; another account is free, and readers go on."""
    process = started()
    follower = project.start("session", "tail", "--follow")
    until(lambda: follower.stdout and "begun" in follower.stdout.readline(), follower)
    holder = project.run("session", "list", "--json").json[0]["session_id"]
    sentence = refused(project, *RUN, code=3)

    assert holder in sentence
    assert f"kill {process.pid}" in sentence
    assert project.run(*RUN, "--account", "other").code == 0
    assert project.run("journal", "verify").code == 0
    assert project.run("session", "show", holder).code == 0
    process.send_signal(signal.SIGTERM)
    followed, _ = follower.communicate(timeout=PATIENCE_S)
    assert followed.splitlines()[-1].split()[2] == "ended"


def test_a_killed_session_is_gone_on_with(project, started):
    """After SIGKILL the list says aborted, the journal verifies, and the same command goes on where it was."""
    process = started()
    dead = project.run("session", "list", "--json").json[0]["session_id"]
    process.kill()
    process.wait(PATIENCE_S)

    assert [item["status"] for item in project.run("session", "list", "--json").json] == ["aborted"]
    assert project.run("journal", "verify").code == 0
    ended = project.run("session", "run", *ENDLESS[:-3], "--no-html", "--speed", "1e9", "--steps", "50")
    assert (ended.code, f"going on with the session {dead}" in ended.err) == (0, True)
    shown = project.run("session", "show", "latest", "--json").json
    assert (shown["continues"], shown["status"]) == (dead, "completed")
    assert project.run("session", "replay", "latest").code == 0
    assert project.run("journal", "verify").code == 0


SCRIPTS = [
    ("run_shadow_execution.py", ["--strategy", "rsi_strategy", "--tag", "daily-shadow", "--steps", "100", "--no-html"]),
    ("run_execution_session.py", ["--strategy", "ma_crossover", "--steps", "100", "--speed", "max", "--no-html"]),
    ("experiments_explorer.py", ["--run-type", "shadow_run", "--limit", "50"]),
    ("report_live_sessions.py", ["--run-type", "live_session_shadow", "--status", "completed", "--output-format", "markdown"]),
]


def test_the_playbooks_scripts(project):
    """One after the other as a person would type them: exit code 0, nothing on stderr."""
    for script, arguments in SCRIPTS:
        out, err = project.start(*arguments, script=script).communicate(timeout=PATIENCE_S)

        assert (err, bool(out)) == ("", True), script
    backup = project.folder / "backup"
    shutil.copytree(project.folder / "reports" / "experiments", backup)
    assert len(list((backup / "live_sessions").iterdir())) == 2
