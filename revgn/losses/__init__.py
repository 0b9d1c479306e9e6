"""Losses: value, gradient, and the output step eps, the requested change of the outputs."""

from revgn.losses.cross_entropy import CrossEntropy, log_softmax
from revgn.losses.curvature import curvature_root, damped_output_step
from revgn.losses.loss import Loss, accuracy, gradient, output_step, value
from revgn.losses.squared_error import SquaredError

__all__ = [
    "CrossEntropy",
    "Loss",
    "SquaredError",
    "accuracy",
    "curvature_root",
    "damped_output_step",
    "gradient",
    "log_softmax",
    "output_step",
    "value",
]
