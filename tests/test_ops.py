"""What autograd, its transforms and the compiler see of a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import sparsespike as ss
from cases import BASE, NETWORKS, Case
from checks import assert_close, assert_same_gradient, assert_something_happened
from compare import stored_for
from sparsespike import ops
from sparsespike.backends import BACKENDS

SMALL = replace(BASE, batch=2, steps=5, sizes=(4, 3), rate=0.5)
CASES = (
    SMALL,
    replace(SMALL, name="bias", bias=True),
    replace(SMALL, name="plain_input", active=0.0),
    replace(SMALL, name="one_output", sizes=(4, 1), dtype=torch.float32),
    replace(SMALL, name="silent", rate=0.0),
)
every_fast_backend = pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "dense"])
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


# ---- gradients -----------------------------------------------------------------------------------


def readout_of(case: Case, backend: str) -> ss.Layer:
    (layer,) = case.layers(backend)
    return ss.Layer(layer.connection, ss.Readout(tau_mem=1.0, dt=1.0), backend=backend)


@every_backend
def test_readout_gradient_of_its_parameters_is_that_of_finite_differences(backend):
    """The readout is linear in them; not so in `value`, which a backend reads as 0 and 1 only."""
    layer = readout_of(replace(SMALL, bias=True), backend)
    spikes = stored_for(SMALL.spikes()[0].detach(), backend)
    names = ("connection.weight", "connection.bias")

    def potential(*parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (spikes,))

    parameters = [layer.get_parameter(name) for name in names]
    assert potential(*parameters).any()
    assert torch.autograd.gradcheck(potential, parameters)


def test_dense_readout_gradient_of_its_input_is_that_of_finite_differences():
    layer, spikes = readout_of(SMALL, "dense"), SMALL.spikes()[0]

    def potential(value: Tensor) -> Tensor:
        return layer(replace(spikes, value=value))

    assert torch.autograd.gradcheck(potential, (spikes.value.detach().requires_grad_(),))


@every_backend
def test_spiking_backward_is_linear_in_the_gradient_above(backend):
    (layer,) = SMALL.layers(backend)
    spikes, leaf = SMALL.spikes()
    assert leaf is not None
    out = layer(stored_for(spikes, backend))
    one, other = torch.randn(2, len(out.value), dtype=torch.float64, device=out.device)

    def backward(grad: Tensor) -> tuple[Tensor, ...]:
        inputs = (layer.connection.weight, leaf)
        return torch.autograd.grad(out.value, inputs, grad, retain_graph=True)

    for a, b, both in zip(backward(one), backward(other), backward(one - 2 * other), strict=True):
        assert bool((both != 0).any())
        assert_close(both, a - 2 * b, "backward of a sum")


@every_backend
@pytest.mark.parametrize("readout", [False, True], ids=["spiking", "readout"])
def test_second_derivative_is_refused(backend, readout):
    """The surrogate has none; a silent zero would be wrong."""
    (layer,) = SMALL.layers(backend)
    if readout:
        layer = ss.Layer(layer.connection, ss.Readout(tau_mem=1.0, dt=1.0), backend=backend)
    out = layer(stored_for(SMALL.spikes()[0], backend))
    value = out if readout else out.value
    weight = layer.connection.weight

    def twice() -> None:
        (grad,) = torch.autograd.grad(value.square().sum(), weight, create_graph=True)
        grad.square().sum().backward()

    with pytest.raises(RuntimeError, match="sparsespike"):
        twice()


@every_backend
def test_gradient_of_a_used_up_graph_is_refused_by_torch(backend):
    (layer,) = SMALL.layers(backend)
    total = layer(stored_for(SMALL.spikes()[0], backend)).value.sum()
    total.backward()
    with pytest.raises(RuntimeError, match="second time"):
        total.backward()


@every_backend
def test_gradients_accumulate_over_two_batches(backend):
    (layer,) = BASE.layers(backend)
    grads = []
    for seed in (0, 1):
        layer.zero_grad()
        layer(stored_for(replace(BASE, seed=seed).spikes()[0], backend)).value.sum().backward()
        assert layer.connection.weight.grad is not None
        grads.append(layer.connection.weight.grad.clone())
    layer(stored_for(replace(BASE, seed=0).spikes()[0], backend)).value.sum().backward()
    assert_same_gradient(layer.connection.weight.grad, grads[0] + grads[1], "sum of two batches")


@every_backend
def test_layer_used_twice_sums_both_gradients(backend):
    (layer,) = replace(BASE, sizes=(7, 7)).layers(backend)
    spikes = replace(BASE, sizes=(7, 7), active=0.0).spikes()[0]
    twice = layer(layer(stored_for(spikes, backend)))
    assert_something_happened(twice.to("cpu"))
    twice.value.sum().backward()
    (oracle,) = replace(BASE, sizes=(7, 7)).layers("dense")
    oracle(oracle(spikes)).value.sum().backward()
    assert_same_gradient(layer.connection.weight.grad, oracle.connection.weight.grad, "weight")


@every_backend
def test_result_survives_changes_of_weights_after_it(backend):
    """The backward needs the weights of the forward: torch notices when they changed in place."""
    net = network(NETWORKS[0], backend)
    loss = step_loss(net, stored_for(NETWORKS[0].spikes()[0], backend))
    with torch.no_grad():
        next(iter(net.parameters())).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ---- compiler ------------------------------------------------------------------------------------


def network(case: Case, backend: str) -> ss.Network:
    *hidden, last = case.layers(backend)
    readout = ss.Readout(tau_mem=4.0, dt=1.0)
    return ss.Network(*hidden, ss.Layer(last.connection, readout, backend=backend))


def step_loss(net: nn.Module, spikes: ss.Spikes) -> Tensor:
    potential, hidden = net(spikes, return_spikes=True)
    label = torch.arange(spikes.shape[0])
    loss = ss.losses.cross_entropy(potential, label, reduce="sum")
    for signal in hidden:
        loss = loss + ss.losses.activity(signal, upper=0.1)
    return loss


class Own(nn.Module):
    """Connections and neurons called by hand."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, spikes: ss.Spikes) -> Tensor:
        hidden = self.net[0].neuron(self.net[0].connection(spikes))
        return self.net[1].neuron(self.net[1].connection(hidden))


