"""A run in a few figures: what it was, how far it came, how exact its steps were, where the time went."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revgn.errors import UsageError
from revgn.settings import build_config, filled_settings, flat
from revgn.settings import changed_settings as changed_by
from revgn.store.names import OUTCOMES, RUNGS, Weights, score_of
from revgn.store.reader import Run, status

SPLIT = ("forward", "kernel", "solve", "update")


def summarize(run: Run) -> dict[str, Any]:
    """Figures of a run as plain numbers and text, None where not measured.

    Keys: run, title, status, message, start, end, settings (those that differ from the defaults), step,
    epoch, last and best (of the evaluations; best by validation accuracy, else test accuracy, else loss),
    best_average (by that of the averaged weights), rho (median, largest), rungs and cg_outcomes (how often
    each), seconds (of training), seconds_outside (of its steps), split (share of forward, kernel, solve,
    update), memory_bytes. A run that says "running" but is written by no process has the status "killed".
    """
    steps = run.steps
    return {
        **outline(run),
        "backend": run.attributes["backend"],
        "device": run.attributes["device"],
        "dtype": run.attributes["dtype"],
        "settings": changed_settings(run),
        "epoch": float(steps["epoch"][-1]) if steps["step"].size else 0.0,
        "rho": _spread(steps.get("rho")),
        "rungs": _counts(run, "rung", RUNGS),
        "cg_outcomes": _counts(run, "cg_outcome", OUTCOMES),
        "seconds": float(np.nansum(steps["seconds"])) if "seconds" in steps else 0.0,
        "seconds_outside": _sum(run.epochs.get("seconds_outside")),
        "split": _split(steps),
        "memory_bytes": float(np.nanmax(steps["memory"])) if "memory" in steps else None,
    }


def outline(run: Run) -> dict[str, Any]:
    """Return what of `summarize` is quick to read: without settings, machine, and what steps measured."""
    epochs = run.epochs
    evaluated = epochs["epoch"].size > 0
    is_told = run.status == "finished" and "step" in epochs  # the last step is evaluated
    steps = epochs["step"] if is_told else run.steps["step"]
    return {
        "run": str(run.folder),
        "title": run.attributes["title"],
        "status": status(run),
        "message": run.attributes["message"],
        "start": run.attributes["start"],
        "end": run.attributes["end"],
        "step": int(steps[-1]) if steps.size else 0,
        "last": _row(epochs, -1) if evaluated else {},
        "best": _row(epochs, best_index(run)) if evaluated else {},
        "best_average": _row(epochs, best_index(run, "average")) if "test_loss_average" in epochs else {},
    }


def changed_settings(run: Run) -> dict[str, Any]:
    """Settings by dotted path that differ from the defaults."""
    try:
        return changed_by(build_config(run.config))
    except UsageError:  # structs of the user's own
        return flat(run.config)


def all_settings(run: Run) -> dict[str, Any]:
    """Settings by dotted path, those that are newer than the run at their defaults."""
    return flat(filled_settings(run.config))


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """Dotted paths of the settings that differ between runs, or that some of the runs alone have changed."""
    settings, changed = [all_settings(run) for run in runs], [changed_settings(run) for run in runs]

    def differs(path: str) -> bool:
        values = [repr(each[path]) for each in settings if path in each]
        return len(set(values)) > 1 or (len(values) < len(runs) and any(path in each for each in changed))

    return [path for path in dict.fromkeys(path for each in settings for path in each) if differs(path)]


def labels(runs: Sequence[Run]) -> list[str]:
    """Name runs by the settings in which they differ; by their folders where they do not."""
    paths = differing_settings(runs)
    names = [settings_in_words({path: all_settings(run).get(path) for path in paths}) for run in runs]
    unique = len(set(names)) == len(names) and all(names)
    return names if unique else [run.folder.name for run in runs]


def best_index(run: Run, weights: Weights = "raw") -> int:
    """Index of the evaluation whose weights are best, by `score_of`."""
    judged = score_of(run.epochs, weights)
    assert judged is not None  # whoever evaluates has a loss
    return int(np.argmax(np.nan_to_num(judged[0] * judged[1], nan=-np.inf)))


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Return names and values, as in "adam, lr 0.1"; the value alone of a setting that is itself a name."""
    words = []
    for path, value in settings.items():
        last = path.rpartition(".")[2]
        name = "" if last in ("name", "kind", "preset") else f"{last.replace('_', ' ')} "
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
