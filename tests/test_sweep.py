"""Sweeps: what a grid means, what a key depends on, and that nothing is lost or done twice, whatever dies."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalkit import MVGC, Causalformer, io, methods, metrics, significance, simulate, sweep
from causalkit.cli import main
from causalkit.sweep import cluster as cluster_module
from causalkit.sweep import runner, work
from causalkit.sweep.networks import digest
from causalkit.sweep.stores import Store

WAIT_S = 120  # for other processes, on a machine that has other things to do

# A method that writes down when it begins and ends, and waits before it ends while the file SLOW_LOG.hold names its
# order; other processes find it through PYTHONPATH.
SLOW = '''
import hashlib, os, time
import numpy as np
from causalkit import connectivity, methods
from causalkit.methods.mvgc import MVGC

mended = False

class Slow(methods.Method):
    """Correlation, as slowly as is wanted."""
    name, traits = "slow", MVGC.traits
    def __init__(self, *, order=1, breaks_at=None):
        self.order, self.breaks_at = order, breaks_at
    def _fit(self, recording):
        x = recording.activity.values
        digest = hashlib.sha256(x.tobytes()).hexdigest()[:8]
        log("begin", digest, self.order)
        if self.breaks_at == x.shape[1] and not mended:
            raise ValueError(f"it broke at {x.shape[1]} neurons")
        if self.breaks_at == -x.shape[1]:
            os._exit(1)
        deadline = time.monotonic() + 120  # no process outlives a failed test for long
        while self.order == held_order() and time.monotonic() < deadline:
            time.sleep(0.02)
        log("end", digest, self.order)
        return connectivity.build(np.abs(np.corrcoef(x.T)), neurons=recording.neuron.values, method=self.name)

def held_order():
    try:
        with open(os.environ["SLOW_LOG"] + ".hold") as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return None

def log(*words):
    with open(os.environ["SLOW_LOG"], "a") as file:
        file.write(" ".join(map(str, (*words, os.getpid()))) + "\\n")

import causalkit.methods
causalkit.methods._WHERE["slow"] = ("slow_method", "Slow")
'''


class Log:
    """What the slow method wrote down, and the brake that it obeys."""

    def __init__(self, path):
        self.path, self._hold = path, path.with_name(path.name + ".hold")

    def __call__(self):
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def hold(self, order):
        """Let units of this order begin, but not end."""
        self._hold.write_text(str(order))

    def release(self):
        self._hold.unlink(missing_ok=True)

    def held(self):
        """Unit of each process that is at work on one, as (digest, order)."""
        latest = {pid: (what, digest, order) for what, digest, order, pid in self()}
        return {int(pid): tuple(unit) for pid, (what, *unit) in latest.items() if what == "begin"}


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """The log of the slow method, in an environment in which all processes know the method."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "slow_method.py").write_text(SLOW)
    # in every process of this environment that works on units
    (folder / "sitecustomize.py").write_text(
        "import sys\nif {'sweep', 'worker', 'joblib.externals.loky.backend.popen_loky_posix'} & set(sys.orig_argv):\n"
        "    import slow_method\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("SLOW_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("CAUSALKIT_PROGRESS", "0")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(methods._WHERE, "slow", ("slow_method", "Slow"))
    log = Log(tmp_path / "log")
    yield log
    log.release()
    sys.modules.pop("slow_method", None)


def events(log, kind):
    """How often each unit began, or ended."""
    return Counter((digest, order) for what, digest, order, *_ in log if what == kind)


def slow_grid(n_networks, orders=(1, 2, 3), **parameters):
    return {
        "networks": [{"simulate": {"n_neurons": 4, "n_steps": 200, "random_state": {"first": 0, "count": n_networks}}}],
        "methods": [{"method": "slow", "parameters": {"order": list(orders), **parameters}}],
    }


def start(tmp_path, grid, *options):
    """A sweep on the command line, in a process of its own."""
    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps(grid))  # JSON is YAML
    code = "import sys; from causalkit.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sweep", path, "--store", tmp_path / "store", *options]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, expected=0):
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == expected, (out, err)
    return out


def fork(grid, store):
    """A sweep in a copy of this process, which needs no time to start."""
    forked = multiprocessing.get_context("fork").Process(target=sweep.run, args=(sweep.read_grid(grid), store))
    forked.start()
    return forked


def until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def files(store):
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(store.glob("results/*/*"))}


def tiny(methods_=({"method": "mvgc"},), **simulated):
    simulated = {"n_neurons": 4, "n_steps": 300, **simulated}
    return {"networks": [{"simulate": simulated}], "methods": list(methods_)}


# --- grids


