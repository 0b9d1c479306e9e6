"""Predictions of a trained network for new inputs."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from revgn.arrays import BackendName, to_host
from revgn.data import DataSettings, Interface, Part, place_part
from revgn.data.dataset import HostArray
from revgn.data.dialect import MISSING
from revgn.data.inputs import Piece, flat_inputs, read_inputs
from revgn.data.labels import label_name
from revgn.errors import DataError, UsageError
from revgn.launch.problem import model_of_run
from revgn.launch.rebuild import Step, weights_of
from revgn.losses import CrossEntropy, log_softmax
from revgn.networks import ChainParams
from revgn.store import Run, Weights, as_run
from revgn.store.names import judged_weights
from revgn.training import Model, Problem, outputs_in_pieces, regression_scores

Kind = Literal["probability", "output", "prediction"]


class Predictions(NamedTuple):
    """Predictions for n inputs.

    `values` are class probabilities (network outputs if the loss is not cross-entropy) or, for a regression,
    predictions in the unit of the targets.
    """

    values: HostArray  # (n, c) float64
    names: tuple[str, ...]  # names of the c classes or targets
    kind: Kind
    predicted: HostArray | None  # (n,) positions of the predicted classes; None for a regression
    files: tuple[str, ...] = ()  # image files, one per row

    @property
    def labels(self) -> HostArray:
        """Names (n,) of the predicted classes; for a regression the values (n, c)."""
        return self.values if self.predicted is None else np.array(self.names)[self.predicted]


class Predictor(NamedTuple):
    """A trained network with its weights, ready for new inputs."""

    run: Run
    model: Model
    params: ChainParams
    step: int
    weights: Weights


def open_predictor(
    run: Run | Path | str,
    checkpoint: Step = "last",
    weights: Weights | None = None,
    backend: BackendName | None = "numpy",
    problem: Problem | None = None,
) -> Predictor:
    """Return the network of a run with the weights of a checkpoint; raises the errors of `rebuild`.

    `run` is a `Run` or the path of its folder. `weights` None selects the averaged weights if the run has
    them, else the raw weights.
    """
    run = as_run(run)
    weights = judged_weights(run.epochs) if weights is None else weights
    model = model_of_run(run, problem, backend)
    step, params = weights_of(run, model, checkpoint, weights)
    return Predictor(run, model, params, step, weights)


def predict(
    run: Run | Path | str,
    x: ArrayLike,
    *,
    checkpoint: Step = "last",
    weights: Weights | None = None,
    backend: BackendName = "numpy",
    problem: Problem | None = None,
) -> Predictions:
    """Return the predictions of a run's network for raw inputs x; the data of the run are not needed.

    Parameters
    ----------
    run : Run or path
        The run, or its folder.
    x : (n, d), or images (n, channels, height, width) or (n, height, width, channels)
        Inputs in the units of the training data.
    checkpoint : int or {"last", "best"}
        Step of the checkpoint; "last" is the newest checkpoint, "best" the one with the best score.
    weights : {"raw", "average"} or None
        Raw weights, or averaged weights. Default: averaged weights if the run has them, else raw.
    backend : {"numpy", "cupy"}
        Array library.
    problem : Problem or None
        The problem of a run that was started with a `Problem`.

    Raises
    ------
    UsageError
        If x has another shape than the network expects, or there are no averaged weights.
    DataError
        If an input is not a finite number.
    RunError
        If there is no such checkpoint, it is damaged, or the network cannot be built in this version.

    Notes
    -----
    Law: probabilities are the softmax of forward(network, params, (x - shift) * scale); for a regression
    with standardized targets, predictions are the outputs / target_scale + target_shift.

    Examples
    --------
    >>> import revgn
    >>> found = revgn.predict("runs/first", revgn.load_dataset("digits").test.inputs)
    >>> found.values.shape, found.names[:3], found.kind
    ((360, 10), ('0', '1', '2'), 'probability')
    """
    predictor = open_predictor(run, checkpoint, weights, backend, problem)
    inputs = flat_inputs(np.asarray(x), predictor.model.interface, "predict")
    if not inputs.shape[0]:
        raise UsageError(f"predict: inputs have shape {inputs.shape}: there are no rows")
    pieces = [*predict_pieces(predictor, [Piece(inputs, None)], "predict")]
    predicted = [of.predicted for of, _ in pieces if of.predicted is not None]
    first = pieces[0][0]
    values = np.concatenate([of.values for of, _ in pieces])
    return first._replace(values=values, predicted=np.concatenate(predicted) if predicted else None)


def predict_pieces(
    predictor: Predictor, pieces: Iterable[Piece], where: str
) -> Iterator[tuple[Predictions, HostArray | None]]:
    """Yield the predictions for each piece of inputs, with the targets of the same rows, if there are any.

    Raises
    ------
    DataError
        If an output of the network is not finite.
    """
    model, row = predictor.model, 0
    for inputs, targets, files in pieces:
        part = Part(inputs, np.zeros((inputs.shape[0], len(model.interface.classes))))
        placed = place_part(model.interface, part, model.backend, model.dtype, is_resident=False)
        found = outputs_in_pieces(model.network, predictor.params, placed)
        z = np.concatenate([np.asarray(to_host(outputs), dtype=np.float64) for outputs, _ in found])
        if not (is_sound := np.isfinite(z).all(axis=1)).all():
            raise DataError(
                f"{where}: the output for row {row + int(np.argmin(is_sound))} (from 0) is not finite; are "
                "the inputs in the units of the training data?"
            )
        yield _predictions(z, model)._replace(files=files), targets
        row += z.shape[0]


def predict_file(
    predictor: Predictor, path: Path, write: Callable[[Predictions], None], **settings: Any
) -> tuple[int, dict[str, float]]:
    """Predict for the inputs of a file, piece by piece, and pass each piece of predictions to `write`.

    Parameters
    ----------
    **settings
        Data settings for reading the file: `inputs` and `targets` (names of arrays), `separator` and
        `decimal` (of a table).

    Returns
    -------
    rows : int
        Number of rows.
    scores : dict
        If the file has targets too: `rows`, the number of rows that are compared; for a regression `rmse` and
        `r2`; for classes `unknown`, the number of labels that are not classes of the run, and `accuracy`,
        where these labels count as wrong. If no label is a class of the run, there is no `accuracy`. Empty
        without targets.
    """
    interface, rows = predictor.model.interface, 0
    found: list[tuple[HostArray, HostArray]] = []  # predictions and targets of each piece
    pieces = read_inputs(path, interface, DataSettings(str(path), **settings))
    for predictions, targets in predict_pieces(predictor, pieces, str(path)):
        write(predictions)
        rows += predictions.values.shape[0]
        if targets is not None and (truth := true_values(targets, interface)) is not None:
            own = predictions.values if predictions.predicted is None else predictions.predicted
            found.append((own, truth))
    if not found:
        return rows, {}
    predicted, truth = map(np.concatenate, zip(*found, strict=True))
    truth = true_classes(truth) if interface.task == "classification" else truth
    is_given = np.isfinite(truth.reshape(truth.shape[0], -1)).all(axis=1)
    predicted, truth = predicted[is_given], truth[is_given]
    if not truth.size:
        return rows, {}
    scores = {"rows": truth.shape[0]}
    if interface.task == "classification":
        scores["unknown"] = int(np.sum(truth == -1))
        is_comparable = scores["unknown"] < scores["rows"]
        return rows, scores | ({"accuracy": float(np.mean(predicted == truth))} if is_comparable else {})
    squares = np.square(predicted - truth).mean(axis=0)
    scale = 1.0 if interface.target_scale is None else interface.target_scale**2
    return rows, scores | regression_scores(squares * scale, truth, interface)


def true_values(targets: HostArray, interface: Interface) -> HostArray | None:
    """Return targets as numbers (n, c), or two readings of labels (n, 2); None if they are neither.

    Both readings are positions of classes. In the first, a label is the name of a class; in the second, it is
    a position. `true_classes` chooses one of them for the whole file. Missing values are NaN, and an unknown
    class has the position -1.
    """
    c = len(interface.classes)
    if interface.task == "regression":
        try:
            numbers = targets.reshape(targets.shape[0], -1).astype(np.float64)
        except ValueError:
            return None
        return numbers if numbers.shape[1] == c else None
    if targets.ndim == 2 and targets.shape[1] == c > 1 and targets.dtype.kind in "biuf":
        return np.repeat(targets.argmax(axis=1)[:, None], 2, axis=1)
    labels = targets.reshape(targets.shape[0], -1)
    if labels.shape[1] != 1:
        return None
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    names = [label_name(label) for label in labels[:, 0].tolist()]
    by_name = {name: k for k, name in enumerate(interface.classes)}
    by_position = {str(k): k for k in range(c)}

    def places(name: str) -> tuple[float, float]:
        unknown = np.nan if name in MISSING else -1
        return by_name.get(name, unknown), by_position.get(name, unknown)

    return np.array([*map(places, names)])


def true_classes(readings: HostArray) -> HostArray:
    """Return the positions (n,) of the classes of all labels of a file, from both readings (n, 2).

    Labels are names, unless none of them is a class, or some are not while all are positions.
    """
    by_name, by_position = readings.T
    has_other_names, has_other_positions = (readings == -1).any(axis=0)
    is_by_position = not (by_name >= 0).any() or (has_other_names and not has_other_positions)
    found: HostArray = by_position if is_by_position else by_name
    return found


def _predictions(z: HostArray, model: Model) -> Predictions:
    """Return the predictions for outputs z (n, c)."""
    interface = model.interface
    if interface.task == "regression":
        scale, shift = interface.target_scale, interface.target_shift
        values = z if scale is None or shift is None else z / scale + shift
        return Predictions(values, interface.classes, "prediction", None)
    if isinstance(model.loss, CrossEntropy):
        probabilities = np.exp(np.asarray(log_softmax(z)))
        return Predictions(probabilities, interface.classes, "probability", z.argmax(axis=1))
    return Predictions(z, interface.classes, "output", z.argmax(axis=1))
