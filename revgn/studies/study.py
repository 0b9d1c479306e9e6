"""A study: a question, the sweep that answers it, and the claims that it tests.

A study is declared in a TOML file:

title = "Which generalized inverse"
source = "Buffelli et al. 2024, figure 2"
question = "..."
tune = "lr=x0.3,1,3"            values of a setting to try for each variant, here as factors of the learning
                                rate of the variant; see `revgn.sweeps.tune`
rule = "score"                  criterion for the best value in tuning, and for the settings that are reported
panels = ["accuracy", "loss"]    panels of the plot; the first is also drawn against wall-clock time
against = "optimizer.lr"        optional setting for the horizontal axis of the plot; the panels then name
                                metrics of a comparison, and each optimizer is one line

[settings]                      settings of all trials
[scale.laptop] [scale.paper]    settings that depend on the scale
[variants.NAME]                 settings of one variant
[grid]                          settings with several values; see `revgn.sweeps.plan`

[[claims]]
words = "..."                   the claim in words
metric = "test_accuracy"        metric that is compared: a series of steps (its mean); if none has this name,
                                a metric of the comparison, or else a series of epochs (its last value)
per = "loss_decrease"           optional series of steps; its mean divides the mean of the first series
epoch = 1                       optional: value of a series of epochs at this epoch
seconds = 20                    optional: value of a series of epochs after this training time
more = "adam"                   the variant that has the larger value according to the claim
less = "block"                  the variant that has the smaller value

[race]                          optional: the variants are tuned and compared for several budgets of training;
                                see `revgn.studies.race`. Claims follow from the baselines.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from revgn.errors import UsageError, nearest
from revgn.settings import merge_settings, parse_toml
from revgn.store import Run
from revgn.studies.race import Race
from revgn.sweeps import Plan, parse_axis
from revgn.sweeps.plan import Rule, parse_grid, with_files_found
from revgn.views.compare import metrics_of

Scale = Literal["laptop", "paper"]
Answer = Literal["agrees", "disagrees", "cannot tell"]

# Settings at the paper's scale that differ from those for MNIST.
_PAPER_DATA = {"cifar10": {"network": {"blocks": 6}, "data": {"augmentation": "resized-crop"}}}
_SURE = 2.0  # standard errors that a difference must exceed for a verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim that a metric is larger for the variant `more` than for the variant `less`.

    `words` states the claim, and `metric` names the metric. Of a series of steps, the mean is compared,
    divided by the mean of the series `per` if there is one; `rho` is such a series, although the comparison
    shows its median. Of a series of epochs, the last value is compared, or the value after `epoch` epochs or
    `seconds` of training.
    """

    words: str
    metric: str
    more: str
    less: str
    per: str | None = None
    epoch: float | None = None
    seconds: float | None = None

    @property
    def what(self) -> str:
        """Name of the metric that is compared, in words."""
        by = [f" per {self.per}"] if self.per else []
        by += [f" at epoch {self.epoch:g}"] if self.epoch is not None else []
        by += [f" after {self.seconds:g} s"] if self.seconds is not None else []
        return (self.metric + "".join(by)).replace("_", " ")


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A question, the plan of the sweep that answers it, and the claims that are tested."""

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
    race: Race | None = None


class Verdict(NamedTuple):
    """Verdict on a claim, with the difference "more minus less" and its standard error over seeds."""

    claim: Claim
    answer: Answer
    difference: float
    error: float
    of_more: tuple[float, ...]
    of_less: tuple[float, ...]


def study_names() -> list[str]:
    """Return the names of the studies that come with the package."""
    found = (entry.name for entry in files(__package__).iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def load_study(name: str) -> Study:
    """Return a study of the package by name; an unknown name raises `UsageError`."""
    if name not in study_names():
        raise UsageError(f"study: there is no {name!r}; {nearest(name, study_names())}")
    text = files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    content = parse_toml(text, f"{name}.toml")
    settings, grid = (content.pop(table, {}) for table in ("settings", "grid"))
    plan = Plan(settings, parse_grid(grid), content.pop("variants"))
    claims = tuple(Claim(**claim) for claim in content.pop("claims", ()))
    question = " ".join(content.pop("question").split())
    scales, race = content.pop("scale"), content.pop("race", None)
    content |= {} if race is None else {"race": Race(**race)}
    return Study(name=name, question=question, plan=plan, scales=scales, claims=claims, **content)


def plan_of(study: Study, scale: Scale, seeds: int, data: str | None = None) -> Plan:
    """Return the plan of a study at a scale, for a number of seeds, on its own or another data set.

    Settings that the study leaves open have fixed defaults. At the paper's scale, CIFAR-10 is trained with
    six blocks and with crops as in the paper, unless a variant sets other values.
    """
    if seeds < 1:
        raise UsageError(f"seeds: {seeds} is not at least 1")
    if scale not in study.scales:
        raise UsageError(f"study {study.name}: has no scale {scale!r}; expected {', '.join(study.scales)}")
    settings = merge_settings(dict(study.scales[scale]), dict(study.plan.settings), {"preset": "plain"})
    if data is not None:
        own = _PAPER_DATA.get(data, {}) if scale == "paper" else {}
        settings = merge_settings({"data": {"name": data}}, own, settings)
    axes = (*study.plan.axes, parse_axis("training.seed", list(range(seeds))))
    return with_files_found(replace(study.plan, settings=settings, axes=axes), Path.cwd())


def judge(claim: Claim, of_more: Sequence[Run], of_less: Sequence[Run]) -> Verdict:
    """Return the verdict on a claim.

    The runs agree or disagree with the claim if the means over seeds differ by more than two standard errors.
    """
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
    """Return the values that a claim compares, one for each run in which the metric was measured."""
    found = (_value(claim, run) for run in runs)
    return tuple(value for value in found if math.isfinite(value))


def _value(claim: Claim, run: Run) -> float:
    if claim.metric in run.steps:
        value = float(np.nanmean(run.steps[claim.metric]))
        return value / float(np.nanmean(run.steps[claim.per])) if claim.per else value
    if claim.epoch is None and claim.seconds is None:
        metrics = metrics_of(run)
        if claim.metric in metrics:
            return float(metrics[claim.metric])
    if claim.metric not in run.epochs:
        return math.nan
    there = np.full(len(run.epochs["epoch"]), True)
    for name, limit in (("epoch", claim.epoch), ("seconds", claim.seconds)):
        if limit is not None:
            there &= run.epochs[name] <= limit
    values = run.epochs[claim.metric][there]
    measured = values[np.isfinite(values)]
    return float(measured[-1]) if measured.size else math.nan
