"""A run: anything the registry holds, from a backtest to a live session."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any

from peak_trade.model.clock import RunId

JsonObject = Mapping[str, Any]


@unique
class RunStatus(Enum):
    """Where a run is; `aborted` is one that a person or a crash ended, `damaged` a row that can't be read."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of the registry.

    Attributes:
        spec: everything needed to do the run again, as a JSON object; `spec_sha256` is its identity.
        code_version: git commit of the code, or the package version outside a checkout.
        code_clean: whether the work tree under `src` held nothing but that commit.
        env_name: which machine or checkout it was, as `environment.name` says.
        started_at, finished_at: ISO 8601, UTC.
        process: id of the operating system's process that did it.
        trials: how many combinations of parameters it tried.
        result_sha256: hash over fills and equity; two runs with the same hash decided the same.
    """

    run_id: RunId
    run_type: str
    status: RunStatus
    strategy: str
    symbol: str
    timeframe: str
    params: JsonObject
    spec: JsonObject
    dataset_sha256: str
    config_sha256: str
    code_version: str
    code_clean: bool
    versions: Mapping[str, str]
    started_at: str
    process: int
    env_name: str = "local"
    trials: int = 0
    finished_at: str | None = None
    elapsed_s: float | None = None
    result_sha256: str | None = None
    error: str | None = None
    tags: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def spec_sha256(self) -> str:
        """The identity of what was asked for, independent of when and by whom."""
        return sha256_of(self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One combination of parameters within a run, by its number in the run's fixed order; of a strategy, if not the run's."""

    number: int
    params: JsonObject
    metrics: Mapping[str, float | None]
    strategy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """On which market and period, and under which terms, trials were made.

    Attributes:
        first, last: open times of the first and last bar, nanoseconds UTC.
        terms: the terms as a JSON object.
    """

    symbol: str
    timeframe: str
    first: int
    last: int
    terms: JsonObject


def plain_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: object) -> str:
    """Return the hash of a JSON value."""
    return hashlib.sha256(plain_json(value).encode()).hexdigest()
