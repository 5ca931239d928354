"""`looped`: a connection from neurons to themselves, as they take it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsespike.connections.current import Current
from sparsespike.spikes.spikes import Spikes


def looped(connection: Any, current: Current) -> tuple[Any, tuple[Tensor, ...]]:
    """The recurrent connection as it is now; it is called, so that hooks on it run.

    Args:
        connection: from the neurons' spikes to the neurons.
        current: what drives the neurons beside it.

    Returns:
        its description and its parameters.

    Raises:
        ValueError: if it gives no current of one connection.
    """
    nothing = torch.empty(0, dtype=torch.int64)
    none = Spikes.from_events(nothing, nothing, nothing, shape=(1, 1, current.shape[2]))
    none = none.with_unit_shape(current.unit_shape).to(current.dtype)
    found = connection(none.to(current.device))
    if not isinstance(found, Current) or len(found.terms) != 1:
        raise ValueError(
            f"recurrent: expected a Current of one connection, found {type(found).__name__}"
            + (f" of {len(found.terms)}" if isinstance(found, Current) else "")
        )
    (term,) = found.terms
    return term.connection, term.parameter
