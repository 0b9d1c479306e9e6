"""Summary of a run: its settings, progress, metrics, relative residuals, time and memory."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revgn.errors import UsageError
from revgn.settings import build_config, filled_settings, flat
from revgn.settings import changed_settings as changed_by
from revgn.store.names import OUTCOMES, RUNGS, Weights, is_validated, judged_name, score_of
from revgn.store.reader import Run, as_run, status

SPLIT = ("forward", "kernel", "solve", "update")


def summarize(run: Run | Path | str) -> dict[str, Any]:
    """Return a summary of a run as a dict of numbers and text; None marks a value that was not measured.

    `run` is a `Run` or the path of its folder. Keys:

    - `run`, `title`, `status`, `message`, `start`, `end`, `backend`, `device`, `dtype`: identification. The
      status is "killed" if the run is marked as running but no process is writing it.
    - `history`: one line per start or resume, with the changes of machine and versions.
    - `settings`: settings that differ from the defaults, by dotted path.
    - `step`, `epoch`: progress.
    - `last`, `best`, `best_average`: metrics of the last evaluation, of the best one, and of the best one
      with averaged weights. The best has the highest validation accuracy, or test accuracy without a
      validation set, or the lowest loss where there is no accuracy.
    - `best_by`: name of the metric that defines the best evaluation. If it is a metric of the test set, the
      test metrics of the best evaluation are optimistic.
    - `rho`: median and largest relative residual of the steps.
    - `factorizations`, `cg_outcomes`: number of steps for each factorization method, and for each outcome of
      conjugate gradients.
    - `seconds`, `seconds_outside`: wall-clock time in training steps, and outside of them.
    - `split`: fractions of the step time in the forward pass, kernel, solve and update.
    - `memory_bytes`: peak memory.
    """
    run = as_run(run)
    steps = run.steps
    return {
        **outline(run),
        "backend": run.attributes["backend"],
        "device": run.attributes["device"],
        "history": run.attributes["history"].splitlines(),
        "dtype": run.attributes["dtype"],
        "settings": changed_settings(run),
        "epoch": float(steps["epoch"][-1]) if steps["step"].size else 0.0,
        "rho": _spread(steps.get("rho")),
        "factorizations": _counts(run, "rung", RUNGS),
        "cg_outcomes": _counts(run, "cg_outcome", OUTCOMES),
        "seconds": float(np.nansum(steps["seconds"])) if "seconds" in steps else 0.0,
        "seconds_outside": _sum(run.epochs.get("seconds_outside")),
        "split": _split(steps),
        "memory_bytes": float(np.nanmax(steps["memory"])) if "memory" in steps else None,
    }


def outline(run: Run) -> dict[str, Any]:
    """Return the part of `summarize` that is fast to read: no settings, machine or metrics of steps."""
    epochs = run.epochs
    evaluated = epochs["epoch"].size > 0
    has_last_step = run.status == "finished" and "step" in epochs  # the last step is always evaluated
    steps = epochs["step"] if has_last_step else run.steps["step"]
    return {
        "run": str(run.folder),
        "title": run.attributes["title"],
        "status": status(run),
        "message": run.attributes["message"],
        "start": run.attributes["start"],
        "end": run.attributes["end"],
        "step": int(steps[-1]) if steps.size else 0,
        "last": _row(epochs, -1) if evaluated else {},
        "best_by": judged_name(epochs),
        "best": _row(epochs, best_index(run)) if evaluated else {},
        "best_average": _row(epochs, best_index(run, "average")) if "test_loss_average" in epochs else {},
    }


def changed_settings(run: Run) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by dotted path."""
    try:
        return _in_effect(changed_by(build_config(run.config)))
    except UsageError:  # the run used the user's own structs, which have no registered defaults
        return flat(run.config)


def all_settings(run: Run) -> dict[str, Any]:
    """Return all settings by dotted path; settings introduced after the run was made have their defaults.

    Epochs that have no effect, since the number of steps is set, are left out.
    """
    return _in_effect(flat(filled_settings(run.config)))


