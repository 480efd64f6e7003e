"""What notebooks share, run in an IPython shell as a kernel does."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from causalkit import rerun

DECLARED = "n_neurons: int = 5  # number of neurons\nspeed: float = 1.5\nname: str = 'a'"
CHECK = "parameters = rerun.check_parameters('nothing', n_neurons=int, speed=float, name=str)"


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """A shell whose displayed outputs, and updates of them, are collected in `shown`."""
    config = Config({"HistoryManager": {"hist_file": ":memory:"}})
    shell = InteractiveShell(ipython_dir=str(tmp_path), config=config)
    shell.user_ns["rerun"] = rerun
    shell.shown = []

    def display(data, raw, **options):
        shell.shown.append((data, options.get("metadata")))
        return SimpleNamespace(update=display)

    monkeypatch.setattr(rerun, "display", display)
    monkeypatch.setattr(rerun, "get_ipython", lambda: shell)
    yield shell
    shell.history_manager.end_session()
    rerun._run.clear()


def run(shell, *cells):
    """Run cells; returns what the last one raised."""
    return [shell.run_cell(cell, store_history=True) for cell in cells][-1].error_in_exec


def test_parameters_as_declared_are_returned(shell):
    error = run(shell, DECLARED, CHECK)
    assert error is None
    assert shell.user_ns["parameters"] == {"n_neurons": 5, "speed": 1.5, "name": "a"}


def test_injected_parameters_replace_the_declared_ones_and_whole_numbers_pass_as_floats(shell):
    error = run(shell, DECLARED, "# Parameters\nn_neurons = 20\nspeed = 2\n", CHECK)
    assert error is None
    assert shell.user_ns["parameters"] == {"n_neurons": 20, "speed": 2, "name": "a"}


@pytest.mark.parametrize("value", ["7", "float('nan')", "[1, 2]"])
def test_unknown_name_is_refused_with_the_valid_ones(shell, value):
    error = run(shell, DECLARED, f"# Parameters\nn_neuron = {value}\n", CHECK)
    assert isinstance(error, ValueError)
    assert "unknown parameter 'n_neuron'" in str(error) and "Did you mean 'n_neurons'?" in str(error)
    assert "n_neurons (int), speed (float), name (str)" in str(error)


@pytest.mark.parametrize("line", ["n_neurons = 5.0", "n_neurons = True", "speed = 'fast'", "speed = False", "name = 3"])
def test_wrong_type_is_refused_with_the_expected_one(shell, line):
    error = run(shell, DECLARED, f"# Parameters\n{line}\n", CHECK)
    assert isinstance(error, TypeError)
    assert f"parameter {line.split()[0]}=" in str(error) and "expected" in str(error)


def test_variables_of_the_notebook_are_no_parameters_when_the_check_runs_again(shell):
    error = run(shell, DECLARED, CHECK, "import os\norder = 3\nresult = [order]", CHECK)
    assert error is None


def test_opening_line_names_the_run_and_gets_its_seconds_at_the_end(shell):
    cells = (DECLARED, CHECK, "rerun.profile_banner(networks=2, seeds=3, device='a GPU')", "rerun.finish()")
    assert run(shell, *cells) is None
    (first, _), (last, _) = shell.shown
    text = "own parameters · n_neurons=5, speed=1.5, name=a · 2 networks, 3 seeds each"
    assert first["text/plain"] == last["text/plain"] == text
    assert "a GPU" in first["text/html"] and " s</p>" not in first["text/html"]
    assert last["text/html"].endswith(" s</p>")


def test_opening_line_knows_the_named_sets_of_parameters(shell, tmp_path, monkeypatch):
    (tmp_path / "params" / "paper").mkdir(parents=True)
    (tmp_path / "params" / "paper" / "nothing.yaml").write_text("n_neurons: 5\nspeed: 1.5\nname: a\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    run(shell, DECLARED, CHECK, "rerun.profile_banner()")
    ((line, _),) = shell.shown
    assert line["text/plain"].startswith("paper · ")


def test_opening_line_without_check_says_what_to_do(shell):
    with pytest.raises(RuntimeError, match=r"call check_parameters\(\) before it"):
        rerun.profile_banner()
    with pytest.raises(RuntimeError, match=r"call profile_banner\(\) at the start"):
        rerun.finish()


def test_results_are_reused_with_the_same_parameters_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAUSALKIT_RESULTS", str(tmp_path / "results"))
    calls = []

    def compute(size):
        calls.append(size)
        return xr.Dataset({"x": ("time", np.arange(size))})

    first = rerun.reuse("thing", compute, size=3)
    assert "computing the thing now" in capsys.readouterr().err
    assert rerun.reuse("thing", compute, size=3).identical(first)
    assert rerun.reuse("thing", compute, size=4).sizes["time"] == 4
    assert calls == [3, 4]
    rerun.save("other", first, size=3)
    assert rerun.reuse("other", compute, size=3).identical(first) and calls == [3, 4]


def test_stored_results_are_found_from_the_notebooks_folder(tmp_path, monkeypatch):
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "results" / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    table = rerun.stored("table.csv")
    assert table.to_dict("list") == {"a": [1], "b": [2]}
    table.to_parquet(tmp_path / "book" / "results" / "table.parquet")
    assert rerun.stored("table.parquet").equals(table)
    with pytest.raises(FileNotFoundError, match="run the notebook inside a clone"):
        rerun.stored("missing.csv")


def test_glued_number_is_rounded_and_named(shell):
    rerun.glue("auroc", 0.123456789)
    ((data, metadata),) = shell.shown
    assert data == {"application/papermill.record/text/plain": "0.123457"}
    assert metadata["scrapbook"]["name"] == "auroc"
