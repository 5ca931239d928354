"""How wide fresh weights are drawn, so that a layer is alive before it has learned anything.

`spread` is for neurons that fire, `readout_spread` for the potential that classes are read from. Both give
the standard deviation of weights of mean zero; a uniform draw then lies within sqrt(3) of it.

An input that fires in a share r of the steps leaves the trace X[t] = sum_k alpha^k S[t-1-k] behind. With
s1 = sum_k alpha^k and s2 = sum_k alpha^2k, over the last `STEPS` steps, and independent weights w,

    E[X^2] = r (1 - r) s2 + (r s1)^2,        Var[V] = n_in E[w^2] E[X^2].                           (a)

The first term comes and goes with time: the fluctuations of Rossbroich et al. (2022), who write it
n nu (mu_W^2 + sigma_W^2) eps_hat with eps_hat the integral of the squared response to one spike; here
r = nu dt, and s2 = 1 / (1 - alpha^2) stands for eps_hat / dt. They set the distance from threshold to
xi = (theta - mu_U) / sigma_U, here theta = v_th - v_rest and mu_U = 0. For the first term alone:

    n_in r E[w^2] = theta^2 / (xi^2 s2).                                                            (b)

The second term stays: one neuron's weights may add up to a steady push, another's to a steady pull. Such
a layer is a rectifier, and a rectifier hands on what it gets if n_in E[w^2] = 2 in units of what a spike
takes away (He et al. 2015). A threshold costs a little more than a rectifier: 2.5 was measured. Layers
see both, so both are added. For an input at the rate f that the layer itself shall have:

    n_in E[w^2] = theta^2 / (xi^2 f s2) + 2.5 theta (v_th - v_reset).                               (c)

With xi = 2.5, (c) is within 10 % of the width at which simulated layers hand on f = 1 %, for time
constants of 2 steps to infinity. An input at another rate r changes the first term by f / r, the second
by f / r below f, (f / r)^2 above: a steady push grows with r, a fluctuation with its root.

Sources:
    J. Rossbroich, J. Gygax, F. Zenke, Fluctuation-driven initialization for spiking neural network
    training, Neuromorphic Computing and Engineering 2(4):044016, 2022, doi:10.1088/2634-4386/ac97bb.
    K. He, X. Zhang, S. Ren, J. Sun, Delving Deep into Rectifiers, ICCV 2015, 1026-1034 (eq. 10),
    doi:10.1109/ICCV.2015.123.
"""

from __future__ import annotations

import math

from sparsespike.descriptions import Form

RATE = 0.01  # f: spikes per unit and step, of layers at the start and of an input of unknown rate
XI = 2.5  # threshold in standard deviations of the fluctuations
XI_FREE = 3.0  # the same in standard deviations of V, where nothing resets
GAIN = 2.5  # n_in E[w^2] at which a layer hands on a steady rate
STEPS = 100  # back to which input counts: what an integrator without leak sums is finite
LARGEST = 2.0  # thresholds that one input spike may be worth: more would only make bursts
NEAREST = 0.1  # distance of rest from threshold that is reckoned with at least, in v_th - v_reset
READOUT = 0.05  # standard deviation of the readout, at RATE


def sums(alpha: float, steps: int = STEPS) -> tuple[float, float]:
    """(s1, s2): the sums of alpha^k and of alpha^2k over k = 0 ... steps - 1.

    Args:
        alpha: leak factor of one step, in [0, 1]; 1 is no leak.
        steps: how many, >= 1.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a leak factor in [0, 1], found {alpha}")
    if not steps >= 1:
        raise ValueError(f"steps: expected a number >= 1, found {steps}")
    return _sum(alpha, steps), _sum(alpha * alpha, steps)


def moment(alpha: float, rate: float, steps: int = STEPS) -> float:
    """E[X^2] of one input's trace (a), > 0.

    Args:
        alpha: leak factor of one step, in [0, 1].
        rate: spikes per input unit and step, in (0, 1].
        steps: since the first input, >= 1.

    Raises:
        ValueError: if an argument is out of its range.
    """
    s1, s2 = sums(alpha, steps)
    _check_share("rate", rate)
    return rate * (1.0 - rate) * s2 + (rate * s1) ** 2


def spread(
    alpha: float,
    threshold: float,
    n_in: float,
    rate: float = RATE,
    *,
    reset: float | None = None,
    share: float = 1.0,
) -> float:
    """Standard deviation of the weights into neurons that fire, (c).

    The layer then fires in about `RATE` of the steps: 0.6 to 5 % were measured for inputs of 0.1 to 100 %
    of the steps, 50 of them or more.

    Args:
        alpha: leak factor of one step, in [0, 1].
        threshold: v_th - v_rest, unit of potential, finite; one below a tenth of `reset` counts as that.
        n_in: inputs of one neuron, >= 1; of a convolution, those of one patch.
        rate: spikes per input unit and step, in (0, 1].
        reset: v_th - v_reset, unit of potential, > 0; None for neurons that nothing resets. Nothing
            limits their rate, so V as a whole is kept `XI_FREE` standard deviations from threshold.
        share: of the variance, in (0, 1]: 1 / m for each of m connections into one layer.

    Returns:
        unit of potential per spike, > 0.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if not math.isfinite(threshold):
        raise ValueError(f"threshold: expected a finite number, found {threshold}")
    _check_inputs(n_in, share)
    trace = moment(alpha, rate)
    if reset is None:
        if not threshold > 0:
            raise ValueError(f"threshold: expected > 0 without reset, found {threshold}")
        theta, power = threshold, threshold**2 / (XI_FREE**2 * trace)
    else:
        if not (math.isfinite(reset) and reset > 0):
            raise ValueError(f"reset: expected a finite number > 0, found {reset}")
        theta, ratio = max(threshold, NEAREST * reset), RATE / rate
        fluctuating = theta**2 / (XI**2 * rate * sums(alpha)[1])
        power = fluctuating + GAIN * theta * reset * ratio * min(1.0, ratio)
    return min(math.sqrt(share * power / n_in), LARGEST * theta / math.sqrt(3.0))


