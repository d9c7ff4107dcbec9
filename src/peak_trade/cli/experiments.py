"""`peak-trade experiments`, `reproduce` and `report`: what was run, and doing it again."""

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from peak_trade.journal.registry import RunFilter
    from peak_trade.journal.run import Run

app = typer.Typer(help="List, rank, show, compare and export runs.", invoke_without_command=True, rich_markup_mode=None)

RunType = Annotated[str | None, typer.Option("--run-type", help="Only runs of this type: backtest, sweep, ...")]
Status = Annotated[str | None, typer.Option("--status", help="Only runs with this status.")]
StrategyName = Annotated[str | None, typer.Option("--strategy", help="Only runs of this strategy.")]
OneTag = Annotated[str | None, typer.Option("--tag", help="Only runs with this tag.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many runs.")]
SortBy = Annotated[str | None, typer.Option("--sort-by", help="A metric, best first, or a column; default newest first.")]

#: The figures that lists show.
SHOWN = ("total_return", "sharpe", "max_drawdown", "num_trades")


@app.callback()
def list_runs(
    context: typer.Context,
    run_type: RunType = None,
    status: Status = None,
    strategy: StrategyName = None,
    symbol: options.SymbolName = None,
    tag: OneTag = None,
    limit: Limit = 20,
    sort_by: SortBy = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """List runs; without a subcommand this is what happens."""
    if context.invoked_subcommand is not None:
        return
    runs = _find(_filter(run_type, status, strategy, symbol, tag), limit, sort_by, config)
    _print_runs(runs, as_json, SHOWN if sort_by in (None, *SHOWN) or not _is_metric(sort_by) else (str(sort_by), *SHOWN))


@app.command()
def top(
    metric: Annotated[str, typer.Option("--metric", help="The figure to rank by, largest first.")] = "sharpe",
    run_type: RunType = None,
    strategy: StrategyName = None,
    symbol: options.SymbolName = None,
    tag: OneTag = None,
    limit: Limit = 10,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Rank completed runs by a figure."""
    runs = _find(_filter(run_type, "completed", strategy, symbol, tag), limit, metric, config)
    _print_runs(runs, as_json, tuple(dict.fromkeys((metric, *SHOWN))))


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(help="Id of a run, or a clear part of it.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Show everything about one run."""
    from peak_trade.cli.show import document, figure, printable, short, table

    with closing(options.open_parts(config)) as parts:
        run = parts.registry.get(run_id)
    if as_json:
        print(document(_as_json(run)))
        return
    code = run.code_version[:12] + ("" if run.code_clean else " with uncommitted changes")
    facts = [
        ("run", run.run_id),
        ("type", run.run_type),
        ("status", run.status.value),
        ("strategy", f"{run.strategy} {short(dict(run.params))}"),
        ("market", f"{run.symbol} {run.timeframe}"),
        ("period", ", ".join(" to ".join(str(part.get(name)) for name in ("start", "end")) for part in _data_of(run))),
        ("terms", short(run.spec.get("terms", {}))),
        *([("grid", short(dict(run.spec["grid"]))), ("ranked by", run.spec["metric"])] if "grid" in run.spec else []),
        ("started", run.started_at),
        ("finished", run.finished_at or "-"),
        ("trials", f"{run.trials:,}"),
        ("tags", ", ".join(run.tags) or "-"),
        ("dataset", run.dataset_sha256),
        ("config", run.config_sha256),
        ("code", code),
        ("result", run.result_sha256 or "-"),
        ("versions", short(dict(run.versions))),
        ("error", run.error or "-"),
        ("folder", str(parts.reports / run.run_id)),
    ]
    for name, value in facts:
        print(f"{name:9} {printable(value)}")
    if run.metrics:
        print()
        print(table(["metric", "value"], [(name, figure(name, value)) for name, value in run.metrics.items()], right=(1,)))
    print(f"\nagain: peak-trade reproduce {run.run_id}")


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Id of a run.")],
    second: Annotated[str, typer.Argument(help="Id of another run.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Put two runs side by side: what was different, and what came out."""
    from peak_trade.cli.show import document, figure, table

    with closing(options.open_parts(config)) as parts:
        one, two = parts.registry.get(first), parts.registry.get(second)
    changed = {key: {"first": left, "second": right} for key, left, right in _differences(_as_json(one), _as_json(two))}
    names = list(dict.fromkeys([*one.metrics, *two.metrics]))
    if as_json:
        figures = {name: {"first": one.metrics.get(name), "second": two.metrics.get(name)} for name in names}
        print(document({"first": one.run_id, "second": two.run_id, "changed": changed, "metrics": figures}))
        return
    print(table(["", "first", "second"], [("run", one.run_id, two.run_id)]))
    if changed:
        print("\nwhat was different")
        print(table(["", "first", "second"], [(key, str(pair["first"]), str(pair["second"])) for key, pair in changed.items()]))
    print("\nwhat came out")
    rows = [
        (name, figure(name, one.metrics.get(name)), figure(name, two.metrics.get(name)), _delta(one, two, name))
        for name in names
    ]
    print(table(["metric", "first", "second", "second - first"], rows, right=(1, 2, 3)))


@app.command()
def export(
    csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Into this file instead of stdout.")] = None,
    run_type: RunType = None,
    status: Status = None,
    strategy: StrategyName = None,
    symbol: options.SymbolName = None,
    tag: OneTag = None,
    limit: Limit = 100_000,
    sort_by: SortBy = None,
    config: options.ConfigFile = None,
) -> None:
    """Write runs as CSV or Markdown."""
    import csv as csv_module
    import io

    from peak_trade.durable import write_text

    if csv == markdown:
        raise InputError("expected either --csv or --markdown, found both or none; choose one")
    options.check_outputs(options.open_parts(config), [], [out])
    runs = _find(_filter(run_type, status, strategy, symbol, tag), limit, sort_by, config)
    names = sorted({name for run in runs for name in run.metrics})
    header = ["run_id", "run_type", "status", "strategy", "symbol", "timeframe", "started_at", "params", "tags", *names]
    rows = [_flat(run, names) for run in runs]
    if markdown:
        lines = [[_plain_cell(cell) for cell in row] for row in (header, ["---"] * len(header), *rows)]
        text = "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"
    else:
        buffer = io.StringIO()
        csv_module.writer(buffer, lineterminator="\n").writerows([header, *rows])
        text = buffer.getvalue()
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)


def reproduce_command(
    run_id: Annotated[str, typer.Argument(help="Id of a run of research, or a clear part of it.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Do a run again and tell whether every figure is identical; exit code 1 if not."""
    from peak_trade.cli.show import document, table
    from peak_trade.runs.research.again import reproduce

    with closing(options.open_parts(config)) as parts:
        again = reproduce(parts, run_id)
    run = again.run
    if as_json:
        differences = [{"name": name, "then": then, "now": now} for name, then, now in again.differences]
        code = {"then": dict(run.versions), "now": again.versions_now}
        print(
            document(
                {
                    "run_id": run.run_id,
                    "identical": again.identical,
                    "data_same": again.data_same,
                    "versions": code,
                    "differences": differences,
                    "notes": list(again.notes),
                }
            )
        )
    else:
        print(f"{run.run_type} {run.run_id}: {run.strategy} on {run.symbol} {run.timeframe}")
        print(f"data: {'the same' if again.data_same else 'changed since'}")
        same = again.versions_now.get("code") == run.versions.get("code")
        print(f"code: {'the same' if same else 'changed since'} ({_code(run.code_version, run.code_clean)} then, ", end="")
        print(f"{_code(again.code_now.version, again.code_now.clean)} now)")
        for name, now in again.versions_now.items():
            if name != "code" and now != run.versions.get(name):
                print(f"{name}: {run.versions.get(name, 'none')} then, {now} now")
        if again.differences:
            print(table(["figure", "then", "now"], [(name, str(then), str(now)) for name, then, now in again.differences[:50]]))
        for text in again.notes:
            print(f"note: {text}")
    if not again.identical:
        why = "its data has changed" if not again.data_same else f"{len(again.differences)} figures differ"
        raise CheckFailed(f"expected run {run.run_id} to come out the same, found that {why}; compare code, data and versions")
    if not as_json:
        every = "every fill, every equity value and every metric"
        known = {
            "backtest": every,
            "holdout": every,
            "walk_forward": f"every choice, {every}",
            "portfolio": f"every weight, {every}",
            "verdict": f"the answer and each of its tests, {every}",
            "robustness": f"the answer and each of its questions, {every}",
            "regimes": f"every regime and what was earned in it, {every}",
            "combinatorial": f"every choice, {every}",
        }
        what = known.get(run.run_type, f"all {run.trials:,} trials")
        print(f"identical: {what}")


def report_command(
    run_id: Annotated[str, typer.Argument(help="Id of a run of research or a session, or a clear part of it.")],
    config: options.ConfigFile = None,
) -> None:
    """Write the report of a run anew, after checking that it comes out the same."""
    from peak_trade.runs.research.again import remake_report

    with closing(options.open_parts(config)) as parts:
        print(remake_report(parts, run_id))


def _filter(run_type: str | None, status: str | None, strategy: str | None, symbol: str | None, tag: str | None) -> "RunFilter":
    from peak_trade.journal.registry import RunFilter
    from peak_trade.journal.run import RunStatus
    from peak_trade.model.instrument import parse_symbol
    from peak_trade.strategy.catalogue import find

    states = [state.value for state in RunStatus]
    if status is not None and status not in states:
        raise InputError(f"expected a status such as {', '.join(states)}, found {status!r}; choose one")
    return RunFilter(
        run_type=run_type,
        status=status,
        strategy=find(strategy).key if strategy else None,
        symbol=parse_symbol(symbol) if symbol else None,
        tag=tag,
    )


def _find(where: "RunFilter", limit: int, sort_by: str | None, config: Path | None) -> "list[Run]":
    from peak_trade.journal import schema
    from peak_trade.runs.record import COMBINATORIAL, SWEEP, WALK_FORWARD
    from peak_trade.runs.sessions.dead import close_dead

    with closing(options.open_parts(config)) as parts:
        for kind in (SWEEP, WALK_FORWARD, COMBINATORIAL):
            parts.registry.close_dead(kind, parts.clock.now())
        close_dead(parts)
        if sort_by is not None and sort_by not in schema.runs.columns:
            names = parts.registry.metric_names()
            if sort_by not in names:
                raise InputError(
                    f"expected a metric or column to sort by, found {sort_by!r}; "
                    f"there are {', '.join(names) or 'no metrics yet'}"
                )
        return parts.registry.find(where, limit, sort_by)


def _data_of(run: "Run") -> list[dict[str, Any]]:
    """Return the choices of data of a run: one, or of a session one for each symbol."""
    data = run.spec.get("data", {})
    return [item.get("choice", {}) for item in data] if isinstance(data, list) else [data]


def _is_metric(name: str | None) -> bool:
    from peak_trade.journal import schema

    return name is not None and name not in schema.runs.columns


def _print_runs(runs: "list[Run]", as_json: bool, figures: tuple[str, ...]) -> None:
    from peak_trade.cli.show import document, figure, short, table

    if as_json:
        print(document([_as_json(run) for run in runs]))
        return
    if not runs:
        print("no run matches; without any run yet, make one with: peak-trade backtest --strategy ma_crossover")
        return
    rows = [
        (
            run.run_id,
            run.run_type,
            run.status.value,
            run.strategy,
            f"{run.symbol} {run.timeframe}",
            *(figure(name, run.metrics.get(name, run.metrics.get(f"best_{name}"))) for name in figures),
            short(dict(run.params))[:48],
        )
        for run in runs
    ]
    header = ["run", "type", "status", "strategy", "market", *(name.replace("_", " ") for name in figures), "parameters"]
    print(table(header, rows, right=range(5, 5 + len(figures))))


def _as_json(run: "Run") -> dict[str, Any]:
    names = [name for name in run.__slots__ if name != "status"]
    return {"status": run.status.value} | {name: _plain(getattr(run, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "items") else value


def _differences(one: Any, two: Any, prefix: str = "") -> "list[tuple[str, Any, Any]]":
    """Return the settings in which two runs differ, by dotted name; identity, time and figures are left out."""
    left_out = {"run_id", "started_at", "finished_at", "elapsed_s", "process", "metrics", "result_sha256", "trials", "params"}
    found: list[tuple[str, Any, Any]] = []
    pairs = {key: (one.get(key), two.get(key)) for key in dict.fromkeys([*one, *two]) if prefix or key not in left_out}
    for key, (left, right) in pairs.items():
        if isinstance(left, dict) and isinstance(right, dict):
            found += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append((f"{prefix}{key}", left, right))
    return found


def _delta(one: "Run", two: "Run", name: str) -> str:
    from peak_trade.cli.show import figure

    if name not in one.metrics or name not in two.metrics:
        return "-"
    return figure(name, two.metrics[name] - one.metrics[name])


def _flat(run: "Run", names: list[str]) -> list[str]:
    from peak_trade.cli.show import short

    fixed = [run.run_id, run.run_type, run.status.value, run.strategy, run.symbol, run.timeframe, run.started_at]
    words = [_inert(short(dict(run.params))), _inert(" ".join(run.tags))]
    return [*fixed, *words, *(repr(run.metrics[name]) if name in run.metrics else "" for name in names)]


def _plain_cell(text: str) -> str:
    """Escape what Markdown or HTML would take for a mark."""
    return re.sub(r"([\\|\[\]()<>`*_#!&])", r"\\\1", text) if text != "---" else text


def _inert(text: str) -> str:
    """Keep a spreadsheet from taking somebody's words for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _code(version: str, clean: bool) -> str:
    return version[:12] + ("" if clean else " with changes")
