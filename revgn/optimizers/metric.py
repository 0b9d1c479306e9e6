"""Metric for the norm of a Gauss-Newton direction, defined by the features seen in training.

    |D|^2 = sum_k tr D_k^T M_k D_k        M_k = P_k / p_k + floor I        P_k = mean of A_k^T A_k / n

A_k are the features of coupling k on a batch of n samples, P_k is a running mean over batches, and p_k is the
mean of P_k's diagonal. tr D_k^T P_k D_k is the mean squared change of coupling k's output over all samples
seen. Of the D that solve J D = eps, the one with the smallest norm in this metric therefore changes the
outputs of the other samples least.

With R_k R_k^T = M_k^-1, this solution is D_k = R_k D'_k. D' is the minimum-norm solution, in the Euclidean
norm, of J' D' = eps, and J' is J with the features A_k R_k in place of A_k. P_k is the first of K-FAC's
factors (Martens and Grosse 2015, section 3). Its use as the metric of a minimum-norm step is our own.
"""

import math
from typing import NamedTuple

from revgn import trees
from revgn.arrays import (
    Array,
    array_namespace,
    begin_cholesky,
    product_upper,
    row_major,
    triangular_solve,
    unwarned,
    upper_product,
)
from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
from revgn.linalg import add_diagonal, as_dtype, gram_columns
from revgn.maps import (
    KernelPart,
    Layer,
    Point,
    from_matrices,
    row_features,
    to_matrices,
    weight_forms,
    with_features,
)
from revgn.networks import ChainParams, Network
from revgn.optimizers.kronecker import trace
from revgn.solvers import Jacobian
from revgn.structs import setting, struct
from revgn.trees import is_empty


@struct
class FeatureMetric:
    """Metric M_k = P_k / p_k + floor I for each coupling; with a large floor it becomes Euclidean.

    Raises
    ------
    UsageError
        At `update`, if the network does not keep its activations.

    Notes
    -----
    Cost: n h^2 operations for A R and h^2 d/2 for R D', because R is triangular. At every `every`-th step,
    2 n h^2 for P and 4/3 h^3 for its decomposition. The state holds P and R.
    """

    floor: float = setting("Multiple of the identity in the metric P / p + floor I.", default=1.0, gt=0)
    decay: float = setting(
        "Decay per step of the running mean P of A^T A / n; a renewal multiplies the old P by decay^every.",
        default=0.95,
        ge=0,
        lt=1,
    )
    every: int = setting("Number of steps between renewals of P and of its decomposition.", default=10, ge=1)


class FeatureMetricState(NamedTuple):
    """P and R of each weight matrix."""

    moments: tuple[Array, ...]
    roots: tuple[Array, ...]


def init_metric(network: Network, params: ChainParams) -> FeatureMetricState:
    """Return the metric before the first batch: zeros in the shapes of P and R."""
    zeros = []
    for layer, of in zip(network.body.layers, params, strict=True):
        for X in () if is_empty(of) else to_matrices(layer, of):
            shape = (X.shape[0], X.shape[0])
            zeros.append(array_namespace(X).zeros(shape, dtype=X.dtype, device=X.device))
    return FeatureMetricState(tuple(zeros), tuple(zeros))


def update_metric(
    metric: FeatureMetric, state: FeatureMetricState, J: Jacobian, updates: int
) -> FeatureMetricState:
    """Return the metric after the batch of J is included in P, at every `metric.every`-th update.

    `updates` is the number of updates done so far. In between, P and R do not change.
    """
    if J.point.points is None:
        raise UsageError(
            "update(GaussNewton): the features metric needs stored activations; set activations='keep'"
        )
    if updates % metric.every:
        return state
    n = J.point.output.first.shape[0]
    share = metric.decay**metric.every if updates else 0.0
    trained = _trained(J)
    moments = trees.axpy(
        (1 - share) / n,
        tuple(gram_columns(A) for layer, point in trained for A in row_features(layer, point)),
        trees.scale(share, state.moments),
    )
    rows = [form.rows for layer, _ in trained for form in weight_forms(layer)]
    roots = [_root(P, metric.floor, n) for P, n in zip(moments, rows, strict=True)]
    return FeatureMetricState(moments, tuple(roots))