def test_lists_are_crossed_and_nested_lists_are_values():
    grid = sweep.read_grid(
        {
            "networks": [
                {
                    "simulate": {
                        "n_neurons": [3, 4], "connection_probability": [0.2, 0.4],
                        "random_state": {"first": 7, "count": 3},
                    },
                    "n_steps": [100, 200],
                    "surrogate": ["none", "time_shuffle"],
                },
                {"simulate": {"connectivity": [[[0, 1], [0, 0]]], "n_steps": 50}},
            ],
            "methods": [
                {"method": "mvgc", "label": "MVGC-{order}", "parameters": {"order": ["aicc", "bic"], "max_order": 5}},
                {"method": "mvgc", "parameters": {"order": [1, 2]}},
            ],
        }
    )  # fmt: skip
    assert len(grid.networks) == 2 * 2 * 3 * 2 * 2 + 1
    assert str(grid.networks[0]) == "N03_p0.2_seed7, first 100 steps"
    assert str(grid.networks[1]) == "N03_p0.2_seed7, first 100 steps, time_shuffle"
    assert grid.networks[-1].simulated["connectivity"] == [[0, 1], [0, 0]]
    assert np.isnan(grid.networks[-1].connection_probability) and "_p" not in grid.networks[-1].name
    assert [setting.label for setting in grid.settings] == ["MVGC-aicc", "MVGC-bic", "mvgc (order=1)", "mvgc (order=2)"]
    assert grid.settings[1].parameters == {"order": "bic", "max_order": 5}


@pytest.mark.parametrize(("name", "n_networks", "n_settings"), [("sweep_small", 40, 2), ("sweep_paper", 160, 3)])
def test_the_examples_are_grids(name, n_networks, n_settings):
    grid = sweep.read_grid(Path(__file__).parents[1] / "examples" / f"{name}.yaml")
    assert (len(grid.networks), len(grid.settings)) == (n_networks, n_settings)


def test_recordings_are_those_of_the_simulator_cut_and_shuffled():
    entry = {"simulate": {"n_neurons": [3, 4], "random_state": [5, 3, 4], "n_steps": 150}, "n_steps": 100}
    grid = sweep.read_grid(
        {"networks": [entry | {"surrogate": ["none", "circular_shift"]}], "methods": [{"method": "mvgc"}]}
    )
    units = sweep.units(grid)
    assert len(units) == len({unit.key for unit in units}) == 12
    for unit in units:  # those made in batches, for the keys, are those made one by one
        recording = unit.recording()
        seed = unit.network.simulated["random_state"]
        whole = simulate.izhikevich(n_neurons=unit.n_neurons, n_steps=150, random_state=seed)
        expected = whole.isel(time=slice(100))
        if unit.network.surrogate != "none":
            expected = significance.circular_shift(expected, 0)
        np.testing.assert_array_equal(recording["activity"], expected["activity"])
        assert digest(recording) == unit.data


def test_a_yaml_file_with_environment_variables_and_plain_exponents(tmp_path, monkeypatch):
    io.write_recording(simulate.izhikevich(n_steps=100), tmp_path / "N05_p0.3_net7.npz")
    (tmp_path / "grid.yaml").write_text(
        textwrap.dedent("""
        networks:
          - files: {pattern: "${FOLDER_OF_DATA}/N*.npz", stop: 90}
            surrogate: [null, time_shuffle]
        methods:
          - {method: causalformer, parameters: {learning_rate: [5e-4, 1E-3]}}
    """)
    )
    with pytest.raises(ValueError, match="environment variable FOLDER_OF_DATA is not set"):
        sweep.read_grid(tmp_path / "grid.yaml")
    for folder in (str(tmp_path), "."):  # a relative path begins at the grid
        monkeypatch.setenv("FOLDER_OF_DATA", folder)
        grid = sweep.read_grid(tmp_path / "grid.yaml")
        network = grid.networks[0]
        assert (network.name, network.connection_probability) == ("N05_p0.3_net7", 0.3)
        assert network.recording().sizes["time"] == 90
    assert [setting.parameters["learning_rate"] for setting in grid.settings] == [5e-4, 1e-3]


def test_options_of_the_simulator_are_written_as_their_parameters(tmp_path):
    options = {"delay_steps": 2, "plasticity": {"rate_plus": 0.01}, "modulation": {"period_ms": 100, "depth": 0.5}}
    grid = sweep.read_grid(tiny(**options))
    (unit,) = sweep.units(grid)
    modulation = simulate.sinusoidal_modulation(300, 100, 0.5)
    plasticity = simulate.STDP(rate_plus=0.01)
    expected = simulate.izhikevich(4, n_steps=300, delay_steps=2, plasticity=plasticity, modulation=modulation)
    np.testing.assert_array_equal(unit.recording()["activity"], expected["activity"])
    assert sweep.run(grid, tmp_path).computed == 1
    described = json.loads(sweep.table(tmp_path)["network_parameters"].iloc[0])
    assert described == {"n_neurons": 4, "n_steps": 300, **options}


