"""Losses: their value, their gradient, and the change that a Gauss-Newton step wants at the output."""

from revgn.losses.cross_entropy import CrossEntropy, log_softmax
from revgn.losses.curvature import curvature_root, damped_change
from revgn.losses.loss import Loss, accuracy, gradient, value, wanted_change
from revgn.losses.squared_error import SquaredError

__all__ = [
    "CrossEntropy",
    "Loss",
    "SquaredError",
    "accuracy",
    "curvature_root",
    "damped_change",
    "gradient",
    "log_softmax",
    "value",
    "wanted_change",
]
