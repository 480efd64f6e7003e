"""What nbval needs to compare notebooks on any machine; tests of the package have their own conftest."""

import os
import tempfile

# A notebook must not find results that an earlier run left behind, nor leave any in the working tree.
os.environ.setdefault("CAUSALKIT_RESULTS", tempfile.mkdtemp(prefix="causalkit-results-"))
os.environ.setdefault("CAUSALKIT_PROGRESS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # they were executed with all cores: what is printed must survive both


def pytest_collectstart(collector):
    """Skip what differs between machines: stderr, HTML (random ids, seconds) and numbers glued for the prose."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr", "text/html", "application/papermill.record/text/plain")
