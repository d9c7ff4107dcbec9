"""`peak-trade strategies`: what strategies there are and what their parameters mean."""

import inspect
import sys
from contextlib import closing
from typing import Annotated

import typer

from peak_trade.cli import options

app = typer.Typer(help="List and explain the strategies there are.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_strategies(as_json: options.JsonOut = False) -> None:
    """List every strategy, built in and installed."""
    from peak_trade.cli.show import document, table
    from peak_trade.strategy.catalogue import broken, catalogue

    found = [
        {"key": kind.key, "aliases": list(kind.aliases), "about": inspect.getdoc(kind) or "", "params": list(kind.model_fields)}
        for kind in catalogue().values()
    ]
    if as_json:
        print(document(found))
        return
    for sentence in broken().values():
        print(f"not usable: {sentence}", file=sys.stderr)
    print(
        table(
            ["key", "other name", "rule"],
            [(str(i["key"]), ", ".join(i["aliases"]), str(i["about"]).splitlines()[0]) for i in found],
        )
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Key or other name of a strategy.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Explain a strategy: rule, source, parameters with their limits and the values in force."""
    from peak_trade.cli.show import document, table
    from peak_trade.runs.configured import configured_params
    from peak_trade.runs.proven import check_command, proven_state
    from peak_trade.strategy.catalogue import find, make

    kind = find(name)
    with closing(options.open_parts(config)) as parts:
        strategy = make(kind.key, configured_params(parts, kind.key, {}))
        state = proven_state(parts, strategy)
    values = strategy.model_dump(mode="json")
    schema = kind.model_json_schema()["properties"] if kind.model_fields else {}
    fields = [
        {
            "name": field,
            "value": values[field],
            "limits": _limits(schema[field]),
            "about": info.description or "",
        }
        for field, info in kind.model_fields.items()
    ]
    if as_json:
        about = inspect.getdoc(kind) or ""
        check = {"passed": state.passed, "evidence": state.evidence, "at": state.at}
        rule = {"key": kind.key, "about": about, "source": kind.source, "warmup": strategy.warmup(), "params": fields}
        print(document(rule | {"check": check}))
        return
    print(f"{kind.key}: {inspect.getdoc(kind)}")
    print(f"source: {kind.source}")
    print(f"warm-up with these parameters: {strategy.warmup()} bars")
    if state.passed is None:
        print(f"check of this version: none yet; {check_command(strategy)}")
    else:
        print(f"check of this version: {'passed' if state.passed else 'failed'} {state.at}, evidence {state.evidence}")
    if fields:
        print()
        rows = [(str(item["name"]), str(item["value"]), str(item["limits"]), str(item["about"])) for item in fields]
        print(table(["parameter", "value", "limits", "meaning"], rows))


def _limits(schema: dict[str, object]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema)
