"""Set-up of all tests: seeds, uninitialised memory full of NaN, Hypothesis.

What is read before it was written should fail loudly: `torch.empty` is filled with NaN by torch
itself, and the heap, from which NumPy's and Numba's `np.empty` take their arrays, by glibc.
"""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from interpreter import speed_up
from small_package import Small

# Without a GPU the GPU backend runs in Triton's interpreter, which wants to know before kernels are defined.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

M_PERTURB = -6  # glibc's mallopt: fills what malloc gives with the complement of a byte
ALL_ONES = 0x100  # whose lowest byte is 0: memory of 0xFF bytes, NaN as float, -1 as integer


def pytest_configure() -> None:
    if "TRITON_INTERPRET" in os.environ:
        speed_up()
    torch.use_deterministic_algorithms(True)  # fills `torch.empty` too
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_PERTURB, ALL_ONES)


# `pytest --hypothesis-profile=search` looks for cases that nobody has seen yet.
common = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("fixed", parent=common, derandomize=True)
settings.register_profile("search", parent=common, derandomize=False)
settings.load_profile("fixed")


def pytest_runtest_setup() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, what third parties draw from
    torch.manual_seed(0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two torch threads, hence two ranges of samples in the CPU backend."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def forking() -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(Path(__file__).with_name("forking.py"))]
    pipe = subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def small(tmp_path: Path, forking: subprocess.Popen[str]) -> Small:
    return Small(tmp_path, forking)


@pytest.fixture
def plain_pytorch() -> Iterator[None]:
    """Where kernels, which take long to compile, make no difference."""
    import sparsespike as ss  # after the interpreter is chosen

    with ss.use_backend("dense"):
        yield
