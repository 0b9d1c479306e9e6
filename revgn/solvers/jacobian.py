"""The network's Jacobian J in its parameters at a point, as a function, and what solves J D = eps."""

from dataclasses import fields, is_dataclass, replace
from functools import singledispatch
from typing import Any, NamedTuple, Protocol

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, Deferred, DType, array_namespace, matmul, read, together
from revgn.errors import ShapeError, UsageError
from revgn.linalg import Outcome, Rung, as_dtype, begin_norms
from revgn.maps import jvp_params, linearize, vjp_params
from revgn.networks import ChainParams, Network, Trajectory
from revgn.trees import is_empty

Key = tuple[int, int]


class Solver(Struct, Protocol):
    """A frozen dataclass for which `solve` is registered; for Levenberg-Marquardt with a field `damping`."""


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

    Where a solver constrains fewer rows than outputs, rho is that of the constrained rows and `rho_outputs`
    that of all outputs. `change` is dz/dW D (n, c), where the solver found it.
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
    rho_outputs: float | None = None
    change: Array | None = None


class Equation(NamedTuple):
    """R^T J D = R^T eps, the equation that a solver solves: `jacobian` D = `wanted`.

    `solver` solves it as it stands, with all rows of `jacobian`. `outputs` are J and eps of all outputs,
    where only some combinations of each sample's are constrained; None where all are.
    """

    solver: Any
    jacobian: Jacobian
    wanted: Array
    outputs: tuple[Jacobian, Array] | None = None


def jacobian(network: Network, params: ChainParams, x: Array) -> tuple[Array, Jacobian]:
    """Outputs z (n, c) at x (n, d), and J there.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> z.shape
    (3, 2)
    """
    z, point = linearize(network, params, x)
    return z, Jacobian(network, params, point)


def cast(node: Any, dtype: DType) -> Any:
    """J, or a struct, tuple or array within it, with all arrays of real numbers in `dtype`."""
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{of.name: cast(getattr(node, of.name), dtype) for of in fields(node)})
    if isinstance(node, tuple):
        children = [cast(child, dtype) for child in node]
        return type(node)(*children) if hasattr(node, "_fields") else tuple(children)
    if hasattr(node, "dtype") and array_namespace(node).isdtype(node.dtype, "real floating"):
        return as_dtype(node, dtype)
    return node


def apply(J: Jacobian, D: ChainParams) -> Array:
    """J D (n, c), or (n, m) with combined outputs.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> revgn.apply(J, params).shape
    (3, 2)
    """
    return combined(J.outputs, output_change(J, D))


def output_change(J: Jacobian, D: ChainParams) -> Array:
    """dz/dW D (n, c), whichever combinations of the outputs J has."""
    change: Array = jvp_params(J.network, J.params, J.point, D)
    return change


def apply_adjoint(J: Jacobian, z_bar: Array) -> ChainParams:
    """J^T z_bar, for z_bar like J D.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> D = revgn.apply_adjoint(J, z)
    >>> np.isclose(np.sum(revgn.apply(J, params) * z), revgn.trees.dot(params, D))
    np.True_
    """
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


def rho(JD: Array, eps: Array) -> float:
    """|J D - eps| / |eps|; |J D| where eps is 0."""
    return read(begin_rho(JD, eps))


def begin_rho(JD: Array, eps: Array) -> Deferred[float]:
    """`rho` without a wait for the device."""
    return begin_norms(JD - eps, eps).then(lambda sizes: float(sizes[0] / (sizes[1] or 1.0)))


def check_wanted(J: Jacobian, eps: Array) -> None:
    """Raise `ShapeError` unless eps is (n, c) for J's samples and outputs.

    `UsageError` for another dtype, or where no layer has parameters.
    """
    expected = (J.point.output.first.shape[0], output_count(J))
    if eps.shape != expected:
        raise ShapeError(f"solve: eps has shape {eps.shape}; expected {expected} for this Jacobian")
    if eps.dtype != J.point.output.first.dtype:
        raise UsageError(f"solve: eps is {eps.dtype} but the network {J.point.output.first.dtype}")
    if is_empty(J.params):
        raise UsageError("solve: no layer of the network has parameters")


def residuals(of: Equation, change: Array) -> tuple[float, float | None]:
    """rho of the constrained rows, and of all outputs where these are more, where dz/dW D is `change`."""
    equations = [(of.jacobian, of.wanted)] + ([] if of.outputs is None else [of.outputs])
    begun = [begin_rho(combined(J.outputs, change), eps) for J, eps in equations]
    own, *of_outputs = read(together(begun))
    return own, of_outputs[0] if of_outputs else None


@singledispatch
def equation(solver: Solver, J: Jacobian, eps: Array, key: Key = (0, 0)) -> Equation:
    """The rows of J D = eps that the solver solves: all of them, unless it is registered for less.

    Parameters
    ----------
    key : (int, int)
        Seed and step, for rows that are drawn.

    Raises
    ------
    UsageError
        If the solver centers outputs and those of J are combined already.
    """
    return Equation(solver, J, eps)


@generic
def solve(solver: Solver, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    """D with J D = eps, by the generalized inverse that `solver` stands for; weights then go W <- W - lr D.

    Parameters
    ----------
    solver : MinimumNorm, BlockWise or ConjugateGradients
    J : Jacobian
        As `jacobian` returns it.
    eps : (n, c)
        What is wanted at the output, in J's dtype; `output_step` gives it for a loss.

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

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> D, info = revgn.solve(revgn.MinimumNorm(), J, z)
    >>> np.allclose(revgn.apply(J, D), z), info.rho < 1e-9
    (True, True)
    """
