"""Backends: the places of kernels, what each must offer, and the explicit choice between them.

A backend is a module with the functions of `Backend`. None of them is ever replaced by another
silently: what a backend cannot compute, it refuses by name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sparsespike.descriptions import Cell, Precision, Term
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words

BACKENDS = ("dense", "cpu", "gpu")
CHOICES = (*BACKENDS, "auto")  # what one may ask for: "auto" picks among kernels of the others
TORCH_OF_GPU = 2, 9  # the oldest that the GPU backend runs with

_chosen: ContextVar[str | None] = ContextVar("sparsespike_backend", default=None)


class Backend(Protocol):
    """The contract: forward and backward of a layer, for spiking neurons and for readouts.

    A layer is a sum of terms, each some spikes through a connection, that its neurons take as their current.
    Where `needed` of a term is False the gradient wrt its `spikes.value` is not wanted and comes back empty.
    """

    def spiking_forward(
        self, terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
    ) -> Fired:
        """One spiking layer (eq. 1-4, 7); `recorded`: whether a backward pass may follow."""
        ...

    def spiking_backward(
        self,
        grad: Upstream,
        terms: Sequence[Term],
        kept: list[Tensor],
        fired: Spikes,
        cell: Cell,
        precision: Precision,
        needed: Sequence[bool],
    ) -> Gradients:
        """ε at the layer's active entries `fired` -> ε at its active inputs, gradients (eq. 9-12)."""
        ...

    def readout_forward(self, terms: Sequence[Term], cell: Cell, precision: Precision) -> Read:
        """One readout layer."""
        ...

    def readout_backward(
        self,
        grad: Upstream,
        terms: Sequence[Term],
        kept: list[Tensor],
        cell: Cell,
        precision: Precision,
        needed: Sequence[bool],
    ) -> Gradients:
        """Gradient of the potential (B, T, N_out) -> ε at the active inputs, gradients."""
        ...

    def count_forward(self, spikes: Spikes) -> Tensor:
        """Spikes of each unit over time, (B, N), in the dtype of `spikes.value`."""
        ...

    def count_backward(self, grad: Tensor, spikes: Spikes) -> Tensor:
        """Gradient of the counts (B, N) -> gradient at the active entries (n_active,)."""
        ...


class Fired(NamedTuple):
    """What a spiking layer gives.

    Attributes:
        spikes: (B, T, N).
        kept: what the backward pass is to find again, tensors of the backend's own making.
        state: of the last step (`Cell.state`), or None where it was not wanted.
        record: (B, T, m), the potential of the neurons in `Cell.record`, or None.
        lazy: the state as the kernels have it (`Cell.lazy`), or None.
    """

    spikes: Spikes
    kept: list[Tensor]
    state: Tensor | None = None
    record: Tensor | None = None
    lazy: Tensor | None = None


class Read(NamedTuple):
    """What a readout layer gives.

    Attributes:
        potential: (B, T, N).
        kept, state: as in `Fired`.
    """

    potential: Tensor
    kept: list[Tensor]
    state: Tensor | None = None


class Upstream(NamedTuple):
    """What comes back to a layer.

    Attributes:
        output: ε at the active entries, (n_active,), or ∂L/∂y of a readout, (B, T, N).
        state: ∂L/∂state, of the state that was given; None for zeros.
        record: (B, T, m), ∂L/∂V of the neurons in `Cell.record`; None for zeros.
        reaches_state: whether the gradient of the state that the layer began with is wanted.
    """

    output: Tensor
    state: Tensor | None = None
    record: Tensor | None = None
    reaches_state: bool = False


class Gradients(NamedTuple):
    """The gradients of a layer.

    Attributes:
        terms: one per term.
        number: of the neurons' learned numbers, each (N,): one per neuron, also where all share one.
        weight: of the recurrent connection's tensors.
        state: of the state that the layer began with; None where there was none, or nobody asked.
    """

    terms: list[Gradient]
    number: Sequence[Tensor] = ()
    weight: Sequence[Tensor] = ()
    state: Tensor | None = None


