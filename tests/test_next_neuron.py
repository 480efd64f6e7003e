"""What there is to learn of the next spike's neuron: traces by their sum, the regression where the entropy is known."""

import next_neuron
import numpy as np
import pytest

from causalkit import from_array, spike_tokens
from causalkit.methods.spike_windows import TokenWindows


@pytest.mark.parametrize("timed", [True, False])
def test_traces_are_the_sums_that_they_stand_for(timed):
    rng, taus = np.random.default_rng(0), (2.0, 8.0)
    neuron, clock = rng.integers(0, 3, 40), np.sort(rng.integers(0, 60, 40))
    seen = next_neuron.traces(clock, neuron, 3, timed, taus).reshape(40, 2, 3)
    for k in range(40):
        # as they are at the spike, of earlier steps; or just after the spike before it, with all until then
        earlier = np.arange(40) < k if not timed else clock < clock[k]
        now = clock[k] if timed else clock[k - 1]
        for source in range(3):
            ages = now - clock[earlier & (neuron == source)]
            expected = [np.exp(-ages / tau).sum() for tau in taus]
            np.testing.assert_allclose(seen[k, :, source], expected, rtol=1e-5, atol=1e-6)


def test_the_regression_finds_what_a_markov_chain_tells_and_no_more():
    rng, n, fired = np.random.default_rng(1), 6, [0]
    chain = np.full((n, n), 0.4 / n) + 0.6 * np.roll(np.eye(n), 1, axis=1)
    for _ in range(6000):
        fired.append(rng.choice(n, p=chain[fired[-1]]))
    counts = np.zeros((2 * len(fired), n))
    counts[2 * np.arange(len(fired)), fired] = 1
    entropy = -(chain[0] * np.log(chain[0])).sum()
    data = TokenWindows.cut(spike_tokens.tokenize(from_array(counts, kind="spikes")), 50, 50)
    found, rates = next_neuron.regression(data, n, timed=False)
    assert rates == pytest.approx(np.log(n), abs=0.01)
    assert entropy - 0.1 < found < entropy + 0.1  # four standard errors of 1,200 spikes are .1
