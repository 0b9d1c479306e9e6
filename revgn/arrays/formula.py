"""Element-wise formulas of arrays, compiled to one CUDA kernel.

A Python function of arrays is called once with symbols in place of the arrays. Each operation on a symbol
adds a line of C. Numbers become arguments of the kernel, so a formula whose numbers change from step to step
is compiled only once. 0-d arrays become arguments, too, and stay on the device.

The function may use all operations of symbols: arithmetic, comparisons, and the functions of their namespace.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import Any

import numpy as np

from revgn.arrays.typing import Array

_C_NAMES = {"float32": "float", "float64": "double"}
_PREAMBLE = "template <class T> __device__ T where(bool c, T a, T b) { return c ? a : b; }"


_NUMBERS = (int, float, np.number)
Kernel = Callable[..., tuple[Array, ...]]
_name_of = cache(str)  # name of a dtype


def _operator(sign: str, dtype: Any = None) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Methods of a symbol x that return `x sign y` and `y sign x`."""
    text = f"%s {sign} %s"
    return (
        lambda x, y: x.formula.line(text, x, y, dtype=dtype),
        lambda x, y: x.formula.line(text, y, x, dtype=dtype),
    )


def _function(name: str) -> Callable[["Symbol"], "Symbol"]:
    return lambda x: x.formula.line(f"{name}(%s)", x)


class Functions:
    """Array functions of symbols."""

    bool = np.dtype(np.bool_)
    exp = staticmethod(_function("exp"))
    erf = staticmethod(_function("erf"))
    log = staticmethod(_function("log"))
    sqrt = staticmethod(_function("sqrt"))
    tanh = staticmethod(_function("tanh"))

    @staticmethod
    def astype(x: "Symbol", dtype: Any, *, copy: object = True) -> "Symbol":
        """Convert `x` to a floating-point type."""
        dtype = np.dtype(dtype)
        return x.formula.line(f"static_cast<{_C_NAMES[dtype.name]}>(%s)", x, dtype=dtype)

    @staticmethod
    def where(condition: "Symbol", x: Any, y: Any) -> "Symbol":
        """Return `x` where the condition holds, `y` elsewhere."""
        return condition.formula.line("where(%s, %s, %s)", condition, x, y)

    @staticmethod
    def zeros_like(x: "Symbol") -> "Symbol":
        """The number 0."""
        return x.formula.number(0.0, x.dtype)

    @staticmethod
    def ones_like(x: "Symbol") -> "Symbol":
        """The number 1."""
        return x.formula.number(1.0, x.dtype)


class Symbol:
    """Placeholder for an array in a formula: the name of its element in C, and its dtype."""

    __slots__ = ("dtype", "formula", "name")
    __array_ufunc__ = None  # the operators of symbols handle NumPy numbers and CuPy arrays, too

    def __init__(self, formula: "Formula", name: str, dtype: Any) -> None:
        self.formula, self.name, self.dtype = formula, name, dtype

    def __array_namespace__(self, *, api_version: str | None = None) -> type[Functions]:
        return Functions

    def __neg__(self) -> "Symbol":
        return self.formula.line("-%s", self)

    __add__, __radd__ = _operator("+")
    __sub__, __rsub__ = _operator("-")
    __mul__, __rmul__ = _operator("*")
    __truediv__, __rtruediv__ = _operator("/")
    __gt__, __lt__ = _operator(">", Functions.bool)


