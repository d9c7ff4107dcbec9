"""The bugs that the team keeps track of, from `governance/bugs.toml`: an open critical one blocks every step.

Invariant: a bug that is closed stays in the file with the day and the commit that mended it.
"""

from enum import Enum, unique

from peak_trade.governance.documents import Moment, Name, Text, Written, read_toml
from peak_trade.model.errors import ConfigError


@unique
class BugSeverity(Enum):
    """How bad; only a critical one blocks."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class Bug(Written, frozen=True, kw_only=True):
    """A bug; `fixed_at` and `fixed_in`, a commit, come together."""

    id: Name
    title: Text
    area: Name
    severity: BugSeverity
    found_at: Moment
    fixed_at: Moment | None = None
    fixed_in: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it keeps every gate closed."""
        return self.severity is BugSeverity.CRITICAL and self.fixed_at is None


class _BugsFile(Written, frozen=True, kw_only=True):
    bug: tuple[Bug, ...] = ()


def read_bugs(content: bytes, where: str = "governance/bugs.toml") -> tuple[Bug, ...]:
    """Read the file of bugs.

    Raises:
        ConfigError: an unknown key, a wrong value, a bug twice, or one that was mended without a commit.
    """
    found = read_toml(content, _BugsFile, where).bug
    names = [bug.id for bug in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"expected each bug once in {where}, found {twice[0]} again; give it another id")
    for bug in found:
        if (bug.fixed_at is None) != (not bug.fixed_in.strip()):
            raise ConfigError(f"expected fixed_at and fixed_in of the bug {bug.id} in {where}, found one of them")
        if bug.fixed_at is not None and bug.fixed_at < bug.found_at:
            raise ConfigError(f"expected the bug {bug.id} in {where} to be fixed after it was found, found it before")
    return found
