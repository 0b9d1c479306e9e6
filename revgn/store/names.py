"""Every name in a run folder: files, groups, series with their units, attributes.

    run.h5                          groups `steps` and `epochs`; the attributes say what was run
    metrics.jsonl                   a line a record: {"kind": "step", "step": 12, "loss": 0.5}
    writer.json                     the process that writes the run, or was the last to
    config.toml                     the settings as resolved
    checkpoints/step_00001200.h5    attributes `format_version`, `step`, `sha256`; group `state`

All series are one-dimensional float64 along the scale of their group; NaN is "not measured". Each series
exists from the first snapshot on, with length 0; those of single couplings from their first record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from revgn.analysis import QUANTITIES
from revgn.linalg import OUTCOMES as OUTCOMES
from revgn.linalg import RUNGS as RUNGS

T = TypeVar("T")
Weights = Literal["raw", "average"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

FORMAT_VERSION = 3
CONVENTIONS = "CF-1.11"

RUN_FILE = "run.h5"
JOURNAL_FILE = "metrics.jsonl"
WRITER_FILE = "writer.json"
CONFIG_FILE = "config.toml"
CHECKPOINT_FOLDER = "checkpoints"
PARTIAL_FILE = ".partial"
CONFIG_PREFIX = "config."  # of run.h5's attributes that are settings by dotted path
JOURNAL_BYTES = "journal_bytes"  # of run.h5: how much of the journal it holds, so that readers may skip that
STATE_GROUP = "state"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint after `step` steps of the run in `folder`."""
    return folder / CHECKPOINT_FOLDER / f"step_{step:08d}.h5"


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the checkpoints of the run in `folder`, in the order of their steps."""
    paths = (folder / CHECKPOINT_FOLDER).glob("step_*.h5")
    return sorted(paths, key=lambda path: (len(path.name), path.name))


def of_weights(name: str, weights: Weights) -> str:
    """Name a figure of the raw weights or of the averaged ones: "test_loss", or a checkpoint's "score"."""
    return name if weights == "raw" else f"{name}_average"


def score_of(figures: Mapping[str, T], weights: Weights = "raw") -> tuple[T, int] | None:
    """Return the figure by which weights are judged, and 1 where more is better, -1 where less; None without.

    It is the validation part's where there is one, else the test part's: accuracy, else loss.
    """
    for part in ("validation", "test"):
        for what, sign in (("accuracy", 1), ("loss", -1)):
            name = of_weights(f"{part}_{what}", weights)
            if name in figures:
                return figures[name], sign
    return None


def judged_weights(figures: Mapping[str, Any]) -> Weights:
    """Return which weights a run is judged by, from the names of its figures: averaged ones, if any."""
    return "average" if of_weights("test_loss", "average") in figures else "raw"


@dataclass(frozen=True, slots=True)
class Series:
    """One measured quantity.

    `deterministic` series repeat bit for bit when a run is repeated; timings and memory do not.
    `meanings` gives the words for a series that counts choices: 0 is the first.
    """

    name: str
    long_name: str
    units: str = "1"
    deterministic: bool = True
    meanings: tuple[str, ...] = ()


def attributes_of(series: Series) -> dict[str, Any]:
    """Return what run.h5 says of a series, as attributes."""
    found: dict[str, Any] = {"long_name": series.long_name, "units": series.units}
    if series.meanings:
        found |= {
            "flag_values": np.arange(len(series.meanings), dtype=np.float64),
            "flag_meanings": " ".join(series.meanings),
        }
    return found


@dataclass(frozen=True, slots=True)
class Cadence:
    """A group of series that are recorded together, along one scale; viewers plot the first measured.

    Of each in `by_coupling` there is one a coupling: weights_norm_K stands for weights_norm_0 and so on.
    """

    group: str
    scale: Series
    series: tuple[Series, ...]
    by_coupling: tuple[Series, ...] = ()

    def find(self, name: str) -> Series | None:
        """Return the series of that name, the scale too; None if there is none."""
        for series in (self.scale, *self.series):
            if series.name == name:
                return series
        stem, _, number = name.rpartition("_")
        for series in self.by_coupling:
            if series.name == f"{stem}_K" and number.isdecimal():
                meaning = series.long_name.replace("coupling K", f"coupling {number}")
                return replace(series, name=name, long_name=meaning)
        return None


def _timing(name: str, long_name: str) -> Series:
    return Series(name, long_name, "s", deterministic=False)


def _analysed(*, by_coupling: bool) -> tuple[Series, ...]:
    """Return the series of the quantities of `revgn.analysis`, with those of standard errors."""
    found = []
    for quantity in QUANTITIES:
        if quantity.by_coupling == by_coupling:
            found.append(Series(quantity.name, quantity.meaning, quantity.unit))
            if quantity.has_error:
                error = f"standard error of {quantity.name}, where it is estimated"
                found.append(Series(f"{quantity.name}_error", error, quantity.unit))
    return tuple(found)


