"""A layer is a PyTorch module: habits that work on `nn.Linear` work here, or are refused in words."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

import sparsespike as ss
from cases import device_of
from checks import assert_close, assert_same_gradient
from compare import stored_for
from sparsespike.backends import BACKENDS

every_backend = pytest.mark.parametrize("backend", BACKENDS)
LABEL = torch.arange(4)


def spikes(units: int = 30, backend: str = "cpu") -> ss.Spikes:
    draw = torch.Generator().manual_seed(0)
    dense = torch.rand(4, 30, units, generator=draw) < 0.2
    return stored_for(ss.Spikes.from_dense(dense), backend)


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    net: Any = ss.Network(
        ss.Layer(ss.Linear(30, 20), ss.LIF(20e-3, 1e-3)),
        ss.Layer(ss.Linear(20, 10), ss.Readout(20e-3, 1e-3)),
    )
    nn.init.normal_(net[0].connection.weight, std=0.4)
    return (
        net.double()
    )  # rounding moves a steep surrogate's gradients further than float32's tolerance


def loss_of(net: nn.Module) -> Tensor:
    return ss.losses.cross_entropy(net(spikes()), LABEL)


def assert_equals_the_oracle(net: nn.Module) -> Tensor:
    """Output and every gradient on the CPU backend against the dense one; returns the output."""
    net.zero_grad()
    with ss.use_backend("dense"):
        expected = net(spikes())
        label = LABEL % expected.shape[2]
        ss.losses.cross_entropy(expected, label).backward()
    wanted = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad()
    found = net(spikes())
    ss.losses.cross_entropy(found, label).backward()
    assert_close(found.detach(), expected.detach(), "potential")
    assert bool(found.any())
    for name, parameter in net.named_parameters():
        grad = wanted[name]
        assert grad is not None
        assert bool(grad.any()), name
        assert_same_gradient(parameter.grad, grad, name, 1e-10)
        assert parameter.grad is not None
        assert parameter.grad.is_contiguous()
    return found.detach()


# ---- replaced parts ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_out", [2, 40, 60])
def test_a_replaced_connection_is_used_at_once(n_out):
    net = network()
    loss_of(net).backward()
    net[1].connection = ss.Linear(20, n_out, dtype=torch.float64)
    net.zero_grad()
    assert assert_equals_the_oracle(net).shape[2] == n_out


def test_a_replaced_parameter_and_neuron_are_used_at_once():
    net = network()
    before = net(spikes())
    net[1].connection.weight = nn.Parameter(torch.randn(7, 20).double())
    assert assert_equals_the_oracle(net).shape[2] == 7
    net[0].neuron = ss.LIF(5e-3, 1e-3, reset="zero")
    after = assert_equals_the_oracle(net)
    net[0].neuron.v_th = 0.5
    assert not torch.equal(assert_equals_the_oracle(net), after)
    assert before.shape[2] == 10


def test_a_switched_backend_is_used_at_once_and_a_wrong_one_refused():
    layer = ss.Layer(ss.Linear(30, 20), ss.LIF(20e-3, 1e-3), backend="cpu")
    expected = layer(spikes())
    layer.backend = "dense"
    assert layer(spikes()).n_spikes == expected.n_spikes > 0
    layer.backend = "abacus"
    with pytest.raises(ValueError, match="backend: expected one of"):
        layer(spikes())


@pytest.mark.parametrize("part", [nn.Linear(3, 2), nn.Conv1d(3, 2, 1), "linear", None], ids=repr)
def test_a_connection_that_is_none_is_refused(part):
    with pytest.raises(ValueError, match=r"connection: expected ss\.Linear"):
        ss.Layer(part, ss.LIF(20e-3, 1e-3))


def test_a_module_that_gives_no_current_is_refused():
    class Loud(nn.Module):
        def forward(self, spikes):
            return spikes

    with pytest.raises(ValueError, match="connection: expected a Current of Loud, found Spikes"):
        ss.Layer(Loud(), ss.LIF(20e-3, 1e-3))(spikes())


def test_a_neuron_may_be_shared():
    lif = ss.LIF(20e-3, 1e-3)
    net = ss.Network(
        ss.Layer(ss.Linear(30, 20), lif),
        ss.Layer(ss.Linear(20, 20), lif),
        ss.Layer(ss.Linear(20, 10), ss.Readout(20e-3, 1e-3)),
    ).double()
    assert [name for name, module in net.named_modules() if module is lif] == ["0.neuron"]
    assert_equals_the_oracle(net)


# ---- hooks and reparametrised weights ------------------------------------------------------------


def test_forward_hooks_see_and_change_what_passes():
    net, seen = network(), []
    expected = net(spikes())
    for name, module in net.named_modules():
        module.register_forward_pre_hook(lambda _, given, name=name: seen.append((name, given)))
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.append((name, out)))
    assert torch.equal(net(spikes()), expected)
    names = ["0.connection", "0.neuron", "0", "1.connection", "1.neuron", "1"]
    assert [name for name, out in seen if isinstance(out, ss.Current | ss.Spikes | Tensor)] == [
        *names, "",
    ]  # fmt: skip
    net[0].connection.register_forward_hook(lambda _m, _i, out: out + out)
    assert not torch.equal(net(spikes()), expected)


def test_backward_hooks_run_where_the_output_is_a_tensor_and_are_refused_elsewhere():
    net, seen = network(), []
    net[1].register_full_backward_hook(lambda _m, below, above: seen.append((below, above)))
    net[1].neuron.register_full_backward_pre_hook(lambda _m, above: seen.append(above))
    with pytest.warns(UserWarning, match="no inputs require gradients"):
        loss_of(net).backward()
    (below, also), (above,) = seen
    assert above.any()
    assert torch.equal(above, also[0])
    assert below == (None,)
    for module in (net[0], net[0].connection, net[0].neuron, net[1].connection):
        for name in ("register_full_backward_hook", "register_full_backward_pre_hook"):
            with pytest.raises(RuntimeError, match=rf"{name}: expected .*value\.register_hook"):
                getattr(module, name)(print)
    with pytest.raises(RuntimeError, match="register_backward_hook: expected"):
        net[1].register_backward_hook(print)


def test_hooks_of_tensors_see_gradients():
    net, seen = network(), []
    _, (hidden,) = net(spikes(), return_spikes=True)
    hidden.value.register_hook(seen.append)
    net[0].connection.weight.register_hook(seen.append)
    (net[1](hidden)).sum().backward()
    epsilon, grad = seen
    assert epsilon.shape == (hidden.n_active,)
    assert epsilon.any()
    assert torch.equal(grad, net[0].connection.weight.grad)


REPARAMETRISED = {
    "ln_structured": lambda c: prune.ln_structured(c, "weight", 0.5, n=2, dim=1),
    "l1_unstructured": lambda c: prune.l1_unstructured(c, "weight", 0.5),
    "random_unstructured": lambda c: prune.random_unstructured(c, "weight", 0.3),
    "weight_norm": lambda c: nn.utils.weight_norm(c),
    "spectral_norm": lambda c: nn.utils.spectral_norm(c),
    "parametrised weight_norm": lambda c: parametrizations.weight_norm(c),
    "parametrised spectral_norm": lambda c: parametrizations.spectral_norm(c),
    "parametrised orthogonal": lambda c: parametrizations.orthogonal(c),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("how", REPARAMETRISED)
def test_reparametrised_weights_are_used_and_trained_at_every_step(how):
    net = network()
    REPARAMETRISED[how](net[0].connection)
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    net.eval()  # spectral_norm iterates in training
    outputs = []
    for _ in range(2):
        optimiser.zero_grad()
        outputs.append(assert_equals_the_oracle(net))
        optimiser.step()
    assert not torch.equal(*outputs)


def test_pruned_networks_of_one_state_give_one_output():
    one, other = network(), network(1)
    for net in (one, other):
        prune.ln_structured(net[0].connection, "weight", 0.5, n=2, dim=1)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(spikes()), other(spikes()))
    prune.remove(one[0].connection, "weight")
    assert torch.equal(one(spikes()), other(spikes()))


def test_tied_weights_sum_their_gradients():
    net: Any = ss.Network(
        ss.Layer(ss.Linear(30, 30), ss.LIF(20e-3, 1e-3)),
        ss.Layer(ss.Linear(30, 30), ss.LIF(20e-3, 1e-3)),
        ss.Layer(ss.Linear(30, 10), ss.Readout(20e-3, 1e-3)),
    ).double()
    net[1].connection.weight = net[0].connection.weight
    assert len(list(net.parameters())) == 2
    assert_equals_the_oracle(net)


# ---- copies --------------------------------------------------------------------------------------


def test_copies_are_equal_and_independent():
    net = network()
    expected = net(spikes())
    averaged: Any = torch.optim.swa_utils.AveragedModel(net)
    copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net)), averaged.module]
    with torch.no_grad():
        net[0].connection.weight.zero_()
    net[0].neuron.v_th = 9.0
    for other in copies:
        assert torch.equal(other(spikes()), expected)
        assert_equals_the_oracle(other)
    averaged.update_parameters(net)
    assert_close(averaged.module[0].connection.weight, net[0].connection.weight, "averaged")


def test_casts_move_parameters_and_neurons_together():
    net = network().double()
    assert net(spikes()).dtype == torch.float64
    with pytest.raises(ValueError, match=r"expected float32 or float64, found torch\.float16"):
        network().half()(spikes())
    with pytest.raises(ValueError, match="spikes: expected them on meta, found cpu"):
        network().to("meta")(spikes())


# ---- parameters lie as PyTorch's do --------------------------------------------------------------


def test_tools_that_flatten_parameters_work(tmp_path):
    net = network()
    lbfgs = torch.optim.LBFGS(net.parameters(), max_iter=3)

    def closure() -> Tensor:
        lbfgs.zero_grad()
        loss = loss_of(net)
        loss.backward()
        return loss

    before = closure().item()
    lbfgs.step(closure)
    assert closure().item() < before
    vector = nn.utils.parameters_to_vector(net.parameters())
    other = network(1)
    nn.utils.vector_to_parameters(vector, other.parameters())
    assert torch.equal(other(spikes()), net(spikes()))
    safetensors.torch.save_model(net, str(tmp_path / "w.safetensors"))
    again = network(2)
    safetensors.torch.load_model(again, str(tmp_path / "w.safetensors"))
    assert torch.equal(again(spikes()), net(spikes()))


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_set_by_hand_meet_their_weights(fused):
    def step(weight: Any) -> Tensor:
        optimiser = torch.optim.Adam([weight], lr=0.1, fused=fused)
        weight.grad = torch.linspace(-1, 1, weight.numel()).view_as(weight)
        optimiser.step()
        return weight.detach().clone()

    mine, theirs = ss.Linear(30, 20), nn.Linear(30, 20, bias=False)
    mine.load_state_dict(theirs.state_dict())
    assert_close(step(mine.weight), step(theirs.weight), "weight after a step")


def test_assigned_state_of_any_layout_gives_the_same():
    net, expected = network(), network()(spikes())
    state = {name: tensor.t().contiguous().t() for name, tensor in network().state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert not net[0].connection.weight.is_contiguous()
    assert torch.equal(net(spikes()), expected)
    assert_equals_the_oracle(network())
    loss_of(net).backward()


def test_a_shared_bias_is_spread_and_a_wrong_one_refused():
    net = network()
    net[0].connection.bias = nn.Parameter(torch.full((1,), 0.3).double())
    net[1].connection.bias = nn.Parameter(torch.tensor(0.1).double())
    assert_equals_the_oracle(net)
    net[0].connection.bias = nn.Parameter(torch.zeros(7).double())
    with pytest.raises(ValueError, match=r"bias: expected \(20,\), .*found \(7,\)"):
        net(spikes())


# ---- transforms of functions ---------------------------------------------------------------------


@every_backend
def test_functional_call_and_grad_equal_backward(backend):
    net = network().to(device_of(backend))
    x, label = spikes(backend=backend), LABEL.to(device_of(backend))
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        out = torch.func.functional_call(net, parameters, (x,))
        return ss.losses.cross_entropy(out, label)

    with ss.use_backend(backend):
        found = torch.func.grad(loss)(parameters)
        ss.losses.cross_entropy(net(x), label).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()
        assert torch.equal(found[name], parameter.grad)


def test_what_a_layer_cannot_do_is_refused_in_words():
    net, x = network(), spikes()
    weight = net[0].connection.weight.detach()

    def potential(weight: Tensor) -> Tensor:
        return torch.func.functional_call(net, {"0.connection.weight": weight}, (x,))

    with pytest.raises(ValueError, match="vmap does not go through a layer"):
        torch.func.vmap(potential)(torch.stack([weight, weight]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own
        with pytest.raises(RuntimeError, match="reverse mode only"):
            torch.func.jvp(potential, (weight,), (weight,))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.func.grad(lambda w: torch.func.grad(lambda v: potential(v).sum())(w).sum())(weight)


def test_activation_checkpoints_give_the_same_gradients():
    net, plain = network(), network()
    loss_of(plain).backward()
    checkpoint(lambda: loss_of(net), use_reentrant=False).backward()  # pyright: ignore
    for one, other in zip(net.parameters(), plain.parameters(), strict=True):
        assert other.grad is not None
        assert other.grad.any()
        assert torch.equal(one.grad, other.grad)  # pyright: ignore[reportArgumentType]
