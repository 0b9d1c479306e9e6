"""`cupy.ndarray`, which is converted to a NumPy array only on request, and its element-wise functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._counts import copied, launch, upload, wait
from ._memory import Block

_NUMBERS = (bool, int, float, complex, np.generic)


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("__weakref__", "_block", "_host")

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> None:
        if memptr is not None or strides is not None:
            raise NotImplementedError("ndarray: memptr, strides")
        self._host = np.empty(shape, dtype, order)
        self._block = Block(self._host.nbytes)
        if self._host.dtype.kind == "f":
            self._host.fill(np.nan)  # so that reading numbers that were not set is noticed

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        changed = self._host.reshape(shape)
        if self._host.size and not np.may_share_memory(changed, self._host):
            raise AttributeError("incompatible shape for a change in place")
        self._host = changed

    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: view(self, self._host.T))
    mT = property(lambda self: view(self, self._host.mT))
    real = property(lambda self: view(self, self._host.real))

    @property
    def device(self) -> Any:
        from cupy.cuda import Device

        return Device(0)

    # To the host: only on request.

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy "
            "array explicitly."
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return NotImplemented  # CuPy supports most of them; here a NumPy function of a GPU array is a mistake

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        import cupy

        mine = getattr(cupy, function.__name__, None)
        if method != "__call__" or mine is None or kwargs:
            return NotImplemented
        return mine(*inputs)  # for a NumPy scalar to the left of an operator

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        wait("get") if blocking else launch("get")
        if out is None:
            return np.array(self._host, order=order)
        out[...] = self._host
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError("dtype or shape mismatch")
        upload("set")
        self._host[...] = arr

    def __float__(self) -> float:
        wait("float")
        return float(self._host)

    def __int__(self) -> int:
        wait("int")
        return int(self._host)

    def __index__(self) -> int:
        wait("index")
        return self._host.__index__()

    def __bool__(self) -> bool:
        wait("bool")
        return bool(self._host)

    def __repr__(self) -> str:
        wait("repr")
        return repr(self._host)

    def __format__(self, spec: str) -> str:
        wait("format")
        return format(self._host[()], spec)

    def item(self, *args: Any) -> Any:
        wait("item")
        return self._host.item(*args)

    def tolist(self) -> Any:
        wait("tolist")
        return self._host.tolist()

    # Views and copies.

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> ndarray:
        index, is_fancy = _index(key)
        if is_fancy:
            launch("take by index")
            return new(self._host[index])
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis not in index:
            index = (*index, Ellipsis)  # so a single number stays an array
        return view(self, self._host[index])

    def __setitem__(self, key: Any, value: Any) -> None:
        index, _ = _index(key)
        if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
            raise ValueError(
                f"{type(value)} cannot be assigned to a cupy.ndarray; copy it to the device first"
            )
        launch("setitem")
        with np.errstate(all="ignore"):
            self._host[index] = host(value, "setitem")

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> ndarray:
        if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
            (shape,) = shape
        changed = self._host.reshape(shape, order=order)
        if self._host.size and not np.may_share_memory(changed, self._host):
            copied("reshape")
            return new(changed)
        return view(self, changed)

    def ravel(self, order: str = "C") -> ndarray:
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> ndarray:
        return view(self, self._host.transpose(*axes))

    def view(self, dtype: Any = None) -> ndarray:
        return view(self, self._host.view() if dtype is None else self._host.view(dtype))

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: Any = True
    ) -> ndarray:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        launch("astype")
        with np.errstate(all="ignore"):
            return new(np.array(self._host, dtype=dtype, order=order), order)

    def copy(self, order: str = "C") -> ndarray:
        launch("copy")
        return new(np.array(self._host, order=order), order)

    def fill(self, value: Any) -> None:
        launch("fill")
        self._host.fill(host(value, "fill"))

    def __matmul__(self, other: Any) -> Any:
        from ._functions import matmul

        return matmul(self, other) if isinstance(other, ndarray) else NotImplemented


def view(of: ndarray, memory: Any) -> ndarray:
    """Array on (a part of) the memory of another."""
    made = object.__new__(ndarray)
    made._host, made._block = memory, of._block
    return made


def new(result: Any, order: str = "C") -> ndarray:
    """Array of its own, stored row by row unless `order` says otherwise."""
    made = object.__new__(ndarray)
    memory = np.asarray(result)
    made._host = np.ascontiguousarray(memory) if order == "C" and memory.ndim else memory
    made._block = Block(made._host.nbytes)
    return made


def host(x: Any, name: str) -> Any:
    """Operand for NumPy: the memory of an array, or a number; NumPy arrays are rejected."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, _NUMBERS) or x is None or (isinstance(x, np.ndarray) and not x.ndim):
        return x
    raise TypeError(f"Unsupported type {type(x)} in {name}")


def _index(key: Any) -> tuple[Any, bool]:
    """Return the index for NumPy, and whether it contains arrays, so that the result is a copy."""
    parts = key if isinstance(key, tuple) else (key,)
    is_fancy = False
    found = []
    for part in parts:
        if isinstance(part, ndarray):
            if part.dtype == bool:
                wait("mask")  # for the number of elements
            found.append(part._host)
            is_fancy = True
        elif isinstance(part, list | np.ndarray):
            upload("index")
            found.append(np.asarray(part))
            is_fancy = True
        else:
            found.append(part)
    return tuple(found) if isinstance(key, tuple) else found[0], is_fancy


class ufunc:
    """Function of elements; one launch, and a result stored row by row."""

    def __init__(self, name: str) -> None:
        self.__name__, self._function = name, getattr(np, name)

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        if isinstance(out, tuple):
            (out,) = out
        operands = [host(x, self.__name__) for x in args]
        with np.errstate(all="ignore"):
            result = self._function(*operands, **({} if dtype is None else {"dtype": dtype}))
        if result.size or not result.ndim:
            launch(self.__name__)
        return new(result) if out is None else _into(out, result, casting)


def _into(out: Any, result: Any, casting: str) -> ndarray:
    if not isinstance(out, ndarray):
        raise TypeError("Output arguments type must be cupy.ndarray")
    if out.shape != result.shape:
        raise ValueError("Out shape is mismatched")
    if not np.can_cast(result.dtype, out.dtype, casting):
        raise TypeError(f"output cannot be cast from {result.dtype} to {out.dtype} by {casting}")
    out._host[...] = result
    return out


def _operator(function: ufunc, kind: str) -> Any:
    def unary(self: ndarray) -> Any:
        return function(self)

    def operator(self: ndarray, other: Any) -> Any:
        if isinstance(other, np.ndarray) and other.ndim:
            raise TypeError(f"Unsupported type {type(other)}")
        if not isinstance(other, (ndarray, np.ndarray, *_NUMBERS)):
            return NotImplemented
        if kind == "reflected":
            return function(other, self)
        return function(self, other, out=self if kind == "in-place" else None)

    return unary if kind == "unary" else operator


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}
for _name, _of in _BINARY.items():
    setattr(ndarray, f"__{_name}__", _operator(ufunc(_of), "plain"))
    setattr(ndarray, f"__r{_name}__", _operator(ufunc(_of), "reflected"))
    setattr(ndarray, f"__i{_name}__", _operator(ufunc(_of), "in-place"))
_COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
for _name, _of in _COMPARISONS.items():
    setattr(ndarray, f"__{_name}__", _operator(ufunc(_of), "plain"))
for _name, _of in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", _operator(ufunc(_of), "unary"))
