"""Training with a run folder: the loop yields events, the store keeps them.

problem     the problem that a run trains on
provenance  settings, machine and versions of a run
record      events into the folder, checkpoints when due
start       train into a new folder
resume      continue a run
evaluate    weights of a run, on its own data or others
rebuild     the network of a checkpoint
check       whether a run can be trusted
analysis    finished runs analysed at their checkpoints, and compared
"""

from revgn.launch.analysis import analyse_run, output_similarity, run_spectrum
from revgn.launch.check import Finding, check_run
from revgn.launch.evaluate import evaluate_run
from revgn.launch.problem import problem_of
from revgn.launch.rebuild import RunNetwork, rebuild
from revgn.launch.record import Outcome
from revgn.launch.resume import resume_run
from revgn.launch.start import start_run

__all__ = [
    "Finding",
    "Outcome",
    "RunNetwork",
    "analyse_run",
    "check_run",
    "evaluate_run",
    "output_similarity",
    "problem_of",
    "rebuild",
    "resume_run",
    "run_spectrum",
    "start_run",
]
