"""The one training loop: a stacked ensemble, early stopping for each member, checkpoints to resume from.

It knows nothing of the method: it is given a stacked model and a function that computes each member's loss on
the windows it is told.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from causalkit.nn import EnsembleModule, generators, keep_models
from causalkit.progress import progress_bar

__all__ = ["History", "Schedule", "choose_device", "device_name", "train"]

Loss = Callable[[EnsembleModule, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How to train: AdamW (Loshchilov & Hutter 2019) with early stopping.

    Attributes
    ----------
    batch_size : int
        Windows a step, for each member.
    learning_rate, weight_decay : float
        Of AdamW.
    learning_rate_decay : {"constant", "linear"}
        "linear" warms up over the first twentieth of the steps and then falls to zero at `max_epochs`.
    max_epochs : int
        Passes over the training windows at most; 0 leaves the model untrained.
    patience : int
        A member stops after this many epochs without a better validation loss.
    precision : {"float32", "bfloat16"}
        "bfloat16" runs the matrix products in mixed precision.
    """

    batch_size: int
    learning_rate: float
    weight_decay: float
    max_epochs: int
    patience: int
    precision: str = "float32"
    learning_rate_decay: str = "constant"

    def rate(self, progress: float) -> float:
        """Learning rate after the fraction `progress` of all steps."""
        if self.learning_rate_decay == "constant":
            return self.learning_rate
        return self.learning_rate * min(1.0, progress / 0.05) * (1.0 - progress)


@dataclass
class History:
    """What happened: losses (n_models, n_epochs), NaN after a member stopped; the epoch of its best weights."""

    train_loss: np.ndarray
    validation_loss: np.ndarray
    best_epoch: np.ndarray


def choose_device(device: str = "auto") -> torch.device:
    """The torch device to run on: "auto" takes a GPU where there is one.

    Raises
    ------
    ValueError
        If the device is unknown to torch or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}): take 'auto', 'cpu' or 'cuda'"
        ) from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r} is not one that training was made for: take 'auto', 'cpu' or 'cuda'")
    return chosen


@cache
def bfloat16_kills() -> bool:
    """Whether a product in bfloat16 kills the process: virtual machines announce instructions (AMX) that fail."""
    trial = "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); a @ a"
    ended = subprocess.run([sys.executable, "-c", trial], capture_output=True)  # it takes the process with it: try one
    return ended.returncode == -signal.SIGILL


def device_name(device: torch.device) -> str:
    """What a reader calls the device: the GPU's name, or "CPU" with the threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)


