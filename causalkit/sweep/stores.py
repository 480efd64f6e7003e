"""The folder of a sweep: result files that name their own digest, claims, failures, checkpoints."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import io


class Store:
    """A folder of results, shared by every process that works on the sweep.

    ``results/ab/KEY.DIGEST.nc`` are netCDF files, DIGEST being that of the bytes; ``failures/KEY.json`` says why a
    unit failed; ``checkpoints/KEY`` holds a training that is not finished; ``claims/KEY.lock`` is locked by the
    process that works on the unit. The system itself frees that lock when the process ends, however it ends:
    so no claim outlives its process, and none is taken from a process that is merely slow.

    Parameters
    ----------
    folder : path
        On a disk of this machine, or a network disk whose locks work.

    Raises
    ------
    NotADirectoryError
        If it is a file.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is a file: a store is a folder; give another name")

    def make(self) -> None:
        """Make the folders, if they are missing."""
        for name in ("results", "claims", "failures", "checkpoints"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    # ---- results

    def result(self, key: str) -> Path | None:
        """The unit's result file; None if there is none, or none that is whole."""
        return next((path for path in self._files(key) if self._is_whole(path)), None)

    def is_damaged(self, key: str) -> bool:
        """Whether the unit has files, but none whose content is what its name says."""
        return bool(self._files(key)) and self.result(key) is None

    def results(self) -> list[Path]:
        """All result files that are whole, ordered by key."""
        return [path for path in sorted((self.folder / "results").glob("*/*.nc")) if self._is_whole(path)]

    def write(self, key: str, content: bytes) -> Path:
        """Put a result in place, whole or not at all; failure and checkpoint of the unit are gone then."""
        shelf = self._shelf(key)
        shelf.mkdir(parents=True, exist_ok=True)
        path = shelf / f"{key}.{_digest(content)}.nc"
        with io.atomic(path) as temporary:
            temporary.write_bytes(content)
        for other in (*self._files(key), *shelf.glob(f".*-{key}.*.nc")):  # damaged, or never finished
            if other != path:
                other.unlink(missing_ok=True)
        (self.folder / "failures" / f"{key}.json").unlink(missing_ok=True)
        shutil.rmtree(self.checkpoint(key), ignore_errors=True)
        return path

    def checkpoint(self, key: str) -> Path:
        return self.folder / "checkpoints" / key

    def _shelf(self, key):
        return self.folder / "results" / key[:2]

    def _files(self, key):
        return sorted(self._shelf(key).glob(f"{key}.*.nc"))

    def _is_whole(self, path):
        try:
            return _digest(path.read_bytes()) == path.name.split(".")[1]
        except FileNotFoundError:  # another process found it damaged first
            return False

    # ---- failures

    def fail(self, key: str, unit: str, error: str, traceback: str) -> None:
        """Record why a unit failed; the next run tries it again."""
        record = {"unit": unit, "error": error, "date": _now(), "traceback": traceback}
        with io.atomic(self.folder / "failures" / f"{key}.json") as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")

    def failure(self, key: str, *, since: float = 0.0) -> str | None:
        """The recorded error, if it was written after the time `since`."""
        path = self.folder / "failures" / f"{key}.json"
        try:
            return json.loads(path.read_text())["error"] if path.stat().st_mtime >= since else None
        except FileNotFoundError:
            return None

    # ---- claims

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Hold the unit for as long as the context lasts; False if another process, or thread, holds it."""
        path = self.folder / "claims" / f"{key}.lock"
        handle = _lock(path)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                path.unlink(missing_ok=True)
                os.close(handle)

    def holder(self, key: str) -> str:
        """Who claims the unit, for messages."""
        try:
            held = json.loads((self.folder / "claims" / f"{key}.lock").read_text())
        except (OSError, ValueError):
            return "another process"
        return f"process {held['pid']} on {held['host']}, since {held['since']}"

    def abandoned(self, key: str) -> bool:
        """Whether a process died while it held the unit; the claim that it left is removed."""
        if not (self.folder / "claims" / f"{key}.lock").exists():
            return False
        with self.claim(key) as free:
            return free


class Legs:
    """Clock of a training that may be cut off: its seconds up to the last checkpoint, added up over all starts."""

    def __init__(self, checkpoint: Path):
        self.checkpoint, clock = checkpoint, checkpoint / "clock.json"
        index = checkpoint / "checkpoint.json"
        self.resumed, self.earlier_seconds = index.exists(), 0.0
        if self.resumed and clock.exists():
            earlier = json.loads(clock.read_text())
            self.earlier_seconds = earlier["seconds"] + max(index.stat().st_mtime - earlier["started"], 0.0)
        checkpoint.mkdir(parents=True, exist_ok=True)
        with io.atomic(clock) as temporary:
            temporary.write_text(json.dumps({"seconds": self.earlier_seconds, "started": time.time()}))

    def discard(self) -> None:
        shutil.rmtree(self.checkpoint, ignore_errors=True)


def _lock(path: Path) -> int | None:
    """An open, locked file; None if another process has locked it."""
    try:
        import fcntl
    except ImportError as error:
        raise OSError("sweeps need the file locks of Linux or macOS: on Windows, run them in WSL") from error

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the holder removes the file when it is done: a lock on a removed file protects nothing
            if os.fstat(handle).st_ino == _inode(path):
                os.ftruncate(handle, 0)
                holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}
                os.write(handle, json.dumps(holder).encode())
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            os.close(handle)
            raise OSError(
                f"the disk of {path.parent} cannot lock files ({error.strerror}), so two processes might do the same "
                "work: put the store on a local disk; several machines work together through --dask"
            ) from error
        os.close(handle)


def _inode(path):
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
