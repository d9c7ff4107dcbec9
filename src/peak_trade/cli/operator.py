"""`peak-trade operator`: who may act through the dashboard."""

import sys
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from peak_trade.cli import options

app = typer.Typer(help="Add, list and revoke operators of the dashboard.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="Name of the operator, such as kim.")]


@app.command()
def add(name: Name, by: options.ByName = None, config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Make somebody an operator, and print their token: once, because it is kept nowhere."""
    from peak_trade.cli.show import document
    from peak_trade.runs import acts, operators

    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        token = operators.create_token(parts, name, who)
    if as_json:
        print(document({"name": name, "token": token}))
        return
    print(
        f"peak-trade: the token of {name} follows, and is shown only now; whoever has it can act as {name} in the dashboard. "
        f"Taken away by: peak-trade operator revoke '{name}'",
        file=sys.stderr,
    )
    print(token)


@app.command("list")
def list_operators(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """List operators, also those whose token was revoked."""
    from peak_trade.cli.show import document, table

    with closing(options.open_parts(config)) as parts:
        found = parts.operators.list()
    if as_json:
        print(document([asdict(operator) for operator in found]))
    elif not found:
        print("no operator yet; make one with: peak-trade operator add NAME")
    else:
        rows = [(operator.name, operator.created_at, operator.revoked_at or "-") for operator in found]
        print(table(["operator", "since", "revoked"], rows))


@app.command()
def revoke(name: Name, by: options.ByName = None, config: options.ConfigFile = None) -> None:
    """Take an operator's token away; it is refused from now on, everywhere."""
    from peak_trade.runs import acts, operators

    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        operators.revoke_token(parts, name, who)
    print(f"the token of {name} is revoked")
