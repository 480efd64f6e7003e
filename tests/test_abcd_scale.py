"""The sweep of sizes and data of trained transformers: one thing changes at a time, and nothing is learned by heart."""

import abcd_scale
import torch


def test_a_setting_changes_one_thing():
    settings = list(abcd_scale.settings(2, abcd_scale.BASE["steps"]))
    for setting in settings:
        changed = {name for name, value in abcd_scale.BASE.items() if setting[name] != value}
        allowed = {setting["varied"]} if setting["varied"] != "base" else set()
        assert changed <= allowed and (changed or setting["varied"] == "base" or setting["world"] == "linear")
    assert len({tuple(setting.values()) for setting in settings}) == len(settings)
    names = "base", *abcd_scale.SCALES
    of = {name: {(s["graph"], s["seed"]) for s in settings if s["varied"] == name} for name in names}
    assert len(of["base"]) == 8 and all(graphs == of["base"] for graphs in of.values())


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
