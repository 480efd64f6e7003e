"""Shared by all tests: one thread, reproducible examples, the reference data."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS start: small problems, and exact repeats

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("causalkit", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("causalkit")


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of the published networks and results, which are not part of this repository."""
    folder = os.environ.get("CAUSALKIT_REFERENCE_DATA")
    if not folder or not (Path(folder) / "paper").is_dir():
        pytest.skip("needs the published data: set CAUSALKIT_REFERENCE_DATA to the folder that holds paper/")
    return Path(folder)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
