"""The committed notebooks: true copies of their text, cleanly executed, and strict about their parameters."""

import ast
import csv
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
TEXTS = sorted((ROOT / "notebooks" / "py").glob("[0-9][0-9]_*.py"))
NAMES = [text.stem for text in TEXTS]
PAPER = ("01_simulate", "02_train", "03_attention", "04_baselines")
every_notebook = pytest.mark.parametrize("name", NAMES)


def committed(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)


def text(name):
    return jupytext.read(ROOT / "notebooks" / "py" / f"{name}.py")


def parameters_of(name):
    """Name -> (type, default) as the notebook's parameters cell declares them."""
    (cell,) = [cell for cell in text(name).cells if "parameters" in cell.metadata.get("tags", [])]
    lines = ast.parse(cell.source).body
    assert all(isinstance(line, ast.AnnAssign) for line in lines), f"{name}: a parameter without a type"
    return {line.target.id: (ast.unparse(line.annotation), ast.literal_eval(line.value)) for line in lines}


def test_every_text_has_a_notebook_and_every_notebook_a_text():
    assert NAMES == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert set(PAPER) <= set(NAMES)


@every_notebook
def test_notebook_has_the_cells_and_tags_of_its_text(name):
    def cells(notebook):
        return [(c.cell_type, c.source, c.metadata.get("tags", []), c.metadata.get("mystnb")) for c in notebook.cells]

    assert cells(committed(name)) == cells(text(name)), "run `make notebooks` after editing notebooks/py"


@every_notebook
def test_stored_outputs_are_those_of_one_clean_run(name):
    notebook = committed(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert "papermill" not in notebook.metadata
    assert not [cell for cell in code if {"papermill", "execution"} & set(cell.metadata)]
    for output in outputs:
        data = dict(output.get("data", {}), text=output.get("text", ""))
        shown = " ".join(str(value) for kind, value in data.items() if not kind.startswith("image/"))
        for private in ("/home/", "/Users/", "/tmp/", "/root/", str(ROOT)):
            assert private not in shown, f"{name} shows a path of the machine it ran on"


@every_notebook
def test_figures_have_alt_text(name):
    for cell in committed(name).cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), cell.source


def test_notebooks_stay_small():
    sizes = [path.stat().st_size for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert sum(sizes) < 6 * 2**20, "stored outputs are in every clone: save fewer or smaller figures"


@every_notebook
def test_both_parameter_files_name_what_the_notebook_takes(name):
    declared = parameters_of(name)
    smoke = yaml.safe_load((ROOT / "params" / "smoke" / f"{name}.yaml").read_text())
    paper = yaml.safe_load((ROOT / "params" / "paper" / f"{name}.yaml").read_text())
    assert smoke == {parameter: default for parameter, (_, default) in declared.items()}
    assert list(paper) == list(declared)


@every_notebook
def test_notebook_checks_the_parameters_that_it_declares(name):
    check = next(cell.source for cell in text(name).cells if "check_parameters(" in cell.source)
    calls = [node for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if ast.unparse(node.func) == "rerun.check_parameters"]
    assert ast.literal_eval(call.args[0]) == name
    expected = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert expected == {parameter: kind for parameter, (kind, _) in parameters_of(name).items()}


@every_notebook
def test_wrong_parameters_stop_the_first_cell_with_the_valid_names(name, tmp_path):
    declared = parameters_of(name)
    for given, message in (
        (["-p", "n_neuron", "7"], "unknown parameter 'n_neuron'"),
        (["-p", "n_neurons", "many"], "parameter n_neurons='many' is of type str, expected int"),
    ):
        out = tmp_path / "out.ipynb"
        command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb"), str(out), *given]
        command += ["--cwd", str(ROOT / "notebooks"), "--kernel", "python3", "--no-progress-bar"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode != 0
        code = [cell for cell in nbformat.read(out, 4).cells if cell.cell_type == "code" and cell.execution_count]
        errors = [(c, o.evalue) for c in code for o in c.outputs if o.output_type == "error"]
        ((cell, said),) = errors
        assert cell is code[-1] and "check_parameters" in cell.source
        assert message in said
        assert all(f"{parameter} ({kind})" in said for parameter, (kind, _) in declared.items())
        assert "n_neurons" in said


def test_recorded_small_runs_are_within_the_time_budget():
    with (ROOT / "book" / "results" / "notebook_costs.csv").open() as file:
        seconds = {row["notebook"]: float(row["seconds"]) for row in csv.DictReader(file) if row["profile"] == "smoke"}
    assert sorted(seconds) == NAMES, "run `make notebooks`: it measures every notebook"
    assert sum(seconds[name] for name in PAPER) <= 150
    assert sum(seconds.values()) <= 360


@pytest.mark.slow
def test_small_runs_are_within_the_time_budget_now(tmp_path):
    sys.path.insert(0, str(ROOT / "tools"))
    from run_notebooks import execute, from_text

    start = time.perf_counter()
    for path in TEXTS:
        from_text(path, tmp_path / f"{path.stem}.ipynb")
        execute(tmp_path / f"{path.stem}.ipynb", ROOT / "notebooks", tmp_path / "results")
    assert time.perf_counter() - start <= 360
