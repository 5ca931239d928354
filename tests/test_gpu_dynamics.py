"""Neurons of the form on the GPU: spikes, potentials, states and every gradient are the oracle's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from cases import device_of
from checks import relative_error
from compare import stored_for
from published import READOUTS, SPIKING_NEURONS, TAU_MEM, N
from sparsespike.backends.gpu import plan
from sparsespike.descriptions import Linear

B, T, N_IN = 2, 37, 10  # the second word is not full
F64 = torch.float64
WATCHED = 3, 0, 11, 3
PUBLISHED = {str(each): each for each in (*SPIKING_NEURONS, *READOUTS)}


@dataclass(frozen=True)
class Made:
    """A neuron of the form, its numbers learned, one for each neuron, and how it is run.

    Attributes:
        name: of the published one.
        detach: `detach_reset`.
        lag: of the neuron.
        cuts: chunks of steps, each going on from the one before; () for one call without state.
        transient: bytes of a segment; 1: a word.
        largest: bytes of a part of the batch; 1: a sample.
        recurrent: whether there are recurrent weights, with a bias.
        dtype: of weights and values.
        settings: that are changed.
    """

    name: str
    detach: bool = False
    lag: int = 1
    cuts: tuple[int, ...] = (T,)
    transient: int = 2**30
    largest: int = 2**30
    recurrent: bool = False
    dtype: torch.dtype = F64
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        words = [self.name.replace(" ", "-"), f"lag{self.lag}", "detached" if self.detach else ""]
        words += ["recurrent"] if self.recurrent else []
        return "-".join(word for word in words if word) + ("" if self.cuts else "-whole")

    def layer(self) -> ss.Layer:
        """The neurons under random weights."""
        published = PUBLISHED[self.name]
        neuron = published.neuron(self.detach).changed(**dict(self.settings))
        neuron.lag = self.lag
        linear = ss.Linear(N_IN, N, bias=True)
        assert linear.bias is not None
        draw = torch.Generator().manual_seed(1)
        gain = 3 * published.gain / N_IN**0.5
        with torch.no_grad():
            linear.weight.copy_(gain * (torch.randn(N, N_IN, generator=draw, dtype=F64) + 0.3))
            linear.bias.copy_(0.1 * gain * torch.randn(N, generator=draw, dtype=F64))
        own = ss.Linear(N, N, bias=True) if self.recurrent else None
        if own is not None:
            assert own.bias is not None
            with torch.no_grad():
                own.weight.copy_(gain / 2 * torch.randn(N, N, generator=draw, dtype=F64))
                own.bias.copy_(0.1 * gain * torch.randn(N, generator=draw, dtype=F64))
        return ss.Layer(linear, neuron, recurrent=own).to(self.dtype)


def inputs() -> tuple[Tensor, Tensor]:
    """0 and 1 (B, T, N_in), and which entries take a gradient."""
    draw = torch.Generator().manual_seed(0)
    return (
        (torch.rand(B, T, N_IN, generator=draw) < 0.2).double(),
        torch.rand(B, T, N_IN, generator=draw) < 0.5,
    )


def ran(made: Made, backend: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a layer gives, and every gradient of a loss on all of it."""
    layer = made.layer().to(device_of(backend))
    dense, active = inputs()
    dense = dense.to(made.dtype).requires_grad_()
    up = torch.Generator().manual_seed(2)

    def weighed(given: Tensor) -> Tensor:
        return (
            given.cpu() * torch.randn(given.shape, generator=up, dtype=F64).to(made.dtype)
        ).sum()

    found: dict[str, Tensor] = {}
    loss, state, at = torch.zeros((), dtype=made.dtype), None, 0
    with ss.use_backend(backend):
        for steps in made.cuts or (T,):
            part = slice(at, at + steps)
            spikes = ss.Spikes.from_dense(dense[:, part], active=active[:, part])
            current = layer.connection(stored_for(spikes, backend))
            wanted: dict[str, Any] = {}
            if made.cuts:
                wanted = {"state": state, "return_state": True}
            if layer.neuron.spiking:
                wanted["record"] = WATCHED
            if layer.recurrent is not None:
                own = layer.recurrent
                wanted["recurrent"] = Linear(N, N), (own.weight, own.bias)
            out = layer.neuron(current, **wanted)
            out, *rest = out if isinstance(out, tuple) else (out,)
            out = out.to("cpu").to_dense() if isinstance(out, ss.Spikes) else out
            if made.cuts:
                state = rest.pop(0)
            for name, each in (("out", out), *(("record", each) for each in rest)):
                found[f"{name} from {at}"] = each.detach().cpu()
                loss = loss + weighed(each)
            at += steps
        if state is not None:
            found["state"] = state.value.detach().cpu()
            loss = loss + weighed(state.value)
        loss.backward()
    gradients = {name: p.grad.cpu() for name, p in layer.named_parameters() if p.grad is not None}
    assert dense.grad is not None
    assert gradients.keys() == dict(layer.named_parameters()).keys()
    return found, {**gradients, "input": dense.grad}


