"""The file of jobs, config/scheduler.toml: which command runs when. Typed, closed to unknown keys, and without secrets."""

import difflib
import hashlib
import re
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from peak_trade.model.errors import ConfigError, InputError
from peak_trade.runs.schedule.kinds import JobKind, kind_of
from peak_trade.runs.schedule.rules import DueRule
from peak_trade.settings import Section, refuse_secrets

#: Where the file lies, below the folder of the configuration.
PLACE = Path("config") / "scheduler.toml"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_DAY_MINUTES = 1_440.0


class SchedulerSection(Section):
    """The scheduler itself."""

    stop_grace_s: float = Field(30.0, ge=1, le=600, description="from asking a run to end to killing it, seconds")


class JobSection(Section):
    """One job: a command, and one of `cron` and `every`."""

    command: tuple[Annotated[str, Field(max_length=1_000)], ...] = Field(
        min_length=1, max_length=100, description="words after peak-trade"
    )
    cron: str | None = Field(None, max_length=200, description="minute hour day month weekday, UTC")
    every: str | None = Field(None, description="an interval: 30s, 15m, 6h, 1d")
    enabled: bool = Field(default=True, description="whether it runs by itself")
    timeout_minutes: float | None = Field(None, gt=0, le=7 * _DAY_MINUTES, description="a run that takes longer is ended")
    grace_minutes: float | None = Field(None, gt=0, le=31 * _DAY_MINUTES, description="how late a run may still begin")
    description: str = Field("", max_length=200, description="what it is for")


class ScheduleSections(Section):
    """The whole file of jobs."""

    scheduler: SchedulerSection = SchedulerSection()
    jobs: dict[str, JobSection] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it runs."""

    name: str
    command: tuple[str, ...]
    rule: DueRule
    kind: JobKind
    enabled: bool
    longest: timedelta
    grace: timedelta
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The jobs of a file, by name, and the hash of its bytes."""

    path: Path
    sha256: str
    stop_grace: timedelta
    jobs: dict[str, Job]

    def job(self, name: str) -> Job:
        """Return a job by name.

        Raises:
            InputError: there is none; names the nearest.
        """
        if name not in self.jobs:
            close = difflib.get_close_matches(name, self.jobs, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(self.jobs) or 'none'}"
            raise InputError(f"expected a job of {self.path}, found {name!r}; {hint}")
        return self.jobs[name]


def read_schedule(path: Path) -> Schedule:
    """Read the file of jobs.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, a wrong value, a secret, or a command that may not be scheduled.
    """
    try:
        content = path.read_bytes()
        raw = tomllib.loads(content.decode())
    except FileNotFoundError as error:
        raise ConfigError(f"expected the file of jobs at {path}, found none; write one, or name it with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected UTF-8 text in {path}, found other bytes at offset {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror or error}); check its permissions") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"expected TOML in {path}, found a mistake: {error}") from error
    refuse_secrets(raw, content.decode(), path)
    try:
        sections = ScheduleSections.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(error, path)) from error
    return Schedule(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        stop_grace=timedelta(seconds=sections.scheduler.stop_grace_s),
        jobs={name: _job(name, section, path) for name, section in sections.jobs.items()},
    )


def _job(name: str, section: JobSection, path: Path) -> Job:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"expected job names of 1 to 32 small letters, digits and '_' in {path}, found {name[:80]!r}; choose another"
        )
    if (section.cron is None) == (section.every is None):
        found = "neither" if section.cron is None else "both"
        raise ConfigError(f"expected either cron or every under jobs.{name} in {path}, found {found}; write one of them")
    try:
        kind = kind_of(section.command)
        rule = DueRule.at_every(section.every) if section.every is not None else DueRule.at_cron(section.cron or "")
    except InputError as error:
        raise ConfigError(f"jobs.{name} in {path}: {error}") from error
    if unfit := next((word for word in section.command if not word or not word.isprintable()), None):
        raise ConfigError(f"expected printable words under jobs.{name}.command in {path}, found {unfit!r}; correct it")
    return Job(
        name=name,
        command=section.command,
        rule=rule,
        kind=kind,
        enabled=section.enabled,
        longest=kind.longest if section.timeout_minutes is None else timedelta(minutes=section.timeout_minutes),
        grace=kind.grace if section.grace_minutes is None else timedelta(minutes=section.grace_minutes),
        description=section.description,
    )


def _sentence(error: ValidationError, path: Path) -> str:
    """Say the first problem of a validation in one sentence, an unknown key before a wrong value."""
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        sections: dict[str, type[Section]] = {"scheduler": SchedulerSection, "jobs": JobSection}
        model = sections.get(parts[0], ScheduleSections) if len(parts) > 1 else ScheduleSections
        close = difflib.get_close_matches(parts[-1], model.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(model.model_fields)}"
        return f"expected only known keys in {path}, found {key}; {hint}"
    if problem["type"] == "missing":
        return f"expected {key} in {path}, found nothing; add it"
    return f"{path}: {key} was {problem.get('input')!r}, but {problem['msg'].replace('Input ', 'it ')}; correct it"
