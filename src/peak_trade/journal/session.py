"""A session: a run that goes on in time, on an account, under a lease."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from peak_trade.journal.run import JsonObject, Run, RunStatus
from peak_trade.model.clock import RunId
from peak_trade.model.stage import Stage

#: One that executes orders at an emulator that a drill or a test started.
LIVE_SESSION_EMULATED = "live_session_emulated"
#: The run types of sessions and the stage each belongs to.
SESSION_TYPES: Mapping[str, Stage] = {
    "live_session_shadow": Stage.SHADOW,
    "live_session_testnet": Stage.TESTNET,
    LIVE_SESSION_EMULATED: Stage.TESTNET,
    "live_session_shadow_live": Stage.SHADOW_LIVE,
    "live_session_live": Stage.LIVE,
    "shadow_run": Stage.SHADOW,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """That somebody has taken note of a session that failed: who, when (ISO 8601, UTC), and what they say of it."""

    by: str
    at: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A row of the session registry.

    Attributes:
        run: what it shares with every other run; the session's id is the run's.
        mode: value of its stage.
        tier: the strategy's tier when it began.
        account: whose money it is; one session at a time runs on an account.
        host: name of the machine; with `run.process` it says who holds the account.
        heartbeat_at, lease_until: ISO 8601, UTC; when it was last heard of, and when others may take it for dead; None
            before it has begun.
        feed: where its prices came from, as a JSON object.
        cli_args: the command line that started it.
        continues: the dead session it goes on with.
        journal: path of its segment of the journal.
        head_seq, head_sha256: number and hash of that segment's last record.
        summary: exact figures as text, counts by code, positions, as a JSON object.
        acknowledged: who has taken note that it failed; None while nobody has.
    """

    run: Run
    mode: str
    tier: str
    account: str
    host: str
    journal: str
    heartbeat_at: str | None = None
    lease_until: str | None = None
    feed: JsonObject = field(default_factory=dict)
    cli_args: tuple[str, ...] = ()
    notes: str = ""
    continues: str | None = None
    head_seq: int | None = None
    head_sha256: str | None = None
    summary: JsonObject = field(default_factory=dict)
    acknowledged: Acknowledgement | None = None

    @property
    def session_id(self) -> RunId:
        """The id, which is that of the run."""
        return self.run.run_id

    @property
    def quote(self) -> str:
        """The currency of its money."""
        return str(self.feed.get("quote") or self.run.symbol.rpartition("/")[2])

    @property
    def unhandled(self) -> bool:
        """Whether it failed and nobody has acknowledged that."""
        return self.run.status is RunStatus.FAILED and self.acknowledged is None

    def to_json(self) -> dict[str, Any]:
        """Return the session record as one flat JSON object."""
        run = self.run
        return {
            "session_id": run.run_id,
            "run_id": run.run_id,
            "run_type": run.run_type,
            "mode": self.mode,
            "env_name": run.env_name,
            "account": self.account,
            "symbol": run.symbol,
            "timeframe": run.timeframe,
            "strategy": run.strategy,
            "params": dict(run.params),
            "tier": self.tier,
            "status": run.status.value,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "elapsed_s": run.elapsed_s,
            "config_sha256": run.config_sha256,
            "code_version": run.code_version,
            "code_clean": run.code_clean,
            "versions": dict(run.versions),
            "dataset_sha256": run.dataset_sha256,
            "feed": dict(self.feed),
            "metrics": dict(run.metrics),
            "summary": dict(self.summary),
            "cli_args": list(self.cli_args),
            "error": run.error,
            "notes": self.notes,
            "tags": list(run.tags),
            "host": self.host,
            "process": run.process,
            "heartbeat_at": self.heartbeat_at,
            "lease_until": self.lease_until,
            "continues": self.continues,
            "journal": self.journal,
            "head_seq": self.head_seq,
            "head_sha256": self.head_sha256,
            "result_sha256": run.result_sha256,
            "acknowledged": None if self.acknowledged is None else asdict(self.acknowledged),
        }
