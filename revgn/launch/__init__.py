"""Training with a run folder: the loop yields events, the store keeps them.

start     train into a new run folder, or go on with one; evaluate
rebuild   the network of a checkpoint
check     whether a run can be trusted
analysis  kernels and representations of finished runs
spectra   the tangent kernel's spectrum of a run
"""

from revgn.launch.analysis import analyse_run, output_similarity
from revgn.launch.check import Finding, check_run
from revgn.launch.rebuild import RunNetwork, rebuild
from revgn.launch.spectra import run_spectrum
from revgn.launch.start import Outcome, evaluate_run, resume_run, start_run

__all__ = [
    "Finding",
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
