"""Groups of runs on the same data that differ only in their seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from revgn.store.reader import Run
from revgn.views.summary import all_settings, differing_settings, labels, settings_in_words

SEED = "training.seed"
DATA = "data_sha256"


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Runs on the same data with the same settings apart from the seed.

    `label` is the name of the group in plots and tables. `settings` holds the values that differ between
    groups, by dotted path. If groups with the same settings differ in their data, the key `DATA` holds the
    first digits of the checksum of the data. Each seed counts once: `duplicates` are runs that repeat the
    seed of one of `runs`, such as copies of a folder, and are in no mean or standard deviation.
    """

    label: str
    settings: dict[str, Any]
    runs: tuple[Run, ...]
    duplicates: tuple[Run, ...] = ()


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs on the same data that differ only in their seed; groups are ordered by their first run.

    Of several runs with the same seed, the one with the most steps represents them.
    """
    used = [all_settings(run) for run in runs]
    members: dict[tuple[str, str], list[int]] = {}
    for number, settings in enumerate(used):
        key = repr(sorted((path, repr(value)) for path, value in settings.items() if path != SEED))
        members.setdefault((key, runs[number].attributes[DATA]), []).append(number)
    has_other_data = len({key for key, _ in members}) < len(members)
    paths = [path for path in differing_settings(runs) if path != SEED]
    groups = []
    for (_, checksum), numbers in members.items():
        first = used[numbers[0]]
        settings = {path: first[path] for path in paths if path in first}
        settings |= {DATA: checksum[:8]} if has_other_data else {}
        by_seed: dict[Any, list[Run]] = {}
        for number in numbers:
            by_seed.setdefault(used[number].get(SEED), []).append(runs[number])
        own = {
            seed: same[0] if len(same) == 1 else max(same, key=lambda run: run.steps["step"].size)
            for seed, same in by_seed.items()
        }
        kept = {id(run) for run in own.values()}
        others = tuple(runs[number] for number in numbers if id(runs[number]) not in kept)
        groups.append(Group(settings_in_words(settings) or _name(own), settings, (*own.values(),), others))
    return groups


def _name(runs: Mapping[int, Run]) -> str:
    """Return the name of the folder of a single run, else the seeds of the runs: "seeds 0 to 2"."""
    if len(runs) == 1:
        return next(iter(runs.values())).folder.name
    seeds = sorted(runs)
    if seeds == [*range(seeds[0], seeds[-1] + 1)]:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def duplicates_in_words(runs: Sequence[Run]) -> str:
    """Return a sentence on the runs that are not counted because they repeat a seed; "" if there are none."""
    names = [str(run.folder) for group in group_runs(runs) for run in group.duplicates]
    if not names:
        return ""
    verb = "repeats the seed of another run with the same settings and is"
    if len(names) > 1:
        verb = "repeat the seeds of other runs with the same settings and are"
    return f"{', '.join(names)}: {verb} not counted"


def single_runs(runs: Sequence[Run]) -> list[Group]:
    """Return each run as a group of its own, labelled with all settings that differ, including seeds."""
    return [Group(label, {}, (run,)) for run, label in zip(runs, labels(runs), strict=True)]
