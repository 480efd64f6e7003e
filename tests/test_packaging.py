"""What a user installs and reads first says the same thing everywhere."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
NOT_TEXT = {".png", ".ipynb", ".nc", ".npz", ".safetensors", ".parquet"}


def tracked_files():
    """Files of the repository; what git ignores does not count."""
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git repository: nothing tells the project's files from built ones")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_conda_environment_asks_for_what_pyproject_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = environment["dependencies"]
    conda = {}
    for package in packages:
        name, _, version = package.partition(">=")
        conda[CONDA_NAMES.get(name, name)] = version
    assert conda.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    conda.pop("pip")
    required = [Requirement(line) for line in PROJECT["dependencies"]]
    assert conda == {r.name: str(r.specifier).removeprefix(">=") for r in required}
    (itself,) = pip["pip"]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", itself).group(1).split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_pinned_versions_are_ones_that_pyproject_allows():
    lines = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    allowed = {r.name.lower(): r.specifier for r in map(Requirement, lines)}
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    for pin in map(Requirement, pins):
        ((version,),) = [[s.version for s in pin.specifier]]
        assert allowed.get(pin.name.lower(), pin.specifier).contains(version), pin


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert f"version = {{{PROJECT['version']}}}" in (ROOT / "book" / "cite.md").read_text()
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M).group(1) == PROJECT["version"]


def test_repository_address_is_the_same_everywhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    address = config["repository"]["url"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == address
    owner = re.compile(r"https://github\.com/[\w.-]+/causalkit")
    for path in tracked_files():
        if path.suffix not in NOT_TEXT:
            assert set(owner.findall(path.read_text(errors="replace"))) <= {address}, path


def test_the_command_exists():
    assert PROJECT["scripts"] == {"causalkit": "causalkit.cli:main"}
    from causalkit.cli import main

    assert callable(main)


def test_readme_names_commands_and_files_that_exist():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", readme, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for name in re.findall(r"(?:examples|book)/[\w./]+", readme):
        assert (ROOT / name).exists(), name


def test_ci_runs_the_same_targets_as_people_do():
    makefile = (ROOT / "Makefile").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    targets = re.search(r"for target in ([\w -]+);", script).group(1).split()
    assert targets == ["system-deps", "book", "test", "test-book"]
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for target in re.findall(r"run: make ([\w-]+)", path.read_text()):
            assert re.search(rf"^{target}:", makefile, re.M), f"{path.name}: {target}"


def test_files_hold_no_path_of_one_machine_and_no_package_index():
    private = re.compile(r"(?<![\w.])/(home|Users|root|mnt|work)/\w|--(extra-)?index-url|--find-links")
    for path in tracked_files():
        if path.suffix in NOT_TEXT - {".ipynb"} or path == Path(__file__):
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".ipynb":
            text = re.sub(r'"image/png": "[^"]*"', "", text)
        assert not private.search(text), path
