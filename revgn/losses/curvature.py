"""Curvature H of a loss in the outputs: a square root of H, and the output step for this curvature.

H (c, c) is the second derivative of the loss in the outputs of one sample, scaled as `output_step` is. Let g
be the output step for the identity as curvature, and let R R^T = H and R w = g. The Gauss-Newton step with
curvature minimizes |R^T J D - w|^2 + mu |D|^2 over D. It is therefore the step of the Jacobian R^T J for the
output step w.

Cross-entropy, with p = softmax(z), a target t, and tau = sum(t), has H = tau (diag(p) - p p^T). Let
u = sqrt(p), a unit vector, and let N (c, c-1) have orthonormal columns that are orthogonal to u. Then

    R = sqrt(tau) diag(u) N        w = N^T (tau u - t/u) / sqrt(tau)

since R R^T = tau diag(u) (I - u u^T) diag(u). By the Sherman-Morrison formula, and since the entries of g sum
to 0,

    (H + nu I)^-1 g = e - (p/q) sum(e) / sum(p/q),  q = tau p + nu,  e = g/q

Squared error has H = I, R = I and w = g.
"""

from revgn._dispatch import generic
from revgn.arrays import Array, array_namespace
from revgn.losses.cross_entropy import CrossEntropy, log_softmax, output_step_cross_entropy
from revgn.losses.loss import Loss, check_outputs
from revgn.losses.squared_error import SquaredError, output_step_squared_error

_LEAST_LOG = -80.0  # least log p: u = sqrt(p) and 1/u stay within the range of single precision


@generic
def curvature_root(loss: Loss, z: Array, t: Array) -> tuple[Array | None, Array]:  # type: ignore[empty-body]
    """Return R (n, c, m) and w (n, m), with R R^T = H and R w = g for each sample; R is None for H = I.

    Raises
    ------
    ShapeError
        If z and t differ in shape.

    Notes
    -----
    Law: R w = output_step(loss, z, t). R R^T is the second derivative of `value` in the outputs of a sample,
    times the factor between `gradient` and `output_step`.
    """


@generic
def damped_output_step(loss: Loss, z: Array, t: Array, nu: float) -> Array:  # type: ignore[empty-body]
    """Return the output step eps = (H + nu I)^-1 g (n, c), for nu > 0.

    Notes
    -----
    Law: (H + nu I) eps = output_step(loss, z, t).

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.losses import SquaredError
    >>> z, t = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    >>> damped_output_step(SquaredError(), z, t, 1.0)
    array([[1., 0.]])
    """


@curvature_root.register(SquaredError)
def curvature_root_squared_error(loss: SquaredError, z: Array, t: Array) -> tuple[Array | None, Array]:
    return None, output_step_squared_error(loss, z, t)


@damped_output_step.register(SquaredError)
def damped_output_step_squared_error(loss: SquaredError, z: Array, t: Array, nu: float) -> Array:
    return output_step_squared_error(loss, z, t) / (1.0 + nu)


@curvature_root.register(CrossEntropy)
def curvature_root_cross_entropy(loss: CrossEntropy, z: Array, t: Array) -> tuple[Array | None, Array]:
    check_outputs("curvature_root", loss, z, t)
    xp = array_namespace(z, t)
    log_u = 0.5 * log_softmax(z)
    u = xp.exp(xp.where(2.0 * log_u < _LEAST_LOG, xp.full_like(z, 0.5 * _LEAST_LOG), log_u))
    root_tau = xp.sqrt(xp.sum(t, axis=1, keepdims=True))
    # A Householder reflection takes u to the first axis. Its other columns are N: -u_j in the first row,
    # 1 - u_j^2 / (1 + u_0) = (u_0 + sum_(i != j) p_i) / (1 + u_0) on the diagonal, else -u_i u_j / (1 + u_0).
    lead, rest = u[:, :1], u[:, 1:]
    eye = xp.eye(z.shape[1] - 1, dtype=z.dtype, device=z.device)
    others = lead * lead + (rest * rest) @ (1.0 - eye)
    below = (eye * (lead + others)[:, None, :] - (1.0 - eye) * rest[:, :, None] * rest[:, None, :]) / (
        1.0 + lead[:, :, None]
    )
    N = xp.concat((-rest[:, None, :], below), axis=1)  # (n, c, c-1)
    misfit = root_tau * u - t / (xp.where(root_tau > 0, root_tau, xp.ones_like(root_tau)) * u)
    w = xp.sum(N * misfit[:, :, None], axis=1)
    return (root_tau * u)[:, :, None] * N, w


@damped_output_step.register(CrossEntropy)
def damped_output_step_cross_entropy(loss: CrossEntropy, z: Array, t: Array, nu: float) -> Array:
    xp = array_namespace(z, t)
    g = output_step_cross_entropy(loss, z, t)
    p, tau = xp.exp(log_softmax(z)), xp.sum(t, axis=1, keepdims=True)
    q = tau * p + nu
    e, of_constant = g / q, p / q
    total, size = (xp.sum(x, axis=1, keepdims=True) for x in (e, of_constant))
    eps: Array = e - of_constant * (total / size)
    return eps
