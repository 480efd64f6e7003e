"""Many runs: a grid of networks and methods in, one tidy table out; resumable, on one machine or on a cluster.

One unit of work is one network and one method with all its seeds. Its result is a file in the store, named by a key
of what went in (data, method, hyperparameters, algorithm version) and a digest of the file itself. So a run computes
only what is missing, and a file that was cut off or altered is noticed and made again.

    grid = sweep.read_grid("grid.yaml")
    print(sweep.run(grid, "store", jobs=4))
    table = sweep.table("store", grid)
"""

from .grids import Grid, read_grid
from .runner import Summary, run
from .stores import Store
from .tables import results, table, with_earlier_rows, write_provenance, write_table
from .work import Unit, units

__all__ = [
    "Grid", "Store", "Summary", "Unit", "read_grid", "results", "run", "table", "units", "with_earlier_rows",
    "write_provenance", "write_table",
]  # fmt: skip
