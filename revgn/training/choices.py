"""Defaults that are chosen from the data and the sizes, for settings that are not given.

| setting | chosen |
|---|---|
| data.standardize_targets | true for a regression |
| training.batch_size | n/25 rounded to a power of two between 32 and 256; for L-BFGS the full batch |
| training.epochs | 5, or more if 200 steps take more |
| training.schedule | cosine, with Gauss-Newton in mini-batches |
| optimizer.lr, momentum | 0.5 and 0.9, with Gauss-Newton in mini-batches and a minimum-norm solver |
| optimizer.output_damping | 0.1, with Gauss-Newton and the exact curvature of cross-entropy |
| solver.rows, outputs | all centered logits for few data, else 1 row per sample; all for a regression |
| solver.damping | minimum norm: 0.1, for the full batch 0.01; block step without truncation: 1e-3 |

A setting that is given is never changed, and with a preset nothing is chosen. Only for Gauss-Newton itself
are the schedule, learning rate, momentum, output damping, rows and outputs chosen. In any optimizer except
Levenberg-Marquardt, the damping of a solver is chosen if its default is 0. The values were measured over data
sets, widths and batch sizes; see `examples/results/defaults.md`.
"""

import math
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, Literal, NamedTuple

from revgn.data import Dataset, steps_per_epoch
from revgn.losses import CrossEntropy
from revgn.optimizers import LBFGS, GaussNewton, LevenbergMarquardt
from revgn.settings import Config, build_config, config_dict, fields_at, flat, nested
from revgn.solvers import Automatic, BlockWise, ConjugateGradients, MinimumNorm
from revgn.training.problem import choose_loss, load_data

_STEPS, _EPOCHS = 200, 5
_FEW, _ORDER = 5_000, 1_200  # largest numbers of data rows, and of kernel rows, for all outputs
_BATCHES, _FEWEST, _MOST = 25, 32, 256  # batches in an epoch, samples in a batch
_DAMPING, _OF_ALL_ROWS, _OF_BLOCKS = 0.1, 0.01, 1e-3
_LR, _MOMENTUM = 0.5, 0.9
_OUTPUT_DAMPING = 0.1  # without it, relative damping vanishes with the curvature, and the loss diverges

_KERNEL_SOLVERS = (MinimumNorm, ConjugateGradients, Automatic)

Table = dict[str, Any]


Load = Callable[[Config], Dataset]


class Chosen(NamedTuple):
    """A complete configuration, its data set, and the settings in it that were chosen, by dotted path."""

    config: Config
    dataset: Dataset
    chosen: dict[str, Any]

    def __str__(self) -> str:
        """Describe the choices in one line; "" if there are none."""
        if not self.chosen:
            return ""
        named = ", ".join(f"{path.removesuffix('.kind')} = {_text(of)}" for path, of in self.chosen.items())
        rows = self.dataset.train.inputs.shape[0]
        return f"chosen for {rows:,} rows of {self.dataset.name}: {named} (--preset plain chooses nothing)"


def choose_defaults(settings: Table, load: Load = load_data) -> Chosen:
    """Return the configuration of nested settings, with defaults chosen from the data where nothing is set.

    `load` returns the data set of a configuration.

    Raises
    ------
    UsageError
        If the settings cannot be used; see `revgn.build_config`.
    DataError
        If the data cannot be read.

    Examples
    --------
    >>> import revgn
    >>> settings = {"data": {"name": "auto-mpg"}, "optimizer": {"lr": 1.0}}
    >>> config, dataset, chosen = revgn.choose_defaults(settings)
    >>> config.optimizer.lr, config.optimizer.momentum, config.data.standardize_targets
    (1.0, 0.9, True)
    >>> chosen["training.batch_size"]
    32
    """
    config = build_config(settings)
    dataset = load(config)
    if config.preset is not None:
        return Chosen(config, dataset, {})
    given = flat(settings)
    found = {path: value for path, value in _choices(settings, config, dataset) if not _is_given(path, given)}
    layers = [nested(path, value) for path, value in found.items()]
    if "training.schedule.kind" in found:
        layers.insert(0, nested("training.schedule.warmup", config.training.schedule.warmup))
    chosen = build_config(*layers, config_dict(config))
    if chosen.data != config.data:
        dataset = load(chosen)
    return Chosen(chosen, dataset, found)


