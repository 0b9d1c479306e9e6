"""All names in a run folder: files, groups, series with their units, attributes.

    run.h5                          groups `steps` and `epochs`; attributes that describe the run
    metrics.jsonl                   one record per line: {"kind": "step", "step": 12, "loss": 0.5}
    writer.json                     the process that writes the run, or wrote it last
    config.toml                     all settings, with defaults filled in
    network.h5                      the network apart from its weights; see `revgn.store.network`
    checkpoints/step_00001200.h5    attributes `format_version`, `step`, `sha256`; group `state`

All series are one-dimensional float64 arrays along the scale of their group; NaN means "not measured". A
series exists from the first snapshot on, initially with length 0; a series of a single coupling exists from
its first record on.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from revgn.analysis import QUANTITIES
from revgn.linalg import OUTCOMES as OUTCOMES
from revgn.linalg import RUNGS as RUNGS

T = TypeVar("T")
_RANKING = ("accuracy", "loss")
Weights = Literal["raw", "average"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

FORMAT_VERSION = 4
CONVENTIONS = "CF-1.11"

RUN_FILE = "run.h5"
JOURNAL_FILE = "metrics.jsonl"
WRITER_FILE = "writer.json"
CONFIG_FILE = "config.toml"
NETWORK_FILE = "network.h5"
CHECKPOINT_FOLDER = "checkpoints"
PARTIAL_FILE = ".partial"
CONFIG_PREFIX = "config."  # prefix of the attributes of run.h5 that hold settings, by dotted path
JOURNAL_BYTES = "journal_bytes"  # attribute: length of the part of the journal that run.h5 contains
STATE_GROUP = "state"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint after `step` steps of the run in `folder`."""
    return folder / CHECKPOINT_FOLDER / f"step_{step:08d}.h5"


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the paths of the checkpoints of the run in `folder`, in the order of their steps."""
    found = (folder / CHECKPOINT_FOLDER).glob("step_*.h5")
    paths = (path for path in found if re.fullmatch(r"step_\d+\.h5", path.name))  # not a user's copies
    return sorted(paths, key=lambda path: (len(path.name), path.name))


def of_weights(name: str, weights: Weights) -> str:
    """Return the name of a metric for raw or averaged weights: "test_loss" or "test_loss_average"."""
    return name if weights == "raw" else f"{name}_average"


def judged_name(metrics: Container[str], weights: Weights = "raw") -> str:
    """Return the name of the metric that ranks weights; "" if `metrics` has none.

    The metric is the accuracy, else the loss, on the validation set; without a validation set, on the test
    set.
    """
    names = (of_weights(f"{part}_{what}", weights) for part in ("validation", "test") for what in _RANKING)
    return next((name for name in names if name in metrics), "")


def is_validated(metrics: Container[str]) -> bool:
    """Return whether there are metrics on a validation set, so that nothing is selected on the test set."""
    return any(f"validation_{what}" in metrics for what in _RANKING)


def score_of(metrics: Mapping[str, T], weights: Weights = "raw") -> tuple[T, int] | None:
    """Return the metric of `judged_name`, and its sign: 1 if higher is better, -1 if lower; None if none."""
    name = judged_name(metrics, weights)
    return (metrics[name], 1 if "accuracy" in name else -1) if name else None


def judged_weights(metrics: Mapping[str, Any]) -> Weights:
    """Return the weights that represent a run, from the names of its metrics: averaged weights, if any."""
    return "average" if of_weights("test_loss", "average") in metrics else "raw"


@dataclass(frozen=True, slots=True)
class Series:
    """One measured quantity.

    `deterministic` is true if repeating a run reproduces the series bit for bit; timings and memory differ.
    `meanings` names the values 0, 1, ... of a series that records categories.
    """

    name: str
    long_name: str
    units: str = "1"
    deterministic: bool = True
    meanings: tuple[str, ...] = ()


def attributes_of(series: Series) -> dict[str, Any]:
    """Return the attributes of a series in run.h5."""
    found: dict[str, Any] = {"long_name": series.long_name, "units": series.units}
    if series.meanings:
        found |= {
            "flag_values": np.arange(len(series.meanings), dtype=np.float64),
            "flag_meanings": " ".join(series.meanings),
        }
    return found


@dataclass(frozen=True, slots=True)
class Cadence:
    """A group of series that are recorded together, along one scale; viewers plot the first recorded one.

    A series in `by_coupling` exists once per coupling: weights_norm_K means weights_norm_0 and so on.
    """

    group: str
    scale: Series
    series: tuple[Series, ...]
    by_coupling: tuple[Series, ...] = ()

    def find(self, name: str) -> Series | None:
        """Return the series of the given name, or the scale; None if there is none."""
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
    """Return the series of the quantities of `revgn.analysis`, and of their standard errors."""
    found = []
    for quantity in QUANTITIES:
        if quantity.by_coupling == by_coupling:
            found.append(Series(quantity.name, quantity.meaning, quantity.unit))
            if quantity.has_error:
                error = f"standard error of {quantity.name}, if it is estimated"
                found.append(Series(f"{quantity.name}_error", error, quantity.unit))
    return tuple(found)


STEP = Series("step", "optimizer steps taken")
STEP_SERIES = (
    Series("loss", "loss of the batch before the update, with label smoothing"),
    Series("accuracy", "accuracy on the batch before the update"),
    Series("loss_after", "loss of the batch after the update, with label smoothing"),
    Series("loss_other", "loss of a second, fixed training batch after the update, with label smoothing"),
    Series("loss_test", "loss of the first test samples (as many as a batch has) after the update"),
    Series("loss_decrease", "decrease of the batch loss by the update"),
    Series(
        "loss_decrease_other",
        "decrease of the loss of the second, fixed batch by the update",
    ),
    Series(
        "loss_decrease_test",
        "decrease of the loss of the first test samples by the update",
    ),
    Series("lr", "learning rate"),
    Series("length", "factor applied to the direction: lr, unless a length rule or wrapper changes it"),
    Series(
        "rho",
        "relative residual |J D - eps| / |eps| of the applied direction D, in the constrained rows",
    ),
    Series("rho_measured", "1 if rho was measured with J D, 0 if it follows from the solved equation"),
    Series("rho_outputs", "rho in all outputs, if fewer rows of each sample are constrained"),
    Series("step_norm", "Euclidean norm of the parameter change"),
    Series("damping", "damping mu added to the squared singular values"),
    Series("rank", "smallest rank kept by a factorization of the step"),
    Series("s_max", "sqrt(s^2 + damping) for the largest singular value s found in the step"),
    Series("s_min", "sqrt(s^2 + damping) for the smallest singular value s kept in the step"),
    Series("cg_iterations", "iterations of conjugate gradients; 0 for direct solvers"),
    Series("cg_outcome", "reason why the conjugate gradient iteration ended", meanings=OUTCOMES),
    Series("rung", "method that was needed for the most difficult factorization of the step", meanings=RUNGS),
    Series("residual", "relative residual of the linear solve"),
    Series("inverse_error", "relative error of mapping inputs through the network and back"),
    _timing("seconds", "wall-clock time of the step"),
    _timing("seconds_forward", "wall-clock time of the forward pass"),
    _timing(
        "seconds_kernel",
        "wall-clock time of computing and factoring kernels and Gram matrices",
    ),
    _timing("seconds_solve", "wall-clock time of the solve, including factorizations computed during it"),
    _timing("seconds_update", "wall-clock time of the parameter update"),
    Series("memory", "peak memory of the process, or size of the memory pool of the device", "byte", False),
    Series("samples", "training samples processed so far"),
    Series("epoch", "epochs so far: samples processed, divided by the size of the training set"),
)

_UNITS = {"rmse": "target"}  # the unit of the target, whichever it is
EPOCH = Series("epoch", "epochs so far: samples processed, divided by the size of the training set")
EPOCH_SERIES = (
    *(
        Series(f"{part}_{metric}{suffix}", f"{meaning} {where}{smoothing}{of}", _UNITS.get(metric, "1"))
        for suffix, of in (("", ""), ("_average", ", of the averaged weights"))
        for part, where in (
            ("train", "on the first eval_train_rows samples of the training set"),
            ("validation", "on the validation set"),
            ("test", "on the test set"),
        )
        for metric, meaning, smoothing in (
            ("loss", "mean loss", ", without label smoothing"),
            ("accuracy", "accuracy", ""),
            ("rmse", "root mean squared error, in the unit of the target,", ""),
            ("r2", "coefficient of determination R^2, mean over targets,", ""),
        )
    ),
    *_analysed(by_coupling=False),
    _timing("seconds", "wall-clock time of all training steps so far"),
    _timing(
        "seconds_outside",
        "wall-clock time spent outside of steps since the previous evaluation: "
        "batches, measurements, this evaluation, recording",
    ),
    Series("samples", "training samples processed so far"),
    Series("step", "optimizer steps taken"),
)

COUPLING_SERIES = _analysed(by_coupling=True)

STEPS = Cadence("steps", STEP, STEP_SERIES)
EPOCHS = Cadence("epochs", EPOCH, EPOCH_SERIES, COUPLING_SERIES)
CADENCES = (STEPS, EPOCHS)

# Names of series in formats 1 and 2, and in the journals of runs resumed from these formats.
RENAMED_SERIES = {
    "gain": "loss_decrease",
    "gain_other": "loss_decrease_other",
    "gain_test": "loss_decrease_test",
    "inverses_cosine": "solvers_cosine",
}


# In addition, `config.optimizer.lr` and so on hold the settings, `version.numpy` and so on the versions.
ROOT_ATTRIBUTES = {
    "NX_class": "NeXus class, for viewers",
    "default": "group that a viewer shows first",
    "Conventions": "conventions for names and units",
    "format_version": "version of the file format",
    "title": "title of the run",
    "source": "program that created the run",
    "history": "one line per start or resume: time, command, changes of machine and versions",
    "references": "literature on the method",
    "status": "running, finished, stopped (for good), interrupted, diverged or failed",
    "message": "reason why the run ended early, or settings without effect; else empty",
    "command": "command that started the run",
    "config_json": "all settings as JSON",
    "seed": "seed of all random numbers",
    "backend": "array library: numpy or cupy",
    "device": "name of the processor or GPU",
    "dtype": "floating-point precision of parameters and data",
    "data_name": "name of the data set",
    "data_sha256": "SHA-256 of the data set",
    "data_image_shape": "channels, height and width of images as JSON; null for tables",
    "start": "time when the run started, ISO 8601, UTC",
    "end": "time when the run ended, ISO 8601, UTC; empty while it continues",
}
