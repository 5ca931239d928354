"""`Stream`: a network at work on a recording that goes on, a step or some events at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.held import Held
from sparsespike.connections.dropout import Dropout
from sparsespike.network import Layer, Network
from sparsespike.neurons.state import States
from sparsespike.spikes import building
from sparsespike.spikes.arguments import described, integer, items
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes

Units = Sequence[int] | NDArray[Any] | Tensor


def stream(
    net: Network, units: int | Sequence[int] | None = None, batch: int | None = None
) -> Stream:
    """Runs a network step by step, or event by event: see `Stream`, whose arguments these are."""
    return Stream(net, units, batch)


class Stream:
    """A network at work, without gradients; the state of its neurons is carried from call to call.

    Calls give what `net(whole, return_state=True)` gives for the steps that they run, bit for bit. What the
    kernels make of weights and neurons is kept from call to call: a parameter or setting that is replaced, or
    changed in place as optimisers do, is read anew; one that is changed behind torch's back (`weight.data`)
    after `reset` alone.

    Args:
        net: the network; with `Dropout` in `eval()`.
        units: of the input: how many, or their shape (C, H, W); None where the first layer tells.
        batch: samples side by side; None for one, whose tensors then have no axis of samples.

    Attributes:
        now: steps that were run.
        spikes: of each spiking layer what it sent in the last call, (B, t, N), as `net(..., True)` lists it.
        state: of the neurons, as `net` takes and gives it; None before the first call.

    Raises:
        ValueError: naming what does not fit.
    """

    def __init__(
        self,
        net: Network,
        units: int | Sequence[int] | None = None,
        batch: int | None = None,
    ) -> None:
        if not isinstance(net, Network):
            raise ValueError(f"net: expected an ss.Network, found {type(net).__name__}")
        if any(isinstance(each, Dropout) and each.training and each.p for each in net.modules()):
            raise ValueError("net: expected net.eval(), found Dropout in training")
        self.net = net
        units = _units_of(net) if units is None else units
        self._unit_shape = building.checked_units(
            (units,) if isinstance(units, int) else units, _product(units)
        )
        self._n = math.prod(self._unit_shape)
        self._one = batch is None
        self._n_batch = 1 if batch is None else integer("batch", batch, 1)
        self.reset()

    def reset(self) -> None:
        """Starts anew: at step 0, from the neurons' start, with the weights as they are."""
        self.now = 0
        self.state: States | None = None
        self.spikes: list[Spikes] = []
        self._held = Held()

    def step(self, units: Units | Sequence[Units]) -> Any:
        """Runs one step.

        Args:
            units: that spike in this step, in any order; for a batch a list of such, one per sample.

        Returns:
            (C,), or (B, C) of a batch: the readout's potential at this step, before what these units bring
            reaches it (`lag`). Of a network that ends in spikes these, (B, 1, N).

        Raises:
            ValueError: if a unit is out of range, or comes twice.
        """
        rows = [units] if self._one else items("units", units, f"{self._n_batch} lists of units")
        if len(rows) != self._n_batch:
            raise ValueError(f"units: expected {self._n_batch} lists of units, found {len(rows)}")
        found = [self._sorted(row) for row in rows]
        offset = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(row) for row in found], out=offset[1:])
        out = self._run(np.concatenate(found), offset, 1)
        return out[:, 0] if isinstance(out, Tensor) and not self._one else _first(out)

    def events(
        self, unit: Units, step: Units, *, sample: Units | None = None, until: int | None = None
    ) -> Any:
        """Runs all steps up to the last event, that one included.

        Args:
            unit: (n,) that spike, in any order.
            step: (n,) when, counted from the start of the stream; none before `now`.
            sample: (n,) of which sample; only with a batch.
            until: steps that will have been run; None: up to the last event. Silence counts too.

        Returns:
            (t, C), or (B, t, C) of a batch: the readout's potential at the t steps that were run.

        Raises:
            ValueError: if an event is out of range, or comes twice.
        """
        if (sample is None) is not self._one:
            expected = "none without a batch" if self._one else "one for each event"
            raise ValueError(f"sample: expected {expected}, found {described(sample)}")
        unit, step = _integers("unit", unit), _integers("step", step)
        given = np.zeros(len(unit), np.int64) if sample is None else _integers("sample", sample)
        if step.min(initial=self.now) < self.now:
            raise ValueError(f"step: expected integers >= {self.now}, found {step.min()}")
        last = int(step.max(initial=self.now - 1)) + 1
        until = last if until is None else integer("until", until, self.now)
        if until == self.now:
            raise ValueError(f"until: expected steps to run after {self.now}, found none")
        for name, found, low, high in (
            ("unit", unit, 0, self._n),
            ("step", step, self.now, until),
            ("sample", given, 0, self._n_batch),
        ):
            if len(found) != len(unit):
                raise ValueError(f"{name}: expected {len(unit)} entries, found {len(found)}")
            wrong = found[(found < low) | (found >= high)]
            if len(wrong):
                raise ValueError(f"{name}: expected integers in [{low}, {high}), found {wrong[0]}")
        steps = until - self.now
        entry = np.sort((given * steps + (step - self.now)) * self._n + unit)
        if bool((entry[1:] == entry[:-1]).any()):
            raise ValueError("unit: expected each unit once in a step, found one twice")
        row, unit = np.divmod(entry, self._n)
        offset = np.zeros(self._n_batch * steps + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=len(offset) - 1), out=offset[1:])
        out = self._run(unit, offset, steps)
        return out[0] if self._one and isinstance(out, Tensor) else out

    def _sorted(self, row: Any) -> NDArray[Any]:
        found = np.sort(_integers("units", row))
        if len(found) and not 0 <= found[0] <= found[-1] < self._n:
            raise ValueError(f"units: expected units in [0, {self._n}), found {described(row)}")
        if len(found) > 1 and bool((found[1:] == found[:-1]).any()):
            raise ValueError(f"units: expected each unit once, found {described(row)}")
        return found

    def _run(self, unit: NDArray[Any], offset: NDArray[Any], steps: int) -> Any:
        lists = Lists(torch.from_numpy(unit.astype(np.int32)), torch.from_numpy(offset))
        given = Spikes((self._n_batch, steps, self._n), lists, unit_shape=self._unit_shape)
        with torch.no_grad(), self._held:
            out, self.spikes, self.state = self.net(
                given, True, state=self.state, return_state=True
            )
        self.now += steps
        return out


def _first(out: Any) -> Any:
    return out[0, 0] if isinstance(out, Tensor) else out


def _integers(name: str, value: Any) -> NDArray[Any]:
    """(n,) int64."""
    found = np.asarray(value)
    if found.ndim != 1 or not (found.dtype.kind in "iu" or not found.size):
        raise ValueError(f"{name}: expected a list of integers, found {described(value)}")
    return found.astype(np.int64)


def _product(units: int | Sequence[int]) -> int:
    return units if isinstance(units, int) else math.prod(units)


def _units_of(net: Network) -> int:
    """Units of the input, as the first layer's connection tells."""
    first = net[0]
    found = getattr(first.connection, "n_in", None) if isinstance(first, Layer) else None
    if not isinstance(found, int):
        raise ValueError(
            "units: expected how many, or their shape, as the first layer does not tell, found None"
        )
    return found
