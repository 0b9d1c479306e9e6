"""Groups of runs that differ only in their seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from revgn.store.reader import Run
from revgn.views.summary import all_settings, differing_settings, labels, settings_in_words

SEED = "training.seed"


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Runs with the same settings apart from the seed.

    `label` is the name of the group in plots and tables. `settings` holds the values, by dotted path, that
    differ between groups.
    """

    label: str
    settings: dict[str, Any]
    runs: tuple[Run, ...]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs that differ only in their seed; groups are ordered by their first run."""
    used = [all_settings(run) for run in runs]
    members: dict[str, list[int]] = {}
    for number, settings in enumerate(used):
        key = repr(sorted((path, repr(value)) for path, value in settings.items() if path != SEED))
        members.setdefault(key, []).append(number)
    paths = [path for path in differing_settings(runs) if path != SEED]
    groups = []
    for numbers in members.values():
        first, own = used[numbers[0]], tuple(runs[number] for number in numbers)
        settings = {path: first[path] for path in paths if path in first}
        groups.append(Group(settings_in_words(settings) or own[0].folder.name, settings, own))
    return groups


def single_runs(runs: Sequence[Run]) -> list[Group]:
    """Return each run as a group of its own, labelled with all settings that differ, including seeds."""
    return [Group(label, {}, (run,)) for run, label in zip(runs, labels(runs), strict=True)]
