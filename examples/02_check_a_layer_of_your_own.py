# %% [markdown]
# A layer is a frozen dataclass with one function per map, such as `forward` and `inverse`, registered for its
# type. This example defines a layer that scales both halves by trained factors, y = x * exp(s).
# `revgn.testing` checks that the maps are consistent with each other. Then a network with this layer is
# trained by several optimizers.

# %%
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import revgn
from revgn import Halves, PinvInfo, testing


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    width: int  # d/2; the parameters are Halves: one s (d/2,) per half


class Point(NamedTuple):
    output: Halves
    rows: tuple  # A (n, 1) for each half


def scale(x, params, sign=1):
    return Halves(*(half * np.exp(sign * s) for half, s in zip(x, params, strict=True)))


def with_point(y):
    return Point(y, (np.ones((len(y.first), 1)),) * 2)


def columns(point):  # dy/ds
    return [A * y for A, y in zip(point.rows, point.output, strict=True)]


def vjp_params(layer, params, point, y_bar):
    return Halves(*((y * b).sum(0) for y, b in zip(columns(point), y_bar, strict=True)))


def jvp_params(layer, params, point, dparams):
    return Halves(*(y * ds for y, ds in zip(columns(point), dparams, strict=True)))


# %% [markdown]
# The forward map, its inverse, and their products with tangents (jvp) and cotangents (vjp). These are
# sufficient for SGD, Adam and L-BFGS.

# %%
for generic, implementation in {
    revgn.init: lambda layer, rng, size: Halves(*(size * rng.standard_normal((2, layer.width)))),
    revgn.forward: lambda layer, params, x: scale(x, params),
    revgn.inverse: lambda layer, params, y: scale(y, params, -1),
    revgn.linearize: lambda layer, params, x: (scale(x, params), with_point(scale(x, params))),
    revgn.linearize_inverse: lambda layer, params, y: (scale(y, params, -1), with_point(y)),
    revgn.jvp_input: lambda layer, params, point, dx: scale(dx, params),
    revgn.jvp_inverse: lambda layer, params, point, dy: scale(dy, params, -1),
    revgn.vjp_input: lambda layer, params, point, y_bar: scale(y_bar, params),
    revgn.jvp_params: jvp_params,
    revgn.vjp_params: vjp_params,
    revgn.moved_halves: lambda layer: (0, 1),
}.items():
    generic.register(Scaling)(implementation)


# %% [markdown]
# Each row of the Jacobian with respect to a weight matrix is an outer product of a row of A and a cotangent.
# Here the matrix has shape (1, d/2), A is a column of ones (n, 1), and the cotangent is the gradient of one
# sample. These maps are sufficient for the minimum-norm step, K-FAC, the feature metric and Muon.


# %%
for generic, implementation in {
    revgn.row_features: lambda layer, point: point.rows,
    revgn.row_cotangents: lambda layer, params, point, y_bar: tuple(map(np.multiply, point.output, y_bar)),
    revgn.with_features: lambda layer, point, features: Point(point.output, features),
    revgn.weight_forms: lambda layer: (revgn.WeightForm(1, layer.width, bias_rows=1),) * 2,
    revgn.to_matrices: lambda layer, dparams: tuple(s[None, :] for s in dparams),
    revgn.from_matrices: lambda layer, matrices: Halves(*(X[0] for X in matrices)),
}.items():
    generic.register(Scaling)(implementation)


# %% [markdown]
# The block step needs the pseudoinverse of the derivative with respect to the parameters. Here the derivative
# with respect to each entry of s has a single column, so the least-squares solution is a quotient.


# %%
class Factored(NamedTuple):
    squares: tuple
    info: PinvInfo


@revgn.factor_params.register(Scaling)
def factor_params(layer, point, rule):
    squares = tuple((y * y).sum(0) for y in columns(point))
    least, largest = np.min(squares), np.max(squares)
    damping = rule.damping * largest
    info = PinvInfo("cholesky", 1, 1, largest**0.5, least**0.5, damping, residual=0.0)
    return Factored(tuple(of + damping for of in squares), info)


@revgn.solve_params.register(Scaling)
def solve_params(layer, point, factored, dy):
    D = Halves(*map(np.divide, vjp_params(layer, None, point, dy), factored.squares))
    return revgn.ParamsStep(D, jvp_params(layer, None, point, D), factored.info)


# %%
rng = np.random.default_rng(0)
layer, x = Scaling(4), Halves(*rng.standard_normal((2, 6, 4)))
testing.check_layer(layer, revgn.init(layer, rng, 1.0), x)
print("all laws hold:", ", ".join(testing.laws_of(Scaling)))

# %% [markdown]
# A network of two couplings, the new layer and two more couplings is trained by different optimizers and
# solvers.

# %%
pairs = [revgn.draw_coupling(k % 2, 4, 32, rng) for k in range(4)]
chain = revgn.Chain((*pairs[:2], layer, *pairs[2:]))
network = revgn.Network(8, chain, revgn.draw_readout(4, 3, rng))
inputs, targets = rng.standard_normal((24, 8)), rng.standard_normal((24, 3))
loss = revgn.SquaredError()
minimum_norm = revgn.MinimumNorm(damping=0.1)

for optimizer in (
    revgn.Adam(lr=0.03),
    revgn.Muon(lr=0.1),
    revgn.KFAC(lr=0.3),
    revgn.GaussNewton(minimum_norm, lr=0.5, momentum=0.5),
    revgn.GaussNewton(minimum_norm, lr=0.5, metric=revgn.FeatureMetric()),
    revgn.GaussNewton(revgn.ConjugateGradients(damping=0.1), lr=0.5),
    revgn.GaussNewton(revgn.BlockWise(damping=0.01), lr=0.3),
):
    params = revgn.init(network, np.random.default_rng(1), 0.1)
    state = revgn.init_state(optimizer, network, params)
    losses = []
    for _ in range(10):
        outputs, J = revgn.jacobian(network, params, inputs)
        losses.append(float(revgn.loss_value(loss, outputs, targets)))
        at = revgn.Linearization(loss, outputs, targets, J)
        params, state, *_ = revgn.update(optimizer, state, params, at)
    solver = type(getattr(optimizer, "solver", None)).__name__.replace("NoneType", "")
    print(f"{type(optimizer).__name__:<12} {solver:<18} loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    assert losses[-1] < 0.8 * losses[0]
