"""Training: frozen settings, a pure step, a loop that yields records and knows no files."""

from revgn.training.ahead import look_ahead
from revgn.training.average import Average, AverageState, init_average, update_average
from revgn.training.config import (
    build_config,
    config_toml,
    merge_settings,
    nested,
    parse_assignment,
    parse_size,
    parse_toml,
    parse_value,
    without_none,
)
from revgn.training.estimate import Estimate, choose_solver, estimate_step, solver_choice
from revgn.training.loop import (
    DivergedError,
    Evaluated,
    Event,
    StepDone,
    analyse,
    evaluate,
    evaluate_part,
    start_probe,
    train,
)
from revgn.training.meanings import MEANINGS
from revgn.training.problem import (
    Problem,
    TrainState,
    averaged,
    build_problem,
    initial_state,
    load_data,
    restore_state,
    state_arrays,
)
from revgn.training.relevance import unused_settings
from revgn.training.settings import PRESETS, Config, config_dict, flat
from revgn.training.step import Record, train_step
from revgn.training.template import config_template

__all__ = [
    "MEANINGS",
    "PRESETS",
    "Average",
    "AverageState",
    "Config",
    "DivergedError",
    "Estimate",
    "Evaluated",
    "Event",
    "Problem",
    "Record",
    "StepDone",
    "TrainState",
    "analyse",
    "averaged",
    "build_config",
    "build_problem",
    "choose_solver",
    "config_dict",
    "config_template",
    "config_toml",
    "estimate_step",
    "evaluate",
    "evaluate_part",
    "flat",
    "init_average",
    "initial_state",
    "load_data",
    "look_ahead",
    "merge_settings",
    "nested",
    "parse_assignment",
    "parse_size",
    "parse_toml",
    "parse_value",
    "restore_state",
    "solver_choice",
    "start_probe",
    "state_arrays",
    "train",
    "train_step",
    "unused_settings",
    "update_average",
    "without_none",
]