def _in_effect(settings: dict[str, Any]) -> dict[str, Any]:
    is_void = settings.get("training.steps") is not None
    return {path: of for path, of in settings.items() if not (is_void and path == "training.epochs")}


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """Return the dotted paths of settings that differ between runs, or that only some runs changed."""
    settings, changed = [all_settings(run) for run in runs], [changed_settings(run) for run in runs]

    def differs(path: str) -> bool:
        values = [repr(each[path]) for each in settings if path in each]
        return len(set(values)) > 1 or (len(values) < len(runs) and any(path in each for each in changed))

    return [path for path in dict.fromkeys(path for each in settings for path in each) if differs(path)]


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a label for each run: the settings that differ, or the folder names if labels are not unique."""
    paths = differing_settings(runs)
    names = [settings_in_words({path: all_settings(run).get(path) for path in paths}) for run in runs]
    unique = len(set(names)) == len(names) and all(names)
    return names if unique else [run.folder.name for run in runs]


def best_index(run: Run, weights: Weights = "raw") -> int:
    """Return the index of the best evaluation, according to `score_of`."""
    judged = score_of(run.epochs, weights)
    assert judged is not None  # every evaluation has a loss
    return int(np.argmax(np.nan_to_num(judged[0] * judged[1], nan=-np.inf)))


def selected_index(run: Run, weights: Weights = "raw") -> int:
    """Return the index of the evaluation that represents a run: the best one on the validation set.

    Without a validation set it is the last evaluation, so that the test set does not select it.
    """
    return best_index(run, weights) if is_validated(run.epochs) else run.epochs["epoch"].size - 1


def short_names(paths: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Return for each setting the shortest suffix of its path that is unique and not in `taken`.

    The suffix `.kind` is left out: "optimizer.kind" is "optimizer".
    """
    parts = [path.removesuffix(".kind").split(".") for path in paths]

    def short(words: list[str], path: str) -> str:
        for size in range(1, len(words)):
            end = words[-size:]
            if sum(other[-size:] == end for other in parts) == 1 and ".".join(end) not in taken:
                return ".".join(end)
        return path.removesuffix(".kind") if "." in path else path

    return [short(words, path) for words, path in zip(parts, paths, strict=True)]


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Format settings as text, such as "adam, lr 0.1"; of `name`, `kind` and `preset` only the value."""
    words = []
    for short, (path, value) in zip(short_names(list(settings)), settings.items(), strict=True):
        is_named = path.rpartition(".")[2] not in ("name", "kind", "preset")
        name = f"{short.replace('.', ' ').replace('_', ' ')} " if is_named else ""
        words += [] if value is None else [f"{name}{value}"]
    return ", ".join(words)


def _row(series: dict[str, NDArray[np.float64]], index: int) -> dict[str, float]:
    return {name: float(array[index]) for name, array in series.items() if not np.isnan(array[index])}


def _spread(series: NDArray[np.float64] | None) -> dict[str, float] | None:
    if series is None or np.all(np.isnan(series)):
        return None
    return {"median": float(np.nanmedian(series)), "largest": float(np.nanmax(series))}


def _sum(series: NDArray[np.float64] | None) -> float | None:
    return None if series is None or np.all(np.isnan(series)) else float(np.nansum(series))


def _counts(run: Run, name: str, meanings: tuple[str, ...]) -> dict[str, int]:
    codes = run.steps.get(name)
    if codes is None:
        return {}
    return {word: int(np.sum(codes == code)) for code, word in enumerate(meanings) if np.any(codes == code)}


def _split(steps: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    sums = {part: float(np.nansum(steps[f"seconds_{part}"])) for part in SPLIT if f"seconds_{part}" in steps}
    total = sum(sums.values())
    return {part: seconds / total for part, seconds in sums.items()} if total else {}
