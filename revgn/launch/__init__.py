"""Training with a run folder: the training loop yields events, which are stored in the folder."""

from revgn.launch.analysis import analyse_run, output_similarity, run_spectrum
from revgn.launch.check import check_run
from revgn.launch.evaluate import evaluate_run
from revgn.launch.rebuild import RunNetwork, rebuild
from revgn.launch.record import Outcome
from revgn.launch.resume import resume_run
from revgn.launch.start import start_run

__all__ = [
    "Outcome",
    "RunNetwork",
    "analyse_run",
    "check_run",
    "evaluate_run",
    "output_similarity",
    "rebuild",
    "resume_run",
    "run_spectrum",
    "start_run",
]