@cost.register(FeatureMetric)
def cost_feature_metric(metric: FeatureMetric, sizes: Sizes) -> Cost:
    """Count one step; the features A R need memory in addition to A."""
    orders = [(sizes.samples * of.positions, of.features, of.width) for of in sizes.layers]
    renewed = sum(2.0 * n * m**2 + 4 / 3 * m**3 for n, m, _ in orders)
    work = sum(1.0 * n * m**2 + m**2 * d2 for n, m, d2 in orders) + renewed / metric.every
    memory = {
        "metric": sum(4 * m**2 for _, m, _ in orders) * sizes.number,  # old and new
        "activations": sum(layer.point for layer in sizes.layers) * sizes.number,
    }
    return Cost({"metric": work}, memory)


def in_metric(state: FeatureMetricState, J: Jacobian) -> Jacobian:
    """Return J', the Jacobian with the features A R in place of A."""
    assert J.point.points is not None
    roots, points, turned = iter(state.roots), list(J.point.points), []
    for k, of in enumerate(J.params):
        if not is_empty(of):
            layer, point = J.network.body.layers[k], points[k]
            features = tuple(
                (product_upper(A, R), R) for A, R in zip(row_features(layer, point), roots, strict=False)
            )
            points[k] = with_features(layer, point, tuple(AR for AR, _ in features))
            turned.append(features)
    J = J._replace(point=J.point._replace(points=tuple(points)))
    if J.pulled is None:
        return J
    last_first = ((A, R) for of_layer in reversed(turned) for A, R in of_layer)
    return J._replace(
        pulled=tuple(_turned(part, A, R) for (A, R), part in zip(last_first, J.pulled, strict=True))
    )


def _turned(part: KernelPart, AR: Array, R: Array) -> KernelPart:
    """Return the part with the features A R in place of A; rows stored as matrices G become R^T G."""
    if part.features.shape == AR.shape:
        return part._replace(features=AR)
    xp, (c, n, _) = array_namespace(R), part.cotangents.shape
    G = xp.reshape(part.cotangents, (c * n, R.shape[0], -1))
    return part._replace(cotangents=xp.reshape(xp.matmul(R.T, G), (c, n, -1)))


def from_metric(state: FeatureMetricState, J: Jacobian, D: ChainParams) -> ChainParams:
    """Return R D' for a direction D'."""
    roots = iter(state.roots)
    return tuple(
        of
        if is_empty(of)
        else from_matrices(layer, tuple(upper_product(next(roots), X) for X in to_matrices(layer, of)))
        for layer, of in zip(J.network.body.layers, D, strict=True)
    )


def _trained(J: Jacobian) -> list[tuple[Layer, Point]]:
    """Return the layers that have parameters, with their points."""
    assert J.point.points is not None
    layers = zip(J.network.body.layers, J.point.points, J.params, strict=True)
    return [(layer, point) for layer, point, of in layers if not is_empty(of)]


@unwarned()
def _root(P: Array, floor: float, rows: int) -> Array:
    """Return the upper triangular R with R R^T = (P / p + floor I)^-1, p = tr P / rows and rows = h + 1.

    R is NaN, and the step then reports a divergence, if P is not finite, or if the floor is lost in rounding.
    """
    xp = array_namespace(P)
    mean = as_dtype(trace(P) / rows, P.dtype)
    M = P / xp.where(mean == 0, xp.ones_like(mean), mean)
    add_diagonal(M, floor)
    begun = begin_cholesky(M, overwrite=True)
    if begun is None:
        return xp.full_like(P, math.nan)
    L, is_factor = begun
    R = triangular_solve(L, xp.eye(P.shape[0], dtype=P.dtype, device=P.device), transposed=True)
    return row_major(xp.where(is_factor, R, xp.full_like(R, math.nan)))
