"""Training with a run folder: start, resume, evaluate. The loop yields events, the writer stores them."""

import math
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from revgn.arrays import device_name, to_host
from revgn.data import Dataset, Part
from revgn.errors import RunError, UsageError
from revgn.optimizers import Optimizer
from revgn.settings import (
    FAMILIES,
    Config,
    build_config,
    config_dict,
    config_toml,
    fields_at,
    flat,
    kind_of,
    parts_of,
)
from revgn.solvers import Automatic
from revgn.store.checkpoint import best_checkpoint, latest_checkpoint
from revgn.store.names import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN, WEIGHTS, Weights, score_of
from revgn.store.reader import Run, open_run
from revgn.store.writer import Provenance, RunWriter, create_run, reopen_run
from revgn.training import (
    Evaluated,
    Event,
    Problem,
    TrainState,
    averaged,
    build_problem,
    evaluate_part,
    initial_state,
    load_data,
    restore_state,
    state_arrays,
    train,
)
from revgn.training.loop import is_evaluated
from revgn.training.step import is_finite

CUPY_PACKAGES = ("cupy", "cupy-cuda12x", "cupy-cuda13x")

Observer = Callable[[Problem, Event], None]

REFERENCES = (
    "Buffelli et al., Exact, Tractable Gauss-Newton Optimization in Deep Reversible Architectures "
    "Reveal Poor Generalization, NeurIPS 2024, arXiv 2411.07979"
)
CHECKPOINT_SHARE = 0.05  # of the time, at most, for checkpoints at evaluations without `checkpoint_every`


@dataclass(frozen=True, slots=True)
class Outcome:
    """How training ended, the steps and seconds it took in all, and the last evaluation's record."""

    folder: Path
    status: Literal["finished", "stopped", "interrupted"]
    step: int
    seconds: float
    last: dict[str, float]
    notes: tuple[str, ...] = ()


def start_run(
    config: Config,
    folder: Path | str,
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
) -> Outcome:
    """Train from the beginning into a new run folder.

    Parameters
    ----------
    command : str
        The command line, for the run's history.
    observe : callable
        Called with the problem and each event, after it was journalled.
    should_stop : callable
        Asked after each step; True ends training with a checkpoint and status "interrupted", a reason with
        "stopped": the run is not to go on.

    Raises
    ------
    RunError
        If the folder exists and is not empty, cannot be written, or training diverged; what was journalled
        and the last good checkpoint stay.
    """
    if Path(config.data.name).suffix:  # a file: resume must find it from any folder
        data = replace(config.data, name=str(Path(config.data.name).resolve()))
        config = replace(config, data=data)
    dataset = load_data(config)
    config, notes = _with_solver(config, dataset)
    problem = build_problem(config, dataset)
    writer = create_run(Path(folder), _provenance(problem, command))
    return _drive(writer, problem, initial_state(problem), observe, should_stop, notes)


def resume_run(
    folder: Path | str,
    changes: dict[str, Any],
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
) -> Outcome:
    """Go on with a run from its newest checkpoint; `changes` are nested settings, such as more epochs.

    Notes
    -----
    Law: a run killed anywhere and resumed has the bits of one that was not, on the same machine.

    Raises
    ------
    UsageError
        If a setting cannot change on resume, or nothing is left to do.
    RunError
        If there is no usable checkpoint, or the data are not those that the run was started with.
    """
    folder = Path(folder)
    run = open_run(folder)
    config = build_config(changes, run.config)
    _check_changes(build_config(run.config), config)
    problem = build_problem(config, same_data(config, run.attributes["data_sha256"]))
    state = initial_state(problem)
    notes: list[str] = []
    if any((folder / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN)):  # else it was killed before the first
        checkpoint, notes = latest_checkpoint(folder)
        state = restore_state(problem, checkpoint.arrays)
    if state.step >= problem.total_steps + (run.status != "finished"):  # killed before its last words
        raise UsageError(
            f"{folder}: has done its {state.step} steps; "
            f"to go on, raise training.{'steps' if config.training.steps else 'epochs'}"
        )
    writer = reopen_run(folder, _provenance(problem, command), step=state.step)
    return _drive(writer, problem, state, observe, should_stop, tuple(notes))


def _with_solver(config: Config, dataset: Dataset) -> tuple[Config, tuple[str, ...]]:
    """Return the configuration with a solver in place of the automatic one, and a note that says which."""
    if not any(isinstance(part, Automatic) for part in parts_of(config.optimizer)):
        return config, ()
    from revgn.training.estimate import choose_solver, solver_choice  # measures the machine

    config, estimates = choose_solver(config, dataset)
    return config, (f"solver {solver_choice(config, estimates)}",)