def train(
    model: EnsembleModule,
    loss: Loss,
    *,
    n_train: int,
    n_validation: int,
    seeds,
    schedule: Schedule,
    checkpoint: str | Path | None = None,
    fingerprint: str = "",
    description: str = "training",
    progress: bool = True,
) -> History:
    """Train every member of `model` in place and leave each with its best weights.

    Parameters
    ----------
    model : EnsembleModule
        A stacked, initialized ensemble on its device.
    loss : callable
        ``loss(model, windows)`` with `windows` (n_models, batch) of indices; returns each member's mean loss
        on its own windows, (n_models,). Indices below `n_train` are training windows, those from `n_train`
        to `n_train` + `n_validation` validation windows.
    seeds : sequence of int
        One a member. An epoch's order of windows and dropout masks follow from (seed, epoch) alone, so that
        a resumed run continues exactly where it was cut off.
    checkpoint : path, optional
        Folder for the state after each epoch. If it holds the state of the same run, training goes on from there.
    fingerprint : str
        Names the run (hyperparameters and data); a checkpoint of another run is refused.
    description : str
        Of the progress bar.
    progress : bool
        False shows none.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the checkpoint is of another run, unreadable, or further on than `schedule` asks for.
    FloatingPointError
        If a loss is not finite.
    """
    run = _Run(model, list(seeds), schedule)
    store = _Checkpoint(checkpoint, fingerprint) if checkpoint else None
    if store:
        store.load(run)
    steps = -(-n_train // schedule.batch_size)
    with progress_bar(schedule.max_epochs * steps, description, wanted=progress, unit="step") as bar:
        bar.update(run.epoch * steps)
        while run.active and run.epoch < schedule.max_epochs:
            train_loss = _train_epoch(run, loss, n_train, bar)
            validation_loss = _validate(run, loss, n_train, n_validation)
            run.finish_epoch(train_loss, validation_loss)
            bar.set_postfix(epoch=run.epoch, validation=f"{run.best_loss.mean():.4f}")
            if store:
                store.save(run)
    return run.restore_best()


class _Run:
    """A training run's whole state; between epochs it is what a checkpoint holds."""

    def __init__(self, model, seeds, schedule):
        self.model, self.seeds, self.schedule = model, seeds, schedule
        if schedule.precision == "bfloat16" and self.device.type == "cpu" and bfloat16_kills():
            raise ValueError(
                "precision='bfloat16' would end this process: the processor announces instructions for it that it does "
                "not run; set the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before Python starts, or "
                "take precision='float32'"
            )
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )
        self.epoch = 0
        self.active = list(range(len(seeds)))  # members still training
        self.best_loss = np.full(len(seeds), np.inf)
        self.best_epoch = np.zeros(len(seeds), dtype=int)
        self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.losses: list[dict] = []  # one a finished epoch: train and validation loss of each member

    @property
    def device(self):
        return next(self.model.parameters()).device

    def autocast(self):
        mixed = self.schedule.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)

    def finish_epoch(self, train_loss, validation_loss):
        self.epoch += 1
        state, survivors = self.model.state_dict(), []
        record = {"train": [None] * len(self.seeds), "validation": [None] * len(self.seeds)}
        for row, member in enumerate(self.active):
            record["train"][member], record["validation"][member] = train_loss[row], validation_loss[row]
            if validation_loss[row] < self.best_loss[member]:
                self.best_loss[member], self.best_epoch[member] = validation_loss[row], self.epoch
                for name, value in state.items():
                    self.best[name][member] = value[row]
            if self.epoch - self.best_epoch[member] < self.schedule.patience:
                survivors.append(row)
        self.losses.append(record)
        if len(survivors) < len(self.active):
            self.active = [self.active[row] for row in survivors]
            if survivors:
                keep_models(self.model, survivors, self.optimizer)

    def restore_best(self) -> History:
        for module_name, module in self.model.named_modules():
            prefix = f"{module_name}." if module_name else ""
            for name, parameter in module.named_parameters(recurse=False):
                parameter.grad = None
                parameter.data = self.best[prefix + name]
            for name, _ in module.named_buffers(recurse=False):
                setattr(module, name, self.best[prefix + name])
        self.model.eval()

        def table(kind):
            rows = [epoch[kind] for epoch in self.losses]
            return np.array(rows, dtype=float).reshape(-1, len(self.seeds)).T

        return History(table("train"), table("validation"), self.best_epoch)


def _train_epoch(run: _Run, loss: Loss, n_train: int, bar) -> list[float]:
    """One pass over the training windows, each active member in its own order; its mean loss."""
    streams = [np.random.SeedSequence([run.seeds[m], run.epoch]).generate_state(2, np.uint64) for m in run.active]
    run.model.set_generators(generators([s[0] >> 1 for s in streams], run.device))
    order = [torch.randperm(n_train, generator=g) for g in generators([s[1] >> 1 for s in streams])]
    order = torch.stack(order).to(run.device)  # (active members, n_train)
    total = torch.zeros(len(run.active), device=run.device)
    run.model.train()
    batches = order.split(run.schedule.batch_size, dim=1)
    for step, windows in enumerate(batches, start=1):
        rate = run.schedule.rate((run.epoch + step / (len(batches) + 1)) / run.schedule.max_epochs)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        run.optimizer.zero_grad(set_to_none=True)
        with run.autocast():
            losses = loss(run.model, windows)
        losses.sum().backward()  # members share no weights: each gets its own gradient
        run.optimizer.step()
        total += losses.detach() * windows.shape[1]
        bar.update()
    return _finite(total / n_train, run, "training")


@torch.no_grad()
def _validate(run: _Run, loss: Loss, n_train: int, n_validation: int) -> list[float]:
    """Mean validation loss of each active member, in evaluation mode."""
    run.model.eval()
    total = torch.zeros(len(run.active), device=run.device)
    windows = torch.arange(n_train, n_train + n_validation, device=run.device)
    for batch in windows.split(4 * run.schedule.batch_size):
        with run.autocast():
            total += loss(run.model, batch.expand(len(run.active), -1)) * len(batch)
    return _finite(total / n_validation, run, "validation")