class Formula:
    """C code of the operations on symbols, and the numbers and arrays that the symbols represent."""

    def __init__(self, are_numbers: bool) -> None:
        self.are_numbers = are_numbers  # whether all arrays are 0-d
        self.declarations: list[str] = []
        self.lines: list[str] = []
        self.arguments: list[Any] = []

    def array(self, value: Any) -> Symbol:
        """Return the symbol of an array; a symbol is returned unchanged."""
        if isinstance(value, Symbol):
            return value
        is_number = not value.ndim and not self.are_numbers
        name = self._argument(value, value.dtype, "raw " if is_number else "")
        # A separate line, since a result may overwrite the array.
        return self.line(f"{name}[0]" if is_number else name, dtype=value.dtype)

    def number(self, value: float, dtype: Any) -> Symbol:
        """Return the symbol of a number."""
        return Symbol(self, self._argument(value, dtype), dtype)

    def line(self, text: str, *operands: Any, dtype: Any = None) -> Symbol:
        """Add a line of C and return its symbol; numbers among the operands get the dtype of the symbols."""
        symbols = [x if isinstance(x, _NUMBERS) else self.array(x) for x in operands]
        common = None
        for x in symbols:
            if isinstance(x, Symbol) and x.dtype is not Functions.bool and x.dtype is not common:
                common = x.dtype if common is None else np.result_type(common, x.dtype)
        names = [x.name if isinstance(x, Symbol) else self._argument(float(x), common) for x in symbols]
        name = f"t{len(self.lines)}"
        self.lines.append(f"auto {name} = {text % tuple(names)};")
        return Symbol(self, name, dtype or common)

    def _argument(self, value: Any, dtype: Any, raw: str = "") -> str:
        name = f"x{len(self.arguments)}"
        self.declarations.append(f"{raw}{_name_of(dtype)} {name}")
        self.arguments.append(value)
        return name


class Fused:
    """A function of CuPy arrays whose operations run as one kernel.

    The function is called with symbols once for each combination of dtypes and of 0-d arrays. Later calls
    reuse the compiled code, and the numbers and arrays that the function refers to.
    """

    def __init__(self, function: Callable[..., tuple[Any, ...]]) -> None:
        self.function = function
        self._traced: dict[tuple[Any, ...], tuple[Kernel, list[Any], list[Any]]] = {}

    def __call__(
        self, arrays: tuple[Array, ...], out: tuple[Array | None, ...] | None = None
    ) -> tuple[Array, ...]:
        """Evaluate the function in one kernel, into the arrays of `out` or new row-major arrays.

        Notes
        -----
        Cost: one launch; each operand is read once and each result written once.
        """
        signature = tuple([(x.dtype, not x.ndim) for x in arrays])
        if (traced := self._traced.get(signature)) is None:
            traced = self._traced[signature] = self._trace(arrays)
        kernel, others, dtypes = traced
        arguments = [*arrays, *others]
        if out is None:
            return kernel(*arguments)
        import cupy

        shape = np.broadcast_shapes(*(x.shape for x in arguments if hasattr(x, "shape")))
        places = [cupy.empty(shape, dtype) if y is None else y for dtype, y in zip(dtypes, out, strict=True)]
        return kernel(*arguments, *places)

    def _trace(self, arrays: tuple[Array, ...]) -> tuple[Kernel, list[Any], list[Any]]:
        """Return the kernel, its arguments after `arrays`, and the dtypes of the results."""
        formula = Formula(all(not x.ndim for x in arrays))
        results = [formula.array(x) for x in self.function(*map(formula.array, arrays))]
        kernel = _compiled(
            ", ".join(formula.declarations),
            ", ".join(f"{_name_of(x.dtype)} out{i}" for i, x in enumerate(results)),
            "\n".join((*formula.lines, *(f"out{i} = {x.name};" for i, x in enumerate(results)))),
            _name(self.function),
        )
        return kernel, formula.arguments[len(arrays) :], [x.dtype for x in results]


def fuse(function: Callable[..., tuple[Any, ...]]) -> Fused:
    """Return `function` as one kernel. The kernel of a function without captured variables is cached."""
    inner, choices = (function.func, function.args) if isinstance(function, partial) else (function, ())
    constant = isinstance(inner, FunctionType) and not inner.__closure__ and not inner.__defaults__
    if constant and not getattr(function, "keywords", None) and all(isinstance(x, str) for x in choices):
        return _KEPT.setdefault((inner.__module__, inner.__code__, *choices), Fused(function))
    return Fused(function)


_KEPT: dict[tuple[Any, ...], Fused] = {}


@cache
def _compiled(inputs: str, outputs: str, code: str, name: str) -> Kernel:
    import cupy

    kernel: Kernel = cupy.ElementwiseKernel(
        inputs, outputs, code, name, preamble=_PREAMBLE, return_tuple=True
    )
    return kernel


def _name(function: Any) -> str:
    """Name of the kernel in a profile, from the name of the function, or of the enclosing function."""
    name = getattr(function, "func", function).__qualname__.partition(".<locals>")[0]
    return "revgn_" + re.sub(r"\W", "_", name)
