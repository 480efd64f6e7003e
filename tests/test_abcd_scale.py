"""The sweep of sizes and data of trained transformers: one thing changes at a time, and nothing is learned by heart."""

import abcd_scale
import numpy as np
import torch
import violations
from abcd_trained import MaskedModel


def test_a_setting_changes_one_thing():
    settings = list(abcd_scale.settings(2, abcd_scale.BASE["steps"]))
    for setting in settings:
        changed = {name for name, value in abcd_scale.BASE.items() if setting[name] != value}
        allowed = {setting["varied"]} if setting["varied"] != "base" else set()
        if setting["varied"] == "small":
            assert {name: setting[name] for name in abcd_scale.SMALL} == abcd_scale.SMALL
            allowed = {"world", *abcd_scale.SMALL}
        assert changed <= allowed and (changed or setting["varied"] == "base" or setting["world"] == "linear")
    assert len({tuple(setting.values()) for setting in settings}) == len(settings)
    names = "base", *abcd_scale.SCALES
    of = {name: {(s["graph"], s["seed"]) for s in settings if s["varied"] == name} for name in names}
    assert len(of["base"]) == 8 and all(graphs == of["base"] for graphs in of.values())
    for varied in ("world", "small"):
        worlds = {world: {s["seed"] for s in settings if (s["varied"], s["world"]) == (varied, world)}
                  for world in abcd_scale.WORLDS}  # fmt: skip
        assert set(worlds) > set(violations.WORLDS)
        assert all(seeds == set(range(2400, 2405)) for seeds in worlds.values())


def test_nodes_that_share_an_embedding_are_one_to_the_model(monkeypatch):
    monkeypatch.setattr(abcd_scale, "BASE", abcd_scale.BASE | {"n_sequences": 500})
    seed = 2000
    _, noise = violations.world("colliding", seed)
    _, _, values, symbols, _, places = abcd_scale.data_of.__wrapped__(True, "random", seed, "one embedding", 0.0)
    copies = [node for node, place in enumerate(places) if node != place]
    assert {node for node, spread in noise.items() if spread == violations.APART} == set(copies)
    assert all(np.corrcoef(values[:, node], values[:, places[node]])[0, 1] > 0.99 for node in copies)
    alike = symbols[(symbols[:, copies] == symbols[:, [places[node] for node in copies]]).all(dim=1)]
    torch.manual_seed(0)
    for given, same in ((places, True), (None, False)):
        _, embeddings, _ = MaskedModel(places=given)(alike[:20])
        pairs = [(layer[:, node], layer[:, places[node]]) for layer in embeddings for node in copies]
        assert all(torch.allclose(a, b, atol=1e-5) == same for a, b in pairs)


def test_the_state_is_kept_that_forecasts_other_sequences_best():
    generator = torch.Generator().manual_seed(0)
    few, others = (torch.randint(16, (n, 10), generator=generator) for n in (4, 400))
    model, kept = abcd_scale.train(few, others, width=16, n_layers=1, steps=200, seed=0)
    late, _ = abcd_scale.train(few, few, width=16, n_layers=1, steps=200, seed=0)  # nothing else to look at

    def loss(model):
        with torch.no_grad():
            return abcd_scale.masked_loss(model, others, torch.Generator().manual_seed(1)).item()

    assert kept < 200 and loss(model) < loss(late) - 0.02
    assert abcd_scale.train(few, others, 16, 1, 0, seed=0)[1] == 0
