"""Training: a step as a pure function, and a loop that yields records and writes no files."""

from revgn.training.average import AverageState, update_average
from revgn.training.choices import Chosen, choose_defaults
from revgn.training.estimate import (
    Estimate,
    Speeds,
    choose_solver,
    estimate_settings,
    estimate_step,
    solver_choice,
    step_cost,
)
from revgn.training.evaluation import (
    analyse,
    evaluate,
    evaluate_part,
    r2_of,
    regression_scores,
    start_probe,
)
from revgn.training.idle import idle_at_end, idle_length, idle_settings
from revgn.training.loop import DivergedError, Evaluated, Event, StepDone, train
from revgn.training.model import Model, build_model, model_of, outputs_in_pieces
from revgn.training.problem import Problem, build_problem, load_data, place_data
from revgn.training.state import (
    TrainState,
    initial_state,
    restore_average,
    restore_state,
    restore_weights,
    state_arrays,
)
from revgn.training.step import train_step

__all__ = [
    "AverageState",
    "Chosen",
    "DivergedError",
    "Estimate",
    "Evaluated",
    "Event",
    "Model",
    "Problem",
    "Speeds",
    "StepDone",
    "TrainState",
    "analyse",
    "build_model",
    "build_problem",
    "choose_defaults",
    "choose_solver",
    "estimate_settings",
    "estimate_step",
    "evaluate",
    "evaluate_part",
    "idle_at_end",
    "idle_length",
    "idle_settings",
    "initial_state",
    "load_data",
    "model_of",
    "outputs_in_pieces",
    "place_data",
    "r2_of",
    "regression_scores",
    "restore_average",
    "restore_state",
    "restore_weights",
    "solver_choice",
    "start_probe",
    "state_arrays",
    "step_cost",
    "train",
    "train_step",
    "update_average",
]
