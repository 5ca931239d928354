"""`Connection`: what all connections share, above all how their weights are drawn."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from sparsespike import descriptions, ops
from sparsespike.connections.current import Current
from sparsespike.connections.delay import Delay
from sparsespike.descriptions import Delayed, Term
from sparsespike.ops.module import Module
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words


class Connection(Module):
    """Base of all connections: a module that turns `Spikes` into a `Current`.

    Attributes:
        weight: as PyTorch's layer of the same name keeps it, contiguous.
        bias: one number per neuron or channel, or None.
        delay: how much later its spikes arrive, or None.
    """

    weight: Tensor
    bias: Tensor | None
    delay: Delay | None
    _drawn: int | None = None  # checksum of weights that nobody has touched since they were drawn

    def _make(
        self,
        shape: tuple[int, ...],
        bias: bool,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
        n_bias: int | None = None,
    ) -> None:
        """Makes the parameters of these sizes (a bias of n_bias, else shape[0]), and draws them."""
        n_bias = shape[0] if n_bias is None else n_bias
        self.weight = nn.Parameter(torch.empty(shape, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.empty(n_bias, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def _make_delay(self, delay: Delay | None, n_out: int, n_in: int) -> None:
        """Takes delays of its own, or None.

        Raises:
            ValueError: if they are none, or another connection's.
        """
        if delay is not None and not isinstance(delay, Delay):
            raise ValueError(f"delay: expected an ss.Delay, found {type(delay).__name__}")
        if delay is not None:
            delay.make(self.weight, n_out, n_in)
        self.delay = delay

    @property
    def fan_in(self) -> float:
        """Inputs of one neuron; the mean, where they differ."""
        return math.prod(self.weight.shape[1:])

    def forward(self, spikes: Spikes) -> Current:
        """Spikes (B, T, N_in) -> Current (B, T, N_out)."""
        raise NotImplementedError

    def reset_parameters(self, std: float | None = None) -> None:
        """Draws weights, uniform with mean zero, and a bias uniform in +-1/sqrt(fan_in).

        Args:
            std: standard deviation of the weights, > 0, as `neuron.weight_std` gives it. None: uniform in
                +-1/sqrt(fan_in), as in `torch.nn` and the paper's N-MNIST and SHD runs.
        """
        bound = 1.0 / math.sqrt(self.fan_in)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound)
        self._drawn = self._fingerprint()
        if std is not None:
            self.widen(std)

    def widen(self, std: float) -> None:
        """Scales weights that nothing changed since they were drawn; leaves all others as they are.

        Args:
            std: the new standard deviation, > 0.
        """
        if self._drawn is None or self._drawn != self._fingerprint():
            return
        with torch.no_grad():
            self.weight.mul_(std * math.sqrt(3.0 * self.fan_in))
        self._drawn = None

    def _fingerprint(self) -> int | None:
        """A checksum of the weights; None where there are no numbers to look at."""
        if self.weight.is_meta:
            return None
        return zlib.crc32(self.weight.detach().cpu().contiguous().numpy().tobytes())

    def _parameters_now(
        self, dims: int, expected: str, n_bias: int | None = None
    ) -> tuple[Tensor, ...]:
        """The weight, and the bias if any; each is read once: a parametrised one is computed then.

        Args:
            dims: of the weight.
            expected: its shape, for a message.
            n_bias: numbers of a bias that all share; None: as many as rows of the weight.

        Raises:
            ValueError: if the weight is no tensor of so many dimensions.
        """
        weight, bias = self.weight, self.bias
        if not isinstance(weight, Tensor) or weight.dim() != dims:
            found = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise ValueError(f"weight: expected {expected}, found {found}")
        weight = ops.widened(weight)
        if bias is None:
            return (weight,)
        bias = ops.widened(bias)
        if bias.shape in ((), (1,)) and bias.layout is torch.strided:
            n_bias = weight.shape[0] if n_bias is None else n_bias
            bias = bias.expand(n_bias)  # shared by all, as PyTorch's layers take it
        return weight, bias

    def _terms(
        self,
        spikes: Spikes,
        told: descriptions.Linear | descriptions.SparseLinear,
        parameter: tuple[Tensor, ...],
    ) -> tuple[Term, ...]:
        """The terms of synapses that may have delays; see `terms_of`.

        Raises:
            ValueError: if the delays are those of a connection of another size.
        """
        delay = self.delay
        if delay is None:
            return terms_of(spikes, told, parameter)
        steps = delay.now(parameter[0], told.n_out, told.n_in)
        learned = delay.learn or steps.requires_grad
        late = Delayed(told, delay.max_steps, delay.per, delay.spread, learned)
        return terms_of(spikes, late, (*parameter, steps))


def terms_of(
    spikes: Spikes, connection: descriptions.Connection, parameter: tuple[Tensor, ...]
) -> tuple[Term, ...]:
    """The terms of these: one, or of words one per layer, all with the same weight, the first with the bias.

    `parameter` is weight, bias if any, and of a connection with delays these.

    What scales the spikes multiplies the weight, and no bias.
    """
    weight, *bias = parameter
    value = ops.widened(spikes.value)
    if value is not spikes.value:
        spikes = spikes.to(value.dtype)
    # What is not floating is refused as it is.
    if spikes.scale != 1.0 and weight.is_floating_point():
        spikes, weight = replace(spikes, scale=1.0), weight * spikes.scale
    first, *others = _layers(spikes)
    # A bias once; a delay for each.
    rest = bias[-1:] if isinstance(connection, Delayed) else []
    return (
        Term(first, connection, (weight, *bias)),
        *(Term(layer, connection, (weight, *rest)) for layer in others),
    )


def _layers(spikes: Spikes) -> list[Spikes]:
    """Lists, and words in one layer, as they are; else each layer by itself, for which the host waits.

    They stay graded, as a value is that of its source (`spikes/layers.py`). Layers that hold nothing are left
    out, but for the first.
    """
    storage = spikes.storage
    if not isinstance(storage, Words) or storage.n_layers(spikes.shape) == 1:
        return [spikes]
    layers, n_active = storage.layers(spikes.shape)
    values = spikes.value.split(n_active if len(spikes.value) else [0] * len(layers))
    return [
        replace(spikes, storage=layer, value=value, potential=None)
        for i, (layer, value) in enumerate(zip(layers, values, strict=True))
        if i == 0 or int(layer.total.max())
    ]


def check_spikes(spikes: object) -> None:
    """Raises a ValueError unless these are `Spikes`."""
    if not isinstance(spikes, Spikes):
        raise ValueError(f"spikes: expected Spikes, found {type(spikes).__name__}")
