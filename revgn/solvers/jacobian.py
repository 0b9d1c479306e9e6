"""Jacobian J of a network in its parameters, and the interface of the solvers of J D = eps."""

from dataclasses import fields, is_dataclass, replace
from functools import singledispatch
from typing import Any, NamedTuple, Protocol

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, Deferred, DType, array_namespace, matmul, read, together
from revgn.cost import Sizes
from revgn.errors import ShapeError, UsageError
from revgn.linalg import Outcome, Rung, as_dtype, begin_norms
from revgn.maps import KernelPart, jvp_params, linearize, vjp_params
from revgn.networks import ChainParams, Network, Trajectory
from revgn.trees import is_empty

Key = tuple[int, int]


class Solver(Struct, Protocol):
    """Protocol of a solver: a frozen dataclass for which `solve` is registered.

    Levenberg-Marquardt also requires a field `damping`.
    """


class Jacobian(NamedTuple):
    """Jacobian J = dz/dW of `network` at `params`, for the n samples of `point`.

    J has n c rows and one column for each weight. With `outputs` R, J is R^T dz/dW instead: m combinations of
    the c outputs of each sample. R is (c, m) if all samples share the same combinations, else (n, c, m).
    `pulled` holds the parts of J J^T if its rows have already been pulled back, from the last layer to the
    first; see `revgn.solvers.kernel`.
    """

    network: Network
    params: ChainParams
    point: Trajectory
    outputs: Array | None = None
    pulled: tuple[KernelPart, ...] | None = None


class SolveInfo(NamedTuple):
    """Information on a solution D of J D = eps.

    Attributes
    ----------
    rho : float
        Relative residual |J D - eps| / |eps| of the constrained rows, for the D that is returned, or for the
        D that a wrapper applies in its place. NaN if it is not known.
    residual : float
        Relative residual of the equation that was solved. This equation may be damped or truncated.
    rung : Rung or None
        Factorization that succeeded: "cholesky", "cholesky-float64" or "eigh". None for conjugate gradients.
    rank, order : int
        Rank and order of the factored matrix. The rank is None for conjugate gradients.
    s_max, s_min : float
        sqrt(s^2 + damping) for the largest and smallest kept singular value s of J, or of the features A for
        the block step. NaN for conjugate gradients.
    damping : float
        Number mu that was added to the squared singular values.
    block_weights : tuple of float
        Weights of the blocks for the block step, otherwise empty.
    seconds_kernel, seconds_solve : float
        Wall-clock times of the factorization and of the solution, in seconds.
    iterations : int
        Iterations of conjugate gradients, 0 for direct solvers.
    outcome : Outcome or None
        "converged", "stagnated" or "out-of-iterations" for conjugate gradients, None for direct solvers.
    rho_outputs : float or None
        Relative residual of all outputs, if fewer rows than outputs are constrained.
    change : Array or None
        Change dz/dW D (n, c) of the outputs, if the solver computed it.
    left : Array or None
        eps - J D in the constrained rows, a column (n m, 1), if it follows from the solved equation.
    is_measured : bool
        Whether rho was measured with a jvp of D. Otherwise it follows from the equation that was solved.
    is_due : bool
        Whether rho of the applied step is to be measured, if it has not been yet.

    Notes
    -----
    The block step factors one matrix for each coupling. Its info states the lowest rank, the largest order,
    and the extreme singular values over all couplings.
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
    left: Array | None = None
    is_measured: bool = True
    is_due: bool = True


class Equation(NamedTuple):
    """Equation R^T J D = R^T eps that a solver solves for D.

    Attributes
    ----------
    solver : Solver
        Solver of this equation, which constrains all its rows.
    jacobian : Jacobian
        R^T J.
    eps : Array
        Output step R^T eps of the constrained rows.
    outputs : (Jacobian, Array) or None
        J and eps of all outputs, if only some combinations of each sample's outputs are constrained.
    """

    solver: Any
    jacobian: Jacobian
    eps: Array
    outputs: tuple[Jacobian, Array] | None = None


def jacobian(network: Network, params: ChainParams, x: Array) -> tuple[Array, Jacobian]:
    """Return the outputs z (n, c) at x (n, d), and the Jacobian J at x.

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
    """Return J, or a struct, tuple or array in it, with all real floating-point arrays cast to `dtype`."""
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{of.name: cast(getattr(node, of.name), dtype) for of in fields(node)})
    if isinstance(node, tuple):
        children = [cast(child, dtype) for child in node]
        return type(node)(*children) if hasattr(node, "_fields") else tuple(children)
    if hasattr(node, "dtype") and array_namespace(node).isdtype(node.dtype, "real floating"):
        return as_dtype(node, dtype)
    return node


def apply(J: Jacobian, D: ChainParams) -> Array:
    """Return J D (n, c), or (n, m) with combined outputs.

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
    """Return dz/dW D (n, c), the change of all outputs, even if J has combined outputs."""
    change: Array = jvp_params(J.network, J.params, J.point, D)
    return change


def apply_adjoint(J: Jacobian, z_bar: Array) -> ChainParams:
    """Return J^T z_bar, for a cotangent z_bar with the shape of J D.

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
    return vjp_params(J.network, J.params, J.point, expanded(J.outputs, z_bar))


