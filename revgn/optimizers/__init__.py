"""Optimizers with explicit state (`init_state`, `update`), wrappers of optimizers, and schedules."""

from revgn.optimizers.adam import Adam
from revgn.optimizers.blend import Blend
from revgn.optimizers.gauss_newton import GaussNewton
from revgn.optimizers.kfac import KFAC
from revgn.optimizers.lbfgs import LBFGS
from revgn.optimizers.levenberg_marquardt import LevenbergMarquardt
from revgn.optimizers.metric import FeatureMetric
from revgn.optimizers.muon import Muon
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    Optimizer,
    OptimizerState,
    Update,
    active,
    batch_gradient,
    direction,
    init_state,
    update,
)
from revgn.optimizers.orthogonal import Orthogonalized
from revgn.optimizers.paced import Backtracking, Paced
from revgn.optimizers.schedule import Constant, Cosine, Schedule, StepDecay, schedule_factor
from revgn.optimizers.sgd import SGD
from revgn.optimizers.soap import SOAP
from revgn.optimizers.switch import Switch

__all__ = [
    "KFAC",
    "LBFGS",
    "SGD",
    "SOAP",
    "Adam",
    "Backtracking",
    "Blend",
    "Constant",
    "Cosine",
    "Direction",
    "FeatureMetric",
    "GaussNewton",
    "LevenbergMarquardt",
    "Linearization",
    "Muon",
    "Optimizer",
    "OptimizerState",
    "Orthogonalized",
    "Paced",
    "Schedule",
    "StepDecay",
    "Switch",
    "Update",
    "active",
    "batch_gradient",
    "direction",
    "init_state",
    "schedule_factor",
    "update",
]
