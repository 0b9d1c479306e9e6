"""Optimizers: `init_state` and `update`, with explicit state; and learning-rate schedules."""

from revgn.optimizers.adam import Adam, AdamState
from revgn.optimizers.gauss_newton import GaussNewton, GaussNewtonState
from revgn.optimizers.kfac import KFAC, KFACState
from revgn.optimizers.lbfgs import LBFGS, LBFGSState
from revgn.optimizers.levenberg_marquardt import LevenbergMarquardt, LevenbergMarquardtState
from revgn.optimizers.muon import Muon, MuonState
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    Optimizer,
    OptimizerState,
    Update,
    batch_gradient,
    direction,
    init_state,
    update,
)
from revgn.optimizers.schedule import Schedule, ScheduleKind, rate_factor
from revgn.optimizers.sgd import SGD, SGDState

__all__ = [
    "KFAC",
    "LBFGS",
    "SGD",
    "Adam",
    "AdamState",
    "Direction",
    "GaussNewton",
    "GaussNewtonState",
    "KFACState",
    "LBFGSState",
    "LevenbergMarquardt",
    "LevenbergMarquardtState",
    "Linearization",
    "Muon",
    "MuonState",
    "Optimizer",
    "OptimizerState",
    "SGDState",
    "Schedule",
    "ScheduleKind",
    "Update",
    "batch_gradient",
    "direction",
    "init_state",
    "rate_factor",
    "update",
]
