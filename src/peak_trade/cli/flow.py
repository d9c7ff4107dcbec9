"""`peak-trade flow`: the playbook's two ways up, step by step."""

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from peak_trade.runs.testnet.flows import FlowLine

app = typer.Typer(help="The playbook's flows, step by step.", no_args_is_help=True, rich_markup_mode=None)
StrategyName = Annotated[str, typer.Option("--strategy", help="Key or other name of the strategy.")]
Params = Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE besides those of the configuration; repeatable.")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", help="Pair; repeatable; default those it trades.")]
Account = Annotated[str | None, typer.Option("--account", help="Account; default governance.account.")]
Profile = Annotated[str, typer.Option("--profile", help="Testnet profile; default any that runs the strategy.")]
Confirm = Annotated[str | None, typer.Option("--confirm", help="A step that only a person can tell is done.")]
Note = Annotated[str, typer.Option("--note", help="What was found, with --confirm.")]


@app.command("shadow-to-testnet")
def to_testnet(
    strategy: StrategyName,
    param: Params = None,
    symbol: Symbols = None,
    account: Account = None,
    profile: Profile = "",
    confirm: Confirm = None,
    by: options.ByName = None,
    note: Note = "",
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """From shadow to testnet (playbook 5.1): what is done, what is next; exit code 1 while a step is open."""
    _flow("shadow-to-testnet", strategy, param, symbol, account, profile, (confirm, by, note), config, as_json=as_json)


@app.command("testnet-to-live")
def to_live(
    strategy: StrategyName,
    param: Params = None,
    symbol: Symbols = None,
    account: Account = None,
    confirm: Confirm = None,
    by: options.ByName = None,
    note: Note = "",
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """From testnet by shadow-live to live (playbook 5.2): what is done, what is next; exit code 1 while a step is open."""
    _flow("testnet-to-live", strategy, param, symbol, account, "", (confirm, by, note), config, as_json=as_json)


def _flow(
    flow: str,
    strategy: str,
    param: list[str] | None,
    symbol: list[str] | None,
    account: str | None,
    profile: str,
    said: tuple[str | None, str | None, str],
    config: Any,
    *,
    as_json: bool,
) -> None:
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.gates.named_climb import named_climb
    from peak_trade.runs.gates.record import gate_record
    from peak_trade.runs.testnet import flows

    step, by, note = said
    with closing(options.open_parts(config)) as parts:
        params = options.parse_params(param or [])
        rung = flows.RUNGS[flow]
        _, climb = named_climb(parts, gate_record(parts), rung, strategy, params=params, symbols=symbol or (), account=account)
        if step is not None:
            if not note.strip() or by is None:
                raise InputError("expected --by NAME and --note TEXT with --confirm, found less; say who and what was found")
            flows.confirm(parts, flows.case_of(parts, climb), flow, step, by, options.check_notes(note))
        lines = flows.walk(flows.case_of(parts, climb, profile), flow)
    if as_json:
        print(document({"flow": flow, "strategy": strategy, "steps": [line.to_json() for line in lines]}))
    else:
        print(printable("\n".join(_told(flow, strategy, lines))))
    if left := [line.step.id for line in lines if not line.looked.done]:
        raise CheckFailed(f"expected every step of {flow} done, found {len(left)} open; the next is {left[0]}")


def _told(flow: str, strategy: str, lines: "list[FlowLine]") -> Iterator[str]:
    """Yield the steps under their parts; what to do stands where the first one is open."""
    yield f"{flow}: {strategy}, {sum(line.looked.done for line in lines)} of {len(lines)} steps done"
    part = ""
    for line in lines:
        if line.step.part != part:
            part = line.step.part
            yield f"\n{part}"
        mark = "x" if line.looked.done else " "
        yield f"  [{mark}] {line.step.id}: {line.step.words}"
        yield f"      {line.looked.found}"
        if not line.looked.done and line.looked.todo:
            yield f"      {'next' if line.reached else 'later'}: {line.looked.todo}"
