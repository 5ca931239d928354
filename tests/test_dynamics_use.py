"""Neurons of the form as users of PyTorch treat modules: subclassed, copied, pruned, damaged, mixed."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import sparsespike as ss
from checks import relative_error

F64 = torch.float64


def spikes(*shape: int, rate: float = 0.3, seed: int = 0) -> ss.Spikes:
    draw = torch.Generator().manual_seed(seed)
    dense = (torch.rand(shape, generator=draw) < rate).double()
    return ss.Spikes.from_dense(dense, active=torch.rand(shape, generator=draw) < 0.5)


def ran(layer: nn.Module, given: ss.Spikes, backend: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and gradients of all parameters, under a loss that tells entries apart."""
    layer.zero_grad()
    with ss.use_backend(backend):
        out = layer(given)
        dense = out.to_dense() if isinstance(out, ss.Spikes) else out
        up = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
        (dense * up).sum().backward()
    return dense.detach(), {n: p.grad for n, p in layer.named_parameters() if p.grad is not None}


def assert_as_the_oracle(layer: nn.Module, given: ss.Spikes) -> None:
    out, expected = ran(layer, given, "dense")
    expected = {name: grad.clone() for name, grad in expected.items()}
    mine, found = ran(layer, given, "cpu")
    assert 0 < out.mean() < 0.7
    assert torch.equal(mine, out)
    assert found.keys() == expected.keys() == dict(layer.named_parameters()).keys()
    for name, grad in expected.items():
        assert bool((grad != 0).any()), name
        assert relative_error(found[name], grad) < 1e-11, name


def lif(n: int, **settings: Any) -> ss.LIF:
    tau = torch.linspace(3, 9, n, dtype=F64)
    band: dict[str, Any] = {"b_th": 0.4, "surrogate": ss.FastSigmoid(5.0)}
    return ss.LIF(tau, 1.0, **band, **{"learn": ("tau_mem",), **settings})


@pytest.mark.parametrize("reset", ["subtract", "clear"])
def test_convolutions_that_are_recurrent(reset):
    torch.manual_seed(0)
    neuron = lif(4 * 5 * 6, reset=reset, detach_reset=False)
    layer = ss.Layer(
        ss.Conv2d(2, 4, 3, padding=1), neuron, recurrent=ss.Conv2d(4, 4, 3, padding=1)
    ).double()
    assert_as_the_oracle(layer, spikes(2, 20, 2, 5, 6))


def test_sparse_synapses_that_are_recurrent():
    torch.manual_seed(0)
    layer = ss.Layer(
        ss.Linear(12, 30), lif(30), recurrent=ss.SparseLinear.random(30, 30, fan_in=5, seed=0)
    ).double()
    assert_as_the_oracle(layer, spikes(2, 25, 12))


def test_a_convolution_and_a_connection_with_delays_into_one_layer():
    torch.manual_seed(0)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = ss.Conv2d(2, 3, 3, padding=1)
            self.late = ss.Linear(40, 60, delay=ss.Delay(4, learn=True))
            self.lif = lif(60)
            nn.init.normal_(self.conv.weight, 0.1, 0.4)
            nn.init.normal_(self.late.weight, 0.0, 0.3)

        def forward(self, x: ss.Spikes) -> ss.Spikes:
            return self.lif(self.conv(x) + self.late(x))

    assert_as_the_oracle(Both().double(), spikes(2, 20, 2, 4, 5))


class Hasty(ss.LIF):
    """Leaks twice as fast as it says: another form of the same numbers."""

    def matrices(self) -> ss.Matrices:
        return super().matrices()._replace(A=[[self.alpha**2]])


class HastyReadout(ss.Readout):
    def matrices(self) -> ss.Matrices:
        return super().matrices()._replace(A=[[self.alpha**2]])


def test_a_subclass_with_a_form_of_its_own_is_not_taken_for_what_it_was_made_of():
    torch.manual_seed(0)
    given = spikes(2, 30, 12)
    linear = ss.Linear(12, 8, dtype=F64)
    nn.init.normal_(linear.weight, 0.2, 0.5)
    half = -1 / (2 * math.log(ss.LIF(5.0, 1.0).alpha))
    for backend in ("dense", "cpu"):
        with ss.use_backend(backend):
            mine = Hasty(5.0, 1.0)(linear(given)).to_dense()
            assert not torch.equal(mine, ss.LIF(5.0, 1.0)(linear(given)).to_dense())
            assert torch.equal(mine, ss.LIF(half, 1.0)(linear(given)).to_dense())
            read = HastyReadout(5.0, 1.0)(linear(given))
            assert not torch.allclose(read, ss.Readout(5.0, 1.0)(linear(given)))
    state = Hasty(5.0, 1.0).step(Hasty(5.0, 1.0).initial(torch.zeros(3)), torch.ones(3))
    assert len(state) == 3  # V, S and the state of the form


