"""Rows of convolutions: the derivative in the parameters as matrices, its pseudoinverse, and the costs.

A row of the derivative belongs to one sample and is a sum of outer products over its pixels. In W it is the
matrix A^T b, with the rows of A and b at these pixels. In C it is unfold(u)^T g, with g = (b Wb^T) * phi'
(see `revgn.layers.convolution`).

The block step changes only W, by the pseudoinverse of A (n P rows). For W and C together, a matrix of order
n P q would have to be factored.
"""

from dataclasses import replace

from revgn import maps
from revgn.arrays import (
    Array,
    Deferred,
    array_namespace,
    empty,
    fold,
    matmul,
    matmul_into,
    scaled,
    unfold,
    zeros,
)
from revgn.cost import LayerCost, layer_cost
from revgn.layers.convolution import (
    Convolution,
    ConvolutionPoint,
    FrozenConvolution,
    Params,
    ProjectedParams,
    TrainedConvolution,
    blocks_of,
    neighbourhoods,
    of_images,
    of_pixels,
)
from revgn.layers.feature_map import CouplingParams
from revgn.linalg import Pinv, PinvRule, apply_pinv, begin_apply_pinv, begin_pinv, factor_pinv
from revgn.maps import BegunParamsStep, ParamsStep, WeightForm


@maps.vjp_rows.register(TrainedConvolution)
def vjp_rows_trained_convolution(
    of: TrainedConvolution, params: ProjectedParams, point: ConvolutionPoint, b: Array
) -> tuple[Array, tuple[Array, ...]]:
    """Return A^T b and unfold(u)^T g of each sample, block by block, with g of `vjp_trained_convolution`."""
    xp, C, Wb, P = array_namespace(b), params.projection, params.weight[:-1, :], of.grid.pixels
    c, n = b.shape[0], point.inputs.shape[0]
    b = xp.broadcast_to(b, (c, n, b.shape[2]))
    u_bar = empty(b.shape, b)
    of_weight = empty((c, n, of.hidden + 1, of.grid.channels), b)
    of_projection = empty((c, n, of.grid.fan_in, of.hidden), b)
    for samples, rows in blocks_of(of, point.inputs):
        A = _transposed(point.features[rows, :], P)
        U = _transposed(neighbourhoods(of, point, samples, rows), P)
        for o in range(c):
            own = of_pixels(of, b[o, samples, :])
            g = scaled(matmul(own, Wb.T), point.slope[rows, :])
            u_bar[o, samples, :] = fold(matmul(g, C.T), of.grid)
            matmul_into(A, xp.reshape(own, (-1, P, own.shape[1])), of_weight[o, samples, ...])
            matmul_into(U, xp.reshape(g, (-1, P, g.shape[1])), of_projection[o, samples, ...])
    return u_bar, tuple(xp.reshape(G, (c, n, -1)) for G in (of_weight, of_projection))


@maps.weight_forms.register(FrozenConvolution)
def weight_forms_frozen_convolution(of: FrozenConvolution) -> tuple[WeightForm, ...]:
    return (WeightForm(of.hidden + 1, of.grid.channels, bias_rows=1),)


@maps.weight_forms.register(TrainedConvolution)
def weight_forms_trained_convolution(of: TrainedConvolution) -> tuple[WeightForm, ...]:
    own = WeightForm(of.hidden + 1, of.grid.channels, bias_rows=1)
    return own, WeightForm(of.grid.fan_in, of.hidden, bias_rows=0)


@maps.to_matrices.register(Convolution)
def to_matrices_convolution(of: Convolution, dparams: Params) -> tuple[Array, ...]:
    return tuple(dparams)


@maps.from_matrices.register(FrozenConvolution)
def from_matrices_frozen_convolution(of: FrozenConvolution, matrices: tuple[Array, ...]) -> CouplingParams:
    return CouplingParams(*matrices)


@maps.from_matrices.register(TrainedConvolution)
def from_matrices_trained_convolution(of: TrainedConvolution, matrices: tuple[Array, ...]) -> ProjectedParams:
    return ProjectedParams(*matrices)


@maps.positions.register(Convolution)
def positions_convolution(of: Convolution) -> int:
    return of.grid.pixels


@maps.row_features.register(FrozenConvolution)
def row_features_frozen_convolution(of: FrozenConvolution, point: ConvolutionPoint) -> tuple[Array, ...]:
    return (point.features,)


@maps.row_features.register(TrainedConvolution)
def row_features_trained_convolution(of: TrainedConvolution, point: ConvolutionPoint) -> tuple[Array, ...]:
    U = point.neighbourhoods
    return point.features, unfold(point.inputs, of.grid) if U is None else U


@maps.with_features.register(FrozenConvolution)
def with_features_frozen_convolution(
    of: FrozenConvolution, point: ConvolutionPoint, features: tuple[Array, ...]
) -> ConvolutionPoint:
    return point._replace(features=features[0])


