"""`revgn sweep`: run many trials, from a grid or drawn at random, on several processes and machines."""

import shlex
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli import completion, options
from revgn_cli.board import messages, show_board
from revgn_cli.forecast import print_forecast
from revgn_cli.grouped import GroupedCommand
from revgn_cli.interrupt import exit_code, stop_when_asked
from revgn_cli.notes import say, say_note
from revgn_cli.outcome import command_line
from revgn_cli.paths import OutputPath

if TYPE_CHECKING:
    from revgn.sweeps import Board, Plan
    from revgn.sweeps.axes import Axis
    from revgn.sweeps.drive import Source
    from revgn.sweeps.plan import Rule
    from revgn.sweeps.tune import Tuned


@click.command("sweep", cls=GroupedCommand)
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--grid",
    "axes",
    multiple=True,
    metavar="KEY=VALUES",
    shell_complete=completion.setting_pairs,
    help="Setting and its values: 0.1,0.3,1 or 0..4 or log:1e-3..1:7; repeat it for a grid.",
)
@click.option(
    "--random",
    type=int,
    metavar="N",
    help="Number of points drawn at random from the grid.  [default: all points]",
)
@click.option("--random-seed", type=int, metavar="SEED", help="Seed of --random.  [default: 0]")
@click.option(
    "--out",
    type=OutputPath(path_type=Path),
    help="Folder of the sweep.  [default: a folder in runs/]",
)
@options.workers_option
@options.dask_option
@click.option(
    "--tune",
    metavar="KEY[=VALUES]",
    shell_complete=completion.setting_keys,
    help="Tune a setting separately for each point of the grid, with the first seed only. The search starts "
    "with VALUES (x0.3,1,3: multiples of the setting's value), then extends and refines them.",
)
@click.option(
    "--rule",
    type=click.Choice(["score", "largest", "progress", "fit"]),
    help=(
        "Criterion of --tune. score: best validation accuracy or loss (without a validation set, last test "
        "accuracy or loss); largest: largest value that does not diverge and lowers the training loss; "
        "progress: lowest training loss after one epoch; fit: lowest training loss at the end.  "
        "[default: score]"
    ),
)
@click.option("--search", type=int, metavar="N", help="Let optuna choose N trials within the grid.")
@click.option(
    "--median-after",
    type=float,
    metavar="EPOCHS",
    help="After EPOCHS epochs, stop trials whose best score is worse than the median of the others.",
)
@click.option("--dry-run", is_flag=True, help="Print the trials and their estimated time, and run nothing.")
@options.quiet_option
@options.setting_options()
@options.set_option
@options.json_option
def command(
    file: Path | None,
    axes: tuple[str, ...],
    random: int | None,
    random_seed: int | None,
    out: Path | None,
    workers: int | None,
    dask: str | None,
    tune: str | None,
    rule: "Rule | None",
    search: int | None,
    median_after: float | None,
    dry_run: bool,
    quiet: bool,
    assignments: tuple[str, ...],
    as_json: bool,
    **values: Any,
) -> None:
    """Run the trials of FILE (TOML, or the folder of a sweep) and of the options; options override FILE.

    Each trial is a run in the folder of the sweep. The same command, repeated on any machine that can access
    the folder, runs the missing trials and resumes interrupted ones; concurrent processes share the trials.

    \b
    revgn sweep --grid lr=0.1,0.3,1 --grid seed=0..4 --epochs 2 --workers 2
    revgn sweep --optimizer adam --grid lr=log:1e-4..1e-1 --random 40
    revgn sweep momentum.toml --out runs/momentum
    revgn sweep runs/momentum --workers 4
    revgn sweep --optimizer adam --tune lr --grid seed=0..2 --median-after 2
    """
    from revgn.errors import UsageError
    from revgn.settings import flat
    from revgn.sweeps import (
        MedianRule,
        Plan,
        Searched,
        check_folder,
        executor_at,
        load_plan,
        run_sweep,
        source_of,
    )
    from revgn.sweeps.launch import Listed, check_contradictions
    from revgn.sweeps.plan import LENGTH
    from revgn.sweeps.tune import Tuned
    from revgn.training import idle_length

    if tune is not None and search is not None:
        raise UsageError("--tune and --search: both choose the trials; use only one of them")
    of_file = plan = Plan() if file is None else load_plan(file)
    if tune is not None:
        plan = replace(plan, search=None)
    if search is not None:
        plan = replace(plan, tune=None, rule=Plan().rule)
    of_sweep = {
        "random": random,
        "random_seed": random_seed,
        "tune": tune,
        "rule": rule,
        "search": search,
        "median_after": median_after,
    }
    names = of_file.settings.keys() - of_sweep.keys()
    is_new = file is None or not file.is_dir()  # a folder may have the plan of an older version

    def use_file() -> None:
        if is_new:
            check_contradictions(of_file)
        source_of(of_file, out or _folder(file, of_file))

    with options.errors_of_file(file, names, use_file):
        settings = options.chosen_settings(values, assignments, dict(plan.settings))
        plan = _with_options(plan, settings, axes, of_sweep)
        if plan.tune is None:
            options.refuse_given(("rule",), "without --tune")
        if plan.random is None:
            options.refuse_given(("random_seed",), "without --random")
        if plan.search is not None:
            options.refuse_given(("random",), "on a search")
        folder = out or _folder(file, plan)
        if dry_run and plan.search is not None:
            raise UsageError("--dry-run and --search: a search chooses each trial from earlier results")
        if is_new:
            check_contradictions(plan)
        check_folder(plan, folder)
        source = source_of(plan, folder)
    is_replaced = LENGTH & flat(settings).keys()  # options replace the length of a file
    given = (plan.settings,) if is_new and not is_replaced else ()
    for text in dict.fromkeys(chain(*map(idle_length, (*given, *plan.variants.values())))):
        say_note(text)
    if isinstance(source, Listed) and plan.random is not None:
        points = len(source.trials) // max(1, len(plan.variants))
        if points < plan.random:
            say_note(
                f"--random {plan.random}: some points were drawn repeatedly; each of the {points} different "
                "ones is run once"
            )
    hopeless = None if plan.median_after is None else MedianRule(plan.median_after)
    if dry_run:
        print_forecast(source, plan, folder, 1 if workers is None else workers, as_json)
        return
    _check_data(source, plan, folder, dask not in (None, "local"))
    if isinstance(source, Searched) and source.count != plan.search:
        say_note(f"--search {plan.search}: the grid has only {source.count} points; each is run once")
    with (
        stop_when_asked("stopping each trial after its step, with a checkpoint") as should_stop,
        executor_at(dask, workers) as (executor, count),
        show_board(quiet, f"sweep {folder}") as observe,
    ):
        board = run_sweep(
            plan,
            folder,
            source=source,
            executor=executor,
            workers=count,
            command=command_line(),
            hopeless=hopeless,
            observe=observe,
            should_stop=should_stop,
        )
    longest = max((state.beat.epoch for state in board.values()), default=0)
    have_ended = all(state.is_over for state in board.values())
    is_idle = hopeless is not None and have_ended and 0 < longest <= hopeless.after
    if hopeless is not None and is_idle:
        say_note(
            f"--median-after {hopeless.after:g}: had no effect, since all trials ended by epoch {longest:.4g}"
        )
    has_more = bool(source.more(board, 1)) if isinstance(source, Tuned) else not board
    by_test = any(state.beat.by_test for state in board.values())
    if isinstance(source, Tuned) and not as_json:
        where = "the test set at the last evaluation" if by_test else "the validation set"
        by = f"by {where}" if plan.rule == "score" else f"by rule {plan.rule}"
        _print_best(source, board, by)
    selecting = {
        "tuning": isinstance(source, Tuned) and plan.rule == "score",
        "the search": isinstance(source, Searched),
        "the median rule": hopeless is not None and not is_idle,
    }
    if by_test and any(selecting.values()):
        _note_on_test(" and ".join(name for name, is_used in selecting.items() if is_used))
    is_expected = isinstance(source, Tuned | Searched)  # a trial may diverge while values are tried
    _report(folder, board, has_more, is_expected, as_json, should_stop.number)


