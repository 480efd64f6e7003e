# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own data
#
# **The question: what does the package say about one recording, yours, and how much of it may you believe?**
#
# This chapter runs on a file. Without another `path` it takes the example of the repository, five simulated neurons. It reads,
# looks, fits, asks what may be wrong, and writes a page that a colleague can open. `causalkit report` does the same from a terminal
# ([](../book/own_recording.md)).

# %% tags=["parameters"]
path: str = "../examples/five_neurons.csv"  # the recording
dt_ms: float = 0.0  # time step in ms; 0: the file tells it
kind: str = ""  # voltage, spikes, calcium, other; empty: the file's
n_neurons: int = 0  # use the first so many; 0: all
fdr: float = 0.05  # false discovery rate of the graph

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
    "13_your_data",
    path=str,
    dt_ms=float,
    kind=str,
    n_neurons=int,
    fdr=float,
)
rerun.profile_banner(networks=0, seeds=1, device="cpu")

# %% [markdown]
# ## What is in the file?
#
# The first look costs nothing. Are the names, the time step and the kind right? A method can only be as right as these.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from causalkit import (
    default,
    io,
    plots,
    report,
    reporting,
    summary,
)

recording = io.read(path, dt_ms=dt_ms or None, kind=kind or None)
if n_neurons:
    kept = recording.neuron.values[:n_neurons]
    recording = io.read(
        path, dt_ms=dt_ms or None, kind=kind or None, neurons=kept
    )
print(summary.describe(recording))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Traces of the neurons of the file, one below the other, for half a second.", "width": "100%"}, "figure": {"caption": "The first five hundred steps of the first five neurons.", "name": "fig-your-traces"}}
plots.voltage_traces(
    recording.isel(neuron=slice(0, 5), time=slice(0, 500))
)
plt.show()

# %% [markdown]
# ## What may be wrong with it?
#
# Before any graph, questions that have plain answers. Each was counted on simulated recordings whose faults are known, and
# on clean ones. One is weak: a hidden neuron that drives two or three others went unnoticed in 38 of 40 recordings, one that
# drives ten was noticed in all of 20 (stored: `book/results/common_input.csv`, Izhikevich networks).

# %%
findings = reporting.diagnose(recording)
for finding in findings:
    word = "WARNING" if finding.warns else "fine"
    print(f"{word:8s}{finding.title}")

# %% [markdown]
# To see a warning, break the recording: keep its first 300 steps, and let one neuron drift.

# %%
broken = recording.isel(time=slice(0, 300)).copy(deep=True)
drift = broken.activity[:, 0].std() * 3
broken.activity[:, 0] += drift * broken.time / broken.time[-1]
for finding in reporting.diagnose(broken):
    if finding.warns:
        print(f"{finding.title}. {finding.text}\n{finding.advice}\n")

# %% [markdown]
# ## Who drives whom?
#
# The recording chooses the method, by its kind, its time step and its length: the single-index model for long voltages, a Gaussian
# process for short ones, others for spikes, for calcium and for steps that are too long ([](../book/own_recording.md)). Edges of most
# come with sign, lag and p-value.

# %%
choice = default.choose(recording)
found = choice.fit(recording)
print(f"{choice.method}: {choice.why}")

# %%
if "p_value" in found:
    caption = "The graph at every false discovery rate."
    graph = plots.fdr_slider(found, fdr=fdr, caption=caption)
else:
    caption = "The strongest pairs: there are no p-values."
    graph = plots.share_slider(found, caption=caption)
graph

# %% [markdown]
# ## A page for a colleague
#
# One HTML file with all of that, and with a matrix that can be sorted, the lags of the strongest edges, and a second method's
# opinion. It needs no Python, no server and no network. Look for `report.html` in the folder of results.

# %%
page = report(recording, found, fdr=fdr, source=path.split("/")[-1])
page.save(rerun.results_folder() / "report.html")
rerun.remark(str(page))

# %% [markdown]
# Does another look agree? Edges that a second method finds, or that MVGC finds in both halves, deserve more trust.

# %%
table = pd.DataFrame(
    {what: r for what, r in page.comparisons if isinstance(r, dict)}
)
shown = ["rank_correlation", "both", "jaccard"]
rerun.remark(table.T[shown].astype(float).round(2))

# %% [markdown]
# ## What we learned
#
# - A recording takes four calls: read, fit, report, save. The page holds what a methods section needs.
# - Warnings come before edges. The example has none, and three hundred steps of it with a drift have two. A graph in which most
#   pairs are connected is one more thing to be wary of, and the page says so.
# - Silence is no proof. No test can see a neuron that was not recorded and drives two others.
#
# ## What to vary
#
# 1. Set `path` to a file of yours, and `dt_ms` and `kind` if the file does not tell them.
# 2. Set `n_neurons = 3`. Two of five neurons are now hidden: which edges appear that were not there?
# 3. Set `fdr = 0.2`. Does the page's sentence on false edges agree with what you expect?
#
# ```{dropdown} Answers
# 1. A wrong time step changes every lag in ms, and no score. A wrong kind is refused or gives nonsense.
# 2. Neurons that the hidden ones drive together, one earlier than the other, may look connected. Which do depends on the wiring:
#    compare with the graph above.
# 3. It promises a fifth of false edges at most, on average over recordings in which the p-values hold.
# ```

# %%
rerun.finish()
