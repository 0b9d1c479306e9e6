"""The network's Jacobian in its parameters, at a point: J and J^T as functions, and who solves J D = eps."""

from dataclasses import fields, replace
from functools import singledispatch
from typing import Any, NamedTuple, TypeAlias

from revgn import trees
from revgn._dispatch import generic
from revgn.arrays import Array, DType, array_namespace, matmul
from revgn.linalg import Outcome, Rung, as_dtype
from revgn.maps import jvp_params, linearize, vjp_params
from revgn.networks import ChainParams, Network, Trajectory

Solver: TypeAlias = Any


class Jacobian(NamedTuple):
    """J = dz/dW of `network` at `params`, for the samples of `point`; n c rows, a column a weight.

    With `outputs` R, J is R^T dz/dW: m combinations of the c outputs, the same for all samples (c, m) or
    each sample's own (n, c, m).
    """

    network: Network
    params: ChainParams
    point: Trajectory
    outputs: Array | None = None


class SolveInfo(NamedTuple):
    """How J D = eps was solved.

    `rho` = |J D - eps| / |eps|, by one jvp, of the D that is returned or that a wrapper applies in its place.
    `residual` is that of the equation actually solved (damped, truncated). `rank`, `order`, `s_max`, `s_min`
    are of the factored matrix: the kernel's (singular values of J), or for the block step the worst over its
    couplings (of the features A). `block_weights` are those of the blocks; `damping` is the number added to
    the squared singular values. Times in seconds.

    Conjugate gradients factor no kernel, so that `rung` and `rank` are None and the singular values NaN; they
    have `iterations` and an `outcome`, which direct solvers do not: converged, stagnated, out-of-iterations.
    """

    rho: float
    residual: float
    rung: Rung | None
    rank: int | None
    order: int
    s_max: float
    s_min: float
    damping: float
    block_weights: tuple[float, ...]
    seconds_kernel: float
    seconds_solve: float
    iterations: int = 0
    outcome: Outcome | None = None


def jacobian(network: Network, params: ChainParams, x: Array) -> tuple[Array, Jacobian]:
    """Outputs z (n, c) at x (n, d), and J there."""
    z, point = linearize(network, params, x)
    return z, Jacobian(network, params, point)


def cast(J: Jacobian, dtype: DType) -> Jacobian:
    """The same J with all arrays of numbers in `dtype`."""
    xp = array_namespace(J.point.output.first)
    network = J.network
    body = replace(network.body, layers=tuple(_cast_layer(layer, dtype) for layer in network.body.layers))
    network = replace(network, body=body, readout=_cast_layer(network.readout, dtype))
    point = J.point

    def cast_tree(tree: Any) -> Any:
        def cast_leaf(leaf: Array) -> Array:
            return leaf if leaf.dtype == xp.bool else as_dtype(leaf, dtype)  # slopes may be booleans

        return trees.map_leaves(cast_leaf, tree)

    points = None if point.points is None else cast_tree(point.points)
    trajectory = Trajectory(cast_tree(point.input), cast_tree(point.output), points)
    outputs = None if J.outputs is None else as_dtype(J.outputs, dtype)
    return J._replace(network=network, params=cast_tree(J.params), point=trajectory, outputs=outputs)


def _cast_layer(layer: Any, dtype: DType) -> Any:
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    arrays = {name: as_dtype(value, dtype) for name, value in values.items() if hasattr(value, "dtype")}
    return replace(layer, **arrays)


def apply(J: Jacobian, D: ChainParams) -> Array:
    """J D (n, c), or (n, m) with combined outputs."""
    return combined(J.outputs, jvp_params(J.network, J.params, J.point, D))


def apply_adjoint(J: Jacobian, z_bar: Array) -> ChainParams:
    """J^T z_bar, for z_bar like J D."""
    return vjp_params(J.network, J.params, J.point, spread(J.outputs, z_bar))


def output_count(J: Jacobian) -> int:
    """How many rows J has for each sample: c, or m with combined outputs."""
    count: int = (J.network.readout.first if J.outputs is None else J.outputs).shape[-1]
    return count


def combined(R: Array | None, z: Array) -> Array:
    """R^T z for each sample's z: (n, m) of (n, c)."""
    if R is None:
        return z
    return matmul(z, R) if R.ndim == 2 else (z[:, None, :] @ R)[:, 0, :]


def spread(R: Array | None, v: Array) -> Array:
    """R v for each sample's v: (n, c) of (n, m)."""
    if R is None:
        return v
    return matmul(v, R.T) if R.ndim == 2 else (R @ v[:, :, None])[:, :, 0]


@generic
def with_damping(solver: Solver, damping: float) -> Solver:
    """The same solver with another damping, in its own unit."""


@generic
def damping_of(solver: Solver) -> float:
    """The solver's damping, in its own unit."""


@singledispatch
def equation(solver: Solver, J: Jacobian, eps: Array) -> tuple[Jacobian, Array]:
    """The rows of J D = eps that the solver solves: all of them, unless it is registered for less.

    Raises
    ------
    UsageError
        If the solver combines outputs and those of J are combined already.
    """
    return J, eps


@generic
def solve(solver: Solver, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    """D with J D = eps, by the generalized inverse that `solver` stands for; weights then go W <- W - lr D.

    Parameters
    ----------
    solver : MinimumNorm, BlockWise or ConjugateGradients
    J : Jacobian
        As `jacobian` returns it.
    eps : (n, c)
        What is wanted at the output, in J's dtype; `wanted_change` gives it for a loss.

    Returns
    -------
    D : as the network's parameters
    info : SolveInfo
        rho = |J D - eps| / |eps|, rank, rung and the like.

    Raises
    ------
    ShapeError
        If eps does not fit J.

    Notes
    -----
    Law: J G J = J where the solver's info reports rank n in every block with a weight (or, for the minimum
    norm, always), and neither truncation nor damping.
    """
