"""`Numbered`, a module some attributes of which are numbers: given, one for each neuron, drawn or learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from sparsespike.neurons.distributions import Distribution
from sparsespike.neurons.numbers import limits, number_or_each
from sparsespike.ops.module import Module
from sparsespike.spikes.arguments import integer


class Numbered(Module):
    """Base of `Neuron`, which says what its numbers may be."""

    numbers: ClassVar[tuple[str, ...]] = ()
    below: ClassVar[Mapping[str, str]] = {}
    _to_learn: tuple[str, ...] = ()  # numbers that are learned once they are drawn
    _edits: int = 0  # how often an attribute was set

    def __new__(cls, *_args: Any, **_settings: Any) -> Self:  # noqa: D102
        # Here, so that one's own class may set its numbers before, or without, `nn.Module.__init__`.
        neuron = super().__new__(cls)
        nn.Module.__init__(neuron)
        return neuron

    def __init__(self) -> None:
        pass  # `nn.Module` would forget what was set

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["_edits"] = self._edits + 1
        if name not in self.numbers or name in self._parameters:
            super().__setattr__(name, value)
            return
        value = cast(Any, number_or_each(name, value))
        if name in self._to_learn and not isinstance(value, Distribution):
            self._to_learn = tuple(other for other in self._to_learn if other != name)
            value = nn.Parameter(torch.as_tensor(value).clone())
        for kept in (self.__dict__, self._buffers):
            kept.pop(name, None)
        # Not by `register_parameter`, which finds what a neuron gives in place of a number that was not set.
        if isinstance(value, nn.Parameter):
            self._parameters[name] = value
        elif isinstance(value, Tensor):
            self._buffers[name] = value.detach()
        else:
            super().__setattr__(name, cast(Any, value))

    def check(self) -> None:
        """Raises a ValueError that names what has no meaning."""
        raise NotImplementedError

    def begin(self, learn: Sequence[str]) -> None:
        """Ends a constructor: checks all numbers, of distributions the mean, and makes parameters of some."""
        means: dict[str, Any] = {name: each.mean for name, each in self.undrawn().items()}
        if means:
            given: Any = {name: each for name, each in self._parameters.items() if each is not None}
            self._frozen()(given | means).check()
        else:
            self.check()
        self.learn(learn)

    def undrawn(self) -> dict[str, Distribution]:
        """The numbers that are still to be drawn, by name, and what from."""
        kept = {name: self.__dict__.get(name) for name in self.numbers}
        return {name: each for name, each in kept.items() if isinstance(each, Distribution)}

    def draw(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Draws the numbers that were given as distributions, one for each of n neurons.

        A `Layer` does so when it is built. What falls outside of a number's range (`limits`) is drawn again.

        Args:
            n: neurons, >= 1; of a convolution channels x height x width.
            generator: where all chance comes from; None for torch's own, of the CPU.
            dtype, device: of the numbers; None for torch's defaults.

        Returns:
            the neuron itself.

        Raises:
            ValueError: if hardly anything of a distribution lies in the number's range.
        """
        n = integer("n", n, 1)
        for name, each in self.undrawn().items():
            try:
                drawn = each.draw(n, *self.limits(name), generator)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            setattr(self, name, drawn.to(device or "cpu", dtype or torch.get_default_dtype()))
        return self

    def limits(self, name: str) -> tuple[float, float]:
        """The open interval in which a number is drawn; a neuron of one's own may give others.

        Time constants, `tau...`, lie above dt / 16, `alpha` in (0, 1), and what `below` says holds.
        """
        low, high = limits(name, getattr(self, "dt", None))
        for lower, upper in self.below.items():
            if name == upper:
                low = max(low, _end(getattr(self, lower), max))
            if name == lower:
                high = min(high, _end(getattr(self, upper), min))
        return low, high

    def learn(self, names: Sequence[str]) -> None:
        """Makes parameters of some numbers: of a float one that all neurons share, of (N,) one for each.

        Raises:
            ValueError: if a name is none of a number.
        """
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"learn: expected a tuple of names, found {names!r}")
        for name in names:
            if name not in self.numbers:
                expected = ", ".join(self.numbers)
                raise ValueError(f"learn: expected names of {expected}, found {name!r}")
            if not hasattr(self, name):
                raise ValueError(f"learn: expected numbers that were given, found {name!r}")
            value = getattr(self, name)
            if isinstance(value, Distribution):
                self._to_learn = (*self._to_learn, name)
            elif not isinstance(value, nn.Parameter):
                start = value.clone() if isinstance(value, Tensor) else torch.tensor(value)
                setattr(self, name, nn.Parameter(start))

    def check_drawn(self) -> None:
        """Raises a ValueError if a number is still to be drawn."""
        for name, each in self.undrawn().items():
            raise ValueError(
                f"{name}: expected numbers that were drawn, found {each}; a Layer draws them for its Linear, "
                "neuron.draw(n) for n neurons"
            )

    def version(self) -> tuple[int, ...]:
        """Another one after every change of an attribute or, in place, of a number."""
        numbers = [*self._parameters.values(), *self._buffers.values()]
        return self._edits, *(each._version for each in numbers if each is not None)

    def _n_own(self) -> int:
        """How many neurons its numbers are of; 1 where all share them."""
        numbers = [*self._parameters.values(), *self._buffers.values()]
        return max([1, *(len(each) for each in numbers if each is not None and each.dim())])

    def _frozen(self) -> Callable[[Mapping[str, Tensor]], Any]:
        """This neuron as it is now, as a function of the values of its parameters."""
        kept = dict(self.__dict__)

        def with_values(learned: Mapping[str, Tensor]) -> Any:
            other = object.__new__(type(self))
            other.__dict__.update(kept, _parameters={}, _buffers=dict(kept["_buffers"]))
            other.__dict__.update(learned)
            return other

        return with_values


def _end(value: Any, end: Callable[[list[float]], float]) -> float:
    """The largest or smallest of a number's values; of a distribution the mean."""
    if isinstance(value, Distribution):
        return value.mean
    return end(torch.as_tensor(value).detach().double().reshape(-1).tolist())
