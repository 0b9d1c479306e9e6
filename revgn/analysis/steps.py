"""What kind of steps an optimizer takes: how long, how alike, how noisy.

A step D is a change of all parameters; J is the Jacobian of the outputs on some samples.
"""

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError
from revgn.networks import ChainParams
from revgn.solvers import BlockWise, Jacobian, MinimumNorm, apply, solve


def cosine(first: ChainParams, second: ChainParams) -> float:
    """Return <D, D'> / (|D| |D'|); NaN where one of them is zero."""
    norms = float(trees.norm(first)) * float(trees.norm(second))
    return float(trees.dot(first, second)) / norms if norms else float("nan")


def step_excess(J: Jacobian, D: ChainParams) -> float:
    """Return |D| / |J^+ J D|: how much longer a step is than the shortest that does the same to the outputs.

    At least 1. On fewer samples than the step was made for more of it counts as excess.
    """
    shortest = float(trees.norm(solve(MinimumNorm(), J, apply(J, D))[0]))
    return float(trees.norm(D)) / shortest if shortest else float("nan")


def solvers_cosine(J: Jacobian, eps: Array) -> float:
    """Return the cosine between the paper's block step for eps and the minimum-norm step J^+ eps.

    Of a block step that is exact it is the inverse of its `step_excess`.
    """
    return cosine(solve(BlockWise(block_weights="uniform"), J, eps)[0], solve(MinimumNorm(), J, eps)[0])


def gradient_noise(first: ChainParams, second: ChainParams, batch: int) -> float:
    """Return the noise scale tr(Sigma) / |G|^2 from the gradients of two batches of so many samples.

    It is the batch at which the gradient's noise is as large as the gradient (McCandlish et al. 2018,
    appendix A.1); of two batches tr(Sigma) is batch |g - g'|^2 / 2 and |G|^2 is <g, g'>, both unbiased. A
    single estimate is noisy, and negative where the two gradients point apart.
    """
    noise = batch * float(trees.norm(trees.axpy(-1.0, second, first))) ** 2 / 2
    signal = float(trees.dot(first, second))
    return noise / signal if signal else float("nan")


def kernel_change(K: Array, L: Array) -> float:
    """Return | K/|K| - L/|L| |: 0 where they are proportional, sqrt(2 (1 - `kernel_alignment`)) in general.

    Raises
    ------
    ShapeError
        If they are not of one shape.
    """
    if K.shape != L.shape:
        raise ShapeError(f"kernel_change: got {K.shape} and {L.shape}; expected one shape")
    xp = array_namespace(K, L)
    unit_K, unit_L = (M / xp.sqrt(xp.sum(M * M)) for M in (K, L))
    return float(xp.sqrt(xp.sum((unit_K - unit_L) ** 2)))
