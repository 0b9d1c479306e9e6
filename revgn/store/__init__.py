"""The run folder: files that survive a kill at any instant and can be read with h5py alone."""

from revgn.store.attributes import Provenance
from revgn.store.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from revgn.store.names import EPOCH_SERIES, FORMAT_VERSION, RUNGS, STEP_SERIES, Weights
from revgn.store.network import StoredNetwork, has_network, load_network, save_network
from revgn.store.reader import Run, as_run, is_run, list_runs, open_run, open_runs, status
from revgn.store.writer import RunWriter, check_vacant, create_run, reopen_run

__all__ = [
    "EPOCH_SERIES",
    "FORMAT_VERSION",
    "RUNGS",
    "STEP_SERIES",
    "Provenance",
    "Run",
    "RunWriter",
    "StoredNetwork",
    "Weights",
    "as_run",
    "check_vacant",
    "create_run",
    "has_network",
    "is_run",
    "latest_checkpoint",
    "list_runs",
    "load_checkpoint",
    "load_network",
    "open_run",
    "open_runs",
    "reopen_run",
    "save_checkpoint",
    "save_network",
    "status",
]
