"""Pseudoinverses by the singular value decomposition."""

import numpy as np


def pinv(A, rtol=None, atol=0.0, damping=0.0, mu=None):
    """A^+; keeps s >= max(rtol s_1, atol), damped to s / (s^2 + mu), mu = damping s_1^2 unless given."""
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    cut = 1e-12 * s[0] if rtol is None and not atol else max((rtol or 0.0) * s[0], atol)
    keep = s >= cut
    mu = damping * s[0] ** 2 if mu is None else mu
    inverse = np.where(keep, s / np.where(keep, s**2 + mu, 1.0), 0.0)
    return Vt.T @ (inverse[:, None] * U.T)