def test_a_subclass_with_a_step_of_its_own_learns_on_the_oracle():
    class Noisy(ss.LIF):
        def step(self, state, current):
            return super().step(state, current + 0.01)

    torch.manual_seed(0)
    tau = torch.linspace(3, 9, 8, dtype=F64)
    layer = ss.Layer(ss.Linear(12, 8, dtype=F64), Noisy(tau, 1.0, b_th=0.5, learn=("tau_mem",)))
    nn.init.normal_(layer.connection.weight, 0.2, 0.5)
    with ss.use_backend("dense"):
        layer(spikes(2, 30, 12)).to_dense().sum().backward()
    grads = {name: p.grad for name, p in layer.named_parameters()}
    found = grads["neuron.tau_mem"]
    assert found is not None
    assert found.abs().sum() > 0
    with pytest.raises(ValueError, match="no kernel for Noisy"):
        layer(spikes(2, 30, 12))


def test_a_copy_is_a_layer_of_its_own_and_pruned_recurrent_weights_are_pruned():
    torch.manual_seed(0)
    layer: Any = ss.Layer(ss.Linear(12, 8), lif(8), recurrent=ss.Linear(8, 8)).double()
    nn.init.normal_(layer.recurrent.weight, 0.0, 0.5)
    given = spikes(2, 30, 12)
    other = copy.deepcopy(layer)
    assert torch.equal(layer(given).to_dense(), other(given).to_dense())
    with torch.no_grad():
        other.neuron.tau_mem.fill_(100.0)
    assert not torch.equal(layer(given).to_dense(), other(given).to_dense())
    assert layer.neuron.tau_mem.max() == 9
    prune.l1_unstructured(layer.recurrent, "weight", amount=64)
    alone = ss.Layer(layer.connection, layer.neuron)
    assert torch.equal(layer(given).to_dense(), alone(given).to_dense())


def test_a_number_that_is_no_longer_one_is_named():
    layer = ss.Layer(ss.Linear(12, 8), lif(8, learn=("tau_mem", "v_th"))).double()
    for name in ("tau_mem", "v_th"):
        broken = copy.deepcopy(layer)
        with torch.no_grad():
            getattr(broken.neuron, name).reshape(-1)[0] = math.nan
        with pytest.raises(ValueError, match=f"{name}: expected .*found nan"):
            broken(spikes(2, 30, 12))


def test_delays_of_another_size_than_the_weight_are_named():
    linear = ss.Linear(12, 8, delay=ss.Delay(3), dtype=F64)
    linear.weight = nn.Parameter(torch.zeros(8, 13, dtype=F64))
    with pytest.raises(ValueError, match=r"delay: expected steps \(8, 13\), one per synapse"):
        linear(spikes(2, 30, 13))


class Sharing(ss.Neuron):
    """Neurons whose leaks share one budget: each depends on the numbers of all."""

    numbers = ("pull",)

    def __init__(self, pull: Tensor):
        self.pull = pull
        self.learn(("pull",))

    def matrices(self) -> ss.Matrices:
        share = torch.softmax(torch.as_tensor(self.pull), 0)
        return ss.Matrices([[1 - share]], [1.0], [1.0], 1.0, reset=[1.0])


def test_learned_numbers_that_mix_neurons_are_refused_where_they_would_be_wrong():
    torch.manual_seed(0)
    layer: Any = ss.Layer(ss.Linear(12, 8, dtype=F64), Sharing(torch.randn(8, dtype=F64)))
    layer.neuron.b_th = 5.0
    given = spikes(2, 30, 12)
    with ss.use_backend("dense"):
        layer(given).to_dense().sum().backward()
    assert layer.neuron.pull.grad.abs().sum() > 0
    with pytest.raises(
        ValueError, match="matrices: expected A of each neuron to depend on its own"
    ):
        layer(given)
