"""What all tests share."""

import multiprocessing
import multiprocessing.forkserver
import os

import pytest
from hypothesis import settings

# Two test processes on two cores: a thread that waits for another must sleep, or each stops the other.
# Set before torch is imported anywhere, and inherited by every process that a test starts.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

# cuBLAS reads it when it starts, which any test on a GPU may have it do, and without it is not deterministic.
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"

# What worker processes import, loaded once for all tests, from here: tests run in other folders.
multiprocessing.get_context("forkserver").set_forkserver_preload(["stages.prepare_dataset.reading"])
multiprocessing.forkserver.ensure_running()

settings.register_profile("darkroom", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("darkroom")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes longest first, so that two workers end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU, which torch does not find here")
