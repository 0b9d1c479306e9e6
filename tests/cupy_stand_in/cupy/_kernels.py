"""Kernels of the user's own: C by element, and Python functions fused into one kernel."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from ._array import host, ndarray, new
from ._c import functions_of, run
from ._counts import launch, uncounted


class _Parameter:
    def __init__(self, text: str) -> None:
        *words, kind, self.name = text.split()
        self.is_raw = "raw" in words
        self.letter = kind if len(kind) == 1 else None
        self.dtype = None if self.letter else np.dtype(kind)
        if self.name in ("n", "i") or self.name.startswith("_"):
            raise ValueError(f"Can not use {self.name!r} as a parameter name")


class ElementwiseKernel:
    """`operation` for each element of the arrays, broadcast to one shape; results are stored row by row."""

    def __init__(
        self,
        in_params: str,
        out_params: str,
        operation: str,
        name: str = "kernel",
        reduce_dims: bool = True,
        preamble: str = "",
        no_return: bool = False,
        return_tuple: bool = False,
        **kwargs: Any,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(f"Invalid kernel name: {name!r}")
        self.inputs, self.outputs = (
            [_Parameter(text) for text in params.split(",") if text.strip()]
            for params in (in_params, out_params)
        )
        self.operation, self.name, self.functions = operation, name, functions_of(preamble)
        self.no_return, self.return_tuple = no_return, return_tuple

    def __call__(self, *args: Any, size: int | None = None, stream: Any = None, block_size: int = 128) -> Any:
        given = len(args) - len(self.inputs)
        if given not in (0, len(self.outputs)):
            raise TypeError(f"Wrong number of arguments for {self.name}")
        types = self._types(args)
        values = [
            host(x, self.name)
            if isinstance(x, ndarray)
            else types[p.letter or p.name].type(host(x, self.name))
            for p, x in zip(self.inputs, args, strict=False)
        ]
        outs = list(args[len(self.inputs) :])
        shapes = [np.shape(x) for p, x in zip(self.inputs, values, strict=True) if not p.is_raw]
        shapes += [x.shape for p, x in zip(self.outputs, outs, strict=False) if not p.is_raw]
        if size is not None:
            shapes.append((size,))
        elif not shapes:
            raise ValueError("Loop size is undecided")
        shape = np.broadcast_shapes(*shapes)
        if not outs:
            outs = [new(np.empty(shape, types[p.letter or p.name])) for p in self.outputs]
        for p, x in zip(self.outputs, outs, strict=True):
            if not p.is_raw and x.shape != shape:
                raise ValueError("Out shape is mismatched")
        if np.prod(shape):
            launch(self.name)
            self._run(shape, values, outs, types)
        if self.no_return:
            return None
        return tuple(outs) if len(outs) != 1 or self.return_tuple else outs[0]

    def _run(self, shape: Any, values: list[Any], outs: list[Any], types: dict[str, Any]) -> None:
        variables: dict[str, Any] = {"n": int(np.prod(shape)), "i": np.arange(np.prod(shape)).reshape(shape)}
        for p, value in zip((*self.inputs, *self.outputs), (*values, *(x._host for x in outs)), strict=True):
            variables[p.name] = np.ravel(value) if p.is_raw else value
        own = {p.name: types[p.letter or p.name] for p in self.outputs}
        letters = {p.letter: types[p.letter] for p in (*self.inputs, *self.outputs) if p.letter}
        run(self.operation, variables, own | letters, self.functions)
        for p, out in zip(self.outputs, outs, strict=True):
            if p.is_raw:
                out._host[...] = variables[p.name].reshape(out.shape)
            else:
                out._host[...] = variables[p.name]

    def _types(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """Return dtypes by letter, and by name if a parameter has a fixed one; others raise an error."""
        types = {p.name: p.dtype for p in (*self.inputs, *self.outputs) if p.dtype}
        for p, x in zip((*self.inputs, *self.outputs), args, strict=False):
            if not isinstance(x, ndarray):
                continue
            expected = types.setdefault(p.letter or p.name, x.dtype)
            if x.dtype != expected:
                raise TypeError(f"Type is mismatched. {p.name} {x.dtype} {expected}")
        for p in (*self.inputs, *self.outputs):
            if (p.letter or p.name) not in types:
                raise ValueError(f"Type of {p.letter} is undecided in {self.name}")
        return types


def fuse(*args: Any, **kwargs: Any) -> Any:
    """The function itself, counted as one launch."""

    def fused(function: Any) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            with uncounted():
                found = function(*arguments)
            launch(kwargs.get("kernel_name") or function.__name__)
            return found

        return call

    return fused(args[0]) if args and callable(args[0]) else fused
