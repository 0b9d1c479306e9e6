"""`revgn predict`: predictions of a trained network for the inputs of a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.checkpoints import checkpoint_options
from revgn_cli.notes import say_note

if TYPE_CHECKING:
    from revgn.arrays import BackendName
    from revgn.launch import Step
    from revgn.store import Weights


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Output file: .csv, .npz or .h5.  [default: CSV on standard output]",
)
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@click.option(
    "--inputs", "key", metavar="NAME", help="Array of inputs in an .npz or .h5 file.  [default: a usual name]"
)
@checkpoint_options(default=None)
@click.option(
    "--backend",
    type=click.Choice(["numpy", "cupy"]),
    default="numpy",
    show_default=True,
    help="Array library.",
)
def command(
    run: Path,
    file: Path,
    out: Path | None,
    force: bool,
    key: str | None,
    checkpoint: "Step",
    weights: "Weights | None",
    backend: "BackendName",
) -> None:
    """Predict with the network of RUN for the inputs in FILE (.csv, .npz or .h5).

    For classes, writes the name of the predicted class and a column with the probability of each class; for a
    regression, a column for each target in its own unit. Columns of a table are matched by name if the run
    knows names, else by position. If FILE has targets too, they are compared with the predictions, with the
    result on standard error; they do not change the predictions. The data of the run are not needed.

    \b
    revgn predict runs/first new.csv -o predictions.csv
    revgn predict runs/first new.h5 --inputs images -o predictions.h5 --checkpoint best
    """
    from revgn_cli.train import command_line

    from revgn.errors import UsageError
    from revgn.launch import csv_writer, open_predictions, open_predictor, origin, predict_file

    if force and out is None:
        raise UsageError("--force: there is no output file; add -o FILE")
    if out is not None and out.exists() and file.exists() and out.samefile(file):
        raise UsageError(f"{out}: is the file of the inputs; choose another output file")
    predictor = open_predictor(run, checkpoint, weights, backend)
    if out is None:
        to_screen = csv_writer(sys.stdout)
        rows, scores = predict_file(predictor, file, to_screen, key)
    else:
        about = origin(predictor, file, command_line())
        with open_predictions(out, about, replace=force) as to_file:
            rows, scores = predict_file(predictor, file, to_file, key)
    averaged = ", averaged weights" if predictor.weights == "average" else ""
    where = "" if out is None else f" in {out}"
    say_note(f"{rows} predictions of {run} at step {predictor.step}{averaged}{where}")
    if scores:
        words = {"accuracy": "accuracy {:.2%}", "rmse": "RMSE {:.4g}", "r2": "R^2 {:.4f}"}
        found = ", ".join(words[name].format(score) for name, score in scores.items())
        say_note(f"compared with the targets in {file}: {found}")