V_INIT: Any = (("v_init", TAU_MEM / 40), ("learn", ("v_init", "tau_mem")))
CASES = (
    Made("LIF subtract", lag=0, cuts=(5, 32), transient=1, recurrent=True),
    Made("LIF subtract", detach=True, settings=V_INIT, largest=1),
    Made("LIF zero", cuts=(T,), transient=1, largest=1, recurrent=True),
    Made("LIF clear", lag=0, cuts=(), transient=1),
    Made("LIF clear", lag=0, cuts=(), transient=1, recurrent=True),
    Made("LIF clear", cuts=(1, 36)),
    Made("CuBaLIF new zero", lag=0),
    Made("CuBaLIF old subtract", cuts=()),
    Made("ALIF 2020", detach=True, lag=0, cuts=(36, 1)),
    Made("ALIF 2018", cuts=(7, 30), recurrent=True),
    Made("AdLIF euler", detach=True),
    Made("AdLIF symplectic", lag=0, cuts=(7, 30), recurrent=True),
    Made("ResonateFire to_i", transient=1),
    Made("Alpha zero", lag=0, cuts=()),
    Made("Alpha none", detach=True, cuts=()),
    Made("Alpha subtract", cuts=(20, 17)),
)
READ = (
    Made("Readout", cuts=(7, 30)),
    Made("SumReadout", lag=0, transient=1),
    Made("CuBaReadout", lag=0, cuts=(7, 30)),
    Made("DoubleExponential", cuts=(), transient=1),
)


@pytest.mark.parametrize("made", [*CASES, *READ], ids=str)
def test_the_kernels_are_the_oracle(monkeypatch, made):
    expected, wanted = ran(made, "dense")
    monkeypatch.setattr(plan, "TRANSIENT", made.transient)
    monkeypatch.setattr(plan, "LARGEST", made.largest)
    found, got = ran(made, "gpu")
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        if name.startswith("out") and made in CASES:
            assert torch.equal(found[name], each), name
            if each.shape[1] > 20:
                assert 0.005 < each.mean() < 0.8, name
        else:
            torch.testing.assert_close(found[name], each, rtol=1e-11, atol=1e-11, msg=name)
    for name, grad in wanted.items():
        assert bool((grad != 0).any()) or name.endswith(("v_reset", "v_rest")), name
        assert relative_error(got[name], grad) < 1e-11, name


def test_single_precision_and_auto():
    made = Made("CuBaLIF new subtract", dtype=torch.float32, cuts=())
    expected, wanted = ran(made, "dense")
    found, got = ran(made, "gpu")
    assert torch.equal(found["out from 0"], expected["out from 0"])
    for name, grad in wanted.items():
        assert bool((grad != 0).any()) or name.endswith(("v_reset", "v_rest")), name
        assert relative_error(got[name], grad) < 2e-4, name
    layer = made.layer().to(device_of("gpu"))
    words = stored_for(ss.Spikes.from_dense(inputs()[0].float()), "gpu")
    with ss.use_backend("auto"), torch.no_grad():
        bare = layer(words)
    assert len(bare.value) == 0 < bare.n_active
    assert torch.equal(bare.to("cpu").to_dense(), found["out from 0"])