def test_a_grid_names_the_model_of_its_networks(tmp_path):
    entries = [
        {"model": "var", "n_lags": [1, 2], "strength": [[0.2, 0.5]], "random_state": {"first": 3, "count": 2}},
        {"model": "lorenz96", "forcing": 40.0},
        {"model": "lif", "weight": 2.0, "delay_steps": [[1, 3]]},
        {"model": "izhikevich"},
    ]
    entries = [{"simulate": entry | {"n_steps": 120}} for entry in entries]
    grid = sweep.read_grid({"networks": entries, "methods": [{"method": "mvgc"}]})
    assert [network.name for network in grid.networks] == [
        "var_N05_p0.4_seed3_T120_n_lags=1_strength=[0.2, 0.5]", "var_N05_p0.4_seed4_T120_n_lags=1_strength=[0.2, 0.5]",
        "var_N05_p0.4_seed3_T120_n_lags=2_strength=[0.2, 0.5]", "var_N05_p0.4_seed4_T120_n_lags=2_strength=[0.2, 0.5]",
        "lorenz96_N05_seed0_T120_forcing=40.0", "lif_N05_p0.4_seed0_T120_delay_steps=[1, 3]_weight=2.0",
        "N05_p0.4_seed0_T120",
    ]  # fmt: skip
    assert np.isnan(grid.networks[4].connection_probability) and grid.networks[0].connection_probability == 0.4
    units = sweep.units(grid)
    expected = simulate.var(n_steps=120, random_state=4, n_lags=2, strength=(0.2, 0.5))
    np.testing.assert_array_equal(units[3].recording()["activity"], expected["activity"])
    np.testing.assert_array_equal(units[-1].recording()["activity"], simulate.izhikevich(n_steps=120)["activity"])
    usual = sweep.units(sweep.read_grid(tiny(n_neurons=5, n_steps=120)))
    assert units[-1].key == usual[0].key and units[-1].network.name == usual[0].network.name
    sweep.run(units, tmp_path)
    described = [json.loads(text) for text in sweep.table(tmp_path)["network_parameters"]]
    assert {d.get("model") for d in described} == {"var", "lorenz96", "lif", None}


