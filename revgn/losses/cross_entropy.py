"""Cross-entropy between targets y and softmax outputs. The output step uses the identity as curvature.

    p = softmax(z)        value = mean over samples of  -sum_o y_o log p_o
    gradient  (p - y) / n        eps = p - y

The targets y are probability distributions, one-hot for class labels. The curvature of the loss is
diag(p) - p p^T. The paper's runs replace it by the identity (Buffelli et al. 2024, section 5); on the full
batch, an exact step is then a step of gradient flow on the logits. `log_softmax` subtracts the largest output
before it takes exponentials, so that it does not overflow.
"""

from dataclasses import dataclass

from revgn.arrays import Array, array_namespace, blockwise
from revgn.losses.loss import check_outputs, gradient, output_step, value


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Mean over samples of the cross-entropy between the targets and softmax(z)."""


@value.register(CrossEntropy)
def value_cross_entropy(loss: CrossEntropy, z: Array, t: Array) -> Array:
    check_outputs("value", loss, z, t)
    return array_namespace(z, t).sum(t * log_softmax(z)) / -z.shape[0]


@gradient.register(CrossEntropy)
def gradient_cross_entropy(loss: CrossEntropy, z: Array, t: Array) -> Array:
    check_outputs("gradient", loss, z, t)
    n = z.shape[0]
    return blockwise(lambda *of: (_misfit(*of) / n,), log_softmax(z), _sums(t), t)[0]


@output_step.register(CrossEntropy)
def output_step_cross_entropy(loss: CrossEntropy, z: Array, t: Array) -> Array:
    check_outputs("output_step", loss, z, t)
    return blockwise(lambda *of: (_misfit(*of),), log_softmax(z), _sums(t), t)[0]


def _misfit(log_p: Array, weight: Array, t: Array) -> Array:
    return array_namespace(log_p).exp(log_p) * weight - t


def _sums(t: Array) -> Array:
    return array_namespace(t).sum(t, axis=1, keepdims=True)  # (n, 1)


def log_softmax(z: Array) -> Array:
    """Return z - log(sum(exp(z))) for each row of z, without overflow.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(log_softmax(np.array([[1000.0, 1000.0]]))).round(6)
    array([[0.5, 0.5]])
    """
    xp = array_namespace(z)
    shifted, grown = blockwise(_shifted, z, xp.max(z, axis=1, keepdims=True))
    return blockwise(_without_sum, shifted, xp.sum(grown, axis=1, keepdims=True))[0]


def _shifted(z: Array, top: Array) -> tuple[Array, Array]:
    return z - top, array_namespace(z).exp(z - top)


def _without_sum(shifted: Array, total: Array) -> tuple[Array]:
    return (shifted - array_namespace(total).log(total),)
