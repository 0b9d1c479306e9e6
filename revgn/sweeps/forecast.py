"""Forecast of the time of a sweep before it runs, from the estimated time of a step of each trial."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from revgn.data import Dataset, load_dataset
from revgn.settings import Config, config_dict, flat
from revgn.sweeps.plan import Trial
from revgn.sweeps.pool import LocalPool, visible_gpus
from revgn.training import choose_defaults, estimate_settings
from revgn.training.choices import remembered

# Last parts of the settings that do not change the time of a step.
_FREE = ("seed", "epochs", "steps", "lr", "weight_decay", "eval_every", "checkpoint_every", "diverged_above")


class Forecast(NamedTuple):
    """Times of the trials of a sweep in seconds, without starts and evaluations.

    `first` has the time of each trial with which the sweep begins, by name. `later` is the sum of the times
    of all trials that may follow from their results.
    """

    first: Mapping[str, float]
    later: float = 0.0

    def least(self, workers: int) -> float:
        """Return the seconds until the first trials have ended, if no worker waits."""
        return max(sum(self.first.values()) / workers, max(self.first.values(), default=0.0))

    def most(self, workers: int) -> float:
        """Return the seconds until all trials have ended, if all of them are needed and no worker waits."""
        return self.least(workers) + self.later / workers


def forecast(trials: Sequence[Trial], later: Sequence[tuple[Trial, int]], workers: int) -> Forecast:
    """Return the forecast of a sweep, measured with a worker's share of this machine.

    Parameters
    ----------
    trials : sequence of Trial
        The trials with which the sweep begins.
    later : sequence of (Trial, int)
        Trials, each with the number of trials of the same duration that may follow.

    Raises
    ------
    RevgnError
        If the data of a trial are not on this machine, or its settings do not fit them.
    """
    settings = [trial.settings for trial in (*trials, *(trial for trial, _ in later))]
    if workers == 1:
        seconds = trial_seconds(settings)
    else:
        with LocalPool(workers, visible_gpus()) as pool:
            seconds = pool.submit(trial_seconds, settings).result()
    first = {trial.name: of for trial, of in zip(trials, seconds, strict=False)}
    of_later = (count * of for (_, count), of in zip(later, seconds[len(trials) :], strict=True))
    return Forecast(first, sum(of_later))


def trial_seconds(settings: Iterable[Mapping[str, object]]) -> list[float]:
    """Return the estimated seconds of the steps of trials with these settings, on this machine."""
    load = remembered(lambda config: load_dataset(**config_dict(config.data), download=False))
    steps: dict[str, tuple[float, int]] = {}  # seconds of a step, and steps per epoch
    found = []
    for each in settings:
        config, dataset, _ = choose_defaults(dict(each), load)  # as the trial does
        key = _step_key(config)
        if key not in steps:
            steps[key] = _step_time(config, dataset)
        seconds, per_epoch = steps[key]
        found.append(seconds * (config.training.steps or config.training.epochs * per_epoch))
    return found


def _step_key(config: Config) -> str:
    """Return a key that is equal for settings with the same time per step."""
    named = flat(config_dict(config))
    return json.dumps({path: value for path, value in named.items() if path.rpartition(".")[2] not in _FREE})


def _step_time(config: Config, dataset: Dataset) -> tuple[float, int]:
    """Return the estimated seconds of a step, and the number of steps per epoch."""
    problem, estimate, _ = estimate_settings(config, dataset)
    return estimate.seconds_per_step, problem.steps_per_epoch