def test_several_connections_drive_neurons_of_their_own_numbers():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = ss.Conv2d(2, 3, 3, padding=1)
            self.sparse = ss.SparseLinear.random(10, 12, fan_in=5, seed=0)
            self.lif = ss.LIF(torch.linspace(3, 9, 12), 1.0, b_th=0.5, learn=("tau_mem",))
            nn.init.normal_(self.conv.weight, 0.2, 0.5)
            nn.init.normal_(self.sparse.weight, 0.1, 0.5)

        def forward(self, image: ss.Spikes, flat: ss.Spikes) -> ss.Spikes:
            return self.lif(self.conv(image) + self.sparse(flat))

    torch.manual_seed(0)
    net = Both().double()
    image = (torch.rand(B, 12, 2, 2, 2) < 0.3).double().requires_grad_()
    flat = ss.Spikes.from_dense((torch.rand(B, 12, 10) < 0.3).double())
    outs, grads = [], []
    for backend in ("dense", "gpu"):
        own = net.to(device_of(backend))
        own.zero_grad()
        image.grad = None
        spikes = ss.Spikes.from_dense(image, active=torch.ones_like(image, dtype=torch.bool))
        with ss.use_backend(backend):
            out = own(stored_for(spikes, backend), stored_for(flat, backend)).to("cpu").to_dense()
        up = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
        (out * up).sum().backward()
        outs.append(out.detach())
        assert image.grad is not None
        found = [p.grad.cpu().clone() for p in own.parameters() if p.grad is not None]
        grads.append([image.grad.clone(), *found])
    assert 0 < outs[0].mean() < 0.7
    assert torch.equal(*outs)
    for expected, found in zip(*grads, strict=True):
        assert bool((expected != 0).any())
        assert relative_error(found, expected) < 1e-11


def test_recurrent_neurons_of_several_blocks_and_a_last_word_that_is_full():
    torch.manual_seed(0)
    n, steps = 130, 32
    lif = ss.LIF(8.0, 1.0, b_th=0.4, surrogate=ss.FastSigmoid(5.0), learn=("tau_mem",))
    layer: Any = ss.Layer(ss.Linear(N_IN, n), lif, recurrent=ss.Linear(n, n)).double()
    nn.init.normal_(layer.connection.weight, 0.1, 0.4)
    nn.init.normal_(layer.recurrent.weight, 0.0, 0.1)
    outs, grads = [], []
    for backend in ("dense", "gpu"):
        layer.to(device_of(backend)).zero_grad()
        spikes = stored_for(ss.Spikes.from_dense(inputs()[0][:, :steps]), backend)
        with ss.use_backend(backend):
            out = layer(spikes).to("cpu").to_dense()
        up = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
        (out * up).sum().backward()
        outs.append(out.detach())
        grads.append({name: p.grad.cpu().clone() for name, p in layer.named_parameters()})
    assert 0.005 < outs[0].mean() < 0.7
    assert torch.equal(*outs)
    for name, expected in grads[0].items():
        assert bool((expected != 0).any()), name
        assert relative_error(grads[1][name], expected) < 1e-11, name


def test_no_sample_has_no_spikes_and_no_gradient():
    for made in (Made("LIF zero", lag=0, recurrent=True), Made("CuBaReadout")):
        layer = made.layer().to(device_of("gpu"))
        words = stored_for(ss.Spikes.from_dense(inputs()[0]), "gpu")[:0]
        out, state = layer(words, return_state=True)
        assert out.shape == (0, T, N)
        total = out.value.sum() if isinstance(out, ss.Spikes) else out.sum()
        (total + state.value.sum()).backward()
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


def refused() -> list[tuple[ss.Layer, str]]:
    lif = ss.LIF(10.0, 1.0)
    sparse = ss.SparseLinear.random(N, N, fan_in=2, seed=0)
    return [
        (ss.Layer(ss.Linear(N_IN, N, delay=ss.Delay(3)), lif), "delays per synapse"),
        (ss.Layer(ss.Linear(N_IN, N), lif, recurrent=sparse), "a recurrent SparseLinear"),
        (
            ss.Layer(ss.Linear(N_IN, 513), lif, recurrent=ss.Linear(513, 513)),
            "recurrent connections of more than 512 neurons in torch.float32, found 513",
        ),
    ]


@pytest.mark.parametrize(("layer", "what"), refused(), ids=["delays", "sparse", "large"])
def test_what_has_no_kernel_is_refused_by_name(layer, what):
    words = stored_for(ss.Spikes.from_dense(inputs()[0].float()), "gpu")
    with pytest.raises(ValueError, match=f'"gpu" has no kernel for {what}; "dense" and "cpu" have'):
        layer.to(words.device)(words)


def test_a_gradient_that_would_have_to_go_to_the_call_before_is_refused():
    neuron = ss.LIF(10.0, 1.0, reset="clear", detach_reset=False, lag=0)
    layer = ss.Layer(ss.Linear(N_IN, N), neuron).to(device_of("gpu"))
    words = stored_for(ss.Spikes.from_dense(inputs()[0].float()), "gpu")
    with pytest.raises(ValueError, match="state: expected a reset that is detached, or lag 1"):
        layer(words, return_state=True)
