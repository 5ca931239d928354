"""`MaxPool2d` and `Flatten` against PyTorch on the dense tensor: spikes, active set, every gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import sparsespike as ss
from checks import assert_same_gradient, assert_something_happened, assert_well_formed
from compare import stored_for


@dataclass(frozen=True)
class Pool:
    """Spikes over an image and the windows that pool them, reproducible from the numbers."""

    batch: int = 2
    steps: int = 5
    channels: int = 3
    height: int = 7
    width: int = 6
    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] | None = None
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False
    rate: float = 0.2
    active: float = 0.5
    dtype: torch.dtype = torch.float64
    kind: str = "lists"
    seed: int = 0

    def module(self) -> ss.MaxPool2d:
        return ss.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def spikes(self) -> tuple[ss.Spikes, Tensor, Tensor]:
        """The input, its dense leaf and its active set."""
        draw = torch.Generator().manual_seed(self.seed)
        shape = self.batch, self.steps, self.channels, self.height, self.width
        dense = (torch.rand(shape, generator=draw) < self.rate).to(self.dtype)
        active = torch.rand(shape, generator=draw) < self.active
        dense.requires_grad_()
        spikes = ss.Spikes.from_dense(dense, active=active)
        return spikes.to_words() if self.kind == "words" else spikes, dense, active

    def reference(self, dense: Tensor) -> tuple[Tensor, Tensor]:
        """PyTorch's output, (B, T, C, H', W'), and the position in the plane that each window takes."""
        out, peak = functional.max_pool2d(
            dense.flatten(0, 1),
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            return_indices=True,
        )
        return out.unflatten(0, dense.shape[:2]), peak.unflatten(0, dense.shape[:2])


BASE = Pool()
LIVELY = {
    "base": BASE,
    "overlapping": replace(BASE, kernel=(3, 3), stride=(1, 2), active=0.9),
    "padded": replace(BASE, kernel=(3, 2), stride=(2, 1), padding=(1, 1)),
    "dilated": replace(BASE, kernel=(2, 3), stride=(1, 1), dilation=(3, 2), padding=(0, 1)),
    "dilation_and_stride": replace(
        BASE, height=13, kernel=(3, 2), stride=(4, 2), dilation=(2, 2), padding=(1, 1)
    ),
    "gaps": replace(BASE, kernel=(2, 1), stride=(3, 4)),
    "ceil_mode": replace(BASE, kernel=(3, 4), stride=(2, 3), padding=(1, 1), ceil_mode=True),
    "whole_image": replace(BASE, kernel=(7, 6), rate=0.05),
    "identity": replace(BASE, kernel=(1, 1)),
    "all_active": replace(BASE, active=1.0, rate=0.05),
    "crowded": replace(BASE, kernel=(3, 3), stride=(1, 1), rate=0.9),
    "one_column": replace(BASE, channels=1, width=1, kernel=(3, 1), stride=(2, 1)),
    "many_steps": replace(BASE, steps=70, batch=3, channels=1, kernel=(3, 3), stride=(2, 2)),
    "many_units": replace(BASE, channels=5, height=9, width=11, kernel=(2, 2), stride=(1, 1)),
}


def active_set(spikes: ss.Spikes) -> Tensor:
    """(B, T, *unit_shape), bool."""
    active = torch.zeros(spikes.shape, dtype=torch.bool).view(-1)
    active[spikes.storage.active_entry(spikes.shape)] = True
    return active.view(*spikes.shape[:2], *spikes.unit_shape)


def compare(case: Pool) -> tuple[ss.Spikes, Tensor]:
    """Output, and the gradient of its input; equal to PyTorch's bit by bit."""
    spikes, leaf, active = case.spikes()
    out = case.module()(spikes)
    expected, peak = case.reference(leaf)
    assert out.to_dense().dtype == expected.dtype
    assert torch.equal(out.to_dense(), expected)
    assert type(out.storage) is type(spikes.storage)
    assert_well_formed(out.to_lists())
    wanted = active.flatten(3).gather(3, peak.flatten(3)).view(expected.shape)
    assert torch.equal(active_set(out), wanted)
    out.check()
    upstream = torch.randn(expected.shape, dtype=case.dtype)
    grad = torch.zeros_like(leaf)
    if out.value.requires_grad:
        (grad,) = torch.autograd.grad((out.to_dense() * upstream).sum(), leaf)
    (reference,) = torch.autograd.grad((expected * upstream).sum(), leaf)
    assert torch.equal(grad, reference * active)
    return out, grad


