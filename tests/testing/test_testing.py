"""The checks of laws detect mistakes: layers, losses and solvers with one planted mistake each must fail."""

import dataclasses

import numpy as np
import pytest
from cases import LayerCase, network_case

from revgn import maps
from revgn.layers import Coupling, CouplingParams, RandomFeaturesPoint
from revgn.layers import coupling as right
from revgn.losses import SquaredError, gradient, output_step, value
from revgn.maps import Halves, ParamsStep
from revgn.solvers import MinimumNorm, solve
from revgn.testing import (
    LAWS,
    assert_close,
    assert_same_kind,
    check_layer,
    check_loss,
    check_solver,
    draw_like,
    laws_of,
    relative_error,
    tolerance,
)
from revgn.trees import axpy, scale

MISTAKES = {}  # name -> (struct, law that must detect it)


def mistake(law, generic):
    """Make a coupling whose map `generic` is the decorated function; the other maps are inherited."""

    def decorate(function):
        struct = type(f"Bad{generic.__name__}", (Coupling,), {"__slots__": ()})
        generic.register(struct)(function)
        MISTAKES[function.__name__] = (struct, law)
        return function

    return decorate


@mistake("inverse", maps.inverse)
def inverse_with_the_wrong_sign(layer, params, y):
    return right.forward_coupling(layer, params, y)


@mistake("linearize", maps.linearize)
def linearize_with_another_rounding(layer, params, x):
    y, point = right.linearize_coupling(layer, params, x)
    return scale(1 + 1e-15, y), point


@mistake("linearize_inverse", maps.linearize_inverse)
def linearize_inverse_at_another_point(layer, params, y):
    x, point = right.linearize_inverse_coupling(layer, params, y)
    return x, RandomFeaturesPoint(point.features, 1.0001 * point.slope)


@mistake("tangent", maps.jvp_input)
def jvp_input_without_the_identity(layer, params, point, dx):
    return axpy(-1.0, dx, right.jvp_input_coupling(layer, params, point, dx))


@mistake("tangent", maps.jvp_params)
def jvp_params_without_the_bias(layer, params, point, dparams):
    W = np.vstack([dparams.weight[:-1], 0 * dparams.weight[-1:]])
    return right.jvp_params_coupling(layer, params, point, CouplingParams(W))


@mistake("linear", maps.vjp_input)
def vjp_input_that_is_not_linear(layer, params, point, y_bar):
    return right.vjp_input_coupling(layer, params, point, Halves(y_bar.first, abs(y_bar.second)))


@mistake("adjoint", maps.vjp_params)
def vjp_params_averaged(layer, params, point, y_bar):
    return scale(1 / len(y_bar.first), right.vjp_params_coupling(layer, params, point, y_bar))


@mistake("inverse_tangent", maps.jvp_inverse)
def jvp_inverse_with_the_wrong_sign(layer, params, point, dy):
    return right.jvp_input_coupling(layer, params, point, dy)


@mistake("rows", maps.row_features)
def features_without_the_ones(layer, point):
    return (point.features[:, :-1],)


@mistake("rows", maps.row_cotangents)
def cotangents_of_the_wrong_half(layer, params, point, y_bar):
    return (y_bar[1 - layer.half],)


@mistake("matrices", maps.from_matrices)
def from_matrices_doubled(layer, matrices):
    return CouplingParams(2.0 * matrices[0])


@mistake("matrices", maps.weight_forms)
def weight_forms_without_the_bias(layer):
    return tuple(form._replace(rows=form.rows - 1) for form in maps.weight_forms(layer.features))


@mistake("features", maps.with_features)
def with_features_ignored(layer, point, features):
    return point


@mistake("halves", maps.moved_halves)
def moved_halves_the_wrong_way(layer):
    return (1 - layer.half,)


@mistake("pinv", maps.solve_params)
def solve_that_overshoots(layer, point, factored, dy):
    step = right.solve_params_coupling(layer, point, factored, dy)
    return ParamsStep(scale(1.001, step.params), scale(1.001, step.realized), step.info)


@mistake("purity", maps.vjp_params)
def vjp_that_writes_into_its_argument(layer, params, point, y_bar):
    result = right.vjp_params_coupling(layer, params, point, y_bar)
    point.features[0, 0] += 1.0
    return result


