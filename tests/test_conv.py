"""Convolutions: equal to PyTorch's, and on the CPU to the dense oracle, spikes and every gradient."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from torch import nn

import sparsespike as ss
from cases import EXACT_LIF, GENERAL_LIF
from checks import assert_close
from compare import compare
from conv_cases import ConvCase, compare_conv, conv_cases

WIDE = "SPARSESPIKE_SWEEP" in os.environ
EXAMPLES = 600 if WIDE else 150
BASE = ConvCase()


# ---- what a convolution is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "peer", "shape", "arguments"),
    [
        (ss.Conv2d, nn.Conv2d, (2, 8, 7), {"kernel_size": 3, "padding": 1}),
        (ss.Conv2d, nn.Conv2d, (4, 8, 7), {"kernel_size": (3, 2), "stride": (2, 1), "groups": 2}),
        (ss.Conv2d, nn.Conv2d, (2, 9, 7), {"kernel_size": 4, "padding": "same", "dilation": 2}),
        (ss.Conv2d, nn.Conv2d, (2, 9, 7), {"kernel_size": 3, "padding": "valid"}),
        (ss.Conv1d, nn.Conv1d, (4, 20), {"kernel_size": 5, "stride": 3, "groups": 4}),
        (ss.Conv1d, nn.Conv1d, (4, 20), {"kernel_size": 4, "padding": "same", "dilation": 2}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_the_current_is_that_of_pytorchs_layer(kind, peer, shape, arguments, bias):
    dense = (torch.rand(2, 5, *shape) < 0.3).double()
    ours = kind(shape[0], 8, bias=bias, dtype=torch.float64, **arguments)
    theirs = peer(shape[0], 8, bias=bias, dtype=torch.float64, **arguments)
    ours.load_state_dict(theirs.state_dict())
    current = ours(ss.Spikes.from_dense(dense))
    expected = theirs(dense.flatten(0, 1))
    assert current.unit_shape == expected.shape[1:]
    assert current.shape == (2, 5, expected[0].numel())
    assert expected.any()
    assert_close(current.to_dense(), expected.reshape(2, 5, -1).detach(), "current")


def test_one_channel_may_be_left_out_of_the_unit_shape():
    row, image = ss.Spikes.from_dense(torch.ones(1, 3, 20)), torch.ones(1, 3, 4, 5)
    assert ss.Conv1d(1, 2, 5)(row).unit_shape == (2, 16)
    assert ss.Conv2d(1, 2, 3)(ss.Spikes.from_dense(image)).unit_shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels: expected an integer >= 1, found 0"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size: expected a number or 2, >= 1, found"),
        ({"kernel_size": 2.5}, "kernel_size: expected"),
        ({"stride": 0}, "stride: expected"),
        ({"dilation": "two"}, "dilation: expected"),
        ({"padding": "full"}, "padding: expected numbers, 'same' or 'valid', found 'full'"),
        ({"padding": "same", "stride": 2}, "padding: 'same' needs a stride of 1"),
        ({"padding": -1}, "padding: expected"),
        ({"groups": 3}, "in_channels: expected a multiple of groups = 3, found 4"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    usual = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
    with pytest.raises(ValueError, match=message):
        ss.Conv2d(**(usual | arguments))


def test_spikes_of_another_layout_are_refused_in_words():
    conv = ss.Conv2d(2, 3, 3)
    for shape in ((18,), (1, 3, 6), (2, 9)):
        spikes = ss.Spikes.from_dense(torch.zeros(1, 2, *shape))
        with pytest.raises(ValueError, match=r"spikes: expected unit_shape \(C, H, W\) of 2"):
            conv(spikes)
    flat = ss.Spikes.from_dense(torch.zeros(1, 2, 18))
    assert conv(flat.with_unit_shape((2, 3, 3))).unit_shape == (3, 1, 1)
    with pytest.raises(ValueError, match="expected at least the kernel's"):
        conv(flat.with_unit_shape((2, 9, 1)))
    with pytest.raises(ValueError, match="spikes: expected Spikes, found Tensor"):
        conv(torch.zeros(1, 2, 2, 3, 3))
    with pytest.raises(ValueError, match=r"unit_shape: expected \(N,\), .* of 18 units"):
        flat.with_unit_shape((2, 3, 4))


def test_weights_of_another_shape_are_refused_or_make_another_layer():
    conv, lif = ss.Conv2d(2, 3, 3, bias=True), ss.LIF(10e-3, 1e-3)
    spikes = ss.Spikes.from_dense(torch.zeros(1, 2, 2, 5, 5))
    conv.weight = nn.Parameter(torch.zeros(3, 2, 5, 5))
    assert conv(spikes).unit_shape == (3, 1, 1)
    conv.weight = nn.Parameter(torch.zeros(3, 2, 9))
    with pytest.raises(ValueError, match="weight: expected"):
        conv(spikes)
    conv.weight, conv.bias = nn.Parameter(torch.zeros(3, 2, 3, 3)), nn.Parameter(torch.zeros(7))
    with pytest.raises(ValueError, match=r"bias: expected \(3,\), one per channel, found \(7,\)"):
        lif(conv(spikes))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("stride", (0, 1), "stride: expected an integer >= 1, found 0"),
        ("dilation", None, "dilation: expected"),
        ("padding", (-1, -1), "padding: expected"),
        ("padding", "full", "padding: expected numbers, 'same' or 'valid'"),
        ("groups", 2, "weight: expected a multiple of groups = 2 of channels, found 3"),
    ],
)
def test_numbers_set_later_are_taken_or_refused_by_name(name, value, message):
    conv, spikes = ss.Conv2d(1, 3, 3), ss.Spikes.from_dense(torch.zeros(1, 2, 1, 5, 5))
    conv.padding, conv.stride = 1, 2
    assert conv(spikes).unit_shape == (3, 3, 3)
    setattr(conv, name, value)
    with pytest.raises(ValueError, match=message):
        conv(spikes)


def test_a_fresh_layer_is_alive():
    torch.manual_seed(0)
    spikes = ss.Spikes.from_dense((torch.rand(4, 60, 2, 12, 12) < 0.01).float())
    layer = ss.Layer(ss.Conv2d(2, 16, 5), ss.LIF(10e-3, 1e-3))
    assert 1e-4 < layer(spikes).rate() < 0.2


# ---- the CPU against the oracle ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("reset", "detach"),
    [("subtract", True), ("subtract", False), ("zero", True), ("zero", False), ("none", True)],
)
def test_every_reset_equals_the_oracle(reset, detach, dtype):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach)
    for case in (
        BASE,
        replace(BASE, sizes=(4, 6, 6), channels=72, groups=4, seed=1),
        replace(BASE, channels=17, stride=(2, 1), dilation=(1, 2), seed=2, active=1.0),
        replace(BASE, sizes=(3, 9), kernel=(3,), stride=(1,), padding=(0,), dilation=(1,)),
        replace(BASE, bias=reset == "subtract" and detach, seed=4),
    ):
        seen = compare_conv(replace(case, neuron=neuron, dtype=dtype), "cpu")
        assert min(seen["spiking"], seen["in_band"], seen["learning"]), (case, seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_event_reaches_its_whole_patch_wherever_it_is(dtype):
    """Marks are words of 64 sites; runs of a patch begin in one and end in the next."""
    dense = torch.eye(9 * 15, dtype=dtype).view(-1, 1, 1, 9, 15)
    dense = torch.cat((dense, torch.zeros_like(dense)), 1)  # a sample per position
    conv = ss.Conv2d(1, 2, 5, padding=2, dtype=dtype)
    torch.nn.init.constant_(conv.weight, 2.0)
    outs = [
        ss.Layer(conv, EXACT_LIF, backend=name)(ss.Spikes.from_dense(dense)).to_dense()
        for name in ("cpu", "dense")
    ]
    assert outs[1].sum() > 135 * 2 * 9
    assert torch.equal(*outs)


def test_generated_exact_convolutions_equal_the_oracle():
    seen = Counter()

    @settings(max_examples=EXAMPLES)
    @given(case=conv_cases(exact=True))
    def agree(case):
        seen.update(compare_conv(case, "cpu"))

    agree()
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= EXAMPLES // 6, seen


def test_generated_convolutions_of_one_dimension_equal_the_oracle():
    seen = Counter()

    @settings(max_examples=EXAMPLES // 2)
    @given(case=conv_cases(exact=True, n_dim=1))
    def agree(case):
        seen.update(compare_conv(case, "cpu"))

    agree()
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= EXAMPLES // 25, seen


def test_generated_general_convolutions_equal_the_oracle():
    seen = Counter()

    @settings(max_examples=EXAMPLES // 3)
    @given(case=conv_cases(exact=False))
    def agree(case):
        assume(case.is_decided())
        seen.update(compare_conv(case, "cpu"))

    agree()
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES // 30, seen


def test_generated_readouts_of_convolutions_equal_the_oracle():
    seen = Counter()

    @settings(max_examples=EXAMPLES // 5)
    @given(case=conv_cases(exact=False))
    def agree(case):
        seen.update(compare_conv(case, "cpu", readout=True))

    agree()
    assert seen["learning"] >= EXAMPLES // 20, seen


def test_a_plane_of_many_sites_equals_the_oracle():
    """More sites than a group of marks has, most of them silent, over steps in which nothing happens."""
    case = replace(BASE, sizes=(1, 23, 31), channels=20, steps=40, rate=0.002, padding="same")
    case = replace(case, neuron=EXACT_LIF.changed(v_th=0.25, v_reset=0.0))
    seen = compare_conv(case, "cpu")
    assert min(seen["spiking"], seen["in_band"], seen["learning"]), seen


# ---- with others ---------------------------------------------------------------------------------


class Block(nn.Module):
    """A residual block and one of three unlike branches, as in inception networks."""

    def __init__(self, neuron: ss.LIF) -> None:
        super().__init__()
        self.first, self.second = ss.Conv2d(2, 5, 3, padding=1), ss.Conv2d(5, 6, 3, padding=1)
        self.skip, self.wide = ss.Conv2d(2, 6, 1), ss.Conv2d(5, 6, (1, 5), padding=(0, 2))
        self.all = ss.Linear(2 * 5 * 6, 6 * 5 * 6)
        self.lif1, self.lif2, self.lif3 = neuron, neuron, neuron

    def forward(self, x: ss.Spikes) -> ss.Spikes:
        y = self.lif1(self.first(x))
        z = self.lif2(self.second(y) + self.skip(x))
        return self.lif3(self.wide(y) + self.skip(x) + self.all(x)) if z.n_spikes else z


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_unlike_branches_equal_the_oracle(reset):
    grads, outs = {}, {}
    for name in ("cpu", "dense"):
        torch.manual_seed(0)
        block = Block(EXACT_LIF.changed(reset=reset)).double()
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.copy_((8 * torch.randn_like(parameter)).round() / 8)
        spikes, leaf = BASE.spikes()
        with ss.use_backend(name):
            out = block(spikes)
        (out.to_dense() * torch.linspace(-1, 1, 6 * 30).view(6, 5, 6)).sum().backward()
        assert leaf is not None
        outs[name] = out
        grads[name] = {key: p.grad for key, p in block.named_parameters()} | {"input": leaf.grad}
    assert outs["dense"].n_spikes
    assert outs["cpu"].unit_shape == (6, 5, 6)
    assert torch.equal(outs["cpu"].to_dense(), outs["dense"].to_dense())
    assert compare(grads["cpu"], grads["dense"])["learning"]


def test_terms_of_other_layouts_are_refused():
    spikes = BASE.spikes()[0].detach()
    a, b = (ss.Conv2d(2, c, k, dtype=torch.float64)(spikes) for c, k in ((4, 1), (8, (1, 4))))
    assert a.shape == (*spikes.shape[:2], 120) == b.shape
    with pytest.raises(ValueError, match=r"current: expected unit_shape \(4, 5, 6\) to add, found"):
        a + b


def test_two_threads_sum_to_the_same_gradient(two_threads):
    case = replace(BASE, batch=5, neuron=GENERAL_LIF, exact=False, channels=33)
    assert case.is_decided()
    assert compare_conv(case, "cpu")["learning"]


def test_cat_joins_channels_and_shapes_travel():
    a, b = (ss.Spikes.from_dense((torch.rand(2, 4, c, 3, 5) < 0.4).float()) for c in (2, 3))
    both = ss.Spikes.cat([a, b])
    assert both.unit_shape == (5, 3, 5)
    assert torch.equal(both.to_dense(), torch.cat([a.to_dense(), b.to_dense()], 2))
    flat = ss.Spikes.from_dense(torch.zeros(2, 4, 7))
    assert ss.Spikes.cat([a, flat]).unit_shape == (37,)
    assert a[1:, :2].unit_shape == a.to_words().unit_shape == a.detach().unit_shape == (2, 3, 5)
    assert ss.Spikes.stack([a, a]).unit_shape == (2, 3, 5)
    assert ss.Spikes.stack([a, a.with_unit_shape((30,))]).unit_shape == (30,)
