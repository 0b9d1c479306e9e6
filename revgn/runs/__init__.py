"""The run folder: written so that a kill loses nothing, read with h5py alone.

names       every file, group, series and attribute
files       files that are whole at any instant
owner       which process writes, and whether it lives
journal     the line a record, and the columns they fill
checkpoint  arrays with a checksum
reader      runs as they are found on disk
writer      the one who writes a run
launch      start, resume and evaluate runs
summary     a run in a few figures
tables      series as xarray and pandas have them
rebuild     the network of a checkpoint
analysis    what --analyse measures, of finished runs
spectra     the tangent kernel's spectrum of a run
export      runs in the files of other tools
migrate     older formats
check       whether a run can be trusted
groups      runs that differ in their seed alone, taken together
compare     what differs between runs, and what came out
report      one page about runs
canvas      a figure of several panels
curves      training curves of several runs, drawn
response    what came of runs against a setting, drawn
"""

from revgn.runs.analysis import analyse_run, output_similarity
from revgn.runs.check import Finding, check_run
from revgn.runs.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from revgn.runs.compare import Comparison, compare_runs
from revgn.runs.curves import draw_curves
from revgn.runs.export import export_runs
from revgn.runs.launch import Outcome, evaluate_run, resume_run, start_run
from revgn.runs.names import EPOCH_SERIES, FORMAT_VERSION, RUNGS, STEP_SERIES, Series, Weights
from revgn.runs.reader import Run, is_run, list_runs, open_run, open_runs
from revgn.runs.rebuild import RunNetwork
from revgn.runs.report import write_report
from revgn.runs.response import draw_response
from revgn.runs.summary import labels, outline, summarize
from revgn.runs.writer import Provenance, RunWriter, create_run, reopen_run, repair_run

__all__ = [
    "EPOCH_SERIES",
    "FORMAT_VERSION",
    "RUNGS",
    "STEP_SERIES",
    "Checkpoint",
    "Comparison",
    "Finding",
    "Outcome",
    "Provenance",
    "Run",
    "RunNetwork",
    "RunWriter",
    "Series",
    "Weights",
    "analyse_run",
    "check_run",
    "compare_runs",
    "create_run",
    "draw_curves",
    "draw_response",
    "evaluate_run",
    "export_runs",
    "is_run",
    "labels",
    "latest_checkpoint",
    "list_runs",
    "load_checkpoint",
    "open_run",
    "open_runs",
    "outline",
    "output_similarity",
    "reopen_run",
    "repair_run",
    "resume_run",
    "save_checkpoint",
    "start_run",
    "summarize",
    "write_report",
]
