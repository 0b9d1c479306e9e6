"""The plan of a sweep: a TOML file with the settings of a run and tables for settings with several values.

[training]                        settings of all trials, in the tables of a run's configuration
schedule = "cosine"

[variants.block]                  named settings; each variant is combined with each point of the grid
optimizer.solver = "block"

[grid]                            values of single settings; the grid has all their combinations
lr = "log:0.1..1:4"               a text or a list; see `revgn.sweeps.axes`
seed = "0..4"

[sweep]
random = 40                       number of points drawn at random from the grid; default: all points
random_seed = 0
tune = "lr"                       setting to tune for each point; see `revgn.sweeps.tuned`
rule = "score"                    criterion of tuning; see `revgn.sweeps.tune`
search = 20                       number of trials that optuna chooses within the grid
median_after = 2                  epochs after which trials worse than the median end early

"none" stands for the value None of a setting, since TOML has no null.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from revgn.data import dataset_names
from revgn.errors import UsageError
from revgn.settings import (
    build_config,
    canonical,
    flat,
    merge_settings,
    named_settings,
    nested,
    parse_toml,
    settings_by_name,
)
from revgn.sweeps.axes import NONE, Axis, at, draw, parse_axis

Rule = Literal["score", "largest", "progress", "fit"]

SEED = "training.seed"
LENGTH = {"training.epochs", "training.steps"}  # steps would void epochs
_TABLES = ("grid", "variants", "sweep")
_DRAW_TAG = 0x5EE9
_MOST_JOBS = 100_000
_NAME_LENGTH = 80
_SWEEP: dict[str, tuple[str, Callable[[Any], bool]]] = {  # settings of [sweep]: expected value, and a test
    "random": (
        f"an integer from 1 to {_MOST_JOBS:,}",
        lambda value: type(value) is int and 1 <= value <= _MOST_JOBS,
    ),
    "random_seed": ("a non-negative integer", lambda value: type(value) is int and value >= 0),
    "tune": ('a setting, as in "lr" or "lr=x0.3,1,3"', lambda value: isinstance(value, str)),
    "rule": (f"one of {', '.join(get_args(Rule))}", lambda value: value in get_args(Rule)),
    "search": ("a positive integer", lambda value: type(value) is int and value >= 1),
    "median_after": (
        "a non-negative number",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One trial: the name of its run folder, its settings, and those settings that vary within the sweep."""

    name: str
    settings: Mapping[str, Any]
    choices: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Declaration of a sweep; the k-th random point depends only on `random_seed` and k."""

    settings: Mapping[str, Any] = field(default_factory=dict)  # nested settings of all trials
    axes: tuple[Axis, ...] = ()  # the grid
    variants: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # settings by name; each variant is combined with each point of the grid
    random: int | None = None  # number of points drawn from the grid; None: all points
    random_seed: int = 0
    tune: str | None = None  # setting to tune for each point, with or without its initial values
    rule: Rule = "score"  # criterion of tuning
    search: int | None = None  # number of trials that optuna chooses
    median_after: float | None = None  # epochs after which trials worse than the median end early

    def __post_init__(self) -> None:
        for name, (expected, is_good) in _SWEEP.items():
            value = getattr(self, name)
            if value is not None and not is_good(value):
                raise UsageError(f"{name}: {value!r} is not {expected}")
        if self.tune is not None and self.search is not None:
            raise UsageError("tune and search: both choose the trials; use only one of them")
        if {axis.path for axis in self.axes} >= LENGTH:
            raise UsageError("grid: epochs and steps both set the length of training; use only one of them")


def parse_plan(text: str, source: str) -> Plan:
    """Read a plan from TOML; `source` names the text in error messages.

    Raises
    ------
    UsageError
        If the text is not TOML, or a table is invalid.
    """
    content = parse_toml(text, source)
    tables: dict[str, Any] = {name: content.pop(name, {}) for name in _TABLES}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{source}: {name} must be a table, as in [{name}]")
    if bad := [name for name, variant in tables["variants"].items() if not isinstance(variant, dict)]:
        raise UsageError(f"{source}: variants.{bad[0]} must be a table of settings")
    if unknown := tables["sweep"].keys() - _SWEEP.keys():
        raise UsageError(f"{source}: sweep.{min(unknown)} is unknown; expected one of {', '.join(_SWEEP)}")
    try:
        return Plan(content, parse_grid(tables["grid"]), tables["variants"], **tables["sweep"])
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def parse_grid(table: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Return the axes of a [grid] table, which maps the name of a setting to its values."""
    return tuple(parse_axis(canonical(path), value) for path, value in flat(dict(table)).items())


def plan_toml(plan: Plan) -> str:
    """Return TOML text from which `parse_plan` makes a plan with the same trials."""
    import tomli_w

    sweep = {name: getattr(plan, name) for name in _SWEEP if getattr(plan, name) != getattr(Plan(), name)}
    content: dict[str, Any] = {**plan.settings, "grid": {axis.path: _as_written(axis) for axis in plan.axes}}
    content |= {"variants": dict(plan.variants)} if plan.variants else {}
    return tomli_w.dumps(in_words(content | ({"sweep": sweep} if sweep else {})))