STEP = Series("step", "optimizer steps taken")
STEP_SERIES = (
    Series("loss", "training loss of the batch before the update, with smoothed labels"),
    Series("accuracy", "training accuracy of the batch before the update"),
    Series("loss_after", "loss of the same batch after the update, with smoothed labels"),
    Series("loss_other", "loss of a fixed second training batch after the update, with smoothed labels"),
    Series("loss_test", "loss of the first test rows after the update, one batch size of them"),
    Series("loss_decrease", "loss of the batch before the update minus its loss after the update"),
    Series("loss_decrease_other", "loss of the fixed second batch before the update minus after it"),
    Series("loss_decrease_test", "loss of the first test rows before the update minus after it"),
    Series("lr", "learning rate"),
    Series("length", "factor applied to the direction: lr, unless a length rule or a wrapper changed it"),
    Series(
        "rho",
        "relative residual |J D - eps| / |eps| of the direction D that was applied, in the constrained rows",
    ),
    Series("rho_outputs", "rho of all outputs, where fewer rows of each sample are constrained"),
    Series("step_norm", "Euclidean norm of the parameter change"),
    Series("damping", "damping mu added to the squared singular values"),
    Series("rank", "smallest rank kept by a factorization of the step"),
    Series("s_max", "largest singular value found in the step"),
    Series("s_min", "smallest singular value kept in the step"),
    Series("cg_iterations", "iterations of conjugate gradients; 0 for direct solvers"),
    Series("cg_outcome", "reason why conjugate gradients ended", meanings=OUTCOMES),
    Series("rung", "method by which the hardest factorization of the step succeeded", meanings=RUNGS),
    Series("residual", "relative residual of the linear solve"),
    Series("inverse_error", "relative error of mapping inputs through the network and back"),
    _timing("seconds", "wall-clock time of the step"),
    _timing("seconds_forward", "wall-clock time of the forward pass"),
    _timing(
        "seconds_kernel",
        "wall-clock time of forming and factoring kernels and of Gram matrices formed before the sweep",
    ),
    _timing("seconds_solve", "wall-clock time of solving, including factorizations made during the solve"),
    _timing("seconds_update", "wall-clock time of the parameter update"),
    Series("memory", "peak memory of the process, or size of the device's memory pool", "byte", False),
    Series("samples", "training samples used so far"),
    Series("epoch", "epochs over the training data so far"),
)

EPOCH = Series("epoch", "epochs over the training data so far")
EPOCH_SERIES = (
    *(
        Series(f"{part}_{figure}{suffix}", f"{meaning} {where}{of}")
        for suffix, of in (("", ""), ("_average", ", of the averaged weights"))
        for part, where in (
            ("train", "over the training data (the first eval_train_rows)"),
            ("validation", "over the validation data"),
            ("test", "over the test data"),
        )
        for figure, meaning in (("loss", "mean loss, without label smoothing,"), ("accuracy", "accuracy"))
    ),
    *_analysed(by_coupling=False),
    _timing("seconds", "wall-clock time of all training steps so far"),
    _timing(
        "seconds_outside",
        "wall-clock time since the previous evaluation that was spent outside of steps: "
        "on batches, measurements, this evaluation, recording",
    ),
    Series("samples", "training samples used so far"),
    Series("step", "optimizer steps taken"),
)

COUPLING_SERIES = _analysed(by_coupling=True)

STEPS = Cadence("steps", STEP, STEP_SERIES)
EPOCHS = Cadence("epochs", EPOCH, EPOCH_SERIES, COUPLING_SERIES)
CADENCES = (STEPS, EPOCHS)

# Names of series in formats 1 and 2, and in the journals of runs that were continued from these.
RENAMED_SERIES = {
    "gain": "loss_decrease",
    "gain_other": "loss_decrease_other",
    "gain_test": "loss_decrease_test",
    "inverses_cosine": "solvers_cosine",
}


# Beside these, `config.optimizer.lr` and its like hold the settings, `version.numpy` the versions.
ROOT_ATTRIBUTES = {
    "NX_class": "the NeXus class, for viewers",
    "default": "the group that a viewer shows first",
    "Conventions": "the conventions that names and units follow",
    "format_version": "version of this table",
    "title": "one line for people",
    "source": "the program that made the run",
    "history": "a line a start or resumption: when, and by which command",
    "references": "the literature behind the method",
    "status": "running, finished, stopped (not to go on), interrupted or failed",
    "message": "why the run ended as it did; empty where there is nothing to say",
    "command": "the command that started the run",
    "config_json": "all settings as JSON",
    "seed": "seed of everything random",
    "backend": "numpy or cupy",
    "device": "the processor, in words",
    "dtype": "precision of parameters and data",
    "data_name": "name of the data set",
    "data_sha256": "SHA-256 of the data set",
    "start": "when the run started, ISO 8601, UTC",
    "end": "when it ended; empty while it runs",
}