def test_neurons_can_be_hidden_from_the_method_and_from_the_truth(tmp_path):
    entry = {"simulate": {"n_neurons": 4, "n_steps": 200}, "hidden": [None, "n0", ["n1", "n3"]]}
    grid = sweep.read_grid({"networks": [entry], "methods": [{"method": "mvgc", "parameters": {"max_order": 2}}]})
    assert [str(network) for network in grid.networks][1:] == [
        "N04_p0.4_seed0_T200, without n0", "N04_p0.4_seed0_T200, without n1 n3"
    ]  # fmt: skip
    whole, _, part = (unit.recording() for unit in sweep.units(grid))
    assert part["neuron"].values.tolist() == part["source"].values.tolist() == ["n0", "n2"]
    np.testing.assert_array_equal(part["activity"], whole["activity"][:, [0, 2]])
    np.testing.assert_array_equal(part["connectivity"], whole["connectivity"][[0, 2], [0, 2]])
    sweep.run(grid, tmp_path)
    table = sweep.table(tmp_path, grid)
    assert sorted(table["n_neurons"].unique()) == [2, 3, 4]
    assert "hidden" not in table["network_parameters"].iloc[0] and '["n0"]' in table["network_parameters"].iloc[2]
    unknown = sweep.read_grid({"networks": [entry | {"hidden": "n9"}], "methods": [{"method": "mvgc"}]})
    with pytest.raises(ValueError, match=r"hidden names \['n9'\], which N04.* does not have: its neurons are"):
        sweep.units(unknown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": [{"simulate": {"connectivity": np.zeros((3, 3))}}]}, "array.tolist"),
        ({"networks": [{"simulate": {"plasticity": {"rate_pluss": 1}}}]}, "did you mean rate_plus?"),
        ({"networks": [{"simulate": {"delay_steps": [0, 2]}}]}, "delay_steps"),
        ({"networks": [{"simulate": {"model": "varr"}}]}, "unknown model 'varr': did you mean var?"),
        ({"networks": [{"simulate": {"model": "lorenz96", "n_lags": 2}}]}, "unknown key 'n_lags'"),
        ({"networks": [{"simulate": {"model": "var", "strength": 0}}]}, "strength=0 is impossible"),
        ({"netwoks": []}, "unknown key 'netwoks': did you mean networks?"),
        ({"methods": None}, "methods of the grid is no list"),
        ({"networks": [{"simulate": {"n_neuron": 5}}]}, "unknown key 'n_neuron': did you mean n_neurons?"),
        ({"networks": [{"simulate": {"n_neurons": [3, 0]}}]}, "n_neurons"),
        ({"networks": [{"simulate": {"connection_probability": 1.2}}]}, "connection_probability=1.2 is no prob"),
        ({"networks": [{"simulate": {"random_state": {"first": 0, "number": 3}}}]}, "unknown key 'number'"),
        ({"networks": [{"simulate": {}, "surogate": "none"}]}, "did you mean surrogate?"),
        ({"networks": [{"simulate": {}, "surrogate": "time_shufle"}]}, "did you mean time_shuffle?"),
        ({"networks": [{"simulate": {}, "n_steps": [1]}]}, "n_steps of networks entry 1 of the grid is 1"),
        ({"networks": [{"simulate": {}, "files": {"pattern": "*"}}]}, "give simulate or files"),
        ({"networks": [{"files": {"patern": "*"}}]}, "did you mean pattern?"),
        ({"networks": [{"files": {}}]}, "has no pattern"),
        ({"methods": [{"method": "mvcg"}]}, "Did you mean 'mvgc'?"),
        ({"methods": [{"method": "mvgc", "params": {}}]}, "did you mean parameters?"),
        ({"methods": [{"method": "mvgc", "parameters": {"ordre": 1}}]}, "did you mean order?"),
        ({"methods": [{"method": "mvgc", "parameters": {"order": ["bic", "bicc"]}}]}, "did you mean 'bic'"),
        ({"methods": [{"method": "mvgc", "label": "{ordre}"}]}, "something else than a parameter"),
        ({"methods": [{"method": "causalformer", "parameters": {"checkpoint": "x"}}]}, "leave it out"),
    ],
)
def test_mistakes_are_found_before_anything_runs(change, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        sweep.read_grid(tiny() | change)


def test_files_that_cannot_be_used_are_refused(tmp_path):
    networks = [{"files": {"pattern": f"{tmp_path}/*/*.npz"}, "n_steps": 100}]
    grid = {"networks": networks, "methods": [{"method": "mvgc"}]}
    with pytest.raises(FileNotFoundError, match="no file matches"):
        sweep.read_grid(grid)
    for folder in "ab":
        (tmp_path / folder).mkdir()
    recording = simulate.izhikevich(n_steps=50)
    io.write_recording(recording, tmp_path / "a" / "same.npz")
    with pytest.raises(ValueError, match="a shorter recording must not pass for a longer one"):
        sweep.units(sweep.read_grid(grid))
    io.write_recording(recording.drop_vars(["connectivity", "target", "source"]), tmp_path / "b" / "same.npz")
    with pytest.raises(ValueError, match="two networks are called same"):
        sweep.read_grid(grid)
    (tmp_path / "a" / "same.npz").unlink()
    with pytest.raises(ValueError, match="no known connectivity"):
        sweep.units(sweep.read_grid(grid))


# --- keys


def test_key_depends_on_data_parameters_and_version_only(monkeypatch):
    def key(simulated=(), version=None, **parameters):
        if version:
            monkeypatch.setattr(Causalformer, "algorithm_version", version)
        (unit,) = sweep.units(
            sweep.read_grid(
                tiny([{"method": "causalformer", "parameters": {"preset": "paper", **parameters}}], **dict(simulated))
            )
        )
        return unit.key

    same = key()
    assert key(device="cpu") == key(n_seeds=10) == same  # where, and what presets say anyway
    others = [key(n_seeds=9), key(precision="bfloat16"), key(random_state=1), key({"random_state": 1}.items()),
              key({"n_steps": 299}.items())]  # fmt: skip
    others.append(key(version=Causalformer.algorithm_version + 1))
    assert len({same, *others}) == 7


def test_a_hyperparameter_added_later_leaves_keys_as_they_were(monkeypatch):
    def keys(neutral):
        monkeypatch.setattr(MVGC, "added_parameters", neutral, raising=False)
        return [work.key_of("data", "mvgc", {"order": 1, "new": new}, 1) for new in ("old way", "new way")]

    before = work.key_of("data", "mvgc", {"order": 1}, 1)
    assert keys({"new": "old way"})[0] == before != keys({"new": "old way"})[1]
    assert before not in keys({})


@pytest.mark.parametrize("part", ["activity", "time", "neuron", "spikes", "connectivity"])
def test_digest_sees_every_part_of_a_recording(part):
    recording = simulate.izhikevich(n_steps=50)
    if part == "neuron":
        changed = recording.assign_coords(neuron=["a", *recording["neuron"].values[1:]])
    else:
        values = recording[part].values.copy()
        values.flat[-1] = ~values.flat[-1] if part == "spikes" else values.flat[-1] + 1
        changed = recording.assign({part: (recording[part].dims, values)})
    assert digest(recording) == digest(recording.copy(deep=True)) != digest(changed)
    assert digest(recording.assign_attrs(kind="other")) != digest(recording)


def test_a_recording_that_changes_meanwhile_is_refused(tmp_path):
    io.write_recording(simulate.izhikevich(n_steps=100), tmp_path / "r.npz")
    grid = {"networks": [{"files": {"pattern": str(tmp_path / "r.npz")}}], "methods": [{"method": "mvgc"}]}
    units = sweep.units(sweep.read_grid(grid))
    io.write_recording(simulate.izhikevich(n_steps=100, random_state=1), tmp_path / "r.npz")
    summary = sweep.run(units, tmp_path / "store")
    assert "has changed since the sweep began" in summary.failed["mvgc on r"]


# --- tables


def test_table_holds_the_metrics_of_each_seed_and_protocol(tmp_path):
    parameters = {"preset": "small", "n_seeds": 2, "max_epochs": 1, "random_state": 3}
    grid = sweep.read_grid(
        tiny([{"method": "causalformer", "label": "CF", "parameters": parameters}, {"method": "mvgc"}], random_state=5)
    )
    summary = sweep.run(grid, tmp_path)
    assert (summary.computed, summary.failed) == (2, {})
    table = sweep.table(tmp_path, grid).set_index(["label", "seed", "protocol"])
    recording = simulate.izhikevich(n_neurons=4, n_steps=300, random_state=5)
    fitted, truth = Causalformer(**parameters).fit(recording), recording["connectivity"]
    assert len(table) == 2 * 3 + 2
    scores = {"ensemble": fitted.connectivity_["score"]} | {
        str(seed): fitted.connectivity_["seed_score"].sel(seed=seed) for seed in (3, 4)
    }
    for protocol in ("off_diagonal", "published"):
        for seed, score in scores.items():
            row = table.loc["CF", seed, protocol]
            assert row["auroc"] == metrics.auroc(truth, score, protocol=protocol)
            assert row["auprc"] == metrics.auprc(truth, score, protocol=protocol)
            assert (row["network"], row["n_neurons"], row["n_steps"]) == ("N04_p0.4_seed5_T300", 4, 300)
            assert (row["epochs"], row["r2_on"], row["surrogate"]) == (1, "test", "none")
        mvgc = MVGC().fit(recording)
        row = table.loc["mvgc", "ensemble", protocol]
        assert row["auroc"] == metrics.auroc(truth, mvgc.connectivity_, protocol=protocol)
        assert (row["order"], row["r2_on"]) == (int(mvgc.diagnostics_["order"]), "fit")
    r2 = table.xs("off_diagonal", level="protocol")["r2"]
    assert r2["CF", "4"] == pytest.approx(float(fitted.diagnostics_["test_r2"].sel(seed=4).mean()), rel=1e-6)
    assert r2["CF", "ensemble"] == pytest.approx(float(fitted.diagnostics_["ensemble_test_r2"].mean()), rel=1e-6)
    assert json.loads(table["parameters"].iloc[0])["learning_rate"] == 3e-3
    assert not list(tmp_path.glob("checkpoints/*")) and not list(tmp_path.glob("claims/*"))


def test_table_is_a_function_of_the_files(tmp_path):
    grid = sweep.read_grid(tiny(random_state=[0, 1]))
    sweep.run(grid, tmp_path / "store")
    for name in ("a.parquet", "b.parquet"):
        sweep.write_table(sweep.table(tmp_path / "store"), tmp_path / name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    relabeled = sweep.read_grid(tiny([{"method": "mvgc", "label": "linear"}], random_state=[1]))
    assert sweep.run(relabeled, tmp_path / "store").computed == 0
    table = sweep.table(tmp_path / "store", relabeled)
    assert table["label"].tolist() == ["linear"] * 2 and set(table["network"]) == {"N04_p0.4_seed1_T300"}
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "a.parquet"), sweep.table(tmp_path / "store"), check_dtype=False
    )


