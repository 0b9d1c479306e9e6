"""Whether a plan extends another one, so that both can share a folder, and whether a run is its trial's."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from revgn.errors import UsageError
from revgn.settings import build_config, config_dict, fields_at, flat, merge_settings
from revgn.store import Run
from revgn.sweeps.axes import Axis
from revgn.sweeps.plan import LENGTH, Plan, Trial, by_path, in_words, parse_plan, plan_toml


def differences(old: Plan, new: Plan) -> list[str]:
    """Return what keeps the trials of `old` from being trials of `new`; empty if `new` only adds trials.

    Values, variants and random points may be added. `rule` and `median_after` may change, since they only
    judge the trials.
    """
    return list(_differences(*(parse_plan(plan_toml(plan), "plan") for plan in (old, new))))


def changes_on_resume(trial: Trial, run: Run) -> list[str]:
    """Return which settings of a trial its run does not have any more, since it was resumed with others.

    Settings that the trial leaves open are no difference, nor is a data file that was moved.
    """
    try:
        planned = config_dict(build_config(dict(trial.settings), run.config))
        stored = config_dict(build_config(run.config))
    except UsageError:  # the run has a setting that was removed
        return []
    stated = set(by_path(trial.settings))
    if stated & LENGTH:
        stated |= LENGTH
    resumable = (path for path, found in fields_at(planned).items() if found.of.resumable)
    paths = [path for path in resumable if path in stated and not path.startswith("data.")]
    was, now = ({path: _word(of.get(path)) for path in paths} for of in map(by_path, (planned, stored)))
    return [f"{path} is {now[path]}, not {was[path]}" for path in paths if now[path] != was[path]]


def _differences(old: Plan, new: Plan) -> Iterator[str]:
    yield from _of_settings(old.settings, new.settings)
    if bool(old.variants) != bool(new.variants):
        yield "only one of the plans has variants"
    else:
        for name, settings in old.variants.items():
            if name in new.variants:
                yield from _of_settings(settings, new.variants[name], f"variants.{name}.")
            else:
                yield f"variants.{name} is left out"
    yield from _of_grids(old, new)
    for name in ("tune", "search"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after and (name == "tune" or None in (before, after)):
            yield f"{name} is {_word(after)}, not {_word(before)}"


def _of_settings(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    before, after = (flat(merge_settings(in_words(settings))) for settings in (old, new))
    for path in before | after:
        is_now, was = (_word(each[path]) if path in each else "its default" for each in (after, before))
        if is_now != was:
            yield f"{prefix}{path} is {is_now}, not {was}"


def _of_grids(old: Plan, new: Plan) -> Iterator[str]:
    names = [", ".join(axis.path for axis in plan.axes) or "no settings" for plan in (new, old)]
    if names[0] != names[1]:
        yield f"the grid has {names[0]}, not {names[1]}"
        return
    for before, after in zip(old.axes, new.axes, strict=True):
        kept = _values(after)
        if lost := [value for value in _values(before) if value not in kept]:
            yield f"grid.{before.path} leaves out {', '.join(lost)}"
        elif new.random is not None and _values(before) != kept:  # the values determine which are drawn
            yield f"grid.{before.path} has further values, which random points do not allow"
    if new.random is not None:
        points = "all points" if old.random is None else f"{old.random} points"
        if old.random is None or old.random > new.random:
            yield f"random draws {new.random} points, not {points}"
        elif old.random_seed != new.random_seed:
            yield f"random_seed is {new.random_seed}, not {old.random_seed}"


def _values(axis: Axis) -> list[str]:
    """Return the values of an axis in words; a range is one value."""
    if axis.is_continuous:
        return [f"{'log:' * axis.log}{axis.low!r}..{axis.high!r}"]
    return [_word(value) for value in axis.values]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)
