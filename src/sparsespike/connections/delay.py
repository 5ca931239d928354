"""`Delay`: how many steps later than usual the spikes of a connection arrive, fixed or learned."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sparsespike.spikes.arguments import described, integer

Per = Literal["synapse", "input", "output"]


class Delay(nn.Module):
    """Delays of a connection: an event of unit i at step t acts on neuron j delay steps later than without.

    A delay is a real number d = k + f of steps: the share 1 - f of a weight arrives after k steps more, f
    after k + 1, so that d has a gradient (as in I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, Learning
    delays in spiking neural networks using dilated convolutions with learnable spacings, ICLR 2024, with two
    taps). At a whole number it is the derivative to the right. A learned delay that has left [0, max_steps]
    counts as the end of the range, and its gradient goes on as if it had not.

    Args:
        max_steps: no delay is longer; >= 0.
        per: what has a delay of its own: each "synapse", each "input" unit or each "output" neuron.
        learn: whether the delays are parameters.
        init: steps to start with: "uniform", drawn from [0, max_steps], whole numbers unless they are
        learned; a
            number; or a tensor of the shape of `steps`.

    Attributes:
        steps: (n_out, n_in), (n_in,) or (n_out,), the delays; there once a connection has taken them.

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
        self.per, self.learn, self._init = per, learn, init

    def make(self, n_out: int, n_in: int, dtype: torch.dtype, device: Any) -> None:
        """Draws the delays of a connection of this size.

        Raises:
            ValueError: if they are another connection's already, or `init` does not fit.
        """
        if "steps" in self._parameters or "steps" in self._buffers:
            raise ValueError("delay: expected one of its own for every connection, found another's")
        shape = {"synapse": (n_out, n_in), "input": (n_in,), "output": (n_out,)}[self.per]
        if isinstance(self._init, str):
            if self.learn:
                steps = torch.rand(shape, dtype=dtype, device=device) * self.max_steps
            else:
                steps = torch.randint(self.max_steps + 1, shape, device=device).to(dtype)
        else:
            steps = torch.as_tensor(self._init, dtype=dtype, device=device)
            if steps.shape not in ((), shape):
                found = tuple(steps.shape)
                raise ValueError(f"init: expected a number or {shape}, found {found}")
            steps = steps.expand(shape).clone()
            if not bool(((steps >= 0) & (steps <= self.max_steps)).all()):
                found = described(self._init)
                raise ValueError(f"init: expected steps in [0, {self.max_steps}], found {found}")
        if self.learn:
            self.steps = nn.Parameter(steps)
        else:
            self.register_buffer("steps", steps)

    def of_synapses(self, n_out: int, n_in: int) -> Tensor:
        """(n_out, n_in): the delay of each synapse as it is now, in its range; differentiable.

        Raises:
            ValueError: if the delays are those of a connection of another size.
        """
        steps = self.steps
        shape = {"synapse": (n_out, n_in), "input": (n_in,), "output": (n_out,)}[self.per]
        if steps.shape != shape:
            found = tuple(steps.shape)
            raise ValueError(f"delay: expected steps {shape}, one per {self.per}, found {found}")
        steps = steps + (steps.detach().clamp(0, self.max_steps) - steps.detach())
        if self.per == "output":
            steps = steps[:, None]
        return steps.expand(n_out, n_in).contiguous()

    def extra_repr(self) -> str:
        """Its settings, as shown by `print`."""
        return f"max_steps={self.max_steps}, per={self.per!r}, learn={self.learn}"