class Gradient(NamedTuple):
    """The gradient of one term.

    Attributes:
        value: (n_active_in,) ε at the active inputs, or (0,).
        parameter: of the connection's tensors, in their order and shapes, contiguous.
    """

    value: Tensor
    parameter: list[Tensor]


def load(name: str) -> Backend:
    """The backend's module, imported on first use.

    Raises:
        ValueError: if there is no such backend.
    """
    if name == "dense":
        from sparsespike.backends import dense

        return dense
    if name == "cpu":
        from sparsespike.backends import cpu

        return cpu
    if name == "gpu":
        if importlib.util.find_spec("triton") is None:
            raise ValueError('backend: expected Triton for "gpu", found none; pip install triton')
        if tuple(map(int, torch.__version__.split(".")[:2])) < TORCH_OF_GPU:
            raise ValueError(
                f'backend: expected torch {TORCH_OF_GPU[0]}.{TORCH_OF_GPU[1]} or newer for "gpu", '
                f"found {torch.__version__}"
            )
        from sparsespike.backends import gpu

        return gpu
    if name == "auto":
        from sparsespike.backends import auto

        return auto
    raise ValueError(f"backend: expected one of {', '.join(CHOICES)}, found {name!r}")


def check_name(name: str) -> None:
    """Raises a ValueError unless there is such a backend."""
    if name not in CHOICES:
        raise ValueError(f"backend: expected one of {', '.join(CHOICES)}, found {name!r}")


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Computes with this backend inside the `with`, wherever a layer names none itself.

    Args:
        name: "dense" (the oracle: plain PyTorch, any neuron, slow), "cpu", "gpu", or "auto": on the CPU, per
            layer and call, event-driven or dense kernels, whichever are estimated to be faster
            (`auto.py`), and "gpu" for spikes stored as it takes them.

    Raises:
        ValueError: if there is no such backend.
    """
    check_name(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def named() -> str | None:
    """The backend that `use_backend` names here; None outside of any."""
    return _chosen.get()


def device_for(backend: str) -> torch.device:
    """Where a backend computes: the current GPU for "gpu", else the CPU; in Triton's interpreter the CPU too.

    "auto" computes where the spikes are, and data come on the CPU.

    Raises:
        ValueError: if there is no such GPU.
    """
    if backend != "gpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    load("gpu")
    from sparsespike.backends.gpu.launch import require_device

    require_device(torch.device("cpu"))
    return torch.device("cpu")


def placed(spikes: Spikes, label: Tensor, backend: str) -> tuple[Spikes, Tensor]:
    """A batch where a backend computes, stored as it takes spikes."""
    device = device_for(backend)
    spikes = spikes.to(device)
    return spikes.to_words() if backend == "gpu" else spikes, label.to(device)


def precision_for(backend: str, device: torch.device) -> Precision:
    """How exactly a backend multiplies, as torch's own switches say: `torch.autocast` first, then TF32.

    The CPU and the oracle multiply in full, always.
    """
    if backend != "gpu":
        return "full"
    if torch.is_autocast_enabled(device.type):
        chosen = torch.get_autocast_dtype(device.type)
        if chosen == torch.bfloat16:
            return "bfloat16"
        if chosen == torch.float16:
            return "float16"
    return "tf32" if _allows_tf32() else "full"


def _allows_tf32() -> bool:
    # Older versions of torch have no such switch; `load` refuses them.
    return getattr(torch.backends.cuda.matmul, "fp32_precision", None) == "tf32"


def backend_for(spikes: Spikes) -> str:
    """The backend in force: the one of `use_backend`, else the one that takes spikes stored so.

    Where "auto" was asked for and the GPU backend takes the spikes, it is "gpu".

    Raises:
        ValueError: if none does.
    """
    chosen = named()
    if chosen is not None and chosen != "auto":
        return chosen
    if isinstance(spikes.storage, Words):
        return "gpu"
    if spikes.device.type == "cpu":
        return chosen or "cpu"
    raise ValueError(
        f"backend: expected words of bits on {spikes.device}, found lists; .to_words() converts them, "
        'and "dense" runs anywhere'
    )
