"""`Conv` on the GPU backend equals the dense oracle: spikes bit by bit, and every gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from cases import EXACT_LIF, GENERAL_LIF, HALF_LEAK, NO_LEAK, device_of
from checks import assert_close, assert_same_lists, assert_something_happened, relative_error
from compare import compare, gradients, stored_for
from sparsespike.backends import gpu
from sparsespike.backends.gpu import conv, plan, precision
from sparsespike.connections.connection import Connection
from sparsespike.descriptions import Cell

DEVICE = device_of("gpu")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@dataclass(frozen=True)
class Case:
    """Connections that drive one layer, all from the same spikes of unit shape `shape`.

    Attributes:
        make: the connections, of this dtype.
        neuron: of the layer.
        shape: (C, H, W) or (C, L) of the input.
        exact: whether parameters are on the grid k/8.
    """

    make: Callable[[torch.dtype], list[Connection]]
    neuron: Any = EXACT_LIF
    shape: tuple[int, ...] = (4, 7, 6)
    steps: int = 9
    rate: float = 0.3
    active: float = 0.5
    exact: bool = True
    dtype: torch.dtype = torch.float64

    def spikes(self) -> tuple[ss.Spikes, Tensor]:
        """The input, and the leaf that takes its gradient."""
        draw = torch.Generator().manual_seed(0)
        size = 2, self.steps, *self.shape
        dense = (torch.rand(size, generator=draw) < self.rate).to(self.dtype).requires_grad_()
        active = torch.rand(size, generator=draw) < self.active
        return ss.Spikes.from_dense(dense, active=active), dense

    def layer(self, backend: str) -> ss.Layer:
        """The layer, on a backend."""
        torch.manual_seed(0)
        connections = self.make(self.dtype)
        with torch.no_grad():
            for parameter in nn.ModuleList(connections).parameters():
                value = torch.randn(parameter.shape, dtype=torch.float64) * 0.4 + 0.1
                parameter.copy_((8 * value).round() / 8 if self.exact else value)
        one = connections[0] if len(connections) == 1 else connections
        return ss.Layer(one, self.neuron, backend=backend).to(device_of(backend))

    def run(self, backend: str) -> tuple[Any, dict[str, Tensor | None]]:
        """Output and every gradient, under random upstream gradients."""
        layer, (spikes, leaf) = self.layer(backend), self.spikes()
        stored = stored_for(spikes, backend)
        n_term = len(layer.connection) if isinstance(layer.connection, nn.ModuleList) else 1
        out = layer(*[stored] * n_term).to("cpu")
        value = out.value if isinstance(out, ss.Spikes) else out
        draw = torch.Generator().manual_seed(1)
        upstream = torch.randn(value.shape, generator=draw, dtype=torch.float64)
        (value * upstream.to(value.dtype)).sum().backward()
        return out, gradients(layer, leaf)


def assert_equals_the_oracle(case: Case) -> None:
    (out, found), (expected, wanted) = case.run("gpu"), case.run("dense")
    for name, grad in wanted.items():
        assert grad is not None, name
        assert grad.any(), name
    if isinstance(expected, ss.Spikes):
        assert_something_happened(expected)
        assert expected.n_active > 0
        assert out.unit_shape == expected.unit_shape
        assert_same_lists(out, expected)
    else:
        assert expected.any()
        assert_close(out.detach(), expected.detach(), "potential")
    assert compare(found, wanted)["learning"]


def plain(dtype: torch.dtype) -> list[Connection]:
    return [ss.Conv2d(4, 3, 3, padding=1, bias=True, dtype=dtype)]


def uneven(dtype: torch.dtype) -> list[Connection]:
    """Strides and taps that differ along the axes, groups; rows are left over at the end."""
    return [
        ss.Conv2d(
            4, 6, (3, 2), stride=(2, 3), padding=(1, 2), dilation=(2, 1), groups=2, dtype=dtype
        )
    ]


def skip(dtype: torch.dtype) -> list[Connection]:
    return [ss.Conv2d(4, 3, 3, padding=1, dtype=dtype), ss.Conv2d(4, 3, 1, bias=True, dtype=dtype)]


def beside_linear(dtype: torch.dtype) -> list[Connection]:
    return [ss.Linear(168, 126, bias=True, dtype=dtype), *plain(dtype)]


def same(dtype: torch.dtype) -> list[Connection]:
    """An even number of taps: one zero more after than before."""
    return [ss.Conv2d(4, 3, (2, 4), padding="same", bias=True, dtype=dtype)]


class Before(ss.Conv2d):
    """More zeros before than after, as a description can have them and no argument says."""

    def _pads(self, kernel: Sequence[int]) -> list[tuple[int, int]]:
        return [(2, 1), (3, 0)]


def before(dtype: torch.dtype) -> list[Connection]:
    return [Before(4, 3, 3, dtype=dtype)]


def along_one_axis(dtype: torch.dtype) -> list[Connection]:
    return [ss.Conv1d(6, 5, 4, padding="same", bias=True, dtype=dtype)]


# ---- equal to the oracle -------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize(
    ("reset", "detach"), [("subtract", True), ("subtract", False), ("zero", False)]
)
def test_convolution_equals_the_oracle(reset, detach, dtype):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach)
    assert_equals_the_oracle(Case(plain, neuron, dtype=dtype))


@DTYPES
@pytest.mark.parametrize(
    "make", [uneven, skip, beside_linear, same], ids=lambda made: made.__name__
)
def test_every_sort_of_convolution_equals_the_oracle(make, dtype):
    assert_equals_the_oracle(Case(make, dtype=dtype))


def test_zeros_before_equal_the_oracle():
    assert_equals_the_oracle(Case(before))


def test_convolution_along_one_axis_equals_the_oracle():
    assert_equals_the_oracle(Case(along_one_axis, shape=(6, 11)))


def test_readout_of_a_convolution_equals_the_oracle():
    assert_equals_the_oracle(Case(skip, ss.Readout(**HALF_LEAK), dtype=torch.float32))


def test_potentials_off_the_grid_equal_the_oracle():
    assert_equals_the_oracle(Case(same, GENERAL_LIF.changed(detach_reset=False), exact=False))


@pytest.mark.parametrize("make", [same, beside_linear], ids=lambda made: made.__name__)
@pytest.mark.parametrize("transient", [1, 2**30], ids=["many", "one"])
def test_segments_and_parts_of_a_batch_equal_the_oracle(monkeypatch, make, transient):
    """Of one word and one sample each, or all at once; the last word is not full."""
    case = Case(make, ss.LIF(**NO_LEAK, b_th=0.5), steps=70, rate=0.02, active=0.1)
    monkeypatch.setattr(plan, "TRANSIENT", transient)
    parts: list[tuple[int, int]] = []
    scatter = conv.ConvSynapses.scatter

    def counted(self, first: int, words: int, current: Tensor) -> None:
        parts.extend((first, sample) for sample, _ in self.samples(words))
        scatter(self, first, words, current)

    monkeypatch.setattr(conv.ConvSynapses, "scatter", counted)
    assert_equals_the_oracle(case)
    every = [(word, sample) for word in range(3) for sample in range(2)]
    assert set(parts) == set(every if transient == 1 else [(0, 0)])


def test_input_without_active_set_gets_no_gradient():
    layer, spikes = Case(plain).layer("gpu"), Case(plain).spikes()[0]
    stored = stored_for(ss.Spikes.from_dense(spikes.to_dense().detach()), "gpu")
    layer(stored).value.sum().backward()
    grad = layer.connection.weight.grad
    assert grad is not None
    assert grad.any()
    expected = Case(plain).layer("dense")
    expected(spikes.detach()).value.sum().backward()
    assert compare({"weight": grad.cpu()}, {"weight": expected.connection.weight.grad})["learning"]


def test_no_samples_have_gradients_of_zero():
    layer = Case(plain).layer("gpu")
    spikes = ss.Spikes.from_dense(torch.zeros(0, 9, 4, 7, 6, dtype=torch.float64))
    out = layer(stored_for(spikes, "gpu"))
    assert out.shape == (0, 9, 126)
    out.value.sum().backward()
    assert not layer.connection.weight.grad.any()


# ---- precision and refusals ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_rounds_operands_and_no_sums(dtype):
    """Currents are sums, in float32, of weights rounded to the 16-bit dtype: a readout shows them."""
    case = Case(plain, ss.Readout(**HALF_LEAK), exact=False, dtype=torch.float32)
    layer, spikes = case.layer("gpu"), stored_for(case.spikes()[0], "gpu")
    weight = layer.connection.weight
    full = layer(spikes)
    (grad_full,) = torch.autograd.grad(full.square().sum(), weight)
    with torch.autocast(DEVICE, dtype):
        coarse = layer(spikes)
    (grad,) = torch.autograd.grad(coarse.square().sum(), weight)
    for found, exact in ((coarse.detach(), full.detach()), (grad, grad_full)):
        assert 1e-5 < relative_error(found, exact) < 1e-2
    with torch.no_grad():
        weight.copy_(weight.to(dtype))
    assert_close(coarse.detach(), layer(spikes).detach(), "potential")


@pytest.mark.parametrize(
    ("chosen", "wanted"), [("full", "ieee"), ("tf32", "tf32"), ("bfloat16", "tf32")]
)
@pytest.mark.parametrize("before", ["ieee", "tf32"])
def test_cudnn_multiplies_as_asked_and_its_switches_are_put_back(chosen, wanted, before):
    cudnn: Any = torch.backends.cudnn
    deterministic = cudnn.deterministic
    own, how = cudnn.conv.fp32_precision, precision.products(torch.float32, chosen)
    cudnn.conv.fp32_precision = before
    try:
        with conv.multiplying(how, torch.device(DEVICE)):
            assert (cudnn.conv.fp32_precision, cudnn.deterministic) == (wanted, True)
        assert (cudnn.conv.fp32_precision, cudnn.deterministic) == (before, deterministic)
    finally:
        cudnn.conv.fp32_precision = own


def test_connection_without_kernel_is_refused_by_name():
    @dataclass(frozen=True)
    class Pairwise:
        n_out: int = 126

    case, strange = Case(plain), Pairwise()
    (term,) = case.layer("gpu").connection(stored_for(case.spikes()[0], "gpu")).terms
    terms = [term, term._replace(connection=strange)]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match='"gpu" has no kernel for Pairwise'):
        gpu.spiking_forward(terms, Cell(EXACT_LIF.describe()), "full", True)
