"""Figure and table of the landing page, made of the stored results."""

from pathlib import Path

import matplotlib
import pandas as pd
import seaborn as sns

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results"
LINES = {
    "ensemble_off_diagonal": ("ten transformers,\naveraged", 0, "o"),
    "single_off_diagonal": ("one transformer", 0, "s"),
    "mvgc_aic_off_diagonal": ("linear Granger\ncausality (MVGC)", 1, "^"),
}


def draw(path: Path) -> None:
    """Write the figure of published results: AUROC against network size, averaged over the connection probabilities."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = pd.read_csv(RESULTS / "published_auroc.csv")
    means = table.groupby("n_neurons").mean()
    palette = sns.color_palette("colorblind")
    with sns.axes_style("ticks"), plt.rc_context({"font.size": 13}):
        figure, ax = plt.subplots(figsize=(6.4, 4.4))
        for column, (label, color, marker) in LINES.items():
            style = "--" if column.startswith("single") else "-"
            ax.plot(range(4), means[column], style, marker=marker, markersize=8, color=palette[color], linewidth=2.5)
            shift = {"single_off_diagonal": 0.012, "mvgc_aic_off_diagonal": -0.012}.get(column, 0)
            ax.annotate(
                label, (3, means[column].iloc[-1] + shift), xytext=(10, 0), textcoords="offset points",
                va="center", color=palette[color],
            )  # fmt: skip
        ax.axhline(0.5, color="0.4", linestyle=":")
        ax.annotate("guessing", (3, 0.5), xytext=(10, 0), textcoords="offset points", va="center", color="0.3")
        ax.set(xticks=range(4), xticklabels=means.index, ylim=(0.48, 1), xlim=(-0.2, 3.1))
        ax.set(xlabel="neurons in the network", ylabel="AUROC (1: every connection found)")
        sns.despine(ax=ax)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, bbox_inches="tight")
        plt.close(figure)


def summarize(path: Path) -> None:
    """Write the table that sets this package's stored runs beside the published ones, on the same networks."""
    trained = pd.read_csv(RESULTS / "causalformer_reference.csv").dropna(subset="auroc_off_diagonal_of_paper")
    linear = pd.read_csv(RESULTS / "mvgc_reference.csv")
    linear = linear[linear.network.isin(trained.network)].groupby("method")  # rows must be comparable
    rows = [("Ten averaged transformers", trained, ""), ("One transformer", trained, "_single_mean")]
    rows += [(f"{method[:4]}, {method[5:]}", table, "") for method, table in linear]
    with path.open("w") as file:
        file.write("method,networks,here,paper\n")
        for name, table, suffix in rows:
            column = f"auroc_off_diagonal{suffix}"
            table = table.dropna(subset=[column, f"{column}_of_paper"])
            here, published = table[column].mean(), table[f"{column}_of_paper"].mean()
            file.write(f'"{name}",{len(table)},{here:.3f},{published:.3f}\n')
