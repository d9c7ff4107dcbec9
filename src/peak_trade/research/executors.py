"""Who evaluates combinations: this thread, threads, processes of this machine, or a Ray cluster.

Invariant: a combination's figures do not depend on who evaluates it, on how many do, or on how the work is cut.
Invariant: work goes out in pieces of a fraction of a second, because sending one combination costs more than evaluating it.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from enum import Enum, unique
from functools import partial
from multiprocessing import get_context
from typing import Any, Generic, Protocol, Self, TypeVar

from peak_trade.model.errors import CheckFailed, InputError, PeakTradeError
from peak_trade.strategy.catalogue import Value

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: One piece of work should take about this long: long enough to pay for its dispatch, short enough to stop soon.
PIECE_S = 0.2

#: What is said of a worker that is gone: killed by a person, or by a machine out of memory.
DIED = "a worker process died; run the command again, it goes on where it ended"

Work = Sequence[tuple[int, Mapping[str, Value]]]
Done = list[tuple[int, R]]


@unique
class Workers(Enum):
    """What works: this thread alone; threads, which share memory; processes, for plain Python; the nodes of a Ray cluster."""

    LOCAL = "local"
    THREADS = "threads"
    PROCESSES = "processes"
    RAY = "ray"


class Evaluates(Protocol[R_co]):
    """What evaluates a combination; it can be sent to another process, and several threads may call it at once."""

    def evaluate(self, params: Mapping[str, Value]) -> R_co:
        """Evaluate one combination."""
        ...


class Crew(Generic[R]):
    """Workers for one evaluator, kept while it is entered, so that many batches of work pay for their start once.

    Args:
        evaluator: what they evaluate with.
        workers: what they are.
        count: how many; 0 is one for each core, or for each CPU of the cluster.
        address: of a Ray cluster, `auto` for the one of this machine; None starts one here.
        code: tells which code a process runs; a node of a cluster that runs other code than here is refused.
    """

    def __init__(
        self,
        evaluator: Evaluates[R],
        workers: Workers,
        count: int = 0,
        *,
        address: str | None = None,
        code: Callable[[], str] | None = None,
    ) -> None:
        self.evaluator, self.workers, self.count = evaluator, workers, count or core_count()
        self._asked, self._address, self._code = count, address, code
        self._each_s = 0.0
        self._pool: Executor | None = None
        # No function here may hold the crew itself: the circle would keep a finished evaluator's memory for a while.
        self._begin: Callable[[Work], Future[Done[R]]] = partial(_at_once, evaluator)

    def __enter__(self) -> Self:
        match self.workers:
            case Workers.LOCAL:
                self.count = 1
            case Workers.THREADS:
                pool: Executor = ThreadPoolExecutor(self.count, thread_name_prefix="sweep")
                self._pool, self._begin = pool, partial(_submit, pool, self.evaluator)
            case Workers.PROCESSES:
                made = ProcessPoolExecutor(self.count, get_context("spawn"), _set_up_process, (self.evaluator,))
                self._pool, self._begin = made, partial(_submit_there, made)
            case Workers.RAY:
                self._begin = self._cluster()
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if self.workers is Workers.RAY:
            import ray

            ray.shutdown()

    def do(self, work: Work, stop: threading.Event | None = None) -> Iterator[Done[R]]:
        """Evaluate numbered combinations and yield them in pieces as they finish.

        When *stop* is set, or the consumer ends, no piece is begun any more; pieces in work are finished and yielded.

        Raises:
            CheckFailed: a worker died; what was yielded before is whole.
        """
        pieces = self._pieces(work)
        running: set[Future[Done[R]]] = set()
        try:
            while True:
                with _deaf():
                    while len(running) < self.count + 1 and not (stop and stop.is_set()) and (piece := next(pieces, None)):
                        running.add(self._begin(piece))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    try:
                        yield future.result()
                    except BrokenProcessPool as error:
                        if stop and stop.is_set():
                            return
                        raise CheckFailed(DIED) from error
                    except Exception as error:
                        raise _seen_from_here(error) from error
        finally:
            for future in running:
                future.cancel()

    def _pieces(self, work: Work) -> Iterator[Work]:
        """Cut the work so that a piece takes about `PIECE_S`, judged by the first combination, and every worker gets some."""
        if not work:
            return
        if not self._each_s:
            self.evaluator.evaluate(work[0][1])  # the first call compiles or loads the kernel
            begun = time.perf_counter()
            self.evaluator.evaluate(work[-1][1])
            self._each_s = max(time.perf_counter() - begun, 1e-6)
        size = max(1, min(int(PIECE_S / self._each_s), -(-len(work) // (4 * self.count))))
        for first in range(0, len(work), size):
            yield work[first : first + size]

    def _cluster(self) -> Callable[[Work], Future[Done[R]]]:
        """Join a Ray cluster, or start one here, and return what sends a piece there.

        Raises:
            InputError: Ray is not installed, or there is no cluster at the address.
        """
        try:
            import ray
        except ImportError as error:
            raise InputError(
                'expected Ray for --executor ray, found it not installed; install it: pip install "peak-trade[ray]"'
            ) from error
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        try:
            if self._address is None:
                ray.init(num_cpus=self.count, include_dashboard=False, **options)
            else:
                _knock(self._address)
                ray.init(address=self._address, **options)
        except (OSError, ValueError, RuntimeError) as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"expected a Ray cluster at {self._address or 'this machine'}, found none ({words})") from error
        self.count = self._asked or int(ray.cluster_resources().get("CPU", 1))
        # Ray sends what it is given again for each piece, but what `put` names once to each node.
        shared, code = ray.put(self.evaluator), self._code
        token, expected = shared.hex(), code() if code else ""
        send = ray.remote(num_cpus=1)(_evaluate_far)

        def begin(piece: Work) -> Future[Done[R]]:
            future: Future[Done[R]] = send.remote(shared, piece, token, code, expected).future()
            return future

        return begin


def _seen_from_here(error: Exception) -> Exception:
    """Return what a node's failure is here: Ray wraps an error of ours in the far traceback, and has its own for lost nodes."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, PeakTradeError):
        return cause
    lost = type(error).__module__.startswith("ray.") and cause is None
    return CheckFailed(DIED) if lost else error


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl+C while worker processes may be started: they inherit it, and this process decides about stopping."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _knock(address: str) -> None:
    """Look whether anything listens at HOST:PORT, because Ray tries for minutes; other addresses are left to it.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5.0):
            pass


def _submit(pool: Executor, evaluator: Evaluates[R], piece: Work) -> Future[Done[R]]:
    return pool.submit(_evaluate, evaluator, piece)


def _submit_there(pool: Executor, piece: Work) -> Future[Done[Any]]:
    return pool.submit(_evaluate_there, piece)


def _at_once(evaluator: Evaluates[R], piece: Work) -> Future[Done[R]]:
    done: Future[Done[R]] = Future()
    done.set_result(_evaluate(evaluator, piece))
    return done


def _evaluate(evaluator: Evaluates[R], piece: Work) -> Done[R]:
    return [(number, evaluator.evaluate(params)) for number, params in piece]


#: The evaluator of a worker process, made once when it starts.
_HERE: list[Evaluates[Any]] = []
#: The evaluator of a node's process, by what Ray calls it.
_FAR: dict[str, Evaluates[Any]] = {}


def _set_up_process(evaluator: Evaluates[Any]) -> None:
    # Ctrl+C reaches every process of the terminal; only the first one decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Standard output is the first one's too, for the result; what strategies print here must not stand in it.
    sys.stdout = sys.stderr
    _HERE[:] = [evaluator]


def _evaluate_there(piece: Work) -> Done[Any]:
    return _evaluate(_HERE[0], piece)


def _evaluate_far(
    evaluator: Evaluates[Any], piece: Work, token: str, code: Callable[[], str] | None, expected: str
) -> Done[Any]:
    if token not in _FAR:
        if code is not None and (found := code()) != expected:
            raise CheckFailed(
                f"expected every node of the cluster to run the code {expected[:12]}, found {found[:12]} on one; "
                "install the same version of Peak_Trade and of its packages there"
            )
        _FAR.clear()
        _FAR[token] = evaluator
    return _evaluate(_FAR[token], piece)
