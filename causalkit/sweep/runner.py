"""Run a sweep: what is missing, in this process, in several, or on a cluster."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .. import methods
from ..progress import progress_bar
from ..summary import estimate_seconds
from .grids import Grid
from .stores import Store
from .work import Unit, compute, units

_POLL_SECONDS = 2.0  # how often to look whether another process has finished, or died


@dataclass(frozen=True)
class Outcome:
    """What became of a unit: "computed", "found" (another process did it), "claimed" or "failed"."""

    unit: Unit
    state: str
    error: str = ""


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    total, already, computed, found : int
        Units of the grid; those finished before, by this run, and by other processes meanwhile.
    damaged : int
        Units whose result file was damaged, and which were therefore done again.
    failed : dict
        Unit -> error.
    elsewhere : dict
        Unit -> who holds it; only if the run was told not to wait.
    seconds : float
    """

    total: int
    already: int = 0
    computed: int = 0
    found: int = 0
    damaged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every unit has a result."""
        return not self.failed and not self.elsewhere

    def __str__(self) -> str:
        parts = [f"{self.total} units: {self.already} were finished, {self.computed} computed in {self.seconds:.0f} s"]
        if self.found:
            parts.append(f"{self.found} by other processes")
        if self.damaged:
            parts.append(f"{self.damaged} done again because their files were damaged")
        lines = [", ".join(parts)]
        lines += [f"failed: {unit}: {' '.join(error.split())}" for unit, error in self.failed.items()]
        lines += [f"not done here: {unit} is with {holder}" for unit, holder in self.elsewhere.items()]
        return "\n".join(lines)


def run(
    grid: Grid | list[Unit],
    store: Store | str | os.PathLike,
    *,
    jobs: int = 1,
    dask: Any = None,
    wait: bool = True,
    progress: bool = True,
) -> Summary:
    """Compute every unit of a grid that the store does not hold yet.

    Several processes may run the same grid, or grids that overlap, on one store: each unit is done once. It may be
    killed at any moment; the next run goes on where it was, within a unit if the method keeps checkpoints.

    Parameters
    ----------
    grid : Grid or list of Unit
    store : Store or path
        Folder of the results, made if missing.
    jobs : int
        Units at a time, each in its own process with its share of the cores. 1 computes in this process.
    dask : str or distributed.Client, optional
        Address of a Dask scheduler, whose workers then compute; needs ``pip install 'causalkit[cluster]'``. This
        process hands out the recordings and writes what comes back: workers need no access to the store.
    wait : bool
        Wait for units that other processes hold, and take them over if those die. False leaves them.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Summary
        A unit that failed is in ``failed``, and its traceback in the store; the next run tries it again.

    Raises
    ------
    ValueError
        If `jobs` is no count, or a recording cannot be used.
    ImportError
        If `dask` is given and Dask is not installed.
    OSError
        If the store cannot be written, or its disk knows no locks.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs is {jobs!r}: it is the number of units computed at a time; give 1 or more")
    store, start = store if isinstance(store, Store) else Store(store), time.time()
    store.make()
    planned = units(grid, progress=progress) if isinstance(grid, Grid) else grid
    todo = {unit.key: unit for unit in planned}  # units that are the same are done once
    summary = Summary(len(todo), damaged=sum(map(store.is_damaged, todo)))
    todo = {key: unit for key, unit in todo.items() if store.result(key) is None}
    summary.already = summary.total - len(todo)
    if dask is not None:
        from .cluster import on_cluster

        execute = partial(on_cluster, address=dask)
    else:
        execute = _here if jobs == 1 else partial(_in_processes, jobs=jobs)
    if dask is not None or jobs > 1:  # long ones first: else they end the sweep alone
        todo = dict(sorted(todo.items(), key=lambda item: -(item[1].n_neurons ** 2) * item[1].n_times))
    with progress_bar(summary.total, "units", wanted=progress, unit="unit") as bar:
        bar.update(summary.already)
        while todo:
            before = len(todo)
            for outcome in execute(list(todo.values()), store, since=start):
                if outcome.state != "claimed":
                    _count(outcome, summary)
                    del todo[outcome.unit.key]
                    bar.update()
            if todo and len(todo) == before:
                if not wait:
                    summary.elsewhere = {str(unit): store.holder(key) for key, unit in todo.items()}
                    break
                time.sleep(_POLL_SECONDS)
    summary.seconds = time.time() - start
    return summary


