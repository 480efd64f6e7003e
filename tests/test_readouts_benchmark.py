"""The benchmark of readouts at a tiny size: its table holds what was read, and it goes on where it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalkit import Causalformer, metrics, readouts, simulate

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "readouts.py"


def run(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "CAUSALKIT_REFERENCE_DATA"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_reads_each_network_once_and_stores_what_it_read(tmp_path):
    out, store = tmp_path / "readouts.csv", tmp_path / "store"
    arguments = ["--sizes", 5, "--networks", 1, "--control-size", 5, "--epochs", 1, "--n-seeds", 2, "--steps", 300,
                 "--store", store, "--out", out]  # fmt: skip
    run(*arguments)
    table = pd.read_csv(out)
    assert table.groupby("part").network.nunique().to_dict() == {"epochs": 1, "grid": 4, "shuffled": 4, "untrained": 4}
    assert all(list(part.readout) == list(readouts.READOUTS) for _, part in table.groupby(["part", "network"]))
    assert (table[table.part == "untrained"].max_epochs == 0).all()

    recording = simulate.izhikevich(5, 0.6, 300, random_state=2000)
    model = Causalformer(n_seeds=2, device="cpu").fit(recording)
    rows = table[(table.part == "grid") & (table.connection_probability == 0.6)].set_index("readout")
    for name, result in readouts.read_all(model, recording).items():
        assert metrics.auroc(recording, result) == pytest.approx(rows.auroc[name], abs=1e-3)
        single = np.mean([metrics.auroc(recording, member) for member in result.seed_score])
        assert single == pytest.approx(rows.auroc_single[name], abs=1e-3)

    before = {path.name: path.stat().st_mtime_ns for path in store.glob("*.csv")}
    (store / "untrained_N05_p0.2_seed2000.csv").unlink()
    run(*arguments)
    after = {path.name: path.stat().st_mtime_ns for path in store.glob("*.csv")}
    assert set(after) == set(before)
    assert [name for name in before if after[name] != before[name]] == ["untrained_N05_p0.2_seed2000.csv"]
    provenance = json.loads(out.with_suffix(".json").read_text())
    assert provenance["runs"]["grid"] == {"done": 4, "planned": 4}
