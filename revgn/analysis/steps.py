"""Properties of an optimizer's steps: length, similarity, noise.

A step D is a change of all parameters. J is the Jacobian of the outputs on some samples.
"""

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError
from revgn.networks import ChainParams
from revgn.solvers import BlockWise, Jacobian, MinimumNorm, apply, solve


def cosine(first: ChainParams, second: ChainParams) -> float:
    """Return <D, D'> / (|D| |D'|), or NaN if one of the steps is zero."""
    norms = float(trees.norm(first)) * float(trees.norm(second))
    return float(trees.dot(first, second)) / norms if norms else float("nan")


def step_excess(J: Jacobian, D: ChainParams) -> float:
    """Return |D| / |J^+ J D|, the norm of a step over the norm of the shortest step with the same J D.

    The ratio is at least 1. If J covers fewer samples than the step was computed for, the ratio is larger.
    """
    shortest = float(trees.norm(solve(MinimumNorm(), J, apply(J, D))[0]))
    return float(trees.norm(D)) / shortest if shortest else float("nan")


def solvers_cosine(J: Jacobian, eps: Array) -> float:
    """Return the cosine between the paper's block step for eps and the minimum-norm step J^+ eps.

    If the block step is exact, the cosine is the reciprocal of its `step_excess`.
    """
    return cosine(solve(BlockWise(block_weights="uniform"), J, eps)[0], solve(MinimumNorm(), J, eps)[0])


def gradient_noise(first: ChainParams, second: ChainParams, batch: int) -> float:
    """Return the gradient noise scale tr(Sigma) / |G|^2, estimated from the gradients g, g' of two batches.

    It is the batch size at which the noise of the gradient is as large as the gradient G (McCandlish et al.
    2018, appendix A.1). With `batch` samples in each batch, tr(Sigma) is estimated by batch |g - g'|^2 / 2,
    and |G|^2 by <g, g'>; both estimates are unbiased. A single ratio is noisy, and it is negative if <g, g'>
    is negative.
    """
    noise = batch * float(trees.norm(trees.axpy(-1.0, second, first))) ** 2 / 2
    signal = float(trees.dot(first, second))
    return noise / signal if signal else float("nan")


def kernel_change(K: Array, L: Array) -> float:
    """Return | K/|K| - L/|L| |, which is sqrt(2 (1 - `kernel_alignment`)); 0 if K and L are proportional.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    if K.shape != L.shape:
        raise ShapeError(f"kernel_change: got {K.shape} and {L.shape}; expected equal shapes")
    xp = array_namespace(K, L)
    unit_K, unit_L = (M / xp.sqrt(xp.sum(M * M)) for M in (K, L))
    return float(xp.sqrt(xp.sum((unit_K - unit_L) ** 2)))
