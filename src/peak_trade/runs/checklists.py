"""Checklists as files: made from what was measured, checked, and kept for good once nothing in them is open."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.durable import write_bytes, write_whole
from peak_trade.governance.checklists import (
    CHECKLIST,
    CHECKLISTS,
    ChecklistHead,
    ChecklistLook,
    ChecklistTemplate,
    fill,
    look,
    read_filled,
    read_template,
)
from peak_trade.governance.criteria import Ruling
from peak_trade.governance.documents import digest
from peak_trade.governance.files import load_policy, load_roles, read_plain
from peak_trade.governance.ladder import Rung
from peak_trade.governance.requests import Promotion
from peak_trade.model.errors import CheckFailed, InputError, StorageError, require
from peak_trade.runs.acts import COMMAND, Done, done, held, written

#: Where the templates lie, below the folder of the configuration.
TEMPLATES = Path("governance/checklists")
#: The action by which the operators' journal knows what was archived.
ARCHIVED = "checklist_archived"
#: Nobody changes an archived list by mistake.
READ_ONLY = 0o444

_ARCHIVE_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})_([a-z_]+)_(v[0-9]+\.[0-9]+)(?:_([0-9]+))?\.md")


class Archived(NamedTuple):
    """An archived list: `kept` is whether it lay there before."""

    path: Path
    sha256: str
    kept: bool


class ArchivedFile(NamedTuple):
    """A file of the archive; `state` is `as recorded`, `altered`, `gone`, `unrecorded` or `unproven`."""

    file: str
    checklist: str
    version: str
    on: str
    sha256: str
    state: str


class ChecklistList(NamedTuple):
    """The templates there are, what is archived, and why the archive can't be held against the journal, if it can't."""

    templates: tuple[ChecklistTemplate, ...]
    archived: tuple[ArchivedFile, ...]
    trouble: str


def archive_folder(parts: Parts) -> Path:
    """Return where lists are archived, and made where nobody says otherwise."""
    return parts.reports.parent / "checklists"


def open_checklist(parts: Parts, rung: Rung, strategy: str) -> Path:
    """Return where the list of a step is made that people fill in."""
    return archive_folder(parts) / f"open_{CHECKLISTS[rung]}_{strategy}.md"


def load_template(root: Path, rung: Rung) -> ChecklistTemplate:
    """Read the template of a step.

    Raises:
        NotFound: there is none.
        ConfigError: it is malformed.
        SafetyRefused: a link stands in its path.
    """
    path = TEMPLATES / f"{CHECKLISTS[rung]}.md"
    return read_template(read_plain(root, path), str(path))


def head_of(request: Promotion, template: ChecklistTemplate, at: datetime) -> ChecklistHead:
    """Return the head of a list about what a request, or the draft of one, is about."""
    code = list(request.parts["code"].values())
    require(len(code) == 1, "a request names the code by one hash")
    return ChecklistHead(
        checklist=template.head.checklist,
        version=template.head.version,
        step=request.transition,
        template_sha256=template.sha256,
        made_at=at.replace(microsecond=0),
        strategy=request.strategy.key,
        params_sha256=request.strategy.params_sha256,
        code_sha256=request.strategy.code_sha256,
        package_sha256=code[0],
        account=request.account,
        symbols=request.symbols,
    )


def make_checklist(parts: Parts, request: Promotion, rulings: Sequence[Ruling], out: Path | None) -> Path:
    """Fill in a list for a step that may be asked for, and write it; return where.

    Args:
        request: the draft of a request.
        rulings: of every criterion of the step, with that of `roles_named`.
        out: None is in the folder of the archive, under a name that says it is open.

    Raises:
        NotFound: there is no template, or no policy.
        ConfigError: one of them is malformed, or they don't fit each other.
        InputError: the file exists.
        StorageError: the disk refused.
    """
    root, rung = parts.settings.root, request.transition
    template = load_template(root, rung)
    head = head_of(request, template, parts.clock.now())
    links = {
        run: f"../{parts.reports.name}/{run}/" for ruling in rulings for run in ruling.runs if (parts.reports / run).is_dir()
    }
    content = fill(template, head, load_policy(root).criteria[rung], rulings, links)
    path = open_checklist(parts, rung, head.strategy) if out is None else out
    if path.exists() or path.is_symlink():
        raise InputError(f"expected no file at {path}, found one; remove it, or name another with --out")
    write_bytes(path, content)
    return path


def check_file(parts: Parts, path: Path, request: Promotion | None = None) -> ChecklistLook:
    """Return everything that is open in a list, as of now.

    Args:
        request: the step that is asked for with it, where one is.

    Raises:
        NotFound: there is no such file, no template, or no policy.
        InputError: it is no checklist.
        ConfigError: template, roles or policy are malformed.
        SafetyRefused: a link stands in place of a file.
    """
    return look_at(parts, read_plain(path.parent, Path(path.name)), request)


def look_at(parts: Parts, content: bytes, request: Promotion | None = None) -> ChecklistLook:
    """Return everything that is open in a list's bytes, as of now; errors are those of `check_file`."""
    root, now = parts.settings.root, parts.clock.now()
    rung = read_filled(content).head.step
    criterion = load_policy(root).criterion(rung, CHECKLIST)
    require(criterion is not None, "every step asks for its checklist")
    days = 0 if criterion is None else criterion.max_age_days
    people = {name for name, person in load_roles(root).people.items() if person.valid(now)}
    return look(content, load_template(root, rung), people, now, timedelta(days=days), request)


