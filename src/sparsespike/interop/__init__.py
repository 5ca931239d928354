"""Networks of other libraries, computed here: the same spikes and the same gradients.

    net = ss.interop.from_snntorch(theirs)        # or from_spikingjelly, from_norse
    y = net(x)                                    # (T, B, ...), as theirs; or Spikes for Spikes

What cannot be equal is refused, by the layer's name. None of the libraries is needed to import this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sparsespike.interop.bands import Band
from sparsespike.interop.network import Converted, converted
from sparsespike.neurons.surrogates import Surrogate

__all__ = [
    "Band",
    "Converted",
    "from_nir",
    "from_norse",
    "from_snntorch",
    "from_spikingjelly",
    "sparse",
    "to_neurobench",
    "to_nir",
    "to_norse",
    "to_snntorch",
    "to_spikingjelly",
]


def from_snntorch(
    module: nn.Module,
    *,
    share: bool = True,
    mass: float | None = None,
    freeze: bool = False,
    input: str = "spikes",
    dense: bool = False,
) -> Converted:
    """A snnTorch network of one step as a network of ours, for whole recordings.

    Args:
        module: `nn.Sequential`, nested, or a class whose forward `torch.fx` can follow, of linear,
            convolution, pooling, flatten, dropout and batch norm layers and snnTorch's Leaky, RLeaky,
            Synaptic, RSynaptic, Lapicque and Alpha. Its forward is one step, or has a loop over a fixed
            number of steps.
        share: whether the parameters are the very same, so that training one trains the other; else they
            are copies.
        mass: share of each surrogate's mass, in (0, 1), that a finite band is to keep; None for all of it,
            and so exactly theirs. `converted.bands` tells what is cut, and
            `converted.report(x)` what that does to the gradient and the time of a step on a recording.
        freeze: whether numbers that neurons learn there are taken as they are now; else they are refused, as
            our parametrisation has another gradient.
        input: "spikes", of 0 and 1; or "values", for which the layers before the first neurons are computed
            as dense tensors.
        dense: whether layers without a sparse form where they stand, such as pooling of a current and batch
            norm in training, are computed as dense tensors; else they are refused.

    Returns:
        a module from (T, B, ...) to what a loop over time would stack.

    Raises:
        ValueError: naming the layer that cannot be kept, and why.
    """
    from sparsespike.interop.snntorch import SnnTorch

    return converted(SnnTorch(), module, share, mass, freeze, input, dense)


def from_spikingjelly(
    module: nn.Module,
    *,
    share: bool = True,
    mass: float | None = None,
    freeze: bool = False,
    input: str = "spikes",
    dense: bool = False,
) -> Converted:
    """A SpikingJelly network as a network of ours, whatever its step mode, for whole recordings.

    Args:
        module: as in `from_snntorch`, of PyTorch's layers, those of `spikingjelly.activation_based.layer`,
            and IFNode, LIFNode, ParametricLIFNode, CUBALIFNode, NonSpikingIFNode and NonSpikingLIFNode.
        share, mass, freeze, input, dense: as in `from_snntorch`.

    Returns:
        a module from (T, B, ...) to what theirs gives, as after `functional.reset_net`.

    Raises:
        ValueError: naming the layer that cannot be kept, and why.
    """
    from sparsespike.interop.spikingjelly import SpikingJelly

    return converted(SpikingJelly(), module, share, mass, freeze, input, dense)


def from_norse(
    module: nn.Module,
    *,
    share: bool = True,
    mass: float | None = None,
    freeze: bool = False,
    input: str = "spikes",
    dense: bool = False,
) -> Converted:
    """A Norse network as a network of ours, of cells or of layers over time, for whole recordings.

    Args:
        module: as in `from_snntorch`, a `SequentialState` too, of PyTorch's layers, `Lift`, and LIFBoxCell,
            LIFCell, LIF, LIFRecurrentCell, LIFRecurrent, IAFCell, IAF, LIBoxCell, LICell, LI, LILinearCell.
        share, mass, freeze, input, dense: as in `from_snntorch`.

    Returns:
        a module from (T, B, ...) to what theirs gives; its states come as None.

    Raises:
        ValueError: naming the layer that cannot be kept, and why.
    """
    from sparsespike.interop.norse import Norse

    return converted(Norse(), module, share, mass, freeze, input, dense)


def sparse(
    module: nn.Module,
    *,
    share: bool = True,
    mass: float | None = None,
    freeze: bool = False,
    dense: bool = False,
) -> Converted:
    """A part of a network of any of the libraries as ours, for the middle of theirs.

    Dense tensors are at its borders: spikes (T, B, ...) where it begins with a connection or a pool, currents
    of any values where it begins with neurons, as after a first layer that stays theirs.

    Args:
        module: part of a network, as in `from_snntorch`, `from_spikingjelly` or `from_norse`.
        share, mass, freeze, dense: as there.

    Returns:
        a module from (T, B, ...) to what the part gives, step by step.

    Raises:
        ValueError: if it has neurons of none of the libraries, or of two; naming a layer that cannot be kept.
    """
    from sparsespike.interop.norse import Norse
    from sparsespike.interop.snntorch import SnnTorch
    from sparsespike.interop.spikingjelly import SpikingJelly

    peers = [SnnTorch(), SpikingJelly(), Norse()]
    found = [peer for peer in peers if any(peer.owns(each) for each in module.modules())]
    if len(found) != 1:
        names = " and ".join(peer.name for peer in found) or "none"
        expected = "neurons of snnTorch, SpikingJelly or Norse"
        raise ValueError(f"module: expected {expected}, found those of {names}")
    return converted(found[0], module, share, mass, freeze, "spikes", dense)


def to_snntorch(net: nn.Module, *, gradients: bool = True) -> nn.Sequential:
    """A network of ours as snnTorch's, where it is exact.

    Args:
        net: `ss.Network` of layers with `lag=0`, or a converted network of layers in a row: of LIF and
            CuBaLIF with the resets of snnTorch, and `Readout`, whose potential is `mem` there.
        gradients: whether gradients must be equal too, and not spikes alone: without, a band or a surrogate
            that theirs lack is left out.

    Returns:
        `nn.Sequential` of one step, with `init_hidden=True`; its last layer gives (spikes, mem). It shares
        our weights; what its neurons hold is float64.

    Raises:
        ValueError: naming the layer that theirs cannot be, and why.
    """
    from sparsespike.interop.into_snntorch import network

    return network(net, gradients)


def to_spikingjelly(net: nn.Module, *, gradients: bool = True) -> nn.Sequential:
    """A network of ours as SpikingJelly's, where it is exact.

    Args:
        net: as in `to_snntorch`: LIF with `reset="zero"` and v_rest = v_reset, or one that takes alpha v_th
            away; CuBaLIF; `Readout` and `SumReadout` at the end.
        gradients: as in `to_snntorch`.

    Returns:
        `nn.Sequential` of step mode "m". It shares our weights.

    Raises:
        ValueError: naming the layer that theirs cannot be, and why.
    """
    from sparsespike.interop.into_spikingjelly import network

    return network(net, gradients)


def to_norse(net: nn.Module, *, gradients: bool = True) -> nn.Module:
    """A network of ours as Norse's, where it is exact.

    Args:
        net: as in `to_snntorch`: LIF and CuBaLIF with `reset="zero"` and gain 1 - alpha; `Readout` and
            `CuBaReadout`.
        gradients: as in `to_snntorch`.

    Returns:
        `SequentialState` of cells, of one step of 1 ms. It shares our weights; what its cells hold is
        float64.

    Raises:
        ValueError: naming the layer that theirs cannot be, and why.
    """
    from sparsespike.interop.into_norse import network

    return network(net, gradients)


def from_nir(
    graph: Any,
    *,
    dt: float | None = None,
    scheme: str | None = None,
    surrogate: Surrogate | None = None,
    b_th: float = 0.2,
) -> Converted:
    """A graph of NIR as a network of ours: continuous time, in steps of dt.

    Neurons are set to v_reset by a spike, before the next leak, see the input of a step in that step, and
    start at 0. Time constants become leak factors by the scheme, 1 - dt / tau ("euler", as snnTorch,
    SpikingJelly and Norse read them) or exp(-dt / tau) ("exact").

    Args:
        graph: as `nir.read` gives it: of Affine, Linear, Scale and Delay (of whole steps) beside one of
            these, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten, I, LI, IF, LIF, CubaLI, CubaLIF, Threshold,
            subgraphs, and spiking neurons that a Linear or an Affine connects to themselves; with one Input.
        dt: time step, seconds; None for the one that the graph's metadata tell.
        scheme: "euler" or "exact"; None for that of the metadata, else "euler".
        surrogate: of all spiking neurons, which NIR does not tell; None for that of `LIF`.
        b_th: their band.

    Returns:
        a module from spikes (T, B, ...), or from a current where the graph begins with neurons, to what its
        Output takes: spikes, potentials or currents; a tuple of several Outputs.

    Raises:
        ValueError: naming the node that cannot be kept, or the argument.
    """
    from sparsespike.interop.out_of_nir import network

    return network(graph, dt, scheme, surrogate, b_th)


def to_nir(
    net: nn.Module,
    *,
    dt: float,
    scheme: str = "euler",
    input_shape: Sequence[int] | None = None,
    lossy: bool = False,
) -> Any:
    """A network of ours as a graph of NIR; `nir.write(file, graph)` keeps it.

    Gains go into the weights, so that r is 1 of LIF and what makes a gain of 1 of the others: so snnTorch,
    SpikingJelly and Norse read the same, with dt = 1e-4, the one of snnTorch. Surrogates and bands are not
    part of NIR.

    Args:
        net: `ss.Network` or `Layer` of `lag=0` and `reset="zero"`, or a converted network of layers in a row.
        dt: time step that the leak factors are of, seconds. It is kept in the graph's metadata, with the
            scheme.
        scheme: "euler", tau = dt / (1 - alpha), or "exact", tau = -dt / ln(alpha).
        input_shape: of a network that begins with a convolution or a pool, (C, H, W).
        lossy: whether other resets, starts and lags are written as what NIR has; else they are refused.

    Raises:
        ValueError: naming the layer that NIR cannot tell, or the argument.
    """
    from sparsespike.interop.into_nir import graph_of

    return graph_of(net, dt, scheme, input_shape, lossy)


def to_neurobench(net: nn.Module) -> Any:
    """A network of ours as a `neurobench.models.NeuroBenchModel`, for `neurobench.benchmarks.Benchmark`.

    NeuroBench 2.3's ActivationSparsity, ActivationSparsityByLayer, SynapticOperations, ConnectionSparsity,
    Footprint and ParameterCount give what `ss.metrics.measure` gives. It keeps dense tensors of a whole batch
    for them, and takes the time that they take: `measure` needs neither.

    Args:
        net: `ss.Network`, a converted network, or another module that takes `Spikes`; set to `eval()`.

    Returns:
        a model from (B, T, ...) of 0 and 1 to potentials or spikes (B, T, ...). MembraneUpdates and
        NeuronOperations, which need snnTorch's neurons, end in an error.

    Raises:
        ValueError: if the network has layers of PyTorch's, or connections of a class of one's own.
    """
    from sparsespike.interop.into_neurobench import Model

    return Model(net)