def _check_changes(before: Config, after: Config) -> None:
    """Raise `UsageError` for a changed setting from which batches, arrays or targets follow."""
    was, now = flat(config_dict(before)), flat(config_dict(after))
    allowed = [path for path, of, _ in fields_at(config_dict(after)) if of.resumable]
    for path in dict.fromkeys((*now, *was)):
        may_change = any(path == part or path.startswith(f"{part}.") for part in allowed)
        if not may_change and was.get(path) != now.get(path):
            raise UsageError(f"{path}: cannot change on resume (it is {was.get(path)!r}); start a new run")


def evaluate_run(
    folder: Path | str, data: dict[str, Any], *, best: bool = False, weights: Weights = "raw"
) -> dict[str, Any]:
    """Evaluate a run's newest (or best) checkpoint on its own data, or on others: `data` are data settings.

    The raw weights of the checkpoint, or the averaged ones; the best checkpoint is that of the same weights.

    Figures are those of each of the data's parts, and of all rows: `all_loss` and the like.
    What `data` does not say is taken from the run's own settings where the files are of one kind. Inputs,
    and targets where the run's were, are normalized by the training part of its own data; classes are matched
    by name.

    Raises
    ------
    UsageError
        If the other data's features differ in number from the network's, it has classes that the network
        does not know, or there are no averaged weights.
    """
    folder = Path(folder)
    run = open_run(folder)
    config = build_config(run.config)
    if weights == "average" and config.training.average is None:
        raise UsageError(f"{folder}: has no averaged weights; it was trained without training.average")
    own = same_data(config, run.attributes["data_sha256"])
    other = own
    if data:
        same_kind = Path(data.get("name", config.data.name)).suffix == Path(config.data.name).suffix
        inherited = run.config["data"] if same_kind else {"folder": config.data.folder}
        if "name" in data:
            inherited = inherited | {"subset": None, "subset_seed": None}
        other = matched_classes(load_data(build_config({"data": inherited | data})), own)
    want, have = own.train.inputs.shape[1], other.test.inputs.shape[1]
    if want != have:
        raise UsageError(f"{other.name}: has {have} features where the network has {want}")
    checkpoint = best_checkpoint(folder, weights) if best else latest_checkpoint(folder)[0]
    problem = build_problem(config, own)
    raw = restore_state(problem, checkpoint.arrays)
    state = averaged(raw) if weights == "average" else raw
    if state is None:
        raise UsageError(f"{folder}: at step {checkpoint.step} nothing was averaged yet")
    result: dict[str, Any] = {
        "run": str(folder),
        "step": checkpoint.step,
        "weights": weights,
        "data": other.name,
    }
    normalization = {name: getattr(own, name) for name in ("shift", "scale", "target_shift", "target_scale")}
    problem = replace(problem, dataset=replace(other, **normalization))
    found = {"train": other.train, "validation": other.validation, "test": other.test}
    parts = {
        name: (part.inputs.shape[0], *evaluate_part(problem, state, part))
        for name, part in found.items()
        if part is not None
    }
    rows = sum(part[0] for part in parts.values())
    parts["all"] = (
        rows,
        sum(part[0] * part[1] for part in parts.values()) / rows,
        sum(part[0] * part[2] for part in parts.values()) / rows,
    )
    for name, (count, loss, hit) in parts.items():
        result |= {f"{name}_rows": count, f"{name}_loss": loss}
        if other.task == "classification":
            result[f"{name}_accuracy"] = hit
    return result


def matched_classes(other: Dataset, own: Dataset) -> Dataset:
    """`other` with one-hot columns in the order of `own`'s classes.

    Raises
    ------
    UsageError
        If it is of another task, has a class that `own` lacks, or another number of targets.
    """
    if other.task != own.task:
        raise UsageError(f"{other.name}: is a {other.task}, the run a {own.task}")
    if own.task == "regression":
        if len(other.classes) != len(own.classes):
            raise UsageError(f"{other.name}: has {len(other.classes)} targets, the run {len(own.classes)}")
        return other
    if unknown := [name for name in other.classes if name not in own.classes]:
        raise UsageError(
            f"{other.name}: has class {unknown[0]!r}, which the run does not know; "
            f"it knows {', '.join(own.classes)}"
        )
    columns = [own.classes.index(name) for name in other.classes]

    def spread(part: Part) -> Part:
        targets = np.zeros((part.targets.shape[0], len(own.classes)))
        targets[:, columns] = part.targets
        return Part(part.inputs, targets)

    return replace(
        other,
        train=spread(other.train),
        validation=other.validation and spread(other.validation),
        test=spread(other.test),
        classes=own.classes,
    )


