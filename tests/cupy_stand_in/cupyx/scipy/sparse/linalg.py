from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy


class LinearOperator:
    """Linear operator by its products with a vector."""

    def __init__(
        self,
        shape: tuple[int, int],
        matvec: Callable[[Any], Any],
        rmatvec: Callable[[Any], Any] | None = None,
        matmat: Any = None,
        dtype: Any = None,
        rmatmat: Any = None,
    ) -> None:
        self.shape, self.dtype, self._matvec, self._rmatvec = shape, dtype, matvec, rmatvec

    def matvec(self, x: Any) -> Any:
        """Product with (N,) or (N, 1)."""
        if not isinstance(x, cupy.ndarray):
            raise TypeError(f"matvec: {type(x)}")
        if x.shape not in ((self.shape[1],), (self.shape[1], 1)):
            raise ValueError("dimension mismatch")
        return self._matvec(x).reshape(self.shape[0], *x.shape[1:])

    def matmat(self, X: Any) -> Any:
        return cupy.stack([self.matvec(X[:, k]) for k in range(X.shape[1])], axis=1)

    def dot(self, x: Any) -> Any:
        if isinstance(x, LinearOperator):
            return LinearOperator(
                (self.shape[0], x.shape[1]),
                lambda v: self.matvec(x.matvec(v)),
                lambda u: x.H.matvec(self.H.matvec(u)),
                dtype=self.dtype,
            )
        return self.matvec(x) if x.ndim == 1 else self.matmat(x)

    __matmul__ = __mul__ = dot

    @property
    def H(self) -> LinearOperator:
        if self._rmatvec is None:
            raise NotImplementedError("rmatvec is not defined")
        return LinearOperator(self.shape[::-1], self._rmatvec, self._matvec, dtype=self.dtype)

    T = H
