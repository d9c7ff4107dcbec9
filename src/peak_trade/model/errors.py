"""Every way Peak_Trade says no, as one tree.

    PeakTradeError                  root; carries the exit code of the command
    +-- InputError          exit 2  an option, a file or a value can't be used as given
    |   +-- ConfigError             the configuration file
    |   +-- DataError               market data, with the code of the check that failed
    |   +-- StrategyError           a strategy's name, parameters or targets
    |   +-- NotFound                a run, dataset or key that does not exist
    +-- CheckFailed         exit 1  a check ran and its answer is negative
    +-- StorageError        exit 1  disk or database refused; nothing was lost
    +-- Unavailable         exit 1  another machine does not answer as it must; nothing was lost
    +-- SafetyRefused       exit 3  a safety rule said no
    |   +-- ContractBroken          an exchange did what it must not: everything stops
    +-- InvariantBroken     exit 1  we are wrong: stop, do not go on

Every message is one sentence that says what was expected, what was found and what to do.
"""


class PeakTradeError(Exception):
    """Root of all errors raised on purpose."""

    exit_code: int = 1


class InputError(PeakTradeError):
    """An option, file or value can't be used as given."""

    exit_code = 2


class ConfigError(InputError):
    """The configuration file is missing, malformed or holds something it must not."""


class DataError(InputError):
    """Market data failed a check; `code` names the check."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StrategyError(InputError):
    """A strategy's name, parameters or targets are wrong."""


class NotFound(InputError):
    """The thing asked for does not exist."""


class CheckFailed(PeakTradeError):
    """A check ran to its end and its answer is negative."""

    exit_code = 1


class StorageError(PeakTradeError):
    """The disk or the database refused; what was stored before is intact."""

    exit_code = 1


class Unavailable(PeakTradeError):
    """Another machine, such as an exchange, does not answer as it must; what is here is intact."""

    exit_code = 1


class SafetyRefused(PeakTradeError):
    """A safety rule said no."""

    exit_code = 3


class ContractBroken(SafetyRefused):
    """An exchange did what it must not, such as executing an order that was only to be validated: everything stops."""


class InvariantBroken(PeakTradeError):
    """A fact that must hold does not: a fault of ours, never of the user."""

    exit_code = 1


def require(condition: object, fact: str) -> None:
    """Raise `InvariantBroken` naming *fact* unless *condition* holds (a bare assert vanishes under -O)."""
    if not condition:
        raise InvariantBroken(f"this must hold and does not: {fact}")
