"""`revgn study`: run a study, which is a research question, its sweep, and verdicts on published claims."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli import completion
from revgn_cli.board import messages, show_board
from revgn_cli.columns import aligned, terminal_width
from revgn_cli.forecast import print_forecast
from revgn_cli.interrupt import exit_code, stop_when_asked
from revgn_cli.notes import say, say_note
from revgn_cli.options import (
    dask_option,
    json_option,
    print_json,
    quiet_option,
    refuse_given,
    workers_option,
)
from revgn_cli.outcome import command_line
from revgn_cli.paths import OutputPath

if TYPE_CHECKING:
    from revgn.studies.study import Scale


def _names() -> list[str]:
    from revgn.studies import study_names

    return study_names()


@click.command("study")
@click.argument("name", required=False, shell_complete=completion.among(_names))
@click.option(
    "--scale",
    type=click.Choice(["laptop", "paper"]),
    default="laptop",
    show_default=True,
    help="laptop: small networks and data for two cores; paper: the paper's set-up, for a GPU.",
)
@click.option(
    "--data",
    metavar="NAME",
    shell_complete=completion.data_names,
    help="Data set, instead of the study's own.",
)
@click.option(
    "--seeds", type=int, default=3, show_default=True, metavar="N", help="Number of seeds per variant."
)
@workers_option
@dask_option
@click.option(
    "--out", type=OutputPath(path_type=Path), help="Folder of the study.  [default: a folder in runs/]"
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the question, the first trials and their estimated time, and run nothing.",
)
@quiet_option
@json_option
def command(
    name: str | None,
    scale: "Scale",
    data: str | None,
    seeds: int,
    workers: int | None,
    dask: str | None,
    out: Path | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the study NAME, or list the available studies.

    A study runs a sweep, which can be resumed and shared among machines like any other sweep. It then writes
    a table, a plot, a report and a verdict on each claim into its folder.

    \b
    revgn study
    revgn study inverse --workers 2
    """
    from contextlib import suppress

    from revgn.errors import DataError
    from revgn.studies import (
        Raced,
        check_study_folder,
        conduct_study,
        fit_to_data,
        load_study,
        plan_of,
        source_of,
        study_names,
    )
    from revgn.sweeps import executor_at

    if name is None:
        of_one = ("scale", "data", "seeds", "workers", "dask", "out", "dry_run", "quiet")
        refuse_given(of_one, "without the name of a study")
        studies = {each: load_study(each) for each in study_names()}
        if as_json:
            print_json([{"name": k, "title": of.title, "source": of.source} for k, of in studies.items()])
            return
        rows = [(name, f"{study.title} ({study.source})") for name, study in studies.items()]
        if width := terminal_width():
            formatter = click.HelpFormatter(width=width)
            formatter.write_dl(rows)
            click.echo(formatter.getvalue(), nl=False)
        else:
            click.echo("\n".join(aligned(rows, (0, 1))))
        return
    study = load_study(name)
    folder = out or Path("runs") / "-".join(["study", name, scale, *([Path(data).stem] if data else [])])
    if dry_run:
        plan, text = plan_of(study, scale, seeds, data), ""
        if data is not None:
            with suppress(DataError):  # the data are not on this machine yet
                plan, text = fit_to_data(plan, download=False)
        check_study_folder(plan, folder, seeds)
        source = source_of(study, plan, folder, seeds)
        if text:
            say_note(text)
        if not as_json:
            click.echo(study.question)
        most = source.most if isinstance(source, Raced) else None
        print_forecast(source, plan, folder, 1 if workers is None else workers, as_json, most)
        return
    with (
        stop_when_asked("stopping each trial after its step, with a checkpoint") as should_stop,
        executor_at(dask, workers) as (executor, count),
        show_board(quiet, f"study {folder}") as observe,
    ):
        board, verdicts = conduct_study(
            study,
            folder,
            scale=scale,
            seeds=seeds,
            data=data,
            executor=executor,
            workers=count,
            command=command_line(),
            observe=observe,
            should_stop=should_stop,
            note=say_note,
        )
    if (study.claims or study.race) and not verdicts:
        click.echo(command_line())
        raise click.exceptions.Exit(exit_code(should_stop.number))
    if as_json:
        print_json([{**verdict._asdict(), "claim": verdict.claim.words} for verdict in verdicts])
    else:
        click.echo((folder / "study.md").read_text(encoding="utf-8"), nl=False)
        click.echo(f"\n{folder / 'study.md'}")
    told = {trial: state for trial, state in board.items() if state.status in ("failed", "finished")}
    for line in messages(told):
        say(line)
    if any(state.status == "failed" for state in told.values()):
        raise click.exceptions.Exit(1)
