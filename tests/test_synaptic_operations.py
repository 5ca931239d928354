"""What a network costs, counted by hand; what cannot be counted is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sparsespike as ss
from sparsespike.connections.injected import injected
from unfused import lif

pytestmark = pytest.mark.usefixtures("plain_pytorch")


def always(**more: Any) -> ss.LIF:
    """Spike at every step, the first left out with lag 1."""
    return lif(v_th=-1.0, v_reset=-2.0, reset="none", **more)


def spikes_of(*shape: int, share: float = 0.3) -> ss.Spikes:
    return ss.Spikes.from_dense((torch.rand(shape) < share).double())


# ---- by hand -------------------------------------------------------------------------------------


def test_a_spike_meets_the_weights_of_its_unit_that_are_not_zero():
    linear = ss.Linear(3, 4)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.weight[:3, 1] = 0.0
    net = ss.Network(ss.Layer(linear, ss.Readout(alpha=0.5)))
    dense = torch.zeros(2, 5, 3)
    dense[0, 1, 0] = dense[0, 4, 1] = dense[1, 0, 1] = 1  # they meet 4, 1 and 1
    found = ss.metrics.measure(net, ss.Spikes.from_dense(dense))
    assert (found.effective_acs, found.effective_macs, found.dense) == (3.0, 0.0, 5 * 12.0)
    assert found.connection_sparsity == 3 / 12
    assert (found.n_parameters, found.footprint) == (12, 48)
    assert found.energy() == pytest.approx(3 * 0.9e-12)
    assert found.dense_energy() == pytest.approx(60 * 4.6e-12)
    assert found.neurons == ()
    assert found.activation_sparsity == 0.0
    assert [each.name for each in found.connections] == ["0.connection"]


def test_at_the_border_a_spike_meets_fewer_weights():
    conv = ss.Conv2d(1, 2, 3, padding=1)
    net = ss.Network(ss.Layer(conv, lif()))
    dense = torch.zeros(1, 2, 1, 4, 4)
    dense[0, 0, 0, 0, 0] = dense[0, 1, 0, 1, 1] = 1  # a corner: 4 places; inside: 9; of 2 channels
    found = ss.metrics.measure(net, ss.Spikes.from_dense(dense))
    assert found.effective_acs == 2 * (4 + 9)
    assert found.dense == 2 * 2 * (4 * 4 + 8 * 6 + 4 * 9)


# With lag 1 nothing is sent in the first step; with lag 0 what is sent in the last meets nothing.
@pytest.mark.parametrize(("lag", "sent"), [(1, 4), (0, 5)])
def test_what_neurons_send_to_themselves_is_met_with_lag_0_a_step_later(lag, sent):
    n = 3
    own = ss.Linear(n, n)
    net = ss.Network(ss.Layer(ss.Linear(2, n), always(lag=lag), recurrent=own))
    with torch.no_grad():
        own.weight.fill_(1.0)
    found = ss.metrics.measure(net, ss.Spikes.from_dense(torch.zeros(2, 5, 2)))
    assert found.neurons[0].n_nonzero == 2 * sent * n
    assert found.connections[1].acs == 2 * 4 * n * n
    assert found.connections[1].dense == 2 * 5 * n * n


def test_shares_of_a_window_multiply_unless_all_are_whole():
    net = ss.Network(ss.AvgPool2d(2), ss.Layer(ss.Linear(1, 7), ss.Readout(alpha=0.5)))
    dense = torch.zeros(1, 3, 1, 2, 2)
    dense[0, 0] = 1.0  # four quarters
    dense[0, 1, 0, 0, 0] = 1.0
    found = ss.metrics.measure(net, ss.Spikes.from_dense(dense))
    assert (found.effective_acs, found.effective_macs, found.dense) == (7.0, 7.0, 21.0)
    assert found.energy() == pytest.approx(7 * (0.9 + 4.6) * 1e-12)
    assert dict(found.rows())["energy per sample, estimated"] == "38.50 pJ of 96.60 pJ dense"


def test_layers_that_share_neurons_are_told_apart():
    shared = lif()
    layers = [ss.Layer(ss.Linear(4, 3), shared), ss.Layer(ss.Linear(3, 2), shared)]
    net = ss.Network(layers[0], ss.Dropout(), layers[1]).double()
    x = spikes_of(2, 10, 4, share=0.7)
    found = ss.metrics.measure(net, x)
    assert [(each.name, each.n_entries) for each in found.neurons] == [
        ("0.neuron", 2 * 10 * 3),
        ("2.neuron", 2 * 10 * 2),
    ]


def test_synapses_that_are_not_there_count_as_zeros():
    index = torch.tensor([[0, 1, 1], [0, 0, 4]])
    net = ss.Network(ss.Layer(ss.SparseLinear(5, 4, index), lif()))
    found = ss.metrics.measure(net, ss.Spikes.from_dense(torch.ones(1, 1, 5)))
    assert (found.effective_acs, found.dense) == (3.0, 20.0)
    assert found.connection_sparsity == 17 / 20
    assert found.footprint == 3 * 4 + 6 * 8  # weights, and the index


def test_batches_add_up_and_json_has_it_all():
    net = ss.Network(ss.Layer(ss.Linear(4, 3), lif()), ss.Layer(ss.Linear(3, 2), lif()))
    net.double().train()
    x = spikes_of(6, 10, 4)
    whole = ss.metrics.measure(net, x)
    assert ss.metrics.measure(net, (x[i : i + 4] for i in (0, 4))) == whole
    assert net.training
    told = whole.to_dict()
    assert told["n_samples"] == 6
    assert told["effective_acs"] == whole.effective_acs > 0
    assert [each["name"] for each in told["neurons"]] == ["0.neuron", "1.neuron"]


@pytest.mark.parametrize("lag", [0, 1])
def test_chunks_of_a_recording_give_what_the_whole_gives(lag):
    net = ss.Network(
        ss.Layer(ss.Linear(4, 5), lif(lag=lag), recurrent=ss.Linear(5, 5)),
        ss.Layer(ss.Linear(5, 2), ss.Readout(alpha=0.5)),
    ).double()
    x = spikes_of(3, 12, 4, share=0.6)
    whole = ss.metrics.measure(net, x)
    assert whole.connections[1].acs > 0
    state = None
    with torch.no_grad(), ss.metrics.Counting(net) as counting:
        for start in (0, 5, 10):
            _, state = net(x[:, start : start + 5], state=state, return_state=True)
    assert counting.metrics() == whole
    if lag == 0:
        with ss.metrics.Counting(net), pytest.raises(ValueError, match=r"state: expected one that"):
            net(x, state=state)


def test_delays_and_words_change_no_count():
    torch.manual_seed(1)
    plain, late = ss.Linear(4, 5), ss.Linear(4, 5, delay=ss.Delay(3, learn=True))
    x = spikes_of(2, 10, 4).to(torch.float32)
    totals = {
        ss.metrics.measure(ss.Network(ss.Layer(each, ss.Readout(alpha=0.5))), given).effective_acs
        for each in (plain, late)
        for given in (x, x.to_words())
    }
    assert len(totals) == 1
    assert totals.pop() > 0


def test_graded_words_count_as_lists_do():
    net = ss.Network(ss.AvgPool2d(2), ss.Layer(ss.Conv2d(1, 2, 2), ss.Readout(alpha=0.5)))
    x = ss.Spikes.from_dense((torch.rand(2, 8, 1, 6, 6) < 0.5).float())
    lists, words = ss.metrics.measure(net, x), ss.metrics.measure(net, x.to_words())
    assert lists.effective_macs > 0
    assert words == lists


# ---- what cannot be counted ----------------------------------------------------------------------


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv2d(1, 1, 3)


class Injected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.neuron = ss.Linear(3, 3), lif()

    def forward(self, spikes: ss.Spikes) -> ss.Spikes:
        return self.neuron(injected(self.linear(spikes).to_dense()))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="net: expected a module, found int"):
        ss.metrics.measure(3, spikes_of(1, 2, 3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"found torch.nn.Conv2d at 'front'"):
        ss.metrics.Counting(Mixed())
    with pytest.raises(ValueError, match=r"neurons, 'neuron', that take a dense"):
        ss.metrics.measure(Injected(), spikes_of(1, 4, 3).to(torch.float32))
    net = ss.Network(ss.Layer(ss.Linear(3, 2), lif()))
    with pytest.raises(ValueError, match="expected a call with samples"):
        ss.metrics.measure(net, [])
    counting = ss.metrics.Counting(net)
    with counting:
        net[0](spikes_of(1, 4, 3).to(torch.float32))  # a part by itself is not counted
    with pytest.raises(ValueError, match="expected a call with samples"):
        counting.metrics()
