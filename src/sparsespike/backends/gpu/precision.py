"""What products are computed in: planes of 16-bit numbers, TF32, or the dtype itself.

A spike is exact in any format. So currents of float32 accuracy need W = hi + lo in two planes of
bfloat16, and two passes over tensor cores: 2^-17 of relative error in a weight, where TF32 has
2^-11. δ is split in the same way. Sums are in float32, or float64
for float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsespike.descriptions import Precision

# Triton chooses when a kernel is defined; so kernels and this agree. Its arithmetic in bfloat16 is wrong.
INTERPRETED = bool(triton.knobs.runtime.interpret)


@dataclass(frozen=True)
class Products:
    """How the kernels multiply.

    Attributes:
        planes: how many numbers stand for one float32: 1 or 2.
        operand: dtype of each.
        emulated: whether bfloat16 is played by float32 rounded to its 8 bits, for the interpreter.
        input_precision: of `tl.dot` where operands are float32.
        delta: dtype in which δ is stored.
    """

    planes: int
    operand: torch.dtype
    emulated: bool
    input_precision: str
    delta: torch.dtype

    @property
    def coarse(self) -> torch.dtype | None:
        """The 16-bit dtype that one plane stands in, as autocast asks for it; else None."""
        if self.planes > 1 or not (self.emulated or self.operand.itemsize == 2):
            return None
        return torch.bfloat16 if self.emulated else self.operand

    @property
    def tf32(self) -> bool:
        """Whether TF32 loses nothing that is asked for: its 10 bits hold either 16-bit dtype."""
        return self.input_precision == "tf32" or self.coarse is not None

    def rounded(self, weight: Tensor) -> Tensor:
        """What stands for a weight where PyTorch multiplies, not a kernel of ours; in the weight's dtype."""
        return weight if self.coarse is None else weight.to(self.coarse).to(weight.dtype)


def products(dtype: torch.dtype, precision: Precision) -> Products:
    """How to multiply weights of this dtype; float64 is always computed in full."""
    if dtype == torch.float64:
        return Products(1, dtype, False, "ieee", dtype)
    if precision == "tf32":
        return Products(1, dtype, False, "tf32", dtype)
    if precision == "float16":
        return Products(1, torch.float16, False, "ieee", torch.float16)
    planes = 2 if precision == "full" else 1
    if INTERPRETED:
        return Products(planes, dtype, True, "ieee", dtype)
    delta = dtype if precision == "full" else torch.bfloat16
    return Products(planes, torch.bfloat16, False, "ieee", delta)


def planes_of(weight: Tensor, how: Products) -> Tensor:
    """(planes, K, N) operands, C-contiguous, of a (K, N) weight of any layout."""
    n_in, n_out = weight.shape
    if how.planes == 1 and how.operand == weight.dtype and not how.emulated:
        return weight.clone(memory_format=torch.contiguous_format)[None]
    planes = weight.new_empty((how.planes, n_in, n_out), dtype=how.operand)
    block = 1024
    split_weight[(n_in, triton.cdiv(n_out, block))](
        weight,
        planes,
        n_in,
        n_out,
        *weight.stride(),
        PLANES=how.planes,
        EMULATED=how.emulated,
        BLOCK=block,
    )
    return planes


@triton.jit
def rounded(x, OPERAND: tl.constexpr, EMULATED: tl.constexpr):
    """To the operand's dtype, to the nearest."""
    if EMULATED:
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        return bits.to(tl.float32, bitcast=True)
    else:
        return x.to(OPERAND)


@triton.jit
def remainder(x, plane, OPERAND: tl.constexpr, EMULATED: tl.constexpr):
    """The second plane: what the first leaves of x."""
    return rounded(x - plane.to(x.dtype), OPERAND, EMULATED)


@triton.jit
def split_weight(
    weight_p,
    plane_p,
    K,
    N,
    stride_k,
    stride_n,
    PLANES: tl.constexpr,
    EMULATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """weight (K, N) of any strides -> plane (PLANES, K, N)."""
    k = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < N
    w = tl.load(weight_p + k * stride_k + n.to(tl.int64) * stride_n, mask=inside, other=0.0)
    operand: tl.constexpr = plane_p.dtype.element_ty
    high = rounded(w, operand, EMULATED)
    tl.store(plane_p + k * N + n, high, mask=inside)
    if PLANES == 2:
        low = remainder(w, high, operand, EMULATED)
        tl.store(plane_p + (K + k) * N + n, low, mask=inside)