def remembered(load: Load) -> Load:
    """Return `load` for many configurations: a data set is loaded once and kept as long as the result is."""
    found: dict[str, Dataset] = {}

    def once(config: Config) -> Dataset:
        key = repr(config.data)
        if key not in found:
            found[key] = load(config)
        return found[key]

    return once


def _choices(settings: Table, config: Config, dataset: Dataset) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each setting that is chosen unless it is given."""
    if dataset.task == "regression":
        yield "data.standardize_targets", True
    rows, optimizer = dataset.train.inputs.shape[0], config.optimizer
    if isinstance(optimizer, LBFGS):
        yield "training.batch_size", "full"
        return
    batch_size = min(rows, max(_FEWEST, min(_MOST, 2 ** round(math.log2(rows / _BATCHES)))))
    yield "training.batch_size", batch_size
    size = config.training.batch_size or batch_size
    if config.training.steps is None and size != "full":
        yield "training.epochs", max(_EPOCHS, -(-_STEPS // steps_per_epoch(rows, size)))
    yield from _of_optimizer(settings, config, dataset, size)


def _of_optimizer(
    settings: Table, config: Config, dataset: Dataset, size: int | Literal["full"]
) -> Iterator[tuple[str, Any]]:
    rows, optimizer = dataset.train.inputs.shape[0], config.optimizer
    if isinstance(optimizer, LevenbergMarquardt):  # its gain ratio chooses the damping
        return
    is_whole = size in ("full", rows)
    if isinstance(optimizer, GaussNewton):
        if not is_whole:
            yield "training.schedule.kind", "cosine"
        if optimizer.curvature == "exact" and isinstance(choose_loss(config, dataset), CrossEntropy):
            yield "optimizer.output_damping", _OUTPUT_DAMPING
        if isinstance(optimizer.solver, _KERNEL_SOLVERS):
            if not is_whole:
                yield "optimizer.lr", _LR
                yield "optimizer.momentum", _MOMENTUM
            yield from _of_outputs(optimizer, config, dataset, rows if size == "full" else int(size))
    for path, found in fields_at(settings).items():
        default: Any = reduce(getattr, path.split("."), config)
        if found.struct in _KERNEL_SOLVERS and not default.damping:
            yield f"{path}.damping", _OF_ALL_ROWS if is_whole else _DAMPING
        elif found.struct is BlockWise and not any(found.value.get(cut) for cut in ("rtol", "atol")):
            yield f"{path}.damping", _OF_BLOCKS


def _of_outputs(
    optimizer: GaussNewton, config: Config, dataset: Dataset, size: int
) -> Iterator[tuple[str, Any]]:
    """Yield the choice of rows or outputs; neither is chosen if one of them is given."""
    free, solver = dataset.train.targets.shape[1] - 1, optimizer.solver
    assert isinstance(solver, _KERNEL_SOLVERS)
    is_left_open = solver.rows == "all" and solver.outputs == "logits" and optimizer.curvature == "identity"
    if not (is_left_open and free and isinstance(choose_loss(config, dataset), CrossEntropy)):
        return
    if dataset.train.inputs.shape[0] <= _FEW and size * free <= _ORDER:
        yield "optimizer.solver.outputs", "centered-logits"
    else:
        yield "optimizer.solver.rows", 1


def _is_given(path: str, given: Table) -> bool:
    """Return whether a setting is given; a kind may be given in short form, as in solver = "block"."""
    return path in given or path.removesuffix(".kind") in given


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
