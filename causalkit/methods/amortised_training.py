"""Train the network of amortised causal discovery over many recordings, and keep its weights in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from causalkit import io
from causalkit.methods.amortised_network import EDGE_TYPES, AmortisedNetwork, negative_log_likelihood
from causalkit.progress import progress_bar
from causalkit.recording import normalize, window_starts

FORMAT = "causalkit amortised network 1"
_TEMPERATURE = 0.5  # of the relaxed draws of edge types (Löwe et al.)
_ALONE, _EXPECTED, _DRAWN = 0.12, 0.35, 0.65  # shares of the training at which edges act, begin to cost, cost all
_CLIP = 1.0  # norm of a gradient


def train(
    recordings: Sequence, *, supervised: bool, context: int, n_hidden: int, n_steps: int, n_networks: int, n_rows: int,
    learning_rate: float, edge_prior: float, random_state: int,
) -> tuple[AmortisedNetwork, dict]:  # fmt: skip
    """Return a network trained over `recordings`, and its losses; see `AmortisedDiscovery.pretrain`."""
    rng = np.random.default_rng(random_state)
    groups = _by_size(recordings, context, supervised)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        network = AmortisedNetwork(context, n_hidden)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=n_steps, pct_start=0.1)
        chance = np.array([len(group) for group in groups], dtype=float)
        kept = {"forecast": [], "prior": [], "labels": []}
        with progress_bar(n_steps, "training networks") as bar:
            for step in range(n_steps):
                group = groups[rng.choice(len(groups), p=chance / chance.sum())]
                past, following, truth = _draw(group, rng, n_networks, n_rows, context)
                parts = _losses(network, past, following, truth, edge_prior, step / n_steps)
                optimizer.zero_grad()
                sum(parts.values()).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
                optimizer.step()
                schedule.step()
                for name, value in parts.items():
                    kept[name].append(float(value.detach()))
                bar.set_postfix_str(f"forecast loss {kept['forecast'][-1]:.3f}", refresh=False)
                bar.update()
    if not supervised:
        network.orient_signs(past)
    return network.eval(), {name: values for name, values in kept.items() if values}


def _losses(network, past, following, truth, edge_prior, progress) -> dict[str, torch.Tensor]:
    """The negative evidence bound per value; with `truth` the cross-entropy of edge types in place of the prior.

    Neurons are first forecast by themselves. Then edges act by their expectation and cost nothing, and only slowly turn
    into draws that cost what the prior says: all at once, no edge at all is what is learned, and it is kept.
    """
    evidence = network(past, following)
    views, off = evidence.views, ~torch.eye(past.shape[2], dtype=torch.bool)
    drawn = min(1.0, max(0.0, (progress - _EXPECTED) / (_DRAWN - _EXPECTED)))
    forecast = views.mean
    if progress >= _ALONE:
        expected = functional.softmax(evidence.logits, dim=-1)
        types = torch.lerp(expected, functional.gumbel_softmax(evidence.logits, tau=_TEMPERATURE), drawn)
        forecast = network.decode(views, types)
    losses = {"forecast": negative_log_likelihood(views, forecast, following).mean()}
    log_p = functional.log_softmax(evidence.logits, dim=-1)[:, off]
    if truth is not None:
        losses["labels"] = functional.nll_loss(log_p.flatten(0, 1), truth[:, off].flatten())
    else:
        prior = torch.tensor([1 - edge_prior, edge_prior / 2, edge_prior / 2]).log()
        losses["prior"] = drawn * (log_p.exp() * (log_p - prior)).sum() / following.numel()
    return losses


def _by_size(recordings, context, supervised):
    """Groups of recordings with equally many neurons: (z-scored activity, window starts, types of edges)."""
    groups: dict[int, list] = {}
    for number, recording in enumerate(recordings):
        starts = window_starts(recording, context)
        if len(starts) < 10 * context:
            raise ValueError(
                f"recording {number} has {len(starts)} windows of {context} + 1 steps within a trial: training needs "
                f"at least {10 * context}; use longer recordings, or a smaller context"
            )
        types = None
        if supervised:
            if "connectivity" not in recording:
                raise ValueError(
                    f"recording {number} has no 'connectivity', and supervised training learns from it: simulate "
                    "recordings, or use supervised=False"
                )
            sign = np.sign(recording["connectivity"].transpose("target", "source").values)
            types = torch.tensor(np.where(sign == 0, 0, np.where(sign > 0, 1, 2)))
        x = torch.tensor(normalize(recording["activity"].transpose("time", "neuron")), dtype=torch.float32)
        groups.setdefault(x.shape[1], []).append((x, starts, types))
    if not groups:
        raise ValueError("there are no recordings to train on: pass a list of them, some hundred from a simulator")
    return list(groups.values())


def _draw(group, rng, n_networks, n_rows, context):
    """Stretches of some recordings of equal size: windows (B, R, N, L), what follows (B, R, N), types (B, N, N)."""
    chosen = [group[k] for k in rng.choice(len(group), min(n_networks, len(group)), replace=False)]
    longest = min(len(starts) for _, starts, _ in chosen)
    length = min(longest, int(rng.integers(n_rows // 4, n_rows + 1)))
    past, following = [], []
    for x, starts, _ in chosen:
        first = int(rng.integers(0, len(starts) - length + 1))
        one, next_one = cut(x, starts[first : first + length], context)
        past.append(one)
        following.append(next_one)
    types = None if chosen[0][2] is None else torch.stack([t for *_, t in chosen])
    return torch.stack(past), torch.stack(following), types


def cut(x: torch.Tensor, starts: np.ndarray, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows (R, N, L) of activity (T, N), oldest step first, and the values (R, N) that follow them."""
    rows = torch.as_tensor(starts)
    return torch.stack([x[rows + k] for k in range(context)], dim=-1), x[rows + context]


def save(network: AmortisedNetwork, file, about: dict) -> Path:
    """Write weights as safetensors, with `about` (JSON) in its header."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().float().contiguous() for name, value in network.state_dict().items()}
    header = json.dumps({"format": FORMAT, "settings": network.settings, "about": about})
    with io.atomic(file) as temporary:
        save_file(tensors, temporary, metadata={"causalkit": header})  # one entry: several have no fixed order
    return file


def load(file) -> tuple[AmortisedNetwork, dict]:
    """Read what `save` wrote: the network and what is told about it, with the SHA-256 of the file.

    Raises
    ------
    ValueError
        If there is no such file, or it holds something else.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            header = json.loads((stored.metadata() or {}).get("causalkit", "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, not {FORMAT!r}")
        network = AmortisedNetwork(**header["settings"])
        network.load_state_dict(tensors)
    except Exception as error:
        raise ValueError(
            f"{file} holds no weights of AmortisedDiscovery ({error}): write them with AmortisedDiscovery.pretrain"
        ) from error
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return network.eval(), header["about"] | {"sha256": digest}


def edge_signs(logits: torch.Tensor) -> torch.Tensor:
    """The more probable of the two signs of each pair, (N, N)."""
    return torch.where(logits[..., 1] >= logits[..., 2], EDGE_TYPES[1], EDGE_TYPES[2])
