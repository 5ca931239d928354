"""Threads and processes: the same result whatever computes it, and computing anywhere is safe."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import sparsespike as ss
from cases import BASE
from checks import assert_close, assert_same_lists, assert_something_happened
from sparsespike.backends import BACKENDS
from sparsespike.backends.cpu import threads

# Threads and processes of the host; what a GPU does at the same time twice is in `test_gpu.py`.
FAST = tuple(name for name in BACKENDS if name not in ("dense", "gpu"))
CASE = replace(BASE, batch=9, steps=20, sizes=(30, 70), dtype=torch.float32, bias=True)

Result = tuple[ss.Spikes, Tensor, Tensor]  # spikes, gradient of the weight, of the input

pytestmark = pytest.mark.parametrize("backend", FAST)


def compute(backend: str, seed: int = 0) -> Result:
    """A training step of one layer: spikes, gradient of the weight, of the input."""
    case = replace(CASE, seed=seed)
    (layer,) = case.layers(backend)
    spikes, leaf = case.spikes()
    out = layer(spikes)
    upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)
    (out.value * upstream.to(case.dtype)).sum().backward()
    grad = layer.connection.weight.grad
    assert grad is not None
    assert leaf is not None
    assert leaf.grad is not None
    assert_something_happened(out, grad, leaf.grad)
    return out, grad, leaf.grad


def assert_same_bits(found: Result, expected: Result) -> None:
    assert_same_lists(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])


def send_result(backend: str, end: Connection) -> None:
    """Computes in another process; NumPy arrays through the pipe, since those need no server.

    One torch thread, as `DataLoader` gives its workers: torch's own OpenMP hangs in a forked child.
    """
    end.send(threads.run_all(lambda first, last: (first, last), [(0, 1), (1, 2), (2, 3)]))
    torch.set_num_threads(1)
    out, grad_weight, grad_input = compute(backend)
    lists = (grad_weight, out.unit, out.offset, out.active_unit, out.active_offset, grad_input)
    end.send([tensor.numpy() for tensor in lists])


class LayerOutputs(Dataset):
    """What a layer makes of each of four inputs, computed where the item is asked for."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> ss.Spikes:
        return compute(self.backend, seed=index)[0]


def only(batch: list[ss.Spikes]) -> ss.Spikes:
    (spikes,) = batch
    return spikes


@pytest.mark.usefixtures("two_threads")
def test_repeated_computation_gives_the_same_bits(backend):
    expected = compute(backend)
    for _ in range(5):
        assert_same_bits(compute(backend), expected)


@pytest.mark.usefixtures("two_threads")
def test_thread_count_changes_no_spike_and_no_input_gradient(backend):
    out, grad_weight, grad_input = compute(backend)
    for count in (1, 3, 16):
        torch.set_num_threads(count)
        found = compute(backend)
        assert_same_lists(found[0], out)
        assert torch.equal(found[2], grad_input)
        assert_close(found[1], grad_weight, f"weight gradient with {count} threads", 2e-6)


@pytest.mark.usefixtures("two_threads")
def test_calls_from_several_threads_at_once_do_not_disturb_each_other(backend):
    expected = [compute(backend, seed) for seed in range(4)]

    def work(seed: int) -> list[Result]:
        torch.set_num_threads(2)  # in force per thread
        return [compute(backend, seed) for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        for seed, results in enumerate(pool.map(work, range(4))):
            for found in results:
                assert_same_bits(found, expected[seed])


def test_chosen_backend_is_each_threads_own(backend):
    layer = ss.Layer(ss.Linear(30, 70), ss.LIF(tau_mem=1.0, dt=1.0))
    spikes = replace(CASE, active=0.0).spikes()[0]

    def answer(name: str) -> str:
        with ss.use_backend(name):
            return str(layer(spikes).value.grad_fn is not None) + name

    with ThreadPoolExecutor(2) as pool:
        names = [backend, "dense"] * 5
        assert list(pool.map(answer, names)) == [f"True{name}" for name in names]


@pytest.mark.usefixtures("two_threads")
def test_forked_child_computes_the_same(backend):
    """After the parent's threads ran: the child must not wait for threads that it has not got."""
    expected = compute(backend)
    fork = multiprocessing.get_context("fork")
    for _ in range(2):
        here, there = fork.Pipe()
        child = fork.Process(target=send_result, args=(backend, there))
        child.start()
        try:
            assert here.poll(60), "the forked child gave no answer within 60 s"
            assert here.recv() == [(0, 1), (1, 2), (2, 3)]  # our pool is made anew
            assert here.poll(60), "the forked child computed nothing within 60 s"
            found = [torch.from_numpy(array) for array in here.recv()]
        finally:
            child.join(10)
            child.kill()
        out, grad_weight, grad_input = expected
        lists = (out.unit, out.offset, out.active_unit, out.active_offset, grad_input)
        for tensor, other in zip(found[1:], lists, strict=True):
            assert torch.equal(tensor, other)
        assert_close(found[0], grad_weight, "weight gradient of the child", 2e-6)
    assert_same_bits(compute(backend), expected)


def test_data_loader_workers_compute_the_same(backend):
    loader = DataLoader(LayerOutputs(backend), collate_fn=only, num_workers=2)
    for index, found in enumerate(loader):
        expected = compute(backend, seed=index)[0]
        assert not found.value.requires_grad
        assert_same_lists(found, expected.to(torch.float32))


def test_fresh_process_loads_compiled_kernels_and_computes_the_same(backend):
    out, grad_weight, _ = compute(backend)
    code = (
        "import test_parallel, torch; torch.set_num_threads(1)\n"
        f"out, grad, _ = test_parallel.compute({backend!r})\n"
        "print(out.n_spikes, out.n_active, grad.double().sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    n_spikes, n_active, total = done.stdout.split()
    assert (int(n_spikes), int(n_active)) == (out.n_spikes, out.n_active)
    assert float(total) == pytest.approx(grad_weight.double().sum().item(), rel=1e-4)
