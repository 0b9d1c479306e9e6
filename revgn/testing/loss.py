"""The laws of a loss.

gradient      d value / dz, compared with central differences
output_step   reduces the loss to first order: <gradient, eps> >= 0, and 0 only if the gradient is 0
purity        a second call gives the same bits; arguments do not change
"""

import numpy as np

from revgn.arrays import Array
from revgn.losses import Loss, gradient, output_step, value
from revgn.testing.compare import (
    assert_close,
    assert_same_kind,
    draw_like,
    inner,
    norm,
    note,
    snapshot,
    tolerance,
)


def check_loss(loss: Loss, z: Array, t: Array, *, seed: int = 0) -> None:
    """Check that `gradient` is the derivative of `value`, and that `output_step` reduces the loss.

    Parameters
    ----------
    z, t : (n, c)
        Outputs and targets.
    seed : int
        Seed of the random direction d.

    Raises
    ------
    AssertionError
        If a law does not hold.

    Notes
    -----
    Law: <gradient, d> = lim (value(z + e d) - value(z - e d)) / 2e for e -> 0; <gradient, eps> >= 0, where
    eps is the output step.
    """
    name, limit = type(loss).__name__, tolerance(z.dtype, "difference")
    before = snapshot((z, t))
    g, eps = gradient(loss, z, t), output_step(loss, z, t)
    assert_same_kind(f"{name}: gradient has the structure of the outputs", g, z)
    assert_same_kind(f"{name}: output_step has the structure of the outputs", eps, z)
    at_z = value(loss, z, t)
    if at_z.ndim != 0 or at_z.dtype != z.dtype:
        raise AssertionError(f"{name}: value has {at_z.ndim} axes of {at_z.dtype}, expected 0-d of {z.dtype}")

    d = draw_like(np.random.default_rng(seed), z)
    slope, size = inner(g, d), norm(g) * norm(d) + abs(float(at_z))
    errors = []
    for step in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        ahead, behind = float(value(loss, z + step * d, t)), float(value(loss, z - step * d, t))
        errors.append(abs((ahead - behind) / (2 * step) - slope) / (size or 1.0))
    note(min(errors), limit)
    if not min(errors) <= limit:
        raise AssertionError(
            f"{name}: gradient = derivative of value: relative error {min(errors):.2e}, tolerance {limit:.0e}"
        )

    downhill = inner(g, eps)
    if not (downhill > 0 or (norm(g) == 0 and norm(eps) == 0)):
        raise AssertionError(f"{name}: <gradient, output_step> is {downhill:.2e}, expected > 0")

    assert_close(f"{name}: gradient gives the same result twice", gradient(loss, z, t), g, 0.0)
    if snapshot((z, t)) != before:
        raise AssertionError(f"{name}: a map changed its arguments")
