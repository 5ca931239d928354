"""`torch.autocast` and GradScaler around a layer: it computes as without, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from sparsespike.connections.injected import injected

SHORT = (torch.bfloat16, torch.float16)


def lif(**settings: Any) -> ss.LIF:
    return ss.LIF(10e-3, 1e-3, **settings)


def readout() -> ss.Readout:
    return ss.Readout(10e-3, 1e-3)


def two(first: nn.Module, **settings: Any) -> ss.Network:
    recurrent = settings.pop("recurrent", None)
    hidden = ss.Layer(first, lif(**settings), recurrent=recurrent)
    return ss.Network(hidden, ss.Layer(ss.Linear(20, 5, bias=True), readout()))


NETS: dict[str, Callable[[], ss.Network]] = {
    "linear": lambda: two(ss.Linear(36, 20)),
    "convolution": lambda: ss.Network(
        ss.Layer(ss.Conv2d(1, 4, 3), lif()),
        ss.AvgPool2d(2),
        ss.Layer(ss.Linear(16, 5), readout()),
    ),
    "sparse": lambda: two(ss.SparseLinear.random(36, 20, fan_in=12)),
    "recurrent": lambda: two(
        ss.Linear(36, 20, delay=ss.Delay(6, learn=True)),
        learn=("tau_mem",),
        recurrent=ss.Linear(20, 20),
    ),
}


def spikes() -> ss.Spikes:
    dense = (torch.rand(6, 40, 36, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    return ss.Spikes.from_dense(dense.requires_grad_()).with_unit_shape((1, 6, 6))


def taken(net: ss.Network, backend: str, dtype: torch.dtype | None, inside: bool) -> list[Tensor]:
    """What a step gives: potentials, loss, and every gradient; cast to `dtype` if any is named."""
    given = spikes()
    net.zero_grad()
    with (
        ss.use_backend(backend),
        torch.autocast("cpu", dtype or SHORT[0], enabled=dtype is not None),
    ):
        potential, hidden = net(given, True)
        target = ss.Spikes.from_dense(torch.zeros(hidden[0].shape))
        loss = ss.losses.cross_entropy(potential, torch.arange(6) % 5)
        loss = loss + ss.losses.activity(hidden[0], upper=0.1)
        loss = loss + ss.losses.van_rossum(hidden[0], target, 5e-3, 1e-3)
        loss = loss + ss.losses.first_spike(hidden[0]).mean()
        loss = loss + ss.losses.target_trace(potential, torch.ones_like(potential))
        if inside:
            loss.backward()
    if not inside:
        with ss.use_backend(backend):
            loss.backward()
    assert hidden[0].n_spikes > 0
    assert potential.dtype is loss.dtype is torch.float32
    current = ss.Linear(36, 4)(given)
    with torch.autocast("cpu", SHORT[0]):
        assert current.to_dense().dtype is torch.float32
    gradients = [each.grad.clone() for each in net.parameters() if each.grad is not None]
    return [potential.detach(), loss.detach(), *gradients]


@pytest.mark.parametrize("backend", ["dense", "cpu", "auto"])
@pytest.mark.parametrize("name", NETS)
def test_a_step_under_autocast_is_the_step_without(name, backend):
    torch.manual_seed(0)
    net = NETS[name]()
    expected = taken(net, backend, None, False)
    assert len(expected) == 2 + len([*net.parameters()])
    for gradient in expected[2:]:
        assert gradient.abs().max() > 0
    for dtype, inside in ((SHORT[0], False), (SHORT[0], True), (SHORT[1], False)):
        for one, other in zip(taken(net, backend, dtype, inside), expected, strict=True):
            assert torch.equal(one, other)


class Step(torch.autograd.Function):
    """A spike of somebody's own, in front of our layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad / (1 + 10 * ctx.saved_tensors[0].abs()) ** 2


class Low(nn.Module):
    """A parametrisation that autocast computes in 16 bits."""

    def __init__(self, n_out: int, n_in: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(n_out, 2)), nn.Parameter(torch.randn(2, n_in))

    def forward(self, weight: Tensor) -> Tensor:
        return self.a @ self.b / 8


@pytest.mark.parametrize("backend", ["dense", "cpu"])
@pytest.mark.parametrize("where", ["spikes", "current", "weight"])
def test_what_comes_in_16_bits_is_widened_under_autocast_and_else_refused(backend, where):
    torch.manual_seed(0)
    front, layer, neuron = nn.Linear(30, 20), ss.Linear(20, 20), lif(b_th=0.5)
    x, dull = torch.randn(4, 25, 30), ss.Spikes.from_dense((torch.rand(4, 25, 20) < 0.2).float())
    learned = [*front.parameters()]
    if where == "weight":
        nn.utils.parametrize.register_parametrization(layer, "weight", Low(20, 20))
        learned = [layer.parametrizations.weight[0].a]  # pyright: ignore

    def counted(dense: Tensor) -> Tensor:
        """What neurons count behind `dense`, which PyTorch's own layer gave."""
        if where == "current":
            return neuron(injected(dense) + layer(dull)).count()
        given = ss.Spikes.from_dense(Step.apply(dense)) if where == "spikes" else dull
        return neuron(layer(given)).count()

    with ss.use_backend(backend):
        with torch.autocast("cpu", torch.bfloat16):
            dense = front(x)
            assert dense.dtype is torch.bfloat16
            assert layer.weight.dtype is (torch.bfloat16 if where == "weight" else torch.float32)
            count = counted(dense)
        assert count.dtype is torch.float32
        assert count.sum() > 0
        found = torch.autograd.grad(count.square().sum(), learned)
        for each in found:
            assert each.abs().max() > 0
            assert each.dtype is torch.float32
        if where == "weight":
            layer.bfloat16()
        else:  # the same as by a cast that one writes oneself
            with torch.autocast("cpu", torch.bfloat16):
                dense = front(x)
            assert torch.equal(counted(dense.float()), count)
        with pytest.raises(ValueError, match=r"float32.*bfloat16|bfloat16.*float32"):
            counted(dense)


def test_a_scaler_scales_and_skips():
    torch.manual_seed(0)
    net = two(ss.Linear(36, 20))
    plain = two(ss.Linear(36, 20))
    plain.load_state_dict(net.state_dict())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimisers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (net, plain)]
    before = [each.clone() for each in net.parameters()]
    for _ in range(3):
        for each, optimiser in zip((net, plain), optimisers, strict=True):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.float16):
                potential, (hidden,) = each(spikes(), True)
                loss = ss.losses.cross_entropy(potential, torch.arange(6) % 5)
                loss = loss + ss.losses.activity(hidden, upper=0.1)
            if each is plain:
                loss.backward()
                optimiser.step()
                continue
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(net.parameters(), 1e9)
            scaler.step(optimiser)
            scaler.update()
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(net.parameters(), before, strict=True):
        assert not torch.equal(one, other)
    # A loss that overflows gives gradients that are not finite: no step, and half the scale.
    before = [each.clone() for each in net.parameters()]
    (net(spikes()).sum() * float("inf")).backward()
    scaler.step(optimisers[0])
    scaler.update()
    assert scaler.get_scale() == 512
    for one, other in zip(net.parameters(), before, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_a_network_of_16_bits_is_refused(dtype):
    net = two(ss.Linear(36, 20)).to(dtype)
    with pytest.raises(ValueError, match=r"weight: expected float32 or float64.*torch\.autocast"):
        net(spikes())
    with pytest.raises(ValueError, match=r"spikes: expected values in .*float32.*spikes\.to\("):
        two(ss.Linear(36, 20))(spikes().to(dtype))
