"""What every method in `causalkit.methods.METHODS` must do, whatever it computes."""

import inspect
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.base import clone

from causalkit import connectivity
from causalkit.methods import METHODS
from causalkit.recording import KINDS, from_array

# Hyperparameters with which a fit takes a few seconds and still finds the chain.
CHEAP = {
    "mvgc": {"order": 2},
    "causalformer": {
        "n_seeds": 2, "max_epochs": 20, "embedding_dim": 16, "feedforward_dim": 32, "n_heads": 2, "batch_size": 64,
        "context": 3, "learning_rate": 5e-3,
    },
    "single_index": {"n_own": 3, "max_lag": 2, "n_rounds": 2, "n_steps": 100},
    "spike_index": {"max_lag": 3, "n_folds": 2, "n_steps": 150},
    "decoder_only": {
        "context": 2, "n_layers": 1, "max_epochs": 15, "batch_size": 32, "n_seeds": 2, "learning_rate": 1e-2,
    },
    "neuroformer": {
        "past_ms": 1, "present_ms": 10, "n_layers": 1, "max_epochs": 40, "n_seeds": 3, "readout": "ablation",
    },
    "spike_glm": {"max_lag": 3, "n_basis": 2, "history": 5, "n_history_basis": 2},
    "partial_correlation": {"bin_steps": 3},
    "cross_correlogram": {"max_lag": 3, "smoothing": 4},
    "pairwise_granger": {"max_lag": 2},
    "pcmci": {"max_lag": 2},
    "pcmci_plus": {"max_lag": 2},
    "var_lingam": {"max_lag": 2},
    "dynotears": {"max_lag": 2},
    "neural_granger": {"max_lag": 2, "n_hidden": 4, "n_penalties": 6, "max_steps": 20},
    "amortised": {},
    "gaussian_process": {"max_lag": 2, "max_rows": 150, "max_iterations": 15},
    "random": {"max_lag": 2},
}  # fmt: skip
GUESSES = {"random"}  # the baseline that looks at nothing
NAMES = ["first", "second", "third", "alone"]
CHAIN = {("first", "second"), ("second", "third")}  # (source, target)
TRIAL = np.repeat([0, 1, 2], 500)


def cheap(name, **changes):
    if name not in CHEAP:
        pytest.fail(f"the conformance suite has no hyperparameters for {name!r}: add cheap ones to CHEAP")
    return METHODS[name](**{**CHEAP[name], **changes})


