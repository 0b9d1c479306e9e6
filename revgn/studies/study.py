"""A study: a question, the sweep that answers it, and the claims that it is held against.

title = "Which generalized inverse"
source = "Buffelli et al. 2024, figure 2"
question = "..."
tune = "lr=x0.3,1,3"            rates tried for each variant, factors of its own; see `revgn.sweeps.tune`
rule = "score"                  the best there, and of all settings tried on every seed
panels = ["accuracy", "loss"]    of the figure; the first also against seconds of training
against = "optimizer.lr"        a setting, over which the panels are then drawn: figures of a comparison,
                                a line for each optimizer

[settings]                      of all jobs
[scale.laptop] [scale.paper]    settings that differ with the scale
[variants.NAME]
[grid]

[[claims]]
words = "..."                   the claim, in its author's words or ours
figure = "test_accuracy"        a figure of the comparison, a series of epochs (its last number), or one of
                                steps (its mean)
per = "loss_decrease"           the series of steps whose mean the figure's is divided by
epoch = 1                       the figure as it was by then, of series of epochs
seconds = 20                    likewise, by seconds of training
more = "adam"                   the variant that has more of it, by the claim
less = "block"                  than this one
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np

from revgn.errors import UsageError, nearest
from revgn.settings import merge_settings, parse_toml
from revgn.store import Run
from revgn.sweeps import Plan, parse_axis
from revgn.sweeps.plan import parse_grid
from revgn.sweeps.tune import Rule
from revgn.views.compare import figures_of

Scale = Literal["laptop", "paper"]
Answer = Literal["agrees", "disagrees", "cannot tell"]

_PAPER_DATA = {"cifar10": {"network": {"blocks": 6}, "data": {"crop": True}}}  # where it differs from MNIST's
_SURE = 2.0  # standard errors of a difference, from which it counts


@dataclass(frozen=True, slots=True)
class Claim:
    """By `words`, the variant `more` has more of a figure than the variant `less`.

    A series of epochs may be taken as it was after `epoch` passes, or `seconds` of training; of a series of
    steps it is the mean, or the mean's ratio to that of the series `per`.
    """

    words: str
    figure: str
    more: str
    less: str
    per: str | None = None
    epoch: float | None = None
    seconds: float | None = None

    @property
    def what(self) -> str:
        """Name of the figure that is compared, in words."""
        by = [f" per {self.per}"] if self.per else []
        by += [f" by epoch {self.epoch:g}"] if self.epoch is not None else []
        by += [f" by {self.seconds:g} s"] if self.seconds is not None else []
        return (self.figure + "".join(by)).replace("_", " ")


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A question with the plan of its sweep, at each scale, and the claims that it is held against."""

    name: str
    title: str
    source: str
    question: str
    plan: Plan
    scales: Mapping[str, Mapping[str, Any]]
    tune: str = ""
    rule: Rule = "score"
    panels: Sequence[str] = ()
    claims: tuple[Claim, ...] = ()
    against: str | None = None


class Verdict(NamedTuple):
    """Verdict on a claim: the difference in the claim's direction, and its standard error over seeds."""

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
    """Return a study of the package; `UsageError` if there is none of that name."""
    if name not in study_names():
        raise UsageError(f"study: there is no {name!r}; {nearest(name, study_names())}")
    text = files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    content = parse_toml(text, f"{name}.toml")
    settings, grid = (content.pop(table, {}) for table in ("settings", "grid"))
    plan = Plan(settings, parse_grid(grid), content.pop("variants"))
    claims = tuple(Claim(**claim) for claim in content.pop("claims", ()))
    question = " ".join(content.pop("question").split())
    scales = content.pop("scale")
    return Study(name=name, question=question, plan=plan, scales=scales, claims=claims, **content)


def plan_of(study: Study, scale: Scale, seeds: int, data: str | None = None) -> Plan:
    """Return the plan of a study at a scale, over a number of seeds, on its own data or others.

    At the paper's scale CIFAR-10 has the paper's six blocks and crops, unless a variant says otherwise.
    """
    if seeds < 1:
        raise UsageError(f"seeds: {seeds} is not at least 1")
    if scale not in study.scales:
        raise UsageError(f"study {study.name}: has no scale {scale!r}; it has {', '.join(study.scales)}")
    settings = merge_settings(dict(study.scales[scale]), dict(study.plan.settings))
    if data is not None:
        own = _PAPER_DATA.get(data, {}) if scale == "paper" else {}
        settings = merge_settings({"data": {"name": data}}, own, settings)
    axes = (*study.plan.axes, parse_axis("training.seed", list(range(seeds))))
    return replace(study.plan, settings=settings, axes=axes)


def judge(claim: Claim, of_more: Sequence[Run], of_less: Sequence[Run]) -> Verdict:
    """Hold runs against a claim: more than two standard errors of difference agree with it, or disagree."""
    more, less = (values_of(claim, runs) for runs in (of_more, of_less))
    if not (more and less):
        return Verdict(claim, "cannot tell", math.nan, math.nan, more, less)
    difference = statistics.fmean(more) - statistics.fmean(less)
    if min(len(more), len(less)) < 2:
        return Verdict(claim, "cannot tell", difference, math.nan, more, less)
    error = math.sqrt(sum(statistics.variance(values) / len(values) for values in (more, less)))
    is_sure = abs(difference) > _SURE * error
    answer: Answer = "cannot tell" if not is_sure else "agrees" if difference > 0 else "disagrees"
    return Verdict(claim, answer, difference, error, more, less)


def values_of(claim: Claim, runs: Sequence[Run]) -> tuple[float, ...]:
    """Return the value of each run that a claim compares, where it was measured."""
    found = (_value(claim, run) for run in runs)
    return tuple(value for value in found if math.isfinite(value))


def _value(claim: Claim, run: Run) -> float:
    if claim.figure in run.steps:
        value = float(np.nanmean(run.steps[claim.figure]))
        return value / float(np.nanmean(run.steps[claim.per])) if claim.per else value
    if claim.epoch is None and claim.seconds is None:
        figures = figures_of(run)
        if claim.figure in figures:
            return float(figures[claim.figure])
    if claim.figure not in run.epochs:
        return math.nan
    there = np.full(len(run.epochs["epoch"]), True)
    for name, limit in (("epoch", claim.epoch), ("seconds", claim.seconds)):
        if limit is not None:
            there &= run.epochs[name] <= limit
    values = run.epochs[claim.figure][there]
    measured = values[np.isfinite(values)]
    return float(measured[-1]) if measured.size else math.nan
