"""Training: frozen settings, a pure step, a loop that yields records and knows no files."""

from revgn.training.ahead import look_ahead
from revgn.training.average import Average, AverageState, init_average, update_average
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
from revgn.training.problem import (
    Problem,
    TrainState,
    averaged,
    build_problem,
    initial_state,
    load_data,
    restore_state,
    restore_weights,
    state_arrays,
)
from revgn.training.step import Record, train_step

__all__ = [
    "Average",
    "AverageState",
    "DivergedError",
    "Evaluated",
    "Event",
    "Problem",
    "Record",
    "StepDone",
    "TrainState",
    "analyse",
    "averaged",
    "build_problem",
    "evaluate",
    "evaluate_part",
    "init_average",
    "initial_state",
    "load_data",
    "look_ahead",
    "restore_state",
    "restore_weights",
    "start_probe",
    "state_arrays",
    "train",
    "train_step",
    "update_average",
]
