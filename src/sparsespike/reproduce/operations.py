"""Additions and products of the two gradient sums of a layer: Table 1, counted on the events at hand."""

from __future__ import annotations

from sparsespike.backends.cpu import form, plan
from sparsespike.backends.kernels import with_kernel
from sparsespike.bench.layer_case import LayerCase
from sparsespike.descriptions import LIF


def counted(case: LayerCase) -> dict[str, int | str]:
    """How many terms the sums of one backward pass have.

    Args:
        case: a fully connected layer, on the CPU.

    Returns:
        dense: B T N_in N_out, of ∇W as of ∇S (Table 1, original).
        weight, input: terms of the paper's sparse sums, ρ_{l+1} B T N_in N_out and ρ_l B T N_in N_out.
        taken_weight, taken_input: terms of the forms that the kernels take for these events (`plan.py`), and
        form: which these are.
    """
    fired = case.fired()
    n_batch, n_step, n_in = case.spikes.shape
    n_out = case.synapses.n_out
    described = with_kernel(case.neuron.describe(), LIF, "cpu")
    neuron = form.lif(described, form.numpy_dtype(case.weight))
    wanted = case.spikes.n_active > 0
    summed, spread = plan.forms(case.spikes, fired, (case.weight,), neuron, wanted)
    traced = summed == plan.TRACED
    weight, gathered = fired.n_active * n_in, case.spikes.n_active * n_out
    return {
        "dense": n_batch * n_step * n_in * n_out,
        "weight": weight,
        "input": gathered,
        "taken_weight": weight if traced else case.spikes.n_spikes * n_out,
        "taken_input": weight if spread else gathered,
        "form": f"∇W {'from traces' if traced else 'by spikes'}, ∇S {'spread' if spread else 'gathered'}",
    }
