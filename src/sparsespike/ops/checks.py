"""What is compared at every call of a layer, before a kernel reads a pointer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import distributed

from sparsespike.descriptions import Cell, Term


def unit_shape_of(terms: Sequence[Term]) -> tuple[int, ...]:
    """How the neurons are laid out: as a term that says more than their number has them."""
    shapes = [term.connection.unit_shape for term in terms]
    return max(shapes, key=len)


def check_terms(terms: Sequence[Term]) -> None:
    """Compares each term with itself and with the first.

    Raises:
        ValueError: naming what does not fit.
    """
    first = terms[0]
    for term in terms:
        term.check()
        if term.spikes.shape[:2] != first.spikes.shape[:2]:
            raise ValueError(
                f"spikes: expected (B, T) = {first.spikes.shape[:2]} of every term, "
                f"found {term.spikes.shape[:2]}"
            )
        if term.connection.n_out != first.connection.n_out:
            raise ValueError(
                f"weight: expected {first.connection.n_out} neurons of every term, "
                f"found {term.connection.n_out}"
            )
        own, shape = term.connection.unit_shape, unit_shape_of(terms)
        if len(own) > 1 and own != shape:
            raise ValueError(
                f"current: expected neurons laid out as {shape} of every term, found {own}"
            )
        if term.parameter[0].dtype is not first.parameter[0].dtype:
            raise ValueError(
                f"weight: expected {first.parameter[0].dtype} of every term, "
                f"found {term.parameter[0].dtype}"
            )


def check_cell(cell: Cell, terms: Sequence[Term]) -> None:
    """Compares what a cell holds with the terms that drive it: shapes, dtypes, devices.

    Raises:
        ValueError: naming what does not fit.
    """
    if cell.plain:
        return
    connection, weight = terms[0].connection, terms[0].parameter[0]
    n_out, n_batch = connection.n_out, terms[0].spikes.shape[0]
    for name, number in zip(getattr(cell.neuron, "names", ()), cell.number, strict=True):
        if number.shape not in ((), (n_out,)):
            expected = f"one number, or ({n_out},), one per neuron"
            raise ValueError(f"{name}: expected {expected}, found {tuple(number.shape)}")
        if number.device != weight.device:
            raise ValueError(f"{name}: expected it on {weight.device}, found {number.device}")
    if cell.recurrent is not None:
        if (cell.recurrent.n_in, cell.recurrent.n_out) != (n_out, n_out):
            found = f"{cell.recurrent.n_in} to {cell.recurrent.n_out}"
            raise ValueError(f"recurrent: expected {n_out} neurons to themselves, found {found}")
        cell.recurrent.check(cell.weight)
        for tensor in cell.weight:
            if tensor.dtype is not weight.dtype or tensor.device != weight.device:
                found = f"{tensor.dtype} on {tensor.device}"
                raise ValueError(
                    f"recurrent: expected {weight.dtype} on {weight.device}, found {found}"
                )
    if cell.record is not None and not cell.neuron.spiking:
        raise ValueError(
            "record: expected neurons that spike; a readout gives its potential anyhow"
        )
    if cell.state is not None:
        n_kept = cell.state.shape[1] if cell.state.dim() == 3 else 0
        if cell.state.shape != (n_batch, n_kept, n_out) or not n_kept:
            expected = f"that of {n_batch} samples and {n_out} neurons"
            raise ValueError(f"state: expected {expected}, found {tuple(cell.state.shape)}")
        if cell.state.dtype is not weight.dtype or cell.state.device != weight.device:
            found = f"{cell.state.dtype} on {cell.state.device}"
            raise ValueError(f"state: expected {weight.dtype} on {weight.device}, found {found}")
        lazy = cell.lazy
        if lazy is not None and (lazy.dtype, lazy.device) != (weight.dtype, weight.device):
            found = f"{lazy.dtype} on {lazy.device}"
            raise ValueError(f"state: expected {weight.dtype} on {weight.device}, found {found}")


def check_memory(terms: Sequence[Term], cell: Cell, when: str) -> None:
    """Sees that parameters have memory: where they are sharded, it is given back between calls.

    Raises:
        RuntimeError: if one has none.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    for tensor in [
        *(each for term in terms for each in term.parameter),
        *cell.number,
        *cell.weight,
    ]:
        if tensor.numel() and not tensor.untyped_storage().nbytes():
            raise RuntimeError(
                f"a parameter was sharded, and is not whole in the {when} pass: shard an ss.Layer or what "
                "is around it, no part of one, and call that; torch before 2.13 may not make it whole for "
                "a layer that gives Spikes: there use DistributedDataParallel, or one fully_shard of the "
                "whole network with reshard_after_forward=False"
            )
