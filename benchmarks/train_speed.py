"""Time to the published result: ten Causalformers of `preset="fast"` beside a plain program.

The plain program trains the published network (Lu et al. 2023) as one would write it down: plain modules, einsum
attention, batches of 16, one model after another. It is below. Its total is its measured seconds a step, times the
steps of an epoch, 30 epochs (published runs took 22 to 48) and ten seeds; validation and readout are given to it.
Ours is the package's own training loop with ten stacked members, validation included, for the epochs of the preset,
and the readout of all test windows; both from the first steps and windows of an epoch. Neither depends on the data.

Both sides take turns on the same threads (OMP_NUM_THREADS, one if not set); medians over turns. Seconds are wall
time, or with --clock cpu the processor time of one thread, which other programs on the machine do not add to. Peak
memory is that of a fresh process. Whether the result is the published one is looked up in the table of Figure 2: the
off-diagonal AUROC of the ensembles stored there, beside what the authors published for the same networks, and for all
networks of their cells of the grid; it is reached if it is at most .02 lower. --fit N times whole fits too, and scores
them. The GPU path is not measured here.

Usage: python benchmarks/train_speed.py [--clock cpu] [--fit 10] [--out book/results/train_speed.csv]
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start their threads

import numpy as np
import pandas as pd
import torch
from scale import causalformer_seconds, peak_mb, write
from torch import nn

import causalkit
from causalkit import simulate
from causalkit.metrics import auroc
from causalkit.recording import as_recording
from causalkit.windows import Windows

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
N_SEEDS, TOLERANCE = 10, 0.02
CONTEXT, WIDTH, HIDDEN, HEADS, HEAD_DIM, DROPOUT = 10, 100, 400, 10, 8, 0.1
BATCH, EPOCHS, RATE, DECAY = 16, 30, 5e-4, 1e-3


# ---- the plain program. Shapes: B windows, N neurons, L history steps, C channels


class PlainEmbedding(nn.Module):
    """Value and time, position in the window, and neuron of each token."""

    def __init__(self, n_neurons):
        super().__init__()
        self.time, self.value_time = nn.Linear(1, 1), nn.Linear(2, WIDTH)
        self.position, self.neuron = nn.Linear(1, WIDTH), nn.Embedding(n_neurons, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, value, time_s):  # (B, N, L), (B, L) -> (B, N, L, C)
        time_s = self.time(time_s[..., None])[:, None].expand(*value.shape, 1)
        position = torch.arange(value.shape[-1], dtype=value.dtype)[:, None]
        tokens = self.value_time(torch.cat([time_s, value[..., None]], -1)) + self.position(position).sin()
        return self.dropout(tokens) + self.dropout(self.neuron.weight[:, None].expand_as(tokens))


class PlainAttention(nn.Module):
    """Multi-head attention of queries to keys: normalized channels in, channels and weights out."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, HEADS * HEAD_DIM) for _ in range(3))
        self.out = nn.Linear(HEADS * HEAD_DIM, WIDTH)

    def forward(self, x, history):  # (groups, queries, C), (groups, keys, C)
        query, key = self.query(x).unflatten(-1, (HEADS, -1)), self.key(history).unflatten(-1, (HEADS, -1))
        value = self.value(history).unflatten(-1, (HEADS, -1))
        weights = torch.softmax(torch.einsum("gqhd,gkhd->ghqk", query, key) * HEAD_DIM**-0.5, -1)
        return self.out(torch.einsum("ghqk,gkhd->gqhd", weights, value).flatten(-2)), weights


class PlainNorm(nn.BatchNorm1d):
    """Batch normalization of the channels of any number of tokens."""

    def forward(self, x):
        return super().forward(x.flatten(0, -2)).view_as(x)


def plain_feedforward():
    """The point-wise two-layer network."""
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, WIDTH),
                         nn.Dropout(DROPOUT))  # fmt: skip


