"""Properties of the spectrum of a kernel, from its eigenvalues or from products with the kernel.

effective rank     exp(-sum p log p), p the eigenvalues over their sum (Roy and Vetterli 2007)
condition number   largest over smallest eigenvalue

Estimates from products use independent random vectors v with entries +-1 (Hutchinson 1990): |K|_F^2 is
E |K v|^2, and <K, L> is E (K v)^T (L v). The jackknife gives the standard errors of ratios of such means.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from revgn.arrays import Array, backend_of, eigh, inner, to_host
from revgn.errors import UsageError

Product = Callable[[Array], Array]


class Spectrum(NamedTuple):
    """Eigenvalues of a kernel, largest first, with their sum, effective rank and condition number."""

    eigenvalues: np.ndarray
    trace: float
    effective_rank: float
    condition: float


class Estimate(NamedTuple):
    """An estimate from independent random vectors, and its standard error."""

    value: float
    error: float


def spectrum(K: Array) -> Spectrum:
    """Return the spectrum of a symmetric positive semidefinite K (N, N), on the host in double precision.

    Negative eigenvalues are rounding errors and count as 0. If the smallest is 0, the condition number is
    infinite.
    """
    values = np.maximum(np.asarray(to_host(eigh(K)[0]), dtype=np.float64)[::-1], 0.0)
    trace = float(values.sum())
    if not math.isfinite(trace):
        return Spectrum(values, trace, math.nan, math.nan)
    shares = values[values > 0] / trace if trace else np.zeros(0)
    rank = math.exp(-float(np.sum(shares * np.log(shares)))) if shares.size else 0.0
    smallest = float(values[-1])
    return Spectrum(values, trace, rank, float(values[0]) / smallest if smallest else math.inf)


def estimate_alignment(
    first: Product, second: Product, like: Array, probes: int, rng: np.random.Generator
) -> Estimate:
    """Estimate <K, L> / (|K| |L|) from products with both kernels; NaN if one of them is zero."""
    rows = []
    for v in _signs(like, probes, rng):
        a, b = first(v), second(v)
        rows.append(tuple(float(inner(x, y)) for x, y in ((a, b), (a, a), (b, b))))
    return _jackknife(rows, lambda means: _quotient(means[0], math.sqrt(means[1] * means[2])))


def estimate_alignment_along(product: Product, y: Array, probes: int, rng: np.random.Generator) -> Estimate:
    """Estimate y^T K y / (|K| |y|^2), the alignment of K with y y^T, from products with K.

    The estimate is NaN if y or K is zero.
    """
    along = _quotient(float(inner(y, product(y))), float(inner(y, y)))
    rows = [(float(inner(Kv, Kv)),) for Kv in map(product, _signs(y, probes, rng))]
    return _jackknife(rows, lambda means: _quotient(along, math.sqrt(means[0])))


def estimate_change(
    first: Product, second: Product, like: Array, probes: int, rng: np.random.Generator
) -> Estimate:
    """Estimate |K/|K| - L/|L|| from products with K (`first`) and L (`second`); see `kernel_change`.

    Notes
    -----
    With x = <L - K, K> / |K|^2, y = |L - K|^2 / |K|^2 and s^2 = |L|^2 / |K|^2 = 1 + 2 x + y, the square of
    the change is 2 (y - x^2) / (s (s + 1 + x)). This form has no cancellation if the change is small.
    """
    rows = []
    for v in _signs(like, probes, rng):
        a = first(v)
        d = second(v) - a
        rows.append(tuple(float(inner(p, q)) for p, q in ((d, a), (d, d), (a, a))))

    def change(means: np.ndarray) -> float:
        x, y = means[0] / means[2], means[1] / means[2]
        s = math.sqrt(1 + 2 * x + y)
        return math.sqrt(2 * max(y - x * x, 0.0) / (s * (s + 1 + x)))

    return _jackknife(rows, change)


def _jackknife(rows: Sequence[tuple[float, ...]], ratio: Callable[[np.ndarray], float]) -> Estimate:
    values, count = np.array(rows), len(rows)
    if count == 1:
        return Estimate(float(ratio(values[0])), math.nan)
    without = [ratio((values.sum(axis=0) - row) / (count - 1)) for row in values]
    return Estimate(float(ratio(values.mean(axis=0))), math.sqrt((count - 1) * float(np.var(without))))


def _quotient(a: float, b: float) -> float:
    return a / b if b else math.nan


def _signs(like: Array, probes: int, rng: np.random.Generator) -> list[Array]:
    if probes < 1:
        raise UsageError(f"probes: {probes}; expected a number >= 1")
    backend = backend_of(like)
    return [
        backend.asarray(2.0 * rng.integers(0, 2, like.shape) - 1.0, dtype=like.dtype) for _ in range(probes)
    ]