def archive(parts: Parts, path: Path, by: str) -> Archived:
    """Keep a list in which nothing is open, under the day, its name and its version; write down that it was.

    Raises:
        CheckFailed: a point is open.
        StorageError: disk or registry refused.
        and what `check_file` raises.
    """
    content = read_plain(path.parent, Path(path.name))
    found = look_at(parts, content)
    if not found.complete:
        names = ", ".join(item.point for item in found.open_points)
        raise CheckFailed(f"expected a checklist without open points in {path}, found {len(found.open_points)}: {names}")
    folder, head = archive_folder(parts), found.head
    stem = f"{parts.clock.now().astimezone(UTC):%Y-%m-%d}_{head.checklist}_{head.version}"
    # Under the lock of the journal, so that two who archive at once don't take one name.
    with held(parts):
        for other in sorted(folder.glob(f"*_{head.checklist}_{head.version}*.md")):
            if _ARCHIVE_NAME.fullmatch(other.name) and read_plain(folder, Path(other.name)) == content:
                return Archived(other, found.sha256, kept=True)
        target = _free(folder, stem)
        facts = {"path": f"{folder.name}/{target.name}", "sha256": found.sha256}
        with written(parts, ARCHIVED, by, COMMAND, **facts):
            write_whole(target, lambda draft: _fill_read_only(draft, content))
    return Archived(target, found.sha256, kept=False)


def list_checklists(parts: Parts) -> ChecklistList:
    """Return the templates there are and what is archived, held against what the journal says of it.

    Raises:
        NotFound, ConfigError, SafetyRefused: as `load_template`.
    """
    templates = tuple(load_template(parts.settings.root, rung) for rung in CHECKLISTS)
    recorded, trouble = {}, ""
    try:
        recorded = {Path(str(act.begun.body["path"])).name: act for act in done(parts) if act.action == ARCHIVED}
    except (CheckFailed, StorageError) as error:
        trouble = str(error)
    folder = archive_folder(parts)
    present = {path.name for path in folder.glob("*.md") if _ARCHIVE_NAME.fullmatch(path.name)}
    # What was to be archived when a process died was written or not; what was archived and is not there is gone.
    names = sorted(present | {name for name, act in recorded.items() if act.went_well and _ARCHIVE_NAME.fullmatch(name)})
    files = (_archived(folder, name, recorded.get(name), sound=not trouble) for name in names)
    return ChecklistList(templates, tuple(files), trouble)


def look_facts(found: ChecklistLook) -> dict[str, Any]:
    """Return what a check found, as a JSON object."""
    head = found.head
    return {
        "checklist": head.checklist,
        "version": head.version,
        "step": head.step.value,
        "made_at": f"{head.made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "strategy": head.strategy,
        "params_sha256": head.params_sha256,
        "code_sha256": head.code_sha256,
        "package_sha256": head.package_sha256,
        "account": head.account,
        "symbols": list(head.symbols),
        "sha256": found.sha256,
        "current_version": found.current_version,
        "complete": found.complete,
        "open_points": [item._asdict() for item in found.open_points],
        "statements": [{**item._asdict(), "on": item.on.isoformat()} for item in found.statements],
        "deviations": dict(found.deviations),
    }


def _archived(folder: Path, name: str, recorded: Done | None, *, sound: bool) -> ArchivedFile:
    match = _ARCHIVE_NAME.fullmatch(name)
    require(match is not None, f"{name} is the name of an archived list")
    path = folder / name
    found = "" if not path.is_file() or path.is_symlink() else digest(read_plain(folder, Path(name)))
    if not sound:
        state = "unproven"
    elif recorded is None:
        state = "unrecorded"
    elif not found and not path.exists() and not path.is_symlink():
        state = "gone"
    else:
        state = "as recorded" if found == recorded.begun.body["sha256"] else "altered"
    on, checklist, version = (match[1], match[2], match[3]) if match else ("", "", "")
    return ArchivedFile(name, checklist, version, on, found, state)


def _free(folder: Path, stem: str) -> Path:
    """Return the first name of a day that nobody has, not even as a link that leads nowhere."""
    number, path = 1, folder / f"{stem}.md"
    while path.exists() or path.is_symlink():
        number += 1
        path = folder / f"{stem}_{number}.md"
    return path


def _fill_read_only(draft: Path, content: bytes) -> None:
    draft.write_bytes(content)
    draft.chmod(READ_ONLY)
