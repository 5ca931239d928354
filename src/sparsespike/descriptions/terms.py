"""What a backend is told of the spikes that go through a connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsespike.descriptions.connections import Conv, Linear, SparseLinear
from sparsespike.descriptions.delays import Delayed
from sparsespike.spikes.spikes import Spikes

Precision = Literal["full", "tf32", "bfloat16", "float16"]
Connection = Linear | Delayed | Conv | SparseLinear


class Term(NamedTuple):
    """What one connection brings to a layer: some spikes, through some parameters.

    Attributes:
        spikes: (B, T, n_in), of scale 1: a connection takes theirs into its weight.
        connection: how they become currents.
        parameter: the connection's tensors, in the order that its kernels know: weight, bias if any.
    """

    spikes: Spikes
    connection: Connection
    parameter: tuple[Tensor, ...]

    @property
    def waits(self) -> bool:
        """Whether what its events bring waits for its step; delays per input only move the events."""
        return isinstance(self.connection, Delayed) and not self.connection.moves_events

    def check(self) -> None:
        """Compares all that kernels read: lengths of lists, shapes, dtypes, devices; in 2 to 4 microseconds.

        Raises:
            ValueError: naming what does not fit.
        """
        spikes, connection, parameter = self
        weight = parameter[0]
        dtype, device = weight.dtype, weight.device
        if spikes.shape[2] != connection.n_in:
            raise ValueError(f"spikes: expected {connection.n_in} units, found {spikes.shape[2]}")
        if dtype is not torch.float32 and dtype is not torch.float64:
            raise ValueError(
                f"weight: expected float32 or float64, found {dtype}; `torch.autocast` around the call "
                "leaves it as it is"
            )
        for i, tensor in enumerate(parameter):
            if type(tensor) not in PLAIN or tensor.layout is not torch.strided:
                found = f"{type(tensor).__name__} of layout {tensor.layout}"
                if type(tensor).__name__ == "DTensor":
                    found = "a sharded one; the module given to fully_shard, when called, makes it whole"
                raise ValueError(f"{_named(self, i)}: expected a plain dense tensor, found {found}")
            if i and (tensor.dtype is not dtype or tensor.device != device):
                found = f"{tensor.dtype} on {tensor.device}"
                raise ValueError(f"{_named(self, i)}: expected {dtype} on {device}, found {found}")
        connection.check(parameter)
        if spikes.storage[0].device != device:
            raise ValueError(f"spikes: expected them on {device}, found {spikes.device}")
        value = spikes.value
        n_value = value.numel()
        if n_value and value.dtype is not dtype:
            raise ValueError(
                f"spikes: expected values in the weights' {dtype}, found {value.dtype}; spikes.to({dtype}) "
                "converts them"
            )
        if spikes.scale != 1.0:
            raise ValueError(
                f"spikes: expected their scale in the weight, and 1 here, found {spikes.scale:g}"
            )
        spikes.storage.check(spikes.shape, n_value)


# A tensor of another class has memory of its own making, or none.
PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})
NAMES = "weight", "bias"


def _named(term: Term, i: int) -> str:
    """What people call the i-th tensor of a term."""
    delayed = isinstance(term.connection, Delayed)
    return "delay" if delayed and i == len(term.parameter) - 1 else NAMES[i]


def plain_of(connection: Connection) -> Linear | Conv | SparseLinear:
    """The synapses of a connection, whether they have delays or not."""
    return connection.synapses if isinstance(connection, Delayed) else connection


def rows_waiting(connections: Iterable[Connection]) -> int:
    """For how many steps something may be on its way through these connections into a layer."""
    return max((each.rows for each in connections if isinstance(each, Delayed)), default=0)
