"""What each module of the network costs: time and memory of one batch, events and active entries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sparsespike.backends import device_for, placed, use_backend
from sparsespike.bench import measure
from sparsespike.connections.relay import Relay
from sparsespike.data import EventDataset
from sparsespike.network import Layer, Network
from sparsespike.pages.figure import COLOURS, Drawing, panels, style
from sparsespike.pages.page import Table
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.recipe import Recipe

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """One module, for one batch.

    Attributes:
        name: "layer 1", "readout", or what lies between layers.
        module: what it is, Linear(784, 200) for instance.
        n_in: events that come in, per sample.
        n_spikes, n_active: that go out, per sample; None of a readout.
        activity: share of its entries that are active; None of a readout.
        forward_ms, backward_ms: medians; the latter None where no gradient goes through.
        kept_mib: what the forward pass keeps for the backward pass.
    """

    name: str
    module: str
    n_in: float
    n_spikes: float | None
    n_active: float | None
    activity: float | None
    forward_ms: float
    backward_ms: float | None
    kept_mib: float


@dataclass(frozen=True)
class Costs:
    """All modules.

    Attributes:
        each: in order.
        n_batch: samples of the batch.
        threads: that computed.
        backend: that computed.
    """

    each: list[Cost]
    n_batch: int
    threads: int
    backend: str


def costs(net: Network, dataset: EventDataset, recipe: Recipe, names: Sequence[str]) -> Costs:
    """Measures one batch of the first samples, module by module, in `eval()`.

    A module runs forward from the events that came in, and backward from a random gradient at all that goes
    out, for a fifth of a second; see `bench.measure.turn`.

    Args:
        net: the network; moved to the recipe's device.
        dataset: where the batch is from.
        recipe: gives batch size, steps, dt and backend.
        names: of the layers, the readout's last.
    """
    n_batch = min(recipe.batch_size, len(dataset))
    spikes, label = dataset.batch(list(range(n_batch)), recipe.steps, recipe.dt)
    device = device_for(recipe.backend)
    net.to(device).eval()
    signal, _ = placed(spikes, label, recipe.backend)
    each, layer = [], iter(names)
    with use_backend(recipe.backend):
        for module in net:
            name = type(module).__name__ if isinstance(module, Relay) else next(layer)
            cost, signal = _measured(name, module, signal, n_batch, torch.device(device).type)
            each.append(cost)
    return Costs(each, n_batch, torch.get_num_threads(), recipe.backend)


def _measured(
    name: str, module: Any, signal: Spikes, n_batch: int, device: str
) -> tuple[Cost, Any]:
    """Its cost, and what it gives."""
    # A leaf: the time of the modules below is not this one's.
    wants = signal.storage.has_active and len(signal.value) > 0
    given = replace(signal, value=signal.value.detach().requires_grad_(wants))
    sources = [*([given.value] if wants else []), *module.parameters()]
    out = module(given)
    flowing = out.value if isinstance(out, Spikes) else out
    gradient = torch.randn_like(flowing)

    def backward(result: Spikes | Tensor) -> None:
        tensor = result.value if isinstance(result, Spikes) else result
        torch.autograd.grad(tensor, sources, gradient, allow_unused=True)

    phases: measure.Phases = {"forward": lambda _: module(given)}
    learns = flowing.requires_grad and len(flowing) > 0
    if learns:
        phases["backward"] = backward
    measure.run(phases)  # kernels are compiled or loaded once: that is not the layer's time
    seconds = measure.turn(phases, device)
    existing = [given.value, *given.storage, *module.parameters(), *module.buffers()]
    kept = measure.saved_bytes(lambda: module(given), existing)
    fired = out if isinstance(out, Spikes) else None
    cost = Cost(
        name=name,
        module=_described(module),
        n_in=given.n_spikes / n_batch,
        n_spikes=None if fired is None else fired.n_spikes / n_batch,
        n_active=None if fired is None else fired.n_active / n_batch,
        activity=None if fired is None else fired.activity(),
        forward_ms=seconds["forward"] * 1e3,
        backward_ms=seconds["backward"] * 1e3 if learns else None,
        kept_mib=kept / MIB,
    )
    return cost, out


def table(found: Costs, recipe: Recipe) -> Table:
    """All of it, and the sum."""
    header = [
        "module",
        "",
        "events in",
        "spikes",
        "active",
        "activity",
        "forward",
        "backward",
        "kept",
    ]
    rows: list[list[Any]] = [
        [
            "" if cost.module.startswith(cost.name) else cost.name,
            f"`{cost.module}`",
            _whole(cost.n_in),
            _whole(cost.n_spikes),
            _whole(cost.n_active),
            None if cost.activity is None else f"{cost.activity:.2%}",
            _ms(cost.forward_ms),
            _ms(cost.backward_ms),
            _memory(cost.kept_mib),
        ]
        for cost in found.each
    ]
    total = [
        "**all**",
        *["", None, None, None, None],
        _ms(sum(cost.forward_ms for cost in found.each)),
        _ms(sum(cost.backward_ms or 0 for cost in found.each)),
        _memory(sum(cost.kept_mib for cost in found.each)),
    ]
    threads = "thread" if found.threads == 1 else "threads"
    caption = (
        f"One batch of {found.n_batch} samples of {recipe.steps} steps, backend `{found.backend}`, "
        f"{found.threads} {threads}. Events, spikes and active entries are per sample. Time is the median "
        "of repeated runs of each module alone, from its input, with a random gradient; kept is what the "
        "forward pass stores for the backward pass."
    )
    return Table(header, [*rows, total], caption)


def drawing(found: Costs) -> Drawing:
    """Bars of the time of each module."""
    names = [cost.name for cost in found.each]
    forward = [cost.forward_ms for cost in found.each]
    backward = [cost.backward_ms or 0 for cost in found.each]
    places = range(len(names))
    with style():
        figure, (axes,) = panels(height=0.75 + 0.3 * len(names))
        axes.barh(places, forward, 0.62, color=COLOURS["blue"], label="forward")
        axes.barh(places, backward, 0.62, left=forward, color=COLOURS["orange"], label="backward")
        axes.set(xlabel=f"time of a batch of {found.n_batch} (ms)", ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="best", ncols=2)
        axes.grid(axis="x")
    total = sum(forward) + sum(backward)
    slowest = max(found.each, key=lambda cost: cost.forward_ms + (cost.backward_ms or 0))
    share = (slowest.forward_ms + (slowest.backward_ms or 0)) / total
    says = (
        f"The dearest is {slowest.name}, with {share:.0%} of it all. Loss, optimiser and reading the data "
        "are not in it."
    )
    alt = "; ".join(
        f"{n} {f:.3g} + {b:.3g} ms" for n, f, b in zip(names, forward, backward, strict=True)
    )
    return Drawing("costs", figure, says, f"Time forward and backward: {alt}.")


def _described(module: Any) -> str:
    """The connection, or the module between layers, with its sizes."""
    part = module.connection if isinstance(module, Layer) else module
    sizes = part.extra_repr().removesuffix(", bias=False")
    if isinstance(part, Relay):  # the rest is mostly as usual
        sizes = sizes.partition(", stride")[0]
    # As one writes it: (5, 5) is 5.
    sizes = re.sub(r"\((\d+)(, \1)*,?\)", r"\1", sizes.replace("kernel_size=", ""))
    return f"{type(part).__name__}({sizes})"


def _whole(number: float | None) -> str | None:
    return None if number is None else f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _ms(number: float | None) -> str | None:
    return None if number is None else f"{number:,.0f} ms" if number >= 100 else f"{number:.3g} ms"


def _memory(mib: float) -> str:
    return f"{mib:,.1f} MiB" if mib >= 1 else f"{mib * 1024:,.1f} KiB"
