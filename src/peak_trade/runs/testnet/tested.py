"""Whether the tests passed for the code in use: run on demand, and remembered with the code's hash."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

from peak_trade.compose import Code
from peak_trade.durable import storing, write_text
from peak_trade.governance.documents import Fact
from peak_trade.journal.registry import stamp
from peak_trade.model.clock import Clock
from peak_trade.model.errors import InputError, StorageError
from peak_trade.model.stage import Stage

#: What the tests print is no result of ours.
STDERR = 2
#: How the suite of all tests is called.
ALL = "all"
#: In the state folder.
FILE = "tests.json"
#: What is run for a stage; nothing means all.
TARGETS: dict[Stage, tuple[str, ...]] = {
    Stage.RESEARCH: ("tests/unit", "tests/e2e/test_backtest.py"),
    Stage.SHADOW: ("tests/unit", "tests/test_shadow_flow.py", "tests/test_shadow_parity.py", "tests/e2e/test_session.py"),
    Stage.TESTNET: ("tests/unit", "tests/test_shadow_flow.py", "tests/contract", "tests/e2e/test_testnet.py"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What the last run of the tests found.

    Attributes:
        commit, clean, code_sha256: which code it was.
        stage: whose tests ran; at: when, ISO 8601 in UTC.
    """

    commit: str
    clean: bool
    code_sha256: str
    stage: str
    at: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    exit_code: int

    @property
    def good(self) -> bool:
        """Whether something ran and nothing failed."""
        return self.exit_code == 0 and self.failed == 0 and self.passed > 0


def run_tests(
    root: Path,
    targets: Sequence[str],
    stage: Stage,
    code: tuple[Code, str],
    clock: Clock,
    environment: Mapping[str, str],
) -> TestResult:
    """Run tests in a process of their own; what they say goes to stderr.

    Args:
        root: the checkout. targets: files and folders in it; nothing means all.
        code: which code it is, and its hash. environment: of that process; tests need no secrets.

    Raises:
        InputError: there are no tests at *root*.
    """
    if not (root / "tests").is_dir():
        raise InputError(f"expected the tests of a checkout in {root}, found none; run this from a clone of the repository")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}"]
        begun = clock.elapsed_s()
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *targets],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            check=False,
        )
        counts = _counts(report)
    commit, sha256 = code
    return TestResult(
        commit=commit.version,
        clean=commit.clean,
        code_sha256=sha256,
        stage=stage.value,
        at=stamp(clock.now()),
        passed=counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"],
        failed=counts["failures"] + counts["errors"],
        skipped=counts["skipped"],
        seconds=round(clock.elapsed_s() - begun, 3),
        exit_code=ended.returncode,
    )


def facts_of(result: TestResult, suite: str) -> dict[str, Fact]:
    """Return a result as facts for a gate; a run that broke off counts as one that failed."""
    broke = result.exit_code != 0 and result.failed == 0
    return {
        "suite": suite,
        "commit": result.commit,
        "clean": result.clean,
        "code_sha256": result.code_sha256,
        "passed": result.passed,
        "failed": 1 if broke else result.failed,
        "skipped": result.skipped,
    }


def keep_result(folder: Path, result: TestResult) -> None:
    """Write a result into the state folder, whole or not at all.

    Raises:
        StorageError: the disk refused.
    """
    write_text(folder / FILE, json.dumps(asdict(result), indent=2) + "\n")


def last_result(folder: Path) -> TestResult | None:
    """Return the last result; None where there is none.

    Raises:
        StorageError: its file can't be read, or is none.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with storing(path):
        text = path.read_text("utf-8", "replace")
    try:
        found = TestResult(**json.loads(text))
        age_of(found, datetime.fromisoformat(found.at))
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"expected the result of tests in {path}, found something else; delete it, run them again"
        ) from error
    return found


def age_of(result: TestResult, now: datetime) -> float:
    """Return how old a result is, days."""
    return (now - datetime.fromisoformat(result.at)).total_seconds() / 86_400


def _counts(report: Path) -> dict[str, int]:
    names = ("tests", "failures", "errors", "skipped")
    try:
        suites = list(Xml.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it a moment ago
    except (OSError, Xml.ParseError):
        suites = []
    return {name: sum(int(suite.get(name, 0)) for suite in suites) for name in names}
