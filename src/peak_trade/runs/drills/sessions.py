"""Sessions of a drill: processes of their own over a state folder of their own, watched through their journals.

Invariant: no process outlives the block that it was started in, also one that was stopped.
"""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from peak_trade.compose import Parts
from peak_trade.journal.chain import ENDED, Record, folder_of, read, segments
from peak_trade.journal.run import RunStatus
from peak_trade.model.clock import Clock
from peak_trade.model.errors import CheckFailed
from peak_trade.runs.emulated import EmulatedRun
from peak_trade.settings import PATH_VARIABLE, load_config

Found = TypeVar("Found")
#: Longest wait for anything, and between two looks, seconds: on a loaded machine a process takes its time to begin.
PATIENCE_S, LOOK_S = 90.0, 0.05
#: How much faster than time the markets go: a bar of a minute in a second, and in half of one.
FOLLOWED_SPEED, RECORDED_SPEED = 60, 120
#: Averages so short cross every few bars.
STRATEGY = ("--strategy", "ma_crossover", "--param", "fast_window=2", "--param", "slow_window=3", "--warmup-candles", "20")
#: A session ends by itself after five minutes, should nobody be left to end it; in testnet they are the exchange's.
SHADOW = ("--mode", "shadow", "--speed", f"{RECORDED_SPEED}", "--duration", "5")
PAIR = "BTC/EUR"
TESTNET = ("--mode", "testnet", "--symbol", PAIR, "--speed", f"{FOLLOWED_SPEED}", "--duration", f"{5 * FOLLOWED_SPEED}")


class DrillSession:
    """A session's process and its journal."""

    def __init__(self, account: str, process: subprocess.Popen[Any], journal: Path, said: Path, clock: Clock) -> None:
        self.account, self.process = account, process
        self._journal, self._said, self._clock = journal, said, clock
        self._before = len(segments(journal, account)) if folder_of(journal, account).is_dir() else 0

    def records(self) -> list[Record]:
        """Return what it has written; nothing before it has begun to."""
        if not folder_of(self._journal, self.account).is_dir():
            return []
        return [record for path in segments(self._journal, self.account)[self._before :] for record in read(path)]

    def wait_for(self, what: str, happened: Callable[[list[Record]], Found | None], most_s: float = PATIENCE_S) -> Found:
        """Look at its journal until something has happened there; return it.

        Raises:
            CheckFailed: it did not happen in time, or the process ended.
        """
        deadline = self._clock.elapsed_s() + most_s
        while (found := happened(self.records())) is None:
            if self._clock.elapsed_s() > deadline:
                raise CheckFailed(f"expected {what} of {self.account} within {most_s:g} s, found none")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(LOOK_S)
                # Its last words may have come between the look and the end.
                if (found := happened(self.records())) is not None:
                    return found
                raise CheckFailed(
                    f"expected {what} of {self.account}, found that its process ended with code {self.process.returncode}: "
                    f"{self.words}"
                )
        return found

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; return its exit code.

        Raises:
            CheckFailed: it does not end in time.
        """
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"expected {self.account} to end within {PATIENCE_S:g} s, found that it does not") from None

    def end_in_order(self, *, killed: bool) -> str:
        """Ask it to end; return the status that its journal has then.

        Args:
            killed: whether it is to say that it was killed, with exit code 1.

        Raises:
            CheckFailed: it does not end, or not as it should.
        """
        self.tell(signal.SIGTERM)
        code, last = self.end(), self.records()[-1]
        fits = (code == 1 and "found it killed" in self.words) if killed else code == 0
        if not fits or last.kind != ENDED or last.body["status"] != RunStatus.COMPLETED.value:
            wanted = "end as killed, with exit code 1" if killed else "end with exit code 0"
            raise CheckFailed(f"expected {self.account} to {wanted}, found {code}: {self.words}")
        return str(last.body["status"])

    @property
    def words(self) -> str:
        """The last line that it said."""
        lines = self._said.read_text("utf-8", "replace").splitlines() or ["nothing was said"]
        return lines[-1]


class DrillHouse:
    """A project folder that goes with the drill, whose exchange is an emulator; its sessions."""

    def __init__(self, folder: Path, run: EmulatedRun, environment: Mapping[str, str], clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self.config = folder / "config.toml"
        # Everything else is the program's default. Neither a loaded machine nor a limit on orders is to end a session early.
        self.config.write_text(
            f'[live_risk]\nmax_data_age_s = 3600\nsymbols = ["{PAIR}", "SYN/USD"]\n'
            f"[testnet_limits.run]\nmax_orders = 500\nmax_duration_minutes = {5 * FOLLOWED_SPEED}\n"
            "[testnet_limits.daily]\nmax_orders = 1000\nmax_minutes = 1000\n"
            f'[testnet_limits.symbols."{PAIR}"]\nmax_order_notional = "100"\nmax_exposure_notional = "200"\n'
            f'[exchange.kraken_testnet]\nbase_url = "{run.base_url}"\nwebsocket_url = "{run.stream_url}/v2"\n',
            "utf-8",
        )
        settings = load_config(self.config)
        testnet = settings.file.exchange.kraken_testnet
        keys = dict(zip((testnet.api_key_env, testnet.api_secret_env), run.keys["trading"], strict=True))
        self._environment = {name: text for name, text in environment.items() if name != PATH_VARIABLE} | keys
        self.parts = Parts(settings)
        self.sessions: list[DrillSession] = []

    def begin(self, account: str, terms: Sequence[str]) -> DrillSession:
        """Start a session on an account of the drill."""
        words = ["session", "run", *STRATEGY, *terms, "--no-html", "--account", account, "--config", str(self.config)]
        said = self._folder / f"{len(self.sessions)}.txt"
        with unbroken(), said.open("wb") as file:
            # A group of its own, so that Ctrl+C in a terminal is the drill's to hear; and no more: should the drill be
            # killed, the system ends a group that has nobody left and was stopped.
            process = subprocess.Popen(
                [sys.executable, "-m", "peak_trade", *words],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            found = DrillSession(account, process, self.parts.journal, said, self._clock)
            self.sessions.append(found)
        return found

    def close(self) -> None:
        """End every process that is left, at once."""
        with unbroken():
            ended(session.process for session in self.sessions)
        self.parts.close()


@contextlib.contextmanager
def house_in(folder: Path, run: EmulatedRun, environment: Mapping[str, str], clock: Clock) -> Iterator[DrillHouse]:
    """Keep a house for the block.

    Args:
        folder: it goes with the drill. environment: of the processes, without secrets.
    """
    house = DrillHouse(folder, run, environment, clock)
    try:
        yield house
    finally:
        house.close()


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Hear Ctrl+C and SIGTERM after the block and not within it: a process that was begun must be noted by who ends it.

    The signals are not blocked, because a process that is begun within the block would never hear them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda sent, _frame: heard.append(sent)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(signal.Signals(heard[0]))


def ended(processes: Iterable[subprocess.Popen[Any]]) -> None:
    """End every process, at once, and wait for it."""
    left = [process for process in processes if process.poll() is None]
    for process in left:
        process.kill()
    for process in left:
        process.wait()
