"""The page of a race: test accuracies of all methods within each budget, verdicts, and a plot."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from revgn.store import Run, open_run
from revgn.studies.page import question_of, variant_lines, verdict_table
from revgn.studies.race import Budget, Final, Race, Raced, Speed
from revgn.studies.study import Claim, Scale, Study, Verdict, judge
from revgn.sweeps.drive import Board
from revgn.views.canvas import COLOURS, MARKERS, canvas
from revgn.views.compare import metrics_of, spread_of
from revgn.views.ticks import set_log_scale

_JUDGED = "test_accuracy"
_SELECTED = "validation_accuracy"
_APART = 1.2  # smallest ratio of two labelled ticks
_FAILED = "failed"


class Result(NamedTuple):
    """The final runs of a method within a budget."""

    final: Final
    runs: list[Run]

    def values(self, metric: str) -> list[float]:
        """Return the values of a metric, one for each run that has it."""
        return [found[metric] for found in map(metrics_of, self.runs) if metric in found]


Results = Mapping[tuple[str, Budget], Result]


def race_results(race: Raced, board: Board) -> dict[tuple[str, Budget], Result]:
    """Return the final runs of each variant and budget; only those in which all seeds have finished."""
    found = {}
    for key, final in race.finals(board).items():
        names = [trial.name for trial in final.trials]
        if all(name in board and board[name].status == "finished" for name in names):
            found[key] = Result(final, [open_run(race.folder / name) for name in names])
    return found


def race_verdicts(race: Race, results: Results) -> tuple[Verdict, ...]:
    """Compare the best method with each baseline, for each budget.

    The best method is the one with the highest mean validation accuracy among all that are not baselines.
    """
    verdicts = []
    for budget in race.budgets:
        within = {variant: result for (variant, of), result in results.items() if of == budget}
        others = {v: r for v, r in within.items() if v not in race.baselines and r.values(_SELECTED)}
        if not others:
            continue
        best = max(others, key=lambda variant: statistics.fmean(others[variant].values(_SELECTED)))
        for baseline in race.baselines:
            if baseline in within:
                limit = ("Within the " if budget.is_time else "After ") + budget.words(race.reference)
                words = f"{limit}, {best} reaches a higher test accuracy than {baseline}"
                claim = Claim(words, _JUDGED, best, baseline)
                verdicts.append(judge(claim, others[best].runs, within[baseline].runs))
    return tuple(verdicts)


def race_markdown(
    study: Study,
    race: Raced,
    results: Results,
    speeds: Mapping[tuple[str, int], Speed],
    verdicts: Sequence[Verdict],
    scale: Scale,
    command: str,
) -> str:
    """Return the page of a race in Markdown."""
    of, variants = race.race, list(race.plan.variants)
    names = {run.attributes["data_name"]: None for result in results.values() for run in result.runs}
    sizes = ", ".join(map(str, of.batch_sizes))
    lines = [f"# {study.title}", "", question_of(study), ""]
    lines += [
        f"Data: {', '.join(names)}. Scale: {scale}. Seeds: {race.seeds}. Each method was tuned with "
        f"{of.trials} runs for each budget, over learning rate and batch size ({sizes}), on a validation "
        "set. Wall-clock budgets count the time of steps alone. Test accuracy (%) is the mean over seeds, "
        "with one standard deviation; in parentheses the batch size and the learning rate. Of the methods "
        "that are not baselines, each claim takes the one with the highest mean validation accuracy, and "
        f"compares it with one of the baselines. Produced by `{command}`.",
        "",
        f"| method | {' | '.join(budget.words(of.reference) for budget in of.budgets)} |",
        "|---" * (len(of.budgets) + 1) + "|",
    ]
    winners = {budget: _winner(results, budget) for budget in of.budgets}
    for variant in variants:
        cells = []
        for budget in of.budgets:
            cell = _cell(results.get((variant, budget)))
            cells.append(f"**{cell}**" if winners[budget] == variant else cell)
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    lines += ["", f"| milliseconds per step, batch size | {' | '.join(map(str, of.batch_sizes))} |"]
    lines += ["|---" * (len(of.batch_sizes) + 1) + "|"]
    for variant in variants:
        left_out = of.too_slow.get(variant, ())
        cells = [_milliseconds(speeds.get((variant, batch)), batch in left_out) for batch in of.batch_sizes]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    if any(f"| {_FAILED} |" in line for line in lines):
        lines += ["", f"*{_FAILED}*: not all runs with the best setting, or with this batch size, finished."]
    head, rows = verdict_table(verdicts)
    lines += ["", f"| {' | '.join(head)} |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([*lines, "", *variant_lines(study), "", f"![{study.name}](study.png)", ""])


def draw_race(race: Race, results: Results, path: Path) -> None:
    """Plot the test accuracy against the budgets in wall-clock time, and against the budgets in epochs."""
    kinds = [is_time for is_time in (True, False) if any(b.is_time == is_time for b in race.budgets)]
    variants = list(dict.fromkeys(variant for variant, _ in results))
    with canvas(path, len(kinds), "mean over seeds, bars: one standard deviation") as axes:
        for ax, is_time in zip(axes, kinds, strict=True):
            for number, variant in enumerate(variants):
                points = [
                    (result.final.seconds if is_time else budget.epochs, spread_of(result.values(_JUDGED)))
                    for (of, budget), result in results.items()
                    if of == variant and budget.is_time == is_time and result.values(_JUDGED)
                ]
                ax.errorbar(
                    [x for x, _ in points],
                    [100 * spread.mean for _, spread in points],
                    [100 * spread.std for _, spread in points],
                    label=variant,
                    color=COLOURS[number % len(COLOURS)],
                    marker=MARKERS[number % len(MARKERS)],
                    linestyle="--" if variant in race.baselines else "-",
                    markersize=4,
                    linewidth=1.4,
                    capsize=2,
                )
            set_log_scale(ax, "x")
            reached = [
                final.seconds if is_time else budget.epochs
                for (_, budget), (final, _) in results.items()
                if budget.is_time == is_time
            ]
            ticks: list[float] = []
            for x in sorted(reached, reverse=True):
                if not ticks or x < ticks[-1] / _APART:
                    ticks.append(float(f"{x:.2g}"))
            ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
            ax.set_xticks([], minor=True)
            ax.set_xlabel("time of training steps (s)" if is_time else "epochs")
            ax.set_ylabel("test accuracy (%)")
            ax.grid(alpha=0.25)


def _winner(results: Results, budget: Budget) -> str | None:
    means = {
        variant: statistics.fmean(result.values(_JUDGED))
        for (variant, of), result in results.items()
        if of == budget and result.values(_JUDGED)
    }
    return max(means, key=lambda variant: means[variant], default=None)


def _milliseconds(speed: Speed | None, is_left_out: bool) -> str:
    if speed is None:
        return "-" if is_left_out else _FAILED
    return f"{1000 * speed.seconds:.1f}"


def _cell(result: Result | None) -> str:
    if result is None or not result.values(_JUDGED):
        return _FAILED
    spread, final = spread_of(result.values(_JUDGED)), result.final
    return f"{100 * spread.mean:.2f} ± {100 * spread.std:.2f} ({final.batch_size}, {final.lr:g})"