@maps.with_features.register(TrainedConvolution)
def with_features_trained_convolution(
    of: TrainedConvolution, point: ConvolutionPoint, features: tuple[Array, ...]
) -> ConvolutionPoint:
    A, U = features
    return point._replace(features=A, neighbourhoods=U)


@maps.row_cotangents.register(FrozenConvolution)
def row_cotangents_frozen_convolution(
    of: FrozenConvolution, params: CouplingParams, point: ConvolutionPoint, b: Array
) -> tuple[Array, ...]:
    return (of_pixels(of, b),)


@maps.row_cotangents.register(TrainedConvolution)
def row_cotangents_trained_convolution(
    of: TrainedConvolution, params: ProjectedParams, point: ConvolutionPoint, b: Array
) -> tuple[Array, ...]:
    """Return b and g = (b Wb^T) * phi' at each pixel."""
    xp, pixels = array_namespace(b), of_pixels(of, b)
    g = matmul(pixels, params.weight[:-1, :].T)
    if g.shape[-2] != point.slope.shape[0]:  # the same cotangent for all samples
        n, (c, P, h) = point.inputs.shape[0], g.shape
        g = xp.reshape(xp.broadcast_to(g[:, None, :, :], (c, n, P, h)), (c, n * P, h))
    return pixels, scaled(g, point.slope)


@maps.rank_bound.register(Convolution)
def rank_bound_convolution(of: Convolution, point: ConvolutionPoint) -> int:
    return min(point.features.shape)


@maps.solved.register(TrainedConvolution)
def solved_trained_convolution(of: TrainedConvolution, dparams: ProjectedParams) -> ProjectedParams:
    return dparams._replace(projection=zeros(dparams.projection.shape, dparams.projection))


@maps.factor_params.register(Convolution)
def factor_params_convolution(of: Convolution, point: ConvolutionPoint, rule: PinvRule) -> Pinv:
    return factor_pinv(point.features, _per_sample(of, rule))


@maps.solve_params.register(Convolution)
def solve_params_convolution(
    of: Convolution, point: ConvolutionPoint, factored: Pinv, dy: Array
) -> ParamsStep:
    X, AX, info = apply_pinv(factored, of_pixels(of, dy))
    return ParamsStep(_of_weight(of, X), of_images(of, AX), info)


@maps.begin_factor_params.register(Convolution)
def begin_factor_params_convolution(
    of: Convolution, point: ConvolutionPoint, rule: PinvRule
) -> Deferred[Pinv]:
    return begin_pinv(point.features, _per_sample(of, rule))


def _per_sample(of: Convolution, rule: PinvRule) -> PinvRule:
    """Return the rule with an absolute damping per sample, divided by P, since A has n P rows."""
    return rule if rule.is_relative else replace(rule, damping=rule.damping / of.grid.pixels)


@maps.begin_solve_params.register(Convolution)
def begin_solve_params_convolution(
    of: Convolution, point: ConvolutionPoint, factored: Pinv, dy: Array
) -> BegunParamsStep:
    X, AX, info = begin_apply_pinv(factored, of_pixels(of, dy))
    return BegunParamsStep(_of_weight(of, X), of_images(of, AX), info)


@layer_cost.register(Convolution)
def layer_cost_convolution(of: Convolution, n: int) -> tuple[LayerCost, ...]:
    P, q, f = of.grid.pixels, of.grid.channels, of.grid.fan_in
    h = of.hidden
    projected, product = 2.0 * n * P * f * h, 2.0 * n * P * h * q
    is_trained = isinstance(of, TrainedConvolution)
    own = LayerCost(
        forward=projected + product,
        tangent=projected + product,
        params=product,
        gram=float(n * P) * h * min(n * P, h + 1),
        half=0,
        rows=h + 1,
        width=q,
        features=h + 1,
        frozen=0 if is_trained else f * h,
        point=n * P * (2 * h + 1 + q),
        positions=P,
    )
    if not is_trained:
        return (own,)
    C = own._replace(
        forward=0.0, tangent=0.0, params=projected + product, rows=f, width=h, features=f, point=0,
        gram=float(n * P) * f * min(n * P, f), is_projection=True,
    )  # fmt: skip
    return own, C


def _of_weight(of: Convolution, X: Array) -> Params:
    """Return the parameter change X of W alone."""
    if isinstance(of, TrainedConvolution):
        return ProjectedParams(X, zeros((of.grid.fan_in, of.hidden), X))
    return CouplingParams(X)


def _transposed(rows: Array, P: int) -> Array:
    """Return rows (n P, m) as (n, m, P), without a copy."""
    xp = array_namespace(rows)
    return xp.permute_dims(xp.reshape(rows, (-1, P, rows.shape[1])), (0, 2, 1))