def plan_trials(plan: Plan) -> list[Trial]:
    """Return the trials of a plan, variant by variant, with the last axis varying fastest.

    Raises
    ------
    UsageError
        If the settings of a trial are invalid, there are too many trials, or a range has no count.
    """
    if plan.random is None:
        if ranges := [axis.path for axis in plan.axes if axis.is_continuous]:
            raise UsageError(
                f"grid {ranges[0]}: a range has no countable values; give their number, as in 0.1..1:5, or "
                "draw values at random (random, search)"
            )
        count = float(np.prod([float(len(axis.values)) for axis in plan.axes]))
        if count * max(1, len(plan.variants)) > _MOST_JOBS:
            raise UsageError(f"grid: has {count:,.0f} points; expected at most {_MOST_JOBS:,} trials")
        points: Sequence[tuple[Any, ...]] = list(itertools.product(*(axis.values for axis in plan.axes)))
    else:
        points = [_drawn(plan, number) for number in range(plan.random)]
    paths = [axis.path for axis in plan.axes]
    trials = [
        make_trial(plan, dict(zip(paths, point, strict=True)), variant)
        for variant in plan.variants or (None,)
        for point in points
    ]
    return list({trial.name: trial for trial in trials}.values())  # a point that is drawn twice is one trial


def make_trial(plan: Plan, choices: Mapping[str, Any], variant: str | None = None) -> Trial:
    """Return the trial with the settings `choices`, given by dotted path.

    All other settings are taken from the variant, else from the plan.

    Raises
    ------
    UsageError
        If the settings are invalid.
    """
    of_variant = {} if variant is None else plan.variants[variant]
    named = ({} if variant is None else {"variant": variant}) | dict(choices)
    label = "_".join(
        str(value) if path == "variant" else f"{path.rpartition('.')[2]}={_word(value)}"
        for path, value in named.items()
    )
    try:
        weaker = in_words(of_variant), in_words(plan.settings)  # as in the file of the plan
        settings = merge_settings(settings_by_name(choices, *weaker, of_first=True), *weaker)
        build_config(settings)
    except UsageError as error:
        raise UsageError(f"trial {label}: {error}" if label else str(error)) from None
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    safe = re.sub(r"[^\w.+=-]+", "-", label)[:_NAME_LENGTH]
    return Trial(f"{safe}_{digest}" if safe else digest, settings, named)


def overriding(plan: Plan, settings: Mapping[str, Any]) -> tuple[dict[str, list[str]], int]:
    """Return where settings of a plan have no effect, and the number of places.

    The places are the variants, each with all kinds on the grid, such as optimizers. A variant or a kind
    overrides a setting if it has another value of it, or chooses another struct.
    """
    kinds = [axis.path for axis in plan.axes if _is_kind(axis.path)]
    axes = tuple(
        axis if axis.path in kinds else replace(axis, values=axis.values[:1] or (at(axis, 0.5),))
        for axis in plan.axes
    )
    places = {}
    for trial in plan_trials(replace(plan, axes=axes, random=None)):
        place = " ".join(str(trial.choices[name]) for name in ("variant", *kinds) if name in trial.choices)
        places[place] = by_path(trial.settings)
    void = {
        path: [place for place, found in places.items() if _is_void(path, value, found)]
        for path, value in by_path(settings).items()
    }
    return {path: found for path, found in void.items() if found}, len(places)


def by_path(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings by dotted path, in words, and kinds by the path of their struct."""
    return {path.removesuffix(".kind"): value for path, value in flat(in_words(settings)).items()}


def trial_maker(plan: Plan) -> Callable[[Mapping[str, Any], str | None], Trial]:
    """Return `make_trial` for a plan, which makes each trial only once, even if it is requested again."""
    made: dict[tuple[str, str | None], Trial] = {}

    def make(choices: Mapping[str, Any], variant: str | None) -> Trial:
        key = json.dumps(dict(choices)), variant
        if key not in made:
            made[key] = make_trial(plan, choices, variant)
        return made[key]

    return make


def with_files_found(plan: Plan, root: Path) -> Plan:
    """Return the plan with absolute paths of data files and folders; relative paths start from `root`."""

    def found(settings: Mapping[str, Any]) -> dict[str, Any]:
        data = settings.get("data")
        name = data.get("name") if isinstance(data, dict) else None
        if not isinstance(name, str) or name in dataset_names():
            return dict(settings)
        if not (Path(name).suffix or (root / name).exists()):
            return dict(settings)
        return merge_settings(nested("data.name", str((root / name).resolve())), dict(settings))

    def found_in(axis: Axis) -> Axis:
        if axis.path != "data.name":
            return axis
        return replace(axis, values=tuple(found(nested(axis.path, v))["data"]["name"] for v in axis.values))

    return replace(
        plan,
        settings=found(plan.settings),
        axes=tuple(map(found_in, plan.axes)),
        variants={name: found(settings) for name, settings in plan.variants.items()},
    )


def _is_kind(path: str) -> bool:
    name = path.removesuffix(".kind").rpartition(".")[2]
    return any(of.family for of in named_settings().get(name, ()))


def _is_void(path: str, value: Any, settings: Mapping[str, Any]) -> bool:
    """Return whether a value has no effect on a trial with these settings, given by path."""
    if path == "training.epochs" and settings.get("training.steps", NONE) != NONE:
        return True
    return bool(settings.get(path, NONE if path == "training.steps" else None) != value)


def _drawn(plan: Plan, number: int) -> tuple[Any, ...]:
    rng = np.random.default_rng([plan.random_seed, number, _DRAW_TAG])
    return tuple(draw(axis, rng) for axis in plan.axes)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return Path(value).name if isinstance(value, str) else json.dumps(value)


def in_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with "none" for None, which TOML does not have."""
    return {
        key: in_words(value) if isinstance(value, Mapping) else NONE if value is None else value
        for key, value in settings.items()
    }


def _as_written(axis: Axis) -> Any:
    if not axis.is_continuous:
        return [NONE if value is None else value for value in axis.values]
    return f"{'log:' if axis.log else ''}{axis.low!r}..{axis.high!r}"
