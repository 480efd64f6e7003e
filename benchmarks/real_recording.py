"""Methods on real recordings whose cause is known: a grasshopper's ear cell and the sound that it heard.

python benchmarks/real_recording.py    writes book/results/real_recording.csv (minutes)
"""

import json
import time
import warnings
from pathlib import Path

import pandas as pd

from causalkit import MVGC, PairwiseGranger, SingleIndexGranger, __version__, connectivity, datasets

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results"
METHODS = {
    "MVGC": MVGC(),
    "MVGC, up to 20 lags": MVGC(max_order=20),
    "PairwiseGranger": PairwiseGranger(),
    "SingleIndexGranger": SingleIndexGranger(),
    "SingleIndexGranger, up to 10 lags": SingleIndexGranger(max_lag=10),
}


def main():
    rows = []
    for which in (1, 2):
        recording = datasets.grasshopper(which)
        for name, method in METHODS.items():
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = method.fit(recording).connectivity_
            seconds = round(time.perf_counter() - start, 1)
            for edge in connectivity.to_frame(found).itertuples():
                rows.append((which, name, edge.source, edge.target, edge.score, edge.p_value, seconds))
            print(which, name, seconds, flush=True)
    columns = ["experiment", "method", "source", "target", "score", "p_value", "seconds"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(RESULTS / "real_recording.csv", index=False, float_format="%.4g", lineterminator="\n")
    told = {
        "command": "python benchmarks/real_recording.py",
        "causalkit": __version__,
        "data": "two experiments of ten seconds, bins of 1 ms, from nitime (Rokem et al. 2006)",
        "methods": {name: repr(method) for name, method in METHODS.items()},
    }
    (RESULTS / "real_recording.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
