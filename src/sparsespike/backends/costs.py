"""What a layer takes on this CPU, event-driven and dense: the cost model of the backend "auto".

A few layers were measured: what an event costs them per block of weights that it reaches, and what the
dense form costs per multiplication. Between these layers the costs are interpolated in the logarithms of
their sizes.
`sparsespike bench tune` measures them on this machine; until then those in `measured/` serve, which it wrote
on others: those of the same processor, else those of `DEFAULT`, as only ratios matter. Threads take shares
of either form, so one thread is measured.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import torch

from sparsespike import __version__
from sparsespike.backends.cpu import form, plan
from sparsespike.backends.cpu.conv_form import axes
from sparsespike.backends.cpu.simd import BLOCK
from sparsespike.compiling.folder import say_once, user_cache
from sparsespike.descriptions import LIF, Connection, Conv, Linear, Term
from sparsespike.spikes.spikes import Spikes


@dataclass(frozen=True)
class Measured:
    """A layer that was measured in float32, and what it takes, in nanoseconds.

    Attributes:
        sizes: (n_in, n_out) of a `Linear`; (C_in, height = width, C_out, kernel) of a padded convolution.
        scatter: per event and block of weights that it reaches, forward.
        gradient: the same, ∇W of a convolution; of a `Linear`, what the nanoseconds of `cpu/plan.py` are
            multiplied by where ε is not wanted.
        gather: per active input and block, ε of a convolution; of a `Linear`, the factor where ε is wanted.
        forward: per multiplication of the dense form, forward, what comes with it included.
        weight: of ∇W.
        input: of ε.
    """

    sizes: tuple[int, ...]
    scatter: float
    gradient: float
    gather: float
    forward: float
    weight: float
    input: float


DEFAULT = "x86_64 emeraldrapids"  # whose costs serve on processors without any in `measured/`
NUMBERS = tuple(field.name for field in fields(Measured) if field.name != "sizes")


@dataclass(frozen=True)
class Costs:
    """The model: what was measured.

    Attributes:
        linear: `Linear` layers.
        conv: convolutions.
        call: nanoseconds by which the dense form of a layer in which nothing happens is slower.
        double: how many times longer a multiplication takes in float64, of a `Linear` and of a convolution.
    """

    linear: tuple[Measured, ...]
    conv: tuple[Measured, ...]
    call: float
    double: tuple[float, float]


class Estimate(NamedTuple):
    """Nanoseconds of one pass of a layer.

    Attributes:
        sparse: by the event-driven kernels.
        dense: by the dense form.
    """

    sparse: float
    dense: float


class InForce(NamedTuple):
    """The costs that are in force, and where they come from.

    Attributes:
        costs: the model.
        source: "default" and the processor of costs that ship, or the file and when it was written.
    """

    costs: Costs
    source: str


def forward(costs: Costs, terms: Sequence[Term]) -> Estimate:
    """One forward pass. What both forms take to list what fires is in neither."""
    sparse, dense = 0.0, costs.call
    for term in terms:
        near = _near(costs, term.connection)
        sparse += len(term.spikes.unit) * _reach(term) * near.scatter
        dense += _products(costs, term) * near.forward
    return Estimate(sparse, dense)


def backward(
    costs: Costs, terms: Sequence[Term], fired: Spikes, neuron: LIF, needed: Sequence[bool]
) -> Estimate:
    """One backward pass of a layer whose spikes and active entries are `fired`."""
    sparse, dense = 0.0, costs.call
    for term, wanted in zip(terms, needed, strict=True):
        near, spikes = _near(costs, term.connection), term.spikes
        n_active = len(spikes.active_unit) if wanted else 0
        if isinstance(term.connection, Linear):
            constants = form.lif(neuron, form.numpy_dtype(term.parameter[0]))
            planned = plan.costs(spikes, fired, term.parameter, constants, n_active > 0)
            sparse += min(planned.values()) * (near.gather if n_active else near.gradient)
        else:
            events = len(spikes.unit) * near.gradient + n_active * near.gather
            sparse += events * _reach(term)
        each = near.weight + (near.input if n_active else 0.0)
        dense += _products(costs, term) * each
    return Estimate(sparse, dense)


def products(connection: Connection) -> int:
    """Multiplications of one step of the dense form."""
    if isinstance(connection, Conv):
        _, per_group, height, width = connection.weight_shape
        return connection.n_out * per_group * height * width
    return connection.n_in * connection.n_out


def reach(connection: Connection, itemsize: int) -> float:
    """Blocks of weights that an event reaches, on average over the inputs."""
    lanes = BLOCK // itemsize
    if isinstance(connection, Conv):
        (y, x), positions = axes(connection, 1, True)
        taps = float(y.length.sum() * x.length.sum()) / len(positions)
        return taps * -(-connection.n_channel // connection.groups // lanes)
    return -(-connection.n_out // lanes)


def _reach(term: Term) -> float:
    return reach(term.connection, term.parameter[0].element_size())


def _products(costs: Costs, term: Term) -> float:
    """Multiplications of the dense form in all steps, those in float64 counted by what they take."""
    n_batch, steps, _ = term.spikes.shape
    double = term.parameter[0].dtype == torch.float64
    times = costs.double[isinstance(term.connection, Conv)] if double else 1.0
    return n_batch * steps * products(term.connection) * times


def _near(costs: Costs, connection: Connection) -> Measured:
    """The costs of a layer of these sizes, as if it had been measured."""
    if isinstance(connection, Conv):
        per_group, channels = connection.in_shape[0] / connection.groups, connection.n_channel
        _, height, width = connection.out_shape
        taps = connection.kernel[0] * connection.kernel[1]
        sizes = per_group, math.sqrt(height * width), channels / connection.groups, math.sqrt(taps)
        return interpolated(costs.conv, sizes)
    return interpolated(costs.linear, (connection.n_in, connection.n_out))


@lru_cache(maxsize=256)
def interpolated(known: tuple[Measured, ...], sizes: tuple[float, ...]) -> Measured:
    """Costs between those of known layers, each counted by the inverse square of its distance.

    Distances, and the means, are of logarithms.
    """
    weights = []
    for layer in known:
        pairs = zip(layer.sizes, sizes, strict=True)
        distance = sum(math.log(a / b) ** 2 for a, b in pairs)
        weights.append(1.0 / max(distance, 1e-9))
    whole = sum(weights)
    means = {
        name: math.exp(
            sum(
                weight * math.log(getattr(layer, name))
                for weight, layer in zip(weights, known, strict=True)
            )
            / whole
        )
        for name in NUMBERS
    }
    return Measured(tuple(map(round, sizes)), **means)


# ---- measured on this machine --------------------------------------------------------------------


@lru_cache(maxsize=1)
def in_force() -> InForce:
    """The costs that estimates are made with: this machine's if they were measured, else shipped ones."""
    return _read(path())


