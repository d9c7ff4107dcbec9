"""`peak-trade backup` and `restore`: everything that can't be made again, in one archive, and back."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from peak_trade.compose import Parts

Folder = Annotated[Path | None, typer.Option("--to", help="Folder of the archives; default backups/ beside config.toml.")]

#: Instead of an archive's name: the newest there is.
LATEST = "latest"

app = typer.Typer(help="Back up everything that can't be made again; also while sessions run.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _create(
    context: typer.Context,
    to: Folder = None,
    keep: Annotated[int | None, typer.Option("--keep", min=1, max=10_000, help="Remove all but so many archives.")] = None,
    with_signing_key: Annotated[
        bool, typer.Option("--with-signing-key", help="Also the private key of the journals: keep such an archive as a secret.")
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Write registry, journals, evidence and configuration into one archive, and check it."""
    if context.invoked_subcommand is not None:
        if to is not None or keep is not None or with_signing_key or config is not None or as_json:
            raise InputError(f"expected options behind peak-trade backup {context.invoked_subcommand}, found some before it")
        return
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.backups.backup import back_up

    with closing(options.open_parts(config)) as parts:
        found = back_up(parts, _folder(parts, to), keep=keep, with_key=with_signing_key)
    if with_signing_key:
        warning = "this archive holds the private key that signs the journals: whoever has it can write what looks like ours"
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print(document(found))
        return
    print(printable(f"{found['archive']}: {found['files']} files, {found['bytes']:,} bytes, read back and checked"))
    for path in found["removed"]:
        print(printable(f"removed {path}"))


@app.command("list")
def list_command(to: Folder = None, config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """List the archives of a folder, the newest first, and whether their bytes are as they were written."""
    from peak_trade.cli.show import document, printable, table
    from peak_trade.runs.backups.backup import listing

    with closing(options.open_parts(config)) as parts:
        folder = _folder(parts, to)
    found = listing(folder)
    if as_json:
        print(document({"folder": str(folder), "archives": found}))
    elif not found:
        print(printable(f"no archive in {folder}; make one with: peak-trade backup"))
    else:
        rows = [
            (Path(line["archive"]).name, str(line.get("at", "-"))[:19], f"{line['bytes']:,}", "yes" if line["sound"] else "NO")
            for line in found
        ]
        print(table(["archive", "taken (UTC)", "bytes", "sound"], rows, right=(2,)))


@app.command()
def verify(
    archive: Annotated[Path | None, typer.Argument(help="The archive; default the newest.")] = None,
    to: Folder = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Read every byte of an archive and compare it with its hashes."""
    from peak_trade.cli.show import document, printable
    from peak_trade.model.errors import DataError
    from peak_trade.runs.backups.archive import verify_archive

    if archive is None:
        with closing(options.open_parts(config)) as parts:
            folder = _folder(parts, to)
        archive = _newest(folder)
    try:
        manifest = verify_archive(options.full_path(archive))
    except DataError as error:
        raise CheckFailed(str(error)) from error
    if as_json:
        print(document({"archive": str(archive), "sound": True, "files": len(manifest.files)} | manifest.facts))
    else:
        print(printable(f"{archive}: {len(manifest.files)} files of {manifest.facts.get('at')}, all as they were written"))


def restore_command(
    archive: Annotated[Path, typer.Argument(help="The archive; latest is the newest in backups/ beside config.toml.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder to restore into; not there yet, or empty.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Instead of what is here, which is kept beside it.")] = False,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Key to check signatures with, such as a copy kept elsewhere.")
    ] = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Prove an archive and its journals, then put it in place; every account that ever ran a session is paused."""
    from peak_trade.cli.show import document
    from peak_trade.model.clock import MachineClock
    from peak_trade.runs import acts
    from peak_trade.runs.backups.restore import restore_in_place, restore_to

    if (to is None) == (not in_place):
        found = "both" if in_place else "neither"
        raise InputError(f"expected either --to FOLDER or --in-place, found {found}; choose one")
    who = options.check_name(by, "--by", acts.machine_user())
    if str(archive) == LATEST:
        with closing(options.open_parts(config)) as parts:
            archive = _newest(_folder(parts, None))
    source, key = options.full_path(archive), public_key and options.full_path(public_key)
    if to is not None:
        told = restore_to(source, options.full_path(to), MachineClock(), who, key)
    else:
        with closing(options.open_parts(config)) as parts:
            told = restore_in_place(parts, source, who, key)
    if as_json:
        print(document(told))
    else:
        _tell(told)


def _tell(told: dict[str, Any]) -> None:
    from peak_trade.cli.show import printable

    lines = [f"restored {told['files']} files of {told['at']} into {told['folder']}; {told['records']:,} records proven"]
    if "before" in told:
        lines.append(f"what was there before lies in {told['before']}")
        lines += [f"not in it: the last {count} segments of the journal of {name}" for name, count in told["gone"].items()]
        lines += [f"left as it is here, and another one in the archive: {name}" for name in told["differs"]]
        if told["written_down"]:
            lines.append(f"that it was restored could not be written down: {told['written_down']}")
    if told["paused"]:
        lines.append(f"PAUSED: {', '.join(told['paused'])}. The exchange went on since; these books do not know what it did.")
        lines.append("Each goes on after its restart procedure, which compares: peak-trade resume ACCOUNT")
    lines.append("Look at what changed since then by hand: permits and tokens that were revoked are good again.")
    if not told["private_key"] and "before" not in told:
        lines.append(
            "The private key of the journals is not in it: put it back into keys/journal.pem before anything is begun."
        )
    print(printable("\n".join(lines)))


def _newest(folder: Path) -> Path:
    """Return the newest archive of a folder.

    Raises:
        CheckFailed: there is none.
    """
    from peak_trade.runs.backups.backup import archives_in

    for found in archives_in(folder):
        return found
    raise CheckFailed(f"expected an archive in {folder}, found none; make one with: peak-trade backup")


def _folder(parts: "Parts", to: Path | None) -> Path:
    from peak_trade.runs.backups.backup import FOLDER

    return parts.settings.root / FOLDER if to is None else options.full_path(to)
