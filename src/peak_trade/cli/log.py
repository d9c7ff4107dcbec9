"""Logs: JSON lines in `logs/peak_trade.log`, rotated, and on stderr as words when asked for.

Invariant: stdout belongs to results.
"""

import logging
import sys
import tempfile
import traceback
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.durable import storing
from peak_trade.model.errors import PeakTradeError
from peak_trade.settings import Settings, load_config

if TYPE_CHECKING:
    import structlog

FILE = "peak_trade.log"
#: One file may grow to 10 MB; five older ones are kept.
BYTES_MAX = 10_000_000
FILES_KEPT = 5


#: Levels by the name that an option gives.
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def open_log(settings: Settings, *, verbose: bool = False, level: str = "info") -> "structlog.stdlib.BoundLogger":
    """Return a logger that writes to the configured folder, and to stderr if *verbose*.

    Raises:
        StorageError: the folder can't be written.
    """
    import structlog

    logging.raiseExceptions = False  # a log that fills the disk must not print tracebacks
    path = settings.folder(settings.file.paths.logs) / FILE
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(path, maxBytes=BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8")
    root = logging.getLogger("peak_trade")
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(LEVELS[level])
    root.propagate = False
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    file.setFormatter(_formatter(structlog.processors.JSONRenderer(), shared))
    root.addHandler(file)
    if verbose:
        words = logging.StreamHandler(sys.stderr)
        words.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()), shared))
        root.addHandler(words)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("peak_trade")
    return logger


def _formatter(
    renderer: "structlog.typing.Processor", shared: "list[structlog.typing.Processor]"
) -> "structlog.stdlib.ProcessorFormatter":
    import structlog

    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(processors=[remove, renderer], foreign_pre_chain=shared)


def log_fault(error: Exception, command: Sequence[str]) -> str:
    """Write the traceback of a fault of ours to the log and return where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        settings = load_config()
        path = settings.folder(settings.file.paths.logs) / FILE
        open_log(settings).error("internal fault", command=list(command), traceback=text)
    except (PeakTradeError, OSError):
        path = Path(tempfile.gettempdir()) / "peak_trade_fault.log"
        try:
            path.write_text(text, "utf-8")
        except OSError:
            return f"please report it; no log could be written, it was in {text.strip().splitlines()[-3].strip()}"
    return f"please report it with the end of {path}"
