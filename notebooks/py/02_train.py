# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train transformers to forecast
#
# **The question: how well can a transformer forecast the next millisecond, and what does that cost?**
#
# Causalformer {cite:p}`lu2023attention` is trained on one task: given the last steps of all neurons, forecast the
# next step of each. Nothing in the training mentions connections. If its attention is to say anything about wiring,
# the forecast has to be good first; that is what this chapter checks.

# %% tags=["parameters"]
n_neurons: int = 5  # number of neurons; one in five inhibits
connection_probability: float = 0.4  # chance that one drives another
n_steps: int = 5000  # steps of 1 ms
random_state: int = 0  # seed of the network; models are seeded from it too
preset: str = "small"  # "small" (seconds), "fast" or "paper" (its Table 2)
n_seeds: int = 2  # models in the ensemble
max_epochs: int = 6  # passes over the training data at most
precision: str = "float32"  # or "bfloat16", mixed precision
device: str = "auto"  # "auto" takes a GPU where there is one

# %% tags=["hide-input"]
import importlib.util
import os

if importlib.util.find_spec("causalkit") is None:
    # Colab is handed this one file: fetch the rest.
    os.system("git clone -q --depth 1 https://github.com/causalkit/causalkit")
    os.system("pip install -q ./causalkit")
    os.chdir("causalkit/notebooks")

from causalkit import rerun
from causalkit.training import choose_device, device_name

parameters = rerun.check_parameters(
    "02_train",
    n_neurons=int,
    connection_probability=float,
    n_steps=int,
    random_state=int,
    preset=str,
    n_seeds=int,
    max_epochs=int,
    precision=str,
    device=str,
)
rerun.profile_banner(seeds=n_seeds, device=device_name(choose_device(device)))

# %% [markdown]
# ## The recording
#
# The network of the first chapter. Stored there, it is loaded; otherwise it is simulated again, to the same values.

# %%
import matplotlib.pyplot as plt

from causalkit import Causalformer, metrics, plots, simulate

world = {
    "n_neurons": n_neurons,
    "connection_probability": connection_probability,
    "n_steps": n_steps,
    "random_state": random_state,
}
recording = rerun.reuse("recording", simulate.izhikevich, **world)
print(f"{recording.sizes['time']} steps, {recording.sizes['neuron']} neurons")

# %% [markdown]
# ## The model
#
# Every neuron at every step of the history is a token. The **encoder** lets a neuron attend to its own history only. In the
# **decoder** each neuron asks one question, "what comes next for me?", first of its own history, then, in the
# *global cross-attention*, of everybody's. Whatever neuron $i$ learns about neuron $j$ passes through that one place, which is
# why the next chapter reads it.
#
# One transformer's attention depends on its random start, so several are trained and averaged. All members of the ensemble
# train side by side in one stacked program.

# %%
training = {
    "preset": preset,
    "n_seeds": n_seeds,
    "max_epochs": max_epochs,
    "random_state": random_state,
}
model = Causalformer(**training, device=device, precision=precision)
model.fit(recording)
size = sum(weights.numel() for weights in model.network_.parameters())
print(f"{n_seeds} transformers of {size // n_seeds:,} parameters")

# %% tags=["hide-input"]
seconds = model.connectivity_.attrs["seconds"]
rerun.remark(f"Trained in {seconds:.0f} s on {device_name(model.device_)}.")

# %% [markdown]
# ## Did it learn?
#
# The first 60 % of the recording train the models; the next 20 % say when to stop: each member keeps the weights with the
# lowest validation loss. The last 20 % are not touched until the end.

# %% mystnb={"image": {"alt": "Training and validation loss of each model against the epoch: steep falls in the first epochs, then ever slower, with a dot at each model's best epoch.", "width": "80%"}, "figure": {"caption": "Mean squared error of each member, in units of the neurons' variance.", "name": "fig-training"}}
plots.training_curves(model.training_)
plt.show()

