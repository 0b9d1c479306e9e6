"""A study: a question, the sweep that answers it, and what would count as an answer.

title = "Which generalized inverse"
source = "Buffelli et al. 2024, figure 2"
question = "..."
tune = "lr=x0.3,1,3"            rates tried for each variant, factors of its own; see `revgn.sweeps.tune`
panels = ["accuracy", "loss"]

[settings]                      of all jobs
[scale.laptop] [scale.paper]    settings that differ with the scale
[variants.NAME]
[grid]

[[claims]]
words = "..."                   the claim, in its author's words or ours
figure = "test_accuracy"        a figure of the comparison, or a series of epochs (its last value)
more = "adam"                   the variant that has more of it, by the claim
less = "block"                  than this one
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from revgn.errors import UsageError
from revgn.runs import Run
from revgn.runs.compare import figures_of
from revgn.sweeps import Plan, parse_axis
from revgn.sweeps.plan import parse_grid
from revgn.training import merge_settings, parse_toml

Scale = Literal["laptop", "paper"]
Answer = Literal["agrees", "disagrees", "cannot tell"]

_SURE = 2.0  # standard errors of a difference, from which it counts


@dataclass(frozen=True, slots=True)
class Claim:
    """By `words`, the variant `more` has more of a figure than the variant `less`."""

    words: str
    figure: str
    more: str
    less: str


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A question with the plan of its sweep, at each scale, and the claims that it is held against."""

    name: str
    title: str
    source: str
    question: str
    plan: Plan
    scales: Mapping[str, Mapping[str, Any]]
    tune: str
    panels: tuple[str, ...]
    claims: tuple[Claim, ...]


class Verdict(NamedTuple):
    """What came of a claim: the difference in the claim's direction, and its standard error over seeds."""

    claim: Claim
    answer: Answer
    difference: float
    error: float
    of_more: tuple[float, ...]
    of_less: tuple[float, ...]


def study_names() -> list[str]:
    """Return the names of the studies in the package."""
    found = (entry.name for entry in files(__package__).iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def load_study(name: str) -> Study:
    """Return a study of the package.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if name not in study_names():
        from difflib import get_close_matches

        near = get_close_matches(name, study_names(), 1)
        raise UsageError(f"study: there is no {name!r}; " + (f"did you mean {near[0]}?" if near else known()))
    text = files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    content = parse_toml(text, f"{name}.toml")
    return Study(
        name,
        content["title"],
        content["source"],
        " ".join(content["question"].split()),
        Plan(content.get("settings", {}), parse_grid(content.get("grid", {})), content["variants"]),
        content["scale"],
        content.get("tune", ""),
        tuple(content.get("panels", ())),
        tuple(Claim(**claim) for claim in content.get("claims", ())),
    )


def known() -> str:
    """Say which studies there are."""
    return f"known are {', '.join(study_names())}"


def plan_of(study: Study, scale: Scale, seeds: int) -> Plan:
    """Return the plan of a study at a scale, over so many seeds.

    Raises
    ------
    UsageError
        If there are none, or the study does not have the scale.
    """
    if seeds < 1:
        raise UsageError(f"seeds: {seeds} is not at least 1")
    if scale not in study.scales:
        raise UsageError(f"study {study.name}: has no scale {scale!r}; it has {', '.join(study.scales)}")
    settings = merge_settings(dict(study.scales[scale]), dict(study.plan.settings))
    axes = (*study.plan.axes, parse_axis("training.seed", list(range(seeds))))
    return replace(study.plan, settings=settings, axes=axes)


def judge(claim: Claim, of_more: Sequence[Run], of_less: Sequence[Run]) -> Verdict:
    """Hold runs against a claim: more than two standard errors of difference agree with it, or disagree."""
    more, less = (_values(runs, claim.figure) for runs in (of_more, of_less))
    if not (more and less):
        return Verdict(claim, "cannot tell", math.nan, math.nan, more, less)
    difference = statistics.fmean(more) - statistics.fmean(less)
    if min(len(more), len(less)) < 2:
        return Verdict(claim, "cannot tell", difference, math.nan, more, less)
    error = math.sqrt(sum(statistics.variance(values) / len(values) for values in (more, less)))
    answer: Answer = "cannot tell"
    if abs(difference) > _SURE * error:
        answer = "agrees" if difference > 0 else "disagrees"
    return Verdict(claim, answer, difference, error, more, less)


def _values(runs: Sequence[Run], figure: str) -> tuple[float, ...]:
    found = []
    for run in runs:
        figures = figures_of(run)
        value = figures.get(figure, run.epochs[figure][-1] if figure in run.epochs else math.nan)
        if math.isfinite(value):
            found.append(float(value))
    return tuple(found)