def _finite(values: torch.Tensor, run: _Run, kind: str) -> list[float]:
    bad = [run.seeds[m] for m, ok in zip(run.active, torch.isfinite(values).tolist(), strict=True) if not ok]
    if bad:
        raise FloatingPointError(
            f"{kind} loss is not finite in epoch {run.epoch + 1} for seeds {bad}: the forecast diverged; "
            "lower learning_rate, or use precision='float32'"
        )
    return values.tolist()


class _Checkpoint:
    """The state of a run on disk: tensors in safetensors, the rest in JSON.

    The JSON names the tensor file and is replaced last, so a run killed at any moment leaves the state of the
    last finished epoch.
    """

    def __init__(self, folder, fingerprint):
        self.folder, self.fingerprint = Path(folder), fingerprint
        self.folder.mkdir(parents=True, exist_ok=True)
        self.index = self.folder / "checkpoint.json"

    def save(self, run: _Run) -> None:
        tensors = {f"best.{name}": value for name, value in run.best.items()}
        tensors |= {f"model.{name}": value for name, value in run.model.state_dict().items()}
        for number, state in run.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        file = self.folder / f"epoch-{run.epoch:04d}.safetensors"
        temporary = file.with_suffix(".part")
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary)
        temporary.replace(file)
        index = {
            "fingerprint": self.fingerprint, "tensors": file.name, "epoch": run.epoch, "active": run.active,
            "best_loss": run.best_loss.tolist(), "best_epoch": run.best_epoch.tolist(), "losses": run.losses,
            "seeds": run.seeds, "schedule": asdict(run.schedule),
        }  # fmt: skip
        temporary = self.index.with_suffix(".part")
        temporary.write_text(json.dumps(index))
        temporary.replace(self.index)
        for old in self.folder.glob("epoch-*.safetensors"):
            if old != file:
                old.unlink()

    def load(self, run: _Run) -> None:
        if not self.index.exists():
            return
        try:
            index = json.loads(self.index.read_text())
            tensors = load_file(self.folder / index["tensors"], device=str(run.device))
            same_run = (index["fingerprint"], index["seeds"]) == (self.fingerprint, run.seeds)
            earlier, asked = {"learning_rate_decay": "constant"} | index["schedule"], asdict(run.schedule)
        except Exception as error:
            raise ValueError(
                f"checkpoint in {self.folder} cannot be read ({error}): delete the folder to train anew"
            ) from error
        free = {"max_epochs": None} if run.schedule.learning_rate_decay == "constant" else {}
        if not same_run or earlier | free != asked | free:
            raise ValueError(
                f"checkpoint in {self.folder} belongs to a run with other data or hyperparameters: "
                "give another folder, or delete this one to train anew"
            )
        if index["epoch"] > run.schedule.max_epochs:
            raise ValueError(
                f"checkpoint in {self.folder} is {index['epoch']} epochs on, and max_epochs={run.schedule.max_epochs} "
                "asks for fewer: what it holds is not that model; give another folder, or raise max_epochs"
            )
        members = len(next(v for name, v in tensors.items() if name.startswith("model.")))
        theirs = {name.removeprefix("best."): v.shape for name, v in tensors.items() if name.startswith("best.")}
        if theirs != {name: value.shape for name, value in run.best.items()}:
            raise ValueError(
                f"checkpoint in {self.folder} holds another network than this version makes: delete it to train anew"
            )
        run.epoch, run.active, run.losses = index["epoch"], index["active"], index["losses"]
        run.best_loss, run.best_epoch = np.array(index["best_loss"]), np.array(index["best_epoch"])
        run.best = {name.removeprefix("best."): v for name, v in tensors.items() if name.startswith("best.")}
        if members < run.model.n_models:
            keep_models(run.model, range(members))
        run.model.load_state_dict(
            {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
        )
        moments: dict[int, dict] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, moment = name.split(".")
                moments.setdefault(int(number), {})[moment] = value
        groups = run.optimizer.state_dict()["param_groups"]
        run.optimizer.load_state_dict({"state": moments, "param_groups": groups})