def path() -> Path:
    """Where `sparsespike bench tune` writes what it measures."""
    return user_cache() / "cpu_costs.json"


def origin() -> dict[str, str]:
    """What measured costs hold for: the processor and the versions of all that computes."""
    return {
        "cpu": f"{platform.machine()} {llvmlite.binding.get_host_cpu_name()}",
        "sparsespike": __version__,
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def write(costs: Costs, when: str) -> Path:
    """Puts the costs of this machine in force, from now on.

    Raises:
        OSError: if the file cannot be written.
    """
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.write_text(json.dumps({**origin(), "when": when, "costs": asdict(costs)}, indent=2) + "\n")
    part.replace(target)
    in_force.cache_clear()
    return target


def _read(target: Path) -> InForce:
    """The costs in a file; shipped ones if there is none, or, with a warning, if it does not fit."""
    default = shipped(origin()["cpu"])
    try:
        found = json.loads(target.read_text("utf-8"))
        for name, here in origin().items():
            if found[name] != here:
                say_once(
                    f"{target}: not used, expected costs of {name} {here}, found {found[name]}; "
                    "`sparsespike bench tune` measures them anew"
                )
                return default
        return InForce(_costs(found["costs"]), f"{target}, {found['when']}")
    except FileNotFoundError:
        return default
    except (OSError, ValueError, KeyError, TypeError) as error:
        say_once(
            f"{target}: not used, expected costs as `sparsespike bench tune` writes them, found "
            f"{type(error).__name__}: {error}"
        )
        return default


def shipped(cpu: str) -> InForce:
    """The costs that ship for a processor, or `DEFAULT`'s where none do."""
    folder = files("sparsespike.backends") / "measured"
    known = folder / f"{cpu.replace(' ', '-')}.json"
    source = known if known.is_file() else folder / f"{DEFAULT.replace(' ', '-')}.json"
    found = json.loads(source.read_text("utf-8"))
    return InForce(_costs(found["costs"]), f"default, {found['cpu']}")


def _costs(found: dict[str, Any]) -> Costs:
    """The model that a file holds.

    Raises:
        ValueError, KeyError, TypeError: if it is none.
    """
    known = {
        kind: tuple(
            Measured(
                tuple(int(size) for size in layer["sizes"]),
                **{name: _number(name, layer[name]) for name in NUMBERS},
            )
            for layer in found[kind]
        )
        for kind in ("linear", "conv")
    }
    for kind, n in (("linear", 2), ("conv", 4)):
        if not known[kind] or any(
            len(layer.sizes) != n or min(layer.sizes) < 1 for layer in known[kind]
        ):
            raise ValueError(f"{kind}: expected layers of {n} sizes >= 1")
    linear, conv = (_number("double", number) for number in found["double"])
    return Costs(
        **known,
        call=_number("call", found["call"]),
        double=(linear, conv),
    )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name}: expected a number > 0, found {value!r}")
    return float(value)
