"""Decompositions by cuSOLVER, which reports a failure only on request, with a wait of the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from ._array import host, ndarray, new
from ._counts import launch, wait
from ._errstate import raises


def _operand(a: Any, name: str) -> Any:
    if not isinstance(a, ndarray):
        raise LinAlgError(f"{name}: cupy.linalg only supports cupy.ndarray")
    return a._host


def _check(name: str) -> None:
    if raises():
        wait(f"state of {name}")


def cholesky(a: ndarray) -> ndarray:
    """Factor from the lower triangle; if there is none, numbers that resemble a factor, or an error."""
    memory = _operand(a, "cholesky")
    launch("cholesky", 3)  # copy, factorization, triangle
    _check("cholesky")
    lower = np.tril(memory)
    try:
        return new(np.linalg.cholesky(lower))
    except LinAlgError:
        if raises():
            raise
        return new(lower)


def eigh(a: ndarray, UPLO: str = "L") -> tuple[ndarray, ndarray]:
    """Eigenvalues, and eigenvectors stored column by column."""
    memory = _operand(a, "eigh")
    launch("eigh", 2)
    _check("eigh")
    try:
        w, Q = np.linalg.eigh(memory, UPLO)
    except LinAlgError:
        if raises():
            raise
        w, Q = np.diagonal(memory).copy(), memory.copy()
    return new(w), new(np.asfortranarray(Q), "F")


def qr(a: ndarray, mode: str = "reduced") -> tuple[ndarray, ndarray]:
    """Q and R stored column by column, with signs other than LAPACK's."""
    launch("qr", 4)
    _check("qr")
    Q, R = np.linalg.qr(_operand(a, "qr"), mode)
    return new(np.asfortranarray(-Q), "F"), new(np.asfortranarray(-R), "F")


def svd(a: ndarray, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    launch("svd", 2)
    _check("svd")
    found = np.linalg.svd(_operand(a, "svd"), full_matrices, compute_uv)
    return tuple(map(new, found)) if compute_uv else new(found)


def norm(x: ndarray, ord: Any = None, axis: Any = None, keepdims: bool = False) -> ndarray:
    launch("norm")
    with np.errstate(all="ignore"):
        return new(np.linalg.norm(host(x, "norm"), ord, axis, keepdims))


def solve(a: ndarray, b: ndarray) -> ndarray:
    launch("solve", 4)
    _check("solve")
    return new(np.linalg.solve(_operand(a, "solve"), _operand(b, "solve")))


def pinv(a: ndarray, rcond: Any = 1e-15) -> ndarray:
    launch("pinv", 6)
    return new(np.linalg.pinv(_operand(a, "pinv"), rcond))


def slogdet(a: ndarray) -> tuple[ndarray, ...]:
    launch("slogdet", 4)
    return tuple(map(new, np.linalg.slogdet(_operand(a, "slogdet"))))


def lstsq(a: ndarray, b: ndarray, rcond: Any = "warn") -> Any:
    raise NotImplementedError("lstsq")


def matrix_rank(M: ndarray, tol: Any = None) -> Any:
    raise NotImplementedError("matrix_rank")
