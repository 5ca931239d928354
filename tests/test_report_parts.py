"""The parts of a report: scores are those of `evaluate`, traces the oracle's, counts the layers'."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsespike.backends import use_backend
from sparsespike.metrics import Metrics
from sparsespike.report import membranes, rasters
from sparsespike.report.costs import costs
from sparsespike.report.inputs import picture
from sparsespike.report.scores import Scores, score
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.evaluate import evaluate
from training import CONV, QUICK, few

NOTHING = Metrics(0, (), (), 0, 0)


def test_scores_are_those_of_evaluate():
    net, recipe = QUICK.network(784, 10), QUICK
    test = few("", "test")
    scores, told = score(net, test, recipe), evaluate(net, test, recipe)
    for name in ("accuracy", "loss", "per_class", "layers", "n_samples"):
        assert scores.total[name] == told[name]
    assert scores.metrics.n_samples == 150
    assert [each.name for each in scores.metrics.connections][-1] == "2.connection"
    confusion = scores.confusion()
    assert confusion.sum() == 150
    assert confusion.diag().sum() == round(told["accuracy"] * 150)
    assert torch.equal(confusion.sum(1), torch.from_numpy(np.bincount(test.label, minlength=10)))
    shares = [int(n) / int(row.sum()) for n, row in zip(confusion.diag(), confusion, strict=True)]
    assert shares == told["per_class"]
    assert torch.allclose(scores.probability.sum(1), torch.ones(150, dtype=torch.float64))
    at = scores.probability[range(150), scores.label].log()
    assert -at.mean().item() == pytest.approx(told["loss"], rel=1e-5)
    wrong = scores.mistakes().tolist()
    assert len(wrong) == 150 - confusion.diag().sum()
    assert all(scores.label[i] != scores.prediction[i] for i in wrong)
    sure = scores.sure[wrong].tolist()
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > sure[-1]


def test_examples_are_one_usual_one_narrow_and_the_worst():
    probability = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.95, 0.05]])
    label = torch.tensor([0, 0, 0, 1, 1])
    assert Scores({}, label, probability, ("0", "1"), NOTHING).examples() == [2, 1, 4]
    everything = Scores({}, torch.zeros(5, dtype=torch.int64), probability, ("0", "1"), NOTHING)
    assert everything.examples() == [3, 1]  # no mistake
    none = Scores({}, torch.ones(5, dtype=torch.int64), probability, ("0", "1"), NOTHING)
    assert none.examples() == [4]


@pytest.mark.parametrize("recipe", [QUICK, CONV], ids=["linear", "conv"])
def test_traces_are_the_oracles_and_cross_where_the_spikes_are(recipe):
    net, test = recipe.network((1, 28, 28), 10), few("", "test")
    inside = rasters.look(net, test, recipe, [3, 5])
    found = membranes.traces(net, inside, sample=1)
    assert {trace.layer for trace in found} == {0, 1}
    assert sum(int(trace.spike.sum()) for trace in found) > 3
    assert sum(int(trace.active.sum()) for trace in found) > 1
    with torch.no_grad(), use_backend("dense"):
        _, oracle = net(inside.input, return_spikes=True)
    for trace in found:
        fired = oracle[trace.layer][1]
        dense = fired.to_dense().flatten(2)[0][:, trace.unit]
        assert torch.equal(trace.spike, dense.bool())
        assert torch.equal(trace.spike, trace.potential > recipe.v_th)
        mine = fired.active_unit == trace.unit
        step = fired.active_row()[mine]
        assert trace.active.nonzero()[:, 0].tolist() == step.tolist()
        assert fired.potential is not None
        assert torch.allclose(trace.potential[step], fired.potential[mine], atol=1e-5)
    kinds = {trace.kind: trace for trace in found if trace.layer == 0}
    counts = torch.bincount(inside.hidden[0][1].unit.long())
    assert kinds["busiest"].spike.sum() == counts.max()
    if "silent, yet active" in kinds:
        assert not kinds["silent, yet active"].spike.any()
        assert kinds["silent, yet active"].active.any()


def test_a_trace_that_is_not_the_layers_is_refused():
    net, test = QUICK.network(784, 10), few("", "test")
    inside = rasters.look(net, test, QUICK, [5])
    assert membranes.traces(net, inside)
    with torch.no_grad():
        next(net.parameters()).mul_(0.5)
    with pytest.raises(
        RuntimeError, match="expected to cross the threshold where the layer spikes"
    ):
        membranes.traces(net, inside)


def test_costs_count_what_goes_in_and_out():
    net, recipe = QUICK.network(784, 10), QUICK
    test = few("", "test")
    found = costs(net, test, recipe, ["layer 1", "layer 2", "readout"])
    spikes, _ = test.batch(range(64), recipe.steps)
    _, hidden = net(spikes, return_spikes=True)
    assert found.n_batch == 64
    first, second, last = found.each
    assert first.n_in == spikes.n_spikes / 64
    assert (first.n_spikes, first.n_active) == (hidden[0].n_spikes / 64, hidden[0].n_active / 64)
    assert second.n_in == first.n_spikes
    assert second.activity == hidden[1].activity()
    assert last.n_in == second.n_spikes
    assert last.n_spikes is None
    for cost in found.each:
        assert cost.forward_ms > 0
        assert cost.backward_ms is not None
        assert cost.backward_ms > 0
    assert first.kept_mib > 0
    assert first.module == "Linear(784, 20)"


def camera(step: list[int], unit: list[int], n_units: int) -> Spikes:
    """One sample of ten steps."""
    arrays = (np.array(values) for values in ([0] * len(step), step, unit))
    return Spikes.from_events(*arrays, shape=(1, 10, n_units))


def test_an_image_shows_where_and_how_early_the_events_were():
    events = camera([1, 5, 9], [0, 5, 11], 12)
    image = picture(events.with_unit_shape((1, 3, 4)))
    assert image is not None
    shade = image[:, :, 3]
    assert (shade > 0).sum() == 3
    assert shade[0, 0] == 1 > shade[1, 1] > shade[2, 3] > 0
    assert picture(events) is None


def test_an_image_of_two_polarities_has_a_colour_for_each():
    # Thrice OFF and once ON in the first pixel, once ON in the second.
    events = camera([1, 2, 3, 4, 5], [0, 0, 0, 12, 13], 24)
    image = picture(events.with_unit_shape((2, 3, 4)))
    assert image is not None
    assert image[0, 0, 3] == 1
    assert image[0, 1, 3] == pytest.approx(0.25**0.7)
    assert image[0, 0, 0] > image[0, 0, 2]  # orange
    assert image[0, 1, 0] < image[0, 1, 2]  # blue