def chain(seed=0, n_times=1500):
    """A linear autoregression first → second → third, and one neuron that is alone, (n_times, 4)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_times, 4))
    for t in range(1, n_times):
        x[t] += 0.3 * x[t - 1]
        x[t, 1] += 0.9 * x[t - 1, 0]
        x[t, 2] += 0.9 * x[t - 1, 1]
    return x


def spike_chain(seed=0, n_times=1500):
    """The same in spikes: one of the first makes one of the second more likely in the next bin, (n_times, 4)."""
    rng = np.random.default_rng(seed)
    drawn, x = rng.random((n_times, 4)), np.zeros((n_times, 4))
    for t in range(n_times):
        before = x[t - 1] if t else np.zeros(4)
        x[t] = drawn[t] < 0.1 + 0.6 * np.array([0, before[0], before[1], 0])
    return x


def takes_voltage(name):
    return "voltage" in METHODS[name].traits.input_kinds


def chain_for(name, *args, **kwargs):
    """The chain in a form that the method is made for."""
    return chain(*args, **kwargs) if takes_voltage(name) else spike_chain(*args, **kwargs)


def given(name, data, **described):
    """What is handed to the method: an array as it is, or said to hold spikes, its values made to counts."""
    if isinstance(data, xr.Dataset) or data is None or (takes_voltage(name) and not described):
        return data
    if not takes_voltage(name) and isinstance(data, np.ndarray) and data.dtype.kind == "f" and (data < 0).any():
        data = np.abs(np.round(data))
    return from_array(data, kind="voltage" if takes_voltage(name) else "spikes", **described)


def two_strongest(c):
    """The two strongest edges; of a method without direction the two strongest pairs, in the order of their names."""
    table = connectivity.to_frame(c)
    if not METHODS[c.attrs["method"]].traits.directed:
        table = table[table.source.map(NAMES.index) < table.target.map(NAMES.index)]
    return set(zip(table.source[:2], table.target[:2], strict=True))


@pytest.fixture(scope="module", params=list(METHODS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def recording(name):
    return given(name, chain_for(name), neurons=NAMES)


@pytest.fixture(scope="module")
def fitted(name, recording):
    """One fit that most tests look at, and its surroundings before and after."""
    method = cheap(name)
    before = method.get_params(), recording.copy(deep=True)
    method.fit(recording)
    return method, before, (method.get_params(), recording)


# ---- what comes out


def test_direction_comes_out_right(fitted):
    if fitted[0].name in GUESSES:
        pytest.skip("a guess finds no chain")
    assert two_strongest(fitted[0].connectivity_) == CHAIN


def test_names_and_form_survive(fitted, name):
    method = fitted[0]
    c = method.connectivity_
    off = ~np.eye(4, dtype=bool)
    assert c.score.dims == ("target", "source")
    assert c.target.values.tolist() == c.source.values.tolist() == NAMES
    assert np.isnan(np.diag(c.score)).all()
    assert np.isfinite(c.score.values[off]).all() and (c.score.values[off] >= 0).all()
    assert c.attrs["method"] == method.name == name
    assert c.attrs["seconds"] > 0 and c.attrs["version"]
    assert set(method.get_params()) <= set(json.loads(c.attrs["parameters"]))
    assert isinstance(method.diagnostics_, xr.Dataset)


def test_traits_are_kept(fitted):
    method = fitted[0]
    traits, c = method.traits, method.connectivity_
    assert set(traits.input_kinds) <= set(KINDS)
    assert ("sign" in c, "lag_score" in c, "p_value" in c) == (traits.signed, traits.lagged, traits.p_values)
    assert traits.stochastic == ("random_state" in method.get_params())
    symmetric = np.allclose(c.score, c.score.values.T, equal_nan=True)
    assert symmetric != traits.directed
    if traits.signed:
        assert all(c.sign.sel(source=s, target=t) == 1 for s, t in CHAIN)
    if traits.lagged:
        assert c.lag.values[0] == 1 and c.lag_score.dims == ("target", "source", "lag")
    if traits.p_values:
        assert all(0 <= c.p_value.sel(source=s, target=t) < 0.001 for s, t in CHAIN)


def test_result_can_be_stored(fitted, tmp_path):
    c = fitted[0].connectivity_
    assert connectivity.from_netcdf(connectivity.to_netcdf(c, tmp_path / "c.nc")).identical(c)


# ---- permutation, repetition, trials


def test_permuting_neurons_permutes_the_result(name, fitted, recording):
    if name in GUESSES:
        pytest.skip("a guess finds no chain")
    order = [2, 0, 3, 1]
    permuted = cheap(name).fit(recording.isel(neuron=order)).connectivity_
    assert permuted.target.values.tolist() == [NAMES[i] for i in order]
    back = permuted.sel(target=NAMES, source=NAMES)
    if METHODS[name].traits.stochastic:  # other initial weights for each neuron
        off = ~np.eye(4, dtype=bool)
        one, other = back.score.values[off], fitted[0].connectivity_.score.values[off]
        assert two_strongest(back) == CHAIN and np.corrcoef(one, other)[0, 1] > 0.9
    else:
        xr.testing.assert_allclose(back.score, fitted[0].connectivity_.score, rtol=1e-9)


def test_same_seed_same_result(name, fitted, recording):
    again = cheap(name).fit(recording).connectivity_
    assert again.drop_attrs(deep=False).identical(fitted[0].connectivity_.drop_attrs(deep=False))


def test_another_seed_gives_another_result(name, fitted, recording):
    if not METHODS[name].traits.stochastic:
        pytest.skip(f"{name} has no seed")
    other = cheap(name, random_state=1000).fit(recording).connectivity_
    assert not np.allclose(other.score, fitted[0].connectivity_.score, equal_nan=True)


def test_fitting_twice_gives_the_same(name, fitted, recording):
    method = cheap(name).fit(given(name, chain_for(name, seed=5, n_times=400)))
    method.fit(recording)
    np.testing.assert_array_equal(method.connectivity_.score, fitted[0].connectivity_.score)
    assert method.connectivity_.target.values.tolist() == NAMES


def test_array_and_table_give_what_the_recording_gives(name, fitted):
    score = fitted[0].connectivity_.score
    table = cheap(name).fit(given(name, pd.DataFrame(chain_for(name), columns=NAMES))).connectivity_.score
    assert table.identical(score)


def test_several_trials_are_accepted(name):
    if name in GUESSES:
        pytest.skip("a guess finds no chain")
    x = np.concatenate([chain_for(name, seed, 500) for seed in (1, 2, 3)])
    c = cheap(name).fit(given(name, x, neurons=NAMES, trial=TRIAL)).connectivity_
    assert two_strongest(c) == CHAIN


def test_trial_borders_are_no_steps(name):
    """Without a seed, the order of trials cannot matter where no history reaches across their borders."""
    if METHODS[name].traits.stochastic:
        pytest.skip(f"{name} has a seed: another order of trials is another training")
    parts = [chain_for(name, seed, 500) for seed in (1, 2, 3)]
    one, other = (
        cheap(name).fit(given(name, np.concatenate([parts[i] for i in order]), trial=TRIAL)).connectivity_
        for order in ([0, 1, 2], [2, 0, 1])
    )
    xr.testing.assert_allclose(one.score, other.score, rtol=1e-6)


# ---- hyperparameters and input stay as they were


def test_fit_changes_neither_hyperparameters_nor_input(fitted):
    _, before, after = fitted
    assert before[0] == after[0]
    assert before[1].identical(after[1])


def test_fit_leaves_an_array_alone(name):
    x = chain_for(name, n_times=400).astype(np.float32)
    x.flags.writeable = False
    assert cheap(name).fit(given(name, x)).connectivity_.sizes["target"] == 4


def test_hyperparameters_are_keyword_only_and_cloned(name, fitted):
    signature = inspect.signature(METHODS[name].__init__).parameters.values()
    assert {p.kind for p in signature if p.name != "self"} == {inspect.Parameter.KEYWORD_ONLY}
    assert set(CHEAP[name]) <= set(METHODS[name]().get_params())
    copy = clone(fitted[0])
    assert copy.get_params() == fitted[0].get_params()
    assert not hasattr(copy, "connectivity_")


def test_unknown_hyperparameters_are_refused(name):
    with pytest.raises(TypeError, match="number_of_bananas"):
        METHODS[name](number_of_bananas=3)
    with pytest.raises(ValueError, match="Invalid parameter 'number_of_bananas'.*Valid parameters are"):
        METHODS[name]().set_params(number_of_bananas=3)


# ---- bad input


def spoiled(rows, columns, value):
    x = chain(n_times=200)
    x[rows, columns] = value
    return x


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (spoiled([3, 4], 3, np.nan), ValueError, r"2 NaN values in neurons \['n3'\].*drop_sel\(neuron=\['n3'\]\)"),
        (spoiled(7, 0, np.inf), ValueError, r"1 infinite values in neurons \['n0'\]"),
        (spoiled(slice(None), 2, 1.0), ValueError, r"constant in neurons \['n2'\]"),
        (spoiled(slice(None), 3, chain(n_times=200)[:, 0]), ValueError, r"\['n0', 'n3'\] have identical activity"),
        (chain(n_times=200).T, ValueError, r"4 time steps and 200 neurons: it looks transposed"),
        (chain(n_times=200)[:, :1], ValueError, r"one neuron \(n0\)"),
        (chain(n_times=200)[:, 0], ValueError, r"1 dimensions \(200,\)"),
        (chain(n_times=200).astype(str), TypeError, r"activity holds text"),
        (chain(n_times=200).astype(object), TypeError, r"activity holds objects"),
        (None, TypeError, r"activity holds objects"),
        (from_array(chain()).rename(activity="v"), ValueError, r"no 'activity'"),
    ],
    ids=["nan", "inf", "constant", "twins", "transposed", "single", "1-d", "text", "objects", "none", "dataset"],
)
def test_bad_input_is_refused_in_plain_words(name, bad, error, message):
    with pytest.raises(error, match=message):
        cheap(name).fit(given(name, bad))


def test_too_few_steps_are_refused_naming_the_method(name):
    with pytest.raises(ValueError, match=rf"4 time steps but .*{METHODS[name].__name__}.* needs at least \d+"):
        cheap(name).fit(given(name, chain(n_times=4)))


def test_kinds_that_the_method_is_not_made_for_are_refused(name):
    for kind in set(KINDS) - set(METHODS[name].traits.input_kinds):
        with pytest.raises(ValueError, match=f"this one is '{kind}'"):
            cheap(name).fit(from_array(np.abs(chain(n_times=200)), kind=kind))
    recording = from_array(chain(n_times=200)).assign_attrs(kind="unheard of")
    with pytest.raises(ValueError, match="kind is 'unheard of'"):
        cheap(name).fit(recording)


def test_failed_fit_leaves_no_earlier_results(name):
    method = cheap(name).fit(given(name, chain_for(name, n_times=400)))
    with pytest.raises(ValueError, match="NaN"):
        method.fit(given(name, spoiled(0, 0, np.nan)))
    assert not [a for a in vars(method) if a.endswith("_")]
