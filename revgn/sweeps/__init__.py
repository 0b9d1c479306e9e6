"""Sweeps: many training runs (trials) from one plan, distributed over worker processes and machines."""

from revgn.sweeps.axes import parse_axis
from revgn.sweeps.claim import Beat
from revgn.sweeps.drive import Board, TrialState
from revgn.sweeps.launch import (
    Listed,
    check_folder,
    executor_at,
    first_data,
    load_plan,
    run_sweep,
    source_of,
    tuned,
)
from revgn.sweeps.median import MedianRule
from revgn.sweeps.plan import Plan, parse_plan, plan_toml, plan_trials
from revgn.sweeps.pool import LocalPool
from revgn.sweeps.search import Searched
from revgn.sweeps.work import Status

__all__ = [
    "Beat",
    "Board",
    "Listed",
    "LocalPool",
    "MedianRule",
    "Plan",
    "Searched",
    "Status",
    "TrialState",
    "check_folder",
    "executor_at",
    "first_data",
    "load_plan",
    "parse_axis",
    "parse_plan",
    "plan_toml",
    "plan_trials",
    "run_sweep",
    "source_of",
    "tuned",
]
