"""The benchmark scripts at tiny sizes: their tables hold what was measured, their exponents what was asked."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalkit import simulate

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
# what Brian2's side prints and stores, in known seconds; it stays silent, so spikes differ from the first one on
STAND_IN = """#!{python}
import sys, json, numpy as np
networks = np.load(sys.argv[2])["input_current"]
np.save(sys.argv[sys.argv.index("--voltages") + 1], np.zeros(networks.shape))
print(json.dumps({{"seconds": 3.0 * len(networks), "brian2": "none", "numpy": np.__version__}}))
"""


def run(name, *arguments):
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_baselines_report_the_seconds_of_both_sides(tmp_path):
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    out = tmp_path / "baselines.csv"
    printed = run("baselines.py", "--sizes", 3, 5, "--networks", 2, "--measured", 1, "--steps", 300, "--order", 2,
                  "--rounds", 1, "--brian2-python", python, "--brian2-targets", "numpy", "--out", out)  # fmt: skip
    table = pd.read_csv(out)
    np.testing.assert_allclose(table.ratio, table.theirs_seconds / table.ours_seconds, rtol=1e-4)
    assert (table.ours_seconds > 0).all() and f"{table.ratio.iloc[-1]:.1f}" in printed

    sizes, whole = table[table.n_neurons != "all"], table[table.n_neurons == "all"]
    sums = sizes.groupby("baseline")[["ours_seconds", "theirs_seconds"]].sum()
    np.testing.assert_allclose(whole.set_index("baseline")[sums.columns].loc[sums.index], sums, rtol=1e-4)
    assert sizes.n_networks.tolist() == [8] * 6
    assert dict(zip(sizes.baseline, sizes.n_measured, strict=True)) == {
        "statsmodels": 4, "Brian2, numpy": 4, "Brian2, numpy, all in one group": 8
    }  # fmt: skip
    # 3 s a network, whatever was measured: the total follows for all eight
    np.testing.assert_allclose(sizes[sizes.task == "simulation"].theirs_seconds, 24)

    provenance = json.loads(out.with_suffix(".json").read_text())
    for n_neurons in (3, 5):
        agreement = provenance["agreement"]
        assert agreement[f"statsmodels, {n_neurons} neurons"]["largest_relative_difference_of_F"] < 1e-8
        assert agreement[f"statsmodels, {n_neurons} neurons"]["orders"] == "2 to 2"
        assert agreement[f"Brian2, numpy, {n_neurons} neurons"]["mean_rate_hz_theirs"] == 0
    assert not list(tmp_path.glob("*.part"))


def test_scale_reports_each_size_and_what_failed(tmp_path):
    out = tmp_path / "scale.csv"
    pd.DataFrame([{"method": "other", "seconds": 1.0}]).to_csv(out, index=False)
    out.with_suffix(".json").write_text(json.dumps({"methods": {"other": {}}}))
    # 40 neurons cannot be regressed on 60 steps
    printed = run("scale.py", "--method", "mvgc", "--sizes", 5, "--lengths", "--largest", 40, 60, "--times", 400,
                  "--out", out)  # fmt: skip
    kept, small, failed = pd.read_csv(out, keep_default_na=False).to_dict("records")
    assert kept["method"] == "other"
    assert (small["method"], small["error"]) == ("mvgc", "")
    assert float(small["seconds"]) > 0 and 50 < float(small["before_mb"]) <= float(small["peak_mb"]) < 2000
    assert failed["seconds"] == "" and "needs at least 164" in failed["error"]
    assert f"peak {float(small['peak_mb']):.0f} MB" in printed
    assert set(json.loads(out.with_suffix(".json").read_text())["methods"]) == {"other", "mvgc"}


def test_exponents_are_slopes_of_the_upper_half():
    exponent = script("scale").exponent
    sizes = np.array([40, 5, 20, 10])
    cost = np.where(sizes > 10, 3.0 * sizes**2.5, 1000)
    assert exponent(sizes, cost) == 2.5
    assert exponent(sizes[:1], cost[:1]) is None


def test_brian2_computes_the_same_steps(tmp_path):
    python = os.environ.get("CAUSALKIT_BRIAN2_PYTHON")
    if not python:
        pytest.skip("set CAUSALKIT_BRIAN2_PYTHON to the Python of an environment with brian2 and numpy<2.4")
    connectivity = np.stack([simulate.random_wiring(10, p, 0)[0] for p in (0.2, 0.8)])
    noise = np.random.default_rng(0).normal(5, 5**0.5, (2, 150, 10))
    recordings = simulate.izhikevich(connectivity=connectivity, input_current=noise)
    params = np.stack([np.stack([r[name].values for name in "abcd"], axis=-1) for r in recordings])
    np.savez(tmp_path / "n.npz", connectivity=connectivity, params=params, input_current=noise)
    for options in ([], ["--one-group"]):
        command = [python, str(BENCHMARKS / "brian2_networks.py"), str(tmp_path / "n.npz"), *options]
        subprocess.run([*command, "--voltages", str(tmp_path / "v.npy")], check=True, capture_output=True)
        ours, theirs = np.stack([r.voltage_mv.values for r in recordings]), np.load(tmp_path / "v.npy")
        assert (ours[:, :50] >= 30).any(axis=(1, 2)).all()
        # rounding differs and chaos lets it grow: the first spikes agree, later ones need not
        np.testing.assert_allclose(theirs[:, :50], ours[:, :50], rtol=1e-6)