# %% [markdown]
# ## How good is the forecast?
#
# On the untouched last fifth, $R^2$ says which share of a neuron's variance is forecast: 1 is perfect, 0 is no better than the
# mean.

# %%
forecast = model.predict(recording).isel(time=slice(-900, None))
ensemble_r2 = model.diagnostics_.ensemble_test_r2
member_r2 = model.diagnostics_.test_r2
print("ensemble above .7 for every neuron:", bool((ensemble_r2 > 0.7).all()))
print("ensemble better than a member:", bool(ensemble_r2.mean() > member_r2.mean()))

# %% mystnb={"image": {"alt": "True and forecast voltages of five neurons over 150 ms. The forecasts follow the slow climbs closely and most spikes.", "width": "90%"}, "figure": {"caption": "True and forecast voltage, each step forecast from the true steps before it (the paper's Figure 4a).", "name": "fig-forecast"}}
shown = forecast.isel(time=slice(0, 150), neuron=slice(0, 5))
plots.forecast_traces(shown.activity, shown.prediction)
plt.show()

# %% mystnb={"image": {"alt": "Histogram of the R² of each model's forecast for each neuron.", "width": "80%"}, "figure": {"caption": "R² on the test part of every member for every neuron (the paper's Figure 4b shows it for its 1,600 models).", "name": "fig-r2"}}
plots.r2_histogram(member_r2.values.ravel(), what="model × neuron")
plt.show()

# %% [markdown]
# ## A first look at the wiring
#
# The readout is the subject of the next chapter. Its bottom line for this run is one number, the AUROC: the chance that a true
# connection scores above an absent one. The diagonal, a neuron's attention to itself, is left out.

# %%
auroc = metrics.auroc(recording.connectivity, model.connectivity_.score)
rerun.save("attention", model.connectivity_, **world | training)
rerun.remark(f"AUROC of this small run: {auroc:.2f}")
rerun.glue("auroc_ensemble", auroc)
rerun.glue("test_r2", float(ensemble_r2.mean()))

# %% [markdown]
# ## Beside the paper
#
# The run above is small. The next table is **stored**: full training with the paper's Table 2 (261,000 parameters, ten seeds,
# early stopping), by this package, from scratch. Rows beginning with N are networks that the authors published, and the
# last columns are what they report for them; the simulated network is the one above (trained in mixed
# precision, the others in float32).

# %%
table = rerun.stored("causalformer_reference.csv").set_index("network")
columns = {
    "test_r2_mean_of_seeds": "R²",
    "test_r2_mean_of_seeds_of_paper": "R², paper",
    "auroc_off_diagonal": "AUROC",
    "auroc_off_diagonal_of_paper": "AUROC, paper",
    "epochs_mean": "epochs",
}
table[list(columns)].rename(columns=columns).round(3)

# %% [markdown]
# ## What we learned
#
# - A small transformer forecasts spiking voltages well, and an ensemble better than its members.
# - Forecasting well and finding the wiring are two things: compare the columns of the table.
# - Training is the expensive part: seconds for the small network, tens of minutes for the paper's.
#
# ## What to vary
#
# 1. Set `max_epochs = 1`. How much worse is the forecast, and how much worse the AUROC?
# 2. Set `preset = "fast"` and `n_seeds = 10`. It makes one token a neuron instead of five. And the forecast?
# 3. Set `preset = "paper"`, `n_seeds = 10` and `max_epochs = 200` (on a GPU, or over a long coffee; see [](../book/rerun.md) for the cost).
#
# ```{dropdown} Answers
# 1. The forecast is usable after one pass, but the attention has hardly left its random start: the AUROC is close to chance or
#    moves with the seed.
# 2. It is better than that of the paper's network, after ten epochs: [](05_figure2.ipynb) says what the fast network does
#    differently, and what its attention finds.
# 3. You repeat the last row of the table, up to rounding: that row was trained with `precision = "bfloat16"`.
# ```

# %%
rerun.finish()