def _drive(
    writer: RunWriter,
    problem: Problem,
    state: TrainState,
    observe: Observer | None,
    should_stop: Callable[[], bool | str],
    notes: tuple[str, ...],
) -> Outcome:
    """Record every event, checkpoint when due, and close the run with the status it ended by."""
    every = problem.config.training.checkpoint_every
    scores: dict[Weights, float] = {}
    best: dict[Weights, float] = {}
    last: dict[str, float] = {}
    saved_step, next_save = -1, 0.0

    def save() -> None:
        nonlocal saved_step, next_save
        if saved_step == state.step or (not scores and not _is_sound(problem, state)):
            return
        begun = time.monotonic()
        arrays = {name: np.asarray(_on_host(leaf)) for name, leaf in state_arrays(state).items()}
        writer.save_checkpoint(step=state.step, arrays=arrays, attributes={}, scores=scores)
        saved_step, ended = state.step, time.monotonic()
        next_save = ended + (ended - begun) / CHECKPOINT_SHARE

    with writer:
        for event in train(problem, state):
            state = event.state
            finite = is_finite(event.record)
            if isinstance(event, Evaluated):
                last = event.record
                writer.record_epoch(last)
                scores = _scores(last)
                due = time.monotonic() >= next_save if every is None else state.step % every == 0
                better = {each: score for each, score in scores.items() if score > best.get(each, -math.inf)}
                due = due or bool(better)
                best |= better
            else:
                writer.record_step(event.record)
                scores = {}
                due = every is not None and state.step % every == 0 and not is_evaluated(problem, state.step)
            if observe is not None:
                observe(problem, event)
            if finite and (due or state.step == 0):
                save()
            writer.snapshot_if_due()
            if finite and state.step < problem.total_steps and (reason := should_stop()):
                save()
                status: Literal["stopped", "interrupted"] = "interrupted" if reason is True else "stopped"
                message = f"stopped after step {state.step}" if reason is True else str(reason)
                writer.close(status, message)
                return Outcome(writer.folder, status, state.step, state.seconds, last, notes)
        save()
        writer.close("finished")
    return Outcome(writer.folder, "finished", state.step, state.seconds, last, notes)


def _scores(record: dict[str, float]) -> dict[Weights, float]:
    """What each kind of weights is judged by, with a minus where less is better."""
    scores = {weights: score_of(record, weights) for weights in WEIGHTS}
    return {weights: score[0] * score[1] for weights, score in scores.items() if score is not None}


def _is_sound(problem: Problem, state: TrainState) -> bool:
    """Whether the loss is finite on a batch's worth of training rows: worth going on from."""
    return math.isfinite(evaluate_part(problem, state, problem.dataset.train, problem.batch_size)[0])


def _on_host(leaf: Any) -> Any:
    return leaf if isinstance(leaf, int | float) else to_host(leaf)


def problem_of(run: Run) -> Problem:
    """Return the problem that the run trains on, from its settings and its data.

    Raises
    ------
    RunError
        If the data are not those that the run was started with.
    """
    config = build_config(run.config)
    return build_problem(config, same_data(config, run.attributes["data_sha256"]))


def same_data(config: Config, checksum: str) -> Dataset:
    dataset = load_data(config)
    if dataset.checksum != checksum:
        raise RunError(
            f"{config.data.name}: the data are not those of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )
    return dataset


def _provenance(problem: Problem, command: str) -> Provenance:
    config = problem.config
    return Provenance(
        title=f"{_optimizers(problem.optimizer)} on {problem.dataset.name}",
        command=command,
        config=config_dict(config),
        config_toml=config_toml(config),
        seed=config.training.seed,
        backend=problem.backend.name,
        device=device_name(problem.backend),
        dtype=config.training.dtype,
        data_name=problem.dataset.name,
        data_sha256=problem.dataset.checksum,
        versions=_versions(),
        references=REFERENCES,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("revgn", "numpy", "scipy", "h5py", *CUPY_PACKAGES):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _optimizers(optimizer: Optimizer) -> str:
    """Return the kinds of an optimizer and those within it: "orthogonalized gauss-newton"."""
    kinds = [kind_of(part) for part in parts_of(optimizer) if part is not None]
    return " ".join([kinds[0], *(kind for kind in kinds[1:] if kind in FAMILIES["optimizer"])])