def test_rows_of_an_earlier_table_stay_where_nothing_new_is_known(tmp_path):
    rows = {"network": ["a", "a", "b"], "hidden": [0, np.nan, 0], "method": ["x", "y", "x"], "auroc": [0.1, 0.2, 0.3]}
    new = pd.DataFrame({"network": ["a", "c"], "hidden": [np.nan, 0], "method": ["y", "x"], "auroc": [0.9, 0.8]})
    for name in ("earlier.csv", "earlier.parquet"):
        sweep.write_table(pd.DataFrame(rows), tmp_path / name)
        both = sweep.with_earlier_rows(new, tmp_path / name, same=["network", "hidden", "method"])
        assert list(zip(both.network, both.auroc, strict=True)) == [("a", 0.1), ("b", 0.3), ("a", 0.9), ("c", 0.8)]
    with pytest.raises(KeyError, match="lag"):
        sweep.with_earlier_rows(new, tmp_path / "earlier.csv", same=["lag"])
    with pytest.raises(FileNotFoundError):
        sweep.with_earlier_rows(new, tmp_path / "none.csv", same=["network"])


def test_published_networks_give_the_published_numbers(reference_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALKIT_REFERENCE_DATA", str(reference_data))
    published = json.loads((reference_data / "paper" / "published.json").read_text())
    folder = "${CAUSALKIT_REFERENCE_DATA}/paper/networks/"
    pattern = [folder + name for name in ("N05_p0.[48]_net3.npz", "N10_p0.2_net0.npz")]
    parameters = {"order": ["aicc", "bic"], "max_order": 10}
    grid = sweep.read_grid(
        {
            "networks": [{"files": {"pattern": pattern, "dt_ms": 1}, "n_steps": 5000}],
            "methods": [{"method": "mvgc", "label": "{order}", "parameters": parameters}],
        }
    )
    assert sweep.run(grid, tmp_path).failed == {}
    table = sweep.table(tmp_path, grid).set_index(["network", "label", "protocol"])["auroc"]
    assert len(table) == 3 * 2 * 2
    keys = {"aicc": "mvgc_aic", "bic": "mvgc_bic"}
    for (network, label, protocol), auroc in table.items():
        if protocol == "published":
            # one pair of nearly equal scores may be ranked the other way round
            assert auroc == pytest.approx(published[network]["auroc_paper_protocol"][keys[label]], abs=1e-3)
        else:  # a complete graph has no non-edge
            assert np.isnan(auroc) == (network == "N05_p0.8_net3")


# --- failures and interruptions


def test_a_failed_unit_is_recorded_and_tried_again(slow, tmp_path, capsys):
    grid = slow_grid(2, [1, 2], breaks_at=5)
    grid["networks"].append({"simulate": {"n_neurons": 5, "n_steps": 200}})
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    arguments = ["sweep", str(tmp_path / "grid.yaml"), "--store", str(tmp_path / "s"), "--out", str(tmp_path / "t.csv")]
    for computed in (4, 0):
        assert main(arguments) == 1
        out = capsys.readouterr().out
        assert f"{computed} computed" in out
        assert out.count("failed: slow (order=") == 2 and "it broke at 5 neurons" in out
    assert events(slow(), "begin").most_common()[1][1] == 2 and len(pd.read_csv(tmp_path / "t.csv")) == 8
    records = [json.loads(path.read_text()) for path in (tmp_path / "s" / "failures").iterdir()]
    assert {record["error"] for record in records} == {"it broke at 5 neurons"}
    assert all("Traceback" in record["traceback"] for record in records)
    sys.modules["slow_method"].mended = True
    assert main(arguments) == 0
    assert not list((tmp_path / "s" / "failures").iterdir())


def test_interrupting_leaves_everything_resumable(slow, tmp_path, monkeypatch, capsys):
    grid = sweep.read_grid(slow_grid(3, [1]))
    slow_method = sys.modules["slow_method"]
    interrupted = iter([False, True])

    def log(*words):
        if words[0] == "end" and next(interrupted, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(slow_method, "log", log)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(grid, tmp_path / "store")
    assert len(files(tmp_path / "store")) == 1 and not list(tmp_path.glob("store/claims/*"))
    summary = sweep.run(grid, tmp_path / "store")
    assert (summary.already, summary.computed) == (1, 2)


def test_a_training_that_was_cut_off_goes_on(tmp_path, monkeypatch):
    from causalkit import training

    parameters = {"preset": "small", "n_seeds": 2, "max_epochs": 3}
    grid = sweep.read_grid(tiny([{"method": "causalformer", "parameters": parameters}]))
    epochs, save = [], training._Checkpoint.save

    def save_and_stop(self, run):
        save(self, run)
        epochs.append(run.epoch)
        if epochs == [1]:
            time.sleep(0.2)
            raise KeyboardInterrupt

    monkeypatch.setattr(training._Checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(grid, tmp_path / "a")
    assert len(list((tmp_path / "a" / "checkpoints").iterdir())) == 1
    assert sweep.run(grid, tmp_path / "a").computed == 1 and epochs == [1, 2, 3]
    assert not list((tmp_path / "a" / "checkpoints").iterdir())

    (unit,) = sweep.units(grid)
    folder = tmp_path / "b" / "checkpoints" / unit.key
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text("damaged")
    assert sweep.run(grid, tmp_path / "b").computed == 1 and epochs == [1, 2, 3, 1, 2, 3]
    resumed, anew = (sweep.table(tmp_path / name) for name in "ab")
    pd.testing.assert_series_equal(resumed["auroc"], anew["auroc"])
    pd.testing.assert_series_equal(resumed["r2"], anew["r2"])


def test_a_damaged_result_is_noticed_and_made_again(tmp_path):
    grid, store = sweep.read_grid(tiny(random_state=[0, 1, 2, 3])), tmp_path / "store"
    sweep.run(grid, store)
    before = files(store)
    cut, altered, emptied, whole = before
    cut.write_bytes(cut.read_bytes()[:-1])
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(content)
    emptied.write_bytes(b"")
    assert sweep.table(store)["key"].nunique() == 1
    summary = sweep.run(grid, store)
    assert (summary.already, summary.computed, summary.damaged) == (1, 3, 3)
    after = files(store)
    assert len(after) == 4 and after[whole] == before[whole] and sweep.table(store)["key"].nunique() == 4
    assert sweep.run(grid, store).computed == 0


def test_killed_and_started_again(slow, tmp_path, monkeypatch):
    """kill -9 in the middle: nothing is lost, nothing that was finished is done twice."""
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.1)
    grid, store = slow_grid(3), tmp_path / "store"
    slow.hold(order=3)
    process = fork(grid, store)
    until(slow.held)
    process.kill()
    process.join()
    before, cut_off = files(store), slow.held()[process.pid]
    assert len(before) == 2 and len(list(store.glob("claims/*"))) == 1
    slow.release()
    summary = sweep.run(sweep.read_grid(grid), store)
    assert (summary.already, summary.computed) == (2, 7)
    begun, done = events(slow(), "begin"), events(slow(), "end")
    assert len(done) == len(files(store)) == 9 and set(done.values()) == {1}  # none lost, none twice
    assert begun - done == Counter([cut_off])
    assert all(files(store)[path] == mark for path, mark in before.items())
    assert not list(store.glob("claims/*"))


def test_workers_of_a_killed_command_finish_what_they_are_at(slow, tmp_path, monkeypatch):
    """kill -9 of the process that the user started, with --jobs; and the same command again."""
    grid, store = slow_grid(3), tmp_path / "store"
    slow.hold(order=3)
    process = start(tmp_path, grid, "--jobs", 2)
    until(lambda: len(slow.held()) == 2 and len(files(store)) == 4)
    process.kill()
    process.wait()
    before, orphans = files(store), slow.held()
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.1)
    summary = []
    again = threading.Thread(target=lambda: summary.append(sweep.run(sweep.read_grid(grid), store)))
    again.start()
    until(lambda: len(slow.held()) == 3)  # it leaves alone what the orphans are at
    assert len(set(slow.held().values())) == 3
    slow.release()
    again.join(WAIT_S)
    assert (summary[0].already, summary[0].computed, summary[0].found) == (4, 3, 2)
    begun, done = events(slow(), "begin"), events(slow(), "end")
    assert begun == done and len(done) == len(files(store)) == 9 and set(done.values()) == {1}
    assert all(files(store)[path] == mark for path, mark in before.items())
    assert {int(pid) for what, *_, pid in slow() if what == "end"} >= set(orphans)


def test_two_processes_share_a_store_and_one_dies(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.1)
    grid, store = slow_grid(4), tmp_path / "store"
    slow.hold(order=3)
    first, second = fork(grid, store), fork(grid, store)
    until(lambda: len(slow.held()) == 2)
    lost = slow.held()[first.pid]
    first.kill()
    first.join()
    slow.release()
    second.join(WAIT_S)
    assert second.exitcode == 0
    begun, done = events(slow(), "begin"), events(slow(), "end")
    assert len(done) == len(files(store)) == 12 and set(done.values()) == {1}
    assert begun - done == Counter([lost])
    assert not list(store.glob("claims/*"))


def test_a_unit_that_another_process_holds_can_be_left(tmp_path):
    grid = sweep.read_grid(tiny(random_state=[0, 1]))
    held, free = sweep.units(grid)
    store = Store(tmp_path)
    store.make()
    with store.claim(held.key) as mine:
        assert mine
        summary = sweep.run(grid, tmp_path, wait=False)
        assert (summary.computed, summary.complete) == (1, False)
        assert f"process {os.getpid()} on" in summary.elsewhere[str(held)] and "not done here: mvgc" in str(summary)
    assert sweep.run(grid, tmp_path, wait=False).complete
    assert store.result(free.key) is not None


def test_only_one_holds_a_claim(tmp_path):
    """Many threads claim one unit over and over: removing the lock file must not let two in."""
    store = Store(tmp_path)
    store.make()
    inside, most, entered = [], [], []

    def compete(number):
        for _ in range(200):
            with store.claim("unit") as mine:
                if mine:
                    inside.append(number)
                    most.append(len(inside))
                    entered.append(number)
                    inside.remove(number)

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and 6 < len(entered) < 1200


@pytest.mark.slow
def test_a_unit_that_kills_its_process_is_given_up(slow, tmp_path):
    grid = slow_grid(2, [1], breaks_at=-5)
    grid["networks"].append({"simulate": {"n_neurons": 5, "n_steps": 200}})
    out = ended(start(tmp_path, grid, "--jobs", 2), expected=1)
    assert "2 computed" in out and "its process died, also when it ran alone" in out
    assert len(files(tmp_path / "store")) == 2


# --- Dask


@pytest.fixture
def cluster(slow, tmp_path):
    """A Dask scheduler and two worker processes on this machine."""
    pytest.importorskip("distributed")
    started = []

    def dask(*arguments):
        command = [sys.executable, "-m", "dask", *map(str, arguments)]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path))
        return started[-1]

    address = tmp_path / "scheduler.json"
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    dask("scheduler", *options, "--port", 0, "--scheduler-file", address)
    until(address.exists)
    workers = [
        dask("worker", *options, "--nthreads", 1, "--no-nanny", "--scheduler-file", address) for _ in range(2)
    ]
    yield json.loads(address.read_text())["address"], {worker.pid: worker for worker in workers}
    for process in started:
        process.kill()
        process.wait()


