"""`Metrics`: what was counted, as shares and per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Arithmetic of 32-bit floats in 45 nm CMOS at 0.9 V: an addition; and with it a multiplication of 3.7 pJ.
# M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, fig. 1.1.9.
PJ_PER_AC = 0.9
PJ_PER_MAC = 4.6


@dataclass(frozen=True)
class Synapses:
    """One connection.

    Attributes:
        name: in its network.
        n_weights: all of them; of a `SparseLinear` all that a `Linear` would have.
        n_zeros: those that are zero, or not there.
        macs: effective multiplications with accumulation, of all samples.
        acs: effective accumulations, of all samples.
        dense: operations if every weight met every unit at every step, of all samples.
    """

    name: str
    n_weights: int
    n_zeros: int
    macs: int
    acs: int
    dense: int


@dataclass(frozen=True)
class Activations:
    """Neurons that spike, of one layer.

    Attributes:
        name: in the network.
        n_nonzero: (sample, step, neuron) entries with a spike.
        n_entries: all of them.
    """

    name: str
    n_nonzero: int
    n_entries: int

    @property
    def sparsity(self) -> float:
        """Share of entries without a spike, in [0, 1]."""
        return _share(self.n_entries - self.n_nonzero, self.n_entries)


@dataclass(frozen=True)
class Metrics:
    """What was counted of a network, as NeuroBench 2.3 defines it (Yik et al., Nat. Commun. 16:1545, 2025).

    Attributes:
        n_samples: samples that were run.
        connections: each connection.
        neurons: each layer of neurons that spike, in the order in which they ran.
        n_parameters: numbers in all parameters.
        footprint: bytes of all parameters and buffers.
    """

    n_samples: int
    connections: tuple[Synapses, ...]
    neurons: tuple[Activations, ...]
    n_parameters: int
    footprint: int

    @property
    def effective_macs(self) -> float:
        """Multiplications with accumulation per sample: of steps with numbers other than 0 and 1."""
        return sum(each.macs for each in self.connections) / self.n_samples

    @property
    def effective_acs(self) -> float:
        """Accumulations per sample: weights other than zero that spikes met."""
        return sum(each.acs for each in self.connections) / self.n_samples

    @property
    def dense(self) -> float:
        """Operations per sample if every weight met every unit at every step."""
        return sum(each.dense for each in self.connections) / self.n_samples

    @property
    def activation_sparsity(self) -> float:
        """Share of (sample, step, neuron) entries without a spike; readouts are not among them."""
        total = sum(each.n_entries for each in self.neurons)
        return _share(total - sum(each.n_nonzero for each in self.neurons), total)

    @property
    def connection_sparsity(self) -> float:
        """Share of weights that are zero, in [0, 1]; biases are not among them."""
        zeros = sum(each.n_zeros for each in self.connections)
        return _share(zeros, sum(each.n_weights for each in self.connections))

    def energy(self, pj_per_ac: float = PJ_PER_AC, pj_per_mac: float = PJ_PER_MAC) -> float:
        """Energy per sample of the effective synaptic operations' arithmetic, joules: an estimate.

        Not counted: memory, on which most energy goes in practice, the neurons' own arithmetic, what moves
        events, and idling.

        Args:
            pj_per_ac: of an accumulation, picojoules; as given here of 32-bit floats in 45 nm.
            pj_per_mac: of a multiplication with accumulation, picojoules.
        """
        return (self.effective_acs * pj_per_ac + self.effective_macs * pj_per_mac) * 1e-12

    def dense_energy(self, pj_per_mac: float = PJ_PER_MAC) -> float:
        """The same if all operations were done, each a multiplication with accumulation, joules."""
        return self.dense * pj_per_mac * 1e-12

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON; operations are per sample."""
        return {
            "n_samples": self.n_samples,
            "effective_macs": self.effective_macs,
            "effective_acs": self.effective_acs,
            "dense": self.dense,
            "activation_sparsity": self.activation_sparsity,
            "connection_sparsity": self.connection_sparsity,
            "n_parameters": self.n_parameters,
            "footprint": self.footprint,
            "energy": self.energy(),
            "dense_energy": self.dense_energy(),
            "pj_per_ac": PJ_PER_AC,
            "pj_per_mac": PJ_PER_MAC,
            "connections": [vars(each) for each in self.connections],
            "neurons": [{**vars(each), "sparsity": each.sparsity} for each in self.neurons],
        }

    def rows(self) -> list[tuple[str, str]]:
        """What a reader is shown, a label and a value each."""
        energy = f"{joules(self.energy())} of {joules(self.dense_energy())} dense"
        return [
            ("accumulations (AC) per sample", f"{self.effective_acs:,.0f}"),
            ("multiplications too (MAC)", f"{self.effective_macs:,.0f}"),
            ("dense operations", f"{self.dense:,.0f}"),
            ("activation sparsity", f"{self.activation_sparsity:.3%}"),
            ("connection sparsity", f"{self.connection_sparsity:.3%}"),
            ("footprint", f"{self.footprint:,} bytes, {self.n_parameters:,} parameters"),
            ("energy per sample, estimated", energy),
        ]


ASSUMED = (
    "Synaptic operations as NeuroBench counts them, accumulations (AC) and multiplications with accumulation "
    "(MAC): of spikes with weights that are not zero; dense, of every weight at every step. Energy: "
    f"{PJ_PER_AC} pJ per AC and {PJ_PER_MAC} pJ per MAC (32-bit floats, 45 nm, Horowitz 2014), dense ones "
    "MACs; memory, neurons and moving events are not in it."
)


def joules(energy: float) -> str:
    """An energy in joules as one would write it."""
    for unit, size in (("mJ", 1e-3), ("µJ", 1e-6), ("nJ", 1e-9)):
        if energy >= size:
            return f"{energy / size:,.2f} {unit}"
    return f"{energy / 1e-12:,.2f} pJ"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
