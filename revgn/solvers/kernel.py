"""The empirical tangent kernel Theta = J J^T in closed form.

With b_k[(o,s)] (d/2) the cotangent at the half that coupling k moves, when output o of sample s is
pulled back to it:

    Theta[(o,s),(p,t)] = sum_k (A_k A_k^T)[s,t] < b_k[(o,s)], b_k[(p,t)] >

At the last coupling b is a row of U^T, the same for all samples; it stays one row until a nonlinear
coupling makes it differ, so the last coupling costs nothing and the one before a single product for
each output. Source: Jacot et al. 2018 for the kernel; the closed form is the product rule.
"""

from revgn.arrays import Array, array_namespace, device_of
from revgn.maps import Halves, gram_params, vjp_input
from revgn.networks import points_backward
from revgn.solvers.jacobian import Jacobian


def tangent_kernel(J: Jacobian) -> Array:
    """Theta (c n, c n), symmetric; row o n + s belongs to output o of sample s.

    Notes
    -----
    Law: Theta v = J (J^T v). Cost: 2 c n d h operations for each coupling's pull-back, half that for the
    last and none for the first, and (c n)^2 d/2 for each Gram matrix, the last excepted.
    """
    xp = array_namespace(J.point.output.first)
    lower = lower_kernel(J)
    return xp.tril(lower) + xp.tril(lower, k=-1).T  # type: ignore[no-any-return]


def lower_kernel(J: Jacobian) -> Array:
    """Theta (c n, c n) with its lower triangle filled; what stands above it has no meaning."""
    readout, layers = J.network.readout, J.network.body.layers
    xp = array_namespace(readout.first)
    n, c = J.point.output.first.shape[0], readout.first.shape[1]
    Theta = xp.zeros((c, n, c, n), dtype=readout.first.dtype, device=device_of(readout.first))
    bars = [Halves(readout.first[:, o][None, :], readout.second[:, o][None, :]) for o in range(c)]
    points = points_backward(layers, J.params, J.point)
    for k, point in zip(reversed(range(len(layers))), points, strict=True):
        K = gram_params(layers[k], point)
        moving = [bar[layers[k].half] for bar in bars]  # each (1, d/2) or (n, d/2)
        for o in range(c):
            for p in range(o + 1):
                Theta[o, :, p, :] += K * (moving[o] @ moving[p].T)
        if k > 0:
            bars = [vjp_input(layers[k], J.params[k], point, bar) for bar in bars]
    return xp.reshape(Theta, (c * n, c * n))  # type: ignore[no-any-return]
