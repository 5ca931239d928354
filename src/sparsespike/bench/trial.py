"""What every benchmark has in common: the methods' names, a case, and a method at work on it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from sparsespike.bench.measure import Phases, available_bytes, run

OURS = "sparsespike"
# The dense method that is given every advantage: its process keeps the memory that it has freed.
FASTEST = "fused-dense"
# The dense methods hold about so many tensors of a layer's size (B, T, N) at their peak: currents,
# potentials, spikes and the gradients of each. Only tells what cannot fit.
DENSE_TENSORS = 6

Method = Literal[
    "sparsespike",
    "paper-loop",
    "clean-dense",
    "fused-dense",
    "snntorch",
    "spikingjelly",
    "spikingjelly-loop",
    "norse",
]
Device = Literal["cpu", "cuda"]
OnCpu = Literal["cpu", "auto"]


def backend_on(device: str, on_cpu: OnCpu = "cpu") -> str:
    """The backend that `OURS` means on a device.

    Raises:
        ValueError: if there is no such device here, or `on_cpu` is not for it.
    """
    if device == "cuda" and on_cpu != "cpu":
        raise ValueError(f'backend: expected "cpu" beside --device cuda, found "{on_cpu}"')
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError('device: expected a CUDA device for "cuda", found none')
    return "gpu" if device == "cuda" else on_cpu


class Trial(NamedTuple):
    """One method at work on one case.

    Attributes:
        phases: what to time, in order.
        given: tensors that exist beforehand, inputs and weights.
    """

    phases: Phases
    given: list[Tensor]


class Refusal(Exception):
    """A method is not run; the message, why, stays in the table."""


class Case(Protocol):
    """What a benchmark runs: input, network, and every method on them."""

    def about(self) -> dict[str, Any]:
        """Sizes, rates and activity reached, for the record."""
        ...

    def head(self) -> Case:
        """A small part of it, for checks in other dtypes."""
        ...

    def n_entries(self) -> int:
        """(sample, step, unit) entries of input and layers together."""
        ...

    def trial(self, method: str) -> Trial:
        """The method, ready to run.

        Raises:
            Refusal: if it cannot run here, say because a library is not installed.
        """
        ...

    def check(self, method: str) -> str | None:
        """What the method computes differently from the oracle; None if it computes the same."""
        ...


class Bench(Protocol):
    """One benchmark: its options, and the case they describe."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods to run, in the order of the table."""
        ...

    @property
    def repeats(self) -> int:
        """Timed runs of each method, taken in turns."""
        ...

    @property
    def limit(self) -> float:
        """Seconds for a method, beyond which it is not repeated."""
        ...

    @property
    def device(self) -> Device:
        """Where the methods compute."""
        ...

    def case(self) -> Case:
        """The case; the same one at every call."""
        ...


def chosen(case: Case) -> list[str]:
    """What the backend "auto" chooses for a case, a line for each pass of each layer."""
    from sparsespike.backends import auto

    with auto.noted() as seen:
        run(case.trial(OURS).phases)
    return [str(choice) for choice in seen]


def check_memory(method: str, case: Case, device: str = "cpu") -> None:
    """Refuses a dense method whose tensors surely do not fit.

    Raises:
        Refusal: naming how much it needs and how much there is.
    """
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else available_bytes()
    needed = 0 if method == OURS else DENSE_TENSORS * case.n_entries() * 4
    if free is not None and needed > free:
        raise Refusal(
            f"needs about {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"
        )
