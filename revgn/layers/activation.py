"""Activation functions phi and their derivatives phi', applied elementwise.

              phi(x)                    phi'(x)
    relu      max(x, 0)                 1 where x > 0, else 0
    identity  x                         1
    tanh      tanh x                    1 - tanh^2 x
    gelu      x Phi(x)                  Phi(x) + x exp(-x^2/2) / sqrt(2 pi)

Phi is the distribution function of the standard normal distribution. gelu is the exact form of Hendrycks and
Gimpel 2016, not its tanh approximation.
"""

import math
from typing import Literal

from revgn.arrays import Array, array_namespace, erf, scaled
from revgn.errors import UsageError

Activation = Literal["relu", "identity", "tanh", "gelu"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "identity", "tanh", "gelu")


def value_and_slope(activation: Activation, x: Array) -> tuple[Array, Array]:
    """Return phi(x) and phi'(x).

    phi'(x) has the dtype of x. For relu it is boolean, and False at 0.

    Raises
    ------
    UsageError
        If `activation` is not one of `ACTIVATIONS`.
    """
    xp = array_namespace(x)
    match activation:
        case "relu":
            positive = x > 0
            return scaled(x, positive), positive
        case "identity":
            return x, xp.ones_like(x)
        case "tanh":
            y = xp.tanh(x)
            return y, 1.0 - y * y
        case "gelu":
            cdf = 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
            return x * cdf, cdf + x * xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    raise UsageError(f"activation: {activation!r} is not one of {', '.join(ACTIVATIONS)}")
