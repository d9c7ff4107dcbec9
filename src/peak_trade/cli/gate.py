"""`peak-trade gate`: what the gates ask, where everything stands, and the acts that lead up and down the ladder."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import InputError, SafetyRefused

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.runs.gates.climb import Climb
    from peak_trade.runs.gates.record import GateRecord
    from peak_trade.strategy.base import Strategy

Step = Annotated[str, typer.Argument(metavar="STEP", help="Such as 'shadow->testnet', in quotes.")]
StrategyName = Annotated[str, typer.Option("--strategy", help="Key or other name of the strategy.")]
Params = Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE besides those of the configuration; repeatable.")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", help="Pair, such as BTC/EUR; repeatable.")]
Account = Annotated[str | None, typer.Option("--account", help="Account; default governance.account.")]
Checklist = Annotated[Path | None, typer.Option("--checklist", help="The filled checklist; default the one just made.")]
RequestId = Annotated[str, typer.Argument(metavar="ID", help="Id of the request.")]
Why = Annotated[str | None, typer.Option("--why", help="Reason, for the record.")]

app = typer.Typer(help="Gates between the stages.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Gates between the stages."""


@app.command()
def status(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show the ladder: every strategy version, its stage, what its next gate lacks; requests and permits.

    Exit code 1 where something of a version can't be told.
    """
    from peak_trade.cli.gate_text import status_lines
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.gates import status as gate_status

    with closing(options.open_parts(config)) as parts:
        found = gate_status.status(parts, parts.clock.now())
    print(document(found) if as_json else printable("\n".join(status_lines(found))))
    raise typer.Exit(1 if any(line["trouble"] for line in found["ladder"]) else 0)


@app.command()
def history(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show every step up and down and every decision, the newest first."""
    from peak_trade.cli.gate_text import history_lines
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.gates.record import gate_record
    from peak_trade.runs.gates.status import history as events

    with closing(options.open_parts(config)) as parts:
        found = events(gate_record(parts))
    print(document(found) if as_json else printable("\n".join(history_lines(found))))


@app.command()
def explain(
    step: Step,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Also how this strategy stands.")] = None,
    param: Params = None,
    symbol: Symbols = None,
    account: Account = None,
    checklist: Checklist = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Verify every journal and do backtests again, as a decision does.")
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Tell what a step up the ladder asks, who decides, and how a strategy stands in each criterion."""
    from peak_trade.cli.gate_text import asked_lines, look_lines
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.gates import asked as gates
    from peak_trade.settings import load_config

    rung = gates.rung_named(step)
    if strategy is None:
        if param or symbol or account or checklist or fresh:
            raise InputError("expected --strategy with --param, --symbol, --account, --checklist and --fresh; give one")
        asked = gates.explain(load_config(config).root, rung)
        print(document(asked) if as_json else printable("\n".join(asked_lines(asked))))
        return
    from peak_trade.runs.gates.climb import look_at_gate, rules_of
    from peak_trade.runs.gates.status import look_facts

    with closing(options.open_parts(config)) as parts:
        record, _, climb = _named(parts, step, strategy, param, symbol, account, checklist)
        found = look_facts(look_at_gate(parts, climb, rules_of(parts), record, parts.clock.now(), fresh=fresh))
    print(document(found) if as_json else printable("\n".join(look_lines(found, fresh=fresh))))
    raise typer.Exit(0 if found["passed"] == len(found["criteria"]) else 1)


@app.command()
def request(
    step: Step,
    strategy: StrategyName,
    by: Annotated[str, typer.Option("--by", help="Who asks: an id of governance/roles.toml.")],
    param: Params = None,
    symbol: Symbols = None,
    account: Account = None,
    checklist: Checklist = None,
    deviation: Annotated[
        list[Path] | None, typer.Option("--deviation", help="File of a signed deviation, its .sig beside it; repeatable.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Sign it at once as the one who asks, with this SSH key.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where it can't pass as things stand.")] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Ask for a step up: collect all evidence, bind it, and write the request that people sign."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.gates import promotion

    with closing(options.open_parts(config)) as parts:
        _, made, climb = _named(parts, step, strategy, param, symbol, account, checklist)
        found = promotion.ask(parts, climb, made, by, deviations=deviation or (), anyway=anyway)
        if key is not None:
            promotion.sign(parts, found.id, key=key, signature=None)
    if as_json:
        lacking = [item._asdict() for item in found.lacking]
        until = found.request.expires_at.isoformat()
        print(document({"id": found.id, "file": str(found.path), "until": until, "lacking": lacking}))
        return
    roles = ", ".join(role.value for role in climb.rung.deciders)
    print(
        printable(
            f"request {found.id} for {climb.version.key}, {climb.rung.value} on {climb.account} for {', '.join(climb.symbols)}"
        )
    )
    print(
        f"it rests on {len(found.request.evidence)} pieces of evidence and is good until {found.request.expires_at:%F %T} UTC"
    )
    for item in found.lacking:
        print(printable(f"it can't pass as things stand: {item.words}"))
    first = "" if key else f"{by}, who asks, and "
    print(f"\nto be signed by {first}{roles}, each another person and not {by}:")
    print(f"  ssh-keygen -Y sign -n peak-trade-approval -f ~/.ssh/id_ed25519 {found.path}")
    print(f"  peak-trade gate approve {found.id}        (takes that signature; --key FILE signs and takes it at once)")
    print(f"  peak-trade gate decide {found.id}")


@app.command()
def approve(
    request_id: RequestId,
    key: Annotated[Path | None, typer.Option("--key", help="Sign now with this SSH key, by ssh-keygen.")] = None,
    signature: Annotated[
        Path | None, typer.Option("--signature", help="A signature that was made; default the .sig beside the request.")
    ] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Take a person's signature of a request; exit code 3 where it does not count."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.gates import promotion

    if key is not None and signature is not None:
        raise InputError("expected --key or --signature, found both; give one")
    with closing(options.open_parts(config)) as parts:
        found = promotion.sign(parts, request_id, key=key, signature=signature)
    people = [{"person": item.person, "role": item.role.value} for item in found.approvals]
    missing = [role.value for role in found.missing] + ([] if found.asked else ["who asks"])
    if as_json:
        print(document({"approvals": people, "missing": missing}))
        return
    if people:
        print(printable("approved by " + ", ".join(f"{item['person']} as {item['role']}" for item in people)))
    left = ", ".join(missing)
    print(f"still to sign: {left}" if missing else f"everybody has signed; next: peak-trade gate decide {request_id}")


@app.command()
def decide(
    request_id: RequestId, by: options.ByName = None, config: options.ConfigFile = None, as_json: options.JsonOut = False
) -> None:
    """Decide about a request: pass, fail or inconclusive, with every criterion; a pass grants the permit."""
    from peak_trade.cli.gate_text import decision_lines
    from peak_trade.cli.show import document, printable
    from peak_trade.runs import acts
    from peak_trade.runs.gates import promotion

    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        found = promotion.decide_request(parts, request_id, who)
    facts = promotion.decision_facts(found)
    print(document(facts) if as_json else printable("\n".join(decision_lines(facts))))
    raise typer.Exit(0 if found.permit is not None else 1)


@app.command()
def revoke(
    permit: Annotated[str, typer.Argument(metavar="PERMIT", help="Id of a permit, which is that of its request.")],
    why: Why = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Take a permit back, for good; sessions that use it send no further order."""
    from peak_trade.cli.show import document
    from peak_trade.runs import acts
    from peak_trade.runs.gates import promotion

    reason = options.check_reason(why, "peak-trade gate revoke PERMIT")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        sha256 = promotion.revoke(parts, Path(permit).name, who, reason)
    print(document({"revoked": sha256[:16], "by": who, "why": reason}) if as_json else f"the permit {sha256[:16]} is revoked")


@app.command("demote")
def demote_command(
    strategy: StrategyName,
    to: Annotated[str, typer.Option("--to", help="Stage: research, shadow, testnet or shadow_live.")],
    why: Why = None,
    symbol: Symbols = None,
    account: Account = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Take a strategy down the ladder, in all its versions; anybody may at any time."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs import acts
    from peak_trade.runs.gates import promotion

    reason = options.check_reason(why, "peak-trade gate demote --strategy NAME --to shadow")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        found = promotion.demote_strategy(parts, strategy, to, who, reason, symbols=symbol or (), account=account)
    facts = [
        {"strategy": item.version.key, "account": item.account, "symbols": sorted(item.symbols), "to": stage.value}
        for item, stage in found
    ]
    if as_json:
        print(document(facts))
        return
    for line in facts:
        print(printable(f"{line['strategy']} on {line['account']} for {', '.join(line['symbols'])} stands in {line['to']} now"))


@app.command()
def deviate(
    step: Step,
    strategy: StrategyName,
    criterion: Annotated[str, typer.Option("--criterion", help="A soft criterion of the step.")],
    limit: Annotated[list[str], typer.Option("--limit", help="MEASURE=NUMBER, such as span_days=12; repeatable.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who approve.")],
    until: Annotated[str, typer.Option("--until", help="Last day and time, UTC; a permit ends with it.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    param: Params = None,
    account: Account = None,
    config: options.ConfigFile = None,
) -> None:
    """Write a deviation from a soft criterion, to be signed and given to `gate request --deviation`."""
    from peak_trade.durable import write_bytes
    from peak_trade.runs.gates.named_climb import deviation_document

    limits = dict(item.partition("=")[::2] for item in limit)
    with closing(options.open_parts(config)) as parts:
        _, _, climb = _named(parts, step, strategy, param, None, account, None)
        target = options.full_path(out)
        options.check_outputs(parts, [], [target])
        if target.exists():
            raise InputError(f"expected no file at {target}, found one; remove it, or name another with --out")
        ends = options.moment_of(until, "--until")
        if ends is None:
            raise InputError("expected --until, found none; give a day")
        write_bytes(target, deviation_document(climb, criterion, limits, reason, at=parts.clock.now(), until=ends))
    print(f"written to {target}; somebody who decides about {step} and did not ask for it signs it with:")
    print(f"  ssh-keygen -Y sign -n peak-trade-deviation -f ~/.ssh/id_ed25519 {target}")


@app.command("verify")
def verify_command(
    permit: Annotated[Path, typer.Argument(metavar="PERMIT", help="File of a permit.")],
    dossier: Annotated[
        Path | None, typer.Option("--dossier", help="File it is checked from; default the one beside it, *.dossier.json.")
    ] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Check a permit without a network: signatures, people, bytes and dates; exit code 3 where it is none."""
    from peak_trade.cli.show import document, sentence
    from peak_trade.model.clock import MachineClock
    from peak_trade.runs.gates import asked as gates
    from peak_trade.settings import load_config

    found = gates.check_permit(load_config(config).root, permit, dossier, MachineClock().now())
    if as_json:
        objections = [item._asdict() for item in found.objections]
        facts = {"good": found.permit is not None, "objections": objections, "not_seen": list(gates.NOT_SEEN)}
        print(document(facts))
    else:
        for item in found.objections:
            print(sentence(f"{item.code}: {item.words}"))
    if found.permit is None:
        codes = ", ".join(sorted({item.code for item in found.objections}))
        raise SafetyRefused(f"expected a good permit in {permit}, found one with objections: {codes}; ask for another")
    if not as_json:
        said = found.permit.document
        print(
            f"the permit {found.permit.id[:12]} is good: {said.strategy.key} in {said.stage.value} on {said.account} for "
            f"{', '.join(said.symbols)}, until {said.until:%F %T} UTC"
        )
        print(f"not seen from these files: {'; '.join(gates.NOT_SEEN)}")


def _named(
    parts: "Parts",
    step: str,
    strategy: str,
    param: list[str] | None,
    symbol: list[str] | None,
    account: str | None,
    checklist: Path | None,
) -> "tuple[GateRecord, Strategy, Climb]":
    """Return the record of the gates, and the step that a command names."""
    from peak_trade.runs.gates.asked import rung_named
    from peak_trade.runs.gates.named_climb import named_climb
    from peak_trade.runs.gates.record import gate_record

    record = gate_record(parts)
    params: dict[str, Any] = options.parse_params(param or [])
    made, climb = named_climb(
        parts, record, rung_named(step), strategy, params=params, symbols=symbol or (), account=account, checklist=checklist
    )
    return record, made, climb
