"""What the repository itself shows to a gate: open bugs, runbooks, limits, and the checklist with what people say in it."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from peak_trade.compose import Parts
from peak_trade.governance.checklists import look
from peak_trade.governance.criteria import Evidence, EvidenceKind
from peak_trade.governance.documents import Fact, Written, digest, encode
from peak_trade.governance.files import load_bugs, read_plain
from peak_trade.governance.ladder import Rung
from peak_trade.governance.requests import Promotion
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.instrument import parse_symbol
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import Done
from peak_trade.runs.checklists import load_template
from peak_trade.runs.incidents import open_criticals
from peak_trade.settings import Settings

#: The runbooks of what an operator does in any stage, and of what they do where there is an exchange, in docs/runbooks.
PROCEDURES = ("start_and_stop", "incident", "pause", "restart", "rollback", "restore")
AT_EXCHANGE = ("api_errors", "maintenance", "key_rotation", "liquidation")
#: The runbooks without which nobody is to run a stage.
RUNBOOKS = {
    Stage.SHADOW: ("shadow_session", *PROCEDURES),
    Stage.TESTNET: ("testnet_session", *AT_EXCHANGE, *PROCEDURES),
    Stage.SHADOW_LIVE: ("shadow_live_session", *AT_EXCHANGE, *PROCEDURES),
    Stage.LIVE: ("live_session", *AT_EXCHANGE, *PROCEDURES),
}
#: What another person than the one who asks has to state.
BY_ANOTHER = frozenset({"code_review"})
#: Where this very code is checked out.
CHECKOUT = Path(__file__).resolve().parents[4]


class _Shown(Written, frozen=True, kw_only=True):
    """What the hash of such evidence is made over: its meaning, so that a slip of the pen that is mended changes nothing."""

    facts: dict[str, Fact]


def missing_runbooks(root: Path, stage: Stage) -> list[str]:
    """Return the runbooks of a stage that are in neither the folder of the configuration nor the checkout."""
    folders = (root / "docs" / "runbooks", CHECKOUT / "docs" / "runbooks")
    return [name for name in RUNBOOKS[stage] if not any((folder / f"{name}.md").is_file() for folder in folders)]


def of_repository(
    parts: Parts, acts: Sequence[Done], rung: Rung, symbols: tuple[str, ...], limits: str, at: datetime
) -> Iterator[Evidence]:
    """Yield what the repository shows now, and which incidents were open then, as evidence of a moment.

    Args:
        acts: what people did, from a journal that verifies. limits: the hash of all limits. at: the moment.
    """
    yield shown("critical_incidents", {"check": "critical_incidents", "open": open_criticals(acts, at)}, at)
    yield shown("limits", {"check": "limits", "sha256": limits, "complete": limited(parts.settings, rung.upper, symbols)}, at)
    stage = rung.upper
    present = not missing_runbooks(parts.settings.root, stage)
    yield shown(f"runbook-{stage.value}", {"check": "runbook", "stage": stage.value, "present": present}, at)
    try:
        bugs = load_bugs(parts.settings.root)
    except PeakTradeError:
        return  # without the list nobody knows, and the gate stays inconclusive
    yield shown("critical_bugs", {"check": "critical_bugs", "open": sum(bug.blocks for bug in bugs)}, at)


def of_checklist(
    root: Path, path: Path, request: Promotion, people: Collection[str], max_age: timedelta, at: datetime
) -> Iterator[Evidence]:
    """Yield what a filled checklist shows, and what people state in it.

    Args:
        path: below *root*. request: what it has to be about; who asks states nothing that another person has to.
        people: who there is. max_age: of the list and of what stands in it.

    Raises:
        NotFound: there is no such file, or no template. InputError: it is no checklist.
    """
    found = look(read_plain(root, path), load_template(root, request.transition), people, at, max_age, request)
    yield shown("checklist", found.facts, found.head.made_at)
    for said in found.statements:
        if said.about in BY_ANOTHER and said.person == request.requester:
            continue
        facts: dict[str, Fact] = {
            "about": said.about,
            "agreed": said.agreed,
            "by": said.person,
            "code_sha256": found.head.package_sha256,
            "checklist": found.sha256,
        }
        yield shown(f"said-{said.about}", facts, said.at, EvidenceKind.PERSON)


def shown(name: str, facts: dict[str, Fact], at: datetime, kind: EvidenceKind = EvidenceKind.REPOSITORY) -> Evidence:
    """Return evidence that stands in files."""
    sha256 = digest(encode(_Shown(facts=facts)))
    return Evidence(kind=kind, run_id=name, sha256=sha256, at=at, facts=facts)


def limited(settings: Settings, stage: Stage, symbols: tuple[str, ...]) -> bool:
    """Tell whether every pair has the limits that a stage asks for."""
    file = settings.file
    allowed = set(symbols) <= set(file.live_risk.symbols)
    own = {parse_symbol(name) for name in file.testnet_limits.symbols}
    return allowed and (stage is not Stage.TESTNET or set(symbols) <= own)
