"""Shared by all tests: one thread, reproducible examples, the reference data."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of torch: small problems, and exact repeats

# Some virtual machines announce AMX and kill the process that uses it (bfloat16): the tests do without.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

threadpool_limits(1)  # of BLAS, which a plugin of pytest has started by now
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


@pytest.fixture(scope="module")
def browser():
    """Chromium, for the tests of `make test-book`."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CAUSALKIT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert path, "there is no Chromium: run `make system-deps`, or set CAUSALKIT_CHROMIUM to the path of one"
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()
