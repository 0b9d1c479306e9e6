"""Training with a run folder: the training loop yields events, which are stored in the folder."""

from revgn.launch.analysis import analyse_run, output_similarity, run_spectrum
from revgn.launch.check import check_run
from revgn.launch.evaluate import evaluate_run
from revgn.launch.predict import Predictions, open_predictor, predict, predict_file
from revgn.launch.predictions import csv_writer, open_predictions, origin
from revgn.launch.rebuild import RunNetwork, Step, rebuild
from revgn.launch.record import Outcome
from revgn.launch.resume import resume_run
from revgn.launch.start import start_run

__all__ = [
    "Outcome",
    "Predictions",
    "RunNetwork",
    "Step",
    "analyse_run",
    "check_run",
    "csv_writer",
    "evaluate_run",
    "open_predictions",
    "open_predictor",
    "origin",
    "output_similarity",
    "predict",
    "predict_file",
    "rebuild",
    "resume_run",
    "run_spectrum",
    "start_run",
]
