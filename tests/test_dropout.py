"""`Dropout`: what is left out has neither spike nor gradient, and as much is left out as was asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from checks import assert_something_happened, assert_well_formed

both = pytest.mark.parametrize("kind", ["lists", "words"])
every_per = pytest.mark.parametrize("per", ["sample", "event"])


def spikes(kind: str = "lists", batch: int = 40, rate: float = 0.3) -> tuple[ss.Spikes, Tensor]:
    draw = torch.Generator().manual_seed(1)  # other numbers than `Dropout` draws
    leaf = (torch.rand(batch, 12, 2, 5, 5, generator=draw) < rate).double().requires_grad_()
    active = torch.rand(leaf.shape, generator=draw) < 0.5
    given = ss.Spikes.from_dense(leaf, active=active)
    return given.to_words() if kind == "words" else given, leaf


def kept_of(out: ss.Spikes, leaf: Tensor) -> tuple[Tensor, Tensor]:
    """The spikes that were kept, and the entries that have a gradient; both bool."""
    (grad,) = torch.autograd.grad(out.value.sum(), leaf, retain_graph=True)
    return out.to_dense() == 1, grad == 1


@both
@every_per
def test_what_is_kept_is_a_share_of_the_input_and_stays_one(per, kind):
    given, leaf = spikes(kind)
    out = ss.Dropout(0.3, per=per)(given)
    assert_something_happened(out)
    assert_well_formed(out.to_lists())
    out.check()
    assert out.unit_shape == given.unit_shape
    assert type(out.storage) is type(given.storage)
    fired, active = kept_of(out, leaf)
    assert bool((fired <= (leaf == 1)).all())
    # 2,000 masks or 7,000 events: 5 standard deviations of a share are 0.05.
    assert abs(out.n_spikes / given.n_spikes - 0.7) < 0.05
    assert abs(out.n_active / given.n_active - 0.7) < 0.05
    assert int(active.sum()) == out.n_active


@both
@every_per
def test_an_entry_that_spikes_and_is_active_shares_one_draw(per, kind):
    leaf = spikes()[1]
    given = ss.Spikes.from_dense(leaf)  # active everywhere
    out = ss.Dropout(0.5, per=per)(given.to_words() if kind == "words" else given)
    fired, active = kept_of(out, leaf)
    assert 0 < out.n_spikes < given.n_spikes
    assert torch.equal(active & (leaf == 1), fired)
    assert 0 < int((active & (leaf == 0)).sum()) < int((leaf == 0).sum())


@both
def test_a_sample_keeps_its_units_over_time(kind):
    leaf = spikes()[1]
    given = ss.Spikes.from_dense(leaf)
    out = ss.Dropout(0.5)(given.to_words() if kind == "words" else given)
    _, active = kept_of(out, leaf)
    assert bool((active == active[:, :1]).all())
    units = active[:, 0].flatten(1)
    assert 0 < int(units.sum()) < units.numel()
    assert not bool((units == units[:1]).all())


def test_events_are_drawn_one_by_one():
    leaf = spikes()[1]
    _, active = kept_of(ss.Dropout(0.5, per="event")(ss.Spikes.from_dense(leaf)), leaf)
    share = active.double().mean(1)  # over the 12 steps of each unit
    assert int(((share > 0) & (share < 1)).sum()) > 0
    # Binomial of 12 steps, one half: variance 1/48 of its share.
    assert abs(share.var().item() - 1 / 48) < 0.003


@every_per
def test_evaluation_and_p_of_zero_pass_the_very_same_spikes(per):
    given, _ = spikes()
    assert ss.Dropout(0.9, per=per).eval()(given) is given
    assert ss.Dropout(0.0, per=per)(given) is given


@every_per
def test_the_seed_repeats_it(per):
    given, leaf = spikes()
    drop = ss.Dropout(0.5, per=per)
    kept = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        kept.append(torch.stack(kept_of(drop(given), leaf)))
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


@both
@every_per
def test_plain_quiet_and_empty_spikes(per, kind):
    drop = ss.Dropout(0.5, per=per)
    plain = spikes(kind)[0].detach()
    out = drop(plain)
    assert 0 < out.n_spikes < plain.n_spikes
    assert not out.storage.has_active
    for quiet in (spikes(kind, batch=0)[0], spikes(kind, rate=0.0)[0]):
        out = drop(quiet)
        assert out.n_spikes == 0
        assert out.shape == quiet.shape
        assert out.storage.has_active


@pytest.mark.parametrize("p", [1.0, -0.1, float("nan"), "half", None, True], ids=repr)
def test_other_probabilities_are_refused(p):
    with pytest.raises(ValueError, match=r"p: expected a number in \[0, 1\), found"):
        ss.Dropout(p)


def test_another_per_is_refused():
    with pytest.raises(ValueError, match='per: expected "sample" or "event", found \'step\''):
        ss.Dropout(0.5, per="step")  # pyright: ignore[reportArgumentType]


def test_it_prints_what_was_given():
    assert str(ss.Dropout(0.25, "event")) == "Dropout(p=0.25, per='event')"


def test_a_network_trains_with_it_and_evaluates_without():
    net = ss.Network(
        ss.Layer(ss.Linear(50, 20), ss.LIF(20e-3, 1e-3)),
        ss.Dropout(0.5),
        ss.Layer(ss.Linear(20, 3), ss.Readout(20e-3, 1e-3)),
    ).double()
    given, _ = spikes(batch=4)
    one, hidden = net(given, return_spikes=True)
    assert [signal.shape for signal in hidden] == [(4, 12, 20)]
    assert_something_happened(hidden[0])
    assert not torch.equal(one, net(given))
    ss.losses.cross_entropy(one, torch.tensor([0, 1, 2, 0])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()), name
    net.eval()
    assert torch.equal(net(given), net(given))