# Torch looks at `.grad` of the tensors that it hands over at a graph break, and warns of it itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("backend", "compiler"),
    [(None, "eager"), ("cpu", "aot_eager"), ("cpu", "inductor"), ("gpu", "eager")],
)
def test_compiled_training_step_equals_the_plain_one(backend, compiler):
    torch.compiler.reset()
    case = NETWORKS[0]
    plain, compiled = network(case, backend or "cpu"), network(case, backend or "cpu")
    if backend is None:
        for layer in (*plain, *compiled):
            layer.backend = None  # pyright: ignore[reportArgumentType]
    step = torch.compile(step_loss, backend=compiler)
    counted = torch._dynamo.utils.counters["graph_break"]
    counted.clear()
    for seed in (0, 1):
        draw = replace(case, seed=seed, active=0.0)
        spikes = stored_for(draw.spikes()[0], backend or "cpu")
        expected, found = step_loss(plain, spikes), step(compiled, spikes)
        assert_close(found.detach(), expected.detach(), "loss")
        expected.backward()
        found.backward()
        for (name, one), other in zip(compiled.named_parameters(), plain.parameters(), strict=True):
            assert other.grad is not None
            assert bool((other.grad != 0).any())
            assert_same_gradient(one.grad, other.grad, name)
    # The loop over the layers is left to Python, and so is each count of spikes; none the second time.
    assert sum(counted.values()) == 3 or not torch.__version__.startswith("2.13")
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_forward_of_ones_own_equals_the_plain_one_and_one_graph_is_refused():
    torch.compiler.reset()
    case = replace(NETWORKS[0], sizes=NETWORKS[0].sizes[:3], active=0.0)
    own, spikes = Own(network(case, "cpu")), case.spikes()[0]
    expected = own(spikes)
    assert expected.any()
    assert torch.equal(torch.compile(own, backend="eager")(spikes), expected)
    torch.compiler.reset()
    with pytest.raises(RuntimeError, match=r"torch\.compiler\.disable"):
        torch.compile(own, backend="eager", fullgraph=True)(spikes)
    torch.compiler.reset()


# ---- counts ---------------------------------------------------------------------------------------


@every_case
@every_backend
def test_count_equals_the_sum_of_the_dense_spikes(backend, case):
    spikes, leaf = case.spikes()
    with ss.use_backend(backend):
        count = ops.count(stored_for(spikes, backend)).cpu()
    assert torch.equal(count, spikes.to_dense().sum(1))
    if leaf is not None:
        grad = torch.randn_like(count)
        (found,) = torch.autograd.grad(count, leaf, grad)
        assert torch.equal(found, grad[:, None] * case.dense()[1])