@pytest.mark.parametrize("kind", ["lists", "words"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LIVELY)
def test_spikes_active_set_and_gradient_are_those_of_pytorch(name, dtype, kind):
    out, grad = compare(replace(LIVELY[name], dtype=dtype, kind=kind))
    assert_something_happened(out, grad)
    assert int(out.value.detach().sum()) > 0
    assert name == "crowded" or int(out.value.detach().sum()) < out.n_active


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    def two(*among: int) -> Any:
        return st.tuples(st.sampled_from(among), st.sampled_from(among))

    kernel = draw(two(2, 3, 4, 1))
    return Pool(
        batch=draw(st.sampled_from([2, 1, 0])),
        steps=draw(st.sampled_from([1, 3, 33])),
        channels=draw(st.integers(1, 3)),
        height=draw(st.sampled_from([7, 10, 5, 3, 2, 1])),
        width=draw(st.sampled_from([8, 9, 6, 4, 2, 1])),
        kernel=kernel,
        stride=draw(st.one_of(two(1, 2, 3, 4, 6), st.none())),
        padding=draw(st.tuples(*(st.integers(0, size // 2) for size in kernel))),
        dilation=draw(two(1, 1, 2, 3, 4)),
        ceil_mode=draw(st.booleans()),
        rate=draw(st.sampled_from([0.3, 0.05, 0.0, 1.0])),
        active=draw(st.sampled_from([0.3, 1.0, 0.0])),
        dtype=draw(st.sampled_from([torch.float32, torch.float64])),
        kind=draw(st.sampled_from(["lists", "words"])),
        seed=draw(st.integers(0, 2**31)),
    )


def has_a_place(case: Pool) -> bool:
    """Whether PyTorch takes it, and no window lies outside the image, where its maximum is -inf."""
    try:
        out, _ = replace(case, batch=1).reference(torch.zeros(1, 1, 1, case.height, case.width))
    except RuntimeError:
        return False
    return bool(out.isfinite().all())


@settings(max_examples=600)
@given(pools())
def test_generated_pools_are_those_of_pytorch_or_refused(case):
    if has_a_place(case):
        compare(case)
        return
    with pytest.raises(
        ValueError, match=r"spikes: expected positions in every window of MaxPool2d"
    ):
        case.module()(case.spikes()[0])


# ---- by hand -------------------------------------------------------------------------------------


def by_hand(
    rows: list[str], pool: ss.MaxPool2d, kind: str
) -> tuple[list[list[int]], list[list[int]]]:
    """Output of one image, everywhere active; and how many windows send their gradient to each position.

    Rows hold `x` for a spike.
    """
    dense = torch.tensor([[float(mark == "x") for mark in row] for row in rows])
    leaf = dense[None, None, None].requires_grad_()
    spikes = ss.Spikes.from_dense(leaf)
    out = pool(spikes.to_words() if kind == "words" else spikes)
    (grad,) = torch.autograd.grad(out.value.sum(), leaf)
    return out.to_dense()[0, 0, 0].int().tolist(), grad[0, 0, 0].int().tolist()


both = pytest.mark.parametrize("kind", ["lists", "words"])


@both
def test_of_several_spikes_the_first_row_by_row_takes_the_gradient(kind):
    assert by_hand([".x", "xx"], ss.MaxPool2d(2), kind) == ([[1]], [[0, 1], [0, 0]])
    assert by_hand(["..", "xx"], ss.MaxPool2d(2), kind) == ([[1]], [[0, 0], [1, 0]])


@both
def test_without_spike_the_first_position_takes_the_gradient(kind):
    assert by_hand(["..", ".."], ss.MaxPool2d(2), kind) == ([[0]], [[1, 0], [0, 0]])


@both
def test_padding_takes_no_gradient(kind):
    pool = ss.MaxPool2d(2, padding=1)
    assert by_hand(["...", "...", ".x."], pool, kind) == (
        [[0, 0], [0, 1]],
        [[1, 1, 0], [1, 0, 0], [0, 1, 0]],
    )


@both
def test_one_entry_takes_the_gradient_of_all_windows_it_is_first_in(kind):
    pool = ss.MaxPool2d(2, stride=1)
    assert by_hand(["...", ".x.", "..."], pool, kind) == (
        [[1, 1], [1, 1]],
        [[0, 0, 0], [0, 4, 0], [0, 0, 0]],
    )


@both
def test_an_inactive_peak_leaves_its_window_without_gradient(kind):
    """Even where another spike of the window is active: the gradient goes to the first alone."""
    dense = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None, None, None].requires_grad_()
    active = torch.tensor([[False, True], [True, True]])[None, None, None]
    spikes = ss.Spikes.from_dense(dense, active=active)
    out = ss.MaxPool2d(2)(spikes.to_words() if kind == "words" else spikes)
    assert (out.n_spikes, out.n_active) == (1, 0)
    assert out.storage.has_active
    assert len(out.value) == 0


def test_channels_steps_and_samples_keep_apart():
    dense = torch.zeros(2, 3, 2, 2, 2)
    dense[1, 2, 0, 1, 1] = 1
    out = ss.MaxPool2d(2)(ss.Spikes.from_dense(dense)).to_dense()
    assert out.nonzero().tolist() == [[1, 2, 0, 0, 0]]


# ---- what little there is ------------------------------------------------------------------------


@both
def test_plain_spikes_stay_plain_and_keep_what_was_lost(kind):
    spikes = BASE.spikes()[0].detach()
    spikes = replace(spikes, n_clamped=3, n_late=4)
    out = ss.MaxPool2d(2)(spikes.to_words() if kind == "words" else spikes)
    assert out.n_spikes > 0
    assert not out.storage.has_active
    assert out.value.dtype == torch.float64
    assert (out.n_clamped, out.n_late) == (3, 4)
    assert out.unit_shape == (3, 3, 3)
    assert out.shape == (2, 5, 27)


@both
@pytest.mark.parametrize(
    "change", [{"batch": 0}, {"rate": 0.0}, {"rate": 0.0, "active": 0.0}], ids=str
)
def test_nothing_in_is_nothing_out(change, kind):
    out, _ = compare(replace(BASE, **change, kind=kind))
    assert out.n_spikes == 0
    assert out.storage.has_active


def test_words_without_values_stay_without():
    """What a GPU layer gives where no gradient is recorded: active bits, no values."""
    words = replace(BASE, kind="words").spikes()[0]
    nothing = words.words.word.new_empty(0)
    bare = replace(
        words, storage=words.words._replace(start=nothing), value=words.value.detach()[:0]
    )
    expected = ss.MaxPool2d(2)(words)
    for module in (ss.MaxPool2d(2), ss.Dropout(0.0)):
        out = module(bare)
        assert len(out.value) == 0
        out.check()
    out = ss.MaxPool2d(2)(bare)
    assert out.n_active == expected.n_active > 0
    assert torch.equal(out.to_dense(), expected.to_dense())


def test_the_potential_of_an_active_output_is_its_peaks():
    spikes, leaf, _ = BASE.spikes()
    potential = torch.arange(spikes.n_active).double()
    out = ss.MaxPool2d(2)(replace(spikes, potential=potential))
    assert out.potential is not None
    (grad,) = torch.autograd.grad(out.value.sum(), leaf)
    assert torch.equal(out.potential.sort().values, potential[grad[active_set(spikes)] == 1])


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size: expected an integer >= 1, found 0"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size: expected a number or 2, >= 1, found"),
        ({"kernel_size": "22"}, "kernel_size: expected a number or 2"),
        ({"kernel_size": None}, "kernel_size: expected an integer >= 1, found None"),
        ({"stride": (1, 0)}, "stride: expected an integer >= 1, found 0"),
        ({"stride": 1.5}, "stride: expected an integer >= 1, found 1.5"),
        ({"padding": -1}, "padding: expected an integer >= 0, found -1"),
        ({"padding": 2}, r"padding: expected at most half of kernel_size \(3, 3\), found \(2, 2\)"),
        ({"dilation": 0}, "dilation: expected an integer >= 1, found 0"),
        ({"ceil_mode": 1}, "ceil_mode: expected True or False, found 1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        ss.MaxPool2d(**({"kernel_size": 3} | arguments))


@pytest.mark.parametrize("shape", [(2, 3, 12), (2, 3, 3, 4)], ids=str)
def test_units_without_rows_and_columns_are_refused(shape):
    spikes = ss.Spikes.from_dense(torch.ones(shape))
    with pytest.raises(ValueError, match=r"unit_shape \(C, H, W\), found .*with_unit_shape"):
        ss.MaxPool2d(2)(spikes)
    assert ss.MaxPool2d(2)(spikes.with_unit_shape((1, 3, 4))).unit_shape == (1, 1, 2)


@pytest.mark.parametrize("module", [ss.MaxPool2d(2), ss.Flatten(), ss.Dropout()], ids=str)
def test_what_is_no_spikes_is_refused(module):
    with pytest.raises(ValueError, match="spikes: expected Spikes, found Tensor"):
        module(torch.ones(2, 3, 1, 4, 4))


def test_it_prints_as_pytorchs_does():
    assert str(ss.MaxPool2d(3, 2, 1)) == (
        "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=False)"
    )


# ---- in a network --------------------------------------------------------------------------------


@both
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
