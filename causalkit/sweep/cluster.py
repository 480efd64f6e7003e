"""Run units on a Dask cluster: workers compute, this process claims, hands out recordings and writes results."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from queue import Empty, Queue
from typing import Any

from .runner import Outcome, failed, finished_meanwhile
from .stores import Store
from .work import Unit, compute

_AHEAD = 2  # units handed out for each thread of the cluster: one at work, one waiting
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 2.0  # how often to look for workers that have joined


def on_cluster(todo: list[Unit], store: Store, *, since: float, address: Any) -> Iterator[Outcome]:
    """Send units to the workers of a Dask scheduler, and write what they return.

    A unit whose worker dies is run again on another one; Dask gives it up after it has killed four.

    Raises
    ------
    ImportError
        If Dask is not installed.
    ConnectionError
        If the scheduler does not answer, or goes away; results that came back are in the store.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError("computing on a Dask cluster needs Dask: pip install 'causalkit[cluster]'") from error

    own = isinstance(address, str)
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False) if own else address
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, and give the address it prints"
        ) from error
    try:
        yield from _exchange(client, deque(todo), store, since)
    finally:
        if own:
            client.close()


def _exchange(client, waiting: deque, store: Store, since: float) -> Iterator[Outcome]:
    running: dict = {}
    news: Queue = Queue()  # futures that may have ended
    with ExitStack() as claims:
        try:
            while waiting or running:
                while waiting and len(running) < _capacity(client):
                    yield from _hand_out(client, waiting.popleft(), store, since, running, claims, news)
                if not running:
                    break
                with suppress(Empty):
                    news.get(timeout=_LOOK_SECONDS)
                _check(client)
                for future in [future for future in running if future.done()]:
                    unit, claim = running.pop(future)
                    with claim:
                        yield _collect(unit, future, store)
        finally:
            client.cancel(list(running))


def _capacity(client) -> int:
    _check(client)
    return max(1, _AHEAD * sum(client.nthreads().values()))


def _check(client) -> None:
    if client.status != "running":
        raise ConnectionError(
            "the Dask scheduler has gone; results that came back are kept: start it, and then the sweep, again"
        )


def _hand_out(client, unit: Unit, store: Store, since: float, running, claims, news) -> Iterator[Outcome]:
    """Claim a unit and submit it; an outcome if that is not to be."""
    with ExitStack() as claim:
        if not claim.enter_context(store.claim(unit.key)):
            yield Outcome(unit, "claimed")
            return
        if done := finished_meanwhile(unit, store, since):
            yield done
            return
        try:
            recording = unit.recording()
        except Exception as error:
            yield failed(unit, store, error, traceback.format_exc())
            return
        # the recording travels within the task, where it survives the death of a worker
        name = f"{unit.method}-{unit.key}-{time.time_ns()}"
        future = client.submit(_on_worker, unit, recording, key=name, pure=False)
        running[future] = unit, claims.enter_context(claim.pop_all())
        future.add_done_callback(news.put)


def _on_worker(unit: Unit, recording) -> bytes | tuple[str, str]:
    """The result's bytes, or the error and its traceback as text, which any client can read."""
    try:
        return compute(unit, recording)
    except Exception as error:
        return str(error) or type(error).__name__, traceback.format_exc()


def _collect(unit: Unit, future, store: Store) -> Outcome:
    if future.status == "finished":
        returned = future.result()
        if isinstance(returned, bytes):
            store.write(unit.key, returned)
            return Outcome(unit, "computed")
        error, trace = returned
        store.fail(unit.key, str(unit), error, trace)
        return Outcome(unit, "failed", error)
    error = future.exception() if future.status == "error" else ConnectionError("the cluster dropped the task")
    return failed(unit, store, error, "")
