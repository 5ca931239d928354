"""Surrogates: g is the derivative of a known primitive, and `kept` its integral over the band."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sparsespike as ss
from sparsespike.backends.cpu.surrogate import coefficients
from sparsespike.neurons.surrogates import SURROGATES as KINDS
from sparsespike.neurons.surrogates import shape_of

FEW = (
    ss.FastSigmoid(100.0),
    ss.FastSigmoid(3.0),
    ss.Triangle(1.0),
    ss.Triangle(0.3),
    ss.Boxcar(0.5),
    ss.Boxcar(0.2),
    ss.ATan(2.0),
    ss.ATan(10.0),
    ss.Sigmoid(4.0),
    ss.Sigmoid(25.0),
    ss.Gaussian(0.5),
    ss.Gaussian(0.1),
    ss.Exponential(1.0),
    ss.Exponential(7.0, scale=0.5),
    ss.Circle(0.5),
    ss.QPseudoSpike(3.0),
    ss.QPseudoSpike(2.0),
    *(kind(2.0, scale=3.0) for kind in KINDS),
)

# Primitives up to a constant, from the formulas of the papers that the docstrings name.
PRIMITIVE = {
    ss.FastSigmoid: lambda g, d: d / (1 + g.beta * abs(d)),
    ss.Triangle: lambda g, d: math.copysign(
        min(abs(d), g.width) - min(abs(d), g.width) ** 2 / (2 * g.width), d
    ),
    ss.Boxcar: lambda g, d: max(-0.5, min(0.5, d / (2 * g.width))),
    ss.ATan: lambda g, d: math.atan(math.pi / 2 * g.alpha * d) / math.pi,
    ss.Sigmoid: lambda g, d: 1 / (1 + math.exp(-g.alpha * d)),
    ss.Gaussian: lambda g, d: math.erf(d / (g.sigma * math.sqrt(2))) / 2,
    ss.Exponential: lambda g, d: math.copysign(-math.expm1(-g.alpha * abs(d)) / 2, d),
    ss.Circle: lambda g, d: d / math.sqrt(1 + (d / g.alpha) ** 2),
    ss.QPseudoSpike: lambda g, d: math.copysign(
        (1 - (1 + 2 * abs(d) / (g.q - 1)) ** (1 - g.q)) / 2, d
    ),
}

every = pytest.mark.parametrize("surrogate", FEW, ids=repr)


def slope(surrogate: ss.Surrogate, distance: float) -> float:
    return surrogate.slope(torch.tensor(distance, dtype=torch.float64)).item()


@every
def test_slope_is_the_derivative_of_its_primitive(surrogate):
    primitive = PRIMITIVE[type(surrogate)]
    compared = 0
    for distance in np.linspace(-1.513, 1.517, 61):
        step = 1e-6
        if isinstance(surrogate, ss.Boxcar) and abs(abs(distance) - surrogate.width) < 2 * step:
            continue  # a jump
        rise = primitive(surrogate, distance + step) - primitive(surrogate, distance - step)
        expected = surrogate.scale * rise / (2 * step)
        assert slope(surrogate, distance) == pytest.approx(expected, rel=1e-4, abs=1e-8)
        compared += expected > 0
    assert compared >= 5


@every
@pytest.mark.parametrize("b_th", [0.01, 0.05, 0.2, 0.37, 1.0])
def test_kept_is_the_integral_of_the_slope_over_the_band(surrogate, b_th):
    inside = integral(surrogate, b_th)
    primitive, far = PRIMITIVE[type(surrogate)], 1e9
    if isinstance(surrogate, ss.Sigmoid):
        far = 700 / surrogate.alpha  # exp overflows beyond
    whole = primitive(surrogate, far) - primitive(surrogate, -far)
    assert surrogate.kept(b_th) == pytest.approx(inside / whole / surrogate.scale, rel=1e-5)
    assert surrogate.cut(b_th) == pytest.approx(1 - surrogate.kept(b_th))


def integral(surrogate: ss.Surrogate, b_th: float) -> float:
    """Of g over (-b_th, b_th), by the midpoint rule."""
    n = 200_000
    middle = (torch.arange(n, dtype=torch.float64) + 0.5) * (b_th / n)
    if isinstance(surrogate, ss.Boxcar) and surrogate.width < b_th:
        middle = middle[middle < surrogate.width]
    return 2 * surrogate.slope(middle).sum().item() * b_th / n


@every
def test_slope_is_even_falls_off_and_keeps_shape_and_dtype(surrogate):
    for dtype in (torch.float32, torch.float64):
        distance = torch.linspace(-2, 2, 42, dtype=dtype).view(6, 7)
        before = distance.clone()
        found = surrogate.slope(distance)
        assert found.shape == distance.shape
        assert found.dtype == dtype
        assert torch.equal(distance, before), "slope must not change its argument"
        assert torch.allclose(found, surrogate.slope(-distance))
        right = surrogate.slope(torch.linspace(0, 3, 50, dtype=dtype))
        assert bool((right.diff() <= 0).all())
        assert bool((right >= 0).all())


@every
def test_slope_far_away_is_zero_and_finite(surrogate):
    far = surrogate.slope(torch.tensor([-1e30, 1e30, -math.inf, math.inf]))
    assert bool(far.isfinite().all())
    assert bool((far.abs() < 1e-6).all())


@every
@pytest.mark.parametrize("share", [0.01, 0.36, 0.5, 0.95, 0.999])
def test_half_width_inverts_kept(surrogate, share):
    b_th = surrogate.half_width(share)
    assert surrogate.kept(b_th) == pytest.approx(share, rel=1e-9)
    assert surrogate.kept(b_th * 0.999) < share


@pytest.mark.parametrize(("surrogate", "width"), [(ss.Triangle(0.3), 0.3), (ss.Boxcar(0.2), 0.2)])
def test_compact_surrogates_have_an_exact_band(surrogate, width):
    assert surrogate.kept(width) == 1.0
    assert surrogate.kept(10 * width) == 1.0
    assert surrogate.kept(0.99 * width) < 1.0
    assert surrogate.half_width(1.0) == pytest.approx(width)
    assert slope(surrogate, width) == 0.0
    assert slope(surrogate, 0.999 * width) > 0.0


@pytest.mark.parametrize(
    "surrogate",
    [kind() for kind in KINDS if kind not in (ss.Triangle, ss.Boxcar)],
    ids=repr,
)
def test_unbounded_surrogates_have_no_band_of_all_their_mass(surrogate):
    assert surrogate.kept(math.inf) == 1.0
    with pytest.raises(ValueError, match="kept: no finite band keeps 1"):
        surrogate.half_width(1.0)


def test_mass_cut_by_the_papers_band():
    """DESIGN section 3: beyond 0.2 lie 5 % of slope 100, 64 % of ATan(2), 62 % of Sigmoid(4)."""
    assert ss.FastSigmoid(100.0).cut(0.2) == pytest.approx(0.048, abs=1e-3)
    assert ss.ATan(2.0).cut(0.2) == pytest.approx(0.64, abs=5e-3)
    assert ss.Sigmoid(4.0).cut(0.2) == pytest.approx(0.62, abs=5e-3)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, math.nan])
def test_half_width_refuses_what_is_no_share(share):
    with pytest.raises(ValueError, match=r"kept: expected a share in \(0, 1\]"):
        ss.FastSigmoid().half_width(share)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_parameters_are_refused_by_name(kind, wrong):
    name, scale = kind.__dataclass_fields__
    with pytest.raises(ValueError, match=f"{kind.__name__}.{name}: expected a finite number > 0"):
        kind(wrong)
    assert scale == "scale"
    with pytest.raises(ValueError, match=f"{kind.__name__}.scale: expected a finite number > 0"):
        kind(scale=wrong)


def test_a_tail_that_has_no_mass_is_refused():
    with pytest.raises(ValueError, match=r"QPseudoSpike.q: expected a number > 1, found 1.0"):
        ss.QPseudoSpike(1.0)


def test_the_base_class_has_no_slope_of_its_own():
    with pytest.raises(NotImplementedError):
        ss.Surrogate().slope(torch.zeros(1))
    with pytest.raises(NotImplementedError):
        ss.Surrogate().kept(0.2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every
def test_cpu_kernel_gives_the_same_slope_and_its_product(surrogate, dtype):
    shape = shape_of(surrogate)
    if shape is None:
        assert isinstance(surrogate, ss.QPseudoSpike)
        pytest.skip("evaluated by its slope")
    potential = (1 + np.linspace(-1.5, 1.5, 1001)).astype(dtype)
    if isinstance(surrogate, ss.Boxcar):  # at a jump rounding decides
        potential = potential[abs(abs(potential - 1) - surrogate.width) > 1e-6]
    grad = np.linspace(-1, 2, len(potential)).astype(dtype)
    slope, product = np.full_like(grad, np.nan), np.full_like(grad, np.nan)
    start, stop = 3, len(grad) - 2  # a part of the entries, as a thread takes them
    scale, peak, v_th = dtype(shape.scale), dtype(shape.peak), dtype(1.0)
    coefficients(shape.kind, scale, peak, v_th, potential, grad, slope, product, start, stop)
    expected = surrogate.slope(torch.from_numpy(potential) - 1).numpy()
    assert expected.max() > 0
    inside = slice(start, stop)
    close = {"rtol": 1e-12 if dtype == np.float64 else 1e-5, "atol": 1e-7 * expected.max()}
    np.testing.assert_allclose(slope[inside], expected[inside], **close)
    np.testing.assert_allclose(product[inside], (grad * slope)[inside], rtol=1e-6)
    assert np.isnan(np.delete(slope, np.arange(start, stop))).all()


def test_subclass_with_its_own_slope_has_no_kernel():
    class Halved(ss.FastSigmoid):
        def slope(self, distance):
            return super().slope(distance) / 2

    assert shape_of(Halved(100.0)) is None
