# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Simulate a network whose wiring is known
#
# **The question: if we knew the wiring, what would we look for in the recording?**
#
# Nobody can tell whether a method finds the connections of a brain without knowing them. So the paper
# {cite:p}`lu2023attention` works in a simulated world of spiking neurons {cite:p}`izhikevich2003simple`: we draw the
# wiring, simulate the voltages, hand only the voltages to a method, and compare. This chapter makes such a world
# and looks at it closely enough to know what a connection does to the neuron that receives it.

# %% tags=["parameters"]
n_neurons: int = 5  # number of neurons; one in five inhibits
connection_probability: float = 0.4  # chance that one drives another
n_steps: int = 5000  # steps of 1 ms
random_state: int = 0  # seed of wiring, neurons and input

# %% tags=["hide-input"]
import importlib.util
import os

if importlib.util.find_spec("causalkit") is None:
    # Colab is handed this one file: fetch the rest.
    os.system("git clone -q --depth 1 https://github.com/causalkit/causalkit")
    os.system("pip install -q ./causalkit")
    os.chdir("causalkit/notebooks")

from causalkit import rerun

parameters = rerun.check_parameters(
    "01_simulate",
    n_neurons=int,
    connection_probability=float,
    n_steps=int,
    random_state=int,
)
rerun.profile_banner()

# %% [markdown]
# ## One network, five seconds
#
# Each neuron has a membrane potential $v$ and a slower recovery variable $u$ that pulls it back:
#
# $$v' = 0.04v^2 + 4.1v + 108 - u + I, \qquad u' = a(bv - u).$$
#
# When $v$ reaches 30 mV the neuron has fired: $v$ falls back to $c$ and $u$ rises by $d$. The input $I$ is noise
# (mean 5, variance 5) plus the spikes of the millisecond before: +5 from each excitatory neuron that fired, −5 from
# each inhibitory one.

# %%
import matplotlib.pyplot as plt
import numpy as np

from causalkit import plots, simulate, summary

recording = simulate.izhikevich(
    n_neurons=n_neurons,
    connection_probability=connection_probability,
    n_steps=n_steps,
    random_state=random_state,
)
print(f"{recording.sizes['time']} steps, {recording.sizes['neuron']} neurons")
print(f"{int((recording.connectivity != 0).sum())} connections")
print(f"about {float(recording.spikes.mean()) * 1000:.0f} spikes a second and neuron")

# %% mystnb={"image": {"alt": "Membrane potentials of the neurons over 300 ms: slow irregular climbs, each ended by a sharp spike that reaches the dashed threshold at 30 mV.", "width": "90%"}, "figure": {"caption": "The first 300 ms, clipped at the threshold as the methods will see them.", "name": "fig-voltages"}}
few = recording.isel(neuron=slice(0, 5))
plots.voltage_traces(few.sel(time=slice(0, 300)))
plt.show()

# %% [markdown]
# ## The wiring behind it
#
# The same object carries the truth. `connectivity` is a matrix with one row a **target** and one column a **source**:
# entry $(i, j)$ says what neuron $j$ does to neuron $i$. That order holds everywhere in this book.

# %% mystnb={"image": {"alt": "The network as a graph on a circle: red arrows from excitatory neurons, blue bars from the inhibitory one.", "width": "60%"}, "figure": {"caption": "Who drives whom. This is what the methods have to find, from the voltages alone.", "name": "fig-wiring"}}
plots.network_graph(recording.connectivity)
plt.show()

# %%
recording.connectivity.to_pandas().astype(int).iloc[:5, :5]

# %% [markdown]
# ## What a connection does
#
# A spike of neuron $j$ changes the input of its targets in the next millisecond and never again. So we look one step
# ahead: by how much more does the voltage of $i$ rise from $t$ to $t+1$ if $j$ fired at $t$? Steps in which $i$ itself
# fires are left out; its own reset would drown everything else.

# %%
effects = summary.spike_effects(recording).values  # mV, (target, source)
off_diagonal = ~np.eye(n_neurons, dtype=bool)
effects = effects[off_diagonal]
weights = recording.connectivity.values[off_diagonal]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Dots for all ordered pairs of neurons in three groups: inhibitory connections lie below zero, unconnected pairs around zero, excitatory connections above zero.", "width": "80%"}, "figure": {"caption": "Each dot is an ordered pair of neurons. The three groups hardly touch.", "name": "fig-effects"}}
import seaborn as sns

names = {-5: "inhibitory", 0: "none", 5: "excitatory"}
with plt.rc_context(plots.style.STYLE):
    groups = [names[int(weight)] for weight in weights]
    ax = sns.stripplot(x=groups, y=effects, order=list(names.values()), size=7)
    ax.axhline(0, color="0.4", linestyle=":")
    ax.set(xlabel="connection from source to target", ylabel="extra rise after a spike (mV)")
plt.show()

# %%
for weight, name in names.items():
    if (weights == weight).any():
        median = np.median(effects[weights == weight])
        print(f"{name:>10}: {median:+.0f} mV in the median")

# %% [markdown]
# A spike moves its targets by about 5 mV, which is what the equations say: the weight is 5 and the step 1 ms. With the
# spike times, the voltages and the lag in hand, the wiring is nearly there for the taking. Keep this in mind for the
# chapters that follow: in this world **the information is in the data**, and the question is which methods get it out
# without being told where to look. Real recordings offer far less; [](../book/own_recording.md) says what that means.
#
# ## Beside the paper's networks
#
# The run above is one small network. The paper simulates 160: ten for each of four sizes and four connection
# probabilities. The next table is a stored run of all of them with this simulator (seeds 0 to 9), with the mean
# firing rate of the recordings that the authors published.

# %%
grid = rerun.stored("simulated_grid.csv")
grid.set_index(["n_neurons", "connection_probability"])

# %%
difference = (grid.rate_hz - grid.published_hz).abs().max()
print(f"largest difference of the mean rates: {difference:.1f} Hz")

# %% [markdown]
# Single small networks range widely, because five neurons draw only five sets of parameters; the means agree. With many
# neurons and many connections the network begins to drive itself, and rates rise.
#
# The recording is stored for the chapters that follow.

# %%
rerun.save("recording", recording, **parameters)
rerun.finish()

# %% [markdown]
# ## What we learned
#
# - A recording here is a table of voltages (time × neuron) that carries its own truth (target × source).
# - A connection acts one step later, by about 5 mV, and is gone: a lag of one.
# - Knowing that, averaging over spikes nearly separates connections from chance. A method for real data must work
#   without knowing it.
#
# ## What to vary
#
# Change the parameters at the top and run everything again, or see [](../book/rerun.md).
#
# 1. Set `n_steps = 500`. What happens to the three groups in {numref}`fig-effects`?
# 2. Set `n_neurons = 40` and `connection_probability = 0.8`. Do the groups still separate?
#
# ```{dropdown} Answers
# 1. They blur. Each dot averages over the spikes of one source; a tenth of the data means a tenth of the spikes and
#    three times the noise.
# 2. Less well: every neuron receives about thirty inputs at once, so the effect of one source is measured
#    against the noise of all others. Methods that account for all sources together do better there; this is the
#    "conditional" in conditional Granger causality.
# ```
