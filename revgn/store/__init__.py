"""The run folder: written so that a kill loses nothing, read with h5py alone. No training in it.

names       every file, group, series and attribute
files       files that are whole at any instant
owner       the process that writes a run, and whether it lives
attributes  what was run, with which settings, where and when
journal     a line per record, and the columns that records fill
checkpoint  arrays with a checksum
reader      runs as they are on disk
writer      records into the journal and snapshots
migrate     older formats
settings    settings of older formats
"""

from revgn.store.attributes import Provenance
from revgn.store.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from revgn.store.names import EPOCH_SERIES, FORMAT_VERSION, RUNGS, STEP_SERIES, Series, Weights
from revgn.store.reader import Run, is_run, list_runs, open_run, open_runs, status
from revgn.store.writer import RunWriter, create_run, reopen_run, repair_run

__all__ = [
    "EPOCH_SERIES",
    "FORMAT_VERSION",
    "RUNGS",
    "STEP_SERIES",
    "Checkpoint",
    "Provenance",
    "Run",
    "RunWriter",
    "Series",
    "Weights",
    "create_run",
    "is_run",
    "latest_checkpoint",
    "list_runs",
    "load_checkpoint",
    "open_run",
    "open_runs",
    "reopen_run",
    "repair_run",
    "save_checkpoint",
    "status",
]
