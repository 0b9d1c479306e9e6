"""Activations phi with their derivatives, element by element.

    relu      max(x, 0)                 1 where x > 0, else 0
    identity  x                         1
    tanh      tanh x                    1 - tanh^2 x
    gelu      x Phi(x)                  Phi(x) + x exp(-x^2/2) / sqrt(2 pi)

Phi is the normal distribution function (Hendrycks and Gimpel 2016, the exact form, not the tanh fit).
"""

import math
from typing import Literal

from revgn.arrays import Array, array_namespace, erf
from revgn.errors import UsageError

Activation = Literal["relu", "identity", "tanh", "gelu"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "identity", "tanh", "gelu")


def value(activation: Activation, x: Array) -> Array:
    """phi(x)."""
    xp = array_namespace(x)
    match activation:
        case "relu":
            return xp.maximum(x, 0.0)  # type: ignore[no-any-return]
        case "identity":
            return x
        case "tanh":
            return xp.tanh(x)  # type: ignore[no-any-return]
        case "gelu":
            return x * _normal_cdf(x)
    raise UsageError(f"activation: {activation!r} is not one of {', '.join(ACTIVATIONS)}")


def slope(activation: Activation, x: Array) -> Array:
    """phi'(x); for relu 0 at 0."""
    xp = array_namespace(x)
    match activation:
        case "relu":
            return xp.astype(x > 0, x.dtype)  # type: ignore[no-any-return]
        case "identity":
            return xp.ones_like(x)  # type: ignore[no-any-return]
        case "tanh":
            return 1.0 - xp.tanh(x) ** 2  # type: ignore[no-any-return]
        case "gelu":
            return _normal_cdf(x) + x * xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)  # type: ignore[no-any-return]
    raise UsageError(f"activation: {activation!r} is not one of {', '.join(ACTIVATIONS)}")


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
