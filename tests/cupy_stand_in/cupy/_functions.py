"""Functions of arrays, with CuPy's signatures."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ._array import host, ndarray, new, ufunc, view
from ._counts import copied, launch, upload, wait

UFUNCS = """
    absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or
    bitwise_xor cbrt ceil conj cos cosh divide equal exp expm1 floor floor_divide fmax fmin greater
    greater_equal hypot invert isfinite isinf isnan left_shift less less_equal log log10 log1p log2
    logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply negative
    not_equal positive power reciprocal remainder right_shift rint sign signbit sin sinh sqrt square
    subtract tan tanh true_divide trunc
"""


# Creation.


def array(
    obj: Any,
    dtype: Any = None,
    copy: Any = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    if isinstance(obj, ndarray):
        made = np.array(obj._host, dtype=dtype, copy=True if copy is True else None, order=order, ndmin=ndmin)
        if np.may_share_memory(made, obj._host):
            return obj if made is obj._host else view(obj, made)
        launch("array")
        return new(made, order)
    if isinstance(obj, list | tuple) and builtins.any(isinstance(x, ndarray) for x in obj):
        return stack([x if isinstance(x, ndarray) else array(x) for x in obj])
    upload("array")
    return new(np.array(obj, dtype=dtype, order=order, ndmin=ndmin), order)


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype, copy, order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, None, "C")


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, None, "F")


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    launch("full")
    return new(np.full(shape, host(fill_value, "full"), dtype, order), order)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def empty_like(
    prototype: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return new(np.empty_like(host(prototype, "empty_like"), dtype, order, shape=shape), order)


def full_like(
    a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    launch("full_like")
    return new(
        np.full_like(host(a, "full_like"), host(fill_value, "full_like"), dtype, order, shape=shape), order
    )


def zeros_like(
    a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(
    a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return full_like(a, 1, dtype, order, subok, shape)


def eye(N: int, M: Any = None, k: int = 0, dtype: Any = float, order: str = "C") -> ndarray:
    launch("eye", 2)
    return new(np.eye(N, M, k, dtype))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    launch("arange")
    return new(np.arange(start, dtype=dtype) if stop is None else np.arange(start, stop, step, dtype))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> ndarray:
    launch("linspace")
    return new(np.linspace(start, stop, num, endpoint, dtype=dtype))


# Shapes: views where NumPy gives views.


def _view(name: str) -> Any:
    function = getattr(np, name)

    def changed(a: ndarray, *args: Any, **kwargs: Any) -> ndarray:
        return view(a, function(host(a, name), *args, **kwargs))

    changed.__name__ = name
    return changed


broadcast_to, diagonal, expand_dims, flip, moveaxis, squeeze, swapaxes, transpose = map(
    _view, ("broadcast_to", "diagonal", "expand_dims", "flip", "moveaxis", "squeeze", "swapaxes", "transpose")
)


def reshape(a: ndarray, newshape: Any, order: str = "C", *, copy: Any = None) -> ndarray:
    return a.reshape(newshape, order=order)


def ravel(a: ndarray, order: str = "C") -> ndarray:
    return a.ravel(order)


def broadcast_arrays(*args: ndarray) -> list[ndarray]:
    shape = np.broadcast_shapes(*(x.shape for x in args))
    return [broadcast_to(x, shape) for x in args]


def concatenate(
    tup: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> ndarray:
    parts = [x._host for x in _arrays(tup, "concatenate")]
    is_one = len(parts) > 8 and len({part.dtype for part in parts}) == 1  # else a copy of each
    launch("concatenate", 1 if is_one else len(parts))
    joined = np.concatenate(parts, axis=axis, dtype=dtype, casting=casting)
    if out is None:
        return new(joined)
    out._host[...] = joined
    return out


def stack(
    tup: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> ndarray:
    parts = [x._host for x in _arrays(tup, "stack")]
    launch("stack", len(parts))
    return new(np.stack(parts, axis=axis, dtype=dtype, casting=casting))


def _arrays(values: Any, name: str) -> list[ndarray]:
    for value in values:
        if not isinstance(value, ndarray):
            raise TypeError(f"Only cupy arrays can be concatenated; {name} got {type(value)}")
    return list(values)


def tril(m: ndarray, k: int = 0) -> ndarray:
    launch("tril", 2)
    return new(np.tril(host(m, "tril"), k))


def triu(m: ndarray, k: int = 0) -> ndarray:
    launch("triu", 2)
    return new(np.triu(host(m, "triu"), k))


def repeat(a: ndarray, repeats: Any, axis: Any = None) -> ndarray:
    launch("repeat")
    return new(np.repeat(host(a, "repeat"), repeats, axis))


def tile(A: ndarray, reps: Any) -> ndarray:
    launch("tile")
    return new(np.tile(host(A, "tile"), reps))


# Choice and order.


def where(condition: Any, x: Any = None, y: Any = None) -> ndarray:
    if x is None:
        raise NotImplementedError("where with one argument")
    launch("where")
    return new(np.where(host(condition, "where"), host(x, "where"), host(y, "where")))


def take(a: ndarray, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    if not isinstance(indices, ndarray | int):
        upload("take")
        indices = array(indices)
    launch("take")
    return new(np.take(host(a, "take"), host(indices, "take"), axis=axis))


def take_along_axis(a: ndarray, indices: ndarray, axis: Any) -> ndarray:
    launch("take_along_axis")
    return new(np.take_along_axis(host(a, "take"), host(indices, "take"), axis))


def clip(a: ndarray, a_min: Any, a_max: Any, out: Any = None) -> ndarray:
    launch("clip")
    return new(np.clip(host(a, "clip"), host(a_min, "clip"), host(a_max, "clip")))


def sort(a: ndarray, axis: int = -1, kind: Any = None) -> ndarray:
    launch("sort", 2)
    return new(np.sort(host(a, "sort"), axis))


def argsort(a: ndarray, axis: int = -1, kind: Any = None) -> ndarray:
    launch("argsort", 2)
    return new(np.argsort(host(a, "argsort"), axis, kind="stable"))


def nonzero(a: ndarray) -> tuple[ndarray, ...]:
    wait("nonzero")
    launch("nonzero", 2)
    return tuple(map(new, np.nonzero(host(a, "nonzero"))))


def unique(ar: ndarray, *args: Any, **kwargs: Any) -> Any:
    wait("unique")
    launch("unique", 3)
    found = np.unique(host(ar, "unique"), *args, **kwargs)
    return tuple(map(new, found)) if isinstance(found, tuple) else new(found)


# Reductions.


def _reduction(name: str, *own: str, launches: int = 1) -> Any:
    """Reduction (a, axis, `own`..., out, keepdims); `own` names its arguments in between."""
    function = getattr(np, name)

    def reduced(
        a: ndarray, axis: Any = None, *args: Any, out: Any = None, keepdims: bool = False, **kwargs: Any
    ) -> Any:
        named = kwargs | dict(zip(own, args, strict=False))
        if unknown := set(named) - set(own):
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown.pop()!r}")
        with np.errstate(all="ignore"):
            found = function(host(a, name), axis=axis, keepdims=keepdims, **named)
        launch(name, launches)
        if out is None:
            return new(found)
        out._host[...] = found
        return out

    reduced.__name__ = name
    return reduced


sum, prod, mean = (_reduction(name, "dtype") for name in ("sum", "prod", "mean"))
amax, amin, all, any = map(_reduction, ("amax", "amin", "all", "any"))
std, var = (_reduction(name, "dtype", "ddof", launches=2) for name in ("std", "var"))


def argmax(
    a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    launch("argmax")
    return new(np.argmax(host(a, "argmax"), axis, keepdims=keepdims))


def argmin(
    a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> ndarray:
    launch("argmin")
    return new(np.argmin(host(a, "argmin"), axis, keepdims=keepdims))


def count_nonzero(a: ndarray, axis: Any = None) -> ndarray:
    launch("count_nonzero")
    return new(np.count_nonzero(host(a, "count_nonzero"), axis))


def cumsum(a: ndarray, axis: Any = None, dtype: Any = None, out: Any = None) -> ndarray:
    launch("cumsum")
    return new(np.cumsum(host(a, "cumsum"), axis, dtype))


def trace(
    a: ndarray, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> ndarray:
    launch("trace")
    return new(np.trace(host(a, "trace"), offset, axis1, axis2, dtype))


def _method(function: Any) -> Any:
    return lambda self, *args, **kwargs: function(self, *args, **kwargs)


for _function in (sum, mean, any, all, std, var, argmax, argmin, prod):
    setattr(ndarray, _function.__name__, _method(_function))
ndarray.max, ndarray.min = _method(amax), _method(amin)  # type: ignore[attr-defined]


# Products.


def dot(a: ndarray, b: ndarray, out: Any = None) -> ndarray:
    """Product of matrices; further axes of the first one are combined into its rows."""
    if b.ndim == 2 and a.ndim > 2:
        rows = a.reshape(-1, a.shape[-1])
        whole = None if out is None else out.reshape(len(rows), b.shape[1])
        return matmul(rows, b, out=whole).reshape(*a.shape[:-1], b.shape[1])
    if max(a.ndim, b.ndim) > 2:
        raise NotImplementedError("dot of arrays with three axes")
    return matmul(a, b, out=out)


def matmul(a: ndarray, b: ndarray, /, *, out: Any = None, dtype: Any = None) -> ndarray:
    """Product by cuBLAS, which requires contiguous operands; for batches, they must be row-major."""
    if not (isinstance(a, ndarray) and isinstance(b, ndarray)):
        raise TypeError(f"Unsupported type {type(a)} or {type(b)} in matmul")
    with np.errstate(all="ignore"):
        product = np.matmul(a._host, b._host, dtype=dtype)
    for operand in (a, b):
        flags = operand._host.flags
        if not (flags.c_contiguous or (flags.f_contiguous and max(a.ndim, b.ndim) <= 2)):
            copied("matmul")
        if operand.dtype != product.dtype:
            launch("astype for matmul")
    if math.prod(product.shape) == 1 and max(a.ndim, b.ndim) <= 2:
        launch("inner product", 2)
    elif max(a.ndim, b.ndim) <= 2:
        launch("gemm")
    elif a.shape[:-2] == b.shape[:-2]:
        launch("batched gemm")
    else:
        launch("batched gemm by pointers", 4)
    if out is None:
        return new(product)
    if out.dtype != product.dtype or out.shape != product.shape:
        raise ValueError("matmul: out has another shape or dtype")
    if not out.flags.c_contiguous:
        raise ValueError("Output array must be C-contiguous")
    if out._block in (a._block, b._block):
        launch("copy to out")
    out._host[...] = product
    return out


def tensordot(a: ndarray, b: ndarray, axes: Any = 2) -> ndarray:
    launch("tensordot")
    return new(np.tensordot(host(a, "tensordot"), host(b, "tensordot"), axes))


def outer(a: ndarray, b: ndarray, out: Any = None) -> ndarray:
    launch("outer")
    return new(np.outer(host(a, "outer"), host(b, "outer")))


def einsum(*operands: Any) -> ndarray:
    launch("einsum")
    return new(np.einsum(operands[0], *(host(x, "einsum") for x in operands[1:])))


# dtypes.


def result_type(*arrays_and_dtypes: Any) -> Any:
    return np.result_type(*(x._host if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    return np.can_cast(from_.dtype if isinstance(from_, ndarray) else from_, to, casting)


for _name in UFUNCS.split():
    globals()[_name] = ufunc(_name)