@mistake("inverse", maps.inverse)
def inverse_in_the_wrong_dtype(layer, params, y):
    x = right.inverse_coupling(layer, params, y)
    return Halves(x.first.astype(np.float32), x.second)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_law_detects_the_mistake(name, numpy_backend):
    layer, params, x = LayerCase("tanh", 0, "n<h").build(numpy_backend, "float64")
    struct, law = MISTAKES[name]
    bad = struct(**{f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)})
    with pytest.raises(AssertionError, match="Bad"):
        LAWS[law].check(bad, params, x, kind=LAWS[law].kind)
    with pytest.raises(AssertionError):
        check_layer(bad, params, x)


def test_every_law_has_a_planted_mistake():
    assert {law for _, law in MISTAKES.values()} == set(LAWS)
    assert set(laws_of(Coupling)) == set(LAWS)


def test_the_error_states_law_error_and_tolerance():
    with pytest.raises(AssertionError, match=r"my law: relative error 1\.00e-01, tolerance 1e-13"):
        assert_close("my law", np.array([1.1]), np.array([1.0]), tolerance(np.float64, "map"))


@pytest.mark.parametrize(
    ("actual", "what"),
    [
        (np.ones(2, dtype=np.float32), "dtype"),
        (np.ones(3), "shape"),
        ((np.ones(2),), "tuple"),
        (None, "NoneType"),
    ],
)
def test_dtype_shape_and_struct_are_compared(actual, what):
    with pytest.raises(AssertionError, match=what):
        assert_same_kind("law", actual, np.ones(2))


def test_library_and_device_are_compared():
    strict = pytest.importorskip("array_api_strict")
    here, there = strict.ones(2), strict.ones(2, device=strict.Device("device1"))
    with pytest.raises(AssertionError, match="library"):
        assert_same_kind("law", here, np.ones(2))
    with pytest.raises(AssertionError, match="device"):
        assert_same_kind("law", here, there)


def test_nan_always_fails():
    with pytest.raises(AssertionError, match="nan"):
        assert_close("law", np.array([np.nan]), np.array([1.0]), 1.0)


def test_the_error_is_absolute_if_zero_is_expected():
    assert relative_error(np.array([3.0, 4.0]), np.zeros(2)) == 5.0
    assert relative_error((), ()) == 0.0


def test_tolerances():
    kinds = ("same", "map", "chain", "solve")
    assert [tolerance(np.float64, kind) for kind in kinds] == [0, 1e-13, 1e-11, 1e-11]
    assert [tolerance(np.float32, kind) for kind in kinds] == [0, 1e-5, 1e-4, 1e-4]


def test_random_arrays_are_read_only():
    drawn = draw_like(np.random.default_rng(0), CouplingParams(np.zeros((2, 2), dtype=np.float32)))
    assert drawn.weight.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        drawn.weight[0, 0] = 1.0


class DoubledError(SquaredError):
    """Squared error with a gradient that has a wrong factor."""


@gradient.register(DoubledError)
def gradient_doubled(loss, z, t):
    return (z - t) / len(z)


class UphillError(SquaredError):
    """Squared error with an output step in the wrong direction."""


@output_step.register(UphillError)
def output_step_uphill(loss, z, t):
    return t - z


class SummedError(SquaredError):
    """Squared error whose value is a one-dimensional array instead of a scalar."""


@value.register(SummedError)
def value_summed(loss, z, t):
    return np.sum((z - t) ** 2, axis=1)[:1]


@pytest.mark.parametrize(
    ("loss", "law"),
    [(DoubledError(), "derivative"), (UphillError(), "output_step"), (SummedError(), "0-d")],
)
def test_a_wrong_loss_is_detected(loss, law):
    z, t = np.random.default_rng(0).standard_normal((2, 4, 3))
    with pytest.raises(AssertionError, match=law):
        check_loss(loss, z, t)


class HalfNorm(MinimumNorm):
    """Solver that returns half of the minimum-norm step."""


@solve.register(HalfNorm)
def solve_half(solver, J, eps):
    D, info = solve(MinimumNorm(), J, eps)
    return scale(0.5, D), info._replace(rho=0.5)


class BoastfulNorm(MinimumNorm):
    """Solver that reports a wrong relative residual."""


@solve.register(BoastfulNorm)
def solve_boastful(solver, J, eps):
    D, info = solve(MinimumNorm(0.1), J, eps)
    return D, info._replace(rho=0.0)


WRONG_SOLVERS = [(HalfNorm(), "J G J = J"), (BoastfulNorm(), "rho is reported")]


@pytest.mark.parametrize(("solver", "law"), WRONG_SOLVERS)
def test_a_wrong_solver_is_detected(solver, law, numpy_backend):
    J, eps = network_case("tanh-same-keep").jacobian(numpy_backend)
    check_solver(MinimumNorm(), J, eps)
    with pytest.raises(AssertionError, match=law):
        check_solver(solver, J, eps)
