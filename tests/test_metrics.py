"""Metrics: sums over batches of unequal size give the shares of all samples."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

import sparsespike as ss
from sparsespike.training.metrics import Totals, counted, peak_memory


def spikes_of(n_batch: int, n_step: int, n_unit: int, share: float) -> ss.Spikes:
    dense = (torch.rand(n_batch, n_step, n_unit) < share).float()
    active = torch.rand(n_batch, n_step, n_unit) < 2 * share
    return ss.Spikes.from_dense(dense, active=active)


def filled() -> tuple[Totals, list[list[ss.Spikes]]]:
    totals, batches = Totals(), []
    for n, loss in ((4, 2.0), (1, 7.0)):
        hidden = [spikes_of(n, 6, 5, 0.3), spikes_of(n, 6, 3, 0.0)]
        logit = torch.eye(3)[torch.arange(n) % 3]  # predicts 0, 1, 2, 0
        label = torch.tensor([0, 0, 2, 0])[:n]
        totals.add(counted(loss, logit, label, spikes_of(n, 6, 8, 0.5), hidden))
        batches.append(hidden)
    totals.seconds = 2.0
    return totals, batches


def test_a_batch_counts_by_its_samples():
    totals, _ = filled()
    assert totals.mean_loss() == pytest.approx((4 * 2.0 + 7.0) / 5)
    assert (totals.n_correct, totals.accuracy()) == (4, 4 / 5)
    assert totals.samples_per_second() == 2.5


def test_rates_are_shares_of_all_entries():
    totals, batches = filled()
    dense = torch.cat([hidden[0].to_dense().flatten() for hidden in batches])
    assert dense.sum() > 0
    first, second = totals.layers()
    assert first["rate"] == pytest.approx(dense.mean().item())
    n_active = sum(hidden[0].n_active for hidden in batches)
    assert first["activity"] == n_active / dense.numel()
    assert first["silent_batches"] == 0
    assert second == {"rate": 0.0, "activity": 0.0, "silent_batches": 2}


def test_clamped_duplicates_are_counted():
    sample, step, unit = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1]), torch.tensor([2, 2, 2])
    spikes = ss.Spikes.from_events(sample, step, unit, shape=(1, 3, 4))
    totals = Totals()
    totals.add(counted(0.0, torch.eye(2)[:1], torch.tensor([0]), spikes, []))
    assert totals.n_clamped == 2


def test_totals_pass_through_json_bit_for_bit():
    totals, _ = filled()
    totals.loss, totals.seconds = 0.1 + 0.2, 1 / 3
    assert Totals(**json.loads(json.dumps(dataclasses.asdict(totals)))) == totals


def test_totals_of_nothing_are_zero():
    totals = Totals()
    assert (totals.mean_loss(), totals.accuracy(), totals.samples_per_second()) == (0, 0, 0)
    assert totals.layers() == []


def test_peak_memory_is_in_mib():
    found = peak_memory()
    assert found is None or 50 < found < 100_000
