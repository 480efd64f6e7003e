"""Make and run the book's notebooks from their text (notebooks/py): the only writer of committed outputs.

python tools/run_notebooks.py refresh                     committed notebooks, with outputs and smoke-run costs
python tools/run_notebooks.py cost 02_train --profile paper    run once with those parameters and record the cost
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat

from causalkit import __version__

ROOT = Path(__file__).resolve().parent.parent
TEXTS = sorted((ROOT / "notebooks" / "py").glob("[0-9][0-9]_*.py"))
COSTS = ROOT / "book" / "results" / "notebook_costs.csv"
FIELDS = ["notebook", "profile", "seconds", "memory (GiB)", "machine", "causalkit"]


def from_text(text: Path, notebook: Path) -> None:
    """Write the notebook that `text` describes, without outputs; keeps the cell ids of one that is there."""
    new = jupytext.read(text)
    old = nbformat.read(notebook, 4).cells if notebook.exists() else []
    ids = {(cell.cell_type, cell.source): cell.id for cell in reversed(old)}
    for position, cell in enumerate(new.cells):
        cell.id = ids.pop((cell.cell_type, cell.source), f"{text.stem.replace('_', '-')}-{position:02d}")
    new.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    taken = set()
    for cell in new.cells:
        while cell.id in taken:
            cell.id += "-"
        taken.add(cell.id)
    nbformat.write(new, notebook)


def execute(notebook: Path, folder: Path, results: Path, parameters: Path | None = None) -> dict[str, float]:
    """Run `notebook` in place, in `folder`; returns the seconds and the peak memory in GiB that it took."""
    command = [sys.executable, "-m", "papermill", str(notebook), str(notebook), "--cwd", str(folder)]
    command += ["--kernel", "python3", "--no-progress-bar", "--log-level", "WARNING"]
    command += ["--parameters_file", str(parameters)] if parameters else []
    environment = os.environ | {"CAUSALKIT_RESULTS": str(results), "CAUSALKIT_PROGRESS": "0"}
    if parameters is None:  # small networks: two threads wait for each other longer than they work
        environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin lose tenfold beside other programs
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:  # kernels chatter: shown only if something went wrong
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise SystemExit(f"{notebook.name} failed; its traceback is above")
    scale = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, KiB elsewhere
    return {"seconds": time.perf_counter() - start, "memory": used.ru_maxrss / scale}


def clean(notebook: Path) -> None:
    """Remove what differs between two runs of the same notebook: papermill's and the kernel's metadata."""
    nb = nbformat.read(notebook, 4)
    nb.metadata.pop("papermill", None)
    nb.metadata["language_info"] = {"name": "python", "file_extension": ".py"}
    for cell in nb.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            cell.metadata.pop("tags")
    nbformat.write(nb, notebook)


def machine() -> str:
    """The computer in a few words: its cores and, where there is one, its GPU."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores{gpu}"


def record(name: str, profile: str, cost: dict[str, float]) -> None:
    """Put a measured run into the table of book/results/notebook_costs.csv."""
    rows = list(csv.DictReader(COSTS.open())) if COSTS.exists() else []
    rows = [row for row in rows if (row["notebook"], row["profile"]) != (name, profile)]
    figures = [f"{cost['seconds']:.0f}", f"{cost['memory']:.1f}"]
    rows.append(dict(zip(FIELDS, [name, profile, *figures, machine(), __version__], strict=True)))
    rows.sort(key=lambda row: (row["profile"] != "smoke", row["notebook"]))
    with COSTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def refresh(names: list[str]) -> None:
    """Run every notebook with its own defaults; only when all succeed, replace the committed copies."""
    with tempfile.TemporaryDirectory() as scratch:
        done = []
        for text in TEXTS:
            copy = Path(scratch) / f"{text.stem}.ipynb"
            committed = ROOT / "notebooks" / copy.name
            if committed.exists():
                shutil.copy(committed, copy)
            from_text(text, copy)
            cost = execute(copy, ROOT / "notebooks", Path(scratch) / "results")
            clean(copy)
            print(f"{text.stem}: {cost['seconds']:.0f} s, {cost['memory']:.1f} GiB", flush=True)
            if not names or text.stem in names:
                done.append((copy, cost))
        for copy, cost in done:
            shutil.copy(copy, ROOT / "notebooks" / copy.name)
            record(copy.stem, "smoke", cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("refresh", help="remake the committed notebooks")
    command.add_argument("names", nargs="*", help="replace only these (the ones before them run all the same)")
    command = commands.add_parser("cost", help="run one notebook and record what it cost")
    command.add_argument("name", choices=[text.stem for text in TEXTS])
    command.add_argument("--profile", default="paper", choices=["smoke", "paper"])
    arguments = parser.parse_args()
    if arguments.command == "refresh":
        return refresh(arguments.names)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / f"{arguments.name}.ipynb"
        from_text(ROOT / "notebooks" / "py" / f"{arguments.name}.py", copy)
        parameters = ROOT / "params" / arguments.profile / f"{arguments.name}.yaml"
        cost = execute(copy, ROOT / "notebooks", Path(scratch) / "results", parameters)
    record(arguments.name, arguments.profile, cost)


if __name__ == "__main__":
    main()
