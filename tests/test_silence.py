"""Silence speaks, and fresh layers are alive."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sparsespike as ss
from checks import assert_close
from test_modules import loss_of, network, spikes


def test_a_silent_layer_and_a_short_recording_warn_once_and_live_ones_do_not(recwarn):
    net = network()
    loss_of(net)
    assert not [w for w in recwarn if w.category is ss.SilenceWarning]
    nn.init.zeros_(net[0].connection.weight)
    with pytest.warns(ss.SilenceWarning, match="none of a layer's 20 neurons.*reset_parameters"):
        net(spikes())
    short = replace_steps(2)
    with pytest.warns(
        ss.SilenceWarning, match="nothing of 2 steps comes through 2 layers.*3 steps"
    ):
        network()(short)


def replace_steps(steps: int) -> ss.Spikes:
    return ss.Spikes.from_dense(spikes().to_dense()[:, :steps])


def test_no_warning_where_nothing_is_to_be_learnt(recwarn):
    layer = ss.Layer(ss.Linear(30, 20), ss.LIF(20e-3, 1e-3))
    nn.init.zeros_(layer.connection.weight)
    with torch.no_grad():
        layer(spikes())
    assert not [w for w in recwarn if w.category is ss.SilenceWarning]


def test_fresh_weights_are_widened_and_touched_ones_left_alone():
    lif = ss.LIF(10e-3, 1e-3)
    fresh = ss.Linear(300, 100)
    drawn = fresh.weight.detach().clone()
    layer = ss.Layer(fresh, lif)
    ratio = fresh.weight.detach() / drawn
    assert ratio.min() > 2
    assert_close(ratio, torch.full_like(ratio, ratio.mean().item()), "one factor for all")
    assert fresh.weight.std().item() == pytest.approx(lif.weight_std(300), rel=0.02)
    widened = fresh.weight.detach().clone()
    ss.Layer(fresh, ss.Readout(10e-3, 1e-3))  # a second layer takes them as they are
    assert torch.equal(fresh.weight, widened)
    for touch in (
        lambda c: nn.init.normal_(c.weight),
        lambda c: c.weight.data.mul_(2.0),
        lambda c: c.load_state_dict(nn.Linear(300, 100, bias=False).state_dict()),
        lambda c: setattr(c, "weight", nn.Parameter(torch.rand(100, 300))),
        lambda c: c.weight.data[3:4, 2:3].add_(1e-3),
    ):
        touched = ss.Linear(300, 100)
        touch(touched)
        kept = touched.weight.detach().clone()
        ss.Layer(touched, lif)
        assert torch.equal(touched.weight, kept)
    layer.reset_parameters(rate=0.1)
    assert fresh.weight.std().item() == pytest.approx(lif.weight_std(300, 0.1), rel=0.02)
    with pytest.raises(ValueError, match="rate: expected"):
        layer.reset_parameters(rate=0.0)


def test_copy_of_a_neuron_is_another_neuron():
    lif = ss.LIF(10e-3, 1e-3)
    other = lif.changed(b_th=0.5)
    assert other is not lif
    assert (lif.b_th, other.b_th) == (0.2, 0.5)
    assert "b_th=0.5" in repr(other)
