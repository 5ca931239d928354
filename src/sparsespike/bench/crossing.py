"""Where one method becomes faster than another."""

from __future__ import annotations

import math


def crossing(share: list[float], ratio: list[float]) -> float:
    """The share at which the ratio of the sparse method's time to the dense one's first reaches 1.

    Between two shares both are taken to be straight in their logarithms.

    Args:
        share: ascending, > 0.
        ratio: sparse time over dense time, > 0.

    Returns:
        0 if the sparse method loses everywhere from the first share on, the last share if it never loses:
        what lies beyond was not measured.
    """
    for i, (here, times) in enumerate(zip(share, ratio, strict=True)):
        if times < 1:
            continue
        if i == 0:
            return 0.0
        before, won = math.log(share[i - 1]), math.log(ratio[i - 1])
        part = -won / (math.log(times) - won)
        return float(f"{math.exp(before + part * (math.log(here) - before)):.3g}")
    return share[-1]
