"""`revgn predict`: predictions of a trained network for the inputs of a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli.checkpoints import checkpoint_options
from revgn_cli.notes import say_note
from revgn_cli.options import chosen_settings, run_argument, setting_options
from revgn_cli.outcome import command_line
from revgn_cli.paths import OutputPath

if TYPE_CHECKING:
    from revgn.arrays import BackendName
    from revgn.launch import Step
    from revgn.store import Weights


@click.command("predict")
@run_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=OutputPath(path_type=Path, dir_okay=False),
    help="Output file: .csv, .npz or .h5.  [default: CSV on standard output]",
)
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@setting_options(("inputs", "targets", "separator", "decimal"), with_defaults=False)
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
    checkpoint: "Step",
    weights: "Weights | None",
    backend: "BackendName",
    **values: Any,
) -> None:
    """Predict with the network of RUN for the inputs in FILE: a table, arrays, an image, a folder of images.

    For classes, write the name of the predicted class and a column with the probability of each class; for a
    regression, write a column for each target in its own unit. Columns of a table are matched by name if the
    run has names, else by position. If FILE has targets too, the scores of the predictions are printed on
    standard error. The data of the run are not needed.

    \b
    revgn predict runs/first new.csv -o predictions.csv
    revgn predict runs/first new.h5 --inputs images -o predictions.h5 --best
    """
    from revgn.errors import UsageError
    from revgn.launch import csv_writer, open_predictions, open_predictor, origin, predict_file

    if force and out is None:
        raise UsageError("--force: there is no output file; add -o FILE")
    if out is not None and out.exists() and file.exists() and out.samefile(file):
        raise UsageError(f"{out}: is the input file; choose another output file")
    settings = chosen_settings(values).get("data", {})
    predictor = open_predictor(run, checkpoint, weights, backend)
    if out is None:
        to_screen = csv_writer(sys.stdout)
        rows, scores = predict_file(predictor, file, to_screen, **settings)
    else:
        about = origin(predictor, file, command_line())
        with open_predictions(out, about, replace=force) as to_file:
            rows, scores = predict_file(predictor, file, to_file, **settings)
    averaged = ", averaged weights" if predictor.weights == "average" else ""
    where = "" if out is None else f" in {out}"
    say_note(f"{rows} prediction{'s' * (rows > 1)} of {run} at step {predictor.step}{averaged}{where}")
    if scores and scores.get("unknown") == scores["rows"]:
        from revgn.data.cells import listed

        expected = listed(predictor.model.interface.classes)
        say_note(f"no label in {file} is a class of the run; expected {expected}")
    elif scores:
        from revgn.views.compare import metric_label, metric_text

        names = [name for name in ("accuracy", "rmse", "r2") if name in scores]
        found = ", ".join(f"{metric_label(name)} {metric_text(name, scores[name])}" for name in names)
        if unknown := scores.get("unknown"):
            what = "label is not a class" if unknown == 1 else "labels are not classes"
            found += f"; {unknown} {what} of the run and count{'s' * (unknown == 1)} as wrong"
        say_note(f"compared with the {scores['rows']} target{'s' * (scores['rows'] > 1)} in {file}: {found}")
