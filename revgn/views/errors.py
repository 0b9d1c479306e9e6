"""Errors of trained networks on the test set: confusion of classes, accuracy of each, RMSE of each target."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from revgn.errors import RevgnError
from revgn.launch import Step, evaluate_run
from revgn.store.names import is_validated, judged_weights
from revgn.store.reader import Run
from revgn.views.groups import Group

_GROUPS = 6  # largest number of groups whose networks are evaluated
_CLASSES = 20  # largest number of classes that a report shows as a matrix
_PAIRS = 10  # largest number of pairs of classes that are shown if there are more classes


def confusion_lines(classes: Sequence[str], confusion: Sequence[Sequence[int]], width: int = 80) -> list[str]:
    """Return the confusion of classes as text: a matrix, or where it is wider than `width`, a line per class.

    Row i of `confusion` counts the rows of class i by predicted class. The columns of the matrix have the
    names of the classes, or their numbers if the names are too long. The lines of many classes are followed
    by the most frequent pairs of a class and a wrong prediction.
    """
    accuracies = [f"{value:.1%}" if value is not None else "-" for value in class_accuracies(confusion)]
    numbers = [f"#{k}" for k in range(1, len(classes) + 1)]
    numbered = [f"{name} {number}" for name, number in zip(classes, numbers, strict=True)]
    for names, columns in ((classes, classes), (numbered, numbers)):
        head = ["class", *columns, "accuracy"]
        counts = ([*map(str, row)] for row in confusion)
        rows = [[name, *row, last] for name, row, last in zip(names, counts, accuracies, strict=True)]
        lines = _aligned([head, *rows])
        if len(lines[0]) <= width:
            return ["rows of each class, by predicted class", *lines]
    return _lines_by_class(classes, confusion, accuracies)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, cells, widths)) for cells in rows]


def class_accuracies(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """Return the accuracy on the rows of each class; None for a class without rows."""
    return [row[k] / n if (n := sum(row)) else None for k, row in enumerate(confusion)]


def error_section(groups: Sequence[Group]) -> Iterator[str]:
    """Yield a section of a report on the errors of one network of each group, for the first groups.

    The network is evaluated now, with the weights at the evaluation that represents its run in comparisons.
    If this is not possible, for instance since the data are missing, the section states the reason.
    """
    yield "<h2>Errors on the test set</h2>"
    for group in groups[:_GROUPS]:
        run = group.runs[0]
        yield f"<h3>{escape(group.label)}</h3>"
        try:
            found = _evaluated(run)
        except RevgnError as error:
            yield f'<p class="note">{escape(str(error))}</p>'
            continue
        average = " with averaged weights" if found["weights"] == "average" else ""
        yield f'<p class="note">{escape(found["run"])} at step {found["step"]}{average}</p>'
        if found["task"] == "regression":
            yield _target_table(found["test_targets"])
        elif len(found["classes"]) > _CLASSES:
            lines = confusion_lines(found["classes"], found["test_confusion"])
            yield f"<pre>{escape(chr(10).join(lines))}</pre>"
        else:
            yield _confusion_table(found["classes"], found["test_confusion"])
    if len(groups) > _GROUPS:
        yield f'<p class="note">The first {_GROUPS} of {len(groups)} groups of runs.</p>'


def _evaluated(run: Run) -> dict[str, Any]:
    """Evaluate the checkpoint with the best validation score; without validation rows, the newest one."""
    step: Step = "best" if is_validated(run.epochs) else "last"
    return evaluate_run(run.folder, checkpoint=step, weights=judged_weights(run.epochs), parts=("test",))


def _lines_by_class(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], accuracies: Sequence[str]
) -> list[str]:
    """Return the accuracy of each class, the lowest first, and the most frequent pairs."""
    found = [2.0 if value is None else value for value in class_accuracies(confusion)]
    order = sorted(range(len(classes)), key=found.__getitem__)
    totals = [sum(row) for row in confusion]
    rows = [[classes[k], accuracies[k], f"of {totals[k]} row{'s' * (totals[k] != 1)}"] for k in order]
    counts = [(n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    pairs = sorted(counts, key=lambda pair: -pair[0])[:_PAIRS]
    return [
        "accuracy of each class, the lowest first",
        *(f"  {line}" for line in _aligned(rows)),
        *(["most frequent errors, class -> prediction"] if pairs else []),
        *(f"  {n:<4} {classes[i]} -> {classes[j]}" for n, i, j in pairs),
    ]


def _confusion_table(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Return a table in which a cell is shaded by its share of the row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    rows = []
    for name, counts, accuracy in zip(classes, confusion, class_accuracies(confusion), strict=True):
        total = sum(counts) or 1
        cells = "".join(f'<td style="background:{_shade(count / total)}">{count}</td>' for count in counts)
        last = "" if accuracy is None else f"{accuracy:.1%}"
        rows.append(f"<tr><th>{escape(name)}</th>{cells}<td>{last}</td></tr>")
    top = f"<tr><th>class</th>{head}<th>accuracy</th></tr>"
    note = '<p class="note">Rows of each class, by predicted class.</p>'
    return f'<div class="wide"><table>{top}{"".join(rows)}</table></div>{note}'


def _shade(share: float) -> str:
    return f"rgba(31, 119, 180, {0.6 * share:.2f})"


def _target_table(targets: dict[str, dict[str, float]]) -> str:
    rows = ""
    for name, errors in targets.items():
        cells = [escape(name), f"{errors['rmse']:.4g}", f"{errors['r2']:.4g}" if "r2" in errors else ""]
        rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    head = "<tr><th>target</th><th>RMSE, in its unit</th><th>R^2</th></tr>"
    return f'<div class="wide"><table>{head}{rows}</table></div>'