def readout_spread(alpha: float, n_in: float, rate: float = RATE, *, share: float = 1.0) -> float:
    """Standard deviation of the weights into a `Readout`, by (a): that of y is `READOUT`.

    Logits start close to 0, so the loss starts close to the logarithm of the number of classes. Pooled
    by "max", as by default, they may be larger; their sum over T steps is up to T times as large.

    Args:
        alpha: leak factor of one step, in [0, 1).
        n_in: inputs of one class, >= 1.
        rate: spikes per input unit and step, in (0, 1].
        share: of the variance, in (0, 1]: 1 / m for each of m connections into one layer.

    Returns:
        unit of potential per spike, > 0.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check_inputs(n_in, share)
    if alpha == 1:
        raise ValueError(f"alpha: expected a leak factor < 1 of a readout, found {alpha}")
    return READOUT * math.sqrt(share / (n_in * moment(alpha, rate))) / (1.0 - alpha)


def std_of_form(
    form: Form, n_in: float, rate: float = RATE, *, share: float = 1.0, spiking: bool = True
) -> float | None:
    """Standard deviation of the weights into neurons of a form, by (c) or, of a readout, by (a).

    s1 and s2 are sums of the response of w . s to one input spike, of the neurons' mean numbers. An estimate:
    a reset to a value, or adaptation, is not reckoned with.

    Args:
        form: of one neuron or more.
        n_in: inputs of one neuron, >= 1.
        rate: spikes per input unit and step, in (0, 1].
        share: of the variance, in (0, 1].
        spiking: whether the neurons spike.

    Returns:
        unit of potential per spike, > 0; None where no width does it.
    """
    _check_inputs(n_in, share)
    _check_share("rate", rate)
    A, b, w = (part.detach().double().mean(-1) for part in (form.A, form.b, form.w))
    theta = float(form.theta.detach().double().mean())
    s1, s2, held = 0.0, 0.0, 0.0
    after = w / (w @ w)  # one unit of potential
    for _ in range(STEPS):
        seen = float(w @ b)
        s1, s2, held = s1 + seen, s2 + seen * seen, held + float(w @ after)
        b, after = A @ b, A @ after
    if not (s2 > 0 and math.isfinite(s2)):
        return None
    if not spiking:
        return READOUT * math.sqrt(share / (n_in * (rate * (1.0 - rate) * s2 + (rate * s1) ** 2)))
    if not theta > 0:
        return None
    ratio = RATE / rate
    # A steady push counts in what a spike takes away, theta, which is held for as long as (c) has it.
    steady = GAIN * (theta * held / s1) ** 2 if s1 else 0.0
    power = theta**2 / (XI**2 * rate * s2) + steady * ratio * min(1.0, ratio)
    return min(math.sqrt(share * power / n_in), LARGEST * theta / math.sqrt(3.0 * s2))


def _sum(factor: float, steps: int) -> float:
    return float(steps) if factor == 1 else (1.0 - factor**steps) / (1.0 - factor)


def _check_inputs(n_in: float, share: float) -> None:
    if not n_in >= 1:
        raise ValueError(f"n_in: expected a number >= 1, found {n_in}")
    _check_share("share", share)


def _check_share(name: str, found: float) -> None:
    if not 0 < found <= 1:
        raise ValueError(f"{name}: expected a number in (0, 1], found {found}")
