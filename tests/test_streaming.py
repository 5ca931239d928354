"""`ss.stream`: steps and events give what the whole recording gives, bit for bit."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss

T, N_IN = 40, 30


def dense(*shape: int, rate: float = 0.2, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=draw) < rate).float()


def network(learn: tuple[str, ...] = (), last: bool = True) -> ss.Network:
    torch.manual_seed(0)
    layers: list[Any] = [
        ss.Layer(ss.Linear(N_IN, 20), ss.LIF(torch.full((20,), 8e-3), 1e-3, learn=learn)),
        ss.Dropout(0.5),
        ss.Layer(
            ss.Linear(20, 15, bias=True),
            ss.AdLIF(10e-3, 50e-3, 0.02, 0.1, 1e-3),
            recurrent=ss.Linear(15, 15),
        ),
    ]
    if last:
        layers.append(ss.Layer(ss.Linear(15, 4), ss.Readout(10e-3, 1e-3)))
    for layer in layers:
        if isinstance(layer, ss.Layer):
            nn.init.normal_(layer.connection.weight, 0.2, 0.5)
    return ss.Network(*layers).eval()


def whole(net: ss.Network, given: Tensor) -> tuple[Any, list[ss.Spikes]]:
    with torch.no_grad():
        out, hidden, _ = net(ss.Spikes.from_dense(given), True, return_state=True)
    return out, hidden


@pytest.mark.parametrize("learn", [(), ("tau_mem", "v_th")], ids=["given", "learned"])
def test_steps_are_the_whole(learn):
    net, given = network(learn), dense(1, T, N_IN)
    expected, hidden = whole(net, given)
    stream = ss.stream(net)
    sent: list[list[Tensor]] = []
    for t in range(T):
        units = given[0, t].nonzero()[:, 0]
        found = stream.step(units.tolist()[::-1] if t % 2 else units)
        assert torch.equal(found, expected[0, t])
        sent.append([layer.to_dense()[:, 0] for layer in stream.spikes])
    assert stream.now == T
    with torch.enable_grad():  # then learned numbers are not constants
        again, _ = net(ss.Spikes.from_dense(given), return_state=True)
    assert torch.equal(again.detach(), expected)
    for mine, layer in zip(zip(*sent, strict=True), hidden, strict=True):
        assert layer.n_spikes > 0
        assert torch.equal(torch.stack(mine, 1), layer.to_dense())


def test_events_and_silence_are_the_whole():
    net, given = network(), dense(1, T, N_IN, rate=0.05)
    given[0, 13:21] = 0
    expected, _ = whole(net, given)
    _, step, unit = given.nonzero().T
    stream = ss.stream(net)
    order = torch.randperm(len(step))
    early = order[step[order] < 13]
    parts = [stream.events(unit[early], step[early])]
    assert stream.now == 1 + int(step[early].max())
    parts.append(stream.events([], [], until=20))
    parts.append(stream.step(())[None])
    late = step >= 21
    parts.append(stream.events(unit[late].numpy(), step[late].numpy(), until=T))
    assert torch.equal(torch.cat(parts), expected[0])
    stream.reset()
    assert (stream.now, stream.state) == (0, None)
    assert torch.equal(stream.events(unit, step, until=T), expected[0])


def test_samples_side_by_side_and_spikes_at_the_end():
    net, given = network(last=False), dense(3, T, N_IN)
    expected, _ = whole(net, given)
    stream, other = ss.stream(net, batch=3), ss.stream(net, batch=3)
    for t in range(T):
        found = stream.step([row.nonzero()[:, 0] for row in given[:, t]])
        assert found.shape == (3, 1, 15)
        assert torch.equal(found.to_dense()[:, 0], expected.to_dense()[:, t])
    sample, step, unit = given.nonzero().T
    assert torch.equal(
        other.events(unit, step, sample=sample, until=T).to_dense(), expected.to_dense()
    )
    net = network()
    expected, _ = whole(net, given)
    stream = ss.stream(net, batch=3)
    for t in range(T):
        found = stream.step([row.nonzero()[:, 0] for row in given[:, t]])
        assert torch.equal(found, expected[:, t])


def test_images_and_sparse_synapses():
    torch.manual_seed(0)
    net = ss.Network(
        ss.Layer(ss.Conv2d(2, 3, 3, padding=1), ss.LIF(8e-3, 1e-3)),
        ss.MaxPool2d(2),
        ss.Flatten(),
        ss.Layer(ss.SparseLinear.random(3 * 2 * 3, 12, fan_in=6, seed=0), ss.LIF(8e-3, 1e-3)),
        ss.Layer(ss.Linear(12, 4), ss.Readout(10e-3, 1e-3)),
    )
    nn.init.normal_(net[0].connection.weight, 0.2, 0.3)  # pyright: ignore
    nn.init.normal_(net[3].connection.weight, 0.2, 0.3)  # pyright: ignore
    given = dense(1, T, 2, 4, 6)
    expected, hidden = whole(net, given)
    assert all(layer.n_spikes > 0 for layer in hidden)
    with pytest.raises(ValueError, match="units: expected how many, or their shape"):
        ss.stream(net)
    stream = ss.stream(net, units=(2, 4, 6))
    for t in range(T):
        assert torch.equal(stream.step(given[0, t].flatten().nonzero()[:, 0]), expected[0, t])


@pytest.mark.parametrize("learn", [(), ("tau_mem",)], ids=["given", "learned"])
def test_what_changed_is_read_anew(learn):
    net, given = network(learn), dense(1, T, N_IN)
    stream = ss.stream(net)
    stream.step(given[0, 0].nonzero()[:, 0])
    with torch.no_grad():  # as optimisers do
        for layer in net:
            if isinstance(layer, ss.Layer):
                layer.connection.weight.mul_(0.5)
        net[2].recurrent.weight.mul_(-2.0)  # pyright: ignore
        net[0].neuron.tau_mem.mul_(2.0)  # pyright: ignore
    net[2].neuron.v_th = 0.7  # pyright: ignore
    net[3].connection = ss.Linear(15, 4)  # pyright: ignore
    expected, _ = whole(net, given)
    stream.state, stream.now = None, 0
    for t in range(T):
        assert torch.equal(stream.step(given[0, t].nonzero()[:, 0]), expected[0, t])
    net[0].connection.weight.data.mul_(0.0)  # pyright: ignore
    stream.reset()
    expected, _ = whole(net, given)
    assert torch.equal(stream.events([3], [0], until=T), whole(net, at(3, 0))[0][0])
    with torch.no_grad():
        net[3].connection.weight[0, 0] = float("nan")  # pyright: ignore
    with pytest.raises(ValueError, match="weight: expected finite numbers"):
        stream.step([1])


def at(unit: int, step: int) -> Tensor:
    given = torch.zeros(1, T, N_IN)
    given[0, step, unit] = 1
    return given


def test_other_backends():
    net, given = network(), dense(1, 10, N_IN)
    with ss.use_backend("dense"):
        expected, _ = whole(net, given)
        stream = ss.stream(net)
        for t in range(10):
            torch.testing.assert_close(stream.step(given[0, t].nonzero()[:, 0]), expected[0, t])


WRONG: list[tuple[Any, str]] = [
    (lambda s: s.step([0, N_IN]), r"units: expected units in \[0, 30\), found list \[0, 30\]"),
    (lambda s: s.step([-1]), r"units: expected units in \[0, 30\)"),
    (lambda s: s.step([3, 1, 3]), "units: expected each unit once, found"),
    (lambda s: s.step([0.5]), "units: expected a list of integers, found"),
    (lambda s: s.step(3), "units: expected a list of integers, found 3"),
    (lambda s: s.events([1], [4]), "step: expected integers >= 5, found 4"),
    (lambda s: s.events([1], [4], until=8), "step: expected integers >= 5, found 4"),
    (lambda s: s.events([1], [9], until=8), r"step: expected integers in \[5, 8\), found 9"),
    (lambda s: s.events([30], [9]), r"unit: expected integers in \[0, 30\), found 30"),
    (lambda s: s.events([1, 2], [9]), "step: expected 2 entries, found 1"),
    (lambda s: s.events([1, 1], [9, 9]), "unit: expected each unit once in a step"),
    (lambda s: s.events([], []), "until: expected steps to run after 5, found none"),
    (lambda s: s.events([1], [9], until=4), "until: expected an integer >= 5, found 4"),
    (lambda s: s.events([1], [9], sample=[0]), "sample: expected none without a batch"),
    (lambda s: ss.stream(s.net, batch=2).step([[1]]), "units: expected 2 lists of units, found 1"),
    (lambda s: ss.stream(s.net, batch=2).events([1], [0]), "sample: expected one for each event"),
    (lambda s: ss.stream(s.net, batch=0), "batch: expected an integer >= 1, found 0"),
    (lambda s: ss.stream(s.net.train()), r"net: expected net.eval\(\), found Dropout in training"),
    (lambda s: ss.stream(cast(Any, nn.Linear(3, 2))), "net: expected an ss.Network, found Linear"),
]


@pytest.mark.parametrize(("use", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_stream_refuses_by_name_and_goes_on(use, message):
    stream = ss.stream(network())
    stream.events([2], [4])
    with pytest.raises(ValueError, match=f"^{message}"):
        use(stream)
    assert stream.now == 5


def test_an_array_of_units_of_any_integer_type():
    stream = ss.stream(network())
    for units in (np.array([2, 1], np.uint16), torch.tensor([2, 1]), (1, 2)):
        stream.reset()
        out = torch.stack([stream.step(units), *(stream.step([]) for _ in range(5))])
        assert torch.equal(out, whole(network(), first_step(2, 1))[0][0, :6])


def first_step(*units: int) -> Tensor:
    given = torch.zeros(1, 6, N_IN)
    given[0, 0, list(units)] = 1
    return given
