"""The command line: what it writes, what it prints, and how it refuses."""

import dataclasses
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from causalkit import MVGC, connectivity, io, methods, metrics, simulate
from causalkit.cli import _KINDS, _MODELS, main
from causalkit.recording import KINDS, from_array
from causalkit.summary import describe, estimate_seconds, spike_rates_hz

EXAMPLE = Path(__file__).parents[1] / "examples" / "five_neurons.csv"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    """Run, and return the one sentence of an error."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("causalkit: error: ") and err.count("\n") == 1, err
    return err


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.npz"
    io.write_recording(simulate.izhikevich(n_neurons=4, n_steps=400, random_state=1), path)
    return path


# --- infer


def test_readme_command_runs_as_typed(tmp_path):
    """In a folder like a fresh clone, as a program of its own."""
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "examples")
    command = "infer examples/five_neurons.csv --kind voltage --method mvgc --out edges.csv".split()
    code = "import sys; from causalkit.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True, env=_environment()
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    edges = pd.read_csv(tmp_path / "edges.csv")
    assert list(edges.columns[:3]) == ["source", "target", "score"] and len(edges) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["edges.csv", "examples"]


def test_example_is_what_simulate_makes(tmp_path):
    assert run("simulate", "--n-steps", 1500, "--seed", 1, "--out", tmp_path / "again.csv") == 0
    again, shipped = io.read(tmp_path / "again.csv"), io.read(EXAMPLE)
    assert EXAMPLE.stat().st_size < 200_000 and shipped.sizes == {"time": 1500, "neuron": 5}
    xr.testing.assert_allclose(again.isel(time=slice(50)), shipped.isel(time=slice(50)), atol=1e-3)  # then chaos
    truth = simulate.izhikevich(n_steps=1500, random_state=1)["connectivity"]
    assert metrics.auroc(truth, MVGC().fit(shipped).connectivity_) > 0.9


@pytest.mark.parametrize("suffix", [".nc", ".csv"])
def test_infer_writes_what_fit_gives(network, tmp_path, capsys, suffix):
    out = tmp_path / f"result{suffix}"
    options = ["--neurons", "n3, n0,n1", "--start", 10, "--stop", 350, "--param", "order=2"]
    assert run("infer", network, "--method", "mvgc", "--out", out, *options) == 0
    recording = io.read(network, neurons=["n3", "n0", "n1"], start=10, stop=350)
    expected = MVGC(order=2).fit(recording).connectivity_
    if suffix == ".nc":
        xr.testing.assert_equal(connectivity.from_netcdf(out), expected)
    else:
        written = pd.read_csv(out)
        edges = connectivity.adjacency(expected, fdr=0.05).to_series()
        pairs = zip(written["target"], written["source"], strict=True)
        assert written.pop("edge").tolist() == [edges[pair] for pair in pairs]
        pd.testing.assert_frame_equal(written, connectivity.to_frame(expected), check_dtype=False)
    assert "result" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["network.npz", out.name])


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_method_runs_from_the_command_line(network, tmp_path, name):
    options = {"causalformer": ["--param", "max_epochs=1", "--param", "n_seeds=1"]}.get(name, [])
    if "voltage" in methods.METHODS[name].traits.input_kinds:
        options += ["--stop", 120]
    else:
        counts = np.random.default_rng(0).poisson(0.1, (700, 3))
        network = tmp_path / "counts.csv"
        pd.DataFrame(counts, columns=["a", "b", "c"]).to_csv(network, index=False)
        options += ["--kind", "spikes", "--dt-ms", 1]
    assert run("infer", network, "--method", name, "--out", tmp_path / "r.nc", *options) == 0
    assert connectivity.from_netcdf(tmp_path / "r.nc").attrs["method"] == name


def test_every_format_gives_the_same_answer(network, tmp_path):
    recording = io.read(network)
    folder = tmp_path / "seed0"
    folder.mkdir()
    np.savetxt(folder / "v_alltimes.txt", recording["voltage_mv"].values.T, delimiter=",", fmt="%.17g")
    for suffix in (".nc", ".csv"):
        io.write_recording(recording, tmp_path / f"r{suffix}")
    for i, path in enumerate((network, tmp_path / "r.nc", tmp_path / "r.csv", folder)):
        out = tmp_path / f"{i}.csv"
        assert run("infer", path, "--method", "mvgc", "--dt-ms", 1, "--out", out) == 0
        assert out.read_text() == (tmp_path / "0.csv").read_text()


def test_parameters_are_read_as_python_values_or_words(network, tmp_path):
    out = tmp_path / "r.nc"
    parameters = ["--param", "order=bic", "--param", "max_order=4", "--param", "alpha=1e-2"]
    assert run("infer", network, "--method", "mvgc", "--out", out, *parameters) == 0
    assert '"order": "bic"' in connectivity.from_netcdf(out).attrs["parameters"]
    assert '"alpha": 0.01' in connectivity.from_netcdf(out).attrs["parameters"]


# --- dry run


def test_dry_run_tells_shape_names_rates_and_time_and_writes_nothing(network, tmp_path, capsys):
    assert run("infer", network, "--method", "mvgc", "--param", "order=3", "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "400 time steps x 4 neurons" in out and "n0, n1, n2, n3" in out and "0.4 s" in out
    rates = io.read(network)["spikes"].values.mean(axis=0) * 1000
    assert f"n0 {rates[0]:.1f}, n1 {rates[1]:.1f}" in out and "mvgc, order = 3" in out
    assert "time        2 s or less on this machine" in out and err == ""
    assert list(tmp_path.iterdir()) == [network]


def test_dry_run_of_causalformer_estimates_its_training(network, capsys):
    assert run("infer", network, "--method", "causalformer", "--dry-run", "--param", "max_epochs=1") == 0
    assert "time        " in capsys.readouterr().out


def test_dry_run_finds_bad_data(tmp_path, capsys):
    (tmp_path / "r.csv").write_text("time_ms,a,b,c\n" + "".join(f"{i},{i % 3},{i % 7},1\n" for i in range(50)))
    error = refusal(capsys, "infer", tmp_path / "r.csv", "--method", "mvgc", "--dry-run")
    assert "activity is constant in neurons ['c']" in error


def test_dry_run_tells_which_kind_it_assumed_and_hints_at_spikes(network, tmp_path, capsys):
    counts = np.random.default_rng(0).poisson(0.3, size=(200, 3))
    np.savetxt(tmp_path / "r.csv", counts, delimiter=",", fmt="%d", header="a,b,c", comments="")
    infer = ["infer", tmp_path / "r.csv", "--method", "mvgc", "--dt-ms", 1, "--dry-run"]
    assert run(*infer) == 0
    out = capsys.readouterr().out
    assert "kind        voltage, assumed" in out and "these look like spikes: pass --kind spikes" in out
    assert run(*infer, "--kind", "voltage") == 0
    out = capsys.readouterr().out
    assert "assumed" not in out and "hint" not in out
    assert run("infer", network, "--method", "mvgc", "--dry-run") == 0
    assert "assumed" not in capsys.readouterr().out
    assert run(*infer[:-1], "--out", tmp_path / "s.csv") == 0
    assert "taken for voltage; they look like spikes, pass --kind spikes" in capsys.readouterr().err
    np.savetxt(tmp_path / "v.csv", counts + 0.5, delimiter=",", header="a,b,c", comments="")
    for command in ("infer", "report"):  # not in a dry run only: what is written must not be wrong in silence
        out = ["--method", "mvgc", "--dt-ms", 1, "--out", tmp_path / f"o.{'csv' if command == 'infer' else 'html'}"]
        assert run(command, tmp_path / "v.csv", *out) == 0
        assert capsys.readouterr().err.count("taken for voltage; --kind says otherwise") == 1
    recording = io.read(tmp_path / "r.csv", dt_ms=1)
    for suffix in (".nc", ".npz"):
        io.write_recording(recording, tmp_path / f"r{suffix}")
        xr.testing.assert_identical(io.read(tmp_path / f"r{suffix}"), recording)


def test_dry_run_finds_a_kind_that_the_method_cannot_read(network, capsys, monkeypatch):
    monkeypatch.setattr(MVGC, "traits", dataclasses.replace(MVGC.traits, input_kinds=("spikes",)))
    error = refusal(capsys, "infer", network, "--method", "mvgc", "--dry-run")
    assert "mvgc reads recordings of kind spikes, this one is voltage" in error


def test_spike_rates_of_each_kind():
    network = simulate.izhikevich(n_steps=500)
    counted = spike_rates_hz(network)
    np.testing.assert_allclose(counted, network["spikes"].values.sum(axis=0) / 0.5)
    np.testing.assert_allclose(spike_rates_hz(network.drop_vars("spikes")), counted)
    counts = from_array([[0, 2], [1, 0], [0, 1], [1, 0]], dt_ms=250, kind="spikes")
    assert spike_rates_hz(counts).tolist() == [2, 3]
    calcium = from_array([[0, 2], [1, 0], [0, 1], [1, 0]], kind="calcium", trial=[0, 0, 1, 1])
    assert spike_rates_hz(calcium) is None
    assert "in 2 trials" in describe(calcium) and "n1 0.75 ± 0.829" in describe(calcium)


def test_the_estimate_is_near_the_time_taken(network):
    recording = simulate.izhikevich(n_neurons=20, n_steps=5000)
    method = MVGC()
    estimate = estimate_seconds(method, recording)
    assert not hasattr(method, "connectivity_")
    assert 0.1 < estimate / method.fit(recording).connectivity_.attrs["seconds"] < 10


# --- refusals


def test_wrong_method_and_parameters_get_a_suggestion(network, tmp_path, capsys):
    infer = ["infer", network, "--out", tmp_path / "r.csv", "--method"]
    assert "unknown method 'mvcg'" in (error := refusal(capsys, *infer, "mvcg")) and "'mvgc'?" in error
    assert "mvgc has no parameter 'ordre': did you mean order?" in refusal(capsys, *infer, "mvgc", "--param", "ordre=1")
    assert "no parameter 'zzz': it has" in refusal(capsys, *infer, "mvgc", "--param", "zzz=1")
    assert "--param order has no value" in refusal(capsys, *infer, "mvgc", "--param", "order")
    twice = ["--param", "order=1", "--param", "order=2"]
    assert "--param order is given twice" in refusal(capsys, *infer, "mvgc", *twice)
    assert (
        "'bicc'" in (error := refusal(capsys, *infer, "mvgc", "--param", "order=bicc"))
        and "did you mean 'bic'" in error
    )
    assert not (tmp_path / "r.csv").exists()


def test_wrong_usage_is_one_sentence(network, capsys):
    assert _KINDS == KINDS
    assert "see causalkit --help" in refusal(capsys)
    assert "invalid choice: 'inferr'" in refusal(capsys, "inferr")
    assert "--out is missing" in refusal(capsys, "infer", network, "--method", "mvgc")
    assert "argument --dt-ms: invalid float value: 'fast'" in refusal(
        capsys, "infer", network, "--method", "mvgc", "--dt-ms", "fast"
    )
    assert "argument --kind: invalid choice: 'smell'" in refusal(
        capsys, "infer", network, "--method", "mvgc", "--kind", "smell"
    )


def test_the_output_is_checked_before_the_input_is_read(tmp_path, capsys):
    infer = ["infer", tmp_path / "does_not_exist.npz", "--method", "mvgc", "--out"]
    assert "use .nc or .csv or .parquet or .graphml" in refusal(capsys, *infer, tmp_path / "r.xlsx")
    assert "use .nc or .csv or .parquet or .graphml" in refusal(capsys, *infer, tmp_path / "r")
    assert "does not exist: make it" in refusal(capsys, *infer, tmp_path / "no" / "r.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refusal(capsys, *infer, tmp_path / "folder.csv")
    (tmp_path / "old.csv").write_text("old")
    assert "exists: pass --overwrite" in refusal(capsys, *infer, tmp_path / "old.csv")
    assert "does_not_exist.npz does not exist" in refusal(capsys, *infer, tmp_path / "new.csv")
    assert (tmp_path / "old.csv").read_text() == "old" and not (tmp_path / "new.csv").exists()


def test_a_folder_that_cannot_be_written_to_is_found_first(tmp_path, capsys, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", deny)
    error = refusal(capsys, "infer", "nothing.npz", "--method", "mvgc", "--out", tmp_path / "r.csv")
    assert "cannot write to the folder" in error and "Permission denied" in error


def test_overwrite_replaces_results_but_not_the_recording(network, tmp_path, capsys):
    out = tmp_path / "r.csv"
    out.write_text("old")
    assert run("infer", network, "--method", "mvgc", "--out", out, "--overwrite") == 0
    assert out.read_text().startswith("source,target,score")
    io.write_recording(io.read(network), out)
    error = refusal(capsys, "infer", out, "--method", "mvgc", "--out", out, "--overwrite")
    assert "is the recording itself" in error and io.read(out).sizes["neuron"] == 4


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("r.npz", b"\x89PNG\r\n\x1a\n", "r.npz is not a complete .npz archive"),
        ("r.nc", b"\x89PNG\r\n\x1a\n", "r.nc cannot be read as netCDF"),
        ("r.csv", b"\x89PNG\r\n\x1a\n", "r.csv is not a text file"),
        ("r.csv", b"", "r.csv is empty"),
        ("r.csv", b"time_ms,a,b\n0,1,2\n1,hm,1\n2,3,3\n", "line 3, column 'a': 'hm' is not a number"),
        ("r.csv", b"time_ms,a,b\n0,1,2\n1,,1\n2,3,3\n", "1 NaN values in neurons ['a']"),
        ("r.csv", b"time_ms,a,b\n0,1,2\n1,2\n", "line 3: 2 values"),
        ("r.csv", b"a,b\n0,1\n1,2\n", "does not tell the time step: pass --dt-ms"),
        ("r.csv", b'a,b\n1,"' + 140_000 * b"x" + b'"\n', "a quoted cell is too long"),
        ("r.csv", b"time_ms,a\n0,1\n1,2\n", "has one neuron"),
        ("r.csv", b"time_ms,a,b,c,d\n0,1,2,3,4\n1,7,1,4,2\n", "looks transposed"),
        ("r.png", b"\x89PNG\r\n\x1a\n", "not from .png"),
    ],
)
def test_bad_files_get_a_sentence_and_leave_nothing(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(capsys, "infer", tmp_path / name, "--method", "mvgc", "--out", tmp_path / "out.nc")
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", [".nc", ".csv"])
def test_a_write_that_fails_leaves_nothing(network, tmp_path, capsys, monkeypatch, suffix):
    def fail(*_):
        raise OSError(28, "No space left on device", "r")

    monkeypatch.setattr("os.replace", fail)
    error = refusal(capsys, "infer", network, "--method", "mvgc", "--out", tmp_path / f"r{suffix}")
    assert "No space left on device" in error and list(tmp_path.iterdir()) == [network]


def test_interrupt_and_lack_of_memory(network, tmp_path, capsys, monkeypatch):
    infer = ["infer", network, "--method", "mvgc", "--out", tmp_path / "r.csv"]
    monkeypatch.setattr(MVGC, "_fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*infer) == 130
    assert capsys.readouterr().err == "causalkit: interrupted; nothing was written\n"
    monkeypatch.setattr(MVGC, "_fit", lambda *_: (_ for _ in ()).throw(MemoryError("8 EiB")))
    assert "not enough memory: use fewer neurons" in refusal(capsys, *infer)
    assert list(tmp_path.iterdir()) == [network]


def test_warnings_are_sentences_too(network, tmp_path, capsys, monkeypatch):
    fit = MVGC._fit
    monkeypatch.setattr(MVGC, "_fit", lambda *a: warnings.warn("mind the\n gap", stacklevel=1) or fit(*a))
    assert run("infer", network, "--method", "mvgc", "--out", tmp_path / "r.csv") == 0
    assert capsys.readouterr().err == "causalkit: warning: mind the gap\n"


# --- simulate, methods, help


@pytest.mark.parametrize("suffix", [".npz", ".nc", ".csv"])
def test_simulate_writes_the_recording(tmp_path, capsys, suffix):
    out = tmp_path / f"s{suffix}"
    size = ["--n-neurons", 6, "--connection-probability", 0.5, "--n-steps", 80, "--seed", 4]
    assert run("simulate", *size, "--out", out) == 0
    expected = simulate.izhikevich(n_neurons=6, connection_probability=0.5, n_steps=80, random_state=4)
    xr.testing.assert_equal(
        io.read(out), expected if suffix != ".csv" else expected[["activity"]].drop_dims("target", errors="ignore")
    )
    assert ("voltages only" in capsys.readouterr().out) == (suffix == ".csv")


@pytest.mark.parametrize("model", ["var", "lorenz96", "lif", "lif_spikes", "timeseries"])
def test_simulate_knows_other_models(tmp_path, capsys, model):
    out = tmp_path / "network.nc"
    assert run("simulate", "--model", model, "--n-neurons", 6, "--n-steps", 80, "--seed", 4, "--out", out) == 0
    expected = simulate.MODELS[model](n_neurons=6, n_steps=80, random_state=4)
    np.testing.assert_allclose(io.read(out)["activity"], expected["activity"])
    assert set(_MODELS) == set(simulate.MODELS)
    ring = ("simulate", "--model", "lorenz96", "--connection-probability", 0.2, "--out", tmp_path / "ring.nc")
    assert "lorenz96 is a ring" in refusal(capsys, *ring)
    lagged = ("simulate", "--model", "timeseries", "--connection-probability", 0.2, "--out", tmp_path / "lagged.nc")
    assert "about three parents a neuron" in refusal(capsys, *lagged)


def test_simulate_refuses_the_impossible(tmp_path, capsys):
    out = tmp_path / "s.npz"
    error = refusal(capsys, "simulate", "--connection-probability", 1.2, "--out", out)
    assert "1.2" in error and not out.exists()
    out.write_text("old")
    assert "exists: pass --overwrite" in refusal(capsys, "simulate", "--out", out)
    assert out.read_text() == "old"


def test_methods_are_listed_with_their_parameters(capsys):
    assert run("methods") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in methods.METHODS) and "--param order=" in out


def test_help_and_version(capsys):
    assert run("--help") == 0 and "infer" in capsys.readouterr().out
    assert run("infer", "--help") == 0 and "--dt-ms" in capsys.readouterr().out
    assert run("--version") == 0 and capsys.readouterr().out.startswith("causalkit ")


@pytest.mark.parametrize(
    "command",
    ["--help", "simulate --n-steps 50 --out s.npz", f"infer {EXAMPLE} --method mvgc --out e.nc"],
)
def test_torch_is_not_loaded_where_it_is_not_used(tmp_path, command):
    code = (
        "import sys; from causalkit.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ('torch' in sys.modules) * 77 or ('matplotlib' in sys.modules) * 78)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command.split()], cwd=tmp_path, env=_environment())
    assert done.returncode == 0


def _environment():
    here = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
