"""`revgn train`: train a network into a new run folder."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli.interrupt import stop_when_asked
from revgn_cli.options import (
    chosen_settings,
    json_option,
    print_json,
    quiet_option,
    set_option,
    setting_options,
)
from revgn_cli.progress import clock, evaluation_figures, show_progress

if TYPE_CHECKING:
    from revgn.launch import Outcome
    from revgn.settings import Config


@click.command("train")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@setting_options()
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder (else a new one in runs/).")
@click.option("--dry-run", is_flag=True, help="Print weights, memory and time, and train nothing.")
@click.option(
    "--print-config", is_flag=True, help="Print a file of all settings, each explained, and train nothing."
)
@quiet_option
@json_option
def command(
    file: Path | None,
    assignments: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    print_config: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train a network, with the settings of FILE (TOML) and of the options, which are stronger.

    \b
    revgn train
    revgn train --data fashion-mnist --batch-size 256 --steps 117 --damping 0.01
    revgn train --data table.csv --target price --solver block
    revgn train --optimizer adam --print-config > adam.toml
    """
    from revgn.launch import start_run
    from revgn.settings import build_config, config_template, parse_toml

    layers = []
    if file is not None:
        layers.append(parse_toml(file.read_text(encoding="utf-8", errors="replace"), str(file)))
    config = build_config(chosen_settings(values, assignments, *layers), *layers)
    if print_config:
        click.echo(config_template(config), nl=False)
        return
    if dry_run:
        _print_estimate(config, as_json)
        return
    folder = out or _new_folder(config)
    with stop_when_asked() as should_stop, show_progress(quiet, f"run {folder}") as observe:
        outcome = start_run(config, folder, command=command_line(), observe=observe, should_stop=should_stop)
    report(outcome, as_json)


def report(outcome: "Outcome", as_json: bool) -> None:
    """Print how training ended; an interrupted run exits with 130 and its resume command."""
    for note in outcome.notes:
        click.echo(f"revgn: {note}", err=True)
    resume = f"revgn resume {shlex.quote(str(outcome.folder))}"
    if as_json:
        print_json(
            {
                "run": str(outcome.folder),
                "status": outcome.status,
                "step": outcome.step,
                "resume": resume,
                "seconds": outcome.seconds,
                **{n: value for n, value in outcome.last.items() if n not in ("step", "seconds")},
            }
        )
    else:
        last = outcome.last
        steps = f"{outcome.step} step{'' if outcome.step == 1 else 's'}"
        figures = [f"{outcome.status} after {steps}, {clock(outcome.seconds)} of training"]
        if last and last["step"] != outcome.step:
            figures.append(f"at step {last['step']:.0f}")
        figures += evaluation_figures(last)
        click.echo(", ".join(figures))
        if averaged := evaluation_figures(last, average=True):
            click.echo(f"averaged weights: {', '.join(averaged)}")
        _warn_of_a_rise(outcome)
        click.echo(
            f"revgn show {shlex.quote(str(outcome.folder))}" if outcome.status == "finished" else resume
        )
    if outcome.status == "interrupted":
        raise click.exceptions.Exit(130)


def _warn_of_a_rise(outcome: "Outcome") -> None:
    """Say on standard error when training left the loss higher than it began."""
    from revgn.store import open_run

    losses = open_run(outcome.folder).epochs["train_loss"]
    if losses[-1] > losses[0]:
        advice = "a smaller --lr, or with gauss-newton a larger --damping, may help"
        click.echo(
            f"revgn: the training loss rose from {losses[0]:.4g} to {losses[-1]:.4g}; {advice}", err=True
        )


def command_line() -> str:
    """Command line as it was typed."""
    return shlex.join(["revgn", *sys.argv[1:]])


def _new_folder(config: "Config") -> Path:
    from datetime import datetime

    from revgn.settings import kind_of

    name = f"{Path(config.data.name).stem}-{kind_of(config.optimizer)}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder


def _print_estimate(config: "Config", as_json: bool) -> None:
    from revgn.training import build_problem, choose_solver, estimate_step, load_data, solver_choice

    dataset = load_data(config)
    config, by_solver = choose_solver(config, dataset)
    problem = build_problem(config, dataset)
    estimate = by_solver[config.optimizer.solver] if by_solver else estimate_step(problem)
    if as_json:
        print_json(
            {
                "features": estimate.features,
                "outputs": estimate.outputs,
                "train_rows": estimate.train_rows,
                "batch_size": estimate.batch_size,
                "steps": estimate.steps,
                "parameters": estimate.parameters,
                "memory_bytes": estimate.memory,
                "seconds_by_solver": {name: of.seconds_per_step for name, of in by_solver.items()} or None,
                "solver": config.optimizer.solver
                if "optimizer.solver" not in unused_settings(config)
                else None,
                "kernel": estimate.route,
                "disk_bytes": estimate.disk_bytes,
                "flop_per_step": estimate.work,
                "flops_per_second": estimate.flops_per_second,
                "seconds_per_step": estimate.seconds_per_step,
            }
        )
        return
    click.echo(
        f"data        {problem.dataset.name}: {estimate.train_rows:,} rows of {estimate.features} features, "
        f"{estimate.outputs} outputs"
    )
    click.echo(f"weights     {estimate.parameters:,} trained")
    memory = ", ".join(f"{name} {size / 1e9:.3g}" for name, size in estimate.memory.items())
    click.echo(f"memory      {estimate.memory_bytes / 1e9:.3g} GB ({memory})")
    if by_solver:
        click.echo(f"solver      {solver_choice(config, by_solver)}")
    if estimate.route is not None:
        where = "" if not estimate.disk_bytes else f", {estimate.disk_bytes / 1e9:.3g} GB of it on disk"
        click.echo(f"kernel      {'as a whole' if estimate.route == 'dense' else 'by tiles'}{where}")
    work = ", ".join(f"{name} {flop / 1e9:.3g}" for name, flop in estimate.work.items())
    click.echo(f"a step      {sum(estimate.work.values()) / 1e9:.4g} GFLOP ({work})")
    click.echo(
        f"time        {estimate.seconds_per_step:.3g} s a step or more, at "
        f"{estimate.flops_per_second / 1e9:.3g} GFLOP/s measured; "
        f"{estimate.steps:,} steps in {clock(estimate.steps * estimate.seconds_per_step)} or more"
    )