def _count(outcome: Outcome, summary: Summary) -> None:
    if outcome.state == "failed":
        summary.failed[str(outcome.unit)] = outcome.error
    elif outcome.state == "computed":
        summary.computed += 1
    else:
        summary.found += 1


def estimate_work(todo: list[Unit], *, progress: bool = True) -> float:
    """Seconds that units will take one after another, from a short trial of each method on each size of network."""
    alike: dict[tuple, list[Unit]] = {}
    for unit in todo:
        size = unit.n_neurons, unit.n_times, unit.method, json.dumps(unit.parameters, sort_keys=True, default=str)
        alike.setdefault(size, []).append(unit)
    total = 0.0
    with progress_bar(len(alike), "trials", wanted=progress) as bar:
        for first, *rest in alike.values():
            method = methods.get(first.method)(**first.parameters)
            total += estimate_seconds(method, first.recording()) * (1 + len(rest))
            bar.update()
    return total


def work_on(unit: Unit, store: Store, *, since: float, threads: int | None = None) -> Outcome:
    """Claim a unit, compute it and store the result, or the error."""
    with store.claim(unit.key) as mine:
        if not mine:
            return Outcome(unit, "claimed")
        if done := finished_meanwhile(unit, store, since):
            return done
        try:
            methods.get(unit.method)  # may import torch, whose threads `compute` limits
            content = compute(unit, unit.recording(), checkpoint=store.checkpoint(unit.key), threads=threads)
        except Exception as error:
            return failed(unit, store, error, traceback.format_exc())
        store.write(unit.key, content)
        return Outcome(unit, "computed")


def finished_meanwhile(unit: Unit, store: Store, since: float) -> Outcome | None:
    """What another process has made of the unit since the run began."""
    if store.result(unit.key) is not None:
        return Outcome(unit, "found")
    if error := store.failure(unit.key, since=since):
        return Outcome(unit, "failed", error)
    return None


def failed(unit: Unit, store: Store, error: BaseException, trace: str) -> Outcome:
    """Record a failure."""
    text = str(error) or type(error).__name__
    store.fail(unit.key, str(unit), text, trace)
    return Outcome(unit, "failed", text)


def _here(todo: list[Unit], store: Store, *, since: float) -> Iterator[Outcome]:
    for unit in todo:
        yield work_on(unit, store, since=since)


def _in_processes(todo: list[Unit], store: Store, *, since: float, jobs: int) -> Iterator[Outcome]:
    """Workers claim, compute and write by themselves: a worker that outlives this process still holds its unit."""
    from joblib import Parallel, cpu_count, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    threads = max(1, cpu_count() // jobs)
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        threads = min(threads, max(1, int(os.environ["OMP_NUM_THREADS"])))
    seen = set()
    with parallel_config(backend="loky", inner_max_num_threads=threads):
        work = Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")
        try:
            for outcome in work(delayed(_in_worker)(unit, store, since, threads) for unit in todo):
                seen.add(outcome.unit.key)
                yield outcome
        except TerminatedWorkerError as error:
            # one unit killed its process, and all others ended with it: each that was at work is tried alone
            suspects = [unit for unit in todo if unit.key not in seen and store.abandoned(unit.key)]
            if not seen and not suspects:
                raise ChildProcessError(
                    "worker processes die before they begin: memory may be short; use fewer jobs, or 1 to see why"
                ) from error
            for unit in suspects:
                yield _alone(unit, store, since, threads)


def _alone(unit: Unit, store: Store, since: float, threads: int) -> Outcome:
    """Work on a unit in a process of its own; if that dies, it is the unit's failure."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with ProcessPoolExecutor(max_workers=1) as executor:
        try:
            return executor.submit(_in_worker, unit, store, since, threads).result()
        except TerminatedWorkerError:
            death = MemoryError("its process died, also when it ran alone: out of memory, perhaps")
            store.abandoned(unit.key)  # removes the claim that the process left
            return failed(unit, store, death, "")


def _in_worker(unit: Unit, store: Store, since: float, threads: int) -> Outcome:
    os.environ["CAUSALKIT_PROGRESS"] = "0"  # bars of several workers would overwrite each other
    return work_on(unit, store, since=since, threads=threads)
