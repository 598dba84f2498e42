"""Where jobs are done: in this process, in processes of this machine, or on Dask workers anywhere.

Each function here does `function(tick, *job)` for every job and yields `(number, result)` as results
come in, in any order; `tick(number)` hears of every epoch while they run. Jobs, results and the
function travel by pickle. Everywhere a job has one thread: two threads on one stack are slower than
two stacks side by side (`benchmarks/sweep.py` measures it).
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import wait as wait_for_any
from typing import Any

import torch
from threadpoolctl import threadpool_limits

Job = Callable[..., object]
Jobs = Sequence[tuple[object, ...]]
Results = Iterator[tuple[int, Any]]

_TOPIC = "replication.sweep.ticks"
_ticks: Any = None  # in a worker process: the way back to the bar


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for scipy's LAPACK, whose waiting threads would steal each other's time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def in_process(function: Job, jobs: Jobs, tick: Callable[[int], object]) -> Results:
    """One job after the other, here."""
    for number, job in enumerate(jobs):
        with one_thread():
            result = function(partial(tick, number), *job)
        yield number, result


def in_processes(function: Job, jobs: Jobs, tick: Callable[[int], object], workers: int) -> Results:
    """Several processes of this machine.

    An interrupt ends them at once; what they have finished is yielded before.

    Raises:
        RuntimeError: a process died; results that were yielded before are not touched by that.
    """
    context = multiprocessing.get_context("spawn")
    ticks = context.SimpleQueue()
    pool = ProcessPoolExecutor(workers, context, _keep, (ticks,))
    pending: set[Future[Any]] = set()
    numbers: dict[Future[Any], int] = {}
    try:
        numbers |= {pool.submit(_in_worker, function, number, job): number for number, job in enumerate(jobs)}
        pending = set(numbers)
        while pending:
            done, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            while not ticks.empty():
                tick(ticks.get())
            for future in done:
                pending.discard(future)
                yield numbers[future], future.result()
    except KeyboardInterrupt:
        for future in [one for one in pending if one.done()]:
            pending.discard(future)
            yield numbers[future], future.result()
        raise
    except BrokenProcessPool:
        raise RuntimeError(
            "a worker process died, killed perhaps for want of memory; finished stacks are kept: run the command again"
        ) from None
    finally:
        if pending:  # nobody will read what they are at
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _keep(ticks: Any) -> None:
    global _ticks
    _ticks = ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all of its processes; the parent decides
    end_with_parent()


def end_with_parent() -> None:
    """A killed command takes its workers along: alone they would work on for nobody, and then sleep for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    wait_for_any([multiprocessing.parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)


def _in_worker(function: Job, number: int, job: tuple[object, ...]) -> object:
    with one_thread():
        return function(lambda: _ticks.put(number), *job)


def on_dask(function: Job, jobs: Jobs, tick: Callable[[int], object], cluster: str) -> Results:
    """Dask distributed: `cluster` is `"local"` or a scheduler's address, such as `"tcp://10.0.0.1:8786"`.

    The job of a worker that dies is given to another one.

    Raises:
        RuntimeError: no scheduler answers at that address.
    """
    from distributed import Client, LocalCluster, as_completed

    with ExitStack() as opened:
        if cluster == "local":
            address = opened.enter_context(
                LocalCluster(n_workers=cores(), threads_per_worker=1, dashboard_address=None)
            )
        else:
            address = cluster
        try:
            client = opened.enter_context(Client(address, timeout=5))
        except (OSError, ValueError) as error:
            raise RuntimeError(f"no Dask scheduler answers at {cluster!r}; `dask scheduler` starts one") from error
        client.subscribe_topic(_TOPIC, lambda event: tick(event[1]))
        futures = {client.submit(_on_dask_worker, function, n, job, pure=False): n for n, job in enumerate(jobs)}
        for future, result in as_completed(list(futures), with_results=True):
            yield futures[future], result


def _on_dask_worker(function: Job, number: int, job: tuple[object, ...]) -> object:
    from distributed import get_worker

    worker = get_worker()
    with one_thread():
        return function(lambda: worker.log_event(_TOPIC, number), *job)