class PlainCausalformer(nn.Module):
    """The published network: one encoder and one decoder layer."""

    def __init__(self, n_neurons):
        super().__init__()
        self.embedding = PlainEmbedding(n_neurons)
        self.encoder_norm, self.encoder_attention = PlainNorm(WIDTH), PlainAttention()
        self.encoder_norm2, self.encoder_feedforward = PlainNorm(WIDTH), plain_feedforward()
        self.local_norm, self.local_attention = PlainNorm(WIDTH), PlainAttention()
        self.global_norm, self.global_attention = PlainNorm(WIDTH), PlainAttention()
        self.decoder_norm, self.decoder_feedforward = PlainNorm(WIDTH), plain_feedforward()
        self.readout = nn.Linear(WIDTH, 1)

    def forward(self, history, history_time_s, target_time_s):
        """(B, N, L), (B, L), (B, 1) in seconds -> forecasts (B, N) and attention (B, heads, N, N·L)."""
        windows, neurons, _ = history.shape
        x = self.embedding(history, history_time_s).flatten(0, 1)  # (B·N, L, C)
        normed = self.encoder_norm(x)
        x = x + self.encoder_attention(normed, normed)[0]
        x = x + self.encoder_feedforward(self.encoder_norm2(x))
        y = self.embedding(torch.zeros_like(history[..., :1]), target_time_s).flatten(0, 1)  # (B·N, 1, C)
        y = y + self.local_attention(self.local_norm(y), x)[0]
        y, x = y.view(windows, neurons, WIDTH), x.reshape(windows, -1, WIDTH)  # x (B, N·L, C)
        heard, attention = self.global_attention(self.global_norm(y), x)
        y = y + heard
        y = y + self.decoder_feedforward(self.decoder_norm(y))
        return self.readout(y)[..., 0], attention