def _print_best(source: "Tuned", board: "Board", by: str) -> None:
    """Print the best value of each point, and a note where better values may lie beyond those tried."""
    from revgn.views.summary import settings_in_words

    name, best, untried = source.axis.path, source.best(board), source.untried(board)
    for point in source.points:
        if point.name not in best:
            continue
        value, where = best[point.name], settings_in_words(point.choices)
        at = f"{where}: " if where else ""
        click.echo(f"{at}best {name} {value:g}, {by}")
        if next_ := untried.get(point.name):
            end, other = ("largest", "larger") if next_ > value else ("smallest", "smaller")
            advice = f"--tune {name}={next_:g},... in another folder (--out) tries them"
            say_note(f"{at}{value:g} is the {end} {name} tried, and {other} values may be better; {advice}")


def _with_options(
    plan: "Plan",
    settings: dict[str, Any],
    texts: tuple[str, ...],
    of_sweep: dict[str, Any],
) -> "Plan":
    """Return the plan of the file with the options applied."""
    from revgn.errors import UsageError
    from revgn.settings import canonical, flat, merge_settings
    from revgn.sweeps import parse_axis
    from revgn.sweeps.plan import LENGTH
    from revgn.sweeps.tune import is_same_setting, split_tune

    tuned, of_tuned = split_tune(of_sweep["tune"] or "")
    kept = (axis for axis in plan.axes if not (of_tuned and is_same_setting(plan, axis.path, tuned)))
    axes = {axis.path: axis for axis in kept}
    of_options: dict[str, Axis] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise UsageError(f"--grid {text}: expected key=values, such as optimizer.lr=0.1,0.3,1")
        path = canonical(name.strip())
        if path in of_options:
            raise UsageError(
                f"--grid {text}: {name} has two --grid options; give all its values in one of them"
            )
        of_options[path] = parse_axis(path, values)
    found = replace(
        plan,
        settings=merge_settings(settings, dict(plan.settings)),
        axes=tuple((axes | of_options).values()),
        **{name: value for name, value in of_sweep.items() if value is not None},
    )
    tuned, of_tuned = split_tune(found.tune or "")
    for path, value in flat(settings).items():
        setting = path.removesuffix(".kind")
        if of_tuned and not of_tuned.startswith("x") and is_same_setting(found, tuned, setting):
            raise UsageError(f"{setting}: has no effect, since the tuning sets {tuned}")
        for axis in found.axes:
            is_void = {axis.path, path} == LENGTH and value is not None
            if is_void or is_same_setting(found, axis.path, setting):
                raise UsageError(f"{setting}: has no effect, since the grid sets {axis.path}")
    if settings:
        _check_effect(found, settings)
    return found


