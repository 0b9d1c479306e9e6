"""C of element-wise kernels, executed by NumPy on whole arrays: declarations, assignments, expressions.

Numbers have the types that C gives them: `1.0` is double, `1.0f` float, and an assignment converts to the
type of the variable. Other code raises `SyntaxError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

TYPES = {
    "bool": np.bool_,
    "int": np.int32,
    "unsigned": np.uint32,
    "long": np.int64,
    "ptrdiff_t": np.int64,
    "size_t": np.uint64,
    "float": np.float32,
    "double": np.float64,
    **{
        f"{kind}{bits}": np.dtype(f"{kind}{bits}").type
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
    "float32": np.float32,
    "float64": np.float64,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "fabs": np.abs,
    "max": np.fmax,
    "min": np.fmin,
    "fmax": np.fmax,
    "fmin": np.fmin,
    "pow": np.power,
    "rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x),
    "erf": scipy.special.erf,
    "isfinite": np.isfinite,
    "fma": lambda x, y, z: x * y + z,
}
_BY_NAME = ("sqrt", "cbrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "floor", "ceil", "isnan")
for _name in _BY_NAME:
    FUNCTIONS[_name] = getattr(np, _name)
_TOKEN = re.compile(
    r"\s+|//[^\n]*|(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?[fFlLuU]*)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign><=|>=|==|!=|&&|\|\||[-+*/%]=|[-+*/%<>!?:;,=()\[\]])"
)
_BINARY: list[dict[str, Callable[[Any, Any], Any]]] = [
    {"||": np.logical_or},
    {"&&": np.logical_and},
    {"==": np.equal, "!=": np.not_equal},
    {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal},
    {"+": np.add, "-": np.subtract},
    {"*": np.multiply, "/": lambda x, y: _divide(x, y), "%": np.fmod},
]
_FUNCTION = re.compile(
    r"(?:template\s*<\s*(?:class|typename)\s+(\w+)\s*>\s*)?__device__\s+(?:inline\s+)?(\w+)\s+(\w+)\s*"
    r"\(([^)]*)\)\s*\{\s*return\s+([^;]*);\s*\}"
)


def run(
    code: str, variables: dict[str, Any], types: dict[str, Any], functions: dict[str, Callable[..., Any]]
) -> None:
    """Execute `code` on `variables` (arrays or numbers by name); `types` are those of outputs and letters."""
    _Reader(code, variables, types, FUNCTIONS | functions).statements()


def functions_of(preamble: str) -> dict[str, Callable[..., Any]]:
    """Device functions of a preamble, each a single `return` statement."""
    found = {}
    for letter, _, name, parameters, expression in _FUNCTION.findall(preamble):
        pairs = [parameter.split() for parameter in parameters.split(",")]
        found[name] = _device_function(name, letter, pairs, expression)
    if _FUNCTION.sub("", preamble).strip():
        raise SyntaxError(f"preamble: {preamble!r}")
    return found


def _device_function(name: str, letter: str, pairs: list[list[str]], expression: str) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        deduced = {_type_of(x) for x, (kind, _) in zip(values, pairs, strict=True) if kind == letter}
        if len(deduced) > 1:
            raise TypeError(f"{name}: {letter} is deduced as {' and '.join(sorted(map(str, deduced)))}")
        bound = {own: value for value, (_, own) in zip(values, pairs, strict=True)}
        return _Reader(expression, bound, {}, FUNCTIONS).expression()

    return call


def _type_of(x: Any) -> Any:
    return np.dtype(np.int32) if isinstance(x, int) and not isinstance(x, bool) else np.asarray(x).dtype


def _divide(x: Any, y: Any) -> Any:
    if all(_type_of(value).kind in "iu" for value in (x, y)):
        return np.trunc(np.true_divide(x, y)).astype(np.result_type(x, y))
    return np.true_divide(x, y)


class _Reader:
    """Parser that computes each expression while it reads the tokens."""

    def __init__(self, code: str, variables: dict[str, Any], types: dict[str, Any], functions: Any) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.variables, self.types, self.functions = variables, types, functions
        at = 0
        while at < len(code):
            match = _TOKEN.match(code, at)
            if match is None:
                raise SyntaxError(f"not understood: {code[at : at + 40]!r}")
            if match.lastgroup:
                self.tokens.append((match.lastgroup, match.group()))
            at = match.end()
        self.at = 0

    def statements(self) -> None:
        while self.at < len(self.tokens):
            if not self.take(";"):
                self.statement()

    def statement(self) -> None:
        self.take("const")
        declared = None
        if self.peek(1)[0] == "name":
            declared = self.next()
        name = self.next()
        place: Any = None
        if self.take("["):
            place = self.expression()
            self.expect("]")
        sign = self.next()
        value = self.expression()
        if sign != "=":
            (of,) = [table[sign[0]] for table in _BINARY if sign[0] in table]
            value = of(self.variables[name] if place is None else self.variables[name][place], value)
        if self.at < len(self.tokens):
            self.expect(";")
        if declared == "auto":
            self.types[name] = _type_of(value)
        elif declared:
            self.types[name] = np.dtype(self.type_called(declared))
        if name not in self.types:
            raise SyntaxError(f"{name} is not declared, or is an input")
        if place is not None:
            self.variables[name][place] = value
        else:
            with np.errstate(all="ignore"):
                self.variables[name] = np.asarray(value).astype(self.types[name])[()]

    def expression(self) -> Any:
        condition = self.binary(0)
        if not self.take("?"):
            return condition
        first = self.expression()
        self.expect(":")
        second = self.expression()
        return np.where(condition, first, second)

    def binary(self, level: int) -> Any:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek()[1] in _BINARY[level]:
            function = _BINARY[level][self.next()]
            with np.errstate(all="ignore"):
                left = function(left, self.binary(level + 1))
        return left

    def unary(self) -> Any:
        if self.take("-"):
            return -self.unary()
        if self.take("+"):
            return self.unary()
        if self.take("!"):
            return np.logical_not(self.unary())
        return self.primary()

    def primary(self) -> Any:
        kind, text = self.peek()
        if self.take("("):
            if self.peek()[1] in self.types_known() and self.peek(1)[1] == ")":
                called = self.next()
                self.expect(")")
                return self.cast(called, self.unary())
            value = self.expression()
            self.expect(")")
            return value
        self.at += 1
        if kind == "number":
            return _number(text)
        if kind != "name":
            raise SyntaxError(f"{text!r} where a value should be")
        if text in ("true", "false"):
            return np.bool_(text == "true")
        if text == "static_cast":
            self.expect("<")
            text = self.next()
            self.expect(">")
        if self.take("("):
            values = []
            while not self.take(")"):
                values.append(self.expression())
                self.take(",")
            if text in self.types_known():
                return self.cast(text, *values)
            if text not in self.functions:
                raise SyntaxError(f"no function {text}")
            with np.errstate(all="ignore"):
                return self.functions[text](*values)
        if text not in self.variables:
            raise SyntaxError(f"no variable {text}")
        value = self.variables[text]
        if self.take("["):
            value = value[self.expression()]
            self.expect("]")
        return value

    def cast(self, called: str, value: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(value).astype(self.type_called(called))[()]

    def type_called(self, name: str) -> Any:
        if name not in self.types_known():
            raise SyntaxError(f"no type {name}")
        return self.types[name] if name in self.types else TYPES[name]

    def types_known(self) -> set[str]:
        return {*TYPES, *(name for name in self.types if len(name) == 1 and name.isupper())}

    def peek(self, further: int = 0) -> tuple[str, str]:
        at = self.at + further
        return self.tokens[at] if at < len(self.tokens) else ("end", "")

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1][1]

    def take(self, text: str) -> bool:
        found = self.peek()[1] == text
        self.at += found
        return found

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise SyntaxError(f"{self.peek()[1]!r} where {text!r} should be")


def _number(text: str) -> Any:
    digits = text.rstrip("fFlLuU")
    if digits.isdigit() and not text.endswith(("f", "F")):
        return int(digits)
    return np.float32(digits) if text[-1] in "fF" else np.float64(digits)
