"""Optimizers: `init_state` and `update`, with explicit state; hybrids and step lengths; schedules."""

from revgn.optimizers.adam import Adam, AdamState
from revgn.optimizers.blend import Blend, BlendState
from revgn.optimizers.gauss_newton import GaussNewton, GaussNewtonState
from revgn.optimizers.kfac import KFAC, KFACState
from revgn.optimizers.lbfgs import LBFGS, LBFGSState
from revgn.optimizers.levenberg_marquardt import LevenbergMarquardt, LevenbergMarquardtState
from revgn.optimizers.metric import FeatureMetric, FeatureMetricState
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
    update_along,
)
from revgn.optimizers.orthogonal import Orthogonalized
from revgn.optimizers.paced import Backtracking, Paced
from revgn.optimizers.schedule import Constant, Cosine, Schedule, StepDecay, schedule_factor
from revgn.optimizers.sgd import SGD, SGDState
from revgn.optimizers.switch import Switch, SwitchState

__all__ = [
    "KFAC",
    "LBFGS",
    "SGD",
    "Adam",
    "AdamState",
    "Backtracking",
    "Blend",
    "BlendState",
    "Constant",
    "Cosine",
    "Direction",
    "FeatureMetric",
    "FeatureMetricState",
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
    "Orthogonalized",
    "Paced",
    "SGDState",
    "Schedule",
    "StepDecay",
    "Switch",
    "SwitchState",
    "Update",
    "batch_gradient",
    "direction",
    "init_state",
    "schedule_factor",
    "update",
    "update_along",
]
