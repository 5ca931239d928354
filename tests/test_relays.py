"""`MaxPool2d`, `Flatten` and `Dropout` in a `Network`: gradients, hidden spikes, sizes, steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from checks import assert_same_gradient, assert_something_happened
from compare import stored_for
from pools import BASE


@pytest.mark.parametrize("kind", ["lists", "words"])
def test_flatten_lays_out_anew_and_copies_nothing(kind):
    spikes = replace(BASE, kind=kind).spikes()[0]
    flat = ss.Flatten()(spikes)
    assert flat.unit_shape == (3 * 7 * 6,)
    assert flat.storage is spikes.storage
    assert flat.value is spikes.value
    assert torch.equal(flat.to_dense(), spikes.to_dense().flatten(2))


def conv_network() -> ss.Network:
    torch.manual_seed(0)
    net = ss.Network(
        ss.Layer(ss.Conv2d(2, 4, 3, padding=1), ss.LIF(20e-3, 1e-3)),
        ss.MaxPool2d(3, stride=2, padding=1),
        ss.Layer(ss.Conv2d(4, 5, 3), ss.LIF(20e-3, 1e-3)),
        ss.MaxPool2d(2),
        ss.Flatten(),
        ss.Layer(ss.Linear(20, 3), ss.Readout(20e-3, 1e-3)),
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)
    return net.double()


def run_network(backend: str) -> tuple[Tensor, list[ss.Spikes], dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    leaf = (torch.rand(3, 15, 2, 12, 12, generator=draw) < 0.1).double().requires_grad_()
    net = conv_network()
    with ss.use_backend(backend):
        potential, hidden = net(ss.Spikes.from_dense(leaf), return_spikes=True)
        loss = ss.losses.cross_entropy(potential, torch.arange(3))
        for signal in hidden:
            loss = loss + ss.losses.activity(signal, upper=0.25)
        loss.backward()
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    return potential.detach(), hidden, grads | {"input": leaf.grad}  # pyright: ignore[reportReturnType]


def test_network_of_convolutions_and_pools_has_the_oracles_gradients():
    expected, theirs, wanted = run_network("dense")
    found, ours, grads = run_network("cpu")
    for signal in (*theirs, *ours):
        assert_something_happened(signal)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for name, grad in wanted.items():
        assert bool((grad != 0).any()), name
        # A steep surrogate makes more of the rounding of a potential.
        assert_same_gradient(grads[name], grad, name, 1e-9)


def test_network_lists_the_spikes_of_its_layers_alone():
    hidden = run_network("cpu")[1]
    assert [signal.unit_shape for signal in hidden] == [(4, 12, 12), (5, 4, 4)]


def test_network_ending_in_a_pool_gives_pooled_spikes_and_lists_own_modules():
    class Own(nn.Module):
        def forward(self, spikes: ss.Spikes) -> ss.Spikes:
            return spikes

    spikes = BASE.spikes()[0]
    out, hidden = ss.Network(ss.MaxPool2d(2), Own(), ss.Flatten())(spikes, return_spikes=True)
    assert out.unit_shape == (27,)
    assert [signal.unit_shape for signal in hidden] == [(3, 3, 3)]


def test_a_pool_takes_no_step():
    """Two steps are enough for one layer, however many pools stand before it; one step is not."""
    net = ss.Network(
        ss.MaxPool2d(2), ss.Flatten(), ss.Layer(ss.Linear(27, 4), ss.Readout(1e-2, 1e-3))
    ).double()
    assert bool(net(replace(BASE, steps=2).spikes()[0])[:, 1].any())
    with pytest.warns(ss.SilenceWarning, match="nothing of 1 steps comes through 1 layers"):
        net(replace(BASE, steps=1).spikes()[0])


def test_sizes_are_compared_across_what_keeps_units():
    def layer(n_in: int, n_out: int) -> ss.Layer:
        return ss.Layer(ss.Linear(n_in, n_out), ss.LIF(20e-3, 1e-3))

    for between in (ss.Flatten(), ss.Dropout()):
        ss.Network(layer(3, 4), between, layer(4, 2))
        with pytest.raises(ValueError, match="expected layer 2 to take 4 units, found 5"):
            ss.Network(layer(3, 4), between, layer(5, 2))
    ss.Network(layer(3, 16), ss.MaxPool2d(2), layer(4, 2))


def test_pooled_words_run_on_the_gpu_backend():
    case = replace(BASE, steps=4, channels=1, height=4, width=4)

    def run(backend: str) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        net = ss.Network(
            ss.MaxPool2d(2, stride=1),
            ss.Layer(ss.Linear(9, 3), ss.Readout(1e-2, 1e-3), backend=backend),
        ).double()
        spikes, leaf, _ = case.spikes()
        placed = stored_for(spikes, backend)
        potential = net.to(placed.device)(placed)
        (grad,) = torch.autograd.grad(potential.square().sum(), leaf)
        return potential.detach().cpu(), grad

    (found, grad), (expected, wanted) = run("gpu"), run("dense")
    assert bool(wanted.any())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(grad, wanted)