def output_count(J: Jacobian) -> int:
    """Return the number of rows of J for each sample: c, or m with combined outputs."""
    count: int = (J.network.readout.first if J.outputs is None else J.outputs).shape[-1]
    return count


def combined(R: Array | None, z: Array) -> Array:
    """Return R^T z (n, m) for z (n, c), sample by sample; z itself if R is None."""
    if R is None:
        return z
    return matmul(z, R) if R.ndim == 2 else (z[:, None, :] @ R)[:, 0, :]


def expanded(R: Array | None, v: Array) -> Array:
    """Return R v (n, c) for v (n, m), sample by sample; v itself if R is None."""
    if R is None:
        return v
    return matmul(v, R.T) if R.ndim == 2 else (R @ v[:, :, None])[:, :, 0]


def rho(JD: Array, eps: Array) -> float:
    """Return the relative residual |J D - eps| / |eps|, or |J D| if eps is 0."""
    return read(begin_rho(JD, eps))


def begin_rho(JD: Array, eps: Array) -> Deferred[float]:
    """Return `rho` as a deferred number, without waiting for the device."""
    return begin_norms(JD - eps, eps).then(lambda sizes: float(sizes[0] / (sizes[1] or 1.0)))


def check_output_step(J: Jacobian, eps: Array) -> None:
    """Raise an error unless eps is an output step for J.

    Raises
    ------
    ShapeError
        If eps does not have one row for each sample and one column for each output of J.
    UsageError
        If eps has another dtype than the network, or if no layer has parameters.
    """
    expected = (J.point.output.first.shape[0], output_count(J))
    if eps.shape != expected:
        raise ShapeError(f"solve: eps has shape {eps.shape}; expected {expected} for this Jacobian")
    if eps.dtype != J.point.output.first.dtype:
        raise UsageError(
            f"solve: eps has dtype {eps.dtype}, but the network has {J.point.output.first.dtype}; convert eps"
        )
    if is_empty(J.params):
        raise UsageError("solve: no layer of the network has parameters")


def residuals(of: Equation, change: Array) -> tuple[float, float | None]:
    """Return rho of the constrained rows, and rho of all outputs or None if all are constrained.

    `change` is dz/dW D, the change of all outputs.
    """
    return read(begin_residuals(of, change))


def begin_residuals(of: Equation, change: Array) -> Deferred[tuple[float, float | None]]:
    """Start `residuals` without waiting for the device."""
    equations = [(of.jacobian, of.eps)] + ([] if of.outputs is None else [of.outputs])
    begun = [begin_rho(combined(J.outputs, change), eps) for J, eps in equations]
    return together(begun).then(lambda found: (found[0], found[1] if len(found) > 1 else None))


@singledispatch
def equation(solver: Solver, J: Jacobian, eps: Array, key: Key = (0, 0)) -> Equation:
    """Return the equation that the solver solves: all rows of J D = eps, unless the solver registers fewer.

    Parameters
    ----------
    key : (int, int)
        Seed and number of the step, for rows that are drawn at random.

    Raises
    ------
    UsageError
        If the solver centers the outputs, but J already has combined outputs.
    """
    return Equation(solver, J, eps)


@singledispatch
def prepared(solver: Solver, J: Jacobian) -> Jacobian:
    """Return J with data that is computed once for several maps of a step; J itself by default.

    `solver` is the solver of an `Equation`, and J its Jacobian.
    """
    return J


@singledispatch
def solve_rows(solver: Solver, J: Jacobian, eps: Array, inspect: bool) -> tuple[ChainParams, SolveInfo]:
    """Solve J D = eps like `solve`, but do not measure rho where it follows from the solved equation.

    By default, this is `solve`.

    Parameters
    ----------
    solver : Solver
        Solver of an `Equation`; it constrains all rows of J.
    inspect : bool
        Also estimate the singular values of J, even if the solution does not depend on them.

    Notes
    -----
    Law: D does not depend on `inspect`.
    """
    return solve(solver, J, eps)


@singledispatch
def work_of_rows(solver: Solver, sizes: Sizes) -> float:
    """Return the operations of J D or of J^T v, after `prepared`."""
    return sizes.jvp


@generic
def solve(solver: Solver, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    """Solve J D = eps for the step D, by the generalized inverse G of `solver`: D = G eps.

    A step with learning rate lr changes the weights from W to W - lr D.

    Parameters
    ----------
    solver : MinimumNorm, BlockWise or ConjugateGradients
        Solver, which selects the generalized inverse.
    J : Jacobian
        Jacobian, as `jacobian` returns it.
    eps : Array (n, c)
        Output step, the requested change of the outputs, in the dtype of J. `output_step` computes it for a
        loss.

    Returns
    -------
    D : ChainParams
        Step, with the structure of the network's parameters.
    info : SolveInfo
        Relative residual rho, rank, singular values, and times.

    Raises
    ------
    ShapeError
        If the shape of eps is not (n, c), for the samples and outputs of J.

    Notes
    -----
    Law: J G J = J without truncation and damping. For the block step this also requires that the info reports
    rank n.

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