def plain_seconds(recording, n_steps, clock):
    """A call that trains a plain network for `n_steps` steps and returns the seconds of an epoch of one model."""
    torch.manual_seed(0)
    data = Windows.cut(as_recording(recording), CONTEXT, "train", torch.device("cpu"))
    model = PlainCausalformer(recording.sizes["neuron"]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)

    def run():
        start = clock()
        for windows in torch.randperm(len(data.train)).split(BATCH)[:n_steps]:
            history, history_time_s, target_time_s = data.inputs(windows)
            optimizer.zero_grad()
            forecast, _ = model(history, history_time_s, target_time_s)
            nn.functional.mse_loss(forecast, data.targets(windows)).backward()
            optimizer.step()
        return {"epoch": (clock() - start) / n_steps * -(-len(data.train) // BATCH), "readout": 0.0}

    return run


# ---- both sides


def sides_of(n_neurons, steps, clock):
    """Both sides on one recording: calls that return seconds."""
    recording = simulate.izhikevich(n_neurons, 0.4, 5000, random_state=0)
    fast = causalkit.Causalformer(preset="fast", n_seeds=N_SEEDS)
    return {
        "plain": plain_seconds(recording, steps, clock),
        "fast": lambda: causalformer_seconds(fast, recording, 3 * steps, clock),
    }


def peak_mb_of(side, n_neurons, steps):
    """Peak memory of one side in a fresh process."""
    command = [sys.executable, __file__, "--steps", str(steps), "--one", side, str(n_neurons)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{run.stderr}\nthe memory of {side} at {n_neurons} neurons was not measured: its process failed")
    return float(run.stdout.splitlines()[-1])


def compare(n_neurons, steps, turns, clock):
    """Rows of both sides: seconds of a model's epoch, seconds to the result, peak memory."""
    sides = sides_of(n_neurons, steps, clock)
    fast_epochs = causalkit.Causalformer(preset="fast")._hyperparameters()["max_epochs"]
    for run in sides.values():
        run()  # first calls are not what is measured
    found = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            found[name].append(run())
    rows = []
    for name, epochs, together in (("plain", EPOCHS, 1), ("fast", fast_epochs, N_SEEDS)):
        epoch, readout = (float(np.median([turn[part] for turn in found[name]])) for part in ("epoch", "readout"))
        total = epoch * epochs * N_SEEDS / together + readout
        spread = np.ptp([turn["epoch"] for turn in found[name]]) / epoch
        rows.append({"n_neurons": n_neurons, "program": name, "seconds_per_model_epoch": epoch / together,
                     "epochs": epochs, "readout_seconds": readout, "seconds_to_result": total, "spread": spread,
                     "peak_mb": peak_mb_of(name, n_neurons, steps)})  # fmt: skip
    rows[1]["ratio"] = rows[0]["seconds_to_result"] / total
    rows[0]["step_ms"] = rows[0]["seconds_per_model_epoch"] * 1000 / -(-(5000 - CONTEXT) * 6 // 10 // BATCH)
    return rows


def quality_of(figure2: pd.DataFrame, n_neurons: int) -> dict:
    """Mean off-diagonal AUROC of the fast ensembles of one size, beside what was published.

    Published are the same networks' ensembles, and the means of the cells of the grid that these networks are from.
    """
    part = figure2[(figure2.n_neurons == n_neurons) & (figure2.method == "Causalformer ensemble")]
    part = part[(part.protocol == "off_diagonal") & (part.control == "none")]
    ours, published = (part[part.source == source].set_index("network") for source in ("reference", "published"))
    both = ours.index.intersection(published.index)
    if both.empty:
        return {"n_networks": 0}
    cells = published.groupby("connection_probability").auroc.mean()
    auroc = ours.auroc[both].mean()
    beside = {"published": published.auroc[both].mean(),
              "published_cells": cells[ours.connection_probability[both]].mean()}  # fmt: skip
    found = {f"auroc_{name}": mean for name, mean in beside.items()}
    reached = {f"reached_{name}": bool(auroc >= mean - TOLERANCE) for name, mean in beside.items()}
    return {"n_networks": len(both), "auroc": auroc} | found | reached


def with_quality(rows: pd.DataFrame, figure2: pd.DataFrame) -> pd.DataFrame:
    """The table with what `quality_of` finds now in the rows of the fast program."""
    rows = rows[[name for name in rows if not name.startswith(("n_networks", "auroc", "reached"))]]
    found = [quality_of(figure2, n) if program == "fast" else {} for n, program in zip(rows.n_neurons, rows.program,
                                                                                     strict=True)]  # fmt: skip
    return pd.concat([rows, pd.DataFrame(found, index=rows.index)], axis=1)


def whole_fit(n_neurons, clock):
    """Seconds and off-diagonal AUROC of one real fit, to compare with what was extrapolated."""
    recording = simulate.izhikevich(n_neurons, 0.4, 5000, random_state=0)
    start = clock()
    fit = causalkit.Causalformer(preset="fast", n_seeds=N_SEEDS).fit(recording)
    return {"seconds": round(clock() - start, 2), "auroc": round(float(auroc(recording, fit.connectivity_)), 4)}


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 40], help="neurons")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that does other work")
    parser.add_argument("--steps", type=int, default=30, help="of the plain program a turn; three times these of ours")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--fit", type=int, nargs="*", default=[], help="neurons of whole fits, timed and scored")
    parser.add_argument("--figure2", type=Path, default=RESULTS / "figure2.parquet")
    parser.add_argument("--look-up", action="store_true", help="keep the timings of --out, look up its AUROC anew")
    parser.add_argument("--out", type=Path, default=RESULTS / "train_speed.csv")
    parser.add_argument("--one", nargs=2, metavar=("PROGRAM", "NEURONS"), help="print its peak memory in here, in MB")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and os.environ["OMP_NUM_THREADS"] != "1":
        parser.error("--clock cpu adds up the seconds of all threads, which is nobody's waiting time: set "
                     "OMP_NUM_THREADS=1, or take --clock wall")  # fmt: skip
    return arguments


def main() -> None:
    asked = arguments_of()
    clock = CLOCKS[asked.clock]
    if asked.one:
        sides_of(int(asked.one[1]), asked.steps, clock)[asked.one[0]]()
        print(peak_mb())
        return
    figure2, rows = pd.read_parquet(asked.figure2), []
    if asked.look_up:
        table = with_quality(pd.read_csv(asked.out), figure2)
        write(asked.out, table.to_csv(index=False, float_format="%.6g"))
        print(table.round(3).to_string(index=False))
        return
    for n_neurons in asked.sizes:
        rows += compare(n_neurons, asked.steps, asked.turns, clock)
        print(pd.DataFrame(rows[-2:]).round(3).to_string(index=False), flush=True)
    table = with_quality(pd.DataFrame(rows), figure2)
    provenance = {
        "table": asked.out.name,
        "what": " ".join(__doc__.split("Usage:")[0].split()),
        "clock": asked.clock,
        "measured": f"{asked.turns} turns of {asked.steps} steps of the plain program and {3 * asked.steps} of ours; "
        "spread is the range of the turns over their median",
        "whole_fits": {f"{n} neurons": whole_fit(n, clock) for n in asked.fit},
        "gpu": "not measured: no GPU at hand",
        "causalkit": causalkit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "date": datetime.date.today().isoformat(),
    }
    print(table.round(3).to_string(index=False))
    print(json.dumps({k: v for k, v in provenance.items() if k != "what"}, indent=2))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write(asked.out, table.to_csv(index=False, float_format="%.6g"))
    write(asked.out.with_suffix(".json"), json.dumps(provenance, indent=2) + "\n")


if __name__ == "__main__":
    main()
