"""The spectrum of a kernel in a few numbers, from all its eigenvalues or from products with it alone.

effective rank   exp(-sum p log p), p the eigenvalues over their sum (Roy and Vetterli 2007)
condition        largest over smallest eigenvalue

From products alone, by independent vectors v with entries +-1 (Hutchinson 1990): tr K is E v^T K v, |K|_F^2
is E |K v|^2, <K, L> is E (K v)^T (L v); each with its standard error.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from revgn.arrays import Array, backend_of, eigh, inner, to_host
from revgn.errors import UsageError

Product = Callable[[Array], Array]


class Spectrum(NamedTuple):
    """Eigenvalues of a kernel, the largest first, and what they say."""

    eigenvalues: np.ndarray
    trace: float
    effective_rank: float
    condition: float


class Estimate(NamedTuple):
    """A mean over independent probes, and its standard error."""

    value: float
    error: float


def spectrum(K: Array) -> Spectrum:
    """Return the spectrum of the symmetric positive semidefinite K (N, N), on the host in double precision.

    Eigenvalues below zero are rounding, and count as 0; the condition is infinite where the smallest is 0.
    """
    values = np.maximum(np.asarray(to_host(eigh(K)[0]), dtype=np.float64)[::-1], 0.0)
    trace = float(values.sum())
    shares = values[values > 0] / trace if trace else np.zeros(0)
    rank = math.exp(-float(np.sum(shares * np.log(shares)))) if shares.size else 0.0
    smallest = float(values[-1])
    return Spectrum(values, trace, rank, float(values[0]) / smallest if smallest else math.inf)


def estimate_trace(product: Product, like: Array, probes: int, rng: np.random.Generator) -> Estimate:
    """Return tr K from products K v, v like `like`."""
    return _mean([float(inner(v, product(v))) for v in _signs(like, probes, rng)])


def estimate_alignment(
    first: Product, second: Product, like: Array, probes: int, rng: np.random.Generator
) -> Estimate:
    """Return <K, L> / (|K| |L|) from products with both kernels.

    The error is the jackknife's: the estimate is a ratio of means.
    """
    rows = []
    for v in _signs(like, probes, rng):
        a, b = first(v), second(v)
        rows.append(tuple(float(inner(x, y)) for x, y in ((a, b), (a, a), (b, b))))
    sums = np.array(rows)
    without = [_ratio(sums.sum(axis=0) - row) for row in sums]
    spread = math.sqrt((probes - 1) * float(np.var(without))) if probes > 1 else math.nan
    return Estimate(_ratio(sums.sum(axis=0)), spread)


def _ratio(sums: np.ndarray) -> float:
    return float(sums[0] / math.sqrt(sums[1] * sums[2]))


def _signs(like: Array, probes: int, rng: np.random.Generator) -> list[Array]:
    if probes < 1:
        raise UsageError(f"probes: {probes} is not at least 1")
    backend = backend_of(like)
    return [
        backend.asarray(2.0 * rng.integers(0, 2, like.shape) - 1.0, dtype=like.dtype) for _ in range(probes)
    ]


def _mean(values: list[float]) -> Estimate:
    count = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(float(np.mean(values)), error)
