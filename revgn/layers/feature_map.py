"""Feature maps: the function u -> A(u) W that a coupling adds to one half, where u is the other half.

A feature map is a layer. Its input is a half u (n, d/2), its output a change (n, d/2) of the other half. The
maps of a coupling are computed from five maps of its feature map: `linearize` evaluates A(u) W; `jvp_input`
and `vjp_input` apply its derivative in u and the transpose; `jvp_params` and `vjp_params` apply its
derivative in the parameters and the transpose. The rows, matrices and pseudoinverse of a coupling also refer
to the derivative in the parameters.

A feature map with a frozen projection C (d/2, h) has one trained weight, W (h+1, d/2), whose last row is the
bias. Its linearization point stores A. The maps below are shared by all such feature maps. If the point
stores fewer columns than A, the feature map registers its own `to_matrices` and `from_matrices`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from revgn import maps
from revgn._dispatch import Struct
from revgn.arrays import Array, Deferred, backend_of, draw_normal, matmul
from revgn.linalg import Pinv, PinvRule, apply_pinv, begin_apply_pinv, begin_pinv, factor_pinv
from revgn.maps import BegunParamsStep, Params, ParamsStep, WeightForm


class FeatureMap(Struct, Protocol):
    """Protocol of a feature map: a frozen dataclass for which the maps of `revgn.maps` are registered."""

    @property
    def width(self) -> int:
        """Number d/2 of columns of u and of A(u) W."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenFeatures:
    """Base class of feature maps with a frozen projection C."""

    projection: Array  # C (d/2, h)

    @property
    def width(self) -> int:
        """Number d/2 of columns of u and of A(u) W."""
        return self.projection.shape[0]


class CouplingParams(NamedTuple):
    """Trained weight W (h+1, d/2); its last row is the bias."""

    weight: Array


class FrozenFeaturesPoint(Protocol):
    """Protocol of a linearization point that stores the features A, or a matrix B with B B^T = A A^T."""

    @property
    def features(self) -> Array:
        """Matrix A, or B with fewer columns (n, m)."""

    def _replace(self, **changes: Any) -> "FrozenFeaturesPoint": ...


@maps.init.register(FrozenFeatures)
def init_frozen_features(of: FrozenFeatures, rng: np.random.Generator, scale: float) -> CouplingParams:
    d2, h = of.projection.shape
    C = of.projection
    return CouplingParams(draw_normal(rng, (h + 1, d2), scale, backend_of(C), C.dtype, zero_rows=1))


@maps.jvp_params.register(FrozenFeatures)
def jvp_params_frozen_features(
    of: FrozenFeatures, params: CouplingParams, point: FrozenFeaturesPoint, dparams: CouplingParams
) -> Array:
    (X,) = maps.to_matrices(of, dparams)
    return matmul(point.features, X)


@maps.vjp_params.register(FrozenFeatures)
def vjp_params_frozen_features(
    of: FrozenFeatures, params: CouplingParams, point: FrozenFeaturesPoint, b: Array
) -> Params:
    return maps.from_matrices(of, (matmul(point.features.T, b),))


@maps.to_matrices.register(FrozenFeatures)
def to_matrices_frozen_features(of: FrozenFeatures, dparams: CouplingParams) -> tuple[Array, ...]:
    return (dparams.weight,)


@maps.from_matrices.register(FrozenFeatures)
def from_matrices_frozen_features(of: FrozenFeatures, matrices: tuple[Array, ...]) -> CouplingParams:
    return CouplingParams(*matrices)


@maps.weight_forms.register(FrozenFeatures)
def weight_forms_frozen_features(of: FrozenFeatures) -> tuple[WeightForm, ...]:
    d2, h = of.projection.shape
    return (WeightForm(h + 1, d2, bias_rows=1),)


@maps.row_features.register(FrozenFeatures)
def row_features_frozen_features(of: FrozenFeatures, point: FrozenFeaturesPoint) -> tuple[Array, ...]:
    return (point.features,)


@maps.with_features.register(FrozenFeatures)
def with_features_frozen_features(
    of: FrozenFeatures, point: FrozenFeaturesPoint, features: tuple[Array, ...]
) -> FrozenFeaturesPoint:
    (A,) = features
    return point._replace(features=A)


@maps.row_cotangents.register(FrozenFeatures)
def row_cotangents_frozen_features(
    of: FrozenFeatures, params: CouplingParams, point: FrozenFeaturesPoint, b: Array
) -> tuple[Array, ...]:
    return (b,)


@maps.rank_bound.register(FrozenFeatures)
def rank_bound_frozen_features(of: FrozenFeatures, point: FrozenFeaturesPoint) -> int:
    return min(point.features.shape)


@maps.factor_params.register(FrozenFeatures)
def factor_params_frozen_features(of: FrozenFeatures, point: FrozenFeaturesPoint, rule: PinvRule) -> Pinv:
    return factor_pinv(point.features, rule)


@maps.solve_params.register(FrozenFeatures)
def solve_params_frozen_features(
    of: FrozenFeatures, point: FrozenFeaturesPoint, factored: Pinv, dy: Array
) -> ParamsStep:
    X, AX, info = apply_pinv(factored, dy)  # if the point stores B, it has the singular values of A
    return ParamsStep(maps.from_matrices(of, (X,)), AX, info)


@maps.begin_factor_params.register(FrozenFeatures)
def begin_factor_params_frozen_features(
    of: FrozenFeatures, point: FrozenFeaturesPoint, rule: PinvRule
) -> Deferred[Pinv]:
    return begin_pinv(point.features, rule)


@maps.begin_solve_params.register(FrozenFeatures)
def begin_solve_params_frozen_features(
    of: FrozenFeatures, point: FrozenFeaturesPoint, factored: Pinv, dy: Array
) -> BegunParamsStep:
    X, AX, info = begin_apply_pinv(factored, dy)
    return BegunParamsStep(maps.from_matrices(of, (X,)), AX, info)