def test_dask_workers_and_one_is_killed(slow, cluster, tmp_path, monkeypatch):
    address, workers = cluster
    monkeypatch.setattr(cluster_module, "_LOOK_SECONDS", 0.1)
    grid, store, summary = sweep.read_grid(slow_grid(4)), tmp_path / "store", []
    slow.hold(order=3)
    sweeping = threading.Thread(target=lambda: summary.append(sweep.run(grid, store, dask=address)))
    sweeping.start()
    # both workers are at work, and all that they have finished has arrived
    until(lambda: len(slow.held()) == 2 and len(files(store)) == events(slow(), "end").total() > 0)
    victim = next(iter(workers))
    cut_off, before = slow.held()[victim], files(store)
    os.kill(victim, signal.SIGKILL)
    slow.release()
    sweeping.join(WAIT_S)
    assert summary and summary[0].computed == 12 and summary[0].complete, summary
    after = files(store)
    assert len(after) == 12 and all(after[path] == mark for path, mark in before.items())
    begun, done = events(slow(), "begin"), events(slow(), "end")
    assert len(done) == 12 and set(done.values()) == {1} and begun - done == Counter([cut_off])
    assert {int(pid) for *_, pid in slow()} == set(workers)  # none computed here


def test_dask_reports_failures_and_missing_schedulers(slow, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    grid = sweep.read_grid(slow_grid(1, [1], breaks_at=4))
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        summary = sweep.run(grid, tmp_path / "store", dask=client)
    assert list(summary.failed.values()) == ["it broke at 4 neurons"]
    monkeypatch.setattr(cluster_module, "_CONNECT_SECONDS", 0.2)
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        sweep.run(grid, tmp_path / "store", dask="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'causalkit\[cluster\]'"):
        sweep.run(grid, tmp_path / "store", dask="tcp://127.0.0.1:1")


# --- command line


def test_dry_run_writes_nothing(tmp_path, capsys):
    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps(tiny(random_state=[0, 1])))
    command = ["sweep", str(path), "--store", str(tmp_path / "store")]
    assert main([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "units       2: 0 finished, 2 to do" in out and "2 s or less, one unit after another" in out
    assert not (tmp_path / "store").exists()
    assert main([*command, "--out", str(tmp_path / "t.parquet")]) == 0
    assert "4 rows of 2 units" in capsys.readouterr().out
    assert main([*command, "--dry-run"]) == 0 and "2 finished, 0 to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "t.xlsx"], "use .parquet or .csv"),
        (["--jobs", "0"], "jobs is 0"),
        (["--jobs", "2", "--dask", "x"], "not allowed with"),
        (["--store", __file__], "is a file: a store is a folder"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path, capsys, options, message):
    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps(tiny()))
    assert main(["sweep", str(path), "--store", str(tmp_path / "store"), *options]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_an_interrupted_command_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps(tiny()))
    monkeypatch.setattr(sweep, "run", interrupt)
    assert main(["sweep", str(path), "--store", str(tmp_path / "store")]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
