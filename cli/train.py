"""`revgn train`: train a network into a new run folder."""

from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli import options
from revgn_cli.grouped import GroupedCommand
from revgn_cli.interrupt import stop_when_asked
from revgn_cli.notes import say_note
from revgn_cli.outcome import command_line, json_if_diverged, report
from revgn_cli.paths import OutputPath
from revgn_cli.progress import clock, show_progress

if TYPE_CHECKING:
    from revgn.settings import Config


@click.command("train", cls=GroupedCommand)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.setting_options()
@options.set_option
@click.option("--out", type=OutputPath(path_type=Path), help="Run folder.  [default: a new folder in runs/]")
@click.option("--dry-run", is_flag=True, help="Print size, memory and time per step; do not train.")
@click.option("--print-config", is_flag=True, help="Print all settings as commented TOML; do not train.")
@options.quiet_option
@options.json_option
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
    """Train a network. FILE contains settings in TOML; options override them.

    Defaults marked "from the data" are chosen for the data set, unless a preset is given; one line of the
    output lists them.

    \b
    revgn train
    revgn train --data fashion-mnist --batch-size 256 --steps 117 --damping 0.01
    revgn train --data table.csv --target price --solver block
    revgn train --optimizer adam --print-config > adam.toml
    """
    from revgn.launch import start_run
    from revgn.settings import build_config, config_template, parse_toml
    from revgn.store import check_vacant
    from revgn.training import choose_defaults, idle_length

    if print_config:
        options.refuse_given(("dry_run", "out", "as_json"), "with --print-config")
    of_file: dict[str, Any] = {}
    if file is not None:
        of_file = parse_toml(file.read_text(encoding="utf-8", errors="replace"), str(file))
    with options.errors_of_file(file, of_file, lambda: build_config(of_file)):
        settings = options.over_file(options.chosen_settings(values, assignments, of_file), of_file)
        config = build_config(settings)
    if print_config:
        for text in idle_length(settings):
            say_note(text)
        complete = config if config.preset else choose_defaults(settings).config
        click.echo(config_template(complete), nl=False)
        return
    if dry_run:
        if out is not None:
            check_vacant(out)
        _print_estimate(settings, as_json)
        return
    folder = out or _new_folder(config)
    try:
        with (
            json_if_diverged(folder, as_json),
            stop_when_asked() as should_stop,
            show_progress(quiet, f"run {folder}") as observe,
        ):
            outcome = start_run(
                settings,
                folder,
                command=command_line(),
                observe=observe,
                should_stop=should_stop,
                note=say_note,
                announce=(lambda text: None) if quiet else say_note,
            )
    except BaseException:
        if out is None:
            with suppress(OSError):  # the folder is not empty if something was written; it is then kept
                folder.rmdir()
        raise
    report(outcome, as_json, should_stop.number)


def _new_folder(config: "Config") -> Path:
    """Create a folder in runs/ that no other process has, named after data, optimizer and time."""
    from datetime import datetime

    from revgn.errors import UsageError
    from revgn.settings import kind_of
    from revgn.store.files import writing

    runs = Path("runs")
    with writing(runs):
        try:
            runs.mkdir(exist_ok=True)
        except FileExistsError:
            advice = "rename it, or set the run folder with --out"
            raise UsageError(f"{runs}: is not a folder; {advice}") from None
    name = f"{Path(config.data.name).stem}-{kind_of(config.optimizer)}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        with writing(folder), suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def _print_estimate(settings: dict[str, Any], as_json: bool) -> None:
    from revgn.data import notes_on_data
    from revgn.settings import FAMILIES, kind_of, parts_of
    from revgn.training import (
        choose_defaults,
        estimate_settings,
        idle_length,
        idle_settings,
        solver_choice,
    )

    config, dataset, _ = chosen = choose_defaults(settings)
    for text in filter(None, (*notes_on_data(dataset), str(chosen), *idle_length(settings))):
        say_note(text)
    problem, estimate, by_solver = estimate_settings(config, dataset)
    for text in idle_settings(problem):
        say_note(text)
    cost, (rows, features) = estimate.cost, dataset.train.inputs.shape
    outputs, steps, seconds = dataset.train.targets.shape[1], problem.total_steps, estimate.seconds_per_step
    if as_json:
        kinds = [*by_solver, *map(kind_of, parts_of(problem.config.optimizer))]
        options.print_json(
            {
                "features": features,
                "outputs": outputs,
                "train_rows": rows,
                "batch_size": problem.batch_size,
                "steps": steps,
                "parameters": estimate.parameters,
                "memory_bytes": cost.memory,
                "seconds_by_solver": {kind: of.seconds_per_step for kind, of in by_solver.items()} or None,
                "solver": next((kind for kind in kinds if kind in FAMILIES["solver"]), None),
                "kernel": cost.kernel,
                "disk_bytes": cost.disk,
                "flop_per_step": cost.work,
                "flops_per_second": estimate.speeds.products,
                "seconds_per_step": seconds,
                "notes": cost.notes,
                "unknown": cost.unknown,
            }
        )
        return

    def listed(parts: dict[str, Any]) -> str:
        return ", ".join(f"{name} {size / 1e9:.3g}" for name, size in parts.items())

    lines = {
        "data": f"{dataset.name}: {rows:,} rows of {features} features, {outputs} outputs",
        "parameters": f"{estimate.parameters:,}",
        "memory": f"{estimate.memory_bytes / 1e9:.3g} GB ({listed(cost.memory)})",
        "solver": solver_choice(by_solver) if by_solver else "",
        "kernel": {"dense": "dense", "tiles": "by tiles"}.get(cost.kernel or "", "")
        + (f", {cost.disk / 1e9:.3g} GB of it on disk" if cost.disk else ""),
        "step": f"{sum(cost.work.values()) / 1e9:.4g} GFLOP ({listed(cost.work)})",
        "time": f"at least {seconds:.3g} s per step, {clock(steps * seconds)} for {steps:,} steps, "
        f"at {estimate.speeds.products / 1e9:.3g} GFLOP/s (measured)",
        "unknown": f"the cost of {', '.join(cost.unknown)} is not included" if cost.unknown else "",
        "note": "; ".join(cost.notes),
    }
    for name, text in lines.items():
        if text:
            click.echo(f"{name:<12}{text}")
