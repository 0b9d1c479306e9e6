"""Choice of the damping by leave-one-out: the mu whose step best predicts the samples left out of a batch.

Let Theta have m rows for each sample s, let G = (Theta + mu I)^-1, and let G_ss be the diagonal block (m, m)
of G at s. If the step is computed without sample s, the residual of sample s is

    e_(-s) = eps_s - Theta_s,-s (Theta_-s,-s + mu I)^-1 eps_-s = G_ss^-1 (G eps)_s

This is exact for every mu > 0, also if Theta is singular. With Theta = Q diag(w) Q^T, one eigendecomposition
gives the residuals for all mu. p_s = eps_s - e_(-s) is the change of sample s by a step that has not seen it.
Learning rate and momentum choose the length of a step, so mu is judged with the length left free. The
smallest sum over s of |eps_s - a p_s|^2 over a >= 0 belongs to the mu with the largest correlation

    r = <eps, p> / (|eps| |p|)

With a fixed length, the residual of noisy batches would be smallest as mu tends to infinity, where the step
is zero. The correlations of single batches are noisy, too: optimizers average them over batches, and prefer a
mu near 0.1 where they differ little. Source: Allen 1974 (PRESS) for m = 1; the block form is the same
elimination of the rows of s.
"""

import math
from typing import Literal

from revgn.arrays import Array, array_namespace, backend_of, eigh, matmul, row_major, to_host
from revgn.linalg.truncation import machine_epsilon, resolution

Damping = float | Literal["leave-one-out"]
_USUAL, _PRIOR = 0.1, 0.02
CANDIDATES = tuple(10.0 ** (k / 4) for k in range(-16, 9))  # mu over the mean diagonal: 1e-4 to 100


def leave_one_out(w: Array, Q: Array, eps: Array, mu: Array) -> Array:
    """Return the residuals e_(-s) (k, n, m) of all samples, each left out once, for each damping.

    Parameters
    ----------
    w, Q : Array
        Eigenvalues (n m,) and eigenvectors (n m, n m) of Theta. Row o n + s belongs to row o of sample s.
    eps : Array (n, m)
        Output step.
    mu : Array (k,)
        Dampings, above 0.

    Notes
    -----
    Law: e_(-s) is the residual eps_s - J_s D of the damped minimum-norm step D for the other samples. Cost:
    2 (n m)^2 (m + 1) k operations.

    Examples
    --------
    >>> import numpy as np
    >>> leave_one_out(np.array([1.0, 3.0]), np.eye(2), np.array([[1.0], [2.0]]), np.array([0.5]))
    array([[[1.],
            [2.]]])
    """
    xp, (n, m) = array_namespace(w), eps.shape
    inverse = 1.0 / (xp.where(w > 0, w, xp.zeros_like(w)) + mu[:, None])  # (k, n m)
    solved = matmul(inverse * xp.reshape(Q.T @ xp.reshape(eps.T, (-1, 1)), (1, -1)), Q.T)
    if m == 1:
        return (solved / matmul(inverse, (Q * Q).T))[:, :, None]
    solved = xp.permute_dims(xp.reshape(solved, (-1, m, n)), (0, 2, 1))
    rows = row_major(xp.permute_dims(xp.reshape(Q, (m, n, n * m)), (1, 0, 2)))  # (n, m, n m)
    columns = row_major(xp.permute_dims(rows, (0, 2, 1)))
    blocks = xp.stack([(rows * inverse[k, :]) @ columns for k in range(mu.shape[0])])
    return xp.linalg.solve(blocks, solved[:, :, :, None])[:, :, :, 0]


def correlations(Theta: Array, eps: Array) -> Array:
    """Return the correlation r of eps and the predictions p for each mu of `CANDIDATES`.

    It is -1 for a mu below the rounding errors of Theta, and 0 where p or eps is 0.

    Parameters
    ----------
    Theta : Array (n m, n m)
        Tangent kernel. Row o n + s belongs to row o of sample s; only the lower triangle is read.
    eps : Array (n, m)
        Output step.

    Notes
    -----
    Cost: one eigendecomposition, and 2 (n m)^2 (m + 1) operations for each candidate.
    """
    xp, order = array_namespace(Theta), Theta.shape[0]
    mean = xp.mean(xp.linalg.diagonal(Theta))
    mean = xp.where(mean > 0, mean, xp.ones_like(mean))
    w, Q = eigh(Theta)
    mu = mean * backend_of(Theta).asarray(CANDIDATES, dtype=Theta.dtype)
    p = eps - leave_one_out(w, Q, eps, mu)
    size = xp.sqrt(xp.sum(p * p, axis=(1, 2))) * xp.sqrt(xp.sum(eps * eps))
    r = xp.sum(p * eps, axis=(1, 2)) / xp.where(size > 0, size, xp.ones_like(size))
    is_lost = mu < resolution(order, machine_epsilon(w.dtype, w)) * w[-1]
    return xp.where(is_lost, -xp.ones_like(r), r)


def best_damping(correlations: Array) -> float:
    """Return the mu of `CANDIDATES` with the largest r - 0.02 |log10(mu / 0.1)|.

    The second term decides where the correlations differ little. Over data sets and widths, r is largest near
    mu = 0.1, and differences of 0.02 are noise. A correlation that is not finite counts as -1.
    """
    xp = array_namespace(correlations)
    found = to_host(xp.where(xp.isfinite(correlations), correlations, -xp.ones_like(correlations))).tolist()
    near = (r - _PRIOR * abs(math.log10(mu / _USUAL)) for r, mu in zip(found, CANDIDATES, strict=True))
    best: float = max(zip(near, CANDIDATES, strict=True))[1]
    return best