def _check_effect(plan: "Plan", settings: dict[str, Any]) -> None:
    """Refuse settings that all variants override, and print a note on those that some override."""
    from revgn.errors import UsageError
    from revgn.sweeps.plan import overriding

    found, count = overriding(plan, settings)
    for path, places in found.items():
        if len(places) == count:
            every = "all variants" if plan.variants else "all kinds on the grid"
            raise UsageError(
                f"{path}: has no effect, since {every} override it; --grid gives a setting to all of them"
            )
        overrides = "overrides" if len(places) == 1 else "override"
        say_note(f"{path}: has no effect on {', '.join(places)}, which {overrides} it")


def _folder(file: Path | None, plan: "Plan") -> Path:
    """Return the default folder of a sweep; the same command always gives the same folder."""
    import hashlib

    from revgn.sweeps import plan_toml

    if file is not None:
        return file if file.is_dir() else Path("runs") / file.stem
    return Path("runs") / f"sweep-{hashlib.sha256(plan_toml(plan).encode()).hexdigest()[:8]}"


def _check_data(source: "Source", plan: "Plan", folder: Path, is_elsewhere: bool) -> None:
    """Check that the first trial has its data and backend, and print notes on the data of all trials.

    If the workers are elsewhere, data that are not on this machine are no error.
    """
    from contextlib import nullcontext, suppress

    from revgn.data import notes_on_data
    from revgn.errors import RevgnError
    from revgn.sweeps import first_data

    with suppress(RevgnError) if is_elsewhere else nullcontext():
        dataset = first_data(source, plan, folder)
        if dataset is not None and not any(axis.path.startswith("data.") for axis in plan.axes):
            for text in notes_on_data(dataset):
                say_note(text)


def _note_on_test(selector: str) -> None:
    from revgn.views.compare import SELECTED_BY_TEST

    say_note(f"the trials have no validation rows, and {selector} selects by the test set{SELECTED_BY_TEST}")


def _report(
    folder: Path, board: "Board", has_more: bool, may_diverge: bool, as_json: bool, stopped_by: int
) -> None:
    """Print how the trials ended. Exit with 1 if one failed, or with a signal's code if some are unfinished.

    A trial that diverged counts as failed, unless `may_diverge` is true and another trial has finished.
    """
    from collections import Counter

    from revgn.store import list_runs

    counts = Counter(state.status for state in board.values())
    left = has_more or any(not state.is_over for state in board.values())
    if as_json:
        rows = [
            {"trial": name, "run": str(folder / name), "status": state.status, "message": state.message}
            | dict(state.trial.choices)
            for name, state in board.items()
        ]
        options.print_json(rows)
    else:
        for line in messages(board):
            say(line)
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()) or "no trials")
        again = shlex.quote(str(folder))
        if left or list_runs(folder):
            click.echo(f"revgn sweep {again}" if left else f"revgn compare {again}")
    if left:
        raise click.exceptions.Exit(exit_code(stopped_by))
    if counts["failed"] or (counts["diverged"] and not (may_diverge and counts["finished"])):
        raise click.exceptions.Exit(1)
