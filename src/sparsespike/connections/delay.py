"""`Delay`: how many steps later than usual the spikes of a connection arrive, fixed or learned."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from sparsespike.descriptions import Per
from sparsespike.spikes.arguments import described, integer, number


class Delay(nn.Module):
    """Delays of a connection: an event of unit i at step t acts on neuron j delay steps later than without.

    A delay is a real number d = k + f of steps: the share 1 - f of a weight arrives after k steps more, f
    after k + 1, so that d has a gradient (as in I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, Learning
    delays in spiking neural networks using dilated convolutions with learnable spacings, ICLR 2024, with two
    taps). At a whole number it is the derivative to the right. A learned delay that has left [0, max_steps]
    counts as the end of the range, and its gradient goes on as if it had not.

    Two taps see the slope of one step. A wider `spread` shares the weight among more: m steps later arrives
    max(0, spread - |m - d|), divided by the sum over all m >= 0. It is the triangle of A. Queant, U. Rancon,
    B. R. Cottereau, T. Masquelier, DelRec: learning delays in recurrent spiking neural networks, 2025
    (arXiv:2509.24852), who let it shrink to two taps while they train; so does who sets `delay.spread` anew
    from time to time. Every event costs as many taps as are in reach, 2 ceil(spread).

    Args:
        max_steps: no delay is longer; >= 0.
        per: what has a delay of its own: each "synapse", each "input" unit or each "output" neuron.
        learn: whether the delays are parameters.
        init: steps to start with: "uniform", drawn from [0, max_steps], whole numbers unless they are
            learned; a number; or a tensor of the shape of `steps`.
        spread: half the width of the triangle, steps, in [1, max_steps + 1].

    Attributes:
        steps: the delays, there once a connection has taken them: (n_in,), (n_out,), or of each synapse, in
            the shape of the connection's weight: (n_out, n_in) of a `Linear`, (n_synapses,) of a
            `SparseLinear`.
        spread: as given; may be set at any time.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    steps: Tensor

    def __init__(
        self,
        max_steps: int,
        per: Per = "synapse",
        *,
        learn: bool = False,
        init: str | float | Tensor = "uniform",
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.max_steps = integer("max_steps", max_steps, 0)
        if per not in get_args(Per):
            expected = ", ".join(f'"{each}"' for each in get_args(Per))
            raise ValueError(f"per: expected one of {expected}, found {per!r}")
        if not isinstance(learn, bool):
            raise ValueError(f"learn: expected True or False, found {learn!r}")
        if isinstance(init, str) and init != "uniform":
            raise ValueError(f'init: expected "uniform", a number or a tensor, found {init!r}')
        self.per: Per = per
        self.learn, self._init = learn, init
        self.spread = spread

    @property
    def spread(self) -> float:
        """Half the width of the triangle among whose steps a weight is shared."""
        return self._spread

    @spread.setter
    def spread(self, value: float) -> None:
        expected = f"steps in [1, {self.max_steps + 1}]"
        found = number("spread", value, expected)
        if not 1 <= found <= self.max_steps + 1:
            raise ValueError(f"spread: expected {expected}, found {described(value)}")
        self._spread = found

    def make(self, weight: Tensor, n_out: int, n_in: int) -> None:
        """Draws the delays of a connection with this weight.

        Raises:
            ValueError: if they are another connection's already, or `init` does not fit.
        """
        if "steps" in self._parameters or "steps" in self._buffers:
            raise ValueError("delay: expected one of its own for every connection, found another's")
        shape, like = (
            self._shape(weight, n_out, n_in),
            {"dtype": weight.dtype, "device": weight.device},
        )
        if isinstance(self._init, str):
            if self.learn:
                steps = torch.rand(shape, **like) * self.max_steps
            else:
                drawn = torch.randint(self.max_steps + 1, shape, device=weight.device)
                steps = drawn.to(weight.dtype)
        else:
            steps = torch.as_tensor(self._init, **like)
            if steps.shape not in ((), shape):
                found = tuple(steps.shape)
                raise ValueError(f"init: expected a number or {shape}, found {found}")
            steps = steps.detach().expand(shape).clone()
            if not bool(((steps >= 0) & (steps <= self.max_steps)).all()):
                found = described(self._init)
                raise ValueError(f"init: expected steps in [0, {self.max_steps}], found {found}")
        if self.learn:
            self.steps = nn.Parameter(steps)
        else:
            self.register_buffer("steps", steps)

    def now(self, weight: Tensor, n_out: int, n_in: int) -> Tensor:
        """The delays as they are now, each in its range; differentiable.

        Raises:
            ValueError: if they are those of a connection of another size.
        """
        steps, shape = self.steps, self._shape(weight, n_out, n_in)
        if steps.shape != shape:
            found = tuple(steps.shape)
            raise ValueError(f"delay: expected steps {shape}, one per {self.per}, found {found}")
        inside = steps.detach().clamp(0, self.max_steps)
        return inside + (
            steps - steps.detach()
        )  # the other way round rounding might leave the range

    def of_some(self, index: Tensor) -> Delay:
        """Delays like these of some synapses of a `Linear`, (2, n_synapses), output over input."""
        steps = self.steps.detach()
        init = steps[index[0], index[1]] if self.per == "synapse" else steps
        init = init.clamp(0, self.max_steps)
        return Delay(self.max_steps, self.per, learn=self.learn, init=init, spread=self.spread)

    def extra_repr(self) -> str:
        """Its settings, as shown by `print`."""
        wide = "" if self.spread == 1 else f", spread={self.spread:g}"
        return f"max_steps={self.max_steps}, per={self.per!r}, learn={self.learn}{wide}"

    def _shape(self, weight: Tensor, n_out: int, n_in: int) -> tuple[int, ...]:
        return {"input": (n_in,), "output": (n_out,)}.get(self.per, tuple(weight.shape))
