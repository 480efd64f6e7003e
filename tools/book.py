"""Run the notebooks into _build/src and build the book there; the working tree stays as it is.

python tools/book.py [--profile smoke|paper] [--check-links]
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from landing import draw, summarize
from run_notebooks import COSTS, ROOT, TEXTS, clean, execute, from_text

BUILD = ROOT / "_build"
SOURCE = BUILD / "src"


def copy_pages() -> None:
    """Lay out the sources of the book as in the repository, so that links to it come out right."""
    shutil.rmtree(SOURCE / "book", ignore_errors=True)
    shutil.copytree(ROOT / "book", SOURCE / "book")
    for name in ("_config.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, SOURCE / name)
    for folder in ("params", "examples"):
        shutil.copytree(ROOT / folder, SOURCE / folder, dirs_exist_ok=True)
    (SOURCE / "notebooks").mkdir(exist_ok=True)
    for page in (SOURCE / "notebooks").glob("*.ipynb"):
        page.unlink()


def run_notebooks(profile: str) -> None:
    """Execute each notebook whose text, or anything that it computes with, changed since it last ran."""
    inputs = [*(ROOT / "causalkit").rglob("*.py"), *(ROOT / "book" / "results").rglob("*.*")]
    state = hashlib.sha256(profile.encode())
    for path in sorted(set(inputs) - {COSTS}):
        state.update(path.read_bytes())
    executed = BUILD / "executed" / profile
    executed.mkdir(parents=True, exist_ok=True)
    for text in TEXTS:
        # Defaults are the smoke parameters, so those runs show no injected cell.
        parameters = ROOT / "params" / profile / f"{text.stem}.yaml" if profile != "smoke" else None
        key = state.copy()
        key.update(text.read_bytes() + (parameters.read_bytes() if parameters else b""))
        notebook, seal = executed / f"{text.stem}.ipynb", executed / f"{text.stem}.sha256"
        if not notebook.exists() or not seal.exists() or seal.read_text() != key.hexdigest():
            print(f"running {text.stem} with {profile} parameters", flush=True)
            seal.unlink(missing_ok=True)
            from_text(text, notebook)
            cost = execute(notebook, SOURCE / "notebooks", BUILD / "results", parameters)
            clean(notebook)
            seal.write_text(key.hexdigest())
            print(f"  took {cost['seconds']:.0f} s", flush=True)
        shutil.copy(notebook, SOURCE / "notebooks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="smoke", choices=["smoke", "paper"])
    parser.add_argument("--check-links", action="store_true", help="report on every address in the pages")
    arguments = parser.parse_args()
    SOURCE.mkdir(parents=True, exist_ok=True)
    copy_pages()
    run_notebooks(arguments.profile)
    draw(SOURCE / "book" / "generated" / "landing.png")
    summarize(SOURCE / "book" / "generated" / "summary.csv")
    # A page that did not change would not repeat its warning: --all reads every page again.
    command = [Path(sys.executable).parent / "jupyter-book", "build", ".", "--path-output", "../..", "--all", "-q"]
    command += ["--toc", "book/_toc.yml", "--keep-going"]
    command += ["--builder", "linkcheck"] if arguments.check_links else ["-W", "-n"]
    if subprocess.run(command, cwd=SOURCE).returncode:
        raise SystemExit("The book has warnings or errors (above); a page may be wrong, so none counts as built")
    if not arguments.check_links:
        # index.html only leads on to the landing page and names no icon, so browsers ask for this one.
        shutil.copy(ROOT / "book" / "_static" / "favicon.png", BUILD / "html" / "favicon.ico")
    print("No dead address" if arguments.check_links else "The book: _build/html/index.html")


if __name__ == "__main__":
    main()
