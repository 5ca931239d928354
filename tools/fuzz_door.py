"""Gives a layer's kernels wrong shapes, dtypes, devices, strides and offsets: each is refused, or right.

    python tools/fuzz_door.py [--cases 10000] [--seed 0] [--no-guard]

Every array that a kernel may read ends where a page without access begins (Linux), so that a read or write
one entry beyond it kills the process. Connections are `Linear`, `Conv2d` and `SparseLinear`, spikes plain or
graded. A case is *refused* if a ValueError names what is wrong, and *right* if output and gradients equal the
dense backend's. Anything else ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sparsespike as ss
from sparsespike.spikes.lists import Lists

PAGE = mmap.PAGESIZE
NAMES = ("weight", "bias", "spikes", "unit", "offset", "active_unit", "active_offset", "value")
N_IN, N_OUT = 9, 5
SIDE = 3  # N_IN units as an image
PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS = 3, 0x22


class Guarded:
    """Copies of tensors, each in memory of its own that ends at a page without access."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.libc.mmap.argtypes += [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        self.libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.held: list[tuple[int, int]] = []

    def copy(self, tensor: Tensor) -> Tensor:
        """The same numbers, contiguous."""
        n_byte = tensor.numel() * tensor.element_size()
        if not n_byte or tensor.device.type != "cpu":
            return tensor
        pages = -(-n_byte // PAGE) + 1
        start = self.libc.mmap(None, pages * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
        if self.libc.mprotect(start + (pages - 1) * PAGE, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        self.held.append((start, pages * PAGE))
        at = start + (pages - 1) * PAGE - n_byte
        array = np.ctypeslib.as_array((ctypes.c_uint8 * n_byte).from_address(at))
        copied = torch.from_numpy(array).view(tensor.dtype).view(tensor.shape)
        return copied.copy_(tensor)

    def release(self) -> None:
        """Gives all memory back."""
        for start, n_byte in self.held:
            self.libc.munmap(start, n_byte)
        self.held.clear()


class Plain:
    """Tensors as they are, where there are no guard pages."""

    def copy(self, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor

    def release(self) -> None:
        """Nothing."""


class Odd(Tensor):
    """A tensor of another class."""


def shape_of(draw: np.random.Generator, right: tuple[int, ...]) -> tuple[int, ...]:
    """Mostly the right shape, or a near miss."""
    if draw.random() < 0.6:
        return right
    others = [(1,), (), (0,), (*right, 1), right[::-1], tuple(n + 1 for n in right)]
    others += [tuple(n - (i == k) for i, n in enumerate(right)) for k in range(len(right))]
    others += [tuple(n + (i == k) for i, n in enumerate(right)) for k in range(len(right))]
    others += [(right[0] * 3, *right[1:]), (1,) * len(right)]
    if len(right) < 3:
        others.append(tuple(100 * n for n in right))
    return others[draw.integers(len(others))]


def parameter_of(
    draw: np.random.Generator, right: tuple[int, ...], guard: Guarded | Plain, wanted: torch.dtype
) -> Tensor:
    """A parameter of any shape, dtype, device, layout, stride and storage offset."""
    shape = shape_of(draw, right)
    tensor = torch.from_numpy(draw.normal(0.0, 0.7, shape)).reshape(shape)
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
    kinds += [torch.complex64]
    dtype = wanted if draw.random() < 0.7 else kinds[draw.integers(len(kinds))]
    tensor = tensor.to(dtype)
    how = draw.integers(9) if tensor.dim() and tensor.numel() else 0
    if how == 1 and tensor.dim() == 2:
        tensor = guard.copy(tensor.t().contiguous()).t()
    elif how == 2:  # every second entry
        wide = torch.stack([tensor, tensor], -1).flatten(-2)
        tensor = guard.copy(wide)[..., ::2]
    elif how == 3:  # in the midst of something larger, at an offset that is no multiple of a block
        whole = torch.cat([tensor.flatten()[:3], tensor.flatten()])
        offset = min(3, tensor.numel())
        tensor = guard.copy(whole)[offset:].view(tensor.shape)
    elif how == 4:
        tensor = guard.copy(tensor[:1]).expand(tensor.shape)
    elif how == 5 and draw.random() < 0.3:
        tensor = tensor.to("meta")
    elif how == 6 and draw.random() < 0.3 and dtype.is_floating_point:
        return tensor.to_sparse()
    elif how == 7 and draw.random() < 0.3:
        return tensor.as_subclass(Odd)
    else:
        tensor = guard.copy(tensor)
    return tensor


def spikes_of(draw: np.random.Generator, guard: Guarded | Plain, dtype: torch.dtype) -> ss.Spikes:
    """An input, now and then with lists of wrong lengths, dtypes or strides."""
    shape, pool = (1, SIDE, SIDE), None
    if draw.random() < 0.15:
        shape = (int(draw.integers(1, 14)),)
    elif draw.random() < 0.4:  # graded
        shape = 1, 2 * SIDE, 2 * SIDE
        pool = ss.AvgPool2d(2) if draw.random() < 0.5 else ss.SumPool2d(3, 2, 1)
    dense = torch.from_numpy(draw.random((3, 6, *shape)) < 0.3).to(dtype)
    active = torch.from_numpy(draw.random(dense.shape) < 0.3) if draw.random() < 0.5 else None
    spikes = ss.Spikes.from_dense(dense, active=active)
    spikes = spikes if pool is None else pool(spikes)
    parts = {name: guard.copy(part) for name, part in spikes.lists._asdict().items()}
    value = guard.copy(spikes.value)
    if draw.random() < 0.15:
        name = list(parts)[draw.integers(4)]
        part, how = parts[name], draw.integers(4)
        if how == 0:
            parts[name] = part[:-1]
        elif how == 1:
            parts[name] = torch.cat([part, part[-1:]])
        elif how == 2:
            parts[name] = part.to(torch.int16)
        else:
            parts[name] = torch.stack([part, part], 1).flatten()[::2]
    elif draw.random() < 0.05:
        value = value[:-1] if draw.random() < 0.5 else torch.cat([value, value[:1], value[:1]])
    return replace(spikes, storage=Lists(**parts), value=value)


def outcome(layer: nn.Module, spikes: ss.Spikes, backend: str) -> dict[str, Tensor]:
    """Output and gradients of the layer on a backend."""
    parameters = dict(layer.named_parameters())
    for parameter in parameters.values():
        parameter.grad = None
    value = spikes.value.detach().clone().requires_grad_(len(spikes.value) > 0)
    with ss.use_backend(backend):
        out: Any = layer(replace(spikes, value=value))
    found = {}
    if isinstance(out, ss.Spikes):
        found = {"unit": out.unit, "active": out.active_unit, "potential": out.potential}
        out = out.value
    found["out"] = out.detach()
    if out.requires_grad and out.numel():
        (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
        found |= {name: p.grad for name, p in parameters.items() if p.grad is not None}
        if value.grad is not None:
            found["value"] = value.grad
    return found  # pyright: ignore[reportReturnType]


def connection_of(
    draw: np.random.Generator, bias: bool, dtype: torch.dtype
) -> ss.Linear | ss.Conv2d | ss.SparseLinear:
    """A layer's connection, of any kind; in float32 a `Linear`, so that fewer sorts are compiled."""
    kind = draw.integers(3)
    if kind == 0 or dtype == torch.float32:
        return ss.Linear(N_IN, N_OUT, bias, dtype=dtype)
    if kind == 1:
        return ss.Conv2d(1, N_OUT, 2, padding=int(draw.integers(2)), bias=bias, dtype=dtype)
    index = torch.from_numpy(np.argwhere(draw.random((N_OUT, N_IN)) < 0.5)).t()
    return ss.SparseLinear(N_IN, N_OUT, index, bias, dtype=dtype)


def one(draw: np.random.Generator, guard: Guarded | Plain) -> str:
    """Tries one case; says what became of it.

    Raises:
        AssertionError: if the result is wrong, or is refused without a name.
    """
    dtype = torch.float64 if draw.random() < 0.7 else torch.float32
    bias = draw.random() < 0.5
    neuron = ss.Readout(4.0, 1.0) if draw.random() < 0.4 else ss.LIF(4.0, 1.0, b_th=0.5)
    layer = ss.Layer(connection_of(draw, bias, dtype), neuron)
    connection, changed = layer.connection, []
    for name, right in (("weight", tuple(connection.weight.shape)), ("bias", (N_OUT,))):
        if draw.random() < 0.7 and (name == "weight" or bias):
            tensor = parameter_of(draw, right, guard, dtype)
            grad = tensor.dtype.is_floating_point and not isinstance(tensor, Odd)
            delattr(connection, name)
            setattr(connection, name, nn.Parameter(tensor) if grad else tensor)
            changed.append(name)
    spikes = spikes_of(draw, guard, dtype)
    try:
        found = outcome(layer, spikes, "cpu")
    except ValueError as error:
        if any(name in str(error).split(":")[0] for name in NAMES):
            return "refused"
        raise
    expected = outcome(layer, spikes, "dense")
    assert found.keys() == expected.keys(), (found.keys(), expected.keys())
    allowed = 1e-10 if connection.weight.dtype == torch.float64 else 2e-3
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape, (name, found[name].shape, tensor.shape, changed)
        error = (found[name].double() - tensor.double()).abs().max() if tensor.numel() else 0.0
        assert error <= allowed * (1 + float(tensor.abs().max() if tensor.numel() else 0)), (
            name,
            error,
        )
    return "right"


def main() -> int:
    """Runs the cases; 0 if each was refused or right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--cases", type=int, default=10_000, metavar="N", help="how many (default: 10000)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all numbers (default: 0)"
    )
    parser.add_argument(
        "--guard", action=argparse.BooleanOptionalAction, default=True, help="guard pages"
    )
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    draw = np.random.default_rng(chosen.seed)
    guard = Guarded() if chosen.guard and sys.platform == "linux" else Plain()
    seen = Counter()
    for case in range(chosen.cases):
        try:
            seen[one(draw, guard)] += 1
        except Exception as error:
            print(f"case {case} of seed {chosen.seed}: {type(error).__name__}: {error}", flush=True)
            seen["wrong"] += 1
            if seen["wrong"] > 20:
                break
        guard.release()
    print(f"{chosen.cases} cases: {dict(seen)}, guard pages: {isinstance(guard, Guarded)}")
    return int(seen["wrong"] > 0 or not min(seen["refused"], seen["right"]))


if __name__ == "__main__":
    sys.exit(main())
