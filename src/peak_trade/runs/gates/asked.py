"""Gates from files: what a step asks, and whether a permit is one."""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.governance.criteria import SIDES, Criterion, Measure
from peak_trade.governance.dossiers import unpack
from peak_trade.governance.files import load_policy, load_roles, read_plain
from peak_trade.governance.ladder import Rung
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.permits import Permit, verify
from peak_trade.model.errors import InputError

Json = dict[str, Any]

#: What ends the name of the file that a permit is checked from.
DOSSIER_END = ".dossier.json"
#: What a check of files alone can't see.
NOT_SEEN = ("whether a bound file has changed since", "where the version stands now", "whether the permit was revoked")


class PermitCheck(NamedTuple):
    """A permit, or every reason why it is none."""

    permit: Permit | None
    objections: tuple[Objection, ...]


def rung_named(name: str) -> Rung:
    """Return a step by its name, such as `shadow->testnet`.

    Raises:
        InputError: there is none of that name.
    """
    try:
        return Rung(name)
    except ValueError:
        names = ", ".join(rung.value for rung in Rung)
        raise InputError(
            f"expected one of the steps {names}, found {name[:60]!r}; quote it, for > is a word of the shell"
        ) from None


def explain(root: Path, rung: Rung) -> Json:
    """Return what a step asks, as a JSON object.

    Raises:
        NotFound: there is no policy.
        ConfigError: the policy is malformed.
    """
    policy = load_policy(root)
    return {
        "step": rung.value,
        "from": rung.lower.value,
        "to": rung.upper.value,
        "deciders": [role.value for role in rung.deciders],
        "permit_days": policy.permit_lasts[rung.upper].days,
        "policy_sha256": policy.sha256,
        "criteria": [_explained(item) for item in policy.criteria[rung]],
    }


def check_permit(root: Path, permit: Path, dossier: Path | None, now: datetime) -> PermitCheck:
    """Check a permit's file from its dossier, with the roles and the policy of a folder.

    Args:
        dossier: its file; None is the one beside the permit, of the same name but for the end.

    Raises:
        NotFound: a file does not exist.
        ConfigError: roles or policy are malformed.
        SafetyRefused: a file is none, or a link.
    """
    beside = permit.with_name(permit.name.removesuffix(".json") + DOSSIER_END) if dossier is None else dossier
    content, packed = (read_plain(path.parent, Path(path.name)) for path in (permit, beside))
    roles, policy = load_roles(root), load_policy(root)
    try:
        found = verify(content, unpack(packed), roles, policy, now=now)
    except Objected as objected:
        return PermitCheck(None, (objected.objection,))
    return PermitCheck(found, ()) if isinstance(found, Permit) else PermitCheck(None, found)


def _explained(item: Criterion) -> Json:
    return {
        "id": item.id,
        "words": item.words,
        "hard": item.hard,
        "evidence": [kind.value for kind in item.evidence],
        "max_age_days": item.max_age_days,
        "newest": item.newest,
        "of_version": item.of_version,
        "where": dict(item.where),
        "needs": [needed(measure) for measure in item.measure],
    }


def needed(measure: Measure) -> str:
    """Say in words what a measure asks for."""
    match measure.take:
        case "every":
            value = f"the request's {measure.as_requested}" if measure.as_requested else f"{measure.expected}".lower()
            return f"every run says {measure.of} is {value}"
        case "share":
            subject = f"share of {measure.of} in {measure.among}"
        case "count" | "span_days" | "gap_days":
            subject = {"count": "runs", "span_days": "days from first to last", "gap_days": "longest gap in days"}[measure.take]
        case _:
            subject = f"{measure.take} {measure.of}"
    side = next(side for side in SIDES if getattr(measure, side) is not None)
    far = f" (a deviation may go to {measure.furthest})" if measure.furthest is not None else ""
    return f"{subject} {side.replace('_', ' ')} {measure.limit}{far}"
